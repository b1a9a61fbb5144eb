//! Any bytes as a record from the overlay, as they are and as the payload of a well-signed one.

use dsip_proto::hints;
use dsip_proto::identity::Documents;

use super::frame::{NOW, signed, verifier};

/// An accepted record stands by itself, and any number of times.
pub(crate) fn run(data: &[u8]) {
    for frame in
        [std::str::from_utf8(data).map(str::to_owned).ok(), Some(signed(r#"{"alg":"EdDSA","kid":"KID"}"#, data))]
    {
        let Some(frame) = frame else { continue };
        let mut verifier = verifier();
        let Ok(record) = hints::verify(&mut verifier, &frame, NOW, &Documents::default()) else { continue };
        assert_eq!(**record.text(), *frame);
        let again = hints::verify(&mut verifier, &frame, NOW, &Documents::default()).expect("the same record again");
        assert_eq!(again.standing(), record.standing());
        let found = hints::fold([record, again], NOW).expect("a live record");
        assert!(!found.contradicted);
    }
}
