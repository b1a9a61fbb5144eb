//! Any bytes as a `dsip:` link, or a web link: what is accepted is bounded, and reads the same when it is written again.

use dsip_proto::link::{Link, MAX_HINTS, MAX_LEN, MAX_NAME, MAX_WEB_LEN};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(link) = text.parse::<Link>() else { return };
    assert!(text.trim().len() <= MAX_WEB_LEN && Link::looks_like(text));
    assert!(link.nodes.len() <= MAX_HINTS && link.dht.len() <= MAX_HINTS);
    assert!(link.nodes.iter().all(|node| node.uri.starts_with("wss://") && !node.uri.contains('#')));
    assert!(link.name.as_ref().is_none_or(|name| !name.is_empty() && name.chars().count() <= MAX_NAME));
    // Percent-encoding may make the text longer than it came, but never longer than is read.
    let again = link.to_string();
    if again.len() <= MAX_LEN {
        assert_eq!(again.parse::<Link>(), Ok(link));
    }
}
