//! `dsip id`: identities, device keys and delegations.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use dsip_endpoint::clock;
use dsip_endpoint::home::{Guard, Home, Profile};
use dsip_endpoint::qr;
use dsip_endpoint::resolve::{FetchError, ResolveError, Target};
use dsip_proto::identity::{Delegation, Document, Documents};
use dsip_proto::link;
use dsip_proto::wire::token::RotationReason;
use dsip_proto::wire::{Did, Envelope};
use serde::Serialize;
use serde_json::Value;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::passphrase;

const DAY: u64 = 86_400;

/// A file with a delegation or a record is one envelope; nothing longer is read.
const MAX_ENVELOPE_FILE: u64 = 65_536;

/// What `dsip id` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What to do with identities.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make an identity, a device key and the delegation between them
    New(New),
    /// Show who I am, by which device, and what it may do until when
    Show,
    /// Show the link that others scan or click to call me
    Qr(Qr),
    /// Let another device act for me, or renew this one's permission; prints the delegation
    Delegate(Delegate),
    /// Take in a delegation that was made for this device
    Import {
        /// The file; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Take on the name that an operator has given me: from then on I am that did:web
    Adopt {
        /// The alias, link or did:web
        #[arg(value_name = "NAME")]
        name: Target,
        /// For how many days this device may act for it
        #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
        days: u64,
    },
    /// Replace the key of a did:web identity by a new one
    Rotate(Rotate),
    /// Make an identity for one context, linked to nothing
    Ephemeral {
        /// Where to keep it [default: a fresh directory that does not outlive the session]
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct New {
    /// What I call myself; others see it as a claim
    #[arg(long)]
    name: Option<String>,
    /// Make a device key alone; another device of mine will delegate to it
    #[arg(long)]
    device_only: bool,
    /// Do not ask for a passphrase: keep a random one in the home, readable by its owner alone
    #[arg(long, conflicts_with = "passphrase_file", conflicts_with = "device_only")]
    no_passphrase: bool,
    /// For how many days this device may act for the identity
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
}

#[derive(Debug, clap::Args)]
struct Qr {
    /// Leave out where I can be dialled (--node, --dht) and my name: only the DID
    #[arg(long)]
    bare: bool,
}

#[derive(Debug, clap::Args)]
struct Delegate {
    /// The device's DID, as its `dsip id new --device-only` printed it [default: this device]
    #[arg(value_name = "DEVICE")]
    device: Option<Did>,
    /// For how many days
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
}

#[derive(Debug, clap::Args)]
struct Rotate {
    /// Why, as others may see it: scheduled, compromised, lost or policy
    #[arg(long, value_name = "WHY", default_value = "scheduled")]
    reason: RotationReason,
    /// A device that may not act for me any more, such as one that was stolen; may be repeated
    #[arg(long, value_name = "DEVICE")]
    without: Vec<Did>,
    /// For how many days this device may act for the identity
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Print the record for the operator to enter, instead of handing it in; run this again when they have
    #[arg(long)]
    print: bool,
}

/// Who I am.
#[derive(Serialize)]
struct Me {
    event: &'static str,
    did: Option<Did>,
    device: Did,
    name: Option<String>,
    delegations: Vec<Granted>,
    home: PathBuf,
    #[serde(skip)]
    now: u64,
}

/// A delegation, in the clear and as it is presented to others.
#[derive(Serialize)]
struct Granted {
    subject: Did,
    device: Did,
    capabilities: Vec<String>,
    issued_at: u64,
    expires_at: u64,
    envelope: Value,
}

/// The link to somebody, as text and as a picture.
#[derive(Serialize)]
struct Scannable {
    event: &'static str,
    did: Did,
    link: String,
    /// The same for those who have no program for links, if my node serves a phone to browsers.
    #[serde(skip_serializing_if = "Option::is_none")]
    web: Option<String>,
    #[serde(skip)]
    picture: String,
}

/// A delegation that was just made.
#[derive(Serialize)]
struct Made {
    event: &'static str,
    #[serde(flatten)]
    granted: Granted,
}

/// A rotation record that was just signed.
#[derive(Serialize)]
struct Signed {
    event: &'static str,
    envelope: Value,
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    match args.action {
        Action::New(new) => create(globals, out, &new)?,
        Action::Show => out.event(&Me::of(&globals.home()?)?),
        Action::Qr(qr) => show_link(globals, out, &qr)?,
        Action::Delegate(delegate) => make_delegation(globals, out, delegate)?,
        Action::Import { file } => {
            let home = globals.home()?;
            let delegation = read_envelope(&file, "dsip id delegate")?;
            let mut documents = Documents::default();
            if let Some(subject) = Delegation::claimed(&delegation).map(|claim| claim.subject)
                && subject.method() == "web"
            {
                documents.insert(document(globals, out, &Target::Did(subject)).await?);
            }
            home.adopt(&delegation, &documents, clock::now()).map_err(Failure::from)?;
            out.event(&Me::of(&home)?);
        }
        Action::Adopt { name, days } => {
            let home = globals.home()?;
            // Before anybody is asked anything.
            home.profile().map_err(Failure::from)?;
            let document = document(globals, out, &name).await?;
            let passphrase = passphrase::unlock(globals, &home)?;
            home.take_name(&passphrase, &document, clock::now(), days * DAY).map_err(Failure::from)?;
            out.event(&Me::of(&home)?);
        }
        Action::Rotate(args) => rotate(globals, out, &args).await?,
        Action::Ephemeral { dir } => {
            let home = Home::at(match dir {
                Some(dir) => dir,
                None => fresh_dir()?,
            });
            home.create_ephemeral().map_err(Failure::from)?;
            out.event(&Me::of(&home)?);
        }
    }
    Ok(Exit::Done)
}

/// The record first, the change when the document shows it: whoever is interrupted runs the command again.
async fn rotate(globals: &Globals, out: &Output, args: &Rotate) -> Result<(), Failure> {
    let home = globals.home()?;
    let profile = home.profile().map_err(Failure::from)?;
    let did = profile.identity.clone().ok_or_else(|| nobody(&profile))?;
    let passphrase = passphrase::unlock(globals, &home)?;
    // Asked for anew each time: a document from before the change is of no use.
    let finish = async || -> Result<bool, Failure> {
        let document = document(globals, out, &Target::Did(did.clone())).await?;
        let finished = home.finish_rotation(&passphrase, &document, &args.without, clock::now(), args.days * DAY);
        Ok(finished.map_err(Failure::from)?.is_some())
    };
    if did.method() == "web" && finish().await? {
        out.event(&Me::of(&home)?);
        return Ok(());
    }
    let record = home.rotate(&passphrase, args.reason.clone(), &args.without, clock::now()).map_err(Failure::from)?;
    if args.print {
        let envelope =
            serde_json::from_str(&record.text()).map_err(|error| Failure::fault("the record", error, "report it"))?;
        out.event(&Signed { event: "rotation", envelope });
        return Ok(());
    }
    globals.resolver()?.hand_in(&did, &record).await.map_err(|error| match &error {
        ResolveError::Fetch(FetchError::Refused { .. }) => {
            Failure::new(Exit::Refused, &did, error, "ask its operator what key they have for you")
        }
        _ => Failure::new(Exit::Unreachable, &did, error, "try again, or give its operator what --print prints"),
    })?;
    if !finish().await? {
        let wrong = "its host has taken the record, and its document does not list the new key yet";
        return Err(Failure::new(Exit::Unreachable, &did, wrong, "run this again later"));
    }
    out.event(&Me::of(&home)?);
    Ok(())
}

/// The document that has authority over who `name` is.
async fn document(globals: &Globals, out: &Output, name: &Target) -> Result<Document, Failure> {
    let resolver = globals.resolver()?;
    out.progress("asking");
    let unknown = |error: &dyn fmt::Display| {
        Failure::new(Exit::NotFound, "NAME", error, "check the spelling, and that the operator has entered the name")
    };
    let did = match name {
        Target::Did(did) => did.clone(),
        Target::Link(link) => link.did.clone(),
        Target::Alias(alias) => resolver.alias(alias).await.map_err(|error| unknown(&error))?.0,
    };
    let resolved = resolver.document(&did).await.map_err(|error| unknown(&error))?;
    Ok(std::sync::Arc::unwrap_or_clone(resolved.document))
}

fn create(globals: &Globals, out: &Output, new: &New) -> Result<(), Failure> {
    let home = globals.home()?;
    let name = new.name.as_deref().map(checked_name).transpose()?;
    // Before anybody is asked to think of a passphrase.
    if home.profile().is_ok() {
        return Err(Failure::from(dsip_endpoint::home::Error::Exists { path: home.dir().into() }));
    }
    if new.device_only {
        home.create_device(name).map_err(Failure::from)?;
    } else {
        let guard = if new.no_passphrase { Guard::Unattended } else { Guard::Passphrase(passphrase::choose(globals)?) };
        home.create(name, &guard, clock::now(), new.days * DAY).map_err(Failure::from)?;
    }
    out.event(&Me::of(&home)?);
    Ok(())
}

fn show_link(globals: &Globals, out: &Output, args: &Qr) -> Result<(), Failure> {
    let profile = globals.home()?.profile().map_err(Failure::from)?;
    let did = profile.identity.clone().ok_or_else(|| nobody(&profile))?;
    let mut link = link::Link::to(did.clone());
    if !args.bare {
        // What others are to dial must be something that can be dialled.
        globals.node_target()?;
        link.nodes.extend(globals.node_hint()?);
        link.dht.clone_from(&globals.dht);
        link.name = profile.name;
    }
    let web = link.nodes.first().and_then(link::Node::page).map(|page| link.on(&page));
    let link = link.to_string();
    let picture =
        qr::picture(&link).map_err(|error| Failure::usage("the link", error, "use --bare, or give fewer --dht"))?;
    out.event(&Scannable { event: "link", did, link, web, picture });
    Ok(())
}

fn make_delegation(globals: &Globals, out: &Output, args: Delegate) -> Result<(), Failure> {
    let home = globals.home()?;
    let profile = home.profile().map_err(Failure::from)?;
    let device = args.device.unwrap_or(profile.device);
    if device.method() != "key" {
        let remedy = "give the did:key that `dsip id new --device-only` printed there";
        return Err(Failure::usage("DEVICE", "a device is a did:key, and this is none", remedy));
    }
    let (key, kid) = home.unlock(&passphrase::unlock(globals, &home)?).map_err(Failure::from)?;
    let made = home.delegate(&key, &kid, &device, clock::now(), args.days * DAY).map_err(Failure::from)?;
    let granted =
        Granted::read(&made).ok_or_else(|| Failure::fault("the delegation", "is not readable", "report it"))?;
    out.event(&Made { event: "delegation", granted });
    Ok(())
}

/// Reads an envelope that `command` printed, in either of its forms.
pub(crate) fn read_envelope(file: &Path, command: &str) -> Result<Envelope, Failure> {
    let remedy = format!("give the file `{command}` printed");
    let unreadable = |error: std::io::Error| Failure::usage(file.display(), error, &remedy);
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(MAX_ENVELOPE_FILE).read_to_string(&mut text).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(file).map_err(unreadable)?;
        file.take(MAX_ENVELOPE_FILE).read_to_string(&mut text).map_err(unreadable)?;
    }
    let parsed = serde_json::from_str::<Value>(&text).ok();
    let envelope = parsed.map(|value| value.get("envelope").cloned().unwrap_or(value));
    envelope
        .and_then(|envelope| Envelope::parse(&envelope.to_string()).ok())
        .ok_or_else(|| Failure::usage(file.display(), "not an envelope", &remedy))
}

/// Names travel in messages and links, and stand on other people's screens.
fn checked_name(name: &str) -> Result<&str, Failure> {
    let name = name.trim();
    let fits = !name.is_empty() && name.chars().count() <= link::MAX_NAME && !name.chars().any(char::is_control);
    let wrong = format!("has to have 1 to {} characters, none of them a control character", link::MAX_NAME);
    if fits { Ok(name) } else { Err(Failure::usage("--name", wrong, "give another one")) }
}

/// A directory of this user alone, in memory where the system has such a place.
fn fresh_dir() -> Result<PathBuf, Failure> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
    let base = base.unwrap_or_else(std::env::temp_dir);
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    loop {
        let number = getrandom::u64()
            .map_err(|error| Failure::fault("the system's randomness", error, "try again, or name a directory"))?;
        let dir = base.join(format!("dsip-ephemeral-{number:016x}"));
        // Made here and now, so that nobody else can have made it.
        match builder.create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::home(base.display(), error, "name a directory")),
        }
    }
}

fn nobody(profile: &Profile) -> Failure {
    let wrong = format!("nobody delegated to {} yet", profile.device);
    Failure::home("identity", wrong, "run `dsip id delegate` with it where the identity is, and `dsip id import` here")
}

impl Me {
    fn of(home: &Home) -> Result<Self, Failure> {
        let profile = home.profile().map_err(Failure::from)?;
        let delegations = home.delegations().map_err(Failure::from)?;
        Ok(Self {
            event: "identity",
            did: profile.identity,
            device: profile.device,
            name: profile.name,
            delegations: delegations.iter().filter_map(Granted::read).collect(),
            home: home.dir().into(),
            now: clock::now().wall.secs(),
        })
    }
}

impl Granted {
    fn read(envelope: &Envelope) -> Option<Self> {
        let claim = Delegation::claimed(envelope)?;
        Some(Self {
            subject: claim.subject,
            device: claim.device,
            capabilities: claim.capabilities,
            issued_at: claim.issued_at,
            expires_at: claim.expires_at,
            envelope: serde_json::from_str(&envelope.text()).ok()?,
        })
    }
}

impl fmt::Display for Me {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.did {
            Some(did) => writeln!(f, "identity  {did}")?,
            None => writeln!(f, "identity  none yet; have this device delegated to, then `dsip id import` the result")?,
        }
        writeln!(f, "device    {}", self.device)?;
        if let Some(name) = &self.name {
            writeln!(f, "name      {name}")?;
        }
        for granted in &self.delegations {
            let whom = if granted.device == self.device { "this device" } else { granted.device.as_str() };
            let left = granted.expires_at.saturating_sub(self.now);
            match left / DAY {
                _ if left == 0 => {
                    writeln!(f, "expired   {whom} may no longer act for the identity; `dsip id delegate` renews")?
                }
                0 => writeln!(f, "allowed   {whom}, for {} more hours", left / 3600)?,
                days => writeln!(f, "allowed   {whom}, for {days} more days")?,
            }
        }
        write!(f, "home      {}", self.home.display())
    }
}

impl fmt::Display for Scannable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.picture, self.link)?;
        self.web.iter().try_for_each(|web| write!(f, "\n\nfor a browser, if the node serves one a phone:\n{web}"))
    }
}

impl fmt::Display for Signed {
    /// As for a delegation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.envelope)
    }
}

impl fmt::Display for Made {
    /// Nothing but the file's content, so that it can be redirected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.granted.envelope)
    }
}
