//! `dsip publish` and `dsip unpublish`: tell those who watch that a stream of mine is on, and where.

use dsip_endpoint::phone::{Phone, Stream};
use dsip_proto::wire::Ulid;
use dsip_proto::wire::message::Variant;
use dsip_proto::wire::token::{CodecId, MediaType, StreamState, TransportId};
use serde_json::{Map, json};

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Style};
use crate::presence::outcome;
use crate::words::Teller;

/// What `dsip publish` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where it can be received; may be repeated, the best first
    #[arg(value_name = "URI", required = true, value_parser = uri)]
    uris: Vec<String>,
    /// Its name among my streams; none for my only one
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it is called
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Whether it is on
    #[arg(long, value_enum, value_name = "STATE", default_value = "live")]
    state: State,
    /// Its codec
    #[arg(long, value_name = "ID", default_value = "codec:audio/opus")]
    codec: CodecId,
    /// How it is transported
    #[arg(long, value_name = "ID", default_value = "transport:webrtc")]
    transport: TransportId,
}

/// What `dsip unpublish` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Withdrawal {
    /// The publication, as dsip publish named it
    #[arg(value_name = "PUBLICATION")]
    publication: Ulid,
    /// The name of the stream; none for my only one
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Whether a stream is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum State {
    /// It is on.
    Live,
    /// It will be.
    Scheduled,
    /// It was.
    Ended,
}

/// Runs `dsip publish`.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let teller = Teller::new(out);
    let media = match args.codec.as_str().split([':', '/']).nth(1) {
        Some("video") => MediaType::Video,
        Some("audio") => MediaType::Audio,
        _ => MediaType::Text,
    };
    let variants = args.uris.into_iter().enumerate().map(|(number, uri)| Variant {
        id: format!("v{}", number + 1),
        media: vec![media],
        codec: args.codec.clone(),
        transport: args.transport.clone(),
        uri,
        rest: Map::new(),
    });
    let state = match args.state {
        State::Live => StreamState::Live,
        State::Scheduled => StreamState::Scheduled,
        State::Ended => StreamState::Ended,
    };
    let stream = Stream { name: args.name, title: args.title, state, variants: variants.collect() };
    let (phone, mut events) = Phone::start(globals.owner().await?, globals.network().await?)?;
    let (publication, watch) = phone.publish(stream).await?;
    let exit = outcome(&mut events, &teller, watch, |told| told.publication == Some(publication)).await;
    if matches!(exit, Ok(Exit::Done)) {
        teller.say("publication", json!({ "publication": publication }), publication, Style::Good);
    }
    phone.unwatch(watch).await?;
    phone.stop().await;
    exit
}

/// Runs `dsip unpublish`.
pub(crate) async fn withdraw(globals: &Globals, out: &Output, args: Withdrawal) -> Result<Exit, Failure> {
    let teller = Teller::new(out);
    let (phone, mut events) = Phone::start(globals.owner().await?, globals.network().await?)?;
    let watch = phone.unpublish(args.name, args.publication).await?;
    let exit = outcome(&mut events, &teller, watch, |told| told.state.as_deref() == Some("withdrawn")).await;
    phone.unwatch(watch).await?;
    phone.stop().await;
    exit
}

/// A place to receive something, checked as far as its form goes.
fn uri(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("not a URI ({error})")),
    }
}
