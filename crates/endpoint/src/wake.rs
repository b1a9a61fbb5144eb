//! Endpoints of push services for programs that read nothing of what they are sent.

use dsip_proto::wake::{Endpoint, EndpointError};
use dsip_proto::wire::base64url;
use rcgen::{KeyPair, PublicKeyData as _};

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is of no use.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// An endpoint at `url` for somebody to whom it says all that anything arrives there, such as a script that waits for messages of a
/// UnifiedPush distributor. The keys that what arrives is encrypted with are made here, and nobody has their other halves.
pub fn unread(url: &str) -> Result<Endpoint, Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|_| Error::Randomness)?;
    let mut auth = [0; 16];
    getrandom::fill(&mut auth).map_err(|_| Error::Randomness)?;
    Ok(Endpoint::new(url, &base64url::encode(key.der_bytes()), &base64url::encode(&auth))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_keys_of_its_own() {
        let url = "https://push.example/up";
        let (one, other) = (unread(url).expect("one"), unread(url).expect("another"));
        assert_eq!(one.url(), other.url());
        assert!(one.key() != other.key() && one.auth() != other.auth());
        assert!(matches!(unread("http://push.example"), Err(Error::Endpoint(EndpointError::Url))));
    }
}
