//! The rules that the shared vectors do not show, by rule id, and the bounds.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::time::{Now, Wall};
use crate::wire::token::Status;
use crate::wire::{self, Did, Reason, Ulid};

const START: u64 = 1_760_000_000;

/// One relay, the clock, and shorthand for the messages of devices.
struct Story {
    engine: Engine,
    now: Now,
    messages: u64,
}

impl Story {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let now = Now { wall: Wall::from_secs(START), ..Now::default() };
        Self { engine: Engine::new(config), now, messages: 1_000_000 }
    }

    /// Bob's phone and laptop are bound, and so is Alice's phone.
    fn of_two() -> Self {
        let mut story = Self::new();
        story.bind("bob-phone", "bob");
        story.bind("bob-laptop", "bob");
        story.bind("alice-phone", "alice");
        story
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        out.iter().map(told).collect()
    }

    fn wait(&mut self, secs: u64) -> Vec<String> {
        self.now = self.now.later(Duration::from_secs(secs));
        self.feed(Input::Tick)
    }

    fn bind(&mut self, device: &str, identity: &str) -> Vec<String> {
        self.feed(Input::Bind { device: did(device), identity: did(identity) })
    }

    fn unbind(&mut self, device: &str) -> Vec<String> {
        self.feed(Input::Unbind { device: did(device) })
    }

    fn message(&mut self, from: &str, to: &str, session: Option<u64>, body: Body) -> Message {
        self.messages += 1;
        Message {
            id: id(self.messages),
            from: did(from),
            to: Some(did(to)),
            session: session.map(id),
            in_reply_to: None,
            expires_at: None,
            body,
            text: "text".into(),
        }
    }

    fn say(&mut self, from: &str, to: &str, session: u64, body: Body) -> Vec<String> {
        let message = self.message(from, to, Some(session), body);
        self.feed(Input::Received(message))
    }

    fn introduce(&mut self, from: &str, to: &str) -> Vec<String> {
        let message = self.message(from, to, None, Body::Introduction);
        self.feed(Input::Received(message))
    }

    fn invite(&mut self, session: u64, from: &str, to: &str) -> Vec<String> {
        let mut message = self.message(from, to, None, Body::Invite);
        message.id = id(session);
        self.feed(Input::Received(message))
    }

    fn legs(&self, session: u64) -> Vec<(String, LegState)> {
        let attempt = self.engine.attempt(id(session));
        attempt.map(|(legs, _)| legs.map(|(did, state)| (name(did), state)).collect()).unwrap_or_default()
    }

    fn outcome(&self, session: u64) -> Option<Outcome> {
        self.engine.attempt(id(session)).and_then(|(_, outcome)| outcome)
    }
}

fn did(name: &str) -> Did {
    format!("did:key:{name}").parse().expect("a DID")
}

fn name(did: &Did) -> String {
    did.specific().to_owned()
}

fn id(number: u64) -> Ulid {
    format!("{number:026}").parse().expect("a ULID")
}

fn bye() -> Body {
    Body::Other(wire::Kind::Bye)
}

fn cancel(why: &str) -> Body {
    Body::Cancel { reason: why.parse().expect("a reason") }
}

fn reject(why: &str) -> Body {
    Body::Reject { reason: why.parse().expect("a reason") }
}

fn ringing() -> Body {
    Body::Progress { status: Status::RINGING }
}

fn told(output: &Output) -> String {
    let kind = |message: &Message| message.body.kind().as_str();
    match output {
        Output::Deliver { leg, message, path, .. } => format!("{} to {} {path:?}", kind(message), name(leg)),
        Output::Forward { to, leg, message } => {
            let reason = match &message.body {
                Body::Reject { reason } => format!(" {reason}"),
                _ => String::new(),
            };
            format!("{}{reason} of {} to {}", kind(message), name(leg), name(to))
        }
        Output::Refuse { to, leg, reason, .. } => format!("own reject {reason} for {} to {}", name(leg), name(to)),
        Output::Error { to, reason, .. } => format!("error {reason} to {}", name(to)),
        Output::Queued { to, message } => format!("{} queued for {}", kind(message), name(to)),
        Output::Dequeued { to, message, why } => format!("{} dequeued for {} {why:?}", kind(message), name(to)),
        Output::Drop { why, .. } => format!("drop {why:?}"),
        Output::NotBound { device } => format!("not bound {}", name(device)),
    }
}

#[test]
fn rly_1_what_is_delivered_is_the_received_text() {
    let mut story = Story::of_two();
    let message = story.message("alice-phone", "bob-phone", Some(5), bye());
    let text = message.text.clone();
    let mut out = Vec::new();
    story.engine.handle(story.now, Input::Received(message), &mut out);
    assert!(matches!(&out[..], [Output::Deliver { message, .. }] if Arc::ptr_eq(&message.text, &text)));
}

#[test]
fn rly_2_a_device_or_its_identity_leads_to_its_connection() {
    // RLY-51
    let mut story = Story::of_two();
    assert_eq!(story.say("alice-phone", "bob-phone", 9, bye()), ["bye to bob-phone Plain"]);
    story.unbind("bob-laptop");
    assert_eq!(story.say("alice-phone", "bob", 9, bye()), ["bye to bob-phone Plain"]);
    story.unbind("bob-phone");
    assert_eq!(story.say("alice-phone", "bob", 9, bye()), ["bye queued for bob"], "known stays known");
}

#[test]
fn rly_10_11_introductions_reach_whoever_is_there_or_wait() {
    // RLY-10, RLY-11
    let mut story = Story::of_two();
    assert_eq!(story.introduce("carol", "bob"), ["introduction to bob-laptop Fork", "introduction to bob-phone Fork"]);
    assert_eq!(story.introduce("carol", "nobody"), ["introduction queued for nobody"]);
}

#[test]
fn rly_13_16_what_is_for_somebody_known_waits() {
    // RLY-13, RLY-16
    // SNF-1, SNF-4: a queued invite is no attempt yet.
    let mut story = Story::of_two();
    story.unbind("alice-phone");
    assert_eq!(story.invite(5, "bob-phone", "alice"), ["invite queued for alice"]);
    assert_eq!(story.legs(5), []);
    assert_eq!(story.say("carol", "alice", 6, cancel("user.cancelled")), ["cancel queued for alice"], "no such invite");
    assert_eq!(story.bind("alice-phone", "alice"), ["invite to alice-phone Flush", "cancel to alice-phone Flush"]);
    assert_eq!(story.legs(5), [("alice-phone".into(), LegState::Delivered)]);
}

#[test]
fn rly_6_21_23_every_leg_is_followed_by_itself() {
    // RLY-6, RLY-21, RLY-23
    // SES-3
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob");
    assert_eq!(story.say("bob-phone", "alice-phone", 5, ringing()), ["progress of bob-phone to alice-phone"]);
    story.say("bob-laptop", "alice-phone", 5, reject("endpoint.busy"));
    assert_eq!(story.legs(5), [("bob-laptop".into(), LegState::Rejected), ("bob-phone".into(), LegState::Delivered)]);
    assert_eq!(
        story.say("bob-phone", "alice-phone", 5, reject("media.unsupported")),
        ["reject endpoint.busy of bob-laptop to alice-phone"]
    );
}

#[test]
fn rly_12_14_invites_fork_in_device_order_and_strangers_are_unknown() {
    // RLY-12, RLY-14
    let mut story = Story::of_two();
    assert_eq!(story.invite(5, "alice-phone", "bob"), ["invite to bob-laptop Fork", "invite to bob-phone Fork"]);
    assert_eq!(story.invite(6, "alice-phone", "bob-phone"), ["invite to bob-phone Fork"]);
    assert_eq!(story.invite(7, "alice-phone", "nobody"), ["error transport.unknown-recipient to alice-phone"]);
    assert_eq!(story.invite(5, "mallory", "bob"), ["error transport.routing-refused to mallory"], "the id is taken");
    assert_eq!(story.legs(5).len(), 2);
}

#[test]
fn rly_15_only_who_placed_the_call_takes_it_back() {
    let mut story = Story::new();
    story.bind("alice-phone", "alice");
    story.bind("alice-laptop", "alice");
    story.bind("bob-phone", "bob");
    story.unbind("bob-phone");
    assert_eq!(story.invite(5, "alice-phone", "bob"), ["invite queued for bob"]);
    assert_eq!(story.say("mallory", "bob", 5, cancel("user.cancelled")), ["cancel queued for bob"]);
    assert_eq!(story.say("alice-laptop", "bob", 5, cancel("user.cancelled")), ["invite dequeued for bob Cancelled"]);
    assert_eq!(story.bind("bob-phone", "bob"), ["cancel to bob-phone Flush"]);
    assert_eq!(story.legs(5), []);
}

#[test]
fn rly_17_update_replies_and_other_types_go_by_their_recipient() {
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob-phone");
    story.say("bob-phone", "alice-phone", 5, Body::Answer);
    let mut reply = story.message("bob-phone", "alice-phone", Some(5), reject("media.unsupported"));
    reply.in_reply_to = Some(id(1));
    assert_eq!(story.feed(Input::Received(reply)), ["reject to alice-phone Plain"]);
    assert_eq!(story.say("bob-laptop", "alice-phone", 5, bye()), ["bye to alice-phone Plain"]);
}

#[test]
fn rly_18_24_whose_cancel_counts() {
    // RLY-18, RLY-24
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob");
    assert_eq!(story.say("mallory", "bob", 5, cancel("user.cancelled")), ["drop UnknownLeg"]);
    assert_eq!(story.say("bob-phone", "alice-phone", 5, cancel("user.cancelled")), ["drop NotAttemptScoped"]);
    story.say("bob-phone", "alice-phone", 5, Body::Answer);
    assert_eq!(
        story.say("alice-phone", "bob", 5, cancel("session.answered-elsewhere")),
        ["cancel to bob-laptop Withdrawal"]
    );
    assert_eq!(story.outcome(5), Some(Outcome::Answered), "the outcome is set once");
    assert_eq!(story.say("bob-laptop", "alice-phone", 5, Body::Answer), ["drop LegTerminated"]);
}

#[test]
fn rly_19_20_who_speaks_for_a_leg() {
    // RLY-19, RLY-20
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob");
    for body in [ringing(), Body::Answer, reject("user.declined")] {
        assert_eq!(story.say("mallory", "alice-phone", 5, body), ["drop UnknownLeg"]);
    }
    story.say("bob-phone", "alice-phone", 5, reject("user.declined"));
    for body in [ringing(), Body::Answer, reject("user.declined")] {
        assert_eq!(story.say("bob-phone", "alice-phone", 5, body), ["drop LegTerminated"]);
    }
}

#[test]
fn rly_20_22_an_answered_leg_may_answer_again() {
    // RLY-20, RLY-22
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob-phone");
    for _ in 0..2 {
        assert_eq!(story.say("bob-phone", "alice-phone", 5, Body::Answer), ["answer of bob-phone to alice-phone"]);
    }
    assert_eq!(story.say("bob-phone", "alice-phone", 5, ringing()), ["drop LegTerminated"]);
}

#[test]
fn rly_30_plain_routing() {
    let mut story = Story::of_two();
    assert_eq!(story.say("alice-phone", "bob", 9, bye()), ["bye to bob-laptop Plain", "bye to bob-phone Plain"]);
    assert_eq!(story.say("alice-phone", "nobody", 9, bye()), ["error transport.unknown-recipient to alice-phone"]);
    story.unbind("bob-phone");
    assert_eq!(story.say("alice-phone", "bob-phone", 9, bye()), ["bye queued for bob-phone"], "SNF-5");
    let mut nobody = story.message("alice-phone", "bob", None, Body::Other(wire::Kind::Publish));
    nobody.to = None;
    assert_eq!(story.feed(Input::Received(nobody)), ["error transport.routing-refused to alice-phone"]);
}

#[test]
fn rly_41_42_the_reason_that_says_most() {
    // RLY-41, RLY-42
    let outcome = |phone: &str, laptop: &str| {
        let mut story = Story::of_two();
        story.invite(5, "alice-phone", "bob");
        assert_eq!(story.say("bob-phone", "alice-phone", 5, reject(phone)), Vec::<String>::new(), "RLY-45");
        story.say("bob-laptop", "alice-phone", 5, reject(laptop))
    };
    assert_eq!(outcome("endpoint.busy", "user.declined"), ["reject user.declined of bob-laptop to alice-phone"]);
    assert_eq!(outcome("user.no-answer", "endpoint.busy"), ["reject user.no-answer of bob-phone to alice-phone"]);
    assert_eq!(outcome("endpoint.busy", "endpoint.busy"), ["reject endpoint.busy of bob-phone to alice-phone"]);
    assert_eq!(
        outcome("media.unsupported", "policy.blocked"),
        ["reject media.unsupported of bob-phone to alice-phone"]
    );
    assert_eq!(
        outcome("media.unsupported", "endpoint.unavailable"),
        ["reject endpoint.unavailable of bob-laptop to alice-phone"]
    );
}

#[test]
fn rly_43_44_a_silent_leg_expires_and_the_relay_signs_for_it() {
    // RLY-43, RLY-44
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob-phone");
    assert_eq!(story.engine.wake(), Some(story.now.tick + SILENT_LEG));
    assert_eq!(story.wait(SILENT_LEG.as_secs() - 1), Vec::<String>::new());
    assert_eq!(story.wait(1), ["own reject endpoint.unavailable for bob-phone to alice-phone"]);
    assert_eq!(story.outcome(5), Some(Outcome::Rejected));
    assert_eq!(story.say("bob-phone", "alice-phone", 5, Body::Answer), ["drop LegTerminated"]);
}

#[test]
fn rly_43_a_leg_that_reports_is_given_as_long_as_its_caller_waits() {
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob-phone");
    story.wait(10);
    story.say("bob-phone", "alice-phone", 5, ringing());
    assert_eq!(story.wait(RINGING_LEG.as_secs() - 1), Vec::<String>::new());
    story.say("bob-phone", "alice-phone", 5, Body::Progress { status: Status::QUEUED });
    assert_eq!(story.wait(QUEUED_LEG.as_secs() - 1), Vec::<String>::new());
    assert_eq!(story.wait(1), ["own reject endpoint.unavailable for bob-phone to alice-phone"]);
}

#[test]
fn rly_44_a_signed_reject_stands_in_for_an_expired_leg_of_its_reason() {
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob");
    story.say("bob-phone", "alice-phone", 5, ringing());
    story.wait(SILENT_LEG.as_secs());
    assert_eq!(story.legs(5)[0], ("bob-laptop".into(), LegState::Expired));
    assert_eq!(
        story.say("bob-phone", "alice-phone", 5, reject("endpoint.unavailable")),
        ["reject endpoint.unavailable of bob-laptop to alice-phone"]
    );
}

#[test]
fn rly_44_the_relay_signs_when_the_legs_own_reject_is_too_old_to_be_accepted() {
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob");
    story.say("bob-laptop", "alice-phone", 5, ringing());
    let mut reject = story.message("bob-phone", "alice-phone", Some(5), reject("user.declined"));
    reject.expires_at = Some(START + 60);
    story.feed(Input::Received(reject));
    story.wait(60);
    assert_eq!(
        story.say("bob-laptop", "alice-phone", 5, super::tests::reject("endpoint.busy")),
        ["own reject user.declined for bob-phone to alice-phone"]
    );
}

#[test]
fn rly_46_47_50_devices_that_bind_in_the_course_of_an_attempt() {
    // RLY-46, RLY-47, RLY-50
    let mut story = Story::new();
    story.bind("bob-phone", "bob");
    story.invite(5, "alice-phone", "bob");
    story.invite(6, "alice-phone", "bob");
    story.invite(7, "alice-phone", "bob");
    story.say("bob-phone", "alice-phone", 6, Body::Answer);
    assert_eq!(
        story.bind("bob-laptop", "bob"),
        ["invite to bob-laptop LateLeg", "invite to bob-laptop LateLeg"],
        "5 and 7, not the answered one"
    );
    assert_eq!(story.bind("bob-laptop", "bob"), Vec::<String>::new(), "once");
    story.say("bob-phone", "alice-phone", 5, reject("user.declined"));
    assert_eq!(story.outcome(5), None, "the late leg is still live");
}

#[test]
fn rly_46_an_expired_invite_gets_no_late_leg() {
    let mut story = Story::new();
    story.bind("bob-phone", "bob");
    let mut invite = story.message("alice-phone", "bob", None, Body::Invite);
    invite.expires_at = Some(START + 30);
    story.feed(Input::Received(invite));
    story.wait(29);
    assert_eq!(story.bind("bob-laptop", "bob"), ["invite to bob-laptop LateLeg"]);
    story.wait(1);
    assert_eq!(story.bind("bob-tablet", "bob"), Vec::<String>::new());
}

#[test]
fn rly_50_flushes_the_identity_then_the_device_to_this_device_alone() {
    let mut story = Story::new();
    story.bind("bob-phone", "bob");
    story.unbind("bob-phone");
    story.say("alice-phone", "bob-phone", 8, bye());
    story.invite(5, "alice-phone", "bob");
    story.introduce("carol", "bob");
    assert_eq!(story.invite(6, "alice-phone", "bob-phone"), ["invite queued for bob-phone"]);
    assert_eq!(
        story.bind("bob-phone", "bob"),
        [
            "invite to bob-phone Flush",
            "introduction to bob-phone Flush",
            "bye to bob-phone Flush",
            "invite to bob-phone Flush"
        ]
    );
    assert_eq!(story.legs(5), [("bob-phone".into(), LegState::Delivered)]);
    assert_eq!(story.legs(6), [("bob-phone".into(), LegState::Delivered)]);
    assert_eq!(story.bind("bob-laptop", "bob"), ["invite to bob-laptop LateLeg"], "5, which names the identity");
    assert_eq!(story.engine.waiting().count(), 0);
}

#[test]
fn rly_60_the_recipients_existence_does_not_show() {
    let mut story = Story::new();
    story.bind("bob-phone", "bob");
    story.unbind("bob-phone");
    for number in 0..=MAX_INTRODUCTIONS {
        let known: Vec<String> = story.introduce("carol", "bob");
        let unknown = story.introduce("carol", "nobody");
        let expected = if number < MAX_INTRODUCTIONS { "introduction queued for" } else { "drop InboxFull" };
        assert!(known[0].starts_with(expected) && unknown[0].starts_with(expected), "{known:?} {unknown:?}");
    }
    assert!(Drop::InboxFull.is_silent(), "SNF-8");
}

#[test]
fn ws_8_a_device_acts_for_one_identity_at_a_time() {
    let mut story = Story::new();
    story.bind("phone", "bob");
    story.bind("phone", "carol");
    assert_eq!(story.invite(5, "alice-phone", "carol"), ["invite to phone Fork"]);
    assert_eq!(story.engine.identity_of(&did("phone")), Some(&did("carol")));
    assert_eq!(story.invite(6, "alice-phone", "bob"), ["error transport.unknown-recipient to alice-phone"]);
}

#[test]
fn a_device_that_is_its_own_identity_is_reached_as_either() {
    let mut story = Story::new();
    story.bind("carol", "carol");
    assert_eq!(story.invite(5, "alice-phone", "carol"), ["invite to carol Fork"]);
    story.unbind("carol");
    story.introduce("alice-phone", "carol");
    assert_eq!(story.bind("carol", "carol"), ["introduction to carol Flush"], "it is a leg of 5 already");
}

#[test]
fn snf_2_3_what_is_due_goes_by_address_then_by_arrival() {
    // SNF-2, SNF-3
    let mut story = Story::with(Config { retention: Duration::from_secs(100), ..Config::default() });
    for device in ["zoe", "adam"] {
        story.bind(device, device);
        story.unbind(device);
    }
    story.invite(9, "alice-phone", "zoe");
    story.introduce("alice-phone", "zoe");
    story.invite(8, "alice-phone", "adam");
    let mut brief = story.message("alice-phone", "adam", Some(7), bye());
    brief.expires_at = Some(START + 50);
    story.feed(Input::Received(brief));
    let mut long = story.message("alice-phone", "adam", None, Body::Introduction);
    long.expires_at = Some(START + 604_800);
    story.feed(Input::Received(long));
    assert_eq!(story.wait(50), ["bye dequeued for adam Expired"]);
    assert_eq!(story.engine.wake(), Some(story.now.tick + Duration::from_secs(50)));
    assert_eq!(
        story.wait(50),
        [
            "invite dequeued for adam Expired",
            "introduction dequeued for adam Expired",
            "invite dequeued for zoe Expired",
            "introduction dequeued for zoe Expired",
        ]
    );
}

#[test]
fn snf_5_what_could_not_be_handed_over_waits() {
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob-phone");
    story.unbind("alice-phone");
    let answer = story.message("bob-phone", "alice-phone", Some(5), Body::Answer);
    let mut out = Vec::new();
    story.engine.handle(story.now, Input::Received(answer), &mut out);
    let Some(Output::Forward { to, message, .. }) = out.pop() else { panic!("an answer is forwarded: {out:?}") };
    assert_eq!(story.feed(Input::Undelivered { to, message }), ["answer queued for alice-phone"]);
    assert_eq!(story.bind("alice-phone", "alice"), ["answer to alice-phone Flush"]);
}

#[test]
fn an_initiator_that_never_bound_is_told_nothing_more() {
    let mut story = Story::new();
    story.bind("bob-phone", "bob");
    story.invite(5, "alice-phone", "bob-phone");
    let answer = story.message("bob-phone", "alice-phone", Some(5), Body::Answer);
    let undelivered = Input::Undelivered { to: did("alice-phone"), message: Arc::new(answer) };
    assert_eq!(story.feed(undelivered), ["error transport.unknown-recipient to bob-phone"]);
}

// Bounds

#[test]
fn decided_attempts_are_forgotten_after_the_replay_window() {
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob-phone");
    story.say("bob-phone", "alice-phone", 5, Body::Answer);
    story.wait(DECIDED_KEPT.as_secs() - 1);
    assert_eq!(story.outcome(5), Some(Outcome::Answered));
    story.wait(1);
    assert_eq!(story.legs(5), []);
    assert_eq!(story.engine.load(), Load { bound: 3, known: 3, ..Load::default() });
    assert_eq!(story.engine.wake(), None);
}

#[test]
fn max_decided_forgets_the_oldest_attempt() {
    let mut story = Story::of_two();
    for session in 0..=MAX_DECIDED as u64 {
        story.invite(10_000_000 + session, "alice-phone", "bob-phone");
        story.say("bob-phone", "alice-phone", 10_000_000 + session, Body::Answer);
    }
    assert_eq!(story.legs(10_000_000), []);
    assert_eq!(story.legs(10_000_001).len(), 1);
    assert_eq!(story.engine.load().decided, MAX_DECIDED);
    assert_eq!(story.engine.load().held, 0, "the invites of decided attempts are let go");
}

#[test]
fn max_open_per_sender_stops_a_flood_and_nobody_else() {
    let mut story = Story::of_two();
    for session in 0..MAX_OPEN_PER_SENDER as u64 {
        assert_eq!(story.invite(10_000_000 + session, "mallory", "bob-phone").len(), 1);
    }
    assert_eq!(story.invite(5, "mallory", "bob-phone"), ["error transport.rate-limited to mallory"]);
    assert_eq!(story.invite(6, "alice-phone", "bob-phone"), ["invite to bob-phone Fork"]);
    let late = story.wait(SILENT_LEG.as_secs());
    assert_eq!(late.len(), MAX_OPEN_PER_SENDER + 1);
    assert_eq!(story.invite(7, "mallory", "bob-phone"), ["invite to bob-phone Fork"]);
}

#[test]
fn max_queued_refuses_aloud() {
    let mut story = Story::new();
    story.bind("bob-phone", "bob");
    story.unbind("bob-phone");
    for _ in 0..MAX_QUEUED {
        assert_eq!(story.say("alice-phone", "bob-phone", 5, bye()), ["bye queued for bob-phone"]);
    }
    assert_eq!(
        story.say("alice-phone", "bob-phone", 5, bye()),
        ["error transport.routing-refused to alice-phone"],
        "RLY-4"
    );
}

#[test]
fn max_bytes_bound_one_inbox_and_one_sender() {
    let mut story = Story::new();
    let sized = |story: &mut Story, to: &str| {
        let mut message = story.message("alice-phone", to, Some(5), bye());
        message.text = "x".repeat(1 << 18).into();
        story.feed(Input::Received(message))
    };
    for number in 0..=(MAX_BYTES_PER_SENDER / MAX_QUEUED_BYTES) {
        let device = format!("device-{number}");
        story.bind(&device, &device);
        story.unbind(&device);
    }
    for number in 0..(MAX_BYTES_PER_SENDER / MAX_QUEUED_BYTES) {
        let device = format!("device-{number}");
        for _ in 0..4 {
            assert_eq!(sized(&mut story, &device), [format!("bye queued for {device}")]);
        }
        assert_eq!(sized(&mut story, &device), ["error transport.routing-refused to alice-phone"]);
    }
    let last = format!("device-{}", MAX_BYTES_PER_SENDER / MAX_QUEUED_BYTES);
    assert_eq!(sized(&mut story, &last), ["error transport.rate-limited to alice-phone"]);
    assert_eq!(story.engine.load().held_bytes, MAX_BYTES_PER_SENDER);
    assert_eq!(story.say("carol", &last, 5, bye()), [format!("bye queued for {last}")], "others have their own share");
}

#[test]
fn max_for_strangers_takes_no_room_from_people_who_exist() {
    let mut story = Story::new();
    story.bind("bob-phone", "bob");
    story.unbind("bob-phone");
    story.introduce("carol", "bob");
    for number in 0..=MAX_FOR_STRANGERS {
        let from = format!("sender-{}", number % 16);
        let queued = story.introduce(&from, &format!("nobody-{number}"));
        assert!(queued[0].starts_with("introduction queued"));
    }
    assert_eq!(story.engine.load().held, MAX_FOR_STRANGERS + 1);
    assert_eq!(story.bind("bob-phone", "bob"), ["introduction to bob-phone Flush"]);
    assert_eq!(story.bind("x", "nobody-0"), Vec::<String>::new(), "the oldest made room");
    assert_eq!(story.bind("y", "nobody-1").len(), 1);
}

#[test]
fn rly_61_a_hundred_thousand_introductions_to_one_person_cost_a_few() {
    let mut story = Story::of_two();
    story.unbind("bob-phone");
    story.unbind("bob-laptop");
    for stranger in 0..100_000 {
        let told = story.introduce(&format!("stranger-{stranger}"), "bob");
        let wanted = if stranger < MAX_INTRODUCTIONS { "introduction queued for bob" } else { "drop InboxFull" };
        assert_eq!(told, [wanted]);
    }
    assert_eq!(story.engine.load().held, MAX_INTRODUCTIONS);
    // Those whom Bob knows still reach him.
    assert_eq!(story.say("alice-phone", "bob", 7, bye()), ["bye queued for bob"]);
}

#[test]
fn rly_14_unknown_recipients_en_masse_leave_nothing_behind() {
    let mut story = Story::of_two();
    let before = story.engine.load();
    for nobody in 0..50_000 {
        story.invite(nobody, "alice-phone", &format!("nobody-{nobody}"));
        story.say("alice-phone", &format!("nobody-{nobody}"), nobody, bye());
    }
    assert_eq!(story.engine.load(), before);
}

#[test]
fn max_devices_bind_for_one_identity() {
    let mut story = Story::new();
    for number in 0..MAX_DEVICES {
        assert_eq!(story.bind(&format!("device-{number}"), "bob"), Vec::<String>::new());
    }
    assert_eq!(story.bind("one-more", "bob"), ["not bound one-more"]);
    assert_eq!(story.bind("device-0", "bob"), Vec::<String>::new(), "one that is bound may say so again");
    story.unbind("device-0");
    assert_eq!(story.bind("one-more", "bob"), Vec::<String>::new());
}

#[test]
fn max_legs_bounds_an_attempt_that_devices_come_and_go_from() {
    let mut story = Story::new();
    story.bind("device-0", "bob");
    story.invite(5, "alice-phone", "bob");
    for number in 1..MAX_LEGS + 10 {
        story.unbind(&format!("device-{}", number - 1));
        story.bind(&format!("device-{number}"), "bob");
    }
    assert_eq!(story.legs(5).len(), MAX_LEGS);
}

#[test]
fn dis_15_known_devices_are_forgotten_in_time() {
    let mut story = Story::with(Config { known_for: Some(Duration::from_secs(1_000)), ..Config::default() });
    story.bind("bob-phone", "bob");
    story.unbind("bob-phone");
    assert_eq!(story.engine.wake(), Some(story.now.tick + Duration::from_secs(1_000)));
    story.wait(999);
    assert_eq!(story.invite(5, "alice-phone", "bob"), ["invite queued for bob"]);
    story.wait(1);
    assert_eq!(story.invite(6, "alice-phone", "bob"), ["error transport.unknown-recipient to alice-phone"]);
    assert_eq!(story.engine.load().known, 0);
}

#[test]
fn max_known_forgets_who_has_been_away_longest() {
    let mut story = Story::with(Config { max_known: 100, ..Config::default() });
    for number in 0..100 {
        let device = format!("device-{number}");
        story.bind(&device, &device);
        if number < 2 {
            story.unbind(&device);
        }
    }
    assert_eq!(story.bind("one-more", "bob"), Vec::<String>::new());
    assert_eq!(story.engine.load().known, 100);
    assert_eq!(story.invite(5, "x", "device-0"), ["error transport.unknown-recipient to x"]);
    assert_eq!(story.bind("two-more", "bob"), Vec::<String>::new());
    assert_eq!(story.bind("three-more", "bob"), ["not bound three-more"], "everybody left is here now");
}

#[test]
fn a_reason_is_kept_as_received() {
    let mut story = Story::of_two();
    story.invite(5, "alice-phone", "bob-phone");
    let odd: Reason = "x-shop.closed".parse().expect("a reason");
    let heard = story.say("bob-phone", "alice-phone", 5, Body::Reject { reason: odd });
    assert_eq!(heard, ["reject x-shop.closed of bob-phone to alice-phone"]);
}
