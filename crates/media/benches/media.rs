//! What a call costs: coding, packets, set-up. Each is given as a share of one core that one call keeps busy.
//!
//! `cargo bench -p dsip-media --bench media`. The fastest of several rounds counts.

// The engine counts from some instant; this measures with real ones anyway.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dsip_media::audio::resample::resample;
use dsip_media::call::{Call, Config, Datagram, Direction, Event, Offer, Offered, Origin, Output, Permit};
use dsip_media::codec::FRAME;
use dsip_media::codec::opus::{Decoder, Encoder};
use dsip_proto::time::Tick;

const ROUNDS: usize = 5;

/// Real time of one frame.
const REAL: Duration = Duration::from_millis(20);

fn main() {
    let speech = speech();
    let frames: Vec<&[f32]> = speech.chunks_exact(FRAME).collect();
    println!(
        "{:.1} s of speech, 20 ms a frame; share: of one core, for one call in one direction\n",
        frames.len() as f64 / 50.0
    );

    let encode = fastest(|| {
        let mut encoder = Encoder::for_file();
        for frame in &frames {
            black_box(encoder.encode(frame));
        }
    }) / frames.len() as u32;
    let mut encoder = Encoder::for_file();
    let packets: Vec<Vec<u8>> = frames.iter().filter_map(|frame| encoder.encode(frame)).collect();
    let decode = fastest(|| {
        let mut decoder = Decoder::new();
        for packet in &packets {
            black_box(decoder.decode(packet));
        }
    }) / packets.len() as u32;
    let conceal = fastest(|| {
        let mut decoder = Decoder::new();
        for (index, packet) in packets.iter().enumerate() {
            if index % 2 == 0 {
                black_box(decoder.decode(packet));
            } else {
                black_box(decoder.conceal(FRAME));
            }
        }
    }) / packets.len() as u32;
    row("encode a frame", encode);
    row("decode a frame", decode);
    row("decode every other frame, conceal the rest", conceal);

    let mut line = Line::new();
    let batch = 500;
    let carried = line.frames;
    let carry = fastest(|| line.talk(batch, &packets)) / batch;
    assert_eq!(line.frames - carried, u64::from(batch) * ROUNDS as u64, "every packet arrived");
    row("send a packet, protect it, take it in", carry);
    println!("  {:.0} packets a second and core through both ends", 1.0 / carry.as_secs_f64());

    let set_up = fastest(|| {
        black_box(Line::new());
    });
    println!(
        "\nset-up, both ends, keys and certificates included: {:.1} ms of one core",
        set_up.as_secs_f64() * 1000.0
    );
}

fn row(what: &str, cost: Duration) {
    let share = cost.as_secs_f64() / REAL.as_secs_f64() * 100.0;
    println!("{what:<45} {:>8.1} µs   {share:>6.2} %", cost.as_secs_f64() * 1e6);
}

fn fastest(mut act: impl FnMut()) -> Duration {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            act();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn speech() -> Vec<f32> {
    let wav = include_bytes!("../../dsip/assets/alice.wav");
    let samples = wav[44..].chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0);
    resample(&samples.collect::<Vec<_>>(), 16_000, 48_000)
}

/// Two calls joined by nothing but a loop, in virtual time.
struct Line {
    now: Tick,
    calls: [Call; 2],
    frames: u64,
    time: u32,
}

impl Line {
    fn new() -> Self {
        let addresses = [SocketAddr::from(([10, 0, 0, 1], 4000)), SocketAddr::from(([10, 0, 0, 2], 5000))];
        let config = || Config::new(Origin::new(Instant::now()));
        let now = Tick::from_micros(1_000_000);
        let (offer, description) = Offer::new(config(), now, Direction::SendRecv, &addresses[..1]);
        let mut offered = Offered::new(config(), now, description).expect("our own offer");
        offered.add_local(addresses[1]);
        let (answer, description) = offered.answer(now, Direction::SendRecv).expect("our own offer");
        let callee = answer.activate(now, Permit::session_is_active());
        let caller = offer.accept(now, &description.sdp, Permit::session_is_active()).expect("our own answer");
        let mut line = Self { now, calls: [caller, callee], frames: 0, time: 0 };
        while !line.calls.iter().all(Call::can_send) {
            line.step();
        }
        line
    }

    fn step(&mut self) {
        self.now = self.now + REAL;
        for call in &mut self.calls {
            call.tick(self.now);
        }
        while [0, 1].map(|index| self.carry(index)).contains(&true) {}
    }

    fn talk(&mut self, count: u32, packets: &[Vec<u8>]) {
        for packet in packets.iter().cycle().take(count as usize) {
            self.time = self.time.wrapping_add(FRAME as u32);
            self.calls[0].send(self.now, self.time, false, packet);
            self.step();
        }
    }

    fn carry(&mut self, from: usize) -> bool {
        match self.calls[from].poll() {
            Output::Transmit { source, destination, payload } => {
                self.calls[1 - from].handle(self.now, Datagram { source, destination, payload: &payload });
                true
            }
            Output::Event(event) => {
                self.frames += u64::from(matches!(event, Event::Frame(_)));
                true
            }
            Output::Idle { .. } => false,
        }
    }
}
