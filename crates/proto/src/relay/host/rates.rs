//! What each party may do in a while: one account for each device, identity, address and kind of message. Who costs something
//! to be may do more.

use std::net::IpAddr;
use std::time::Duration;

use super::Host;
use super::config::Rates;
use crate::relay::message::{Body, Message};
use crate::relay::rate::{Buckets, Rate};
use crate::time::Tick;
use crate::wire::{Did, Kind, Reason};

/// Parties whose rates are remembered at once, of each kind.
const MAX_PARTIES: usize = 262_144;

/// What somebody is to a node, by what it would cost to be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// An identity made out of nothing: a `did:key`.
    Stranger,
    /// One that rests on a domain, which somebody pays for: a `did:web`.
    Domain,
    /// One that the operator has let in: a member, or a name at the node's own domain.
    Known,
}

impl Tier {
    /// What it may do, for each one that a stranger may.
    const fn times(self) -> u32 {
        match self {
            Self::Stranger => 1,
            Self::Domain => 2,
            Self::Known => 4,
        }
    }
}

/// A rate that somebody has used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Frames of an address before a verified `hello`.
    Strangers,
    /// Envelopes from one address.
    Address,
    /// Envelopes of one device.
    Device,
    /// Envelopes of one identity.
    Identity,
    /// Invites of one identity.
    Invites,
    /// `info` of one identity.
    Infos,
    /// Introductions of one identity.
    Introductions,
    /// Introductions to one recipient.
    IntroductionsReceived,
    /// `subscribe` of one identity.
    Subscribes,
    /// `publish`, `unpublish` and `provenance` of one identity.
    Publications,
    /// Documents that an address may make the node fetch.
    Fetches,
}

impl Limit {
    /// What it is called where it is counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strangers => "strangers",
            Self::Address => "address",
            Self::Device => "device",
            Self::Identity => "identity",
            Self::Invites => "invites",
            Self::Infos => "infos",
            Self::Introductions => "introductions",
            Self::IntroductionsReceived => "introductions-received",
            Self::Subscribes => "subscribes",
            Self::Publications => "publications",
            Self::Fetches => "fetches",
        }
    }

    /// RLY-70, RLY-71: what its sender is told.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Strangers | Self::Address | Self::Device | Self::Identity | Self::Fetches => {
                Reason::TRANSPORT_RATE_LIMITED
            }
            Self::Invites
            | Self::Infos
            | Self::Introductions
            | Self::IntroductionsReceived
            | Self::Subscribes
            | Self::Publications => Reason::POLICY_RATE_LIMITED,
        }
    }
}

/// Everybody's accounts.
pub(super) struct Accounts {
    rates: Rates,
    strangers: Buckets<IpAddr>,
    addresses: Buckets<IpAddr>,
    fetches: Buckets<IpAddr>,
    devices: Buckets<Did>,
    identities: Buckets<Did>,
    invites: Buckets<Did>,
    infos: Buckets<Did>,
    introductions: Buckets<Did>,
    domain_introductions: Buckets<Did>,
    introductions_received: Buckets<Did>,
    subscribes: Buckets<Did>,
    publications: Buckets<Did>,
}

impl Accounts {
    pub(super) fn new(rates: Rates) -> Self {
        let of_addresses = |rate| Buckets::new(rate, MAX_PARTIES);
        let of_parties = |rate| Buckets::new(rate, MAX_PARTIES);
        Self {
            strangers: of_addresses(rates.strangers),
            addresses: of_addresses(rates.networks),
            fetches: of_addresses(rates.fetches),
            devices: of_parties(rates.devices),
            identities: of_parties(rates.envelopes),
            invites: of_parties(rates.invites),
            infos: of_parties(rates.infos),
            introductions: of_parties(rates.introductions),
            domain_introductions: of_parties(rates.domain_introductions),
            introductions_received: of_parties(rates.introductions_received),
            subscribes: of_parties(rates.subscribes),
            publications: of_parties(rates.publications),
            rates,
        }
    }

    /// The operator allows more or less from now on.
    pub(super) fn allow(&mut self, devices: Rate, envelopes: Rate, invites: Rate) {
        self.devices.set_rate(devices);
        self.identities.set_rate(envelopes);
        self.invites.set_rate(invites);
        (self.rates.devices, self.rates.envelopes, self.rates.invites) = (devices, envelopes, invites);
    }

    /// Envelopes and invites that one device of this tier may send in a minute, as it is told (CAP-3).
    pub(super) fn each_minute(&self, tier: Tier) -> (u64, u64) {
        let of = |rate: Rate| rate.times(tier.times()).each_minute();
        (of(self.rates.envelopes).min(of(self.rates.devices)), of(self.rates.invites))
    }

    /// Whether this address may send a frame before it has said who it is.
    pub(super) fn knock(&mut self, from: &IpAddr, now: Tick) -> Result<(), Limit> {
        self.strangers.take(from, now).map_err(|_| Limit::Strangers)
    }

    /// Whether a frame from this address may make us fetch a document.
    pub(super) fn fetch(&mut self, from: &IpAddr, now: Tick) -> Result<(), Limit> {
        self.fetches.take(from, now).map_err(|_| Limit::Fetches)
    }

    /// RLY-70: whether the address, the device and its identity may send one more envelope, in this order: what one device
    /// sends too much costs the others of its identity nothing.
    pub(super) fn envelope(
        &mut self,
        from: Option<&IpAddr>,
        (device, identity): (&Did, &Did),
        tier: Tier,
        now: Tick,
    ) -> Result<(), (Limit, Duration)> {
        let times = tier.times();
        from.map_or(Ok(()), |from| self.addresses.take(from, now)).map_err(|wait| (Limit::Address, wait))?;
        self.devices.take_by(device, times, now).map_err(|wait| (Limit::Device, wait))?;
        self.identities.take_by(identity, times, now).map_err(|wait| (Limit::Identity, wait))
    }

    /// RLY-61, RLY-71: whether the identity may send one more of this kind, whoever the recipient is.
    pub(super) fn of_kind(
        &mut self,
        identity: &Did,
        tier: Tier,
        message: &Message,
        now: Tick,
    ) -> Result<(), (Limit, Duration)> {
        let times = tier.times();
        let (limit, taken) = match message.body {
            Body::Invite => (Limit::Invites, self.invites.take_by(identity, times, now)),
            Body::Other(Kind::Info) => (Limit::Infos, self.infos.take_by(identity, times, now)),
            Body::Other(Kind::Subscribe) => (Limit::Subscribes, self.subscribes.take(identity, now)),
            Body::Other(Kind::Publish | Kind::Unpublish | Kind::Provenance) => {
                (Limit::Publications, self.publications.take(identity, now))
            }
            Body::Introduction => {
                let sent = match tier {
                    Tier::Stranger => &mut self.introductions,
                    Tier::Domain | Tier::Known => &mut self.domain_introductions,
                };
                sent.take(identity, now).map_err(|wait| (Limit::Introductions, wait))?;
                let received = &mut self.introductions_received;
                (Limit::IntroductionsReceived, message.to.as_ref().map_or(Ok(()), |to| received.take(to, now)))
            }
            _ => return Ok(()),
        };
        taken.map_err(|wait| (limit, wait))
    }
}

impl Host {
    /// What this identity is to us. Documents that were not fetched are those that the operator vouches for.
    pub(super) fn tier(&self, identity: &Did) -> Tier {
        let vouched = || self.documents.get(identity).is_some() && !self.known.contains_key(identity);
        if self.admittance.members.contains(identity) || vouched() {
            Tier::Known
        } else if identity.method() == "web" {
            Tier::Domain
        } else {
            Tier::Stranger
        }
    }
}
