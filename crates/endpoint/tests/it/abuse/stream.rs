//! Any octets as what a peer writes on a QUIC stream.

use dsip_endpoint::link::MAX_FRAME;
use dsip_endpoint::link::framing::{Frame, preamble, read_frame, read_preamble};
use futures_util::FutureExt as _;

pub(crate) fn run(data: &[u8]) {
    let mut octets = data;
    let Some(Ok(stream)) = read_preamble(&mut octets).now_or_never() else { return };
    let mut written = preamble(stream).to_vec();
    while let Ok(Some(frame)) = read_frame(&mut octets).now_or_never().expect("octets that are here are not waited for")
    {
        assert!(!matches!(&frame, Frame::Text(text) if text.len() > MAX_FRAME));
        written.extend(frame.octets());
    }
    // There is one way to write anything.
    assert!(data.starts_with(&written));
}
