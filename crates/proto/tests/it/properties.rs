//! What holds for every id, key, text and message.

use dsip_proto::envelope::{Code, Connection, Signer, Supported, Verifier};
use dsip_proto::hints;
use dsip_proto::identity::{Delegation, Document, Documents, PublicKey, SecretKey, delegate, document_url};
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::wire::media::{ClaimedIdentity, MediaDescriptor, Transport, VersionBlock};
use dsip_proto::wire::message::{Common, Invite};
use dsip_proto::wire::token::{CodecId, Direction, MediaType, ProfileId, TransportId};
use dsip_proto::wire::{Did, Message, Ulid, base64url, json};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

const NOW: Now = Now { tick: Tick::from_micros(0), wall: Wall::from_secs(1_770_000_000) };

proptest! {
    #[test]
    fn ulid_1_and_ulid_4_text_and_order(a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), at in 0..1u64 << 48, later in 0..1u64 << 48) {
        let ulid = |seed, millis| Ulid::generate(Wall::from_millis(millis), &mut Seed::new(seed).into_rng());
        let (a, b) = (ulid(a, at), ulid(b, later));
        prop_assert_eq!(a.to_string().parse(), Ok(a));
        prop_assert_eq!(a.millis(), at);
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
    }

    #[test]
    fn ulid_1_only_one_spelling(text in "[0-9A-Za-z]{25,27}") {
        if let Ok(id) = text.parse::<Ulid>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn id_1_a_did_is_its_text(method in "[a-z0-9]{1,8}", specific in "[A-Za-z0-9.%_:-]{1,80}") {
        let text = format!("did:{method}:{specific}");
        let did: Did = text.parse().expect("ID-1");
        prop_assert_eq!((did.as_str(), did.method(), did.specific()), (&text[..], &method[..], &specific[..]));
    }

    #[test]
    fn id_1_nothing_else_is_a_did(text in "(did:)?[a-zA-Z0-9:/#? é]{0,20}") {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".%_:-".contains(c);
        let parts: Vec<&str> = text.splitn(3, ':').collect();
        let is_did = matches!(parts[..], ["did", method, specific]
            if !method.is_empty() && method.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
                && !specific.is_empty() && specific.chars().all(allowed));
        prop_assert_eq!(text.parse::<Did>().is_ok(), is_did);
    }

    #[test]
    fn id_20_a_document_is_on_the_host_it_shows(specific in "[A-Za-z0-9.%_:-]{1,60}") {
        let did: Did = format!("did:web:{specific}").parse().expect("ID-1");
        if let Ok(url) = document_url(&did) {
            let host = specific.split(':').next().unwrap_or_default().replace("%3A", ":").replace("%3a", ":");
            let path = url.strip_prefix(&format!("https://{host}/")).expect("the host it shows");
            prop_assert!(path.split('/').all(|segment| !segment.is_empty() && segment != "." && segment != ".."));
        }
    }

    #[test]
    fn id_10_every_32_octets_are_a_did_key(octets in any::<[u8; 32]>()) {
        let key = PublicKey::from_bytes(octets);
        prop_assert_eq!(PublicKey::of_did(&key.did()), Ok(key));
        prop_assert!(key.did().as_str().starts_with("did:key:z6Mk"));
        prop_assert_eq!(Documents::default().resolve(&key.kid()), Some(key));
    }

    #[test]
    fn env_2_base64url_has_one_spelling(bytes in vec(any::<u8>(), 0..200), text in "[A-Za-z0-9_=+/-]{0,40}") {
        prop_assert_eq!(base64url::decode(&base64url::encode(&bytes)), Some(bytes));
        if let Some(decoded) = base64url::decode(&text) {
            prop_assert_eq!(base64url::encode(&decoded), text);
        }
    }

    #[test]
    fn json_reads_what_an_ordinary_parser_writes(value in any_json()) {
        let text = value.to_string();
        let parsed = json::parse(&text).expect("an ordinary writer's text");
        prop_assert!(!parsed.has_float && !parsed.has_huge_integer);
        prop_assert_eq!(parsed.root.into_value(), value);
    }

    #[test]
    fn dht_5_keys_ignore_the_case_of_method_alone(method in "[a-z]{1,5}", specific in "[A-Za-z0-9:]{1,20}") {
        let lower = format!("did:{method}:{specific}");
        let upper = format!("DID:{}:{specific}", method.to_uppercase());
        prop_assert_eq!(hints::key(&lower), hints::key(&upper));
        if specific.to_uppercase() != specific {
            prop_assert_ne!(hints::key(&lower), hints::key(&lower.to_uppercase()));
        }
    }
}

proptest! {
    // Signatures are slow in a debug build, and there is little to find in more of them.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_signed_message_comes_out_as_it_went_in(invite in any_invite(), identity in any::<[u8; 32]>(), device in any::<[u8; 32]>()) {
        let (signer, identity) = signer(identity, device);
        let message = Message::from(Invite { common: Common { from: identity.clone(), ..invite.common }, ..invite });
        let frame = signer.sign(&message).text();
        let verified = verifier().verify(&frame, NOW, &Documents::default(), Connection::default()).expect("all is well");
        prop_assert_eq!(verified.message(), &message);
        prop_assert_eq!(&**verified.text(), &frame);
        prop_assert_eq!((verified.signer(), verified.identity()), (signer.kid().did(), &identity));
        prop_assert_eq!(verified.proven().map(|proof| &proof.identity), Some(&identity));
    }

    #[test]
    fn env_4_no_changed_byte_goes_unnoticed(invite in any_invite(), at in any::<Index>(), change in 1..=255u8) {
        let (signer, identity) = signer([1; 32], [2; 32]);
        let message = Message::from(Invite { common: Common { from: identity, ..invite.common }, ..invite });
        let mut frame = signer.sign(&message).text().into_bytes();
        let at = at.index(frame.len());
        frame[at] ^= change;
        if let Ok(frame) = String::from_utf8(frame) {
            prop_assert!(verifier().verify(&frame, NOW, &Documents::default(), Connection::default()).is_err());
        }
    }

    #[test]
    fn rpl_5_an_id_is_accepted_once(invites in vec(any_invite(), 1..8)) {
        let signer = Signer::of_key(SecretKey::from_bytes(&[2; 32]));
        let mut verifier = verifier();
        let mut known = std::collections::BTreeSet::new();
        for invite in invites.iter().chain(&invites) {
            let common = Common { from: signer.kid().did().clone(), ..invite.common.clone() };
            let frame = signer.sign(&Invite { common, ..invite.clone() }.into()).text();
            let verdict = verifier.verify(&frame, NOW, &Documents::default(), Connection::default());
            match verdict {
                Ok(_) => prop_assert!(known.insert(invite.common.id)),
                Err(verdict) => prop_assert!(verdict.code == Code::DuplicateId && known.contains(&invite.common.id)),
            }
        }
    }

    #[test]
    fn res_3_only_the_document_makes_a_key_valid(listed in any::<bool>()) {
        let did: Did = "did:web:org.example".parse().expect("a DID");
        let key = SecretKey::from_bytes(&[5; 32]);
        let signer = Signer::new(SecretKey::from_bytes(&[5; 32]), format!("{did}#key-1").parse().expect("a key id"), Vec::new());
        let mut documents = Documents::default();
        documents.insert(Document::new(did.clone(), "key-1", key.public(), Vec::new()));
        let mut verifier = verifier();
        let frame = |label: u8| {
            let invite = invite(String::new(), [label; 32]);
            signer.sign(&Invite { common: Common { from: did.clone(), ..invite.common }, ..invite }.into()).text()
        };
        prop_assert!(verifier.verify(&frame(1), NOW, &documents, Connection::default()).is_ok());
        // What the verifier remembers of the first does not help the second.
        let fragment = if listed { "key-1" } else { "key-2" };
        documents.insert(Document::new(did.clone(), fragment, key.public(), Vec::new()));
        let verdict = verifier.verify(&frame(2), NOW, &documents, Connection::default());
        prop_assert_eq!(verdict.map(|_| ()).map_err(|verdict| verdict.code), if listed { Ok(()) } else { Err(Code::KidUnresolvable) });
    }
}

fn verifier() -> Verifier {
    Verifier::new(Supported::default(), Seed::new([0; 32]))
}

/// A device's signer, with the identity that it may act for.
fn signer(identity: [u8; 32], device: [u8; 32]) -> (Signer, Did) {
    let (identity, device) = (SecretKey::from_bytes(&identity), SecretKey::from_bytes(&device));
    let (since, until) = (NOW.wall.secs() - 10, NOW.wall.secs() + 10);
    let capabilities = [Delegation::SIGNALING];
    let delegation = delegate(&identity, &identity.public().kid(), &device.did(), &capabilities, since, until);
    let kid = device.public().kid();
    (Signer::new(device, kid, vec![delegation]), identity.did())
}

fn invite(name: String, id: [u8; 32]) -> Invite {
    let from: Did = "did:web:nobody.example".parse().expect("a DID");
    let transport = Transport::new(TransportId::WEBRTC).with_sdp("trickle", &name);
    Invite {
        common: Common {
            dsip: VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]),
            id: Ulid::generate(NOW.wall, &mut Seed::new(id).into_rng()),
            from: from.clone(),
            issued_at: NOW.wall.secs(),
            expires_at: NOW.wall.secs() + 30,
        },
        to: from,
        media: vec![MediaDescriptor::new(MediaType::Audio, Direction::SendRecv, &[CodecId::OPUS])],
        transports: vec![transport],
        intent: None,
        identity: Some(ClaimedIdentity { display_name: Some(name), claims: None }),
        policy: None,
        grant: None,
    }
}

fn any_invite() -> impl Strategy<Value = Invite> {
    ("\\PC{0,60}|[\\x00-\\x7f]{0,60}", any::<[u8; 32]>()).prop_map(|(name, id)| invite(name, id))
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
