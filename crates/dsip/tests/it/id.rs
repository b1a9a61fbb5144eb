//! `dsip id`: identities, devices, delegations, links.

use std::fs;

use crate::{complaint, dsip, last_event};

#[test]
fn an_identity_is_made_once_and_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("home");
    let missing = dsip(&home, &["id", "show"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(complaint(&missing).contains("dsip id new"));
    let made = dsip(&home, &["id", "new", "--name", "Alice", "--no-passphrase", "--json"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let shown = dsip(&home, &["id", "show", "--json"]);
    let shown = last_event(&shown);
    assert_eq!(shown, last_event(&made));
    assert_eq!(shown["name"], "Alice");
    assert_eq!(shown["delegations"][0]["subject"], shown["did"]);
    assert_eq!(shown["delegations"][0]["device"], shown["device"]);
    let again = dsip(&home, &["id", "new", "--no-passphrase"]);
    assert_eq!(again.status.code(), Some(3));
    assert!(complaint(&again).contains("not overwritten"));
    assert_eq!(last_event(&dsip(&home, &["id", "show", "--json"])), shown);
}

#[test]
fn without_a_terminal_a_passphrase_has_to_be_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("home");
    let refused = dsip(&home, &["id", "new"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(complaint(&refused).contains("--no-passphrase"));
    let (right, wrong) = (dir.path().join("right"), dir.path().join("wrong"));
    fs::write(&right, "correct horse\n").expect("written");
    fs::write(&wrong, "battery staple\n").expect("written");
    let (right, wrong) = (right.to_string_lossy(), wrong.to_string_lossy());
    assert!(dsip(&home, &["id", "new", "--passphrase-file", &right]).status.success());
    let shut = dsip(&home, &["id", "delegate", "--passphrase-file", &wrong]);
    assert_eq!(shut.status.code(), Some(3));
    assert!(complaint(&shut).contains("identity.key"));
    assert!(dsip(&home, &["id", "delegate", "--passphrase-file", &right]).status.success());
}

#[test]
fn a_second_device_joins_by_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (phone, laptop) = (dir.path().join("phone"), dir.path().join("laptop"));
    let alice = last_event(&dsip(&phone, &["id", "new", "--no-passphrase", "--json"]));
    let alone = last_event(&dsip(&laptop, &["id", "new", "--device-only", "--json"]));
    assert!(alone["did"].is_null());
    assert_eq!(dsip(&laptop, &["id", "qr"]).status.code(), Some(3), "nobody to link to yet");
    let device = alone["device"].as_str().expect("a device");
    let refused = dsip(&phone, &["id", "delegate", "did:web:example.org"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(complaint(&refused).contains("DEVICE"));
    for (flags, name) in [(&[][..], "plain"), (&["--json"][..], "json")] {
        let delegation = dsip(&phone, &[&["id", "delegate", device], flags].concat());
        fs::write(dir.path().join(name), &delegation.stdout).expect("written");
        let file = dir.path().join(name);
        let joined = dsip(&laptop, &["id", "import", &file.to_string_lossy(), "--json"]);
        assert_eq!(last_event(&joined)["did"], alice["did"], "{name}");
    }
    let file = dir.path().join("plain");
    let stranger = dsip(&phone, &["id", "import", &file.to_string_lossy()]);
    assert_eq!(stranger.status.code(), Some(3));
    assert!(complaint(&stranger).contains(device));
}

#[test]
fn a_qr_code_holds_the_link_and_the_link_says_where() {
    let dir = tempfile::tempdir().expect("a directory");
    let me = last_event(&dsip(dir.path(), &["id", "new", "--no-passphrase", "--json"]));
    let did = me["did"].as_str().expect("a DID");
    let node = format!("wss://192.0.2.7:7443/dsip#{did}");
    let link = last_event(&dsip(dir.path(), &["id", "qr", "--node", &node, "--json"]));
    assert_eq!(link["web"], format!("https://192.0.2.7:7443/#{}", link["link"].as_str().expect("a link")));
    let link: dsip_proto::link::Link = link["link"].as_str().expect("a link").parse().expect("a valid one");
    assert_eq!(link.did.as_str(), did);
    assert_eq!(link.nodes[0].uri, "wss://192.0.2.7:7443/dsip");
    assert_eq!(link.nodes[0].did, Some(link.did));
    let bare = last_event(&dsip(dir.path(), &["id", "qr", "--node", &node, "--bare", "--json"]));
    assert_eq!(bare["link"], format!("dsip:{did}"));
    assert!(bare["web"].is_null(), "without a node there is no page");
    let picture = dsip(dir.path(), &["id", "qr"]);
    assert!(String::from_utf8_lossy(&picture.stdout).contains('█'));
}

#[test]
fn an_ephemeral_identity_is_a_home_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let where_to = dir.path().join("once");
    let made = last_event(&dsip(dir.path(), &["id", "ephemeral", &where_to.to_string_lossy(), "--json"]));
    assert_eq!(made["did"], made["device"]);
    assert_eq!(last_event(&dsip(&where_to, &["id", "show", "--json"])), made);
}

#[cfg(unix)]
#[test]
fn no_secret_is_printed_and_none_lies_open() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("home");
    let outputs = [
        dsip(&home, &["id", "new", "--no-passphrase"]),
        dsip(&home, &["id", "show", "--json"]),
        dsip(&home, &["id", "delegate"]),
        dsip(&home, &["id", "qr"]),
    ];
    let said: Vec<u8> = outputs.iter().flat_map(|output| [&output.stdout[..], &output.stderr[..]].concat()).collect();
    let said = String::from_utf8_lossy(&said).into_owned();
    let unlock = fs::read_to_string(home.join("unlock")).expect("there");
    let device = fs::read_to_string(home.join("device.key")).expect("there");
    let secret = device.split("\"secret\": \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a secret");
    assert!(!said.contains(unlock.trim()) && !said.contains(secret));
    for file in ["unlock", "device.key", "identity.key"] {
        let mode = fs::metadata(home.join(file)).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }
    fs::set_permissions(home.join("unlock"), fs::Permissions::from_mode(0o644)).expect("opened up");
    let exposed = dsip(&home, &["id", "delegate"]);
    assert_eq!(exposed.status.code(), Some(3));
    assert!(complaint(&exposed).contains("chmod 600"));
}

#[test]
fn what_can_be_none_is_refused_where_it_is_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("home");
    let me = last_event(&dsip(&home, &["id", "new", "--no-passphrase", "--json"]));
    let me = me["did"].as_str().expect("a DID").to_owned();
    let node = ["--node", "wss://127.0.0.1:1/dsip"];
    let long = "x".repeat(3_000);
    for (arguments, named) in [
        (&["join", " "][..], "<CODE>"),
        (&["join", &long], "<CODE>"),
        (&["introduce", &me, "--purpose", &long], "--purpose"),
        (&["introduce", &me, "--token", &long], "--token"),
        (&["publish", "somewhere"], "<URI>"),
        (&["call", &me], "TARGET"),
    ] {
        let refused = dsip(&home, &[&node[..], arguments].concat());
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let complaint = complaint(&refused);
        assert!(complaint.contains(named) && complaint.len() < 300, "{complaint}");
    }
}
