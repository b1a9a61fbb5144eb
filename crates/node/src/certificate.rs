//! The domain's certificate, taken anew when its files change; and the one for browsers where there is none.
//!
//! Whoever renews it replaces two files, one after the other, perhaps through symbolic links, and tells nobody. So the files are
//! looked at; what does not fit together is not shown, and the one from before goes on.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dsip_endpoint::clock;
use dsip_endpoint::tls::{Certificate, TlsError};

use crate::home::{NodeHome, write_new};

/// How often the files are looked at.
const LOOKS: Duration = Duration::from_secs(1);

/// Where the certificate for browsers lies in the node's home, with its key.
const BROWSERS: &str = "browsers.pem";

/// How often it is looked whether that is still good.
const DAY: Duration = Duration::from_secs(86_400);

/// What tells one content of a file from the next.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// Of the file itself, wherever a link leads; none if there is none.
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        let inode = std::os::unix::fs::MetadataExt::ino(&about);
        Some(Self { modified: about.modified().ok(), length: about.len(), inode })
    }
}

/// Shows what the files hold, from now on and after each change. `chain` and `key` have been shown already.
pub(crate) async fn follow(certificate: Certificate, (chain, key): (PathBuf, PathBuf)) {
    let stamps = || [Stamp::of(&chain), Stamp::of(&key)];
    // What was changed since they were read is taken again, which does no harm.
    let mut tried = None;
    loop {
        let now = stamps();
        if tried.as_ref() != Some(&now) {
            match certificate.show_domain(&chain, &key) {
                Ok(()) if tried.is_none() => {}
                Ok(()) => tracing::info!(chain = %chain.display(), "a new certificate"),
                Err(error) => tracing::error!(%error, "the new certificate is of no use; the one from before goes on"),
            }
            tried = Some(now);
        }
        tokio::time::sleep(LOOKS).await;
    }
}

/// Shows browsers a certificate of a kind that they can check, for these `hosts`, today and for as long as the node runs (WPH-55). It
/// stays the one from before if that will do: somebody who has let it pass is not to be asked again.
pub(crate) fn for_browsers(
    certificate: Certificate,
    home: &NodeHome,
    hosts: Vec<String>,
) -> impl Future<Output = ()> + Send + use<> {
    let (file, did) = (home.dir().join(BROWSERS), home.did().to_string());
    let show = move || {
        let now = clock::now().wall.secs();
        if !certificate.show_browsers(&file, &hosts, now).unwrap_or(false) {
            let made = Certificate::for_browsers(&did, &hosts, now).and_then(|pem| {
                let failed = |source| TlsError::File { path: file.display().to_string(), source };
                write_new(&file, pem.as_bytes()).map_err(failed)?;
                certificate.show_browsers(&file, &hosts, now)
            });
            match made {
                Ok(_) => tracing::info!(file = %file.display(), "a new certificate for browsers"),
                Err(error) => tracing::error!(%error, "browsers will see no certificate that they can check"),
            }
        }
    };
    show();
    async move {
        loop {
            tokio::time::sleep(DAY).await;
            show();
        }
    }
}
