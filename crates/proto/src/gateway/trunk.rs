//! The trunk's SDP and DSIP's descriptors (file 05, section 5). No SDP crosses the gateway: each side's own governs its
//! own transport, and descriptors are derived anew.

use crate::binding::webrtc::{Codec, Sdp, Section, Unparseable};
use crate::wire::media::MediaDescriptor;
use crate::wire::token::{Direction, MediaType};

/// What a trunk's SDP says about media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trunk {
    /// The sections that DSIP can describe. It may be empty (GW-85).
    pub media: Vec<Medium>,
    /// How the trunk keys its media.
    pub srtp: Srtp,
}

/// One medium, as both sides can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Medium {
    /// Sound or pictures.
    pub kind: MediaType,
    /// Hold directions carry through (GW-83).
    pub direction: Direction,
    /// The codecs both sides have a name for, in the order of the source, each once.
    pub codecs: Vec<Codec>,
}

/// How a trunk keys its media: the `srtp` member of a `transport:rtp` descriptor (RTP section 13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Srtp {
    /// Keys in the SDP.
    Sdes,
    /// Keys from a DTLS handshake.
    Dtls,
    /// No encryption. Only on a trunk its operator marked as trusted, and always a loss (RTP-4, GW-110).
    None,
}

/// Reads a trunk's SDP (GW-80 to GW-86).
pub fn read(sdp: &str) -> Result<Trunk, Unparseable> {
    let sdp = Sdp::parse(sdp)?;
    let media = sdp.live().filter_map(|section| {
        // GW-81
        let kind = section.kind().parse().ok().filter(|kind| matches!(kind, MediaType::Audio | MediaType::Video))?;
        Some(Medium { kind, direction: section.direction(), codecs: codecs(section) })
    });
    // GW-82: no codec left, no descriptor.
    let media = media.filter(|medium| !medium.codecs.is_empty());
    Ok(Trunk { media: media.collect(), srtp: Srtp::of(&sdp) })
}

/// The m-lines a trunk is offered for these descriptors: those with a codec the trunk has a name for (GW-87).
#[must_use]
pub fn write(media: &[MediaDescriptor]) -> Vec<Medium> {
    let lines = media.iter().map(|medium| Medium {
        kind: medium.kind,
        direction: medium.direction,
        codecs: each_once(medium.codecs.iter().filter_map(|codec| Codec::from_id(codec.id.as_str()))),
    });
    lines.filter(|line| !line.codecs.is_empty()).collect()
}

/// The mapped encodings in `a=rtpmap` order (GW-82), then the static payload types that go without one (GW-86).
fn codecs(section: Section<'_, '_>) -> Vec<Codec> {
    // Three payload types can be static, however often they are listed.
    let is_static = |format: &&str| Codec::from_static_payload_type(format).is_some();
    let mut bare: Vec<&str> = Vec::new();
    for format in section.formats().iter().copied().filter(is_static) {
        if !bare.contains(&format) {
            bare.push(format);
        }
    }
    bare.retain(|format| section.rtpmaps().all(|(mapped, _)| mapped != *format));
    each_once(section.codecs().into_iter().chain(bare.into_iter().filter_map(Codec::from_static_payload_type)))
}

fn each_once(codecs: impl Iterator<Item = Codec>) -> Vec<Codec> {
    codecs.fold(Vec::new(), |mut seen, codec| {
        if !seen.contains(&codec) {
            seen.push(codec);
        }
        seen
    })
}

impl Srtp {
    // GW-84: over all sections, those skipped above included.
    fn of(sdp: &Sdp<'_>) -> Self {
        if sdp.sections().any(|section| section.has_own("crypto")) {
            Self::Sdes
        } else if sdp.sections().any(|section| section.protocol().contains("TLS")) {
            Self::Dtls
        } else {
            Self::None
        }
    }

    /// The value in a descriptor.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sdes => "sdes",
            Self::Dtls => "dtls",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::token::CodecId;

    fn media(sdp: &str) -> Vec<(MediaType, Direction, Vec<Codec>)> {
        let trunk = read(sdp).expect("readable");
        trunk.media.into_iter().map(|m| (m.kind, m.direction, m.codecs)).collect()
    }

    #[test]
    fn gw_80_unreadable_text_is_an_error() {
        assert!(read("not sdp").is_err());
    }

    #[test]
    fn gw_81_and_82_only_live_audio_and_video_with_a_known_codec() {
        let sdp = "v=0\nm=audio 0 RTP/AVP 0\na=rtpmap:0 PCMU/8000\nm=image 9 udptl t38\nm=audio 9 RTP/AVP 18\n\
            a=rtpmap:18 G729/8000\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\na=rtpmap:97 h264/90000\na=recvonly\n";
        assert_eq!(media(sdp), [(MediaType::Video, Direction::RecvOnly, vec![Codec::H264])]);
    }

    #[test]
    fn gw_84_keying_is_judged_over_all_sections() {
        let srtp = |sections: &str| read(&format!("v=0\n{sections}")).expect("readable").srtp.as_str();
        assert_eq!(srtp("m=audio 9 RTP/AVP 0\nm=image 0 RTP/SAVP 1\na=crypto:1 x inline:y\n"), "sdes");
        assert_eq!(srtp("m=audio 9 UDP/TLS/RTP/SAVP 0\na=crypto:1 x inline:y\n"), "sdes");
        assert_eq!(srtp("m=image 0 UDP/TLS/RTP/SAVP 1\n"), "dtls");
        assert_eq!(srtp("m=audio 9 RTP/SAVP 0\n"), "none");
    }

    #[test]
    fn gw_86_static_payload_types_need_no_rtpmap() {
        let sdp = "v=0\nm=audio 9 RTP/AVP 9 0 8 18\na=rtpmap:8 PCMA/8000\n";
        assert_eq!(media(sdp), [(MediaType::Audio, Direction::SendRecv, vec![Codec::Pcma, Codec::G722, Codec::Pcmu])]);
        // The payload type is taken by something else here, so it is not µ-law.
        assert_eq!(media("v=0\nm=audio 9 RTP/AVP 0\na=rtpmap:0 G729/8000\n"), []);
    }

    #[test]
    fn gw_87_descriptors_without_a_trunk_codec_are_left_out() {
        let lines = write(&[
            MediaDescriptor::new(MediaType::Audio, Direction::RecvOnly, &[CodecId::AAC, CodecId::G722, CodecId::OPUS]),
            MediaDescriptor::new(MediaType::Text, Direction::SendRecv, &[CodecId::T140]),
            MediaDescriptor::new(MediaType::Video, Direction::SendRecv, &[CodecId::VP8]),
        ]);
        let audio = vec![Codec::G722, Codec::Opus];
        let expected = [
            Medium { kind: MediaType::Audio, direction: Direction::RecvOnly, codecs: audio },
            Medium { kind: MediaType::Video, direction: Direction::SendRecv, codecs: vec![Codec::Vp8] },
        ];
        assert_eq!(lines, expected);
    }
}
