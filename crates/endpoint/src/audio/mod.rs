//! Where a call's audio comes from and where it goes: files, a tone, or another program.
//!
//! | given | as a source | as a sink |
//! |---|---|---|
//! | `silence`, `none` | nothing | thrown away |
//! | `tone:440` | a sine of so many hertz | |
//! | `FILE` | WAV (any rate, any number of channels) or Ogg/Opus, told apart by content | WAV, or Ogg/Opus if the name ends in `.ogg` or `.opus` |
//! | `loop:FILE` | the same, again and again | |
//! | `exec:COMMAND` | a shell command's output | a shell command's input |
//! | `-` | standard input | standard output |
//! | `device` | the microphone (feature `sound`) | the loudspeaker (feature `sound`) |
//!
//! Commands and standard streams speak raw samples: 16 bit little-endian, mono, 48 kHz. A source is paced by the call, one
//! frame of 20 ms at a time, and never blocks it: a command that is late yields silence.

#[cfg(feature = "sound")]
mod device;
mod ogg;
mod pipe;
mod sink;
mod source;
mod wav;

pub use sink::Sink;
pub use source::Source;

use std::path::Path;

/// Why audio cannot be used: names what was given and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// What was given.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

impl Error {
    fn new(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string() }
    }

    fn file(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::new(path.display().to_string(), why)
    }
}

/// Reads a whole recording as 48 kHz mono: WAV or Ogg/Opus, told apart by content.
///
/// # Errors
/// When the file cannot be read or is neither; the error names the file and the fault.
pub fn read(path: &Path) -> Result<Vec<f32>, Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::file(path, error))?;
    decode(&bytes).map_err(|why| Error::file(path, why))
}

/// Reads a recording that is in memory already.
///
/// # Errors
/// What is wrong with it, as text.
pub fn decode(bytes: &[u8]) -> Result<Vec<f32>, String> {
    match bytes.get(..4) {
        Some(b"RIFF" | b"RF64") => wav::decode(bytes),
        Some(b"OggS") => ogg::decode(bytes),
        None if bytes.is_empty() => Err("the file is empty".into()),
        _ => Err("neither WAV nor Ogg/Opus".into()),
    }
}

/// What `device` means to a build without sound devices.
#[cfg(not(feature = "sound"))]
fn no_devices() -> Error {
    Error::new("device", "this build has no sound devices; build it with --features sound")
}

/// The longest recording taken in, in samples: two hours.
const LONGEST: usize = 2 * 3600 * 48_000;
