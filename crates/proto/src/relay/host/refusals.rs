//! What the relay says itself: errors, and the outcome of an attempt that no leg spoke for.

use std::sync::Arc;
use std::time::Duration;

use super::{Close, Conn, Event, Host, Output};
use crate::relay::message::{Body, Message};
use crate::relay::rate::Rate;
use crate::time::Now;
use crate::wire::media::VersionBlock;
use crate::wire::message::{self, Common};
use crate::wire::token::ProfileId;
use crate::wire::{Did, Reason, Ulid};

/// How long what the relay signs is valid, in seconds.
const VALIDITY: u64 = 120;

/// Refusals that one connection is sent before it is closed: signing them is work, too.
const REFUSALS: Rate = Rate { burst: 128, every: Duration::from_millis(500) };

pub(super) struct Refusal {
    pub(super) to: Did,
    pub(super) reason: Reason,
    pub(super) session: Option<Ulid>,
    pub(super) in_reply_to: Option<Ulid>,
    pub(super) retry_after: Option<u64>,
    pub(super) detail: Option<String>,
}

impl Refusal {
    pub(super) fn of(to: Did, reason: Reason, in_reply_to: Option<Ulid>) -> Self {
        Self { to, reason, session: None, in_reply_to, retry_after: None, detail: None }
    }
}

impl Host {
    pub(super) fn transmit(&self, conn: Conn, session: Option<Ulid>, frame: Arc<str>, out: &mut Vec<Output>) {
        out.push(Output::Transmit { conn, session, frame });
    }

    /// Answers a verified message that is not routed (RLY-4).
    pub(super) fn refuse(
        &mut self,
        now: Now,
        conn: Conn,
        message: &Message,
        reason: Reason,
        wait: Option<Duration>,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Event(Event::Refused(conn, reason.clone())));
        // RSN-3: 0 would say that retrying is no use.
        let retry_after = wait.map(|wait| wait.as_secs() + 1);
        let refused = Refusal { retry_after, ..Refusal::of(message.from.clone(), reason, Some(message.id)) };
        self.send_refusal(now, conn, refused, out);
    }

    pub(super) fn send_refusal(&mut self, now: Now, conn: Conn, refused: Refusal, out: &mut Vec<Output>) {
        let Refusal { to, reason, session, in_reply_to, retry_after, detail } = refused;
        let common = self.common(now, &[]);
        let error = message::Error { common, to, reason, detail, retry_after, session, in_reply_to };
        let frame = Arc::from(self.signer.sign(&error.into()).text());
        self.transmit(conn, session, frame, out);
        self.count_refusal(now, conn, out);
    }

    pub(super) fn count_refusal(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if connection.refusals.take(REFUSALS, now.tick).is_err() {
            self.close(now, conn, Close::Abuse, out);
        }
    }

    /// RLY-44.
    pub(super) fn reject(&mut self, now: Now, to: Did, session: Ulid, reason: Reason) -> Message {
        let common = self.common(now, &[ProfileId::INTERACTIVE_MEDIA]);
        let (id, from, expires_at) = (common.id, common.from.clone(), Some(common.expires_at));
        let body = Body::Reject { reason: reason.clone() };
        let reject = message::Reject {
            common,
            to: to.clone(),
            session,
            reason,
            detail: None,
            retry_after: None,
            in_reply_to: None,
        };
        let text = Arc::from(self.signer.sign(&reject.into()).text());
        Message { id, from, to: Some(to), session: Some(session), in_reply_to: None, expires_at, body, text }
    }

    pub(super) fn common(&mut self, now: Now, profiles: &[ProfileId]) -> Common {
        let issued_at = now.wall.secs();
        Common {
            dsip: VersionBlock::new(profiles),
            id: Ulid::generate(now.wall, &mut self.rng),
            from: self.did.clone(),
            issued_at,
            expires_at: issued_at + VALIDITY,
        }
    }
}

pub(super) fn session_of(message: &Message) -> Option<Ulid> {
    if message.body == Body::Invite { Some(message.id) } else { message.session }
}
