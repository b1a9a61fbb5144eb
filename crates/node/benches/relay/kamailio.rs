//! The same call through Kamailio: a SIP proxy that many operators run, with TLS on both sides, and SIPp as the callers.
//!
//! ```text
//! SIPp (UAC) ── TCP ── stunnel ══ TLS ══ Kamailio ══ TLS ══ stunnel ── TCP ── SIPp (UAS)
//! ```
//!
//! Debian's SIPp has no TLS, so stunnel lends it some; its processor time is not counted, and neither is SIPp's. Kamailio keeps
//! transactions (`tm`) and relays INVITE, 180, 200, ACK, BYE and 200 to one place: it looks up nobody and authenticates nobody.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls that are under way at one time, and that are made in one measurement.
const AT_ONCE: usize = super::IN_FLIGHT * 20;
const CALLS: u32 = 5_000;

/// More than it can do, so that [`AT_ONCE`] is what limits it.
const CALLS_PER_SECOND: u32 = 10_000;

/// Calls per second of Kamailio's processor time; nothing if one of the programs is missing.
pub(super) fn calls_per_second() -> Option<f64> {
    let home = tempfile::tempdir().expect("a directory");
    let [proxy, callee, to_proxy, to_callee] = [(); 4].map(|()| free_port());
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(home.path().join("cert.pem"), certificate.cert.pem()).expect("written");
    fs::write(home.path().join("key.pem"), certificate.signing_key.serialize_pem()).expect("written");
    let config = home.path().join("kamailio.cfg");
    fs::write(&config, kamailio(home.path(), proxy, to_callee)).expect("written");
    let tunnel = home.path().join("stunnel.conf");
    fs::write(&tunnel, stunnel(home.path(), [to_proxy, proxy], [to_callee, callee])).expect("written");

    let config = config.display().to_string();
    let pid_file = home.path().join("kamailio.pid").display().to_string();
    let server =
        start("kamailio", home.path(), &["-f", &config, "-DD", "-E", "-P", &pid_file, "-m", "1024", "-M", "16"])?;
    let _tunnel = start("stunnel", home.path(), &[&tunnel.display().to_string()])?;
    let tcp = ["-i", "127.0.0.1", "-t", "t1", "-nostdin"];
    let port = callee.to_string();
    let _callee = start("sipp", home.path(), &[&["-sn", "uas", "-p", &port], &tcp[..]].concat())?;
    for port in [proxy, to_proxy, to_callee, callee] {
        await_listener(port);
    }

    let before = server.processor();
    let [to_proxy, proxy] = [to_proxy, proxy].map(|port| format!("127.0.0.1:{port}"));
    let [rate, at_once, calls] = [CALLS_PER_SECOND, AT_ONCE as u32, CALLS].map(|number| number.to_string());
    let own_port = free_port().to_string();
    let amount =
        ["-sn", "uac", "-r", &rate, "-l", &at_once, "-m", &calls, "-d", "0", "-p", &own_port, "-rsa", &to_proxy];
    let mut caller = start("sipp", home.path(), &[&amount[..], &tcp, &[&proxy]].concat())?;
    let ended = caller.0.wait().expect("waited for");
    let log = || fs::read_to_string(home.path().join("log")).unwrap_or_default();
    assert!(ended.success(), "SIPp ended with {ended}; they all said:\n{}", log());
    Some(f64::from(CALLS) / (server.processor() - before).as_secs_f64())
}

fn kamailio(home: &Path, port: u16, to_callee: u16) -> String {
    let mut text = format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nfork=yes\nchildren=1\ntcp_children=1\nenable_tls=yes\n\
         listen=tls:127.0.0.1:{port}\n"
    );
    for module in ["tm", "sl", "pv", "maxfwd", "tls"] {
        writeln!(text, "loadmodule \"{module}.so\"").expect("written");
    }
    for (name, file) in [("private_key", "key.pem"), ("certificate", "cert.pem")] {
        writeln!(text, "modparam(\"tls\", \"{name}\", \"{}\")", home.join(file).display()).expect("written");
    }
    text + &format!(
        "modparam(\"tls\", \"tls_method\", \"TLSv1.2+\")\n\
         modparam(\"tls\", \"con_ct_wq_max\", 4194304)\nrequest_route {{\n\
         if (!mf_process_maxfwd_header(\"10\")) {{ sl_send_reply(\"483\", \"Too Many Hops\"); exit; }}\n\
         t_relay_to_tls(\"127.0.0.1\", \"{to_callee}\");\n}}\n"
    )
}

fn stunnel(home: &Path, caller: [u16; 2], callee: [u16; 2]) -> String {
    let (cert, key) = (home.join("cert.pem"), home.join("key.pem"));
    format!(
        "foreground = yes\npid =\ndebug = err\n\
         [caller]\nclient = yes\naccept = 127.0.0.1:{}\nconnect = 127.0.0.1:{}\n\
         [callee]\naccept = 127.0.0.1:{}\nconnect = 127.0.0.1:{}\ncert = {}\nkey = {}\n",
        caller[0],
        caller[1],
        callee[0],
        callee[1],
        cert.display(),
        key.display()
    )
}

/// A program and its children; ended when dropped.
struct Running(Child);

fn start(program: &str, home: &Path, arguments: &[&str]) -> Option<Running> {
    let log = OpenOptions::new().create(true).append(true).open(home.join("log")).expect("a file");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    match command.spawn() {
        Ok(child) => Some(Running(child)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{program}: {error}"),
    }
}

impl Running {
    /// Processor time that it and its children have had.
    fn processor(&self) -> Duration {
        let own = self.0.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).expect("it runs");
        let children = children.split_whitespace().map(|pid| pid.parse().expect("a number"));
        children.chain([own]).map(super::processor).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Kamailio's first process takes the others with it, if it is asked to.
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        self.0.wait().ok();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// Waits until somebody listens there. Nobody connects to find out: SIPp would take it for its peer.
fn await_listener(port: u16) {
    let until = Instant::now() + Duration::from_secs(10);
    let listening = format!("0100007F:{port:04X} 00000000:0000 0A");
    while !fs::read_to_string("/proc/net/tcp").expect("known to the kernel").contains(&listening) {
        assert!(Instant::now() < until, "nobody listens on port {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
