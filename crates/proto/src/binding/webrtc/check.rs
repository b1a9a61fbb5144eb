//! Is this offer or this answer usable? The consistency checks of file 04, section 5, in their normative order (WEB-30).

use std::fmt;

use serde_json::Value;

use super::{Codec, ICE_MODE, Sdp, Section};
use crate::wire::Reason;
use crate::wire::media::{MediaDescriptor, Transport};
use crate::wire::token::TransportId;

/// The protocols whose media is encrypted (step 9). Steps 13 and 15 still force a fingerprint and a DTLS role on all.
const SECURE_PROTOCOLS: [&str; 5] =
    ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/TLS/RTP/SAVPF", "RTP/SAVPF", "RTP/SAVP"];

/// What a message describes: its `media[]` and its `transports[]`, of which only the first counts (WEB-6). A host that
/// wants another transport of an offer passes that one alone (WEB-7).
pub type Described<'a> = (&'a [MediaDescriptor], &'a [Transport]);

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
pub fn offer(offer: Described<'_>) -> Result<Applies, Refusal> {
    check(offer, Description::Offer, None)
}

/// Checks the offer of an `update` inside an established WebRTC session: here a missing transport, another one or a missing
/// SDP is a missing offer (WEB-34). A refusal is answered with `reject` and never ends the session (WEB-31, WEB-95).
pub fn update(offer: Described<'_>) -> Result<(), Refusal> {
    match check(offer, Description::Offer, None)? {
        Applies::WebRtc => Ok(()),
        Applies::NotWebRtc => Err(Refusal { code: Code::SdpMissing, of: Description::Offer, section: None }),
    }
}

/// Checks an answer against the offer it answers. A refusal ends that leg with `bye` (WEB-32).
pub fn answer(offer: Described<'_>, answer: Described<'_>) -> Result<Applies, Refusal> {
    check(answer, Description::Answer, offered_sections(offer))
}

/// How many sections the offer's SDP has, for step 5; `None` if it has no readable SDP.
fn offered_sections(offer: Described<'_>) -> Option<usize> {
    Sdp::parse(offer.1.first()?.sdp()?).ok().map(|sdp| sdp.sections().len())
}

fn check(
    (media, transports): Described<'_>,
    of: Description,
    offered_sections: Option<usize>,
) -> Result<Applies, Refusal> {
    let refuse = |code| Err(Refusal { code, of, section: None });
    // Step 1, WEB-6
    let Some(transport) = transports.first().filter(|transport| transport.id == TransportId::WEBRTC) else {
        return Ok(Applies::NotWebRtc);
    };
    // Step 2
    match (transport.rest.get("ice").map(Value::as_str), of) {
        (Some(Some(ICE_MODE)), _) | (None, Description::Answer) => {}
        (Some(_), _) | (None, Description::Offer) => return refuse(Code::IceMode),
    }
    // Step 3
    let Some(text) = transport.sdp().filter(|text| !text.is_empty()) else {
        return refuse(Code::SdpMissing);
    };
    // Step 4
    let Ok(sdp) = Sdp::parse(text) else {
        return refuse(Code::SdpInvalid);
    };
    // Step 5: an answer keeps every section of its offer, those it turns down included.
    if offered_sections.is_some_and(|offered| offered != sdp.sections().len()) {
        return refuse(Code::SectionCount);
    }
    // Step 6
    if sdp.live().any(|section| section.kind() == "application") {
        return refuse(Code::ExtraSection);
    }
    // Step 7
    if sdp.live().count() != media.len() {
        return refuse(Code::SectionCount);
    }
    for (index, (section, medium)) in sdp.live().zip(media).enumerate() {
        section_matches(section, medium, of).map_err(|code| Refusal { code, of, section: Some(index) })?;
    }
    Ok(Applies::WebRtc)
}

/// Steps 8 to 15, applied in full to one section before the next one is looked at.
fn section_matches(section: Section<'_, '_>, medium: &MediaDescriptor, of: Description) -> Result<(), Code> {
    if section.kind() != medium.kind.as_str() {
        return Err(Code::KindMismatch);
    }
    if !SECURE_PROTOCOLS.contains(&section.protocol()) {
        return Err(Code::Encryption);
    }
    if section.direction() != medium.direction {
        return Err(Code::DirectionMismatch);
    }
    // WEB-13: ids without a mapping are not checked at all. WEB-12: encodings nobody described are fine.
    let encoded = section.codecs();
    let mut described = medium.codecs.iter().filter_map(|codec| Codec::from_id(codec.id.as_str()));
    if described.any(|codec| !encoded.contains(&codec)) {
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

impl Refusal {
    /// The reason token that travels with the refusal.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.of {
            Description::Offer => self.code.reason_for_offer(),
            Description::Answer => Reason::MEDIA_FAILED,
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

    fn reason_for_offer(self) -> Reason {
        match self {
            Self::SdpMissing => Reason::MEDIA_OFFER_REQUIRED,
            Self::Encryption => Reason::MEDIA_ENCRYPTION_REQUIRED,
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
            | Self::SetupInvalid => Reason::MEDIA_UNSUPPORTED,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::media::Codec;
    use crate::wire::token::{CodecId, Direction, MediaType};

    const SECTION: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
        a=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n";

    fn audio() -> MediaDescriptor {
        MediaDescriptor::new(MediaType::Audio, Direction::SendRecv, &[CodecId::OPUS])
    }

    fn transport(sdp: &str) -> [Transport; 1] {
        [Transport::new(TransportId::WEBRTC).with_sdp(ICE_MODE, sdp)]
    }

    fn bare(members: &Value) -> [Transport; 1] {
        let mut transport = Transport::new(TransportId::WEBRTC);
        transport.rest.extend(members.as_object().cloned().unwrap_or_default());
        [transport]
    }

    fn sdp(edit: impl Fn(&str) -> String) -> String {
        format!("v=0\r\ns=-\r\n{}", edit(SECTION))
    }

    type Judged = Result<Applies, (&'static str, String)>;

    fn judged(outcome: Result<Applies, Refusal>) -> Judged {
        outcome.map_err(|refusal| (refusal.code.as_str(), refusal.reason().to_string()))
    }

    fn refused(code: &'static str, reason: &str) -> Judged {
        Err((code, reason.to_owned()))
    }

    fn judge_offer(sdp: &str, media: &[MediaDescriptor]) -> Judged {
        judged(offer((media, &transport(sdp))))
    }

    /// The answer of `sdp` to an offer of the plain audio section.
    fn judge_answer(sdp_text: &str, media: &[MediaDescriptor]) -> Judged {
        let offered = transport(&sdp(str::to_owned));
        judged(answer((&[audio()], &offered), (media, &transport(sdp_text))))
    }

    #[test]
    fn web_5_a_plain_audio_offer_is_accepted() {
        assert_eq!(judge_offer(&sdp(str::to_owned), &[audio()]), Ok(Applies::WebRtc));
    }

    #[test]
    fn web_6_only_the_first_transport_counts_and_others_are_not_checked() {
        assert_eq!(offer((&[audio()], &[])), Ok(Applies::NotWebRtc));
        let [broken] = transport("broken");
        let others = [Transport::new(TransportId::RTP), broken];
        assert_eq!(offer((&[audio()], &others)), Ok(Applies::NotWebRtc));
    }

    #[test]
    fn step_2_ice_mode_is_judged_before_sdp_presence() {
        let code = |members: Value| offer((&[audio()], &bare(&members))).map_err(|refusal| refusal.code);
        for members in [json!({}), json!({"ice": "full"}), json!({"ice": 5}), json!({"ice": null})] {
            assert_eq!(code(members), Err(Code::IceMode));
        }
        assert_eq!(code(json!({"ice": "trickle"})), Err(Code::SdpMissing));
        assert_eq!(code(json!({"ice": "trickle", "sdp": 5})), Err(Code::SdpMissing));
    }

    #[test]
    fn step_2_an_answer_may_leave_ice_out_but_not_name_another_mode() {
        let offered = transport(&sdp(str::to_owned));
        let answered = sdp(|s| s.replace("actpass", "active"));
        let judge = |members: Value| judged(answer((&[audio()], &offered), (&[audio()], &bare(&members))));
        assert_eq!(judge(json!({"sdp": answered})), Ok(Applies::WebRtc));
        for ice in [json!("full"), json!(5)] {
            assert_eq!(judge(json!({"sdp": answered, "ice": ice})), refused("binding-ice-mode", "media.failed"));
        }
    }

    #[test]
    fn steps_3_and_4_missing_and_unreadable_sdp() {
        assert_eq!(judge_offer("", &[audio()]), refused("binding-sdp-missing", "media.offer-required"));
        assert_eq!(judge_offer("hello", &[audio()]), refused("binding-sdp-invalid", "media.unsupported"));
        assert_eq!(judge_offer("v=0\nm=audio\n", &[audio()]), refused("binding-sdp-invalid", "media.unsupported"));
        assert_eq!(judge_answer("", &[audio()]), refused("binding-sdp-missing", "media.failed"));
        assert_eq!(judge_answer("hello", &[audio()]), refused("binding-sdp-invalid", "media.failed"));
    }

    #[test]
    fn step_5_an_answer_keeps_every_section_of_the_offer() {
        let two = sdp(|s| format!("{}{}", s.replace("actpass", "active"), s.replace("m=audio 9", "m=audio 0")));
        assert_eq!(judge_answer(&two, &[audio()]), refused("binding-section-count", "media.failed"));
    }

    #[test]
    fn web_14_a_section_turned_down_gets_no_descriptor_and_is_not_examined() {
        let offered = sdp(|s| format!("{s}{}", s.replace("audio", "video")));
        let answered = sdp(|s| format!("{}m=video 0 nonsense 9\r\n", s.replace("actpass", "active")));
        let outcome = answer((&[audio(), audio()], &transport(&offered)), (&[audio()], &transport(&answered)));
        assert_eq!(outcome, Ok(Applies::WebRtc));
    }

    #[test]
    fn step_6_a_data_channel_is_reported_before_the_count() {
        let text = sdp(|s| format!("{s}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
        assert_eq!(judge_offer(&text, &[audio()]), refused("binding-extra-section", "media.unsupported"));
        let refused = sdp(|s| format!("{s}m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
        assert_eq!(judge_offer(&refused, &[audio()]), Ok(Applies::WebRtc));
    }

    #[test]
    fn step_7_every_live_section_has_a_descriptor() {
        let text = sdp(str::to_owned);
        let count = || refused("binding-section-count", "media.unsupported");
        assert_eq!(judge_offer(&text, &[audio(), audio()]), count());
        assert_eq!(judge_offer(&text, &[]), count());
        assert_eq!(judge_answer(&text, &[audio(), audio()]), refused("binding-section-count", "media.failed"));
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
            assert_eq!(judge_offer(&text, &[audio()]), refused(code, reason), "{from:?} -> {to:?}");
        }
        for protocol in SECURE_PROTOCOLS {
            let text = sdp(|s| s.replace("UDP/TLS/RTP/SAVPF", protocol).replace("sha-256", "SHA-256"));
            assert_eq!(judge_offer(&text, &[audio()]), Ok(Applies::WebRtc), "{protocol}");
        }
    }

    #[test]
    fn step_10_and_15_in_an_answer_are_media_failed() {
        let direction = sdp(|s| s.replace("actpass", "active").replace("sendrecv", "inactive"));
        assert_eq!(judge_answer(&direction, &[audio()]), refused("binding-direction-mismatch", "media.failed"));
        let setup = || refused("binding-setup-invalid", "media.failed");
        assert_eq!(judge_answer(&sdp(str::to_owned), &[audio()]), setup());
        assert_eq!(judge_answer(&sdp(|s| s.replace("actpass", "holdconn")), &[audio()]), setup());
        assert_eq!(judge_answer(&sdp(|s| s.replace("actpass", "passive")), &[audio()]), Ok(Applies::WebRtc));
    }

    #[test]
    fn web_12_and_13_codecs_unknown_to_either_side_are_no_fault() {
        let more = sdp(|s| format!("{s}a=rtpmap:63 red/48000/2\r\na=rtpmap:126 telephone-event/8000\r\n"));
        let mut medium = audio();
        medium.codecs.push(Codec::new(CodecId::AAC));
        assert_eq!(judge_offer(&more, &[medium]), Ok(Applies::WebRtc));
    }

    #[test]
    fn web_30_one_section_is_judged_in_full_before_the_next() {
        // Section 0 lacks rtcp-mux (step 12), section 1 is of the wrong kind (step 8): section 0 decides.
        let text = sdp(|s| format!("{}{}", s.replace("a=rtcp-mux\r\n", ""), s.replace("m=audio", "m=text")));
        let refusal = offer((&[audio(), audio()], &transport(&text))).expect_err("refused");
        assert_eq!((refusal.code, refusal.section), (Code::RtcpMuxMissing, Some(0)));
        assert_eq!(refusal.detail(), "binding-rtcp-mux-missing in section 0");
    }

    #[test]
    fn web_34_an_update_without_a_webrtc_offer_is_a_missing_offer() {
        let judge =
            |transports: &[Transport]| update((&[audio()], transports)).map_err(|refusal| refusal.reason().to_string());
        let rtp = Transport::new(TransportId::RTP).with_sdp(ICE_MODE, "v=0");
        for transports in [vec![], vec![rtp], bare(&json!({"ice": "trickle"})).to_vec()] {
            assert_eq!(judge(&transports), Err("media.offer-required".to_owned()));
        }
        assert_eq!(judge(&transport(&sdp(str::to_owned))), Ok(()));
    }

    #[test]
    fn web_35_bundle_and_ice_lite_are_not_judged() {
        let text = format!("v=0\r\na=ice-lite\r\n{SECTION}");
        assert_eq!(judge_offer(&text, &[audio()]), Ok(Applies::WebRtc));
    }
}
