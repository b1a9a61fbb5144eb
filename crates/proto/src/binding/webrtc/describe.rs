//! From the SDP a media stack made to the descriptors beside it (WEB-10): one for each live section, in order.

use super::{Sdp, Section};
use crate::wire::media::{Codec as Named, MediaDescriptor};
use crate::wire::token::{MediaType, Token};

/// A section that no descriptor can stand for. A media stack that makes one was configured to: this is a fault here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Indescribable {
    /// The text is not SDP.
    #[error("not readable as SDP")]
    Sdp,
    /// A section is neither audio nor video nor text.
    #[error("a section of a kind that has no descriptor")]
    Kind,
    /// A section has no codec that DSIP has a name for (WEB-38).
    #[error("a section without a codec that has a DSIP id")]
    Codecs,
}

/// The descriptors of an offer. `purpose` says what the section with this `a=mid` is for (WEB-111).
pub fn describe_offer(
    sdp: &str,
    purpose: impl Fn(&str) -> Option<Token>,
) -> Result<Vec<MediaDescriptor>, Indescribable> {
    let sdp = Sdp::parse(sdp).map_err(|_| Indescribable::Sdp)?;
    sdp.live().map(|section| descriptor(&section, section.value("mid").and_then(&purpose))).collect()
}

/// The descriptors of an answer. What a section is for was said by the offer, whose sections are the same in the same order
/// (WEB-41): `offered` are its descriptors, `offer` its SDP.
pub fn describe_answer(
    sdp: &str,
    offered: &[MediaDescriptor],
    offer: &str,
) -> Result<Vec<MediaDescriptor>, Indescribable> {
    let (sdp, offer) = (Sdp::parse(sdp), Sdp::parse(offer));
    let (sdp, offer) = sdp.ok().zip(offer.ok()).ok_or(Indescribable::Sdp)?;
    // WEB-10: the i-th descriptor belongs to the i-th live section.
    let mut offered = offered.iter();
    let purposes = offer.sections().map(|section| {
        let descriptor = section.is_live().then(|| offered.next()).flatten();
        descriptor.and_then(|descriptor| descriptor.purpose.clone())
    });
    let sections = sdp.sections().zip(purposes).filter(|(section, _)| section.is_live());
    sections.map(|(section, purpose)| descriptor(&section, purpose)).collect()
}

fn descriptor(section: &Section<'_, '_>, purpose: Option<Token>) -> Result<MediaDescriptor, Indescribable> {
    let kind = MediaType::ALL.iter().copied().find(|kind| kind.as_str() == section.kind());
    let kind = kind.filter(|kind| *kind != MediaType::Application).ok_or(Indescribable::Kind)?;
    // The order of the formats is the order of preference; that of the `a=rtpmap` lines means nothing.
    let named = |format: &&str| {
        let (_, encoding) = section.rtpmaps().find(|(payload, _)| payload == format)?;
        super::Codec::from_encoding(encoding)
    };
    let mut codecs: Vec<Named> = Vec::new();
    for id in section.formats().iter().filter_map(named).filter_map(|codec| codec.id().parse().ok()) {
        if !codecs.iter().any(|known| known.id == id) {
            codecs.push(Named::new(id));
        }
    }
    if codecs.is_empty() {
        return Err(Indescribable::Codecs);
    }
    let mut descriptor = MediaDescriptor::new(kind, section.direction(), &[]);
    (descriptor.codecs, descriptor.purpose) = (codecs, purpose);
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::webrtc::{Applies, ICE_MODE, answer, offer};
    use crate::wire::media::Transport;
    use crate::wire::token::{Direction, TransportId};

    const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=fingerprint:sha-256 AA:BB\r\n";

    fn section(kind: &str, port: u16, mid: &str, direction: &str, setup: &str) -> String {
        let (formats, maps) = match kind {
            "audio" => ("111 63 9", "a=rtpmap:9 G722/8000\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:111 opus/48000/2\r\n"),
            _ => ("98 96 97", "a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=rtpmap:98 VP9/90000\r\n"),
        };
        format!(
            "m={kind} {port} UDP/TLS/RTP/SAVPF {formats}\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\n\
             a=setup:{setup}\r\n{maps}"
        )
    }

    fn transports(sdp: &str) -> Vec<Transport> {
        vec![Transport::new(TransportId::WEBRTC).with_sdp(ICE_MODE, sdp)]
    }

    #[test]
    fn web_10_what_is_described_agrees_with_its_sdp() {
        let sdp = [
            HEAD,
            &section("audio", 9, "0", "sendrecv", "actpass"),
            &section("video", 9, "1", "sendrecv", "actpass"),
            &section("video", 9, "2", "sendonly", "actpass"),
        ]
        .concat();
        let screen = |mid: &str| (mid == "2").then(|| "screen".parse().expect("a token"));
        let media = describe_offer(&sdp, screen).expect("described");
        assert_eq!(offer((&media, &transports(&sdp))), Ok(Applies::WebRtc));
        let purposes: Vec<_> = media.iter().map(|media| media.purpose.as_ref().map(Token::as_str)).collect();
        assert_eq!(purposes, [None, None, Some("screen")]);
        let codecs: Vec<_> = media[1].codecs.iter().map(|codec| codec.id.as_str()).collect();
        assert_eq!(codecs, ["codec:video/vp9", "codec:video/vp8"], "in the order of preference");

        // WEB-14: the camera is turned down, and the screen keeps its purpose.
        let selected = [
            HEAD,
            &section("audio", 9, "0", "sendrecv", "active"),
            &section("video", 0, "1", "inactive", "active"),
            &section("video", 9, "2", "recvonly", "active"),
        ]
        .concat();
        let selection = describe_answer(&selected, &media, &sdp).expect("described");
        assert_eq!(selection.len(), 2);
        assert_eq!(selection[1].direction, Direction::RecvOnly);
        assert_eq!(selection[1].purpose.as_ref().map(Token::as_str), Some("screen"));
        let (offered, answered) = (transports(&sdp), transports(&selected));
        assert_eq!(answer((&media, &offered), (&selection, &answered)), Ok(Applies::WebRtc));
    }

    #[test]
    fn what_cannot_be_described_is_said() {
        let no_purpose = |_: &str| None;
        assert_eq!(describe_offer("", no_purpose), Err(Indescribable::Sdp));
        let data = format!("{HEAD}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n");
        assert_eq!(describe_offer(&data, no_purpose), Err(Indescribable::Kind));
        let bare = format!("{HEAD}m=audio 9 UDP/TLS/RTP/SAVPF 13\r\na=rtpmap:13 CN/8000\r\n");
        assert_eq!(describe_offer(&bare, no_purpose), Err(Indescribable::Codecs));
    }
}
