//! A node that is killed again and again under load, and clients that count.
//!
//! ```text
//! DSIP_KILL_SECS=600 cargo test -p dsip-node --test it kill
//! ```

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dsip_endpoint::link::{Closed, Transport};
use dsip_proto::relay::rate::Rate;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::counting::{At, Crowd, Pace, bound, recipient, sender};
use crate::start;

/// Set to its home in the process that is the node.
const NODE: &str = "DSIP_KILL_NODE";

/// How long a node may live before it is killed.
const MORE: Duration = Duration::from_secs(4);

/// Where it listens there, if not on a port of its choice.
const LISTEN: &str = "DSIP_KILL_LISTEN";

/// A root to trust besides the system's, for servers on this machine.
const ROOT: &str = "DSIP_KILL_ROOT";

/// Not a test of its own: the node's process.
#[tokio::test]
async fn a_node_to_be_killed() {
    let Some(home) = std::env::var_os(NODE) else { return };
    let node = start(Path::new(&home), |config| {
        if let Ok(at) = std::env::var(LISTEN) {
            config.listen = at.parse().expect("an address");
        }
        config.ca.extend(std::env::var_os(ROOT).map(Into::into));
        config.allow_private = !config.ca.is_empty();
        config.limits.opens = Rate { burst: 100_000, every: Duration::from_micros(1) };
        config.relay.rates.envelopes = Rate { burst: 1_000_000, every: Duration::from_micros(1) };
        config.relay.rates.devices = config.relay.rates.envelopes;
        config.relay.rates.strangers = config.relay.rates.envelopes;
        config.relay.rates.networks = config.relay.rates.envelopes;
    })
    .await;
    println!("\nready {} {}", node.ready().url(), node.ready().did);
    // Runs until it is killed, or its test is.
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    drop(wait.await);
}

pub(crate) struct Process(Child);

impl Process {
    fn start(home: &Path) -> (Self, At) {
        Self::start_on(home, "127.0.0.1:0")
    }

    fn start_on(home: &Path, listen: &str) -> (Self, At) {
        Self::start_with(home, listen, None)
    }

    /// One that trusts a push service on this machine.
    pub(crate) fn start_with(home: &Path, listen: &str, root: Option<&Path>) -> (Self, At) {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "kill::a_node_to_be_killed", "--nocapture", "--test-threads=1"])
            .env(NODE, home)
            .env(LISTEN, listen)
            .envs(root.map(|root| (ROOT, root)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut lines = lines.map(|line| line.expect("text"));
        let ready = lines.find_map(|line| line.strip_prefix("ready ").map(str::to_owned)).expect("it became ready");
        let (url, did) = ready.split_once(' ').expect("a URL and a DID");
        (Self(child), At { url: url.to_owned(), did: did.to_owned() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: no destructor runs, no buffer is written.
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cus_1_14_a_node_killed_under_load_loses_nothing_it_vouched_for() {
    // CUS-1, CUS-12, CUS-14
    let seconds = std::env::var("DSIP_KILL_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let until = Instant::now() + Duration::from_secs(seconds);
    let home = tempfile::tempdir().expect("a directory");
    let (mut process, ready) = Process::start(home.path());
    let (place, at) = watch::channel(Some(ready));
    let mut crowd = Crowd::gather(at).await;
    crowd.talk(Pace::FAST);
    let mut kills = 0;
    // On a slow machine for longer: so much has to have happened to prove anything.
    while Instant::now() < until || kills < 2 || crowd.settled() < 500 {
        // Somewhere in the next few hundred envelopes.
        let mut random = [0; 2];
        getrandom::fill(&mut random).expect("randomness");
        let more = usize::from(u16::from_be_bytes(random) % 2_000);
        let enough = crowd.hears(crowd.received() + more);
        drop(timeout(MORE, enough).await);
        place.send_replace(None);
        drop(process);
        kills += 1;
        assert!(kills < 1_000, "nobody can be sure of anything here");
        let (again, ready) = Process::start(home.path());
        process = again;
        place.send_replace(Some(ready));
    }
    let tally = crowd.settle().await;
    println!("{kills} kills, {tally:?}");
    assert_eq!(tally.lost, 0, "vouched for and lost");
    assert_eq!(tally.again, 0, "CUS-12: acknowledged, and handed out again");
    drop(process);
}

#[tokio::test]
async fn qb_45_whose_node_was_killed_learns_of_it_from_the_next_one() {
    let home = tempfile::tempdir().expect("a directory");
    let (process, ready) = Process::start(home.path());
    let (_here, mut at) = watch::channel(Some(ready.clone()));
    let (alice, bob) = (sender(0), recipient(0));
    let mut link = bound(&mut at, &alice, Transport::Quic).await;
    drop(process);
    let port = ready.url.split([':', '/']).find_map(|part| part.parse::<u16>().ok()).expect("a port");
    let (_process, again) = Process::start_on(home.path(), &format!("127.0.0.1:{port}"));
    assert_eq!(again.did, ready.did);
    let said = alice.invite(&bob.did);
    link.send(said.stream, said.text).expect("queued");
    let closed = timeout(Duration::from_secs(10), link.recv()).await.expect("sooner than the idle timeout of 45 s");
    assert!(matches!(closed, Err(Closed::Lost(_))), "{closed:?}");
}
