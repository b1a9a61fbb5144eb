//! `cargo x net`: real calls across real networks, built from network namespaces. Needs root, `ip` and `nft`.
//!
//! ```text
//!   alice ── [nat-a] ──┐            ┌── [nat-b] ── bob
//!   10.1.0.2           ├── wire ────┤           10.2.0.2
//!                      └── node ────┘
//!                      203.0.113.2
//! ```
//!
//! Each case lays its own wires, starts a node and two phones on them, and holds a call with speech both ways. It passes if
//! both phones end well and heard most of what the other one said.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::namespaces::{Net, Process, Scratch, number, text};
use crate::shell::{Failure, Outcome, has, root};

/// How long the two talk.
const TALK: Duration = Duration::from_secs(8);

/// Packets of 20 ms that have to arrive in [`TALK`], of 400. A move costs a second or two.
const ENOUGH_PACKETS: u64 = 250;

/// Where a phone sits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Site {
    /// On the public wire.
    Public,
    /// Behind a NAT that keeps the port: what most homes have.
    Nat,
    /// Behind a NAT that picks another port for every destination.
    Symmetric,
}

struct Case {
    name: &'static str,
    what: &'static str,
    alice: Site,
    bob: Site,
    /// Of a hundred datagrams towards Bob, this many vanish.
    loss: u32,
    /// Whether Alice's address changes in the middle of the call.
    moves: bool,
    /// Whether packets can only come through the node's TURN server, and so have to.
    relayed: bool,
    /// Whether a call comes about at all.
    talks: bool,
    /// The TCP ports that the networks of both let through, where they let nothing else through.
    only: Option<&'static str>,
}

const PLAIN: Case = Case {
    name: "",
    what: "",
    alice: Site::Public,
    bob: Site::Public,
    loss: 0,
    moves: false,
    relayed: false,
    talks: true,
    only: None,
};

/// Behind NAT that lets only these TCP ports out.
const BLOCKED: Case = Case { alice: Site::Nat, bob: Site::Nat, relayed: true, ..PLAIN };

const CASES: &[Case] = &[
    Case { name: "public", what: "both on the public network", ..PLAIN },
    Case { name: "nat-caller", what: "the caller behind NAT", alice: Site::Nat, ..PLAIN },
    Case { name: "nat-callee", what: "the callee behind NAT", bob: Site::Nat, ..PLAIN },
    Case { name: "nat-both", what: "both behind NAT", alice: Site::Nat, bob: Site::Nat, ..PLAIN },
    Case { name: "symmetric", what: "the caller behind symmetric NAT", alice: Site::Symmetric, ..PLAIN },
    Case {
        name: "turn",
        what: "symmetric NAT on both sides, through TURN",
        alice: Site::Symmetric,
        bob: Site::Symmetric,
        relayed: true,
        ..PLAIN
    },
    Case { name: "tcp-only", what: "UDP blocked on both sides, TURN over TCP", only: Some("7443, 3478"), ..BLOCKED },
    Case { name: "tls-only", what: "nothing but the node's port and TURN's TLS", only: Some("7443, 5349"), ..BLOCKED },
    Case {
        name: "no-path",
        what: "nothing but the node's port: the call says why",
        talks: false,
        only: Some("7443"),
        ..BLOCKED
    },
    Case { name: "lossy", what: "every twentieth datagram lost", loss: 5, ..PLAIN },
    Case { name: "moving", what: "the caller's address changes in mid-call", moves: true, ..PLAIN },
    Case { name: "moving-nat", what: "the same, towards somebody behind NAT", bob: Site::Nat, moves: true, ..PLAIN },
];

/// Runs all cases, or those whose name contains the argument, one after the other.
pub(crate) fn run(binary: &str, arguments: &[String]) -> Outcome {
    if !has("ip", "-V") || !has("nft", "--version") {
        return Err(Failure::new("`ip` and `nft` are needed; apt-get install iproute2 nftables"));
    }
    let wanted = arguments.first().map(String::as_str).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for case in CASES.iter().filter(|case| case.name.contains(wanted)) {
        let began = Instant::now();
        let outcome = hold(case, Path::new(binary));
        let seconds = began.elapsed().as_secs_f64();
        match outcome {
            Ok(heard) => {
                passed += 1;
                println!("ok    {:<12} {:<42} {seconds:>5.1} s  {heard}", case.name, case.what);
            }
            Err(failure) => {
                failed += 1;
                println!("FAIL  {:<12} {:<42} {seconds:>5.1} s  {failure}", case.name, case.what);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { Ok(()) } else { Err(Failure::new(format!("{failed} of the networks failed"))) }
}

/// One call across one network. Says what was heard.
fn hold(case: &Case, binary: &Path) -> Result<String, Failure> {
    let net = lay(case)?;
    let home = Scratch::new("net")?;
    let speech = root().join("crates/dsip/assets");
    let dsip = |place: &str, who: &str, arguments: &[&str]| {
        let dir = home.path().join(who).display().to_string();
        let mut all = vec!["--home", &dir, "--json"];
        all.extend(arguments);
        net.inside(place, binary, &all)
    };

    // The wire has addresses that are reserved for examples, to which a relay does not lead unless told.
    let mut node = dsip("node", "node", &["node", "--listen", "203.0.113.2:7443", "--turn-allow-private"])?;
    let ready = node.until("ready")?;
    let (url, dht) = (text(&ready, "url")?, text(&ready, "dht")?);
    for who in ["alice", "bob"] {
        dsip(who, who, &["id", "new", "--no-passphrase", "--name", who])?.until("identity")?;
    }
    let shown = dsip("bob", "bob", &["id", "show"])?.until("identity")?;
    let did = text(&shown, "did")?;
    // Where hardly anything gets through, the DHT does not either: Bob is called at the node.
    let reach = match case.only {
        None => vec!["--node", &url, "--dht", &dht],
        Some(_) => vec!["--node", &url],
    };
    diagnose(case, &mut dsip("alice", "alice", &["doctor", "--allow-private", "--node", &url])?)?;
    let (said_a, said_b) = (speech.join("alice.wav"), speech.join("bob.wav"));
    let (said_a, said_b) = (format!("loop:{}", said_a.display()), format!("loop:{}", said_b.display()));
    let seconds = TALK.as_secs().to_string();

    let mut waits = vec!["answer", "--auto", "accept", "--once", "--audio-in", &said_b];
    waits.extend(&reach);
    if case.only.is_none() {
        waits.push("--publish");
    }
    let mut bob = dsip("bob", "bob", &waits)?;
    bob.until(if case.only.is_none() { "published" } else { "ready" })?;
    let mut calls = vec!["call", &did, "--audio-in", &said_a, "--duration", &seconds];
    calls.extend(&reach);
    let mut alice = dsip("alice", "alice", &calls)?;
    if !case.talks {
        return explained(&mut alice, &mut bob);
    }
    alice.until("talking")?;
    if case.moves {
        std::thread::sleep(TALK / 4);
        move_alice(&net)?;
    }
    let mut heard = Vec::new();
    for (who, phone) in [("alice", &mut alice), ("bob", &mut bob)] {
        let stats = phone.until("stats")?;
        let packets = number(&stats, "received")?;
        if packets < ENOUGH_PACKETS {
            return Err(Failure::new(format!("{who} received {packets} packets only; {}", phone.told())));
        }
        let path = text(&stats, "path")?;
        // Who moves may pass through the relay on the way to a better path.
        if case.relayed != (path == "relay") && !case.moves {
            return Err(Failure::new(format!("{who}'s packets took the {path} path; {}", phone.told())));
        }
        heard.push(format!("{who} {packets}"));
        phone.ends_well(who)?;
    }
    Ok(format!("packets: {}", heard.join(", ")))
}

/// A call that is answered and finds no path ends with the reason, on both sides.
fn explained(alice: &mut Process, bob: &mut Process) -> Result<String, Failure> {
    let why = text(&bob.until("no-path")?, "why")?;
    let failed = alice.until("failed")?;
    for (said, word) in
        [(&why, "UDP seems blocked on this side"), (&failed, "UDP seems blocked"), (&failed, "dsip doctor")]
    {
        if !said.contains(word) {
            return Err(Failure::new(format!("no {word:?} in {said}")));
        }
    }
    if number(&failed, "code")? == 8 { Ok(why) } else { Err(Failure::new(format!("another exit code: {failed}"))) }
}

/// What the doctor says about Alice's network has to be true.
fn diagnose(case: &Case, doctor: &mut Process) -> Outcome {
    doctor.until("summary")?;
    let nat = match case.alice {
        Site::Public => "none",
        Site::Nat => "endpoint-independent",
        Site::Symmetric => "address-and-port-dependent",
    };
    let outcome = |open: bool| if open { "ok" } else { "failed" };
    let ports = case.only.unwrap_or("udp, 7443, 3478, 5349");
    let open = |port: &str| outcome(ports.contains(port));
    let mut expected = vec![
        ("tcp", "outcome", "ok"),
        ("certificate", "outcome", "ok"),
        ("hello", "outcome", "ok"),
        ("clock", "outcome", "ok"),
        ("stun", "outcome", open("udp")),
        ("turn-udp", "outcome", open("udp")),
        ("turn-tcp", "outcome", open("3478")),
        ("turn-tls", "outcome", open("5349")),
    ];
    if case.only.is_none() {
        expected.extend([("quic", "outcome", "ok"), ("relayed", "outcome", "ok"), ("nat", "kind", nat)]);
    }
    for (check, member, value) in expected {
        let line = doctor.story().iter().find(|line| line.contains(&format!("\"check\":\"{check}\"")));
        let line = line.ok_or_else(|| Failure::new(format!("no {check} among what the doctor said")))?;
        if text(line, member)? != value {
            return Err(Failure::new(format!("the doctor should say that {member} is {value}, but: {line}")));
        }
    }
    Ok(())
}

/// Namespaces and the wires between them.
fn lay(case: &Case) -> Result<Net, Failure> {
    let mut net = Net::new("net")?;
    net.plug("node", "203.0.113.2/24")?;
    site(&mut net, "alice", "nat-a", (case.alice, case.only), "203.0.113.11/24", "10.1.0")?;
    site(&mut net, "bob", "nat-b", (case.bob, case.only), "203.0.113.12/24", "10.2.0")?;
    if case.loss > 0 {
        net.nft(
            "bob",
            &format!(
                "add table ip dsip; add chain ip dsip arrive {{ type filter hook input priority 0; }}; \
            add rule ip dsip arrive meta l4proto udp numgen random mod 100 < {} drop",
                case.loss
            ),
        )?;
    }
    Ok(net)
}

fn site(
    net: &mut Net,
    who: &'static str,
    nat: &'static str,
    (site, only): (Site, Option<&str>),
    public: &str,
    inside: &str,
) -> Outcome {
    if site == Site::Public {
        return net.plug(who, public);
    }
    net.plug(nat, public)?;
    net.host(who)?;
    net.wire_up(who, nat, "lan")?;
    net.ip(nat, &format!("addr add {inside}.1/24 dev lan"))?;
    net.ip(nat, "link set lan up")?;
    net.ip(who, &format!("addr add {inside}.2/24 dev wan"))?;
    net.ip(who, "link set wan up")?;
    net.ip(who, &format!("route add default via {inside}.1"))?;
    net.on(nat, "sysctl", &["-q", "-w", "net.ipv4.ip_forward=1"])?;
    let masquerade = if site == Site::Symmetric { "masquerade random,fully-random" } else { "masquerade" };
    let outward = only.map(|ports| format!("tcp dport {{ {ports} }} ")).unwrap_or_default();
    // What was not asked for from inside does not get in, nor is it answered: that is what makes it a home's NAT and
    // not a router. (Were it let in, it would take the very mapping that the phone inside is about to make.)
    net.nft(
        nat,
        &format!(
            "add table ip dsip; \
        add chain ip dsip leave {{ type nat hook postrouting priority 100; }}; \
        add rule ip dsip leave oifname wan {masquerade}; \
        add chain ip dsip knock {{ type filter hook input priority 0; policy drop; }}; \
        add chain ip dsip pass {{ type filter hook forward priority 0; policy drop; }}; \
        add rule ip dsip pass iifname lan {outward}accept; \
        add rule ip dsip pass ct state established,related accept"
        ),
    )
}

/// Alice leaves one network and joins another, as a phone does at the front door.
fn move_alice(net: &Net) -> Outcome {
    net.ip("alice", "addr del 203.0.113.11/24 dev wan")?;
    net.ip("alice", "addr add 203.0.113.99/24 dev wan")
}
