//! What a node is: its key and its certificate.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dsip_proto::envelope::Signer;
use dsip_proto::identity::{PublicKey, SecretKey};
use dsip_proto::turn::Issuer;
use dsip_proto::wire::Did;

use crate::{StartError, named};

/// The file with the 32 octets of the node's Ed25519 seed.
const KEY: &str = "node.key";

/// The file with the node's certificate, to be handed to those who need a root.
const CERTIFICATE: &str = "cert.pem";

/// A node's home, opened.
pub(crate) struct NodeHome {
    dir: PathBuf,
    key: SecretKey,
    did: Did,
}

/// Opens the home in `dir`; the first time, makes it and a key.
pub(crate) fn open(dir: &Path) -> Result<NodeHome, StartError> {
    let failed = |path: &Path| {
        let path = named(path);
        move |source| StartError::File { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
    let path = dir.join(KEY);
    let key = match secret(&path)? {
        Some(octets) => {
            let seed = octets.as_slice().try_into().map_err(|_| StartError::Key(named(&path)))?;
            SecretKey::from_bytes(seed)
        }
        None => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|_| StartError::Randomness)?;
            write_new(&path, &seed).map_err(failed(&path))?;
            SecretKey::from_bytes(&seed)
        }
    };
    let did = key.did();
    Ok(NodeHome { dir: dir.to_path_buf(), key, did })
}

impl NodeHome {
    /// The node's DID.
    pub(crate) fn did(&self) -> &Did {
        &self.did
    }

    /// Its key.
    pub(crate) fn key(&self) -> PublicKey {
        self.key.public()
    }

    /// The seed of its key.
    pub(crate) fn seed(&self) -> [u8; 32] {
        *self.key.to_bytes()
    }

    /// Makes TURN credentials and verifies them.
    pub(crate) fn issuer(&self) -> Issuer {
        Issuer::of_node(&self.seed())
    }

    /// Signs for the node.
    pub(crate) fn signer(&self) -> Signer {
        Signer::of_key(SecretKey::from_bytes(&self.seed()))
    }

    /// Where all of it lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the certificate is, for those who need a root.
    pub(crate) fn certificate(&self) -> PathBuf {
        let path = self.dir.join(CERTIFICATE);
        std::path::absolute(&path).unwrap_or(path)
    }

    /// Writes the certificate there.
    pub(crate) fn write_certificate(&self, pem: &str) -> Result<(), StartError> {
        let path = self.certificate();
        fs::write(&path, pem).map_err(|source| StartError::File { path: named(&path), source })
    }
}

/// What is in a file that must be its owner's alone; nothing if there is none.
pub(crate) fn secret(path: &Path) -> Result<Option<Vec<u8>>, StartError> {
    let failed = |source| StartError::File { path: named(path), source };
    match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Err(StartError::Exposed(named(path))),
        Ok(_) => fs::read(path).map(Some).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// All or nothing: a crash leaves no half key behind.
pub(crate) fn write_new(path: &Path, octets: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    drop(fs::remove_file(&beside));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // A rename is durable once its directory is.
    path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = open(dir.path()).expect("opened").did().clone();
        assert_eq!(open(dir.path()).expect("opened again").did(), &first);
        let path = dir.path().join(KEY);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(matches!(open(dir.path()), Err(StartError::Exposed(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(&path, "short").expect("written");
        assert!(matches!(open(dir.path()), Err(StartError::Key(_))));
    }
}
