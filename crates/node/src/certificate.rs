//! The domain's certificate, taken anew when its files change.
//!
//! Whoever renews it replaces two files, one after the other, perhaps through symbolic links, and tells nobody. So the files are
//! looked at; what does not fit together is not shown, and the one from before goes on.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dsip_endpoint::tls::Certificate;

/// How often the files are looked at.
const LOOKS: Duration = Duration::from_secs(1);

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
