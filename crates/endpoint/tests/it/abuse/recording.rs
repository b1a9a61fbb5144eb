//! Any bytes as an audio file.

pub(crate) fn run(data: &[u8]) {
    match dsip_endpoint::audio::decode(data) {
        Ok(samples) => {
            assert!(!samples.is_empty());
            assert!(samples.iter().all(|sample| sample.abs() <= 1.0));
        }
        Err(why) => assert!(!why.is_empty()),
    }
}
