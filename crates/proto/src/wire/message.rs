//! The nineteen message types of 01 §11, one closed struct each.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::field::{Field, Fields, at_most, name, object, within, write};
use super::json::{self, Json};
use super::media::{ClaimedIdentity, MediaDescriptor, Policy, Transport, VersionBlock};
use super::reason::Reason;
use super::token::{
    About, AnsweredBy, BindingId, CodecId, Integrity, MediaType, MethodId, MultibaseKey, NotifyState, Operation,
    RotationReason, Scope, Status, StreamState, SubscriptionEvent, Token, TransportId,
};
use super::{Did, SchemaError, Ulid};

/// The largest envelope on any binding, in bytes of its text (ENV-12).
pub const MAX_ENVELOPE_BYTES: usize = 65_536;

/// The largest envelope that carries an `introduction` (ENV-12).
pub const MAX_INTRODUCTION_BYTES: usize = 4_096;

/// The members that every message has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// Versions, profiles and extensions.
    pub dsip: VersionBlock,
    /// The message's own id.
    pub id: Ulid,
    /// Who speaks: a device, or an identity that a delegated device speaks for.
    pub from: Did,
    /// When it was made, in Unix seconds.
    pub issued_at: u64,
    /// Until when it may be acted on, in Unix seconds.
    pub expires_at: u64,
}

/// Why bytes that claim to be a message are none, once the pipeline's earlier stages let them pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// `type` is none of the nineteen.
    #[error("unknown message type")]
    UnknownType,
    /// The field table of its type is not satisfied.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// One of the nineteen structs.
pub(crate) trait OneType: Into<Message> {
    /// The message, if it is of this type.
    fn of(message: Message) -> Option<Self>;
}

/// Defines the message structs, [`Kind`] and [`Message`].
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident = $wire:literal {
        $($(#[$field_doc:meta])* $field:ident $(as $field_wire:literal)?: $type:ty,)*
    } $(where |$this:ident| $check:expr)?;)*) => {
        /// The type of a message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The text of the member `type`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// The type of that name.
            #[must_use]
            pub fn of(text: &str) -> Option<Self> {
                match text { $($wire => Some(Self::$name),)* _ => None }
            }
        }

        /// A message whose fields satisfy its field table. Who sent it, and whether it may act, is not known here: only
        /// [`envelope`](crate::envelope) can say so.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message { $($(#[$doc])* $name($name),)* }

        impl Message {
            /// Which type it is.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$name(_) => Kind::$name,)* }
            }

            /// The members that every message has.
            #[must_use]
            pub const fn common(&self) -> &Common {
                match self { $(Self::$name(message) => &message.common,)* }
            }

            /// Whether its fields are as its field table says; only one built by hand can fail.
            pub fn check(&self) -> Result<(), SchemaError> {
                match self { $(Self::$name(message) => message.check(),)* }
            }

            fn read(kind: Kind, json: Json<'_>) -> Result<Self, SchemaError> {
                match kind { $(Kind::$name => $name::read(json).map(Self::$name),)* }
            }
        }

        impl Serialize for Message {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$name(message) => message.serialize(serializer),)* }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $name {
                /// The members that every message has.
                pub common: Common,
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl $name {
                /// Whether the fields are as the field table says; only a message built by hand can fail.
                pub fn check(&self) -> Result<(), SchemaError> {
                    $(let $this = self; if !$check { return Err(SchemaError) })?
                    Ok(())
                }
            }

            impl Field for $name {
                fn read(json: Json<'_>) -> Result<Self, SchemaError> {
                    let mut fields = Fields::of(json)?;
                    let common = Common::take(&mut fields, $wire)?;
                    $(let $field = fields.take(name!($field $($field_wire)?))?;)*
                    fields.close()?;
                    let message = Self { common, $($field,)* };
                    message.check()?;
                    Ok(message)
                }
            }

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    let mut map = serializer.serialize_map(None)?;
                    self.common.write(&mut map, $wire)?;
                    $(write(&mut map, name!($field $($field_wire)?), &self.$field)?;)*
                    map.end()
                }
            }

            impl OneType for $name {
                fn of(message: Message) -> Option<Self> {
                    if let Message::$name(message) = message { Some(message) } else { None }
                }
            }

            impl From<$name> for Message {
                fn from(message: $name) -> Self {
                    Self::$name(message)
                }
            }
        )*
    };
}

messages! {
    /// Starts a session (§11.1).
    Invite = "invite" {
        /// Whom to reach: an identity or a device.
        to: Did,
        /// The offer.
        media: Vec<MediaDescriptor>,
        /// How the media could travel.
        transports: Vec<Transport>,
        /// What it is for.
        intent: Option<Token>,
        /// What the caller says about itself.
        identity: Option<ClaimedIdentity>,
        /// What may be done with the media.
        policy: Option<Policy>,
        /// The contact grant that admits the caller.
        grant: Option<Ulid>,
    } where |m| !m.media.is_empty() && !m.transports.is_empty();

    /// Status before an answer (§11.2).
    Progress = "progress" {
        /// The initiator.
        to: Did,
        /// The invite's id.
        session: Ulid,
        /// How far it got.
        status: Status,
        /// For how many seconds the callee will be alerted.
        ring_timeout: Option<u32>,
        /// For how many seconds the caller may wait in the queue.
        queue_timeout: Option<u32>,
    } where |m| m.ring_timeout.is_none_or(|seconds| (30..=300).contains(&seconds))
        && m.queue_timeout.map_or(m.status != Status::QUEUED, |seconds| (1..=1800).contains(&seconds));

    /// Accepts an invite or an update (§11.3).
    Answer = "answer" {
        /// The initiator.
        to: Did,
        /// The invite's id.
        session: Ulid,
        /// Who or what answers.
        answered_by: AnsweredBy,
        /// The selection from the offer.
        media: Vec<MediaDescriptor>,
        /// The one transport that was chosen.
        transports: Vec<Transport>,
        /// What may be done with the media.
        policy: Option<Policy>,
        /// The update that is answered; absent on the initial answer.
        in_reply_to: Option<Ulid>,
    } where |m| !m.media.is_empty() && m.transports.len() == 1;

    /// Refuses an invite, update, introduction or subscription (§11.4).
    Reject = "reject" {
        /// Whoever is refused.
        to: Did,
        /// The id of what is refused: invite, introduction or subscribe.
        session: Ulid,
        /// Why.
        reason: Reason,
        /// More about it, as the signer claims (RSN-2).
        detail: Option<String>,
        /// In how many seconds to try again; 0 means retrying will not help (RSN-3).
        retry_after: Option<u64>,
        /// The update that is refused; absent otherwise.
        in_reply_to: Option<Ulid>,
    } where |m| at_most(m.detail.as_ref(), 1024);

    /// Withdraws an invite (§11.5).
    Cancel = "cancel" {
        /// The callee.
        to: Did,
        /// The invite's id.
        session: Ulid,
        /// Why.
        reason: Reason,
        /// More about it, as the signer claims (RSN-2).
        detail: Option<String>,
        /// In how many seconds to try again (RSN-3).
        retry_after: Option<u64>,
    } where |m| at_most(m.detail.as_ref(), 1024);

    /// Renegotiates (§11.6).
    Update = "update" {
        /// The peer.
        to: Did,
        /// The invite's id.
        session: Ulid,
        /// The new offer.
        media: Vec<MediaDescriptor>,
        /// How the media could travel.
        transports: Option<Vec<Transport>>,
        /// Who is there from now on, such as a person after screening.
        answered_by: Option<AnsweredBy>,
        /// What may be done with the media.
        policy: Option<Policy>,
    } where |m| !m.media.is_empty() && m.transports.as_ref().is_none_or(|list| !list.is_empty());

    /// Data of a binding inside a session (§11.7).
    Info = "info" {
        /// The peer.
        to: Did,
        /// The invite's id.
        session: Ulid,
        /// Which binding it belongs to.
        about: About,
        /// The binding's data.
        data: Map<String, Value>,
    } where |m| m.about != About::WEBRTC || IceCandidates::of(&m.data).is_ok(); // PIPE-2

    /// Ends an established session (§11.8).
    Bye = "bye" {
        /// The peer.
        to: Did,
        /// The invite's id.
        session: Ulid,
        /// Why.
        reason: Reason,
        /// More about it, as the signer claims (RSN-2).
        detail: Option<String>,
        /// In how many seconds to try again (RSN-3).
        retry_after: Option<u64>,
    } where |m| at_most(m.detail.as_ref(), 1024);

    /// Reports a failure (§11.9).
    Error = "error" {
        /// Whose envelope provoked it.
        to: Did,
        /// What failed.
        reason: Reason,
        /// More about it, as the signer claims (RSN-2).
        detail: Option<String>,
        /// In how many seconds to try again (RSN-3).
        retry_after: Option<u64>,
        /// The session, if it concerns one.
        session: Option<Ulid>,
        /// The envelope that provoked it, when known.
        in_reply_to: Option<Ulid>,
    } where |m| at_most(m.detail.as_ref(), 1024);

    /// Binds a connection (§11.10): without `in_reply_to` a client's, with it a relay's.
    Hello = "hello" {
        /// The identity the device acts for.
        on_behalf_of: Option<Did>,
        /// The bindings the client speaks.
        bindings: Option<Vec<BindingId>>,
        /// The client's hello that a relay answers.
        in_reply_to: Option<Ulid>,
        /// What the relay offers.
        capabilities: Option<Capabilities>,
    } where |m| m.in_reply_to.is_some() == m.capabilities.is_some()
        && m.bindings.as_ref().map_or(m.in_reply_to.is_some(), |list| !list.is_empty());

    /// Asks for permission to make contact (§11.11).
    Introduction = "introduction" {
        /// Whose permission is asked for.
        to: Did,
        /// What the sender says about itself.
        identity: ClaimedIdentity,
        /// What it wants.
        purpose: Option<String>,
        /// A token that the recipient handed out.
        contact_token: Option<String>,
    } where |m| at_most(m.purpose.as_ref(), 280) && at_most(m.contact_token.as_ref(), 2048);

    /// A signed contact grant (§11.12).
    Grant = "grant" {
        /// Who may make contact.
        to: Did,
        /// The introduction's id.
        session: Ulid,
        /// What is allowed.
        scope: Vec<Scope>,
        /// Until when, in Unix seconds.
        valid_until: u64,
    } where |m| !m.scope.is_empty();

    /// Asks to be told about something (§11.13).
    Subscribe = "subscribe" {
        /// The authority.
        to: Did,
        /// What about: a subject's DID or a stream id.
        target: String,
        /// Which events.
        events: Vec<SubscriptionEvent>,
        /// For how many seconds; 0 ends the subscription.
        expires_in: u32,
        /// Claims in support of the request.
        claims: Option<Vec<Map<String, Value>>>,
        /// A token that authorises it.
        capability: Option<String>,
    } where |m| !m.target.is_empty() && !m.events.is_empty() && m.expires_in <= 86_400
        && at_most(m.capability.as_ref(), 2048);

    /// Tells a subscriber (§11.14).
    Notify = "notify" {
        /// The subscribing device.
        to: Did,
        /// The subscribe's id.
        subscription: Ulid,
        /// Counts up from 1 within the subscription.
        seq: u64,
        /// Whether more will come.
        state: NotifyState,
        /// What happened.
        body: Map<String, Value>,
        /// Why it ended.
        reason: Option<Reason>,
    } where |m| m.seq >= 1;

    /// A broadcast record (§11.15).
    Publish = "publish" {
        /// Whose stream it is.
        publisher: Did,
        /// Which stream.
        stream_id: String,
        /// Whether it is live.
        state: StreamState,
        /// Ways to receive it, in order of preference.
        variants: Vec<Variant>,
        /// Its title.
        title: Option<String>,
        /// How far the signature covers the media.
        integrity: Option<Integrity>,
        /// What may be done with it.
        policy: Option<Policy>,
    } where |m| !m.stream_id.is_empty() && !m.variants.is_empty() && at_most(m.title.as_ref(), 512);

    /// Withdraws a broadcast record (§11.16).
    Unpublish = "unpublish" {
        /// Whose stream it is.
        publisher: Did,
        /// Which stream.
        stream_id: String,
        /// The record that is withdrawn.
        publication: Ulid,
    } where |m| !m.stream_id.is_empty();

    /// A processor's statement about what it did to a stream (§11.17).
    Provenance = "provenance" {
        /// The stream it was made from.
        original_stream: String,
        /// The record it was made from.
        original_publication: Ulid,
        /// Who made it.
        processor: Did,
        /// What was done.
        operation: Operation,
        /// The variant that was taken.
        input_variant: String,
        /// The variant that was made.
        output_variant: String,
        /// Where that is.
        output_uri: Option<String>,
    } where |m| [&m.original_stream, &m.input_variant, &m.output_variant].iter().all(|text| !text.is_empty());

    /// The auditable record of a key's replacement (§11.18); it decides nothing about validity (ROT-1).
    KeyRotation = "key-rotation" {
        /// Whose key.
        subject: Did,
        /// The key that retires.
        previous: MethodId,
        /// The key that replaces it.
        next: MethodId,
        /// The new key itself.
        next_public_key_multibase: MultibaseKey,
        /// Why.
        reason: RotationReason,
        /// Signed with a recovery key, the controller's being lost.
        recovery: Option<bool>,
        /// Devices that get fresh delegations.
        devices: Option<Vec<Did>>,
    };

    /// Where an identity can be reached (§11.19); a hint without authority.
    ReachabilityHint = "reachability-hint" {
        /// Whose.
        subject: Did,
        /// Increases with every record of the subject.
        seq: u64,
        /// Where to dial.
        endpoints: Vec<HintEndpoint>,
    } where |m| !m.endpoints.is_empty();
}

object! {
    /// What a relay offers to a client that said hello; information, not enforcement (CAP-2, CAP-3).
    open Capabilities {
        /// Exactly 65,536 (CAP-1).
        max_envelope_bytes: u64,
        /// Whether it keeps envelopes for clients that are away.
        store_and_forward: Option<bool>,
        /// For how many seconds.
        offline_retention_s: Option<u64>,
        /// What it lets a client send.
        rate_limit: Option<RateLimit>,
        /// Push services that it can wake a client through.
        push_wake: Option<Vec<String>>,
    }
    where |m| m.max_envelope_bytes == 65_536
}

object! {
    /// Rates a relay announces.
    open RateLimit {
        /// Envelopes of any type.
        envelopes_per_minute: Option<u64>,
        /// Invites alone.
        invites_per_minute: Option<u64>,
    }
    where |m| m.envelopes_per_minute != Some(0) && m.invites_per_minute != Some(0)
}

object! {
    /// One way to receive a stream. Its own `integrity`, if any, is in `rest` (BC-20).
    open Variant {
        /// Its name within the record.
        id: String,
        /// What it contains.
        media: Vec<MediaType>,
        /// In which codec.
        codec: CodecId,
        /// Over which transport.
        transport: TransportId,
        /// Where.
        uri: String,
    }
    where |m| !m.id.is_empty() && !m.media.is_empty() && !m.media.contains(&MediaType::Application)
}

object! {
    /// A signalling endpoint in a hint.
    open HintEndpoint {
        /// Its `wss://` address.
        uri: String,
        /// The bindings it speaks.
        bindings: Vec<BindingId>,
    }
    where |m| m.uri.starts_with("wss://") && !m.bindings.is_empty()
}

object! {
    /// The data of an `info` about `transport:webrtc` (§11.20).
    closed IceCandidates {
        /// Candidates that were gathered.
        candidates: Vec<IceCandidate>,
        /// No more will follow.
        end_of_candidates: bool,
    }
    where |m| m.candidates.len() <= 64
}

object! {
    /// One ICE candidate.
    closed IceCandidate {
        /// The candidate, as in SDP after `a=`.
        candidate: String,
        /// The `mid` of its media section.
        sdp_mid: String,
        /// The index of its media section.
        sdp_m_line_index: Option<u64>,
    }
    where |m| m.candidate.starts_with("candidate:") && within(&m.candidate, 0, 512) && within(&m.sdp_mid, 0, 64)
}

impl Message {
    /// Reads a message from a parsed object; refuses unknown types, unknown members and whatever the field table does.
    pub fn from_json(json: Json<'_>) -> Result<Self, MessageError> {
        let kind = json.get("type").and_then(Json::as_str).and_then(Kind::of).ok_or(MessageError::UnknownType)?;
        Ok(Self::read(kind, json)?)
    }

    /// The payload's bytes as they will be signed: compact JSON (ENV-10).
    #[must_use]
    pub fn to_json(&self) -> String {
        compact(self)
    }

    /// To whom it is addressed, for the types that are.
    #[must_use]
    pub fn to(&self) -> Option<&Did> {
        match self {
            Self::Invite(m) => Some(&m.to),
            Self::Progress(m) => Some(&m.to),
            Self::Answer(m) => Some(&m.to),
            Self::Reject(m) => Some(&m.to),
            Self::Cancel(m) => Some(&m.to),
            Self::Update(m) => Some(&m.to),
            Self::Info(m) => Some(&m.to),
            Self::Bye(m) => Some(&m.to),
            Self::Error(m) => Some(&m.to),
            Self::Introduction(m) => Some(&m.to),
            Self::Grant(m) => Some(&m.to),
            Self::Subscribe(m) => Some(&m.to),
            Self::Notify(m) => Some(&m.to),
            Self::Hello(_)
            | Self::Publish(_)
            | Self::Unpublish(_)
            | Self::Provenance(_)
            | Self::KeyRotation(_)
            | Self::ReachabilityHint(_) => None,
        }
    }

    /// The session it belongs to: the member `session`, or the invite's own id (SES-1).
    #[must_use]
    pub fn session(&self) -> Option<Ulid> {
        match self {
            Self::Invite(m) => Some(m.common.id),
            Self::Progress(m) => Some(m.session),
            Self::Answer(m) => Some(m.session),
            Self::Reject(m) => Some(m.session),
            Self::Cancel(m) => Some(m.session),
            Self::Update(m) => Some(m.session),
            Self::Info(m) => Some(m.session),
            Self::Bye(m) => Some(m.session),
            Self::Error(m) => m.session,
            Self::Grant(m) => Some(m.session),
            Self::Hello(_)
            | Self::Introduction(_)
            | Self::Subscribe(_)
            | Self::Notify(_)
            | Self::Publish(_)
            | Self::Unpublish(_)
            | Self::Provenance(_)
            | Self::KeyRotation(_)
            | Self::ReachabilityHint(_) => None,
        }
    }
}

impl Kind {
    /// Held types wait for their recipient: they are accepted until they expire, not only within the replay window
    /// (RPL-6). Our decision, in this one place; a strict peer may still refuse a late one.
    #[must_use]
    pub const fn is_held(self) -> bool {
        match self {
            Self::Introduction
            | Self::Grant
            | Self::ReachabilityHint
            | Self::Publish
            | Self::Unpublish
            | Self::Provenance
            | Self::KeyRotation => true,
            Self::Invite
            | Self::Progress
            | Self::Answer
            | Self::Reject
            | Self::Cancel
            | Self::Update
            | Self::Info
            | Self::Bye
            | Self::Error
            | Self::Hello
            | Self::Subscribe
            | Self::Notify => false,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl IceCandidates {
    /// Reads the `data` of an `info` about `transport:webrtc` (PIPE-2).
    pub fn of(data: &Map<String, Value>) -> Result<Self, SchemaError> {
        let text = compact(data);
        Self::read(json::parse(&text).map_err(|_| SchemaError)?.root)
    }

    /// The same as an open object, for `info`.
    #[must_use]
    pub fn to_data(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(data)) => data,
            // An object type serialises to an object.
            _ => Map::new(),
        }
    }
}

impl Common {
    fn take(fields: &mut Fields<'_>, kind: &str) -> Result<Self, SchemaError> {
        if fields.take::<String>("type")? != kind {
            return Err(SchemaError);
        }
        Ok(Self {
            dsip: fields.take("dsip")?,
            id: fields.take("id")?,
            from: fields.take("from")?,
            issued_at: fields.take("issued_at")?,
            expires_at: fields.take("expires_at")?,
        })
    }

    fn write<M: SerializeMap>(&self, map: &mut M, kind: &'static str) -> Result<(), M::Error> {
        map.serialize_entry("dsip", &self.dsip)?;
        map.serialize_entry("type", kind)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("from", &self.from)?;
        map.serialize_entry("issued_at", &self.issued_at)?;
        map.serialize_entry("expires_at", &self.expires_at)
    }
}

fn compact<T: Serialize>(value: &T) -> String {
    #[expect(clippy::expect_used, reason = "strings, integers and maps with string keys always serialise")]
    serde_json::to_string(value).expect("plain data serialises")
}
