//! What crosses the agent's border: inputs, outputs, and the events a user interface shows.

use crate::envelope::Code;
use crate::identity::Document;
use crate::time::Tick;
use crate::turn;
use crate::wake;
use crate::wire::token::{AnsweredBy, Direction, Status};
use crate::wire::{Did, Kind, Reason, Ulid};

use super::{Change, Company, Description, Relay, Told};

/// One connection to a relay, as agent and driver name it. Never reused within one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A question put to the world. An answer that comes late or twice is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// What the world tells the agent.
#[derive(Debug)]
pub enum Input<'a> {
    /// The wake time came.
    Tick,
    /// A frame arrived.
    Received {
        /// On this link.
        link: LinkId,
        /// Its text, exactly as received (ENV-5).
        frame: &'a str,
    },
    /// A link changed.
    Link(LinkId, LinkChange),
    /// Another program of this device goes before this one, or none does any more.
    Company(Option<Company>),
    /// The answer to an [`Output::Ask`].
    Answer(AskId, Answer),
}

/// What became of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkChange {
    /// The transport is open; nothing has been said yet.
    Up,
    /// The transport is closed, or could not be opened, and why.
    Down(String),
    /// The relay closed it because a newer connection of this device took over (WS-7): another program of the same owner.
    Replaced,
}

/// A question only the world can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What is this DID's document?
    Document(Did),
}

/// What the world found.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The document, or none if the DID does not resolve.
    Document(Option<Document>),
}

/// What the agent tells the world. A driver carries these out in order: what must survive a restart is stored before the
/// message that relies on it leaves.
#[derive(Debug)]
pub enum Output {
    /// Store this change durably.
    Persist(Change),
    /// Open a transport to a relay and report on it under this id.
    Dial(LinkId, Relay),
    /// Send one frame.
    Transmit {
        /// On this link.
        link: LinkId,
        /// The envelope's text.
        frame: String,
        /// The session it belongs to, for transports that keep sessions apart.
        session: Option<Ulid>,
    },
    /// Close a link; nothing more is said on it.
    Close(LinkId),
    /// Answer a question with [`Input::Answer`].
    Ask(AskId, Question),
    /// Tell the media engine of a call.
    Media(Ulid, Media),
    /// Put this signed reachability hint into the overlay. Only ever emitted when the owner opted in (DHT-31).
    Publish(String),
    /// Tell the person.
    Event(Event),
    /// Nothing more for now; call again with [`Input::Tick`] at the wake time, if there is one.
    Idle {
        /// The next deadline.
        wake: Option<Tick>,
    },
}

/// Leave to open a media path. Only the agent makes one, and only when it sent or accepted a signed answer (SES-7, WEB-90).
/// It cannot be copied: one answer, one path.
#[derive(Debug)]
pub struct Permit {
    pub(super) remote: Option<String>,
}

impl Permit {
    /// The peer's SDP answer, when we offered; none when we answered, since our engine holds the offer already.
    #[must_use]
    pub fn remote(&self) -> Option<&str> {
        self.remote.as_deref()
    }
}

/// What the agent tells a call's media engine.
#[derive(Debug)]
pub enum Media {
    /// Open the path.
    Start(Permit),
    /// Apply these remote candidates, in order.
    Candidates(Vec<String>),
    /// The peer has no more candidates.
    EndOfCandidates,
    /// Our update was accepted: apply this SDP answer.
    Apply(String),
    /// Our update was refused: return to the description in force (WEB-85).
    RollBack,
    /// The answer to the peer's update is on its way: what we described is in force now.
    Adopt,
    /// What the peer's answer says about the path for real-time text (RTT-2): its SDP, or nothing in it if the path may be opened.
    /// It comes before what the answer is for. No signed answer, no path.
    Text(String),
    /// Close the path.
    Stop,
}

/// Somebody at the other end, and on what basis we say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The verified identity.
    pub identity: Did,
    /// The device that signed.
    pub device: Did,
    /// The name it gives itself: a claim, to be shown as one (TRU-9).
    pub claimed_name: Option<String>,
    /// The name the owner gave it.
    pub contact: Option<String>,
    /// Whether it is in the address book at all.
    pub known: bool,
    /// The basis of trust (TRU-1).
    pub basis: String,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This phone, or the person at it.
    Us,
    /// The other end, or a relay on the way to it.
    Peer,
}

/// What a person may want to know. Everything in it was verified, except what is called a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Our own node knows us: calls can come in.
    Online {
        /// The relay identity its `hello` proved.
        relay: Did,
        /// Where it is.
        uri: String,
        /// The UDP port on which that host answers STUN, if it says so.
        stun_port: Option<u16>,
        /// Credentials for the TURN server of that host, if it has one.
        turn: Option<turn::Grant>,
        /// The key by which push services know it, if it wakes devices that sleep (WAK-1): what browsers call
        /// `applicationServerKey`.
        vapid: Option<wake::Key>,
    },
    /// Our own node renewed the credentials for its TURN server.
    Renewed {
        /// Where the node is.
        uri: String,
        /// The UDP port on which that host answers STUN, if it says so.
        stun_port: Option<u16>,
        /// The new ones.
        turn: turn::Grant,
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
    /// Our own node is out of reach.
    Offline {
        /// Why.
        why: String,
    },
    /// Another program of this device has the links now; this one comes back as soon as it may. Then [`Event::Online`] says so.
    Aside {
        /// Why that one goes first.
        company: Company,
    },
    /// A call is dialling a relay.
    Dialling {
        /// The call.
        call: Ulid,
        /// Where.
        relay: Relay,
    },
    /// The signed invite is on its way.
    Invited {
        /// The call.
        call: Ulid,
        /// The relay that carries it: its `hello` proved so, or its key in TLS did and its `hello` has to follow.
        relay: Did,
    },
    /// A device of the callee reports (PRG-12).
    Progress {
        /// The call.
        call: Ulid,
        /// `trying`, `ringing`, `queued` or `forwarded`.
        status: Status,
        /// The device that reports.
        device: Did,
    },
    /// Somebody calls. The person, or whoever decides for them, answers with [`Agent::accept`](super::Agent::accept) or
    /// [`Agent::decline`](super::Agent::decline).
    Incoming {
        /// The call.
        call: Ulid,
        /// Who.
        party: Party,
        /// What they offer.
        offer: Description,
    },
    /// The call is answered. Who answered is the answering side's claim (ANS-3).
    Answered {
        /// The call.
        call: Ulid,
        /// A person, a service, a screener, a gateway.
        by: AnsweredBy,
        /// The other end.
        party: Party,
        /// What we may do with audio, seen from our side.
        direction: Direction,
    },
    /// The peer offers a change; answer with [`Agent::accept_update`](super::Agent::accept_update) or
    /// [`Agent::reject_update`](super::Agent::reject_update).
    UpdateOffered {
        /// The call.
        call: Ulid,
        /// What the peer would like.
        offer: Description,
        /// Who is there now, if the peer says so (SCR-3).
        by: Option<AnsweredBy>,
    },
    /// Our own offered change was refused; what was negotiated before stays in force.
    UpdateRejected {
        /// The call.
        call: Ulid,
        /// Why.
        reason: Reason,
    },
    /// The call is over.
    Ended {
        /// The call.
        call: Ulid,
        /// Why.
        reason: Reason,
        /// Who ended it.
        side: Side,
        /// Whether it rang here and nobody answered anywhere.
        missed: bool,
    },
    /// No place to reach somebody could be dialled; neither invite nor introduction was ever sent.
    Unreachable {
        /// The call, or the introduction.
        call: Ulid,
        /// What the last place said.
        why: String,
    },
    /// Both called each other at the same moment with equal ids; either may try again after a random 1 to 4 s (GLR-5).
    TryAgain {
        /// The call that ended over it.
        call: Ulid,
    },
    /// Somebody asks for permission to call. Never shown as a call (FC-2).
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
    /// An authority says how things stand that we watch. It is its word, except for a record it sent along, which was verified.
    Told {
        /// The watch.
        watch: Ulid,
        /// Who says so: the node that answers for it.
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
    /// Somebody who has no say in it spoke in a session (PTY-5), or something did not verify. Nothing changed.
    Security {
        /// What happened.
        what: Suspicion,
        /// The DID whose key signed, when that much is proven.
        signer: Option<Did>,
        /// The session it concerned.
        session: Option<Ulid>,
    },
    /// The other side, or a relay, reports an error; it changes nothing by itself (SES-8).
    Reported {
        /// The session it concerned.
        session: Option<Ulid>,
        /// Why.
        reason: Reason,
    },
}

/// What was refused, and would have been dangerous if it had not been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspicion {
    /// A verified message from somebody who is no party to the session (PTY-2 to PTY-4).
    NotAParty {
        /// The message's type.
        kind: Kind,
    },
    /// An envelope that did not pass verification, with the code of the first check it failed.
    Unverified {
        /// The code (01 §6).
        code: Code,
    },
    /// A relay whose `hello` was not an answer to ours (HEL-5), or which is not the one we dialled (HEL-6).
    WrongRelay {
        /// What was wrong.
        why: String,
    },
}
