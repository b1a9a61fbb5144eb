//! `dsip node`: what it prints, what it refuses, how it ends.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::{command, complaint, dsip, last_event};

#[test]
fn the_first_line_says_how_to_reach_it_and_a_signal_ends_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = ["node", "--listen", "127.0.0.1:0", "--json"];
    let mut dids = Vec::new();
    for _ in 0..2 {
        let mut node = command(dir.path(), &arguments).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(node.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let member = |name: &str| ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}")).to_owned();
        let authority = member("wss").trim_start_matches("wss://").trim_end_matches("/dsip").to_owned();
        TcpStream::connect(&authority).expect("somebody listens there already");
        assert_eq!(member("quic"), format!("quic://{authority}"));
        assert!(member("dht").starts_with("/ip4/127.0.0.1/tcp/") && member("dht").contains("/p2p/"));
        let certificate = std::fs::read_to_string(member("ca")).expect("the certificate");
        assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        let killed = std::process::Command::new("kill").arg(node.id().to_string()).status();
        assert!(killed.expect("kill runs").success());
        assert_eq!(node.wait().expect("it ended").code(), Some(0));
        dids.push(member("did"));
    }
    assert_eq!(dids[0], dids[1], "a node stays who it is");
}

/// sd_notify(3): what `Type=notify` waits for. Whoever asks then is answered.
#[test]
fn a_service_manager_is_told_when_it_can_be_reached_and_when_it_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("bound");
    let told = || {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).expect("told");
        String::from_utf8(text[..length].to_vec()).expect("text").trim().to_owned()
    };
    let mut node = command(dir.path(), &["node", "--listen", "127.0.0.1:0"]);
    let mut node = node.env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).spawn().expect("it starts");
    assert_eq!(told(), "READY=1");
    let status = dsip(dir.path(), &["node", "status"]);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    let killed = std::process::Command::new("kill").arg(node.id().to_string()).status();
    assert!(killed.expect("kill runs").success());
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(node.wait().expect("it ended").code(), Some(0));
}

/// The only way in which units and containers can say that something is not set.
#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let dir = tempfile::tempdir().expect("a directory");
    let nothing =
        ["DSIP_CLOSED", "DSIP_METRICS", "DSIP_HOST", "DSIP_MAX_CONNECTIONS", "DSIP_NODE", "DSIP_JSON", "DSIP_LOG"];
    let mut check = command(dir.path(), &["node", "check-config", "--json"]);
    let checked = check.envs(nothing.map(|name| (name, ""))).output().expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let settings = last_event(&checked)["settings"].as_array().expect("settings").clone();
    for setting in settings {
        assert_eq!(setting["from"], "default", "{setting}");
    }
    let mut shown = command(dir.path(), &["id", "show"]);
    let shown = shown.env("DSIP_LOG", "").env("DSIP_NODE", "").output().expect("it runs");
    assert!(!complaint(&shown).contains("a value is missing"), "{shown:?}");
}

#[test]
fn a_node_calls_itself_as_its_operator_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = ["node", "--listen", "127.0.0.1:0", "--host", "node.example", "--json"];
    let mut node = command(dir.path(), &arguments).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(node.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    node.kill().and_then(|()| node.wait()).expect("it ended");
    for address in ["wss://node.example:", "quic://node.example:", "/dns/node.example/tcp/", "stun:node.example:"] {
        assert!(line.contains(address), "{address} is not in {line}");
    }
}

#[test]
fn what_cannot_be_listened_on_or_joined_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    for (arguments, named) in [
        (&["node", "--listen", "somewhere"][..], "--listen"),
        (&["node", "--listen", "127.0.0.1:0", "--dht", "nowhere"], "--dht"),
        (&["node", "--listen", "127.0.0.1:0", "--certificate", "cert.pem"], "--key"),
        (&["node", "--listen", "127.0.0.1:0", "--config", "nowhere.toml"], "nowhere.toml"),
        (&["node", "--log", "loud=er=still"], "--log"),
        (&["node", "--listen", "192.0.2.1:7443"], "192.0.2.1:7443"),
        (&["node", "--host", "a b"], "--host"),
        (&["node", "--host", "http://node.example"], "--host"),
        (&["node", "--host="], "--host"),
        (&["node", "--max-connections", "0"], "--max-connections"),
        (&["node", "--turn-max-bandwidth", "0"], "--turn-max-bandwidth"),
        (&["node", "--turn-relay", "192.0.2.1,192.0.2.2"], "--turn-relay"),
    ] {
        let refused = dsip(dir.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let complaint = complaint(&refused);
        assert!(complaint.contains(named), "{complaint}");
    }
}

#[test]
fn switches_take_from_the_environment_what_people_write() {
    let dir = tempfile::tempdir().expect("a directory");
    for (value, outcome) in [("1", "true"), ("yes", "true"), ("TRUE", "true"), ("0", "false"), ("off", "false")] {
        let mut check = command(dir.path(), &["node", "check-config", "--json"]);
        let checked = check.env("DSIP_NO_TURN", value).output().expect("it runs");
        let settings = last_event(&checked)["settings"].clone();
        let setting = settings.as_array().and_then(|all| all.iter().find(|it| it["name"] == "no-turn"));
        assert_eq!(setting.map(|it| &it["values"]), Some(&json!([outcome])), "{checked:?}");
    }
    let refused =
        command(dir.path(), &["node", "check-config"]).env("DSIP_NO_TURN", "maybe").output().expect("it runs");
    assert!(complaint(&refused).contains("--no-turn"), "{refused:?}");
    // Whoever asked for JSON hears of mistakes in it.
    let refused = command(dir.path(), &["call"]).env("DSIP_JSON", "1").output().expect("it runs");
    assert_eq!(last_event(&refused)["event"], "failed");
}

#[test]
fn a_configuration_is_checked_without_starting_anything() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("my.toml");
    let path = file.to_str().expect("text");
    std::fs::write(&file, "listen = '127.0.0.1:7443'\nhost = ['node.example']\n").expect("written");
    let mut check = command(dir.path(), &["node", "--drain", "60", "check-config", "--config", path, "--json"]);
    let checked = check.env("DSIP_RETENTION", "48").output().expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let settings = &last_event(&checked)["settings"];
    for (name, values, from) in [
        ("listen", json!(["127.0.0.1:7443"]), "file"),
        ("host", json!(["node.example"]), "file"),
        ("drain", json!(["60"]), "flag"),
        ("retention", json!(["48"]), "environment"),
        ("max-invites", json!(["120"]), "default"),
        ("metrics", json!([]), "default"),
    ] {
        let setting = settings.as_array().expect("a list").iter().find(|setting| setting["name"] == name);
        let setting = setting.unwrap_or_else(|| panic!("no {name} in {settings}"));
        assert_eq!((&setting["values"], &setting["from"]), (&values, &json!(from)), "{name}");
    }
    assert!(!dir.path().join("node").exists(), "looking leaves nothing behind");

    // What it prints without --json is a file that says the same.
    let printed = command(dir.path(), &["node", "--config", path, "--drain", "60", "check-config"]).output();
    std::fs::write(&file, printed.expect("it runs").stdout).expect("written");
    let again = dsip(dir.path(), &["node", "check-config", "--config", path, "--json"]);
    let drain =
        last_event(&again)["settings"].as_array().expect("a list").iter().find(|it| it["name"] == "drain").cloned();
    assert_eq!(drain, Some(json!({"name": "drain", "values": ["60"], "from": "file"})));
}

#[test]
fn the_file_in_the_home_is_read_and_its_mistakes_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("node")).expect("made");
    let file = dir.path().join("node/node.toml");
    for (text, named) in [
        ("listen = 'somewhere'\n", "node.toml:1: listen"),
        ("# mine\nlisten_on = '127.0.0.1:1'\n", "node.toml:2"),
        ("certificate = 'cert.pem'\n", "--key"),
        ("listen = '127.0.0.1:7443'\nmetrics = '127.0.0.1:7443'\n", "127.0.0.1:7443"),
        ("listen = '0.0.0.0:7443'\nmetrics = '127.0.0.1:7443'\n", "127.0.0.1:7443"),
    ] {
        std::fs::write(&file, text).expect("written");
        for arguments in [&["node"][..], &["node", "check-config"]] {
            let refused = dsip(dir.path(), arguments);
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            let complaint = complaint(&refused);
            assert!(complaint.contains(named), "{complaint}");
        }
    }
    // Nobody but the node reads it.
    assert_eq!(dsip(dir.path(), &["demo", "--help"]).status.code(), Some(0));
}

#[test]
fn what_a_node_logs_is_one_object_per_line_if_so_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = ["node", "--listen", "127.0.0.1:0", "--log-format", "json", "--json"];
    let mut node =
        command(dir.path(), &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(node.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let killed = std::process::Command::new("kill").arg(node.id().to_string()).status();
    assert!(killed.expect("kill runs").success());
    let logged = node.wait_with_output().expect("it ended").stderr;
    let logged = String::from_utf8(logged).expect("text");
    let events: Vec<Value> = logged.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(events.iter().any(|event| event["message"] == "node started" && event["level"] == "INFO"), "{logged}");
    assert!(events.iter().any(|event| event["message"] == "node stopped"), "{logged}");
}

/// A node that ends with the test.
struct Running {
    process: Child,
    url: String,
}

impl Running {
    fn start(home: &Path, arguments: &[&str]) -> Self {
        let all = [&["node", "--listen", "127.0.0.1:0", "--json"], arguments].concat();
        let mut process = command(home, &all).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        Self { process, url: ready["url"].as_str().expect("a URL").to_owned() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_operator_invites_blocks_and_drains() {
    let dir = tempfile::tempdir().expect("a directory");
    let (home, alice) = (dir.path().join("node"), dir.path().join("alice"));
    let admin = |arguments: &[&str]| dsip(&home, &[&["node"], arguments, &["--json"]].concat());
    let alone = admin(&["status"]);
    assert_eq!(alone.status.code(), Some(3));
    assert!(complaint(&alone).contains("no node runs there"), "{alone:?}");

    let mut node = Running::start(&home, &["--closed"]);
    assert_eq!(last_event(&admin(&["status"]))["closed"], true);
    assert_eq!(dsip(&alice, &["id", "new", "--no-passphrase"]).status.code(), Some(0));
    let did = last_event(&dsip(&alice, &["id", "show", "--json"]))["did"].as_str().expect("a DID").to_owned();
    let code = last_event(&admin(&["invite"]))["code"].as_str().expect("a code").to_owned();
    let refused = dsip(&alice, &["join", "no-such-code", "--node", &node.url]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    let joined = dsip(&alice, &["join", &code, "--node", &node.url, "--json"]);
    assert_eq!(last_event(&joined), json!({ "event": "joined", "did": did }));
    assert_eq!(last_event(&admin(&["member", "list"]))["did"], json!(did));

    assert_eq!(last_event(&admin(&["block", &did, "--for", "2"]))["changed"], true);
    assert_eq!(last_event(&admin(&["blocked"]))["who"], json!(did));
    let wrong = admin(&["block", "192.0.2.1/24"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(complaint(&wrong).contains("192.0.2.0/24"), "{wrong:?}");
    assert_eq!(last_event(&admin(&["limits", "--max-invites", "7"]))["max-invites"], 7);

    assert_eq!(admin(&["drain"]).status.code(), Some(0));
    assert_eq!(node.process.wait().expect("it ended").code(), Some(0));
}
