//! What stands between this machine and the world, by comparing how several see one socket (RFC 5780, 4.3).
//!
//! RFC 5780 asks a server with two addresses and two ports. A node has a port for STUN, and its relayed addresses are more
//! ports of it; servers named with `--stun` are more addresses. That is enough to tell the mappings apart, which is what
//! decides about calls. Filtering is not tested: both sides of a call send first.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::relay::Views;
use super::report::{Check, Finding, Report};

/// Servers asked one after another; two tell all there is to tell.
const MOST: usize = 4;

/// How the address that others see depends on who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mapping {
    /// It is our own.
    None,
    /// It does not.
    EndpointIndependent,
    /// Other addresses see another one.
    AddressDependent,
    /// Other ports do, too.
    AddressAndPortDependent,
    /// Only one looked.
    Unknown,
}

impl Mapping {
    /// Compares what was seen. Each is whom it was seen by, and as what.
    fn of(own: SocketAddr, seen: &[(SocketAddr, SocketAddr)]) -> Self {
        if seen.iter().any(|(_, seen)| *seen == own) {
            return Self::None;
        }
        let pairs = seen.iter().enumerate().flat_map(|(n, a)| seen.iter().skip(n + 1).map(move |b| (a, b)));
        let (mut result, mut compared) = (Self::EndpointIndependent, false);
        for ((by_a, as_a), (by_b, as_b)) in pairs {
            compared = true;
            if as_a != as_b {
                if by_a.ip() == by_b.ip() {
                    return Self::AddressAndPortDependent;
                }
                result = Self::AddressDependent;
            }
        }
        if compared { result } else { Self::Unknown }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
            Self::Unknown => "unknown",
        }
    }
}

/// Asks whoever else there is to ask, and says what that means for calls.
pub(super) async fn check(report: &Report<'_>, views: Option<Views>, others: &[SocketAddr]) {
    let views = match views {
        Some(views) => Ok(views),
        None => Views::new(others.first().map_or(Ipv4Addr::UNSPECIFIED.into(), SocketAddr::ip)).await,
    };
    let Ok(mut views) = views else {
        return report.note(Check::Nat, Finding::skipped("no UDP socket can be opened"));
    };
    let Ok(local) = views.socket.local_addr() else { return };
    let mut silent = Vec::new();
    for server in others.iter().filter(|server| server.is_ipv4() == local.is_ipv4()).take(MOST) {
        if views.ask(*server).await.is_none() {
            silent.push(*server);
        }
    }
    report.note(Check::Nat, judge(&views, local.port(), &silent).await);
}

async fn judge(views: &Views, port: u16, silent: &[SocketAddr]) -> Finding {
    let Some((by, seen)) = views.seen.first().copied() else {
        return if silent.is_empty() {
            Finding::skipped("nobody answered STUN who could tell")
        } else {
            let says = format!("no answer over UDP from {}", super::listed(silent.iter().copied()));
            Finding::failed(says, "this network seems to block UDP: calls need TURN over TCP or TLS")
        };
    };
    let own = SocketAddr::new(outward(by).await.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port);
    let mapping = Mapping::of(own, &views.seen);
    let finding = match mapping {
        Mapping::None => Finding::ok(format!("none between here and {by}: this machine is seen at its own address")),
        Mapping::EndpointIndependent => Finding::ok(format!(
            "this network's NAT shows everybody the same port ({seen}): calls go straight to nearly everybody"
        )),
        Mapping::AddressDependent | Mapping::AddressAndPortDependent => {
            let says = "this network's NAT shows each destination another port (symmetric): calls to others behind such a \
                        NAT go through a relay";
            if views.relays {
                Finding::ok(format!("{says}, and the node has one that works"))
            } else {
                Finding::warning(format!("{says}, and none was found to work"), "use a node that serves TURN")
            }
        }
        Mapping::Unknown => Finding::ok(format!(
            "this network has a NAT (seen at {seen}); to tell which kind, name another STUN server with --stun"
        )),
    };
    finding.of_kind(mapping.name())
}

/// The address from which this machine sends there. Nothing is sent.
async fn outward(far: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match far {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(far).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_5780_4_3_mappings_are_told_apart_by_who_sees_what() {
        let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let own = at("10.0.0.2:4000");
        let cases: [(&[(&str, &str)], Mapping); 6] = [
            (&[("192.0.2.1:1", "10.0.0.2:4000")], Mapping::None),
            (&[("192.0.2.1:1", "198.51.100.1:4000")], Mapping::Unknown),
            (&[("192.0.2.1:1", "198.51.100.1:9"), ("192.0.2.1:2", "198.51.100.1:9")], Mapping::EndpointIndependent),
            (&[("192.0.2.1:1", "198.51.100.1:9"), ("192.0.2.1:2", "198.51.100.1:8")], Mapping::AddressAndPortDependent),
            (&[("192.0.2.1:1", "198.51.100.1:9"), ("192.0.2.2:1", "198.51.100.1:8")], Mapping::AddressDependent),
            (
                &[
                    ("192.0.2.1:1", "198.51.100.1:9"),
                    ("192.0.2.1:2", "198.51.100.1:9"),
                    ("192.0.2.2:1", "198.51.100.1:8"),
                ],
                Mapping::AddressDependent,
            ),
        ];
        for (seen, expected) in cases {
            let seen: Vec<_> = seen.iter().map(|(by, seen)| (at(by), at(seen))).collect();
            assert_eq!(Mapping::of(own, &seen), expected, "{seen:?}");
        }
    }
}
