//! What is broken: a node on a disk of its own, four phones, a crowd that counts, and the wire between them.
//!
//! ```text
//!   alice ═══ long call ═══ bob
//!   carol ── short calls ── dave        all of them, and the crowd, by way of the node
//!   crowd: four senders, two recipients (crates/node/tests/it/counting.rs)
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::namespaces::{Net, Process, Scratch, is, number, text};
use crate::shell::{Failure, Outcome, target};

/// Where the node is.
const LISTEN: &str = "203.0.113.2:7443";

/// How long a call may take to be placed, answered and ended, with a phone that has just found out that its node is back.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the crowd may take to agree that nothing is missing.
const SETTLING: Duration = Duration::from_secs(150);

/// The library that gives one process another time, where Debian puts it on processors whose name is theirs in Rust, too.
fn faketime() -> PathBuf {
    PathBuf::from(format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH))
}

/// Everybody, and where they are.
pub(super) const PLACES: [(&str, &str); 4] = [
    ("node", "203.0.113.2/24"),
    ("alice", "203.0.113.11/24"),
    ("bob", "203.0.113.12/24"),
    ("crowd", "203.0.113.13/24"),
];

/// Whose clock can jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// The node's.
    Node,
    /// A phone's.
    Dave,
}

impl Clock {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Dave => "dave",
        }
    }
}

/// The town. Its fields fall in this order: processes, then what they stand on.
pub(super) struct Town {
    pub(super) node: Option<Process>,
    dave: Option<Process>,
    crowd: Process,
    talk: Option<[Process; 2]>,
    /// Envelopes that the crowd had acknowledged when it was last asked.
    acknowledged: u64,
    url: String,
    dave_did: String,
    pub(super) disk: Disk,
    certificates: Certificates,
    pub(super) net: Net,
    homes: Scratch,
    binary: PathBuf,
    logs: PathBuf,
}

impl Town {
    /// Builds it, with everybody talking.
    pub(super) fn build(binary: &Path, counting: &Path) -> Result<Self, Failure> {
        let mut net = Net::new("chaos")?;
        for (who, address) in PLACES {
            net.plug(who, address)?;
        }
        let homes = Scratch::new("chaos")?;
        let logs = target().join("chaos");
        fs::create_dir_all(&logs)?;
        for log in fs::read_dir(&logs)? {
            fs::remove_file(log?.path())?;
        }
        let disk = Disk::new(homes.path())?;
        let certificates = Certificates::make(homes.path())?;
        for clock in [Clock::Node, Clock::Dave] {
            fs::write(homes.path().join(format!("clock-{}", clock.name())), "+0\n")?;
        }
        let start = Start { net: &net, homes: homes.path(), binary, logs: &logs };
        let mut node = start.node(&disk, &certificates.good)?;
        let url = text(&node.until("ready")?, "url")?;
        let mut crowd = net.command("crowd", counting, &["--exact", "counting::a_crowd", "--nocapture"]);
        crowd.env("DSIP_COUNT_AT", &url);
        let mut crowd = Process::logging(crowd, log(&logs, "crowd")?)?;
        for (place, who) in [("alice", "alice"), ("bob", "bob"), ("alice", "carol"), ("bob", "dave")] {
            let mut made = start.phone(place, who, &["id", "new", "--no-passphrase", "--name", who])?;
            made.until("identity")?;
            made.ends_well(who)?;
        }
        let dave_did = text(&start.phone("bob", "dave", &["id", "show"])?.until("identity")?, "did")?;
        let mut dave = start.phone("bob", "dave", &["answer", "--auto", "accept", "--node", &url])?;
        dave.until("ready")?;
        crowd.until("gathered")?;
        let mut town = Self {
            node: Some(node),
            dave: Some(dave),
            crowd,
            talk: None,
            acknowledged: 0,
            url,
            dave_did,
            disk,
            certificates,
            net,
            homes,
            binary: binary.into(),
            logs,
        };
        town.begin_long_call()?;
        Ok(town)
    }

    fn start(&self) -> Start<'_> {
        Start { net: &self.net, homes: self.homes.path(), binary: &self.binary, logs: &self.logs }
    }

    // The node

    /// SIGKILL: no destructor runs, no buffer is written.
    pub(super) fn kill_node(&mut self) {
        self.node = None;
    }

    /// Starts the node; it has to be the one that everybody knows.
    pub(super) fn start_node(&mut self, served: Served) -> Outcome {
        let mut node = self.start().node(&self.disk, self.certificates.pair(served))?;
        let url = text(&node.until("ready")?, "url")?;
        if url != self.url {
            return Err(Failure::new(format!("the node was {} and is {url}", self.url)));
        }
        self.node = Some(node);
        Ok(())
    }

    /// Starts the node where it cannot work: it has to say so and end.
    pub(super) fn start_node_in_vain(&mut self) -> Outcome {
        let mut node = self.start().node(&self.disk, self.certificates.pair(Served::Good))?;
        node.until("failed")?;
        if node.ends_well("the node").is_ok() { Err(Failure::new("a node that failed ended with 0")) } else { Ok(()) }
    }

    /// Sends a signal to the node.
    pub(super) fn signal(&self, signal: &str) -> Outcome {
        let Some(node) = &self.node else { return Err(Failure::new("no node runs")) };
        self.net.run("kill", &[signal, &node.id().to_string()])
    }

    /// Memory the node has in hand, in KiB.
    pub(super) fn memory(&self) -> Result<u64, Failure> {
        let Some(node) = &self.node else { return Err(Failure::new("no node runs")) };
        let status = fs::read_to_string(format!("/proc/{}/status", node.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.ok_or_else(|| Failure::new("the node's memory cannot be read"))
    }

    // Clocks

    /// Whether clocks can be made to jump here.
    pub(super) fn has_clocks() -> bool {
        faketime().exists()
    }

    /// Sets a clock so many seconds off.
    pub(super) fn set_clock(&self, clock: Clock, seconds: i64) -> Outcome {
        // The reader may come in the middle of a write, but never of a rename.
        let path = self.homes.path().join(format!("clock-{}", clock.name()));
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, format!("{seconds:+}\n"))?;
        Ok(fs::rename(fresh, path)?)
    }

    // Phones

    /// Kills the phone that is called again and again, and starts it again.
    pub(super) fn restart_dave(&mut self) -> Outcome {
        self.dave = None;
        let mut dave = self.start().phone("bob", "dave", &["answer", "--auto", "accept", "--node", &self.url])?;
        dave.until("ready")?;
        self.dave = Some(dave);
        Ok(())
    }

    fn begin_long_call(&mut self) -> Outcome {
        let start = self.start();
        let did = text(&start.phone("bob", "bob", &["id", "show"])?.until("identity")?, "did")?;
        let answers = ["answer", "--auto", "accept", "--audio-in", "tone:330", "--node", &self.url];
        let mut bob = start.phone("bob", "bob", &answers)?;
        bob.until("ready")?;
        let calls = ["call", &did, "--audio-in", "tone:440", "--node", &self.url];
        let mut alice = start.phone("alice", "alice", &calls)?;
        alice.until("talking")?;
        bob.until("talking")?;
        self.talk = Some([alice, bob]);
        Ok(())
    }

    /// Carol calls Dave, who picks up; she hangs up after a second of sound.
    pub(super) fn short_call(&mut self) -> Outcome {
        let calls = ["call", &self.dave_did, "--duration", "1", "--audio-in", "tone:440", "--node", &self.url];
        // Dave's phone may be waiting before it dials a node that was away, and so not be there yet.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut carol = self.start().phone("alice", "carol", &calls)?;
            let talked = carol.until("talking").is_ok();
            let ended = carol.ends_well("carol");
            if talked && ended.is_ok() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(format!("no call comes about; carol was {}", carol.told())));
            }
        }
    }

    /// A caller who has nothing but the web's certificates to know the node by.
    pub(super) fn call_by_certificate(&self) -> Result<bool, Failure> {
        let (url, _) = self.url.split_once('#').unwrap_or((&self.url, ""));
        let ca = self.certificates.ca.display().to_string();
        let calls = ["--ca", &ca, "call", &self.dave_did, "--duration", "1", "--audio-in", "tone:440", "--node", url];
        let mut carol = self.start().phone("alice", "carol", &calls)?;
        carol.until("failed").map_or_else(|_| Ok(carol.ends_well("carol").is_ok()), |_| Ok(false))
    }

    // What has to hold

    /// No phone rang twice for one call, and the long call goes on.
    pub(super) fn check_calls(&mut self) -> Outcome {
        if let Some(dave) = &mut self.dave {
            let rings = dave.story().iter().filter(|line| is(line, "incoming"));
            let mut calls = rings.map(|line| text(line, "call")).collect::<Result<Vec<_>, _>>()?;
            let count = calls.len();
            calls.sort_unstable();
            calls.dedup();
            if calls.len() < count {
                return Err(Failure::new("dave's phone rang twice for one call"));
            }
            if !dave.runs() {
                return Err(Failure::new(format!("dave's phone is gone; {}", dave.told())));
            }
        }
        if let Some(talk) = &mut self.talk {
            for (who, phone) in ["alice", "bob"].into_iter().zip(talk) {
                let over = phone.story().iter().find(|line| is(line, "ended")).cloned();
                if let Some(over) = over {
                    return Err(Failure::new(format!("{who}'s call ended though both heard each other: {over}")));
                }
                if !phone.runs() {
                    return Err(Failure::new(format!("{who}'s phone is gone; {}", phone.told())));
                }
            }
        }
        let ended = self.node.as_mut().is_some_and(|node| !node.runs());
        if ended { Err(Failure::new("the node ended by itself")) } else { Ok(()) }
    }

    /// Everybody in the crowd begins to talk.
    pub(super) fn talk(&mut self) -> Outcome {
        self.crowd.tell("talk")
    }

    /// The crowd falls silent and counts: nothing that was vouched for is lost, nothing came out of order (the crowd ends at
    /// once if something does), and nothing came again that its recipient had acknowledged and its sender not said again.
    pub(super) fn settle(&mut self) -> Result<Count, Failure> {
        self.crowd.tell("settle")?;
        let settled = self.crowd.within(SETTLING, "settled")?;
        let member = |name| number(&settled, name);
        let count = Count { vouched: member("vouched")?, received: member("received")?, refused: member("refused")? };
        let (lost, again, acknowledged) = (member("lost")?, member("again")?, member("acknowledged")?);
        if lost > 0 {
            return Err(Failure::new(format!("{lost} envelopes were vouched for and lost")));
        }
        if again > 0 {
            return Err(Failure::new(format!("CUS-12: {again} envelopes were acknowledged and came again")));
        }
        if acknowledged <= self.acknowledged {
            return Err(Failure::new("CUS-12: nobody could acknowledge anything since the last fault"));
        }
        self.acknowledged = acknowledged;
        Ok(count)
    }

    /// Lets so many of a hundred packets vanish on their way to anybody.
    pub(super) fn lose(&self, percent: u32) -> Outcome {
        for (who, _) in PLACES {
            // Random loss by nftables rather than `tc netem`: the same coin, and every kernel that has namespaces has it.
            self.net.nft(who, "add table ip chaos; delete table ip chaos")?;
            if percent > 0 {
                let rule = format!(
                    "add table ip chaos; add chain ip chaos arrive {{ type filter hook input priority 0; }}; \
                     add rule ip chaos arrive iifname wan numgen random mod 100 < {percent} drop"
                );
                self.net.nft(who, &rule)?;
            }
        }
        Ok(())
    }

    /// Where the logs are.
    pub(super) fn logs(&self) -> &Path {
        &self.logs
    }
}

/// What the crowd has counted.
pub(super) struct Count {
    pub(super) vouched: u64,
    pub(super) received: u64,
    pub(super) refused: u64,
}

/// Starts programs.
struct Start<'a> {
    net: &'a Net,
    homes: &'a Path,
    binary: &'a Path,
    logs: &'a Path,
}

impl Start<'_> {
    fn node(&self, disk: &Disk, certificate: &Pair) -> Result<Process, Failure> {
        let home = disk.path.display().to_string();
        let (chain, key) = (certificate.chain.display().to_string(), certificate.key.display().to_string());
        let arguments = [
            "--home",
            &home,
            "--json",
            "node",
            "--listen",
            LISTEN,
            "--no-turn",
            "--certificate",
            &chain,
            "--key",
            &key,
        ];
        let mut command = self.net.command("node", self.binary, &arguments);
        self.set_clock(&mut command, "node");
        Process::logging(command, log(self.logs, "node")?)
    }

    fn phone(&self, place: &str, who: &str, arguments: &[&str]) -> Result<Process, Failure> {
        let home = self.homes.join(who).display().to_string();
        let mut all = vec!["--home", &home, "--json"];
        all.extend(arguments);
        let mut command = self.net.command(place, self.binary, &all);
        self.set_clock(&mut command, who);
        Process::logging(command, log(self.logs, who)?)
    }

    /// Lets a process have a clock of its own if there is one for it: what the wall says, not how time passes.
    fn set_clock(&self, command: &mut Command, who: &str) {
        command.env("DSIP_LOG", std::env::var("DSIP_LOG").unwrap_or_else(|_| "info".into()));
        let clock = self.homes.join(format!("clock-{who}"));
        if clock.exists() && Town::has_clocks() {
            command.env("LD_PRELOAD", faketime()).env("FAKETIME_TIMESTAMP_FILE", clock);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_CACHE_DURATION", "1");
        }
    }
}

/// What a process says beside its events; it is looked at when a run has failed.
fn log(logs: &Path, who: &str) -> Result<File, Failure> {
    Ok(File::options().create(true).append(true).open(logs.join(format!("{who}.log")))?)
}

/// The node's disk: small, and in a file, so that it can be filled and broken.
pub(super) struct Disk {
    path: PathBuf,
    image: PathBuf,
}

impl Disk {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let disk = Self { path: dir.join("disk"), image: dir.join("disk.img") };
        fs::create_dir_all(&disk.path)?;
        File::create(&disk.image)?.set_len(48 << 20)?;
        quietly(Command::new("mkfs.ext4").arg("-q").arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Outcome {
        quietly(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.path))
    }

    /// Leaves not a block free, as another program on the machine might.
    pub(super) fn fill(&self) -> Outcome {
        let mut filler = File::create(self.path.join("filler"))?;
        loop {
            match std::io::Write::write(&mut filler, &[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes room again.
    pub(super) fn clear(&self) -> Outcome {
        Ok(fs::remove_file(self.path.join("filler"))?)
    }

    /// What a kernel does with a disk that gives errors: nothing can be written any more, by those either who have files open.
    pub(super) fn break_down(&self) -> Outcome {
        quietly(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.path))
    }

    /// What an operator does then. Nobody may have files open.
    pub(super) fn repair(&self) -> Outcome {
        quietly(Command::new("umount").arg(&self.path))?;
        // 1 says that there was something to repair.
        let status = Command::new("e2fsck").arg("-pf").arg(&self.image).stdout(Stdio::null()).status()?;
        if !matches!(status.code(), Some(0 | 1)) {
            return Err(Failure::new(format!("the disk cannot be repaired ({status})")));
        }
        self.mount()
    }

    /// Mounts it for reading alone. Nobody may have files open.
    pub(super) fn set_read_only(&self, is: bool) -> Outcome {
        let how = if is { "remount,ro" } else { "remount,rw" };
        quietly(Command::new("mount").args(["-o", how]).arg(&self.path))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Best effort: what is left over is seen by `mount`.
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

/// A chain and its key.
pub(super) struct Pair {
    chain: PathBuf,
    key: PathBuf,
}

/// Two certificates for the node's address, from an authority that some trust.
pub(super) struct Certificates {
    ca: PathBuf,
    good: Pair,
    /// It was valid until some days ago.
    expired: Pair,
}

/// Which certificate the node shows to those who do not know its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// One that is valid.
    Good,
    /// One that was.
    Expired,
}

impl Certificates {
    fn make(dir: &Path) -> Result<Self, Failure> {
        let (ca, ca_key) = (dir.join("ca.pem"), dir.join("ca.key"));
        let key_of = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let mut make_ca = Command::new("openssl");
        make_ca.args(key_of).args(["-subj", "/CN=chaos", "-days", "30", "-keyout"]).arg(&ca_key).arg("-out").arg(&ca);
        quietly(&mut make_ca)?;
        let leaf = |name: &str, mut openssl: Command| -> Result<Pair, Failure> {
            let pair = Pair { chain: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
            openssl.args(key_of).args(["-subj", "/CN=203.0.113.2", "-days", "1", "-addext"]);
            openssl.args(["subjectAltName=IP:203.0.113.2", "-addext", "basicConstraints=critical,CA:FALSE"]);
            openssl.arg("-CA").arg(&ca).arg("-CAkey").arg(&ca_key);
            openssl.arg("-keyout").arg(&pair.key).arg("-out").arg(&pair.chain);
            quietly(&mut openssl)?;
            Ok(pair)
        };
        let good = leaf("good", Command::new("openssl"))?;
        let mut of_last_week = Command::new("faketime");
        of_last_week.args(["-f", "-7d", "openssl"]);
        let expired = leaf("expired", if Town::has_clocks() { of_last_week } else { Command::new("openssl") })?;
        Ok(Self { ca, good, expired })
    }

    fn pair(&self, served: Served) -> &Pair {
        match served {
            Served::Good => &self.good,
            Served::Expired => &self.expired,
        }
    }
}

/// Runs a program whose output nobody wants unless it fails.
fn quietly(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{command:?} failed: {}", why.trim())))
}
