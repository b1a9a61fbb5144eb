//! Any text as a peer's offer, as its answer, and as its update.

use std::time::Instant;

use dsip_media::call::{Config, Description, Descriptor, Direction, Offer, Offered, Origin, Permit};
use dsip_proto::time::Tick;

pub(crate) fn run(data: &[u8]) {
    let Ok(sdp) = std::str::from_utf8(data) else { return };
    let config = || Config::new(Origin::new(Instant::now()));
    let now = Tick::from_micros(1_000_000);
    let local = [std::net::SocketAddr::from(([10, 0, 0, 1], 4000))];
    let description = Description { sdp: sdp.into(), media: vec![Descriptor::audio(Direction::SendRecv)] };

    if let Ok(offered) = Offered::new(config(), now, description.clone())
        && let Ok((answer, made)) = offered.answer(now, Direction::RecvOnly)
    {
        assert!(made.sdp.starts_with("v=0\r\n"));
        let mut call = answer.activate(now, Permit::session_is_active());
        let _ = call.answer(now, &description, Direction::SendRecv);
    }
    let (offer, _) = Offer::new(config(), now, Direction::SendRecv, &local);
    if let Ok(mut call) = offer.accept(now, sdp, Permit::session_is_active()) {
        let _ = call.offer(now, Direction::Inactive);
        let _ = call.accept(now, sdp);
        call.add_remote_candidate(now, sdp);
    }
}
