//! Is this offer or this answer usable? The consistency checks of file 04, section 5, in their normative order (WEB-30).

use std::fmt;

use super::{Codec, ICE_MODE, ID, Sdp, Section};

/// The protocols whose media is encrypted (step 9). Steps 13 and 15 still force a fingerprint and a DTLS role on all.
const SECURE_PROTOCOLS: [&str; 5] =
    ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/TLS/RTP/SAVPF", "RTP/SAVPF", "RTP/SAVP"];

/// What the checks read of a message that describes media: its `media[]` and the first of its `transports[]` (WEB-6).
///
/// A host that wants another transport of an offer puts that one here (WEB-7).
#[derive(Debug, Clone, Default)]
pub struct Descriptors<'a> {
    /// `media[]`, in order.
    pub media: Vec<Medium<'a>>,
    /// `transports[0]`.
    pub transport: Option<Transport<'a>>,
}

/// What the checks read of one `media[]` element.
#[derive(Debug, Clone)]
pub struct Medium<'a> {
    /// `type`.
    pub kind: &'a str,
    /// `direction`.
    pub direction: &'a str,
    /// The `id` of each of `codecs[]`.
    pub codecs: Vec<&'a str>,
}

/// What the checks read of a transport descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Transport<'a> {
    /// `id`.
    pub id: &'a str,
    /// `ice`.
    pub ice: Ice,
    /// `sdp`, if it is a string.
    pub sdp: Option<&'a str>,
}

/// The `ice` member of a transport descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ice {
    /// Not there. Fine in an answer.
    Absent,
    /// `trickle`.
    Trickle,
    /// Anything else, of whatever type.
    Other,
}

/// Whether the binding had anything to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// It is WebRTC and every check passed.
    WebRtc,
    /// The transport is another one, or there is none; nothing was checked (WEB-6).
    NotWebRtc,
}

/// The two halves of a negotiation: the same fault is answered differently in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Description {
    /// `invite` or `update`.
    Offer,
    /// `answer`.
    Answer,
}

/// Why an offer or an answer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The check that failed.
    pub code: Code,
    /// Which half it was found in.
    pub of: Description,
    /// The live section it was found in, counting from 0, where it was found in one.
    pub section: Option<usize>,
}

/// The checks, by what they report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Step 2.
    IceMode,
    /// Step 3.
    SdpMissing,
    /// Step 4.
    SdpInvalid,
    /// Steps 5 and 7.
    SectionCount,
    /// Step 6.
    ExtraSection,
    /// Step 8.
    KindMismatch,
    /// Step 9.
    Encryption,
    /// Step 10.
    DirectionMismatch,
    /// Step 11.
    CodecMissing,
    /// Step 12.
    RtcpMuxMissing,
    /// Step 13.
    FingerprintMissing,
    /// Step 14.
    IceCredentialsMissing,
    /// Step 15.
    SetupInvalid,
}

/// Checks the offer of an `invite`. A refusal is answered with `reject` (WEB-31).
pub fn offer(offer: &Descriptors<'_>) -> Result<Applies, Refusal> {
    check(offer, Description::Offer, None)
}

/// Checks the offer of an `update` inside an established WebRTC session: here a missing transport, another one or a missing
/// SDP is a missing offer (WEB-34). A refusal is answered with `reject` and never ends the session (WEB-31, WEB-95).
pub fn update(offer: &Descriptors<'_>) -> Result<(), Refusal> {
    match check(offer, Description::Offer, None)? {
        Applies::WebRtc => Ok(()),
        Applies::NotWebRtc => Err(Refusal { code: Code::SdpMissing, of: Description::Offer, section: None }),
    }
}

/// Checks an answer against the offer it answers. A refusal ends that leg with `bye` (WEB-32).
pub fn answer(offer: &Descriptors<'_>, answer: &Descriptors<'_>) -> Result<Applies, Refusal> {
    check(answer, Description::Answer, offered_sections(offer))
}

/// How many sections the offer's SDP has, for step 5; `None` if it has no readable SDP.
pub(super) fn offered_sections(offer: &Descriptors<'_>) -> Option<usize> {
    let sdp = offer.transport.as_ref()?.sdp?;
    Sdp::parse(sdp).ok().map(|sdp| sdp.sections().len())
}

pub(super) fn check(
    described: &Descriptors<'_>,
    of: Description,
    offered_sections: Option<usize>,
) -> Result<Applies, Refusal> {
    let refuse = |code| Err(Refusal { code, of, section: None });
    // Step 1, WEB-6
    let Some(transport) = described.transport.as_ref().filter(|transport| transport.id == ID) else {
        return Ok(Applies::NotWebRtc);
    };
    // Step 2
    match (transport.ice, of) {
        (Ice::Trickle, _) | (Ice::Absent, Description::Answer) => {}
        (Ice::Absent, Description::Offer) | (Ice::Other, _) => return refuse(Code::IceMode),
    }
    // Step 3
    let Some(text) = transport.sdp.filter(|text| !text.is_empty()) else {
        return refuse(Code::SdpMissing);
    };
    // Step 4
    let Ok(sdp) = Sdp::parse(text) else {
        return refuse(Code::SdpInvalid);
    };
    // Step 5: an answer keeps every section of its offer, those it turns down included.
    if of == Description::Answer && offered_sections.is_some_and(|offered| offered != sdp.sections().len()) {
        return refuse(Code::SectionCount);
    }
    // Step 6
    if sdp.live().any(|section| section.kind() == "application") {
        return refuse(Code::ExtraSection);
    }
    // Step 7
    if sdp.live().count() != described.media.len() {
        return refuse(Code::SectionCount);
    }
    for (index, (section, medium)) in sdp.live().zip(&described.media).enumerate() {
        section_matches(section, medium, of).map_err(|code| Refusal { code, of, section: Some(index) })?;
    }
    Ok(Applies::WebRtc)
}

/// Steps 8 to 15, applied in full to one section before the next one is looked at.
fn section_matches(section: Section<'_, '_>, medium: &Medium<'_>, of: Description) -> Result<(), Code> {
    if section.kind() != medium.kind {
        return Err(Code::KindMismatch);
    }
    if !SECURE_PROTOCOLS.contains(&section.protocol()) {
        return Err(Code::Encryption);
    }
    if section.direction().as_str() != medium.direction {
        return Err(Code::DirectionMismatch);
    }
    // WEB-13: ids without a mapping are not checked at all. WEB-12: encodings nobody described are fine.
    let encoded = section.codecs();
    if medium.codecs.iter().copied().filter_map(Codec::from_id).any(|codec| !encoded.contains(&codec)) {
        return Err(Code::CodecMissing);
    }
    if !section.has_own("rtcp-mux") {
        return Err(Code::RtcpMuxMissing);
    }
    if !section.value("fingerprint").is_some_and(is_sha256_fingerprint) {
        return Err(Code::FingerprintMissing);
    }
    if section.value("ice-ufrag").is_none() || section.value("ice-pwd").is_none() {
        return Err(Code::IceCredentialsMissing);
    }
    match (section.value("setup"), of) {
        (Some("actpass"), Description::Offer) | (Some("active" | "passive"), Description::Answer) => Ok(()),
        _ => Err(Code::SetupInvalid),
    }
}

fn is_sha256_fingerprint(value: &str) -> bool {
    value.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("sha-256 "))
}

impl Ice {
    /// Reads the `ice` member of a descriptor: `None` if it is not there, `Some(None)` if it is not a string.
    #[must_use]
    pub fn read(member: Option<Option<&str>>) -> Self {
        match member {
            None => Self::Absent,
            Some(Some(ICE_MODE)) => Self::Trickle,
            Some(_) => Self::Other,
        }
    }
}

impl Refusal {
    /// The reason token that travels with the refusal.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.of {
            Description::Offer => self.code.reason_for_offer(),
            Description::Answer => "media.failed",
        }
    }

    /// Human text for `detail`; it names the section (WEB-33).
    #[must_use]
    pub fn detail(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())?;
        self.section.map_or(Ok(()), |index| write!(f, " in section {index}"))
    }
}

impl std::error::Error for Refusal {}

impl Code {
    /// The code as vectors and logs write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IceMode => "binding-ice-mode",
            Self::SdpMissing => "binding-sdp-missing",
            Self::SdpInvalid => "binding-sdp-invalid",
            Self::SectionCount => "binding-section-count",
            Self::ExtraSection => "binding-extra-section",
            Self::KindMismatch => "binding-kind-mismatch",
            Self::Encryption => "binding-encryption",
            Self::DirectionMismatch => "binding-direction-mismatch",
            Self::CodecMissing => "binding-codec-missing",
            Self::RtcpMuxMissing => "binding-rtcp-mux-missing",
            Self::FingerprintMissing => "binding-fingerprint-missing",
            Self::IceCredentialsMissing => "binding-ice-credentials-missing",
            Self::SetupInvalid => "binding-setup-invalid",
        }
    }

    fn reason_for_offer(self) -> &'static str {
        match self {
            Self::SdpMissing => "media.offer-required",
            Self::Encryption => "media.encryption-required",
            Self::IceMode
            | Self::SdpInvalid
            | Self::SectionCount
            | Self::ExtraSection
            | Self::KindMismatch
            | Self::DirectionMismatch
            | Self::CodecMissing
            | Self::RtcpMuxMissing
            | Self::FingerprintMissing
            | Self::IceCredentialsMissing
            | Self::SetupInvalid => "media.unsupported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
        a=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n";

    fn audio() -> Medium<'static> {
        Medium { kind: "audio", direction: "sendrecv", codecs: vec!["codec:audio/opus"] }
    }

    fn described<'a>(sdp: &'a str, media: &[Medium<'a>]) -> Descriptors<'a> {
        let transport = Transport { id: ID, ice: Ice::Trickle, sdp: Some(sdp) };
        Descriptors { media: media.to_vec(), transport: Some(transport) }
    }

    fn sdp(edit: impl Fn(&str) -> String) -> String {
        format!("v=0\r\ns=-\r\n{}", edit(SECTION))
    }

    fn judge_offer(sdp: &str, media: &[Medium<'_>]) -> Result<Applies, (&'static str, &'static str)> {
        offer(&described(sdp, media)).map_err(|refusal| (refusal.code.as_str(), refusal.reason()))
    }

    /// The answer of `sdp` to an offer of the plain audio section.
    fn judge_answer(sdp_text: &str, media: &[Medium<'_>]) -> Result<Applies, (&'static str, &'static str)> {
        let offered = sdp(str::to_owned);
        let outcome = answer(&described(&offered, &[audio()]), &described(sdp_text, media));
        outcome.map_err(|refusal| (refusal.code.as_str(), refusal.reason()))
    }

    #[test]
    fn web_5_a_plain_audio_offer_is_accepted() {
        assert_eq!(judge_offer(&sdp(str::to_owned), &[audio()]), Ok(Applies::WebRtc));
    }

    #[test]
    fn web_6_only_the_first_transport_counts_and_others_are_not_checked() {
        let none = Descriptors { media: vec![audio()], transport: None };
        assert_eq!(offer(&none), Ok(Applies::NotWebRtc));
        let rtp = Transport { id: "transport:rtp", ice: Ice::Absent, sdp: None };
        assert_eq!(offer(&Descriptors { media: vec![audio()], transport: Some(rtp) }), Ok(Applies::NotWebRtc));
    }

    #[test]
    fn step_2_ice_mode_is_judged_before_sdp_presence() {
        let judged = |ice| {
            let transport = Transport { id: ID, ice, sdp: None };
            offer(&Descriptors { media: vec![audio()], transport: Some(transport) }).map_err(|refusal| refusal.code)
        };
        assert_eq!(judged(Ice::Absent), Err(Code::IceMode));
        assert_eq!(judged(Ice::Other), Err(Code::IceMode));
        assert_eq!(judged(Ice::Trickle), Err(Code::SdpMissing));
    }

    #[test]
    fn step_2_an_answer_may_leave_ice_out_but_not_name_another_mode() {
        let offered = sdp(str::to_owned);
        let answered = sdp(|s| s.replace("actpass", "active"));
        let judged = |ice| {
            let transport = Transport { id: ID, ice, sdp: Some(&answered) };
            let described_answer = Descriptors { media: vec![audio()], transport: Some(transport) };
            answer(&described(&offered, &[audio()]), &described_answer).map_err(|refusal| refusal.reason())
        };
        assert_eq!(judged(Ice::Absent), Ok(Applies::WebRtc));
        assert_eq!(judged(Ice::Other), Err("media.failed"));
        assert_eq!(Ice::read(Some(None)), Ice::Other);
        assert_eq!(Ice::read(Some(Some("full"))), Ice::Other);
    }

    #[test]
    fn steps_3_and_4_missing_and_unreadable_sdp() {
        assert_eq!(judge_offer("", &[audio()]), Err(("binding-sdp-missing", "media.offer-required")));
        assert_eq!(judge_offer("hello", &[audio()]), Err(("binding-sdp-invalid", "media.unsupported")));
        assert_eq!(judge_offer("v=0\nm=audio\n", &[audio()]), Err(("binding-sdp-invalid", "media.unsupported")));
        assert_eq!(judge_answer("", &[audio()]), Err(("binding-sdp-missing", "media.failed")));
        assert_eq!(judge_answer("hello", &[audio()]), Err(("binding-sdp-invalid", "media.failed")));
    }

    #[test]
    fn step_5_an_answer_keeps_every_section_of_the_offer() {
        let two = sdp(|s| format!("{}{}", s.replace("actpass", "active"), s.replace("m=audio 9", "m=audio 0")));
        assert_eq!(judge_answer(&two, &[audio()]), Err(("binding-section-count", "media.failed")));
    }

    #[test]
    fn web_14_a_section_turned_down_gets_no_descriptor_and_is_not_examined() {
        let offered = sdp(|s| format!("{s}{}", s.replace("audio", "video")));
        let answered = sdp(|s| format!("{}m=video 0 nonsense 9\r\n", s.replace("actpass", "active")));
        let outcome = answer(&described(&offered, &[audio(), audio()]), &described(&answered, &[audio()]));
        assert_eq!(outcome, Ok(Applies::WebRtc));
    }

    #[test]
    fn step_6_a_data_channel_is_reported_before_the_count() {
        let text = sdp(|s| format!("{s}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
        assert_eq!(judge_offer(&text, &[audio()]), Err(("binding-extra-section", "media.unsupported")));
        let refused = sdp(|s| format!("{s}m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
        assert_eq!(judge_offer(&refused, &[audio()]), Ok(Applies::WebRtc));
    }

    #[test]
    fn step_7_every_live_section_has_a_descriptor() {
        let text = sdp(str::to_owned);
        let count = Err(("binding-section-count", "media.unsupported"));
        assert_eq!(judge_offer(&text, &[audio(), audio()]), count);
        assert_eq!(judge_offer(&text, &[]), count);
        assert_eq!(judge_answer(&text, &[audio(), audio()]), Err(("binding-section-count", "media.failed")));
    }

    #[test]
    fn steps_8_to_15_each_fault_has_its_code_and_reason() {
        let unsupported = "media.unsupported";
        for (from, to, code, reason) in [
            ("m=audio", "m=video", "binding-kind-mismatch", unsupported),
            ("UDP/TLS/RTP/SAVPF", "RTP/AVP", "binding-encryption", "media.encryption-required"),
            ("UDP/TLS/RTP/SAVPF", "RTP/AVPF", "binding-encryption", "media.encryption-required"),
            ("UDP/TLS/RTP/SAVPF", "udp/tls/rtp/savpf", "binding-encryption", "media.encryption-required"),
            ("a=sendrecv", "a=sendonly", "binding-direction-mismatch", unsupported),
            ("opus/48000/2", "G722/8000", "binding-codec-missing", unsupported),
            ("a=rtcp-mux\r\n", "", "binding-rtcp-mux-missing", unsupported),
            ("a=fingerprint:sha-256 AA:BB\r\n", "", "binding-fingerprint-missing", unsupported),
            ("sha-256 AA", "sha-1 AA", "binding-fingerprint-missing", unsupported),
            ("sha-256 AA", "sha-256", "binding-fingerprint-missing", unsupported),
            ("a=ice-ufrag:u\r\n", "", "binding-ice-credentials-missing", unsupported),
            ("a=ice-pwd:p", "a=ice-pwd:", "binding-ice-credentials-missing", unsupported),
            ("actpass", "active", "binding-setup-invalid", unsupported),
            ("a=setup:actpass\r\n", "", "binding-setup-invalid", unsupported),
        ] {
            let text = sdp(|s| s.replace(from, to));
            assert_eq!(judge_offer(&text, &[audio()]), Err((code, reason)), "{from:?} -> {to:?}");
        }
        for protocol in SECURE_PROTOCOLS {
            let text = sdp(|s| s.replace("UDP/TLS/RTP/SAVPF", protocol).replace("sha-256", "SHA-256"));
            assert_eq!(judge_offer(&text, &[audio()]), Ok(Applies::WebRtc), "{protocol}");
        }
    }

    #[test]
    fn step_10_and_15_in_an_answer_are_media_failed() {
        let direction = sdp(|s| s.replace("actpass", "active").replace("sendrecv", "inactive"));
        assert_eq!(judge_answer(&direction, &[audio()]), Err(("binding-direction-mismatch", "media.failed")));
        let setup = Err(("binding-setup-invalid", "media.failed"));
        assert_eq!(judge_answer(&sdp(str::to_owned), &[audio()]), setup);
        assert_eq!(judge_answer(&sdp(|s| s.replace("actpass", "holdconn")), &[audio()]), setup);
        assert_eq!(judge_answer(&sdp(|s| s.replace("actpass", "passive")), &[audio()]), Ok(Applies::WebRtc));
    }

    #[test]
    fn web_12_and_13_codecs_unknown_to_either_side_are_no_fault() {
        let more = sdp(|s| format!("{s}a=rtpmap:63 red/48000/2\r\na=rtpmap:126 telephone-event/8000\r\n"));
        let mut medium = audio();
        medium.codecs.push("codec:audio/aac");
        assert_eq!(judge_offer(&more, &[medium]), Ok(Applies::WebRtc));
    }

    #[test]
    fn web_30_one_section_is_judged_in_full_before_the_next() {
        // Section 0 lacks rtcp-mux (step 12), section 1 is of the wrong kind (step 8): section 0 decides.
        let text = sdp(|s| format!("{}{}", s.replace("a=rtcp-mux\r\n", ""), s.replace("m=audio", "m=text")));
        let refusal = offer(&described(&text, &[audio(), audio()])).expect_err("refused");
        assert_eq!((refusal.code, refusal.section), (Code::RtcpMuxMissing, Some(0)));
        assert_eq!(refusal.detail(), "binding-rtcp-mux-missing in section 0");
    }

    #[test]
    fn web_34_an_update_without_a_webrtc_offer_is_a_missing_offer() {
        let judged = |transport| {
            let outcome = update(&Descriptors { media: vec![audio()], transport });
            outcome.map_err(|refusal| refusal.reason())
        };
        assert_eq!(judged(None), Err("media.offer-required"));
        assert_eq!(judged(Some(Transport { id: ID, ice: Ice::Trickle, sdp: None })), Err("media.offer-required"));
        let rtp = Transport { id: "transport:rtp", ice: Ice::Absent, sdp: Some("v=0") };
        assert_eq!(judged(Some(rtp)), Err("media.offer-required"));
        let text = sdp(str::to_owned);
        assert_eq!(judged(Some(Transport { id: ID, ice: Ice::Trickle, sdp: Some(&text) })), Ok(()));
    }

    #[test]
    fn web_35_bundle_and_ice_lite_are_not_judged() {
        let text = format!("v=0\r\na=ice-lite\r\n{SECTION}");
        assert_eq!(judge_offer(&text, &[audio()]), Ok(Applies::WebRtc));
    }
}
