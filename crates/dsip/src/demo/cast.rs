//! Who plays: five nodes, Alice, Bob with two devices. All of them are the ordinary thing, on loopback, in homes of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::home::{Guard, Home};
use dsip_endpoint::link::Target;
use dsip_endpoint::phone::{self, Config, Event, Events, Network, Phone};
use dsip_endpoint::tls::Roots;
use dsip_node::Node;
use dsip_proto::identity::Documents;
use tokio::time::{Instant, timeout, timeout_at};

use super::Broken;
use crate::phone::owner_of;

/// How long whatever has to happen may take: long for a machine under load, short for a person who watches.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How long the demo watches before it says that nothing happened.
pub(super) const SILENCE: Duration = Duration::from_millis(600);
/// How long the demo's delegations hold.
const A_DAY: u64 = 86_400;

/// Somebody with a phone, and everything that phone told.
pub(super) struct Actor {
    pub(super) phone: Phone,
    events: Events,
    pub(super) seen: Vec<Event>,
    read: usize,
}

impl Actor {
    pub(super) fn start(config: Config, network: Network) -> Result<Self, Broken> {
        let (phone, events) = Phone::start(config, network)?;
        Ok(Self { phone, events, seen: Vec::new(), read: 0 })
    }

    /// Waits until the phone tells what `pick` looks for; what it tells before that is remembered.
    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, Broken> {
        let limit = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.seen.get(self.read) {
                self.read += 1;
                if let Some(found) = pick(event) {
                    return Ok(found);
                }
            }
            match timeout_at(limit, self.events.next()).await {
                Ok(Some(event)) => self.seen.push(event),
                Ok(None) => return Err(Broken(format!("the phone stopped before {what}"))),
                Err(_) => return Err(Broken(format!("{what} did not happen; the phone told {:?}", self.seen.last()))),
            }
        }
    }

    /// Watches for a while, and counts what `of` recognises in everything that was told since the last look.
    pub(super) async fn count(&mut self, watch: Duration, of: impl Fn(&Event) -> bool) -> usize {
        let limit = Instant::now() + watch;
        while let Ok(Some(event)) = timeout_at(limit, self.events.next()).await {
            self.seen.push(event);
        }
        let fresh = self.seen.get(self.read..).unwrap_or_default();
        let count = fresh.iter().filter(|event| of(event)).count();
        self.read = self.seen.len();
        count
    }
}

/// Everybody who plays a part.
pub(super) struct Cast {
    pub(super) nodes: Vec<Node>,
    pub(super) alice: Actor,
    pub(super) bobs_phone: Actor,
    pub(super) bobs_laptop: Actor,
    pub(super) alices_home: Home,
    pub(super) dir: PathBuf,
}

/// Starts `count` nodes that form one DHT.
pub(super) async fn nodes(dir: &Path, count: usize) -> Result<Vec<Node>, Broken> {
    let mut nodes: Vec<Node> = Vec::new();
    for n in 1..=count {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bootstrap = nodes.iter().map(|node| dsip_endpoint::dht::parse_address(&node.ready().dht));
        let bootstrap = bootstrap.collect::<Result<Vec<_>, _>>().map_err(Broken)?;
        let config = dsip_node::Config {
            bootstrap,
            dht: Some(listen),
            stun: Some(listen),
            ..dsip_node::Config::new(dir.join(format!("node-{n}")), listen)
        };
        nodes.push(Node::start(config).await.map_err(|error| Broken(error.to_string()))?);
    }
    Ok(nodes)
}

/// A person's home: an identity, a device key, and the delegation between them.
pub(super) fn person(dir: &Path, name: &str) -> Result<Home, Broken> {
    let home = Home::at(dir.join(name.to_lowercase()));
    home.create(Some(name), &Guard::Unattended, clock::now(), A_DAY)?;
    Ok(home)
}

/// A second device of the person in `first`: a key of its own, and a delegation that the identity signed.
pub(super) fn second_device(dir: &Path, first: &Home, name: &str) -> Result<Home, Broken> {
    let home = Home::at(dir.join(name.to_lowercase()));
    let device = home.create_device(Some("Bob"))?.device;
    let passphrase = first.stored_passphrase()?.ok_or_else(|| Broken("the identity is locked".into()))?;
    let (key, kid) = first.unlock(&passphrase)?;
    let delegation = first.delegate(&key, &kid, &device, clock::now(), A_DAY)?;
    home.adopt(&delegation, &Documents::default(), clock::now())?;
    Ok(home)
}

/// A phone at `node`, which knows the DHT through `dht`. On loopback only.
pub(super) async fn phone_of(
    home: &Home,
    node: Option<&Node>,
    dht: Option<&Node>,
    publish: bool,
) -> Result<Actor, Broken> {
    let mut config = owner_of(home.clone()).map_err(|failure| Broken(failure.to_string()))?;
    config.node =
        node.map(|node| node.ready().url().parse::<Target>()).transpose().map_err(|e| Broken(e.to_string()))?;
    config.publish = publish;
    config.media = loopback();
    Actor::start(config, network(dht).await?)
}

/// Access to the DHT through one node, or to no DHT at all. No certificate authority is trusted: every node here is known by
/// its key.
pub(super) async fn network(dht: Option<&Node>) -> Result<Network, Broken> {
    let addresses: Vec<String> = dht.iter().map(|node| node.ready().dht.clone()).collect();
    let roots = Roots::load::<&str>(&[]).map_err(|error| Broken(error.to_string()))?;
    Network::join(roots, &addresses, false).await.map_err(|error| Broken(error.to_string()))
}

/// Media that never leaves this machine.
pub(super) fn loopback() -> dsip_endpoint::media::Config {
    let addresses = dsip_endpoint::media::Addresses::Loopback;
    dsip_endpoint::media::Config { addresses, ..dsip_endpoint::media::Config::default() }
}

impl Cast {
    /// Ends every call and every node, in order.
    pub(super) async fn leave(self) {
        let Self { nodes, alice, bobs_phone, bobs_laptop, .. } = self;
        for actor in [alice, bobs_phone, bobs_laptop] {
            actor.phone.stop().await;
        }
        for node in nodes {
            // A node that does not come to an end in time ends with the process.
            let _ = timeout(Duration::from_secs(5), node.shutdown()).await;
        }
    }
}

impl From<phone::Error> for Broken {
    fn from(error: phone::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<dsip_endpoint::home::Error> for Broken {
    fn from(error: dsip_endpoint::home::Error) -> Self {
        Self(error.to_string())
    }
}
