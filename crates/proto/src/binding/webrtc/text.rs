//! Real-time text beside a call's media: a path of its own, described where the transport's open members are
//! (docs/spec/real-time-text.md). The binding's own description carries no data channel (WEB, step 6), and goes on carrying none.

use serde_json::{Map, Value, json};

use super::Sdp;

/// RTT-1: the member of the transport.
const MEMBER: &str = "rtt";

/// RTT-3: the longest description of such a path. It has one section, and its candidates.
const MAX_SDP: usize = 8_192;

/// The member that carries `sdp`; empty for a path that may be opened and is not (RTT-1).
pub(crate) fn text_member(sdp: &str) -> (String, Value) {
    let value = if sdp.is_empty() { json!({}) } else { json!({ "sdp": sdp }) };
    (MEMBER.to_owned(), value)
}

/// What a peer's transport says about real-time text: the SDP of the path, or nothing in it if that may be opened. None where it
/// is not known, or where what is said is no description of such a path (RTT-3): both mean that there is no text.
pub(crate) fn text_of(members: &Map<String, Value>) -> Option<&str> {
    match members.get(MEMBER)?.as_object()?.get("sdp") {
        None => Some(""),
        Some(sdp) => sdp.as_str().filter(|sdp| is_text_path(sdp)),
    }
}

/// RTT-3: one live section, a data channel over DTLS, under a SHA-256 fingerprint and with ICE credentials.
fn is_text_path(sdp: &str) -> bool {
    let Some(parsed) = (sdp.len() <= MAX_SDP).then(|| Sdp::parse(sdp).ok()).flatten() else { return false };
    let mut sections = parsed.sections();
    let (Some(section), None) = (sections.next(), sections.next()) else { return false };
    let is_sha_256 = |text: &str| text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("sha-256 "));
    section.is_live()
        && section.kind() == "application"
        && matches!(section.protocol(), "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP")
        && section.value("fingerprint").is_some_and(is_sha_256)
        && section.value("ice-ufrag").is_some()
        && section.value("ice-pwd").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\na=mid:0\r\n";

    fn members(value: Value) -> Map<String, Value> {
        [(MEMBER.to_owned(), value)].into_iter().collect()
    }

    #[test]
    fn rtt_1_said_and_not_said() {
        assert_eq!(text_of(&Map::new()), None);
        for said in ["", PATH] {
            let carried: Map<String, Value> = [text_member(said)].into_iter().collect();
            assert_eq!(text_of(&carried), Some(said));
        }
    }

    #[test]
    fn rtt_3_what_is_no_such_path_counts_as_nothing_said() {
        let second = format!("{PATH}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n");
        for bad in [
            json!("text"),
            json!({ "sdp": 7 }),
            json!({ "sdp": "rubbish" }),
            json!({ "sdp": second }),
            json!({ "sdp": PATH.replace("application", "audio") }),
            json!({ "sdp": PATH.replace("UDP/DTLS/SCTP", "SCTP") }),
            json!({ "sdp": PATH.replace("sha-256", "sha-1") }),
            json!({ "sdp": PATH.replace("a=ice-pwd", "a=x") }),
            json!({ "sdp": PATH.replace(" 9 ", " 0 ") }),
            json!({ "sdp": format!("{PATH}{}", "a=x\r\n".repeat(MAX_SDP / 5)) }),
        ] {
            assert_eq!(text_of(&members(bad.clone())), None, "{bad}");
        }
    }
}
