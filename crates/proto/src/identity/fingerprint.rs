//! A key in a form that two people, or one with two screens, can compare.

use sha2::{Digest as _, Sha256};

use crate::wire::Did;

/// Groups of five digits, and how many.
const GROUPS: usize = 6;

/// What two screens show alike for one DID: 30 digits, about 100 bits, in groups for reading aloud. Each group is made of five
/// octets of a SHA-256 over the DID; whoever wants two keys to look alike has to find a second preimage of all of them.
#[must_use]
pub fn fingerprint(did: &Did) -> [String; GROUPS] {
    let mut hash = Sha256::new();
    hash.update(b"dsip-fingerprint:");
    hash.update(did.as_str());
    let digest = hash.finalize();
    let mut groups = digest.chunks(5).map(|octets| {
        let number = octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        format!("{:05}", number % 100_000)
    });
    std::array::from_fn(|_| groups.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_key_looks_different_and_the_form_is_fixed() {
        let did = |text: &str| text.parse::<Did>().expect("a DID");
        let one = fingerprint(&did("did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf"));
        assert!(one.iter().all(|group| group.len() == 5 && group.bytes().all(|digit| digit.is_ascii_digit())));
        assert_eq!(one, fingerprint(&did("did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf")));
        assert_ne!(one, fingerprint(&did("did:key:z6Mkg9oRSg6APtrMJP8iekQm8yPc9ore3E4SJ5bF7Cw1qFCu")));
    }
}
