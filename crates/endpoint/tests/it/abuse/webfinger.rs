//! Any bytes as an alias, as what a domain answers about one, and as what a person types.

use dsip_endpoint::resolve::{Alias, Target, read_txt, read_webfinger};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = read_webfinger(text);
    let _ = read_txt(text.lines());
    let _ = text.parse::<Target>();
    if let Ok(alias) = text.parse::<Alias>() {
        let written = alias.to_string();
        assert_eq!(written.parse::<Alias>(), Ok(alias.clone()));
        // Whatever was typed, the request goes to the alias's own host and nowhere else.
        let place = written.split_once('@').map(|(_, place)| place).expect("an alias has one @");
        assert!(alias.webfinger().starts_with(&format!("https://{place}/.well-known/webfinger?")));
        assert!(alias.txt().is_none_or(|name| name.ends_with(&format!("._dsip.{}.", alias.domain()))));
    }
}
