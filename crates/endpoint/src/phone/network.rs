//! What phones of one process share of the outside: whom to trust in TLS, how to find people, the DHT.

use std::path::PathBuf;
use std::sync::Arc;

use dsip_proto::identity::Document;
use dsip_proto::wire::Did;

use crate::dht::{self, Dht};
use crate::link::Dialer;
use crate::resolve::{self, Located, Resolver, UnknownAlias};
use crate::tls::{Expect, Roots, TlsError};

/// Access to the network. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    pub(super) dialer: Dialer,
    resolver: Resolver,
    dht: Option<Dht>,
}

/// Why there is no access to the network.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A DHT address that is none.
    #[error("{0}")]
    Address(String),
    /// The TLS set-up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTPS set-up.
    #[error(transparent)]
    Resolver(#[from] resolve::SetupError),
    /// The DHT set-up.
    #[error(transparent)]
    Dht(#[from] dht::Error),
}

impl Network {
    /// Sets up TLS, the resolver and, given addresses to start from, a device's part in the DHT. `allow_private` lets
    /// `did:web` and aliases lead into private address space.
    pub async fn join(roots: Roots, dht: &[String], allow_private: bool) -> Result<Self, JoinError> {
        Self::join_remembering(roots, dht, allow_private, None).await
    }

    /// The same, with a file that remembers the DHT peers met (DHT-6): once there are some, no address is needed.
    pub async fn join_remembering(
        roots: Roots,
        dht: &[String],
        allow_private: bool,
        remembered: Option<PathBuf>,
    ) -> Result<Self, JoinError> {
        let tls = roots.ws_client(&Expect::WebPki)?;
        let resolver = Resolver::new(&resolve::Config { tls, allow_private, dns: None, patience: resolve::PATIENCE })?;
        let bootstrap = dht
            .iter()
            .map(|text| dht::parse_address(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(JoinError::Address)?;
        let dht = if bootstrap.is_empty() && !remembered.as_ref().is_some_and(|file| file.exists()) {
            None
        } else {
            Some(device(&resolver, bootstrap, remembered).await?)
        };
        Ok(Self { dialer: Dialer::new(roots), resolver, dht })
    }

    /// Finds what is known about somebody. A link that names DHT peers is looked up through them, also by who has no
    /// part in the DHT otherwise.
    pub async fn locate(&self, target: &resolve::Target) -> Result<Located, UnknownAlias> {
        let own = match (&self.dht, target) {
            (None, resolve::Target::Link(link)) => {
                let bootstrap: Vec<_> = link.dht.iter().filter_map(|text| dht::parse_address(text).ok()).collect();
                if bootstrap.is_empty() { None } else { device(&self.resolver, bootstrap, None).await.ok() }
            }
            _ => None,
        };
        self.resolver.locate(target, self.dht.as_ref().or(own.as_ref())).await
    }

    /// The part taken in the DHT, if any.
    #[must_use]
    pub fn dht(&self) -> Option<&Dht> {
        self.dht.as_ref()
    }

    /// What opens links.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The DID document of somebody, if it can be had.
    pub async fn document(&self, did: &Did) -> Option<Document> {
        let resolved = self.resolver.document(did).await.ok()?;
        Some(Arc::unwrap_or_clone(resolved.document))
    }

    /// Hands a signed hint to the overlay; says how many nodes took it.
    pub(super) async fn publish(&self, hint: String) -> Result<usize, String> {
        let dht = self.dht.as_ref().ok_or("no DHT to publish in; name a node of it with --dht")?;
        dht.publish(hint).await.map(|published| published.accepted).map_err(|error| error.to_string())
    }
}

async fn device(
    resolver: &Resolver,
    bootstrap: Vec<dht::Multiaddr>,
    remembered: Option<PathBuf>,
) -> Result<Dht, dht::Error> {
    let documents = Some(resolver.for_dht());
    Dht::start(dht::Config { role: dht::Role::Device, bootstrap, remembered, documents }).await
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("dht", &self.dht.is_some()).finish_non_exhaustive()
    }
}
