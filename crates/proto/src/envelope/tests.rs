//! What vectors cannot say about the pipeline: what is remembered, what is told about a refused sender, what is asked for.

use super::*;
use crate::identity::{Delegation, Document, Documents, SecretKey, delegate};
use crate::time::{Now, Seed, Tick, Wall};
use crate::wire::media::{ClaimedIdentity, VersionBlock};
use crate::wire::message::{Bye, Common, Hello, Introduction};
use crate::wire::token::{BindingId, ProfileId};
use crate::wire::{Did, Message, Reason, Ulid, base64url};

const NOW: u64 = 1_770_000_000;

fn at(secs: u64) -> Now {
    Now { tick: Tick::default(), wall: Wall::from_secs(secs) }
}

fn key(name: u8) -> SecretKey {
    SecretKey::from_bytes(&[name; 32])
}

fn verifier() -> Verifier {
    Verifier::new(Supported::default(), Seed::new([0; 32]))
}

fn common(from: &Did, secs: u64, lifetime: u64, label: u8) -> Common {
    Common {
        dsip: VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]),
        id: Ulid::generate(Wall::from_secs(secs), &mut Seed::new([label; 32]).into_rng()),
        from: from.clone(),
        issued_at: secs,
        expires_at: secs + lifetime,
    }
}

fn bye(from: &Did, secs: u64, label: u8) -> Message {
    let common = common(from, secs, 30, label);
    let session = common.id;
    Bye { common, to: from.clone(), session, reason: Reason::USER_HANGUP, detail: None, retry_after: None }.into()
}

fn hello(from: &Did, label: u8) -> Message {
    let common = common(from, NOW, 30, label);
    let bindings = Some(vec![BindingId::WS]);
    Hello { common, on_behalf_of: None, bindings, in_reply_to: None, capabilities: None }.into()
}

fn verify(verifier: &mut Verifier, frame: &str, secs: u64) -> Result<Verified<Message>, Verdict> {
    verifier.verify(frame, at(secs), &Documents::default(), Connection::default())
}

/// A device that presents a delegation which ends at `until`.
fn device(until: u64) -> (Signer, Did) {
    let identity = key(1);
    let kid = identity.public().kid();
    let delegation = delegate(&identity, &kid, &key(2).did(), &[Delegation::SIGNALING], NOW - 10, until);
    (Signer::new(key(2), key(2).public().kid(), vec![delegation]), identity.did())
}

#[test]
fn rpl_4_an_id_is_recorded_even_if_a_later_stage_refuses() {
    let signer = Signer::of_key(key(1));
    let mut verifier = verifier();
    let mut message = bye(signer.kid().did(), NOW, 1);
    let Message::Bye(inner) = &mut message else { unreachable!() };
    inner.common.dsip.core = "2.0".parse().expect("a version");
    let frame = signer.sign(&message).text();
    assert_eq!(
        verify(&mut verifier, &frame, NOW).map_err(|verdict| verdict.code).err(),
        Some(Code::VersionUnsupported)
    );
    assert_eq!(verify(&mut verifier, &frame, NOW).map_err(|verdict| verdict.code).err(), Some(Code::DuplicateId));
}

#[test]
fn rpl_4_an_id_is_never_recorded_before_the_signature_holds() {
    let signer = Signer::of_key(key(1));
    let mut verifier = verifier();
    let good = signer.sign(&bye(signer.kid().did(), NOW, 1));
    let forged = good.text().replace(good.signature(), &base64url::encode(&[7; 64]));
    assert_eq!(verify(&mut verifier, &forged, NOW).map_err(|verdict| verdict.code).err(), Some(Code::SignatureInvalid));
    assert!(verifier.seen().is_empty());
    assert!(verify(&mut verifier, &good.text(), NOW).is_ok());
}

#[test]
fn rpl_5_a_sender_past_its_limit_is_refused_and_others_are_not() {
    let limits = Limits { live_per_sender: 2, ..Limits::default() };
    let mut verifier = Verifier::with_limits(Supported::default(), limits, Seed::new([0; 32]));
    let (flooder, other) = (Signer::of_key(key(1)), Signer::of_key(key(2)));
    let mut send = |signer: &Signer, secs, label| {
        let frame = signer.sign(&bye(signer.kid().did(), secs, label)).text();
        verify(&mut verifier, &frame, secs).map(|_| ()).map_err(|verdict| (verdict.code, verdict.reason))
    };
    assert_eq!((send(&flooder, NOW, 1), send(&flooder, NOW, 2)), (Ok(()), Ok(())));
    assert_eq!(send(&flooder, NOW, 3), Err((Code::TooManyIds, Some(Reason::TRANSPORT_RATE_LIMITED))));
    assert_eq!(send(&other, NOW, 4), Ok(()));
    assert_eq!(send(&flooder, NOW + 400, 5), Ok(()), "the window has moved on");
}

#[test]
fn rpl_6_a_held_id_is_handed_out_for_storing_and_counts_after_a_restart() {
    let signer = Signer::of_key(key(1));
    let common = common(signer.kid().did(), NOW, 604_800, 1);
    let identity = ClaimedIdentity { display_name: None, claims: None };
    let introduction = Introduction { common, to: key(2).did(), identity, purpose: None, contact_token: None };
    let frame = signer.sign(&introduction.into()).text();
    let accepted = verify(&mut verifier(), &frame, NOW + 1000).expect("meant to wait");
    let held = accepted.held().expect("to be stored").clone();
    assert_eq!(held.until, NOW + 604_800);
    let mut restarted = verifier();
    restarted.seen_mut().restore([held], NOW + 2000);
    assert_eq!(
        verify(&mut restarted, &frame, NOW + 3000).map_err(|verdict| verdict.code).err(),
        Some(Code::DuplicateId)
    );
}

#[test]
fn del_13_a_remembered_delegation_ends_all_the_same() {
    let (signer, identity) = device(NOW + 100);
    let mut verifier = verifier();
    let mut send = |secs, label| {
        let frame = signer.sign(&hello_at(&identity, secs, label)).text();
        verify(&mut verifier, &frame, secs).map_err(|verdict| verdict.code)
    };
    let first = send(NOW, 1).expect("it holds");
    assert_eq!(first.proofs(), [Proof { identity: identity.clone(), until: NOW + 100 }]);
    assert!(send(NOW + 99, 2).is_ok());
    assert_eq!(send(NOW + 100, 3).err(), Some(Code::DelegationExpired));
}

fn hello_at(from: &Did, secs: u64, label: u8) -> Message {
    let common = common(from, secs, 30, label);
    let bindings = Some(vec![BindingId::WS]);
    Hello { common, on_behalf_of: None, bindings, in_reply_to: None, capabilities: None }.into()
}

#[test]
fn del_24_a_device_in_its_own_name_proves_whom_it_acts_for() {
    let (signer, identity) = device(NOW + 100);
    let frame = signer.sign(&hello(&key(2).did(), 1)).text();
    let verified = verify(&mut verifier(), &frame, NOW).expect("bound to itself");
    assert_eq!(*verified.identity(), key(2).did());
    assert_eq!(verified.proven().map(|proof| &proof.identity), Some(&identity));
}

#[test]
fn rot_7_forgotten_delegations_do_not_bind() {
    let (presenting, identity) = device(NOW + 100);
    let silent = Signer::of_key(key(2));
    let mut verifier = verifier();
    assert!(verifier.learn(&presenting.delegations()[0]));
    let send = |verifier: &mut Verifier, label| {
        let frame = silent.sign(&hello(&identity, label)).text();
        verify(verifier, &frame, NOW).map(|_| ()).map_err(|verdict| verdict.code)
    };
    assert_eq!(send(&mut verifier, 1), Ok(()));
    verifier.forget(&identity);
    assert_eq!(send(&mut verifier, 2), Err(Code::SignerMismatch));
}

#[test]
fn rot_2_a_remembered_header_does_not_outlive_the_key() {
    let org: Did = "did:web:org.example".parse().expect("a DID");
    let signer = Signer::new(key(1), format!("{org}#key-1").parse().expect("a key id"), Vec::new());
    let (mut verifier, mut documents) = (verifier(), Documents::default());
    documents.insert(Document::new(org.clone(), "key-1", key(1).public(), Vec::new()));
    let frame = |label| signer.sign(&bye(&org, NOW, label)).text();
    assert!(verifier.verify(&frame(1), at(NOW), &documents, Connection::default()).is_ok());
    documents.insert(Document::new(org.clone(), "key-1", key(9).public(), Vec::new()));
    let verdict = verifier.verify(&frame(2), at(NOW), &documents, Connection::default());
    assert_eq!(verdict.map_err(|verdict| verdict.code).err(), Some(Code::SignatureInvalid));
}

#[test]
fn hel_12_the_audience_is_signed_and_told() {
    let signer = Signer::of_key(key(1));
    let message = hello(signer.kid().did(), 1);
    let frame = signer.sign_for(&message, "relay.example:443").text();
    let verified = verify(&mut verifier(), &frame, NOW).expect("other header members are ignored");
    assert_eq!(verified.audience(), Some("relay.example:443"));
    let plain = verify(&mut verifier(), &signer.sign(&message).text(), NOW).expect("no audience");
    assert_eq!(plain.audience(), None);
}

#[test]
fn pipe_3_a_replayed_hello_is_answered_and_its_sender_named() {
    let signer = Signer::of_key(key(1));
    let frame = signer.sign(&hello(signer.kid().did(), 1)).text();
    let mut verifier = verifier();
    assert!(verify(&mut verifier, &frame, NOW).is_ok());
    let verdict = verify(&mut verifier, &frame, NOW).expect_err("seen before");
    assert_eq!((verdict.code, verdict.reason.clone()), (Code::DuplicateId, None));
    assert_eq!(verdict.answer(), Some(Reason::TRANSPORT_HELLO_REJECTED));
    assert_eq!(verdict.origin.map(|origin| origin.signer), Some(signer.kid().did().clone()));
}

#[test]
fn pipe_4_an_offerless_invite_is_answered_with_what_it_lacks() {
    let signer = Signer::of_key(key(1));
    let Message::Bye(bye) = bye(signer.kid().did(), NOW, 1) else { unreachable!() };
    let payload = Message::from(bye.clone())
        .to_json()
        .replace("\"bye\"", "\"invite\"")
        .replace(&format!("\"session\":\"{}\",\"reason\":\"user.hangup\"", bye.session), "\"transports\":[]");
    let header = crate::identity::header(signer.kid());
    let frame = Envelope::seal(&base64url::encode(header.as_bytes()), &payload, |bytes| Some(key(1).sign(bytes))).text();
    let verdict = verify(&mut verifier(), &frame, NOW).expect_err("no offer");
    assert_eq!((verdict.code, verdict.reason.clone()), (Code::SchemaInvalid, None));
    assert_eq!(verdict.answer(), Some(Reason::MEDIA_OFFER_REQUIRED));
}

#[test]
fn pipe_5_nobody_is_named_before_the_signature_holds() {
    let verdict = verify(&mut verifier(), "{}", NOW).expect_err("no envelope");
    assert_eq!((verdict.code, verdict.origin), (Code::EnvelopeShape, None));
}

#[test]
fn env_5_the_text_is_kept_as_received() {
    let signer = Signer::of_key(key(1));
    let frame = signer.sign(&hello(signer.kid().did(), 1)).text().replace(",", " ,\n");
    let verified = verify(&mut verifier(), &frame, NOW).expect("spaces between members mean nothing");
    assert_eq!(**verified.text(), *frame);
}

#[test]
fn needs_names_the_documents_of_signer_and_delegations() {
    let org: Did = "did:web:org.example".parse().expect("a DID");
    let kid = format!("{org}#key-1").parse().expect("a key id");
    let delegation = delegate(&key(1), &kid, &key(2).did(), &[Delegation::SIGNALING], NOW, NOW + 1);
    let device = Signer::new(key(2), key(2).public().kid(), vec![delegation.clone(), delegation]);
    assert_eq!(needs(&device.sign(&hello(&org, 1)).text()), [org]);
    assert!(needs(&Signer::of_key(key(1)).sign(&hello(&key(1).did(), 1)).text()).is_empty());
    assert!(needs("nonsense").is_empty());
}
