//! Which addresses belong to the public internet, for everything that dials, or relays, where a stranger points; and whom an
//! address stands for, for everything that counts what strangers do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whom an address stands for: one IPv4 address, or the /64 that an IPv6 subscriber is given. An IPv4 address in IPv6 clothing is
/// an IPv4 address.
#[must_use]
pub fn subscriber(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Whether `ip` is an ordinary address of the public internet: not this machine, not a private, shared, link-local,
/// multicast, documentation or otherwise reserved one, also not one of those dressed up as IPv6.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        || a == 0
        // RFC 6598: shared between a carrier and its customers
        || (a == 100 && (64..128).contains(&b))
        // RFC 6890: protocol assignments; RFC 7526: 6to4 relays
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        // RFC 2544: benchmarks
        || (a == 198 && (b & 0xfe) == 18)
        || a >= 240)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, third, ..] = ip.segments();
    let [.., high, low] = ip.segments();
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    match first {
        // RFC 6052: NAT64 leads to the IPv4 address at its end
        0x0064 if second == 0xff9b && third == 0 => embedded(high, low),
        // RFC 3056: 6to4 carries it behind the prefix
        0x2002 => embedded(second, third),
        // RFC 4380: Teredo hides it; RFC 3849, RFC 9637: documentation; the rest of 2001::/23: protocol assignments
        0x2001 if second < 0x0200 || second == 0x0db8 => false,
        0x3fff if second < 0x1000 => false,
        // Global unicast is 2000::/3; all else is this machine, link-local, unique local, multicast or unassigned.
        _ => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fet_3_private_addresses_are_told_from_public_ones_however_they_are_dressed() {
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
        for text in
            ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101", "2001:4860:4860::8888"]
        {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
    }
}
