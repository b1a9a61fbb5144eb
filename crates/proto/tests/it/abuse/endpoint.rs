//! Random messages, requests and clock jumps at one endpoint, and what must hold after each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dsip_proto::endpoint::{
    Body, Command, Config, Engine, Input, MAX_SESSIONS, Media, Output, Proof, Received, Role, Send, Snapshot, State,
};
use dsip_proto::time::{Now, Wall};
use dsip_proto::wire::token::{About, AnsweredBy, Scope, Status};
use dsip_proto::wire::{Did, Reason, Ulid};

const START: u64 = 1_760_000_000;
const PEERS: [(&str, &str); 6] = [
    ("bob-phone", "bob"),
    ("bob-laptop", "bob"),
    ("carol-phone", "carol"),
    ("dave", "dave"),
    ("relay", "relay"),
    ("mallory", "mallory"),
];
const PAUSES: [u64; 8] = [0, 1, 4, 15, 29, 120, 1_800, 10_000];

/// Reads `data` as a list of operations and checks the invariants after each.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut world = World::new(bytes.next().unwrap_or_default() & 1 == 1);
    while let Some(operation) = bytes.next() {
        let mut choose = |among: u64| u64::from(bytes.next().unwrap_or_default()) % among;
        match operation % 8 {
            0 => world.wait(PAUSES[usize::try_from(choose(8)).unwrap_or_default()]),
            1..=3 => {
                let command = command(&mut choose);
                world.ask(command);
            }
            _ => {
                let received = received(&mut choose, world.now);
                world.hear(received);
            }
        }
    }
}

struct World {
    engine: Engine,
    now: Now,
    /// What is known of each session from the outside.
    sessions: BTreeMap<Ulid, Seen>,
}

#[derive(Default)]
struct Seen {
    /// Whom we invited, or the identity that invited us.
    other: Option<Did>,
    media_started: bool,
    media_stopped: bool,
    ended: bool,
}

impl World {
    fn new(first_contact_required: bool) -> Self {
        let mut config = Config::new(did("alice-phone"), did("alice"));
        config.first_contact_required = first_contact_required;
        let now = Now { wall: Wall::from_secs(START), ..Now::default() };
        Self { engine: Engine::new(config), now, sessions: BTreeMap::new() }
    }

    fn wait(&mut self, secs: u64) {
        self.now = self.now.later(Duration::from_secs(secs));
        self.feed(Input::Tick);
    }

    fn ask(&mut self, command: Command) {
        let before = self.states();
        let placed = match &command {
            Command::PlaceCall { session, to } => Some((*session, to.clone())),
            _ => None,
        };
        let due = self.engine.wake().is_some_and(|wake| wake <= self.now.tick);
        let out = self.feed(Input::Command(command));
        if out.iter().any(|output| matches!(output, Output::Refused(_))) && !due {
            assert_eq!(out.len(), 1, "a refused request does nothing else");
            assert_eq!(before, self.states(), "a refused request changes nothing");
        } else if let Some((session, to)) = placed {
            self.sessions.entry(session).or_default().other = Some(to);
        }
    }

    fn hear(&mut self, received: Received) {
        let before = self.states();
        let session = match &received.body {
            Body::Invite => Some(received.id),
            body => body.session(),
        };
        if let (Body::Invite, Some(proof)) = (&received.body, &received.proof)
            && !before.contains_key(&received.id)
        {
            self.sessions.entry(received.id).or_default().other = Some(proof.identity.clone());
        }
        let out = self.feed(Input::Received(received.clone()));
        let after = self.states();

        // PTY: whoever is neither whom we invited, nor who invited us, nor the relay, moves nothing.
        if let (Some(session), Some(proof)) = (session, &received.proof) {
            let other = self.sessions.get(&session).and_then(|seen| seen.other.as_ref());
            let stranger = other.is_some_and(|other| !proof.is_bound_to(other)) && !proof.is_relay();
            if stranger && !matches!(received.body, Body::Invite) {
                assert_eq!(before.get(&session), after.get(&session), "a stranger moved a session: {received:?}");
            }
        }
        // SES-8: errors are never answered.
        if matches!(received.body, Body::Error { .. }) {
            assert!(!out.iter().any(|output| matches!(output, Output::Send(_))), "{out:?}");
        }
        // SES-7, first half: at an initiator media starts on an acceptable answer alone.
        for output in &out {
            if let Output::Media { session: started, action: Media::Start } = output {
                assert_eq!(session, Some(*started));
                let accepted = matches!(received.body, Body::Answer { in_reply_to: None, media_ok: true, .. });
                assert!(accepted, "media started on {received:?}");
                let invited = self.sessions.get(started).and_then(|seen| seen.other.as_ref());
                if let (Some(proof), Some(invited)) = (&received.proof, invited) {
                    assert!(proof.is_bound_to(invited), "media started for a stranger: {received:?}");
                }
            }
        }
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        let answered = matches!(&input, Input::Received(_));
        self.engine.handle(self.now, input, &mut out);
        self.check(&out, answered);
        out
    }

    fn check(&mut self, out: &[Output], received: bool) {
        let mut sent_answers = BTreeSet::new();
        for output in out {
            match output {
                Output::Send(Send::Answer { session, in_reply_to: None, .. }) => {
                    sent_answers.insert(*session);
                }
                Output::Media { session, action } => {
                    let seen = self.sessions.entry(*session).or_default();
                    match action {
                        Media::Start => {
                            // SES-7, second half: at a responder media starts on sending the answer alone.
                            assert!(received || sent_answers.contains(session), "media started without an answer");
                            assert!(!seen.media_started, "media started twice");
                            seen.media_started = true;
                        }
                        Media::Stop => {
                            assert!(seen.media_started && !seen.media_stopped, "media stopped out of turn");
                            seen.media_stopped = true;
                        }
                        Media::ApplyUpdate => {
                            assert!(seen.media_started && !seen.media_stopped, "an update applied out of turn");
                        }
                    }
                }
                _ => {}
            }
        }
        let states = self.states();
        // A session whose record is forgotten (SES-10) leaves its id to whoever comes next.
        self.sessions.retain(|id, seen| !seen.ended || states.contains_key(id));
        let mut timed = 0;
        for (id, snapshot) in states {
            let seen = self.sessions.entry(id).or_default();
            // INI-22: nothing comes back to life.
            assert!(!seen.ended || snapshot.state == State::Ended, "{id} was revived");
            seen.ended = snapshot.state == State::Ended;
            assert_eq!(seen.media_started && !seen.media_stopped, snapshot.state == State::Active);
            assert!(snapshot.update.is_none() || snapshot.state == State::Active);
            let initiates = matches!(snapshot.state, State::Inviting | State::Proceeding);
            assert!(!initiates || snapshot.role == Role::Initiator);
            timed += usize::from(initiates || snapshot.state == State::Alerting);
        }
        assert!(self.engine.sessions().count() <= MAX_SESSIONS);
        // What waits for a timer has one, and nothing is overdue.
        match self.engine.wake() {
            Some(wake) => assert!(wake > self.now.tick, "something due was left undone"),
            None => assert_eq!(timed, 0),
        }
    }

    fn states(&self) -> BTreeMap<Ulid, Snapshot> {
        (0..SESSIONS).map(id).filter_map(|id| Some((id, self.engine.session(id)?))).collect()
    }
}

const SESSIONS: u64 = 12;

fn command(choose: &mut dyn FnMut(u64) -> u64) -> Command {
    let session = id(choose(SESSIONS));
    let other = id(choose(SESSIONS));
    let answered_by = [None, Some(AnsweredBy::SCREENING)][usize::try_from(choose(2)).unwrap_or_default()].clone();
    let (device, identity) = peer(choose);
    match choose(19) {
        0 | 1 => Command::PlaceCall { session, to: identity },
        2 => Command::PlaceCall { session, to: device },
        3 => Command::Cancel { session },
        4 => Command::Hangup { session, reason: None },
        5 | 6 => Command::Alert { session, ring_timeout: Some(choose(400)) },
        7 => Command::AutoReject { session, reason: Reason::ENDPOINT_BUSY },
        8 | 9 => Command::Accept { session, answered_by },
        10 => Command::Decline { session },
        11 => Command::Update { session, id: other, answered_by },
        12 => Command::AnswerUpdate { session, in_reply_to: other, answered_by },
        13 => Command::RejectUpdate { session, in_reply_to: other, reason: Reason::MEDIA_UNSUPPORTED },
        14 => Command::Introduce { id: session, to: identity, purpose: None, contact_token: None },
        15 => Command::Grant { introduction: session, id: other, scope: vec![], valid_until: START + choose(256) },
        16 => Command::Revoke { grant: other },
        17 => Command::IssueToken { token: choose(4).to_string(), grant_id: other },
        _ => Command::EndDelegation { device },
    }
}

fn received(choose: &mut dyn FnMut(u64) -> u64, now: Now) -> Received {
    let (device, identity) = peer(choose);
    let session = id(choose(SESSIONS));
    let update = [None, Some(id(choose(SESSIONS)))][usize::try_from(choose(2)).unwrap_or_default()];
    let reasons = [
        Reason::USER_CANCELLED,
        Reason::SESSION_ANSWERED_ELSEWHERE,
        Reason::SESSION_GLARE,
        "x-odd.reason".parse().expect("a reason"),
    ];
    let reason = reasons[usize::try_from(choose(4)).unwrap_or_default()].clone();
    let status =
        [Status::RINGING, Status::QUEUED, Status::TRYING][usize::try_from(choose(3)).unwrap_or_default()].clone();
    let body = match choose(16) {
        0..=2 => Body::Invite,
        3 | 4 => Body::Progress { session, status, ring_timeout: None, queue_timeout: Some(1 + choose(256)) },
        5..=7 => Body::Answer { session, answered_by: AnsweredBy::USER, in_reply_to: update, media_ok: choose(4) > 0 },
        8 => Body::Reject { session, reason, in_reply_to: update },
        9 => Body::Cancel { session, reason },
        10 => Body::Update { session, answered_by: None },
        11 => Body::Info { session, about: About::WEBRTC },
        12 => Body::Bye { session, reason },
        13 => Body::Error { session: Some(session), reason, in_reply_to: update },
        14 => Body::Introduction { contact_token: Some(choose(4).to_string()) },
        _ => Body::Grant { session, scope: vec![Scope::INVITE], valid_until: START + choose(256) },
    };
    let message = id(choose(SESSIONS));
    let via_relay = Some(did(["relay", "another"][usize::try_from(choose(2)).unwrap_or_default()]));
    let until = (device != identity).then_some(START + 5_000);
    Received {
        id: message,
        from: device.clone(),
        to: Some(did(["alice", "alice-phone", "carol"][usize::try_from(choose(3)).unwrap_or_default()])),
        expires_at: Some(now.wall.secs() + choose(40)),
        body,
        proof: Some(Proof { device, identity, until, via_relay }),
    }
}

fn peer(choose: &mut dyn FnMut(u64) -> u64) -> (Did, Did) {
    let (device, identity) = PEERS[usize::try_from(choose(6)).unwrap_or_default()];
    (did(device), did(identity))
}

fn did(name: &str) -> Did {
    format!("did:key:{name}").parse().expect("a DID")
}

fn id(number: u64) -> Ulid {
    format!("{number:026}").parse().expect("a ULID")
}
