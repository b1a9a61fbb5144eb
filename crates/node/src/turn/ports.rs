//! Which addresses a TURN server relays on, and the sockets there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as Unconnected};
use std::ops::RangeInclusive;

use tokio::net::UdpSocket;

use super::any;

/// How many ports are tried for one allocation. Ports are taken at random, so a range that is half full costs two tries.
const TRIES: u32 = 64;

/// The addresses to announce: the one listened on, or on all of them the ones the operator named, or those that lead out.
pub(super) fn announced(listen: IpAddr, hosts: &[String]) -> Vec<IpAddr> {
    let listen = listen.to_canonical();
    if !listen.is_unspecified() {
        return vec![listen];
    }
    let named = hosts.iter().filter_map(|host| host.parse::<IpAddr>().ok()).filter(|ip| !ip.is_loopback());
    let outward =
        [outward(Ipv4Addr::new(192, 0, 2, 1).into()), outward(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())];
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in named.chain(outward.into_iter().flatten()).filter(|ip| listen.is_ipv6() || ip.is_ipv4()) {
        if !found.iter().any(|known| known.is_ipv4() == ip.is_ipv4()) {
            found.push(ip);
        }
    }
    if found.is_empty() { vec![IpAddr::V4(Ipv4Addr::LOCALHOST)] } else { found }
}

/// Every address by which this machine may be reached, as far as it knows.
pub(super) fn own(listen: IpAddr, hosts: &[String]) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let named = hosts.iter().filter_map(|host| host.parse().ok());
    let mut own: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).chain(named).chain([listen]).collect();
    own.retain(|ip| !ip.is_unspecified());
    own
}

/// The address from which this machine would send towards `far`. Nothing is sent.
fn outward(far: IpAddr) -> Option<IpAddr> {
    let socket = Unconnected::bind((any(far), 0)).ok()?;
    socket.connect((far, 9)).ok()?;
    socket.local_addr().ok().map(|at| at.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
}

/// A socket on a random port of the range, which is even if it has to be, and one on the next port if that is wanted.
pub(super) fn bind(ip: IpAddr, range: &RangeInclusive<u16>, even: bool, pair: bool) -> Option<(u16, Vec<UdpSocket>)> {
    let mut random = [0; 4];
    for _ in 0..TRIES {
        getrandom::fill(&mut random).ok()?;
        let span = u32::from(range.end().saturating_sub(*range.start())) + 1;
        let port = range.start().saturating_add(u16::try_from(u32::from_be_bytes(random) % span).unwrap_or(0));
        let port = if even { port & !1 } else { port };
        if !range.contains(&port) {
            continue;
        }
        let Some(first) = open(ip, port) else { continue };
        if !pair {
            return Some((port, vec![first]));
        }
        let next = port.checked_add(1).filter(|next| range.contains(next)).and_then(|next| open(ip, next));
        if let Some(second) = next {
            return Some((port, vec![first, second]));
        }
    }
    None
}

/// On that address, or on all of them if it is not this machine's: then a NAT leads from it to us.
fn open(ip: IpAddr, port: u16) -> Option<UdpSocket> {
    let bound = Unconnected::bind(SocketAddr::new(ip, port));
    let socket = match bound {
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => Unconnected::bind((any(ip), port)),
        bound => bound,
    };
    let socket = socket.ok()?;
    socket.set_nonblocking(true).ok()?;
    UdpSocket::from_std(socket).ok()
}
