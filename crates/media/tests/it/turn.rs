//! TURN without sockets: a server, hand-made requests and our client, in virtual time, by section of RFC 8656.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dsip_media::stun::message::{Class, Key, Message, Method, Writer, attribute, long_term_key};
use dsip_media::turn::Allocation;
use dsip_media::turn::client::{Failure, Received, Status};
use dsip_media::turn::server::{
    Client, Config, Forward, HEADROOM, Limits, Output, REALM, Relay, Server, TAILROOM, Via,
};
use dsip_proto::identity::SecretKey;
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::turn::{Grant, Issuer, Ports, SALT};
use proptest::prelude::*;

const START: u64 = 1_760_000_000;
const PEER: &str = "9.9.9.9:5000";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn client(number: u8) -> Client {
    Client { address: SocketAddr::from(([8, 8, 8, number], 4000)), via: Via::Datagram(0) }
}

fn stream(number: u8) -> Client {
    Client { via: Via::Stream(number.into()), ..client(number) }
}

/// A server, and sockets that exist on paper.
struct World {
    server: Server,
    issuer: Issuer,
    now: Now,
    next_port: u16,
    closed: Vec<Relay>,
    gone: Vec<Client>,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            relays: vec!["5.5.5.5".parse().expect("v4"), "2a00::5".parse().expect("v6")],
            own: vec!["10.0.0.5".parse().expect("v4")],
            allow_private: false,
            limits: Limits::default(),
        };
        change(&mut config);
        let issuer = Issuer::new([3; 32]);
        let server = Server::new(config, issuer.clone(), Seed::new([4; 32]));
        let now = Now { tick: Tick::from_micros(1_000_000), wall: Wall::from_secs(START) };
        Self { server, issuer, now, next_port: 50_000, closed: Vec::new(), gone: Vec::new() }
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.later(Duration::from_secs(seconds));
        let mut out = Vec::new();
        self.server.tick(self.now.tick, &mut out);
        assert!(self.perform(out).is_empty(), "time sends nothing");
    }

    fn grant(&self, who: u8) -> Grant {
        let identity = SecretKey::from_bytes(&[who; 32]).did();
        self.issuer.issue(&identity, START + 43_200, [who; SALT], Ports::default())
    }

    /// What is sent back for a packet.
    fn hear(&mut self, from: Client, packet: &[u8]) -> Vec<(Client, Vec<u8>)> {
        let mut out = Vec::new();
        let forward = self.server.from_client(self.now, from, packet, &mut out);
        assert_eq!(forward, None);
        self.perform(out)
    }

    fn perform(&mut self, mut out: Vec<Output>) -> Vec<(Client, Vec<u8>)> {
        let mut sent = Vec::new();
        while !out.is_empty() {
            match out.remove(0) {
                Output::Send(client, message) => sent.push((client, message)),
                Output::Bind(client, wants) => {
                    let ports: Vec<_> = wants.iter().map(|_| Some(self.next_port)).collect();
                    self.next_port += 2;
                    self.server.bound(self.now, client, &ports, &mut out);
                }
                Output::Close(relay) => self.closed.push(relay),
                Output::Gone(client) => self.gone.push(client),
            }
        }
        sent
    }

    fn answer(&mut self, from: Client, packet: &[u8]) -> Answer {
        let mut sent = self.hear(from, packet);
        assert_eq!(sent.len(), 1, "one answer");
        let (to, bytes) = sent.remove(0);
        assert_eq!(to, from);
        Answer(bytes)
    }

    /// A request of the person `who`, with the nonce that the server wants.
    fn ask(&mut self, from: Client, who: u8, method: Method, attributes: &[(u16, &[u8])]) -> Answer {
        let grant = self.grant(who);
        self.ask_as(from, &grant, method, attributes)
    }

    fn ask_as(&mut self, from: Client, grant: &Grant, method: Method, attributes: &[(u16, &[u8])]) -> Answer {
        let transaction = *b"asked before";
        let challenge = self.answer(from, &Writer::new(method, Class::Request, transaction).finish());
        let nonce = challenge.message().find(attribute::NONCE).expect("a nonce").to_vec();
        self.ask_with(from, grant, method, attributes, &nonce)
    }

    fn ask_with(
        &mut self,
        from: Client,
        grant: &Grant,
        method: Method,
        attributes: &[(u16, &[u8])],
        nonce: &[u8],
    ) -> Answer {
        let request = signed(grant, method, attributes, nonce);
        let answer = self.answer(from, &request);
        if !matches!(answer.error(), Some(400 | 401 | 438)) {
            assert!(answer.message().is_authentic(&key(grant)), "who knows the key is sure of the answer");
        }
        answer
    }

    fn allocate(&mut self, from: Client, who: u8) -> SocketAddr {
        let answer = self.ask(from, who, Method::Allocate, &[UDP]);
        answer.address(attribute::XOR_RELAYED_ADDRESS).expect("a relayed address")
    }

    fn permit(&mut self, from: Client, who: u8, peer: &str) -> Option<u16> {
        let peer = xor(address(peer));
        self.ask(from, who, Method::CreatePermission, &[(attribute::XOR_PEER_ADDRESS, &peer)]).error()
    }

    fn bind(&mut self, from: Client, who: u8, channel: u16, peer: &str) -> Option<u16> {
        let (peer, [high, low]) = (xor(address(peer)), channel.to_be_bytes());
        let channel = [high, low, 0, 0];
        let attributes = [(attribute::CHANNEL_NUMBER, &channel[..]), (attribute::XOR_PEER_ADDRESS, &peer)];
        self.ask(from, who, Method::ChannelBind, &attributes).error()
    }

    fn send(&mut self, from: Client, packet: &[u8]) -> Option<Forward> {
        let mut out = Vec::new();
        let forward = self.server.from_client(self.now, from, packet, &mut out);
        assert_eq!(out, [], "data is not answered");
        forward
    }

    fn hand_in(&mut self, relay: Relay, peer: &str, data: &[u8]) -> Option<(Client, Vec<u8>)> {
        let mut buffer = vec![0xee; HEADROOM + data.len() + TAILROOM];
        buffer[HEADROOM..HEADROOM + data.len()].copy_from_slice(data);
        let range = HEADROOM..HEADROOM + data.len();
        let (to, packet) = self.server.from_peer(self.now.tick, relay, address(peer), &mut buffer, range)?;
        Some((to, buffer[packet].to_vec()))
    }
}

struct Answer(Vec<u8>);

impl Answer {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.0).expect("STUN")
    }

    fn error(&self) -> Option<u16> {
        self.message().error()
    }

    fn address(&self, kind: u16) -> Option<SocketAddr> {
        self.message().address(kind)
    }
}

type Attributes<'a> = &'a [(u16, &'a [u8])];

const UDP: (u16, &[u8]) = (attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);

fn key(grant: &Grant) -> Key {
    long_term_key(&grant.username, REALM, &grant.password)
}

fn signed(grant: &Grant, method: Method, attributes: &[(u16, &[u8])], nonce: &[u8]) -> Vec<u8> {
    let mut request = Writer::new(method, Class::Request, *b"in this test");
    for (kind, value) in attributes {
        request = request.with(*kind, value);
    }
    request
        .with(attribute::USERNAME, grant.username.as_bytes())
        .with(attribute::REALM, REALM.as_bytes())
        .with(attribute::NONCE, nonce)
        .signed(&key(grant))
        .finish()
}

/// The value of an address attribute in a message with the transaction that `signed` uses.
fn xor(address: SocketAddr) -> Vec<u8> {
    let message = Writer::new(Method::Binding, Class::Request, *b"in this test").with_address(1, address).finish();
    message[24..].to_vec()
}

fn channel_data(channel: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("short").to_be_bytes();
    [&channel.to_be_bytes()[..], &length, data].concat()
}

fn indication(peer: &str, data: &[u8]) -> Vec<u8> {
    Writer::new(Method::Send, Class::Indication, [1; 12])
        .with_address(attribute::XOR_PEER_ADDRESS, address(peer))
        .with(attribute::DATA, data)
        .finish()
}

#[test]
fn rfc_8656_7_an_allocation_is_made_once() {
    let mut world = World::new();
    let first = world.ask(client(1), 1, Method::Allocate, &[UDP]);
    assert_eq!(first.address(attribute::XOR_RELAYED_ADDRESS), Some(address("5.5.5.5:50000")));
    assert_eq!(first.address(attribute::XOR_MAPPED_ADDRESS), Some(client(1).address));
    assert_eq!(first.message().number(attribute::LIFETIME), Some(600));
    let again = world.ask(client(1), 1, Method::Allocate, &[UDP]);
    assert_eq!(again.0, first.0, "the same transaction is the same request, repeated");
    let grant = world.grant(1);
    let nonce = world.answer(client(1), &Writer::new(Method::Refresh, Class::Request, [0; 12]).finish());
    let nonce = nonce.message().find(attribute::NONCE).expect("a nonce").to_vec();
    let mut other = Writer::new(Method::Allocate, Class::Request, [9; 12]).with(UDP.0, UDP.1);
    other = other.with(attribute::USERNAME, grant.username.as_bytes()).with(attribute::REALM, REALM.as_bytes());
    let other = other.with(attribute::NONCE, &nonce).signed(&key(&grant)).finish();
    assert_eq!(world.answer(client(1), &other).error(), Some(437));
    assert_eq!(world.server.counts().allocations, 1);
}

#[test]
fn rfc_8489_9_2_4_only_proven_users_are_served() {
    let mut world = World::new();
    let bare = Writer::new(Method::Allocate, Class::Request, [1; 12]).with(UDP.0, UDP.1).finish();
    let challenge = world.answer(client(1), &bare);
    assert_eq!(challenge.error(), Some(401));
    assert!(challenge.0.len() <= 3 * bare.len(), "a forged source gains little: {}", challenge.0.len());
    assert_eq!(challenge.message().text(attribute::REALM), Some(REALM));

    let honest = world.grant(1);
    let guess = Grant { password: "guess".into(), ..honest.clone() };
    assert_eq!(world.ask_as(client(1), &guess, Method::Allocate, &[UDP]).error(), Some(401));
    let nobody = Grant { username: "nobody".into(), ..honest.clone() };
    assert_eq!(world.ask_as(client(1), &nobody, Method::Allocate, &[UDP]).error(), Some(401));

    let unsigned = Writer::new(Method::Allocate, Class::Request, [1; 12]).signed(&key(&honest)).finish();
    assert_eq!(world.answer(client(1), &unsigned).error(), Some(400), "no user, realm, nonce");
    assert_eq!(world.server.counts().allocations, 0);
}

#[test]
fn rfc_8656_5_nonces_grow_stale_and_are_no_one_elses() {
    let mut world = World::new();
    let grant = world.grant(1);
    let challenge = world.answer(client(1), &Writer::new(Method::Allocate, Class::Request, [1; 12]).finish());
    let nonce = challenge.message().find(attribute::NONCE).expect("a nonce").to_vec();
    assert_eq!(world.ask_with(client(2), &grant, Method::Allocate, &[UDP], &nonce).error(), Some(438));
    assert_eq!(world.ask_with(client(1), &grant, Method::Allocate, &[UDP], &nonce).error(), None);
    world.wait(500);
    assert_eq!(world.ask_with(client(1), &grant, Method::Refresh, &[], &nonce).error(), None);
    for _ in 0..8 {
        world.wait(500);
        world.ask_as(client(1), &grant, Method::Refresh, &[]);
    }
    let stale = world.ask_with(client(1), &grant, Method::Refresh, &[], &nonce);
    assert_eq!(stale.error(), Some(438));
    assert!(stale.message().find(attribute::NONCE).is_some_and(|fresh| fresh != nonce));
    for rubbish in [&b""[..], b"!", b"AAAA", &[b'A'; 22], &[b'A'; 200]] {
        assert_eq!(world.ask_with(client(1), &grant, Method::Refresh, &[], rubbish).error(), Some(438));
    }
}

#[test]
fn turn_7_credentials_end_and_a_call_under_way_does_not() {
    let mut world = World::new();
    let grant = world.grant(1);
    assert_eq!(world.ask_as(client(1), &grant, Method::Allocate, &[UDP]).error(), None);
    let hour = 3600_u32.to_be_bytes();
    for _ in 0..13 {
        assert_eq!(world.ask_as(client(1), &grant, Method::Refresh, &[(attribute::LIFETIME, &hour)]).error(), None);
        world.wait(3590);
    }
    assert!(world.now.wall.secs() > grant.expires_at);
    assert_eq!(world.ask_as(client(2), &grant, Method::Allocate, &[UDP]).error(), Some(401), "nothing new");
    for _ in 0..24 {
        world.ask_as(client(1), &grant, Method::Refresh, &[(attribute::LIFETIME, &hour)]);
        world.wait(3590);
    }
    assert_eq!(world.ask_as(client(1), &grant, Method::Refresh, &[]).error(), Some(401), "a day is enough");
}

/// RFC 8489, 6.3.1: a Binding request is no exception.
#[test]
fn turn_11_what_must_be_understood_in_a_binding_request_and_is_not_is_refused() {
    let mut world = World::new();
    let binding = |kind: u16| Writer::new(Method::Binding, Class::Request, [7; 12]).with(kind, &[0; 4]).finish();
    let understood = world.answer(client(1), &binding(0x8022));
    assert_eq!(understood.message().class(), Class::Success);
    // CHANGE-REQUEST of RFC 5780.
    let refused = world.answer(client(1), &binding(0x0003));
    assert_eq!((refused.error(), refused.message().class()), (Some(420), Class::Error));
    assert_eq!(refused.message().find(attribute::UNKNOWN_ATTRIBUTES), Some(&[0, 3][..]));
}

#[test]
fn turn_11_what_cannot_be_granted_is_refused_with_its_code() {
    let mut world = World::new();
    let v4: (u16, &[u8]) = (attribute::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]);
    let v6: (u16, &[u8]) = (attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let both: (u16, &[u8]) = (attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let pair: (u16, &[u8]) = (attribute::EVEN_PORT, &[0x80]);
    let token: (u16, &[u8]) = (attribute::RESERVATION_TOKEN, &[0; 8]);
    let cases: [(Attributes<'_>, u16); 14] = [
        (&[], 400),
        (&[(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0])], 442),
        (&[(attribute::REQUESTED_TRANSPORT, &[17])], 400),
        (&[UDP, (0x001a, &[])], 420),
        (&[UDP, (0x7fff, b"unheard of")], 420),
        (&[UDP, (attribute::REQUESTED_ADDRESS_FAMILY, &[7, 0, 0, 0])], 440),
        (&[UDP, v4, both], 400),
        (&[UDP, (attribute::ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0])], 400),
        (&[UDP, both, pair], 400),
        (&[UDP, token, pair], 400),
        (&[UDP, token, v6], 400),
        (&[UDP, token], 508),
        (&[UDP, (attribute::RESERVATION_TOKEN, &[0; 3])], 400),
        (&[UDP, (attribute::LIFETIME, &[0; 3])], 400),
    ];
    for (attributes, code) in cases {
        assert_eq!(world.ask(client(1), 1, Method::Allocate, attributes).error(), Some(code), "{attributes:?}");
    }
    assert_eq!(world.server.counts().allocations, 0);
    let answer = world.ask(client(1), 1, Method::Allocate, &[UDP, v6]);
    assert!(answer.address(attribute::XOR_RELAYED_ADDRESS).is_some_and(|address| address.is_ipv6()));
}

#[test]
fn rfc_8656_7_2_two_families_at_once() {
    let both: (u16, &[u8]) = (attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let mut world = World::new();
    let answer = world.ask(client(1), 1, Method::Allocate, &[UDP, both]);
    let relayed: Vec<_> = answer.message().addresses(attribute::XOR_RELAYED_ADDRESS).flatten().collect();
    assert_eq!(relayed.iter().map(SocketAddr::is_ipv4).collect::<Vec<_>>(), [true, false]);
    assert_eq!((world.permit(client(1), 1, PEER), world.permit(client(1), 1, "[2606:4700::1]:9")), (None, None));
    // Either goes without the other.
    let v6: (u16, &[u8]) = (attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let ends = world.ask(client(1), 1, Method::Refresh, &[v6, (attribute::LIFETIME, &[0; 4])]);
    assert_eq!((ends.error(), world.closed.len()), (None, 1));
    assert_eq!(world.permit(client(1), 1, "[2606:4700::1]:9"), Some(443));
    assert_eq!(world.permit(client(1), 1, PEER), None);
    assert_eq!(world.ask(client(1), 1, Method::Refresh, &[v6]).error(), Some(443));

    let mut world = World::with(|config| config.relays.truncate(1));
    let answer = world.ask(client(1), 1, Method::Allocate, &[UDP, both]);
    assert_eq!(answer.message().find(attribute::ADDRESS_ERROR_CODE), Some(&[2, 0, 4, 40][..]));
    assert!(answer.address(attribute::XOR_RELAYED_ADDRESS).is_some());
}

#[test]
fn rfc_8656_7_2_a_reserved_port_waits_for_its_owner_half_a_minute() {
    let pair: (u16, &[u8]) = (attribute::EVEN_PORT, &[0x80]);
    let mut world = World::new();
    let answer = world.ask(client(1), 1, Method::Allocate, &[UDP, pair]);
    let first = answer.address(attribute::XOR_RELAYED_ADDRESS).expect("an address");
    let token = answer.message().find(attribute::RESERVATION_TOKEN).expect("a token").to_vec();
    let with: [(u16, &[u8]); 2] = [UDP, (attribute::RESERVATION_TOKEN, &token)];
    assert_eq!(world.ask(client(2), 2, Method::Allocate, &with).error(), Some(508), "a thief");
    let second = world.ask(client(2), 1, Method::Allocate, &with).address(attribute::XOR_RELAYED_ADDRESS);
    assert_eq!(second.map(|address| address.port()), Some(first.port() + 1));
    assert_eq!(world.ask(client(3), 1, Method::Allocate, &with).error(), Some(508), "spent");

    let answer = world.ask(client(4), 1, Method::Allocate, &[UDP, pair]);
    let token = answer.message().find(attribute::RESERVATION_TOKEN).expect("a token").to_vec();
    world.wait(31);
    assert_eq!(world.closed.len(), 1);
    let late: [(u16, &[u8]); 2] = [UDP, (attribute::RESERVATION_TOKEN, &token)];
    assert_eq!(world.ask(client(5), 1, Method::Allocate, &late).error(), Some(508));
}

#[test]
fn rfc_8656_5_nobody_takes_over_an_allocation() {
    let mut world = World::new();
    world.allocate(client(1), 1);
    for method in [Method::Refresh, Method::CreatePermission, Method::ChannelBind] {
        assert_eq!(world.ask(client(1), 2, method, &[]).error(), Some(441));
        assert_eq!(world.ask(client(2), 1, method, &[]).error(), Some(437), "there is none");
    }
}

#[test]
fn turn_8_what_one_may_have_is_bounded() {
    let limits = Limits { allocations: 4, per_holder: 2, per_address: 3, ..Limits::default() };
    let mut world = World::with(|config| config.limits = limits);
    let at = |port| Client { address: SocketAddr::from(([8, 8, 8, 8], port)), via: Via::Datagram(0) };
    world.allocate(at(1), 1);
    world.allocate(at(2), 1);
    assert_eq!(world.ask(at(3), 1, Method::Allocate, &[UDP]).error(), Some(486), "the identity has two");
    world.allocate(at(3), 2);
    assert_eq!(world.ask(at(4), 3, Method::Allocate, &[UDP]).error(), Some(486), "the address has three");
    world.allocate(client(1), 3);
    assert_eq!(world.ask(client(2), 4, Method::Allocate, &[UDP]).error(), Some(508), "the server has four");
    let ends = world.ask(at(1), 1, Method::Refresh, &[(attribute::LIFETIME, &[0; 4])]);
    assert_eq!((ends.error(), world.gone.as_slice()), (None, &[at(1)][..]));
    world.allocate(client(2), 4);
    world.wait(601);
    assert_eq!((world.server.counts().allocations, world.closed.len()), (0, 5), "all end by themselves");
    assert_eq!(world.server.wake(), None, "and nothing is left of them");
}

#[test]
fn turn_8_an_allocation_flood_costs_a_bounded_room() {
    let mut world = World::with(|config| config.limits.per_address = 8);
    for port in 1..500 {
        let from = Client { address: SocketAddr::from(([8, 8, 8, 8], port)), via: Via::Datagram(0) };
        world.ask(from, (port % 200) as u8, Method::Allocate, &[UDP]);
    }
    assert_eq!(world.server.counts().allocations, 8);
    for peer in 0..=255 {
        world.permit(Client { address: address("8.8.8.8:1"), via: Via::Datagram(0) }, 1, &format!("9.9.9.{peer}:1"));
    }
    let last = world.permit(Client { address: address("8.8.8.8:1"), via: Via::Datagram(0) }, 1, "9.9.8.1:1");
    assert_eq!(last, Some(508));
}

#[test]
fn rfc_8656_9_data_needs_a_permission_for_the_peers_address() {
    let mut world = World::new();
    world.allocate(client(1), 1);
    assert_eq!(world.send(client(1), &indication(PEER, b"hello")), None);
    assert_eq!(world.hand_in(Relay(1), PEER, b"hello"), None);
    assert_eq!(world.permit(client(1), 1, PEER), None);
    let forward = world.send(client(1), &indication("9.9.9.9:1", b"hello")).expect("any port of that address");
    assert_eq!((forward.relay, forward.peer, forward.data.len()), (Relay(1), address("9.9.9.9:1"), 5));
    assert_eq!(world.send(client(1), &indication("9.9.9.8:1", b"hello")), None);
    assert_eq!(world.send(client(2), &indication(PEER, b"hello")), None, "no allocation");
    let (to, packet) = world.hand_in(Relay(1), "9.9.9.9:7", b"hello").expect("relayed");
    let message = Message::parse(&packet).expect("STUN");
    assert_eq!((to, message.class(), message.method()), (client(1), Class::Indication, Method::Data));
    assert_eq!(message.address(attribute::XOR_PEER_ADDRESS), Some(address("9.9.9.9:7")));
    assert_eq!(message.find(attribute::DATA), Some(&b"hello"[..]));
    world.wait(301);
    assert_eq!(world.send(client(1), &indication(PEER, b"hello")), None, "it ended");
    assert_eq!(world.hand_in(Relay(1), PEER, b"hello"), None);
}

#[test]
fn rfc_8656_10_permissions_are_given_to_all_peers_or_to_none() {
    let mut world = World::new();
    world.allocate(client(1), 1);
    let (good, bad) = (xor(address(PEER)), xor(address("10.0.0.1:1")));
    let peers = [(attribute::XOR_PEER_ADDRESS, &good[..]), (attribute::XOR_PEER_ADDRESS, &bad)];
    assert_eq!(world.ask(client(1), 1, Method::CreatePermission, &peers).error(), Some(403));
    assert_eq!(world.send(client(1), &indication(PEER, b"hello")), None);
    assert_eq!(world.ask(client(1), 1, Method::CreatePermission, &[]).error(), Some(400));
    let rubbish = [(attribute::XOR_PEER_ADDRESS, &[0, 9, 0, 0][..])];
    assert_eq!(world.ask(client(1), 1, Method::CreatePermission, &rubbish).error(), Some(400));
}

#[test]
fn rfc_8656_12_channels_belong_to_one_peer_each() {
    let mut world = World::new();
    world.allocate(client(1), 1);
    assert_eq!(world.send(client(1), &channel_data(0x4000, b"hello")), None);
    assert_eq!(world.bind(client(1), 1, 0x4000, PEER), None);
    for (channel, peer, code) in [
        (0x3fff, PEER, 400),
        (0x8000, PEER, 400),
        (0x4000, "9.9.9.8:1", 400),
        (0x4001, PEER, 400),
        (0x4001, "192.168.0.1:1", 403),
        (0x4001, "[2606:4700::1]:1", 443),
    ] {
        assert_eq!(world.bind(client(1), 1, channel, peer), Some(code), "{channel:x} {peer}");
    }
    assert_eq!(world.ask(client(1), 1, Method::ChannelBind, &[]).error(), Some(400));
    let forward = world.send(client(1), &channel_data(0x4000, b"hello")).expect("forwarded");
    assert_eq!((forward.peer, forward.data), (address(PEER), 4..9));
    let (_, packet) = world.hand_in(Relay(1), PEER, b"hello").expect("relayed");
    assert_eq!(packet, channel_data(0x4000, b"hello"), "no padding in a datagram");
    let (_, packet) = world.hand_in(Relay(1), "9.9.9.9:1", b"hello").expect("another port has no channel");
    assert!(Message::parse(&packet).is_some());
    // A permission lasts half as long as its channel, and binding again renews both.
    world.wait(301);
    assert_eq!(world.send(client(1), &channel_data(0x4000, b"hello")), None);
    assert_eq!(world.bind(client(1), 1, 0x4000, PEER), None);
    assert!(world.send(client(1), &channel_data(0x4000, b"hello")).is_some());
    world.ask(client(1), 1, Method::Refresh, &[(attribute::LIFETIME, &3600_u32.to_be_bytes())]);
    world.wait(601);
    assert_eq!(world.bind(client(1), 1, 0x4000, "9.9.9.8:1"), None, "free again");
}

#[test]
fn rfc_8656_12_5_streams_are_padded() {
    let mut world = World::new();
    world.allocate(stream(1), 1);
    assert_eq!(world.bind(stream(1), 1, 0x4000, PEER), None);
    let (_, packet) = world.hand_in(Relay(1), PEER, b"hello").expect("relayed");
    assert_eq!(packet, [&channel_data(0x4000, b"hello")[..], &[0; 3]].concat());
    let mut out = Vec::new();
    world.server.closed(stream(1), &mut out);
    world.perform(out);
    assert_eq!((world.server.counts().allocations, world.closed.len()), (0, 1));
}

#[test]
fn rfc_8656_8_a_lifetime_is_between_ten_minutes_and_an_hour_or_over() {
    let mut world = World::new();
    world.allocate(client(1), 1);
    for (wished, granted) in [(1, 600), (700, 700), (1_000_000, 3600)] {
        let wished: u32 = wished;
        let answer = world.ask(client(1), 1, Method::Refresh, &[(attribute::LIFETIME, &wished.to_be_bytes())]);
        assert_eq!(answer.message().number(attribute::LIFETIME), Some(granted));
    }
    world.wait(3599);
    assert!(world.server.serves(client(1)));
    world.wait(2);
    assert_eq!((world.server.serves(client(1)), world.closed.as_slice()), (false, &[Relay(1)][..]));
    assert_eq!(world.ask(client(1), 1, Method::Refresh, &[]).error(), Some(437));
}

#[test]
fn turn_10_nothing_is_relayed_to_what_is_not_public() {
    let mut world = World::new();
    world.ask(client(1), 1, Method::Allocate, &[UDP, (attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0])]);
    for peer in [
        "127.0.0.1:1",
        "10.1.2.3:1",
        "172.16.0.1:1",
        "192.168.1.1:1",
        "169.254.169.254:80",
        "100.64.0.1:1",
        "0.0.0.0:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "[::1]:1",
        "[::]:1",
        "[fe80::1]:1",
        "[fd00::1]:1",
        "[ff02::1]:1",
        "[::ffff:127.0.0.1]:1",
        "[::ffff:10.0.0.1]:1",
        "[2002:7f00:1::]:1",
        "[2002:a00:1::]:1",
        "[64:ff9b::7f00:1]:1",
        "[64:ff9b::a00:1]:1",
        "[64:ff9b:1::1]:1",
    ] {
        assert_eq!(world.permit(client(1), 1, peer), Some(403), "{peer}");
        assert_eq!(world.bind(client(1), 1, 0x4000, peer), Some(403), "{peer}");
        assert_eq!(world.send(client(1), &indication(peer, b"hello")), None, "{peer}");
    }
    let mut world = World::with(|config| config.allow_private = true);
    world.allocate(client(1), 1);
    assert_eq!(world.permit(client(1), 1, "127.0.0.1:1"), None);
    assert!(world.send(client(1), &indication("127.0.0.1:1", b"hello")).is_some());
    assert_eq!(world.permit(client(1), 1, "224.0.0.1:1"), Some(403), "a group is no peer");
}

#[test]
fn turn_10_of_this_machine_only_relayed_addresses_are_open() {
    let mut world = World::new();
    let (alice, bob) = (world.allocate(client(1), 1), world.allocate(client(2), 2));
    for own in ["5.5.5.5:7443", "10.0.0.5:22"] {
        assert_eq!(world.permit(client(1), 1, own), None, "the address may be permitted");
        assert_eq!(world.send(client(1), &indication(own, b"hello")), None, "the port is not relayed to: {own}");
    }
    let forward = world.send(client(1), &indication(&bob.to_string(), b"hello")).expect("forwarded");
    assert_eq!(forward.inside, Some((Relay(2), alice)));
    assert_eq!(world.hand_in(Relay(2), &alice.to_string(), b"hello"), None, "bob has to permit it, too");
    assert_eq!(world.permit(client(2), 2, &alice.to_string()), None);
    assert!(world.hand_in(Relay(2), &alice.to_string(), b"hello").is_some());
    world.wait(601);
    world.allocate(client(1), 1);
    world.permit(client(1), 1, &bob.to_string());
    assert_eq!(world.send(client(1), &indication(&bob.to_string(), b"hello")), None, "bob has left");
}

#[test]
fn turn_9_bandwidth_is_an_identitys() {
    let mut world = World::with(|config| config.limits.bandwidth = 10_000);
    for (from, who) in [(1, 1), (2, 1), (3, 2)] {
        world.allocate(client(from), who);
        world.bind(client(from), who, 0x4000, PEER);
    }
    let packet = channel_data(0x4000, &[0; 972]);
    let mut sent = [0; 4];
    for _ in 0..100 {
        for from in [1, 2, 3] {
            sent[usize::from(from)] += usize::from(world.send(client(from), &packet).is_some());
        }
    }
    assert_eq!(sent[1] + sent[2], 21, "two seconds' worth, of both allocations together");
    assert_eq!(sent[3], 21, "the other person has her own");
    assert_eq!(world.server.counts().throttled, 258);
    world.wait(1);
    assert!(world.send(client(1), &packet).is_some());
}

#[test]
fn refusals_are_counted_by_code_and_what_honest_clients_meet_is_not() {
    let mut world = World::with(|config| config.limits.per_holder = 1);
    // A challenge first, as for everybody, and another one when the nonce is too old.
    world.allocate(client(1), 1);
    world.wait(30);
    let grant = world.grant(1);
    let stale = world.ask_with(client(1), &grant, Method::Refresh, &[], b"of yesterday").error();
    assert_eq!((stale, world.server.counts().refused), (Some(438), [].into()));

    let forged = Grant { password: "guessed".into(), ..world.grant(2) };
    assert_eq!(world.ask_as(client(2), &forged, Method::Refresh, &[]).error(), Some(401));
    for _ in 0..2 {
        assert_eq!(world.ask(client(3), 1, Method::Allocate, &[UDP]).error(), Some(486));
    }
    assert_eq!(world.permit(client(1), 1, "10.0.0.1:1"), Some(403));
    assert_eq!(world.server.counts().refused, [(401, 1), (403, 1), (486, 2)].into());
}

#[test]
fn turn_9_a_debt_outlives_the_last_allocation() {
    let mut world = World::with(|config| config.limits.bandwidth = 10_000);
    let packet = channel_data(0x4000, &[0; 972]);
    let mut sent = 0;
    for round in 0..5 {
        world.allocate(client(1), 1);
        world.bind(client(1), 1, 0x4000, PEER);
        sent += (0..100).filter(|_| world.send(client(1), &packet).is_some()).count();
        assert_eq!(sent, 21 + 10 * round, "two seconds' worth, and what each second earned");
        assert_eq!(world.ask(client(1), 1, Method::Refresh, &[(attribute::LIFETIME, &[0; 4])]).error(), None);
        world.wait(1);
    }
    // What was earned is forgotten, and with it whoever owes nothing.
    world.wait(2);
    assert_eq!(world.server.wake(), None);
}

#[test]
fn rfc_8489_a_binding_request_learns_its_address() {
    let mut world = World::new();
    let answer = world.answer(client(1), &Writer::new(Method::Binding, Class::Request, [7; 12]).finish());
    assert_eq!(answer.address(attribute::XOR_MAPPED_ADDRESS), Some(client(1).address));
    let indication = Writer::new(Method::Binding, Class::Indication, [7; 12]).finish();
    for packet in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 20], &[0xff; 600], &indication] {
        assert!(world.hear(client(1), packet).is_empty(), "{packet:?}");
    }
}

// Our client

/// A client and its server, on a path that loses every `loss`-th packet.
struct Pair {
    world: World,
    allocation: Allocation,
    sent: u32,
    loss: u32,
    /// Data that came from peers.
    heard: Vec<(SocketAddr, Vec<u8>)>,
    /// Data on its way to peers.
    forwarded: Vec<(SocketAddr, Vec<u8>)>,
}

impl Pair {
    fn new(world: World, password: Option<&str>, loss: u32) -> Self {
        let grant = world.grant(1);
        let password = password.unwrap_or(&grant.password);
        let server = address("5.5.5.5:3478");
        let allocation = Allocation::new(server, false, &grant.username, password, Seed::new([5; 32]), world.now.tick);
        Self { world, allocation, sent: 0, loss, heard: Vec::new(), forwarded: Vec::new() }
    }

    fn arrives(&mut self) -> bool {
        self.sent += 1;
        self.loss == 0 || !self.sent.is_multiple_of(self.loss)
    }

    fn carry(&mut self, packet: &[u8]) {
        if !self.arrives() {
            return;
        }
        let mut out = Vec::new();
        let forward = self.world.server.from_client(self.world.now, client(1), packet, &mut out);
        if let Some(forward) = forward {
            self.forwarded.push((forward.peer, packet[forward.data].to_vec()));
        }
        for (_, answer) in self.world.perform(out) {
            if self.arrives() {
                self.allocation.handle(self.world.now.tick, &answer);
            }
        }
    }

    /// Lets so many seconds pass, in steps as the client wants them.
    fn run(&mut self, seconds: u64) {
        let end = self.world.now.tick + Duration::from_secs(seconds);
        loop {
            while let Some(packet) = self.allocation.poll(self.world.now.tick) {
                self.carry(&packet);
            }
            let wake = self.allocation.wake().unwrap_or(end).min(end);
            self.world.now = self.world.now.later(wake.since(self.world.now.tick));
            let mut out = Vec::new();
            self.world.server.tick(self.world.now.tick, &mut out);
            self.world.perform(out);
            if wake >= end {
                return;
            }
        }
    }

    fn say(&mut self, to: &str, data: &[u8]) {
        if let Some(packet) = self.allocation.send(self.world.now.tick, address(to), data) {
            self.carry(&packet);
        }
    }

    fn peer_says(&mut self, peer: &str, data: &[u8]) {
        let Some((_, packet)) = self.world.hand_in(Relay(1), peer, data) else { return };
        if let Received::Data(from, data) = self.allocation.handle(self.world.now.tick, &packet) {
            self.heard.push((from, packet[data].to_vec()));
        }
    }
}

#[test]
fn the_client_gets_an_address_and_keeps_it_for_hours() {
    for loss in [0, 3] {
        let mut pair = Pair::new(World::new(), None, loss);
        pair.run(10);
        assert_eq!(pair.allocation.status(), Status::Relayed(address("5.5.5.5:50000")), "loss {loss}");
        for _ in 0..100 {
            pair.say(PEER, b"still there");
            pair.run(120);
        }
        assert_eq!(pair.world.server.counts().allocated, 1, "loss {loss}");
        pair.forwarded.clear();
        pair.say(PEER, b"one");
        pair.say(PEER, b"two");
        assert!(pair.forwarded.contains(&(address(PEER), b"two".to_vec())), "loss {loss}");
        pair.peer_says(PEER, b"back");
        assert_eq!(pair.heard, [(address(PEER), b"back".to_vec())], "loss {loss}");
        pair.peer_says("9.9.9.9:77", b"another port");
        assert_eq!(pair.heard.last(), Some(&(address("9.9.9.9:77"), b"another port".to_vec())));
    }
}

#[test]
fn the_clients_first_packet_waits_for_its_channel() {
    let mut pair = Pair::new(World::new(), None, 0);
    pair.run(1);
    pair.say(PEER, b"stale");
    pair.say(PEER, b"first");
    assert_eq!(pair.forwarded, []);
    pair.run(1);
    assert_eq!(pair.forwarded, [(address(PEER), b"first".to_vec())]);
    pair.say("10.0.0.1:1", b"refused");
    pair.run(1);
    pair.say("10.0.0.1:1", b"not asked again");
    pair.run(1);
    assert_eq!((pair.forwarded.len(), pair.world.server.counts().refused), (1, [(403, 1)].into()), "the private peer");
}

#[test]
fn the_client_gives_up_with_a_reason() {
    let mut silent = Pair::new(World::new(), None, 1);
    silent.run(60);
    assert_eq!(silent.allocation.status(), Status::Failed(Failure::Silent));
    assert_eq!(silent.allocation.wake(), None);
    let mut wrong = Pair::new(World::new(), Some("wrong"), 0);
    wrong.run(60);
    assert_eq!(wrong.allocation.status(), Status::Failed(Failure::Refused(401)));
    let mut full = Pair::new(World::with(|config| config.limits.allocations = 0), None, 0);
    full.run(60);
    assert_eq!(full.allocation.status(), Status::Failed(Failure::Refused(508)));
}

#[test]
fn the_client_believes_no_forged_success() {
    let mut pair = Pair::new(World::new(), None, 0);
    let now = pair.world.now.tick;
    let request = pair.allocation.poll(now).expect("a request");
    let transaction = Message::parse(&request).expect("STUN").transaction();
    let forged = Writer::new(Method::Allocate, Class::Success, transaction)
        .with_address(attribute::XOR_RELAYED_ADDRESS, address("6.6.6.6:6"))
        .finish();
    pair.allocation.handle(now, &forged);
    assert_eq!(pair.allocation.status(), Status::Asking);
    pair.run(5);
    assert_eq!(pair.allocation.relayed(), Some(address("5.5.5.5:50000")));
}

#[test]
fn the_client_tells_the_server_when_it_is_done() {
    let mut pair = Pair::new(World::new(), None, 0);
    pair.run(1);
    let farewell = pair.allocation.close().expect("a farewell");
    pair.world.hear(client(1), &farewell);
    assert_eq!(pair.world.server.counts().allocations, 0);
}

proptest! {
    /// Whatever goes in from a peer comes out at the client as it was, in either wrapping.
    #[test]
    fn data_is_carried_as_it_is(data in proptest::collection::vec(any::<u8>(), 0..1500), bound: bool, on_stream: bool) {
        let mut world = World::new();
        let from = if on_stream { stream(1) } else { client(1) };
        world.allocate(from, 1);
        if bound {
            world.bind(from, 1, 0x4abc, PEER);
        } else {
            world.permit(from, 1, PEER);
        }
        let (to, packet) = world.hand_in(Relay(1), PEER, &data).expect("relayed");
        prop_assert_eq!(to, from);
        let mut frames = dsip_media::turn::Frames::default();
        frames.push(&packet);
        if on_stream {
            prop_assert_eq!(frames.pop(), Ok(Some(&packet[..])));
        }
        let grant = world.grant(1);
        let mut peers: BTreeMap<IpAddr, usize> = BTreeMap::new();
        let mut reader =
            Allocation::new(address("5.5.5.5:1"), on_stream, &grant.username, "", Seed::new([1; 32]), world.now.tick);
        match reader.handle(world.now.tick, &packet) {
            Received::Data(peer, range) => {
                *peers.entry(peer.ip()).or_default() += 1;
                prop_assert_eq!(&packet[range], &data[..]);
            }
            // The channel was bound by hand, so this client has not heard of it.
            Received::Control => prop_assert!(bound && packet[4..4 + data.len()] == data[..]),
            Received::Foreign => prop_assert!(false),
        }
    }
}
