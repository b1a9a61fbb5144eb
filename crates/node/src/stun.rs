//! A STUN responder: tells whoever asks which address its datagram came from (RFC 8489, Binding only).

use std::io;
use std::net::SocketAddr;

use stun_types::attribute::XorMappedAddress;
use stun_types::message::{BINDING, Message, MessageClass, MessageWrite as _, MessageWriteExt as _, MessageWriteVec};
use tokio::net::UdpSocket;

/// A Binding request is 20 octets and a few attributes; what is longer wants something else.
const LARGEST_REQUEST: usize = 548;

/// Answers until the socket fails.
pub(crate) async fn serve(socket: UdpSocket) -> io::Result<()> {
    let mut datagram = [0; LARGEST_REQUEST + 1];
    loop {
        let (length, from) = match socket.recv_from(&mut datagram).await {
            Ok(received) => received,
            // An ICMP message about some earlier answer; the socket itself is well.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        let Some(answer) = datagram.get(..length.min(LARGEST_REQUEST + 1)).and_then(|it| answer(it, from)) else {
            continue;
        };
        // A full send buffer drops the answer, as the network may; the asker repeats itself.
        drop(socket.try_send_to(&answer, from));
    }
}

/// The answer to a Binding request, of 32 octets for IPv4 and 44 for IPv6, where the shortest request has 20: forging its
/// source gains little.
fn answer(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    if datagram.len() > LARGEST_REQUEST {
        return None;
    }
    let request = Message::from_bytes(datagram).ok()?;
    if !request.has_method(BINDING) || !request.has_class(MessageClass::Request) {
        return None;
    }
    let mut response = Message::builder_success(&request, MessageWriteVec::new());
    response.add_attribute(&XorMappedAddress::new(from, request.transaction_id())).ok()?;
    Some(response.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_request_learns_its_address() {
        let from: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
        let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        let answer = answer(&request, from).expect("an answer");
        let answer = Message::from_bytes(&answer).expect("STUN");
        assert!(answer.is_response());
        let mapped = answer.attribute::<XorMappedAddress>().expect("the mapped address");
        assert_eq!(mapped.addr(answer.transaction_id()), from);
    }

    #[test]
    fn anything_else_is_ignored() {
        let from: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
        let indication = Message::builder_indication(BINDING, MessageWriteVec::new()).finish();
        for datagram in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 20], &[0xff; 600], &indication] {
            assert_eq!(answer(datagram, from), None);
        }
    }
}
