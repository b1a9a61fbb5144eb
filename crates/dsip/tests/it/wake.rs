//! A phone that is not there, woken by a script that waits at a push service.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use dsip_endpoint::tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::call::{Running, Town};

#[test]
fn wak_15_a_script_that_is_woken_answers_the_call() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root.pem");
    std::fs::write(&root, own.cert.pem()).expect("written");
    let town = Town::with(|config| {
        config.ca.push(root.clone());
        config.allow_private = true;
    });
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("supported")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (posted, posts) = mpsc::channel();
    let listener = town.runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("bound");
    let url = format!("https://localhost:{}/up", listener.local_addr().expect("an address").port());
    town.runtime.spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut stream = acceptor.accept(tcp).await.expect("secured");
            let mut head = [0; 4096];
            let length = stream.read(&mut head).await.expect("read");
            let line = String::from_utf8_lossy(&head[..length]).lines().next().map(str::to_owned);
            stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await.expect("written");
            drop(posted.send(line));
        }
    });

    let bob = |command: &[&str]| Running::start(&town.home("Bob"), &[command, &["--node", &town.url]].concat()).ends();
    let (code, told) = bob(&["wake", &url]);
    assert_eq!(code, 0, "{told:#?}");
    assert!(told.last().is_some_and(|last| last["event"] == "wake" && last["until"].is_u64()), "{told:#?}");

    let call = town.calls(&["--duration", "1"]);
    let line = posts.recv_timeout(Duration::from_secs(30)).expect("somebody knocks");
    assert_eq!(line.as_deref(), Some("POST /up HTTP/1.1"));
    let (code, told) = bob(&["answer", "--auto", "accept", "--once", "--wake-url", &url]);
    assert_eq!(code, 0, "{told:#?}");
    assert!(told.iter().any(|event| event["event"] == "wake" && event["until"].is_u64()), "{told:#?}");
    let (code, told) = call.ends();
    assert_eq!(code, 0, "{told:#?}");

    // WAK-5
    let (code, told) = bob(&["wake", "--off"]);
    assert_eq!((code, told.last().and_then(|last| last["until"].as_u64())), (0, None), "{told:#?}");
    assert!(posts.try_recv().is_err(), "one knock for one call");
}

#[test]
fn what_cannot_be_woken_is_said_in_a_line() {
    let town = Town::with(|config| config.wake.enabled = false);
    let bob = |arguments: &[&str]| super::dsip(&town.home("Bob"), arguments);
    for (arguments, code, named) in [
        (&["wake", "http://push.example/up", "--node", &town.url][..], 2, "https"),
        (&["wake", "https://push.example/up", "--p256dh", "x", "--auth", "y", "--node", &town.url], 2, "auth"),
        (&["wake"], 2, "URL"),
        (&["wake", "https://push.example/up"], 2, "--node"),
        (&["wake", "https://push.example/up", "--node", &town.url], 6, "wakes nobody"),
    ] {
        let output = bob(arguments);
        let said = super::complaint(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(named), "{said}");
    }
}
