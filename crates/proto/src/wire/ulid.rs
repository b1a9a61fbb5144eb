//! Message ids: ULIDs in upper-case Crockford base32 (ULID-1, ULID-2, ULID-4).

use std::fmt;
use std::str::FromStr;

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Wall;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A message id. Ordered as its text is, byte by byte (ULID-4). A session is named by the id of its invite (SES-1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ulid(u128);

/// The text is not a ULID in the sense of ULID-1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a ULID: it has to be 26 characters of upper-case Crockford base32")]
pub struct UlidSyntaxError;

impl Ulid {
    /// A fresh id for a message issued at `wall`, with 80 bits from `rng` (ULID-2, ULID-5).
    pub fn generate(wall: Wall, rng: &mut impl Rng) -> Self {
        let random = u128::from(rng.next_u64()) << 16 | u128::from(rng.next_u32() & 0xffff);
        Self(u128::from(wall.millis() & 0xffff_ffff_ffff) << 80 | random)
    }

    /// The id that stands for these 128 bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits the text stands for.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// The Unix milliseconds in the first ten characters (ULID-2).
    #[must_use]
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 >> 80).unwrap_or(u64::MAX)
    }
}

impl FromStr for Ulid {
    type Err = UlidSyntaxError;

    fn from_str(text: &str) -> Result<Self, UlidSyntaxError> {
        let bytes = text.as_bytes();
        // Twenty-six characters carry 130 bits, so the first one may only use three of its five.
        if bytes.len() != 26 || bytes.first().is_none_or(|first| *first > b'7') {
            return Err(UlidSyntaxError);
        }
        bytes.iter().try_fold(0u128, |value, byte| digit(*byte).map(|digit| value << 5 | u128::from(digit))).map(Self)
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..26).rev() {
            let index = usize::try_from(self.0 >> (place * 5) & 31).unwrap_or_default();
            f.write_str(std::str::from_utf8(&ALPHABET[index..=index]).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Ulid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ulid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn digit(byte: u8) -> Result<u8, UlidSyntaxError> {
    ALPHABET.iter().position(|b| *b == byte).and_then(|at| u8::try_from(at).ok()).ok_or(UlidSyntaxError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulid_2_check_value() {
        let id: Ulid = "01K742SG001QG79X9HH56TS8SW".parse().expect("the check value of ULID-2");
        assert_eq!(id.millis(), 1_760_000_000_000);
        assert_eq!(id.to_string(), "01K742SG001QG79X9HH56TS8SW");
    }

    #[test]
    fn ulid_1_refuses_lower_case_and_overflow() {
        assert!("01k742sg001qg79x9hh56ts8sw".parse::<Ulid>().is_err());
        assert!("81K742SG001QG79X9HH56TS8SW".parse::<Ulid>().is_err());
        assert!("01K742SG001QG79X9HH56TS8S".parse::<Ulid>().is_err());
    }
}
