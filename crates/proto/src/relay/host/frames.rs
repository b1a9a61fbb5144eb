//! From a frame to a routed message: verified, within its sender's rates, or refused.

use std::time::Duration;

use super::refusals::Refusal;
use super::{Close, Conn, Connection, Event, Host, Output, Parked, State};
use crate::envelope::{self, Code, Verdict, Verified};
use crate::relay::message::{Body, Message};
use crate::relay::{engine, rate::Rate};
use crate::time::Now;
use crate::wire::{self, Did, Envelope, Kind, Reason, Ulid, json};

/// Ids of one device that wait for their envelopes to be safe; more than that are written down at once.
const MAX_WAITING_IDS: usize = 16_384;

/// After how long an introduction that met a full disk may be tried again, in seconds.
const DISK_RETRY: Duration = Duration::from_secs(60);

/// Structural faults that one connection may commit: no honest peer commits any, a buggy one is told of a few.
const FAULTS: Rate = Rate { burst: 8, every: Duration::from_secs(30) };

impl Host {
    pub(super) fn received(&mut self, now: Now, conn: Conn, frame: &str, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if matches!(connection.state, State::Closing) {
            return;
        }
        if !connection.parked.is_empty() {
            self.park(now, conn, Parked::Frame(frame.into()), out); // order is kept (RLY-3)
            return;
        }
        self.judge(now, conn, frame, out);
    }

    /// Verifies a frame and acts on it, or parks it for want of a document. False if it was parked.
    pub(super) fn judge(&mut self, now: Now, conn: Conn, frame: &str, out: &mut Vec<Output>) -> bool {
        let Some(connection) = self.connections.get(&conn) else { return true };
        let is_bound = matches!(connection.state, State::Bound { .. });
        if !is_bound && let Err(limit) = self.accounts.knock(&connection.from, now.tick) {
            out.push(Output::Event(Event::Limited(limit)));
            self.close(now, conn, Close::Abuse, out);
            return true;
        }
        let known = envelope::Connection { hello_verified: Some(is_bound), ..Default::default() };
        match self.verifier.verify(frame, now, &self.documents, known) {
            Ok(verified) => self.accepted(now, conn, verified, out),
            Err(verdict) => {
                let may_lack_key = matches!(
                    verdict.code,
                    Code::KidUnresolvable | Code::DelegationInvalid | Code::SignerMismatch | Code::SignatureInvalid
                );
                if may_lack_key && self.ask(now, conn, frame, out) {
                    self.park(now, conn, Parked::Frame(frame.into()), out);
                    return false;
                }
                self.rejected(now, conn, frame, &verdict, out);
            }
        }
        true
    }

    fn accepted(&mut self, now: Now, conn: Conn, verified: Verified<wire::Message>, out: &mut Vec<Output>) {
        if let wire::Message::Hello(hello) = verified.message() {
            self.greeted(now, conn, &verified, hello, out);
        } else if let Some(Connection { state: State::Bound { device, identity }, .. }) = self.connections.get(&conn) {
            let (device, identity) = (device.clone(), identity.clone());
            self.route(now, conn, &device, &identity, &verified, out);
            if let Some(owed) = self.owed.get_mut(&device)
                && owed.ids.len() < MAX_WAITING_IDS
            {
                let before = self.engine.number();
                owed.ids.extend(verified.recorded().map(|recorded| (before, recorded.clone())));
                return;
            }
        }
        if let Some(recorded) = verified.recorded() {
            self.remember(recorded.clone(), out);
        }
    }

    fn route(
        &mut self,
        now: Now,
        conn: Conn,
        device: &Did,
        identity: &Did,
        verified: &Verified<wire::Message>,
        out: &mut Vec<Output>,
    ) {
        let message = Message::of(verified);
        if message.to.as_ref() == Some(&self.did) && message.body == Body::Other(Kind::Error) {
            return; // SES-8: an error is never answered
        }
        let from = self.connections.get(&conn).map(|connection| connection.from);
        let tier = self.tier(identity);
        let mut spent = self.accounts.envelope(from.as_ref(), (device, identity), tier, now.tick);
        if spent.is_ok() && message.body == Body::Introduction && !self.has_disk() {
            // CUS-21, RLY-60: whether it would have had to wait does not show.
            return self.refuse(now, conn, &message, Reason::POLICY_RATE_LIMITED, Some(DISK_RETRY), out);
        }
        spent = spent.and_then(|()| self.accounts.of_kind(identity, tier, &message, now.tick));
        if let Err((limit, wait)) = spent {
            out.push(Output::Event(Event::Limited(limit)));
            return self.refuse(now, conn, &message, limit.reason(), Some(wait), out);
        }
        if !self.may_route(identity, &message) {
            return self.refuse(now, conn, &message, Reason::TRANSPORT_ROUTING_REFUSED, None, out);
        }
        if self.for_wake(now, conn, (device, identity), verified, &message, out) {
            return;
        }
        if self.for_authority(now, conn, (device, identity), verified, &message, out) {
            return;
        }
        self.engine.set_disk(self.has_disk());
        self.engine.handle(now, engine::Input::Received(message), &mut self.routed);
        self.carry_out(now, Some(device), out);
    }

    /// A frame that the pipeline refused.
    fn rejected(&mut self, now: Now, conn: Conn, frame: &str, verdict: &Verdict, out: &mut Vec<Output>) {
        out.push(Output::Event(Event::Rejected(conn, verdict.code)));
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let refused = match (&verdict.origin, verdict.answer()) {
            (Some(origin), Some(reason)) => {
                // Stage 7 is what shows that the signer may say `from`.
                let after_stage_7 = !matches!(
                    verdict.code,
                    Code::SignerMismatch
                        | Code::DelegationInvalid
                        | Code::DelegationCapability
                        | Code::DelegationExpired
                );
                let to = if after_stage_7 { &origin.from } else { &origin.signer };
                let session = origin.session.filter(|_| !reason.as_str().starts_with("transport."));
                Some(Refusal { session, ..Refusal::of(to.clone(), reason, Some(origin.id)) })
            }
            (Some(_), None) => None,
            (None, _) => {
                if connection.faults.take(FAULTS, now.tick).is_err() {
                    return self.close(now, conn, Close::Abuse, out);
                }
                // PIPE-3
                claimed_hello(frame).map(|(to, id)| Refusal::of(to, Reason::TRANSPORT_HELLO_REJECTED, Some(id)))
            }
        };
        match refused {
            Some(refused) => self.send_refusal(now, conn, refused, out),
            None => self.count_refusal(now, conn, out),
        }
    }
}

/// Who claims to have sent a `hello`, and its id: nobody verified it, but PIPE-3 wants it answered.
fn claimed_hello(frame: &str) -> Option<(Did, Ulid)> {
    let payload = Envelope::parse(frame).ok()?.payload_bytes();
    let parsed = json::parse(str::from_utf8(&payload).ok()?).ok()?;
    let string = |name| parsed.root.get(name)?.as_str();
    if string("type")? != Kind::Hello.as_str() {
        return None;
    }
    Some((string("from")?.parse().ok()?, string("id")?.parse().ok()?))
}
