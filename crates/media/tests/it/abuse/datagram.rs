//! Any datagrams at a connected call, under its peer's address and under a stranger's. The input is cut into datagrams by a
//! length byte before each. Whatever comes, the call stays up and goes on carrying audio.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dsip_media::call::{Call, Config, Datagram, Direction, Event, Offer, Offered, Origin, Output, Permit};
use dsip_media::stun::Query;
use dsip_proto::time::Tick;

/// Two calls joined by nothing but a loop.
struct Line {
    now: Tick,
    calls: [Call; 2],
    frames: u32,
    time: u32,
}

const ADDRESSES: [([u8; 4], u16); 2] = [([10, 0, 0, 1], 4000), ([10, 0, 0, 2], 5000)];

impl Line {
    fn new() -> Self {
        let config = || Config::new(Origin::new(Instant::now()));
        let now = Tick::from_micros(1_000_000);
        let (offer, description) = Offer::new(config(), now, Direction::SendRecv, &[SocketAddr::from(ADDRESSES[0])]);
        let mut offered = Offered::new(config(), now, description).expect("our own offer");
        offered.add_local(SocketAddr::from(ADDRESSES[1]));
        let (answer, description) = offered.answer(now, Direction::SendRecv).expect("our own offer");
        let callee = answer.activate(now, Permit::session_is_active());
        let caller = offer.accept(now, &description.sdp, Permit::session_is_active()).expect("our own answer");
        let mut line = Self { now, calls: [caller, callee], frames: 0, time: 0 };
        for _ in 0..100 {
            line.step();
        }
        assert!(line.calls.iter().all(Call::can_send), "the line is up");
        line
    }

    /// 20 ms: timers, packets, and a frame each way.
    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(20);
        self.time += 960;
        for index in [0, 1] {
            self.calls[index].tick(self.now);
            self.calls[index].send(self.now, self.time, false, &[8, 1, 2, 3]);
        }
        while [0, 1].map(|index| self.carry(index)).contains(&true) {}
    }

    fn carry(&mut self, from: usize) -> bool {
        match self.calls[from].poll() {
            Output::Transmit { source, destination, payload } => {
                self.calls[1 - from].handle(self.now, Datagram { source, destination, payload: &payload });
                true
            }
            Output::Event(Event::Frame(_)) => {
                self.frames += 1;
                true
            }
            Output::Event(Event::Failed(failure)) => panic!("a datagram ended the call: {failure:?}"),
            Output::Event(_) => true,
            Output::Idle { .. } => false,
        }
    }
}

thread_local! {
    static LINE: RefCell<Option<Line>> = const { RefCell::new(None) };
}

pub(crate) fn run(data: &[u8]) {
    LINE.with_borrow_mut(|line| {
        let line = line.get_or_insert_with(Line::new);
        let mut query = Query::new(SocketAddr::from(ADDRESSES[0]), *b"transaction.", line.now);
        let mut rest = data;
        let mut turn = 0;
        while let Some((length, more)) = rest.split_first() {
            let (payload, more) = more.split_at(more.len().min(usize::from(*length)));
            rest = more;
            turn += 1;
            let stranger = ([192, 0, 2, 66], 666);
            let source = SocketAddr::from(if turn % 3 == 0 { stranger } else { ADDRESSES[0] });
            let destination = SocketAddr::from(ADDRESSES[1]);
            query.handle(line.now, source, payload);
            line.calls[1].handle(line.now, Datagram { source, destination, payload });
            if turn > 64 {
                break;
            }
        }
        let before = line.frames;
        for _ in 0..3 {
            line.step();
        }
        assert!(line.frames >= before + 4, "audio goes on: {} frames", line.frames - before);
    });
}
