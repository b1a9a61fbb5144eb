//! Any bytes as a DID document.

use dsip_proto::identity::Document;

/// A document that is accepted is the same after being written and read again, but for what was unusable in it.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let did = "did:web:org.example".parse().expect("a DID");
    let Ok(document) = Document::parse(&did, text) else { return };
    let written = document.to_json();
    let again = Document::parse(&did, &written).expect("what we write is a document");
    assert_eq!(again.services(), document.services());
    assert_eq!(again.methods().len(), document.methods().iter().filter(|method| method.key.is_some()).count());
    assert_eq!(again.to_json(), written);
}
