//! Mallory has a phone, a key and a place on the same nodes as everybody else, and no say in the calls of others (§1.2).

use std::time::Duration;

use dsip_proto::agent::{Event, Suspicion};
use dsip_proto::wire::media::Transport;
use dsip_proto::wire::message::{Answer, Bye, Cancel, Common, Error, Progress, Reject, Update};
use dsip_proto::wire::token::{AnsweredBy, Status};
use dsip_proto::wire::{Did, Message, Reason, Ulid};
use dsip_sim::network::HostId;
use dsip_sim::world::{Manner, Setup, World, offer};

use crate::end_of;

const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    world: World,
    alice: HostId,
    bob: HostId,
    /// On Alice's node, and on Bob's.
    mallories: [HostId; 2],
    call: Ulid,
}

/// Alice calls Bob by way of his node. She is bound to hers as well, so that anybody there can reach her.
fn calling(seed: u64, bob: Manner) -> Scene {
    let mut world = World::new(seed);
    let (hers, his) = (world.add_node("alpha", 0), world.add_node("beta", 0));
    let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(hers));
    let bob = world.add_phone(Setup::of("bob", "bob-phone").who(bob), Some(his));
    let mallories = [("mallory-1", hers), ("mallory-2", his)]
        .map(|(name, node)| world.add_phone(Setup::of("mallory", name), Some(node)));
    world.run(3 * SECOND);
    let call = world.call(alice, "bob", his);
    world.run(SECOND);
    Scene { world, alice, bob, mallories, call }
}

/// Everything that could move a session, addressed to `to`.
fn attacks(to: &Did, session: Ulid) -> Vec<Box<dyn FnOnce(Common) -> Message>> {
    let description = offer();
    let (media, transports): (Vec<_>, Vec<Transport>) = (description.media.clone(), description.transports());
    let to = || to.clone();
    let (a, b, c, d, e, f, g) = (to(), to(), to(), to(), to(), to(), to());
    let (detail, retry_after) = (None::<String>, None);
    let (m, t) = (media.clone(), transports.clone());
    vec![
        Box::new(move |common| Bye { common, to: a, session, reason: Reason::USER_HANGUP, detail, retry_after }.into()),
        Box::new(move |common| {
            Cancel { common, to: b, session, reason: Reason::USER_CANCELLED, detail: None, retry_after: None }.into()
        }),
        Box::new(move |common| {
            let reason = Reason::USER_DECLINED;
            Reject { common, to: c, session, reason, detail: None, retry_after: None, in_reply_to: None }.into()
        }),
        Box::new(move |common| {
            let answered_by = AnsweredBy::USER;
            Answer { common, to: d, session, answered_by, media: m, transports: t, policy: None, in_reply_to: None }
                .into()
        }),
        Box::new(move |common| {
            let status = Status::RINGING;
            Progress { common, to: e, session, status, ring_timeout: Some(300), queue_timeout: None }.into()
        }),
        Box::new(move |common| {
            Update { common, to: f, session, media, transports: Some(transports), answered_by: None, policy: None }
                .into()
        }),
        Box::new(move |common| {
            // As the caller's relay would say that nobody is there.
            let (reason, in_reply_to) = (Reason::TRANSPORT_UNKNOWN_RECIPIENT, Some(session));
            Error { common, to: g, reason, detail: None, retry_after: None, session: None, in_reply_to }.into()
        }),
    ]
}

impl Scene {
    /// Mallory says everything to both, from both places.
    fn attack(&mut self) {
        for mallory in self.mallories {
            for victim in [self.alice, self.bob] {
                let to = self.world.device(victim);
                for attack in attacks(&to, self.call) {
                    self.world.smuggle(mallory, attack);
                }
            }
        }
        self.world.run(SECOND);
    }

    fn noticed(&self, phone: HostId) -> usize {
        let is_noticed = |event: &&Event| matches!(event, Event::Security { what: Suspicion::NotAParty { .. }, session, .. } if *session == Some(self.call));
        self.world.seen(phone).filter(is_noticed).count()
    }
}

#[test]
fn pty_2_4_a_stranger_moves_no_call_that_rings() {
    // PTY-2, PTY-4
    for seed in 0..10 {
        let mut scene = calling(seed, Manner::Accepts(5 * SECOND));
        scene.attack();
        for phone in [scene.alice, scene.bob] {
            assert!(scene.world.talking(phone).is_empty(), "SES-7: nobody talks to Mallory");
            assert!(scene.world.seen(phone).all(|event| end_of(event, scene.call).is_none()), "it still rings");
            // A relay lets through what is not its attempt's business, and stops the rest (RLY-19).
            assert!(scene.noticed(phone) >= 2, "PTY-5: and the owner can know");
        }
        scene.world.run(8 * SECOND);
        for phone in [scene.alice, scene.bob] {
            assert!(scene.world.talking(phone).contains(&scene.call), "Bob picked up as if nothing had happened");
        }
    }
}

#[test]
fn pty_3_4_a_stranger_moves_no_call_that_is_active() {
    // PTY-3, PTY-4
    for seed in 0..10 {
        let mut scene = calling(seed, Manner::Accepts(SECOND));
        scene.world.run(5 * SECOND);
        scene.attack();
        for phone in [scene.alice, scene.bob] {
            assert!(scene.world.talking(phone).contains(&scene.call));
            assert!(scene.world.seen(phone).all(|event| !matches!(event, Event::UpdateOffered { .. })));
            assert!(scene.noticed(phone) >= 2);
        }
        let (alice, call) = (scene.alice, scene.call);
        scene.world.hang_up(alice, call);
        scene.world.run(3 * SECOND);
        assert!(scene.world.talking(scene.bob).is_empty(), "those who have a say still do");
    }
}

#[test]
fn pty_5_a_call_that_is_over_stays_over() {
    let mut scene = calling(1, Manner::Accepts(SECOND));
    scene.world.run(5 * SECOND);
    let (alice, call) = (scene.alice, scene.call);
    scene.world.hang_up(alice, call);
    scene.world.run(3 * SECOND);
    scene.attack();
    for phone in [scene.alice, scene.bob] {
        assert!(scene.world.talking(phone).is_empty());
        let ends = scene.world.seen(phone).filter(|event| end_of(event, scene.call).is_some()).count();
        assert_eq!(ends, 1);
    }
}
