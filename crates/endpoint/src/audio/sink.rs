//! Where a call is recorded or heard: a file, a command, standard output, the loudspeaker, nowhere.

use std::path::Path;

use super::{Error, ogg, pipe, wav};

/// Where a call's incoming audio goes, 20 ms at a time. A recording is complete after [`Sink::finish`], and also when the sink
/// is merely dropped.
pub struct Sink {
    what: String,
    kind: Kind,
    failed: bool,
}

enum Kind {
    Discard,
    Wav(wav::Writer),
    Ogg(Box<ogg::Writer>),
    Pipe(pipe::Writer),
    #[cfg(feature = "sound")]
    Device(super::device::Writer),
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Sink {
    /// Throws everything away.
    #[must_use]
    pub fn discard() -> Self {
        Self { what: "none".into(), kind: Kind::Discard, failed: false }
    }

    /// Opens what the person named; the table in [`crate::audio`] says what may be. A file is created or overwritten at once,
    /// so that a wrong path is known before the call.
    ///
    /// # Errors
    /// Names what was given and what is wrong with it.
    pub fn open(what: &str) -> Result<Self, Error> {
        let extension = extension(what);
        let kind = match what.split_once(':') {
            _ if what == "-" => Kind::Pipe(pipe::Writer::stdout()),
            _ if matches!(what, "silence" | "none") => Kind::Discard,
            #[cfg(feature = "sound")]
            _ if what == "device" => Kind::Device(super::device::Writer::open()?),
            #[cfg(not(feature = "sound"))]
            _ if what == "device" => return Err(super::no_devices()),
            Some(("exec", command)) => Kind::Pipe(pipe::Writer::command(command)?),
            _ if matches!(extension, "ogg" | "opus") => Kind::Ogg(Box::new(ogg::Writer::create(Path::new(what))?)),
            _ if extension == "wav" => Kind::Wav(wav::Writer::create(Path::new(what))?),
            _ => return Err(Error::new(what, "a recording's name must end in .wav, .ogg or .opus")),
        };
        Ok(Self { what: what.into(), kind, failed: false })
    }

    /// Whether [`open`](Self::open) can be expected to succeed, without making a file or starting a command or a device: for
    /// who waits for calls, and wants to hear of a mistake before the first one.
    ///
    /// # Errors
    /// Names what was given and what is wrong with it.
    pub fn check(what: &str) -> Result<(), Error> {
        if what == "-" || what.starts_with("exec:") || (cfg!(feature = "sound") && what == "device") {
            return Ok(());
        }
        if matches!(extension(what), "wav" | "ogg" | "opus") {
            let dir = Path::new(what).parent().filter(|dir| !dir.as_os_str().is_empty());
            let missing = dir.is_some_and(|dir| !dir.is_dir());
            return if missing { Err(Error::new(what, "there is no such directory")) } else { Ok(()) };
        }
        Self::open(what).map(drop)
    }

    /// Takes in samples. A sink that fails is reported once and then ignored: the call matters more.
    pub fn write(&mut self, pcm: &[f32]) {
        if self.failed {
            return;
        }
        let written = match &mut self.kind {
            Kind::Discard => Ok(()),
            Kind::Wav(writer) => writer.write(pcm),
            Kind::Ogg(writer) => writer.write(pcm),
            Kind::Pipe(writer) => writer.write(pcm),
            #[cfg(feature = "sound")]
            Kind::Device(writer) => {
                writer.write(pcm);
                Ok(())
            }
        };
        if let Err(why) = written {
            self.failed = true;
            tracing::warn!(what = self.what, why, "audio is no longer recorded");
        }
    }

    /// Completes the recording.
    ///
    /// # Errors
    /// When the file or program failed, now or before.
    pub async fn finish(self) -> Result<(), Error> {
        let finished = match self.kind {
            Kind::Discard => Ok(()),
            Kind::Wav(writer) => writer.finish(),
            Kind::Ogg(writer) => writer.finish(),
            Kind::Pipe(writer) => writer.finish().await,
            #[cfg(feature = "sound")]
            Kind::Device(_) => Ok(()),
        };
        match finished {
            Ok(()) if self.failed => Err(Error::new(self.what, "could not be written completely")),
            Ok(()) => Ok(()),
            Err(why) => Err(Error::new(self.what, why)),
        }
    }
}

fn extension(what: &str) -> &str {
    Path::new(what).extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::read;

    #[test]
    fn a_check_makes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.wav");
        assert!(Sink::check(&file.to_string_lossy()).is_ok() && !file.exists());
        assert!(Sink::check("exec:exit 1").is_ok() && Sink::check("none").is_ok());
        assert!(Sink::check("/nowhere/a.wav").is_err() && Sink::check("a.mp3").is_err());
    }

    #[tokio::test]
    async fn files_are_whole_even_if_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, finish) in [("a.wav", true), ("b.wav", false), ("c.ogg", true), ("d.opus", false)] {
            let path = directory.path().join(name);
            let mut sink = Sink::open(path.to_str().expect("text")).expect("opened");
            (0..70).for_each(|_| sink.write(&[0.25; 960]));
            if finish {
                sink.finish().await.expect("written");
            } else {
                drop(sink);
            }
            let samples = read(&path).expect("read");
            assert!(samples.len().abs_diff(70 * 960) <= 960, "{name}: {}", samples.len());
        }
    }

    #[tokio::test]
    async fn a_command_is_a_sink() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("raw");
        let mut sink = Sink::open(&format!("exec:cat > {}", path.display())).expect("opened");
        (0..10).for_each(|_| sink.write(&[0.5; 960]));
        sink.finish().await.expect("written");
        assert_eq!(std::fs::read(path).expect("read").len(), 10 * 960 * 2);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(Sink::open("call.mp3").expect_err("a mistake").to_string().contains(".wav, .ogg or .opus"));
        assert!(
            Sink::open("/does/not/exist/a.wav").expect_err("a mistake").to_string().contains("/does/not/exist/a.wav")
        );
    }
}
