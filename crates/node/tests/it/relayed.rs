//! Media sessions of phones that have nothing but the node's relay, and not every way to it.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use dsip_endpoint::audio::{Sink, Source};
use dsip_endpoint::link::Dialer;
use dsip_endpoint::media::{
    Activation, Addresses, Config, Description, Direction, Event, Path, Ports, Report, Session, TurnServer,
};
use dsip_endpoint::tls::Roots;
use dsip_media::call::Permit;
use dsip_proto::identity::SecretKey;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::World;
use crate::device::Device;
use crate::turn::granted;

/// What a device is lent, at these ports.
async fn lent(world: &World, who: u8, node: &str, ports: impl FnOnce(Ports) -> Ports) -> TurnServer {
    let grant = granted(world, &Device::new(who)).await;
    let dialer = Dialer::new(Roots::load::<&str>(&[]).expect("roots"));
    let secure = dialer.turn_tls(&node.parse().expect("a target")).expect("a TLS set-up");
    TurnServer {
        address: Ipv4Addr::LOCALHOST.into(),
        ports: ports(grant.ports),
        secure: Some(secure),
        username: grant.username,
        password: grant.password,
    }
}

fn config(server: TurnServer) -> Config {
    Config { addresses: Addresses::Loopback, turn: vec![server], ..Config::default() }
}

/// The description without any way to reach who made it.
fn without_candidates(mut description: Description) -> Description {
    let lines = description.sdp.split_inclusive("\r\n");
    description.sdp = lines.filter(|line| !line.starts_with("a=candidate")).collect();
    description
}

/// The relayed candidate, once there is one; none if there is none when everything was tried.
async fn relayed(events: &mut mpsc::Receiver<Event>) -> Option<String> {
    loop {
        match events.recv().await.expect("the session goes on") {
            Event::LocalCandidate(candidate) if candidate.candidate.contains("typ relay") => {
                return Some(candidate.candidate);
            }
            Event::GatheringComplete => return None,
            _ => {}
        }
    }
}

async fn heard(events: &mut mpsc::Receiver<Event>) -> Report {
    loop {
        match events.recv().await.expect("the session goes on") {
            Event::Stats(report) if report.received > 25 => return report,
            Event::Failed(why) => panic!("{why:?}"),
            _ => {}
        }
    }
}

/// Two phones that can reach each other through the relay alone talk.
async fn talk(alice: TurnServer, bob: TurnServer) {
    let sound = || (Source::tone(440.0), Sink::discard());
    let (source, sink) = sound();
    let (caller, mut caller_events, offer) =
        Session::offer(config(alice), source, sink, Direction::SendRecv).await.expect("an offer");
    let (source, sink) = sound();
    let (callee, mut callee_events, answer) =
        Session::answer(config(bob), source, sink, without_candidates(offer), Direction::SendRecv).await.expect("one");
    let (at_caller, at_callee) = tokio::join!(relayed(&mut caller_events), relayed(&mut callee_events));
    callee.activate(Activation::Answering { permit: Permit::session_is_active() }).await.expect("active");
    let sdp = without_candidates(answer).sdp;
    caller.activate(Activation::Answered { sdp, permit: Permit::session_is_active() }).await.expect("active");
    caller.add_remote_candidates(vec![at_callee.expect("a relayed address")]).await;
    callee.add_remote_candidates(vec![at_caller.expect("a relayed address")]).await;
    let reports = tokio::join!(heard(&mut caller_events), heard(&mut callee_events));
    assert_eq!((reports.0.path, reports.1.path), (Some(Path::Relay), Some(Path::Relay)), "{reports:?}");
    caller.stop().await;
    callee.stop().await;
}

#[tokio::test]
async fn where_udp_is_not_answered_a_call_goes_over_tcp_and_where_that_is_not_over_tls() {
    // The node relays from one relayed address to another and to nothing else on this machine (TURN-10).
    let world = World::start().await;
    let url = world.node.ready().url();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let udp = Some(silent.local_addr().expect("an address").port());
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        Some(listener.local_addr().expect("an address").port())
    };
    let blocks_udp = |ports| Ports { udp, ..ports };
    let blocks_most = |ports| Ports { udp, tcp: closed, ..ports };
    talk(lent(&world, 1, &url, blocks_udp).await, lent(&world, 2, &url, blocks_udp).await).await;
    talk(lent(&world, 3, &url, blocks_most).await, lent(&world, 4, &url, |ports| ports).await).await;
    let counts = world.node.turn();
    assert_eq!(counts.allocated, 4, "one way each: {counts:?}");
}

#[tokio::test]
async fn turn_12_tls_to_somebody_else_than_the_node_is_no_way_to_it() {
    let world = World::start().await;
    let url = world.node.ready().url();
    let (address, _) = url.split_once('#').expect("a DID");
    let other = format!("{address}#{}", SecretKey::from_bytes(&[9; 32]).did());
    let only_tls = |ports: Ports| Ports { tls: ports.tls, ..Ports::default() };
    for (named, is_served) in [(url.clone(), true), (other, false)] {
        let server = lent(&world, 1, &named, only_tls).await;
        let (_session, mut events, _) =
            Session::offer(config(server), Source::silence(), Sink::discard(), Direction::SendRecv)
                .await
                .expect("an offer");
        assert_eq!(relayed(&mut events).await.is_some(), is_served, "{named}");
    }
}

#[tokio::test]
async fn an_address_whose_connection_is_lost_is_asked_for_again() {
    let world = World::start().await;
    let url = world.node.ready().url();
    // Between the phone and the node there is somebody who forgets connections.
    let between = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = between.local_addr().expect("an address").port();
    let mut server = lent(&world, 1, &url, |ports| Ports { tcp: ports.tcp, ..Ports::default() }).await;
    let node = (Ipv4Addr::LOCALHOST, server.ports.tcp.expect("a port"));
    server.ports.tcp = Some(port);
    let (_session, mut events, _) =
        Session::offer(config(server), Source::silence(), Sink::discard(), Direction::SendRecv).await.expect("one");
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let (mut near, _) = between.accept().await.expect("accepted");
        let mut far = TcpStream::connect(node).await.expect("connected");
        let forgets = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        let candidate = loop {
            if let Some(candidate) = relayed(&mut events).await {
                break candidate;
            }
        };
        addresses.push(candidate);
        forgets.abort();
    }
    assert_ne!(addresses[0], addresses[1]);
}
