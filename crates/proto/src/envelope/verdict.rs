//! Why an envelope was refused.

use std::fmt;

use crate::identity::RotationError;
use crate::wire::{Did, Kind, Reason, Ulid};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The check that failed. Codes are local; only [`Reason`] tokens travel (CNV-7).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// The code's text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// Stage 1: over 65,536 bytes.
    FrameTooLarge = "frame-too-large",
    /// Stage 2: not a closed object of three base64url strings.
    EnvelopeShape = "envelope-shape",
    /// Stage 3: the header is no object with `alg` and `kid`, or carries more delegations than anybody needs.
    HeaderInvalid = "header-invalid",
    /// Stage 3: not `EdDSA`.
    AlgUnsupported = "alg-unsupported",
    /// Stage 3: `kid` is no DID URL with a fragment.
    KidInvalid = "kid-invalid",
    /// Stage 4: no key of that name.
    KidUnresolvable = "kid-unresolvable",
    /// Stage 5: not that key's signature.
    SignatureInvalid = "signature-invalid",
    /// Stage 6: the payload is not UTF-8.
    PayloadNotUtf8 = "payload-not-utf8",
    /// Stage 6: the payload is not a JSON object.
    PayloadNotJson = "payload-not-json",
    /// Stage 6: a number with a fraction or an exponent.
    PayloadFloat = "payload-float",
    /// Stage 6: a core field is missing or malformed.
    PayloadShape = "payload-shape",
    /// Stage 7: no delegation was presented for the signer.
    SignerMismatch = "signer-mismatch",
    /// Stage 7: the delegation does not verify.
    DelegationInvalid = "delegation-invalid",
    /// Stage 7: the delegation does not allow signaling.
    DelegationCapability = "delegation-capability",
    /// Stage 7: the delegation is over, or not valid yet.
    DelegationExpired = "delegation-expired",
    /// Stage 8: expires before it was issued, or in that second.
    ExpiryOrder = "expiry-order",
    /// Stage 9: issued too long ago, or in the future.
    ReplayWindow = "replay-window",
    /// Stage 9: past its expiry.
    Expired = "expired",
    /// Stage 10: seen before.
    DuplicateId = "duplicate-id",
    /// Stage 10, ours: its id could not be remembered, the sender having sent too much lately (RPL-5).
    TooManyIds = "too-many-ids",
    /// Stage 11: the id was not made when the message was issued.
    UlidIssuedAtMismatch = "ulid-issued-at-mismatch",
    /// Stage 11b: nothing before `hello`.
    HelloRequired = "hello-required",
    /// Stage 12: no common version, profile or extension.
    VersionUnsupported = "version-unsupported",
    /// Stage 13: none of the nineteen types.
    UnknownType = "unknown-type",
    /// Stage 13: the field table is not satisfied.
    SchemaInvalid = "schema-invalid",
    /// SEM-1: the relay's `hello` answers another connection's.
    HelloInReplyToMismatch = "hello-in-reply-to-mismatch",
    /// SEM-2: the selection goes beyond the offer.
    SelectionNotSubset = "selection-not-subset",
    /// SEM-3: `expires_in` above the cap of an event.
    SubscriptionLifetimeExceeded = "subscription-lifetime-exceeded",
    /// SEM-4: over 4,096 bytes.
    IntroductionTooLarge = "introduction-too-large",
    /// SEM-5: nobody here asked for that grant.
    GrantUnknownIntroduction = "grant-unknown-introduction",
    /// ROT-3.
    RotationSubjectMismatch = "rotation-subject-mismatch",
    /// ROT-4.
    RotationNextSameAsPrevious = "rotation-next-same-as-previous",
    /// ROT-5.
    RotationSignerNotPrevious = "rotation-signer-not-previous",
}

/// The refusal of an envelope: the first check that failed, and what is known about the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The check that failed.
    pub code: Code,
    /// The token that the pipeline assigns to it, if any (PIPE-5).
    pub reason: Option<Reason>,
    /// Whose envelope it was, once its signature was found good; nobody is owed an answer otherwise.
    pub origin: Option<Box<Origin>>,
}

/// Who signed a refused envelope, and what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The signer: a device, as a rule.
    pub signer: Did,
    /// For whom it claims to speak; true only if the failure came after stage 7.
    pub from: Did,
    /// The message's id, for `in_reply_to`.
    pub id: Ulid,
    /// Its type, if known.
    pub kind: Option<Kind>,
    /// The session it names.
    pub session: Option<Ulid>,
    /// An invite or update without an offer (PIPE-4).
    pub lacks_offer: bool,
}

impl Verdict {
    pub(crate) const fn new(code: Code) -> Self {
        Self { code, reason: None, origin: None }
    }

    pub(crate) const fn with_reason(code: Code, reason: Reason) -> Self {
        Self { code, reason: Some(reason), origin: None }
    }

    /// The token to answer with on the wire, if anything is answered at all.
    ///
    /// That is the pipeline's own; `transport.hello-rejected` for a `hello` that failed signature, delegation or replay
    /// checks (PIPE-3); `media.offer-required` for a missing offer (PIPE-4).
    #[must_use]
    pub fn answer(&self) -> Option<Reason> {
        if self.reason.is_some() {
            return self.reason.clone();
        }
        let origin = self.origin.as_deref()?;
        let is_hello = origin.kind == Some(Kind::Hello);
        match self.code {
            Code::SchemaInvalid if origin.lacks_offer => Some(Reason::MEDIA_OFFER_REQUIRED),
            Code::ExpiryOrder | Code::ReplayWindow | Code::Expired | Code::DuplicateId | Code::UlidIssuedAtMismatch
                if is_hello =>
            {
                Some(Reason::TRANSPORT_HELLO_REJECTED)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())
    }
}

impl std::error::Error for Verdict {}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<RotationError> for Code {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::SubjectMismatch => Self::RotationSubjectMismatch,
            RotationError::NextSameAsPrevious => Self::RotationNextSameAsPrevious,
            RotationError::SignerNotPrevious => Self::RotationSignerNotPrevious,
        }
    }
}
