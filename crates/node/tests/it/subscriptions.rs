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
