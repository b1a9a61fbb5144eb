//! A relay's server side in virtual time: who may speak, how much, and what waits for what.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use dsip_proto::envelope::Signer;
use dsip_proto::identity::{Delegation, Document, SecretKey, delegate};
use dsip_proto::relay::host::{
    Admittance, Close, Config, Conn, Event, HELLO_DEADLINE, Host, Input, Limit, Output, Turn,
};
use dsip_proto::relay::rate::Rate;
use dsip_proto::relay::{Memory, SILENT_LEG};
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::turn::{Grant, Issuer, Ports};
use dsip_proto::wire::media::{ClaimedIdentity, MediaDescriptor, Transport, VersionBlock};
use dsip_proto::wire::message::{self, Common};
use dsip_proto::wire::token::{BindingId, CodecId, Direction, MediaType, ProfileId, TransportId};
use dsip_proto::wire::{Did, Envelope, Message, Reason, Ulid};
use serde_json::Value;

const START: u64 = 1_800_000_000;

/// How long the devices' delegations are valid.
const DELEGATED: u64 = 3600;

pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) now: Now,
    ids: u128,
}

pub(crate) struct Device {
    pub(crate) signer: Signer,
    pub(crate) did: Did,
    pub(crate) identity: Did,
}

impl Device {
    pub(crate) fn new(seed: u8) -> Self {
        let identity = SecretKey::from_bytes(&[seed; 32]);
        let kid = identity.public().kid();
        Self::of(seed, &identity, &kid)
    }

    pub(crate) fn of(seed: u8, identity: &SecretKey, kid: &dsip_proto::identity::KeyId) -> Self {
        let key = SecretKey::from_bytes(&[seed ^ 0xff; 32]);
        let did = key.did();
        let delegation = delegate(identity, kid, &did, &[Delegation::SIGNALING], START - 60, START + DELEGATED);
        let own = key.public().kid();
        Self { signer: Signer::new(key, own, vec![delegation]), did, identity: kid.did().clone() }
    }
}

impl World {
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let now = Now { tick: Tick::from_micros(1_000_000), wall: Wall::from_secs(START) };
        let signer = Signer::of_key(SecretKey::from_bytes(&[200; 32]));
        Self { host: Host::new(config, signer, Seed::new([7; 32])), now, ids: 0 }
    }

    /// The relay stops, and another one starts with what the first one kept.
    pub(crate) fn restart(&mut self, memory: Memory) {
        let signer = Signer::of_key(SecretKey::from_bytes(&[200; 32]));
        self.host = Host::new(Config::default(), signer, Seed::new([8; 32]));
        self.host.restore(memory, self.now);
    }

    pub(crate) fn pass(&mut self, by: Duration) -> Vec<Output> {
        self.now = self.now.later(by);
        self.input(Input::Tick)
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        let mut out = Vec::new();
        self.host.handle(self.now, input, &mut out);
        out
    }

    pub(crate) fn connect(&mut self, conn: u64) -> Conn {
        let conn = Conn(conn);
        self.input(Input::Connected { conn, from: [192, 0, 2, 1].into(), at: None });
        conn
    }

    /// A connection on which `device` has said hello.
    pub(crate) fn bind(&mut self, conn: u64, device: &Device) -> Conn {
        let conn = self.connect(conn);
        let hello = self.hello(device);
        let out = self.say(conn, &device.signer.sign(&hello));
        assert_eq!(heard(&out, conn).first().map(|reply| reply["type"].clone()), Some("hello".into()));
        conn
    }

    pub(crate) fn say(&mut self, conn: Conn, envelope: &Envelope) -> Vec<Output> {
        self.input(Input::Received { conn, frame: &envelope.text() })
    }

    pub(crate) fn common(&mut self, from: &Did) -> Common {
        self.ids += 1;
        let issued_at = self.now.wall.secs();
        Common {
            dsip: VersionBlock::new(&[]),
            id: Ulid::from_bits(u128::from(self.now.wall.millis()) << 80 | self.ids),
            from: from.clone(),
            issued_at,
            expires_at: issued_at + 200,
        }
    }

    pub(crate) fn hello(&mut self, device: &Device) -> Message {
        message::Hello {
            common: self.common(&device.did),
            on_behalf_of: Some(device.identity.clone()),
            bindings: Some(vec![BindingId::WS]),
            in_reply_to: None,
            capabilities: None,
        }
        .into()
    }

    pub(crate) fn invite(&mut self, from: &Device, to: &Did) -> Message {
        let mut common = self.common(&from.did);
        common.dsip = VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]);
        message::Invite {
            common,
            to: to.clone(),
            media: vec![MediaDescriptor::new(MediaType::Audio, Direction::SendRecv, &[CodecId::OPUS])],
            transports: vec![Transport::new(TransportId::WEBRTC)],
            intent: None,
            identity: None,
            policy: None,
            grant: None,
        }
        .into()
    }

    /// A `bye` of no session anybody knows: it goes by its recipient alone.
    pub(crate) fn bye(&mut self, from: &Device, to: &Did, detail: &str) -> Message {
        let mut common = self.common(&from.did);
        common.dsip = VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]);
        let (session, reason, detail) = (Ulid::from_bits(5), Reason::USER_HANGUP, Some(detail.to_owned()));
        message::Bye { common, to: to.clone(), session, reason, detail, retry_after: None }.into()
    }

    pub(crate) fn introduction(&mut self, from: &Device, to: &Did) -> Message {
        let common = self.common(&from.did);
        let identity = ClaimedIdentity { display_name: None, claims: None };
        message::Introduction { common, to: to.clone(), identity, purpose: None, contact_token: None }.into()
    }
}

/// The payloads of what is sent on `conn`.
pub(crate) fn heard(out: &[Output], conn: Conn) -> Vec<Value> {
    out.iter()
        .filter_map(|output| match output {
            Output::Transmit { conn: to, frame, .. } if *to == conn => Some(payload(frame)),
            _ => None,
        })
        .collect()
}

pub(crate) fn payload(frame: &Arc<str>) -> Value {
    let envelope = Envelope::parse(frame).expect("an envelope");
    serde_json::from_slice(&envelope.payload_bytes()).expect("JSON")
}

pub(crate) fn closed(out: &[Output]) -> Vec<(Conn, Close)> {
    out.iter()
        .filter_map(|output| match output {
            Output::Close { conn, why } => Some((*conn, *why)),
            _ => None,
        })
        .collect()
}

pub(crate) fn reasons(out: &[Output], conn: Conn) -> Vec<String> {
    heard(out, conn).iter().filter_map(|said| Some(said.get("reason")?.as_str()?.to_owned())).collect()
}

fn limits(out: &[Output]) -> Vec<Limit> {
    let limits = out.iter().filter_map(|output| match output {
        Output::Event(Event::Limited(limit)) => Some(*limit),
        _ => None,
    });
    limits.collect()
}

fn asked(out: &[Output]) -> Vec<String> {
    out.iter()
        .filter_map(|output| match output {
            Output::Ask(did) => Some(did.to_string()),
            _ => None,
        })
        .collect()
}

#[test]
fn rly_70_many_identities_of_one_network_share_its_rate() {
    let mut world = World::new(|config| config.rates.networks = Rate { burst: 4, every: Duration::from_secs(60) });
    let bob = Device::new(9);
    let bobs = world.bind(1, &bob);
    let mut heard_by_bob = 0;
    let mut refused = Vec::new();
    for (number, last) in (1..=6).zip(1..) {
        let mallory = Device::new(number);
        let conn = Conn(10 + u64::from(number));
        let from = Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, last).into();
        world.input(Input::Connected { conn, from, at: None });
        let hello = world.hello(&mallory);
        world.say(conn, &mallory.signer.sign(&hello));
        let bye = world.bye(&mallory, &bob.identity, "flood");
        let out = world.say(conn, &mallory.signer.sign(&bye));
        heard_by_bob += heard(&out, bobs).len();
        refused.extend(reasons(&out, conn));
    }
    assert_eq!((heard_by_bob, refused.len()), (4, 2));
    assert!(refused.iter().all(|reason| reason == "transport.rate-limited"), "{refused:?}");
    // The network next door goes on.
    let carol = Device::new(20);
    let conn = Conn(50);
    world.input(Input::Connected { conn, from: Ipv6Addr::new(0x2001, 0xdb8, 0, 8, 0, 0, 0, 1).into(), at: None });
    let hello = world.hello(&carol);
    world.say(conn, &carol.signer.sign(&hello));
    let bye = world.bye(&carol, &bob.identity, "well");
    let out = world.say(conn, &carol.signer.sign(&bye));
    assert_eq!(heard(&out, bobs).len(), 1);
}

#[test]
fn a_flood_of_hellos_ends_its_connection() {
    let mut world = World::new(|_| {});
    let mallory = Device::new(1);
    let conn = world.bind(1, &mallory);
    let answered = (0..10_000)
        .take_while(|_| {
            let hello = world.hello(&mallory);
            let out = world.say(conn, &mallory.signer.sign(&hello));
            !out.iter().any(|output| matches!(output, Output::Close { why: Close::Abuse, .. }))
        })
        .count();
    assert!((1..200).contains(&answered), "{answered} were answered");
    let bob = world.bind(2, &Device::new(2));
    assert_eq!(world.host.load().bound, 1, "{bob:?} alone");
}

#[test]
fn hel_8_a_connection_without_hello_is_closed() {
    let mut world = World::new(|_| {});
    let conn = world.connect(1);
    assert_eq!(world.host.wake(), Some(world.now.tick + HELLO_DEADLINE));
    assert_eq!(closed(&world.pass(HELLO_DEADLINE)), [(conn, Close::HelloMissing)]);
    let alice = Device::new(1);
    let hello = world.hello(&alice);
    assert!(world.say(conn, &alice.signer.sign(&hello)).is_empty(), "too late");
}

#[test]
fn del_13_a_binding_ends_with_the_delegation_that_proved_it() {
    let mut world = World::new(|_| {});
    let alice = Device::new(1);
    let conn = world.bind(1, &alice);
    assert!(closed(&world.pass(Duration::from_secs(DELEGATED - 1))).is_empty());
    assert_eq!(closed(&world.pass(Duration::from_secs(1))), [(conn, Close::HelloMissing)]);
    assert_eq!(world.host.load().bound, 0);
}

#[test]
fn pipe_3_a_forged_hello_is_answered_and_soon_no_more() {
    let mut world = World::new(|_| {});
    let (alice, mallory) = (Device::new(1), Device::new(66));
    let conn = world.connect(1);
    for _ in 0..8 {
        let hello = world.hello(&alice);
        let (mine, theirs) = (mallory.signer.sign(&hello).text(), alice.signer.sign(&hello).text());
        // Alice's header and payload under another key's signature.
        let at = |text: &str| text.rfind(':').expect("a signature");
        let forged = format!("{}{}", &theirs[..at(&theirs)], &mine[at(&mine)..]);
        let out = world.input(Input::Received { conn, frame: &forged });
        assert_eq!(reasons(&out, conn), ["transport.hello-rejected"]);
        assert_eq!(heard(&out, conn)[0]["to"], alice.did.as_str());
    }
    let out = world.input(Input::Received { conn, frame: "nonsense" });
    assert_eq!(closed(&out), [(conn, Close::Abuse)]);
}

#[test]
fn rly_61_the_limit_on_introductions_does_not_tell_who_exists() {
    let (alice, bob, nobody) = (Device::new(1), Device::new(2), Device::new(9));
    let answers_about = |to: &Device, bob_is_known: bool| {
        let mut world = World::new(|config| {
            config.rates.introductions = Rate { burst: 3, every: Duration::from_secs(7200) };
        });
        if bob_is_known {
            world.bind(1, &bob);
        }
        let conn = world.bind(2, &alice);
        let mut answers = Vec::new();
        for _ in 0..5 {
            let introduction = world.introduction(&alice, &to.identity);
            let out = world.say(conn, &alice.signer.sign(&introduction));
            for said in heard(&out, conn) {
                answers.push((said["reason"].clone(), said["retry_after"].clone()));
            }
        }
        answers
    };
    let known = answers_about(&bob, true);
    assert_eq!(known, answers_about(&nobody, true));
    assert_eq!(known, answers_about(&bob, false));
    assert_eq!(known, vec![("policy.rate-limited".into(), 7201.into()); 2]);
}

#[test]
fn rly_44_a_leg_that_never_speaks_is_refused_in_the_relays_name() {
    let mut world = World::new(|_| {});
    let (alice, bob) = (Device::new(1), Device::new(2));
    let callee = world.bind(1, &bob);
    let caller = world.bind(2, &alice);
    let invite = world.invite(&alice, &bob.identity);
    let out = world.say(caller, &alice.signer.sign(&invite));
    assert_eq!(heard(&out, callee)[0]["type"], "invite");
    let out = world.pass(SILENT_LEG);
    let reject = &heard(&out, caller)[0];
    assert_eq!((&reject["type"], &reject["reason"]), (&"reject".into(), &"endpoint.unavailable".into()));
    assert_eq!(reject["from"], world.host.did().as_str());
    assert_eq!(reject["session"], invite.common().id.to_string());
}

#[test]
fn ws_8_a_new_hello_on_a_connection_replaces_its_binding() {
    let mut world = World::new(|_| {});
    let (alice, bob) = (Device::new(1), Device::new(2));
    let conn = world.bind(1, &alice);
    let hello = world.hello(&bob);
    world.say(conn, &bob.signer.sign(&hello));
    assert_eq!(world.host.load().bound, 1);
    let other = world.bind(2, &Device::new(3));
    let caller = Device::new(3);
    let invite = world.invite(&caller, &bob.identity);
    let out = world.say(other, &caller.signer.sign(&invite));
    assert_eq!(heard(&out, conn).len(), 1);
}

#[test]
fn a_full_relay_says_so() {
    let mut world = World::new(|config| config.max_connections = 1);
    world.connect(1);
    let conn = Conn(2);
    let out = world.input(Input::Connected { conn, from: [192, 0, 2, 2].into(), at: None });
    assert_eq!(closed(&out), [(conn, Close::Full)]);
    world.input(Input::Closed { conn: Conn(1) });
    let out = world.input(Input::Connected { conn: Conn(3), from: [192, 0, 2, 2].into(), at: None });
    assert!(closed(&out).is_empty());
}

/// A device of an identity whose document has to be fetched.
fn of_the_web(name: &str) -> (Device, Document) {
    let identity = SecretKey::from_bytes(&[50; 32]);
    let did: Did = format!("did:web:{name}").parse().expect("a DID");
    let document = Document::new(did.clone(), "key-1", identity.public(), Vec::new());
    let kid = dsip_proto::identity::KeyId::new(did, "key-1").expect("a key id");
    (Device::of(51, &identity, &kid), document)
}

#[test]
fn frames_wait_in_order_for_a_document() {
    let mut world = World::new(|_| {});
    let bob = Device::new(2);
    let callee = world.bind(1, &bob);
    let (carol, document) = of_the_web("carol.example");
    let conn = world.connect(2);
    let hello = world.hello(&carol);
    let out = world.say(conn, &carol.signer.sign(&hello));
    assert_eq!(asked(&out), ["did:web:carol.example"]);
    let invite = world.invite(&carol, &bob.identity);
    assert!(world.say(conn, &carol.signer.sign(&invite)).is_empty(), "it waits behind the hello");
    let out = world.input(Input::Answer { did: carol.identity.clone(), document: Some(document) });
    assert_eq!(heard(&out, conn)[0]["type"], "hello");
    assert_eq!(heard(&out, callee)[0]["type"], "invite");
}

#[test]
fn a_document_that_cannot_be_had_is_not_asked_for_again_at_once() {
    let mut world = World::new(|_| {});
    let (carol, document) = of_the_web("carol.example");
    let conn = world.connect(1);
    let hello = world.hello(&carol);
    assert_eq!(asked(&world.say(conn, &carol.signer.sign(&hello))).len(), 1);
    let out = world.input(Input::Answer { did: carol.identity.clone(), document: None });
    assert_eq!(reasons(&out, conn), ["transport.hello-rejected"]);
    let hello = world.hello(&carol);
    assert!(asked(&world.say(conn, &carol.signer.sign(&hello))).is_empty());
    // An answer nobody waits for changes nothing.
    world.input(Input::Answer { did: carol.identity.clone(), document: Some(document.clone()) });
    world.pass(Duration::from_secs(31));
    let conn = world.connect(2);
    let hello = world.hello(&carol);
    assert_eq!(asked(&world.say(conn, &carol.signer.sign(&hello))).len(), 1);
    // Nor does a resolver that never answers keep anybody for ever: the connection's own deadline comes first.
    assert_eq!(closed(&world.pass(HELLO_DEADLINE)), [(conn, Close::HelloMissing)]);
}

#[test]
fn what_waits_for_a_document_is_bounded() {
    let mut world = World::new(|_| {});
    let (carol, _) = of_the_web("carol.example");
    let conn = world.connect(1);
    let hello = world.hello(&carol);
    world.say(conn, &carol.signer.sign(&hello));
    let ended = (0..100).map(|_| world.input(Input::Received { conn, frame: "more" })).find(|out| !out.is_empty());
    assert_eq!(closed(&ended.expect("closed before long")), [(conn, Close::Abuse)]);
}

#[test]
fn strangers_cannot_make_the_relay_fetch_without_end() {
    let mut world = World::new(|_| {});
    let (mut fetched, mut held_up) = (0, 0);
    for number in 0..200 {
        let (carol, _) = of_the_web(&format!("host{number}.example"));
        let conn = world.connect(number);
        let hello = world.hello(&carol);
        let out = world.say(conn, &carol.signer.sign(&hello));
        fetched += asked(&out).len();
        held_up += limits(&out).iter().filter(|limit| **limit == Limit::Fetches).count();
    }
    assert_eq!((fetched, held_up), (16, 184));
}

#[test]
fn prs_5_a_node_says_that_it_knows_policies_and_what_holds_without_one() {
    for (presence_is_public, default) in [(false, "private"), (true, "public")] {
        let mut world = World::new(|config| config.presence_is_public = presence_is_public);
        let alice = Device::new(1);
        let conn = world.connect(1);
        let hello = world.hello(&alice);
        let out = world.say(conn, &alice.signer.sign(&hello));
        let said = &heard(&out, conn)[0]["capabilities"]["presence"];
        assert_eq!((&said["default"], &said["policies"]), (&default.into(), &"0.1".into()));
    }
}

#[test]
fn rly_70_one_device_leaves_something_to_the_others_of_its_identity() {
    let mut world = World::new(|config| {
        config.rates.devices = Rate { burst: 3, every: Duration::from_secs(60) };
        config.rates.envelopes = Rate { burst: 5, every: Duration::from_secs(60) };
    });
    let identity = SecretKey::from_bytes(&[1; 32]);
    let [phone, laptop] = [11, 12].map(|seed| Device::of(seed, &identity, &identity.public().kid()));
    let bob = Device::new(2);
    world.bind(1, &bob);
    let (phones, laptops) = (world.bind(2, &phone), world.bind(3, &laptop));
    let mut say = |device: &Device, conn| {
        let bye = world.bye(device, &bob.identity, "again");
        let out = world.say(conn, &device.signer.sign(&bye));
        (reasons(&out, conn), limits(&out))
    };
    let refused = |limit| (vec!["transport.rate-limited".to_owned()], vec![limit]);
    for _ in 0..3 {
        assert_eq!(say(&phone, phones), Default::default());
    }
    assert_eq!(say(&phone, phones), refused(Limit::Device));
    // What was refused there cost its identity nothing: two are left of five.
    for _ in 0..2 {
        assert_eq!(say(&laptop, laptops), Default::default());
    }
    assert_eq!(say(&laptop, laptops), refused(Limit::Identity));
}

#[test]
fn rly_71_who_costs_something_to_be_may_do_more() {
    // RLY-70, CAP-3
    let slow = |burst| Rate { burst, every: Duration::from_secs(60) };
    let mut world = World::new(|config| {
        (config.rates.devices, config.rates.envelopes, config.rates.invites) = (slow(100), slow(100), slow(2));
        (config.rates.introductions, config.rates.domain_introductions) = (slow(1), slow(3));
    });
    let (bob, stranger, member) = (Device::new(2), Device::new(3), Device::new(4));
    let ((carol, carols), (dave, daves)) = (of_the_web("host.example"), of_the_web("own.example"));
    world.host.know(daves);
    let members = [member.identity.clone()].into();
    world.input(Input::Admit(Admittance { members, ..Admittance::default() }));
    world.bind(1, &bob);
    for (number, device, document, invites, introductions) in
        [(2, &stranger, None, 2, 1), (3, &carol, Some(carols), 4, 3), (4, &dave, None, 8, 3), (5, &member, None, 8, 3)]
    {
        let conn = world.connect(number);
        let hello = world.hello(device);
        let mut out = world.say(conn, &device.signer.sign(&hello));
        if let Some(document) = document {
            assert_eq!(asked(&out).len(), 1);
            out = world.input(Input::Answer { did: device.identity.clone(), document: Some(document) });
        }
        let told = &heard(&out, conn)[0]["capabilities"]["rate_limit"];
        assert_eq!(told["invites_per_minute"], invites / 2, "one a minute for strangers, and so on");
        let sent = |world: &mut World, limit, what: fn(&mut World, &Device, &Did) -> Message| {
            for count in 0.. {
                let message = what(world, device, &bob.identity);
                let out = world.say(conn, &device.signer.sign(&message));
                if !limits(&out).is_empty() {
                    assert_eq!(
                        (limits(&out), reasons(&out, conn)),
                        (vec![limit], vec!["policy.rate-limited".to_owned()])
                    );
                    return count;
                }
            }
            unreachable!("it is limited")
        };
        assert_eq!(sent(&mut world, Limit::Invites, World::invite), invites, "{}", device.identity);
        let introductions_sent = sent(&mut world, Limit::Introductions, World::introduction);
        assert_eq!(introductions_sent, introductions, "{}", device.identity);
    }
}

#[test]
fn turn_1_credentials_go_to_the_device_that_said_hello_and_to_nobody_else() {
    let issuer = Issuer::new([5; 32]);
    let ports = Ports { udp: Some(3478), tcp: None, tls: Some(5349) };
    let turn = Turn { issuer: issuer.clone(), ports, lifetime: Duration::from_secs(3600) };
    let mut world = World::new(|config| config.turn = Some(turn));
    let (alice, bob) = (Device::new(1), Device::new(2));
    let other = world.bind(1, &bob);
    let conn = world.connect(2);
    let hello = world.hello(&alice);
    let out = world.say(conn, &alice.signer.sign(&hello));
    assert!(heard(&out, other).is_empty());
    let replies = heard(&out, conn);
    let grant = Grant::read(replies[0]["capabilities"].as_object().expect("capabilities")).expect("a grant");
    assert_eq!((grant.expires_at, grant.ports), (START + 3600, ports));
    assert_eq!(issuer.password(&grant.username), grant.password);
    let (until, holder) = issuer.open(&grant.username).expect("ours");
    assert_eq!(until, grant.expires_at);

    // TURN-6: a later hello brings later ones, for the same holder.
    world.pass(Duration::from_secs(1800));
    let hello = world.hello(&alice);
    let out = world.say(conn, &alice.signer.sign(&hello));
    let renewed =
        Grant::read(heard(&out, conn)[0]["capabilities"].as_object().expect("capabilities")).expect("a grant");
    assert_eq!(issuer.open(&renewed.username), Some((START + 5400, holder)));
    assert_ne!(renewed.username.split(':').nth(1), grant.username.split(':').nth(1), "nobody else sees that");

    // A hello that is refused brings none, and neither does a node without TURN.
    let conn = world.connect(3);
    let hello = world.hello(&bob);
    let out = world.say(conn, &bob.signer.sign_for(&hello, "elsewhere.example:7443"));
    assert!(heard(&out, conn).iter().all(|reply| reply["type"] == "error"), "{out:?}");
    let mut plain = World::new(|_| {});
    let conn = plain.connect(1);
    let hello = plain.hello(&alice);
    let out = plain.say(conn, &alice.signer.sign(&hello));
    assert!(heard(&out, conn)[0]["capabilities"].get("turn").is_none());
}
