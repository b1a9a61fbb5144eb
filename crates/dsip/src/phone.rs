//! What the phone's commands share: the phone itself, made from the flags and the home.

use std::net::SocketAddr;
use std::path::PathBuf;

use dsip_endpoint::home::Home;
use dsip_endpoint::link::Target;
use dsip_endpoint::media;
use dsip_endpoint::phone::{Company, Config, Error, Identity, JoinError, Network, Phone};
use dsip_endpoint::resolve::{self, Located, Resolver};
use dsip_endpoint::tls::{Expect, Roots};
use dsip_proto::agent::Policy;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};

/// Whoever calls while a command is at work that answers nobody hears that I am busy.
const NOBODY_ANSWERS: Policy = Policy { first_contact: false, do_not_disturb: false, calls: 0 };

impl Globals {
    /// Access to the network, as the flags say.
    pub(crate) async fn network(&self) -> Result<Network, Failure> {
        let roots = Roots::load(&self.ca)
            .map_err(|error| Failure::usage("--ca", error, "give a readable file with a certificate in PEM form"))?;
        // Who has no home yet is not given one by a look-up.
        let home = self.home().ok().filter(|home| home.dir().is_dir());
        let remembered = home.map(|home| home.dir().join("dht-peers"));
        Network::join_remembering(roots, &self.dht, self.allow_private, remembered).await.map_err(|error| match error {
            JoinError::Address(_) => Failure::usage("--dht", error, "write /ip4/ADDRESS/tcp/PORT/p2p/ID or HOST:PORT"),
            _ => Failure::new(Exit::Unreachable, "network", error, "check the network"),
        })
    }

    /// Looks up documents and aliases, and nothing else: without a part in the DHT.
    pub(crate) fn resolver(&self) -> Result<Resolver, Failure> {
        let wrong = |error| Failure::usage("--ca", error, "give a readable file with a certificate in PEM form");
        let tls = Roots::load(&self.ca).and_then(|roots| roots.ws_client(&Expect::WebPki)).map_err(wrong)?;
        let patience = resolve::PATIENCE;
        let config = resolve::Config { tls, allow_private: self.allow_private, dns: None, patience };
        Resolver::new(&config).map_err(|error| Failure::new(Exit::Unreachable, "network", error, "check the network"))
    }

    /// My node, if I gave one.
    pub(crate) fn node_target(&self) -> Result<Option<Target>, Failure> {
        let parse = |text: &String| {
            text.parse().map_err(|error| Failure::usage("--node", error, "write wss://HOST:PORT/dsip#did:key:…"))
        };
        self.node.as_ref().map(parse).transpose()
    }

    /// The STUN servers given.
    pub(crate) async fn stun_servers(&self) -> Result<Vec<SocketAddr>, Failure> {
        let mut stun = Vec::new();
        for server in &self.stun {
            let wrong = |error| Failure::usage("--stun", format!("{server}: {error}"), "write HOST:PORT");
            stun.extend(tokio::net::lookup_host(server).await.map_err(wrong)?);
        }
        Ok(stun)
    }

    /// How media reaches the network: with the STUN servers given, besides the one that my node tells of.
    async fn media(&self) -> Result<media::Config, Failure> {
        Ok(media::Config { stun: self.stun_servers().await?, ..media::Config::default() })
    }

    /// The phone of the home's owner.
    pub(crate) async fn owner(&self) -> Result<Config, Failure> {
        let home = self.home()?;
        let profile = home.profile()?;
        let remedy = "have another device of yours delegate to it, see dsip id delegate";
        let did = profile.identity.ok_or_else(|| Failure::home("device", "nobody has delegated to it yet", remedy))?;
        let identity =
            Identity { did, device: home.device()?.into(), delegations: home.delegations()?, name: profile.name };
        Ok(Config { identity, policy: NOBODY_ANSWERS, home: Some(home), ..self.stranger().await? })
    }

    /// A phone of nobody in particular: a fresh identity.
    pub(crate) async fn stranger(&self) -> Result<Config, Failure> {
        let config = Config::ephemeral().map_err(|error| Failure::fault("identity", error, "try again"))?;
        Ok(Config { node: self.node_target()?, media: self.media().await?, ..config })
    }
}

/// The phone of the owner of `home`, at no node.
pub(crate) fn owner_of(home: Home) -> Result<Config, Failure> {
    let profile = home.profile()?;
    let remedy = "have another device of yours delegate to it, see dsip id delegate";
    let did = profile.identity.ok_or_else(|| Failure::home("device", "nobody has delegated to it yet", remedy))?;
    let identity =
        Identity { did, device: home.device()?.into(), delegations: home.delegations()?, name: profile.name };
    Ok(Config {
        identity,
        policy: Policy::default(),
        node: None,
        publish: false,
        home: Some(home),
        media: dsip_endpoint::media::Config::default(),
    })
}

/// Why a command that is done in a moment is not done now: another program of the home has the connection.
pub(crate) fn occupied(company: Company) -> Failure {
    let (wrong, remedy) = match company {
        Company::InCall => ("another program of this home is in a call", "try again when it is over"),
        Company::Newer => {
            ("another program of this home was started later and goes first", "try again when it has ended")
        }
    };
    Failure::home("--home", wrong, remedy)
}

/// Reads what the person typed and finds what is known about it.
pub(crate) async fn locate(phone: &Phone, target: &str) -> Result<Located, Failure> {
    let target: resolve::Target =
        target.parse().map_err(|error| Failure::usage("TARGET", error, "see dsip call --help"))?;
    let located = phone.locate(&target).await.map_err(|error| {
        Failure::new(Exit::NotFound, "TARGET", error, "check the spelling, or ask them for their DID")
    })?;
    if let Err(error) = &located.document {
        return Err(Failure::new(Exit::NotFound, &located.did, error, "check the DID, or try again later"));
    }
    Ok(located)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Home(error) => error.into(),
            Error::Audio(error) => Self::usage("audio", error, "see --audio-in and --audio-out in --help"),
            Error::Refused(dsip_proto::agent::Misuse::Nowhere) => Self::new(
                Exit::NotFound,
                "TARGET",
                "nothing says where to dial them",
                "give a DHT node with --dht, or a node they use with --node",
            ),
            error => Self::fault("phone", error, "try again"),
        }
    }
}

/// The recording of the `n`th call, counted from zero: the name as given, then numbered ones beside it.
pub(crate) fn numbered(name: &str, n: usize) -> String {
    if n == 0 || name.contains(':') || matches!(name, "none" | "-") {
        return name.to_owned();
    }
    let path = PathBuf::from(name);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{extension}", n + 1)).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_a_recording_of_its_own() {
        assert_eq!(numbered("dir/heard.wav", 0), "dir/heard.wav");
        assert_eq!(numbered("dir/heard.wav", 1), "dir/heard-2.wav");
        assert_eq!(numbered("exec:aplay", 3), "exec:aplay");
    }
}
