//! Where our own node can wake this device when it sleeps (docs/spec/wake.md).
//!
//! What the owner said holds for as long as the phone runs: it is said to our own node whenever that knows us, and again before
//! the node forgets it.

use std::time::Duration;

use serde_json::Value;

use crate::time::{Now, Tick};
use crate::wake::{self, Endpoint, Key};
use crate::wire::Message;
use crate::wire::message::{Hello, Subscribe};
use crate::wire::token::{ProfileId, SubscriptionEvent};
use crate::wire::{Did, Ulid};

use super::inbound::Inbound;
use super::{Agent, Event, Misuse, Output};

/// How long a request is valid, and until it is said again if nothing comes back.
const REQUEST_SECS: u64 = 60;

/// How often it is said again. A node forgets it after 30 days (WAK-7).
const AGAIN: Duration = Duration::from_secs(86_400);

/// What the owner wants, and how far it has come.
#[derive(Debug, Default)]
pub(super) struct Waking {
    wanted: Option<Wanted>,
    /// The key of our own node, by its `hello`, if it wakes devices.
    key: Option<Key>,
    asked: Option<Ulid>,
    due: Option<Tick>,
}

#[derive(Debug)]
enum Wanted {
    At { endpoint: Endpoint, made_for: Option<Key> },
    Nowhere,
}

impl Waking {
    pub(super) fn wake(&self) -> Option<Tick> {
        self.due
    }
}

impl Agent {
    /// Has our own node wake this device by `endpoint` when something waits for it, from now on and whenever it knows us. An endpoint
    /// that its push service made for one node's key (`applicationServerKey` in browsers) is said to that node alone: give the
    /// key as `made_for` (WAK-2). [`Event::WakeRegistered`] or [`Event::WakeRefused`] says what came of it.
    pub fn register_wake(&mut self, now: Now, endpoint: Endpoint, made_for: Option<Key>) -> Result<(), Misuse> {
        self.want_wake(now, Wanted::At { endpoint, made_for })
    }

    /// Takes that back: this device is not woken any more (WAK-5).
    pub fn unregister_wake(&mut self, now: Now) -> Result<(), Misuse> {
        self.want_wake(now, Wanted::Nowhere)
    }

    fn want_wake(&mut self, now: Now, wanted: Wanted) -> Result<(), Misuse> {
        if self.home.is_none() {
            return Err(Misuse::Nowhere);
        }
        (self.waking.wanted, self.waking.asked, self.waking.due) = (Some(wanted), None, None);
        if self.bound_home().is_some() {
            self.waking.due = Some(now.tick);
        }
        Ok(())
    }

    /// Our own node has said hello: what it is to know is said to it.
    pub(super) fn home_wakes(&mut self, now: Now, said: &Hello) -> Option<Key> {
        let key = said.capabilities.as_ref().and_then(|capabilities| wake::announced(&capabilities.rest));
        self.waking.key = key;
        self.waking.asked = None;
        self.waking.due = self.waking.wanted.as_ref().map(|_| now.tick);
        key
    }

    /// Says what is due.
    pub(super) fn advance_waking(&mut self, now: Now) {
        if self.waking.due.is_none_or(|due| due > now.tick) {
            return;
        }
        self.waking.due = None;
        // Without the link it is said when that is bound.
        let Some((link, node)) = self.bound_home() else { return };
        let Some(wanted) = &self.waking.wanted else { return };
        let (claim, is_possible) = match wanted {
            Wanted::At { endpoint, made_for } => {
                (endpoint.claim(), self.waking.key.is_some_and(|key| made_for.is_none_or(|made_for| made_for == key)))
            }
            Wanted::Nowhere => (wake::no_claim(), self.waking.key.is_some()),
        };
        if !is_possible {
            self.out.push_back(Output::Event(Event::WakeRefused { reason: None }));
            return;
        }
        let common = self.common(now, REQUEST_SECS, &[ProfileId::INTERACTIVE_MEDIA]);
        (self.waking.asked, self.waking.due) = (Some(common.id), Some(now.tick + Duration::from_secs(REQUEST_SECS)));
        let target = self.device.to_string();
        let (events, claims) = (vec![SubscriptionEvent::WAKE], Some(vec![claim]));
        let expires_in = u32::try_from(REQUEST_SECS).unwrap_or(u32::MAX);
        self.say(link, Subscribe { common, to: node, target, events, expires_in, claims, capability: None });
    }

    /// A verified message that may be our own node's answer. False if it is not.
    pub(super) fn heard_about_waking(&mut self, now: Now, inbound: &Inbound) -> bool {
        let is_home = Some(inbound.link) == self.home && inbound.via.as_ref() == Some(&inbound.device);
        let Some(asked) = self.waking.asked.filter(|_| is_home) else { return false };
        let event = match &inbound.message {
            Message::Notify(notify) if notify.subscription == asked => {
                Event::WakeRegistered { until: notify.body.get("expires_at").and_then(Value::as_u64) }
            }
            Message::Error(error) if error.in_reply_to == Some(asked) => {
                Event::WakeRefused { reason: Some(error.reason.clone()) }
            }
            Message::Reject(reject) if reject.session == asked => {
                Event::WakeRefused { reason: Some(reject.reason.clone()) }
            }
            _ => return false,
        };
        (self.waking.asked, self.waking.due) = (None, Some(now.tick + AGAIN));
        if matches!(self.waking.wanted, Some(Wanted::Nowhere)) {
            (self.waking.wanted, self.waking.due) = (None, None);
        }
        self.out.push_back(Output::Event(event));
        true
    }

    fn bound_home(&self) -> Option<(super::LinkId, Did)> {
        let home = self.home?;
        Some((home, self.links.get(&home)?.bound()?.clone()))
    }
}
