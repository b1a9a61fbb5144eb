//! The agent's dealings with relays: which links exist, who is behind them, and how envelopes leave.

use std::collections::VecDeque;
use std::time::Duration;

use crate::relay::host::Elsewhere;
use crate::time::Now;
use crate::turn;
use crate::wire::message::Hello;
use crate::wire::token::BindingId;
use crate::wire::{Did, Message, Ulid};

use super::link::{Link, Purpose, Renewal, State, Waiting};
use super::{Agent, Event, LinkChange, LinkId, Output, Relay, Suspicion};

/// A client `hello` is spent at once; HEL-2 calls 30 s typical.
const HELLO_LIFETIME_SECS: u64 = 30;
/// How long a callee's node stays connected after the last call over it: late `bye`s and errors still get through.
const ERRAND_LINGER: Duration = Duration::from_secs(5);

impl Agent {
    /// Opens a link to a place that is about to be called, while the offer is still being made. Not used, it closes again.
    pub fn approach(&mut self, relay: &Relay) {
        self.link_to(relay, Purpose::Errand);
    }

    /// Opens a link to `relay`, or returns the one that is open already.
    pub(super) fn link_to(&mut self, relay: &Relay, purpose: Purpose) -> LinkId {
        let is_other = |link: &Link| link.relay.node.is_some() && relay.node.is_some() && link.relay.node != relay.node;
        let mut known = self.links.iter().filter(|(_, link)| link.relay.uri == relay.uri && !is_other(link));
        if let Some((id, _)) = known.next() {
            return *id;
        }
        let id = LinkId(self.fresh());
        let mut link = Link::new(relay.clone(), purpose);
        if self.aside {
            link.step_aside();
        } else {
            self.out.push_back(Output::Dial(id, relay.clone()));
        }
        self.links.insert(id, link);
        id
    }

    /// The link to the relay at `uri`, if there is one.
    #[must_use]
    pub fn link_of(&self, uri: &str) -> Option<LinkId> {
        self.links.iter().find(|(_, link)| link.relay.uri == uri).map(|(id, _)| *id)
    }

    /// Our own node, as it is dialled.
    #[must_use]
    pub fn home(&self) -> Option<&Relay> {
        self.links.values().find(|link| link.purpose == Purpose::Home).map(|link| &link.relay)
    }

    pub(super) fn link_changed(&mut self, now: Now, id: LinkId, change: LinkChange) {
        if self.aside {
            return; // all of them were given up
        }
        match change {
            LinkChange::Up => self.greet(now, id),
            LinkChange::Down(why) => self.lost(now, id, &why),
            LinkChange::Replaced => {
                self.lost(now, id, "a newer connection of this device took over");
                if let Some(link) = self.links.get_mut(&id) {
                    link.give_way(now, &mut self.rng);
                }
            }
        }
    }

    /// HEL-1, HEL-2: the transport is open, so the first envelope is ours.
    fn greet(&mut self, now: Now, id: LinkId) {
        let Some((hello, frame)) = self.hello(now, id) else { return };
        if let Some(link) = self.links.get_mut(&id) {
            link.greet(hello, now);
            self.out.push_back(Output::Transmit { link: id, frame, session: None });
        }
        self.talk_over(now, id);
    }

    /// TURN-6: greets a relay that knows us anew, on the same connection, for what its answer carries.
    fn renew(&mut self, now: Now, id: LinkId) {
        let Some((hello, frame)) = self.hello(now, id) else { return };
        if let Some(link) = self.links.get_mut(&id) {
            link.renewal.ask(now, hello);
            self.out.push_back(Output::Transmit { link: id, frame, session: None });
        }
    }

    fn hello(&mut self, now: Now, id: LinkId) -> Option<(Ulid, String)> {
        let audience = self.links.get(&id)?.relay.audience();
        let common = self.common(now, HELLO_LIFETIME_SECS, &[]);
        let hello = common.id;
        let on_behalf_of = (self.did != self.device).then(|| self.did.clone());
        let bindings = Some(vec![BindingId::WS, BindingId::QUIC]);
        let message = Hello { common, on_behalf_of, bindings, in_reply_to: None, capabilities: None };
        Some((hello, self.signer.sign_for(&message.into(), &audience).text()))
    }

    /// Says what waited for a link on which we may talk now.
    fn talk_over(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.listening().is_some()) else { return };
        for waiting in link.release(now) {
            let Waiting { frame, session, .. } = waiting;
            self.out.push_back(Output::Transmit { link: id, frame, session });
        }
        self.introduced_over(id);
        self.invite_over(now, id);
        self.watch_over(now, id);
    }

    /// A verified `hello` of a relay. `in_reply_to` was compared with what we sent by the pipeline (SEM-1) if it was
    /// there; a hello without it is treated as a mismatch (HEL-5).
    pub(super) fn relay_said_hello(&mut self, now: Now, id: LinkId, said: &Hello) {
        let relay = &said.common.from;
        let Some(link) = self.links.get_mut(&id) else { return };
        let State::Greeting { hello, .. } = link.state else {
            return self.relay_renewed(now, id, said);
        };
        if said.in_reply_to != Some(hello) {
            return self.distrust(now, id, relay, "its hello does not answer ours");
        }
        if link.relay.node.as_ref().is_some_and(|expected| expected != relay) {
            // HEL-6
            return self.distrust(now, id, relay, "it is not the relay we dialled");
        }
        link.bind(relay.clone());
        let (uri, purpose) = (link.relay.uri.clone(), link.purpose);
        if purpose == Purpose::Home {
            if let Some(hints) = &mut self.hints {
                hints.begin(now);
            }
            let (stun_port, turn) = servers(said); // TURN-3: here, and for no other link
            let bindings = link.relay.bindings.clone();
            link.know_other(elsewhere(said).map(|Elsewhere { uri, node }| Relay { uri, bindings, node: Some(node) }));
            if let Some((link, turn)) = self.links.get_mut(&id).zip(turn.as_ref()) {
                link.renewal = Renewal::of(now, turn.expires_at);
            }
            let vapid = self.home_wakes(now, said);
            self.out.push_back(Output::Event(Event::Online { relay: relay.clone(), uri, stun_port, turn, vapid }));
        }
        self.talk_over(now, id);
    }

    /// A second `hello` changes no binding: HEL-5 has been satisfied once. If it answers ours, it may bring credentials.
    fn relay_renewed(&mut self, now: Now, id: LinkId, said: &Hello) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let is_answer = said.in_reply_to.is_some() && said.in_reply_to == link.renewal.asked;
        if !is_answer || link.bound() != Some(&said.common.from) {
            return;
        }
        link.renewal = Renewal::default();
        if let (stun_port, Some(turn)) = servers(said) {
            link.renewal = Renewal::of(now, turn.expires_at);
            let uri = link.relay.uri.clone();
            self.out.push_back(Output::Event(Event::Renewed { uri, stun_port, turn }));
        }
    }

    fn distrust(&mut self, now: Now, id: LinkId, signer: &Did, why: &str) {
        let what = Suspicion::WrongRelay { why: why.to_owned() };
        self.suspect(now, id, what, Some(signer.clone()));
        self.hang_up_link(now, id, why);
    }

    /// Closes a link from our side and treats it as lost.
    pub(super) fn hang_up_link(&mut self, now: Now, id: LinkId, why: &str) {
        if self.links.contains_key(&id) {
            self.out.push_back(Output::Close(id));
            self.lost(now, id, why);
        }
    }

    /// WS-5, QB-52: a lost link changes no session. Home is dialled again, and so is a callee's node while a call runs over it;
    /// a call that has not got as far as its invite tries the next place.
    fn lost(&mut self, now: Now, id: LinkId, why: &str) {
        self.parked.forget(id);
        let Some(link) = self.links.get(&id) else { return };
        let home = link.purpose == Purpose::Home;
        let was_bound = link.bound().is_some();
        let unheard = !was_bound && link.listening().is_some();
        if home {
            if let Some(hints) = &mut self.hints {
                hints.pause();
            }
            if was_bound || link.is_untried() {
                self.out.push_back(Output::Event(Event::Offline { why: why.to_owned() }));
            }
        }
        // A watch is worth as much trouble as a call once its authority has been heard.
        let watched = was_bound && self.watches.need(id);
        if home || watched || self.calls.values().any(|call| call.link == id && call.is_live()) {
            if let Some(link) = self.links.get_mut(&id) {
                link.rest(now, &mut self.rng);
            }
        } else {
            self.links.remove(&id);
            self.watches_lost(id);
        }
        self.introductions_lost(id, why);
        self.try_elsewhere(now, id, why);
        if unheard {
            self.never_heard(now, id, why);
        }
    }

    /// Puts an envelope on its way, or aside until the link is bound.
    pub(super) fn transmit(&mut self, link: LinkId, frame: String, session: Option<Ulid>, expires: u64) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.listening().is_some() {
            self.out.push_back(Output::Transmit { link, frame, session });
        } else {
            state.hold(Waiting { frame, session, expires });
        }
    }

    /// Signs a message and sends it over `link`.
    pub(super) fn say(&mut self, link: LinkId, message: impl Into<Message>) {
        let message = message.into();
        let (session, expires) = (message.session(), message.common().expires_at);
        let frame = self.signer.sign(&message).text();
        self.transmit(link, frame, session, expires);
    }

    /// The relay itself let through, or said, what does not verify: tell the person, and give the link up if it goes on.
    pub(super) fn suspect(&mut self, now: Now, id: LinkId, what: Suspicion, signer: Option<Did>) {
        self.out.push_back(Output::Event(Event::Security { what, signer, session: None }));
        if self.links.get_mut(&id).is_some_and(|link| link.refuse(now.tick)) {
            self.hang_up_link(now, id, "too much on it was refused");
        }
    }

    /// What the clock does to links: greetings that nobody answered, back-off that is over, errands that are done.
    pub(super) fn advance_links(&mut self, now: Now) {
        let mut unanswered = Vec::new();
        let mut idle = Vec::new();
        let mut expiring = Vec::new();
        let mut detoured = Vec::new();
        for (id, link) in &mut self.links {
            match link.state {
                State::Greeting { until, .. } if until <= now.tick => unanswered.push(*id),
                State::Bound { .. } if link.is_detour_over(now.tick) => detoured.push(*id),
                State::Bound { .. } if link.renewal.due.is_some_and(|due| due <= now.tick) => expiring.push(*id),
                State::Resting { until } if until <= now.tick => {
                    link.state = State::Dialling;
                    link.turn(now);
                    self.out.push_back(Output::Dial(*id, link.relay.clone()));
                }
                _ => {}
            }
            if link.purpose == Purpose::Errand {
                let needed = self.calls.values().any(|call| call.link == *id && call.is_live())
                    || self.errands.values().any(|errand| errand.link == *id)
                    || self.watches.need(*id);
                if needed {
                    link.idle_since = None;
                } else if now.tick >= *link.idle_since.get_or_insert(now.tick) + ERRAND_LINGER {
                    idle.push(*id);
                }
            }
        }
        for id in unanswered {
            // HEL-8
            self.hang_up_link(now, id, "the relay did not say hello in time");
        }
        for id in expiring {
            self.renew(now, id);
        }
        for id in detoured {
            self.hang_up_link(now, id, "our own node may be back");
        }
        for id in idle {
            self.links.remove(&id);
            self.parked.forget(id);
            self.out.push_back(Output::Close(id));
        }
    }

    pub(super) fn links_wake(&self) -> impl Iterator<Item = crate::time::Tick> {
        self.links.values().flat_map(|link| {
            let linger = link.idle_since.map(|since| since + ERRAND_LINGER);
            link.wake().into_iter().chain(linger)
        })
    }

    /// The places still to try for a call, in order, each once. One URI under the names of two nodes is two places: one of
    /// the names may be a lie (HEL-6).
    pub(super) fn routes(places: Vec<Relay>) -> VecDeque<Relay> {
        let mut routes: VecDeque<Relay> = VecDeque::new();
        for place in places {
            if !routes.iter().any(|known| known.uri == place.uri && known.node == place.node) {
                routes.push_back(place);
            }
        }
        routes
    }
}

/// Where a relay's `hello` says another is.
fn elsewhere(said: &Hello) -> Option<Elsewhere> {
    said.capabilities.as_ref().and_then(|capabilities| Elsewhere::read(&capabilities.rest))
}

/// What a relay's `hello` says about STUN and TURN on its host.
fn servers(said: &Hello) -> (Option<u16>, Option<turn::Grant>) {
    let Some(told) = said.capabilities.as_ref().map(|capabilities| &capabilities.rest) else { return (None, None) };
    let stun_port = told.get("stun_port").and_then(serde_json::Value::as_u64);
    (stun_port.and_then(|port| u16::try_from(port).ok()), turn::Grant::read(told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    #[test]
    fn hel_6_a_false_name_for_a_place_does_not_hide_the_true_one() {
        let place = |n: u8| Relay {
            uri: "wss://relay.example/dsip".into(),
            bindings: Vec::new(),
            node: Some(SecretKey::from_bytes(&[n; 32]).did()),
        };
        assert_eq!(Agent::routes(vec![place(1), place(2), place(1)]), [place(1), place(2)]);
    }
}
