//! Who the owner of a home is: identity key, device key, and the delegations between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dsip_proto::envelope::{Supported, Verifier};
use dsip_proto::identity::seal::{self, Passphrase, Sealed, Shut, Work};
use dsip_proto::identity::{self, Delegation, Document, Documents, KeyId, PublicKey, SecretKey};
use dsip_proto::time::{Now, Seed};
use dsip_proto::wire::token::RotationReason;
use dsip_proto::wire::{Did, Envelope, Ulid};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::store::{self, Access};
use super::{Error, Home};

/// More delegations than this are not one person's devices.
const MAX_DELEGATIONS: usize = 256;

/// The next identity key, while it takes the place of the one in use.
const NEXT: &str = "identity.next";

/// Devices that a rotation record names. It is information, and the record has to stay short.
const MAX_NAMED: usize = 8;

/// Who the owner of a home is. Public: it names keys and holds none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The identity; `None` on a device that nobody delegated to yet.
    pub identity: Option<Did>,
    /// The device: the `did:key` of the device key.
    pub device: Did,
    /// What the owner calls themself. A claim, shown to others as one.
    pub name: Option<String>,
}

/// How the identity key is to be guarded.
#[derive(Debug)]
pub enum Guard {
    /// By a passphrase that is asked for.
    Passphrase(Passphrase),
    /// By a random passphrase that lies in the home, for machines that run by themselves.
    Unattended,
}

#[derive(Serialize, Deserialize)]
struct DeviceKey {
    did: Did,
    secret: Zeroizing<String>,
}

#[derive(Serialize, Deserialize)]
struct IdentityKey {
    kid: String,
    #[serde(flatten)]
    sealed: Sealed,
}

impl IdentityKey {
    fn open(&self, path: &Path, passphrase: &Passphrase) -> Result<(SecretKey, KeyId), Error> {
        let secret = self.sealed.open(&self.kid, passphrase).map_err(|shut| match shut {
            Shut::WrongPassphrase => Error::WrongPassphrase { path: path.into() },
            Shut::Malformed => Error::Corrupted { path: path.into(), what: "not a sealed key".into() },
        })?;
        let kid = self.kid.parse().ok();
        let key = <&[u8; 32]>::try_from(secret.as_slice()).ok().map(SecretKey::from_bytes);
        key.zip(kid).ok_or_else(|| Error::Corrupted { path: path.into(), what: "what was sealed is not a key".into() })
    }
}

impl Home {
    /// Makes an identity, a device key, and the delegation from one to the other.
    ///
    /// # Errors
    /// [`Error::Exists`] rather than overwrite anything; whatever the system or the directory refuses.
    pub fn create(&self, name: Option<&str>, guard: &Guard, now: Now, lifetime: u64) -> Result<Profile, Error> {
        self.create_with(|home| {
            let (identity, device) = (fresh_key()?, fresh_key()?);
            let kid = identity.public().kid();
            let (passphrase, work) = match guard {
                Guard::Passphrase(passphrase) => (passphrase.clone(), Work::PERSON),
                Guard::Unattended => (Passphrase::random(&*random()?), Work::RANDOM),
            };
            let sealed = Sealed::seal(identity.to_bytes().as_slice(), &kid.to_string(), &passphrase, work, &salted()?);
            let sealed = sealed.ok_or(Error::Memory)?;
            if matches!(guard, Guard::Unattended) {
                store::replace(&home.path("unlock"), Access::Owner, format!("{}\n", passphrase.as_str()).as_bytes())?;
            }
            let sealed = IdentityKey { kid: kid.to_string(), sealed };
            store::write(&home.path("identity.key"), "dsip/identity-key", Access::Owner, &sealed)?;
            home.write_device(&device)?;
            let profile =
                Profile { identity: Some(identity.did()), device: device.did(), name: name.map(str::to_owned) };
            let from = now.wall.secs();
            let delegation = identity::delegate(
                &identity,
                &kid,
                &profile.device,
                &Delegation::PHONE,
                from,
                from.saturating_add(lifetime),
            );
            home.write_delegations(&[delegation])?;
            Ok(profile)
        })
    }

    /// Makes a device key alone, for a device that an identity elsewhere delegates to.
    ///
    /// # Errors
    /// As [`Home::create`].
    pub fn create_device(&self, name: Option<&str>) -> Result<Profile, Error> {
        self.create_with(|home| {
            let device = fresh_key()?;
            home.write_device(&device)?;
            Ok(Profile { identity: None, device: device.did(), name: name.map(str::to_owned) })
        })
    }

    /// Makes an identity for one context: a single key that is identity and device in one, so that nothing delegates and
    /// nothing links it to anybody.
    ///
    /// # Errors
    /// As [`Home::create`].
    pub fn create_ephemeral(&self) -> Result<Profile, Error> {
        self.create_with(|home| {
            let key = fresh_key()?;
            home.write_device(&key)?;
            Ok(Profile { identity: Some(key.did()), device: key.did(), name: None })
        })
    }

    /// Who the owner is.
    ///
    /// # Errors
    /// [`Error::Missing`] if nobody made an identity or a device here yet.
    pub fn profile(&self) -> Result<Profile, Error> {
        let profile = store::read(&self.path("profile.json"), "dsip/profile", Access::Directory)?;
        profile.ok_or_else(|| Error::Missing { path: self.dir().into(), what: "no identity here" })
    }

    /// The device key.
    ///
    /// # Errors
    /// [`Error::Exposed`] if others can read the file; [`Error::Missing`] or [`Error::Corrupted`] as it is.
    pub fn device(&self) -> Result<SecretKey, Error> {
        let path = self.path("device.key");
        let stored: Option<DeviceKey> = store::read(&path, "dsip/device-key", Access::Owner)?;
        let stored = stored.ok_or_else(|| Error::Missing { path: self.dir().into(), what: "no device key here" })?;
        let key = decode(&stored.secret).filter(|key| key.did() == stored.did);
        key.ok_or_else(|| Error::Corrupted { path, what: "the key is not that of the DID beside it".into() })
    }

    /// Opens the identity key. Takes a good part of a second on purpose.
    ///
    /// # Errors
    /// [`Error::WrongPassphrase`]; [`Error::Missing`] on a device that only has a device key.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<(SecretKey, KeyId), Error> {
        let path = self.path("identity.key");
        let stored = self.sealed_identity()?;
        stored.open(&path, passphrase)
    }

    /// Takes on a name: from then on the identity is the DID of `document`, which has to list the identity's key.
    ///
    /// The devices that the identity delegated to are delegated to anew: this one for `lifetime` seconds, others for as long as
    /// before. Those have to [`adopt`](Self::adopt) the result. Doing it again renews.
    ///
    /// # Errors
    /// [`Error::Name`] if the document lists other keys; [`Error::Missing`] on a device that only has a device key.
    pub fn take_name(
        &self,
        passphrase: &Passphrase,
        document: &Document,
        now: Now,
        lifetime: u64,
    ) -> Result<Profile, Error> {
        let (key, _) = self.unlock(passphrase)?;
        let kid = listed(document, &key.public()).ok_or_else(|| Error::Name { did: document.did().clone() })?;
        self.sign_as(&key, &kid, passphrase, &[], now, lifetime)
    }

    /// Begins to replace the identity key (NAM-7): makes the next one, keeps it sealed, and signs the record that says so. Nothing
    /// changes before [`finish_rotation`](Self::finish_rotation). Doing it again signs another record for the same next key.
    ///
    /// # Errors
    /// [`Error::Rotation`] if the identity cannot change its key (ID-14); [`Error::Missing`] where the identity key is not.
    pub fn rotate(
        &self,
        passphrase: &Passphrase,
        reason: RotationReason,
        without: &[Did],
        now: Now,
    ) -> Result<Envelope, Error> {
        let (key, kid) = self.unlock(passphrase)?;
        if kid.did().method() != "web" {
            let what = "a did:key is its key; take on a name with `dsip id adopt` to have one that can change";
            return Err(Error::Rotation { what });
        }
        let next = match self.next_key(passphrase)? {
            Some(next) => next,
            None => {
                let next = fresh_key()?;
                let kid = next.public().kid().to_string();
                let sealed = self.sealed_identity()?.sealed;
                let sealed = sealed.reseal(next.to_bytes().as_slice(), &kid, passphrase, &salted()?);
                let sealed = sealed.ok_or(Error::Memory)?;
                let _guard = store::lock(self.dir())?;
                store::write(&self.path(NEXT), "dsip/identity-key", Access::Owner, &IdentityKey { kid, sealed })?;
                next
            }
        };
        let known = self.delegations()?;
        let devices = known.iter().filter_map(Delegation::claimed).map(|claim| claim.device);
        let devices = devices.filter(|device| !without.contains(device)).take(MAX_NAMED).collect();
        let mut rng = Seed::new(*random()?).into_rng();
        let id = Ulid::generate(now.wall, &mut rng);
        let record = identity::rotate(&key, &kid, &next.public(), reason, devices, id, now);
        record.ok_or(Error::Rotation { what: "the key's name has characters that no record can hold" })
    }

    /// Ends it: if `document` lists the next key, that is the identity key from then on, and every device but those in `without`
    /// is delegated to anew. `None` if no rotation has begun, or if the document does not list the key yet.
    ///
    /// # Errors
    /// As [`unlock`](Self::unlock), or if a file cannot be written; then doing it again finishes it.
    pub fn finish_rotation(
        &self,
        passphrase: &Passphrase,
        document: &Document,
        without: &[Did],
        now: Now,
        lifetime: u64,
    ) -> Result<Option<Profile>, Error> {
        let Some(next) = self.next_key(passphrase)? else { return Ok(None) };
        let Some(kid) = listed(document, &next.public()) else { return Ok(None) };
        let profile = self.sign_as(&next, &kid, passphrase, without, now, lifetime)?;
        // Last: until then it is all done again when asked again.
        let path = self.path(NEXT);
        std::fs::remove_file(&path).map_err(Error::io(&path))?;
        Ok(Some(profile))
    }

    /// The key that is to take the place of the identity key, if a rotation has begun.
    fn next_key(&self, passphrase: &Passphrase) -> Result<Option<SecretKey>, Error> {
        let path = self.path(NEXT);
        let stored: Option<IdentityKey> = store::read(&path, "dsip/identity-key", Access::Owner)?;
        stored.map(|stored| Ok(stored.open(&path, passphrase)?.0)).transpose()
    }

    /// Makes `key` under the name `kid` the identity key, and delegates with it to all devices but those in `without`: to this
    /// one for `lifetime` seconds, to others for as long as before.
    fn sign_as(
        &self,
        key: &SecretKey,
        kid: &KeyId,
        passphrase: &Passphrase,
        without: &[Did],
        now: Now,
        lifetime: u64,
    ) -> Result<Profile, Error> {
        let sealed = self.sealed_identity()?.sealed;
        let sealed = sealed.reseal(key.to_bytes().as_slice(), &kid.to_string(), passphrase, &salted()?);
        let sealed = sealed.ok_or(Error::Memory)?;
        let _guard = store::lock(self.dir())?;
        let mut profile = self.profile()?;
        let from = now.wall.secs();
        let own = (profile.device.clone(), from.saturating_add(lifetime));
        let claims = self.delegations()?;
        let claims = claims.iter().filter_map(Delegation::claimed).filter(|claim| claim.expires_at > from);
        let others = claims.map(|claim| (claim.device, claim.expires_at));
        let others = others.filter(|(device, _)| *device != profile.device && !without.contains(device));
        let delegations: BTreeMap<Did, u64> = others.chain([own]).collect();
        let delegations = delegations
            .iter()
            .map(|(device, until)| identity::delegate(key, kid, device, &Delegation::PHONE, from, *until))
            .collect::<Vec<_>>();
        // A crash between two of these leaves a home where doing it again does the rest.
        let sealed = IdentityKey { kid: kid.to_string(), sealed };
        store::write(&self.path("identity.key"), "dsip/identity-key", Access::Owner, &sealed)?;
        self.write_delegations(&delegations)?;
        profile.identity = Some(kid.did().clone());
        self.write_profile(&profile)?;
        Ok(profile)
    }

    /// The passphrase that lies in the home, if it was made for unattended use.
    ///
    /// # Errors
    /// [`Error::Exposed`] if others can read it.
    pub fn stored_passphrase(&self) -> Result<Option<Passphrase>, Error> {
        let text = store::read_text(&self.path("unlock"), Access::Owner)?;
        Ok(text.map(|text| Passphrase::new(text.lines().next().unwrap_or_default())))
    }

    /// Signs a delegation for `device`, keeps a copy, and returns it.
    ///
    /// # Errors
    /// If the copy cannot be kept.
    pub fn delegate(
        &self,
        key: &SecretKey,
        kid: &KeyId,
        device: &Did,
        now: Now,
        lifetime: u64,
    ) -> Result<Envelope, Error> {
        let from = now.wall.secs();
        let delegation = identity::delegate(key, kid, device, &Delegation::PHONE, from, from.saturating_add(lifetime));
        self.keep(&delegation, now)?;
        Ok(delegation)
    }

    /// Takes in a delegation that an identity elsewhere made for this device. From then on the device is that identity's.
    ///
    /// `documents` has to hold the subject's document unless the subject is a `did:key`.
    ///
    /// # Errors
    /// [`Error::Delegation`] if it is for another device, from another identity than before, not valid now, or not signed by
    /// whom it names.
    pub fn adopt(&self, delegation: &Envelope, documents: &Documents, now: Now) -> Result<Profile, Error> {
        let refuse = |what: &str| Error::Delegation { what: what.into() };
        let mut profile = self.profile()?;
        let claim = Delegation::claimed(delegation).ok_or_else(|| refuse("this is not a delegation"))?;
        if claim.device != profile.device {
            return Err(refuse(&format!("it is for {}, this device is {}", claim.device, profile.device)));
        }
        let before = profile.identity.as_ref().filter(|identity| **identity != claim.subject);
        // An identity that has taken on a name is still the same if the name's document lists its key.
        let is_same = |before: &Did| {
            let key = PublicKey::of_did(before).ok();
            key.zip(documents.get(&claim.subject)).is_some_and(|(key, document)| listed(document, &key).is_some())
        };
        if before.is_some_and(|before| !is_same(before)) {
            return Err(refuse("this device belongs to another identity already"));
        }
        let mut verifier = Verifier::new(Supported::default(), Seed::new(*random()?));
        verifier.learn(delegation);
        let verdict = verifier.may_act(&claim.subject, &profile.device, now, documents);
        verdict.map_err(|code| refuse(&format!("it does not hold ({code})")))?;
        self.keep(delegation, now)?;
        if profile.identity.as_ref() != Some(&claim.subject) {
            profile.identity = Some(claim.subject);
            self.write_profile(&profile)?;
        }
        Ok(profile)
    }

    /// The delegations this home knows: those that this device has, and those made here for others.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn delegations(&self) -> Result<Vec<Envelope>, Error> {
        let path = self.path("delegations.json");
        let stored: Vec<Value> = store::read(&path, "dsip/delegations", Access::Directory)?.unwrap_or_default();
        let parse = |value: Value| Envelope::parse(&value.to_string()).ok();
        stored
            .into_iter()
            .map(|value| {
                parse(value).ok_or_else(|| Error::Corrupted { path: path.clone(), what: "not envelopes".into() })
            })
            .collect()
    }

    /// Adds a delegation, and drops those that have expired or that it renews.
    fn keep(&self, delegation: &Envelope, now: Now) -> Result<(), Error> {
        let _guard = store::lock(self.dir())?;
        let mut all = self.delegations()?;
        let new = Delegation::claimed(delegation);
        all.retain(|old| {
            Delegation::claimed(old).is_some_and(|old| {
                // Also under another name: a device acts for one identity.
                let renewed = new.as_ref().is_some_and(|new| new.device == old.device);
                old.expires_at > now.wall.secs() && !renewed
            })
        });
        all.push(delegation.clone());
        if all.len() > MAX_DELEGATIONS {
            return Err(Error::Delegation { what: format!("there are {MAX_DELEGATIONS} already") });
        }
        self.write_delegations(&all)
    }

    fn sealed_identity(&self) -> Result<IdentityKey, Error> {
        let stored = store::read(&self.path("identity.key"), "dsip/identity-key", Access::Owner)?;
        let what = "the identity key is not on this device";
        stored.ok_or_else(|| Error::Missing { path: self.dir().into(), what })
    }

    fn create_with(&self, make: impl FnOnce(&Self) -> Result<Profile, Error>) -> Result<Profile, Error> {
        store::make_dir(self.dir())?;
        let _guard = store::lock(self.dir())?;
        if ["profile.json", "identity.key", "device.key"].iter().any(|file| self.path(file).exists()) {
            return Err(Error::Exists { path: self.dir().into() });
        }
        let profile = make(self)?;
        // Last, so that a home without it is one whose making was interrupted, and never half of one in use.
        self.write_profile(&profile)?;
        Ok(profile)
    }

    fn write_profile(&self, profile: &Profile) -> Result<(), Error> {
        store::write(&self.path("profile.json"), "dsip/profile", Access::Directory, profile)
    }

    fn write_device(&self, key: &SecretKey) -> Result<(), Error> {
        let stored = DeviceKey { did: key.did(), secret: encode(key) };
        store::write(&self.path("device.key"), "dsip/device-key", Access::Owner, &stored)
    }

    fn write_delegations(&self, all: &[Envelope]) -> Result<(), Error> {
        let path: PathBuf = self.path("delegations.json");
        let values: Result<Vec<Value>, _> = all.iter().map(|envelope| serde_json::from_str(&envelope.text())).collect();
        let values = values.map_err(|error| Error::Corrupted { path: path.clone(), what: error.to_string() })?;
        store::write(&path, "dsip/delegations", Access::Directory, &values)
    }
}

/// The name that `document` has for `key`, if it lists it (RES-2).
fn listed(document: &Document, key: &PublicKey) -> Option<KeyId> {
    let kid = |id: &str| KeyId::new(document.did().clone(), id.split_once('#')?.1).ok();
    document.methods().iter().filter_map(|method| kid(&method.id)).find(|kid| document.key(kid) == Some(key))
}

/// A key from the system's randomness.
fn fresh_key() -> Result<SecretKey, Error> {
    random().map(|secret| SecretKey::from_bytes(&secret))
}

/// 32 bytes of the system's randomness.
fn random() -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| Error::Randomness)?;
    Ok(bytes)
}

/// What sealing takes of it.
fn salted() -> Result<[u8; seal::RANDOM], Error> {
    let mut bytes = [0; seal::RANDOM];
    getrandom::fill(&mut bytes).map_err(|_| Error::Randomness)?;
    Ok(bytes)
}

fn encode(key: &SecretKey) -> Zeroizing<String> {
    use base64ct::Encoding as _;
    Zeroizing::new(base64ct::Base64UrlUnpadded::encode_string(key.to_bytes().as_slice()))
}

fn decode(text: &str) -> Option<SecretKey> {
    use base64ct::Encoding as _;
    let mut secret = Zeroizing::new([0; 32]);
    let length = base64ct::Base64UrlUnpadded::decode(text, &mut *secret).ok()?.len();
    (length == secret.len()).then(|| SecretKey::from_bytes(&secret))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dsip_proto::time::{Tick, Wall};

    use super::*;

    const YEAR: u64 = 365 * 86_400;

    fn now() -> Now {
        Now { tick: Tick::default(), wall: Wall::from_secs(1_760_000_000) }
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(dir.path().join("home"));
        (dir, home)
    }

    #[test]
    fn a_new_home_holds_an_identity_a_device_and_their_delegation() {
        let (_dir, home) = home();
        assert!(matches!(home.profile(), Err(Error::Missing { .. })));
        let made = home.create(Some("Alice"), &Guard::Unattended, now(), YEAR).expect("made");
        assert_eq!(home.profile().expect("read"), made);
        assert_eq!(home.device().expect("the device key").did(), made.device);
        let passphrase = home.stored_passphrase().expect("readable").expect("there");
        let (key, kid) = home.unlock(&passphrase).expect("unlocked");
        assert_eq!(Some(key.did()), made.identity);
        assert_eq!(kid, key.public().kid());
        let delegations = home.delegations().expect("read");
        let claims: Vec<_> = delegations.iter().filter_map(Delegation::claimed).collect();
        assert!(
            matches!(&claims[..], [one] if one.device == made.device && Some(&one.subject) == made.identity.as_ref())
        );
    }

    #[test]
    fn nothing_is_overwritten() {
        let (_dir, home) = home();
        home.create_device(None).expect("made");
        for again in
            [home.create(None, &Guard::Unattended, now(), YEAR), home.create_device(None), home.create_ephemeral()]
        {
            assert!(matches!(again, Err(Error::Exists { .. })));
        }
    }

    #[test]
    fn a_passphrase_opens_the_identity_and_another_does_not() {
        let (_dir, home) = home();
        let guard = Guard::Passphrase(Passphrase::new("correct horse battery staple"));
        home.create(None, &guard, now(), YEAR).expect("made");
        assert!(home.stored_passphrase().expect("readable").is_none());
        assert!(home.unlock(&Passphrase::new("correct horse battery staple")).is_ok());
        assert!(matches!(home.unlock(&Passphrase::new("wrong")), Err(Error::WrongPassphrase { .. })));
    }

    #[test]
    fn a_second_device_joins_by_a_delegation_made_for_it() {
        let ((_a, phone), (_b, laptop)) = (home(), home());
        let alice = phone.create(Some("Alice"), &Guard::Unattended, now(), YEAR).expect("made");
        let device = laptop.create_device(Some("laptop")).expect("made").device;
        let passphrase = phone.stored_passphrase().expect("readable").expect("there");
        let (key, kid) = phone.unlock(&passphrase).expect("unlocked");
        let delegation = phone.delegate(&key, &kid, &device, now(), YEAR).expect("signed");
        let joined = laptop.adopt(&delegation, &Documents::default(), now()).expect("adopted");
        assert_eq!(joined.identity, alice.identity);
        assert_eq!(laptop.delegations().expect("read"), [delegation]);
        assert_eq!(phone.delegations().expect("read").len(), 2);
    }

    #[test]
    fn an_identity_takes_on_a_name_that_lists_its_key_and_its_devices_follow() {
        let ((_a, phone), (_b, laptop)) = (home(), home());
        let alice = phone.create(Some("Alice"), &Guard::Unattended, now(), YEAR).expect("made");
        let device = laptop.create_device(None).expect("made").device;
        let passphrase = phone.stored_passphrase().expect("readable").expect("there");
        let (key, kid) = phone.unlock(&passphrase).expect("unlocked");
        let joined = phone.delegate(&key, &kid, &device, now(), 1_000).expect("signed");
        laptop.adopt(&joined, &Documents::default(), now()).expect("adopted");

        let did: Did = "did:web:example.org:users:alice".parse().expect("a DID");
        let of_another = fresh_key().expect("a key").public();
        let foreign = Document::new(did.clone(), "key-1", of_another, Vec::new());
        assert!(matches!(phone.take_name(&passphrase, &foreign, now(), YEAR), Err(Error::Name { .. })));
        assert_eq!(phone.profile().expect("read"), alice);
        let document = Document::new(did.clone(), "key-1", key.public(), Vec::new());
        for _ in 0..2 {
            let named = phone.take_name(&passphrase, &document, now(), YEAR).expect("taken");
            assert_eq!(named, Profile { identity: Some(did.clone()), ..alice.clone() });
        }
        let (_, kid) = phone.unlock(&passphrase).expect("unlocked");
        assert_eq!(kid.to_string(), format!("{did}#key-1"));
        let made = phone.delegations().expect("read");
        let claims: Vec<Delegation> = made.iter().filter_map(Delegation::claimed).collect();
        assert!(claims.iter().all(|claim| claim.subject == did), "{claims:?}");
        let until = |of: &Did| claims.iter().find(|claim| claim.device == *of).expect("delegated to").expires_at;
        assert_eq!(until(&alice.device), now().wall.secs() + YEAR);
        assert_eq!(until(&device), now().wall.secs() + 1_000);

        let for_laptop = made.iter().find(|made| Delegation::claimed(made).is_some_and(|claim| claim.device == device));
        let mut documents = Documents::default();
        documents.insert(foreign);
        let for_laptop = for_laptop.expect("delegated to");
        assert!(laptop.adopt(for_laptop, &documents, now()).is_err(), "the name is another's");
        documents.insert(document);
        assert_eq!(laptop.adopt(for_laptop, &documents, now()).expect("adopted").identity, Some(did));
        assert_eq!(laptop.delegations().expect("read"), std::slice::from_ref(for_laptop));
    }

    #[test]
    fn nam_7_a_key_is_replaced_once_the_document_says_so_and_interruptions_lose_nothing() {
        let (_dir, home) = home();
        let me = home.create(None, &Guard::Unattended, now(), YEAR).expect("made");
        let passphrase = home.stored_passphrase().expect("readable").expect("there");
        let (old, _) = home.unlock(&passphrase).expect("unlocked");
        let planned = RotationReason::SCHEDULED;
        let refused = home.rotate(&passphrase, planned.clone(), &[], now());
        assert!(matches!(refused, Err(Error::Rotation { .. })), "a did:key is its key");
        let did: Did = "did:web:example.org:users:alice".parse().expect("a DID");
        let listing = |key: &PublicKey| Document::new(did.clone(), &key.to_multibase(), *key, Vec::new());
        home.take_name(&passphrase, &listing(&old.public()), now(), YEAR).expect("taken");
        let (laptop, stolen) = (fresh_key().expect("a key").did(), fresh_key().expect("a key").did());
        let (_, kid) = home.unlock(&passphrase).expect("unlocked");
        for device in [&laptop, &stolen] {
            home.delegate(&old, &kid, device, now(), 1_000).expect("signed");
        }

        let without = [stolen];
        let next_of = |record: &Envelope| {
            let payload: Value = serde_json::from_slice(&record.payload_bytes()).expect("JSON");
            PublicKey::from_multibase(payload["next_public_key_multibase"].as_str().expect("text")).expect("a key")
        };
        let finish = |document: Document| home.finish_rotation(&passphrase, &document, &without, now(), YEAR);
        assert_eq!(finish(listing(&old.public())).expect("nothing begun"), None);
        let first = home.rotate(&passphrase, planned.clone(), &without, now()).expect("signed");
        let again = home.rotate(&passphrase, planned, &without, now()).expect("signed");
        let next = next_of(&first);
        assert_eq!(next, next_of(&again), "there is one next key");
        assert_ne!(next, old.public());
        assert_eq!(finish(listing(&old.public())).expect("not yet"), None);
        assert_eq!(home.unlock(&passphrase).expect("unlocked").0.public(), old.public());

        let kept = std::fs::read(home.dir().join(NEXT)).expect("read");
        assert_eq!(finish(listing(&next)).expect("done").expect("done").device, me.device);
        let (key, kid) = home.unlock(&passphrase).expect("unlocked");
        assert_eq!((key.public(), kid.fragment()), (next, next.to_multibase().as_str()));
        // As after a crash just before the end.
        std::fs::write(home.dir().join(NEXT), kept).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(home.dir().join(NEXT), mode).expect("changed");
        assert!(finish(listing(&next)).expect("done again").is_some());
        assert_eq!(finish(listing(&next)).expect("nothing left"), None);

        let mut documents = Documents::default();
        documents.insert(listing(&next));
        let mut verifier = Verifier::new(Supported::default(), Seed::new(*random().expect("random")));
        for made in home.delegations().expect("read") {
            verifier.learn(&made);
        }
        for (device, may) in [(&me.device, true), (&laptop, true), (&without[0], false)] {
            assert_eq!(verifier.may_act(&did, device, now(), &documents).is_ok(), may);
        }
    }

    #[test]
    fn del_1_a_delegation_for_another_device_expired_or_forged_is_not_adopted() {
        let ((_a, phone), (_b, laptop)) = (home(), home());
        phone.create(None, &Guard::Unattended, now(), YEAR).expect("made");
        let mine = laptop.create_device(None).expect("made").device;
        let passphrase = phone.stored_passphrase().expect("readable").expect("there");
        let (key, kid) = phone.unlock(&passphrase).expect("unlocked");
        let other = fresh_key().expect("a key");
        let from = now().wall.secs();
        let for_another = identity::delegate(&key, &kid, &other.did(), &Delegation::PHONE, from, from + YEAR);
        let expired = identity::delegate(&key, &kid, &mine, &Delegation::PHONE, from - 10, from);
        let forged = identity::delegate(&other, &kid, &mine, &Delegation::PHONE, from, from + YEAR);
        for bad in [for_another, expired, forged] {
            assert!(matches!(laptop.adopt(&bad, &Documents::default(), now()), Err(Error::Delegation { .. })));
        }
        assert_eq!(laptop.profile().expect("read").identity, None);
    }

    #[test]
    fn renewing_replaces_and_expired_ones_go() {
        let (_dir, home) = home();
        let me = home.create(None, &Guard::Unattended, now(), 100).expect("made");
        let passphrase = home.stored_passphrase().expect("readable").expect("there");
        let (key, kid) = home.unlock(&passphrase).expect("unlocked");
        home.delegate(&key, &kid, &me.device, now(), YEAR).expect("renewed");
        assert_eq!(home.delegations().expect("read").len(), 1);
        let other = fresh_key().expect("a key").did();
        let much_later = now().later(Duration::from_secs(YEAR));
        home.delegate(&key, &kid, &other, much_later, YEAR).expect("signed");
        let left: Vec<_> = home.delegations().expect("read").iter().filter_map(Delegation::claimed).collect();
        assert!(matches!(&left[..], [one] if one.device == other));
    }

    #[test]
    fn an_ephemeral_identity_is_one_key_and_no_delegation() {
        let (_dir, home) = home();
        let me = home.create_ephemeral().expect("made");
        assert_eq!(me.identity.as_ref(), Some(&me.device));
        assert!(home.delegations().expect("read").is_empty());
    }
}
