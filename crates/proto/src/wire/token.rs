//! Registered strings: their grammars, and which values this contract knows (01 §10.2, §11.0).
//!
//! An unknown but well-formed value is carried as it is (PAY-8, REG-6). Where a registry says what to treat it as, the
//! type has a method `effective`.

use super::field::{choice, text};
use super::{Did, SchemaError};

text! {
    /// A lower-case token without a registry of its own, such as an intent or a media purpose (T-token).
    Token, is_token
}

text! {
    /// What `progress` reports (`dsip-progress-status`).
    Status, is_token, {
        /// The invite arrived and is being worked on.
        TRYING = "trying",
        /// Somebody is being alerted.
        RINGING = "ringing",
        /// The caller waits in a queue.
        QUEUED = "queued",
        /// The invite was passed on to another target.
        FORWARDED = "forwarded",
    }
}

text! {
    /// Who or what answered, as the answering endpoint claims (`dsip-answered-by`, ANS-3).
    AnsweredBy, is_token, {
        /// A person.
        USER = "user",
        /// An automatic service: voicemail, voice menu, assistant.
        SERVICE = "service",
        /// Answered in screening mode.
        SCREENING = "screening",
        /// A gateway answering for a party beyond it.
        GATEWAY = "gateway",
    }
}

text! {
    /// How far a publisher's signature covers the media (`dsip-integrity-mode`, BC-21). Reserved names count as unknown.
    Integrity, is_token, {
        /// The publisher signs identity, title, policy and variant metadata.
        METADATA_ONLY = "metadata-only",
        /// A processor signs a derivative and references the record.
        DERIVATIVE_BOUND = "derivative-bound",
    }
}

text! {
    /// What a processor did to a stream (`dsip-provenance-operation`).
    Operation, is_token, {
        /// The media was encoded anew.
        TRANSCODE = "transcode",
        /// The media was passed on unchanged.
        RELAY = "relay",
        /// The media was put into another container.
        REPACKAGE = "repackage",
    }
}

text! {
    /// Why a key was rotated (`dsip-rotation-reason`).
    RotationReason, is_token, {
        /// Planned.
        SCHEDULED = "scheduled",
        /// The old key is in other hands; drop what was cached under it (ROT-7).
        COMPROMISED = "compromised",
        /// The old key is gone; drop what was cached under it (ROT-7).
        LOST = "lost",
        /// A policy demands it.
        POLICY = "policy",
    }
}

text! {
    /// What a subscription reports (`dsip-subscription-event`).
    SubscriptionEvent, is_token, {
        /// Whether somebody can be reached.
        PRESENCE = "presence",
        /// The state of a published stream.
        PUBLICATION = "publication",
        /// That something waits for a device that sleeps (docs/spec/wake.md).
        WAKE = "wake",
    }
}

text! {
    /// What a contact grant allows (`dsip-grant-scope`); an unknown scope grants nothing.
    Scope, is_scope, {
        /// Sending invites.
        INVITE = "dsip.invite",
        /// Subscribing.
        SUBSCRIBE = "dsip.subscribe",
    }
}

text! {
    /// A core version such as `1.0` (T-ver).
    Version, is_version, {
        /// The version this crate speaks.
        CORE = "1.0",
    }
}

text! {
    /// The id of a profile or an extension, such as `interactive-media/1.0` (T-pid).
    ProfileId, is_profile_id, {
        /// Interactive audio and video sessions.
        INTERACTIVE_MEDIA = "interactive-media/1.0",
        /// Verified broadcast.
        VERIFIED_BROADCAST = "verified-broadcast/1.0",
        /// Reachability hints in a distributed hash table.
        DHT_HINTS = "dht-hints/0.1",
    }
}

text! {
    /// The id of a transport binding for signalling, such as `ws/1.0` (T-binding).
    BindingId, is_binding_id, {
        /// WebSocket over TLS.
        WS = "ws/1.0",
        /// QUIC.
        QUIC = "quic/1.0",
    }
}

text! {
    /// The id of a codec, such as `codec:audio/opus` (T-codecid).
    CodecId, is_codec_id, {
        /// Opus.
        OPUS = "codec:audio/opus",
        /// G.711 μ-law.
        PCMU = "codec:audio/pcmu",
        /// G.711 A-law.
        PCMA = "codec:audio/pcma",
        /// G.722.
        G722 = "codec:audio/g722",
        /// AAC.
        AAC = "codec:audio/aac",
        /// H.264.
        H264 = "codec:video/h264",
        /// VP8.
        VP8 = "codec:video/vp8",
        /// VP9.
        VP9 = "codec:video/vp9",
        /// AV1.
        AV1 = "codec:video/av1",
        /// Real-time text.
        T140 = "codec:text/t140",
    }
}

text! {
    /// The id of a media transport, such as `transport:webrtc` (T-transid).
    TransportId, is_transport_id, {
        /// WebRTC: ICE and DTLS-SRTP.
        WEBRTC = "transport:webrtc",
        /// RTP with keys agreed elsewhere.
        RTP = "transport:rtp",
        /// SRTP with keys in the descriptions.
        RTP_SDES = "transport:rtp-sdes",
        /// HTTP live streaming.
        HLS = "transport:hls",
    }
}

text! {
    /// Which binding an `info` belongs to (`dsip-info-about`): a media transport id, in general.
    About, is_about, {
        /// ICE candidates of a WebRTC session.
        WEBRTC = "transport:webrtc",
    }
}

text! {
    /// The DID URL of a verification method, such as `did:web:example.com#key-1` (T-vmid).
    MethodId, is_method_id
}

text! {
    /// The text of a multibase key (T-mbkey); whether it is an Ed25519 key is for
    /// [`identity`](crate::identity) to say.
    MultibaseKey, is_multibase_key
}

choice! {
    /// The type of a media descriptor.
    MediaType {
        /// Sound.
        Audio = "audio",
        /// Pictures.
        Video = "video",
        /// Real-time text.
        Text = "text",
        /// Data.
        Application = "application",
    }
}

choice! {
    /// The direction of media, seen from the sender of the descriptor.
    Direction {
        /// Both ways.
        SendRecv = "sendrecv",
        /// From the sender of the descriptor only.
        SendOnly = "sendonly",
        /// To the sender of the descriptor only.
        RecvOnly = "recvonly",
        /// Neither way.
        Inactive = "inactive",
    }
}

choice! {
    /// The state of a subscription as a `notify` tells it.
    NotifyState {
        /// The subscription goes on.
        Active = "active",
        /// The subscription has ended; nothing follows (BC-65).
        Terminated = "terminated",
    }
}

choice! {
    /// The state of a published stream.
    StreamState {
        /// Streaming now.
        Live = "live",
        /// Announced.
        Scheduled = "scheduled",
        /// Over.
        Ended = "ended",
    }
}

impl Status {
    /// The registered status it stands for: an unknown one is `trying` (REG-4).
    #[must_use]
    pub fn effective(&self) -> Self {
        if self.is_registered() { self.clone() } else { Self::TRYING }
    }
}

impl AnsweredBy {
    /// The registered value it stands for: an unknown one is `service` (REG-3, ANS-2).
    #[must_use]
    pub fn effective(&self) -> Self {
        if self.is_registered() { self.clone() } else { Self::SERVICE }
    }
}

impl Integrity {
    /// The registered mode it stands for: an unknown one is `metadata-only` (REG-5, BC-20).
    #[must_use]
    pub fn effective(&self) -> Self {
        if self.is_registered() { self.clone() } else { Self::METADATA_ONLY }
    }
}

impl SubscriptionEvent {
    /// The longest lifetime, in seconds, that a subscription to this event may ask for (BC-61); unknown events add none.
    #[must_use]
    pub fn lifetime_cap(&self) -> Option<u64> {
        match self.as_str() {
            "presence" => Some(3_600),
            "publication" => Some(86_400),
            _ => None,
        }
    }
}

impl Version {
    /// Major and minor number, for comparing.
    #[must_use]
    pub fn numbers(&self) -> (u64, u64) {
        version_numbers(self.as_str()).unwrap_or_default()
    }
}

impl Direction {
    /// Whether a selection may say `self` where the offer said `offered` (NEG-4).
    #[must_use]
    pub fn answers(self, offered: Self) -> bool {
        match offered {
            Self::SendRecv => true,
            Self::SendOnly => matches!(self, Self::RecvOnly | Self::Inactive),
            Self::RecvOnly => matches!(self, Self::SendOnly | Self::Inactive),
            Self::Inactive => self == Self::Inactive,
        }
    }
}

impl MethodId {
    /// The DID before the fragment.
    pub fn did(&self) -> Result<Did, SchemaError> {
        self.as_str().split('#').next().unwrap_or_default().parse().map_err(|_| SchemaError)
    }
}

/// Major and minor number of `text`, if it is a version (VER-1). Numbers too long for 64 bits count as the largest.
pub(crate) fn version_numbers(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once('.')?;
    let number = |digits: &str| is_digits(digits).then(|| digits.parse().unwrap_or(u64::MAX));
    Some((number(major)?, number(minor)?))
}

fn is_version(text: &str) -> bool {
    text.split_once('.').is_some_and(|(major, minor)| is_digits(major) && is_digits(minor))
}

pub(super) fn is_token(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(is_token_byte)
}

fn is_scope(text: &str) -> bool {
    text.strip_prefix("dsip.").is_some_and(|name| {
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| is_token_byte(byte) || byte == b'.')
    })
}

fn is_profile_id(text: &str) -> bool {
    text.split_once('/').is_some_and(|(name, version)| is_token(name) && is_version(version))
}

fn is_binding_id(text: &str) -> bool {
    text.split_once('/').is_some_and(|(name, version)| {
        is_each(name, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) && is_version(version)
    })
}

fn is_codec_id(text: &str) -> bool {
    text.strip_prefix("codec:").and_then(|rest| rest.split_once('/')).is_some_and(|(kind, name)| {
        kind.parse::<MediaType>().is_ok()
            && is_each(name, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".+-".contains(&byte))
    })
}

fn is_transport_id(text: &str) -> bool {
    text.strip_prefix("transport:").is_some_and(|name| is_each(name, is_token_byte))
}

fn is_about(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(kind, name)| is_token(kind) && is_each(name, |byte| is_token_byte(byte) || byte == b'.'))
}

fn is_method_id(text: &str) -> bool {
    text.split_once('#').is_some_and(|(did, fragment)| {
        did.parse::<Did>().is_ok() && is_each(fragment, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    })
}

fn is_multibase_key(text: &str) -> bool {
    text.strip_prefix('z')
        .is_some_and(|key| is_each(key, |byte| byte.is_ascii_alphanumeric() && !b"0OIl".contains(&byte)))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn is_digits(text: &str) -> bool {
    is_each(text, |byte| byte.is_ascii_digit())
}

/// At least one byte, and each of them as `allowed` says.
fn is_each(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts<T: std::str::FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_ok(), "{text:?}");
        }
    }

    fn refuses<T: std::str::FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn grammars_of_the_shared_types() {
        accepts::<Token>(&["a", "sign-language", "x9-"]);
        refuses::<Token>(&["", "A", "9a", "-a", "a_b", "a\n", "é"]);
        accepts::<Version>(&["1.0", "01.20"]);
        refuses::<Version>(&["1", "1.", ".1", "1.0.0", "1.٠", "+1.0"]);
        accepts::<ProfileId>(&["interactive-media/1.0"]);
        refuses::<ProfileId>(&["interactive-media", "interactive-media/1", "a/1.0/1.0", "/1.0"]);
        accepts::<BindingId>(&["ws/1.0", "9/0.1"]);
        refuses::<BindingId>(&["w-s/1.0", "ws/1", "/1.0"]);
        accepts::<CodecId>(&["codec:audio/opus", "codec:application/x.y+z-1"]);
        refuses::<CodecId>(&["audio/opus", "codec:sound/opus", "codec:audio/", "codec:audio/Opus"]);
        accepts::<TransportId>(&["transport:webrtc", "transport:-"]);
        refuses::<TransportId>(&["webrtc", "transport:", "transport:a.b"]);
        accepts::<About>(&["transport:webrtc", "x-y:1.2"]);
        refuses::<About>(&["webrtc", ":a", "a:", "a:B"]);
        accepts::<Scope>(&["dsip.invite", "dsip.a.b-c1"]);
        refuses::<Scope>(&["dsip.", "invite", "dsip.1a", "dsip.a_b"]);
        accepts::<MethodId>(&["did:web:example.com#key-1"]);
        refuses::<MethodId>(&["did:web:example.com", "did:web:example.com#", "did:web:a#b#c", "x#y"]);
        accepts::<MultibaseKey>(&["z6Mk"]);
        refuses::<MultibaseKey>(&["z", "6Mk", "z0", "zl"]);
    }

    #[test]
    fn neg_4_directions() {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        let allowed = [
            (SendRecv, vec![SendRecv, SendOnly, RecvOnly, Inactive]),
            (SendOnly, vec![RecvOnly, Inactive]),
            (RecvOnly, vec![SendOnly, Inactive]),
            (Inactive, vec![Inactive]),
        ];
        for (offered, answers) in allowed {
            for direction in Direction::ALL {
                assert_eq!(direction.answers(offered), answers.contains(direction), "{direction} to {offered}");
            }
        }
    }

    #[test]
    fn ver_1_long_numbers_do_not_overflow() {
        assert_eq!(version_numbers("1.99999999999999999999999"), Some((1, u64::MAX)));
        assert_eq!(version_numbers("1.x"), None);
    }
}
