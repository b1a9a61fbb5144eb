//! Component `endpoint`: the session engine on abbreviated messages.

use serde_json::{Value, json};

use super::{Clock, Members, members, shown};
use crate::endpoint::{
    Body, Command, Config, Direction, Engine, Input, Media, Output, Received, Role, Send, State, TimerEvent, Ui,
};
use crate::wire::Ulid;
use crate::wire::token::AnsweredBy;

pub(super) struct Endpoint {
    engine: Engine,
    clock: Clock,
}

impl Endpoint {
    pub(super) fn new(context: &Members<'_>) -> Result<Self, String> {
        let clock = Clock::new(context)?;
        let me = context.object("self")?.ok_or("no `self`")?;
        let mut config = Config::new(me.required("device")?, me.required("identity")?);
        if let Some(timers) = context.object("timers")? {
            config.t_establish = timers.number("t_establish")?.unwrap_or(config.t_establish);
            config.t_ring = timers.number("t_ring")?.unwrap_or(config.t_ring);
            config.t_ring_local = timers.number("t_ring_local")?.unwrap_or(config.t_ring_local);
        }
        let policy = context.object("policy")?;
        if let Some(policy) = &policy {
            config.first_contact_required = policy.get("first_contact_required") == Some(&Value::Bool(true));
        }
        let mut engine = Engine::new(config);
        if let Some(identities) = context.object("identities")? {
            for device in identities.0.keys() {
                let identity = identities.required(device)?;
                engine.learn(&device.parse().map_err(|_| format!("not a DID: {device:?}"))?, &identity, None);
            }
        }
        if let Some(policy) = policy {
            for identity in policy.list("allow")? {
                let allow = Command::Allow { identity, allowed: true };
                engine.handle(clock.0, Input::Command(allow), &mut Vec::new());
            }
        }
        Ok(Self { engine, clock })
    }

    pub(super) fn feed(&mut self, event: &Members<'_>) -> Result<Vec<Value>, String> {
        let input = if let Some(message) = event.object("recv")? {
            Input::Received(received(&message)?)
        } else if let Some(secs) = event.number("advance")? {
            self.clock.advance(secs);
            Input::Tick
        } else {
            Input::Command(command(event)?)
        };
        let mut out = Vec::new();
        self.engine.handle(self.clock.0, input, &mut out);
        Ok(out.into_iter().filter_map(emission).collect())
    }

    pub(super) fn snapshot(&self, name: &str, wanted: &Value) -> Option<Value> {
        match name {
            "sessions" => {
                let ids = wanted.as_object()?.keys();
                Some(ids.map(|id| (id.clone(), id.parse().map_or(Value::Null, |id| self.session(id)))).collect())
            }
            "contacts" => {
                let contacts = self.engine.contacts();
                let ids = |ids: &mut dyn Iterator<Item = Ulid>| ids.map(|id| id.to_string()).collect::<Vec<_>>();
                Some(json!({
                    "allow": contacts.allowed().collect::<Vec<_>>(),
                    "grants_issued": ids(&mut contacts.issued().map(|(id, _)| id)),
                    "grants_held": ids(&mut contacts.held().map(|(id, _)| id)),
                    "requests": ids(&mut contacts.requests().map(|(id, _)| id)),
                    "pending_sent": ids(&mut contacts.pending().map(|(id, _)| id)),
                }))
            }
            _ => None,
        }
    }

    fn session(&self, id: Ulid) -> Value {
        let Some(session) = self.engine.session(id) else { return Value::Null };
        let direction = |direction| if direction == Direction::Outbound { "outbound" } else { "inbound" };
        json!({
            "role": match session.role { Role::Initiator => "initiator", Role::Responder => "responder" },
            "state": match session.state {
                State::Inviting => "INVITING",
                State::Proceeding => "PROCEEDING",
                State::Offered => "OFFERED",
                State::Alerting => "ALERTING",
                State::Active => "ACTIVE",
                State::Ended => "ENDED",
            },
            "renegotiating": session.update.is_some_and(|update| update.direction == Direction::Outbound),
            "outstanding_update": session.update.map(|update| json!({
                "id": update.id,
                "direction": direction(update.direction),
            })),
        })
    }
}

fn received(message: &Members<'_>) -> Result<Received, String> {
    let body = match message.required::<String>("type")?.as_str() {
        "invite" => Body::Invite,
        "progress" => Body::Progress {
            session: message.required("session")?,
            status: message.required("status")?,
            ring_timeout: message.number("ring_timeout")?,
            queue_timeout: message.number("queue_timeout")?,
        },
        "answer" => Body::Answer {
            session: message.required("session")?,
            answered_by: message.parsed("answered_by")?.unwrap_or(AnsweredBy::USER),
            in_reply_to: message.parsed("in_reply_to")?,
            media_ok: true,
        },
        "reject" => Body::Reject {
            session: message.required("session")?,
            reason: message.required("reason")?,
            in_reply_to: message.parsed("in_reply_to")?,
        },
        "cancel" => Body::Cancel { session: message.required("session")?, reason: message.required("reason")? },
        "update" => Body::Update { session: message.required("session")?, answered_by: message.parsed("answered_by")? },
        "info" => Body::Info { session: message.required("session")?, about: message.required("about")? },
        "bye" => Body::Bye { session: message.required("session")?, reason: message.required("reason")? },
        "error" => Body::Error {
            session: message.parsed("session")?,
            reason: message.required("reason")?,
            in_reply_to: message.parsed("in_reply_to")?,
        },
        "introduction" => Body::Introduction { contact_token: message.parsed("contact_token")? },
        "grant" => Body::Grant {
            session: message.required("session")?,
            scope: message.list("scope")?,
            valid_until: message.number("valid_until")?.unwrap_or_default(),
        },
        other => return Err(format!("the endpoint takes no {other:?}")),
    };
    Ok(Received {
        id: message.required("id")?,
        from: message.required("from")?,
        to: message.parsed("to")?,
        expires_at: message.number("expires_at")?,
        body,
        proof: None, // PTY-7
    })
}

fn command(event: &Members<'_>) -> Result<Command, String> {
    let session = || event.required("session");
    Ok(match event.required::<String>("local")?.as_str() {
        "place_call" => Command::PlaceCall { session: session()?, to: event.required("to")? },
        "cancel" => Command::Cancel { session: session()? },
        "hangup" => Command::Hangup { session: session()?, reason: event.parsed("reason")? },
        "alert" => Command::Alert { session: session()?, ring_timeout: event.number("ring_timeout")? },
        "auto_reject" => Command::AutoReject { session: session()?, reason: event.required("reason")? },
        "accept" => Command::Accept { session: session()?, answered_by: event.parsed("answered_by")? },
        "decline" => Command::Decline { session: session()? },
        "update" => Command::Update {
            session: session()?,
            id: event.required("id")?,
            answered_by: event.parsed("answered_by")?,
        },
        "answer_update" => Command::AnswerUpdate {
            session: session()?,
            in_reply_to: event.required("in_reply_to")?,
            answered_by: event.parsed("answered_by")?,
        },
        "reject_update" => Command::RejectUpdate {
            session: session()?,
            in_reply_to: event.required("in_reply_to")?,
            reason: event.required("reason")?,
        },
        "info" => Command::Info { session: session()? },
        "introduce" => Command::Introduce {
            id: event.required("id")?,
            to: event.required("to")?,
            purpose: event.parsed("purpose")?,
            contact_token: event.parsed("contact_token")?,
        },
        "grant" => Command::Grant {
            introduction: event.required("introduction")?,
            id: event.required("id")?,
            scope: event.list("scope")?,
            valid_until: event.number("valid_until")?.ok_or("no `valid_until`")?,
        },
        "reject_introduction" => Command::RejectIntroduction {
            introduction: event.required("introduction")?,
            reason: event.parsed("reason")?,
        },
        "revoke" => Command::Revoke { grant: event.required("grant")? },
        "issue_token" => Command::IssueToken { token: event.required("token")?, grant_id: event.required("grant_id")? },
        other => return Err(format!("unknown local request {other:?}")),
    })
}

/// The output as a trace writes it; `None` for what lies beside the trace.
fn emission(output: Output) -> Option<Value> {
    Some(match output {
        Output::Send(message) => json!({ "send": send(message) }),
        Output::Timer { name, event, .. } => match event {
            TimerEvent::Start(secs) => json!({"timer": "start", "name": name.as_str(), "seconds": secs}),
            TimerEvent::Stop => json!({"timer": "stop", "name": name.as_str()}),
            TimerEvent::Fire => json!({"timer": "fire", "name": name.as_str()}),
        },
        Output::Media { action, .. } => match action {
            Media::Start => json!({"media": "start"}),
            Media::Stop => json!({"media": "stop"}),
            Media::ApplyUpdate => json!({"media": "apply_update"}),
        },
        Output::Ui { event, .. } => ui(event),
        Output::Info { about, .. } => json!({"info": {"about": about}}),
        Output::Drop(why) => json!({"drop": why.as_str()}),
        Output::Refused(why) => json!({"refused": why.as_str()}),
        Output::ContactsChanged | Output::Intrusion { .. } => return None,
    })
}

fn ui(event: Ui) -> Value {
    match event {
        Ui::Offered => json!({"ui": "offered"}),
        Ui::MissedCall => json!({"ui": "missed_call"}),
        Ui::UpdateOffered => json!({"ui": "update_offered"}),
        Ui::GlareRetry => json!({"ui": "glare_retry"}),
        Ui::Progress(status) => json!({"ui": "progress", "status": status}),
        Ui::Answered(answered_by) => json!({"ui": "answered", "answered_by": answered_by}),
        Ui::Ended(reason) => json!({"ui": "ended", "reason": reason}),
        Ui::UpdateRejected(reason) => json!({"ui": "update_rejected", "reason": reason}),
        Ui::Error(reason) => json!({"ui": "error", "reason": reason}),
        Ui::IntroductionReceived { from, token: true } => {
            json!({"ui": "introduction_received", "from": from, "token": true})
        }
        Ui::IntroductionReceived { from, token: false } => json!({"ui": "introduction_received", "from": from}),
        Ui::Granted { by } => json!({"ui": "granted", "by": by}),
        Ui::IntroductionRejected(reason) => json!({"ui": "introduction_rejected", "reason": reason}),
    }
}

fn send(message: Send) -> Value {
    let number = |number: Option<u64>| number.map(Value::from);
    match message {
        Send::Invite { to, session, grant } => members([
            ("type", shown("invite")),
            ("to", shown(to)),
            ("session", shown(session)),
            ("grant", grant.and_then(shown)),
        ]),
        Send::Progress { to, session, status, ring_timeout } => members([
            ("type", shown("progress")),
            ("to", shown(to)),
            ("session", shown(session)),
            ("status", shown(status)),
            ("ring_timeout", number(ring_timeout)),
        ]),
        Send::Answer { to, session, answered_by, in_reply_to } => members([
            ("type", shown("answer")),
            ("to", shown(to)),
            ("session", shown(session)),
            ("answered_by", shown(answered_by)),
            ("in_reply_to", in_reply_to.and_then(shown)),
        ]),
        Send::Reject { to, session, reason, in_reply_to } => members([
            ("type", shown("reject")),
            ("to", shown(to)),
            ("session", shown(session)),
            ("reason", shown(reason)),
            ("in_reply_to", in_reply_to.and_then(shown)),
        ]),
        Send::Cancel { to, session, reason } => members([
            ("type", shown("cancel")),
            ("to", shown(to)),
            ("session", shown(session)),
            ("reason", shown(reason)),
        ]),
        Send::Update { to, session, id, answered_by } => members([
            ("type", shown("update")),
            ("to", shown(to)),
            ("session", shown(session)),
            ("id", shown(id)),
            ("answered_by", answered_by.and_then(shown)),
        ]),
        Send::Info { to, session } => {
            members([("type", shown("info")), ("to", shown(to)), ("session", shown(session))])
        }
        Send::Bye { to, session, reason } => {
            members([("type", shown("bye")), ("to", shown(to)), ("session", shown(session)), ("reason", shown(reason))])
        }
        Send::Error { to, session, reason, in_reply_to } => members([
            ("type", shown("error")),
            ("to", shown(to)),
            ("session", session.and_then(shown)),
            ("reason", shown(reason)),
            ("in_reply_to", shown(in_reply_to)),
        ]),
        Send::Introduction { to, id, purpose, contact_token } => members([
            ("type", shown("introduction")),
            ("to", shown(to)),
            ("id", shown(id)),
            ("purpose", purpose.and_then(shown)),
            ("contact_token", contact_token.and_then(shown)),
        ]),
        Send::Grant { to, session, id, scope, valid_until } => members([
            ("type", shown("grant")),
            ("to", shown(to)),
            ("session", shown(session)),
            ("id", shown(id)),
            ("scope", Some(json!(scope))),
            ("valid_until", Some(Value::from(valid_until))),
        ]),
    }
}
