//! A secret under a passphrase: Argon2id stretches the passphrase, XChaCha20-Poly1305 seals the secret. The form is the same in a
//! home directory, in a browser, and in a backup that goes from one to the other.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::wire::base64url;

/// Fresh randomness that sealing takes: a salt of 16 octets, then a nonce of 24.
pub const RANDOM: usize = 16 + 24;

/// What guards a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A passphrase that a person thought of.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// A passphrase that nobody thought of: 256 random bits, for a file that unlocks without a person.
    #[must_use]
    pub fn random(bits: &[u8; 32]) -> Self {
        Self::new(base64url::encode(bits))
    }

    /// What was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// How much work a guess costs. Stored beside the sealed secret, so that it can be raised without breaking old files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Work {
    /// For what people think of: 64 MiB and three passes, the second choice of RFC 9106, 4.
    pub const PERSON: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
    /// For 256 random bits, which nobody guesses at any price.
    pub const RANDOM: Self = Self { memory_kib: 64, passes: 1, lanes: 1 };
    /// A file that asks for more than this wants to exhaust the machine.
    const MOST: Self = Self { memory_kib: 1024 * 1024, passes: 64, lanes: 16 };

    fn argon2(self) -> Option<Argon2<'static>> {
        let most = Self::MOST;
        if self.memory_kib > most.memory_kib || self.passes > most.passes || self.lanes > most.lanes {
            return None;
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).ok()?;
        Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

/// A sealed secret, as it rests in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    kdf: Kdf,
    #[serde(flatten)]
    work: Work,
    salt: String,
    cipher: Cipher,
    nonce: String,
    sealed: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kdf {
    #[serde(rename = "argon2id")]
    Argon2id,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Cipher {
    #[serde(rename = "xchacha20-poly1305")]
    XChaCha20Poly1305,
}

/// Why a sealed secret stayed shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    /// The passphrase is another one, or the sealed bytes or the label were changed: the two look the same.
    #[error("the passphrase does not open it, or it was changed")]
    WrongPassphrase,
    /// The file's own numbers make no sense.
    #[error("it is not a sealed secret")]
    Malformed,
}

impl Sealed {
    /// Seals `secret`. It opens only under the same `label`, so a sealed key cannot be passed off as another's. `random` is used
    /// once. `None` if there is not as much memory as `work` asks for.
    #[must_use]
    pub fn seal(
        secret: &[u8],
        label: &str,
        passphrase: &Passphrase,
        work: Work,
        random: &[u8; RANDOM],
    ) -> Option<Self> {
        let (salt, nonce) = random.split_at(16);
        let sealed = key(passphrase, salt, work).and_then(|cipher| {
            let nonce = XNonce::try_from(nonce).ok()?;
            cipher.encrypt(&nonce, Payload { msg: secret, aad: label.as_bytes() }).ok()
        });
        // Both lengths are fixed above and the work is one of our constants, so only memory can be missing.
        let sealed = sealed?;
        Some(Self {
            kdf: Kdf::Argon2id,
            work,
            salt: base64url::encode(salt),
            cipher: Cipher::XChaCha20Poly1305,
            nonce: base64url::encode(nonce),
            sealed: base64url::encode(&sealed),
        })
    }

    /// Seals another secret, or the same under another label, at the same cost.
    #[must_use]
    pub fn reseal(
        &self,
        secret: &[u8],
        label: &str,
        passphrase: &Passphrase,
        random: &[u8; RANDOM],
    ) -> Option<Self> {
        Self::seal(secret, label, passphrase, self.work, random)
    }

    /// Opens what [`Sealed::seal`] sealed under the same label and passphrase.
    ///
    /// # Errors
    /// [`Shut`], and which of the two.
    pub fn open(&self, label: &str, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, Shut> {
        let decode = |text: &str| base64url::decode(text).ok_or(Shut::Malformed);
        let (salt, nonce, sealed) = (decode(&self.salt)?, decode(&self.nonce)?, decode(&self.sealed)?);
        let nonce = XNonce::try_from(nonce.as_slice()).map_err(|_| Shut::Malformed)?;
        let cipher = key(passphrase, &salt, self.work).ok_or(Shut::Malformed)?;
        let opened = cipher.decrypt(&nonce, Payload { msg: &sealed, aad: label.as_bytes() });
        opened.map(Zeroizing::new).map_err(|_| Shut::WrongPassphrase)
    }
}

fn key(passphrase: &Passphrase, salt: &[u8], work: Work) -> Option<XChaCha20Poly1305> {
    let mut key = Zeroizing::new([0u8; 32]);
    work.argon2()?.hash_password_into(passphrase.as_str().as_bytes(), salt, &mut *key).ok()?;
    XChaCha20Poly1305::new_from_slice(&*key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_under_its_passphrase_and_label_only() {
        let right = Passphrase::new("correct horse");
        let sealed = Sealed::seal(b"secret", "did:key:a", &right, Work::RANDOM, &[7; RANDOM]).expect("sealed");
        assert_eq!(sealed.open("did:key:a", &right).expect("opened").as_slice(), b"secret");
        assert_eq!(sealed.open("did:key:b", &right).expect_err("other label"), Shut::WrongPassphrase);
        assert_eq!(sealed.open("did:key:a", &Passphrase::new("x")).expect_err("other"), Shut::WrongPassphrase);
        let text = serde_json::to_string(&sealed).expect("JSON");
        assert_eq!(serde_json::from_str::<Sealed>(&text).expect("the same"), sealed);
    }

    #[test]
    fn a_file_cannot_ask_for_all_memory() {
        let passphrase = Passphrase::new("p");
        let mut sealed = Sealed::seal(b"secret", "l", &passphrase, Work::RANDOM, &[7; RANDOM]).expect("sealed");
        sealed.work.memory_kib = u32::MAX;
        assert_eq!(sealed.open("l", &passphrase).expect_err("too much"), Shut::Malformed);
    }

    #[test]
    fn a_passphrase_does_not_print() {
        assert_eq!(format!("{:?}", Passphrase::new("hunter2")), "Passphrase(..)");
    }
}
