//! `dsip watch TARGET`: whether somebody is there, or how a stream of theirs stands, for as long as it is watched.

use dsip_endpoint::phone::{Event, Phone};

use crate::cli::Globals;
use crate::end::End;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::phone::locate;
use crate::words::Teller;

/// What `dsip watch` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A DID, an alias or a dsip: link
    #[arg(value_name = "TARGET")]
    target: String,
    /// Watch a stream of theirs: its name, or nothing after it for their only one
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    stream: Option<String>,
    /// End after the first word
    #[arg(long)]
    once: bool,
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let teller = Teller::new(out);
    let mut end = End::new()?;
    let (phone, mut events) = Phone::start(globals.owner().await?, globals.network().await?)?;
    let located = locate(&phone, &args.target).await?;
    let watch = match args.stream.as_deref() {
        None => phone.watch_presence(&located).await?,
        Some("") => phone.watch_stream(&located, located.did.to_string()).await?,
        Some(name) => phone.watch_stream(&located, format!("{}:{name}", located.did)).await?,
    };
    let exit = loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break Exit::NotSo };
                match &event {
                    Event::Online { .. } => {}
                    event => teller.event(event),
                }
                match event {
                    Event::Told { watch: id, .. } if id == watch && args.once => break Exit::Done,
                    Event::WatchEnded { watch: id, reason } if id == watch => {
                        break if reason.is_some() { Exit::Refused } else { Exit::Unreachable };
                    }
                    _ => {}
                }
            }
            () = end.wait() => break Exit::Done,
        }
    };
    phone.unwatch(watch).await?;
    phone.stop().await;
    Ok(exit)
}
