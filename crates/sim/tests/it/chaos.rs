//! Everything that can go wrong, one thing after another and sometimes two at once, decided by a seed. After each: nothing that
//! was vouched for is lost or came twice as new, order is kept, calls go on, and the node has nothing left in hand.
//!
//! ```text
//!   alice ══ bob        phones: they call each other
//!   4 counters          clients without an agent, that count
//! ```
//!
//! `cargo x chaos` does the same to real processes.

use std::time::Duration;

use dsip_proto::agent::Event;
use dsip_proto::time::Seed;
use dsip_proto::wire::Ulid;
use dsip_sim::network::{HostId, Path};
use dsip_sim::world::{Manner, Setup, World};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng as _;

use crate::end_of;

const SECOND: Duration = Duration::from_secs(1);

/// Until everybody has found back, whatever happened: dead links are noticed after 45 s, and phones wait up to a minute.
const RECOVERY: Duration = Duration::from_secs(240);

/// A hundred worlds in each of four tests, so that they run side by side.
const WORLDS: u64 = 40;

const ROUNDS: usize = 6;

struct Chaos {
    world: World,
    dice: ChaCha20Rng,
    node: HostId,
    alice: HostId,
    bob: HostId,
    counters: Vec<HostId>,
    /// The call that nothing may end but a phone that dies.
    call: Ulid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    CrashTwice,
    CrashPhone,
    Cut,
    Loss(u32),
    DiskRefuses,
    DiskRefusesThenCrash,
    DiskIsSlow,
    ClockOfNode,
    ClockOfPhone,
    EverybodyIsCut,
}

const FAULTS: [Fault; 12] = [
    Fault::Crash,
    Fault::CrashTwice,
    Fault::CrashPhone,
    Fault::Cut,
    Fault::Loss(10),
    Fault::Loss(200),
    Fault::DiskRefuses,
    Fault::DiskRefusesThenCrash,
    Fault::DiskIsSlow,
    Fault::ClockOfNode,
    Fault::ClockOfPhone,
    Fault::EverybodyIsCut,
];

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let node = world.add_node("node", 0);
        world.set_disk_speed(node, Duration::from_millis(5));
        let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(node));
        let bob = world.add_phone(Setup::of("bob", "bob-phone").who(Manner::Accepts(SECOND)), Some(node));
        let counters = ["c1", "c2", "c3", "c4"].map(|name| world.add_counter(name, node)).to_vec();
        let dice = Seed::new(world.network().random()).into_rng();
        world.run(5 * SECOND);
        let mut chaos = Self { world, dice, node, alice, bob, counters, call: Ulid::from_bits(0) };
        chaos.call();
        chaos
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice.next_u64() % bound
    }

    fn while_(&mut self, most_secs: u64) -> Duration {
        Duration::from_millis(200 + self.below(1_000 * most_secs))
    }

    fn anybody(&mut self) -> HostId {
        let all: Vec<HostId> = self.counters.iter().copied().chain([self.alice, self.bob]).collect();
        all[usize::try_from(self.below(all.len() as u64)).expect("small")]
    }

    fn talk(&mut self, talks: bool) {
        for counter in &self.counters {
            let others: Vec<HostId> = self.counters.iter().copied().filter(|other| talks && other != counter).collect();
            self.world.talk(*counter, &others);
        }
    }

    /// Alice calls Bob, and they talk.
    fn call(&mut self) {
        self.call = self.world.call(self.alice, "bob", self.node);
        self.world.run(10 * SECOND);
        self.goes_on("a fresh call");
    }

    fn goes_on(&self, after: &str) {
        for phone in [self.alice, self.bob] {
            assert!(self.world.talking(phone).contains(&self.call), "after {after}: the call ended, and both hear it");
        }
    }

    fn everybody(&self) -> Vec<HostId> {
        self.counters.iter().copied().chain([self.alice, self.bob]).collect()
    }

    fn happen(&mut self, fault: Fault) {
        match fault {
            Fault::Crash => self.crash(),
            Fault::CrashTwice => {
                self.crash();
                let soon = self.while_(3);
                self.world.run(soon);
                self.crash();
            }
            Fault::CrashPhone => {
                self.world.crash(self.bob);
                let down = self.while_(20);
                self.world.run(down);
                self.world.restart(self.bob);
                // Media notices that nobody is there any more.
                self.world.hang_up(self.alice, self.call);
            }
            Fault::Cut => {
                let (who, time) = (self.anybody(), self.while_(80));
                self.world.network().cut(who, self.node);
                self.world.run(time);
                self.world.network().mend(who, self.node);
            }
            Fault::EverybodyIsCut => {
                let time = self.while_(80);
                for who in self.everybody() {
                    self.world.network().cut(who, self.node);
                }
                self.world.run(time);
                for who in self.everybody() {
                    self.world.network().mend(who, self.node);
                }
            }
            Fault::Loss(loss) => {
                self.lose(loss);
                let time = self.while_(30);
                self.world.run(time);
                self.lose(0);
            }
            Fault::DiskRefuses => {
                self.world.set_disk_refuses(self.node, true);
                let time = self.while_(30);
                self.world.run(time);
                self.world.set_disk_refuses(self.node, false);
            }
            Fault::DiskRefusesThenCrash => {
                self.world.set_disk_refuses(self.node, true);
                let time = self.while_(30);
                self.world.run(time);
                self.world.crash(self.node);
                self.world.set_disk_refuses(self.node, false);
                self.world.restart(self.node);
            }
            Fault::DiskIsSlow => {
                self.world.set_disk_speed(self.node, 2 * SECOND);
                let time = self.while_(20);
                self.world.run(time);
                if self.below(2) == 0 {
                    self.crash();
                }
                self.world.set_disk_speed(self.node, Duration::from_millis(5));
            }
            Fault::ClockOfNode => {
                // What is said meanwhile is over before it arrives, and nobody's fault.
                self.talk(false);
                self.world.run(60 * SECOND);
                let node = self.node;
                self.jump(node);
            }
            Fault::ClockOfPhone => {
                let bob = self.bob;
                self.jump(bob);
            }
        }
    }

    fn crash(&mut self) {
        self.world.crash(self.node);
        let down = self.while_(20);
        self.world.run(down);
        self.world.restart(self.node);
    }

    fn jump(&mut self, who: HostId) {
        let by = if self.below(2) == 0 { 3_600 } else { -3_600 };
        self.world.tell(who, format_args!("has a clock that jumps by {by} s"));
        self.world.network().set_skew(who, by);
        let time = self.while_(90);
        self.world.run(time);
        self.world.tell(who, "has the right time again");
        self.world.network().set_skew(who, 0);
    }

    fn lose(&mut self, loss: u32) {
        for who in self.everybody() {
            self.world.network().set_path(who, self.node, Path { loss, ..Path::default() });
        }
    }

    /// One fault, on a good network or a bad one, and what has to hold afterwards.
    fn round(&mut self) {
        let fault = FAULTS[usize::try_from(self.below(FAULTS.len() as u64)).expect("small")];
        let loss = [0, 0, 10, 200][usize::try_from(self.below(4)).expect("small")];
        self.world.tell(self.node, format_args!("what comes next: {fault:?}, {loss} ‰ loss"));
        self.talk(true);
        let before = self.while_(5);
        self.world.run(before);
        self.lose(loss);
        self.happen(fault);
        self.lose(0);
        self.talk(false);
        self.world.run(RECOVERY);
        self.check(&format!("{fault:?}"));
    }

    fn check(&mut self, after: &str) {
        let tally = self.world.tally();
        assert_eq!((tally.lost, tally.unsure), (0, 0), "after {after}: {tally:?}");
        // No phone rang twice for one call.
        for phone in [self.alice, self.bob] {
            let mut rung: Vec<Ulid> = self
                .world
                .seen(phone)
                .filter_map(|event| match event {
                    Event::Incoming { call, .. } => Some(*call),
                    _ => None,
                })
                .collect();
            let count = rung.len();
            rung.sort_unstable();
            rung.dedup();
            assert_eq!(rung.len(), count, "after {after}: a phone rang twice for one call");
        }
        if self.world.seen(self.alice).any(|event| end_of(event, self.call).is_some()) {
            assert!(after.contains("CrashPhone"), "after {after}: a call ended that both still heard");
        } else {
            self.goes_on(after);
            self.world.hang_up(self.alice, self.call);
        }
        self.world.run(60 * SECOND);
        for phone in [self.alice, self.bob] {
            assert!(self.world.talking(phone).is_empty(), "after {after}: nobody talks to nobody");
        }
        self.call();
        // Nothing is left of it all but the call that was just made.
        let load = self.world.load(self.node).expect("it runs");
        assert_eq!((load.held, self.world.unacknowledged(self.node)), (0, Some(0)), "after {after}: {load:?}");
        assert_eq!(load.bound, self.everybody().len(), "after {after}: {load:?}");
    }
}

fn worlds(from: u64) -> Chaos {
    let mut last = None;
    for seed in from..from + WORLDS {
        let mut chaos = Chaos::new(seed);
        for _ in 0..ROUNDS {
            chaos.round();
        }
        last = Some(chaos);
    }
    last.expect("a world")
}

#[test]
fn cus_1_whatever_fails_nothing_is_lost_and_nothing_ends() {
    worlds(0);
}
