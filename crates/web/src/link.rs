//! `dsip:` links and the squares that hold them.

use dsip_proto::link::{Link, Node};
use dsip_proto::wire::Did;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::border::{Failure, answer};

#[derive(Serialize, Deserialize)]
struct Address {
    uri: String,
    did: Option<Did>,
}

#[derive(Serialize, Deserialize)]
struct Plain {
    did: Did,
    nodes: Vec<Address>,
    name: Option<String>,
}

/// Reads a link: `{"did", "nodes": [{"uri", "did"}], "name"}`.
#[wasm_bindgen(js_name = parseLink)]
#[must_use]
pub fn parse_link(text: &str) -> String {
    let link: Result<Link, _> = text.parse();
    answer(link.map_err(|error| Failure::new("target-invalid", error)).map(|link| Plain {
        did: link.did,
        nodes: link.nodes.into_iter().map(|node| Address { uri: node.uri, did: node.did }).collect(),
        name: link.name,
    }))
}

/// Writes the same as a link. What it writes it can read again, or it refuses.
#[wasm_bindgen(js_name = formatLink)]
#[must_use]
pub fn format_link(plain: &str) -> String {
    let written = serde_json::from_str::<Plain>(plain).map_err(Failure::internal).and_then(|plain| {
        let nodes = plain.nodes.into_iter().map(|node| Node { uri: node.uri, did: node.did }).collect();
        let text = Link { did: plain.did, nodes, dht: Vec::new(), name: plain.name }.to_string();
        text.parse::<Link>().map_err(|error| Failure::new("target-invalid", error))?;
        Ok(text)
    });
    answer(written)
}

/// A QR code of error correction level M: the squares of a side, then every square row by row, 1 for dark. Nothing if the text
/// does not fit one.
#[wasm_bindgen(js_name = qrCode)]
#[must_use]
pub fn qr_code(text: &str) -> Vec<u8> {
    let Ok(code) = qrcode::QrCode::new(text.as_bytes()) else { return Vec::new() };
    let Ok(side) = u8::try_from(code.width()) else { return Vec::new() };
    let squares = code.to_colors().into_iter().map(|square| u8::from(square == qrcode::Color::Dark));
    std::iter::once(side).chain(squares).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_crosses_both_ways() {
        let text = "dsip:did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf?node=wss://n.example/dsip&name=Bob";
        let parsed: serde_json::Value = serde_json::from_str(&parse_link(text)).expect("JSON");
        assert_eq!(parsed["ok"]["name"], "Bob");
        let written: serde_json::Value = serde_json::from_str(&format_link(&parsed["ok"].to_string())).expect("JSON");
        assert_eq!(written["ok"], text);
        let refused: serde_json::Value = serde_json::from_str(&parse_link("sip:bob")).expect("JSON");
        assert_eq!(refused["error"]["code"], "target-invalid");
    }

    #[test]
    fn a_code_is_a_square() {
        let code = qr_code("dsip:did:key:z6Mk");
        let side = usize::from(code[0]);
        assert_eq!(code.len(), 1 + side * side);
        assert!(code[1..].iter().all(|square| *square <= 1) && code.contains(&1));
        assert!(qr_code(&"x".repeat(10_000)).is_empty());
    }
}
