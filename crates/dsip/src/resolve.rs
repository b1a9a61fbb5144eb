//! `dsip resolve TARGET`: what is known about a target, where it came from, and what of it has authority.

use std::fmt;

use dsip_endpoint::dht;
use dsip_endpoint::resolve::{AliasOrigin, Candidate, Located, Origin, Source, Target};
use dsip_proto::identity::Document;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip resolve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A DID, an alias such as bob@example.org, or a dsip: link
    #[arg(value_name = "TARGET")]
    target: Target,
}

/// Everything found.
#[derive(Serialize)]
struct Found {
    event: &'static str,
    did: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<AliasFound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_name: Option<String>,
    document: DocumentFound,
    records: Vec<RecordFound>,
    /// What was found and believed by nobody, and what else is odd.
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dht: Option<DhtAsked>,
    dial: Vec<Place>,
}

#[derive(Serialize)]
struct AliasFound {
    alias: String,
    source: &'static str,
    authority: bool,
}

#[derive(Serialize)]
struct DocumentFound {
    source: String,
    authority: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Value>,
}

/// A signed record from the DHT.
#[derive(Serialize)]
struct RecordFound {
    source: &'static str,
    authority: bool,
    /// Whether it is the one that stands after all were compared.
    stands: bool,
    signer: String,
    seq: u64,
    expires_at: u64,
    endpoints: Vec<Endpoint>,
    /// The peers that had it; none if it was kept here.
    from: Vec<String>,
}

#[derive(Serialize)]
struct Endpoint {
    uri: String,
    bindings: Vec<String>,
}

/// What the look-up in the DHT cost.
#[derive(Serialize)]
struct DhtAsked {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    requests: u32,
    hops: Option<u32>,
    milliseconds: u128,
}

/// Somewhere to dial, best first.
#[derive(Serialize)]
struct Place {
    uri: String,
    bindings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    source: &'static str,
    authority: bool,
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let network = globals.network().await?;
    out.progress("asking");
    let located = network.locate(&args.target).await.map_err(|error| {
        Failure::new(Exit::NotFound, "TARGET", error, "check the spelling, or ask them for their DID")
    })?;
    let found = Found::of(&located);
    out.event(&found);
    // Without a document no key is known, so nothing can be verified and nobody called.
    Ok(if located.document.is_ok() { Exit::Done } else { Exit::NotFound })
}

impl Found {
    fn of(located: &Located) -> Self {
        let hints = located.hints.as_ref();
        let found = hints.and_then(|hints| hints.as_ref().ok());
        Self {
            event: "resolved",
            did: located.did.to_string(),
            alias: located.alias.as_ref().map(|(alias, origin)| AliasFound {
                alias: alias.to_string(),
                source: match origin {
                    AliasOrigin::WebFinger => "webfinger",
                    AliasOrigin::Dns => "dns",
                },
                authority: false,
            }),
            claimed_name: located.link_name.clone(),
            document: DocumentFound::of(located),
            records: found.map(records).unwrap_or_default(),
            warnings: found.map(warnings).unwrap_or_default(),
            dht: hints.map(|hints| match hints {
                Ok(found) => DhtAsked {
                    error: None,
                    requests: found.effort.requests,
                    hops: found.effort.hops,
                    milliseconds: found.effort.elapsed.as_millis(),
                },
                Err(error) => DhtAsked { error: Some(error.clone()), requests: 0, hops: None, milliseconds: 0 },
            }),
            dial: located.candidates.iter().map(Place::of).collect(),
        }
    }
}

impl DocumentFound {
    fn of(located: &Located) -> Self {
        match &located.document {
            Ok(resolved) => Self {
                source: match &resolved.origin {
                    Origin::Derived => "derived from the key itself".into(),
                    Origin::Web { url, .. } => url.clone(),
                },
                authority: true,
                error: None,
                document: serde_json::from_str(&Document::to_json(&resolved.document)).ok(),
            },
            Err(error) => {
                Self { source: "none".into(), authority: false, error: Some(error.to_string()), document: None }
            }
        }
    }
}

fn records(found: &dht::Found) -> Vec<RecordFound> {
    let winner = found.winner.as_ref().map(dht::Record::standing);
    found
        .all
        .iter()
        .map(|(record, peers)| RecordFound {
            source: "dht",
            authority: false,
            stands: winner == Some(record.standing()),
            signer: record.signer().to_string(),
            seq: record.standing().seq,
            expires_at: record.standing().expires_at,
            endpoints: record
                .endpoints()
                .iter()
                .map(|endpoint| Endpoint {
                    uri: endpoint.uri.clone(),
                    bindings: endpoint.bindings.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            from: peers.iter().map(ToString::to_string).collect(),
        })
        .collect()
}

fn warnings(found: &dht::Found) -> Vec<String> {
    let refused =
        found.refused.iter().map(|(peer, why)| format!("peer {peer} returned a record that is refused: {why}"));
    found.warnings.iter().map(ToString::to_string).chain(refused).collect()
}

impl Place {
    fn of(candidate: &Candidate) -> Self {
        Self {
            uri: candidate.uri.clone(),
            bindings: candidate.bindings.clone(),
            node: candidate.node.as_ref().map(ToString::to_string),
            source: match candidate.source {
                Source::Document => "document",
                Source::Hint { .. } => "dht",
                Source::Link => "link",
            },
            authority: candidate.source.has_authority(),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(alias) = &self.alias {
            writeln!(
                f,
                "alias      {} → by {}, unsigned: from here on the DID is who it is",
                alias.alias, alias.source
            )?;
        }
        writeln!(f, "identity   {}", self.did)?;
        if let Some(name) = &self.claimed_name {
            writeln!(f, "name       {name:?}, as the link claims")?;
        }
        match &self.document.error {
            None => writeln!(f, "document   {}; the authority over keys", self.document.source)?,
            Some(error) => writeln!(f, "document   none: {error}; nothing can be verified without one")?,
        }
        match &self.dht {
            None => writeln!(f, "dht        not asked; --dht ADDR names a node of it")?,
            Some(DhtAsked { error: Some(error), .. }) => writeln!(f, "dht        {error}")?,
            Some(asked) => writeln!(
                f,
                "dht        {} record(s) that verify, {} requests, {} ms",
                self.records.len(),
                asked.requests,
                asked.milliseconds
            )?,
        }
        for record in &self.records {
            let standing = if record.stands { "stands" } else { "outdone" };
            let peers = record.from.len();
            writeln!(
                f,
                "record     seq {}, {standing}, at {peers} peer(s), signed by {}; a hint only",
                record.seq, record.signer
            )?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning    {warning}")?;
        }
        for place in &self.dial {
            let worth = if place.authority { "with authority" } else { "advice" };
            writeln!(f, "dial       {} (by {}, {worth})", place.uri, place.source)?;
        }
        match self.dial.len() {
            0 => write!(f, "dial       nobody says where"),
            _ => write!(f, "whoever answers there still has to prove who they are"),
        }
    }
}
