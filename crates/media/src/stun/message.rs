//! STUN messages (RFC 8489), read in place and written into one buffer: enough of them for Binding and TURN.
//!
//! Integrity is HMAC-SHA1 under the long-term key, which is what every TURN client speaks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use sha1::{Digest as _, Sha1};

/// The octets of a header.
pub const HEADER: usize = 20;

pub(crate) const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// What the CRC of a fingerprint is combined with, so that it is no other protocol's (14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;

const INTEGRITY_LENGTH: usize = 20;

/// A method (RFC 8489, 18.2; RFC 8656, 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum Method {
    Binding,
    Allocate,
    Refresh,
    Send,
    Data,
    CreatePermission,
    ChannelBind,
}

impl Method {
    const ALL: [(Self, u16); 7] = [
        (Self::Binding, 1),
        (Self::Allocate, 3),
        (Self::Refresh, 4),
        (Self::Send, 6),
        (Self::Data, 7),
        (Self::CreatePermission, 8),
        (Self::ChannelBind, 9),
    ];

    fn of(code: u16) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == code).map(|(method, _)| *method)
    }

    fn code(self) -> u16 {
        Self::ALL.iter().find(|(method, _)| *method == self).map_or(0, |(_, code)| *code)
    }
}

/// What a message is to its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// It was done.
    Success,
    /// It was not.
    Error,
}

impl Class {
    const fn bits(self) -> u16 {
        match self {
            Self::Request => 0x000,
            Self::Indication => 0x010,
            Self::Success => 0x100,
            Self::Error => 0x110,
        }
    }
}

/// Attributes by their code.
#[expect(missing_docs, reason = "the names are the RFCs'")]
pub mod attribute {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const CHANNEL_NUMBER: u16 = 0x000c;
    pub const LIFETIME: u16 = 0x000d;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const EVEN_PORT: u16 = 0x0018;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub const FINGERPRINT: u16 = 0x8028;
}

use attribute::{ERROR_CODE, FINGERPRINT, MESSAGE_INTEGRITY};

/// The id that ties a response to its request.
pub type Transaction = [u8; 12];

/// The key that username, realm and password make (9.2.2).
pub type Key = [u8; 16];

/// MD5 is what the RFC has; our passwords are MACs of 256 bits, so guessing them through it is hopeless.
#[must_use]
pub fn long_term_key(username: &str, realm: &str, password: &str) -> Key {
    Md5::digest(format!("{username}:{realm}:{password}")).into()
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its code.
    pub kind: u16,
    /// Its value, without padding.
    pub value: &'a [u8],
    /// Where it begins in the message.
    at: usize,
}

/// A message whose header and attributes are well formed.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    method: Method,
    class: Class,
}

impl<'a> Message<'a> {
    /// Reads a whole datagram. `None` for what is not STUN, is cut or overlong, has a wrong fingerprint, or a method nobody
    /// here knows.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let kind = be16(bytes, 0)?;
        let is_whole =
            usize::from(be16(bytes, 2)?) == bytes.len().checked_sub(HEADER)? && bytes.len().is_multiple_of(4);
        if kind & 0xc000 != 0 || !is_whole || bytes.get(4..8)? != COOKIE {
            return None;
        }
        let class = match kind & 0x0110 {
            0x000 => Class::Request,
            0x010 => Class::Indication,
            0x100 => Class::Success,
            _ => Class::Error,
        };
        let method = Method::of((kind & 0x000f) | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2)?;
        let message = Self { bytes, method, class };
        // Looked at once as a whole, so that nothing later meets a cut attribute.
        let mut end = HEADER;
        for attribute in message.raw() {
            end = attribute.at + 4 + attribute.value.len().next_multiple_of(4);
            if attribute.kind == FINGERPRINT {
                let before = bytes.get(..attribute.at)?;
                let is_right = attribute.value == (crc32(before) ^ FINGERPRINT_XOR).to_be_bytes();
                if !is_right || end != bytes.len() {
                    return None;
                }
            }
        }
        (end == bytes.len()).then_some(message)
    }

    /// What it is about.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// What it is to its transaction.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// Its transaction.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        self.bytes.get(8..HEADER).and_then(|id| id.try_into().ok()).unwrap_or_default()
    }

    /// The attributes up to the integrity, which must be believed last (14.5).
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let mut is_over = false;
        self.raw().take_while(move |attribute| {
            let goes_on = !is_over;
            is_over |= attribute.kind == MESSAGE_INTEGRITY;
            goes_on
        })
    }

    /// The value of the first attribute of that kind.
    #[must_use]
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }

    /// The value as text.
    #[must_use]
    pub fn text(&self, kind: u16) -> Option<&'a str> {
        self.find(kind).and_then(|value| str::from_utf8(value).ok())
    }

    /// The value as a number of 32 bits.
    #[must_use]
    pub fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.find(kind)?.try_into().ok()?))
    }

    /// The first address of that kind (14.2).
    #[must_use]
    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        self.addresses(kind).next().flatten()
    }

    /// Every address of that kind; `None` for one that is none.
    pub fn addresses(&self, kind: u16) -> impl Iterator<Item = Option<SocketAddr>> + use<'a> {
        let transaction = self.transaction();
        let of_kind = self.attributes().filter(move |attribute| attribute.kind == kind);
        of_kind.map(move |attribute| read_address(attribute.value, &transaction))
    }

    /// The code of an error response (14.8).
    #[must_use]
    pub fn error(&self) -> Option<u16> {
        let value = self.find(ERROR_CODE)?;
        Some(u16::from(*value.get(2)? & 7) * 100 + u16::from(*value.get(3)?))
    }

    /// Whether it carries an integrity at all.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.find(MESSAGE_INTEGRITY).is_some()
    }

    /// Whether its integrity is of this key.
    #[must_use]
    pub fn is_authentic(&self, key: &Key) -> bool {
        let Some(Attribute { value, at, .. }) = self.attributes().find(|found| found.kind == MESSAGE_INTEGRITY) else {
            return false;
        };
        let Some(before) = self.bytes.get(..at) else { return false };
        // 14.5: the length in the header counts the integrity and nothing behind it.
        let Ok(length) = u16::try_from(at + 4 + INTEGRITY_LENGTH - HEADER) else { return false };
        integrity(key, before, length).verify_slice(value).is_ok()
    }

    fn raw(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = HEADER;
        std::iter::from_fn(move || {
            let (kind, length) = (be16(bytes, at)?, usize::from(be16(bytes, at + 2)?));
            let attribute = Attribute { kind, value: bytes.get(at + 4..at + 4 + length)?, at };
            at += 4 + length.next_multiple_of(4);
            (at <= bytes.len()).then_some(attribute)
        })
    }
}

fn integrity(key: &Key, before: &[u8], length: u16) -> Hmac<Sha1> {
    let mut block = [0; 64];
    block[..16].copy_from_slice(key);
    let mac = Hmac::<Sha1>::new(&block.into());
    let (head, rest) = before.split_at_checked(4).unwrap_or_default();
    mac.chain_update(head.get(..2).unwrap_or_default()).chain_update(length.to_be_bytes()).chain_update(rest)
}

/// A message being written.
#[derive(Debug, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A message without attributes.
    #[must_use]
    pub fn new(method: Method, class: Class, transaction: Transaction) -> Self {
        let code = method.code();
        let kind = (code & 0x0f) | (code & 0x70) << 1 | (code & 0xf80) << 2 | class.bits();
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(COOKIE);
        bytes.extend(transaction);
        Self { bytes }
    }

    /// An error response. The reason is left out: the code says it, and what a stranger is sent should be short.
    #[must_use]
    pub fn error(method: Method, transaction: Transaction, code: u16) -> Self {
        let [class, number] = [code / 100, code % 100].map(|part| u8::try_from(part).unwrap_or_default());
        Self::new(method, Class::Error, transaction).with(ERROR_CODE, &[0, 0, class, number])
    }

    /// The same with an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// The same with an address.
    #[must_use]
    pub fn with_address(self, kind: u16, address: SocketAddr) -> Self {
        let transaction: Transaction = self.bytes.get(8..HEADER).and_then(|id| id.try_into().ok()).unwrap_or_default();
        let mut value = [0; ADDRESS];
        let length = write_address(address, &transaction, &mut value);
        self.with(kind, value.get(..length).unwrap_or_default())
    }

    /// The same, provably by who holds the key. Nothing but a fingerprint may follow.
    #[must_use]
    pub fn signed(mut self, key: &Key) -> Self {
        let length = u16::try_from(self.bytes.len() + 4 + INTEGRITY_LENGTH - HEADER).unwrap_or_default();
        let mac = integrity(key, &self.bytes, length).finalize().into_bytes();
        self.bytes.extend(MESSAGE_INTEGRITY.to_be_bytes());
        self.bytes.extend([0, 20]);
        self.bytes.extend(mac);
        self
    }

    /// The message.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let length = u16::try_from(self.bytes.len() - HEADER).unwrap_or_default();
        if let Some(field) = self.bytes.get_mut(2..4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        self.bytes
    }
}

/// The octets of the longest address value.
pub const ADDRESS: usize = 20;

/// Writes the value of an address attribute (14.2) and says how long it is.
pub fn write_address(address: SocketAddr, transaction: &Transaction, value: &mut [u8; ADDRESS]) -> usize {
    let port = (address.port() ^ 0x2112).to_be_bytes();
    value[2..4].copy_from_slice(&port);
    value[0] = 0;
    match address.ip() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            let ip = ip.to_bits() ^ u32::from_be_bytes(COOKIE);
            value[4..8].copy_from_slice(&ip.to_be_bytes());
            8
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            let ip = ip.to_bits() ^ mask(transaction);
            value[4..].copy_from_slice(&ip.to_be_bytes());
            ADDRESS
        }
    }
}

fn read_address(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let port = be16(value, 2)? ^ 0x2112;
    let address = value.get(4..)?;
    let ip: IpAddr = match value.get(1)? {
        1 => Ipv4Addr::from_bits(u32::from_be_bytes(address.try_into().ok()?) ^ u32::from_be_bytes(COOKIE)).into(),
        2 => Ipv6Addr::from_bits(u128::from_be_bytes(address.try_into().ok()?) ^ mask(transaction)).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn mask(transaction: &Transaction) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE);
    mask[4..].copy_from_slice(transaction);
    u128::from_be_bytes(mask)
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The CRC of ITU-T V.42, bit by bit: it is asked for control messages only.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769, 2.4: a request with long-term authentication.
    const LONG_TERM: &[u8] = b"\x00\x01\x00\x60\x21\x12\xa4\x42\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e\
        \x00\x06\x00\x12\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9\x00\x00\
        \x00\x15\x00\x1c\x66\x2f\x2f\x34\x39\x39\x6b\x39\x35\x34\x64\x36\x4f\x4c\x33\x34\x6f\x4c\x39\x46\x53\x54\x76\x79\x36\x34\x73\x41\
        \x00\x14\x00\x0b\x65\x78\x61\x6d\x70\x6c\x65\x2e\x6f\x72\x67\x00\
        \x00\x08\x00\x14\xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\xe0\x71\x2e\x85\xc9\xa2\x8c\xa8\x96\x66";

    /// RFC 5769, 2.3: a response with an IPv6 address and a fingerprint.
    const FINGERPRINTED: &[u8] = b"\x01\x01\x00\x48\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\
        \x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9\
        \x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41\
        \x80\x28\x00\x04\xc8\xfb\x0b\x4c";

    #[test]
    fn rfc_5769_long_term_authentication() {
        let message = Message::parse(LONG_TERM).expect("a message");
        assert_eq!((message.method(), message.class()), (Method::Binding, Class::Request));
        let username = message.text(attribute::USERNAME).expect("a username");
        let key = long_term_key(username, "example.org", "TheMatrIX");
        assert!(message.is_authentic(&key));
        assert!(!message.is_authentic(&long_term_key(username, "example.org", "TheMatrix")));
    }

    #[test]
    fn rfc_5769_ipv6_and_fingerprint() {
        let message = Message::parse(FINGERPRINTED).expect("a message");
        let address = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().ok();
        assert_eq!(message.address(attribute::XOR_MAPPED_ADDRESS), address);
        let mut broken = FINGERPRINTED.to_vec();
        broken[30] ^= 1;
        assert!(Message::parse(&broken).is_none(), "the fingerprint is looked at");
    }

    #[test]
    fn what_is_written_is_read() {
        let key = long_term_key("user", "dsip", "password");
        for address in ["192.0.2.1:3478", "[2001:db8::1]:5"] {
            let address: SocketAddr = address.parse().expect("an address");
            let written = Writer::new(Method::Allocate, Class::Success, [7; 12])
                .with_address(attribute::XOR_RELAYED_ADDRESS, address)
                .with(attribute::NONCE, b"odd")
                .signed(&key)
                .finish();
            let message = Message::parse(&written).expect("a message");
            assert_eq!((message.method(), message.class()), (Method::Allocate, Class::Success));
            assert_eq!(message.address(attribute::XOR_RELAYED_ADDRESS), Some(address));
            assert_eq!(message.find(attribute::NONCE), Some(&b"odd"[..]));
            assert!(message.is_authentic(&key));
            for at in 0..written.len() {
                let mut forged = written.clone();
                forged[at] ^= 1;
                let fooled = Message::parse(&forged).is_some_and(|message| message.is_authentic(&key));
                assert!(!fooled, "octet {at}");
            }
        }
        let refused = Writer::error(Method::Refresh, [1; 12], 437).finish();
        assert_eq!(Message::parse(&refused).and_then(|message| message.error()), Some(437));
    }

    #[test]
    fn attributes_behind_the_integrity_are_not_believed() {
        let key = [1; 16];
        let signed = Writer::new(Method::Refresh, Class::Request, [7; 12]).signed(&key);
        let tailed = signed.with(attribute::LIFETIME, &[0; 4]).finish();
        let message = Message::parse(&tailed).expect("a message");
        assert!(message.is_authentic(&key));
        assert_eq!(message.number(attribute::LIFETIME), None);
    }

    #[test]
    fn cut_messages_are_none() {
        for whole in [LONG_TERM, FINGERPRINTED] {
            for length in 0..whole.len() {
                assert!(Message::parse(&whole[..length]).is_none(), "{length}");
            }
        }
    }
}
