//! Nodes on loopback, spread over processes of their own.
//!
//! The parent writes a line for each node to add: its number, and the addresses to join through. The child answers with a line
//! of the addresses that the node listens on, once it has joined. It ends when its standard input does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use dsip_endpoint::dht::Multiaddr;

use super::World;

/// Set in a process that is one of the crowd's.
pub(crate) const CROWD: &str = "DSIP_BENCH_CROWD";

/// Nodes in each process.
pub(crate) const NODES: usize = 50;

/// The processes, and where their nodes listen.
#[derive(Default)]
pub(crate) struct Crowd {
    processes: Vec<Process>,
    listening: Vec<Vec<Multiaddr>>,
}

struct Process {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Crowd {
    /// Adds a node, which joins through an earlier one.
    pub(crate) fn add(&mut self, number: u16) {
        let entry = self.listening.get(usize::from(number) / 2).map(Vec::as_slice).unwrap_or_default();
        if self.listening.len().is_multiple_of(NODES) {
            self.processes.push(Process::start());
        }
        let process = self.processes.last_mut().expect("one was started");
        let addresses = process.add(number, entry);
        self.listening.push(addresses);
    }

    /// Where one of them listens.
    pub(crate) fn entry(&self, at: usize) -> Vec<Multiaddr> {
        self.listening[at].clone()
    }
}

impl Process {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .env(CROWD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let orders = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, orders, answers }
    }

    fn add(&mut self, number: u16, entry: &[Multiaddr]) -> Vec<Multiaddr> {
        let entry: Vec<String> = entry.iter().map(ToString::to_string).collect();
        writeln!(self.orders, "{number} {}", entry.join(" ")).expect("it runs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it runs");
        let addresses: Vec<Multiaddr> = addresses(answer.split_whitespace());
        assert!(!addresses.is_empty(), "node {number} did not start");
        addresses
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn addresses<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Multiaddr> {
    words.map(|word| word.parse().expect("an address")).collect()
}

/// What such a process does.
pub(crate) fn live() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut nodes = Vec::new();
    for order in std::io::stdin().lines() {
        let order = order.expect("text");
        let mut words = order.split_whitespace();
        let number: u16 = words.next().and_then(|word| word.parse().ok()).expect("a number");
        let entry = addresses(words);
        // The first of all has nobody to join.
        let alone = entry.is_empty();
        let node = runtime.block_on(async {
            if alone {
                World::Loopback.node(number, entry).await
            } else {
                World::Loopback.joined_node(number, entry).await
            }
        });
        let listening: Vec<String> = node.listening().iter().map(ToString::to_string).collect();
        println!("{}", listening.join(" "));
        nodes.push(node);
    }
}
