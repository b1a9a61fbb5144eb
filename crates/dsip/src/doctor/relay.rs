//! STUN and TURN, by using them: what the node sees of our socket, and whether packets come through its relay.
//!
//! ```text
//!   probe A ══ UDP, TCP or TLS ══► node ── relayed A ──┐ inside the node
//!   probe B ══ the same ═════════► node ── relayed B ──┘
//!   socket ────────────── UDP ───────────► relayed A       from outside in, as a peer would
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::link::Target;
use dsip_endpoint::phone::Network;
use dsip_endpoint::turn::{Secure, Stream, Via};
use dsip_media::stun::{Query, Status as Seen};
use dsip_media::turn::client::{Allocation, Failure, Received, Status};
use dsip_proto::time::Seed;
use dsip_proto::turn::Grant;
use tokio::net::UdpSocket;
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::rustls::Error as TlsError;

use super::STEP;
use super::hello::Lends;
use super::node::OverUdp;
use super::report::{Check, Finding, Report};

/// How often something is said again that the network may have lost.
const AGAIN: Duration = Duration::from_millis(200);

/// What relayed addresses say.
const WORD: &[u8] = b"dsip doctor";

/// What our own socket says: what one relayed address still has to tell another must not be taken for it.
const KNOCK: &[u8] = b"dsip doctor, from outside";

const DATAGRAM: usize = 2048;

/// A socket, and how those whom it sent to saw it.
pub(super) struct Views {
    pub(super) socket: UdpSocket,
    /// Who, and what address.
    pub(super) seen: Vec<(SocketAddr, SocketAddr)>,
    /// Whether the node relays.
    pub(super) relays: bool,
}

impl Views {
    /// A fresh socket for destinations of that family.
    pub(super) async fn new(towards: IpAddr) -> io::Result<Self> {
        let any: IpAddr = if towards.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Ok(Self { socket: UdpSocket::bind((any, 0)).await?, seen: Vec::new(), relays: false })
    }

    /// Asks a STUN server how it sees the socket.
    pub(super) async fn ask(&mut self, server: SocketAddr) -> Option<SocketAddr> {
        let mut transaction = [0; 12];
        getrandom::fill(&mut transaction).ok()?;
        let mut query = Query::new(server, transaction, clock::now().tick);
        let mut packet = [0; DATAGRAM];
        let asked = timeout(STEP, async {
            loop {
                if let Some(request) = query.poll(clock::now().tick) {
                    // What cannot be sent now may be a moment later; the deadline decides.
                    let _ = self.socket.send_to(&request, server).await;
                }
                let pause = query.wake()?.since(clock::now().tick);
                tokio::select! {
                    received = self.socket.recv_from(&mut packet) => if let Ok((length, from)) = received {
                        query.handle(clock::now().tick, from, packet.get(..length).unwrap_or_default());
                    },
                    () = sleep(pause) => {}
                }
                if let Seen::Seen(seen) = query.status() {
                    return Some(seen);
                }
            }
        });
        let seen = asked.await.ok().flatten()?;
        self.seen.push((server, seen));
        Some(seen)
    }
}

/// Checks what the node at `ip` lends. Gives how our socket was seen, if at all.
pub(super) async fn check(
    report: &Report<'_>,
    network: &Network,
    target: &Target,
    ip: IpAddr,
    lends: &Lends,
    over_udp: OverUdp,
) -> Option<Views> {
    let mut views = match Views::new(ip).await {
        Ok(views) => views,
        Err(error) => {
            let finding = Finding::failed(format!("no UDP socket can be opened ({error})"), "see what forbids it here");
            report.note(Check::Stun, finding);
            return None;
        }
    };
    let Some(grant) = &lends.turn else {
        stun(report, &mut views, ip, lends.stun_port, over_udp).await;
        let (says, remedy) = if lends.is_guest {
            (
                "the node is closed and relays for members only, who we are not",
                "bring it an invitation with `dsip join`",
            )
        } else {
            let says = "the node relays no media: two phones behind symmetric NAT cannot talk";
            (says, "let it serve TURN, if it is yours: run it without --no-turn")
        };
        report.note(Check::TurnUdp, Finding::warning(says, remedy));
        let finding = Finding::skipped("the node relays nothing for us");
        report.note_all(&[Check::TurnTcp, Check::TurnTls, Check::Relayed], &finding);
        return Some(views);
    };
    let secure = network.dialer().turn_tls(target).ok();
    let [udp, tcp, tls] = Via::ALL.map(|via| turn(report, via, ip, grant, secure.as_ref()));
    let seen = stun(report, &mut views, ip, lends.stun_port, over_udp);
    let ((), udp, tcp, tls) = tokio::join!(seen, udp, tcp, tls);
    views.relays = udp.is_some() || tcp.is_some() || tls.is_some();
    report.note(Check::Relayed, relayed(&mut views, udp.or(tcp).or(tls)).await);
    Some(views)
}

async fn stun(report: &Report<'_>, views: &mut Views, ip: IpAddr, port: Option<u16>, over_udp: OverUdp) {
    let Some(port) = port else {
        return report.note(Check::Stun, Finding::skipped("the node does not say where it answers STUN"));
    };
    let server = SocketAddr::new(ip, port);
    let finding = match views.ask(server).await {
        Some(seen) => Finding::ok(format!("{server} sees this machine at {seen}")),
        None if over_udp.works().await => {
            let says = format!("no answer from {server} over UDP, though the node's other UDP port answers");
            Finding::failed(says, format!("open UDP port {port} in the node's firewall"))
        }
        None => {
            let says = format!("no answer from {server} over UDP, nor from the node's other UDP port");
            let remedy = format!(
                "if other nodes answer from here, open UDP port {port} in this one's firewall; else this network blocks UDP"
            );
            Finding::failed(says, remedy)
        }
    };
    report.note(Check::Stun, finding);
}

/// Two allocations over one transport, and a word each way between them. Gives one of them.
async fn turn(report: &Report<'_>, via: Via, ip: IpAddr, grant: &Grant, secure: Option<&Secure>) -> Option<Probe> {
    let (check, port) = match via {
        Via::Udp => (Check::TurnUdp, grant.ports.udp),
        Via::Tcp => (Check::TurnTcp, grant.ports.tcp),
        Via::Tls => (Check::TurnTls, grant.ports.tls),
    };
    let Some(port) = port else {
        report.note(check, Finding::skipped(format!("the node offers no TURN over {via}")));
        return None;
    };
    let server = SocketAddr::new(ip, port);
    let tried = timeout(2 * STEP, async {
        let (mut a, mut b) =
            tokio::try_join!(Probe::open(via, server, grant, secure), Probe::open(via, server, grant, secure))?;
        echo(&mut a, &mut b).await?;
        Ok(a)
    });
    let (finding, probe) = match tried.await.unwrap_or(Err(Trouble::Silent)) {
        Ok(probe) => {
            let relayed = probe.allocation.relayed().map(|at| at.to_string()).unwrap_or_default();
            (Finding::ok(format!("{server} relays over {via}, e.g. at {relayed}")), Some(probe))
        }
        Err(trouble) => (trouble.finding(via, server), None),
    };
    report.note(check, finding);
    probe
}

/// Why nothing is relayed.
#[derive(Debug)]
enum Trouble {
    Unconnected(String),
    /// Somebody is there, whose certificate is not the node's.
    Impostor(String),
    Silent,
    Refused(u16),
    /// The relayed address is one that the server itself relays nothing to.
    Forbidden(SocketAddr),
    /// There is an allocation, and nothing comes through it.
    Mute,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            Some(TlsError::InvalidCertificate(why)) => Self::Impostor(why.to_string()),
            _ => Self::Unconnected(error.to_string()),
        }
    }
}

impl Trouble {
    fn finding(self, via: Via, server: SocketAddr) -> Finding {
        let (protocol, port) = (if via == Via::Udp { "UDP" } else { "TCP" }, server.port());
        let open = format!("open {protocol} port {port} in the node's firewall, unless this network blocks it");
        match self {
            Self::Unconnected(why) => Finding::failed(format!("{server} over {via}: {why}"), open),
            Self::Impostor(why) => Finding::failed(
                format!("whoever answers at {server} over {via} does not show the node's certificate ({why})"),
                "see that no other server has taken the port, and no proxy stands before it",
            ),
            Self::Silent => Finding::failed(format!("{server} does not answer over {via}"), open),
            Self::Refused(486) => Finding::failed(
                format!("{server} refused: too many relayed addresses for this identity or address (486)"),
                "end other calls, or try again in ten minutes",
            ),
            Self::Refused(508) => Finding::failed(
                format!("{server} refused: it has no relayed address left (508)"),
                "widen --turn-ports at the node, and see how many calls it carries",
            ),
            Self::Refused(code) => Finding::failed(
                format!("{server} refused the credentials that its node just gave us ({code})"),
                "set the clocks right, and see that no other TURN server has taken the port",
            ),
            Self::Forbidden(relayed) => Finding::failed(
                format!("{server} relays at {relayed}, which is no public address, and relays to public ones only"),
                "name the node's public address with --turn-relay, or say --turn-allow-private in a closed network",
            ),
            Self::Mute => Finding::failed(
                format!("{server} gave addresses over {via}, but nothing comes through from one to the other"),
                "look into the node's log",
            ),
        }
    }
}

/// An allocation and the way to its server.
struct Probe {
    way: Way,
    allocation: Allocation,
}

enum Way {
    Datagrams(UdpSocket),
    Stream(Stream),
}

impl Probe {
    async fn open(via: Via, server: SocketAddr, grant: &Grant, secure: Option<&Secure>) -> Result<Self, Trouble> {
        let connect = async {
            Ok::<_, io::Error>(match via {
                Via::Udp => {
                    let socket = Views::new(server.ip()).await?.socket;
                    socket.connect(server).await?;
                    Way::Datagrams(socket)
                }
                Via::Tcp => Way::Stream(Stream::connect(server, None, None).await?),
                Via::Tls => {
                    let secure = secure.ok_or_else(|| io::Error::other("TLS cannot be set up"))?;
                    Way::Stream(Stream::connect(server, None, Some(secure)).await?)
                }
            })
        };
        let way = timeout(STEP, connect).await.map_err(|_| Trouble::Silent)??;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| Trouble::Unconnected("the system gives no randomness".into()))?;
        let (Grant { username, password, .. }, now) = (grant, clock::now().tick);
        let allocation = Allocation::new(server, via != Via::Udp, username, password, Seed::new(seed), now);
        let mut probe = Self { way, allocation };
        let asked = timeout(STEP, async {
            while probe.allocation.status() == Status::Asking {
                probe.next().await?;
            }
            Ok::<_, io::Error>(())
        });
        asked.await.map_err(|_| Trouble::Silent)??;
        match probe.allocation.status() {
            Status::Relayed(_) => Ok(probe),
            Status::Failed(Failure::Refused(code)) => Err(Trouble::Refused(code)),
            Status::Asking | Status::Failed(Failure::Silent) => Err(Trouble::Silent),
        }
    }

    async fn transmit(&mut self, packet: Vec<u8>) -> io::Result<()> {
        match &self.way {
            Way::Datagrams(socket) => socket.send(&packet).await.map(drop),
            Way::Stream(stream) => {
                stream.send(packet);
                Ok(())
            }
        }
    }

    /// Says what is due and waits for something to happen: data from a peer, or anything else.
    async fn next(&mut self) -> io::Result<Option<(SocketAddr, Vec<u8>)>> {
        while let Some(packet) = self.allocation.poll(clock::now().tick) {
            self.transmit(packet).await?;
        }
        let pause = self.allocation.wake().map_or(STEP, |wake| wake.since(clock::now().tick));
        let packet = tokio::select! {
            packet = self.way.receive() => packet?,
            () = sleep(pause) => return Ok(None),
        };
        Ok(match self.allocation.handle(clock::now().tick, &packet) {
            Received::Data(peer, data) => Some((peer, packet.get(data).unwrap_or_default().to_vec())),
            Received::Control | Received::Foreign => None,
        })
    }

    async fn send(&mut self, to: SocketAddr) -> io::Result<()> {
        match self.allocation.send(clock::now().tick, to, WORD) {
            Some(packet) => self.transmit(packet).await,
            None => Ok(()),
        }
    }
}

impl Way {
    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Datagrams(socket) => {
                let mut packet = vec![0; DATAGRAM];
                let length = socket.recv(&mut packet).await?;
                packet.truncate(length);
                Ok(packet)
            }
            Self::Stream(stream) => stream.recv().await.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A word each way between two relayed addresses.
async fn echo(a: &mut Probe, b: &mut Probe) -> Result<(), Trouble> {
    let (Some(at_a), Some(at_b)) = (a.allocation.relayed(), b.allocation.relayed()) else {
        return Err(Trouble::Silent);
    };
    let mut again = interval(AGAIN);
    let (mut heard_a, mut heard_b) = (false, false);
    let heard = timeout(STEP, async {
        while !(heard_a && heard_b) {
            tokio::select! {
                _ = again.tick() => {
                    a.send(at_b).await?;
                    b.send(at_a).await?;
                }
                heard = a.next() => heard_a |= heard?.is_some_and(|(from, word)| from == at_b && word == WORD),
                heard = b.next() => heard_b |= heard?.is_some_and(|(from, word)| from == at_a && word == WORD),
            }
            if a.allocation.is_refused(at_b) {
                return Err(Trouble::Forbidden(at_b));
            }
        }
        Ok(())
    });
    heard.await.unwrap_or(Err(Trouble::Mute))
}

/// Whether a relayed address can be reached from here, and reaches us: what a peer of somebody who is relayed needs. It is
/// also another port that sees our socket.
async fn relayed(views: &mut Views, probe: Option<Probe>) -> Finding {
    let Some(mut probe) = probe else { return Finding::skipped("there is no relayed address to try") };
    let (Some(at), Some((_, seen))) = (probe.allocation.relayed(), views.seen.first().copied()) else {
        return Finding::skipped("without UDP from here there is nothing to try it with");
    };
    let mut again = interval(AGAIN);
    let (mut from, mut heard) = (None, false);
    let mut packet = [0; DATAGRAM];
    let tried = timeout(STEP, async {
        while from.is_none() || !heard {
            tokio::select! {
                _ = again.tick() => {
                    // The permission that this asks for is for all ports of our address.
                    probe.send(from.unwrap_or(seen)).await?;
                    views.socket.send_to(KNOCK, at).await?;
                }
                data = probe.next() => {
                    from = from.or(data?.filter(|(_, word)| word == KNOCK).map(|(from, _)| from));
                }
                received = views.socket.recv_from(&mut packet) => {
                    let (length, sender) = received?;
                    heard |= sender == at && packet.get(..length) == Some(WORD);
                }
            }
            if probe.allocation.is_refused(seen) {
                return Ok::<_, io::Error>(true);
            }
        }
        Ok(false)
    });
    let outcome = tried.await;
    views.seen.extend(from.map(|from| (at, from)));
    let port = at.port();
    match (outcome, from) {
        (Ok(Ok(true)), _) => Finding::skipped(format!("the node relays nothing to {seen}, which is no public address")),
        (Ok(Ok(false)), _) => Finding::ok(format!("packets from here reach {at} at the node, and come back")),
        (Ok(Err(error)), _) => Finding::failed(format!("{at}: {error}"), "check this machine's network"),
        (Err(_), None) => {
            let says =
                format!("packets from here do not reach {at}, where the node relays: calls through it stay silent");
            let remedy = format!(
                "open the UDP ports of --turn-ports (49152-65535 unless it says otherwise; this was {port}) in the node's \
                 firewall, and name its public address with --turn-relay if {} is not it",
                at.ip()
            );
            Finding::failed(says, remedy)
        }
        (Err(_), Some(from)) if from.ip() == at.ip() => Finding::skipped(
            "this machine has the node's own address, to which it does not relay; look from another one",
        ),
        (Err(_), Some(from)) => {
            let says = format!("packets from here reach {at}, but none come back to {from}");
            Finding::failed(says, "let the node send UDP from --turn-ports, and check this network's firewall")
        }
    }
}
