//! What the engine decided, carried out on connections.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::refusals::Refusal;
use super::{Close, Event, Host, Output};
use crate::relay::engine::{self, Path};
use crate::relay::inbox::Place;
use crate::relay::message::Body;
use crate::time::Now;
use crate::wire::{Did, Reason};

impl Host {
    /// Carries out what the engine decided; `from` is the device that sent the message, for answers to it.
    pub(super) fn carry_out(&mut self, now: Now, from: Option<&Did>, out: &mut Vec<Output>) {
        let conn = from.and_then(|from| self.devices.get(from)).copied();
        self.write_down(from, out);
        let mut rung = BTreeSet::new();
        // What cannot be handed over goes back in, and the engine then queues it: it cannot come back a second time.
        for _ in 0..2 {
            if self.routed.is_empty() {
                return;
            }
            let mut back = Vec::new();
            for output in std::mem::take(&mut self.routed) {
                match output {
                    engine::Output::Deliver { leg, message, place, path } => {
                        // WAK-11: who sleeps is called with those who are there.
                        if path == Path::Fork
                            && message.body == Body::Invite
                            && let Some(to) = &message.to
                            && rung.insert(message.id)
                        {
                            self.rouse(now, to, &message, out);
                        }
                        match (self.devices.get(&leg).copied(), place) {
                            (Some(to), place) => self.deliver(now, to, leg, message, place, from, out),
                            (None, Some(Place { address, number, deadline })) => {
                                let (deadline, on_disk) = (Some(deadline), true);
                                back.push(engine::Input::Returned { number, address, deadline, message, on_disk });
                            }
                            (None, None) => back.push(engine::Input::Undelivered { to: leg, message }),
                        }
                    }
                    engine::Output::Forward { to: device, message, .. } => match self.devices.get(&device).copied() {
                        Some(to) => self.deliver(now, to, device, message, None, from, out),
                        None => back.push(engine::Input::Undelivered { to: device, message }),
                    },
                    engine::Output::Refuse { to, session, reason, .. } => {
                        let message = Arc::new(self.reject(now, to.clone(), session, reason));
                        match self.devices.get(&to).copied() {
                            Some(at) => self.deliver(now, at, to, message, None, None, out),
                            None => back.push(engine::Input::Undelivered { to, message }),
                        }
                    }
                    engine::Output::Error { to, reason, in_reply_to } => {
                        let conn = self.devices.get(&to).copied().or(conn);
                        out.extend(conn.map(|conn| Output::Event(Event::Refused(conn, reason.clone()))));
                        let refused = Refusal::of(to, reason, Some(in_reply_to));
                        if let Some(conn) = conn {
                            self.send_refusal(now, conn, refused, out);
                        }
                    }
                    engine::Output::Queued { to, message } => {
                        out.push(Output::Event(Event::Queued(message.body.kind())));
                        self.rouse(now, &to, &message, out);
                    }
                    engine::Output::Dequeued { message, .. } => {
                        out.push(Output::Event(Event::Dequeued(message.body.kind())));
                    }
                    engine::Output::Drop { message, why } => {
                        out.push(Output::Event(Event::Dropped(why)));
                        if !why.is_silent()
                            && let Some(conn) = conn
                        {
                            self.refuse(now, conn, &message, Reason::TRANSPORT_ROUTING_REFUSED, None, out); // RLY-4
                        }
                    }
                    engine::Output::NotBound { device } => {
                        if let Some(conn) = self.devices.get(&device).copied() {
                            self.close(now, conn, Close::Full, out);
                        }
                    }
                }
            }
            for input in back {
                self.engine.handle(now, input, &mut self.routed);
            }
            self.write_down(from, out);
        }
    }
}
