//! Presence and publications at a real node, over both transports, and what of them a restart leaves.

use dsip_endpoint::link::{Link, Transport};
use dsip_proto::wire::token::SubscriptionEvent;
use serde_json::{Value, json};

use crate::device::{Device, hear, say};
use crate::{World, start};

const BOTH: [Transport; 2] = [Transport::Ws, Transport::Quic];

fn public() -> Value {
    json!({ "type": "presence-policy", "mode": "public" })
}

/// The next frame, as a notify: its `seq` and the state told.
async fn told(link: &mut Link) -> (u64, String) {
    let said = hear(link).await;
    assert_eq!((&said["type"], &said["state"]), (&"notify".into(), &"active".into()), "{said}");
    (said["seq"].as_u64().expect("a number"), said["body"]["state"].as_str().expect("text").to_owned())
}

#[tokio::test]
async fn sub_9_presence_follows_connections_for_those_who_may_see_it() {
    for transport in BOTH {
        let world = World::start().await;
        let node = world.node.ready().did.clone();
        let (alice, bob) = (Device::new(1), Device::new(2));
        let mut watcher = world.bind(&alice, transport).await;
        let mut subject = world.bind(&bob, Transport::Quic).await;
        let watch = || alice.subscribe(&node, bob.identity.as_str(), SubscriptionEvent::PRESENCE, &[]);
        let refused = watch();
        say(&watcher, &refused);
        let said = hear(&mut watcher).await;
        assert_eq!((&said["type"], &said["reason"]), (&"reject".into(), &"policy.blocked".into()));
        assert_eq!(said["session"], refused.id.to_string());

        say(&subject, &bob.subscribe(&node, bob.identity.as_str(), SubscriptionEvent::PRESENCE, &[public()]));
        assert_eq!(told(&mut subject).await, (1, "available".into()));
        say(&watcher, &watch());
        assert_eq!(told(&mut watcher).await, (1, "available".into()));
        drop(subject);
        assert_eq!(told(&mut watcher).await, (2, "offline".into()));
        let _subject = world.bind(&bob, Transport::Ws).await;
        assert_eq!(told(&mut watcher).await, (3, "available".into()));
    }
}

#[tokio::test]
async fn bc_41_a_stream_is_told_to_subscribers_and_both_survive_a_restart() {
    for transport in BOTH {
        let world = World::start().await;
        let node = world.node.ready().did.clone();
        let (alice, bob) = (Device::new(1), Device::new(2));
        let mut watcher = world.bind(&alice, transport).await;
        let publisher = world.bind(&bob, transport).await;
        let record = bob.publish("radio");
        say(&publisher, &record);
        publisher.kept().await.expect("CUS-1: it is on disk");
        let stream = format!("{}:radio", bob.identity);
        let claims = [json!({ "type": "with-record" })];
        say(&watcher, &alice.subscribe(&node, &stream, SubscriptionEvent::PUBLICATION, &claims));
        let first = hear(&mut watcher).await;
        assert_eq!(first["body"]["publication"], record.id.to_string());
        assert_eq!(first["body"]["record"], serde_json::from_str::<Value>(&record.text).expect("JSON"));

        world.node.shutdown().await;
        let World { home, .. } = world;
        let node = start(home.path(), |_| {}).await;
        let world = World { node, home };
        let mut watcher = world.bind(&alice, transport).await;
        let publisher = world.bind(&bob, transport).await;
        let again = bob.publish("radio");
        say(&publisher, &again);
        let mut said = hear(&mut watcher).await;
        if said["seq"] == first["seq"] {
            said = hear(&mut watcher).await; // CUS-14: it was not acknowledged yet
        }
        assert_eq!(said["body"]["publication"], again.id.to_string());
        assert_eq!(said["subscription"], first["subscription"]);
        assert!(said["seq"].as_u64() > first["seq"].as_u64(), "SUB-4: {said}");
    }
}

/// Prints how long refusals take, about somebody who is there and hides and about nobody, asked in turn (BC-66).
///
/// `DSIP_BENCH_SAMPLES=20000 cargo test --release -p dsip-node --test it measure_refusals -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement, for docs/performance.md"]
async fn measure_refusals() {
    let samples = std::env::var("DSIP_BENCH_SAMPLES").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000usize);
    for transport in BOTH {
        let world = World::with(|config| {
            config.relay.rates.subscribes.burst = u32::MAX;
            config.relay.rates.devices.burst = u32::MAX;
            config.relay.rates.envelopes.burst = u32::MAX;
            config.relay.rates.networks.burst = u32::MAX;
        })
        .await;
        let node = world.node.ready().did.clone();
        let bob = Device::new(2);
        let targets = [bob.identity.clone(), Device::new(99).identity, Device::new(98).identity];
        let _there = world.bind(&bob, Transport::Quic).await;
        let mut times = [const { Vec::new() }; 3];
        // One device is refused so often and then closed (RLY-61), and the next one asks.
        for seed in 0..samples.div_ceil(40) {
            let number = |count: usize| u8::try_from(count).expect("small");
            let mallory = Device::of(number(3 + seed % 90), number(seed / 90));
            let mut link = world.bind(&mallory, transport).await;
            for round in 0..120 {
                // Each of the three at each place in line as often as the others, and both ways round.
                let place = (round % 3 + round / 3) % 3;
                let turn = if seed % 2 == 0 { place } else { 2 - place };
                let said = mallory.subscribe(&node, targets[turn].as_str(), SubscriptionEvent::PRESENCE, &[]);
                let began = std::time::Instant::now();
                say(&link, &said);
                let answer = link.recv().await.expect("an answer");
                times[turn].push(began.elapsed().as_nanos());
                assert!(answer.len() > 400);
            }
        }
        for times in &mut times {
            times.sort_unstable();
        }
        let at = |times: &[u128], share: usize| times[times.len() * share / 1000] / 1000;
        for (name, times) in ["hidden", "absent", "absent too"].iter().zip(&times) {
            println!("{transport:?} {name}: p50 {} p90 {} p99 {} us", at(times, 500), at(times, 900), at(times, 990));
        }
        let [hidden, absent, control] = &times;
        let count = hidden.len() as f64;
        println!(
            "{transport:?}, {count} each: D hidden/absent {:.4}, absent/absent too {:.4}; chance passes {:.4} once in 20",
            kolmogorov_smirnov(hidden, absent),
            kolmogorov_smirnov(absent, control),
            1.358 * (2.0 / count).sqrt(),
        );
    }
}

/// The greatest distance between two samples' distributions.
fn kolmogorov_smirnov(one: &[u128], other: &[u128]) -> f64 {
    let share = |sorted: &[u128], value: u128| sorted.partition_point(|at| *at <= value) as f64 / sorted.len() as f64;
    let distance = |value: &u128| (share(one, *value) - share(other, *value)).abs();
    one.iter().chain(other).map(distance).fold(0.0, f64::max)
}
