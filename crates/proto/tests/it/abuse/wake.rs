//! Any bytes as the claims of a `subscribe`, or as a URL: what is taken for an endpoint is bounded, leads over https to a host, and
//! reads the same when it is written again.

use dsip_proto::wake::{Endpoint, MAX_URL, announced, member};
use serde_json::{Map, Value};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(Value::Object(members)) = serde_json::from_str::<Value>(text)
        && let Some(key) = announced(&members)
    {
        assert_eq!(announced(&[member(&key)].into_iter().collect()), Some(key));
    }
    let claims: Vec<Map<String, Value>> = serde_json::from_str(text).unwrap_or_default();
    if let Ok(Some(endpoint)) = Endpoint::read(&claims) {
        check(&endpoint);
    }
    // The keys are good, so that everything depends on the URL.
    let key = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    if let Ok(endpoint) = Endpoint::new(text, key, "BTBZMqHH6r4Tts7J_aSIgg") {
        check(&endpoint);
    }
}

fn check(endpoint: &Endpoint) {
    let url = endpoint.url();
    assert!(url.len() <= MAX_URL && url.bytes().all(|byte| byte.is_ascii_graphic()));
    let host = endpoint.origin().strip_prefix("https://").expect("https");
    assert!(!host.is_empty() && !host.contains(['/', '?', '#', '@', '\\']), "{host}");
    assert!(url.starts_with(endpoint.origin()));
    let is_bracketed = host.starts_with('[');
    assert_eq!(is_bracketed, endpoint.address().is_some_and(|ip| ip.is_ipv6()), "{host}");
    assert_eq!(Endpoint::read(&[endpoint.claim()]).as_ref(), Ok(&Some(endpoint.clone())));
}
