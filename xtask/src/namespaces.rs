//! Machines made of network namespaces, on one wire, and programs that run on them. Needs root.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::shell::{Failure, Outcome};

/// How long anything may take before it counts as failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Namespaces and the wires between them. Dropping it takes all of them down.
pub(crate) struct Net {
    prefix: String,
    names: Vec<&'static str>,
}

impl Net {
    /// The public wire, with nobody on it.
    pub(crate) fn new(purpose: &str) -> Result<Self, Failure> {
        let mut net = Self { prefix: format!("dsip{purpose}{}-", std::process::id()), names: Vec::new() };
        net.host("wire")?;
        net.ip("wire", "link add br0 type bridge")?;
        net.ip("wire", "link set br0 up")?;
        Ok(net)
    }

    /// A machine on the public wire.
    pub(crate) fn plug(&mut self, who: &'static str, address: &str) -> Outcome {
        self.host(who)?;
        self.wire_up(who, "wire", &format!("p-{who}"))?;
        self.ip("wire", &format!("link set p-{who} master br0"))?;
        self.ip("wire", &format!("link set p-{who} up"))?;
        self.ip(who, &format!("addr add {address} dev wan"))?;
        self.ip(who, "link set wan up")
    }

    pub(crate) fn host(&mut self, who: &'static str) -> Outcome {
        self.run("ip", &["netns", "add", &self.name(who)])?;
        self.names.push(who);
        self.ip(who, "link set lo up")
    }

    pub(crate) fn wire_up(&self, who: &str, other: &str, port: &str) -> Outcome {
        let other = self.name(other);
        self.ip(who, &format!("link add wan type veth peer name {port} netns {other}"))
    }

    pub(crate) fn ip(&self, who: &str, arguments: &str) -> Outcome {
        let name = self.name(who);
        let mut all = vec!["-n", &name];
        all.extend(arguments.split(' '));
        self.run("ip", &all)
    }

    pub(crate) fn nft(&self, who: &str, rules: &str) -> Outcome {
        self.on(who, "nft", &[rules])
    }

    /// Runs a program on that machine, to its end.
    pub(crate) fn on(&self, who: &str, program: &str, arguments: &[&str]) -> Outcome {
        let mut all = vec!["netns", "exec"];
        let name = self.name(who);
        all.extend([name.as_str(), program]);
        all.extend(arguments);
        self.run("ip", &all)
    }

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        let status = Command::new(program).args(arguments).status()?;
        let shown = arguments.join(" ");
        if status.success() { Ok(()) } else { Err(Failure::new(format!("`{program} {shown}` failed; are you root?"))) }
    }

    pub(crate) fn inside(&self, who: &str, binary: &Path, arguments: &[&str]) -> Result<Process, Failure> {
        Process::start(self.command(who, binary, arguments))
    }

    /// A program about to run on that machine. `nsenter` becomes the program, so that it can be killed by its own number,
    /// and leaves it the mounts that everybody sees, so that they can be taken away.
    pub(crate) fn command(&self, who: &str, binary: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name(who))).arg(binary).args(arguments);
        command
    }

    fn name(&self, who: &str) -> String {
        format!("{}{who}", self.prefix)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for who in &self.names {
            // Best effort: what is left over is seen by `ip netns`.
            let _ = Command::new("ip").args(["netns", "del", &self.name(who)]).status();
        }
    }
}

/// A `dsip` under way, and the events it tells.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    told: Vec<String>,
}

impl Process {
    /// Starts it. Whoever sets a log filter wants to see the logs; complaints are in the events anyway.
    pub(crate) fn start(command: Command) -> Result<Self, Failure> {
        let logs = if std::env::var_os("DSIP_LOG").is_some() { Stdio::inherit() } else { Stdio::null() };
        Self::logging(command, logs)
    }

    /// Starts it, with its logs elsewhere.
    pub(crate) fn logging(mut command: Command, logs: impl Into<Stdio>) -> Result<Self, Failure> {
        for name in ["DSIP_HOME", "DSIP_NODE", "DSIP_DHT", "DSIP_CA", "DSIP_STUN", "DSIP_JSON"] {
            command.env_remove(name);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(logs).spawn()?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { child, lines, told: Vec::new() })
    }

    /// Waits for the next event of that name.
    pub(crate) fn until(&mut self, event: &str) -> Result<String, Failure> {
        self.within(PATIENCE, event)
    }

    /// Waits for the next event of that name, but no longer than that.
    pub(crate) fn within(&mut self, patience: Duration, event: &str) -> Result<String, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.told.push(line.clone());
                    if is(&line, event) {
                        return Ok(line);
                    }
                }
                Err(_) => return Err(Failure::new(format!("no {event:?}; {}", self.told()))),
            }
        }
    }

    /// Everything it told until now.
    pub(crate) fn story(&mut self) -> &[String] {
        self.told.extend(self.lines.try_iter());
        &self.told
    }

    /// Tells it something on its standard input.
    pub(crate) fn tell(&mut self, line: &str) -> Outcome {
        let stdin = self.child.stdin.as_mut().ok_or_else(|| Failure::new("nobody listens to its standard input"))?;
        Ok(writeln!(stdin, "{line}")?)
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn ends_well(&mut self, who: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() { Ok(()) } else { Err(Failure::new(format!("{who} ended with {status}"))) };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(Failure::new(format!("{who} does not end")))
    }

    /// The last things it told, for a failure.
    pub(crate) fn told(&self) -> String {
        let from = self.told.len().saturating_sub(3);
        format!("last told: {}", self.told[from..].join(" "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that goes when it is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(purpose: &str) -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("dsip-{purpose}-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a line tells the event of that name.
pub(crate) fn is(line: &str, event: &str) -> bool {
    line.contains(&format!("\"event\":\"{event}\""))
}

/// A string member of a one-line JSON object, none of whose strings hold escapes.
pub(crate) fn text(line: &str, name: &str) -> Result<String, Failure> {
    let value = line.split(&format!("\"{name}\":\"")).nth(1).and_then(|rest| rest.split('"').next());
    value.map(str::to_owned).ok_or_else(|| Failure::new(format!("no {name:?} in {line}")))
}

/// A number member of a one-line JSON object.
pub(crate) fn number(line: &str, name: &str) -> Result<u64, Failure> {
    let rest = line.split(&format!("\"{name}\":")).nth(1).unwrap_or_default();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| Failure::new(format!("no number {name:?} in {line}")))
}
