//! Any bytes as the file of remembered DHT peers, and as a DHT address that a person types.

use dsip_endpoint::dht::{MAX_REMEMBERED, Protocol, parse_address, parse_remembered};

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let peers = parse_remembered(&text);
    assert!(peers.len() <= MAX_REMEMBERED);
    for (_, address) in peers {
        assert!(address.iter().any(|part| matches!(part, Protocol::Tcp(_))));
    }
    if let Ok(address) = parse_address(&text) {
        assert!(address.iter().any(|part| matches!(part, Protocol::Tcp(_))));
    }
}
