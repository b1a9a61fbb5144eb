//! The home: who one is, and for how long this device may say so.

use dsip_endpoint::clock;
use dsip_endpoint::home::{self, Home};
use dsip_endpoint::phone::Identity;
use dsip_proto::envelope::{Supported, Verifier};
use dsip_proto::identity::{Delegation, Documents};
use dsip_proto::time::Seed;

use super::report::{Check, Finding, Report};
use super::{DAY, span};
use crate::cli::Globals;
use crate::phone::owner_of;

/// The home's owner, if there is one who can say `hello`.
pub(super) async fn check(globals: &Globals, report: &Report<'_>, within: u64) -> Option<Identity> {
    // The home of a node alone has no profile.
    let is_empty = |home: &Home| matches!(home.profile(), Err(home::Error::Missing { .. }));
    let home = globals.home().ok().filter(|home| !is_empty(home));
    let Some(home) = home else {
        let says =
            "nobody's home is here; a fresh identity is used, as who looks at a node from outside needs no other";
        report.note(Check::Identity, Finding::skipped(says));
        return None;
    };
    let identity = match owner_of(home) {
        Ok(config) => config.identity,
        Err(failure) => {
            let (wrong, remedy) = failure.parts();
            report.note(Check::Identity, Finding::failed(wrong, remedy));
            return None;
        }
    };
    let (finding, usable) = delegated(&identity, within);
    report.note(Check::Identity, finding);
    usable.then_some(identity)
}

/// Whether the device may speak for the identity, and until when.
fn delegated(identity: &Identity, within: u64) -> (Finding, bool) {
    let (now, device) = (clock::now(), identity.device.did());
    if identity.did == device {
        return (Finding::ok(format!("{}, whose key is this device's own", identity.did)), true);
    }
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        return (Finding::failed("the system gives no randomness", "try again"), false);
    }
    let mut verifier = Verifier::new(Supported::new([]), Seed::new(seed));
    for delegation in &identity.delegations {
        verifier.learn(delegation);
    }
    let renew = "renew it with `dsip id delegate` where the identity's key is";
    // The document of a did:web is not at hand here; its node says whether the delegation holds.
    if identity.did.method() == "key"
        && let Err(code) = verifier.may_act(&identity.did, &device, now, &Documents::default())
    {
        let says = format!("this device may not speak for {} ({code})", identity.did);
        return (Finding::failed(says, renew), false);
    }
    let mine = identity.delegations.iter().filter_map(Delegation::claimed);
    let mine = mine.filter(|one| one.subject == identity.did && one.device == device);
    let left = mine.map(|one| one.expires_at).max().unwrap_or(0).saturating_sub(now.wall.secs());
    let says = format!("{}; this device may speak for it for {} more", identity.did, span(left));
    match left {
        0 => (Finding::failed("the delegation of this device has ended", renew), false),
        left if left < within * DAY => (Finding::warning(says, renew), true),
        _ => (Finding::ok(says), true),
    }
}
