//! `dsip answer`: wait for calls, show who calls and on what basis of trust, and ask.

use std::time::Duration;

use dsip_endpoint::audio::{Sink, Source};
use dsip_endpoint::phone::{Audio, Error, Event, Phone};
use dsip_proto::agent::Policy;
use dsip_proto::wire::{Reason, Ulid};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::call::{STANDARD_OUTPUT, seconds};
use crate::cli::Globals;
use crate::end::End;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Style};
use crate::phone::numbered;
use crate::presence::Who;
use crate::wake;
use crate::words::Teller;

/// What `dsip answer` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Decide without asking: accept, let the caller leave word first, or decline
    #[arg(long, value_enum, value_name = "HOW")]
    auto: Option<Auto>,
    /// What to send: a WAV or Ogg/Opus FILE, loop:FILE, tone:HZ, silence, or exec:COMMAND (its standard output)
    #[arg(long, value_name = "SRC", default_value = "silence")]
    audio_in: String,
    /// Where to record what is heard: FILE.wav, FILE.opus, none, or exec:COMMAND (its standard input)
    #[arg(long, value_name = "FILE", default_value = "none")]
    audio_out: String,
    /// Publish in the DHT where this identity can be dialled
    #[arg(long)]
    publish: bool,
    /// End after the first call
    #[arg(long)]
    once: bool,
    /// Hang up this many seconds after sound begins to flow
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<Duration>,
    /// Say who may see whether I am there; without it, what was said before holds
    #[arg(long, value_enum, value_name = "WHO")]
    presence: Option<Who>,
    /// Where my push service takes messages for this device: my node wakes it there when I am not connected (see dsip wake)
    #[arg(long, value_name = "URL")]
    wake_url: Option<String>,
    /// Let only contacts ring; everybody else has to introduce themselves first (see dsip requests)
    #[arg(long)]
    first_contact: bool,
}

/// What becomes of a call nobody is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Auto {
    /// Answer it.
    Accept,
    /// Screen it.
    Screen,
    /// Decline it.
    Decline,
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    if args.audio_out == "-" {
        return Err(Failure::usage("--audio-out", STANDARD_OUTPUT, "record to a file, or use exec:COMMAND"));
    }
    if args.audio_in == "-" && args.auto.is_none() {
        let wrong = "standard input is where decisions are typed";
        return Err(Failure::usage("--audio-in", wrong, "give --auto accept with it, or send a file"));
    }
    Source::check(&args.audio_in).map_err(|error| Failure::usage("--audio-in", error, "see --audio-in in --help"))?;
    Sink::check(&args.audio_out).map_err(|error| Failure::usage("--audio-out", error, "see --audio-out in --help"))?;
    let mut config = globals.owner().await?;
    if config.node.is_none() {
        let remedy = "give --node wss://HOST:PORT/dsip#did:key:…; dsip node prints it";
        return Err(Failure::usage("--node", "calls come in at a node, and none was given", remedy));
    }
    config.publish = args.publish;
    config.policy = Policy { first_contact: args.first_contact, calls: 1, ..Policy::default() };
    let network = globals.network().await?;
    // A DHT that was joined once is remembered.
    if args.publish && network.dht().is_none() {
        return Err(Failure::usage("--publish", "there is no DHT to publish in", "give a node of it with --dht"));
    }
    let visibility = args.presence.map(|who| who.visibility(globals, Vec::new())).transpose()?;
    let endpoint = args.wake_url.as_deref().map(|url| wake::unread("--wake-url", url)).transpose()?;
    let (phone, events) = Phone::start(config, network)?;
    if let Some(endpoint) = endpoint {
        phone.register_wake(endpoint, None).await?;
    }
    if let Some(visibility) = visibility {
        phone.show_presence(visibility).await?;
    }
    let teller = Teller::new(out);
    let words = json!({ "did": phone.did(), "device": phone.device() });
    teller.say("waiting", words, format!("as {}; Ctrl-C ends", phone.did()), Style::Bold);
    let desk = Desk {
        phone,
        teller,
        out,
        auto: args.auto,
        audio: Audio { from: args.audio_in, to: args.audio_out },
        once: args.once,
        duration: args.duration,
        taken: 0,
        current: None,
        screening: false,
        hang_up_at: None,
    };
    desk.serve(events).await
}

/// Where calls arrive.
struct Desk<'a> {
    phone: Phone,
    teller: Teller<'a>,
    out: &'a Output,
    auto: Option<Auto>,
    audio: Audio,
    once: bool,
    duration: Option<Duration>,
    /// Calls answered so far.
    taken: usize,
    /// The call that rings or is up: there is one at a time, the next caller hears that we are busy.
    current: Option<Ulid>,
    screening: bool,
    hang_up_at: Option<Instant>,
}

impl Desk<'_> {
    async fn serve(mut self, mut events: dsip_endpoint::phone::Events) -> Result<Exit, Failure> {
        let mut typed = if self.auto.is_none() { lines() } else { mpsc::channel(1).1 };
        let mut listening = self.auto.is_none();
        let mut end = End::new()?;
        loop {
            let hang_up_at = self.hang_up_at;
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else { return Ok(Exit::NotSo) };
                    self.teller.event(&event);
                    // What is to be done may take its time, which an end does not wait for.
                    let over = tokio::select! {
                        over = self.happened(&event) => over,
                        () = end.wait() => break,
                    };
                    if over && self.once {
                        break;
                    }
                }
                line = typed.recv(), if listening => match line {
                    Some(line) => tokio::select! {
                        () = self.decide(line.trim()) => {}
                        () = end.wait() => break,
                    },
                    None => {
                        listening = false;
                        self.nobody_to_ask().await;
                    }
                },
                () = async { match hang_up_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {
                    self.hang_up_at = None;
                    tokio::select! {
                        () = self.end() => {}
                        () = end.wait() => break,
                    }
                }
                () = end.wait() => break,
            }
        }
        self.phone.stop().await;
        // What the stopping phone still had to tell: the end of a call that was up, and its figures.
        while let Some(event) = events.next().await {
            self.teller.event(&event);
        }
        Ok(Exit::Done)
    }

    /// Says whether a call is over.
    async fn happened(&mut self, event: &Event) -> bool {
        match event {
            Event::Incoming { call, .. } => {
                self.current = Some(*call);
                self.screening = false;
                match self.auto {
                    Some(Auto::Accept) => self.accept(false).await,
                    Some(Auto::Screen) => self.accept(true).await,
                    Some(Auto::Decline) => self.decline().await,
                    None => self.ask("a accept, s screen (they talk, you only listen), d decline"),
                }
            }
            Event::Talking { .. } => self.hang_up_at = self.duration.map(|duration| Instant::now() + duration),
            Event::Ended { call, .. } if self.current == Some(*call) => {
                self.current = None;
                self.hang_up_at = None;
                return true;
            }
            _ => {}
        }
        false
    }

    /// Carries out what a person typed.
    async fn decide(&mut self, line: &str) {
        if self.current.is_none() {
            return self.ask("nobody calls at the moment");
        }
        match line {
            "a" | "accept" => self.accept(false).await,
            "s" | "screen" => self.accept(true).await,
            "d" | "decline" => self.decline().await,
            "t" | "talk" => self.take_over().await,
            "h" | "hang up" => self.end().await,
            _ => self.ask("a accept, s screen, d decline; during a call: t talk (after screening), h hang up"),
        }
    }

    fn ask(&self, question: &str) {
        self.out.progress(format!("{}> ", self.out.styled(Style::Bold, question)));
    }

    async fn accept(&mut self, screen: bool) {
        let Some(call) = self.current else { return };
        let audio = Audio { from: self.audio.from.clone(), to: numbered(&self.audio.to, self.taken) };
        let done = if screen { self.phone.screen(call, audio).await } else { self.phone.accept(call, audio).await };
        match done {
            Ok(()) => {
                self.taken += 1;
                self.screening = screen;
                let name = if screen { "screening" } else { "accepted" };
                let words = if screen { "they talk, nobody hears you yet" } else { "in person" };
                self.teller.say(name, json!({ "call": call }), words, Style::Good);
            }
            Err(error) => {
                self.trouble(&error);
                // A call that cannot be answered here must not ring on.
                self.end().await;
            }
        }
    }

    async fn take_over(&mut self) {
        let Some(call) = self.current.filter(|_| self.screening) else {
            return self.ask("there is no screened call to take over");
        };
        match self.phone.take_over(call).await {
            Ok(()) => {
                self.screening = false;
                self.teller.say(
                    "taking-over",
                    json!({ "call": call }),
                    "asking their phone for both ways",
                    Style::Bold,
                );
            }
            Err(error) => self.trouble(&error),
        }
    }

    async fn decline(&mut self) {
        let Some(call) = self.current else { return };
        if let Err(error) = self.phone.decline(call).await {
            self.trouble(&error);
        }
    }

    async fn end(&mut self) {
        let Some(call) = self.current else { return };
        // SCR-4: a person who refuses a screened call declines it.
        let done = if self.screening {
            self.phone.hang_up_because(call, Reason::USER_DECLINED).await
        } else {
            self.phone.hang_up(call).await
        };
        if let Err(error) = done {
            self.trouble(&error);
        }
    }

    /// Standard input has ended, so nobody can be asked about the calls to come.
    async fn nobody_to_ask(&mut self) {
        self.auto = Some(Auto::Decline);
        let words = "standard input has ended; calls are declined from now on (--auto decides otherwise)";
        self.teller.say("trouble", json!({ "what": words }), words, Style::Doubtful);
    }

    fn trouble(&self, error: &Error) {
        self.teller.say("trouble", json!({ "what": error.to_string() }), error, Style::Bad);
    }
}

/// What is typed, line by line. The thread that reads cannot be woken; the process does not wait for it.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
