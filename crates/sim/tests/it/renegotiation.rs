//! Changes in mid-call: accepted, refused, and those that nobody may make.

use std::time::Duration;

use dsip_proto::agent::{Description, Event, Misuse};
use dsip_proto::wire::message::Update;
use dsip_proto::wire::{Message, Reason, Ulid};
use dsip_sim::network::HostId;
use dsip_sim::world::{Manner, Setup, World, offer, selection};

const SECOND: Duration = Duration::from_secs(1);

/// Alice and Bob, talking.
struct Talk {
    world: World,
    alice: HostId,
    bob: HostId,
    call: Ulid,
}

impl Talk {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let node = world.add_node("beta", 0);
        let alice = world.add_phone(Setup::of("alice", "alice-phone"), None);
        let bob = world.add_phone(Setup::of("bob", "bob-phone").who(Manner::Accepts(SECOND)), Some(node));
        world.run(2 * SECOND);
        let call = world.call(alice, "bob", node);
        world.run(4 * SECOND);
        let talk = Self { world, alice, bob, call };
        talk.goes_on();
        talk
    }

    fn goes_on(&self) {
        for phone in [self.alice, self.bob] {
            assert!(self.world.talking(phone).contains(&self.call), "the call goes on");
        }
    }

    /// Alice wants a change.
    fn propose(&mut self, offer: Description) -> Result<(), Misuse> {
        let call = self.call;
        let done = self.world.command(self.alice, |agent, now| agent.update(now, call, offer, None));
        self.world.run(SECOND);
        done
    }

    /// How many changes Bob was shown.
    fn shown(&self) -> usize {
        self.world.seen(self.bob).filter(|event| matches!(event, Event::UpdateOffered { .. })).count()
    }

    fn refusals(&self) -> Vec<Reason> {
        let refused = |event: &Event| match event {
            Event::UpdateRejected { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        self.world.seen(self.alice).filter_map(refused).collect()
    }
}

/// What a media engine would offer after it restarted ICE.
fn restarted() -> Description {
    let offer = offer();
    Description { sdp: offer.sdp.replace("ice-ufrag:abcd", "ice-ufrag:zzzz"), ..offer }
}

#[test]
fn web_85_a_change_is_accepted_and_the_next_one_may_follow() {
    for seed in 0..10 {
        let mut talk = Talk::new(seed);
        for round in 1..=3 {
            assert_eq!(talk.propose(offer()), Ok(()));
            assert_eq!(talk.shown(), round);
            let call = talk.call;
            let accepted = talk.world.command(talk.bob, |agent, now| agent.accept_update(now, call, selection()));
            assert_eq!(accepted, Ok(()));
            talk.world.run(SECOND);
            talk.goes_on();
        }
        assert_eq!(talk.refusals(), []);
    }
}

#[test]
fn web_95_a_refused_change_leaves_the_call_as_it_was() {
    for seed in 0..10 {
        let mut talk = Talk::new(seed);
        assert_eq!(talk.propose(offer()), Ok(()));
        assert!(talk.propose(offer()).is_err(), "one at a time");
        let (call, reason) = (talk.call, Reason::USER_DECLINED);
        let refused = talk.world.command(talk.bob, |agent, now| agent.reject_update(now, call, reason));
        assert_eq!(refused, Ok(()));
        talk.world.run(SECOND);
        assert_eq!(talk.refusals(), [Reason::USER_DECLINED]);
        talk.goes_on();
        assert_eq!(talk.propose(offer()), Ok(()), "and the next one may follow");
    }
}

#[test]
fn web_88_our_own_restart_is_a_bug_that_never_leaves() {
    let mut talk = Talk::new(1);
    assert_eq!(talk.propose(restarted()), Err(Misuse::IceRestart));
    assert_eq!(talk.shown(), 0);
    assert_eq!(talk.propose(offer()), Ok(()), "nothing is pending");
    assert_eq!(talk.shown(), 1);
}

#[test]
fn web_88_a_peer_s_restart_is_refused_unseen_and_the_call_goes_on() {
    for seed in 0..10 {
        let mut talk = Talk::new(seed);
        let (call, to) = (talk.call, talk.world.device(talk.bob));
        let Description { media, .. } = restarted();
        let transports = Some(restarted().transports());
        talk.world.smuggle(talk.alice, |common| {
            Message::Update(Update { common, to, session: call, media, transports, answered_by: None, policy: None })
        });
        talk.world.run(SECOND);
        assert_eq!(talk.shown(), 0, "nobody is asked");
        talk.goes_on();
        // Bob's phone is open to what it could grant.
        assert_eq!(talk.propose(offer()), Ok(()));
        assert_eq!(talk.shown(), 1);
    }
}
