//! One phone, its relay played by the test frame by frame: what an honest relay does, and what a dishonest one tries.

use std::time::Duration;

use dsip_proto::agent::{
    Agent, Answer, Change, Company, Config, Description, Event, Identity, Input, LinkChange, LinkId, Media, Memory,
    Output, Policy, Question, Relay, Suspicion,
};
use dsip_proto::envelope::Signer;
use dsip_proto::hints;
use dsip_proto::identity::{DeviceKey, Document, KeyId, SecretKey, delegate};
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::turn::{Grant, Ports};
use dsip_proto::wire::media::{Transport, VersionBlock};
use dsip_proto::wire::message::{self, Capabilities, Common, Introduction, Invite, Progress};
use dsip_proto::wire::token::{AnsweredBy, Direction, ProfileId, Status, TransportId};
use dsip_proto::wire::{Did, Envelope, Kind, Message, Reason, Ulid, Unsigned, json};

const START: Now = Now { tick: Tick::from_micros(1_000_000), wall: Wall::from_secs(1_760_000_000) };
const LINK: LinkId = LinkId(1);
const DAY: u64 = 86_400;

/// Somebody with an identity and one device.
struct Person {
    identity: SecretKey,
    device: SecretKey,
    until: u64,
}

impl Person {
    fn new(n: u8) -> Self {
        let key = |n| SecretKey::from_bytes(&[n; 32]);
        Self { identity: key(n), device: key(n + 100), until: START.wall.secs() + DAY }
    }

    fn did(&self) -> Did {
        self.identity.did()
    }

    fn device(&self) -> Did {
        self.device.did()
    }

    fn delegation(&self) -> Envelope {
        let kid = self.identity.public().kid();
        delegate(&self.identity, &kid, &self.device(), &["dsip.signaling"], START.wall.secs() - 1, self.until)
    }

    fn signer(&self) -> Signer {
        Signer::new(self.device.clone(), self.device.public().kid(), vec![self.delegation()])
    }
}

fn relay_key() -> SecretKey {
    SecretKey::from_bytes(&[9; 32])
}

fn relay() -> Relay {
    Relay { uri: "wss://relay.example/dsip".into(), bindings: Vec::new(), node: Some(relay_key().did()) }
}

/// A phone and the moment it lives in.
struct Bench {
    agent: Agent,
    now: Now,
    rng: rand_chacha::ChaCha20Rng,
    outputs: Vec<Output>,
}

impl Bench {
    fn new(owner: &Person, policy: Policy, publish: bool) -> Self {
        let identity = Identity {
            did: owner.did(),
            device: owner.device.clone().into(),
            delegations: vec![owner.delegation()],
            name: Some("Bob".into()),
        };
        let config = Config { identity, policy, node: Some(relay()), publish, memory: Memory::default() };
        let agent = Agent::new(config, Seed::new([1; 32]), START);
        let mut bench = Self { agent, now: START, rng: Seed::new([2; 32]).into_rng(), outputs: Vec::new() };
        bench.drain();
        bench
    }

    /// The same, bound at its relay.
    fn bound(owner: &Person) -> Self {
        let mut bench = Self::new(owner, Policy::default(), false);
        bench.greet();
        bench.outputs.clear();
        bench
    }

    fn drain(&mut self) {
        loop {
            match self.agent.poll(self.now) {
                Output::Idle { .. } => return,
                output => self.outputs.push(output),
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.agent.handle(self.now, input);
        self.drain();
    }

    fn receive(&mut self, frame: &str) {
        self.input(Input::Received { link: LINK, frame });
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.later(time);
        self.input(Input::Tick);
    }

    fn common(&mut self, from: Did) -> Common {
        let issued_at = self.now.wall.secs();
        Common {
            dsip: VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]),
            id: Ulid::generate(self.now.wall, &mut self.rng),
            from,
            issued_at,
            expires_at: issued_at + 60,
        }
    }

    /// Opens the link and lets the relay say hello.
    fn greet(&mut self) {
        self.input(Input::Link(LINK, LinkChange::Up));
        let hello = self.sent(Kind::Hello).expect("the phone says hello first");
        let reply = self.hello(&relay_key(), Some(hello.common().id));
        self.receive(&reply);
    }

    fn hello(&mut self, key: &SecretKey, in_reply_to: Option<Ulid>) -> String {
        self.hello_with(key, in_reply_to, serde_json::Map::new())
    }

    fn hello_with(
        &mut self,
        key: &SecretKey,
        in_reply_to: Option<Ulid>,
        rest: serde_json::Map<String, serde_json::Value>,
    ) -> String {
        let mut common = self.common(key.did());
        common.dsip = VersionBlock::new(&[]);
        let capabilities = in_reply_to.map(|_| Capabilities {
            max_envelope_bytes: 65_536,
            store_and_forward: None,
            offline_retention_s: None,
            rate_limit: None,
            push_wake: None,
            rest,
        });
        let bindings = in_reply_to.is_none().then(|| vec![dsip_proto::wire::token::BindingId::WS]);
        let hello = message::Hello { common, on_behalf_of: None, bindings, in_reply_to, capabilities };
        Signer::of_key(key.clone()).sign(&hello.into()).text()
    }

    /// The last message of that type which left.
    fn sent(&self, kind: Kind) -> Option<Message> {
        let read = |output: &Output| match output {
            Output::Transmit { frame, .. } => Some(open(frame)),
            _ => None,
        };
        self.outputs.iter().rev().filter_map(read).find(|message| message.kind() == kind)
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Event(event) => Some(event),
            _ => None,
        })
    }

    fn closed(&self) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::Close(LINK)))
    }

    fn media_started(&self) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::Media(_, Media::Start(_))))
    }

    /// Calls somebody over the bound link.
    fn call(&mut self, to: Did) -> Ulid {
        let call = self.agent.call(self.now, to, Vec::new(), offer()).expect("placed");
        self.drain();
        call
    }
}

fn open(frame: &str) -> Message {
    let envelope = Envelope::parse(frame).expect("an envelope");
    let payload = String::from_utf8(envelope.payload_bytes()).expect("text");
    Message::from_json(json::parse(&payload).expect("JSON").root).expect("a message")
}

fn sdp(setup: &str, direction: &str, ufrag: &str) -> String {
    [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        &format!("a={direction}"),
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        &format!("a=ice-ufrag:{ufrag}"),
        "a=ice-pwd:passwordpasswordpassword",
        "a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF",
        &format!("a=setup:{setup}"),
        "",
    ]
    .join("\r\n")
}

fn offer() -> Description {
    Description::voice(Direction::SendRecv, sdp("actpass", "sendrecv", "offerer"))
}

fn selection() -> Description {
    Description::voice(Direction::SendRecv, sdp("active", "sendrecv", "answerer"))
}

fn transports(description: &Description) -> Vec<Transport> {
    vec![Transport::new(TransportId::WEBRTC).with_sdp("trickle", &description.sdp)]
}

fn invite(bench: &mut Bench, from: &Person, to: Did) -> Message {
    let common = bench.common(from.device());
    let offer = offer();
    Invite {
        common,
        to,
        transports: transports(&offer),
        media: offer.media,
        intent: None,
        identity: None,
        policy: None,
        grant: None,
    }
    .into()
}

fn answer(bench: &mut Bench, from: &Person, to: Did, session: Ulid) -> Message {
    let common = bench.common(from.device());
    let selection = selection();
    let transports = transports(&selection);
    let (answered_by, media) = (AnsweredBy::USER, selection.media);
    message::Answer { common, to, session, answered_by, media, transports, policy: None, in_reply_to: None }.into()
}

fn not_a_party(event: &Event, of: Kind) -> bool {
    matches!(event, Event::Security { what: Suspicion::NotAParty { kind }, .. } if *kind == of)
}

#[test]
fn hel_12_the_hello_names_whom_it_is_for_and_for_whom_the_device_speaks() {
    let bob = Person::new(1);
    let mut bench = Bench::new(&bob, Policy::default(), false);
    bench.input(Input::Link(LINK, LinkChange::Up));
    let Some(Output::Transmit { frame, .. }) = bench.outputs.last() else { panic!("the phone says hello first") };
    let header = Envelope::parse(frame).expect("an envelope").header_bytes();
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    assert_eq!(header["aud"], relay_key().did().as_str());
    let Message::Hello(hello) = open(frame) else { panic!("a hello") };
    assert_eq!((hello.common.from, hello.on_behalf_of), (bob.device(), Some(bob.did())));
}

#[test]
fn hel_5_6_a_relay_hello_that_is_not_an_answer_to_ours_from_whom_we_dialled_closes_the_link() {
    let other = SecretKey::from_bytes(&[77; 32]);
    for (what, key, right_id) in [("another relay", &other, true), ("a spliced hello", &relay_key(), false)] {
        let mut bench = Bench::new(&Person::new(1), Policy::default(), false);
        bench.input(Input::Link(LINK, LinkChange::Up));
        let ours = bench.sent(Kind::Hello).expect("a hello").common().id;
        let wrong = Ulid::generate(bench.now.wall, &mut bench.rng);
        let hello = bench.hello(key, Some(if right_id { ours } else { wrong }));
        bench.receive(&hello);
        assert!(bench.closed(), "{what}");
        assert!(!bench.events().any(|event| matches!(event, Event::Online { .. })), "{what}");
    }
}

/// What a relay grants for so many seconds from now.
fn granted(now: Now, password: &str, seconds: u64) -> Grant {
    Grant {
        username: "1:name".into(),
        password: password.into(),
        expires_at: now.wall.secs() + seconds,
        ports: Ports { udp: Some(3478), ..Ports::default() },
    }
}

#[test]
fn turn_6_credentials_are_renewed_for_days_on_one_connection() {
    let (bob, lifetime) = (Person { until: START.wall.secs() + 9 * DAY, ..Person::new(1) }, DAY / 2);
    let mut bench = Bench::new(&bob, Policy::default(), false);
    bench.input(Input::Link(LINK, LinkChange::Up));
    let first = granted(bench.now, "first", lifetime);
    let hello = bench.sent(Kind::Hello).expect("a hello").common().id;
    let reply = bench.hello_with(&relay_key(), Some(hello), [first.member()].into_iter().collect());
    bench.receive(&reply);
    let online = |event: &Event| matches!(event, Event::Online { turn: Some(turn), .. } if *turn == first);
    assert!(bench.events().any(online), "{:?}", bench.outputs);
    for day in 0..8 {
        bench.outputs.clear();
        bench.pass(Duration::from_secs(lifetime / 2 - 1));
        assert!(bench.sent(Kind::Hello).is_none(), "not before half of it is over");
        bench.pass(Duration::from_secs(1));
        let asked = bench.sent(Kind::Hello).expect("another hello on the same connection").common().id;
        assert!(!bench.closed());

        // What answers something else, or comes from somebody else, brings nothing (HEL-5, HEL-6).
        let stolen = granted(bench.now, "stolen", lifetime);
        let rest: serde_json::Map<_, _> = [stolen.member()].into_iter().collect();
        let forged = bench.hello_with(&SecretKey::from_bytes(&[77; 32]), Some(asked), rest);
        bench.receive(&forged);
        let renewed = granted(bench.now, &format!("renewed {day}"), lifetime);
        let reply = bench.hello_with(&relay_key(), Some(asked), [renewed.member()].into_iter().collect());
        bench.receive(&reply);
        bench.receive(&reply);
        let told: Vec<_> = bench.events().filter(|event| matches!(event, Event::Renewed { .. })).cloned().collect();
        let wanted = Event::Renewed { uri: relay().uri, stun_port: None, turn: renewed };
        assert_eq!(told, [wanted], "once, and from the relay");
        assert!(!bench.events().any(|event| matches!(event, Event::Online { .. } | Event::Offline { .. })));
    }
}

#[test]
fn turn_3_a_phone_takes_credentials_from_its_own_node_only() {
    let (other, bob) = (SecretKey::from_bytes(&[50; 32]), Person::new(2));
    let place = Relay { uri: "wss://bobs.example/dsip".into(), bindings: Vec::new(), node: Some(other.did()) };
    let mut bench = Bench::bound(&Person::new(1));
    bench.agent.call(bench.now, bob.did(), vec![place.clone()], offer()).expect("placed");
    bench.drain();
    let dialled = |output: &Output| match output {
        Output::Dial(link, relay) if *relay == place => Some(*link),
        _ => None,
    };
    let link = bench.outputs.iter().find_map(dialled).expect("dialled");
    bench.input(Input::Link(link, LinkChange::Up));
    let hello = bench.sent(Kind::Hello).expect("a hello").common().id;
    let rest = [granted(bench.now, "foreign", 600).member()].into_iter().collect();
    let reply = bench.hello_with(&other, Some(hello), rest);
    bench.outputs.clear();
    bench.input(Input::Received { link, frame: &reply });
    bench.pass(Duration::from_secs(400));
    let told = |event: &Event| matches!(event, Event::Online { .. } | Event::Renewed { .. });
    assert!(!bench.events().any(told), "{:?}", bench.outputs);
    assert!(bench.sent(Kind::Hello).is_none(), "nor does it ask for more");
}

#[test]
fn turn_6_a_relay_cannot_make_a_phone_greet_it_without_end() {
    let mut bench = Bench::new(&Person::new(1), Policy::default(), false);
    bench.input(Input::Link(LINK, LinkChange::Up));
    let mut hellos = 0;
    for _ in 0..600 {
        if let Some(hello) = bench.sent(Kind::Hello) {
            hellos += 1;
            bench.outputs.clear();
            let spent = granted(bench.now, "spent", 0);
            let rest = [spent.member()].into_iter().collect();
            let reply = bench.hello_with(&relay_key(), Some(hello.common().id), rest);
            bench.receive(&reply);
        }
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(hellos, 10, "one a minute");
}

#[test]
fn hel_3_a_relay_that_refuses_our_hello_is_left_and_its_reason_told() {
    let other = SecretKey::from_bytes(&[8; 32]);
    for (signer, answers_ours, is_refusal) in
        [(relay_key(), true, true), (relay_key(), false, false), (other, true, false)]
    {
        let me = Person::new(1);
        let mut bench = Bench::new(&me, Policy::default(), false);
        bench.input(Input::Link(LINK, LinkChange::Up));
        let hello = bench.sent(Kind::Hello).expect("said").common().id;
        let common = bench.common(signer.did());
        let in_reply_to = Some(if answers_ours { hello } else { common.id });
        let (to, reason) = (me.device(), Reason::TRANSPORT_HELLO_REJECTED);
        let error = message::Error { common, to, reason, detail: None, retry_after: None, session: None, in_reply_to };
        bench.outputs.clear();
        bench.receive(&Signer::of_key(signer).sign(&error.into()).text());
        assert!(bench.closed(), "there is nothing to wait for");
        let told = bench.events().any(|event| {
            matches!(event, Event::Offline { why }
                if *why == "the node does not serve us: it refused our hello (transport.hello-rejected)")
        });
        let suspected = bench.events().any(|event| matches!(event, Event::Security { .. }));
        assert_eq!((told, suspected), (is_refusal, !is_refusal), "{:?}", bench.outputs);
    }
}

#[test]
fn hel_8_a_relay_that_says_nothing_is_left_and_dialled_again_with_back_off() {
    let mut bench = Bench::new(&Person::new(1), Policy::default(), false);
    bench.input(Input::Link(LINK, LinkChange::Up));
    bench.pass(Duration::from_secs(10));
    assert!(bench.closed());
    bench.outputs.clear();
    bench.pass(Duration::from_secs(61));
    assert!(bench.outputs.iter().any(|output| matches!(output, Output::Dial(LINK, _))), "{:?}", bench.outputs);
}

#[test]
fn pty_2_only_a_device_of_the_invited_identity_answers() {
    let (alice, bob, mallory) = (Person::new(1), Person::new(2), Person::new(3));
    let mut bench = Bench::bound(&alice);
    let call = bench.call(bob.did());
    // A relay that lies hands the call to somebody else.
    let forged = answer(&mut bench, &mallory, alice.device(), call);
    bench.receive(&mallory.signer().sign(&forged).text());
    assert!(!bench.media_started());
    assert!(bench.events().any(|event| not_a_party(event, Kind::Answer)));
    let real = answer(&mut bench, &bob, alice.device(), call);
    bench.receive(&bob.signer().sign(&real).text());
    assert!(bench.media_started());
    let answered = bench.events().find_map(|event| match event {
        Event::Answered { party, .. } => Some(party.clone()),
        _ => None,
    });
    assert_eq!(answered.map(|party| (party.identity, party.device)), Some((bob.did(), bob.device())));
}

#[test]
fn web_103_an_answer_whose_sdp_is_unusable_opens_nothing_and_releases_that_leg_alone() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut bench = Bench::bound(&alice);
    let call = bench.call(bob.did());
    let Message::Answer(mut broken) = answer(&mut bench, &bob, alice.device(), call) else { panic!("an answer") };
    let bare = sdp("active", "sendrecv", "x").replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    broken.transports = vec![Transport::new(TransportId::WEBRTC).with_sdp("trickle", &bare)];
    bench.receive(&bob.signer().sign(&broken.into()).text());
    assert!(!bench.media_started());
    assert!(matches!(bench.sent(Kind::Bye), Some(Message::Bye(bye)) if bye.reason == Reason::MEDIA_FAILED));
    let good = answer(&mut bench, &bob, alice.device(), call);
    bench.receive(&bob.signer().sign(&good).text());
    assert!(bench.media_started(), "the attempt went on");
}

#[test]
fn web_31_an_offer_that_cannot_be_used_never_rings() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut bench = Bench::bound(&bob);
    let Message::Invite(mut plain) = invite(&mut bench, &alice, bob.did()) else { panic!("an invite") };
    let bare = offer().sdp.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    plain.transports = vec![Transport::new(TransportId::WEBRTC).with_sdp("trickle", &bare)];
    bench.receive(&alice.signer().sign(&plain.into()).text());
    assert!(!bench.events().any(|event| matches!(event, Event::Incoming { .. })));
    let Some(Message::Reject(reject)) = bench.sent(Kind::Reject) else { panic!("a reject") };
    assert_eq!(reject.reason, Reason::MEDIA_ENCRYPTION_REQUIRED);
    assert!(reject.detail.is_some(), "WEB-33");
}

#[test]
fn ses_7_media_opens_after_our_signed_answer_has_left_and_not_before() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut bench = Bench::bound(&bob);
    let invite = invite(&mut bench, &alice, bob.did());
    bench.receive(&alice.signer().sign(&invite).text());
    let call = invite.common().id;
    assert!(
        bench.events().any(|event| matches!(event, Event::Incoming { party, .. } if party.identity == alice.did()))
    );
    assert!(!bench.media_started());
    bench.outputs.clear();
    bench.agent.accept(bench.now, call, selection(), AnsweredBy::USER).expect("accepted");
    bench.drain();
    let place = |wanted: fn(&Output) -> bool| bench.outputs.iter().position(wanted).expect("it is there");
    let answer = place(|output| matches!(output, Output::Transmit { frame, .. } if open(frame).kind() == Kind::Answer));
    let start = place(|output| matches!(output, Output::Media(_, Media::Start(_))));
    assert!(answer < start);
    assert!(bench.agent.accept(bench.now, call, selection(), AnsweredBy::USER).is_err(), "once");
}

#[test]
fn env_4_a_key_that_is_kept_elsewhere_signs_what_the_agent_decided() {
    let bob = Person::new(2);
    let frames = |key: DeviceKey| -> Vec<String> {
        let identity =
            Identity { did: bob.did(), device: key, delegations: vec![bob.delegation()], name: Some("Bob".into()) };
        let memory = Memory::default();
        let config = Config { identity, policy: Policy::default(), node: Some(relay()), publish: true, memory };
        let agent = Agent::new(config, Seed::new([1; 32]), START);
        let mut bench = Bench { agent, now: START, rng: Seed::new([2; 32]).into_rng(), outputs: Vec::new() };
        bench.drain();
        bench.agent.handle(START, Input::Link(LinkId(1), LinkChange::Up));
        bench.drain();
        let frames = bench.outputs.into_iter().filter_map(|output| match output {
            Output::Transmit { frame, .. } | Output::Publish(frame) => Some(frame),
            _ => None,
        });
        frames.collect()
    };
    let held = frames(bob.device.clone().into());
    assert!(!held.is_empty());
    let unsigned = frames(DeviceKey::External(bob.device.public()));
    let sign = |frame: &String| {
        assert!(Envelope::parse(frame).is_err(), "nobody takes it for signed");
        let unsigned = Unsigned::of(frame).expect("unsigned");
        unsigned.signed(&bob.device.sign(unsigned.input().as_bytes()))
    };
    assert_eq!(unsigned.iter().map(sign).collect::<Vec<_>>(), held);
}

#[test]
fn fc_3_who_is_blocked_neither_rings_nor_asks_and_is_told_what_a_phone_says_that_takes_no_calls() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut bench = Bench::bound(&bob);
    bench.agent.allow(bench.now, &alice.did(), true, Some("Alice".into())).expect("allowed");
    bench.agent.block(bench.now, &alice.did(), true).expect("blocked");
    bench.drain();
    bench.outputs.clear();
    let invite = invite(&mut bench, &alice, bob.did());
    bench.receive(&alice.signer().sign(&invite).text());
    assert!(!bench.events().any(|event| matches!(event, Event::Incoming { .. })));
    let Some(Message::Reject(reject)) = bench.sent(Kind::Reject) else { panic!("no answer") };
    assert_eq!(reject.reason, Reason::ENDPOINT_UNAVAILABLE);
    assert_eq!(reject.detail, None);
    assert!(bench.agent.memory().names.is_empty());
    assert_eq!(bench.agent.memory().contacts.allowed().count(), 0);
    bench.agent.block(bench.now, &alice.did(), false).expect("let go");
    bench.outputs.clear();
    bench.now = bench.now.later(Duration::from_secs(1));
    let again = self::invite(&mut bench, &alice, bob.did());
    bench.receive(&alice.signer().sign(&again).text());
    assert!(bench.events().any(|event| matches!(event, Event::Incoming { .. })));
}

#[test]
fn rtt_2_what_a_signed_answer_says_of_text_is_told_before_what_the_answer_is_for() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut bench = Bench::bound(&bob);
    let call = {
        let offer = Description { text: Some(String::new()), ..offer() };
        let call = bench.agent.call(bench.now, alice.did(), Vec::new(), offer).expect("placed");
        bench.drain();
        call
    };
    let Some(Message::Invite(sent)) = bench.sent(Kind::Invite) else { panic!("no invite") };
    assert_eq!(sent.transports[0].rest.get("rtt"), Some(&serde_json::json!({})), "RTT-1");
    let Message::Answer(mut answer) = answer(&mut bench, &alice, bob.device(), call) else { panic!("an answer") };
    answer.transports[0].rest.insert("rtt".into(), serde_json::json!({}));
    bench.receive(&alice.signer().sign(&answer.into()).text());
    let place = |wanted: fn(&Output) -> bool| bench.outputs.iter().position(wanted).expect("it is there");
    let text = place(|output| matches!(output, Output::Media(_, Media::Text(said)) if said.is_empty()));
    let start = place(|output| matches!(output, Output::Media(_, Media::Start(_))));
    assert!(text < start);
}

#[test]
fn busy_and_do_not_disturb_are_said_without_ringing() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    for (policy, reason) in [
        (Policy { calls: 0, ..Policy::default() }, Reason::ENDPOINT_BUSY),
        (Policy { do_not_disturb: true, ..Policy::default() }, Reason::ENDPOINT_UNAVAILABLE),
        (Policy { first_contact: true, ..Policy::default() }, Reason::POLICY_FIRST_CONTACT_REQUIRED),
    ] {
        let mut bench = Bench::new(&bob, policy, false);
        bench.greet();
        let invite = invite(&mut bench, &alice, bob.did());
        bench.receive(&alice.signer().sign(&invite).text());
        assert!(!bench.events().any(|event| matches!(event, Event::Incoming { .. })), "{reason}");
        assert!(
            matches!(bench.sent(Kind::Reject), Some(Message::Reject(reject)) if reject.reason == reason),
            "{reason}"
        );
    }
}

#[test]
fn pty_6_a_call_ends_when_the_delegation_of_the_other_device_does() {
    let (mut alice, bob) = (Person::new(1), Person::new(2));
    alice.until = START.wall.secs() + 600;
    let mut bench = Bench::bound(&bob);
    let invite = invite(&mut bench, &alice, bob.did());
    bench.receive(&alice.signer().sign(&invite).text());
    bench.agent.accept(bench.now, invite.common().id, selection(), AnsweredBy::USER).expect("accepted");
    bench.drain();
    bench.outputs.clear();
    bench.pass(Duration::from_secs(599));
    assert!(bench.sent(Kind::Bye).is_none());
    bench.pass(Duration::from_secs(2));
    assert!(matches!(bench.sent(Kind::Bye), Some(Message::Bye(bye)) if bye.reason == Reason::POLICY_TERMINATED));
    assert!(bench.outputs.iter().any(|output| matches!(output, Output::Media(_, Media::Stop))));
}

#[test]
fn a_did_web_caller_waits_for_the_document_and_rings_in_order() {
    let bob = Person::new(2);
    let (identity, device) = (SecretKey::from_bytes(&[41; 32]), SecretKey::from_bytes(&[42; 32]));
    let web: Did = "did:web:example.com".parse().expect("a DID");
    let kid = KeyId::new(web.clone(), "key-1").expect("a kid");
    let delegation =
        delegate(&identity, &kid, &device.did(), &["dsip.signaling"], START.wall.secs() - 1, START.wall.secs() + DAY);
    let signer = Signer::new(device.clone(), device.public().kid(), vec![delegation]);
    let caller = Person { identity: identity.clone(), device, until: 0 };
    let mut bench = Bench::bound(&bob);
    let invite = invite(&mut bench, &caller, bob.did());
    bench.receive(&signer.sign(&invite).text());
    let asked = bench.outputs.iter().find_map(|output| match output {
        Output::Ask(ask, Question::Document(did)) => Some((*ask, did.clone())),
        _ => None,
    });
    let (ask, did) = asked.expect("the document is asked for");
    assert_eq!(did, web);
    // The cancel needs no document, but it must not overtake its invite.
    let common = bench.common(caller.device());
    let cancel = message::Cancel {
        common,
        to: bob.did(),
        session: invite.common().id,
        reason: Reason::USER_CANCELLED,
        detail: None,
        retry_after: None,
    };
    bench.receive(&signer.sign(&cancel.into()).text());
    assert_eq!(bench.events().count(), 0);
    let document = Document::new(web.clone(), "key-1", identity.public(), Vec::new());
    bench.input(Input::Answer(ask, Answer::Document(Some(document))));
    let told: Vec<&Event> = bench.events().collect();
    assert!(
        matches!(&told[..], [Event::Incoming { party, .. }, Event::Ended { missed: true, .. }] if party.identity == web),
        "{told:?}"
    );
    assert_eq!(bench.outputs.iter().filter(|output| matches!(output, Output::Ask(..))).count(), 1);
}

#[test]
fn rpl_6_what_must_be_refused_after_a_restart_is_stored_before_it_acts() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut bench = Bench::new(&bob, Policy { first_contact: true, ..Policy::default() }, false);
    bench.greet();
    bench.outputs.clear();
    let common = bench.common(alice.device());
    let identity = dsip_proto::wire::media::ClaimedIdentity { display_name: Some("Alice".into()), claims: None };
    let purpose = Some("the boat".to_owned());
    let introduction: Message = Introduction { common, to: bob.did(), identity, purpose, contact_token: None }.into();
    let frame = alice.signer().sign(&introduction).text();
    bench.receive(&frame);
    let order: Vec<&str> = bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Persist(Change::Seen(_)) => Some("seen"),
            Output::Persist(Change::Memory(memory)) if !memory.requests.is_empty() => Some("request"),
            Output::Event(Event::Introduced { .. }) => Some("told"),
            _ => None,
        })
        .collect();
    assert_eq!(order.first(), Some(&"seen"));
    assert_eq!(order.last(), Some(&"told"));
    assert!(order.contains(&"request"));

    let held = bench.outputs.iter().find_map(|output| match output {
        Output::Persist(Change::Seen(held)) => Some(held.clone()),
        _ => None,
    });
    let memory = Memory { seen: vec![held.expect("stored")], ..bench.agent.memory().clone() };
    let identity =
        Identity { did: bob.did(), device: bob.device.clone().into(), delegations: vec![bob.delegation()], name: None };
    let config = Config { identity, policy: Policy::default(), node: Some(relay()), publish: false, memory };
    let now = bench.now.later(Duration::from_secs(5));
    let agent = Agent::new(config, Seed::new([8; 32]), now);
    let mut again = Bench { agent, now, rng: Seed::new([9; 32]).into_rng(), outputs: Vec::new() };
    again.drain();
    again.greet();
    again.receive(&frame);
    assert!(
        !again.events().any(|event| matches!(event, Event::Introduced { .. })),
        "refused after the restart as well"
    );
}

#[test]
fn dht_30_hints_are_published_only_by_choice_while_online_and_signed_afresh() {
    let bob = Person::new(2);
    let published = |bench: &Bench| -> Vec<String> {
        let hint = |output: &Output| match output {
            Output::Publish(hint) => Some(hint.clone()),
            _ => None,
        };
        bench.outputs.iter().filter_map(hint).collect()
    };
    let mut silent = Bench::new(&bob, Policy::default(), false);
    silent.greet();
    silent.pass(Duration::from_secs(1000));
    assert!(published(&silent).is_empty(), "DHT-31");

    let mut bench = Bench::new(&bob, Policy::default(), true);
    assert!(published(&bench).is_empty(), "no node knows us yet");
    bench.greet();
    bench.pass(Duration::from_secs(240));
    bench.pass(Duration::from_secs(240));
    let hints = published(&bench);
    assert_eq!(hints.len(), 3);
    let mut verifier = dsip_proto::envelope::Verifier::new(Default::default(), Seed::new([3; 32]));
    let mut last = 0;
    for (n, hint) in hints.iter().enumerate() {
        let now = START.later(Duration::from_secs(240) * u32::try_from(n).expect("few"));
        let record = hints::verify(&mut verifier, hint, now, &Default::default()).expect("a record");
        assert!(record.standing().seq > last, "DHT-2");
        last = record.standing().seq;
        let endpoint = record.endpoints().first().expect("an endpoint");
        assert_eq!(endpoint.rest["node"], relay_key().did().as_str());
    }
    bench.outputs.clear();
    bench.input(Input::Link(LINK, LinkChange::Down("gone".into())));
    bench.pass(Duration::from_secs(240));
    assert!(published(&bench).is_empty(), "what it would say is not true any more");
}

#[test]
fn ws_23_what_was_to_be_said_during_an_outage_is_said_after_it() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut bench = Bench::bound(&bob);
    let invite = invite(&mut bench, &alice, bob.did());
    bench.receive(&alice.signer().sign(&invite).text());
    bench.input(Input::Link(LINK, LinkChange::Down("lost".into())));
    bench.outputs.clear();
    bench.agent.decline(bench.now, invite.common().id).expect("declined");
    bench.drain();
    assert!(bench.sent(Kind::Reject).is_none(), "there is no link");
    bench.pass(Duration::from_secs(2));
    bench.greet();
    let kinds: Vec<Kind> = bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Transmit { frame, .. } => Some(open(frame).kind()),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [Kind::Hello, Kind::Reject]);
}

#[test]
fn a_call_tries_the_places_it_was_given_in_order_and_says_when_none_is_left() {
    let alice = Person::new(1);
    let identity =
        Identity { did: alice.device(), device: alice.device.clone().into(), delegations: Vec::new(), name: None };
    let config = Config { identity, policy: Policy::default(), node: None, publish: false, memory: Memory::default() };
    let agent = Agent::new(config, Seed::new([1; 32]), START);
    let mut bench = Bench { agent, now: START, rng: Seed::new([2; 32]).into_rng(), outputs: Vec::new() };
    let place = |n: u8| Relay { uri: format!("wss://{n}.example/dsip"), bindings: Vec::new(), node: None };
    let to = Person::new(2).did();
    assert!(bench.agent.call(bench.now, to.clone(), Vec::new(), offer()).is_err(), "nowhere to dial");
    let call = bench.agent.call(bench.now, to, vec![place(1), place(2), place(1)], offer()).expect("placed");
    bench.drain();
    bench.input(Input::Link(LinkId(1), LinkChange::Down("refused".into())));
    bench.input(Input::Link(LinkId(2), LinkChange::Down("refused too".into())));
    let told: Vec<String> = bench
        .events()
        .map(|event| match event {
            Event::Dialling { relay, .. } => relay.uri.clone(),
            Event::Unreachable { call: lost, why } if *lost == call => why.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["wss://1.example/dsip", "wss://2.example/dsip", "refused too"]);
    assert_eq!(bench.agent.live_calls().count(), 0);
}

#[test]
fn a_relay_that_cannot_deliver_ends_the_attempt_at_once_and_nobody_else_can_claim_so() {
    let (alice, bob, mallory) = (Person::new(1), Person::new(2), Person::new(3));
    let mut bench = Bench::bound(&alice);
    let call = bench.call(bob.did());
    for (key, ends) in [(&mallory.device, false), (&relay_key(), true)] {
        let mut common = bench.common(key.did());
        common.dsip = VersionBlock::new(&[]);
        let error = message::Error {
            common,
            to: alice.device(),
            reason: Reason::TRANSPORT_UNKNOWN_RECIPIENT,
            detail: None,
            retry_after: None,
            session: None,
            in_reply_to: Some(call),
        };
        bench.receive(&Signer::of_key(key.clone()).sign(&error.into()).text());
        let ended = bench.events().any(
            |event| matches!(event, Event::Ended { reason, .. } if *reason == Reason::TRANSPORT_UNKNOWN_RECIPIENT),
        );
        assert_eq!(ended, ends);
    }
}

#[test]
fn prg_12_progress_of_a_device_of_the_callee_is_told_and_commits_nothing() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut bench = Bench::bound(&alice);
    let call = bench.call(bob.did());
    let common = bench.common(bob.device());
    let (to, status) = (alice.device(), Status::RINGING);
    let progress = Progress { common, to, session: call, status, ring_timeout: None, queue_timeout: None };
    bench.receive(&bob.signer().sign(&progress.into()).text());
    assert!(bench.events().any(|event| matches!(event, Event::Progress { device, .. } if *device == bob.device())));
    assert!(!bench.media_started());
}

#[test]
fn noise_on_a_link_changes_nothing_and_is_noticed() {
    let mut bench = Bench::bound(&Person::new(1));
    for noise in ["", "{}", "[]", "\u{0}", "{\"protected\":\"x\",\"payload\":\"x\",\"signature\":\"x\"}"] {
        bench.receive(noise);
    }
    assert_eq!(bench.events().filter(|event| matches!(event, Event::Security { .. })).count(), 5);
    assert!(!bench.closed());
    for _ in 0..1_100 {
        bench.receive("noise");
    }
    assert!(bench.closed(), "PTY-5: a relay that lets that much through is left");
}

#[test]
fn qb_30_at_a_relay_known_by_its_key_the_invite_leaves_with_the_hello() {
    let alice = Person::new(1);
    let place = |node: Option<Did>| Relay { uri: "wss://bobs.example/dsip".into(), bindings: Vec::new(), node };
    let web: Did = "did:web:bobs.example".parse().expect("a DID");
    for (node, at_once) in [(Some(SecretKey::from_bytes(&[50; 32]).did()), true), (Some(web), false), (None, false)] {
        let mut bench = Bench::bound(&alice);
        let call = bench.agent.call(bench.now, Person::new(2).did(), vec![place(node)], offer()).expect("placed");
        bench.input(Input::Link(LinkId(2), LinkChange::Up));
        let kinds: Vec<Kind> = bench
            .outputs
            .iter()
            .filter_map(|output| match output {
                Output::Transmit { link: LinkId(2), frame, .. } => Some(open(frame).kind()),
                _ => None,
            })
            .collect();
        let expected: &[Kind] = if at_once { &[Kind::Hello, Kind::Invite] } else { &[Kind::Hello] };
        assert_eq!(kinds, expected);
        if at_once {
            // The relay turns out not to be one: nothing it says counts, and the call does not hang on a timer.
            bench.input(Input::Received { link: LinkId(2), frame: "noise" });
            let over = |event: &Event| matches!(event, Event::Unreachable { call: lost, .. } if *lost == call);
            assert!(bench.events().any(over));
        }
    }
}

#[test]
fn ws_7_a_phone_that_was_replaced_gives_way_before_it_comes_back() {
    let mut bench = Bench::bound(&Person::new(1));
    bench.input(Input::Link(LINK, LinkChange::Replaced));
    bench.pass(Duration::from_secs(3));
    let dials = |bench: &Bench| bench.outputs.iter().any(|output| matches!(output, Output::Dial(LINK, _)));
    assert!(!dials(&bench), "the newer connection is left alone for a while");
    bench.pass(Duration::from_secs(3));
    assert!(dials(&bench));
}

#[test]
fn ws_7_a_phone_stands_aside_for_another_program_of_its_device_and_comes_back_at_once() {
    let mut bench = Bench::bound(&Person::new(1));
    bench.input(Input::Company(Some(Company::Newer)));
    let closes = |bench: &Bench| bench.outputs.iter().any(|output| matches!(output, Output::Close(LINK)));
    let dials = |bench: &Bench| bench.outputs.iter().any(|output| matches!(output, Output::Dial(..)));
    assert!(closes(&bench) && bench.agent.is_aside());
    assert!(bench.events().any(|event| matches!(event, Event::Aside { company: Company::Newer })));
    bench.outputs.clear();
    // Whatever happens to links that it gave up, it keeps away, and a call to be placed waits.
    bench.input(Input::Link(LINK, LinkChange::Down("closed".into())));
    bench.input(Input::Link(LINK, LinkChange::Up));
    let friend = Person::new(2);
    let call = bench.agent.call(bench.now, friend.did(), Vec::new(), offer()).expect("it waits");
    bench.pass(Duration::from_secs(3600));
    assert!(!dials(&bench) && bench.sent(Kind::Hello).is_none());
    assert!(!bench.events().any(|event| matches!(event, Event::Unreachable { .. } | Event::Ended { .. })));
    bench.outputs.clear();
    bench.input(Input::Company(None));
    assert!(dials(&bench) && !bench.agent.is_aside());
    bench.greet();
    let placed = bench.sent(Kind::Invite).expect("the call goes out");
    assert_eq!(placed.session(), Some(call));
}

#[test]
fn ws_7_a_phone_in_a_call_makes_room_for_no_newer_program() {
    let mut bench = Bench::bound(&Person::new(1));
    let friend = Person::new(2);
    let invite = invite(&mut bench, &friend, Person::new(1).did());
    let frame = friend.signer().sign(&invite).text();
    bench.receive(&frame);
    assert!(bench.agent.is_engaged());
    bench.outputs.clear();
    bench.input(Input::Company(Some(Company::Newer)));
    assert!(!bench.agent.is_aside() && bench.outputs.is_empty(), "{:?}", bench.outputs);
}

/// Random operations, right and wrong ones, in any order: nothing panics, every round of outputs comes to an end, and media
/// opens only where a signed answer was sent or accepted.
#[test]
fn whatever_happens_in_whatever_order_media_waits_for_a_signed_answer() {
    use rand_chacha::rand_core::Rng as _;
    let mut opened_in_all = 0;
    for seed in 0..40u8 {
        let mut rng = Seed::new([seed; 32]).into_rng();
        let (me, friend, stranger) = (Person::new(1), Person::new(2), Person::new(3));
        let mut bench = Bench::new(&me, Policy::default(), seed % 2 == 0);
        let (mut sessions, mut answers): (Vec<Ulid>, usize) = (Vec::new(), 0);
        for _ in 0..120 {
            let mut dice = |sides: u32| rng.next_u32() % sides;
            let pick = dice(8);
            let session = sessions.get(pick as usize % sessions.len().max(1)).copied();
            let from = if dice(3) == 0 { &stranger } else { &friend };
            let act = dice(15);
            let wait = Duration::from_millis(u64::from(dice(4000)));
            let message = match act {
                0 => Some(invite(&mut bench, from, me.did())),
                1 => session.map(|session| answer(&mut bench, from, me.device(), session)),
                2 => session.map(|session| {
                    let (common, to, reason) = (bench.common(from.device()), me.device(), Reason::USER_CANCELLED);
                    message::Cancel { common, to, session, reason, detail: None, retry_after: None }.into()
                }),
                3 => session.map(|session| {
                    let (common, to, reason) = (bench.common(from.device()), me.device(), Reason::USER_HANGUP);
                    message::Bye { common, to, session, reason, detail: None, retry_after: None }.into()
                }),
                4 => session.map(|session| {
                    let (common, to, offer) = (bench.common(from.device()), me.device(), offer());
                    let (transports, media) = (Some(transports(&offer)), offer.media);
                    message::Update { common, to, session, media, transports, answered_by: None, policy: None }.into()
                }),
                5 => session.map(|session| {
                    let (common, to, reason) = (bench.common(from.device()), me.device(), Reason::USER_DECLINED);
                    message::Reject { common, to, session, reason, detail: None, retry_after: None, in_reply_to: None }
                        .into()
                }),
                _ => None,
            };
            let placed = match act {
                6 => bench.agent.call(bench.now, friend.did(), vec![relay()], offer()).ok(),
                _ => message.as_ref().filter(|message| message.kind() == Kind::Invite).map(|m| m.common().id),
            };
            sessions.extend(placed);
            match (act, session) {
                (7 | 8, Some(session)) => {
                    answers +=
                        usize::from(bench.agent.accept(bench.now, session, selection(), AnsweredBy::USER).is_ok());
                }
                (9, Some(session)) => drop(bench.agent.end(bench.now, session)),
                (10, Some(session)) => drop(bench.agent.update(bench.now, session, offer(), None)),
                (11, Some(session)) => drop(bench.agent.accept_update(bench.now, session, selection())),
                (13, _) => bench.input(Input::Link(LINK, LinkChange::Down("gone".into()))),
                (14, _) => bench.receive("noise"),
                _ => {}
            }
            if let Some(message) = message {
                let bound = message.kind() == Kind::Answer && from.did() == friend.did();
                let before = bench.starts();
                bench.receive(&from.signer().sign(&message).text());
                let opened = bench.starts() - before;
                assert!(opened == 0 || bound, "seed {seed}: a {} opened media", message.kind());
                answers += opened;
            }
            bench.pass(wait);
            bench.greet_if_asked();
            assert_eq!(bench.starts(), answers, "seed {seed}");
            assert!(bench.agent.live_calls().count() <= Policy::default().calls, "seed {seed}");
        }
        opened_in_all += answers;
    }
    assert!(opened_in_all > 40, "the operations reach calls that are answered: {opened_in_all}");
}

impl Bench {
    /// How often media was opened.
    fn starts(&self) -> usize {
        self.outputs.iter().filter(|output| matches!(output, Output::Media(_, Media::Start(_)))).count()
    }

    /// Opens the link and greets, if the phone wants that now.
    fn greet_if_asked(&mut self) {
        let last = self.outputs.iter().rev().find_map(|output| match output {
            Output::Dial(LINK, _) => Some(true),
            Output::Transmit { link: LINK, .. } => Some(false),
            _ => None,
        });
        if last == Some(true) {
            self.greet();
        }
    }
}

#[test]
fn a_place_is_dialled_while_the_offer_is_made_and_left_again_when_nothing_comes_of_it() {
    let mut bench = Bench::bound(&Person::new(1));
    let node = SecretKey::from_bytes(&[50; 32]).did();
    let place = Relay { uri: "wss://bobs.example/dsip".into(), bindings: Vec::new(), node: Some(node) };
    bench.agent.approach(&place);
    bench.drain();
    bench.input(Input::Link(LinkId(2), LinkChange::Up));
    bench.agent.call(bench.now, Person::new(2).did(), vec![place.clone()], offer()).expect("placed");
    bench.drain();
    let dials = bench.outputs.iter().filter(|output| matches!(output, Output::Dial(LinkId(2), _))).count();
    assert_eq!(dials, 1, "one link serves both");
    assert!(bench.sent(Kind::Invite).is_some());

    let mut bench = Bench::bound(&Person::new(1));
    bench.agent.approach(&place);
    bench.pass(Duration::from_secs(1));
    bench.pass(Duration::from_secs(6));
    assert!(bench.outputs.iter().any(|output| matches!(output, Output::Close(LinkId(2)))));
}

/// A node's key, and a place where a device is woken.
fn waking() -> (dsip_proto::wake::Key, dsip_proto::wake::Endpoint) {
    let point = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    let endpoint = dsip_proto::wake::Endpoint::new("https://push.example/up", point, "BTBZMqHH6r4Tts7J_aSIgg");
    (point.parse().expect("a key"), endpoint.expect("an endpoint"))
}

impl Bench {
    /// The relay says hello as a node that wakes devices by `key`.
    fn greet_waking(&mut self, key: Option<dsip_proto::wake::Key>) {
        self.outputs.clear();
        self.input(Input::Link(LINK, LinkChange::Up));
        let hello = self.sent(Kind::Hello).expect("a hello").common().id;
        let rest = key.iter().map(dsip_proto::wake::member).collect();
        let reply = self.hello_with(&relay_key(), Some(hello), rest);
        self.receive(&reply);
    }

    /// What the phone says about being woken, and answers it.
    fn answer_waking(&mut self, expires_at: Option<u64>) -> Option<Result<Option<dsip_proto::wake::Endpoint>, String>> {
        let Some(Message::Subscribe(subscribe)) = self.sent(Kind::Subscribe) else { return None };
        assert_eq!((subscribe.target.as_str(), subscribe.events.len()), (self.agent.device().as_str(), 1));
        let body = expires_at.map(|at| ("expires_at".to_owned(), at.into())).into_iter().collect();
        let mut common = self.common(relay_key().did());
        common.dsip = VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]);
        let (to, subscription) = (self.agent.device().clone(), subscribe.common.id);
        let state = dsip_proto::wire::token::NotifyState::Active;
        let notify = message::Notify { common, to, subscription, seq: 1, state, body, reason: None };
        self.outputs.clear();
        let text = Signer::of_key(relay_key()).sign(&notify.into()).text();
        self.receive(&text);
        let claims = subscribe.claims.unwrap_or_default();
        Some(dsip_proto::wake::Endpoint::read(&claims).map_err(|error| error.to_string()))
    }

    fn told_of_waking(&self) -> Vec<Event> {
        let told = |event: &&Event| matches!(event, Event::WakeRegistered { .. } | Event::WakeRefused { .. });
        self.events().filter(told).cloned().collect()
    }
}

#[test]
fn wak_2_a_device_says_where_it_is_woken_whenever_its_node_knows_it() {
    let (key, endpoint) = waking();
    let bob = Person { until: START.wall.secs() + 9 * DAY, ..Person::new(1) };
    let mut bench = Bench::new(&bob, Policy::default(), false);
    bench.agent.register_wake(bench.now, endpoint.clone(), Some(key)).expect("it has a node");
    bench.greet_waking(Some(key));
    assert!(bench.events().any(|event| matches!(event, Event::Online { vapid: Some(said), .. } if *said == key)));
    assert_eq!(bench.answer_waking(Some(7)), Some(Ok(Some(endpoint.clone()))));
    assert_eq!(bench.told_of_waking(), [Event::WakeRegistered { until: Some(7) }]);
    // Every day, and after each loss of the link.
    bench.outputs.clear();
    bench.pass(Duration::from_secs(DAY - 1));
    assert!(bench.sent(Kind::Subscribe).is_none());
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_waking(Some(8)), Some(Ok(Some(endpoint.clone()))));
    bench.input(Input::Link(LINK, LinkChange::Down("gone".into())));
    bench.pass(Duration::from_secs(1));
    bench.greet_waking(Some(key));
    assert_eq!(bench.answer_waking(Some(9)), Some(Ok(Some(endpoint))));

    // WAK-5
    bench.outputs.clear();
    bench.agent.unregister_wake(bench.now).expect("it has a node");
    bench.pass(Duration::ZERO);
    assert_eq!(bench.answer_waking(None), Some(Ok(None)));
    assert_eq!(bench.told_of_waking(), [Event::WakeRegistered { until: None }]);
    bench.pass(Duration::from_secs(2 * DAY));
    assert!(bench.sent(Kind::Subscribe).is_none(), "said once");
}

#[test]
fn wak_2_an_endpoint_made_for_one_node_is_not_shown_to_another() {
    let (key, endpoint) = waking();
    let other = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
    let other: dsip_proto::wake::Key = other.parse().expect("a key");
    for (announced, made_for, said) in
        [(Some(other), Some(key), false), (None, Some(key), false), (None, None, false), (Some(other), None, true)]
    {
        let mut bench = Bench::new(&Person::new(1), Policy::default(), false);
        bench.agent.register_wake(bench.now, endpoint.clone(), made_for).expect("it has a node");
        bench.greet_waking(announced);
        assert_eq!(bench.sent(Kind::Subscribe).is_some(), said);
        let refused = (!said).then_some(Event::WakeRefused { reason: None });
        assert_eq!(bench.told_of_waking(), Vec::from_iter(refused));
    }
}

#[test]
fn wak_15_a_caller_waits_as_long_as_somebody_may_be_woken() {
    let (mut bench, bob) = (Bench::bound(&Person::new(1)), Person::new(2));
    let call = bench.agent.call(bench.now, bob.did(), Vec::new(), offer()).expect("placed");
    bench.drain();
    let Some(Message::Invite(invite)) = bench.sent(Kind::Invite) else { panic!("no invite") };
    let valid = invite.common.expires_at - invite.common.issued_at;
    bench.pass(Duration::from_secs(valid - 1));
    assert!(!bench.events().any(|event| matches!(event, Event::Ended { .. })));
    bench.pass(Duration::from_secs(2));
    assert!(bench.events().any(|event| matches!(event, Event::Ended { call: ended, .. } if *ended == call)));
}
