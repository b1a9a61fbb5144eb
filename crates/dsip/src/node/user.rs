//! `dsip node user`: who has a name at the node's domain.
//!
//! These commands change a file in the node's home. A node that runs sees the change within a second.

use std::fmt;
use std::path::PathBuf;

use dsip_endpoint::clock;
use dsip_endpoint::qr;
use dsip_endpoint::resolve::Domain;
use dsip_node::{Config, Register, RegisterError, User};
use dsip_proto::link::Link;
use dsip_proto::wire::Did;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::id::read_envelope;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Give somebody a name, and show the link by which others call them
    Add {
        /// The name: a to z, 0 to 9, - and _, with single dots between them
        #[arg(value_name = "NAME")]
        name: String,
        /// The did:key of their identity, as their `dsip id show` says
        #[arg(long, value_name = "DID")]
        did: Did,
    },
    /// Show everybody who has a name
    List,
    /// Show somebody's link, and the key that signs for them
    Show {
        /// The name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Replace the key behind a name, by the record that its owner's `dsip id rotate --print` printed
    Rotate {
        /// The name
        #[arg(value_name = "NAME")]
        name: String,
        /// The file; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Take a name away; nobody can call it any more
    Remove {
        /// The name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Somebody, and their link.
#[derive(Serialize)]
struct Shown {
    event: &'static str,
    #[serde(flatten)]
    user: User,
    link: String,
    #[serde(skip)]
    picture: String,
    #[serde(skip)]
    is_new: bool,
}

#[derive(Serialize)]
struct Listed {
    event: &'static str,
    users: Vec<User>,
}

#[derive(Serialize)]
struct Removed {
    event: &'static str,
    name: String,
}

/// Runs the command for the node that `config` describes.
pub(super) fn run(out: &Output, config: &Config, args: Args) -> Result<Exit, Failure> {
    let register = Register::of_node(&config.home);
    let domain = || domain(config, &register);
    match args.action {
        Action::Add { name, did } => {
            let user = register.add(&domain()?, &name, &did, clock::now().wall.secs())?;
            out.event(&Shown::of(user, true)?);
        }
        Action::List => out.event(&Listed { event: "users", users: register.users(&domain()?)? }),
        Action::Show { name } => out.event(&Shown::of(register.user(&domain()?, &name)?, false)?),
        Action::Rotate { name, file } => {
            let record = read_envelope(&file, "dsip id rotate --print")?;
            let user = register.rotate(&domain()?, &name, &record.text(), clock::now())?;
            out.event(&Shown::of(user, false)?);
        }
        Action::Remove { name } => {
            register.remove(&name)?;
            out.event(&Removed { event: "removed", name });
        }
    }
    Ok(Exit::Done)
}

/// What the settings say; failing that, or if the system picks the port, what the node last ran with.
fn domain(config: &Config, register: &Register) -> Result<Domain, Failure> {
    if let Some(domain) = config.domain.as_ref().filter(|_| config.listen.port() != 0) {
        return Ok(domain.clone());
    }
    let missing = || {
        let remedy =
            "write it into node.toml as domain = \"example.org\", or give it: dsip node --domain example.org user …";
        Failure::usage("--domain", "names need a domain, and the node has none", remedy)
    };
    register.domain()?.ok_or_else(missing)
}

impl Shown {
    fn of(user: User, is_new: bool) -> Result<Self, Failure> {
        let link = Link::to(user.did.clone()).to_string();
        let picture = qr::picture(&link).map_err(|error| Failure::fault("the link", error, "choose a shorter name"))?;
        Ok(Self { event: "user", user, link, picture, is_new })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let User { did, alias, key, .. } = &self.user;
        writeln!(f, "{}\n{}\n", self.picture, self.link)?;
        writeln!(f, "alias     {alias}")?;
        writeln!(f, "identity  {did}")?;
        write!(f, "key       {key}")?;
        if self.is_new {
            write!(f, "\nnext      on their device: dsip id adopt {alias}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.users.is_empty() {
            return write!(f, "nobody has a name yet; dsip node user add gives one");
        }
        let width = self.users.iter().map(|user| user.alias.len()).max().unwrap_or_default();
        for (at, user) in self.users.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{:width$}  {}", user.alias, user.key)?;
        }
        Ok(())
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nobody has the name {} any more", self.name)
    }
}

impl From<RegisterError> for Failure {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::File(error) => error.into(),
            RegisterError::Name(_) => Self::usage("NAME", error, "choose another"),
            RegisterError::Key(_) => Self::usage("--did", error, "ask them for what `dsip id show` says"),
            RegisterError::Taken(_) => {
                Self::usage("NAME", error, "choose another, or `dsip node user remove` it first")
            }
            RegisterError::Nobody(_) => Self::usage("NAME", error, "`dsip node user list` shows who has one"),
            RegisterError::Record(_) => {
                Self::new(Exit::Refused, "FILE", error, "have its owner run `dsip id rotate --print` again")
            }
            RegisterError::Full => Self::usage("NAME", error, "remove one first"),
        }
    }
}
