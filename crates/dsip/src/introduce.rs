//! `dsip introduce TARGET`: ask somebody for permission to call.

use std::time::Duration;

use dsip_endpoint::phone::{Event, PURPOSE_LIMIT, Phone, TOKEN_LIMIT};
use tokio::time::{Instant, sleep_until};

use crate::call::{seconds, unreachable};
use crate::cli::Globals;
use crate::end::End;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::phone::{locate, occupied};
use crate::words::Teller;

/// How long a relay may take to accept an introduction.
const HANDING_OVER: Duration = Duration::from_secs(30);

/// What `dsip introduce` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A DID, an alias or a dsip: link
    #[arg(value_name = "TARGET")]
    target: String,
    /// What it is about, in a few words
    #[arg(long, value_name = "TEXT", value_parser = purpose)]
    purpose: Option<String>,
    /// A token that they gave out beforehand
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    token: Option<String>,
    /// Wait this many seconds for an answer; it may come later, with the next call, or never
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    wait: Duration,
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let teller = Teller::new(out);
    let (phone, mut events) = Phone::start(globals.owner().await?, globals.network().await?)?;
    let located = locate(&phone, &args.target).await?;
    teller.found(&located);
    let introduction = phone.introduce(&located, args.purpose, args.token).await?;
    let mut end = End::new()?;
    let mut until = Instant::now() + HANDING_OVER;
    let mut asked = false;
    let exit = loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break Exit::NotSo };
                match &event {
                    Event::Online { .. } | Event::Offline { .. } => continue,
                    Event::Aside { company } if !asked => {
                        phone.stop().await;
                        return Err(occupied(*company));
                    }
                    Event::Unreachable { call, why } if *call == introduction => {
                        phone.stop().await;
                        return Err(unreachable(&args.target, why));
                    }
                    _ => teller.event(&event),
                }
                match &event {
                    Event::Asked { introduction: id, .. } if *id == introduction => {
                        asked = true;
                        until = Instant::now() + args.wait;
                    }
                    Event::Granted { introduction: id, .. } if *id == introduction => break Exit::Done,
                    Event::IntroductionRejected { introduction: id, .. } if *id == introduction => break Exit::Refused,
                    _ => {}
                }
            }
            // Silence is an answer as well (FC-3).
            () = sleep_until(until) => break if asked { Exit::Done } else { Exit::Unreachable },
            () = end.wait() => break if asked { Exit::Done } else { Exit::Unreachable },
        }
    };
    phone.stop().await;
    Ok(exit)
}

fn purpose(text: &str) -> Result<String, String> {
    at_most(text, text.chars().count(), PURPOSE_LIMIT, "characters")
}

fn token(text: &str) -> Result<String, String> {
    at_most(text, text.len(), TOKEN_LIMIT, "octets")
}

fn at_most(text: &str, length: usize, limit: usize, unit: &str) -> Result<String, String> {
    if length > limit { Err(format!("{length} {unit}; {limit} is the most")) } else { Ok(text.to_owned()) }
}
