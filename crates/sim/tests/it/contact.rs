//! First contact between people whose phones are not always there.

use std::time::Duration;

use dsip_proto::agent::{Event, Policy};
use dsip_proto::wire::{Did, Reason, Ulid};
use dsip_sim::network::HostId;
use dsip_sim::world::{Setup, World};

use crate::end_of;

const SECOND: Duration = Duration::from_secs(1);

/// Alice, and Bob who lets nobody call that he does not know; each on a node of their own.
struct Scene {
    world: World,
    alice: HostId,
    bob: HostId,
    his: HostId,
}

fn scene(seed: u64) -> Scene {
    let mut world = World::new(seed);
    let (hers, his) = (world.add_node("alpha", 0), world.add_node("beta", 0));
    let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(hers));
    let careful = Policy { first_contact: true, ..Policy::default() };
    let bob = world.add_phone(Setup { policy: careful, ..Setup::of("bob", "bob-phone") }, Some(his));
    world.run(3 * SECOND);
    Scene { world, alice, bob, his }
}

impl Scene {
    fn introduce(&mut self, token: Option<&str>) -> Ulid {
        let (bob, relay) = (self.world.did("bob"), self.world.relay(self.his));
        let token = token.map(str::to_owned);
        let asked = self.world.command(self.alice, |agent, now| {
            agent.introduce(now, bob, vec![relay], Some("we met on the train".into()), token)
        });
        asked.expect("an introduction that can be sent")
    }

    /// The introductions Bob has been shown.
    fn requests(&self) -> Vec<(Ulid, Did)> {
        let introduced = self.world.seen(self.bob).filter_map(|event| match event {
            Event::Introduced { introduction, party, .. } => Some((*introduction, party.identity.clone())),
            _ => None,
        });
        introduced.collect()
    }

    fn is_granted(&self, introduction: Ulid) -> bool {
        let mut seen = self.world.seen(self.alice);
        seen.any(|event| matches!(event, Event::Granted { introduction: granted, .. } if *granted == introduction))
    }

    /// Alice calls Bob: whether they talk, and with which reason the call ended if they do not.
    fn call(&mut self) -> Result<(), Option<Reason>> {
        let call = self.world.call(self.alice, "bob", self.his);
        self.world.run(6 * SECOND);
        let both = [self.alice, self.bob].map(|phone| self.world.talking(phone).contains(&call));
        assert_eq!(both[0], both[1], "both or neither");
        let reason = self.world.seen(self.alice).find_map(|event| end_of(event, call)).map(|(reason, _)| reason);
        self.world.hang_up(self.alice, call);
        self.world.run(2 * SECOND);
        if both[0] { Ok(()) } else { Err(reason) }
    }

    fn has_rung(&self) -> bool {
        self.world.seen(self.bob).any(|event| matches!(event, Event::Incoming { .. }))
    }
}

#[test]
fn a_stranger_asks_is_let_in_and_shut_out_again() {
    for seed in 0..10 {
        let mut scene = scene(seed);
        assert_eq!(scene.call(), Err(Some(Reason::POLICY_FIRST_CONTACT_REQUIRED)));
        assert!(!scene.has_rung(), "FC-2: nothing rings, nothing is missed");
        let introduction = scene.introduce(None);
        scene.world.run(2 * SECOND);
        assert_eq!(scene.requests(), [(introduction, scene.world.did("alice"))]);
        assert!(!scene.has_rung() && !scene.is_granted(introduction), "FC-3: silence so far");
        let bob = scene.bob;
        let grant = scene.world.command(bob, |agent, now| agent.grant(now, introduction)).expect("a pending request");
        scene.world.run(2 * SECOND);
        assert!(scene.is_granted(introduction));
        assert_eq!(scene.call(), Ok(()));
        scene.world.command(bob, |agent, now| agent.revoke(now, grant)).expect("a grant to take back");
        assert_eq!(scene.call(), Err(Some(Reason::POLICY_FIRST_CONTACT_REQUIRED)));
    }
}

#[test]
fn a_token_lets_one_in_once() {
    let mut scene = scene(1);
    let bob = scene.bob;
    scene.world.command(bob, |agent, now| agent.issue_token(now, "train".into())).expect("room for a token");
    let first = scene.introduce(Some("train"));
    scene.world.run(2 * SECOND);
    assert!(scene.is_granted(first), "without Bob doing anything");
    assert_eq!(scene.call(), Ok(()));
    let second = scene.introduce(Some("train"));
    scene.world.run(2 * SECOND);
    assert!(!scene.is_granted(second), "FC-4");
}

#[test]
fn an_introduction_waits_for_a_phone_that_is_off_and_outlives_its_restarts() {
    for seed in 0..10 {
        let mut scene = scene(seed);
        let bob = scene.bob;
        scene.world.crash(bob);
        scene.world.run(5 * SECOND);
        let introduction = scene.introduce(None);
        // Longer than the replay window: a held message is accepted for as long as it says (RPL-6).
        scene.world.run(3_600 * SECOND);
        scene.world.restart(bob);
        scene.world.run(90 * SECOND);
        assert_eq!(scene.requests().len(), 1);
        scene.world.crash(bob);
        scene.world.restart(bob);
        scene.world.run(90 * SECOND);
        assert_eq!(scene.requests().len(), 1, "it is not delivered again");
        scene.world.command(bob, |agent, now| agent.grant(now, introduction)).expect("a request that was kept");
        scene.world.crash(bob);
        scene.world.restart(bob);
        scene.world.run(90 * SECOND);
        assert_eq!(scene.call(), Ok(()), "the grant was kept");
    }
}

#[test]
fn a_refusal_comes_back_and_opens_nothing() {
    let mut scene = scene(1);
    let introduction = scene.introduce(None);
    scene.world.run(2 * SECOND);
    let bob = scene.bob;
    let refusal = scene.world.command(bob, |agent, now| agent.reject_introduction(now, introduction, None));
    refusal.expect("a pending request");
    scene.world.run(2 * SECOND);
    let told = scene.world.seen(scene.alice).any(|event| {
        matches!(event, Event::IntroductionRejected { introduction: refused, reason }
            if *refused == introduction && *reason == Reason::USER_DECLINED)
    });
    assert!(told);
    assert_eq!(scene.call(), Err(Some(Reason::POLICY_FIRST_CONTACT_REQUIRED)));
}
