//! A browser that a test looks into, by the protocol of its developer tools.

use std::process::Stdio;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Whether chromium is there. Continuous integration must have it.
pub(crate) fn has_chromium() -> bool {
    let has = std::process::Command::new("chromium").arg("--version").stdout(Stdio::null()).status().is_ok();
    assert!(has || std::env::var_os("CI").is_none(), "chromium is missing: apt-get install chromium");
    has
}

/// A browser with one tab. It lets certificates pass that nobody vouches for, as its user would.
pub(crate) struct Chromium {
    process: Child,
    tools: WebSocketStream<TcpStream>,
    asked: u64,
    session: Option<Value>,
    /// What the tools told without being asked.
    pub(crate) told: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Chromium {
    pub(crate) async fn open() -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        let mut process = Command::new("chromium");
        process.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]);
        process.args(["--no-first-run", "--ignore-certificate-errors", "--remote-debugging-port=0"]);
        process.arg(format!("--user-data-dir={}", profile.path().display()));
        process.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = process.spawn().expect("started");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let url = loop {
            let line = lines.next_line().await.expect("read").expect("it says where its tools are");
            if let Some(url) = line.strip_prefix("DevTools listening on ") {
                break url.to_owned();
            }
        };
        // It would block if nobody read what it says.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let at = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).expect("an address");
        let tcp = TcpStream::connect(at).await.expect("connected");
        let (tools, _) = tokio_tungstenite::client_async(&url, tcp).await.expect("upgraded");
        let mut browser = Self { process, tools, asked: 0, session: None, told: Vec::new(), _profile: profile };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"})).await["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        browser.session = Some(attached["sessionId"].clone());
        for domain in ["Page", "Network", "Log", "Runtime", "Audits"] {
            browser.ask(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// Opens a page, and returns when it and all it names are loaded.
    pub(crate) async fn visit(&mut self, url: &str) {
        let gone = self.ask("Page.navigate", json!({"url": url})).await;
        assert_eq!(gone["errorText"], Value::Null, "{url}");
        while !self.told.iter().any(|told| told["method"] == "Page.loadEventFired") {
            self.hear().await;
        }
    }

    /// What a script in the page comes to.
    pub(crate) async fn eval(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let came = self.ask("Runtime.evaluate", params).await;
        assert_eq!(came["exceptionDetails"], Value::Null, "{script}");
        came["result"]["value"].clone()
    }

    /// What it told by this name.
    pub(crate) fn told(&self, method: &str) -> impl Iterator<Item = &Value> {
        self.told.iter().filter(move |told| told["method"] == method).map(|told| &told["params"])
    }

    /// All of its processes end with the first, and then nobody writes into the profile any more.
    pub(crate) async fn close(mut self) {
        self.process.kill().await.expect("ended");
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let (id, mut question) = (self.asked, json!({"id": self.asked, "method": method, "params": params}));
        if let Some(session) = &self.session {
            question["sessionId"] = session.clone();
        }
        self.tools.send(Message::text(question.to_string())).await.expect("asked");
        loop {
            if let Some(mut answer) = self.hear().await.filter(|answer| answer["id"] == id) {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].take();
            }
        }
    }

    /// The next answer, if it is one.
    async fn hear(&mut self) -> Option<Value> {
        let Message::Text(text) = self.tools.next().await.expect("open").expect("a frame") else { return None };
        let said: Value = serde_json::from_str(&text).expect("JSON");
        if said["id"].is_null() {
            self.told.push(said);
            return None;
        }
        Some(said)
    }
}
