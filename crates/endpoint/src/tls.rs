//! TLS as values: TLS 1.3 only, ring passed explicitly, nothing read from or left in process-wide state.
//!
//! A node proves itself in one of two ways. A `did:key` node presents a self-signed certificate for the very Ed25519 key
//! its DID names, and whoever knows the DID compares the keys: TLS 1.3's CertificateVerify shows possession, and no
//! authority, host name or date has a say. Every other node is validated by Web PKI against the host dialled (WS-2), with
//! the system's roots and any given by hand. The relay's signed `hello` then proves the relay identity (HEL-6).

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, version,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The application protocol of `quic/1.0` (QB-1).
pub const QUIC_ALPN: &[u8] = b"dsip/1";

/// The same with marks (QB-60); whoever speaks it speaks the plain one, too.
pub const QUIC_ALPN_MARKS: &[u8] = b"dsip/1+marks";

/// The application protocol under `ws/1.0`: a WebSocket begins as HTTP/1.1.
const HTTP_ALPN: &[u8] = b"http/1.1";

/// The application protocol of a certificate authority that looks whose a domain is (RFC 8737).
const ACME_ALPN: &[u8] = b"acme-tls/1";

/// The application protocol of TURN (RFC 7443).
const TURN_ALPN: &[u8] = b"stun.turn";

/// An Ed25519 SubjectPublicKeyInfo up to its 32 key octets. RFC 8410, 4: no parameters, so there is only one encoding.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A PKCS#8 version 1 private key up to its 32 seed octets. RFC 8410, 7.
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// How long a certificate for browsers is good for. Some refuse one of more than 825 days, whoever vouches for it.
const BROWSERS: Duration = Duration::from_secs(730 * 86_400);

/// How many QUIC sessions a node remembers for 0-RTT, some 300 bytes each. A ticket is good for one use.
const QUIC_SESSIONS: usize = 16_384;

/// Why a certificate, a key or a root is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// As given.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds no PEM certificate.
    #[error("{0} holds no certificate in PEM form")]
    NoCertificate(String),
    /// The file holds no PEM private key.
    #[error("{0} holds no private key in PEM form")]
    NoKey(String),
    /// The certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The TLS library refuses the material.
    #[error("TLS refuses this key or certificate: {0}")]
    Refused(#[from] rustls::Error),
}

/// A node's proof towards those who dial it: the certificate of its own key, and perhaps one for its domain. Clones are one: what
/// is replaced in one is replaced in all, and in every configuration made of them.
#[derive(Debug, Clone)]
pub struct Certificate {
    own: Arc<CertifiedKey>,
    domain: Slot,
    /// For those who cannot check an Ed25519 key, as long as there is none for the domain.
    browsers: Slot,
    /// The answer to a certificate authority that asks whose the domain is.
    challenge: Slot,
}

/// A certificate that comes and goes.
type Slot = Arc<RwLock<Option<Arc<CertifiedKey>>>>;

/// From when until when something holds, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub from: u64,
    /// Until, this second included.
    pub until: u64,
}

impl Certificate {
    /// The certificate of a `did:key` node, self-signed by the key whose Ed25519 seed is given.
    ///
    /// It also works as its own root (`--ca`), in rustls and in OpenSSL: it names `hosts` besides localhost and the
    /// loopback addresses, and it claims to be no authority. `name`, the node's DID, is its subject. The same seed and hosts give the same bytes again.
    pub fn self_signed(seed: &[u8; 32], name: &str, hosts: &[String]) -> Result<Self, TlsError> {
        let pkcs8 = PrivatePkcs8KeyDer::from([&ED25519_PKCS8[..], seed].concat());
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ED25519)?;
        let names = and_loopback(hosts);
        let mut params = server_params(&names, name)?;
        params.use_authority_key_identifier_extension = true;
        // The key is the identity and lasts as long as it does. RFC 5280, 4.1.2.5: this date says "no expiration".
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        let serial = names.iter().fold(Sha256::new().chain_update(key.public_key_raw()), |hash, name| {
            hash.chain_update([0]).chain_update(name)
        });
        params.serial_number = serial.finalize().get(..16).map(rcgen::SerialNumber::from_slice);
        let certificate = params.self_signed(&key)?;
        let own = CertifiedKey::from_der(vec![certificate.der().clone()], pkcs8.into(), &provider())?;
        Ok(Self { own: Arc::new(own), domain: Slot::default(), browsers: Slot::default(), challenge: Slot::default() })
    }

    /// Takes a certificate chain with its key from PEM files, as an operator with a domain has them, in the place of any before.
    /// Handshakes from now on show it; connections that are open go on. If the files are of no use, nothing changes.
    ///
    /// Whoever expects the node's own key goes on seeing that; everybody else sees the domain's certificate. They are told
    /// apart by what they can check: the former offer Ed25519 and nothing else, and no public authority certifies that.
    pub fn show_domain(&self, chain: &Path, key: &Path) -> Result<(), TlsError> {
        let pem = read(key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NoKey(key.display().to_string()))?;
        let certified = CertifiedKey::from_der(certificates(chain)?, key, &provider())?;
        put(&self.domain, Some(certified));
        Ok(())
    }

    /// Whether there is a certificate for the domain.
    #[must_use]
    pub fn shows_domain(&self) -> bool {
        taken(&self.domain).is_some()
    }

    /// Makes a certificate that browsers can check and nobody vouches for, with a key of its own, both in PEM form: they refuse Ed25519
    /// (WPH-55). `name` and `hosts` are those of [`self_signed`](Self::self_signed). It is good for two years from `now`, in Unix
    /// seconds, as some refuse longer ones.
    pub fn for_browsers(name: &str, hosts: &[String], now: u64) -> Result<String, TlsError> {
        let key = rcgen::KeyPair::generate()?;
        let mut params = server_params(&and_loopback(hosts), name)?;
        // Clocks differ.
        let from = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_sub(86_400));
        (params.not_before, params.not_after) = (from, from + BROWSERS);
        let certificate = params.self_signed(&key)?;
        Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
    }

    /// Shows what [`for_browsers`](Self::for_browsers) has made, from the file it is kept in, to those who can check nothing else. It has
    /// to name all of `hosts`, and be good for a while after `now`; if it does not, nothing changes, and the answer is no.
    pub fn show_browsers(&self, file: &Path, hosts: &[String], now: u64) -> Result<bool, TlsError> {
        let pem = read(file)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NoKey(file.display().to_string()))?;
        let certified = CertifiedKey::from_der(certificates(file)?, key, &provider())?;
        let Some(leaf) = certified.cert.first() else { return Ok(false) };
        let parsed = ParsedCertificate::try_from(leaf)?;
        let names_it = |host: &String| server_name(host).is_some_and(|name| verify_server_name(&parsed, &name).is_ok());
        let is_good =
            validity(leaf).is_some_and(|validity| validity.until >= now.saturating_add(BROWSERS.as_secs() / 8));
        if !is_good || !and_loopback(hosts).iter().all(names_it) {
            return Ok(false);
        }
        put(&self.browsers, Some(certified));
        Ok(true)
    }

    /// How long the domain's certificate is good for, if there is one and its dates can be read.
    #[must_use]
    pub fn domain_validity(&self) -> Option<Validity> {
        validity(taken(&self.domain)?.cert.first()?)
    }

    /// Answers a certificate authority that connects to `host` and expects this digest (RFC 8737), until
    /// [`end_challenge`](Self::end_challenge). Nobody else sees it: only authorities speak that protocol.
    pub fn answer_challenge(&self, host: &str, digest: &[u8]) -> Result<(), TlsError> {
        let key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new([host.to_owned()])?;
        params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&key)?;
        // Not `from_der`, which refuses critical extensions that it does not know, and this one has to be critical.
        let key = provider().key_provider.load_private_key(PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        put(&self.challenge, Some(CertifiedKey::new(vec![certificate.der().clone()], key)));
        Ok(())
    }

    /// Answers no more.
    pub fn end_challenge(&self) {
        put(&self.challenge, None);
    }

    /// The certificate of the node's own key in PEM form, to be handed out as a root.
    #[must_use]
    pub fn pem(&self) -> String {
        use base64ct::{Base64, Encoding as _};
        let text = Base64::encode_string(self.own.cert.first().map_or(&[][..], |first| first.as_ref()));
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// TLS for the listener of `ws/1.0`.
    pub fn ws_server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = self.server()?;
        config.alpn_protocols = vec![HTTP_ALPN.to_vec(), ACME_ALPN.to_vec()];
        // A resumed handshake saves a phone one certificate; the tickets would cost the node memory for each one.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// TLS for a TURN listener. A client need not name an application protocol there.
    pub fn turn_server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = self.server()?;
        config.alpn_protocols = vec![TURN_ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// TLS for the listener of `quic/1.0`, with 0-RTT.
    pub fn quic_server(&self) -> Result<quinn::crypto::rustls::QuicServerConfig, TlsError> {
        let mut config = self.server()?;
        config.alpn_protocols = vec![QUIC_ALPN_MARKS.to_vec(), QUIC_ALPN.to_vec()];
        // QB-31: sessions are kept here, not in the ticket, and each is taken out when used. A captured first flight is
        // thus refused as 0-RTT even before the seen ids are asked, and no flight survives a restart.
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(QUIC_SESSIONS);
        config.send_tls13_tickets = 1;
        // RFC 9001, 4.6.1: the only value QUIC allows besides none.
        config.max_early_data_size = u32::MAX;
        quinn::crypto::rustls::QuicServerConfig::try_from(config)
            .map_err(|_| TlsError::Refused(rustls::Error::General("ring lost the initial cipher suite".into())))
    }

    fn server(&self) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])? // WS-9: TLS 1.2 is refused
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByScheme(self.clone())));
        config.cert_compressors = Vec::new();
        Ok(config)
    }
}

/// The names of a node's certificate: what it is called, and what it is called on its own machine.
fn and_loopback(hosts: &[String]) -> Vec<String> {
    let mut names: Vec<String> = hosts.to_vec();
    for name in ["localhost", "127.0.0.1", "::1"] {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// A server's certificate for these names, by itself.
fn server_params(names: &[String], subject: &str) -> Result<rcgen::CertificateParams, rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // RFC 5280, A.1: ub-common-name. The name is for people; a long one is cut.
    params.distinguished_name.push(rcgen::DnType::CommonName, subject.chars().take(64).collect::<String>());
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn put(slot: &Slot, certificate: Option<CertifiedKey>) {
    *slot.write().unwrap_or_else(PoisonError::into_inner) = certificate.map(Arc::new);
}

fn taken(slot: &Slot) -> Option<Arc<CertifiedKey>> {
    slot.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The dates of a certificate. RFC 5280, 4.1: they are the first sequence of two times in what is signed.
fn validity(certificate: &[u8]) -> Option<Validity> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut signed, _) = element(certificate)?;
    loop {
        let (tag, content, rest) = element(signed)?;
        if tag == SEQUENCE
            && let Some((first, from, rest)) = element(content)
            && let Some((second, until, [])) = element(rest)
            && let (Some(from), Some(until)) = (time(first, from), time(second, until))
        {
            return Some(Validity { from, until });
        }
        signed = rest;
    }
}

/// The tag of a sequence in DER.
const SEQUENCE: u8 = 0x30;

/// The first element of some DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
        0x80 | 0x84.. => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A UTCTime or GeneralizedTime in Unix seconds. RFC 5280, 4.1.2.5: both end in seconds and Z, and two-digit years are those from
/// 1950 to 2049.
fn time(tag: u8, content: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { year + 2000 } else { year + 1900 }, rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 || !rest.bytes().all(|digit| digit.is_ascii_digit()) || year < 1970 {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from 1970 on, with years that begin in March, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
}

/// Chooses the certificate that a client can check; see [`Certificate::show_domain`].
#[derive(Debug)]
struct ByScheme(Certificate);

impl ResolvesServerCert for ByScheme {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = client.signature_schemes();
        let expects_key = schemes.iter().all(|scheme| *scheme == SignatureScheme::ED25519);
        let knows_key = schemes.contains(&SignatureScheme::ED25519);
        if client.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_ALPN) && offered.next().is_none()) {
            return taken(&self.0.challenge);
        }
        let domain = taken(&self.0.domain).filter(|_| !expects_key);
        let other = domain.or_else(|| taken(&self.0.browsers).filter(|_| !knows_key)); // WPH-55
        Some(other.unwrap_or_else(|| self.0.own.clone()))
    }
}

/// What the certificate of a dialled node has to show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expect {
    /// This Ed25519 key, the one a `did:key` node's DID names; nothing else is looked at (QB-3).
    Key([u8; 32]),
    /// A chain to a trusted root, and the host dialled.
    WebPki,
}

/// The roots that Web PKI validation may end in.
#[derive(Debug, Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// The system's roots and those in the PEM files `extra`.
    ///
    /// A file that is missing or holds no certificate is an error: its owner meant it to count. A system without roots
    /// is not; there, only nodes known by key or by file can be authenticated.
    pub fn load<P: AsRef<Path>>(extra: &[P]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for path in extra {
            for certificate in certificates(path.as_ref())? {
                roots.add(certificate)?;
            }
        }
        Ok(Self(Arc::new(roots)))
    }

    /// TLS for dialling `ws/1.0`.
    pub fn ws_client(&self, expect: &Expect) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = self.client(expect)?;
        config.alpn_protocols = vec![HTTP_ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// TLS for dialling `quic/1.0`, with sessions kept for 0-RTT.
    ///
    /// A resumed session is not authenticated again, so the value must serve one node only: whoever shared it between
    /// two expectations would let one vouch for the other.
    pub fn quic_client(&self, expect: &Expect) -> Result<quinn::crypto::rustls::QuicClientConfig, TlsError> {
        let mut config = self.client(expect)?;
        config.alpn_protocols = vec![QUIC_ALPN_MARKS.to_vec(), QUIC_ALPN.to_vec()];
        config.resumption = Resumption::in_memory_sessions(4);
        config.enable_early_data = true;
        quinn::crypto::rustls::QuicClientConfig::try_from(config)
            .map_err(|_| TlsError::Refused(rustls::Error::General("ring lost the initial cipher suite".into())))
    }

    /// TLS for a TURN server: whoever is expected behind the node's other ports is expected there.
    pub fn turn_client(&self, expect: &Expect) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = self.client(expect)?;
        config.alpn_protocols = vec![TURN_ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn client(&self, expect: &Expect) -> Result<ClientConfig, TlsError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13])?;
        let verifier: Arc<dyn ServerCertVerifier> = match expect {
            Expect::Key(key) => Arc::new(KeyVerifier { key: *key, algorithms }),
            Expect::WebPki => self.verifier()?,
        };
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    /// What decides about chains.
    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
        if self.0.is_empty() {
            // Without any root every certificate is of an unknown issuer; the library would call that a bad set-up.
            let algorithms = provider().signature_verification_algorithms;
            return Ok(Arc::new(NobodyVerifier { algorithms }));
        }
        match WebPkiServerVerifier::builder_with_provider(self.0.clone(), provider()).build() {
            Ok(verifier) => Ok(verifier),
            Err(error) => Err(rustls::Error::General(error.to_string())),
        }
    }
}

/// What a server presented in a handshake, to be looked at. Holding one proves nothing but that somebody there has the key of
/// the certificate.
#[derive(Debug, Clone)]
pub struct Presented {
    chain: Vec<CertificateDer<'static>>,
}

impl Presented {
    /// Looks at what the server at the other end presents to who expects `expect`, on a fresh connection that is of no use
    /// afterwards. The caller sets the deadline.
    ///
    /// # Errors
    /// If the server speaks no TLS 1.3, or cannot show that it has the key.
    pub async fn see(tcp: TcpStream, host: &str, expect: &Expect) -> io::Result<Self> {
        let algorithms = provider().signature_verification_algorithms;
        let schemes = match expect {
            Expect::Key(_) => vec![SignatureScheme::ED25519],
            Expect::WebPki => algorithms.supported_schemes(),
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(EverybodyVerifier { schemes, algorithms }))
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP_ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        let name = server_name(host).ok_or_else(|| io::Error::other("the host is no name TLS could check"))?;
        let seen = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let chain = seen.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(Self { chain: chain.iter().map(|one| one.clone().into_owned()).collect() })
    }

    /// The Ed25519 key of the certificate, if it has such a key.
    #[must_use]
    pub fn key(&self) -> Option<[u8; 32]> {
        let parsed = ParsedCertificate::try_from(self.chain.first()?).ok()?;
        let spki = parsed.subject_public_key_info();
        spki.as_ref().strip_prefix(&ED25519_SPKI[..]).and_then(|key| key.try_into().ok())
    }

    /// Whether Web PKI accepts it for `host` at `now`, in Unix seconds, with these roots.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, roots: &Roots, host: &str, now: u64) -> Result<(), CertificateError> {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let (Some((first, rest)), Some(name)) = (self.chain.split_first(), server_name(host)) else {
            return Err(CertificateError::BadEncoding);
        };
        match roots.verifier().and_then(|verifier| verifier.verify_server_cert(first, rest, &name, &[], at)) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(why)) => Err(why),
            Err(_) => Err(CertificateError::UnknownIssuer),
        }
    }

    /// Until when, in Unix seconds, Web PKI would go on accepting what it accepts now: the first end in the chain.
    #[must_use]
    pub fn ends(&self, roots: &Roots, host: &str) -> Option<u64> {
        // The library tells dates only when it refuses one. No certificate of an authority lives for a thousand years.
        match self.verify(roots, host, 1000 * 365 * 86_400) {
            Err(CertificateError::ExpiredContext { not_after, .. }) => Some(not_after.as_secs()),
            _ => None,
        }
    }
}

/// The name a certificate is checked against, from a URL's host.
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::IpAddress(address.into())),
        Err(_) => ServerName::try_from(bare.to_owned()).ok(),
    }
}

/// The one provider of this program, always passed as a value.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Accepts the holder of one Ed25519 key, whatever else its certificate says.
#[derive(Debug)]
struct KeyVerifier {
    key: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let spki = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        if spki.as_ref().strip_prefix(&ED25519_SPKI[..]) == Some(&self.key[..]) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Accepts everybody who has the key of the certificate shown: for looking at certificates, never for talking.
#[derive(Debug)]
struct EverybodyVerifier {
    schemes: Vec<SignatureScheme>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for EverybodyVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Accepts nobody: what Web PKI amounts to where there is not a single root.
#[derive(Debug)]
struct NobodyVerifier {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for NobodyVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::NoCertificate(path.display().to_string())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(roots: &Roots, expect: &Expect, certificate: &Certificate, host: &str) -> Result<(), rustls::Error> {
        let verifier: Arc<dyn ServerCertVerifier> = match expect {
            Expect::Key(key) => {
                Arc::new(KeyVerifier { key: *key, algorithms: provider().signature_verification_algorithms })
            }
            Expect::WebPki => WebPkiServerVerifier::builder_with_provider(roots.0.clone(), provider())
                .build()
                .expect("there is a root"),
        };
        let name = server_name(host).expect("a valid name");
        verifier.verify_server_cert(&certificate.own.cert[0], &[], &name, &[], UnixTime::now()).map(|_| ())
    }

    fn key_of(certificate: &Certificate) -> [u8; 32] {
        let parsed = ParsedCertificate::try_from(&certificate.own.cert[0]).expect("we made it");
        let spki = parsed.subject_public_key_info();
        spki.as_ref().strip_prefix(&ED25519_SPKI[..]).and_then(|key| key.try_into().ok()).expect("an Ed25519 key")
    }

    #[test]
    fn self_signed_certificate_is_its_own_root() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("node.pem");
        let mine = Certificate::self_signed(&[7; 32], "did:key:mine", &["node.example".to_owned()]).expect("made");
        let other = Certificate::self_signed(&[8; 32], "did:key:other", &[]).expect("made");
        fs::write(&path, mine.pem()).expect("written");
        let roots = Roots::load(&[&path]).expect("loaded");
        for host in ["node.example", "localhost", "127.0.0.1", "[::1]"] {
            assert_eq!(verify(&roots, &Expect::WebPki, &mine, host), Ok(()), "{host}");
        }
        assert!(verify(&roots, &Expect::WebPki, &mine, "elsewhere.example").is_err());
        assert!(verify(&roots, &Expect::WebPki, &other, "localhost").is_err());
    }

    #[test]
    fn a_key_is_the_whole_proof() {
        let mine = Certificate::self_signed(&[7; 32], "did:key:mine", &[]).expect("made");
        let other = Certificate::self_signed(&[8; 32], "did:key:other", &[]).expect("made");
        let roots = Roots(Arc::new(RootCertStore::empty()));
        let expect = Expect::Key(key_of(&mine));
        assert_eq!(verify(&roots, &expect, &mine, "whatever.example"), Ok(()));
        assert!(verify(&roots, &expect, &other, "whatever.example").is_err());
    }

    #[test]
    fn the_same_seed_and_hosts_give_the_same_certificate() {
        let made = || Certificate::self_signed(&[7; 32], "did:key:mine", &["h".to_owned()]).expect("made").pem();
        assert_eq!(made(), made());
    }

    #[test]
    fn the_dates_of_a_certificate_are_read() {
        let own = Certificate::self_signed(&[7; 32], "did:key:mine", &[]).expect("made").own.cert[0].clone();
        assert_eq!(validity(&own), Some(Validity { from: 1_577_836_800, until: 253_402_214_400 }));
        for cut in 0..own.len() {
            assert!(validity(&own[..cut]).is_none());
        }
        for (tag, text, seconds) in [
            (0x17, "700101000000Z", Some(0)),
            (0x17, "000229235959Z", Some(951_868_799)),
            (0x17, "491231235959Z", Some(2_524_607_999)),
            (0x18, "21000301000000Z", Some(4_107_542_400)),
            (0x17, "500101000000Z", None),
            (0x17, "000029235959Z", None),
            (0x17, "000100235959Z", None),
            (0x17, "0002292359Z", None),
            (0x17, "00022923595+Z", None),
            (0x17, "Z", None),
            (0x18, "20000229235959", None),
            (0x19, "20000229235959Z", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn a_certificate_of_no_use_leaves_the_one_before() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| home.path().join(name);
        for name in ["one", "two"] {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
            fs::write(path(name), made.cert.pem()).expect("written");
            fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).expect("written");
        }
        fs::write(path("garbage"), "nothing here").expect("written");
        let certificate = Certificate::self_signed(&[7; 32], "did:key:mine", &[]).expect("made");
        let shown = |of: &Certificate| taken(&of.domain).map(|shown| shown.cert.clone());
        certificate.show_domain(&path("one"), &path("one.key")).expect("taken");
        let one = shown(&certificate);
        assert!(one.is_some());
        for (chain, key) in [
            ("two", "one.key"),
            ("one", "two.key"),
            ("garbage", "one.key"),
            ("one", "garbage"),
            ("nowhere", "one.key"),
            ("one", "nowhere"),
        ] {
            assert!(certificate.show_domain(&path(chain), &path(key)).is_err(), "{chain} with {key}");
            assert_eq!(shown(&certificate), one);
        }
        let other = certificate.clone();
        certificate.show_domain(&path("two"), &path("two.key")).expect("taken");
        assert_ne!(shown(&other), one, "clones are one");
    }

    #[test]
    fn a_missing_or_empty_ca_file_is_named() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("empty.pem");
        fs::write(&path, "nothing here").expect("written");
        let said = Roots::load(&[&path]).expect_err("no certificate").to_string();
        assert!(said.contains("empty.pem"), "{said}");
        assert!(Roots::load(&[home.path().join("missing.pem")]).is_err());
    }
}
