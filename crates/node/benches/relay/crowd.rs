//! Devices that bind and then say nothing, in processes of their own: one has no descriptors for all of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use dsip_endpoint::link::{Target, Transport};

use super::{Server, bind, dialer, pair};

/// Set in a process that plays devices.
pub(crate) const DEVICES: &str = "DSIP_BENCH_DEVICES";

/// Devices in each process.
const EACH: usize = 5_000;

/// The processes.
pub(crate) struct Crowd(Vec<Process>);

struct Process {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Crowd {
    /// Binds so many devices.
    pub(crate) fn gather(server: &Server, transport: Transport, size: usize) -> Self {
        let mut processes: Vec<Process> = (0..size)
            .step_by(EACH)
            .map(|from| Process::start(server, transport, from, size.min(from + EACH)))
            .collect();
        for process in &mut processes {
            process.wait();
        }
        Self(processes)
    }

    /// They all close their connections.
    pub(crate) fn leave(&mut self) {
        for process in &mut self.0 {
            writeln!(process.orders, "leave").expect("it runs");
        }
        for process in &mut self.0 {
            process.wait();
        }
    }
}

impl Process {
    fn start(server: &Server, transport: Transport, from: usize, to: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .env(DEVICES, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut orders = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        writeln!(orders, "{} {} {} {from} {to}", server.url, server.did, transport.id()).expect("it runs");
        Self { process, orders, answers }
    }

    /// Until it has done what it was told.
    fn wait(&mut self) {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it runs");
        assert_eq!(answer.trim(), "done");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What such a process does.
pub(crate) fn live() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut orders = String::new();
        std::io::stdin().read_line(&mut orders).expect("orders");
        let words: Vec<&str> = orders.split_whitespace().collect();
        let [url, did, binding, from, to] = words[..] else { panic!("which devices?") };
        let target: Target = url.parse().expect("a target");
        let target = target.with_bindings(["ws/1.0", binding]);
        let number = |word: &str| word.parse::<usize>().expect("a number");
        let dialer = dialer();
        let mut links = Vec::new();
        for device in number(from)..number(to) {
            links.push(bind(&dialer, &target, did, &pair(device).0).await);
        }
        println!("done");
        // Until they are told to leave, they say what keeps connections alive, and afterwards what ends them.
        let order = || tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        order().await.expect("read").ok();
        drop(links);
        println!("done");
        order().await.expect("read").ok();
    });
}
