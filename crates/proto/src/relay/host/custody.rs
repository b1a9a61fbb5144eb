//! What was taken on: handed to devices until they acknowledge it, on disk before anybody is told it is safe
//! (docs/spec/custody.md).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::documents::Parked;
use super::refusals::session_of;
use super::{Close, Conn, Event, Host, Output, State};
use crate::envelope::Recorded;
use crate::relay::custody::Delivery;
use crate::relay::engine;
use crate::relay::inbox::Place;
use crate::relay::kept::{Kept, Write};
use crate::relay::message::Message;
use crate::time::Now;
use crate::wire::Did;

/// Questions of one device that wait for their answer; a later one takes the place of the last (RFC 6455, 5.5.3).
const MAX_QUESTIONS: usize = 16;

/// The longest question that is answered: what a control frame can hold.
const MAX_MARK: usize = 125;

/// Writes that may be on their way to the disk. More means a disk that cannot keep up: new ids are then not written down,
/// and what would have to wait is refused.
pub const MAX_UNSTORED: u64 = 262_144;

/// What one device sent and is not safe yet, whatever connection it came on (CUS-6).
#[derive(Default)]
pub(super) struct Owed {
    /// Envelopes that are neither on disk nor acknowledged by whom they are for, by arrival number; with the connection they
    /// were handed to, if they are not just waiting for the disk. Never empty.
    pub(super) open: BTreeMap<u64, Option<Conn>>,
    /// What it asked: everything before this arrival number has to be safe.
    pub(super) questions: VecDeque<(u64, Conn, Vec<u8>)>,
    /// Ids of its envelopes, to be written down when everything before this arrival number is safe. Until then a restart
    /// forgets envelope and id together, and it may be sent again (CUS-5).
    pub(super) ids: VecDeque<(u64, Recorded)>,
}

impl Host {
    /// Hands a message to a device and keeps it until the device has acknowledged it.
    #[expect(clippy::too_many_arguments, reason = "what is known of a delivery comes from two sides")]
    pub(super) fn deliver(
        &mut self,
        now: Now,
        to: Conn,
        device: Did,
        message: Arc<Message>,
        place: Option<Place>,
        origin: Option<&Did>,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Event(Event::Delivered(message.body.kind())));
        let delivery = match place {
            // It has waited: it is on disk, and who sent it was told so long ago.
            Some(Place { address, number, deadline }) => {
                Delivery { number, address, deadline: Some(deadline), message, at: now.tick, kept: true, origin: None }
            }
            None => {
                let (number, origin) = (self.engine.number(), origin.cloned());
                if let Some(origin) = &origin {
                    self.owed.entry(origin.clone()).or_default().open.insert(number, Some(to));
                }
                Delivery { number, address: device, deadline: None, message, at: now.tick, kept: false, origin }
            }
        };
        let Some(connection) = self.connections.get_mut(&to) else { return };
        self.unacknowledged += 1;
        if connection.custody.push(delivery) {
            self.hand_on(now, to, out);
        } else {
            self.close(now, to, Close::Unread, out);
        }
    }

    /// Sends what the connection's window allows, and asks after it when it is time to.
    pub(super) fn hand_on(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        while let Some(message) = connection.custody.next(now.tick) {
            out.push(Output::Transmit { conn, session: session_of(&message), frame: message.text.clone() });
        }
        if let Some(number) = connection.custody.question(now.tick) {
            out.push(Output::Question { conn, number });
        }
        self.look_after(conn);
    }

    pub(super) fn look_after(&mut self, conn: Conn) {
        let writable = self.has_disk();
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let due = connection.custody.due(writable);
        if due != connection.look {
            if let Some(earlier) = std::mem::replace(&mut connection.look, due) {
                self.looks.remove(&(earlier, conn));
            }
            if let Some(due) = due {
                self.looks.insert((due, conn));
            }
        }
    }

    /// CUS-13: what a device does not acknowledge soon goes to disk, while it is on its way.
    pub(super) fn keep_overdue(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        if !self.has_disk() {
            return;
        }
        loop {
            let Some(connection) = self.connections.get_mut(&conn) else { return };
            let Some(delivery) = connection.custody.overdue(now.tick) else { return };
            let deadline = self.engine.deadline(&delivery.message);
            let place = Place { address: delivery.address.clone(), number: delivery.number, deadline };
            let (origin, message) = (delivery.origin.clone(), delivery.message.clone());
            let device = match &connection.state {
                State::Bound { device, .. } => Some(device.clone()),
                State::Greeting | State::Closing => None,
            };
            self.write_for(origin.as_ref(), Write::Hold(Kept { place, text: message.text.clone() }), out);
            if let Some(device) = device {
                self.rouse_unheard(now, &device, &message, out);
            }
        }
    }

    /// CUS-14: what a connection that is gone did not acknowledge waits for its device again.
    pub(super) fn take_back(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let returned = connection.custody.take();
        self.unacknowledged -= returned.len();
        self.look_after(conn);
        self.engine.set_disk(self.has_disk());
        for Delivery { number, address, deadline, message, kept, origin, .. } in returned {
            let (to, waits) = (address.clone(), message.clone());
            let input = engine::Input::Returned { number, address, deadline, message, on_disk: kept };
            self.engine.handle(now, input, &mut self.routed);
            self.carry_out(now, origin.as_ref(), out);
            self.rouse(now, &to, &waits, out);
            if let Some(origin) = origin
                && self.owed.get(&origin).is_some_and(|owed| matches!(owed.open.get(&number), Some(Some(_))))
            {
                self.safe(&origin, number, out); // it does not wait for the disk, so its sender was told of its refusal
            }
        }
    }

    pub(super) fn is_open(&self, conn: Conn) -> bool {
        self.connections.get(&conn).is_some_and(|connection| !matches!(connection.state, State::Closing))
    }

    /// A device says what it has.
    pub(super) fn reached(&mut self, now: Now, conn: Conn, number: u64, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let State::Bound { device, .. } = &connection.state else { return };
        let device = device.clone();
        let theirs = connection.custody.acknowledge(number);
        self.unacknowledged -= theirs.len();
        for delivery in theirs {
            if delivery.kept {
                self.write_for(Some(&device), Write::Release(delivery.number), out); // CUS-12
            }
            if let Some(origin) = &delivery.origin {
                self.safe(origin, delivery.number, out);
            }
        }
        self.has_read(&device);
        self.hand_on(now, conn, out);
    }

    /// A connection asks whether what it sent is safe.
    pub(super) fn asked_by(&mut self, now: Now, conn: Conn, mark: Vec<u8>, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if matches!(connection.state, State::Closing) || mark.len() > MAX_MARK {
            return;
        }
        if !connection.parked.is_empty() {
            return self.park(now, conn, Parked::Asked(mark), out); // what came before it has not been judged yet
        }
        let State::Bound { device, .. } = &connection.state else {
            return out.push(Output::Vouch { conn, mark }); // it has sent nothing that was routed
        };
        let Some(owed) = self.owed.get_mut(device) else { return out.push(Output::Vouch { conn, mark }) };
        if owed.questions.len() >= MAX_QUESTIONS {
            owed.questions.pop_back();
        }
        owed.questions.push_back((self.engine.number(), conn, mark));
        let recipients: BTreeSet<Conn> = owed.open.values().copied().flatten().collect();
        for recipient in recipients {
            if let Some(connection) = self.connections.get_mut(&recipient) {
                connection.custody.hurry();
                self.hand_on(now, recipient, out);
            }
        }
    }

    pub(super) fn stored(&mut self, count: u64, out: &mut Vec<Output>) {
        self.stored = self.stored.max(count);
        while self.unstored.front().is_some_and(|(write, ..)| *write <= count) {
            if let Some((_, origin, number)) = self.unstored.pop_front() {
                self.safe(&origin, number, out);
            }
        }
    }

    /// The envelope with this number has left our hands, or is on disk, or was refused; then the error is out (CUS-4).
    fn safe(&mut self, origin: &Did, number: u64, out: &mut Vec<Output>) {
        let Some(owed) = self.owed.get_mut(origin) else { return };
        if owed.open.remove(&number).is_none() {
            return;
        }
        let first = owed.open.first_key_value().map(|(number, _)| *number);
        let is_safe = |before: u64| first.is_none_or(|first| first >= before);
        let mut ids = Vec::new();
        while owed.ids.front().is_some_and(|(before, _)| is_safe(*before)) {
            ids.extend(owed.ids.pop_front().map(|(_, id)| id));
        }
        // CUS-1
        while owed.questions.front().is_some_and(|(before, ..)| is_safe(*before)) {
            if let Some((_, conn, mark)) = owed.questions.pop_front()
                && self.connections.contains_key(&conn)
            {
                out.push(Output::Vouch { conn, mark });
            }
        }
        if first.is_none() {
            self.owed.remove(origin);
        }
        for id in ids {
            self.remember(id, out);
        }
    }

    /// RPL-3, RPL-6. A disk that does not keep up is not given more of what can be done without: whom it is for checks it, too.
    pub(super) fn remember(&mut self, id: Recorded, out: &mut Vec<Output>) {
        if self.written - self.stored < MAX_UNSTORED {
            self.write(Write::Seen(id), out);
        }
    }

    /// Passes on what the engine wants on disk; what is new there came from `origin`.
    pub(super) fn write_down(&mut self, origin: Option<&Did>, out: &mut Vec<Output>) {
        let writes: Vec<Write> = self.engine.writes().collect();
        for write in writes {
            self.write_for(origin, write, out);
        }
    }

    /// Writes, and remembers who waits for it.
    fn write_for(&mut self, origin: Option<&Did>, write: Write, out: &mut Vec<Output>) {
        let number = match &write {
            Write::Hold(Kept { place, .. }) => Some(place.number),
            Write::Release(number) => Some(*number),
            _ => None,
        };
        if let (Some(number), Some(origin)) = (number, origin) {
            self.owe(origin, number);
        }
        self.write(write, out);
    }

    /// Writes what `origin` said, which is safe when that is done, as an envelope that waits is.
    pub(super) fn write_owed(&mut self, origin: Option<&Did>, write: Write, out: &mut Vec<Output>) {
        if let Some(origin) = origin {
            let number = self.engine.number();
            self.owe(origin, number);
        }
        self.write(write, out);
    }

    /// The next write makes this safe.
    fn owe(&mut self, origin: &Did, number: u64) {
        self.owed.entry(origin.clone()).or_default().open.insert(number, None);
        self.unstored.push_back((self.written + 1, origin.clone(), number));
    }

    pub(super) fn write(&mut self, write: Write, out: &mut Vec<Output>) {
        self.written += 1;
        out.push(Output::Write(write));
    }

    pub(super) fn has_disk(&self) -> bool {
        self.writable && self.written - self.stored < MAX_UNSTORED
    }
}
