//! `dsip node`: what it prints, what it refuses, how it ends.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::Value;

use crate::{command, complaint, dsip};

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
        (&["node", "--listen", "192.0.2.1:7443"], "192.0.2.1:7443"),
    ] {
        let refused = dsip(dir.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let complaint = complaint(&refused);
        assert!(complaint.contains(named), "{complaint}");
    }
}
