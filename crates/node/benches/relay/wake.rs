//! What it costs to wake a sleeping device: from the caller's invite to the request at the device's push service.

use std::time::{Duration, Instant};

use dsip_endpoint::link::Transport;
use dsip_proto::wire::token::SubscriptionEvent;
use serde_json::Value;

use super::device;
use super::push_service::PushService;
use super::{Server, at, dialer, pair, post, raw_verify};

/// Sleepers who are called one after another, and as many who are called at once. A node registers no more from one address
/// (WAK-7), wakes nobody twice within ten seconds (WAK-13), and lets no caller wake many (WAK-14): each has a caller of their own.
const SLEEPERS: usize = 64;

pub(crate) async fn wakes(transport: Transport) {
    let mut service = PushService::open().await;
    let server = Server::start_with_root(transport, &service.root());
    let dialer = dialer();
    let node = server.did.parse().expect("a DID");
    let mut calls = Vec::new();
    for number in 0..2 * SLEEPERS {
        let (alice, bob) = pair(number);
        let (to_node, mut from_node) = server.bind(&dialer, &bob).await;
        let claim = Value::Object(service.subscribe("/up").endpoint.claim());
        post(&to_node, &bob.subscribe(&node, bob.did.as_str(), SubscriptionEvent::WAKE, &[claim])).await;
        let said = device::payload(&from_node.recv().await.expect("an answer"));
        assert_eq!(said["body"]["state"], "registered", "{said}");
        drop((to_node, from_node));
        let link = server.bind(&dialer, &alice).await;
        calls.push((link, alice.invite(&bob.identity)));
    }
    let at_once = calls.split_off(SLEEPERS);

    let processor = server.processor();
    let mut took = Vec::new();
    for ((to_node, _), invite) in &calls {
        let began = Instant::now();
        post(to_node, invite).await;
        service.request().await;
        took.push(began.elapsed());
    }
    let first = took.remove(0); // opens a connection to the service
    took.sort_unstable();
    let alone = spent(&server, processor).await;

    let (processor, began) = (server.processor(), Instant::now());
    for ((to_node, _), invite) in &at_once {
        post(to_node, invite).await;
    }
    for _ in &at_once {
        service.request().await;
    }
    let last = began.elapsed();
    let together = spent(&server, processor).await;
    let checks = together.as_secs_f64() * raw_verify();
    println!(
        "| {transport} | {first:.2?} | {:.2?} | {:.2?} | {alone:.0?} | {SLEEPERS} in {last:.2?} | {together:.0?} | {checks:.1} |",
        at(&took, 0.5),
        at(&took, 0.99),
    );
}

/// Processor time for each wake, the answers of the push service included: the node has read them a moment later.
async fn spent(server: &Server, before: Duration) -> Duration {
    tokio::time::sleep(Duration::from_millis(100)).await;
    (server.processor() - before) / u32::try_from(SLEEPERS).expect("few")
}
