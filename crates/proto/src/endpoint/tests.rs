//! The rules that the shared vectors do not show, by rule id, and the bounds.
//!
//! A test feeds inputs and compares what the engine said, one short line per output.

use std::time::Duration;

use super::*;
use crate::time::{Now, Wall};
use crate::wire::token::{About, AnsweredBy, Scope, Status};
use crate::wire::{Did, Reason, Ulid};

const START: u64 = 1_760_000_000;

/// One endpoint, the clock, and shorthand for the messages of others.
struct Story {
    engine: Engine,
    now: Now,
    messages: u64,
}

impl Story {
    /// Alice's phone.
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(did("alice-phone"), did("alice"));
        change(&mut config);
        let mut engine = Engine::new(config);
        for (device, identity) in [("bob-phone", "bob"), ("bob-laptop", "bob"), ("carol-phone", "carol")] {
            engine.learn(&did(device), &did(identity), None);
        }
        let now = Now { wall: Wall::from_secs(START), ..Now::default() };
        Self { engine, now, messages: 1_000_000 }
    }

    fn wait(&mut self, secs: u64) -> Vec<String> {
        self.now = self.now.later(Duration::from_secs(secs));
        self.feed(Input::Tick)
    }

    fn ask(&mut self, command: Command) -> Vec<String> {
        self.feed(Input::Command(command))
    }

    /// A message of a trace: without proof, every sender counts as a party (PTY-7).
    fn hear(&mut self, from: &str, body: Body) -> Vec<String> {
        self.hear_as(None, from, body)
    }

    /// A message whose envelope proves that `from` acts for `identity`.
    fn hear_of(&mut self, from: &str, identity: &str, body: Body) -> Vec<String> {
        let until = (from != identity).then_some(START + 10_000);
        self.hear_as(Some(Proof { device: did(from), identity: did(identity), until, via_relay: None }), from, body)
    }

    fn hear_as(&mut self, proof: Option<Proof>, from: &str, body: Body) -> Vec<String> {
        self.messages += 1;
        self.hear_message(Received {
            id: id(self.messages),
            from: did(from),
            to: Some(did("alice")),
            expires_at: Some(self.now.wall.secs() + 30),
            body,
            proof,
        })
    }

    fn hear_message(&mut self, received: Received) -> Vec<String> {
        self.feed(Input::Received(received))
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        out.iter().filter(|output| **output != Output::ContactsChanged).map(told).collect()
    }

    fn state(&self, session: u64) -> Option<State> {
        self.engine.session(id(session)).map(|session| session.state)
    }

    /// An invite under a chosen session id.
    fn invite(&mut self, session: u64, from: &str, proof: Option<Proof>) -> Vec<String> {
        self.hear_message(Received {
            id: id(session),
            from: did(from),
            to: Some(did("alice")),
            expires_at: Some(self.now.wall.secs() + 30),
            body: Body::Invite,
            proof,
        })
    }

    fn call(&mut self, session: u64, to: &str) -> Vec<String> {
        self.ask(Command::PlaceCall { session: id(session), to: did(to) })
    }

    /// An active session that we began, answered by Bob's phone.
    fn talk_as_initiator(&mut self) {
        self.call(5, "bob");
        self.hear_of("bob-phone", "bob", answer(5));
        assert_eq!(self.state(5), Some(State::Active));
    }

    /// An active session that Bob's phone began.
    fn talk_as_responder(&mut self) {
        self.invite(5, "bob-phone", proof("bob-phone", "bob"));
        self.ask(Command::Alert { session: id(5), ring_timeout: None });
        self.ask(Command::Accept { session: id(5), answered_by: None });
        assert_eq!(self.state(5), Some(State::Active));
    }
}

fn did(name: &str) -> Did {
    format!("did:key:{name}").parse().expect("a DID")
}

/// An id that orders as its number does.
fn id(number: u64) -> Ulid {
    format!("{number:026}").parse().expect("a ULID")
}

fn reason(text: &str) -> Reason {
    text.parse().expect("a reason")
}

fn proof(device: &str, identity: &str) -> Option<Proof> {
    Some(Proof { device: did(device), identity: did(identity), until: Some(START + 10_000), via_relay: None })
}

fn answer(session: u64) -> Body {
    Body::Answer { session: id(session), answered_by: AnsweredBy::USER, in_reply_to: None, media_ok: true }
}

fn progress(session: u64, status: Status) -> Body {
    Body::Progress { session: id(session), status, ring_timeout: None, queue_timeout: None }
}

fn queued(session: u64, secs: u64) -> Body {
    Body::Progress { session: id(session), status: Status::QUEUED, ring_timeout: None, queue_timeout: Some(secs) }
}

fn reject(session: u64, why: &str) -> Body {
    Body::Reject { session: id(session), reason: reason(why), in_reply_to: None }
}

fn cancel(session: u64, why: &str) -> Body {
    Body::Cancel { session: id(session), reason: reason(why) }
}

fn bye(session: u64) -> Body {
    Body::Bye { session: id(session), reason: Reason::USER_HANGUP }
}

fn info(session: u64) -> Body {
    Body::Info { session: id(session), about: About::WEBRTC }
}

fn update(session: u64) -> Body {
    Body::Update { session: id(session), answered_by: None }
}

fn introduction(token: Option<&str>) -> Body {
    Body::Introduction { contact_token: token.map(str::to_owned) }
}

/// One output, in a few words.
fn told(output: &Output) -> String {
    let name = |did: &Did| did.specific().to_owned();
    let number = |id: &Ulid| id.to_string().trim_start_matches('0').to_owned();
    match output {
        Output::Send(message) => match message {
            Send::Invite { to, grant, .. } => {
                format!("invite to {}{}", name(to), grant.map_or_else(String::new, |g| format!(" by {}", number(&g))))
            }
            Send::Progress { to, status, ring_timeout, .. } => {
                format!(
                    "{status} to {}{}",
                    name(to),
                    ring_timeout.map_or_else(String::new, |secs| format!(" for {secs}"))
                )
            }
            Send::Answer { to, answered_by, in_reply_to, .. } => {
                format!(
                    "answer to {} by {answered_by}{}",
                    name(to),
                    if in_reply_to.is_some() { " for update" } else { "" }
                )
            }
            Send::Reject { to, reason, in_reply_to, .. } => {
                format!("reject to {} {reason}{}", name(to), if in_reply_to.is_some() { " for update" } else { "" })
            }
            Send::Cancel { to, reason, .. } => format!("cancel to {} {reason}", name(to)),
            Send::Update { to, .. } => format!("update to {}", name(to)),
            Send::Info { to, .. } => format!("info to {}", name(to)),
            Send::Bye { to, reason, .. } => format!("bye to {} {reason}", name(to)),
            Send::Error { to, reason, .. } => format!("error to {} {reason}", name(to)),
            Send::Introduction { to, .. } => format!("introduction to {}", name(to)),
            Send::Grant { to, id, .. } => format!("grant {} to {}", number(id), name(to)),
        },
        Output::Timer { name, event, .. } => match event {
            TimerEvent::Start(secs) => format!("start {} {secs}", name.as_str()),
            TimerEvent::Stop => format!("stop {}", name.as_str()),
            TimerEvent::Fire => format!("fire {}", name.as_str()),
        },
        Output::Media { action, .. } => format!("media {action:?}"),
        Output::Ui { event, .. } => match event {
            Ui::Progress(status) => format!("ui {status}"),
            Ui::Answered(by) => format!("ui answered by {by}"),
            Ui::Ended(reason) => format!("ui ended {reason}"),
            Ui::UpdateRejected(reason) => format!("ui update rejected {reason}"),
            Ui::Error(reason) => format!("ui error {reason}"),
            Ui::IntroductionReceived { from, token } => {
                format!("ui introduced {}{}", name(from), if *token { " by token" } else { "" })
            }
            Ui::Granted { by } => format!("ui granted by {}", name(by)),
            Ui::IntroductionRejected(reason) => format!("ui introduction rejected {reason}"),
            other => format!("ui {other:?}"),
        },
        Output::Info { about, .. } => format!("info {about}"),
        Output::Drop(why) => format!("drop {}", why.as_str()),
        Output::Refused(why) => format!("refused {}", why.as_str()),
        Output::ContactsChanged => "contacts".into(),
        Output::Intrusion { signer, .. } => format!("intrusion of {}", name(signer)),
    }
}

// §1

#[test]
fn ses_2_unknown_session_whatever_the_type() {
    for body in [
        answer(9),
        progress(9, Status::RINGING),
        reject(9, "user.declined"),
        cancel(9, "user.cancelled"),
        bye(9),
        info(9),
        update(9),
    ] {
        assert_eq!(Story::new().hear("bob-phone", body), ["error to bob-phone session.unknown-session"]);
    }
}

#[test]
fn ses_4_sessions_do_not_touch_each_other() {
    let mut story = Story::new();
    story.talk_as_initiator();
    story.call(6, "carol");
    story.invite(7, "dave", None);
    story.hear_of("bob-phone", "bob", bye(5));
    assert_eq!(story.state(5), Some(State::Ended));
    assert_eq!(story.state(6), Some(State::Inviting));
    assert_eq!(story.state(7), Some(State::Offered));
}

#[test]
fn ses_8_an_error_is_shown_and_changes_nothing() {
    let mut story = Story::new();
    story.talk_as_responder();
    let error = Body::Error { session: Some(id(5)), reason: reason("x-odd.thing"), in_reply_to: None };
    assert_eq!(story.hear("bob-phone", error.clone()), ["ui error x-odd.thing"]);
    assert_eq!(story.state(5), Some(State::Active));
    story.hear("bob-phone", bye(5));
    assert_eq!(story.hear("bob-phone", error), ["ui error x-odd.thing"], "even at an ended session (RX-2 before RX-7)");
}

#[test]
fn ses_10_an_ended_record_outlives_the_replay_window_and_then_goes() {
    let mut story = Story::new();
    story.call(5, "bob");
    story.ask(Command::Cancel { session: id(5) });
    story.wait(301);
    assert_eq!(story.hear("bob-phone", answer(5)), ["bye to bob-phone session.cancelled"]);
    story.wait(ENDED_KEPT.as_secs());
    assert_eq!(story.state(5), None);
    assert_eq!(story.hear("bob-phone", answer(5)), ["error to bob-phone session.unknown-session"]);
    assert_eq!(story.engine.wake(), None, "nothing is left to wake up for");
}

#[test]
fn rx_1_9_the_order_in_which_a_message_finds_its_place() {
    // RX-1, RX-9
    // RX-3, RX-4, RX-5, RX-6, RX-8
    let mut story = Story::new();
    story.talk_as_responder();
    // An introduction of ours and a session under one id: the introduction is asked first.
    story.ask(Command::Introduce { id: id(5), to: did("bob"), purpose: None, contact_token: None });
    assert_eq!(
        story.hear_of("bob-phone", "bob", reject(5, "user.declined")),
        ["ui introduction rejected user.declined"]
    );
    assert_eq!(
        story.hear_of("bob-phone", "bob", reject(5, "user.declined")),
        ["error to bob-phone session.invalid-state"],
        "SES-11"
    );
    assert_eq!(
        story.hear_of("bob-phone", "bob", cancel(5, "user.cancelled")),
        ["error to bob-phone session.invalid-state"],
        "RX-8: even what is not allowed shows that the answer was seen"
    );
}

// §1.2

#[test]
fn pty_1_a_message_for_somebody_else_is_refused_and_not_shown() {
    for body in [Body::Invite, introduction(None), Body::Grant { session: id(9), scope: vec![], valid_until: 0 }] {
        let mut story = Story::new();
        let received = Received {
            id: id(5),
            from: did("bob-phone"),
            to: Some(did("carol")),
            expires_at: None,
            body,
            proof: proof("bob-phone", "bob"),
        };
        assert_eq!(story.hear_message(received), ["error to bob-phone transport.unknown-recipient"]);
        assert_eq!(story.state(5), None);
        assert_eq!(story.engine.contacts(), &Contacts::default());
    }
}

#[test]
fn pty_2_only_the_invited_identity_may_move_an_attempt() {
    // PRG-13
    for body in
        [answer(5), progress(5, Status::RINGING), reject(5, "user.declined"), cancel(5, "user.cancelled"), bye(5)]
    {
        let mut story = Story::new();
        story.call(5, "bob");
        let heard = story.hear_of("mallory", "mallory", body);
        assert_eq!(heard, ["intrusion of mallory", "error to mallory session.unknown-session"]);
        assert_eq!(story.state(5), Some(State::Inviting));
    }
    let mut story = Story::new();
    story.call(5, "bob");
    assert_eq!(story.hear_of("bob-phone", "bob", progress(5, Status::TRYING))[1], "ui trying");
}

#[test]
fn pty_2_an_invited_device_speaks_for_itself_alone() {
    let mut story = Story::new();
    story.call(5, "bob-phone");
    let heard = story.hear_of("bob-laptop", "bob", answer(5));
    assert_eq!(heard, ["intrusion of bob-laptop", "error to bob-laptop session.unknown-session"]);
    let heard = story.hear_of("bob-phone", "bob", answer(5));
    assert_eq!(heard, ["stop T-Establish", "media Start", "ui answered by user"], "INI-24: no cancel to itself");
}

#[test]
fn pty_2_the_relay_may_report_the_outcome_and_errors_only() {
    let relay = |via: &str| {
        Some(Proof { device: did("relay"), identity: did("relay"), until: None, via_relay: Some(did(via)) })
    };
    let mut story = Story::new();
    story.call(5, "bob");
    let heard = story.hear_as(relay("relay"), "relay", answer(5));
    assert_eq!(heard, ["intrusion of relay", "error to relay session.unknown-session"]);
    let heard = story.hear_as(relay("another"), "relay", reject(5, "endpoint.unavailable"));
    assert_eq!(heard, ["intrusion of relay", "error to relay session.unknown-session"], "not the invite's connection");
    let error = Body::Error { session: None, reason: Reason::TRANSPORT_UNKNOWN_RECIPIENT, in_reply_to: Some(id(5)) };
    assert_eq!(story.hear_as(relay("another"), "relay", error.clone()), ["intrusion of relay", "drop not-a-party"]);
    assert_eq!(story.hear_as(relay("relay"), "relay", error), ["ui error transport.unknown-recipient"]);
    let heard = story.hear_as(relay("relay"), "relay", reject(5, "endpoint.unavailable"));
    assert_eq!(heard, ["stop T-Establish", "ui ended endpoint.unavailable"]);
}

#[test]
fn pty_3_only_the_answering_device_has_a_say_once_active() {
    let mut story = Story::new();
    story.talk_as_initiator();
    for body in
        [update(5), info(5), bye(5), Body::Reject { session: id(5), reason: reason("a.b"), in_reply_to: Some(id(1)) }]
    {
        let heard = story.hear_of("bob-laptop", "bob", body);
        assert_eq!(heard, ["intrusion of bob-laptop", "error to bob-laptop session.unknown-session"]);
    }
    assert_eq!(
        story.hear_of("bob-laptop", "bob", answer(5)),
        ["bye to bob-laptop session.already-answered"],
        "a late leg (INI-10)"
    );
    assert_eq!(
        story.hear_of("mallory", "mallory", answer(5)),
        ["intrusion of mallory", "error to mallory session.unknown-session"]
    );
    assert_eq!(story.state(5), Some(State::Active));
}

#[test]
fn pty_4_the_callers_other_device_may_cancel_and_nothing_else() {
    let mut story = Story::new();
    story.invite(5, "bob-phone", proof("bob-phone", "bob"));
    story.ask(Command::Alert { session: id(5), ring_timeout: None });
    let heard = story.hear_of("bob-laptop", "bob", bye(5));
    assert_eq!(heard, ["intrusion of bob-laptop", "error to bob-laptop session.unknown-session"]);
    let heard = story.hear_of("mallory", "mallory", cancel(5, "user.cancelled"));
    assert_eq!(heard, ["intrusion of mallory", "error to mallory session.unknown-session"], "RSP-22");
    assert_eq!(story.state(5), Some(State::Alerting));
    let heard = story.hear_of("bob-laptop", "bob", cancel(5, "user.cancelled"));
    assert_eq!(heard, ["stop T-Ring-Local", "ui MissedCall", "ui ended user.cancelled"]);
}

#[test]
fn pty_5_looks_the_same_as_no_session_at_all() {
    let mut story = Story::new();
    story.talk_as_responder();
    let with = story.hear_of("mallory", "mallory", bye(5));
    let without = story.hear_of("mallory", "mallory", bye(6));
    assert_eq!(with.last(), without.last());
    story.hear_of("bob-phone", "bob", bye(5));
    let ended = story.hear_of("mallory", "mallory", bye(5));
    assert_eq!(ended.last(), without.last(), "nor does an ended session show");
}

#[test]
fn pty_6_a_device_that_lost_its_delegation_ends_the_session() {
    let mut story = Story::new();
    story.talk_as_initiator();
    story.wait(9_999);
    // Without a delegation in the header, what was proved before counts while it lasts.
    assert_eq!(story.hear_of("bob-phone", "bob-phone", info(5)), ["info transport:webrtc"]);
    story.wait(1);
    let heard = story.hear_of("bob-phone", "bob-phone", info(5));
    assert_eq!(
        heard,
        ["intrusion of bob-phone", "bye to bob-phone policy.terminated", "media Stop", "ui ended policy.terminated"]
    );
}

#[test]
fn pty_6_a_known_loss_ends_what_the_device_is_in() {
    let mut story = Story::new();
    story.talk_as_responder();
    story.invite(6, "bob-phone", proof("bob-phone", "bob"));
    story.ask(Command::Alert { session: id(6), ring_timeout: None });
    assert_eq!(
        story.ask(Command::EndDelegation { device: did("bob-phone") }),
        [
            "bye to bob-phone policy.terminated",
            "media Stop",
            "ui ended policy.terminated",
            "stop T-Ring-Local",
            "reject to bob-phone policy.trust-insufficient",
            "ui ended policy.trust-insufficient",
        ]
    );
}

// §2

#[test]
fn ini_1_2_3_a_call_from_the_callers_side() {
    // INI-1, INI-2, INI-3
    // SES-1, SES-6: the invite's id is the session; a cancel goes where the invite went.
    // PRG-1, TMR-1, TMR-2: the first progress of any kind stops T-Establish.
    let mut story = Story::new();
    assert_eq!(story.call(5, "bob"), ["invite to bob", "start T-Establish 15"]);
    assert_eq!(story.state(5), Some(State::Inviting));
    let trying = story.hear_of("bob-laptop", "bob", progress(5, Status::TRYING));
    assert_eq!(trying, ["stop T-Establish", "ui trying", "start T-Ring 120"]);
    assert_eq!(story.state(5), Some(State::Proceeding));
    // PRG-12: progress of any leg counts, and commits nothing.
    assert_eq!(story.hear_of("bob-phone", "bob", progress(5, Status::RINGING)), ["ui ringing"]);
    assert_eq!(
        story.hear_of("bob-phone", "bob", answer(5)),
        ["stop T-Ring", "media Start", "ui answered by user", "cancel to bob session.answered-elsewhere"]
    );
    // INI-23: after that, no more cancels.
    assert_eq!(story.ask(Command::Cancel { session: id(5) }), ["refused invalid-state"]);
    assert_eq!(story.ask(Command::Info { session: id(5) }), ["info to bob-phone"]);
}

#[test]
fn ini_8_each_timer_gives_up_in_its_own_time() {
    // TMR-1, TMR-2, TMR-3, PRG-14
    let gave_up = ["cancel to bob session.timeout", "ui ended session.timeout"];
    let fires = |name: &str| [&[format!("fire {name}")][..], &gave_up.map(str::to_owned)[..]].concat();
    let mut story = Story::new();
    story.call(5, "bob");
    assert_eq!(story.wait(14), Vec::<String>::new());
    assert_eq!(story.wait(1), fires("T-Establish"));
    let mut story = Story::new();
    story.call(5, "bob");
    story.hear("bob-phone", progress(5, Status::RINGING));
    assert_eq!(story.wait(120), fires("T-Ring"));
    let mut story = Story::new();
    story.call(5, "bob");
    let heard = story.hear("bob-phone", queued(5, 5_000));
    assert_eq!(heard, ["stop T-Establish", "ui queued", "start T-Queue 1800"]);
    assert_eq!(story.wait(1_799), Vec::<String>::new());
    assert_eq!(story.wait(1), fires("T-Queue"));
}

#[test]
fn ini_4_6_9_what_an_attempt_does_not_allow() {
    // INI-4, INI-6, INI-9
    let update_answer =
        Body::Answer { session: id(5), answered_by: AnsweredBy::USER, in_reply_to: Some(id(1)), media_ok: true };
    let update_reject = Body::Reject { session: id(5), reason: Reason::SESSION_GLARE, in_reply_to: Some(id(1)) };
    for body in [update_answer, update_reject, cancel(5, "user.cancelled"), update(5), info(5), bye(5)] {
        let mut story = Story::new();
        story.call(5, "bob");
        assert_eq!(story.hear("bob-phone", body), ["error to bob-phone session.invalid-state"]);
        assert_eq!(story.state(5), Some(State::Inviting));
    }
}

#[test]
fn ini_5_reject_without_progress_ends_the_attempt() {
    let mut story = Story::new();
    story.call(5, "bob");
    assert_eq!(
        story.hear("bob-phone", reject(5, "x-queue.full")),
        ["stop T-Establish", "ui ended session.failed"],
        "an unknown category counts as session.failed (REG-1)"
    );
    assert_eq!(
        story.hear("bob-laptop", answer(5)),
        ["bye to bob-laptop session.failed"],
        "INI-13, INI-21: what ended by reject is released as failed"
    );
}

#[test]
fn ini_7_14_cancel_and_where_it_is_refused() {
    // INI-7, INI-14
    let mut story = Story::new();
    assert_eq!(story.ask(Command::Cancel { session: id(5) }), ["refused unknown-session"]);
    story.call(5, "bob");
    story.hear("bob-phone", progress(5, Status::RINGING));
    assert_eq!(story.ask(Command::Cancel { session: id(5) }), ["stop T-Ring", "cancel to bob user.cancelled"]);
    assert_eq!(story.ask(Command::Cancel { session: id(5) }), ["refused invalid-state"]);
    story.invite(6, "bob-phone", None);
    assert_eq!(story.ask(Command::Cancel { session: id(6) }), ["refused invalid-state"], "it is not ours to cancel");
}

#[test]
fn ini_10_11_12_late_legs_and_what_active_does_not_allow() {
    // INI-10, INI-11, INI-12
    let mut story = Story::new();
    story.talk_as_initiator();
    assert_eq!(story.hear("bob-laptop", answer(5)), ["bye to bob-laptop session.already-answered"]);
    for body in [answer(5), progress(5, Status::RINGING), cancel(5, "user.cancelled"), reject(5, "user.declined")] {
        assert_eq!(story.hear("bob-phone", body), ["error to bob-phone session.invalid-state"]);
    }
    assert_eq!(story.state(5), Some(State::Active));
}

#[test]
fn ini_13_late_answer_at_a_finished_call_was_already_answered() {
    let mut story = Story::new();
    story.talk_as_initiator();
    story.ask(Command::Hangup { session: id(5), reason: None });
    assert_eq!(story.hear("bob-laptop", answer(5)), ["bye to bob-laptop session.already-answered"]);
    assert_eq!(story.hear("bob-laptop", progress(5, Status::RINGING)), ["drop ended-session"], "PRG-16");
}

#[test]
fn ini_20_an_answer_whose_media_fails_releases_that_leg_alone() {
    let mut story = Story::new();
    story.call(5, "bob");
    let bad = Body::Answer { session: id(5), answered_by: AnsweredBy::USER, in_reply_to: None, media_ok: false };
    assert_eq!(story.hear("bob-phone", bad), ["bye to bob-phone media.failed"]);
    assert_eq!(story.state(5), Some(State::Inviting));
    assert_eq!(
        story.hear("bob-laptop", answer(5)),
        ["stop T-Establish", "media Start", "ui answered by user", "cancel to bob session.answered-elsewhere"]
    );
}

#[test]
fn ini_22_a_session_id_is_used_once() {
    let mut story = Story::new();
    story.call(5, "bob");
    assert_eq!(story.call(5, "bob"), ["refused invalid-state"]);
    story.ask(Command::Cancel { session: id(5) });
    assert_eq!(story.call(5, "bob"), ["refused invalid-state"]);
}

// §3

#[test]
fn inv_3_4_a_known_session_is_not_offered_again() {
    // INV-3, INV-4
    let mut story = Story::new();
    story.invite(5, "bob-phone", None);
    assert_eq!(story.invite(5, "bob-phone", None), ["error to bob-phone session.invalid-state"]);
    story.hear("bob-phone", cancel(5, "user.cancelled"));
    assert_eq!(story.invite(5, "bob-phone", None), ["drop ended-session"]);
}

#[test]
fn inv_1_a_strangers_invite_does_not_touch_a_session_of_that_id() {
    let mut story = Story::with(|config| config.first_contact_required = true);
    story.ask(Command::Allow { identity: did("bob"), allowed: true });
    story.invite(5, "bob-phone", None);
    assert_eq!(story.invite(5, "mallory", None), ["reject to mallory policy.first-contact-required"]);
    assert_eq!(story.state(5), Some(State::Offered));
}

#[test]
fn rsp_1_5_a_call_from_the_callees_side() {
    // RSP-1, RSP-5
    // INV-5, TMR-4, TMR-12: what is advertised is what was asked for; what runs is within bounds.
    let mut story = Story::new();
    assert_eq!(story.invite(5, "bob-phone", proof("bob-phone", "bob")), ["ui Offered"]);
    let alert = Command::Alert { session: id(5), ring_timeout: Some(500) };
    assert_eq!(story.ask(alert), ["ringing to bob-phone for 500", "start T-Ring-Local 300"]);
    let accept = Command::Accept { session: id(5), answered_by: None };
    assert_eq!(story.ask(accept), ["stop T-Ring-Local", "answer to bob-phone by user", "media Start"]);
    assert_eq!(story.engine.peer(id(5)), Some(&did("bob-phone")), "SES-6");
    assert_eq!(story.wait(300), Vec::<String>::new(), "the timer is gone");
}

#[test]
fn rsp_2_4_7_how_an_invite_ends_early() {
    // RSP-2, RSP-4, RSP-7
    // RACE-1, TMR-5
    let mut story = Story::new();
    story.invite(5, "bob-phone", None);
    story.wait(31);
    let late = Command::Alert { session: id(5), ring_timeout: None };
    assert_eq!(story.ask(late), ["reject to bob-phone session.expired"]);
    let mut story = Story::new();
    story.invite(5, "bob-phone", None);
    assert_eq!(story.hear("bob-phone", cancel(5, "user.cancelled")), ["ui ended user.cancelled"], "never rang");
    let mut story = Story::new();
    story.invite(5, "bob-phone", None);
    story.ask(Command::Alert { session: id(5), ring_timeout: None });
    assert_eq!(
        story.hear("bob-phone", cancel(5, "user.cancelled")),
        ["stop T-Ring-Local", "ui MissedCall", "ui ended user.cancelled"]
    );
    assert_eq!(story.hear("bob-phone", info(5)), ["drop ended-session"], "RSP-13");
}

#[test]
fn rsp_3_auto_reject_before_alerting_only() {
    let mut story = Story::new();
    story.invite(5, "bob-phone", None);
    let busy = Command::AutoReject { session: id(5), reason: Reason::ENDPOINT_BUSY };
    assert_eq!(story.ask(busy.clone()), ["reject to bob-phone endpoint.busy"]);
    assert_eq!(story.ask(busy), ["refused invalid-state"]);
    story.invite(6, "bob-phone", None);
    story.ask(Command::Alert { session: id(6), ring_timeout: None });
    let late = Command::AutoReject { session: id(6), reason: Reason::ENDPOINT_BUSY };
    assert_eq!(story.ask(late), ["refused invalid-state"]);
}

#[test]
fn rsp_6_8_9_how_alerting_ends_without_an_answer() {
    // RSP-6, RSP-8, RSP-9
    let alerting = || {
        let mut story = Story::new();
        story.invite(5, "bob-phone", None);
        story.ask(Command::Alert { session: id(5), ring_timeout: Some(10) });
        story
    };
    let mut story = alerting();
    assert_eq!(
        story.ask(Command::Decline { session: id(5) }),
        ["stop T-Ring-Local", "reject to bob-phone user.declined"]
    );
    let mut story = alerting();
    assert_eq!(
        story.hear("bob-phone", cancel(5, "session.answered-elsewhere")),
        ["stop T-Ring-Local", "ui ended session.answered-elsewhere"],
        "never a missed call"
    );
    let mut story = alerting();
    assert_eq!(story.wait(29), Vec::<String>::new(), "TMR-4: ten seconds are clamped to thirty");
    assert_eq!(story.wait(1), ["fire T-Ring-Local", "reject to bob-phone user.no-answer", "ui ended user.no-answer"]);
}

#[test]
fn rsp_10_12_what_a_responder_does_not_allow() {
    // RSP-10, RSP-11, RSP-12
    for alerting in [false, true] {
        for body in [progress(5, Status::RINGING), answer(5), reject(5, "user.declined"), update(5), info(5), bye(5)] {
            let mut story = Story::new();
            story.invite(5, "bob-phone", None);
            if alerting {
                story.ask(Command::Alert { session: id(5), ring_timeout: None });
            }
            assert_eq!(story.hear("bob-phone", body), ["error to bob-phone session.invalid-state"]);
        }
    }
    for body in [progress(5, Status::RINGING), answer(5), reject(5, "user.declined")] {
        let mut story = Story::new();
        story.talk_as_responder();
        assert_eq!(story.hear("bob-phone", body), ["error to bob-phone session.invalid-state"]);
        assert_eq!(story.state(5), Some(State::Active));
    }
}

#[test]
fn rsp_14_20_23_where_local_requests_are_refused() {
    // RSP-14, RSP-20, RSP-23
    let mut story = Story::new();
    let alert = |session| Command::Alert { session: id(session), ring_timeout: None };
    let accept = |session| Command::Accept { session: id(session), answered_by: None };
    for command in [
        alert(5),
        accept(5),
        Command::Decline { session: id(5) },
        Command::Info { session: id(5) },
        Command::Hangup { session: id(5), reason: None },
    ] {
        assert_eq!(story.ask(command), ["refused unknown-session"]);
    }
    story.invite(5, "bob-phone", None);
    assert_eq!(story.ask(accept(5)), ["refused invalid-state"], "RSP-20");
    assert_eq!(story.ask(Command::Decline { session: id(5) }), ["refused invalid-state"]);
    story.ask(alert(5));
    assert_eq!(story.ask(alert(5)), ["refused invalid-state"]);
    assert_eq!(story.state(5), Some(State::Alerting));
    story.ask(accept(5));
    assert_eq!(story.ask(accept(5)), ["refused invalid-state"]);
    story.call(6, "bob");
    assert_eq!(story.ask(alert(6)), ["refused invalid-state"], "our own call does not ring here");
}

#[test]
fn rsp_21_alerting_outlives_the_invite() {
    let mut story = Story::new();
    story.invite(5, "bob-phone", None);
    story.wait(30);
    let rung = story.ask(Command::Alert { session: id(5), ring_timeout: None });
    assert_eq!(rung, ["ringing to bob-phone", "start T-Ring-Local 120"], "expires_at itself is still in time");
    story.wait(60);
    let answered = story.ask(Command::Accept { session: id(5), answered_by: Some(AnsweredBy::SERVICE) });
    assert_eq!(answered, ["stop T-Ring-Local", "answer to bob-phone by service", "media Start"]);
}

// §4, §5

#[test]
fn act_1_2_6_how_a_call_ends() {
    // ACT-1, ACT-2, ACT-5, ACT-6, ACT-10
    let mut story = Story::new();
    story.talk_as_responder();
    let bye = Body::Bye { session: id(5), reason: reason("x-a.b") };
    assert_eq!(story.hear("bob-phone", bye), ["media Stop", "ui ended session.failed"]);
    let hangup = |session, reason| Command::Hangup { session: id(session), reason };
    assert_eq!(story.ask(hangup(5, None)), ["refused invalid-state"]);
    assert_eq!(story.ask(Command::Info { session: id(5) }), ["refused invalid-state"]);
    let mut story = Story::new();
    story.talk_as_initiator();
    assert_eq!(story.ask(Command::Info { session: id(5) }), ["info to bob-phone"]);
    assert_eq!(story.ask(hangup(5, Some(Reason::MEDIA_FAILED))), ["bye to bob-phone media.failed", "media Stop"]);
}

#[test]
fn race_2_crossed_cancel_ends_without_an_error() {
    let mut story = Story::new();
    story.talk_as_responder();
    assert_eq!(story.hear("bob-phone", cancel(5, "user.cancelled")), ["media Stop", "ui ended user.cancelled"]);
}

#[test]
fn race_3_10_a_late_cancel_changes_nothing() {
    // RACE-3, RACE-10
    for seen in [info(5), update(5), progress(5, Status::RINGING), answer(5)] {
        let mut story = Story::new();
        story.talk_as_responder();
        story.hear("bob-phone", seen);
        assert_eq!(story.hear("bob-phone", cancel(5, "user.cancelled")), ["error to bob-phone session.invalid-state"]);
        assert_eq!(story.state(5), Some(State::Active));
    }
}

#[test]
fn race_4_answered_elsewhere_at_the_answering_leg() {
    let mut story = Story::new();
    story.talk_as_responder();
    let elsewhere = cancel(5, "session.answered-elsewhere");
    assert_eq!(story.hear("bob-phone", elsewhere), ["error to bob-phone session.invalid-state"]);
    assert_eq!(story.state(5), Some(State::Active));
    assert_eq!(
        story.hear("bob-phone", cancel(5, "user.cancelled")),
        ["media Stop", "ui ended user.cancelled"],
        "RACE-10: a cancel does not count as seen after the answer"
    );
}

#[test]
fn race_5_answer_after_cancel_is_released() {
    let mut story = Story::new();
    story.call(5, "bob");
    story.ask(Command::Cancel { session: id(5) });
    assert_eq!(story.hear("bob-phone", answer(5)), ["bye to bob-phone session.cancelled"]);
    let update_answer =
        Body::Answer { session: id(5), answered_by: AnsweredBy::USER, in_reply_to: Some(id(1)), media_ok: true };
    assert_eq!(story.hear("bob-phone", update_answer), ["drop ended-session"]);
}

// §6

#[test]
fn glr_1_an_answered_call_is_no_glare() {
    let mut story = Story::new();
    story.talk_as_initiator();
    assert_eq!(story.invite(9, "bob-laptop", None), ["ui Offered"]);
}

#[test]
fn glr_1_calling_one_device_of_theirs_counts() {
    let mut story = Story::new();
    story.call(5, "bob-phone");
    assert_eq!(story.invite(9, "bob-laptop", None), ["reject to bob-laptop session.glare"]);
}

#[test]
fn glr_3_4_a_session_that_exists_is_not_replaced_by_glare() {
    // GLR-3, GLR-4
    let mut story = Story::new();
    story.invite(1, "bob-phone", None);
    story.invite(9, "bob-phone", None);
    story.call(5, "bob");
    assert_eq!(story.invite(1, "bob-phone", None), ["error to bob-phone session.invalid-state"]);
    assert_eq!(story.invite(9, "bob-phone", None), ["error to bob-phone session.invalid-state"]);
    assert_eq!(story.state(5), Some(State::Inviting));
}

#[test]
fn glr_4_theirs_wins_while_proceeding() {
    let mut story = Story::new();
    story.call(5, "bob");
    story.hear("bob-laptop", progress(5, Status::RINGING));
    assert_eq!(
        story.invite(4, "bob-phone", None),
        ["stop T-Ring", "cancel to bob session.glare", "ui ended session.glare", "ui Offered"]
    );
    assert_eq!(story.hear("bob-phone", answer(5)), ["bye to bob-phone session.cancelled"]);
}

#[test]
fn glr_2_3_the_smaller_id_wins() {
    // GLR-2, GLR-3
    // INV-2
    let mut story = Story::new();
    story.call(5, "bob");
    assert_eq!(story.invite(6, "bob-phone", None), ["reject to bob-phone session.glare"]);
    assert_eq!(story.state(5), Some(State::Inviting));
    assert_eq!(story.state(6), Some(State::Ended));
    assert_eq!(story.hear("bob-phone", cancel(6, "session.glare")), ["drop ended-session"]);
}

#[test]
fn glr_5_6_equal_ids_end_both() {
    // GLR-5, GLR-6
    let mut story = Story::new();
    story.call(5, "bob");
    assert_eq!(
        story.invite(5, "bob-phone", None),
        [
            "stop T-Establish",
            "cancel to bob session.glare",
            "ui ended session.glare",
            "reject to bob-phone session.glare",
            "ui GlareRetry"
        ]
    );
    assert_eq!(story.hear("bob-phone", reject(5, "session.glare")), ["drop ended-session"]);
}

#[test]
fn glr_7_first_contact_comes_before_glare() {
    let mut story = Story::with(|config| config.first_contact_required = true);
    story.call(5, "bob");
    assert_eq!(story.invite(4, "bob-phone", None), ["reject to bob-phone policy.first-contact-required"]);
    assert_eq!(story.state(5), Some(State::Inviting));
}

// §7

#[test]
fn upd_3_5_inbound_update_wins_by_its_smaller_or_equal_id() {
    // UPD-3, UPD-5
    let offered = |theirs: u64| {
        let mut story = Story::new();
        story.talk_as_responder();
        story.ask(Command::Update { session: id(5), id: id(50), answered_by: None });
        story.hear_message(Received {
            id: id(theirs),
            from: did("bob-phone"),
            to: None,
            expires_at: None,
            body: Body::Update { session: id(5), answered_by: Some(reason_free("robot")) },
            proof: None,
        })
    };
    let wins = ["ui update rejected session.glare", "ui UpdateOffered", "ui answered by service"];
    assert_eq!(offered(49), wins);
    assert_eq!(offered(50), wins);
    assert_eq!(offered(51), ["reject to bob-phone session.glare for update"], "UPD-4");
}

fn reason_free(answered_by: &str) -> AnsweredBy {
    answered_by.parse().expect("a token")
}

#[test]
fn upd_2_9_20_where_update_requests_are_refused() {
    // UPD-2, UPD-9, UPD-20
    let mut story = Story::new();
    let update = |number| Command::Update { session: id(5), id: id(number), answered_by: None };
    let answer = |number| Command::AnswerUpdate { session: id(5), in_reply_to: id(number), answered_by: None };
    let reject =
        |number| Command::RejectUpdate { session: id(5), in_reply_to: id(number), reason: reason("media.unsupported") };
    assert_eq!(story.ask(update(50)), ["refused unknown-session"]);
    story.call(5, "bob");
    assert_eq!(story.ask(update(50)), ["refused invalid-state"]);
    story.hear("bob-phone", super::tests::answer(5));
    assert_eq!(story.ask(update(50)), ["update to bob-phone"]);
    assert_eq!(story.ask(update(51)), ["refused update-pending"]);
    assert_eq!(story.ask(answer(50)), ["refused no-pending-update"], "it is our own");
    assert_eq!(story.ask(reject(50)), ["refused no-pending-update"]);
}

#[test]
fn upd_1_6_one_update_at_a_time() {
    // UPD-1, UPD-6
    let mut story = Story::new();
    story.talk_as_initiator();
    let ours = |number| Command::Update { session: id(5), id: id(number), answered_by: Some(AnsweredBy::USER) };
    assert_eq!(story.hear("bob-phone", update(5)), ["ui UpdateOffered"]);
    assert_eq!(story.ask(ours(50)), ["refused update-pending"], "theirs counts, too (UPD-2)");
    assert_eq!(story.hear("bob-phone", update(5)), ["error to bob-phone session.update-pending"]);
    assert_eq!(story.engine.session(id(5)).and_then(|session| session.update), None, "both are discarded");
    assert_eq!(story.ask(ours(50)), ["update to bob-phone"], "UPD-23: whoever wants may offer again");
    let open = story.engine.session(id(5)).and_then(|session| session.update);
    assert_eq!(open, Some(Update { id: id(50), direction: Direction::Outbound }));
}

#[test]
fn upd_22_the_loser_of_update_glare_hears_nothing_more_of_its_own() {
    let mut story = Story::new();
    story.talk_as_initiator();
    story.ask(Command::Update { session: id(5), id: id(99_999_999), answered_by: None });
    assert_eq!(story.hear("bob-phone", update(5)), ["ui update rejected session.glare", "ui UpdateOffered"]);
    let refusal = Body::Reject { session: id(5), reason: Reason::SESSION_GLARE, in_reply_to: Some(id(99_999_999)) };
    assert_eq!(story.hear("bob-phone", refusal), ["drop stale-update-reply"]);
}

#[test]
fn upd_7_8_12_replies_match_the_open_update() {
    // UPD-7, UPD-8, UPD-12
    let mut story = Story::new();
    story.talk_as_initiator();
    story.hear("bob-phone", update(5));
    let theirs = story.messages;
    let stale = Body::Reject { session: id(5), reason: reason("media.unsupported"), in_reply_to: Some(id(theirs)) };
    assert_eq!(story.hear("bob-phone", stale), ["drop stale-update-reply"], "it is theirs to have answered");
    let reject =
        |number| Command::RejectUpdate { session: id(5), in_reply_to: id(number), reason: reason("media.unsupported") };
    assert_eq!(story.ask(reject(1)), ["refused no-pending-update"]);
    assert_eq!(story.ask(reject(theirs)), ["reject to bob-phone media.unsupported for update"]);
    assert_eq!(story.state(5), Some(State::Active), "UPD-21");
    assert_eq!(story.ask(reject(theirs)), ["refused no-pending-update"]);
}

#[test]
fn upd_10_11_our_update_is_answered_or_refused() {
    // ACT-3, UPD-10, UPD-11
    for (media_ok, expected) in [(true, "media ApplyUpdate"), (false, "ui update rejected media.failed")] {
        let mut story = Story::new();
        story.talk_as_initiator();
        story.ask(Command::Update { session: id(5), id: id(50), answered_by: None });
        let answer =
            Body::Answer { session: id(5), answered_by: AnsweredBy::USER, in_reply_to: Some(id(50)), media_ok };
        assert_eq!(story.hear("bob-phone", answer.clone()), [expected]);
        assert_eq!(story.hear("bob-phone", answer), ["drop stale-update-reply"]);
    }
}

#[test]
fn upd_24_bye_beats_an_open_update() {
    let mut story = Story::new();
    story.talk_as_initiator();
    story.hear("bob-phone", update(5));
    let theirs = story.messages;
    assert_eq!(story.hear("bob-phone", bye(5)), ["media Stop", "ui ended user.hangup"]);
    let late = Command::AnswerUpdate { session: id(5), in_reply_to: id(theirs), answered_by: None };
    assert_eq!(story.ask(late), ["refused no-pending-update"], "UPD-9");
}

// §8

#[test]
fn tmr_10_configured_lengths_are_clamped() {
    let mut story = Story::with(|config| (config.t_establish, config.t_ring, config.t_ring_local) = (1, 999, 1));
    assert_eq!(story.call(5, "bob")[1], "start T-Establish 5");
    assert_eq!(story.hear("bob-phone", progress(5, Status::RINGING))[2], "start T-Ring 300");
    story.invite(6, "carol-phone", None);
    assert_eq!(story.ask(Command::Alert { session: id(6), ring_timeout: None })[1], "start T-Ring-Local 30");
}

#[test]
fn tmr_11_due_timers_fire_in_deadline_order_then_in_start_order() {
    let mut story = Story::new();
    story.call(7, "carol");
    story.call(5, "bob");
    story.invite(6, "dave", None);
    story.ask(Command::Alert { session: id(6), ring_timeout: Some(30) });
    let fired: Vec<_> = story.wait(1_000).into_iter().filter(|line| !line.starts_with("fire")).collect();
    assert_eq!(
        fired,
        [
            "cancel to carol session.timeout",
            "ui ended session.timeout",
            "cancel to bob session.timeout",
            "ui ended session.timeout",
            "reject to dave user.no-answer",
            "ui ended user.no-answer",
        ]
    );
}

#[test]
fn tmr_11_a_due_timer_fires_before_what_comes_after_it() {
    let mut story = Story::new();
    story.call(5, "bob");
    story.now = story.now.later(Duration::from_secs(15));
    assert_eq!(
        story.hear("bob-phone", answer(5)),
        [
            "fire T-Establish",
            "cancel to bob session.timeout",
            "ui ended session.timeout",
            "bye to bob-phone session.cancelled"
        ]
    );
}

#[test]
fn tmr_13_wake_names_the_next_deadline() {
    let mut story = Story::new();
    assert_eq!(story.engine.wake(), None);
    story.call(5, "bob");
    assert_eq!(story.engine.wake(), Some(story.now.tick + Duration::from_secs(15)));
    story.hear("bob-phone", progress(5, Status::RINGING));
    assert_eq!(story.engine.wake(), Some(story.now.tick + Duration::from_secs(120)));
}

#[test]
fn prg_3_10_only_a_given_timeout_extends_ringing() {
    // PRG-3, PRG-10
    let mut story = Story::new();
    story.call(5, "bob");
    let ringing =
        |secs| Body::Progress { session: id(5), status: Status::RINGING, ring_timeout: secs, queue_timeout: None };
    assert_eq!(story.hear("bob-phone", ringing(None)), ["stop T-Establish", "ui ringing", "start T-Ring 120"]);
    story.wait(100);
    assert_eq!(story.hear("bob-laptop", ringing(None)), ["ui ringing"]);
    assert_eq!(story.hear("bob-laptop", ringing(Some(10))), ["ui ringing", "start T-Ring 30"]);
    assert_eq!(story.wait(29), Vec::<String>::new());
    assert_eq!(story.wait(1)[0], "fire T-Ring");
}

#[test]
fn prg_4_11_the_fourth_queued_in_a_row_ends_the_attempt() {
    // PRG-4, PRG-11
    let mut story = Story::new();
    story.call(5, "bob");
    for _ in 0..MAX_QUEUED {
        assert_eq!(story.hear("bob-phone", queued(5, 60)).last().map(String::as_str), Some("start T-Queue 60"));
    }
    story.hear("bob-phone", progress(5, Status::RINGING));
    for _ in 0..MAX_QUEUED {
        story.hear("bob-phone", queued(5, 60));
        assert_eq!(story.hear("bob-phone", progress(5, Status::TRYING)), ["ui trying"], "does not reset the count");
    }
    assert_eq!(
        story.hear("bob-phone", queued(5, 60)),
        ["ui queued", "stop T-Queue", "cancel to bob session.timeout", "ui ended session.timeout"]
    );
}

#[test]
fn prg_5_other_statuses_wait_like_ringing() {
    let mut story = Story::new();
    story.call(5, "bob");
    let odd = progress(5, "searching".parse().expect("a token"));
    assert_eq!(story.hear("bob-phone", odd), ["stop T-Establish", "ui trying", "start T-Ring 120"]);
    assert_eq!(story.hear("bob-phone", progress(5, Status::FORWARDED)), ["ui forwarded"]);
    assert_eq!(story.hear("bob-phone", queued(5, 60)), ["ui queued", "stop T-Ring", "start T-Queue 60"]);
    assert_eq!(story.hear("bob-phone", progress(5, Status::FORWARDED)), ["ui forwarded"]);
}

// §9

#[test]
fn inf_1_2_info_where_it_is_allowed_and_understood() {
    // ACT-4, INF-1, INF-2, INF-3
    let mut story = Story::new();
    story.talk_as_responder();
    assert_eq!(story.hear("bob-phone", info(5)), ["info transport:webrtc"]);
    let odd = Body::Info { session: id(5), about: "x-odd:thing".parse().expect("an about") };
    assert_eq!(story.hear("bob-phone", odd), ["drop unknown-about"]);
    story.hear("bob-phone", bye(5));
    assert_eq!(story.hear("bob-phone", info(5)), ["drop ended-session"]);
}

#[test]
fn inf_5_a_flood_of_info_is_answered_by_an_error() {
    let mut story = Story::new();
    story.talk_as_responder();
    for _ in 0..MAX_INFO {
        assert_eq!(story.hear("bob-phone", info(5)), ["info transport:webrtc"]);
    }
    assert_eq!(story.hear("bob-phone", info(5)), ["error to bob-phone policy.rate-limited"]);
    story.wait(INFO_PERIOD.as_secs());
    assert_eq!(story.hear("bob-phone", info(5)), ["info transport:webrtc"]);
}

// §11

#[test]
fn fc_4_21_a_token_admits_once() {
    // FC-4, FC-21, FC-22, FC-27
    let mut story = Story::with(|config| config.first_contact_required = true);
    story.ask(Command::IssueToken { token: "t".into(), grant_id: id(77) });
    assert_eq!(
        story.hear("carol-phone", introduction(Some("t"))),
        ["ui introduced carol by token", "grant 77 to carol"]
    );
    assert_eq!(story.hear("dave", introduction(Some("t"))), ["ui introduced dave"]);
    assert_eq!(story.invite(5, "carol-phone", None), ["ui Offered"]);
    assert_eq!(story.invite(6, "dave", None), ["reject to dave policy.first-contact-required"]);
}

#[test]
fn fc_11_12_13_what_a_grant_admits() {
    // FC-10, FC-11, FC-12, FC-13, FC-23
    let granted = |scope: Scope, valid_until| {
        let mut story = Story::with(|config| config.first_contact_required = true);
        story.hear("carol-phone", introduction(None));
        let introduction = id(story.messages);
        story.ask(Command::Grant { introduction, id: id(77), scope: vec![scope], valid_until });
        story
    };
    let mut story = granted(Scope::INVITE, START + 10);
    assert_eq!(story.invite(5, "mallory", None), ["reject to mallory policy.first-contact-required"], "foreign grant");
    assert_eq!(story.invite(6, "carol-phone", None), ["ui Offered"]);
    story.wait(10);
    assert_eq!(story.invite(7, "carol-phone", None), ["reject to carol-phone policy.first-contact-required"], "lapsed");
    let mut story = granted(Scope::SUBSCRIBE, START + 10);
    assert_eq!(story.invite(5, "carol-phone", None), ["reject to carol-phone policy.first-contact-required"]);
    let mut story = granted(Scope::INVITE, START + 10);
    assert_eq!(story.ask(Command::Revoke { grant: id(77) }), Vec::<String>::new());
    assert_eq!(story.invite(5, "carol-phone", None), ["reject to carol-phone policy.first-contact-required"]);
    assert_eq!(story.ask(Command::Revoke { grant: id(77) }), ["refused unknown-grant"], "FC-26");
}

#[test]
fn fc_20_an_introduction_counts_once_even_when_answered() {
    let mut story = Story::new();
    let received = Received {
        id: id(9),
        from: did("carol-phone"),
        to: Some(did("alice")),
        expires_at: None,
        body: introduction(None),
        proof: None,
    };
    assert_eq!(story.hear_message(received.clone()), ["ui introduced carol"]);
    assert_eq!(story.hear_message(received.clone()), ["drop duplicate-introduction"]);
    let refuse = Command::RejectIntroduction { introduction: id(9), reason: None };
    assert_eq!(story.ask(refuse.clone()), ["reject to carol-phone user.declined"], "FC-24: to the device");
    assert_eq!(story.ask(refuse), ["refused unknown-introduction"], "FC-25");
    assert_eq!(story.hear_message(received), ["drop duplicate-introduction"]);
}

#[test]
fn fc_31_32_only_whom_we_asked_can_answer() {
    // FC-30, FC-31, FC-32
    let mut story = Story::new();
    let introduce = Command::Introduce { id: id(9), to: did("bob"), purpose: None, contact_token: None };
    assert_eq!(story.ask(introduce), ["introduction to bob"]);
    let grant = Body::Grant { session: id(9), scope: vec![Scope::INVITE], valid_until: START + 99 };
    assert_eq!(
        story.hear_of("mallory", "mallory", grant.clone()),
        ["intrusion of mallory", "drop unknown-introduction"]
    );
    assert_eq!(
        story.hear_of("mallory", "mallory", reject(9, "user.declined")),
        ["error to mallory session.unknown-session"]
    );
    assert_eq!(story.hear_of("bob-phone", "bob", grant.clone()), ["ui granted by bob"]);
    let held = story.messages;
    assert_eq!(story.hear_of("bob-phone", "bob", grant), ["drop unknown-introduction"]);
    assert_eq!(story.call(5, "bob")[0], format!("invite to bob by {held}"), "FC-33");
    assert_eq!(story.call(6, "bob-phone")[0], format!("invite to bob-phone by {held}"));
    story.wait(99);
    assert_eq!(story.call(7, "bob").last().map(String::as_str), Some("start T-Establish 15"));
    assert!(story.engine.contacts().grant_for(&did("bob"), START + 99).is_none(), "a lapsed grant is not named");
}

#[test]
fn fc_32_a_refused_introduction_is_no_session() {
    let mut story = Story::new();
    story.ask(Command::Introduce { id: id(9), to: did("bob"), purpose: None, contact_token: None });
    assert_eq!(story.hear("bob-phone", reject(9, "policy.blocked")), ["ui introduction rejected policy.blocked"]);
    assert_eq!(story.hear("bob-phone", reject(9, "policy.blocked")), ["error to bob-phone session.unknown-session"]);
}

#[test]
fn contacts_outlive_the_process() {
    let mut story = Story::new();
    story.ask(Command::Allow { identity: did("bob"), allowed: true });
    story.ask(Command::IssueToken { token: "t".into(), grant_id: id(77) });
    story.hear("carol-phone", introduction(None));
    story.ask(Command::Introduce { id: id(9), to: did("bob"), purpose: None, contact_token: None });
    let stored = serde_json::to_string(story.engine.contacts()).expect("contacts are plain data");
    let contacts: Contacts = serde_json::from_str(&stored).expect("what was stored");
    assert_eq!(&contacts, story.engine.contacts());
    let mut story = Story::with(|config| (config.contacts, config.first_contact_required) = (contacts, true));
    assert_eq!(story.invite(5, "bob-phone", None), ["ui Offered"]);
    assert_eq!(story.hear("carol-phone", introduction(None)), ["drop duplicate-introduction"], "the same id again");
    assert_eq!(story.hear("dave", introduction(Some("t"))), ["ui introduced dave by token", "grant 77 to dave"]);
}

// Bounds

#[test]
fn max_sessions_refuses_more_of_either_kind() {
    let mut story = Story::new();
    for session in 0..MAX_SESSIONS as u64 {
        story.call(10_000 + session, "bob");
    }
    assert_eq!(story.call(5, "bob"), ["refused too-many"]);
    assert_eq!(story.invite(6, "carol-phone", None), ["reject to carol-phone endpoint.unavailable"]);
    assert_eq!(story.state(6), None);
}

#[test]
fn max_unanswered_per_identity_keeps_one_caller_from_filling_the_table() {
    let mut story = Story::new();
    for session in 0..MAX_UNANSWERED_PER_IDENTITY as u64 {
        let device = if session % 2 == 0 { "bob-phone" } else { "bob-laptop" };
        assert_eq!(story.invite(100 + session, device, None), ["ui Offered"]);
    }
    assert_eq!(story.invite(5, "bob-phone", None), ["reject to bob-phone policy.rate-limited"]);
    assert_eq!(story.invite(6, "carol-phone", None), ["ui Offered"]);
}

#[test]
fn max_ended_drops_the_oldest_record() {
    let mut story = Story::with(|config| config.first_contact_required = true);
    for session in 0..=MAX_ENDED as u64 {
        story.invite(100 + session, "mallory", None);
    }
    assert_eq!(story.state(100), None);
    assert_eq!(story.state(101), Some(State::Ended));
}

#[test]
fn max_identities_forgets_the_first_learned() {
    let mut story = Story::new();
    for device in 0..MAX_IDENTITIES {
        story.engine.learn(&did(&format!("device-{device}")), &did("crowd"), None);
    }
    assert_eq!(story.engine.identity_of(&did("bob-phone")), &did("bob-phone"));
    assert_eq!(story.engine.identity_of(&did("device-4095")), &did("crowd"));
}

#[test]
fn first_contact_is_bounded() {
    let mut story = Story::new();
    for _ in 0..MAX_REQUESTS {
        story.hear("carol-phone", introduction(None));
    }
    let first = story.engine.contacts().requests().next().map(|(id, _)| id).expect("a request");
    story.hear("bob-phone", introduction(None));
    assert_eq!(story.engine.contacts().requests().count(), MAX_REQUESTS);
    assert!(
        story.engine.contacts().requests().any(|(_, request)| request.device == did("bob-phone")),
        "a full box opens"
    );
    assert!(story.engine.contacts().requests().all(|(id, _)| id != first), "the oldest made room");
    for number in 0..=MAX_PENDING as u64 {
        story.ask(Command::Introduce { id: id(number), to: did("bob"), purpose: None, contact_token: None });
    }
    assert_eq!(story.engine.contacts().pending().count(), MAX_PENDING);
    assert!(story.engine.contacts().pending().all(|(pending, _)| pending != id(0)), "the oldest made room");
    for number in 0..MAX_TOKENS as u64 {
        story.ask(Command::IssueToken { token: number.to_string(), grant_id: id(number) });
    }
    let one_more = Command::IssueToken { token: "more".into(), grant_id: id(1) };
    assert_eq!(story.ask(one_more), ["refused too-many"]);
    for number in 0..MAX_ALLOWED {
        story.ask(Command::Allow { identity: did(&number.to_string()), allowed: true });
    }
    assert_eq!(story.ask(Command::Allow { identity: did("more"), allowed: true }), ["refused too-many"]);
    assert_eq!(story.ask(Command::Allow { identity: did("0"), allowed: true }), Vec::<String>::new());
}

#[test]
fn max_grants_lets_lapsed_ones_make_room() {
    let mut story = Story::new();
    for number in 0..=MAX_GRANTS as u64 {
        story.hear("carol-phone", introduction(None));
        let introduction = id(story.messages);
        let grant = Command::Grant { introduction, id: id(number), scope: vec![], valid_until: START + 10 };
        let granted = story.ask(grant.clone());
        if number < MAX_GRANTS as u64 {
            assert_eq!(granted.len(), 1);
        } else {
            assert_eq!(granted, ["refused too-many"]);
            story.wait(10);
            assert_eq!(story.ask(grant), [format!("grant {number} to carol")]);
            assert_eq!(story.engine.contacts().issued().count(), 1);
        }
    }
}
