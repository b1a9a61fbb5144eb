//! Push services: the requests by which sleeping devices are woken (docs/spec/wake.md).
//!
//! Which are made, and when, is the rules' to say. Here they are encrypted, signed and sent, each in a task of its own: a push
//! service that is slow holds up nobody.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::resolve::{Answer, FetchError, SetupError, Web};
use dsip_proto::wake::{Key, Outcome, Push, SIGNAL};
use dsip_proto::wire::base64url;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use url::Url;
use web_push_native::p256::PublicKey;
use web_push_native::{Auth, encrypt};

use crate::home::{secret, write_new};
use crate::{StartError, named};

/// The file with the node's VAPID key, in PKCS#8.
const KEY: &str = "vapid.key";

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// WAK-24: how long what we show a push service is good for there. RFC 8292 allows a day.
const SHOWN_FOR: u64 = 12 * 3600;

/// Waking devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether this node does.
    pub enabled: bool,
    /// How push services reach the operator: a `mailto:` or `https:` URL, as RFC 8292 wants it. Some take nothing without.
    pub contact: Option<String>,
}

impl Default for Config {
    /// It does, and says nothing about its operator.
    fn default() -> Self {
        Self { enabled: true, contact: None }
    }
}

/// Talks with push services.
pub(crate) struct Pusher {
    web: Web,
    vapid: Vapid,
    contact: Option<String>,
}

impl Pusher {
    /// With the key in `home`, made the first time.
    pub(crate) fn open(
        home: &Path,
        config: &Config,
        tls: &rustls::ClientConfig,
        allow_private: bool,
    ) -> Result<Self, StartError> {
        let web =
            Web::new(tls.clone(), allow_private, PATIENCE).map_err(|error: SetupError| StartError::from(error))?;
        Ok(Self { web, vapid: Vapid::open(home)?, contact: config.contact.clone() })
    }

    /// By what push services know this node.
    pub(crate) fn key(&self) -> Key {
        self.vapid.public
    }

    /// Makes a request, and says what came of it.
    pub(crate) async fn push(self: Arc<Self>, push: Push) -> Outcome {
        let Some(body) = encrypted(&push) else { return Outcome::Unusable };
        let Some(headers) = self.headers(&push) else { return Outcome::Refused };
        let answer = self.web.hand_over(push.endpoint.url(), headers, body).await;
        tracing::debug!(service = push.endpoint.origin(), ?answer, "woke a device"); // WAK-6
        match answer {
            Ok(Answer { status: 200..=299, .. }) => Outcome::Taken,
            Ok(Answer { status: 404 | 410, .. }) => Outcome::Gone,
            Ok(Answer { status: 429, retry_after }) => Outcome::Throttled(retry_after),
            Ok(Answer { status: 500..=599, retry_after }) => Outcome::Failed(retry_after),
            Ok(_) => Outcome::Refused,
            Err(FetchError::Private(_)) => Outcome::Forbidden,
            Err(_) => Outcome::Failed(None),
        }
    }

    /// RFC 8030, 5; RFC 8291, 4; RFC 8292, 3.
    fn headers(&self, push: &Push) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let mut authorization = HeaderValue::try_from(self.authorization(push.endpoint.url())?).ok()?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(HeaderName::from_static("ttl"), push.ttl.into());
        headers.insert(HeaderName::from_static("urgency"), HeaderValue::from_static(push.cause.urgency()));
        headers.insert(HeaderName::from_static("topic"), HeaderValue::from_static(push.cause.topic()));
        Some(headers)
    }

    /// WAK-24: who we are, for this push service alone.
    fn authorization(&self, endpoint: &str) -> Option<String> {
        let mut claims = json!({
            "aud": Url::parse(endpoint).ok()?.origin().ascii_serialization(),
            "exp": clock::now().wall.secs() + SHOWN_FOR,
        });
        if let Some(contact) = &self.contact {
            claims["sub"] = contact.as_str().into();
        }
        Some(format!("vapid t={}, k={}", self.vapid.token(&claims)?, self.vapid.public))
    }
}

/// WAK-20, WAK-21: the signal, for the device alone. Nothing if its key is none.
fn encrypted(push: &Push) -> Option<Vec<u8>> {
    let key = PublicKey::from_sec1_bytes(push.endpoint.key().octets()).ok()?;
    encrypt(SIGNAL.to_vec(), &key, &Auth::clone_from_slice(push.endpoint.auth())).ok()
}

/// The key by which push services know this node, whoever it sends something for.
struct Vapid {
    pair: EcdsaKeyPair,
    public: Key,
    random: SystemRandom,
}

impl Vapid {
    fn open(home: &Path) -> Result<Self, StartError> {
        let (path, random) = (home.join(KEY), SystemRandom::new());
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let octets = match secret(&path)? {
            Some(octets) => octets,
            None => {
                let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| StartError::Randomness)?;
                write_new(&path, made.as_ref()).map_err(|source| StartError::File { path: named(&path), source })?;
                made.as_ref().to_vec()
            }
        };
        let wrong = || StartError::Key(named(&path));
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &octets, &random).map_err(|_| wrong())?;
        let public = Key::of(pair.public_key().as_ref()).ok_or_else(wrong)?;
        Ok(Self { pair, public, random })
    }

    /// A JSON Web Token with these claims (RFC 7515, 3.1).
    fn token(&self, claims: &serde_json::Value) -> Option<String> {
        let header = json!({ "typ": "JWT", "alg": "ES256" });
        let [header, claims] = [&header, claims].map(|part| base64url::encode(part.to_string().as_bytes()));
        let signed = format!("{header}.{claims}");
        let signature = self.pair.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", base64url::encode(signature.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use web_push_native::decrypt;
    use web_push_native::p256::SecretKey;

    use super::*;

    fn octets(text: &str) -> Vec<u8> {
        base64url::decode(text).expect("base64url")
    }

    #[test]
    fn the_encryption_is_that_of_rfc_8291() {
        // Its section 5, by the device's private key.
        let key = SecretKey::from_slice(&octets("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")).expect("a key");
        let auth = Auth::clone_from_slice(&octets("BTBZMqHH6r4Tts7J_aSIgg"));
        let message = octets(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBr\
             u3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
        );
        let text = decrypt(message, &key, &auth).expect("decrypted");
        assert_eq!(String::from_utf8(text).expect("text"), "When I grow up, I want to be a watermelon");
    }

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        let home = tempfile::tempdir().expect("a directory");
        let first = Vapid::open(home.path()).expect("opened").public;
        assert_eq!(Vapid::open(home.path()).expect("opened again").public, first);
        let path = home.path().join(KEY);
        std::fs::write(&path, "no key").expect("written");
        assert!(matches!(Vapid::open(home.path()), Err(StartError::Key(_))));
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, "anybody's").expect("written");
        assert!(matches!(Vapid::open(home.path()), Err(StartError::Exposed(_))));
    }
}
