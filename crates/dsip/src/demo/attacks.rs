//! The acts that must fail. Each is a real attempt over real sockets, and each is judged by what Alice's and Bob's phones did.
//! Where silence is the right outcome, the same attempt without the flaw is made as well: it has to ring.

use dsip_endpoint::clock;
use dsip_endpoint::phone::{Audio, Event, Suspicion};
use dsip_endpoint::resolve::{Located, Target};
use dsip_proto::envelope::{Signer, Supported, Verifier};
use dsip_proto::hints;
use dsip_proto::identity::Documents;
use dsip_proto::link::{Link, Node as Advice};
use dsip_proto::time::Seed;
use dsip_proto::wire::message::{Bye, HintEndpoint};
use dsip_proto::wire::token::{BindingId, ProfileId};
use dsip_proto::wire::{Kind, Message, Reason, Ulid};

use super::cast::{self, Actor, Cast, SILENCE};
use super::ledger::Ledger;
use super::mallory::{self, Client, LyingRelay};
use super::{Broken, nobody_rings, ring};

/// Plays all of them.
pub(super) async fn play(ledger: &mut Ledger<'_>, cast: &mut Cast, located: &Located) -> Result<(), Broken> {
    // Whatever the call before still had to tell has been told.
    nobody_rings(cast).await;
    forged_invites(ledger, cast).await?;
    strangers_in_a_call(ledger, cast, located).await?;
    lying_relay(ledger, cast, located).await?;
    false_addresses(ledger, cast, located).await
}

/// Tampered, replayed, spoofed.
async fn forged_invites(ledger: &mut Ledger<'_>, cast: &mut Cast) -> Result<(), Broken> {
    ledger.act("5. Mallory forges");
    let node = cast.nodes[1].ready().url();
    let bob = cast.bobs_phone.phone.did().clone();
    let mallory = Client::bind(&node, mallory::key()?).await?;
    let offer = mallory::offer().await?;
    let invite = mallory::invite(&mallory.did, &bob, &offer)?;
    let signed = mallory.signer.sign(&invite);
    let tampered = mallory::tamper(&signed);

    let before = cast.nodes[1].counts().rejected;
    mallory.send(&tampered)?;
    let silent = nobody_rings(cast).await;
    let refused = cast.nodes[1].counts().rejected - before;
    ledger.claim(
        silent && refused == 1,
        "one character of a signed invite changed: it does not verify, nobody rings",
        verdict(&tampered),
    );

    mallory.send(&signed.text())?;
    let rang = ring(&mut cast.bobs_phone).await?.0;
    ring(&mut cast.bobs_laptop).await?;
    ledger.claim(rang == signed_id(&invite), "the same invite untouched does ring: it was the one character", rang);
    mallory.say(&mallory::cancel(&mallory.did, &bob, rang)?)?;
    for actor in [&mut cast.bobs_phone, &mut cast.bobs_laptop] {
        actor.until("the end of Mallory's call", |event| matches!(event, Event::Ended { .. }).then_some(())).await?;
    }

    let before = cast.nodes[1].counts().rejected;
    mallory.send(&signed.text())?;
    let other = Client::bind(&node, mallory::key()?).await?;
    other.send(&signed.text())?;
    let silent = nobody_rings(cast).await;
    let refused = cast.nodes[1].counts().rejected - before;
    ledger.claim(
        silent && refused == 2,
        "the genuine invite sent again, from two places: its id was seen, nobody rings",
        "duplicate-id",
    );

    let before = cast.nodes[1].counts().rejected;
    let alice = cast.alice.phone.device().clone();
    let in_her_name = mallory.signer.sign(&mallory::invite(&alice, &bob, &offer)?).text();
    mallory.send(&in_her_name)?;
    let as_identity = mallory.signer.sign(&mallory::invite(cast.alice.phone.did(), &bob, &offer)?).text();
    mallory.send(&as_identity)?;
    let silent = nobody_rings(cast).await;
    let refused = cast.nodes[1].counts().rejected - before;
    ledger.claim(
        silent && refused == 2,
        "invites in Alice's name, signed by Mallory: nobody rings",
        verdict(&in_her_name),
    );
    mallory.leave();
    other.leave();
    Ok(())
}

/// A stranger who knows the session answers, cancels, hangs up.
async fn strangers_in_a_call(ledger: &mut Ledger<'_>, cast: &mut Cast, located: &Located) -> Result<(), Broken> {
    ledger.act("6. Mallory meddles with a call of others");
    let node = cast.nodes[1].ready().url();
    let mallory = Client::bind(&node, mallory::key()?).await?;
    let call = cast.alice.phone.call(located, Audio { from: "tone:440".into(), to: "none".into() }).await?;
    ring(&mut cast.bobs_phone).await?;
    ring(&mut cast.bobs_laptop).await?;
    let (alice, bob) = (cast.alice.phone.device().clone(), cast.bobs_phone.phone.did().clone());
    let selection = mallory::selection(mallory::offer().await?).await?;
    mallory.say(&mallory::answer(&mallory.did, &alice, call, &selection)?)?;
    let fooled = |event: &Event| matches!(event, Event::Answered { .. } | Event::Talking { .. } | Event::Ended { .. });
    let answered = cast.alice.count(SILENCE, fooled).await;
    ledger.claim(answered == 0, "Mallory answers Alice's call: to Alice it goes on ringing", "");

    for to in [&bob, cast.bobs_phone.phone.device(), cast.bobs_laptop.phone.device()] {
        mallory.say(&mallory::cancel(&mallory.did, to, call)?)?;
    }
    let ended = |event: &Event| matches!(event, Event::Ended { .. });
    let (phone, laptop) = tokio::join!(cast.bobs_phone.count(SILENCE, ended), cast.bobs_laptop.count(SILENCE, ended));
    ledger.claim(phone + laptop == 0, "Mallory cancels it: both of Bob's devices go on ringing", "");

    cast.bobs_phone.phone.accept(call, Audio { from: "tone:660".into(), to: "none".into() }).await?;
    for actor in [&mut cast.alice, &mut cast.bobs_phone] {
        actor.until("sound", |event| matches!(event, Event::Talking { .. }).then_some(())).await?;
    }
    ledger.claim(true, "Bob answers after all, and they talk", call);
    let bobs_phone = cast.bobs_phone.phone.device().clone();
    for to in [&alice, &bobs_phone] {
        mallory.say(&bye(&mallory, to, call)?)?;
    }
    let noticed = |event: &Event| match event {
        Event::Security { what: Suspicion::NotAParty { kind: Kind::Bye }, session: Some(session), .. } => {
            (*session == call).then_some(true)
        }
        Event::Ended { .. } => Some(false),
        _ => None,
    };
    let at_bobs = cast.bobs_phone.until("Mallory's bye", noticed).await?;
    ledger.claim(at_bobs, "Mallory hangs up: Bob's phone ignores it and says who it was", &mallory.did);
    let (alices, bobs) = tokio::join!(cast.alice.count(SILENCE, ended), cast.bobs_phone.count(SILENCE, ended));
    ledger.claim(alices + bobs == 0, "and the call goes on", "");
    cast.alice.phone.hang_up(call).await?;
    for actor in [&mut cast.alice, &mut cast.bobs_phone] {
        actor.until("the end", |event| ended(event).then_some(())).await?;
    }
    mallory.leave();
    Ok(())
}

/// A relay that lies about Bob: it answers in his place, and replays what it was told.
async fn lying_relay(ledger: &mut Ledger<'_>, cast: &mut Cast, located: &Located) -> Result<(), Broken> {
    ledger.act("7. A relay that lies about Bob's address");
    let mut relay = LyingRelay::listen(mallory::key()?, mallory::key()?).await?;
    let advice = Advice { uri: relay.url.clone(), did: Some(relay.did.clone()) };
    let lie = Link { nodes: vec![advice], ..Link::to(located.did.clone()) };
    ledger.tell(format!("somebody hands Alice the link {lie}"));
    // Without a DHT there is nobody to contradict the link.
    let mut alice = cast::phone_of(&cast.alices_home, None, None, false).await?;
    let misled = alice.phone.locate(&Target::Link(lie)).await.map_err(|error| Broken(error.to_string()))?;
    let call = alice.phone.call(&misled, Audio::default()).await?;
    let (hello, invite) = (relay.capture().await?, relay.capture().await?);
    let fell_for_it = matches!(mallory::open(&invite)?, Message::Invite(invite) if invite.common.id == call);
    ledger.claim(
        fell_for_it,
        "Alice's phone dials the false relay, and it is what it says to be: Mallory's",
        &relay.did,
    );
    let strangers = count_strangers(&mut alice).await;
    let answered = alice.seen.iter().any(|event| matches!(event, Event::Answered { .. } | Event::Talking { .. }));
    ledger.claim(
        strangers == 2 && !answered,
        "it rings and answers in Bob's place: Alice's phone sees that Bob's identity never delegated to that device",
        format!("{strangers} messages ignored"),
    );
    let _ = alice.phone.hang_up(call).await;
    alice.phone.stop().await;

    ledger
        .tell("the false relay now holds Alice's genuine hello, and plays it to node 4, her own, to collect her calls");
    let before = cast.nodes[3].counts();
    let mut thief = Client::dial(&cast.nodes[3].ready().url(), mallory::key()?).await?;
    thief.send(&hello)?;
    let heard = thief.hear().await?;
    let rejected = matches!(&heard, Some(Message::Error(error)) if error.reason == Reason::TRANSPORT_HELLO_REJECTED);
    let bound = cast.nodes[3].counts().bound;
    ledger.claim(
        rejected && bound <= before.bound,
        "node 4 refuses it: a hello says for whom it was made",
        Reason::TRANSPORT_HELLO_REJECTED,
    );
    thief.leave();
    Ok(())
}

async fn count_strangers(actor: &mut Actor) -> usize {
    actor.count(SILENCE * 2, |event| matches!(event, Event::Security { what: Suspicion::NotAParty { .. }, .. })).await
}

/// Addresses that are false: another node under a good name, and a forged record.
async fn false_addresses(ledger: &mut Ledger<'_>, cast: &mut Cast, located: &Located) -> Result<(), Broken> {
    ledger.act("8. False addresses");
    let relay = LyingRelay::listen(mallory::key()?, mallory::key()?).await?;
    let good = cast.nodes[1].ready().did.clone();
    let advice = Advice { uri: relay.url.clone(), did: Some(good.clone()) };
    let lie = Link { nodes: vec![advice], ..Link::to(located.did.clone()) };
    let mut alice = cast::phone_of(&cast.alices_home, None, None, false).await?;
    let misled = alice.phone.locate(&Target::Link(lie)).await.map_err(|error| Broken(error.to_string()))?;
    let call = alice.phone.call(&misled, Audio::default()).await?;
    let why = alice
        .until("the refusal to dial", |event| match event {
            Event::Unreachable { call: lost, why } if *lost == call => Some(Some(why.clone())),
            Event::Invited { .. } => Some(None),
            _ => None,
        })
        .await?;
    ledger.claim(
        why.is_some(),
        "Mallory's address under the name of node 2: the key is another, nothing is said",
        why.unwrap_or_default(),
    );
    alice.phone.stop().await;

    let forged = forged_hint(located, &relay)?;
    let mut verifier = Verifier::new(Supported::default(), Seed::new([0; 32]));
    let refusal = hints::verify(&mut verifier, &forged, clock::now(), &Documents::default()).err();
    let network = cast::network(Some(&cast.nodes[2])).await?;
    let published = match network.dht() {
        Some(dht) => dht.publish(forged).await.map(|published| published.accepted),
        None => return Err(Broken("there is no DHT".into())),
    };
    let again =
        cast.alice.phone.locate(&Target::Did(located.did.clone())).await.map_err(|error| Broken(error.to_string()))?;
    let place = again.candidates.first().map(|candidate| candidate.uri.clone()).unwrap_or_default();
    ledger.claim(
        refusal.is_some() && published.is_err() && place == cast.nodes[1].ready().wss,
        "a record about Bob that Mallory signed: no node keeps it, Alice still finds node 2",
        refusal.map(|refusal| refusal.to_string()).unwrap_or_default(),
    );
    Ok(())
}

/// A reachability hint for Bob that leads to Mallory, signed by Mallory.
fn forged_hint(located: &Located, relay: &LyingRelay) -> Result<String, Broken> {
    let endpoint = HintEndpoint { uri: relay.url.clone(), bindings: vec![BindingId::WS], rest: serde_json::Map::new() };
    let common = mallory::common(&located.did, &[])?;
    let hint = hints::hint(&located.did, vec![endpoint], common.id, clock::now(), 900);
    Ok(Signer::of_key(mallory::key()?).sign(&hint.into()).text())
}

fn bye(mallory: &Client, to: &dsip_proto::wire::Did, session: Ulid) -> Result<Message, Broken> {
    let common = mallory::common(&mallory.did, &[ProfileId::INTERACTIVE_MEDIA])?;
    let (to, reason) = (to.clone(), Reason::USER_HANGUP);
    Ok(Bye { common, to, session, reason, detail: None, retry_after: None }.into())
}

/// What the pipeline says of a frame: the code of the first check it fails.
fn verdict(frame: &str) -> String {
    let mut verifier = Verifier::new(Supported::default(), Seed::new([0; 32]));
    let judged =
        verifier.verify(frame, clock::now(), &Documents::default(), dsip_proto::envelope::Connection::default());
    judged.err().map_or_else(|| "accepted".into(), |verdict| verdict.code.to_string())
}

fn signed_id(invite: &Message) -> Ulid {
    invite.common().id
}
