//! The envelope as text: three base64url strings in a closed object (ENV-1). Nothing here knows whether it is true.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::base64url;
use super::field::Field;
use super::json::{self, Json};
use super::{SchemaError, message::MAX_ENVELOPE_BYTES};

/// The bytes of an envelope's text that are not its three strings: `{"protected":"","payload":"","signature":""}`.
const FRAME_BYTES: usize = 44;

/// A signed object as it travels: header, payload and signature, each as received or made (ENV-4, ENV-5).
///
/// Holding one proves nothing; [`envelope::Verifier`](crate::envelope::Verifier) turns it into something that does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Envelope {
    protected: String,
    payload: String,
    signature: String,
}

/// The text of an envelope whose signature is still to be made, by a key that is kept elsewhere (decision 0023).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// Header and payload with the dot between them: what is signed (ENV-4).
    input: String,
}

/// The text is not an envelope (ENV-1, ENV-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an envelope: it has to be an object of exactly three base64url strings")]
pub struct EnvelopeSyntaxError;

impl Envelope {
    /// Parses the text of one envelope, of at most 65,536 bytes.
    pub fn parse(text: &str) -> Result<Self, EnvelopeSyntaxError> {
        if text.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeSyntaxError);
        }
        Self::from_json(json::parse(text).map_err(|_| EnvelopeSyntaxError)?.root)
    }

    /// The envelope in a parsed object.
    pub fn from_json(json: Json<'_>) -> Result<Self, EnvelopeSyntaxError> {
        let [protected, payload, signature] = strings(json)?.map(Cow::into_owned);
        let encoded = |text: &String| !text.is_empty() && base64url::decode(text).is_some();
        if [&protected, &payload, &signature].into_iter().all(encoded) {
            Ok(Self { protected, payload, signature })
        } else {
            Err(EnvelopeSyntaxError)
        }
    }

    /// Puts an encoded header and a payload together and has their signature input signed (ENV-4). Without a signature the
    /// result is [`Unsigned`].
    pub(crate) fn seal(protected: &str, payload: &str, sign: impl FnOnce(&[u8]) -> Option<[u8; 64]>) -> Self {
        let mut input = String::with_capacity(protected.len() + payload.len() * 4 / 3 + 8);
        input.push_str(protected);
        let dot = input.len();
        input.push('.');
        base64url::encode_into(payload.as_bytes(), &mut input);
        let signature = sign(input.as_bytes()).map(|signature| base64url::encode(&signature)).unwrap_or_default();
        let payload = input.split_off(dot + 1);
        input.truncate(dot);
        Self { protected: input, payload, signature }
    }

    /// The encoded header.
    #[must_use]
    pub fn protected(&self) -> &str {
        &self.protected
    }

    /// The encoded payload.
    #[must_use]
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// The encoded signature.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.signature
    }

    /// The header's bytes.
    #[must_use]
    pub fn header_bytes(&self) -> Vec<u8> {
        base64url::decode(&self.protected).unwrap_or_default()
    }

    /// The payload's bytes, unverified.
    #[must_use]
    pub fn payload_bytes(&self) -> Vec<u8> {
        base64url::decode(&self.payload).unwrap_or_default()
    }

    /// The compact JSON text, as it is sent (ENV-10).
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.size());
        for (before, part) in [
            ("{\"protected\":\"", &self.protected),
            ("\",\"payload\":\"", &self.payload),
            ("\",\"signature\":\"", &self.signature),
        ] {
            text.push_str(before);
            text.push_str(part);
        }
        text.push_str("\"}");
        text
    }

    /// The length of [`text`](Self::text) in bytes (ENV-11).
    #[must_use]
    pub fn size(&self) -> usize {
        FRAME_BYTES + self.protected.len() + self.payload.len() + self.signature.len()
    }
}

impl Unsigned {
    /// Reads back what a signer with an external key made. `None` for everything else, a signed frame above all.
    #[must_use]
    pub fn of(frame: &str) -> Option<Self> {
        let parts = frame.strip_prefix("{\"protected\":\"")?.strip_suffix("\",\"signature\":\"\"}")?;
        let (protected, payload) = parts.split_once("\",\"payload\":\"")?;
        Some(Self { input: format!("{protected}.{payload}") })
    }

    /// The bytes to sign (ENV-4).
    #[must_use]
    pub fn input(&self) -> &str {
        &self.input
    }

    /// The frame with its signature, as it may be sent.
    #[must_use]
    pub fn signed(&self, signature: &[u8; 64]) -> String {
        let (protected, payload) = self.input.split_once('.').unwrap_or_default();
        let (protected, payload) = (protected.to_owned(), payload.to_owned());
        Envelope { protected, payload, signature: base64url::encode(signature) }.text()
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Field for Envelope {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        Self::from_json(json).map_err(|_| SchemaError)
    }
}

/// The three strings of an envelope object, in the order protected, payload, signature (ENV-1).
pub(crate) fn strings(json: Json<'_>) -> Result<[Cow<'_, str>; 3], EnvelopeSyntaxError> {
    let Json::Object(members) = json else { return Err(EnvelopeSyntaxError) };
    let mut strings = [None, None, None];
    for (name, value) in members {
        let slot = match name.as_ref() {
            "protected" => 0,
            "payload" => 1,
            "signature" => 2,
            _ => return Err(EnvelopeSyntaxError),
        };
        let Json::String(text) = value else { return Err(EnvelopeSyntaxError) };
        strings[slot] = Some(text);
    }
    match strings {
        [Some(protected), Some(payload), Some(signature)] => Ok([protected, payload, signature]),
        _ => Err(EnvelopeSyntaxError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_11_size_is_the_length_of_the_text() {
        let envelope = Envelope::seal("e30", "{\"a\":\"é\"}", |_| Some([7; 64]));
        assert_eq!(envelope.size(), envelope.text().len());
        assert_eq!(Envelope::parse(&envelope.text()), Ok(envelope));
    }

    #[test]
    fn env_4_an_external_key_signs_the_same_bytes_and_nothing_else_is_taken_for_unsigned() {
        let held = Envelope::seal("e30", "{\"a\":\"é\"}", |_| Some([7; 64]));
        let mut input = Vec::new();
        let sealed = Envelope::seal("e30", "{\"a\":\"é\"}", |bytes| {
            input = bytes.to_vec();
            None
        });
        let frame = sealed.text();
        assert!(Envelope::parse(&frame).is_err(), "before it is signed it is no envelope");
        let unsigned = Unsigned::of(&frame).expect("unsigned");
        assert_eq!(unsigned.input().as_bytes(), input);
        assert_eq!(unsigned.signed(&[7; 64]), held.text());
        assert_eq!(Unsigned::of(&held.text()), None);
        assert_eq!(Unsigned::of("{}"), None);
    }

    #[test]
    fn env_1_closed_and_complete() {
        for bad in [
            r#"{"protected":"AA","payload":"AA"}"#,
            r#"{"protected":"AA","payload":"AA","signature":"AA","x":"AA"}"#,
            r#"{"protected":"AA","payload":"AA","signature":1}"#,
            r#"{"protected":"AA","payload":"","signature":"AA"}"#,
            r#"{"protected":"AA","payload":"A","signature":"AA"}"#,
            r#"["AA","AA","AA"]"#,
        ] {
            assert!(Envelope::parse(bad).is_err(), "{bad}");
        }
    }
}
