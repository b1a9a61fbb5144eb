//! Keys as octets for a moment: delegating, sealing, words. The page decides where they rest.

use bip39::{Language, Mnemonic};
use dsip_proto::envelope::{Supported, Verifier};
use dsip_proto::identity::seal::{self, Passphrase, Sealed, Shut, Work};
use dsip_proto::identity::{self, Delegation, Documents, PublicKey, SecretKey};
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::wire::{Did, Envelope};
use serde_json::{Value, json};
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::{Zeroize as _, Zeroizing};

use crate::border::{Failure, answer};

/// The `did:key` of a public key of 32 octets.
#[wasm_bindgen(js_name = didOfPublic)]
#[must_use]
pub fn did_of_public(public: &[u8]) -> Option<String> {
    Some(PublicKey::from_bytes(public.try_into().ok()?).did().to_string())
}

/// The `did:key` of a secret key of 32 octets.
#[wasm_bindgen(js_name = didOfSecret)]
#[must_use]
pub fn did_of_secret(mut secret: Vec<u8>) -> Option<String> {
    let did = key(&secret).ok().map(|key| key.did().to_string());
    secret.zeroize();
    did
}

/// Lets `device` act for the identity of `secret`, between two moments in Unix seconds (DEL-1): the delegation's text.
#[wasm_bindgen]
#[must_use]
pub fn delegate(mut secret: Vec<u8>, device: &str, from: f64, until: f64) -> String {
    let signed = key(&secret).and_then(|key| {
        let device: Did = device.parse().map_err(Failure::internal)?;
        let (from, until) = (seconds(from), seconds(until));
        let kid = key.public().kid();
        Ok(identity::delegate(&key, &kid, &device, &Delegation::PHONE, from, until).text())
    });
    secret.zeroize();
    answer(signed)
}

/// What a delegation for `device` says, if it holds at `wall` (Unix milliseconds): `{"subject", "until"}`. `seed` is 32 octets of
/// randomness.
#[wasm_bindgen]
#[must_use]
pub fn adopted(delegation: &str, device: &str, wall: f64, seed: &[u8]) -> String {
    answer(adopt(delegation, device, wall, seed))
}

fn adopt(delegation: &str, device: &str, wall: f64, seed: &[u8]) -> Result<Value, Failure> {
    let refuse = |what: String| Failure::new("link-invalid", what);
    let seed = <[u8; 32]>::try_from(seed).map_err(Failure::internal)?;
    let device: Did = device.parse().map_err(Failure::internal)?;
    let envelope = Envelope::parse(delegation).map_err(|error| refuse(error.to_string()))?;
    let claim = Delegation::claimed(&envelope).ok_or_else(|| refuse("this is not a delegation".into()))?;
    if claim.device != device {
        return Err(refuse("this is for another device".into()));
    }
    let now = Now { tick: Tick::from_micros(0), wall: Wall::from_millis(seconds(wall)) };
    let mut verifier = Verifier::new(Supported::default(), Seed::new(seed));
    verifier.learn(&envelope);
    let verdict = verifier.may_act(&claim.subject, &device, now, &Documents::default());
    verdict.map_err(|code| refuse(format!("this delegation does not hold ({code})")))?;
    Ok(json!({ "subject": claim.subject, "until": claim.expires_at.saturating_mul(1000) }))
}

/// Until when a delegation holds, in Unix milliseconds, by its own words; not a number if it is none.
#[wasm_bindgen]
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a date fits 53 bits")]
pub fn renewed(delegation: &str) -> f64 {
    let claim = Envelope::parse(delegation).ok().and_then(|envelope| Delegation::claimed(&envelope));
    claim.map_or(f64::NAN, |claim| claim.expires_at.saturating_mul(1000) as f64)
}

/// Groups of digits for comparing a DID on two screens.
#[wasm_bindgen]
#[must_use]
pub fn fingerprint(did: &str) -> Vec<String> {
    did.parse::<Did>().map(|did| identity::fingerprint(&did).to_vec()).unwrap_or_default()
}

/// Seals an identity's key of 32 octets, as a home directory keeps it: the file's text. `random` is 40 fresh octets. Takes a good
/// part of a second and 64 MiB on purpose.
#[wasm_bindgen(js_name = sealSecret)]
#[must_use]
pub fn seal_secret(mut secret: Vec<u8>, passphrase: String, random: &[u8]) -> String {
    let sealed = key(&secret).and_then(|key| {
        let random = <&[u8; seal::RANDOM]>::try_from(random).map_err(Failure::internal)?;
        let kid = key.public().kid().to_string();
        let passphrase = Passphrase::new(passphrase);
        let sealed = Sealed::seal(key.to_bytes().as_slice(), &kid, &passphrase, Work::PERSON, random);
        let sealed = sealed.ok_or_else(|| Failure::internal("not enough memory to seal a key"))?;
        let mut content = json!(sealed);
        if let Value::Object(members) = &mut content {
            members.insert("kid".into(), kid.into());
        }
        Ok(json!({ "format": "dsip/identity-key", "version": 1, "content": content }).to_string())
    });
    secret.zeroize();
    answer(sealed)
}

/// Opens what [`seal_secret`] made, or the `identity.key` of a home directory: 32 octets.
///
/// # Errors
/// The text of `{"error"}`, as other functions answer.
#[wasm_bindgen(js_name = openSecret)]
pub fn open_secret(file: &str, passphrase: String) -> Result<Vec<u8>, String> {
    open(file, passphrase).map_err(|failure| answer::<Value>(Err(failure)))
}

fn open(file: &str, passphrase: String) -> Result<Vec<u8>, Failure> {
    let invalid = |what: &str| Failure::new("backup-invalid", what);
    let file: Value = serde_json::from_str(file).map_err(|_| invalid("this is no backup of an identity"))?;
    if file.get("format").and_then(Value::as_str) != Some("dsip/identity-key") {
        return Err(invalid("this is no backup of an identity"));
    }
    if file.get("version").and_then(Value::as_u64) != Some(1) {
        return Err(invalid("this backup was made by a newer version"));
    }
    let content = file.get("content").cloned().unwrap_or_default();
    let kid = content.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let sealed: Sealed = serde_json::from_value(content).map_err(|_| invalid("this backup is damaged"))?;
    let secret = sealed.open(&kid, &Passphrase::new(passphrase)).map_err(|shut| match shut {
        Shut::WrongPassphrase => Failure::new("wrong-passphrase", "the passphrase does not open this backup"),
        Shut::Malformed => invalid("this backup is damaged"),
    })?;
    let key = key(&secret)?;
    // An identity with a name of its own has another label; its key is the same.
    if kid.starts_with("did:key:") && key.public().kid().to_string() != kid {
        return Err(invalid("this backup is damaged"));
    }
    Ok(secret.to_vec())
}

/// The 24 words of an identity's key (BIP-39, English).
#[wasm_bindgen(js_name = wordsOfSecret)]
#[must_use]
pub fn words_of_secret(mut secret: Vec<u8>) -> Option<String> {
    let words = key(&secret).ok().and_then(|_| Mnemonic::from_entropy_in(Language::English, &secret).ok());
    secret.zeroize();
    words.map(|words| words.to_string())
}

/// The key that 24 words are.
///
/// # Errors
/// The text of `{"error"}`, which says which word is wrong.
#[wasm_bindgen(js_name = secretOfWords)]
pub fn secret_of_words(words: String) -> Result<Vec<u8>, String> {
    let words = Zeroizing::new(words);
    let invalid = |what: String| answer::<Value>(Err(Failure::new("words-invalid", what)));
    let tidy = Zeroizing::new(words.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" "));
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, &tidy).map_err(|error| {
        invalid(match error {
            bip39::Error::UnknownWord(at) => format!("word {} is not one of the list; look for a slip of the pen", at + 1),
            bip39::Error::InvalidChecksum => "the words do not belong together: one is wrong, or two changed places".into(),
            bip39::Error::BadWordCount(count) => format!("there are 24 words; here are {count}"),
            error => error.to_string(),
        })
    })?;
    if mnemonic.word_count() != 24 {
        return Err(invalid(format!("there are 24 words; here are {}", mnemonic.word_count())));
    }
    let (mut entropy, length) = mnemonic.to_entropy_array();
    let secret = entropy.iter().take(length).copied().collect();
    entropy.zeroize();
    Ok(secret)
}

fn key(secret: &[u8]) -> Result<SecretKey, Failure> {
    let secret = Zeroizing::new(<[u8; 32]>::try_from(secret).map_err(|_| Failure::internal("a key is 32 octets long"))?);
    Ok(SecretKey::from_bytes(&secret))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a date of JavaScript; saturation is what is wanted")]
const fn seconds(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn ok(text: &str) -> Value {
        let value: Value = serde_json::from_str(text).expect("JSON");
        value.get("ok").cloned().unwrap_or_else(|| panic!("{text}"))
    }

    fn code(text: &str) -> String {
        let value: Value = serde_json::from_str(text).expect("JSON");
        value["error"]["code"].as_str().expect("an error").to_owned()
    }

    #[test]
    fn a_backup_opens_under_its_passphrase_only() {
        let sealed = ok(&seal_secret(SECRET.to_vec(), "correct horse".into(), &[3; 40]));
        let file = sealed.as_str().expect("a text");
        assert_eq!(open_secret(file, "correct horse".into()), Ok(SECRET.to_vec()));
        assert_eq!(open_secret(file, "wrong".into()).map_err(|error| code(&error)), Err("wrong-passphrase".into()));
        for bad in ["", "{}", r#"{"format":"dsip/identity-key","version":1,"content":{}}"#, &file.replace(":1,", ":2,")] {
            assert_eq!(open_secret(bad, "p".into()).map_err(|error| code(&error)), Err("backup-invalid".into()), "{bad}");
        }
    }

    #[test]
    fn words_lead_back_and_a_slip_is_named() {
        let words = words_of_secret(SECRET.to_vec()).expect("words");
        assert_eq!(words.split(' ').count(), 24);
        assert_eq!(secret_of_words(format!("  {} ", words.to_uppercase())), Ok(SECRET.to_vec()));
        let slip = words.replacen(words.split(' ').nth(2).expect("a word"), "zzzz", 1);
        let error = secret_of_words(slip).expect_err("a slip");
        assert!(error.contains("words-invalid"), "{error}");
        assert!(secret_of_words("abandon".into()).expect_err("one word").contains("24 words"));
    }

    #[test]
    fn del_1_a_delegation_made_here_holds_for_its_device_alone() {
        let device = did_of_secret(vec![9; 32]).expect("a DID");
        let text = ok(&delegate(SECRET.to_vec(), &device, 1_000.0, 2_000.0));
        let text = text.as_str().expect("a text");
        let said = ok(&adopted(text, &device, 1_500_000.0, &[1; 32]));
        assert_eq!(said["subject"].as_str(), did_of_secret(SECRET.to_vec()).as_deref());
        assert_eq!(said["until"], 2_000_000);
        assert!((renewed(text) - 2_000_000.0).abs() < 1.0);
        let other = did_of_secret(vec![8; 32]).expect("a DID");
        assert_eq!(code(&adopted(text, &other, 1_500_000.0, &[1; 32])), "link-invalid");
        assert_eq!(code(&adopted(text, &device, 3_000_000.0, &[1; 32])), "link-invalid", "it ran out");
    }
}
