//! Gives memory back to the system after a crowd has left.
//!
//! What a connection leaves behind is freed, at once or when the caches have aged, but glibc's allocator keeps free pages that
//! lie below one in use, for good. A node that once had ten thousand devices would look as if it still had them. Other
//! allocators return pages by themselves.

use std::time::Duration;

use crate::relay::Watch;

/// How often to look.
const EVERY: Duration = Duration::from_secs(1);

/// Connections that have to have left: fewer are not worth the walk over the whole heap.
const CROWD: usize = 64;

/// When to walk after a crowd has left: soon, and when what was remembered about it has aged.
const WALKS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(170)];

/// Looks at the number of connections for as long as the node runs.
pub(crate) async fn give_back(counts: Watch) {
    let mut most = 0;
    loop {
        tokio::time::sleep(EVERY).await;
        let now = counts.read().connections;
        most = most.max(now);
        // A quarter of them, so that a node which is always full does not walk its heap all the time.
        if most - now < CROWD.max(most / 4) {
            continue;
        }
        for pause in WALKS {
            tokio::time::sleep(pause).await;
            if tokio::task::spawn_blocking(trim).await.is_err() {
                return;
            }
        }
        most = counts.read().connections;
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)] // docs/decisions/0014-memory-given-back.md
fn trim() {
    // SAFETY: takes no pointer, and may be called from any thread at any time (malloc_trim(3): MT-safe).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
