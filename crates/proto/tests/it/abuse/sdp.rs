//! Any text as SDP, through the reader, the binding's checks and the gateway's mapping.

use dsip_proto::binding::webrtc::{self, Applies, Code, Codec, Credentials, ICE_MODE, Sdp};
use dsip_proto::gateway::trunk;
use dsip_proto::wire::media::{MediaDescriptor, Transport};
use dsip_proto::wire::token::{CodecId, MediaType, TransportId};

/// Reads `data` as SDP and checks what must hold of any text.
pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(sdp) = Sdp::parse(&text) else {
        assert!(trunk::read(&text).is_err(), "one reader refuses what the other takes");
        return;
    };
    let written = text.split('\n').filter(|line| line.trim().starts_with("m=")).count();
    assert_eq!(sdp.sections().len(), written, "a section per m= line");
    assert!(sdp.sections().all(|section| section.codecs().len() <= Codec::ALL.len()));
    assert_eq!(Credentials::of(&sdp).len(), sdp.live().count());

    let trunk = trunk::read(&text).expect("readable a moment ago");
    assert!(trunk.media.len() <= sdp.live().count());
    assert!(trunk.media.iter().all(|medium| !medium.codecs.is_empty()), "GW-82");
    agrees_with_itself(&text, &sdp);
}

/// Descriptors made from a text cannot disagree with that text: whatever is refused then is refused for what SDP alone
/// decides.
fn agrees_with_itself(text: &str, sdp: &Sdp<'_>) {
    let describe = |section: webrtc::Section<'_, '_>| {
        let codecs: Vec<CodecId> = section.codecs().iter().filter_map(|codec| codec.id().parse().ok()).collect();
        let kind: MediaType = section.kind().parse().ok()?;
        Some(MediaDescriptor::new(kind, section.direction(), &codecs))
    };
    let Some(media) = sdp.live().map(describe).collect::<Option<Vec<_>>>() else {
        return;
    };
    let transports = [Transport::new(TransportId::WEBRTC).with_sdp(ICE_MODE, text)];
    let described = (media.as_slice(), transports.as_slice());
    let disagreements = [
        Code::IceMode,
        Code::SdpMissing,
        Code::SdpInvalid,
        Code::SectionCount,
        Code::KindMismatch,
        Code::DirectionMismatch,
        Code::CodecMissing,
    ];
    for outcome in [webrtc::offer(described), webrtc::answer(described, described)] {
        match outcome {
            Ok(applies) => assert_eq!(applies, Applies::WebRtc),
            Err(refusal) => assert!(!disagreements.contains(&refusal.code), "{refusal}: {text:?}"),
        }
    }
    // The two differ in the setup they want, so no text is both.
    assert!(webrtc::offer(described).is_err() || webrtc::answer(described, described).is_err() || media.is_empty());
}
