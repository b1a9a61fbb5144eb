//! What the virtual network promises to the worlds that stand on it.

use std::time::Duration;

use dsip_proto::time::Tick;
use dsip_sim::network::{Event, HostId, LinkId, Network, Path};

const FOREVER: Tick = Tick::from_micros(u64::MAX / 2);

struct Two {
    network: Network,
    a: HostId,
    b: HostId,
    link: LinkId,
}

fn two(seed: u64) -> Two {
    let mut network = Network::new(seed);
    let (a, b) = (network.add_host("a", 0), network.add_host("b", 0));
    let link = network.connect(a, b);
    assert_eq!(network.next(FOREVER), Some((b, Event::Accepted { link, from: a })));
    assert_eq!(network.next(FOREVER), Some((a, Event::Opened(link))));
    Two { network, a, b, link }
}

fn drain(network: &mut Network, until: Tick) -> Vec<(HostId, Event)> {
    std::iter::from_fn(|| network.next(until)).collect()
}

/// Everything that happens in the next two minutes.
fn settle(network: &mut Network) -> Vec<(HostId, Event)> {
    let later = network.tick() + Duration::from_secs(120);
    drain(network, later)
}

#[test]
fn frames_arrive_in_order_whatever_is_lost() {
    for seed in 0..50 {
        let Two { mut network, a, b, link } = two(seed);
        network.set_path(a, b, Path { loss: 200, ..Path::default() });
        for n in 0..100u8 {
            network.send(link, a, vec![n]);
        }
        let got = drain(&mut network, FOREVER);
        let frames: Vec<u8> = got
            .iter()
            .map_while(|(_, event)| match event {
                Event::Received { frame, .. } => frame.first().copied(),
                _ => None,
            })
            .collect();
        assert!(frames.iter().copied().eq(0..100u8), "seed {seed}: {frames:?}");
    }
}

#[test]
fn a_run_repeats_from_its_seed() {
    let run = |seed| {
        let Two { mut network, a, b, link } = two(seed);
        network.set_path(a, b, Path { loss: 300, ..Path::default() });
        for n in 0..20u8 {
            network.send(link, a, vec![n]);
        }
        let mut times = Vec::new();
        while network.next(FOREVER).is_some() {
            times.push(network.tick());
        }
        times
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_short_cut_delays_and_a_long_one_breaks() {
    let Two { mut network, a, b, link } = two(1);
    network.cut(a, b);
    network.send(link, a, vec![1]);
    let mending = network.tick() + Duration::from_secs(10);
    assert!(drain(&mut network, mending).is_empty(), "nothing passes a cut");
    network.mend(a, b);
    network.send(link, a, vec![2]);
    let got = settle(&mut network);
    let frame = |n| (b, Event::Received { link, frame: vec![n] });
    assert_eq!(got, [frame(1), frame(2)]);
    network.cut(a, b);
    assert_eq!(settle(&mut network), [(a, Event::Closed(link)), (b, Event::Closed(link))]);
}

#[test]
fn a_crash_breaks_links_and_refuses_until_the_restart() {
    let Two { mut network, a, b, link } = two(1);
    network.crash(b);
    assert_eq!(settle(&mut network), [(a, Event::Closed(link))]);
    let refused = network.connect(a, b);
    assert_eq!(settle(&mut network), [(a, Event::Failed(refused))]);
    network.restart(b);
    let link = network.connect(a, b);
    assert_eq!(settle(&mut network), [(b, Event::Accepted { link, from: a }), (a, Event::Opened(link))]);
}

#[test]
fn each_host_reads_its_own_wall_clock() {
    let mut network = Network::new(0);
    let (slow, fast) = (network.add_host("slow", -120), network.add_host("fast", 120));
    assert_eq!(network.now(fast).wall.secs() - network.now(slow).wall.secs(), 240);
    assert_eq!(network.now(fast).tick, network.now(slow).tick);
}
