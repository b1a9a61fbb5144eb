//! A signed `hello`, and what the node's answer proves: who it is, what its clock says, and what it lends.

use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::link::{Close, Link, Stream, Target};
use dsip_proto::envelope::{Connection, Signer, Supported, Verifier};
use dsip_proto::identity::Documents;
use dsip_proto::time::{Now, Seed, Wall};
use dsip_proto::turn::Grant;
use dsip_proto::wire::media::VersionBlock;
use dsip_proto::wire::message::{Common, Hello};
use dsip_proto::wire::token::BindingId;
use dsip_proto::wire::{Did, Envelope, Message, Ulid};
use serde::Deserialize;
use tokio::time::timeout;

use super::{STEP, Who};

/// How long a `hello` is valid; HEL-2 calls that typical.
const VALIDITY: u64 = 30;

/// What a node answered, verified.
pub(super) struct Answer {
    /// Who signed it.
    pub(super) relay: Did,
    /// How far the node's clock is ahead of ours, in seconds; it says whole ones.
    pub(super) ahead: i64,
    /// What became of our `hello`.
    pub(super) said: Result<Lends, String>,
    /// The way there and back.
    pub(super) took: Duration,
}

/// What a node lends a device it knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Lends {
    pub(super) stun_port: Option<u16>,
    pub(super) turn: Option<Grant>,
    /// ADM-4: whether the node is closed, and we are a guest there.
    pub(super) is_guest: bool,
}

/// Whose answer it claims to be, and when that was said. The signature shows whether it is so.
#[derive(Deserialize)]
struct Claims {
    issued_at: u64,
}

/// Says `hello` by a clock that is `ahead` seconds before ours, and waits for the answer.
///
/// The answer's signature has to hold at the moment it names: whether that moment is right is another question, and the
/// one asked here. Nothing is taken that waits at the node; it comes again to whom it is for.
pub(super) async fn say(
    link: &mut Link,
    target: &Target,
    who: &Who,
    documents: &Documents,
    ahead: i64,
) -> Result<Answer, String> {
    let mut seeds = [[0; 32]; 2];
    for seed in &mut seeds {
        getrandom::fill(seed).map_err(|_| "the system gives no randomness".to_owned())?;
    }
    let [verifier, id] = seeds.map(Seed::new);
    let wall = Wall::from_millis(clock::now().wall.millis().saturating_add_signed(ahead.saturating_mul(1000)));
    let device = who.identity.device.did();
    let id = Ulid::generate(wall, &mut id.into_rng());
    let issued_at = wall.secs();
    let common =
        Common { dsip: VersionBlock::new(&[]), id, from: device.clone(), issued_at, expires_at: issued_at + VALIDITY };
    let on_behalf_of = (who.identity.did != device).then(|| who.identity.did.clone());
    let bindings = Some(vec![BindingId::WS, BindingId::QUIC]);
    let hello = Hello { common, on_behalf_of, bindings, in_reply_to: None, capabilities: None };
    let signer =
        Signer::new(who.identity.device.clone(), who.identity.device.public().kid(), who.identity.delegations.clone());
    let began = clock::now();
    let frame = signer.sign_for(&hello.into(), &target.audience()).text();
    link.send(Stream::Control, frame.into()).map_err(|error| error.to_string())?;
    let frame = match timeout(STEP, link.recv()).await {
        Err(_) => return Err(format!("no answer within {} seconds", STEP.as_secs())),
        Ok(Err(closed)) => return Err(closed.to_string()),
        Ok(Ok(frame)) => frame,
    };
    let took = clock::now().tick.since(began.tick);
    link.close(Close::Done);

    let claims = Envelope::parse(&frame).ok().and_then(|it| serde_json::from_slice::<Claims>(&it.payload_bytes()).ok());
    let claims = claims.ok_or("what it answered is no DSIP message")?;
    let at = Now { wall: Wall::from_secs(claims.issued_at), ..began };
    let asked = Connection { sent_hello_id: Some(id), ..Connection::default() };
    let verified = Verifier::new(Supported::new([]), verifier).verify(&frame, at, documents, asked);
    let message = verified.map_err(|verdict| format!("its answer does not verify ({})", verdict.code))?.into_message();
    let middle = began.later(took / 2).wall.millis();
    // It said whole seconds, and was on average half of one further.
    let theirs = claims.issued_at.saturating_mul(1000).saturating_add(500);
    let ahead = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub(i64::try_from(middle).unwrap_or(i64::MAX));
    // How long each way took is not known, nor where in its second the node was.
    let doubt = u64::try_from(took.as_millis() / 2).unwrap_or(u64::MAX).saturating_add(500);
    let ahead = if ahead.unsigned_abs() <= doubt { 0 } else { ahead / 1000 };
    let relay = message.common().from.clone();
    let said = match message {
        Message::Hello(hello) if hello.in_reply_to == Some(id) => Ok(lends(&hello)),
        Message::Hello(_) => Err("it answered another hello than ours".into()),
        Message::Error(error) => Err(format!("it refused our hello ({})", error.reason)),
        _ => Err("it answered something else than hello".into()),
    };
    Ok(Answer { relay, ahead, said, took })
}

fn lends(hello: &Hello) -> Lends {
    let Some(told) = hello.capabilities.as_ref().map(|capabilities| &capabilities.rest) else {
        return Lends::default();
    };
    let is_guest = told.get("member").and_then(serde_json::Value::as_bool) == Some(false);
    let stun_port = told.get("stun_port").and_then(serde_json::Value::as_u64);
    Lends { stun_port: stun_port.and_then(|port| u16::try_from(port).ok()), turn: Grant::read(told), is_guest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsip_endpoint::link::Dialer;
    use dsip_endpoint::phone::Config;
    use dsip_endpoint::tls::Roots;
    use dsip_node::Node;

    #[tokio::test]
    async fn rpl_1_a_refusal_of_a_clock_that_is_off_tells_the_right_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dsip_node::Config::new(dir.path().join("node"), "127.0.0.1:0".parse().expect("an address"));
        let node = Node::start(config).await.expect("a node");
        let target: Target = node.ready().url().parse().expect("a target");
        let who = Who { identity: Config::ephemeral().expect("an identity").identity, is_owner: false };
        for (off, is_taken) in [(0, true), (250, true), (4000, false), (-4000, false)] {
            let dialer = Dialer::new(Roots::load::<&str>(&[]).expect("roots"));
            let mut link = dialer.open(&target).await.expect("a link");
            let answer = say(&mut link, &target, &who, &Documents::default(), off).await.expect("answered");
            // What our clock really says is what the node's is compared with, whatever the hello claimed.
            assert!(answer.ahead.abs() < 60, "{off}: {}", answer.ahead);
            assert_eq!(answer.said.is_ok(), is_taken, "{off}: {:?}", answer.said);
            assert_eq!(Some(&answer.relay), target.node());
        }
        node.shutdown().await;
    }
}
