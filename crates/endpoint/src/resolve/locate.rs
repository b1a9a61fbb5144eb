//! The whole way from what a person typed to where to dial, each step with its source and its worth.

use std::time::{Duration, Instant};

use dsip_proto::link::{Link, LinkError};
use dsip_proto::wire::Did;

use super::{Alias, AliasError, AliasOrigin, ResolveError, Resolved, Resolver, UnknownAlias};
use crate::dht::{self, Dht};

/// Endpoints taken from one source; nobody is reached at more places than this.
const MAX_PER_SOURCE: usize = 8;

/// What a person may type or scan to name somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The DID itself.
    Did(Did),
    /// `user@domain`.
    Alias(Alias),
    /// A `dsip:` link.
    Link(Link),
}

/// What was typed names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It looks like a link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It looks like an alias.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// It starts like a DID.
    #[error("\"{0}\" is not a DID; it looks like did:key:z6Mk… or did:web:example.com (was it cut off?)")]
    Did(String),
    /// It looks like nothing known.
    #[error("\"{0}\" names nobody; write a DID (did:key:z6Mk…), an alias (bob@example.com) or a dsip: link")]
    Unknown(String),
}

/// Everything that was found about a target, and where to dial.
#[derive(Debug, Clone)]
pub struct Located {
    /// Whom it is about. From here on this is the identity, not the alias (DSC-1, ALS-7).
    pub did: Did,
    /// The alias it was reached by, if any, and who answered for that: how one got there, not who it is (ALS-8).
    pub alias: Option<(Alias, AliasOrigin)>,
    /// What the link calls it, if it does. A claim of whoever made the link.
    pub link_name: Option<String>,
    /// The document, which has authority over keys, or why there is none. Without one nothing can be verified.
    pub document: Result<Resolved, ResolveError>,
    /// What the DHT says. It has no authority.
    pub hints: Option<Result<dht::Found, String>>,
    /// Where to dial, best first. Verification of who answers there comes with the call.
    pub candidates: Vec<Candidate>,
    /// How long each part took.
    pub timing: Timing,
}

/// How long the parts of a look-up took. Document and hints are asked for at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// From the alias to the DID.
    pub alias: Option<Duration>,
    /// The document.
    pub document: Duration,
    /// The hints.
    pub hints: Option<Duration>,
}

/// A place to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `wss://HOST[:PORT]/dsip`.
    pub uri: String,
    /// The bindings it is said to speak, such as `ws/1.0`; empty if nothing is said.
    pub bindings: Vec<String>,
    /// The DID of the node there, if known: a `did:key` node is then held to that very key.
    pub node: Option<Did>,
    /// Who says so.
    pub source: Source,
}

/// Who says that a DID can be dialled somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The DID document: the one source with authority (DSC-2).
    Document,
    /// A hint from the DHT, signed by the DID or a device of its.
    Hint {
        /// Whose key signed it.
        signer: Did,
        /// Its sequence number.
        seq: u64,
        /// Until when it counts, in Unix seconds.
        expires_at: u64,
    },
    /// The link. Unsigned.
    Link,
}

impl Source {
    /// Whether it decides, rather than advises (DSC-2).
    #[must_use]
    pub const fn has_authority(&self) -> bool {
        matches!(self, Self::Document)
    }
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    /// Reads what a person typed, case and surrounding blanks forgiven (DSC-1).
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if Link::looks_like(text) {
            return Ok(Self::Link(text.parse()?));
        }
        if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("did:")) {
            // ID-3: scheme and method in lower case, the rest as it is.
            let normal = match text.splitn(3, ':').collect::<Vec<_>>()[..] {
                [scheme, method, rest] => format!("{}:{}:{rest}", scheme.to_lowercase(), method.to_lowercase()),
                _ => text.to_owned(),
            };
            return normal.parse().map(Self::Did).map_err(|_| TargetError::Did(excerpt(text)));
        }
        if text.contains('@') {
            return Ok(Self::Alias(text.parse()?));
        }
        Err(TargetError::Unknown(excerpt(text)))
    }
}

impl Resolver {
    /// Finds where to dial `target`: its DID, then document and hints at the same time (DSC-1 to DSC-3).
    ///
    /// A missing document or an unreachable DHT is part of the answer, not an error: the caller shows it.
    ///
    /// # Errors
    ///
    /// [`UnknownAlias`] if the target is an alias that leads to no DID.
    pub async fn locate(&self, target: &Target, dht: Option<&Dht>) -> Result<Located, UnknownAlias> {
        let began = Instant::now();
        let (did, alias, link) = match target {
            Target::Did(did) => (did.clone(), None, None),
            Target::Link(link) => (link.did.clone(), None, Some(link)),
            Target::Alias(alias) => {
                let (did, origin) = self.alias(alias).await?;
                (did, Some((alias.clone(), origin)), None)
            }
        };
        let mut timing = Timing { alias: alias.is_some().then(|| began.elapsed()), ..Timing::default() };

        let began = Instant::now();
        let document = async { (self.document(&did).await, began.elapsed()) };
        let hints = async {
            let dht = dht?;
            for address in link.into_iter().flat_map(|link| &link.dht) {
                match dht::parse_address(address) {
                    Ok(address) => dht.introduce(address).await,
                    Err(error) => tracing::debug!(error, "the link's DHT peer is of no use"),
                }
            }
            Some((dht.find(&did).await.map_err(|error| error.to_string()), began.elapsed()))
        };
        let ((document, document_took), hints) = futures_util::future::join(document, hints).await;
        timing.document = document_took;
        timing.hints = hints.as_ref().map(|(_, took)| *took);
        let hints = hints.map(|(hints, _)| hints);

        let mut candidates = Vec::new();
        if let Ok(resolved) = &document {
            add(&mut candidates, from_document(resolved));
            if let Some(Ok(found)) = &hints {
                add(&mut candidates, found.winner.iter().flat_map(from_hint));
            }
            add(&mut candidates, link.into_iter().flat_map(|link| &link.nodes).map(from_link));
        }
        let link_name = link.and_then(|link| link.name.clone());
        Ok(Located { did, alias, link_name, document, hints, candidates, timing })
    }
}

/// DSC-2, DSC-3, LNK-8: what a better source said already is not said again by a worse one.
fn add(candidates: &mut Vec<Candidate>, more: impl Iterator<Item = Candidate>) {
    for candidate in more.take(MAX_PER_SOURCE) {
        if !candidates.iter().any(|known| known.uri == candidate.uri && known.node == candidate.node) {
            candidates.push(candidate);
        }
    }
}

fn from_document(resolved: &Resolved) -> impl Iterator<Item = Candidate> + '_ {
    resolved.document.services().iter().map(|service| Candidate {
        uri: service.uri.clone(),
        bindings: service.bindings.iter().map(ToString::to_string).collect(),
        node: None,
        source: Source::Document,
    })
}

fn from_hint(record: &dht::Record) -> impl Iterator<Item = Candidate> + '_ {
    record.endpoints().iter().map(|endpoint| Candidate {
        uri: endpoint.uri.clone(),
        bindings: endpoint.bindings.iter().map(ToString::to_string).collect(),
        node: endpoint.rest.get("node").and_then(|node| node.as_str()?.parse().ok()),
        source: Source::Hint {
            signer: record.signer().clone(),
            seq: record.standing().seq,
            expires_at: record.standing().expires_at,
        },
    })
}

fn from_link(node: &dsip_proto::link::Node) -> Candidate {
    Candidate { uri: node.uri.clone(), bindings: Vec::new(), node: node.did.clone(), source: Source::Link }
}

fn excerpt(text: &str) -> String {
    text.chars().take(48).filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: &str = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";

    #[test]
    fn dsc_1_input_is_normalised_before_it_means_anything() {
        let bob = Target::Did(BOB.parse().expect("a DID"));
        assert_eq!(format!(" {BOB}\n").parse(), Ok(bob.clone()));
        assert_eq!(BOB.replace("did:key", "DID:Key").parse(), Ok(bob));
        assert!(
            matches!("Bob@Example.com".parse(), Ok(Target::Alias(alias)) if alias.to_string() == "bob@example.com")
        );
        assert!(matches!(format!("DSIP:{BOB}?name=Bob").parse(), Ok(Target::Link(_))));
    }

    #[test]
    fn what_names_nobody_is_answered_with_what_would() {
        for (text, part) in [
            ("bob", "write a DID"),
            ("", "write a DID"),
            ("did:key", "is not a DID"),
            ("did:key:z6Mk#z6Mk", "is not a DID"),
            ("dsip:bob", "comes a DID"),
            ("bob@", "looks like bob@example.com"),
        ] {
            let error = text.parse::<Target>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
