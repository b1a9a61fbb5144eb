//! File descriptors: every device needs one, and most systems allow a process few unless it asks.

use crate::failure::Failure;

/// What the process needs besides its devices: the runtime, standard streams, the report.
#[cfg(unix)]
const BESIDES: u64 = 64;

/// Raises the soft limit as far as `devices` need, or says what to ask the system for.
#[cfg(unix)]
pub(super) fn provide_for(devices: usize) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // One each, and one more while a device that lost its link opens another.
    let needed = 2 * devices as u64 + BESIDES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    let wrong = |most: u64| {
        let wrong =
            format!("{devices} devices, those that come and go included, need {needed} open files; allowed are {most}");
        Failure::usage("--devices", wrong, format!("run `ulimit -n {needed}` first, or give fewer"))
    };
    if let Some(hard) = limit.maximum
        && hard < needed
    {
        return Err(wrong(hard));
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|_| wrong(limit.current.unwrap_or_default()))
}

/// Elsewhere there is no such limit to raise.
#[cfg(not(unix))]
pub(super) fn provide_for(_devices: usize) -> Result<(), Failure> {
    Ok(())
}
