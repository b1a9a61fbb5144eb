//! Random connections, frames, documents and clock jumps at a relay's server side, and what must hold after each.

use std::collections::BTreeSet;
use std::time::Duration;

use dsip_proto::envelope::Signer;
use dsip_proto::identity::{Delegation, Document, KeyId, SecretKey, delegate};
use dsip_proto::relay::host::{Config, Conn, Host, Input, Output};
use dsip_proto::relay::rate::Rate;
use dsip_proto::time::{Now, Seed, Wall};
use dsip_proto::wire::media::VersionBlock;
use dsip_proto::wire::message::{Bye, Common, Hello};
use dsip_proto::wire::token::BindingId;
use dsip_proto::wire::{Did, Message, Reason, Ulid};

const START: u64 = 1_760_000_000;
const PAUSES: [u64; 8] = [0, 1, 5, 10, 31, 100, 301, 4_000];

/// Operations in one run; each costs a signature and a verification.
const MOST_OPERATIONS: usize = 200;

/// Reads `data` as a list of operations and checks the invariants after each.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut world = World::new();
    for _ in 0..MOST_OPERATIONS {
        let Some(operation) = bytes.next() else { return };
        let mut choose = |among: usize| usize::from(bytes.next().unwrap_or_default()) % among;
        match operation % 8 {
            0 => {
                world.now = world.now.later(Duration::from_secs(PAUSES[choose(8)]));
                world.feed(Input::Tick);
            }
            1 => {
                let conn = Conn(world.connections);
                world.connections += 1;
                world.open.insert(conn);
                let octet = u8::try_from(choose(4)).unwrap_or_default();
                world.feed(Input::Connected { conn, from: [192, 0, 2, octet].into(), at: None });
            }
            2 => {
                let conn = world.conn(&mut choose);
                world.open.remove(&conn);
                world.feed(Input::Closed { conn });
            }
            3 => {
                let did = world.devices[choose(4)].1.clone();
                let document = Document::new(did.clone(), "key", SecretKey::from_bytes(&[9; 32]).public(), Vec::new());
                world.feed(Input::Answer { did, document: (choose(2) == 0).then_some(document) });
            }
            4 | 5 => {
                let (conn, device) = (world.conn(&mut choose), choose(4));
                let common = world.common(device);
                let hello = Hello {
                    common,
                    on_behalf_of: Some(world.devices[device].1.clone()),
                    bindings: Some(vec![BindingId::WS]),
                    in_reply_to: None,
                    capabilities: None,
                };
                world.say(conn, device, &hello.into(), choose(8) == 0);
            }
            6 => {
                let (conn, device, to) = (world.conn(&mut choose), choose(4), choose(4));
                let common = world.common(device);
                let (to, session) = (world.devices[to].1.clone(), Ulid::from_bits(5));
                let reason = Reason::USER_HANGUP;
                let bye = Bye { common, to, session, reason, detail: None, retry_after: None };
                world.say(conn, device, &bye.into(), choose(8) == 0);
            }
            _ => {
                let conn = world.conn(&mut choose);
                let length = choose(40);
                let noise: String = (0..length).map(|_| char::from(32 + (choose(95) as u8))).collect();
                world.feed(Input::Received { conn, frame: &noise });
            }
        }
    }
}

struct World {
    host: Host,
    now: Now,
    /// Each device's signer, and the identity it acts for.
    devices: Vec<(Signer, Did)>,
    connections: u64,
    /// Connections that neither side has closed.
    open: BTreeSet<Conn>,
    messages: u128,
}

impl World {
    fn new() -> Self {
        let now = Now { wall: Wall::from_secs(START), ..Now::default() };
        let mut config = Config { max_connections: 6, ..Config::default() };
        config.rates.envelopes = Rate { burst: 10, every: Duration::from_secs(1) };
        let devices = (1..=4u8).map(|number| {
            let identity = SecretKey::from_bytes(&[number; 32]);
            let kid = if number < 3 {
                identity.public().kid()
            } else {
                let did = format!("did:web:host{number}.example").parse().expect("a DID");
                KeyId::new(did, "key").expect("a key id")
            };
            let device = SecretKey::from_bytes(&[100 + number; 32]);
            let capabilities = [Delegation::SIGNALING];
            // The second one's delegation ends while the world lasts.
            let until = START + if number == 2 { 1_000 } else { 1_000_000 };
            let delegation = delegate(&identity, &kid, &device.did(), &capabilities, START - 1, until);
            let own = device.public().kid();
            (Signer::new(device, own, vec![delegation]), kid.did().clone())
        });
        let signer = Signer::of_key(SecretKey::from_bytes(&[50; 32]));
        let host = Host::new(config, signer, Seed::new([3; 32]));
        Self { host, now, devices: devices.collect(), connections: 0, open: BTreeSet::new(), messages: 0 }
    }

    fn conn(&self, choose: &mut impl FnMut(usize) -> usize) -> Conn {
        Conn(choose(self.connections as usize + 1) as u64)
    }

    fn common(&mut self, device: usize) -> Common {
        self.messages += 1;
        let issued_at = self.now.wall.secs();
        Common {
            dsip: VersionBlock::new(&[]),
            id: Ulid::from_bits(u128::from(self.now.wall.millis()) << 80 | self.messages),
            from: self.devices[device].0.kid().did().clone(),
            issued_at,
            expires_at: issued_at + 60,
        }
    }

    fn say(&mut self, conn: Conn, device: usize, message: &Message, twice: bool) {
        let frame = self.devices[device].0.sign(message).text();
        self.feed(Input::Received { conn, frame: &frame });
        if twice {
            self.feed(Input::Received { conn, frame: &frame });
        }
    }

    fn feed(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.host.handle(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Transmit { conn, .. } => {
                    assert!(self.open.contains(&conn), "spoke to {conn:?}, which is closed")
                }
                Output::Close { conn, .. } => assert!(self.open.remove(&conn), "closed {conn:?} twice, or a stranger"),
                Output::Write(_)
                | Output::Ask(_)
                | Output::Joined { .. }
                | Output::Wake(_)
                | Output::Question { .. }
                | Output::Vouch { .. }
                | Output::Event(_) => {}
            }
        }
        let load = self.host.load();
        assert!(load.bound <= self.open.len(), "{} devices on {} connections", load.bound, self.open.len());
        assert!(self.open.len() <= 6, "HEL-8, and the operator's limit");
        if let Some(wake) = self.host.wake() {
            assert!(wake >= self.now.tick, "overdue: what was due was done in this very call");
        }
    }
}
