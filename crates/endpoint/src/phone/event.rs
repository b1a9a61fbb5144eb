//! What a phone tells the program that holds it.

use std::time::Duration;

use dsip_media::stats::Report;
use dsip_proto::agent::{Company, Party, Side, Suspicion, Told};
use dsip_proto::wake::Key;
use dsip_proto::wire::token::{AnsweredBy, Direction, Status};
use dsip_proto::wire::{Did, Reason, Ulid};

use crate::link::Transport;
use crate::media::Reach;

/// Something a person at this phone may want to know. Whatever is not called a claim was verified.
#[derive(Debug, Clone)]
pub enum Event {
    /// Our own node knows us: calls can come in.
    Online {
        /// The relay identity that its `hello` proved.
        relay: Did,
        /// Where it is.
        uri: String,
        /// Over which binding, while the link stands.
        transport: Option<Transport>,
        /// The key by which push services know it, if it wakes devices that sleep.
        vapid: Option<Key>,
    },
    /// Our own node says that it wakes this device when something waits for it.
    WakeRegistered {
        /// Until when, in Unix seconds; nothing if it does not any more, as we wanted.
        until: Option<u64>,
    },
    /// Our own node does not wake this device.
    WakeRefused {
        /// Why; nothing if it wakes nobody, or goes by another key than the endpoint was made for.
        reason: Option<Reason>,
    },
    /// Our own node is out of reach; the phone keeps trying.
    Offline {
        /// Why.
        why: String,
    },
    /// Another program of this home goes first, and has the connection to our node; this phone comes back by itself, and says
    /// so with [`Online`](Self::Online).
    Aside {
        /// Why that one goes first.
        company: Company,
    },
    /// The signed reachability hint was handed to the overlay.
    Published {
        /// Nodes that took it.
        accepted: usize,
    },
    /// Publishing the hint failed; it will be tried again.
    Unpublished {
        /// Why.
        why: String,
    },
    /// A relay is being dialled for a call.
    Dialling {
        /// The call.
        call: Ulid,
        /// Where.
        uri: String,
    },
    /// The signed invite is on its way.
    Invited {
        /// The call.
        call: Ulid,
        /// The relay that carries it: its `hello` proved so, or its key in TLS did and its `hello` has to follow.
        relay: Did,
        /// Over which binding, while the link stands.
        transport: Option<Transport>,
    },
    /// A device of the callee reports.
    Progress {
        /// The call.
        call: Ulid,
        /// What.
        status: Status,
        /// Which device.
        device: Did,
    },
    /// Somebody calls. Answer with [`Phone::accept`](super::Phone::accept), [`Phone::screen`](super::Phone::screen) or
    /// [`Phone::decline`](super::Phone::decline).
    Incoming {
        /// The call.
        call: Ulid,
        /// Who.
        party: Party,
    },
    /// A signed answer stands. Who answered is the answering side's claim (ANS-3).
    Answered {
        /// The call.
        call: Ulid,
        /// A person, a service, a screener, a gateway.
        by: AnsweredBy,
        /// The other end.
        party: Party,
    },
    /// Encrypted sound flows.
    Talking {
        /// The call.
        call: Ulid,
    },
    /// The path was lost; the call goes on looking for another.
    Interrupted {
        /// The call.
        call: Ulid,
    },
    /// Sound flows again.
    Resumed {
        /// The call.
        call: Ulid,
    },
    /// What was to be sent has been sent to its end; silence follows.
    SourceEnded {
        /// The call.
        call: Ulid,
    },
    /// The figures of a call's sound so far, about once a second.
    Stats {
        /// The call.
        call: Ulid,
        /// The figures.
        report: Report,
    },
    /// The peer changed what the call carries, and we agreed.
    Updated {
        /// The call.
        call: Ulid,
        /// Which way sound goes now, seen from here.
        direction: Direction,
        /// Who is there now, if the peer says so.
        by: Option<AnsweredBy>,
    },
    /// A change we offered was refused; the call goes on as it was.
    UpdateRejected {
        /// The call.
        call: Ulid,
        /// Why.
        reason: Reason,
    },
    /// A call ends for want of a path between the two. [`Event::Ended`] follows.
    NoPath {
        /// The call.
        call: Ulid,
        /// How far this side reached, which says why.
        why: Reach,
    },
    /// A call is over.
    Ended {
        /// The call.
        call: Ulid,
        /// Why.
        reason: Reason,
        /// Who ended it.
        side: Side,
        /// Whether it rang here and nobody answered anywhere.
        missed: bool,
        /// How long it was up; none if it never was.
        lasted: Option<Duration>,
        /// The figures of its sound.
        report: Option<Report>,
    },
    /// Both called each other at the same moment; either may try again after a random 1 to 4 s (GLR-5).
    TryAgain {
        /// The call that ended over it.
        call: Ulid,
    },
    /// No place to reach somebody could be dialled; nothing was ever sent.
    Unreachable {
        /// The call, or the introduction.
        call: Ulid,
        /// What the last place said.
        why: String,
    },
    /// Somebody asks for permission to call. Never a call (FC-2).
    Introduced {
        /// The introduction.
        introduction: Ulid,
        /// Who.
        party: Party,
        /// What they say they want: a claim.
        purpose: Option<String>,
        /// Whether a contact token let them in at once.
        by_token: bool,
    },
    /// Another program of the same owner changed who may call, and the phone has taken that over.
    ContactsChanged,
    /// Our introduction has left. Whether an answer ever comes is up to whoever got it (FC-3).
    Asked {
        /// The introduction.
        introduction: Ulid,
        /// The relay identity that takes it from here.
        relay: Did,
    },
    /// Somebody gave us leave to call them.
    Granted {
        /// Our introduction.
        introduction: Ulid,
        /// Who.
        by: Did,
        /// Until when, in Unix seconds.
        valid_until: u64,
    },
    /// Somebody refused our introduction.
    IntroductionRejected {
        /// Our introduction.
        introduction: Ulid,
        /// Why.
        reason: Reason,
    },
    /// An authority says how things stand that we watch. It is its word, except for a record, which was verified here.
    Told {
        /// The watch.
        watch: Ulid,
        /// Who says so.
        by: Did,
        /// What.
        told: Told,
    },
    /// A watch is over.
    WatchEnded {
        /// The watch.
        watch: Ulid,
        /// Why; nothing if the authority could not be reached.
        reason: Option<Reason>,
    },
    /// Something was refused that would have been dangerous otherwise. Nothing changed.
    Security {
        /// What.
        what: Suspicion,
        /// The DID whose key signed it, when that much is proven.
        signer: Option<Did>,
        /// The session it concerned.
        session: Option<Ulid>,
    },
    /// The other side, or a relay, reports an error.
    Reported {
        /// The session it concerned.
        session: Option<Ulid>,
        /// Why.
        reason: Reason,
    },
    /// Something on this machine went wrong, such as a recording that cannot be written.
    Trouble {
        /// What.
        what: String,
    },
}
