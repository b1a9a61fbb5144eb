//! The agent, driven by a page.

use std::collections::BTreeMap;

use dsip_proto::agent::{
    Agent, Answer, AskId, Config, Description, Event, Identity, Input, LinkChange, LinkId, Memory, Misuse, Output,
    Policy, Relay,
};
use dsip_proto::binding::webrtc;
use dsip_proto::endpoint::Refused;
use dsip_proto::identity::{DeviceKey, Document, PublicKey, SecretKey};
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::wire::token::{AnsweredBy, Token};
use dsip_proto::wire::{Did, Envelope, Reason, Ulid, Unsigned};
use serde::Deserialize;
use serde_json::{Value, json};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::border::{Failure, answer};
use crate::event;

/// A phone, as a page holds one: [`dsip_proto::agent::Agent`] and what its text form needs besides.
///
/// Whoever holds it calls one of the methods for each thing that happens, then [`poll`](Self::poll) until it says `idle`, and
/// carries out what that says, in order. Times are microseconds of a monotonic clock and milliseconds of Unix time.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Phone {
    agent: Agent,
    /// What peers offer that is not answered yet: their selection is described after it (WEB-41). As many as there are calls.
    offers: BTreeMap<Ulid, Description>,
    policy: Policy,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Setup {
    identity: Did,
    delegations: Vec<String>,
    name: Option<String>,
    node: Option<Place>,
    publish: bool,
    policy: Door,
    /// The text of the last `persist`.
    memory: Option<String>,
    /// The texts of the ids that were persisted one by one.
    seen: Vec<String>,
}

#[derive(Deserialize)]
struct Place {
    uri: String,
    did: Option<Did>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Door {
    first_contact: bool,
    do_not_disturb: bool,
}

/// An SDP that the browser made, and what its sections are for, by `a=mid`.
#[derive(Deserialize)]
struct Offer {
    sdp: String,
    #[serde(default)]
    purposes: BTreeMap<String, Token>,
}

/// What a person asks of the phone.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Command {
    Approach { place: Place },
    Call { to: Did, places: Vec<Place>, offer: Offer },
    Accept { call: Ulid, sdp: String, by: AnsweredBy },
    Decline { call: Ulid },
    End { call: Ulid },
    HangUp { call: Ulid, reason: Reason },
    Update { call: Ulid, offer: Offer, by: Option<AnsweredBy> },
    AcceptUpdate { call: Ulid, sdp: String },
    RejectUpdate { call: Ulid, reason: Reason },
    Candidate { call: Ulid, candidate: String, mid: String },
    Gathered { call: Ulid },
    Introduce { to: Did, places: Vec<Place>, purpose: Option<String>, contact_token: Option<String> },
    Grant { introduction: Ulid },
    RejectIntroduction { introduction: Ulid },
    Allow { identity: Did, allowed: bool, name: Option<String> },
    Block { identity: Did, blocked: bool },
    Policy { policy: Door },
    Join { code: String },
}

#[wasm_bindgen]
impl Phone {
    /// A phone that dials its own node as soon as it is polled. `secret` is the device key's, or `public` its public half where
    /// the page signs; `seed` is 32 octets of the browser's randomness.
    ///
    /// # Errors
    /// A sentence, if the page handed in what it never should.
    #[wasm_bindgen(constructor)]
    pub fn new(
        setup: &str,
        secret: Option<Vec<u8>>,
        public: Option<Vec<u8>>,
        seed: &[u8],
        tick: f64,
        wall: f64,
    ) -> Result<Phone, String> {
        let setup: Setup = serde_json::from_str(setup).map_err(|error| error.to_string())?;
        let octets = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| "a key is 32 octets long".to_owned());
        let device = match (secret, public) {
            (Some(secret), None) => {
                let secret = zeroize::Zeroizing::new(octets(secret)?);
                DeviceKey::Held(SecretKey::from_bytes(&secret))
            }
            (None, Some(public)) => DeviceKey::External(PublicKey::from_bytes(octets(public)?)),
            _ => return Err("one key, held or external".into()),
        };
        let seed = <[u8; 32]>::try_from(seed).map_err(|_| "a seed is 32 octets long")?;
        let delegations = setup.delegations.iter().map(|text| Envelope::parse(text)).collect::<Result<Vec<_>, _>>();
        let mut memory: Memory =
            setup.memory.as_deref().map_or(Ok(Memory::default()), serde_json::from_str).map_err(|e| e.to_string())?;
        memory.seen = setup.seen.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        let policy = setup.policy.over(Policy::default());
        let config = Config {
            identity: Identity {
                did: setup.identity,
                device,
                delegations: delegations.map_err(|error| error.to_string())?,
                name: setup.name,
            },
            policy,
            node: setup.node.map(Relay::from),
            publish: setup.publish,
            memory,
        };
        Ok(Self { agent: Agent::new(config, Seed::new(seed), now(tick, wall)), offers: BTreeMap::new(), policy })
    }

    /// The next thing to do, as JSON.
    pub fn poll(&mut self, tick: f64, wall: f64) -> String {
        let output = self.agent.poll(now(tick, wall));
        if let Output::Event(told) = &output {
            self.notice(told);
        }
        event::output(output).to_string()
    }

    /// The wake time came.
    pub fn tick(&mut self, tick: f64, wall: f64) {
        self.agent.handle(now(tick, wall), Input::Tick);
    }

    /// A frame arrived on a link, exactly as it was received (ENV-5).
    pub fn received(&mut self, tick: f64, wall: f64, link: f64, frame: &str) {
        self.agent.handle(now(tick, wall), Input::Received { link: id(link), frame });
    }

    /// A link is open.
    #[wasm_bindgen(js_name = linkUp)]
    pub fn link_up(&mut self, tick: f64, wall: f64, link: f64) {
        self.agent.handle(now(tick, wall), Input::Link(id(link), LinkChange::Up));
    }

    /// A link is closed, or could not be opened.
    #[wasm_bindgen(js_name = linkDown)]
    pub fn link_down(&mut self, tick: f64, wall: f64, link: f64, why: String, replaced: bool) {
        let change = if replaced { LinkChange::Replaced } else { LinkChange::Down(why) };
        self.agent.handle(now(tick, wall), Input::Link(id(link), change));
    }

    /// The document that was asked for, as it was fetched; none if there is none, or if it is not that DID's.
    pub fn document(&mut self, tick: f64, wall: f64, ask: f64, did: &str, document: Option<String>) {
        let did: Option<Did> = did.parse().ok();
        let document = did.zip(document).and_then(|(did, text)| Document::parse(&did, &text).ok());
        self.agent.handle(now(tick, wall), Input::Answer(AskId(whole(ask)), Answer::Document(document)));
    }

    /// Carries out a command, or says why not; then nothing happened.
    pub fn command(&mut self, tick: f64, wall: f64, command: &str) -> String {
        let done = serde_json::from_str(command).map_err(Failure::internal);
        answer(done.and_then(|command| self.obey(now(tick, wall), command)))
    }

    /// Who may call, who asked to, whom we asked: what the page lists.
    pub fn people(&self) -> String {
        let memory = self.agent.memory();
        let allowed: Vec<_> = memory.contacts.allowed().collect();
        let requests: Vec<_> = memory
            .requests
            .iter()
            .map(|(id, request)| {
                json!({
                    "introduction": id,
                    "identity": request.identity,
                    "claimedName": request.claimed_name,
                    "purpose": request.purpose,
                    "at": request.at.saturating_mul(1000),
                })
            })
            .collect();
        let granted: Vec<_> = memory.contacts.issued().map(|(_, grant)| &grant.other).collect();
        json!({ "allowed": allowed, "blocked": memory.blocked, "names": memory.names, "granted": granted, "requests": requests }).to_string()
    }

    /// Whether a call is up or rings.
    #[wasm_bindgen(js_name = isBusy)]
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.agent.live_calls().next().is_some()
    }
}

impl Phone {
    fn notice(&mut self, told: &Event) {
        match told {
            Event::Incoming { call, offer, .. } | Event::UpdateOffered { call, offer, .. } => {
                self.offers.insert(*call, offer.clone());
            }
            Event::Ended { call, .. } | Event::Unreachable { call, .. } => {
                self.offers.remove(call);
            }
            _ => {}
        }
    }

    fn obey(&mut self, now: Now, command: Command) -> Result<Value, Failure> {
        let agent = &mut self.agent;
        match command {
            Command::Approach { place } => agent.approach(&place.into()),
            Command::Call { to, places, offer } => {
                let call = agent.call(now, to, relays(places), offer.described()?).map_err(refused)?;
                return Ok(json!(call));
            }
            Command::Accept { call, sdp, by } => {
                let selection = self.selection(call, sdp)?;
                self.agent.accept(now, call, selection, by).map_err(refused)?;
                self.offers.remove(&call);
            }
            Command::Decline { call } => agent.decline(now, call).map_err(refused)?,
            Command::End { call } => agent.end(now, call).map_err(refused)?,
            Command::HangUp { call, reason } => agent.hang_up(now, call, Some(reason)).map_err(refused)?,
            Command::Update { call, offer, by } => {
                agent.update(now, call, offer.described()?, by).map_err(refused)?;
            }
            Command::AcceptUpdate { call, sdp } => {
                let selection = self.selection(call, sdp)?;
                self.agent.accept_update(now, call, selection).map_err(refused)?;
                self.offers.remove(&call);
            }
            Command::RejectUpdate { call, reason } => {
                self.offers.remove(&call);
                self.agent.reject_update(now, call, reason).map_err(refused)?;
            }
            Command::Candidate { call, candidate, mid } => agent.candidate(now, call, candidate, mid),
            Command::Gathered { call } => agent.gathered(now, call),
            Command::Introduce { to, places, purpose, contact_token } => {
                let id = agent.introduce(now, to, relays(places), purpose, contact_token).map_err(refused)?;
                return Ok(json!(id));
            }
            Command::Grant { introduction } => {
                agent.grant(now, introduction).map_err(refused)?;
            }
            Command::RejectIntroduction { introduction } => {
                agent.reject_introduction(now, introduction, None).map_err(refused)?;
            }
            Command::Allow { identity, allowed, name } => {
                agent.allow(now, &identity, allowed, name).map_err(refused)?;
            }
            Command::Block { identity, blocked } => agent.block(now, &identity, blocked).map_err(refused)?,
            Command::Policy { policy } => {
                self.policy = policy.over(self.policy);
                agent.set_policy(now, self.policy).map_err(refused)?;
            }
            Command::Join { code } => return Ok(json!(agent.join(now, &code).map_err(refused)?)),
        }
        Ok(Value::Null)
    }

    fn selection(&self, call: Ulid, sdp: String) -> Result<Description, Failure> {
        let offer = self.offers.get(&call).ok_or_else(|| Failure::new("no-such-call", "nothing waits to be answered"))?;
        let media = webrtc::describe_answer(&sdp, &offer.media, &offer.sdp).map_err(indescribable)?;
        Ok(Description { media, sdp })
    }
}

impl Offer {
    fn described(self) -> Result<Description, Failure> {
        let purpose = |mid: &str| self.purposes.get(mid).cloned();
        let media = webrtc::describe_offer(&self.sdp, purpose).map_err(indescribable)?;
        Ok(Description { media, sdp: self.sdp })
    }
}

impl Door {
    fn over(self, policy: Policy) -> Policy {
        Policy { first_contact: self.first_contact, do_not_disturb: self.do_not_disturb, ..policy }
    }
}

impl From<Place> for Relay {
    fn from(place: Place) -> Self {
        Self { uri: place.uri, bindings: Vec::new(), node: place.did }
    }
}

/// What a frame that the page has to sign is signed over, or nothing if it is signed.
#[wasm_bindgen(js_name = signingInput)]
#[must_use]
pub fn signing_input(frame: &str) -> Option<String> {
    Unsigned::of(frame).map(|unsigned| unsigned.input().to_owned())
}

/// The frame with the signature that the page made; nothing if it wanted none, or if that is not 64 octets long.
#[wasm_bindgen]
#[must_use]
pub fn signed(frame: &str, signature: &[u8]) -> Option<String> {
    Some(Unsigned::of(frame)?.signed(signature.try_into().ok()?))
}

fn relays(places: Vec<Place>) -> Vec<Relay> {
    places.into_iter().map(Relay::from).collect()
}

fn indescribable(error: webrtc::Indescribable) -> Failure {
    Failure::new("media-failed", error)
}

fn refused(misuse: Misuse) -> Failure {
    let code = match misuse {
        Misuse::Refused(Refused::UnknownSession) => "no-such-call",
        Misuse::Refused(_) => "refused",
        Misuse::Nowhere => "nowhere-to-dial",
        Misuse::TooManyCalls | Misuse::TooManyWatches => "too-many-calls",
        Misuse::TooManyBlocked => "refused",
        Misuse::TooLong => "too-long",
        Misuse::IceRestart => "media-failed",
    };
    Failure::new(code, misuse)
}

fn now(tick: f64, wall: f64) -> Now {
    Now { tick: Tick::from_micros(whole(tick)), wall: Wall::from_millis(whole(wall)) }
}

fn id(link: f64) -> LinkId {
    LinkId(whole(link))
}

/// A number of JavaScript that counts something. A cast saturates, and what is not a number is zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturation is what is wanted")]
const fn whole(number: f64) -> u64 {
    number as u64
}
