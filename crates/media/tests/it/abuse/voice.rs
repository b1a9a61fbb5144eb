//! Any packets of an authenticated peer at the listener: three bytes say when each comes and what number and time it claims,
//! a length byte precedes its payload. Playing stays in real time and within full scale.

use std::time::Duration;

use dsip_media::call::{Frame, Link};
use dsip_media::codec::FRAME;
use dsip_media::voice::Listener;
use dsip_proto::time::Tick;

pub(crate) fn run(data: &[u8]) {
    let mut listener = Listener::new();
    let mut now = Tick::from_micros(1_000_000);
    let (mut seq, mut time) = (1_000_u64, 48_000_u64);
    let mut rest = data;
    for _ in 0..128 {
        let Some(([wait, step, jump, length], more)) = rest.split_first_chunk() else { break };
        let (payload, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        seq = seq.wrapping_add(u64::from(*step)).wrapping_sub(2);
        time = match jump {
            // The extremes, which an extended timestamp of a hostile sender may approach.
            255 => u64::MAX / 2,
            254 => 0,
            _ => time.wrapping_add(u64::from(*jump) * 120),
        };
        listener.hear(now, &Frame { seq, time, payload: payload.to_vec() });
        for _ in 0..wait % 4 {
            now = now + Duration::from_millis(20);
            let pcm = listener.play(now);
            assert_eq!(pcm.len(), FRAME);
            assert!(pcm.iter().all(|sample| sample.abs() <= 1.0));
        }
    }
    let report = listener.report(0, &Link::default());
    assert!(report.mos.is_none_or(|mos| (1.0..=4.5).contains(&mos)));
}
