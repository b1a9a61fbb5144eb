//! From what the session engine decided to send to a signed envelope: times, ids, media, claims, delegations.

use crate::endpoint::Send;
use crate::time::Now;
use crate::wire::media::{ClaimedIdentity, VersionBlock};
use crate::wire::message::{
    Answer, Bye, Cancel, Common, Error, Grant, HintEndpoint, Info, Introduction, Invite, Progress, ReachabilityHint,
    Reject, Update,
};
use crate::wire::token::{About, BindingId, ProfileId};
use crate::wire::{Did, Message, Ulid};

use super::hints::LIFETIME_SECS;
use super::{Agent, Output};

/// TMR-5: how long an invite is worth alerting for.
pub(super) const INVITE_LIFETIME_SECS: u64 = 30;
/// How long any other message of a session is worth reading: long enough to survive a reconnection with back-off.
const SESSION_LIFETIME_SECS: u64 = 120;
/// RPL-6, FC-1: how long messages that are meant to wait may wait.
const HELD_LIFETIME_SECS: u64 = 604_800;

impl Agent {
    /// A fresh id, now, and until when.
    pub(super) fn common(&mut self, now: Now, lifetime: u64, profiles: &[ProfileId]) -> Common {
        let id = Ulid::generate(now.wall, &mut self.rng);
        self.common_with(id, now, lifetime, profiles)
    }

    fn common_with(&self, id: Ulid, now: Now, lifetime: u64, profiles: &[ProfileId]) -> Common {
        let issued_at = now.wall.secs();
        Common {
            dsip: VersionBlock::new(profiles),
            id,
            from: self.device.clone(),
            issued_at,
            expires_at: issued_at + lifetime,
        }
    }

    /// Completes what the engine wants sent. `None` where a piece is missing that only a fault of ours could leave out.
    pub(super) fn complete(&mut self, now: Now, send: Send) -> Option<Message> {
        let media = [ProfileId::INTERACTIVE_MEDIA];
        let session_common = |agent: &mut Self| agent.common(now, SESSION_LIFETIME_SECS, &media);
        Some(match send {
            Send::Invite { to, session, grant } => {
                let offer = self.calls.get(&session)?.ours.clone()?;
                Invite {
                    common: self.common_with(session, now, INVITE_LIFETIME_SECS, &media),
                    to,
                    transports: offer.transports(),
                    media: offer.media,
                    intent: None,
                    identity: self.claims(),
                    policy: None,
                    grant,
                }
                .into()
            }
            Send::Progress { to, session, status, ring_timeout } => {
                let ring_timeout = ring_timeout.and_then(|secs| u32::try_from(secs).ok());
                let common = session_common(self);
                Progress { common, to, session, status, ring_timeout, queue_timeout: None }.into()
            }
            Send::Answer { to, session, answered_by, in_reply_to } => {
                let selection = self.calls.get(&session)?.ours.clone()?;
                let common = session_common(self);
                if let (None, Some(call)) = (in_reply_to, self.calls.get_mut(&session)) {
                    call.answer = Some(common.id);
                }
                let transports = selection.transports();
                let media = selection.media;
                Answer { common, to, session, answered_by, media, transports, policy: None, in_reply_to }.into()
            }
            Send::Reject { to, session, reason, in_reply_to } => {
                let detail = self.calls.get_mut(&session).and_then(|call| call.detail.take());
                let common = session_common(self);
                Reject { common, to, session, reason, detail, retry_after: None, in_reply_to }.into()
            }
            Send::Cancel { to, session, reason } => {
                Cancel { common: session_common(self), to, session, reason, detail: None, retry_after: None }.into()
            }
            Send::Update { to, session, id, answered_by } => {
                let offer = self.calls.get(&session)?.proposed.clone()?;
                Update {
                    common: self.common_with(id, now, SESSION_LIFETIME_SECS, &media),
                    to,
                    session,
                    transports: Some(offer.transports()),
                    media: offer.media,
                    answered_by,
                    policy: None,
                }
                .into()
            }
            Send::Info { to, session } => {
                let data = self.calls.get_mut(&session)?.info.take()?;
                Info { common: session_common(self), to, session, about: About::WEBRTC, data }.into()
            }
            Send::Bye { to, session, reason } => {
                Bye { common: session_common(self), to, session, reason, detail: None, retry_after: None }.into()
            }
            Send::Error { to, session, reason, in_reply_to } => {
                // 01 §8: an error of the transport belongs to no profile.
                let profiles = if session.is_some() { &media[..] } else { &[] };
                Error {
                    common: self.common(now, SESSION_LIFETIME_SECS, profiles),
                    to,
                    reason,
                    detail: None,
                    retry_after: None,
                    session,
                    in_reply_to: Some(in_reply_to),
                }
                .into()
            }
            Send::Introduction { to, id, purpose, contact_token } => Introduction {
                common: self.common_with(id, now, HELD_LIFETIME_SECS, &media),
                to,
                identity: self.claims().unwrap_or(ClaimedIdentity { display_name: None, claims: None }),
                purpose,
                contact_token,
            }
            .into(),
            Send::Grant { to, session, id, scope, valid_until } => {
                Grant { common: self.common_with(id, now, HELD_LIFETIME_SECS, &media), to, session, scope, valid_until }
                    .into()
            }
        })
    }

    /// What we say about ourselves (TRU-9).
    fn claims(&self) -> Option<ClaimedIdentity> {
        let display_name = self.name.clone();
        display_name.map(|name| ClaimedIdentity { display_name: Some(name), claims: None })
    }

    /// DHT-1 to DHT-3, DHT-30: says anew where we are, if the owner opted in and our node knows us.
    pub(super) fn publish_hint(&mut self, now: Now) {
        let Some(home) = self.home.and_then(|home| self.links.get(&home)) else { return };
        let Some(node) = home.bound().cloned() else { return };
        let uri = home.relay.uri.clone();
        let Some(seq) = self.hints.as_mut().and_then(|hints| hints.due(now)) else { return };
        let subject = self.did.clone();
        let mut common = self.common(now, LIFETIME_SECS, &[]);
        common.from = subject.clone();
        let endpoints = vec![endpoint(uri, &node)];
        let hint = ReachabilityHint { common, subject, seq, endpoints };
        self.out.push_back(Output::Publish(self.signer.sign(&hint.into()).text()));
    }
}

/// Our node as a hint names it: both bindings, and the node's DID, by whose key a `did:key` node is recognised.
fn endpoint(uri: String, node: &Did) -> HintEndpoint {
    let mut rest = serde_json::Map::new();
    rest.insert("node".into(), node.as_str().into());
    HintEndpoint { uri, bindings: vec![BindingId::WS, BindingId::QUIC], rest }
}
