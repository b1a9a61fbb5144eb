//! What a call says: a file, a tone, silence, a command, standard input, the microphone.

use std::path::{Path, PathBuf};

use dsip_media::audio::signal;
use dsip_media::codec::FRAME;

use super::{Error, pipe, read};

/// Where a call's outgoing audio comes from, 20 ms at a time.
pub struct Source {
    kind: Kind,
}

enum Kind {
    Silence,
    Endless(Box<dyn Iterator<Item = f32> + Send>),
    Clip {
        samples: Vec<f32>,
        at: usize,
        repeat: bool,
    },
    Pipe(pipe::Reader),
    #[cfg(feature = "sound")]
    Device(super::device::Reader),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            Kind::Silence => "Source::Silence",
            Kind::Endless(_) => "Source::Endless",
            Kind::Clip { .. } => "Source::Clip",
            Kind::Pipe(_) => "Source::Pipe",
            #[cfg(feature = "sound")]
            Kind::Device(_) => "Source::Device",
        })
    }
}

impl Source {
    /// Silence, of which hardly anything is sent.
    #[must_use]
    pub const fn silence() -> Self {
        Self { kind: Kind::Silence }
    }

    /// An endless sine.
    #[must_use]
    pub fn tone(hertz: f32) -> Self {
        Self { kind: Kind::Endless(Box::new(signal::tone(hertz, 0.3))) }
    }

    /// Samples that are there already: 48 kHz, mono. Once, then silence.
    #[must_use]
    pub const fn clip(samples: Vec<f32>) -> Self {
        Self { kind: Kind::Clip { samples, at: 0, repeat: false } }
    }

    /// Opens what the person named; the table in [`crate::audio`] says what may be. A command is started at once and must be
    /// opened within the async runtime.
    ///
    /// # Errors
    /// Names what was given and what is wrong with it.
    pub fn open(what: &str) -> Result<Self, Error> {
        let kind = match what.split_once(':') {
            _ if what == "-" => Kind::Pipe(pipe::Reader::stdin()),
            _ if matches!(what, "silence" | "none") => Kind::Silence,
            #[cfg(feature = "sound")]
            _ if what == "device" => Kind::Device(super::device::Reader::open()?),
            #[cfg(not(feature = "sound"))]
            _ if what == "device" => return Err(super::no_devices()),
            Some(("tone", hertz)) => return tone(what, hertz),
            Some(("exec", command)) => Kind::Pipe(pipe::Reader::command(command)?),
            Some(("loop", path)) => Kind::Clip { samples: read(Path::new(path))?, at: 0, repeat: true },
            _ => Kind::Clip { samples: read(&PathBuf::from(what))?, at: 0, repeat: false },
        };
        Ok(Self { kind })
    }

    /// Whether [`open`](Self::open) would succeed now, without starting a command or a device: for who waits for calls, and
    /// wants to hear of a mistake before the first one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn check(what: &str) -> Result<(), Error> {
        let starts_something =
            what == "-" || what.starts_with("exec:") || (cfg!(feature = "sound") && what == "device");
        if starts_something { Ok(()) } else { Self::open(what).map(drop) }
    }

    /// The next 20 ms. Silence once the source has ended.
    pub fn next_frame(&mut self) -> Vec<f32> {
        let mut frame = match &mut self.kind {
            Kind::Silence => Vec::new(),
            Kind::Endless(samples) => samples.take(FRAME).collect(),
            Kind::Clip { samples, at, repeat } => {
                if *repeat && *at >= samples.len() {
                    *at = 0;
                }
                let end = (*at + FRAME).min(samples.len());
                let frame = samples.get(*at..end).unwrap_or_default().to_vec();
                *at = end;
                frame
            }
            Kind::Pipe(reader) => reader.next(),
            #[cfg(feature = "sound")]
            Kind::Device(reader) => reader.next(),
        };
        frame.resize(FRAME, 0.0);
        frame
    }

    /// Whether the source has nothing more to say.
    #[must_use]
    pub fn ended(&self) -> bool {
        match &self.kind {
            Kind::Silence | Kind::Endless(_) => false,
            Kind::Clip { samples, at, repeat } => !repeat && *at >= samples.len(),
            Kind::Pipe(reader) => reader.ended(),
            #[cfg(feature = "sound")]
            Kind::Device(reader) => reader.ended(),
        }
    }
}

fn tone(what: &str, hertz: &str) -> Result<Source, Error> {
    match hertz.parse::<f32>() {
        Ok(hertz) if (20.0..=20_000.0).contains(&hertz) => Ok(Source::tone(hertz)),
        _ => Err(Error::new(what, "a tone needs a number of hertz between 20 and 20000, e.g. tone:440")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_end_and_loops_do_not() {
        let mut clip = Source::clip(vec![0.5; FRAME + 10]);
        assert_eq!(clip.next_frame(), vec![0.5; FRAME]);
        assert!(!clip.ended());
        assert_eq!(clip.next_frame()[..11], [[0.5; 10].as_slice(), &[0.0]].concat());
        assert!(clip.ended());
        assert_eq!(clip.next_frame(), vec![0.0; FRAME]);
    }

    #[test]
    fn a_check_starts_nothing() {
        assert!(
            Source::check("exec:exit 1").is_ok() && Source::check("-").is_ok() && Source::check("tone:440").is_ok()
        );
        assert!(Source::check("/nowhere/speech.wav").is_err() && Source::check("tone:loud").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (what, fault) in [
            ("tone:loud", "hertz"),
            ("/does/not/exist.wav", "No such file"),
            ("loop:/does/not/exist.ogg", "No such file"),
        ] {
            let error = Source::open(what).expect_err("a mistake").to_string();
            assert!(error.contains(fault) && error.contains(what.trim_start_matches("loop:")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_command_is_a_source() {
        let mut source = Source::open("exec:head -c 9600 /dev/zero | tr '\\0' '\\100'").expect("opened");
        let mut heard = 0;
        while !source.ended() {
            heard += usize::from(source.next_frame()[0] > 0.4);
            tokio::task::yield_now().await;
        }
        assert_eq!(heard, 5);
    }
}
