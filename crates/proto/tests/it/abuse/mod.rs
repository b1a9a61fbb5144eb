//! Hostile and random input: one body for each decoder and engine, fed by properties here, by the committed corpus, and by
//! the fuzzer (`fuzz/`), which includes the same files.

mod candidates;
mod delegations;
mod document;
mod endpoint;
mod frame;
mod gateway;
mod hint;
mod host;
mod json;
mod link;
mod message;
mod relay;
mod sdp;
mod subscriptions;
mod wake;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

proptest! {
    #[test]
    fn endpoint_operations(data in vec(any::<u8>(), 0..3_000)) {
        endpoint::run(&data);
    }

    #[test]
    fn relay_operations(data in vec(any::<u8>(), 0..3_000)) {
        relay::run(&data);
    }

    #[test]
    fn host_operations(data in vec(any::<u8>(), 0..600)) {
        host::run(&data);
    }

    #[test]
    fn candidates_operations(data in vec(any::<u8>(), 0..3_000)) {
        candidates::run(&data);
    }

    #[test]
    fn gateway_operations(data in vec(any::<u8>(), 0..200)) {
        gateway::run(&data);
    }

    #[test]
    fn subscriptions_operations(data in vec(any::<u8>(), 0..3_000)) {
        subscriptions::run(&data);
    }

    #[test]
    fn sdp_text(lines in vec(select(SDP_LINES.to_vec()), 0..40), cut in any::<Index>(), byte in any::<u8>()) {
        let mut text = format!("v=0\r\n{}", lines.concat()).into_bytes();
        let at = cut.index(text.len());
        sdp::run(&text);
        text[at] = byte;
        sdp::run(&text);
    }
}

/// Pieces that make texts which are almost SDP.
const SDP_LINES: [&str; 20] = [
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
    "m=video 0 UDP/TLS/RTP/SAVPF 96\r\n",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    "m=text 9/2 RTP/AVP\n",
    "m=audio 20000 RTP/AVP 0 8 9 18\r\n",
    "a=rtpmap:111 opus/48000/2\r\n",
    "a=rtpmap:96 H264/90000\r\n",
    "a=rtpmap:0 G729/8000\r\n",
    "a=rtpmap\r\n",
    "a=sendonly\r\n",
    "a=inactive:no\r\n",
    "a=rtcp-mux\r\n",
    "a=fingerprint:sha-256 AA:BB\r\n",
    "a=ice-ufrag:u\r\na=ice-pwd:p\r\n",
    "a=setup:actpass\r\n",
    "a=setup:active\r\n",
    "a=crypto:1 x inline:y\r\n",
    "a=::::\r\n",
    "\u{e9}=\u{2028}\r\n",
    "\r\r\n\n  \n",
];

#[test]
fn endpoint_corpus() {
    replay("endpoint", endpoint::run);
}

#[test]
fn relay_corpus() {
    replay("relay", relay::run);
}

#[test]
fn host_corpus() {
    replay("host", host::run);
}

#[test]
fn candidates_corpus() {
    replay("candidates", candidates::run);
}

#[test]
fn gateway_corpus() {
    replay("gateway", gateway::run);
}

#[test]
fn sdp_corpus() {
    replay("sdp", sdp::run);
}

#[test]
fn subscriptions_corpus() {
    replay("subscriptions", subscriptions::run);
}

/// Decoders: their corpus as it is, and with a few bytes of it changed, for random bytes seldom get far.
macro_rules! decoders {
    ($($name:ident, $corpus:ident, $mutated:ident;)*) => {
        $(#[test]
        fn $corpus() {
            replay(stringify!($name), $name::run);
        })*

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(#[test]
            fn $mutated(file in any::<Index>(), changes in vec((any::<Index>(), any::<u8>()), 1..4)) {
                let corpus = corpus(stringify!($name));
                let mut data = corpus[file.index(corpus.len())].clone();
                for (place, byte) in changes {
                    let at = place.index(data.len());
                    data[at] = byte;
                }
                $name::run(&data);
            })*
        }
    };
}

decoders! {
    delegations, delegations_corpus, delegations_mutated;
    document, document_corpus, document_mutated;
    frame, frame_corpus, frame_mutated;
    hint, hint_corpus, hint_mutated;
    json, json_corpus, json_mutated;
    link, link_corpus, link_mutated;
    message, message_corpus, message_mutated;
    wake, wake_corpus, wake_mutated;
}

/// Runs `body` on every file of a target's committed corpus.
fn replay(target: &str, body: fn(&[u8])) {
    for data in corpus(target) {
        body(&data);
    }
}

/// The files of a target's committed corpus.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "an empty corpus proves nothing: {}", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}
