//! A certificate for the domain from an authority that gives them to whoever holds it (ACME, RFC 8555).
//!
//! The authority connects to port 443 of the domain and wants to see a digest in a certificate there (RFC 8737), so the listener
//! that is there anyway is all it takes. What was given lies in `acme/` in the node's home, and is renewed in the last third of its
//! time. An authority that does not answer, or says no, is asked again later and later; the certificate from before goes on.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use dsip_endpoint::clock;
use dsip_endpoint::tls::{Certificate, TlsError, Validity};
use http_body_util::BodyExt as _;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, HttpClient,
    Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::http;

use crate::home::write_new;

/// Where the authority most people use says how it is asked.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How long all of an order may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long one exchange may take.
const EXCHANGE: Duration = Duration::from_secs(30);

/// How long to wait after a refusal; twice as long after each. Authorities count failures by the hour.
const FIRST_WAIT: Duration = Duration::from_secs(300);

/// How long to wait at most, and how often the dates are looked at.
const LONGEST_WAIT: Duration = Duration::from_secs(12 * 3600);

/// Who certifies the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The URL of its directory.
    pub directory: String,
    /// A mail address at which it may reach the operator.
    pub contact: Option<String>,
}

impl Default for Acme {
    /// Let's Encrypt, told nothing.
    fn default() -> Self {
        Self { directory: LETS_ENCRYPT.to_owned(), contact: None }
    }
}

/// Why there is no certificate yet.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Authority(#[from] instant_acme::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("it does not check domains by TLS-ALPN-01")]
    Challenge,
    #[error("it did not find us at port 443 of the domain; it says: {0}")]
    Unconvinced(String),
    #[error("it took too long")]
    Slow,
}

/// The account that is kept, and where it is one.
#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    credentials: AccountCredentials,
}

/// What is needed to have a domain certified.
pub(crate) struct Authority {
    acme: Acme,
    host: String,
    dir: PathBuf,
    web: Web,
}

impl Authority {
    /// For `host`, by the authority that `acme` names, which is dialled with `tls`. What it gives is kept under `home`.
    pub(crate) fn new(
        acme: Acme,
        host: &str,
        home: &Path,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, dsip_endpoint::resolve::SetupError> {
        let web = Web::new(tls)?;
        Ok(Self { acme, host: host.to_owned(), dir: home.join("acme"), web })
    }

    /// Shows what it gave last, if that is of use.
    pub(crate) fn show(&self, certificate: &Certificate) {
        let file = self.file();
        if file.exists()
            && let Err(error) = certificate.show_domain(&file, &file)
        {
            tracing::warn!(%error, "the certificate from before is of no use");
        }
    }

    /// Sees to it that there is a certificate, for ever.
    pub(crate) async fn follow(self, certificate: Certificate) {
        let mut wait = FIRST_WAIT;
        loop {
            let now = clock::now().wall.secs();
            if certificate.domain_validity().is_none_or(|validity| is_due(validity, now)) {
                let ordered = timeout(PATIENCE, self.order(&certificate)).await.unwrap_or(Err(Refusal::Slow));
                certificate.end_challenge();
                match ordered {
                    Ok(()) => {
                        tracing::info!(host = self.host, "the domain has a new certificate");
                        wait = FIRST_WAIT;
                    }
                    Err(error) => {
                        tracing::error!(%error, host = self.host, again = ?wait, "no certificate from the authority");
                        sleep(wait).await;
                        wait = (wait * 2).min(LONGEST_WAIT);
                        continue;
                    }
                }
            }
            // Also when a new one is due at once, whatever it says: nobody is to be asked in a loop.
            sleep(LONGEST_WAIT).await;
        }
    }

    async fn order(&self, certificate: &Certificate) -> Result<(), Refusal> {
        let account = self.account().await?;
        let identifiers = [Identifier::Dns(self.host.clone())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge = authorization.challenge(ChallengeType::TlsAlpn01).ok_or(Refusal::Challenge)?;
            certificate.answer_challenge(&self.host, challenge.key_authorization().digest().as_ref())?;
            challenge.set_ready().await?;
        }
        let retries = RetryPolicy::new().timeout(PATIENCE);
        let status = order.poll_ready(&retries).await?;
        if status != OrderStatus::Ready {
            return Err(Refusal::Unconvinced(self.why(&mut order).await.unwrap_or_else(|| "nothing".to_owned())));
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&retries).await?;
        let file = self.file();
        self.keep(&file, &format!("{key}{chain}"))?;
        certificate.show_domain(&file, &file)?;
        Ok(())
    }

    /// What the authority says about a domain that it did not find to be ours.
    async fn why(&self, order: &mut instant_acme::Order) -> Option<String> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.ok()?;
            // What was read before is from before the authority looked.
            let challenges = &authorization.refresh().await.ok()?.challenges;
            let errors = challenges.iter().find_map(|challenge| Some(challenge.error.as_ref()?.to_string()));
            if errors.is_some() {
                return errors;
            }
        }
        None
    }

    /// The account of before, or a new one. Who names an authority agrees to its terms.
    async fn account(&self) -> Result<Account, Refusal> {
        let file = self.dir.join("account.json");
        let kept = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        let builder = Account::builder_with_http(Box::new(self.web.clone()));
        if let Some(kept) = kept.filter(|kept| kept.directory == self.acme.directory) {
            return Ok(builder.from_credentials(kept.credentials).await?);
        }
        let contact = self.acme.contact.as_ref().map(|address| format!("mailto:{address}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let directory = self.acme.directory.clone();
        let (account, credentials) = builder.create(&new, directory.clone(), None).await?;
        let text = serde_json::to_string(&Kept { directory, credentials }).map_err(instant_acme::Error::from)?;
        self.keep(&file, &text)?;
        Ok(account)
    }

    fn keep(&self, path: &Path, text: &str) -> Result<(), Refusal> {
        let kept = std::fs::create_dir_all(&self.dir).and_then(|()| write_new(path, text.as_bytes()));
        kept.map_err(|source| Refusal::File { path: path.to_path_buf(), source })
    }

    /// The key and its chain in one file, so that they always fit together.
    fn file(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.host))
    }
}

/// In the last third of its time.
fn is_due(validity: Validity, now: u64) -> bool {
    let whole = validity.until.saturating_sub(validity.from);
    validity.until.saturating_sub(now) < whole / 3
}

/// HTTPS to the authority.
#[derive(Clone)]
struct Web(reqwest::Client);

impl Web {
    fn new(tls: &rustls::ClientConfig) -> Result<Self, dsip_endpoint::resolve::SetupError> {
        let builder = reqwest::Client::builder().tls_backend_preconfigured(tls.clone()).https_only(true);
        let builder = builder.redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(EXCHANGE);
        Ok(Self(builder.build().map_err(|error| dsip_endpoint::resolve::SetupError::new(&error))?))
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let other = |error: reqwest::Error| instant_acme::Error::Other(Box::new(error));
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let request =
                reqwest::Request::try_from(http::Request::from_parts(parts, body.to_bytes())).map_err(other)?;
            let response = client.execute(request).await.map_err(other)?;
            Ok(http::Response::<reqwest::Body>::from(response).into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_time() {
        let validity = Validity { from: 1_000, until: 1_900 };
        for (now, due) in [(0, false), (1_000, false), (1_600, false), (1_601, true), (1_900, true), (5_000, true)] {
            assert_eq!(is_due(validity, now), due, "{now}");
        }
        assert!(!is_due(Validity { from: 5, until: 5 }, 5));
    }
}
