//! `dsip demo`: the whole system on loopback, narrated.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the play: find, dial, ring, talk; then what must fail; then the summary |
//! | `cast.rs` | who plays: nodes, Alice, Bob with two devices, all of them the ordinary thing |
//! | `mallory.rs` | an attacker's client and an attacker's relay, over real sockets |
//! | `attacks.rs` | the acts that must fail, and do |
//! | `ledger.rs` | what is said, and what was claimed and checked |
//!
//! Every claim is checked on what happened, so each can fail; one that does makes the exit code 1.

mod attacks;
mod cast;
mod ledger;
mod mallory;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dsip_endpoint::audio;
use dsip_endpoint::link::Transport;
use dsip_endpoint::phone::{Audio, Event, Party};
use dsip_endpoint::qr;
use dsip_endpoint::resolve::{Located, Source};
use dsip_media::audio::quality::compare;
use dsip_media::stats::Report;
use dsip_proto::link::Link;
use dsip_proto::wire::{Reason, Ulid};
use serde_json::json;

use crate::cli::Globals;
use crate::end::End;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Style};
use cast::{Actor, Cast, SILENCE};
use ledger::{Ledger, ms};

/// Nodes in the demo's DHT.
const NODES: usize = 5;
/// How long Bob lets it ring, so that one can see it.
const RINGING: Duration = Duration::from_millis(800);
/// How much of the call goes on after the last word.
const TAIL: Duration = Duration::from_millis(700);

/// What Alice and Bob say: synthetic voices, so that nobody's is given away.
const ALICE_SAYS: &[u8] = include_bytes!("../../assets/alice.wav");
const BOB_SAYS: &[u8] = include_bytes!("../../assets/bob.wav");

/// What `dsip demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the recordings go [default: a fresh temporary directory]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Something that had to happen, did not.
#[derive(Debug)]
struct Broken(String);

/// What the summary repeats of the call.
struct Figures {
    ringing: Duration,
    answer: Duration,
    reports: Vec<(&'static str, Report)>,
    recordings: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let dir = match args.keep {
        Some(dir) => std::fs::create_dir_all(&dir).map(|()| dir),
        None => tempfile::Builder::new().prefix("dsip-demo-").tempdir().map(tempfile::TempDir::keep),
    };
    let dir = dir.map_err(|error| Failure::usage("--keep", error, "give a directory that can be written"))?;
    let mut ledger = Ledger::new(out);
    out.line(out.styled(Style::Bold, "Everything below happens now, on this machine alone, over real sockets."));
    // The keys were made for the demo and end with it, however it ends; the recordings stay.
    let homes = tempfile::Builder::new().prefix("homes-").tempdir_in(&dir);
    let homes =
        homes.map_err(|error| Failure::usage(dir.display(), error, "give --keep a directory that can be written"))?;
    let mut end = End::new()?;
    let played = tokio::select! {
        played = play(&mut ledger, homes.path(), &dir) => played,
        () = end.wait() => return Err(Failure::fault("demo", "told to end", "run it again to see the rest")),
    };
    drop(homes);
    let figures = match played {
        Ok(figures) => Some(figures),
        Err(Broken(what)) => {
            ledger.claim(false, "the play goes on", what);
            None
        }
    };
    Ok(summary(&ledger, out, &dir, figures.as_ref()))
}

async fn play(ledger: &mut Ledger<'_>, homes: &Path, dir: &Path) -> Result<Figures, Broken> {
    let (mut cast, located) = gather(ledger, homes, dir).await?;
    let figures = talk(ledger, &mut cast, &located).await?;
    attacks::play(ledger, &mut cast, &located).await?;
    cast.leave().await;
    Ok(figures)
}

/// Nodes, people, devices; Bob publishes, Alice finds.
async fn gather(ledger: &mut Ledger<'_>, homes: &Path, dir: &Path) -> Result<(Cast, Located), Broken> {
    ledger.act("1. Five nodes, and no server of anybody's");
    let nodes = cast::nodes(homes, NODES).await?;
    for (n, node) in nodes.iter().enumerate() {
        let ready = node.ready();
        ledger.tell(format!("node {} listens at {} and {}, its key is {}", n + 1, ready.wss, ready.quic, ready.did));
    }
    let [first, bobs, _, alices, fifth] = &nodes[..] else { return Err(Broken("there are five nodes".into())) };
    ledger.tell(format!("they form a DHT, joined through {}", first.ready().dht));

    ledger.act("2. Bob, with a phone and a laptop");
    let phone_home = cast::person(homes, "Bob")?;
    let laptop_home = cast::second_device(homes, &phone_home, "Laptop")?;
    let mut bobs_phone = cast::phone_of(&phone_home, Some(bobs), Some(first), true).await?;
    let mut bobs_laptop = cast::phone_of(&laptop_home, Some(bobs), None, false).await?;
    let online = |event: &Event| match event {
        Event::Online { relay, transport, .. } => Some((relay.clone(), *transport)),
        _ => None,
    };
    for (name, actor) in [("phone", &mut bobs_phone), ("laptop", &mut bobs_laptop)] {
        let (relay, transport) = actor.until("being online", online).await?;
        let over = transport.map_or("?", Transport::id);
        ledger.tell(format!("Bob's {name} {} is bound at node 2 over {over}", actor.phone.device()));
        ledger.claim(relay == bobs.ready().did, format!("node 2 proved its own key to Bob's {name}"), relay);
    }
    let bob = bobs_phone.phone.did().clone();
    let both = bobs_laptop.phone.did() == &bob && bobs_laptop.phone.device() != bobs_phone.phone.device();
    ledger.claim(both, "two devices, two keys, one identity: it delegated to both", &bob);
    let published = |event: &Event| match event {
        Event::Published { accepted } => Some(*accepted),
        _ => None,
    };
    let accepted = bobs_phone.until("publishing", published).await?;
    ledger.claim(
        accepted > 0,
        "Bob chose to be found: his signed record is in the DHT",
        format!("{accepted} nodes keep it"),
    );
    let link = Link { dht: vec![fifth.ready().dht.clone()], name: Some("Bob".into()), ..Link::to(bob.clone()) };
    let text = link.to_string();
    match qr::picture(&text) {
        Ok(picture) => ledger.show(&picture),
        Err(error) => ledger.tell(error),
    }
    ledger.tell(format!("Bob shows this code; it says {text}"));

    ledger.act("3. Alice scans it, and finds where Bob can be dialled");
    let alices_home = cast::person(homes, "Alice")?;
    let mut alice = cast::phone_of(&alices_home, Some(alices), Some(fifth), false).await?;
    alice.until("being online", online).await?;
    let target = text.parse().map_err(|error| Broken(format!("the link cannot be read: {error}")))?;
    let located = alice.phone.locate(&target).await.map_err(|error| Broken(error.to_string()))?;
    found(ledger, &located, bobs.ready().wss.as_str(), &bobs_phone);
    let dir = dir.to_path_buf();
    Ok((Cast { nodes, alice, bobs_phone, bobs_laptop, alices_home, dir }, located))
}

/// What Alice knows of Bob before she calls.
fn found(ledger: &mut Ledger<'_>, located: &Located, expected: &str, bobs_phone: &Actor) {
    let document = located.document.as_ref().map(|resolved| resolved.document.methods().len());
    ledger.claim(document == Ok(1), "his DID document is computed from the DID: nobody was asked", &located.did);
    match &located.hints {
        Some(Ok(found)) => {
            let peers: usize = found.all.iter().map(|(_, peers)| peers.len()).sum();
            ledger.tell(format!(
                "the DHT was asked: {} requests, {} answers with his record, {}",
                found.effort.requests,
                peers,
                ms(found.effort.elapsed)
            ));
            let winner = found.winner.as_ref();
            let signed = winner.is_some_and(|record| {
                record.signer() == bobs_phone.phone.device()
                    && record.proofs().iter().any(|proof| proof.identity == located.did)
            });
            let number = winner.map_or(0, |record| record.standing().seq);
            ledger.claim(
                signed,
                "the record is signed by a device that Bob's identity delegated to",
                format!("number {number}"),
            );
        }
        Some(Err(error)) => ledger.claim(false, "the DHT can be asked", error),
        None => ledger.claim(false, "the DHT can be asked", "there is none"),
    }
    let first = located.candidates.first();
    let hint = first.filter(|candidate| matches!(candidate.source, Source::Hint { .. }));
    ledger.claim(
        hint.is_some_and(|candidate| candidate.uri == expected && !candidate.source.has_authority()),
        "it says to dial node 2; that is a hint and gives nobody any authority",
        first.map_or("nowhere", |candidate| candidate.uri.as_str()),
    );
}

/// The call: both devices ring, one answers, speech flows, Alice hangs up.
async fn talk(ledger: &mut Ledger<'_>, cast: &mut Cast, located: &Located) -> Result<Figures, Broken> {
    ledger.act("4. Alice calls");
    let path = |name: &str| cast.dir.join(name);
    let (alice_says, bob_says) = (path("alice-says.wav"), path("bob-says.wav"));
    let (alice_hears, bob_hears) = (path("alice-hears.wav"), path("bob-hears.wav"));
    for (file, speech) in [(&alice_says, ALICE_SAYS), (&bob_says, BOB_SAYS)] {
        std::fs::write(file, speech).map_err(|error| Broken(format!("{}: {error}", file.display())))?;
    }
    let audio = |from: &Path, to: &Path| Audio { from: from.display().to_string(), to: to.display().to_string() };

    let began = Instant::now();
    let call = cast.alice.phone.call(located, audio(&alice_says, &alice_hears)).await?;
    let invited = |event: &Event| match event {
        Event::Invited { transport, relay, .. } => Some((*transport, relay.clone())),
        _ => None,
    };
    let (transport, relay) = cast.alice.until("the invite", invited).await?;
    ledger.tell(format!("a signed INVITE is on its way, session {call}, {}", ms(began.elapsed())));
    ledger.claim(transport == Some(Transport::Quic), "it went over QUIC", transport.map_or("?", Transport::id));
    ledger.claim(relay == cast.nodes[1].ready().did, "to the very node that Bob's record names", relay);

    let on_phone = ring(&mut cast.bobs_phone).await?;
    let on_laptop = ring(&mut cast.bobs_laptop).await?;
    let ringing = began.elapsed();
    ledger.tell(format!("both of Bob's devices ring after {}, showing:", ms(ringing)));
    ledger.tell(format!(
        "  somebody who says to be \"{}\" · {} · {}",
        on_phone.1.claimed_name.as_deref().unwrap_or("?"),
        on_phone.1.identity,
        on_phone.1.basis
    ));
    let same = on_phone.0 == call && on_laptop.0 == call && on_phone.1.identity == on_laptop.1.identity;
    ledger.claim(same && on_phone.1.identity == *cast.alice.phone.did(), "both show Alice's verified identity", "");
    ledger.claim(
        on_phone.1.basis == "Self-issued identity",
        "and on what basis: her name is a claim, only the key is proven",
        &on_phone.1.basis,
    );
    let early =
        cast.alice.count(RINGING, |event| matches!(event, Event::Answered { .. } | Event::Talking { .. })).await;
    ledger.claim(early == 0, "while it rings no sound flows: media waits for a signed answer", "");

    let answered_at = Instant::now();
    cast.bobs_laptop.phone.accept(call, audio(&bob_says, &bob_hears)).await?;
    let by = cast
        .alice
        .until("the answer", |event| match event {
            Event::Answered { by, party, .. } => Some((by.clone(), party.clone())),
            _ => None,
        })
        .await?;
    let answer = answered_at.elapsed();
    ledger.tell(format!("Bob takes it on the laptop; Alice has verified the signed answer after {}", ms(answer)));
    ledger.claim(
        by.1.identity == located.did && by.1.device == *cast.bobs_laptop.phone.device(),
        "the answer is by a device of the identity that Alice called",
        &by.1.device,
    );
    let stopped = cast
        .bobs_phone
        .until("the phone's silence", |event| match event {
            Event::Ended { reason, missed, .. } => Some((reason.clone(), *missed)),
            _ => None,
        })
        .await?;
    ledger.claim(
        stopped == (Reason::SESSION_ANSWERED_ELSEWHERE, false),
        "Bob's phone stops ringing, without a missed call",
        &stopped.0,
    );
    for (name, actor) in [("Alice", &mut cast.alice), ("Bob", &mut cast.bobs_laptop)] {
        actor.until("sound", |event| matches!(event, Event::Talking { .. }).then_some(())).await?;
        ledger.tell(format!("{name} hears: keys agreed by DTLS with the certificate that the signed answer names"));
    }
    ledger.tell("they talk …");
    for actor in [&mut cast.alice, &mut cast.bobs_laptop] {
        actor.until("the last word", |event| matches!(event, Event::SourceEnded { .. }).then_some(())).await?;
    }
    tokio::time::sleep(TAIL).await;
    cast.alice.phone.hang_up(call).await?;
    let mut reports = Vec::new();
    for (name, actor) in [("Alice", &mut cast.alice), ("Bob", &mut cast.bobs_laptop)] {
        let (reason, lasted, report) = actor
            .until("the end", |event| match event {
                Event::Ended { reason, lasted, report, .. } => Some((reason.clone(), *lasted, *report)),
                _ => None,
            })
            .await?;
        let lasted = lasted.map_or(0.0, |lasted| lasted.as_secs_f64());
        ledger.claim(
            reason == Reason::USER_HANGUP,
            format!("the call ends in order for {name}"),
            format!("{lasted:.1} s"),
        );
        reports.extend(report.map(|report| (name, report)));
    }
    for (who, said, heard) in [("Alice", &alice_says, &bob_hears), ("Bob", &bob_says, &alice_hears)] {
        let read = |file: &Path| audio::read(file).map_err(|error| Broken(error.to_string()));
        let similarity = compare(&read(said)?, &read(heard)?);
        ledger.claim(
            similarity.is_faithful(),
            format!("what {who} said is what was heard"),
            format!("similarity {:.2}, {:.0} % of it", similarity.score, similarity.coverage * 100.0),
        );
    }
    for (name, report) in &reports {
        let mos = report.mos.unwrap_or_default();
        ledger.claim(mos > 3.6, format!("{name}'s side sounds good by the E-model"), format!("MOS {mos:.2}"));
    }
    let recordings = vec![alice_hears, bob_hears];
    Ok(Figures { ringing, answer, reports, recordings })
}

/// Waits until a phone rings.
async fn ring(actor: &mut Actor) -> Result<(Ulid, Party), Broken> {
    actor
        .until("ringing", |event| match event {
            Event::Incoming { call, party } => Some((*call, party.clone())),
            _ => None,
        })
        .await
}

/// Nobody rings for a while.
async fn nobody_rings(cast: &mut Cast) -> bool {
    let incoming = |event: &Event| matches!(event, Event::Incoming { .. });
    let (phone, laptop) =
        tokio::join!(cast.bobs_phone.count(SILENCE, incoming), cast.bobs_laptop.count(SILENCE, incoming));
    phone + laptop == 0
}

fn summary(ledger: &Ledger<'_>, out: &Output, dir: &Path, figures: Option<&Figures>) -> Exit {
    let (claims, broken) = ledger.verdict();
    let held = claims - broken.len();
    let recordings: Vec<String> =
        figures.iter().flat_map(|figures| &figures.recordings).map(|path| path.display().to_string()).collect();
    let ringing = figures.map(|figures| figures.ringing.as_secs_f64() * 1000.0);
    let answer = figures.map(|figures| figures.answer.as_secs_f64() * 1000.0);
    out.object(&json!({
        "event": "summary",
        "claims": claims,
        "held": held,
        "broken": broken,
        "ringing_ms": ringing,
        "answer_ms": answer,
        "recordings": recordings,
        "seconds": ledger.elapsed().as_secs_f64(),
    }));
    out.line("");
    out.line(out.styled(Style::Bold, "In short"));
    if let Some(figures) = figures {
        out.line(format!(
            "  set-up        ringing after {}, a verified answer {} after it was given",
            ms(figures.ringing),
            ms(figures.answer)
        ));
        for (name, report) in &figures.reports {
            let mos = report.mos.unwrap_or_default();
            out.line(format!(
                "  sound         {name}: MOS {mos:.2}, loss {:.1} %, jitter {:.1} ms",
                report.loss() * 100.0,
                report.jitter_ms
            ));
        }
    }
    out.line(format!(
        "  recordings    {}",
        if recordings.is_empty() { dir.display().to_string() } else { recordings.join("\n                ") }
    ));
    out.line(format!("  checked       {held} of {claims} claims hold, in {:.1} s", ledger.elapsed().as_secs_f64()));
    for claim in &broken {
        out.line(format!("  {}        {claim}", out.styled(Style::Bad, "broken")));
    }
    out.line("");
    out.line("Next:");
    out.line("  dsip id new                            an identity of your own");
    out.line("  dsip node                              a node of your own; it prints its URL and its DHT address");
    out.line("  dsip answer --node URL --dht ADDR --publish");
    out.line("  dsip call DID --dht ADDR               from any other machine");
    if broken.is_empty() { Exit::Done } else { Exit::NotSo }
}
