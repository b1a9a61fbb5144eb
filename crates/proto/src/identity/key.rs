//! Ed25519 keys and the DID URLs that name them (ID-2, ID-10 to ID-13, ALG-1, ALG-2).

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use rand_chacha::rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::wire::Did;

/// The multicodec prefix of an Ed25519 public key (ID-10).
const ED25519: [u8; 2] = [0xed, 0x01];

/// No multibase Ed25519 key is longer; base58 takes quadratic time, so longer text is not even tried.
const MAX_MULTIBASE: usize = 64;

/// A key that signs. It is erased when dropped, and cannot be printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

/// The key that signs for a device: held here, or kept by whoever drives us, out of our reach.
///
/// What an external key has to sign leaves [`Unsigned`](crate::wire::Unsigned), and the driver completes it. No rule depends on
/// which of the two it is.
#[derive(Debug, Clone)]
pub enum DeviceKey {
    /// Held in this memory.
    Held(SecretKey),
    /// Known by its public half alone.
    External(PublicKey),
}

/// A key that checks signatures.
///
/// It may name no point of the curve, or a weak one: the contract resolves any 32 octets (ID-12), and such a key simply
/// never verifies anything (ALG-2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    octets: [u8; 32],
    /// The decompressed point, so that verifying does not do it again.
    point: Option<VerifyingKey>,
}

/// The text is not a multibase Ed25519 key (ID-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 key in multibase form")]
pub struct PublicKeyError;

/// The DID URL of a verification method: `<DID>#<fragment>` (ID-2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    did: Did,
    fragment: String,
}

/// The text is not a DID URL with a fragment (`kid-invalid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key id: it has to look like did:method:identifier#fragment")]
pub struct KeyIdError;

impl SecretKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut());
        Self::from_bytes(&secret)
    }

    /// The key of this secret.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The secret, for storing it; erased when dropped.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The key that checks what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let point = self.0.verifying_key();
        PublicKey { octets: point.to_bytes(), point: Some(point) }
    }

    /// The `did:key` of this key.
    #[must_use]
    pub fn did(&self) -> Did {
        self.public().did()
    }

    /// Signs `bytes`.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

impl DeviceKey {
    /// The key that checks what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Held(key) => key.public(),
            Self::External(key) => *key,
        }
    }

    /// The `did:key` of this key.
    #[must_use]
    pub fn did(&self) -> Did {
        self.public().did()
    }

    /// Signs `bytes`, if the key is here.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Option<[u8; 64]> {
        match self {
            Self::Held(key) => Some(key.sign(bytes)),
            Self::External(_) => None,
        }
    }
}

impl From<SecretKey> for DeviceKey {
    fn from(key: SecretKey) -> Self {
        Self::Held(key)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.did())
    }
}

impl PublicKey {
    /// The key of these octets.
    #[must_use]
    pub fn from_bytes(octets: [u8; 32]) -> Self {
        // ALG-2: a weak key or a second spelling of a point verifies nothing, whatever the signature.
        let point = VerifyingKey::from_bytes(&octets).ok().filter(|key| !key.is_weak() && is_canonical(&octets));
        Self { octets, point }
    }

    /// The 32 octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.octets
    }

    /// Reads the multibase form (ID-12).
    pub fn from_multibase(text: &str) -> Result<Self, PublicKeyError> {
        let encoded = text.strip_prefix('z').filter(|rest| rest.len() < MAX_MULTIBASE).ok_or(PublicKeyError)?;
        let octets = bs58::decode(encoded).into_vec().map_err(|_| PublicKeyError)?;
        let key = octets.strip_prefix(&ED25519).ok_or(PublicKeyError)?;
        Ok(Self::from_bytes(key.try_into().map_err(|_| PublicKeyError)?))
    }

    /// Whether it can verify anything at all (ALG-2).
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.point.is_some()
    }

    /// The multibase form (ID-10).
    #[must_use]
    pub fn to_multibase(&self) -> String {
        let mut octets = [0; 34];
        octets[..2].copy_from_slice(&ED25519);
        octets[2..].copy_from_slice(&self.octets);
        format!("z{}", bs58::encode(octets).into_string())
    }

    /// The key that a `did:key` is (ID-12).
    pub fn of_did(did: &Did) -> Result<Self, PublicKeyError> {
        if did.method() != "key" {
            return Err(PublicKeyError);
        }
        Self::from_multibase(did.specific())
    }

    /// The `did:key` of this key (ID-10).
    #[must_use]
    pub fn did(&self) -> Did {
        #[expect(clippy::expect_used, reason = "base58 text satisfies the syntax of ID-1")]
        format!("did:key:{}", self.to_multibase()).parse().expect("a did:key is a DID")
    }

    /// The one verification method of this key's `did:key` (ID-13).
    #[must_use]
    pub fn kid(&self) -> KeyId {
        KeyId { did: self.did(), fragment: self.to_multibase() }
    }

    /// Whether `signature` is this key's over `bytes`, without leniency (ALG-2).
    ///
    /// This is `verify_strict` without its decompression of R, an eighth of the whole: plain `verify` computes R anew and
    /// compares encodings, so that R is a canonical one, and of those eight are of small order. The key was checked when it
    /// was made.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let (Some(point), Ok(signature)) = (&self.point, Signature::from_slice(signature)) else { return false };
        !SMALL_ORDER.contains(signature.r_bytes()) && point.verify(bytes, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_multibase())
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        Self::from_multibase(text)
    }
}

impl KeyId {
    /// The method `fragment` of `did`; refuses an empty fragment.
    pub fn new(did: Did, fragment: &str) -> Result<Self, KeyIdError> {
        if fragment.is_empty() { Err(KeyIdError) } else { Ok(Self { did, fragment: fragment.to_owned() }) }
    }

    /// The only key id of a `did:key` (ID-13).
    pub fn of_did_key(did: &Did) -> Result<Self, PublicKeyError> {
        PublicKey::of_did(did)?;
        Ok(Self { did: did.clone(), fragment: did.specific().to_owned() })
    }

    /// The DID before the fragment: the signer (DEL-20).
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// What follows the `#`.
    #[must_use]
    pub fn fragment(&self) -> &str {
        &self.fragment
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let (did, fragment) = text.split_once('#').ok_or(KeyIdError)?;
        Self::new(did.parse().map_err(|_| KeyIdError)?, fragment)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.did, self.fragment)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The canonical encodings of the points whose order divides eight.
const SMALL_ORDER: [[u8; 32]; 8] = {
    const fn y(low: [u8; 16], high: [u8; 16], sign: u8) -> [u8; 32] {
        let mut octets = [0; 32];
        let mut at = 0;
        while at < 16 {
            octets[at] = low[at];
            octets[at + 16] = high[at];
            at += 1;
        }
        octets[31] |= sign;
        octets
    }
    const A: [[u8; 16]; 2] = [
        0x26e8_958f_c2b2_27b0_45c3_f489_f2ef_98f0_u128.to_be_bytes(),
        0xd5df_ac05_d3c6_3339_b138_0288_6d53_fc05_u128.to_be_bytes(),
    ];
    const B: [[u8; 16]; 2] = [
        0xc717_6a70_3d4d_d84f_ba3c_0b76_0d10_670f_u128.to_be_bytes(),
        0x2a20_53fa_2c39_ccc6_4ec7_fd77_92ac_037a_u128.to_be_bytes(),
    ];
    [
        y(1u128.to_le_bytes(), [0; 16], 0),
        y((u128::MAX - 0x13).to_le_bytes(), (u128::MAX >> 1).to_le_bytes(), 0),
        y([0; 16], [0; 16], 0),
        y([0; 16], [0; 16], 0x80),
        y(A[0], A[1], 0),
        y(A[0], A[1], 0x80),
        y(B[0], B[1], 0),
        y(B[0], B[1], 0x80),
    ]
};

/// RFC 8032, 5.1.3: the y coordinate is below 2^255 - 19. The top bit is the sign of x.
fn is_canonical(octets: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = octets;
    !(*lowest >= 0xed && middle.iter().all(|byte| *byte == 0xff) && highest & 0x7f == 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> SecretKey {
        use sha2::Digest as _;
        SecretKey::from_bytes(&sha2::Sha256::digest(format!("dsip-vector:{name}")).into())
    }

    #[test]
    fn id_10_and_id_13_check_values() {
        let alice = key("alice-phone").public();
        assert_eq!(alice.did().as_str(), "did:key:z6Mkg9oRSg6APtrMJP8iekQm8yPc9ore3E4SJ5bF7Cw1qFCu");
        assert_eq!(
            alice.kid().to_string(),
            "did:key:z6Mkg9oRSg6APtrMJP8iekQm8yPc9ore3E4SJ5bF7Cw1qFCu#z6Mkg9oRSg6APtrMJP8iekQm8yPc9ore3E4SJ5bF7Cw1qFCu"
        );
        assert_eq!(PublicKey::of_did(&alice.did()), Ok(alice));
    }

    #[test]
    fn id_12_anything_else_is_unresolvable() {
        let good = key("alice").public().to_multibase();
        let other_codec = format!("z{}", bs58::encode([&[0xec, 0x01][..], &[9; 32]].concat()).into_string());
        let short = format!("z{}", bs58::encode([&ED25519[..], &[9; 31]].concat()).into_string());
        for bad in ["", "z", &good[1..], &format!("m{}", &good[1..]), &other_codec, &short, "z0OIl"] {
            assert!(PublicKey::from_multibase(bad).is_err(), "{bad}");
        }
        assert!(PublicKey::of_did(&"did:web:example.com".parse().expect("a DID")).is_err());
        assert!(PublicKey::from_multibase(&format!("z{}", "1".repeat(100_000))).is_err(), "and that quickly");
    }

    #[test]
    fn alg_2_weak_and_non_canonical_keys_verify_nothing() {
        // The neutral element: with it, R = sB and S = s would verify for every message under lenient rules.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut respelled = [0xff; 32];
        respelled[0] = 0xee;
        respelled[31] = 0x7f;
        for octets in [neutral, respelled, [0xff; 32]] {
            assert!(PublicKey::from_bytes(octets).point.is_none());
            assert!(!PublicKey::from_bytes(octets).verifies(b"x", &[0; 64]));
        }
    }

    #[test]
    fn alg_2_the_eight_points_of_small_order() {
        for (at, octets) in SMALL_ORDER.iter().enumerate() {
            let point = VerifyingKey::from_bytes(octets).expect("a point");
            assert!(point.is_weak() && is_canonical(octets), "{at}");
            assert_eq!(SMALL_ORDER.iter().filter(|other| *other == octets).count(), 1);
        }
    }

    #[test]
    fn alg_2_no_more_lenient_than_the_strict_verification_of_dalek() {
        let alice = key("alice");
        let (good, point) = (alice.sign(b"x"), alice.0.verifying_key());
        let mut signatures = vec![good, [0; 64], [0xff; 64]];
        for at in 0..64 {
            signatures.extend([1u8, 0x80].map(|bit| {
                let mut changed = good;
                changed[at] ^= bit;
                changed
            }));
        }
        for small in SMALL_ORDER {
            let mut mixed = good;
            mixed[..32].copy_from_slice(&small);
            signatures.push(mixed);
            mixed[32..].fill(0);
            signatures.push(mixed);
        }
        for signature in signatures {
            let strict = point.verify_strict(b"x", &Signature::from_bytes(&signature)).is_ok();
            assert_eq!(alice.public().verifies(b"x", &signature), strict);
        }
        // Under a key with a component of small order, a small R may satisfy the equation: r = 0 makes it one.
        let weak = PublicKey::from_bytes(SMALL_ORDER[0]);
        let mut forged = [0; 64];
        forged[..32].copy_from_slice(&SMALL_ORDER[0]);
        assert!(!weak.verifies(b"x", &forged));
    }

    #[test]
    fn signatures_of_another_length_do_not_verify() {
        let alice = key("alice");
        let signature = alice.sign(b"x");
        assert!(alice.public().verifies(b"x", &signature));
        assert!(!alice.public().verifies(b"x", &signature[..63]));
        assert!(!alice.public().verifies(b"y", &signature));
    }

    #[test]
    fn a_secret_key_prints_nothing_secret() {
        let alice = key("alice");
        assert_eq!(format!("{alice:?}"), format!("SecretKey(of {})", alice.did()));
    }
}
