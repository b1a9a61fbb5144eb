//! Where somebody can be dialled, read from what the page fetched. Documents have authority; records were signed by their subject
//! and are verified here, whatever the node that handed them over says (DHT-28, WPH-33).

use dsip_proto::envelope::{Supported, Verifier};
use dsip_proto::hints;
use dsip_proto::identity::{self, Document, Documents};
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::wire::Did;
use serde_json::{Value, json};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::border::{Failure, answer};

/// Places taken from one source; nobody is reached at more than these.
const PLACES: usize = 8;
/// Records read at most: the page bounds what it fetches, and this bounds what is verified.
const RECORDS: usize = 64;

/// The address of a `did:web` document (RES-1); nothing for other methods, and for names that no address can have.
#[wasm_bindgen(js_name = documentUrl)]
#[must_use]
pub fn document_url(did: &str) -> Option<String> {
    identity::document_url(&did.parse::<Did>().ok()?).ok()
}

/// Where a fetched document says that its DID can be dialled: `[{"uri", "did"}]` (DSC-2).
#[wasm_bindgen(js_name = documentPlaces)]
#[must_use]
pub fn document_places(did: &str, document: &str) -> String {
    answer(parsed(did, document).map(|document| {
        let services = document.services().iter().take(PLACES);
        services.map(|service| json!({ "uri": service.uri, "did": Value::Null })).collect::<Vec<_>>()
    }))
}

/// Where the one of these records that stands says that `did` can be dialled (DHT-29): `[{"uri", "did"}]`, empty if none verifies.
/// `document` is the DID's, where it has one; `wall` is in Unix milliseconds and `seed` 32 octets of randomness.
#[wasm_bindgen(js_name = recordPlaces)]
#[must_use]
pub fn record_places(did: &str, records: Vec<String>, document: Option<String>, wall: f64, seed: &[u8]) -> String {
    answer(places(did, &records, document.as_deref(), wall, seed))
}

fn places(did: &str, records: &[String], document: Option<&str>, wall: f64, seed: &[u8]) -> Result<Vec<Value>, Failure> {
    let subject: Did = did.parse().map_err(Failure::internal)?;
    let seed = <[u8; 32]>::try_from(seed).map_err(Failure::internal)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a date of JavaScript")]
    let now = Now { tick: Tick::from_micros(0), wall: Wall::from_millis(wall as u64) };
    let mut documents = Documents::default();
    if let Some(document) = document {
        documents.insert(parsed(did, document)?);
    }
    let mut verifier = Verifier::new(Supported::default(), Seed::new(seed));
    let verified = records.iter().take(RECORDS).filter_map(|record| {
        let record = hints::verify(&mut verifier, record, now, &documents).ok()?;
        (*record.subject() == subject).then_some(record)
    });
    let found = hints::fold(verified.collect::<Vec<_>>(), now);
    let endpoints = found.iter().flat_map(|found| found.record.endpoints().iter().take(PLACES));
    Ok(endpoints.map(|endpoint| json!({ "uri": endpoint.uri, "did": endpoint.rest.get("node") })).collect())
}

fn parsed(did: &str, document: &str) -> Result<Document, Failure> {
    let did: Did = did.parse().map_err(Failure::internal)?;
    Document::parse(&did, document).map_err(|error| Failure::new("target-unknown", error))
}

#[cfg(test)]
mod tests {
    use dsip_proto::envelope::Signer;
    use dsip_proto::identity::SecretKey;
    use dsip_proto::wire::message::HintEndpoint;
    use dsip_proto::wire::token::BindingId;
    use dsip_proto::wire::Ulid;

    use super::*;

    const WALL: f64 = 1_760_000_000_000.0;

    fn record(key: &SecretKey, subject: &Did, uri: &str) -> String {
        let now = Now { tick: Tick::from_micros(0), wall: Wall::from_millis(1_760_000_000_000) };
        let endpoint = HintEndpoint { uri: uri.into(), bindings: vec![BindingId::WS], rest: serde_json::Map::new() };
        let id = Ulid::generate(now.wall, &mut Seed::new([4; 32]).into_rng());
        let hint = hints::hint(subject, vec![endpoint], id, now, 900);
        Signer::of_key(key.clone()).sign(&hint.into()).text()
    }

    #[test]
    fn dht_28_only_what_its_subject_signed_says_where_to_dial() {
        let (bob, eve) = (SecretKey::from_bytes(&[1; 32]), SecretKey::from_bytes(&[2; 32]));
        let good = record(&bob, &bob.did(), "wss://bob.example/dsip");
        let others = [record(&eve, &bob.did(), "wss://eve.example/dsip"), record(&eve, &eve.did(), "wss://eve.example/dsip")];
        let ask = |records: Vec<String>| -> Value {
            let text = record_places(bob.did().as_str(), records, None, WALL, &[3; 32]);
            serde_json::from_str::<Value>(&text).expect("JSON")["ok"].clone()
        };
        let mut all = others.to_vec();
        all.push(good);
        assert_eq!(ask(all)[0]["uri"], "wss://bob.example/dsip");
        assert_eq!(ask(others.to_vec()), json!([]));
        assert_eq!(ask(vec!["rubbish".into()]), json!([]));
    }

    #[test]
    fn res_1_only_names_have_documents() {
        assert_eq!(document_url("did:web:example.com").as_deref(), Some("https://example.com/.well-known/did.json"));
        assert_eq!(document_url("did:key:z6Mk"), None);
        assert_eq!(document_url("rubbish"), None);
    }
}
