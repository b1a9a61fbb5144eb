//! Mallory: a client that says whatever she likes, and a relay that lies. Both speak the real protocol over real sockets;
//! what they send is what an attacker could send, with keys of her own.

use dsip_endpoint::clock;
use dsip_endpoint::link::{self, Close, Deliver, Dialer, Heard, Link, Side, Stream, Target, ws};
use dsip_endpoint::tls::{Certificate, Roots};
use dsip_proto::agent::Description;
use dsip_proto::envelope::Signer;
use dsip_proto::identity::SecretKey;
use dsip_proto::time::Seed;
use dsip_proto::wire::media::{Transport, VersionBlock};
use dsip_proto::wire::message::{Answer, Cancel, Capabilities, Common, Hello, Invite, Progress};
use dsip_proto::wire::token::{AnsweredBy, BindingId, ProfileId, Status, TransportId};
use dsip_proto::wire::{Did, Envelope, Message, Reason, Ulid, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Broken;
use super::cast::PATIENCE;

/// A key out of thin air.
pub(super) fn key() -> Result<SecretKey, Broken> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Broken(error.to_string()))?;
    Ok(SecretKey::from_bytes(&bytes))
}

/// The members every message has, with times that are right and an id that is fresh.
pub(super) fn common(from: &Did, profiles: &[ProfileId]) -> Result<Common, Broken> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Broken(error.to_string()))?;
    let now = clock::now();
    let issued_at = now.wall.secs();
    Ok(Common {
        dsip: VersionBlock::new(profiles),
        id: Ulid::generate(now.wall, &mut Seed::new(seed).into_rng()),
        from: from.clone(),
        issued_at,
        expires_at: issued_at + 30,
    })
}

/// An invite in which nothing is wrong, except who signs it.
pub(super) fn invite(from: &Did, to: &Did, offer: &Description) -> Result<Message, Broken> {
    Ok(Invite {
        common: common(from, &[ProfileId::INTERACTIVE_MEDIA])?,
        to: to.clone(),
        media: offer.media.clone(),
        transports: transports(offer),
        intent: None,
        identity: None,
        policy: None,
        grant: None,
    }
    .into())
}

/// An answer in which nothing is wrong, except who signs it.
pub(super) fn answer(from: &Did, to: &Did, session: Ulid, selection: &Description) -> Result<Message, Broken> {
    Ok(Answer {
        common: common(from, &[ProfileId::INTERACTIVE_MEDIA])?,
        to: to.clone(),
        session,
        answered_by: AnsweredBy::USER,
        media: selection.media.clone(),
        transports: transports(selection),
        policy: None,
        in_reply_to: None,
    }
    .into())
}

/// A cancel.
pub(super) fn cancel(from: &Did, to: &Did, session: Ulid) -> Result<Message, Broken> {
    let common = common(from, &[ProfileId::INTERACTIVE_MEDIA])?;
    let (to, reason) = (to.clone(), Reason::USER_CANCELLED);
    Ok(Cancel { common, to, session, reason, detail: None, retry_after: None }.into())
}

fn transports(description: &Description) -> Vec<Transport> {
    vec![Transport::new(TransportId::WEBRTC).with_sdp("trickle", &description.sdp)]
}

/// Changes one character in the middle of an envelope's payload. It stays well-formed.
pub(super) fn tamper(envelope: &Envelope) -> String {
    let payload = envelope.payload();
    let middle = payload.len() / 2;
    let changed: String = payload
        .char_indices()
        .map(|(at, c)| {
            if at != middle {
                c
            } else if c == 'A' {
                'B'
            } else {
                'A'
            }
        })
        .collect();
    envelope.text().replacen(payload, &changed, 1)
}

/// A client without manners: a link, and whatever is put on it.
pub(super) struct Client {
    link: Link,
    pub(super) signer: Signer,
    pub(super) did: Did,
}

impl Client {
    /// Dials a node and binds `key` there with an honest `hello`.
    pub(super) async fn bind(node: &str, key: SecretKey) -> Result<Self, Broken> {
        let mut client = Self::dial(node, key).await?;
        let relay = target(node)?.audience();
        let common = common(&client.did, &[])?;
        let bindings = Some(vec![BindingId::WS, BindingId::QUIC]);
        let hello = Hello { common, on_behalf_of: None, bindings, in_reply_to: None, capabilities: None };
        client.send(&client.signer.sign_for(&hello.into(), &relay).text())?;
        match client.hear().await? {
            Some(reply) if reply.kind() == dsip_proto::wire::Kind::Hello => Ok(client),
            other => Err(Broken(format!("the node answered Mallory's hello with {other:?}"))),
        }
    }

    /// Dials a node and says nothing.
    pub(super) async fn dial(node: &str, key: SecretKey) -> Result<Self, Broken> {
        let roots = Roots::load::<&str>(&[]).map_err(|error| Broken(error.to_string()))?;
        let link = Dialer::new(roots).open(&target(node)?).await.map_err(|error| Broken(error.to_string()))?;
        Ok(Self { link, did: key.did(), signer: Signer::of_key(key) })
    }

    /// Signs and sends.
    pub(super) fn say(&self, message: &Message) -> Result<(), Broken> {
        self.send(&self.signer.sign(message).text())
    }

    /// Sends a frame as it is.
    pub(super) fn send(&self, frame: &str) -> Result<(), Broken> {
        self.link.send(Stream::Control, frame.into()).map_err(|error| Broken(error.to_string()))
    }

    /// The next message the node sends; none if it hangs up.
    pub(super) async fn hear(&mut self) -> Result<Option<Message>, Broken> {
        match timeout(PATIENCE, self.link.recv()).await {
            Ok(Ok(frame)) => open(&frame).map(Some),
            Ok(Err(_)) => Ok(None),
            Err(_) => Err(Broken("the node said nothing".into())),
        }
    }

    pub(super) fn leave(self) {
        self.link.close(Close::Done);
    }
}

/// Reads what a frame says, unverified: what an attacker does with what passes through her hands.
pub(super) fn open(frame: &str) -> Result<Message, Broken> {
    let broken = |what: &dyn std::fmt::Display| Broken(format!("a frame cannot be read: {what}"));
    let envelope = Envelope::parse(frame).map_err(|error| broken(&error))?;
    let payload = String::from_utf8(envelope.payload_bytes()).map_err(|error| broken(&error))?;
    let parsed = json::parse(&payload).map_err(|error| broken(&error))?;
    Message::from_json(parsed.root).map_err(|error| broken(&error))
}

fn target(node: &str) -> Result<Target, Broken> {
    node.parse().map_err(|error| Broken(format!("{node}: {error}")))
}

/// A relay in Mallory's hands. It greets as every relay does, keeps what it is told, and answers every invite itself.
pub(super) struct LyingRelay {
    pub(super) url: String,
    pub(super) did: Did,
    /// What devices said to it, frame by frame.
    pub(super) captured: mpsc::Receiver<String>,
}

impl LyingRelay {
    /// Listens on loopback. Its key is its own, and so is its certificate: as a host it is perfectly authentic.
    pub(super) async fn listen(relay: SecretKey, device: SecretKey) -> Result<Self, Broken> {
        let broken = |error: &dyn std::fmt::Display| Broken(error.to_string());
        let did = relay.did();
        let certificate =
            Certificate::self_signed(&relay.to_bytes(), did.as_str(), &[]).map_err(|error| broken(&error))?;
        let tls = TlsAcceptor::from(certificate.ws_server().map_err(|error| broken(&error))?);
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(loopback).await.map_err(|error| broken(&error))?;
        let address = listener.local_addr().map_err(|error| broken(&error))?;
        let (keep, captured) = mpsc::channel(64);
        let keys = Arc::new((Signer::of_key(relay), Signer::of_key(device)));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (tls, keep, keys) = (tls.clone(), keep.clone(), keys.clone());
                tokio::spawn(async move {
                    let Ok(secured) = tls.accept(tcp).await else { return };
                    let Ok(socket) = tokio_tungstenite::accept_async_with_config(secured, Some(ws::config())).await
                    else {
                        return;
                    };
                    let (outbox, outgoing) = link::outbox();
                    let (sender, mut frames) = mpsc::channel(64);
                    tokio::spawn(ws::drive(socket, Side::Server, outgoing, Deliver::new(sender, Heard::frame)));
                    while let Some(frame) = frames.recv().await {
                        for lie in lies(&frame, &keys.0, &keys.1).await.unwrap_or_default() {
                            if outbox.send(Stream::Control, lie.into()).is_err() {
                                return;
                            }
                        }
                        if keep.send(frame).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self { url: format!("wss://{address}/dsip"), did, captured })
    }

    /// The next frame a device said to it.
    pub(super) async fn capture(&mut self) -> Result<String, Broken> {
        match timeout(PATIENCE, self.captured.recv()).await {
            Ok(Some(frame)) => Ok(frame),
            _ => Err(Broken("nobody spoke to Mallory's relay".into())),
        }
    }
}

/// What the lying relay answers: a proper `hello`, and to an invite a `progress` and an `answer` in the callee's place,
/// signed by a device of Mallory's.
async fn lies(frame: &str, relay: &Signer, device: &Signer) -> Result<Vec<String>, Broken> {
    match open(frame)? {
        Message::Hello(hello) => {
            let capabilities = Capabilities {
                max_envelope_bytes: 65_536,
                store_and_forward: None,
                offline_retention_s: None,
                rate_limit: None,
                push_wake: None,
                rest: serde_json::Map::new(),
            };
            let common = common(relay.kid().did(), &[])?;
            let in_reply_to = Some(hello.common.id);
            let reply =
                Hello { common, on_behalf_of: None, bindings: None, in_reply_to, capabilities: Some(capabilities) };
            Ok(vec![relay.sign(&reply.into()).text()])
        }
        Message::Invite(invite) => {
            let (mine, caller, session) = (device.kid().did(), &invite.common.from, invite.common.id);
            let progress = Progress {
                common: common(mine, &[ProfileId::INTERACTIVE_MEDIA])?,
                to: caller.clone(),
                session,
                status: Status::RINGING,
                ring_timeout: None,
                queue_timeout: None,
            };
            let sdp = invite.transports.first().and_then(Transport::sdp).unwrap_or_default();
            let selection =
                selection(Description { media: invite.media.clone(), sdp: sdp.to_owned(), text: None }).await?;
            let answer = answer(mine, caller, session, &selection)?;
            Ok(vec![device.sign(&progress.into()).text(), device.sign(&answer).text()])
        }
        _ => Ok(Vec::new()),
    }
}

/// A genuine offer of a genuine media engine.
pub(super) async fn offer() -> Result<Description, Broken> {
    let (source, sink) = quiet();
    let direction = dsip_endpoint::media::Direction::SendRecv;
    let made = dsip_endpoint::media::Session::offer(super::cast::loopback(), source, sink, direction).await;
    let (session, _, offer) = made.map_err(|error| Broken(error.to_string()))?;
    drop(session);
    Ok(dsip_endpoint::phone::from_media(&offer))
}

/// A genuine answer to somebody else's offer.
pub(super) async fn selection(offer: Description) -> Result<Description, Broken> {
    let (source, sink) = quiet();
    let direction = dsip_endpoint::media::Direction::SendRecv;
    let offer = dsip_endpoint::phone::to_media(&offer);
    let made = dsip_endpoint::media::Session::answer(super::cast::loopback(), source, sink, offer, direction).await;
    let (session, _, selection) = made.map_err(|error| Broken(error.to_string()))?;
    drop(session);
    Ok(dsip_endpoint::phone::from_media(&selection))
}

fn quiet() -> (dsip_endpoint::audio::Source, dsip_endpoint::audio::Sink) {
    (dsip_endpoint::audio::Source::silence(), dsip_endpoint::audio::Sink::discard())
}
