//! STUN (RFC 8489): its messages, and asking a server how the world sees a socket, which yields server-reflexive candidates.
//!
//! One [`Query`] per socket and server. It repeats itself until it is answered, and from then on often enough to keep a
//! NAT's mapping open while the call rings.

pub mod message;

use std::net::SocketAddr;
use std::time::Duration;

use dsip_proto::time::Tick;

use message::{Class, Message, Method, Transaction, Writer, attribute};

/// The first retransmission interval (RFC 8489, 6.2.1); it doubles.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// Requests without an answer before the query gives up, and gathering with it.
const TRIES: u32 = 5;

/// Between keep-alives; NATs forget a mapping after 30 s at the earliest (RFC 4787 asks for two minutes).
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// One socket's question to one server.
#[derive(Debug)]
pub struct Query {
    server: SocketAddr,
    transaction: Transaction,
    tries: u32,
    next: Tick,
    seen: Option<SocketAddr>,
}

/// How a query stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Unanswered so far.
    Asking,
    /// The server sees the socket at this address.
    Seen(SocketAddr),
    /// The server did not answer.
    Unanswered,
}

impl Query {
    /// Asks `server`. The transaction id is random: it is what tells the answer from a forgery.
    #[must_use]
    pub const fn new(server: SocketAddr, transaction: Transaction, now: Tick) -> Self {
        Self { server, transaction, tries: 0, next: now, seen: None }
    }

    /// The server asked.
    #[must_use]
    pub const fn server(&self) -> SocketAddr {
        self.server
    }

    /// How the query stands.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self.seen {
            Some(seen) => Status::Seen(seen),
            None if self.tries > TRIES => Status::Unanswered,
            None => Status::Asking,
        }
    }

    /// The request, when it is due; to be sent to [`Self::server`].
    pub fn poll(&mut self, now: Tick) -> Option<Vec<u8>> {
        if now < self.next || self.tries > TRIES {
            return None;
        }
        self.tries += 1;
        if self.tries > TRIES {
            return None;
        }
        let wait = if self.seen.is_some() { KEEP_ALIVE } else { FIRST_RETRY * 2_u32.pow(self.tries - 1) };
        self.next = now + wait;
        Some(Writer::new(Method::Binding, Class::Request, self.transaction).finish())
    }

    /// When [`Self::poll`] has something again.
    #[must_use]
    pub const fn wake(&self) -> Option<Tick> {
        if self.tries > TRIES { None } else { Some(self.next) }
    }

    /// Looks at a datagram from `source`. Says whether it was this query's answer.
    pub fn handle(&mut self, now: Tick, source: SocketAddr, datagram: &[u8]) -> bool {
        if source != self.server {
            return false;
        }
        let Some(message) = Message::parse(datagram).filter(|message| message.transaction() == self.transaction) else {
            return false;
        };
        if message.method() == Method::Binding
            && message.class() == Class::Success
            && let Some(seen) = message.address(attribute::XOR_MAPPED_ADDRESS)
        {
            self.seen = Some(seen);
            self.tries = 0;
            self.next = now + KEEP_ALIVE;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769, 2.2: a sample response, IPv4.
    const RESPONSE: &[u8] = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
        \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
        \x80\x28\x00\x04\xc0\x7d\x4c\x96";

    fn query() -> (Query, SocketAddr) {
        let server = SocketAddr::from(([192, 0, 2, 9], 3478));
        let transaction = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
        (Query::new(server, transaction, Tick::default()), server)
    }

    #[test]
    fn reads_the_sample_response_of_rfc_5769() {
        let (mut query, server) = query();
        assert!(query.poll(Tick::default()).is_some());
        assert!(query.handle(Tick::default(), server, RESPONSE));
        assert_eq!(query.status(), Status::Seen(SocketAddr::from(([192, 0, 2, 1], 32853))));
    }

    #[test]
    fn ignores_other_sources_and_transactions() {
        let (mut query, server) = query();
        assert!(!query.handle(Tick::default(), SocketAddr::from(([192, 0, 2, 8], 3478)), RESPONSE));
        let mut forged = RESPONSE.to_vec();
        forged[10] ^= 1;
        assert!(!query.handle(Tick::default(), server, &forged));
        assert_eq!(query.status(), Status::Asking);
    }

    #[test]
    fn gives_up_after_its_tries() {
        let (mut query, _) = query();
        let mut sent = 0;
        while let Some(at) = query.wake() {
            sent += u32::from(query.poll(at).is_some());
        }
        assert_eq!((sent, query.status()), (TRIES, Status::Unanswered));
    }

    #[test]
    fn truncated_responses_are_harmless() {
        for length in 0..RESPONSE.len() {
            let (mut query, server) = query();
            assert!(!query.handle(Tick::default(), server, &RESPONSE[..length]), "{length}");
            assert_eq!(query.status(), Status::Asking, "{length}");
        }
    }
}
