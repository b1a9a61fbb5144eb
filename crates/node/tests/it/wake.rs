//! Sleeping devices at a real node, woken through a real push service.

use std::time::Duration;

use dsip_endpoint::link::{Link, Target, Transport};
use dsip_endpoint::media;
use dsip_endpoint::phone::{Audio, Config, Event, Events, Identity, Network, Phone};
use dsip_endpoint::resolve::Located;
use dsip_proto::agent::Policy;
use dsip_proto::identity::{Delegation, SecretKey, delegate};
use dsip_proto::wake::{self, Endpoint, Key, SIGNAL};
use dsip_proto::wire::token::SubscriptionEvent;
use dsip_proto::wire::{Did, Envelope};
use serde_json::Value;
use tokio::time::timeout;

use crate::device::{Device, hear, hear_exactly, say, wall};
use crate::kill::Process;
use crate::push_service::PushService;
use crate::{World, no_roots, start};

/// The key by which push services know the node, as it says to a device.
async fn vapid(world: &World, device: &Device) -> Key {
    let mut link = world.dial(Transport::Ws).await;
    let hello = device.hello(Some(world.node.ready().did.as_str()));
    say(&link, &hello);
    let reply = hear(&mut link).await;
    wake::announced(reply["capabilities"].as_object().expect("an object")).expect("it wakes devices")
}

/// The device says where it can be woken; what the node says to that.
async fn register(link: &mut Link, device: &Device, node: &Did, endpoint: &Endpoint) -> Value {
    let claim = Value::Object(endpoint.claim());
    say(link, &device.subscribe(node, device.did.as_str(), SubscriptionEvent::WAKE, &[claim]));
    hear(link).await
}

/// A device that has said where it can be woken, and is not there any more.
async fn asleep(world: &World, device: &Device, endpoint: &Endpoint) {
    let mut link = world.bind(device, Transport::Ws).await;
    let said = register(&mut link, device, &world.node.ready().did, endpoint).await;
    assert_eq!(said["body"]["state"], "registered", "{said}");
    let bound = world.node.counts().bound;
    drop(link);
    world.until(|counts| counts.bound < bound).await;
}

async fn world(service: &PushService) -> World {
    World::with(|config| service.known_to(config)).await
}

#[tokio::test]
async fn wak_20_a_call_reaches_the_push_service_as_a_signal_and_nothing_else() {
    let mut service = PushService::open().await;
    let world = world(&service).await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let key = vapid(&world, &bob).await;
    for transport in [Transport::Ws, Transport::Quic] {
        let phone = service.subscribe("/up/bob?secret=1");
        asleep(&world, &bob, &phone.endpoint).await;
        let caller = world.bind(&alice, transport).await;
        let invite = alice.invite(&bob.identity);
        say(&caller, &invite);
        let request = service.request().await;
        assert_eq!(request.opened_by(&phone), SIGNAL, "WAK-21");
        let claims = request.shown_by(&key); // WAK-24
        assert_eq!(
            (&claims["aud"], &claims["sub"]),
            (&service.origin.as_str().into(), &"mailto:ops@node.example".into())
        );
        let ttl: u64 = request.headers["ttl"].parse().expect("a number");
        assert!((200..=240).contains(&ttl), "WAK-22: {ttl}");
        assert_eq!((&*request.headers["urgency"], &*request.headers["topic"]), ("high", "dsip-call"));
        for (name, value) in &request.headers {
            assert!(!value.contains("did:"), "{name}: {value}");
        }
        // It comes, and rings.
        let mut woken = world.bind(&bob, transport).await;
        hear_exactly(&mut woken, &invite).await;
        world.until(|counts| counts.woken > 0 && counts.waking == 0).await;
        drop((woken, caller));
        world.until(|counts| counts.bound == 0).await;
    }
    assert!(!service.has_more());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wak_9_a_node_that_was_killed_wakes_its_devices_all_the_same() {
    let mut service = PushService::open().await;
    let home = tempfile::tempdir().expect("a directory");
    let (process, at) = Process::start_with(home.path(), "127.0.0.1:0", Some(&service.root()));
    let (alice, bob) = (Device::new(1), Device::new(2));
    let phone = service.subscribe("/up/bob");
    let node: Did = at.did.parse().expect("a DID");
    let mut link = bound(&at.url, &node, &bob).await;
    assert_eq!(register(&mut link, &bob, &node, &phone.endpoint).await["body"]["state"], "registered");
    drop(process);
    let (_process, at) = Process::start_with(home.path(), "127.0.0.1:0", Some(&service.root()));
    let caller = bound(&at.url, &node, &alice).await;
    say(&caller, &alice.invite(&bob.identity));
    assert_eq!(service.request().await.opened_by(&phone), SIGNAL);
}

async fn bound(url: &str, node: &Did, device: &Device) -> Link {
    let target: Target = url.parse().expect("a target");
    let mut link = dsip_endpoint::link::Dialer::new(no_roots()).open(&target).await.expect("opened");
    device.greet(&mut link, node.as_str()).await;
    link
}

#[tokio::test]
async fn wak_9_a_restarted_node_has_the_same_key_and_knows_who_sleeps() {
    let mut service = PushService::open().await;
    let world = world(&service).await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let key = vapid(&world, &alice).await;
    let phone = service.subscribe("/up/bob");
    asleep(&world, &bob, &phone.endpoint).await;
    let World { node, home } = world;
    node.shutdown().await;
    let node = start(home.path(), |config| service.known_to(config)).await;
    let world = World { node, home };
    let caller = world.bind(&alice, Transport::Quic).await;
    say(&caller, &alice.invite(&bob.identity));
    let request = service.request().await;
    request.shown_by(&key);
    assert_eq!(request.opened_by(&phone), SIGNAL);
}

#[tokio::test]
async fn wak_40_an_endpoint_that_its_service_does_not_know_any_more_is_forgotten() {
    let mut service = PushService::open().await;
    let world = world(&service).await;
    let alice = Device::new(1);
    let caller = world.bind(&alice, Transport::Ws).await;
    for (seed, gone) in [(2, "410 Gone"), (3, "404 Not Found")] {
        let bob = Device::new(seed);
        asleep(&world, &bob, &service.subscribe("/up").endpoint).await;
        service.answer_next(&[gone]);
        say(&caller, &alice.invite(&bob.identity));
        service.request().await;
        world.until(|counts| counts.sleepers == 0).await;
    }
    // What it does not want for another reason stays, and a redirect leads nowhere (FET-1).
    for (seed, line) in [(4, "400 Bad Request"), (5, "307 Elsewhere\r\nLocation: /elsewhere")] {
        let bob = Device::new(seed);
        asleep(&world, &bob, &service.subscribe("/up").endpoint).await;
        service.answer_next(&[line]);
        let sleepers = world.node.counts().sleepers;
        say(&caller, &alice.invite(&bob.identity));
        assert_eq!(service.request().await.path, "/up");
        world.until(|counts| counts.waking == 0).await;
        assert_eq!(world.node.counts().sleepers, sleepers);
    }
    assert!(!service.has_more());
}

#[tokio::test]
async fn wak_31_a_service_that_has_enough_is_asked_again_when_it_says_so() {
    let mut service = PushService::open().await;
    let world = world(&service).await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let phone = service.subscribe("/up");
    asleep(&world, &bob, &phone.endpoint).await;
    service.answer_next(&["429 Slow Down\r\nRetry-After: 2", "503 Oh\r\nRetry-After: 1"]);
    let caller = world.bind(&alice, Transport::Ws).await;
    say(&caller, &alice.invite(&bob.identity));
    let mut ttls = Vec::new();
    for _ in 0..3 {
        let request = service.request().await;
        assert_eq!(request.opened_by(&phone), SIGNAL);
        ttls.push(request.headers["ttl"].parse::<u64>().expect("a number"));
    }
    assert!(ttls[0] >= ttls[1] + 2 && ttls[1] > ttls[2], "it waited as it was told: {ttls:?}");
    world.until(|counts| counts.woken == 1).await;
}

#[tokio::test]
async fn wak_34_a_service_that_does_not_answer_holds_up_nobody() {
    let mut service = PushService::open().await;
    let world = world(&service).await;
    let (alice, bob, carol) = (Device::new(1), Device::new(2), Device::new(3));
    asleep(&world, &bob, &service.subscribe("/up").endpoint).await;
    service.places.forget_permits(1_000);
    let caller = world.bind(&alice, Transport::Ws).await;
    let mut other = world.bind(&carol, Transport::Quic).await;
    say(&caller, &alice.invite(&bob.identity));
    service.request().await;
    for _ in 0..50 {
        let invite = alice.invite(&carol.identity);
        say(&caller, &invite);
        hear_exactly(&mut other, &invite).await;
    }
    assert_eq!(world.node.counts().waking, 1, "it has not been answered all the while");
    // Nor is the end of the node.
    timeout(Duration::from_secs(8), world.node.shutdown()).await.expect("it ends");
}

#[tokio::test]
async fn wak_23_an_endpoint_on_this_machine_is_refused_by_default() {
    let mut service = PushService::open().await;
    let root = service.root();
    let world = World::with(|config| config.ca.push(root)).await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    // By its number it is refused at once …
    let mut link = world.bind(&bob, Transport::Ws).await;
    let numeric = service.subscribe_at("/up", "127.0.0.1");
    let said = register(&mut link, &bob, &world.node.ready().did, &numeric.endpoint).await;
    assert_eq!((&said["type"], &said["reason"]), (&"error".into(), &"transport.routing-refused".into()));
    assert!(said["detail"].as_str().is_some_and(|detail| detail.contains("private")), "{said}");
    drop(link);
    world.until(|counts| counts.bound == 0).await;
    // … and by a name, or a number in disguise, when it turns out.
    let caller = world.bind(&alice, Transport::Ws).await;
    for (seed, host) in (3..).zip(["localhost", "127.1", "2130706433", "0x7f.1"]) {
        let bob = Device::new(seed);
        asleep(&world, &bob, &service.subscribe_at("/up", host).endpoint).await;
        say(&caller, &alice.invite(&bob.identity));
        world.until(|counts| counts.sleepers == 0).await;
    }
    assert!(!service.has_more(), "nobody knocked");
    assert_eq!(world.node.counts().woken, 0);
}

#[tokio::test]
async fn wak_1_an_operator_who_wants_nobody_woken_has_a_node_that_does_not_say_so() {
    let world = World::with(|config| config.wake.enabled = false).await;
    let bob = Device::new(2);
    let mut link = world.dial(Transport::Ws).await;
    say(&link, &bob.hello(None));
    let reply = hear(&mut link).await;
    assert!(wake::announced(reply["capabilities"].as_object().expect("an object")).is_none());
    assert!(!world.home.path().join("vapid.key").exists());
}

/// A phone at the node, or what is needed to start it again.
async fn phone(world: &World, seed: u8) -> (Phone, Events) {
    let (identity, device) = (SecretKey::from_bytes(&[seed; 32]), SecretKey::from_bytes(&[seed ^ 0x80; 32]));
    let now = wall().secs();
    let until = now + 86_400;
    let capabilities = [Delegation::SIGNALING, Delegation::INTERACTIVE_MEDIA];
    let delegation: Envelope =
        delegate(&identity, &identity.public().kid(), &device.did(), &capabilities, now - 60, until);
    let config = Config {
        identity: Identity { did: identity.did(), device: device.into(), delegations: vec![delegation], name: None },
        policy: Policy::default(),
        node: Some(world.node.ready().url().parse().expect("a target")),
        publish: false,
        home: None,
        media: media::Config::default(),
    };
    let network = Network::join(no_roots(), &[], true).await.expect("joined");
    Phone::start(config, network).expect("started")
}

async fn until<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = wanted(events.next().await.expect("it goes on")) {
                return found;
            }
        }
    };
    timeout(Duration::from_secs(60), search).await.expect("sooner")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wak_15_a_phone_that_was_woken_rings_and_the_call_is_answered() {
    let mut service = PushService::open().await;
    let world = world(&service).await;
    let subscription = service.subscribe("/up/bob");

    // Bob's phone says where it can be woken, and ends.
    let (bob, mut events) = phone(&world, 2).await;
    let key = until(&mut events, |event| match event {
        Event::Online { vapid, .. } => Some(vapid.expect("the node wakes devices")),
        _ => None,
    })
    .await;
    bob.register_wake(subscription.endpoint.clone(), Some(key)).await.expect("said");
    let holds = until(&mut events, |event| match event {
        Event::WakeRegistered { until } => until,
        _ => None,
    })
    .await;
    assert!(holds <= wall().secs() + 86_400, "WAK-8: no longer than the delegation");
    let whom = bob.did().clone();
    bob.stop().await;
    world.until(|counts| counts.bound == 0).await;

    // Alice calls; the push service wakes Bob's phone, which rings and is answered.
    let (alice, mut hers) = phone(&world, 1).await;
    let located = Located { did: whom, ..located(&alice).await };
    let call = alice.call(&located, Audio::default()).await.expect("placed");
    assert_eq!(service.request().await.opened_by(&subscription), SIGNAL);
    let (bob, mut his) = phone(&world, 2).await;
    let rings = until(&mut his, |event| match event {
        Event::Incoming { call, .. } => Some(call),
        _ => None,
    })
    .await;
    assert_eq!(rings, call);
    bob.accept(rings, Audio::default()).await.expect("answered");
    until(&mut hers, |event| matches!(event, Event::Talking { call: talking, .. } if talking == call).then_some(()))
        .await;
    alice.hang_up(call).await.expect("over");
    let missed = until(&mut his, |event| match event {
        Event::Ended { missed, .. } => Some(missed),
        _ => None,
    })
    .await;
    assert!(!missed);
    alice.stop().await;
    bob.stop().await;
}

/// Somebody that was found, at no place but our own node.
async fn located(phone: &Phone) -> Located {
    phone.locate(&phone.did().to_string().parse().expect("a target")).await.expect("a did:key")
}
