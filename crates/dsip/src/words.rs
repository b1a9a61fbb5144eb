//! What a phone's events look like: one JSON object each, under names that scripts may rely on (`docs/guide/cli.md`), or a
//! line for people with the time since the command began.

use std::fmt;
use std::time::{Duration, Instant};

use dsip_endpoint::link::Transport;
use dsip_endpoint::phone::{Company, Event, Party, Record, Side, Suspicion};
use dsip_endpoint::resolve::{Located, Source};
use dsip_media::stats::Report;
use dsip_proto::wire::Reason;
use dsip_proto::wire::token::{AnsweredBy, Direction};
use serde_json::{Map, Value, json};

use crate::output::{Output, Style, acts};

/// Tells what happens, with the time since `began`.
#[derive(Debug)]
pub(crate) struct Teller<'a> {
    out: &'a Output,
    began: Instant,
}

/// A line in both forms.
struct Line {
    name: &'static str,
    fields: Map<String, Value>,
    words: String,
}

impl<'a> Teller<'a> {
    /// Begins to tell.
    pub(crate) fn new(out: &'a Output) -> Self {
        Self { out, began: Instant::now() }
    }

    /// Where somebody was found.
    pub(crate) fn found(&self, located: &Located) {
        let places: Vec<Value> = located
            .candidates
            .iter()
            .map(|place| {
                let node = place.node.as_ref().map(ToString::to_string);
                json!({ "uri": place.uri, "node": node, "source": source(&place.source) })
            })
            .collect();
        let mut words = match located.candidates.first() {
            Some(place) => format!("{} at {} ({})", located.did, place.uri, source(&place.source)),
            None => format!("{}; no record says where to dial them", located.did),
        };
        if let Some((alias, _)) = &located.alias {
            words = format!("{alias} is {words}");
        }
        self.say("found", json!({ "did": located.did, "places": places }), words, Style::Bold);
    }

    /// What a phone tells, except what only commands know how to put.
    pub(crate) fn event(&self, event: &Event) {
        if let Some((line, style)) = line(event) {
            self.write(line, style);
        }
        if let Event::Ended { call, report: Some(report), .. } = event {
            self.statistics(&call.to_string(), report);
        }
    }

    /// How a call sounded.
    fn statistics(&self, call: &str, report: &Report) {
        let figures = serde_json::to_value(report).unwrap_or_default();
        let mut fields = json!({ "call": call });
        if let (Value::Object(fields), Value::Object(figures)) = (&mut fields, figures) {
            fields.extend(figures);
            fields.insert("loss".into(), json!(report.loss()));
        }
        self.say("stats", fields, Figures(report), Style::Dim);
    }

    /// Says one thing, under `name` and with `fields` for programs, in `words` for people.
    pub(crate) fn say(&self, name: &'static str, fields: Value, words: impl fmt::Display, style: Style) {
        let Value::Object(fields) = fields else { return };
        self.write(Line { name, fields, words: words.to_string() }, style);
    }

    fn write(&self, line: Line, style: Style) {
        let elapsed = self.began.elapsed();
        let mut object = Map::new();
        object.insert("event".into(), line.name.into());
        object.extend(line.fields);
        object.insert("at_ms".into(), json!(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)));
        self.out.object(&object);
        let name = self.out.styled(style, format!("{:<11}", line.name));
        // Whatever a stranger had a part in comes by here: it stays one line, and the terminal does nothing about it.
        let words: String = line.words.chars().filter(|c| !acts(*c)).collect();
        self.out.line(format!("{:>8.3} s  {name} {words}", elapsed.as_secs_f64()));
    }
}

/// What a record says, for programs.
fn shown(record: &Result<Record, String>) -> Value {
    match record {
        Ok(Record { title, uri, display }) => json!({
            "verified": true,
            "title": title,
            "uri": uri,
            "original_publisher": display.original_publisher,
            "delivered_by": display.delivered_by,
            "transcoded_by": display.transcoded_by,
            "integrity_mode": display.integrity,
        }),
        Err(why) => json!({ "verified": false, "why": why }),
    }
}

/// The same for people (06 §5).
fn in_words(record: &Result<Record, String>) -> String {
    let Record { title, uri, display } = match record {
        Ok(record) => record,
        Err(why) => return format!("; its record does not verify ({why})"),
    };
    let mut words = String::new();
    if let Some(title) = title {
        words.push_str(&format!("; called \"{title}\""));
    }
    words.push_str(&format!(", signed by {}", display.original_publisher));
    for (did, list) in [("delivered", &display.delivered_by), ("transcoded", &display.transcoded_by)] {
        for by in list {
            words.push_str(&format!(", {did} by {by}"));
        }
    }
    words.push_str(&format!(" ({})", display.integrity));
    match uri {
        Some(uri) => words.push_str(&format!("; at {uri}")),
        None => words.push_str("; in no form this phone plays"),
    }
    words
}

/// An event in both forms. What comes often and means little to a person has none.
fn line(event: &Event) -> Option<(Line, Style)> {
    let line = |name, fields, words: String, style| {
        let Value::Object(fields) = fields else { return None };
        Some((Line { name, fields, words }, style))
    };
    match event {
        Event::Online { relay, uri, transport, .. } => line(
            "ready",
            json!({ "relay": relay, "uri": uri, "transport": transport.map(Transport::id) }),
            format!("calls can come in at {uri}"),
            Style::Good,
        ),
        Event::WakeRegistered { until } => {
            let words = if until.is_some() { "my node wakes this device" } else { "my node lets this device sleep" };
            line("wake", json!({ "until": until }), words.to_owned(), Style::Good)
        }
        Event::WakeRefused { reason } => {
            let why = reason.as_ref().map_or_else(|| "it wakes nobody here".to_owned(), ToString::to_string);
            line(
                "wake-refused",
                json!({ "reason": reason }),
                format!("my node does not wake this device: {why}"),
                Style::Doubtful,
            )
        }
        Event::Offline { why } => {
            line("offline", json!({ "why": why }), format!("{why}; trying again"), Style::Doubtful)
        }
        Event::Aside { company } => {
            let (why, words) = match company {
                Company::InCall => ("in-call", "another program of this home is in a call; waiting until it is over"),
                Company::Newer => ("newer", "another program of this home goes first; waiting until it ends"),
            };
            line("aside", json!({ "why": why }), words.to_owned(), Style::Doubtful)
        }
        Event::Published { accepted } => line(
            "published",
            json!({ "accepted": accepted }),
            format!("where I can be dialled, with {accepted} DHT nodes"),
            Style::Good,
        ),
        Event::Unpublished { why } => line("unpublished", json!({ "why": why }), why.clone(), Style::Doubtful),
        Event::Dialling { call, uri } => {
            line("dialling", json!({ "call": call, "uri": uri }), uri.clone(), Style::Bold)
        }
        Event::Invited { call, relay, transport } => {
            let over = transport.map_or("unknown", Transport::id);
            line(
                "invited",
                json!({ "call": call, "relay": relay, "transport": over }),
                format!("signed, over {over}; the relay proved to be {relay}"),
                Style::Bold,
            )
        }
        Event::Progress { call, status, device } => {
            let name = match status.as_str() {
                "ringing" => "ringing",
                "queued" => "queued",
                "forwarded" => "forwarded",
                _ => "trying",
            };
            line(name, json!({ "call": call, "device": device }), format!("at their device {device}"), Style::Bold)
        }
        Event::Incoming { call, party } => {
            line("incoming", with_party(json!({ "call": call }), party), describe(party), Style::Bold)
        }
        Event::Answered { call, by, party } => line(
            "answered",
            with_party(json!({ "call": call, "answered_by": by }), party),
            format!("{} {}", who(by), describe(party)),
            if *by == AnsweredBy::USER { Style::Good } else { Style::Doubtful },
        ),
        Event::Talking { call } => {
            line("talking", json!({ "call": call }), "encrypted from end to end; Ctrl-C hangs up".into(), Style::Good)
        }
        Event::Interrupted { call } => line(
            "interrupted",
            json!({ "call": call }),
            "the path was lost; looking for another".into(),
            Style::Doubtful,
        ),
        Event::Resumed { call } => line("resumed", json!({ "call": call }), "sound flows again".into(), Style::Good),
        Event::SourceEnded { call } => {
            line("said", json!({ "call": call }), "everything there was to send has been sent".into(), Style::Dim)
        }
        Event::Updated { call, direction, by } => line(
            "updated",
            json!({ "call": call, "direction": direction, "answered_by": by }),
            match by {
                Some(by) => format!("{}; now {}", flow(direction), who(by).trim_end_matches(':')),
                None => flow(direction).to_owned(),
            },
            Style::Good,
        ),
        Event::UpdateRejected { call, reason } => line(
            "update-rejected",
            json!({ "call": call, "reason": reason }),
            format!("they refused the change: {}", reason_in_words(reason)),
            Style::Doubtful,
        ),
        Event::NoPath { call, why } => line(
            "no-path",
            json!({ "call": call, "why": why.to_string() }),
            format!("no path to the other side: {why}"),
            Style::Bad,
        ),
        Event::Ended { call, reason, side, missed, lasted, .. } => {
            let by = match side {
                Side::Us => "us",
                Side::Peer => "peer",
            };
            let seconds = lasted.as_ref().map(Duration::as_secs_f64);
            let length = seconds.map_or(String::new(), |seconds| format!(" after {seconds:.1} s"));
            let missed_words = if *missed { "; a missed call" } else { "" };
            line(
                "ended",
                json!({ "call": call, "reason": reason, "by": by, "missed": missed, "seconds": seconds }),
                format!("{}{length}{missed_words}", reason_in_words(reason)),
                Style::Bold,
            )
        }
        Event::Unreachable { call, why } => {
            line("unreachable", json!({ "call": call, "why": why }), why.clone(), Style::Bad)
        }
        Event::TryAgain { call } => line(
            "try-again",
            json!({ "call": call }),
            "they called at the very same moment; try again".into(),
            Style::Doubtful,
        ),
        Event::Introduced { introduction, party, purpose, by_token } => {
            let wish = purpose.as_ref().map_or(String::new(), |purpose| format!("; they say: \"{purpose}\""));
            let next = if *by_token { "; let in by a contact token" } else { "; see dsip requests" };
            line(
                "introduction",
                with_party(json!({ "introduction": introduction, "purpose": purpose, "by_token": by_token }), party),
                format!("{}{wish}{next}", describe(party)),
                Style::Bold,
            )
        }
        Event::ContactsChanged => {
            line("contacts-changed", json!({}), "another program changed who may call".into(), Style::Dim)
        }
        Event::Asked { introduction, relay } => line(
            "asked",
            json!({ "introduction": introduction, "relay": relay }),
            "the introduction is with their relay; an answer may take its time, or never come".into(),
            Style::Bold,
        ),
        Event::Granted { introduction, by, valid_until } => line(
            "granted",
            json!({ "introduction": introduction, "by": by, "valid_until": valid_until }),
            format!("{by} lets me call"),
            Style::Good,
        ),
        Event::IntroductionRejected { introduction, reason } => line(
            "introduction-rejected",
            json!({ "introduction": introduction, "reason": reason }),
            reason_in_words(reason),
            Style::Bad,
        ),
        Event::Told { watch, by, told } => {
            let (event, state) = (told.event.as_deref(), told.state.as_deref());
            let mut words = format!("{}, says {by}", state.unwrap_or("nothing it can put in words"));
            let mut fields = json!({
                "watch": watch, "by": by, "about": event, "state": state, "publication": told.publication,
            });
            if let (Some(record), Value::Object(fields)) = (&told.record, &mut fields) {
                fields.insert("record".into(), shown(record));
                words.push_str(&in_words(record));
            }
            line("told", fields, words, Style::Good)
        }
        Event::WatchEnded { watch, reason } => line(
            "unwatched",
            json!({ "watch": watch, "reason": reason }),
            reason.as_ref().map_or_else(|| "nobody there to ask".to_owned(), reason_in_words),
            Style::Doubtful,
        ),
        Event::Security { what, signer, session } => {
            let what = match what {
                Suspicion::NotAParty { kind } => {
                    format!("a message ({kind}) from somebody who has no part in the call")
                }
                Suspicion::Unverified { code } => format!("a message that does not verify ({code})"),
                Suspicion::WrongRelay { why } => format!("a relay is not to be trusted: {why}"),
            };
            line(
                "security",
                json!({ "what": what, "signer": signer, "session": session }),
                format!("ignored {what}"),
                Style::Doubtful,
            )
        }
        Event::Reported { session, reason } => line(
            "reported",
            json!({ "session": session, "reason": reason }),
            format!("the other side, or a relay, reports: {}", reason_in_words(reason)),
            Style::Doubtful,
        ),
        Event::Trouble { what } => line("trouble", json!({ "what": what }), what.clone(), Style::Bad),
        Event::Stats { .. } => None,
    }
}

/// Who is at the other end: the owner's own name for them, or what they claim, and always the basis.
fn describe(party: &Party) -> String {
    let name = match (&party.contact, &party.claimed_name) {
        (Some(contact), _) => contact.clone(),
        (None, Some(claimed)) => format!("somebody who says to be \"{}\"", brief(claimed)),
        (None, None) => "somebody".to_owned(),
    };
    let known = if party.known { "in my contacts" } else { "not in my contacts" };
    format!("{name} · {} · {} · {known}", party.identity, party.basis)
}

fn with_party(mut fields: Value, party: &Party) -> Value {
    if let Value::Object(fields) = &mut fields {
        let Party { identity, device, claimed_name, contact, known, basis } = party;
        fields.extend([
            ("identity".into(), json!(identity)),
            ("device".into(), json!(device)),
            ("claimed_name".into(), json!(claimed_name)),
            ("contact".into(), json!(contact)),
            ("known".into(), json!(known)),
            ("basis".into(), json!(basis)),
        ]);
    }
    fields
}

/// ANS-2, TRU-10: a person is told apart from everything else, and it is their word.
fn who(by: &AnsweredBy) -> &'static str {
    match by.as_str() {
        "user" => "in person:",
        "screening" => "they are screening; say what it is about:",
        "gateway" => "a gateway, for somebody beyond it:",
        _ => "an automatic service:",
    }
}

/// Which way sound goes, seen from here.
fn flow(direction: &Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sound goes both ways",
        Direction::SendOnly => "sound goes from here to them alone",
        Direction::RecvOnly => "sound comes from them alone",
        Direction::Inactive => "on hold: no sound either way",
    }
}

/// A reason as people say it, and its token.
fn reason_in_words(reason: &Reason) -> String {
    let words = match reason.as_str() {
        "user.hangup" => "hung up",
        "user.declined" => "declined",
        "user.cancelled" => "given up",
        "user.no-answer" | "session.timeout" => "nobody answered",
        "user.blocked" | "policy.blocked" => "they do not want to hear from us",
        "endpoint.busy" => "busy",
        "endpoint.unavailable" => "not to be reached now",
        "session.answered-elsewhere" | "session.already-answered" => "answered on another device",
        "session.glare" => "both called at the same time",
        "media.failed" => "no path for sound",
        "media.unsupported" => "no common way to send sound",
        "policy.first-contact-required" => "they want to be asked first: see dsip introduce",
        "policy.rate-limited" | "transport.rate-limited" => "too often; try again later",
        "transport.unknown-recipient" => "nobody of that identity is at this node",
        "transport.routing-refused" => "this node does not carry it",
        "transport.hello-rejected" => "this node does not serve us",
        _ => return reason.to_string(),
    };
    format!("{words} ({reason})")
}

fn source(source: &Source) -> String {
    match source {
        Source::Document => "their DID document".into(),
        Source::Hint { seq, .. } => format!("a hint they signed, number {seq}, from the DHT"),
        Source::Link => "the link".into(),
    }
}

/// A claimed name is no place for a speech.
fn brief(text: &str) -> String {
    text.chars().filter(|c| !acts(*c)).take(64).collect()
}

struct Figures<'a>(&'a Report);

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        write!(f, "loss {:.1} %, jitter {:.1} ms", report.loss() * 100.0, report.jitter_ms)?;
        if let Some(round_trip) = report.round_trip_ms {
            write!(f, ", round trip {round_trip:.1} ms")?;
        }
        if let Some(mos) = report.mos {
            write!(f, ", estimated MOS {mos:.2}")?;
        }
        write!(f, "; {} packets sent, {} received", report.sent, report.received)
    }
}
