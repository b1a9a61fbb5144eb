//! What relaying a packet costs, beside what it costs coturn.
//!
//! Both servers run in processes of their own, one after the other, and get the same load from this process: calls whose
//! packets of 200 octets go through a channel to a peer, which sends each of them back. Rates are per second of *processor time
//! of the server*, so that neither the load's own cost nor a busy machine counts.
//!
//! ```text
//! cargo bench -p dsip-node --bench turn                   # needs coturn's `turnserver`; without it ours alone is measured
//! ```

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dsip_media::turn::Allocation;
use dsip_media::turn::client::{Received, Status};
use dsip_node::{Config, Node, TurnConfig, TurnLimits};
use dsip_proto::identity::SecretKey;
use dsip_proto::time::{Seed, Tick};
use dsip_proto::turn::{Issuer, Ports, SALT};
use tokio::net::UdpSocket;

/// Set in the process that is the node.
const NODE: &str = "DSIP_BENCH_NODE";

/// A voice packet of 20 ms, encrypted, with all its headers.
const PACKET: usize = 200;

/// How often each measurement is made; the median counts.
const ROUNDS: usize = 3;

struct Load {
    name: &'static str,
    calls: usize,
    /// Packets that each call has under way, or how long it waits between two.
    pace: Pace,
}

#[derive(Clone, Copy)]
enum Pace {
    Window(usize),
    Every(Duration),
}

const LOADS: [Load; 3] = [
    Load { name: "10 calls, as fast as they can", calls: 10, pace: Pace::Window(16) },
    Load { name: "200 calls, as fast as they can", calls: 200, pace: Pace::Window(4) },
    Load { name: "200 calls of 50 packets/s", calls: 200, pace: Pace::Every(Duration::from_millis(20)) },
];

fn main() {
    if std::env::var_os(NODE).is_some() {
        return node();
    }
    let seconds = std::env::var("DSIP_BENCH_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(4.0);
    let duration = Duration::from_secs_f64(seconds);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("| {PACKET}-octet packets relayed per second of processor time | ours | coturn | ratio |");
    println!("|---|---|---|---|");
    for load in &LOADS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(runtime.block_on(measure(Server::ours(), load, duration)));
            if let Some(coturn) = Server::coturn() {
                theirs.push(runtime.block_on(measure(coturn, load, duration)));
            }
        }
        let ours = median(ours);
        match theirs.is_empty() {
            true => println!("| {} | {ours:.0} | – | – |", load.name),
            false => {
                let theirs = median(theirs);
                println!("| {} | {ours:.0} | {theirs:.0} | {:.2} |", load.name, ours / theirs);
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

// The servers

struct Server {
    child: Child,
    at: SocketAddr,
    username: String,
    password: String,
}

impl Server {
    fn ours() -> Self {
        let mut command = Command::new(std::env::current_exe().expect("our own path"));
        let command = command.env(NODE, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("ready");
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().expect("a word");
        let at = word().parse().expect("an address");
        Self { child, at, username: word(), password: word() }
    }

    fn coturn() -> Option<Self> {
        let port = std::net::UdpSocket::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let (username, password) = ("load".to_owned(), "secret".to_owned());
        let home = std::env::temp_dir();
        let arguments = [
            "-n",
            "--listening-ip=127.0.0.1",
            "--relay-ip=127.0.0.1",
            "--lt-cred-mech",
            "--realm=dsip",
            "--allow-loopback-peers",
            "--no-tls",
            "--no-dtls",
            "--no-cli",
            "--no-rfc5780",
            "--no-stdout-log",
            "--log-file=/dev/null",
            "--relay-threads=1",
        ];
        let pid = home.join(format!("dsip-bench-{port}.pid"));
        let child = Command::new("turnserver")
            .args(arguments)
            .arg(format!("--listening-port={port}"))
            .arg(format!("--user={username}:{password}"))
            .arg(format!("--pidfile={}", pid.display()))
            .arg(format!("--userdb={}", home.join(format!("dsip-bench-{port}.db")).display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.ok()?;
        Some(Self { child, at: SocketAddr::from(([127, 0, 0, 1], port)), username, password })
    }

    /// Processor time used so far, of all its threads.
    fn used(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("readable");
        // The scheduler's own account, in nanoseconds; `stat` has hundredths of a second.
        let nanos = tasks.map(|task| {
            let stat = fs::read_to_string(task.expect("a thread").path().join("schedstat")).unwrap_or_default();
            stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The node's process.
fn node() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let home = tempfile::tempdir().expect("a directory");
        let mut config = Config::new(home.path(), "127.0.0.1:0".parse().expect("an address"));
        let limits =
            TurnLimits { per_holder: 10_000, per_address: 10_000, bandwidth: u64::MAX, ..TurnLimits::default() };
        config.turn = TurnConfig { allow_private: true, limits, ..TurnConfig::default() };
        let node = Node::start(config).await.expect("started");
        let seed: [u8; 32] = fs::read(home.path().join("node.key")).expect("a key").try_into().expect("32 octets");
        let identity = SecretKey::from_bytes(&[1; 32]).did();
        let grant = Issuer::of_node(&seed).issue(&identity, u64::from(u32::MAX), [0; SALT], Ports::default());
        println!("{} {} {}", node.ready().stun.trim_start_matches("stun:"), grant.username, grant.password);
        // Runs until the other process closes our standard input.
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.expect("read").ok();
    });
}

// The load

struct Call {
    socket: UdpSocket,
    /// A packet in its channel, as it goes to the server and as it comes back.
    packet: Vec<u8>,
    _allocation: Allocation,
}

/// Packets relayed per second of the server's processor time.
async fn measure(server: Server, load: &Load, duration: Duration) -> f64 {
    let relayed = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..load.calls {
        let peer = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let call = Call::open(&server, &peer, number).await;
        let count = relayed.clone();
        tasks.spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = peer.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::Relaxed);
                peer.try_send_to(&buffer[..length], from).ok();
            }
        });
        let (count, stop, pace) = (relayed.clone(), stop.clone(), load.pace);
        tasks.spawn(async move { call.talk(pace, &count, &stop).await });
    }
    tokio::time::sleep(Duration::from_millis(500)).await; // so that every call is under way
    let (before, used) = (relayed.load(Ordering::Relaxed), server.used());
    tokio::time::sleep(duration).await;
    let (packets, used) = (relayed.load(Ordering::Relaxed) - before, server.used() - used);
    stop.store(true, Ordering::Relaxed);
    tasks.abort_all();
    packets as f64 / used.as_secs_f64().max(0.01)
}

impl Call {
    async fn open(server: &Server, peer: &UdpSocket, number: usize) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let began = Instant::now();
        let now = || Tick::default() + began.elapsed();
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let mut allocation =
            Allocation::new(server.at, false, &server.username, &server.password, Seed::new(seed), now());
        let (peer, payload) = (peer.local_addr().expect("an address"), [0x55; PACKET]);
        let mut buffer = [0; 2048];
        loop {
            assert!(!matches!(allocation.status(), Status::Failed(_)), "{:?}", allocation.status());
            if let Some(packet) = allocation.send(now(), peer, &payload) {
                return Self { socket, packet, _allocation: allocation };
            }
            while let Some(request) = allocation.poll(now()) {
                socket.send_to(&request, server.at).await.expect("sent");
            }
            let answer = tokio::time::timeout(Duration::from_millis(100), socket.recv_from(&mut buffer)).await;
            if let Ok(Ok((length, _))) = answer {
                let received = allocation.handle(now(), &buffer[..length]);
                assert_eq!(received, Received::Control);
            }
            socket.connect(server.at).await.expect("connected");
        }
    }

    async fn talk(self, pace: Pace, count: &AtomicU64, stop: &AtomicBool) {
        let mut buffer = [0; 2048];
        match pace {
            Pace::Window(window) => {
                for _ in 0..window {
                    self.socket.try_send(&self.packet).ok();
                }
                while !stop.load(Ordering::Relaxed) {
                    // Lost packets leave the window; after a silence it is filled again.
                    match tokio::time::timeout(Duration::from_millis(50), self.socket.recv(&mut buffer)).await {
                        Ok(Ok(_)) => {
                            count.fetch_add(1, Ordering::Relaxed);
                            self.socket.try_send(&self.packet).ok();
                        }
                        _ => {
                            for _ in 0..window {
                                self.socket.try_send(&self.packet).ok();
                            }
                        }
                    }
                }
            }
            Pace::Every(interval) => {
                let mut ticks = tokio::time::interval(interval);
                while !stop.load(Ordering::Relaxed) {
                    tokio::select! {
                        _ = ticks.tick() => drop(self.socket.try_send(&self.packet)),
                        received = self.socket.recv(&mut buffer) => if received.is_ok() {
                            count.fetch_add(1, Ordering::Relaxed);
                        },
                    }
                }
            }
        }
    }
}
