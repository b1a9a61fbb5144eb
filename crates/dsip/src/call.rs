//! `dsip call TARGET`: find, dial, ring, talk, and say how it went.

use std::time::Duration;

use dsip_endpoint::phone::{Audio, Event, Phone, Side};
use dsip_proto::agent::Policy;
use dsip_proto::wire::{Reason, Ulid};
use tokio::time::{Instant, sleep_until};

use crate::cli::Globals;
use crate::end::End;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::phone::locate;
use crate::words::Teller;

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// What `dsip call` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A DID, an alias such as bob@example.org, or a dsip: link
    #[arg(value_name = "TARGET")]
    target: String,
    /// Call under another identity: `ephemeral` is a fresh one, linked to nothing
    #[arg(long = "as", value_enum, value_name = "WHO")]
    identity: Option<Identity>,
    /// What to send: a WAV or Ogg/Opus FILE, loop:FILE, tone:HZ, silence, or exec:COMMAND (its standard output)
    #[arg(long, value_name = "SRC", default_value = "silence")]
    audio_in: String,
    /// Where to record what is heard: FILE.wav, FILE.opus, none, or exec:COMMAND (its standard input)
    #[arg(long, value_name = "FILE", default_value = "none")]
    audio_out: String,
    /// Hang up this many seconds after sound begins to flow
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<Duration>,
}

/// Why samples cannot go to standard output.
pub(crate) const STANDARD_OUTPUT: &str = "standard output is where events are written";

/// Under which identity a call goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Identity {
    /// A fresh did:key for this call alone.
    Ephemeral,
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    if args.audio_out == "-" {
        return Err(Failure::usage("--audio-out", STANDARD_OUTPUT, "record to a file, or use exec:COMMAND"));
    }
    let teller = Teller::new(out);
    let mut config = match args.identity {
        Some(Identity::Ephemeral) => globals.stranger().await?,
        None => globals.owner().await?,
    };
    // One call at a time: whoever calls meanwhile hears that I am busy.
    config.policy = Policy { calls: 1, ..config.policy };
    let (phone, mut events) = Phone::start(config, globals.network().await?)?;
    let located = locate(&phone, &args.target).await?;
    if located.did == *phone.did() {
        return Err(Failure::usage("TARGET", "that is me", "call somebody else; `dsip doctor` checks one's own node"));
    }
    teller.found(&located);
    let call = phone.call(&located, Audio { from: args.audio_in, to: args.audio_out }).await?;

    let mut end = End::new()?;
    let (mut until, mut answered, mut leaving, mut no_path) = (None, false, false, None);
    let exit = loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break Exit::BrokeOff };
                if let Event::Unreachable { call: lost, why } = &event
                    && *lost == call
                {
                    phone.stop().await;
                    return Err(unreachable(&args.target, why));
                }
                if !concerns_the_node(&event) {
                    teller.event(&event);
                }
                match &event {
                    Event::Answered { .. } => answered = true,
                    Event::NoPath { call: lost, why } if *lost == call => no_path = Some(why.clone()),
                    Event::Talking { .. } => until = args.duration.map(|duration| Instant::now() + duration),
                    Event::Ended { call: ended, reason, side, .. } if *ended == call => {
                        break how(answered, reason, *side);
                    }
                    _ => {}
                }
            }
            () = expired(until) => {
                if leaving {
                    break Exit::BrokeOff;
                }
                leaving = true;
                until = Some(Instant::now() + GOODBYE);
                hang_up(&phone, call).await;
            }
            () = end.wait() => {
                // Asked twice, it is meant.
                if leaving {
                    break Exit::BrokeOff;
                }
                out.progress("hanging up");
                leaving = true;
                until = Some(Instant::now() + GOODBYE);
                hang_up(&phone, call).await;
            }
        }
    };
    phone.stop().await;
    match no_path.filter(|_| exit == Exit::BrokeOff) {
        Some(why) => {
            let wrong = format!("answered, but no path to the other side: {why}");
            Err(Failure::new(exit, &args.target, wrong, "run `dsip doctor` on both sides"))
        }
        None => Ok(exit),
    }
}

/// A call that has ended already needs no hanging up.
async fn hang_up(phone: &Phone, call: Ulid) {
    let _ = phone.hang_up(call).await;
}

/// Nothing could be dialled, and nothing was sent.
pub(crate) fn unreachable(target: &str, why: &str) -> Failure {
    Failure::new(Exit::Unreachable, target, why, "run `dsip doctor` with the --node in question, or try again later")
}

/// What a caller's own node does is of interest only to who waits for calls.
fn concerns_the_node(event: &Event) -> bool {
    matches!(event, Event::Online { .. } | Event::Offline { .. } | Event::Published { .. } | Event::Unpublished { .. })
}

/// The exit code that tells how a call went.
pub(crate) fn how(answered: bool, reason: &Reason, side: Side) -> Exit {
    if answered {
        return if [Reason::USER_HANGUP, Reason::USER_DECLINED].contains(reason) { Exit::Done } else { Exit::BrokeOff };
    }
    match reason.category() {
        _ if *reason == Reason::USER_NO_ANSWER || *reason == Reason::SESSION_TIMEOUT => Exit::NoAnswer,
        // Giving up before anybody answered.
        _ if side == Side::Us => Exit::NoAnswer,
        "transport" | "gateway" => Exit::Unreachable,
        _ => Exit::Refused,
    }
}

async fn expired(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// No wait is longer: a year, in seconds.
const LONGEST: f64 = 365.0 * 86_400.0;

/// Seconds as people write them, whole or with a fraction.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if seconds > LONGEST {
        return Err("longer than a year".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| "not a span of time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_how_a_call_went() {
        assert_eq!(how(true, &Reason::USER_HANGUP, Side::Peer), Exit::Done);
        assert_eq!(how(true, &Reason::MEDIA_FAILED, Side::Us), Exit::BrokeOff);
        assert_eq!(how(false, &Reason::USER_DECLINED, Side::Peer), Exit::Refused);
        assert_eq!(how(false, &Reason::POLICY_FIRST_CONTACT_REQUIRED, Side::Peer), Exit::Refused);
        assert_eq!(how(false, &Reason::SESSION_TIMEOUT, Side::Us), Exit::NoAnswer);
        assert_eq!(how(false, &Reason::USER_CANCELLED, Side::Us), Exit::NoAnswer);
        assert_eq!(how(false, &Reason::TRANSPORT_UNKNOWN_RECIPIENT, Side::Peer), Exit::Unreachable);
    }

    #[test]
    fn durations_are_seconds() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert!(seconds("soon").is_err() && seconds("-1").is_err() && seconds("NaN").is_err());
        assert!(seconds("1e19").is_err() && seconds("inf").is_err());
    }
}
