//! base64url without padding, one spelling per value (ENV-2).
//!
//! Only public bytes pass here, so a table is used: constant-time decoding of a whole envelope would cost as much as a
//! third of verifying its signature.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Marks a byte that is not in the alphabet; no six-bit value has these bits.
const INVALID: u8 = 0xff;

const VALUES: [u8; 256] = values();

/// Appends the encoding of `bytes` to `text`.
pub fn encode_into(bytes: &[u8], text: &mut String) {
    let digit = |bits: u32| ALPHABET[(bits & 63) as usize];
    let mut encoded = vec![0; (bytes.len() * 4).div_ceil(3)];
    let mut quads = encoded.chunks_exact_mut(4);
    let mut triples = bytes.chunks_exact(3);
    for (triple, quad) in triples.by_ref().zip(quads.by_ref()) {
        let bits = u32::from(triple[0]) << 16 | u32::from(triple[1]) << 8 | u32::from(triple[2]);
        quad.copy_from_slice(&[digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)]);
    }
    let rest = quads.into_remainder();
    match *triples.remainder() {
        [a] => rest.copy_from_slice(&[digit(u32::from(a) >> 2), digit(u32::from(a) << 4)]),
        [a, b] => {
            let bits = u32::from(a) << 8 | u32::from(b);
            rest.copy_from_slice(&[digit(bits >> 10), digit(bits >> 4), digit(bits << 2)]);
        }
        _ => {}
    }
    // The alphabet is ASCII.
    text.push_str(str::from_utf8(&encoded).unwrap_or_default());
}

/// The encoding of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    encode_into(bytes, &mut text);
    text
}

/// The bytes that `text` encodes; nothing for padding, foreign characters, an impossible length or spare bits that are
/// not zero (ENV-2).
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let value = |byte: u8| VALUES[usize::from(byte)];
    let mut bytes = vec![0; text.len() * 3 / 4];
    let mut triples = bytes.chunks_exact_mut(3);
    let mut quads = text.as_bytes().chunks_exact(4);
    let mut seen = 0;
    for (quad, triple) in quads.by_ref().zip(triples.by_ref()) {
        let [a, b, c, d] = [value(quad[0]), value(quad[1]), value(quad[2]), value(quad[3])];
        seen |= a | b | c | d;
        triple.copy_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
    }
    let rest = triples.into_remainder();
    let spare = match *quads.remainder() {
        [] => 0,
        [a, b] => {
            let [a, b] = [value(a), value(b)];
            seen |= a | b;
            rest.copy_from_slice(&[a << 2 | b >> 4]);
            b & 0x0f
        }
        [a, b, c] => {
            let [a, b, c] = [value(a), value(b), value(c)];
            seen |= a | b | c;
            rest.copy_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]);
            c & 0x03
        }
        _ => return None,
    };
    // A valid value never has the two upper bits.
    (seen & 0xc0 == 0 && spare == 0).then_some(bytes)
}

const fn values() -> [u8; 256] {
    let mut values = [INVALID; 256];
    let mut at = 0;
    while at < ALPHABET.len() {
        values[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_2_round_trips_every_length() {
        for length in 0..70u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37).wrapping_add(length)).collect();
            assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn env_2_refuses_every_other_spelling() {
        for bad in ["A", "AAAAA", "AA==", "A+AA", "A/AA", "AA A", "AB", "AAB", "é", "AAA\n"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        assert_eq!(decode("AA"), Some(vec![0]));
    }
}
