//! Any bytes as a message payload.

use dsip_proto::wire::{Message, json};

/// A message that is accepted satisfies its own field table, and is the same after being written and read again.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = json::parse(text) else { return };
    if parsed.has_float || parsed.has_huge_integer {
        return;
    }
    let Ok(message) = Message::from_json(parsed.root) else { return };
    assert!(message.check().is_ok());
    let text = message.to_json();
    let again = json::parse(&text).expect("what we write is JSON");
    assert!(!again.has_float && !again.has_huge_integer);
    assert_eq!(Message::from_json(again.root).as_ref(), Ok(&message));
}
