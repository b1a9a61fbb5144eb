//! `dsip load`: that it delivers what it says it sends, over both bindings, and tells about it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::{command, complaint, dsip, last_event};

/// A node in a process of its own.
struct Node {
    process: Child,
    url: String,
    metrics: String,
}

impl Node {
    fn start(home: &Path) -> Self {
        let mut process = command(home, &["node", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let text = |name: &str| ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {ready}")).to_owned();
        Self { url: text("url"), metrics: text("metrics"), process }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A load that is over soon, patient with a machine that is busy.
const SMALL: [&str; 14] = [
    "--devices",
    "6",
    "--calls",
    "25",
    "--ramp",
    "0.5",
    "--ring",
    "0.1",
    "--hold",
    "0.3",
    "--away",
    "0.3",
    "--deadline",
    "60",
];

#[test]
fn everything_sent_arrives_and_the_report_is_well_formed() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    let (page, histograms) = (dir.path().join("load.html"), dir.path().join("histograms"));
    let [page, histograms] = [&page, &histograms].map(|path| path.to_str().expect("a path"));
    let mut arguments = vec!["load", "--json", "--node", &node.url, "--duration", "2", "--seed", "5"];
    arguments.extend(SMALL);
    arguments.extend(["--mix", "call=4,cancelled=2,declined=2,introduction=1,info=3,away=3"]);
    arguments.extend(["--report", page, "--histograms", histograms, "--metrics", &node.metrics]);
    let output = dsip(dir.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let summary = last_event(&output);
    assert_eq!(summary["event"], "summary");
    let count = |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}"));
    assert!(count("sent") > 50, "{summary}");
    assert_eq!(count("sent"), count("arrived"), "{summary}");
    for none in ["lost", "refused", "unsent", "unexpected", "altered"] {
        assert_eq!(count(none), 0, "{none}: {summary}");
    }
    assert_eq!(summary["devices"]["bound"], 8, "six, and two that come and go: {summary}");
    assert_eq!(summary["devices"]["over"], serde_json::json!([4, 4]), "every other one over QUIC: {summary}");
    let rows = summary["messages"].as_array().expect("rows");
    let flows: Vec<&str> = rows.iter().filter_map(|row| row["flow"].as_str()).collect();
    let all = ["invite", "ringing", "answer", "reject", "cancel", "bye", "introduction", "info", "stored"];
    assert_eq!(flows, all, "{summary}");
    for row in rows {
        assert_eq!(row["latency"]["count"], row["arrived"], "every arrival has a latency: {row}");
    }
    let played = summary["exchanges"].as_array().expect("exchanges");
    assert!(played.iter().all(|one| one["broken"] == 0), "{summary}");
    assert!(summary["setup"]["count"].as_u64().is_some_and(|calls| calls > 0), "{summary}");
    let text = String::from_utf8(output.stdout).expect("text");
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert!(events.into_iter().any(|event| event["event"] == "progress"), "{text}");

    let page = std::fs::read_to_string(page).expect("a page");
    assert_eq!(page.matches("<svg").count(), 5);
    let memory = |name: &str| summary["memory"][name].as_u64().unwrap_or_default();
    assert!(memory("first") > 1 << 20, "a node needs more than a MiB: {summary}");
    assert!(memory("most") >= memory("first").max(memory("last")), "{summary}");
    for none in ["NaN", "inf,", "inf\"", "inf "] {
        assert!(!page.contains(none), "a number that is none");
    }
    assert!(!page.contains("http"), "it needs nothing from elsewhere");
    balanced(&page);
    for file in ["latency.hlog", "invite.hgrm", "stored.hgrm", "setup.hgrm", "lateness.hgrm"] {
        let text = std::fs::read_to_string(Path::new(histograms).join(file)).expect(file);
        assert!(text.lines().count() > 4, "{file}: {text}");
    }
}

/// Every element is closed, in order.
fn balanced(page: &str) {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        if tag.starts_with('!') || tag.ends_with('/') {
            continue;
        }
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "in {open:?}"),
            None => open.push(tag.split_whitespace().next().expect("a name")),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_signal_ends_it_early_and_it_reports_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    let mut arguments = vec!["load", "--json", "--node", &node.url, "--duration", "600", "--transport", "ws"];
    arguments.extend(SMALL);
    let mut load = command(dir.path(), &arguments).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(load.stdout.take().expect("piped")).lines().map(|line| line.expect("text"));
    let first: Value = serde_json::from_str(&lines.next().expect("a line")).expect("JSON");
    assert_eq!(first["event"], "progress");
    let told = std::process::Command::new("kill").args(["-INT", &load.id().to_string()]).status();
    assert!(told.expect("kill runs").success());
    let summary: Value = serde_json::from_str(&lines.last().expect("a summary")).expect("JSON");
    assert_eq!(load.wait().expect("it ended").code(), Some(0), "{summary}");
    assert_eq!((&summary["event"], &summary["stopped"]), (&"summary".into(), &true.into()));
    assert_eq!(summary["sent"], summary["arrived"], "what was on its way arrived: {summary}");
    assert_eq!(summary["devices"]["over"][1], 0, "{summary}");
}

#[test]
fn what_the_node_refuses_is_told_by_reason_and_is_no_failure() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    // Two strangers may introduce themselves eight times each, and these do so more often.
    let arguments = ["load", "--json", "--node", &node.url, "--duration", "2", "--ramp", "0", "--transport", "ws"];
    let more = ["--devices", "2", "--calls", "60", "--mix", "introduction=1", "--deadline", "60"];
    let output = dsip(dir.path(), &[&arguments[..], &more[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let summary = last_event(&output);
    assert_eq!(summary["arrived"], 16, "{summary}");
    assert_eq!(summary["faults"][0]["reason"], "policy.rate-limited", "{summary}");
    assert_eq!(summary["faults"][0]["count"], summary["refused"], "{summary}");
    assert_eq!(summary["lost"], 0, "{summary}");
}

#[test]
fn mistakes_are_one_line_with_a_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let nobody = "wss://127.0.0.1:9/dsip";
    for (arguments, named, code) in [
        (&["load"][..], "--node", 2),
        (&["load", "--node", nobody], "127.0.0.1:9", 5),
        (&["load", "--node", nobody, "--mix", "calls=1"], "--mix", 2),
        (&["load", "--node", nobody, "--devices", "1"], "--devices", 2),
        (&["load", "--node", nobody, "--devices", "100000000"], "--devices", 2),
        (&["load", "--node", nobody, "--calls", "0"], "--calls", 2),
        (&["load", "--node", nobody, "--metrics", "here"], "--metrics", 2),
        (&["load", "--node", nobody, "--report", "/nowhere/page.html"], "/nowhere/page.html", 2),
    ] {
        let output = dsip(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        let complaint = complaint(&output);
        assert!(complaint.contains(named), "{complaint}");
    }
}
