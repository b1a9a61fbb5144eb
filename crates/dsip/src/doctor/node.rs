//! The node as it is seen from here: its name, its ports, its certificate, and what it says when greeted.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::link::{Link, OpenError, Target, Transport};
use dsip_endpoint::phone::Network;
use dsip_endpoint::tls::{Expect, Presented};
use dsip_proto::identity::{Documents, PublicKey};
use dsip_proto::reach::is_public;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::CertificateError;

use super::hello::{self, Answer};
use super::relay::{self, Views};
use super::report::{Check, Finding, Report};
use super::{DAY, STEP, Who, listed, span};

/// Addresses of one host that are tried, as a phone does.
const MAX_ADDRESSES: usize = 4;

/// What the rules tolerate between two clocks, in seconds (RPL-1), and from where on a clock is told to be looked after.
const TOLERANCE: u64 = 300;
const DRIFTING: u64 = 30;

/// Checks a node. Gives how it sees our socket, if it does.
pub(super) async fn check(
    report: &Report<'_>,
    network: &Network,
    target: &Target,
    who: &Who,
    allow_private: bool,
    within: u64,
) -> Option<Views> {
    let unseen = Finding::skipped("the node was not reached");
    let addresses = find(report, target, allow_private).await;
    if addresses.is_empty() {
        report.note_all(&[Check::Tcp, Check::Quic, Check::Certificate, Check::Hello], &unseen);
        report.note_all(&Check::OF_HELLO, &unseen);
        return None;
    }
    let (told, by_quic) = oneshot::channel();
    let over_udp = async {
        let (finding, link) = quic(network, target, &addresses).await;
        report.note(Check::Quic, finding);
        // Who has not asked by now needs it no more.
        let _ = told.send(link);
    };
    let rest = async {
        let open = tcp(report, &addresses).await;
        match open {
            Some(address) => report.note(Check::Certificate, certificate(network, target, address, within).await),
            None => report.note(Check::Certificate, Finding::skipped("no TCP connection to look at it over")),
        }
        let mut udp = OverUdp::Asked(by_quic);
        let link = match open {
            Some(address) => network.dialer().open_over(target, Transport::Ws, address).await.map_err(Some),
            None => udp.link().await.ok_or(None),
        };
        let link = match link {
            Ok(link) => link,
            Err(why) => {
                let finding = match why {
                    Some(error @ (OpenError::WrongKey { .. } | OpenError::Untrusted { .. })) => {
                        Finding::skipped(format!("not said: {error}"))
                    }
                    Some(error) => Finding::failed(error, "check that --node is the address of a DSIP node"),
                    None => unseen.clone(),
                };
                report.note(Check::Hello, finding);
                report.note_all(&Check::OF_HELLO, &Finding::skipped("the node was not greeted"));
                return None;
            }
        };
        let at = link.remote().ip();
        let Some(lends) = greet(report, network, target, who, link).await else {
            report.note_all(&Check::OF_HELLO, &Finding::skipped("the node did not take our hello"));
            return None;
        };
        relay::check(report, network, target, at, &lends, udp).await
    };
    tokio::join!(over_udp, rest).1
}

/// Whether the node's other UDP port answers, which is known a moment later than most else.
pub(super) enum OverUdp {
    Asked(oneshot::Receiver<Option<Link>>),
    Known(bool),
}

impl OverUdp {
    async fn link(&mut self) -> Option<Link> {
        let Self::Asked(told) = self else { return None };
        let link = told.await.ok().flatten();
        *self = Self::Known(link.is_some());
        link
    }

    /// Waits until it is known.
    pub(super) async fn works(mut self) -> bool {
        let link = self.link().await;
        matches!(self, Self::Known(true)) || link.is_some()
    }
}

/// Looks the host up.
async fn find(report: &Report<'_>, target: &Target, allow_private: bool) -> Vec<SocketAddr> {
    let host = target.host().trim_matches(['[', ']']);
    let looked_up = timeout(STEP, tokio::net::lookup_host((host, target.port()))).await;
    let found: Vec<SocketAddr> = match looked_up {
        Ok(Ok(found)) => found.take(MAX_ADDRESSES).collect(),
        Ok(Err(error)) => {
            let says = format!("{host} cannot be looked up ({error})");
            report.note(Check::Dns, Finding::failed(says, "check the spelling, and this machine's DNS"));
            return Vec::new();
        }
        Err(_) => {
            let says = format!("no answer about {host} within {} seconds", STEP.as_secs());
            report.note(Check::Dns, Finding::failed(says, "check this machine's DNS"));
            return Vec::new();
        }
    };
    let shown = found.iter().map(|at| at.ip().to_string()).collect::<Vec<_>>().join(", ");
    let private: Vec<IpAddr> = found.iter().map(SocketAddr::ip).filter(|ip| !is_public(*ip)).collect();
    let finding = if found.is_empty() {
        Finding::failed(format!("{host} has no address"), "give the name an A or AAAA record")
    } else if let (Some(private), false) = (private.first(), allow_private) {
        let says = match host.parse::<IpAddr>() {
            Ok(_) => format!("{private} is no public address: others reach it in this network only"),
            Err(_) => format!("{host} is {shown}; {private} is no public address"),
        };
        Finding::warning(says, "if that is meant so, say --allow-private; else name the public address")
    } else if host.parse::<IpAddr>().is_ok() {
        Finding::ok(format!("{host} is an address, and needs no look-up"))
    } else {
        Finding::ok(format!("{host} is {shown}"))
    };
    report.note(Check::Dns, finding);
    found
}

/// Whether the port takes TCP connections. Gives the first address that does.
async fn tcp(report: &Report<'_>, addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let mut tries = Vec::new();
    for address in addresses.iter().copied() {
        tries.push(tokio::spawn(async move {
            let began = Instant::now();
            let failed = match timeout(STEP, TcpStream::connect(address)).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} seconds", STEP.as_secs())),
            };
            (address, began.elapsed(), failed)
        }));
    }
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for tried in tries {
        match tried.await {
            Ok((address, took, None)) => open.push((address, took)),
            Ok((address, _, Some(why))) => closed.push((address, why)),
            Err(_) => {}
        }
    }
    let said = closed.iter().map(|(at, why)| format!("{at}: {why}")).collect::<Vec<_>>().join(", ");
    let remedy = "open the TCP port in the node's firewall, forward it if the node is behind NAT, and see that it runs";
    let finding = match open.first() {
        None => Finding::failed(said, remedy),
        Some((address, took)) if closed.is_empty() => {
            Finding::ok(format!("{address} takes connections, in {}", milliseconds(*took)))
        }
        Some(_) => {
            let says = format!("{} takes connections, but {said}", listed(open.iter().map(|(at, _)| *at)));
            Finding::warning(says, "correct the name's addresses, or let the node listen on all of them")
        }
    };
    report.note(Check::Tcp, finding);
    open.first().map(|(address, _)| *address)
}

/// Whether QUIC gets through on the same port. Gives a link if so.
async fn quic(network: &Network, target: &Target, addresses: &[SocketAddr]) -> (Finding, Option<Link>) {
    let mut tries = JoinSet::new();
    for address in addresses.iter().copied() {
        let (dialer, target) = (network.dialer().clone(), target.clone());
        tries.spawn(async move {
            let began = Instant::now();
            let opened = timeout(STEP, dialer.open_over(&target, Transport::Quic, address)).await;
            (address, began.elapsed(), opened)
        });
    }
    let (mut open, mut refused, mut said) = (None, None, Vec::new());
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok((address, took, Ok(Ok(link)))) => {
                open.get_or_insert((address, took, link));
            }
            Ok((address, _, Ok(Err(OpenError::WrongKey { .. } | OpenError::Untrusted { .. })))) => {
                refused.get_or_insert(address);
            }
            Ok((address, _, Ok(Err(error)))) => said.push(format!("{address}: {error}")),
            Ok((address, _, Err(_))) => {
                said.push(format!("{address}: no answer over UDP within {} seconds", STEP.as_secs()));
            }
            Err(_) => {}
        }
    }
    if let (None, Some(address)) = (&open, refused) {
        return (Finding::ok(format!("{address} answers over UDP, with a certificate that is refused")), None);
    }
    if let Some((address, took, link)) = open {
        let says = format!("{address} answers over UDP, in {}", milliseconds(took));
        let finding = match said.is_empty() {
            true => Finding::ok(says),
            false => {
                let remedy = "correct the name's addresses, or let the node listen on all of them";
                Finding::warning(format!("{says}, but {}", said.join(", ")), remedy)
            }
        };
        return (finding, Some(link));
    }
    let remedy = "open the same port for UDP in the node's firewall; if other nodes do not answer either, this network \
                  blocks UDP, and calls need TURN over TCP or TLS";
    (Finding::warning(said.join(", "), remedy), None)
}

/// Whether the certificate shows what a phone wants to see, and for how long.
async fn certificate(network: &Network, target: &Target, address: SocketAddr, within: u64) -> Finding {
    let (expect, roots) = (target.expect(), network.dialer().roots());
    let see = |expect: Expect| async move {
        let seen = timeout(STEP, async {
            let tcp = TcpStream::connect(address).await?;
            Presented::see(tcp, target.host(), &expect).await
        });
        seen.await.unwrap_or_else(|late| Err(late.into()))
    };
    let presented = match see(expect.clone()).await {
        Ok(presented) => presented,
        Err(error) => {
            let says = format!("no TLS 1.3 handshake at {address} ({error})");
            return Finding::failed(
                says,
                "check that --node is the address of a DSIP node, and no proxy stands before it",
            );
        }
    };
    let key = presented.key().map(|key| PublicKey::from_bytes(key).did());
    if let Expect::Key(wanted) = expect {
        if presented.key() != Some(wanted) {
            let says = match &key {
                Some(did) => {
                    format!("whoever answers at {address} has the key of {did}, not the one after # in --node")
                }
                None => format!("whoever answers at {address} has another key than the one after # in --node"),
            };
            return Finding::failed(
                says,
                "ask the node's operator for its DID; do not correct it to what was found here",
            );
        }
        // Who pins the key asks nothing else. What everybody else sees matters where the node has a domain.
        let others = see(Expect::WebPki).await.ok().filter(|others| others.key() != Some(wanted));
        let now = clock::now().wall.secs();
        return match others.map(|others| (others.verify(roots, target.host(), now), others.ends(roots, target.host())))
        {
            None => Finding::ok("its key is the one its DID names, which has no end"),
            Some((Ok(()), ends)) => {
                lasting("its key is the one its DID names; its domain's certificate holds", ends, within)
            }
            Some((Err(why), _)) => {
                let says = format!("its key is the one its DID names, but its domain's certificate {}", in_words(&why));
                Finding::warning(says, remedy(&why))
            }
        };
    }
    let now = clock::now().wall.secs();
    match presented.verify(roots, target.host(), now) {
        Ok(()) => lasting("a trusted authority vouches for it", presented.ends(roots, target.host()), within),
        Err(why) => {
            let says = format!("the certificate {}", in_words(&why));
            match (&why, key) {
                (CertificateError::UnknownIssuer, Some(did)) => {
                    let remedy =
                        format!("if the operator says that the node is {did}, write it after #: {target}#{did}");
                    Finding::failed(says, remedy)
                }
                _ => Finding::failed(says, remedy(&why)),
            }
        }
    }
}

fn lasting(says: &str, ends: Option<u64>, within: u64) -> Finding {
    let Some(ends) = ends else { return Finding::ok(says) };
    let left = ends.saturating_sub(clock::now().wall.secs());
    let says = format!("{says}, for {} more", span(left));
    if left < within * DAY {
        Finding::warning(says, "renew the certificate and restart the node")
    } else {
        Finding::ok(says)
    }
}

/// What is wrong with a chain.
fn in_words(why: &CertificateError) -> String {
    let ago = |seconds: u64| span(clock::now().wall.secs().abs_diff(seconds));
    match why {
        CertificateError::ExpiredContext { not_after, .. } => format!("expired {} ago", ago(not_after.as_secs())),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid yet, but in {}", ago(not_before.as_secs()))
        }
        CertificateError::UnknownIssuer => "is from nobody this machine trusts".into(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another name than the one dialled".into()
        }
        other => format!("is refused: {other}"),
    }
}

fn remedy(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::ExpiredContext { .. } => "renew it and restart the node, or set this machine's clock",
        CertificateError::NotValidYetContext { .. } => "set the clock of this machine, or of who issued it",
        CertificateError::UnknownIssuer => {
            "give the node the whole chain of its certificate, or trust it here with --ca FILE, or name the node's DID after #"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "have a certificate issued for that name, or dial the name it is for"
        }
        _ => "have a new certificate issued",
    }
}

/// Says `hello`, by our clock and if need be by the node's, and judges the answer and the clocks.
async fn greet(report: &Report<'_>, network: &Network, target: &Target, who: &Who, link: Link) -> Option<hello::Lends> {
    let mut documents = Documents::default();
    if let Some(node) = target.node().filter(|node| node.method() != "key")
        && let Ok(Some(document)) = timeout(STEP, network.document(node)).await
    {
        documents.insert(document);
    }
    let (transport, remote) = (link.transport(), link.remote());
    let mut link = link;
    let mut answer = hello::say(&mut link, target, who, &documents, 0).await;
    if let Ok(Answer { ahead, said: Err(_), .. }) = &answer
        && ahead.unsigned_abs() > TOLERANCE
    {
        let ahead = *ahead;
        if let Ok(mut again) = network.dialer().open_over(target, transport, remote).await
            && let Ok(second) = hello::say(&mut again, target, who, &documents, ahead).await
        {
            answer = Ok(second);
        }
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            let remedy = "try again; if it stays so, ask the node's operator, or look into the node's log";
            report.note(Check::Hello, Finding::failed(why, remedy));
            return None;
        }
    };
    let Answer { relay, ahead, said, took } = answer;
    report.note(Check::Clock, clocks(ahead));
    let as_whom = if who.is_owner { "" } else { ", as to any stranger" };
    let (finding, lends) = match said {
        Ok(lends) if target.node().is_none_or(|node| *node == relay) => {
            let says = format!("{relay} answered over {transport}{as_whom}, in {}", milliseconds(took));
            (Finding::ok(says), Some(lends))
        }
        Ok(_) => {
            let says = format!("the hello is signed by {relay}, not by who is named after # in --node");
            (Finding::failed(says, "ask the node's operator for its DID"), None)
        }
        Err(why) if ahead.unsigned_abs() > TOLERANCE => (Finding::failed(why, "set the clock right first"), None),
        Err(why) if who.is_owner => {
            let remedy = "see whether the delegation holds (`dsip id show`), or ask the node's operator";
            (Finding::failed(why, remedy), None)
        }
        Err(why) => (Finding::failed(why, "this node may not serve strangers; check with a home it knows"), None),
    };
    report.note(Check::Hello, finding);
    lends
}

/// Whether messages signed by one clock are fresh by the other.
fn clocks(ahead: i64) -> Finding {
    let off = ahead.unsigned_abs();
    let side = if ahead > 0 { "behind" } else { "ahead of" };
    let remedy = "set both machines' clocks by NTP";
    match off {
        0..=1 => Finding::ok("this machine and the node agree to the second"),
        2..=DRIFTING => {
            Finding::ok(format!("this machine is {off} seconds {side} the node; {TOLERANCE} are tolerated"))
        }
        _ if off <= TOLERANCE => {
            let says = format!("this machine is {off} seconds {side} the node; {TOLERANCE} are tolerated");
            Finding::warning(says, remedy)
        }
        _ => {
            let says = format!(
                "this machine is {} {side} the node; beyond {TOLERANCE} seconds nobody accepts the other's messages",
                span(off)
            );
            Finding::failed(says, remedy)
        }
    }
}

fn milliseconds(took: Duration) -> String {
    format!("{} ms", took.as_millis().max(1))
}
