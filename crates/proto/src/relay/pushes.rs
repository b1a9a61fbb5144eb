//! Requests to push services that are under way or have still to be made (docs/spec/wake.md).
//!
//! ```text
//!  submit ─► ready, in line at its service ─► flying ─► done
//!               ▲                               │ throttled, failed
//!               └────────── later ◄─────────────┘     or given up: its time is over, or too many attempts
//! ```
//!
//! Somebody who registers endpoints chooses which servers this node talks to, and they may answer slowly or never. So a service
//! that has not taken anything yet gets few places, all such services together a part of them, and one that fails for one device
//! after another is left alone for a while.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::time::Tick;
use crate::wake::{Cause, Endpoint, Outcome, Push};
use crate::wire::Did;

/// WAK-30: requests at one time, and how many of them to services that have not proven themselves.
const MAX_FLYING: usize = 256;
const MAX_UNPROVEN: usize = 64;

/// Requests to one service at one time, and to one that has not proven itself.
const EACH: usize = 32;
const EACH_UNPROVEN: usize = 4;

/// Requests that wait for their turn, or for another attempt. More are not taken.
const MAX_WAITING: usize = 16_384;

/// Services remembered. Those that owe nothing and are owed nothing make room.
const MAX_SERVICES: usize = 4_096;

/// WAK-31: how often one is tried, and how long after a failure; twice as long after each.
const ATTEMPTS: u32 = 6;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// WAK-32: a service that fails for so many devices one after another is left alone, longer each time.
const FAILURES: usize = 5;
const FIRST_REST: Duration = Duration::from_secs(30);
const LONGEST_REST: Duration = Duration::from_secs(600);

/// What is under way and what waits.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    jobs: BTreeMap<u64, Job>,
    by_device: BTreeMap<(Did, Cause), u64>,
    /// When to try what again.
    later: BTreeSet<(Tick, u64)>,
    /// When what is of no use any more.
    ends: BTreeSet<(Tick, u64)>,
    services: BTreeMap<Arc<str>, Service>,
    /// Services that have something to do and may, in turn: those that have proven themselves, and the others.
    turns: [VecDeque<Arc<str>>; 2],
    /// When services are tried again.
    rests: BTreeSet<(Tick, Arc<str>)>,
    flying: [usize; 2],
    last: u64,
}

#[derive(Debug)]
struct Job {
    device: Did,
    endpoint: Endpoint,
    service: Arc<str>,
    cause: Cause,
    until: Tick,
    attempts: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Later(Tick),
    /// Counted among the proven or the others.
    Flying {
        unproven: bool,
    },
    /// The same, and nobody waits for it any more.
    Forgotten {
        unproven: bool,
    },
}

#[derive(Debug, Default)]
struct Service {
    ready: BTreeSet<(Cause, u64)>,
    flying: usize,
    /// Whether it has taken something.
    proven: bool,
    /// Whether it stands in line.
    in_line: bool,
    /// For whom it failed since it last answered.
    failed: BTreeSet<Did>,
    rest: Duration,
    /// Until when it is left alone; after that one request at a time goes there, until one is answered.
    resting: Option<Tick>,
    probing: bool,
}

impl Service {
    fn places(&self) -> usize {
        match (self.resting, self.probing, self.proven) {
            (Some(_), ..) => 0,
            (None, true, _) => 1,
            (None, false, true) => EACH,
            (None, false, false) => EACH_UNPROVEN,
        }
    }
}

/// There is no room for more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What becomes of a device whose push is done with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It was taken.
    Taken(Did),
    /// This endpoint is of no use any more.
    Useless(Did, Endpoint),
    /// It was refused, or tried too often.
    GivenUp(Did),
    /// It will be tried again.
    Later,
    /// Nobody waits for it.
    Nothing,
}

impl Pushes {
    /// Has `device` woken, until then. One that waits already for the same cause is as good.
    pub(super) fn submit(&mut self, device: &Did, endpoint: &Endpoint, cause: Cause, until: Tick) -> Result<(), Full> {
        if let Some(id) = self.by_device.get(&(device.clone(), cause)).copied()
            && let Some(job) = self.jobs.get_mut(&id)
        {
            if job.endpoint == *endpoint {
                self.ends.remove(&(job.until, id));
                job.until = job.until.max(until);
                self.ends.insert((job.until, id));
                return Ok(());
            }
            self.forget_job(id);
        }
        if self.jobs.len() >= MAX_WAITING {
            return Err(Full);
        }
        let service = self.service(endpoint.origin()).ok_or(Full)?;
        self.last += 1;
        let id = self.last;
        self.by_device.insert((device.clone(), cause), id);
        self.ends.insert((until, id));
        let (device, endpoint) = (device.clone(), endpoint.clone());
        let job = Job { device, endpoint, service, cause, until, attempts: 0, state: State::Later(Tick::default()) };
        self.jobs.insert(id, job);
        self.make_ready(id);
        Ok(())
    }

    /// The next request to make.
    pub(super) fn next(&mut self, now: Tick) -> Option<Push> {
        let free = |flying: [usize; 2]| flying[0] + flying[1] < MAX_FLYING;
        for unproven in [false, true] {
            if !free(self.flying) || unproven && self.flying[1] >= MAX_UNPROVEN {
                break;
            }
            while let Some(name) = self.turns[usize::from(unproven)].pop_front() {
                let Some(service) = self.services.get_mut(&name) else { continue };
                service.in_line = false;
                if service.proven == unproven {
                    self.line_up(&name); // it has proven itself since
                    continue;
                }
                if service.flying >= service.places() {
                    continue;
                }
                let Some((_, id)) = service.ready.pop_first() else { continue };
                service.flying += 1;
                self.flying[usize::from(unproven)] += 1;
                self.line_up(&name);
                let Some(job) = self.jobs.get_mut(&id) else { continue };
                job.state = State::Flying { unproven };
                job.attempts += 1;
                let left = job.until.since(now).as_secs().max(1);
                let ttl = u32::try_from(left).unwrap_or(u32::MAX);
                return Some(Push { id, endpoint: job.endpoint.clone(), cause: job.cause, ttl });
            }
        }
        None
    }

    /// What became of a request.
    pub(super) fn done(&mut self, now: Tick, id: u64, outcome: Outcome, rng: &mut impl Rng) -> Done {
        let Some(job) = self.jobs.get(&id) else { return Done::Nothing };
        let (State::Flying { unproven } | State::Forgotten { unproven }) = job.state else { return Done::Nothing };
        let is_wanted = matches!(job.state, State::Flying { .. });
        let (name, device, attempts, until) = (job.service.clone(), job.device.clone(), job.attempts, job.until);
        self.flying[usize::from(unproven)] -= 1;
        self.judge(now, &name, &device, outcome);
        self.line_up(&name);
        let after = match outcome {
            Outcome::Throttled(after) | Outcome::Failed(after) => after.unwrap_or_default(),
            Outcome::Taken | Outcome::Gone | Outcome::Refused | Outcome::Forbidden | Outcome::Unusable => {
                let job = self.remove(id);
                return match (outcome, job) {
                    (Outcome::Taken, _) => Done::Taken(device),
                    (Outcome::Refused, _) | (_, None) => Done::GivenUp(device),
                    (_, Some(job)) => Done::Useless(device, job.endpoint),
                };
            }
        };
        // WAK-31
        let doubled = FIRST_RETRY.saturating_mul(1 << (attempts - 1).min(16)).min(LONGEST_RETRY);
        let jitter = Duration::from_micros(rng.next_u64() % (1 + u64::try_from(doubled.as_micros()).unwrap_or(0) / 2));
        let at = now + after.max(doubled) + jitter;
        if !is_wanted {
            self.remove(id);
            return Done::Nothing;
        }
        if attempts >= ATTEMPTS || at >= until {
            self.remove(id);
            return Done::GivenUp(device);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = State::Later(at);
            self.later.insert((at, id));
        }
        Done::Later
    }

    /// The device is there, or has no endpoint any more: nothing more is sent for its sake.
    pub(super) fn forget(&mut self, device: &Did) {
        for cause in [Cause::Call, Cause::Mail] {
            if let Some(id) = self.by_device.get(&(device.clone(), cause)).copied() {
                self.forget_job(id);
            }
        }
    }

    /// What the clock does. Says how many have waited in vain.
    pub(super) fn expire(&mut self, now: Tick) -> usize {
        while let Some((at, name)) = self.rests.first().cloned()
            && at <= now
        {
            self.rests.pop_first();
            if let Some(service) = self.services.get_mut(&name) {
                (service.resting, service.probing) = (None, true);
            }
            self.line_up(&name);
        }
        let mut over = 0;
        while let Some((at, id)) = self.ends.first().copied()
            && at <= now
        {
            self.ends.pop_first();
            // What flies is counted when it lands.
            if self.jobs.get(&id).is_some_and(|job| matches!(job.state, State::Ready | State::Later(_))) {
                over += 1;
                self.remove(id);
            }
        }
        while let Some((at, id)) = self.later.first().copied()
            && at <= now
        {
            self.later.pop_first();
            self.make_ready(id);
        }
        over
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(super) fn wake(&self) -> Option<Tick> {
        let later = self.later.first().map(|(at, _)| *at);
        let ends = self.ends.first().map(|(at, _)| *at);
        let rests = self.rests.first().map(|(at, _)| *at);
        [later, ends, rests].into_iter().flatten().min()
    }

    /// How many are under way.
    pub(super) const fn flying(&self) -> usize {
        self.flying[0] + self.flying[1]
    }

    /// What an outcome says about the service.
    fn judge(&mut self, now: Tick, name: &Arc<str>, device: &Did, outcome: Outcome) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.flying -= 1;
        match outcome {
            Outcome::Taken | Outcome::Gone | Outcome::Refused | Outcome::Throttled(_) => {
                service.proven |= outcome == Outcome::Taken;
                service.failed.clear();
                (service.probing, service.rest) = (false, Duration::ZERO);
            }
            Outcome::Failed(_) => {
                service.failed.insert(device.clone());
                if service.resting.is_none() && (service.probing || service.failed.len() >= FAILURES) {
                    // WAK-32
                    service.failed.clear();
                    service.rest = (service.rest * 2).clamp(FIRST_REST, LONGEST_REST);
                    let until = now + service.rest;
                    service.resting = Some(until);
                    self.rests.insert((until, name.clone()));
                }
            }
            // Our own doing, which says nothing about it.
            Outcome::Forbidden | Outcome::Unusable => {}
        }
    }

    /// Puts the service in line if there is something that it may do.
    fn line_up(&mut self, name: &Arc<str>) {
        let Some(service) = self.services.get_mut(name) else { return };
        if !service.in_line && !service.ready.is_empty() && service.flying < service.places() {
            service.in_line = true;
            self.turns[usize::from(!service.proven)].push_back(name.clone());
        }
    }

    fn make_ready(&mut self, id: u64) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| matches!(job.state, State::Later(_))) else { return };
        job.state = State::Ready;
        let (name, cause) = (job.service.clone(), job.cause);
        self.services.entry(name.clone()).or_default().ready.insert((cause, id));
        self.line_up(&name);
    }

    /// The service of this name, made if need be and there is room.
    fn service(&mut self, name: &str) -> Option<Arc<str>> {
        if let Some((name, _)) = self.services.get_key_value(name) {
            return Some(name.clone());
        }
        if self.services.len() >= MAX_SERVICES {
            // Those that only wait to try again come back when they do.
            self.services
                .retain(|_, service| !service.ready.is_empty() || service.flying > 0 || service.resting.is_some());
            for turns in &mut self.turns {
                turns.retain(|name| self.services.contains_key(name));
            }
            if self.services.len() >= MAX_SERVICES {
                return None;
            }
        }
        let name: Arc<str> = name.into();
        self.services.insert(name.clone(), Service::default());
        Some(name)
    }

    /// Nobody waits for this one any more; if it flies, its outcome is still counted.
    fn forget_job(&mut self, id: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let State::Flying { unproven } = job.state else { return drop(self.remove(id)) };
        job.state = State::Forgotten { unproven };
        self.by_device.remove(&(job.device.clone(), job.cause));
        self.ends.remove(&(job.until, id));
    }

    fn remove(&mut self, id: u64) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        let key = (job.device.clone(), job.cause);
        if self.by_device.get(&key) == Some(&id) {
            self.by_device.remove(&key);
        }
        self.ends.remove(&(job.until, id));
        match job.state {
            State::Ready => {
                if let Some(service) = self.services.get_mut(&job.service) {
                    service.ready.remove(&(job.cause, id));
                }
            }
            State::Later(at) => drop(self.later.remove(&(at, id))),
            State::Flying { .. } | State::Forgotten { .. } => {}
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Seed;

    const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const START: Tick = Tick::from_micros(1_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    struct Bench {
        pushes: Pushes,
        now: Tick,
        rng: rand_chacha::ChaCha20Rng,
    }

    fn device(number: usize) -> Did {
        format!("did:web:d{number}.example").parse().expect("a DID")
    }

    impl Bench {
        fn new() -> Self {
            Self { pushes: Pushes::default(), now: START, rng: Seed::new([1; 32]).into_rng() }
        }

        fn submit(&mut self, number: usize, host: &str) -> Result<(), Full> {
            let endpoint = Endpoint::new(&format!("https://{host}/{number}"), P256DH, AUTH).expect("one");
            self.pushes.submit(&device(number), &endpoint, Cause::Call, self.now + MINUTE)
        }

        fn start_all(&mut self) -> Vec<Push> {
            std::iter::from_fn(|| self.pushes.next(self.now)).collect()
        }

        fn done(&mut self, push: &Push, outcome: Outcome) -> Done {
            self.pushes.done(self.now, push.id, outcome, &mut self.rng)
        }

        fn pass(&mut self, by: Duration) -> usize {
            self.now = self.now + by;
            self.pushes.expire(self.now)
        }
    }

    #[test]
    fn wak_30_services_get_places_as_they_prove_themselves() {
        let mut bench = Bench::new();
        for number in 0..100 {
            bench.submit(number, "one.example").expect("room");
        }
        let first = bench.start_all();
        assert_eq!(first.len(), EACH_UNPROVEN);
        assert_eq!(bench.done(&first[0], Outcome::Taken), Done::Taken(device(0)));
        assert_eq!(bench.start_all().len(), EACH - EACH_UNPROVEN + 1);

        // However many others there are, and however slow, what has proven itself goes on.
        for number in 1_000..2_000 {
            bench.submit(number, &format!("h{number}.example")).expect("room");
        }
        assert_eq!(bench.start_all().len(), MAX_UNPROVEN - (EACH_UNPROVEN - 1));
        assert_eq!(bench.done(&first[1], Outcome::Taken), Done::Taken(device(1)));
        let next = bench.start_all();
        assert!(next.iter().any(|push| push.endpoint.origin() == "https://one.example"), "{next:?}");
        assert!(bench.pushes.flying() <= MAX_FLYING);
    }

    #[test]
    fn wak_30_what_waits_is_bounded() {
        let mut bench = Bench::new();
        let taken = (0..MAX_WAITING + 5).filter(|number| bench.submit(*number, "one.example").is_ok()).count();
        assert_eq!(taken, MAX_WAITING);
        assert_eq!(bench.submit(3, "one.example"), Ok(()), "one that waits already is as good");
        let mut bench = Bench::new();
        let many = (0..MAX_SERVICES + 5).filter(|number| bench.submit(*number, &format!("h{number}.example")).is_ok());
        assert_eq!(many.count(), MAX_SERVICES);
        assert_eq!(bench.pass(MINUTE), MAX_SERVICES, "none was started in time");
        assert_eq!(bench.submit(1, "another.example"), Ok(()), "those with nothing to do made room");
    }

    #[test]
    fn wak_31_what_failed_is_tried_again_later_and_later_while_it_is_of_use() {
        let mut bench = Bench::new();
        bench.submit(1, "one.example").expect("room");
        let push = bench.start_all().remove(0);
        assert_eq!(push.ttl, 60);
        assert_eq!(bench.done(&push, Outcome::Throttled(Some(Duration::from_secs(20)))), Done::Later);
        bench.pass(Duration::from_secs(19));
        assert_eq!(bench.start_all(), [], "Retry-After is honoured");
        bench.pass(Duration::from_secs(2));
        let push = bench.start_all().remove(0);
        assert!(push.ttl <= 39, "the time that is left: {}", push.ttl);
        assert_eq!(bench.done(&push, Outcome::Throttled(Some(MINUTE))), Done::GivenUp(device(1)), "that is too late");
        assert_eq!(bench.pushes.wake(), None);

        bench.submit(2, "one.example").expect("room");
        let mut attempts = 0;
        let outcome = loop {
            for push in bench.start_all() {
                attempts += 1;
                if bench.done(&push, Outcome::Throttled(None)) != Done::Later {
                    break;
                }
            }
            let Some(wake) = bench.pushes.wake() else { break attempts };
            let by = wake.since(bench.now);
            bench.pass(by);
        };
        assert!((4..=ATTEMPTS).contains(&outcome), "{outcome}");
    }

    #[test]
    fn wak_32_a_service_that_fails_is_left_alone_and_then_probed() {
        let mut bench = Bench::new();
        for number in 0..20 {
            bench.submit(number, "one.example").expect("room");
        }
        let mut failed = 0;
        loop {
            let flying = bench.start_all();
            if flying.is_empty() {
                break;
            }
            for push in flying {
                bench.done(&push, Outcome::Failed(None));
                failed += 1;
            }
        }
        assert!((FAILURES..FAILURES + EACH_UNPROVEN).contains(&failed), "{failed} were sent to find out");
        bench.submit(50, "two.example").expect("room");
        assert_eq!(bench.start_all().len(), 1, "others are not concerned");
        bench.pass(FIRST_REST);
        let probes = bench.start_all();
        assert_eq!(probes.len(), 1);
        bench.done(&probes[0], Outcome::Failed(None));
        bench.pass(FIRST_REST);
        assert_eq!(bench.start_all().len(), 0, "twice as long after each");
        for number in 100..120 {
            bench.submit(number, "one.example").expect("room");
        }
        bench.pass(FIRST_REST);
        let probe = bench.start_all().remove(0);
        bench.done(&probe, Outcome::Taken);
        assert!(bench.start_all().len() > 1, "it works again");
    }

    #[test]
    fn wak_33_a_device_that_came_is_not_woken_any_more() {
        let mut bench = Bench::new();
        for number in 1..=2 {
            bench.submit(number, "one.example").expect("room");
        }
        bench.pushes.forget(&device(1));
        let flying = bench.start_all();
        assert_eq!(flying.len(), 1);
        bench.pushes.forget(&device(2));
        assert_eq!(bench.done(&flying[0], Outcome::Failed(None)), Done::Nothing, "and not again");
        assert_eq!((bench.pushes.flying(), bench.pushes.wake()), (0, None));
        assert!(bench.pushes.jobs.is_empty() && bench.pushes.by_device.is_empty());
    }

    #[test]
    fn wak_40_an_endpoint_that_is_gone_is_said_to_be() {
        for outcome in [Outcome::Gone, Outcome::Forbidden, Outcome::Unusable] {
            let mut bench = Bench::new();
            bench.submit(1, "one.example").expect("room");
            let push = bench.start_all().remove(0);
            assert_eq!(bench.done(&push, outcome), Done::Useless(device(1), push.endpoint.clone()));
            assert_eq!(bench.done(&push, outcome), Done::Nothing, "once");
        }
    }
}
