//! What a receiver makes of a broadcast record and the statements about it (06, part A).
//!
//! A publisher signs what it streams and how to get it; processors sign what they did to it. Evaluating both says whose
//! stream this is, which variant to take, who handled it on the way, and how far the publisher's word still reaches. A bad
//! statement never harms the record, and a processor never takes the publisher's place (BC-40).

use std::fmt;

use crate::envelope::{Authentic, Code, Ids, Verdict, Verified, Verifier};
use crate::identity::Documents;
use crate::time::Now;
use crate::wire::media::Policy;
use crate::wire::message::{Provenance, Publish, Variant};
use crate::wire::token::{CodecId, Integrity, Operation, TransportId};
use crate::wire::{Did, Ulid};

/// What the receiver can play.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Codecs it decodes.
    pub codecs: Vec<CodecId>,
    /// Transports it receives over.
    pub transports: Vec<TransportId>,
}

/// A verified record, with everything worth knowing about it.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The record.
    pub publication: Verified<Publish>,
    /// The id of the first variant this receiver can play (BC-13).
    pub selected_variant: Option<String>,
    /// What became of each statement, in the order they were given.
    pub statements: Vec<Result<Statement, Refusal>>,
    /// What to show.
    pub display: Display,
}

/// A processor's statement that holds for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Who processed the stream.
    pub processor: Did,
    /// What was done.
    pub operation: Operation,
    /// What the publisher does not allow, though it was done.
    pub violation: Option<Violation>,
}

/// A publisher's policy that a statement shows to be broken (BC-38).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Violation {
    /// Transcoding is forbidden or denied.
    Transcoding,
    /// Redistribution is forbidden.
    Redistribution,
}

/// What is shown beside a stream (06 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Display {
    /// Whose stream it is.
    pub original_publisher: Did,
    /// Who passed it on.
    pub delivered_by: Vec<Did>,
    /// Who encoded it anew.
    pub transcoded_by: Vec<Did>,
    /// How far signatures cover the media.
    pub integrity: Integrity,
}

/// Why a record or a statement does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A stage of the envelope pipeline failed.
    Envelope(Verdict),
    /// The publisher is not who signed (BC-1).
    PublisherMismatch,
    /// The stream's id is not the publisher's to give (BC-2).
    StreamIdNamespace,
    /// A statement about another record (BC-33).
    UnknownPublication,
    /// A statement about another stream (BC-34).
    StreamMismatch,
    /// A statement in another processor's name (BC-35).
    ProcessorMismatch,
    /// A statement about a variant that was never advertised (BC-36).
    VariantUnknown,
}

/// Evaluates a record and the statements about it (BC-10 to BC-15).
///
/// Ids are looked up and not recorded: records and statements are fetched as often as anybody likes.
pub fn evaluate<'a>(
    verifier: &mut Verifier,
    publication: &str,
    statements: impl IntoIterator<Item = &'a str>,
    capabilities: &Capabilities,
    now: Now,
    documents: &Documents,
) -> Result<Evaluation, Refusal> {
    let verified = verifier.verify_record(publication, now, documents, Ids::Known, check_publisher)?;
    let publication = verified.only::<Publish>().ok_or(Verdict::new(Code::SchemaInvalid))?;
    let publish = publication.message();
    let selected = publish.variants.iter().find(|variant| capabilities.can_play(variant));
    let statements: Vec<_> =
        statements.into_iter().map(|statement| check_statement(verifier, statement, publish, now, documents)).collect();
    let display = Display::of(publish, selected, statements.iter().flatten());
    let selected_variant = selected.map(|variant| variant.id.clone());
    Ok(Evaluation { publication, selected_variant, statements, display })
}

/// Whether `stream` is `publisher`'s to name (BC-2): its DID, alone or with `:` and more.
#[must_use]
pub fn owns_stream(publisher: &Did, stream: &str) -> bool {
    stream.strip_prefix(publisher.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// BC-11: publisher and stream, before version and schema.
fn check_publisher(authentic: &Authentic<'_>) -> Result<(), Refusal> {
    let publisher = authentic.identity();
    if authentic.string("publisher") != Some(publisher.as_str()) {
        return Err(Refusal::PublisherMismatch);
    }
    if !authentic.string("stream_id").is_some_and(|stream| owns_stream(publisher, stream)) {
        return Err(Refusal::StreamIdNamespace);
    }
    Ok(())
}

/// BC-30 to BC-38.
fn check_statement(
    verifier: &mut Verifier,
    frame: &str,
    publish: &Publish,
    now: Now,
    documents: &Documents,
) -> Result<Statement, Refusal> {
    let verified = verifier.verify_record(frame, now, documents, Ids::Known, |_| Ok::<_, Refusal>(()))?;
    let statement = verified.only::<Provenance>().ok_or(Verdict::new(Code::SchemaInvalid))?;
    let Provenance { original_publication, original_stream, processor, operation, input_variant, .. } =
        statement.message();
    let refuse_unless = |holds: bool, refusal| if holds { Ok(()) } else { Err(refusal) };
    let publication: Ulid = publish.common.id;
    refuse_unless(*original_publication == publication, Refusal::UnknownPublication)?;
    refuse_unless(*original_stream == publish.stream_id, Refusal::StreamMismatch)?;
    refuse_unless(processor == statement.identity(), Refusal::ProcessorMismatch)?;
    refuse_unless(publish.variants.iter().any(|variant| variant.id == *input_variant), Refusal::VariantUnknown)?;
    Ok(Statement {
        processor: processor.clone(),
        operation: operation.clone(),
        violation: Violation::of(publish.policy.as_ref(), operation),
    })
}

impl Capabilities {
    fn can_play(&self, variant: &Variant) -> bool {
        self.codecs.contains(&variant.codec) && self.transports.contains(&variant.transport)
    }
}

impl Violation {
    /// BC-38: what the record's policy says about `operation`; redistribution goes before transcoding.
    pub(crate) fn of(policy: Option<&Policy>, operation: &Operation) -> Option<Self> {
        let policy = |key| policy.and_then(|policy| policy.value(key)).map(|value| value.as_str());
        if policy("redistribution") == Some("forbidden") {
            Some(Self::Redistribution)
        } else if *operation == Operation::TRANSCODE && matches!(policy("transcoding"), Some("forbidden" | "denied")) {
            Some(Self::Transcoding)
        } else {
            None
        }
    }

    /// The policy key that is broken.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transcoding => "transcoding",
            Self::Redistribution => "redistribution",
        }
    }
}

impl Display {
    fn of<'a>(publish: &Publish, selected: Option<&Variant>, statements: impl Iterator<Item = &'a Statement>) -> Self {
        let (transcoders, others): (Vec<_>, Vec<_>) =
            statements.partition(|statement| statement.operation == Operation::TRANSCODE);
        let dids = |list: Vec<&Statement>| list.iter().map(|statement| statement.processor.clone()).collect();
        Self {
            original_publisher: publish.publisher.clone(),
            integrity: if transcoders.is_empty() { declared(publish, selected) } else { Integrity::DERIVATIVE_BOUND },
            delivered_by: dids(others),
            transcoded_by: dids(transcoders),
        }
    }
}

/// The declared mode: the variant's own if it has one, else the record's (BC-20 to BC-22).
fn declared(publish: &Publish, selected: Option<&Variant>) -> Integrity {
    let own = selected.and_then(|variant| variant.rest.get("integrity"));
    let mode = match own {
        Some(mode) => mode.as_str().and_then(|mode| mode.parse::<Integrity>().ok()),
        None => publish.integrity.clone(),
    };
    mode.unwrap_or(Integrity::METADATA_ONLY).effective()
}

impl Refusal {
    /// The code of the check that failed.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Envelope(verdict) => verdict.code.as_str(),
            Self::PublisherMismatch => "publisher-mismatch",
            Self::StreamIdNamespace => "stream-id-namespace",
            Self::UnknownPublication => "provenance-unknown-publication",
            Self::StreamMismatch => "provenance-stream-mismatch",
            Self::ProcessorMismatch => "provenance-processor-mismatch",
            Self::VariantUnknown => "provenance-variant-unknown",
        }
    }
}

impl From<Verdict> for Refusal {
    fn from(verdict: Verdict) -> Self {
        Self::Envelope(verdict)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bc_2_a_stream_is_named_by_its_publisher() {
        let publisher: Did = "did:web:tv.example".parse().expect("a DID");
        for (stream, own) in [
            ("did:web:tv.example", true),
            ("did:web:tv.example:news", true),
            ("did:web:tv.example.evil", false),
            ("did:web:tv", false),
            ("news", false),
        ] {
            assert_eq!(owns_stream(&publisher, stream), own, "{stream}");
        }
    }
}
