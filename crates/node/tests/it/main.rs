//! A real node on loopback, dialled over both transports.

#![allow(clippy::unwrap_used)]

mod acme;
mod certificate;
mod chromium;
mod counting;
mod custody;
mod device;
mod hostile;
mod kill;
mod names;
mod operation;
mod push_service;
mod quic;
mod relayed;
mod routing;
mod subscriptions;
mod turn;
mod wake;
mod web;

use std::path::Path;

use dsip_endpoint::link::{Dialer, Link, Target, Transport};
use dsip_endpoint::tls::Roots;
use dsip_node::{Config, Node};

use device::Device;

/// A node on loopback, whose home is gone when the test ends.
struct World {
    node: Node,
    home: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let node = start(home.path(), change).await;
        Self { node, home }
    }

    fn target(&self, transport: Transport) -> Target {
        let target: Target = self.node.ready().url().parse().expect("a target");
        target.with_bindings(["ws/1.0", transport.id()])
    }

    /// A link without a word said on it.
    async fn dial(&self, transport: Transport) -> Link {
        let link = Dialer::new(no_roots()).open(&self.target(transport)).await.expect("opened");
        assert_eq!(link.transport(), transport);
        link
    }

    /// A link on which `device` has said hello.
    async fn bind(&self, device: &Device, transport: Transport) -> Link {
        let mut link = self.dial(transport).await;
        device.greet(&mut link, self.node.ready().did.as_str()).await;
        link
    }

    /// Waits until the node's counts are as `wanted`.
    async fn until(&self, wanted: impl Fn(dsip_node::Counts) -> bool) {
        while !wanted(self.node.counts()) {
            tokio::task::yield_now().await;
        }
    }
}

async fn start(home: &Path, change: impl FnOnce(&mut Config)) -> Node {
    let mut config = Config::new(home, "127.0.0.1:0".parse().expect("an address"));
    change(&mut config);
    Node::start(config).await.expect("started")
}

fn no_roots() -> Roots {
    Roots::load::<&str>(&[]).expect("loaded")
}

#[tokio::test]
async fn a_restarted_node_is_the_same_node() {
    let world = World::start().await;
    let before = world.node.ready().clone();
    world.node.shutdown().await;
    let again = start(world.home.path(), |_| {}).await;
    assert_eq!(again.ready().did, before.did);
    assert_eq!(std::fs::read(&again.ready().ca).expect("read"), std::fs::read(&before.ca).expect("read"));
}

#[tokio::test]
async fn the_printed_certificate_is_a_root_for_the_printed_url() {
    let world = World::start().await;
    let ready = world.node.ready();
    let dialer = Dialer::new(Roots::load(&[&ready.ca]).expect("loaded"));
    for transport in [Transport::Ws, Transport::Quic] {
        let target: Target = ready.wss.parse().expect("a target");
        let link = dialer.open(&target.with_bindings(["ws/1.0", transport.id()])).await.expect("opened");
        assert_eq!(link.transport(), transport);
    }
}

#[tokio::test]
async fn stun_tells_the_asker_its_address() {
    use stun_types::attribute::XorMappedAddress;
    use stun_types::message::{BINDING, Message, MessageWrite as _, MessageWriteVec};

    let world = World::start().await;
    let at = world.node.ready().stun.trim_start_matches("stun:").to_owned();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    socket.send_to(b"nonsense", &at).await.expect("sent");
    let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    socket.send_to(&request, &at).await.expect("sent");
    let mut answer = [0; 128];
    let (length, _) = socket.recv_from(&mut answer).await.expect("answered");
    let answer = Message::from_bytes(&answer[..length]).expect("STUN");
    let mapped = answer.attribute::<XorMappedAddress>().expect("mapped").addr(answer.transaction_id());
    assert_eq!(mapped, socket.local_addr().expect("an address"));
}

#[tokio::test]
async fn shutting_down_says_so_to_everybody() {
    use dsip_endpoint::link::{Close, Closed};

    let world = World::start().await;
    let alice = Device::new(1);
    let mut links = [world.bind(&alice, Transport::Ws).await, world.bind(&Device::new(2), Transport::Quic).await];
    world.node.shutdown().await;
    for link in &mut links {
        assert_eq!(link.recv().await, Err(Closed::There(Close::GoingAway)));
    }
}
