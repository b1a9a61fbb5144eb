//! Any operations on a TURN server, with and without credentials: its bounds hold after each, and nothing panics.

use std::net::SocketAddr;
use std::time::Duration;

use dsip_media::stun::message::{Class, Message, Method, Writer, attribute, long_term_key};
use dsip_media::turn::server::{Client, Config, HEADROOM, Limits, Output, REALM, Relay, Server, TAILROOM, Via};
use dsip_media::turn::{Allocation, Frames};
use dsip_proto::identity::SecretKey;
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::turn::{Issuer, Ports, SALT};

const METHODS: [Method; 7] = [
    Method::Binding,
    Method::Allocate,
    Method::Refresh,
    Method::Send,
    Method::Data,
    Method::CreatePermission,
    Method::ChannelBind,
];

/// Operations of a kind, a client, a length and so many octets each.
pub(crate) fn run(data: &[u8]) {
    let issuer = Issuer::new([3; 32]);
    let limits = Limits { allocations: 6, per_holder: 2, per_address: 3, bandwidth: 50_000 };
    let config = Config {
        relays: vec!["5.5.5.5".parse().expect("v4"), "2a00::5".parse().expect("v6")],
        own: Vec::new(),
        allow_private: false,
        limits,
    };
    let mut server = Server::new(config, issuer.clone(), Seed::new([4; 32]));
    let mut now = Now { tick: Tick::from_micros(0), wall: Wall::from_secs(1_760_000_000) };
    let mut frames = Frames::default();
    let mut reader = Allocation::new(SocketAddr::from(([5, 5, 5, 5], 1)), true, "u", "p", Seed::new([1; 32]), now.tick);
    let mut rest = data;
    let mut next_port: u16 = 50_000;
    while let [kind, who, length, tail @ ..] = rest {
        let (body, after) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = after;
        let via = if who & 0x80 == 0 { Via::Datagram(0) } else { Via::Stream((who & 3).into()) };
        let client = Client { address: SocketAddr::from(([8, 8, who & 7, 8], 4000)), via };
        let mut out = Vec::new();
        match kind % 6 {
            0 => drop(server.from_client(now, client, body, &mut out)),
            1 => signed(&mut server, &issuer, now, client, *who, body, &mut out),
            2 => {
                let mut buffer = vec![0; HEADROOM + body.len() + TAILROOM];
                buffer[HEADROOM..HEADROOM + body.len()].copy_from_slice(body);
                let peer = SocketAddr::from(([9, 9, 9, who & 3], 5000));
                let range = HEADROOM..HEADROOM + body.len();
                let sent = server.from_peer(now.tick, Relay((who & 7).into()), peer, &mut buffer, range);
                assert!(sent.is_none_or(|(_, packet)| packet.end <= buffer.len()));
            }
            3 => {
                now = now.later(Duration::from_secs(u64::from(*length) * 8));
                server.tick(now.tick, &mut out);
            }
            4 => server.closed(client, &mut out),
            _ => {
                frames.push(body);
                while let Ok(Some(frame)) = frames.pop() {
                    reader.handle(now.tick, frame);
                }
                reader.handle(now.tick, body);
            }
        }
        while let Some(output) = out.pop() {
            if let Output::Bind(client, wants) = output {
                let ports: Vec<_> = wants.iter().map(|_| (who % 5 != 0).then_some(next_port)).collect();
                next_port = next_port.wrapping_add(2).max(1024);
                server.bound(now, client, &ports, &mut out);
            }
        }
        assert!(server.counts().allocations <= limits.allocations);
    }
    let mut out = Vec::new();
    server.tick(now.later(Duration::from_secs(4000)).tick, &mut out);
    assert_eq!((server.counts().allocations, server.wake()), (0, None), "all of it ends");
}

/// A request with a right nonce and a right key, and attributes of any kind.
fn signed(server: &mut Server, issuer: &Issuer, now: Now, client: Client, who: u8, body: &[u8], out: &mut Vec<Output>) {
    let [method, attributes @ ..] = body else { return };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let identity = SecretKey::from_bytes(&[who & 3; 32]).did();
    let grant = issuer.issue(&identity, now.wall.secs() + 100, [0; SALT], Ports::default());
    server.from_client(now, client, &Writer::new(Method::Refresh, Class::Request, [0; 12]).finish(), out);
    let Some(Output::Send(_, challenge)) = out.pop() else { return };
    let nonce = Message::parse(&challenge).and_then(|message| message.find(attribute::NONCE)).unwrap_or_default();
    let mut request = Writer::new(method, Class::Request, [who; 12]);
    let mut rest = attributes;
    while let [high, low, length, tail @ ..] = rest {
        let (value, after) = tail.split_at(usize::from(*length % 32).min(tail.len()));
        let kind = u16::from_be_bytes([*high, *low]);
        request = match kind {
            attribute::XOR_PEER_ADDRESS => request.with_address(kind, SocketAddr::from(([9, 9, 9, *length & 3], 5000))),
            attribute::MESSAGE_INTEGRITY | attribute::FINGERPRINT => request,
            _ => request.with(kind, value),
        };
        rest = after;
    }
    let request = request
        .with(attribute::USERNAME, grant.username.as_bytes())
        .with(attribute::REALM, REALM.as_bytes())
        .with(attribute::NONCE, nonce)
        .signed(&long_term_key(&grant.username, REALM, &grant.password))
        .finish();
    server.from_client(now, client, &request, out);
}
