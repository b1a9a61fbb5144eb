//! Who the phone is, whom it lets in, and how it describes a call.

use std::fmt;

use crate::binding::webrtc;

use crate::identity::DeviceKey;
use crate::wire::media::{MediaDescriptor, Transport};
use crate::wire::token::{CodecId, Direction, MediaType, TransportId};
use crate::wire::{Did, Envelope};

use super::Memory;

/// What a phone needs to know at birth.
#[derive(Debug)]
pub struct Config {
    /// Who it is.
    pub identity: Identity,
    /// Whom it lets in.
    pub policy: Policy,
    /// Its own node, where calls come in. Without one it can only call.
    pub node: Option<Relay>,
    /// Whether its owner wants it to be found in the overlay (DHT-31). Off unless somebody said yes.
    pub publish: bool,
    /// What it remembers.
    pub memory: Memory,
}

/// An identity and the device key that acts for it.
pub struct Identity {
    /// The identity the phone speaks for.
    pub did: Did,
    /// The key that signs everything.
    pub device: DeviceKey,
    /// Why the device may act for the identity. Empty when the device is the identity itself, as an ephemeral one is.
    pub delegations: Vec<Envelope>,
    /// The name to claim in calls and introductions (TRU-9).
    pub name: Option<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("did", &self.did).finish_non_exhaustive()
    }
}

/// Whom the phone lets in. People in the address book and holders of a live grant are always let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether strangers have to introduce themselves first (FC-10).
    pub first_contact: bool,
    /// Whether to refuse every call for now.
    pub do_not_disturb: bool,
    /// How many calls may ring or be up at one time; the next caller hears that we are busy.
    pub calls: usize,
}

impl Default for Policy {
    /// Everybody may call, and a few at a time.
    fn default() -> Self {
        Self { first_contact: false, do_not_disturb: false, calls: 8 }
    }
}

/// A relay to dial. Where this came from proves nothing; its `hello` does (HEL-6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Its WebSocket address, `wss://…`; QUIC is served on UDP at the same host and port.
    pub uri: String,
    /// The bindings it is said to speak. Empty means unknown.
    pub bindings: Vec<String>,
    /// The relay's own DID, if known. Then nobody else's `hello` will do.
    pub node: Option<Did>,
}

impl Relay {
    /// Whom a `hello` on this link is for (HEL-12): the relay's DID if known, else the host and port dialled.
    #[must_use]
    pub fn audience(&self) -> String {
        if let Some(node) = &self.node {
            return node.to_string();
        }
        let authority = self.uri.strip_prefix("wss://").unwrap_or(&self.uri);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        if has_port { authority.to_owned() } else { format!("{authority}:443") }
    }
}

/// One side's description of the media: what is wanted (descriptors) and how RTP runs (SDP). The two have to agree
/// (WEB-10); the agent checks what a peer sends, the media engine makes our own.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The descriptors, in the order of the live sections.
    pub media: Vec<MediaDescriptor>,
    /// The SDP, exactly as the media engine made it.
    pub sdp: String,
    /// The path for real-time text beside the media: its SDP, or an empty text for "it may be opened" (RTT-1). None where it
    /// is not known.
    pub text: Option<String>,
}

impl Description {
    /// One Opus stream.
    #[must_use]
    pub fn voice(direction: Direction, sdp: String) -> Self {
        Self { media: vec![MediaDescriptor::new(MediaType::Audio, direction, &[CodecId::OPUS])], sdp, text: None }
    }

    /// The direction of the first audio descriptor, as its author sees it.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let audio = self.media.iter().find(|media| media.kind == MediaType::Audio);
        audio.map_or(Direction::Inactive, |media| media.direction)
    }

    /// What a message carries for it.
    #[must_use]
    pub fn transports(&self) -> Vec<Transport> {
        let mut transport = Transport::new(TransportId::WEBRTC).with_sdp(webrtc::ICE_MODE, &self.sdp);
        if let Some(text) = &self.text {
            let (name, member) = webrtc::text_member(text);
            transport.rest.insert(name, member);
        }
        vec![transport]
    }

    /// Reads what a message carries. The first `transport:webrtc` is the one that counts (WEB-7); without one there is no
    /// SDP, and the checks of the binding refuse it.
    pub(super) fn read(media: &[MediaDescriptor], transports: &[Transport]) -> Self {
        let chosen = transports.iter().find(|transport| transport.id == TransportId::WEBRTC);
        let sdp = chosen.and_then(Transport::sdp).unwrap_or_default().to_owned();
        let text = chosen.and_then(|transport| webrtc::text_of(&transport.rest)).map(str::to_owned);
        Self { media: media.to_vec(), sdp, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_7_the_webrtc_transport_counts_wherever_it_stands() {
        let offered = |id: TransportId, sdp: &str| Transport::new(id).with_sdp(webrtc::ICE_MODE, sdp);
        let other = || TransportId::HLS;
        let read = |transports: &[Transport]| Description::read(&[], transports).sdp;
        let ours = || offered(TransportId::WEBRTC, "first");
        assert_eq!(read(&[ours(), offered(other(), "x")]), "first");
        assert_eq!(read(&[offered(other(), "x"), ours(), offered(TransportId::WEBRTC, "second")]), "first");
        assert_eq!(read(&[offered(other(), "x")]), "");
    }

    #[test]
    fn hel_12_without_a_did_the_audience_is_what_was_dialled() {
        let relay = |uri: &str| Relay { uri: uri.into(), bindings: Vec::new(), node: None }.audience();
        assert_eq!(relay("wss://node.example/dsip"), "node.example:443");
        assert_eq!(relay("wss://node.example:8443/dsip"), "node.example:8443");
        assert_eq!(relay("wss://[::1]:8443/dsip"), "[::1]:8443");
        assert_eq!(relay("wss://[2001:db8::1]/dsip"), "[2001:db8::1]:443");
    }
}
