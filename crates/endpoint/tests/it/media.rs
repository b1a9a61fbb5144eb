//! Two media sessions in one process, over loopback.

use std::time::Duration;

use dsip_endpoint::audio::{Sink, Source, read};
use dsip_endpoint::media::{Activation, Addresses, Config, Direction, Event, Report, Session, Summary};
use dsip_media::audio::quality::compare;
use dsip_media::call::Permit;
use tokio::sync::mpsc;

/// The first seconds of a committed recording: this test runs in real time.
fn asset(name: &str) -> Vec<f32> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsip/assets").join(name);
    let mut samples = read(&path).expect("a committed recording");
    samples.truncate(4 * 48_000);
    samples
}

fn loopback() -> Config {
    Config { addresses: Addresses::Loopback, ..Config::default() }
}

/// Waits until an event satisfies `wanted`; the test runner's own limit ends a wait in vain.
async fn until(events: &mut mpsc::Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    while let Some(event) = events.recv().await {
        if wanted(&event) {
            return event;
        }
        assert!(!matches!(event, Event::Failed(_)), "{event:?}");
    }
    panic!("the session ended");
}

struct Pair {
    caller: (Session, mpsc::Receiver<Event>),
    callee: (Session, mpsc::Receiver<Event>),
}

async fn connect(sources: (Source, Source), sinks: (Sink, Sink)) -> Pair {
    let (caller, mut caller_events, offer) =
        Session::offer(loopback(), sources.0, sinks.0, Direction::SendRecv).await.expect("an offer");
    let (callee, mut callee_events, answer) =
        Session::answer(loopback(), sources.1, sinks.1, offer, Direction::SendRecv).await.expect("an answer");
    callee.activate(Activation::Answering { permit: Permit::session_is_active() }).await.expect("active");
    let activation = Activation::Answered { sdp: answer.sdp, permit: Permit::session_is_active() };
    caller.activate(activation).await.expect("active");
    until(&mut caller_events, |event| *event == Event::Connected).await;
    until(&mut callee_events, |event| *event == Event::Connected).await;
    Pair { caller: (caller, caller_events), callee: (callee, callee_events) }
}

/// Everything came, and what was recorded is what the other side said and nothing else. How much of it could be played in
/// time is this machine's affair today, for both sides and their sockets share one thread in real time; that a call sounds well is
/// proved in virtual time, by the tests of `dsip-media`.
fn assert_good(summary: &Summary, said: &[f32], not_said: &[f32], recording: &[f32]) {
    let (similarity, other) = (compare(said, recording), compare(not_said, recording));
    assert!(similarity.score > other.score + 0.2, "{similarity:?} {other:?} {:?}", summary.report);
    assert!(summary.recording.is_ok(), "{:?}", summary.recording);
    let Report { sent, received, lost, .. } = summary.report;
    assert!(sent > 80 && received > 80 && lost == 0, "{:?}", summary.report);
}

#[tokio::test]
async fn speech_flows_both_ways_and_is_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let sink = |name: &str| Sink::open(path(name).to_str().expect("a plain name")).expect("a sink");
    let (alice, bob) = (asset("alice.wav"), asset("bob.wav"));
    let sources = (Source::clip(alice.clone()), Source::clip(bob.clone()));
    let Pair { mut caller, mut callee } = connect(sources, (sink("at-alice.wav"), sink("at-bob.ogg"))).await;
    until(&mut caller.1, |event| *event == Event::SourceEnded).await;
    until(&mut callee.1, |event| *event == Event::SourceEnded).await;
    // What was said last is still under way; two reports later it has arrived.
    for _ in 0..2 {
        until(&mut caller.1, |event| matches!(event, Event::Stats(_))).await;
        until(&mut callee.1, |event| matches!(event, Event::Stats(_))).await;
    }
    let (at_alice, at_bob) = (caller.0.stop().await, callee.0.stop().await);
    assert_good(&at_alice, &bob, &alice, &read(&path("at-alice.wav")).expect("a recording"));
    assert_good(&at_bob, &alice, &bob, &read(&path("at-bob.ogg")).expect("a recording"));
}

#[tokio::test]
async fn hold_and_resume_are_updates() {
    let Pair { caller, mut callee } =
        connect((Source::tone(440.0), Source::tone(300.0)), (Sink::discard(), Sink::discard())).await;
    until(&mut callee.1, |event| matches!(event, Event::Stats(report) if report.received > 10)).await;
    for direction in [Direction::SendOnly, Direction::Inactive, Direction::SendRecv] {
        let offer = caller.0.offer_update(direction).await.expect("an offer");
        let answer = callee.0.answer_update(offer, Direction::SendRecv).await.expect("an answer");
        assert_eq!(answer.media[0].direction, direction.answer(Direction::SendRecv));
        caller.0.accept_update(answer.sdp).await.expect("accepted");
    }
    let before = match until(&mut callee.1, |event| matches!(event, Event::Stats(_))).await {
        Event::Stats(report) => report.received,
        other => unreachable!("{other:?}"),
    };
    until(&mut callee.1, |event| matches!(event, Event::Stats(report) if report.received > before)).await;
}

#[tokio::test]
async fn nothing_reaches_the_peer_before_activation() {
    let (_caller, _events, offer) =
        Session::offer(loopback(), Source::silence(), Sink::discard(), Direction::SendRecv).await.expect("an offer");
    let listener = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    // A callee that was told to reach the listener, and is not active.
    let candidate =
        format!("a=candidate:1 1 udp 1 127.0.0.1 {} typ host", listener.local_addr().expect("bound").port());
    let mut offer = offer;
    offer.sdp = offer.sdp.replace("a=mid:", &format!("{candidate}\r\na=mid:"));
    let (callee, _events, _answer) =
        Session::answer(loopback(), Source::silence(), Sink::discard(), offer, Direction::SendRecv)
            .await
            .expect("answer");
    let mut buffer = [0; 2048];
    let quiet = tokio::time::timeout(Duration::from_millis(700), listener.recv_from(&mut buffer)).await;
    assert!(quiet.is_err(), "WEB-90: a packet left before the answer was sent");
    callee.activate(Activation::Answering { permit: Permit::session_is_active() }).await.expect("active");
    listener.recv_from(&mut buffer).await.expect("now checks flow");
}
