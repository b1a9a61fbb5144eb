//! A device that signs what a test wants said.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dsip_endpoint::link::{Link, Stream};
use dsip_proto::envelope::Signer;
use dsip_proto::identity::{Delegation, KeyId, SecretKey, delegate};
use dsip_proto::time::Wall;
use dsip_proto::wire::media::{MediaDescriptor, Transport, VersionBlock};
use dsip_proto::wire::message::{self, Common};
use dsip_proto::wire::token::{
    AnsweredBy, BindingId, CodecId, Direction, MediaType, ProfileId, Status, StreamState, SubscriptionEvent,
    TransportId,
};
use dsip_proto::wire::{Did, Envelope, Message, Reason, Ulid};
use serde_json::Value;

/// One device of one identity.
pub(crate) struct Device {
    signer: Signer,
    pub(crate) did: Did,
    pub(crate) identity: Did,
}

/// A message and its signed text.
pub(crate) struct Said {
    pub(crate) id: Ulid,
    pub(crate) text: Arc<str>,
    pub(crate) stream: Stream,
}

impl Device {
    /// The only device of the identity that `seed` stands for.
    pub(crate) fn new(seed: u8) -> Self {
        Self::of(seed, 0)
    }

    /// One of several devices of that identity.
    pub(crate) fn of(seed: u8, device: u8) -> Self {
        let identity = SecretKey::from_bytes(&[seed; 32]);
        let mut secret = [seed; 32];
        secret[0] = device;
        secret[1] = 255;
        Self::with_keys(&identity, SecretKey::from_bytes(&secret))
    }

    /// The device with this key, delegated by this identity.
    pub(crate) fn with_keys(identity: &SecretKey, key: SecretKey) -> Self {
        Self::under(identity, &identity.public().kid(), key)
    }

    /// A device of the identity that `seed` stands for, which has the name `did`.
    pub(crate) fn named(seed: u8, did: &Did) -> Self {
        let identity = SecretKey::from_bytes(&[seed; 32]);
        let kid = KeyId::new(did.clone(), &identity.public().to_multibase()).expect("a key id");
        let mut secret = [seed; 32];
        secret[1] = 254;
        Self::under(&identity, &kid, SecretKey::from_bytes(&secret))
    }

    fn under(identity: &SecretKey, kid: &KeyId, key: SecretKey) -> Self {
        let (did, now) = (key.did(), wall().secs());
        let delegation = delegate(identity, kid, &did, &[Delegation::SIGNALING], now - 3600, now + 86_400);
        let signer = Signer::new(key.clone(), key.public().kid(), vec![delegation]);
        Self { signer, did, identity: kid.did().clone() }
    }

    /// Says hello for its identity and waits for the relay's.
    pub(crate) async fn greet(&self, link: &mut Link, audience: &str) {
        let hello = self.hello(Some(audience));
        say(link, &hello);
        let reply = hear(link).await;
        assert_eq!(reply["type"], "hello", "{reply}");
        assert_eq!(reply["in_reply_to"], hello.id.to_string());
        assert_eq!(reply["capabilities"]["max_envelope_bytes"], 65_536);
    }

    pub(crate) fn hello(&self, audience: Option<&str>) -> Said {
        let hello = message::Hello {
            common: self.common(&[]),
            on_behalf_of: Some(self.identity.clone()),
            bindings: Some(vec![BindingId::WS, BindingId::QUIC]),
            in_reply_to: None,
            capabilities: None,
        };
        let id = hello.common.id;
        let message = Message::from(hello);
        let envelope = match audience {
            Some(audience) => self.signer.sign_for(&message, audience),
            None => self.signer.sign(&message),
        };
        Said { id, text: envelope.text().into(), stream: Stream::Control }
    }

    /// A record that says where its identity can be dialled.
    pub(crate) fn hint(&self, uri: &str, seq: u64) -> Arc<str> {
        let bindings = vec![BindingId::WS];
        let endpoint = message::HintEndpoint { uri: uri.to_owned(), bindings, rest: Default::default() };
        let common = Common { from: self.identity.clone(), ..self.common(&[]) };
        let hint = message::ReachabilityHint { common, subject: self.identity.clone(), seq, endpoints: vec![endpoint] };
        self.signer.sign(&hint.into()).text().into()
    }

    pub(crate) fn invite(&self, to: &Did) -> Said {
        let invite = message::Invite {
            common: self.common(&[ProfileId::INTERACTIVE_MEDIA]),
            to: to.clone(),
            media: vec![audio()],
            transports: vec![Transport::new(TransportId::WEBRTC)],
            intent: None,
            identity: None,
            policy: None,
            grant: None,
        };
        self.said(invite)
    }

    pub(crate) fn ringing(&self, to: &Did, session: Ulid) -> Said {
        let common = self.common(&[ProfileId::INTERACTIVE_MEDIA]);
        let (status, ring_timeout) = (Status::RINGING, Some(60));
        self.said(message::Progress { common, to: to.clone(), session, status, ring_timeout, queue_timeout: None })
    }

    pub(crate) fn answer(&self, to: &Did, session: Ulid) -> Said {
        self.said(message::Answer {
            common: self.common(&[ProfileId::INTERACTIVE_MEDIA]),
            to: to.clone(),
            session,
            answered_by: AnsweredBy::USER,
            media: vec![audio()],
            transports: vec![Transport::new(TransportId::WEBRTC)],
            policy: None,
            in_reply_to: None,
        })
    }

    pub(crate) fn cancel(&self, to: &Did, session: Ulid) -> Said {
        let common = self.common(&[ProfileId::INTERACTIVE_MEDIA]);
        let reason = Reason::USER_CANCELLED;
        self.said(message::Cancel { common, to: to.clone(), session, reason, detail: None, retry_after: None })
    }

    pub(crate) fn bye(&self, to: &Did, session: Ulid) -> Said {
        self.bye_saying(to, session, "")
    }

    /// A `bye` padded to some size.
    pub(crate) fn bye_saying(&self, to: &Did, session: Ulid, detail: &str) -> Said {
        let common = self.common(&[ProfileId::INTERACTIVE_MEDIA]);
        let (reason, detail) = (Reason::USER_HANGUP, Some(detail.to_owned()));
        self.said(message::Bye { common, to: to.clone(), session, reason, detail, retry_after: None })
    }

    pub(crate) fn subscribe(&self, to: &Did, target: &str, event: SubscriptionEvent, claims: &[Value]) -> Said {
        let claims = claims.iter().map(|claim| claim.as_object().cloned().expect("an object")).collect();
        self.said(message::Subscribe {
            common: self.common(&[ProfileId::INTERACTIVE_MEDIA]),
            to: to.clone(),
            target: target.to_owned(),
            events: vec![event],
            expires_in: 600,
            claims: Some(claims),
            capability: None,
        })
    }

    pub(crate) fn publish(&self, name: &str) -> Said {
        self.said(message::Publish {
            common: self.common(&[ProfileId::VERIFIED_BROADCAST]),
            publisher: self.identity.clone(),
            stream_id: format!("{}:{name}", self.identity),
            state: StreamState::Live,
            variants: vec![message::Variant {
                id: "opus".into(),
                media: vec![MediaType::Audio],
                codec: CodecId::OPUS,
                transport: TransportId::WEBRTC,
                uri: "https://radio.example/live".into(),
                rest: serde_json::Map::new(),
            }],
            title: None,
            integrity: None,
            policy: None,
        })
    }

    fn said(&self, message: impl Into<Message>) -> Said {
        let message = message.into();
        Said {
            id: message.common().id,
            text: self.signer.sign(&message).text().into(),
            stream: message.session().map_or(Stream::Control, Stream::Session),
        }
    }

    fn common(&self, profiles: &[ProfileId]) -> Common {
        let now = wall();
        Common {
            dsip: VersionBlock::new(profiles),
            id: fresh_id(now),
            from: self.did.clone(),
            issued_at: now.secs(),
            // Long enough to outlast what a test does to the node meanwhile.
            expires_at: now.secs() + 240,
        }
    }
}

/// Queues a message on a link.
pub(crate) fn say(link: &Link, said: &Said) {
    link.send(said.stream, said.text.clone()).expect("queued");
}

/// The payload of the next frame.
pub(crate) async fn hear(link: &mut Link) -> Value {
    payload(&link.recv().await.expect("a frame"))
}

/// Waits for exactly this message, byte for byte (RLY-1).
pub(crate) async fn hear_exactly(link: &mut Link, said: &Said) {
    let text = link.recv().await.expect("a frame");
    assert_eq!(text, *said.text, "{}", payload(&text));
}

/// Waits for an `error` with this reason.
pub(crate) async fn hear_error(link: &mut Link, reason: &str, about: &Said) {
    let error = hear(link).await;
    assert_eq!((&error["type"], &error["reason"]), (&"error".into(), &reason.into()), "{error}");
    assert_eq!(error["in_reply_to"], about.id.to_string());
}

/// The payload of a frame.
pub(crate) fn payload(frame: &str) -> Value {
    let payload = Envelope::parse(frame).expect("an envelope").payload_bytes();
    serde_json::from_slice(&payload).expect("JSON")
}

fn audio() -> MediaDescriptor {
    MediaDescriptor::new(MediaType::Audio, Direction::SendRecv, &[CodecId::OPUS])
}

pub(crate) fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Wall::from_millis(u64::try_from(since.as_millis()).expect("before the year 500 million"))
}

fn fresh_id(now: Wall) -> Ulid {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("randomness");
    let low = u128::from_be_bytes(random) & ((1 << 80) - 1);
    Ulid::from_bits(u128::from(now.millis()) << 80 | low)
}
