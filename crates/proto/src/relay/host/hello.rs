//! A verified `hello`: which device speaks on a connection from here on, and what it is told.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::rand_core::Rng as _;
use serde_json::Map;

use super::refusals::Refusal;
use super::{Close, Conn, Elsewhere, Event, Host, Output, State};
use crate::envelope::Verified;
use crate::relay::engine;
use crate::time::Now;
use crate::turn;
use crate::wake;
use crate::wire::message::{self, Capabilities, RateLimit};
use crate::wire::token::BindingId;
use crate::wire::{self, Did, Reason, Ulid};

impl Host {
    pub(super) fn greeted(
        &mut self,
        now: Now,
        conn: Conn,
        verified: &Verified<wire::Message>,
        hello: &message::Hello,
        out: &mut Vec<Output>,
    ) {
        let (device, identity) = (hello.common.from.clone(), verified.identity().clone());
        // A relay's form of hello has no business here, and a hello is for whom it says (HEL-12).
        let is_for_us = hello.in_reply_to.is_none() && self.is_for_us(conn, verified.audience());
        if !is_for_us || !self.may_bind(&device, &identity) {
            out.push(Output::Event(Event::Refused(conn, Reason::TRANSPORT_HELLO_REJECTED)));
            let refused = Refusal::of(device, Reason::TRANSPORT_HELLO_REJECTED, Some(hello.common.id));
            return self.send_refusal(now, conn, refused, out);
        }
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let earlier = std::mem::replace(
            &mut connection.state,
            State::Bound { device: device.clone(), identity: identity.clone() },
        );
        if let State::Bound { device: before, identity: of } = earlier {
            // WS-8: the connection spoke for another device so far.
            if before != device {
                self.unbind(now, conn, &before, out);
                self.take_back(now, conn, out);
            } else if of != identity {
                self.went(now, &before, &of, out);
            }
            // Nobody needs to say hello often; each one is work.
            self.count_refusal(now, conn, out);
            if self.connections.get(&conn).is_none_or(|connection| matches!(connection.state, State::Closing)) {
                return; // that was one too many
            }
        }
        // WS-7, WS-9, QB-5: the newer connection owns the binding before the older one is told to go.
        if let Some(older) = self.devices.insert(device.clone(), conn)
            && older != conn
        {
            self.close(now, older, Close::Replaced, out);
        }
        // DEL-13: the binding lasts as long as what proves it.
        let until = verified.proofs().iter().filter(|proof| proof.identity == identity).map(|proof| proof.until).max();
        let deadline = until.filter(|_| identity != device).map(|until| {
            now.tick + Duration::from_millis(until.saturating_mul(1000).saturating_sub(now.wall.millis()))
        });
        self.set_deadline(conn, deadline);

        let reply = self.hello(now, hello.common.id, &identity);
        self.transmit(conn, None, reply, out); // HEL-4, before anything that waited
        out.push(Output::Event(Event::Bound(conn)));
        let input = engine::Input::Bind { device: device.clone(), identity: identity.clone() };
        self.engine.handle(now, input, &mut self.routed);
        self.carry_out(now, None, out);
        self.awake(&device, &identity, out);
        self.came(now, &device, &identity, out);
    }

    fn is_for_us(&self, conn: Conn, audience: Option<&str>) -> bool {
        let Some(audience) = audience else { return !self.config.requires_audience };
        let here = self.connections.get(&conn).and_then(|connection| connection.at.as_deref());
        audience == self.did.as_str()
            || here == Some(audience)
            || self.config.addresses.iter().any(|address| address == audience)
    }

    /// HEL-4. TURN-1: whatever it grants `identity` goes to this one connection, which TLS hides from others.
    fn hello(&mut self, now: Now, in_reply_to: Ulid, identity: &Did) -> Arc<str> {
        let (envelopes, invites) = self.accounts.each_minute(self.tier(identity));
        let stun_port = self.config.stun_port.map(|port| ("stun_port".to_owned(), port.into()));
        let is_served = self.admittance.serves(identity);
        let turn = self.config.turn.as_ref().filter(|_| is_served).map(|turn| {
            let mut salt = [0; turn::SALT];
            self.rng.fill_bytes(&mut salt);
            let expires_at = now.wall.secs() + turn.lifetime.as_secs();
            turn.issuer.issue(identity, expires_at, salt, turn.ports).member()
        });
        let default = if self.config.presence_is_public { "public" } else { "private" };
        let presence = ("presence".to_owned(), serde_json::json!({ "default": default, "policies": "0.1" })); // PRS-5
        let elsewhere = self.config.elsewhere.as_ref().map(Elsewhere::member);
        let closed = self.admittance.closed.then(|| ("member".to_owned(), is_served.into())); // ADM-4
        let wakes = self.config.wake.filter(|_| is_served).map(|config| wake::member(&config.key)); // WAK-1
        let also = stun_port.into_iter().chain(turn).chain([presence]).chain(closed).chain(elsewhere);
        let rest = also.chain(wakes.clone()).collect();
        let capabilities = Capabilities {
            max_envelope_bytes: 65_536, // CAP-1
            store_and_forward: Some(true),
            offline_retention_s: Some(self.config.engine.retention.as_secs()),
            rate_limit: Some(RateLimit {
                envelopes_per_minute: Some(envelopes),
                invites_per_minute: Some(invites),
                rest: Map::new(),
            }),
            push_wake: wakes.is_some().then(|| vec![wake::SERVICE.to_owned()]),
            rest,
        };
        let hello = message::Hello {
            common: self.common(now, &[]),
            on_behalf_of: None,
            bindings: Some(vec![BindingId::WS, BindingId::QUIC]),
            in_reply_to: Some(in_reply_to),
            capabilities: Some(capabilities),
        };
        Arc::from(self.signer.sign(&hello.into()).text())
    }
}
