//! Files that survive crashes and company: versioned JSON, written whole or not at all, changed under one lock.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Error;

/// The version written into every file. A change that old programs would misread raises it.
const VERSION: u32 = 1;

/// No file of a home comes near this; one that does is not ours, and is not read into memory.
const MAX_FILE: u64 = 64 << 20;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// The owner alone: key material. A file that others can read is refused.
    Owner,
    /// Whoever the directory lets in.
    Directory,
}

/// What every file looks like: its format and version first, so that a stranger's file is named as such.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: String,
    version: u32,
    content: T,
}

/// The same, before anything is known about the content.
#[derive(Deserialize)]
struct Heading {
    format: String,
    version: u32,
}

/// Held while a file is read, changed and written back. Dropping it releases the lock, and so does a crash.
#[derive(Debug)]
pub(super) struct Guard {
    _lock: File,
}

/// Waits for the home's lock. It is held for the time of one file operation, never across a question to a person.
pub(super) fn lock(dir: &Path) -> Result<Guard, Error> {
    let path = dir.join("lock");
    let file = open_to_lock(&path)?;
    file.lock().map_err(Error::io(&path))?;
    Ok(Guard { _lock: file })
}

/// Opens a file that is there to be locked, and makes it if need be.
pub(super) fn open_to_lock(path: &Path) -> Result<File, Error> {
    let file = open_options(Access::Owner).create(true).write(true).truncate(false).open(path);
    file.and_then(|file| leave_to_owner(&file, path).map(|()| file)).map_err(Error::io(path))
}

/// What root makes in somebody else's home is theirs, as if they had made it: a file of root's they could not read. A node
/// that runs as a user of its own is looked after by root.
#[cfg(unix)]
pub(super) fn leave_to_owner(file: &File, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let Some(dir) = path.parent() else { return Ok(()) };
    let owner = fs::metadata(dir)?;
    if file.metadata()?.uid() == 0 && owner.uid() != 0 {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn leave_to_owner(_: &File, _: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Makes the directory, and its parents, for the owner alone.
pub(super) fn make_dir(dir: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let is_new = !dir.exists();
    builder.create(dir).map_err(Error::io(dir))?;
    if is_new && cfg!(unix) {
        let made = File::open(dir).and_then(|made| leave_to_owner(&made, dir));
        made.map_err(Error::io(dir))?;
    }
    Ok(())
}

/// Reads a file of the given format; `None` if there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path, format: &str, access: Access) -> Result<Option<T>, Error> {
    read_text(path, access)?.map(|text| parse(path, format, &text)).transpose()
}

/// Reads a file of plain text; `None` if there is none.
pub(super) fn read_text(path: &Path, access: Access) -> Result<Option<Zeroizing<String>>, Error> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let about = file.metadata().map_err(Error::io(path))?;
    if access == Access::Owner {
        refuse_if_exposed(path, &about)?;
    }
    if about.len() > MAX_FILE {
        return Err(Error::Corrupted { path: path.into(), what: format!("{} bytes long", about.len()) });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Error::Corrupted { path: path.into(), what: "not text".into() },
        _ => Error::io(path)(error),
    })?;
    Ok(Some(text))
}

fn parse<T: DeserializeOwned>(path: &Path, format: &str, text: &str) -> Result<T, Error> {
    let corrupted = |what: String| Error::Corrupted { path: path.into(), what };
    // serde_json's message may quote the offending value, which here can be a secret: say where, not what.
    let place =
        |error: &serde_json::Error| format!("unexpected content at line {}, column {}", error.line(), error.column());
    let heading: Heading = serde_json::from_str(text).map_err(|error| corrupted(place(&error)))?;
    if heading.format != format {
        return Err(corrupted(format!("holds {:?} instead of {format:?}", heading.format)));
    }
    if heading.version > VERSION {
        return Err(Error::TooNew { path: path.into(), version: heading.version });
    }
    let versioned: Versioned<T> = serde_json::from_str(text).map_err(|error| corrupted(place(&error)))?;
    Ok(versioned.content)
}

/// Writes a file so that a reader, or a crash at any moment, finds the old content or the new, never a mixture.
pub(super) fn write<T: Serialize>(path: &Path, format: &str, access: Access, content: &T) -> Result<(), Error> {
    let versioned = Versioned { format: format.into(), version: VERSION, content };
    let mut text = Zeroizing::new(Vec::new());
    serde_json::to_writer_pretty(&mut *text, &versioned)
        .map_err(|error| Error::Corrupted { path: path.into(), what: error.to_string() })?;
    text.push(b'\n');
    replace(path, access, &text)
}

/// Puts `bytes` in the place of whatever `path` held.
pub(super) fn replace(path: &Path, access: Access, bytes: &[u8]) -> Result<(), Error> {
    let beside = beside(path)?;
    let written = open_options(access).create_new(true).write(true).open(&beside).and_then(|mut file| {
        leave_to_owner(&file, path)?;
        file.write_all(bytes)?;
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&beside, path)).and_then(|()| sync_dir(path));
    placed.map_err(|error| {
        // Best effort: what matters to the caller is why the write failed.
        let _ = fs::remove_file(&beside);
        Error::io(path)(error)
    })
}

/// A name next to `path` that nobody else writes to at the same time.
fn beside(path: &Path) -> Result<PathBuf, Error> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|_| Error::Randomness)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{:016x}.new", u64::from_le_bytes(random)));
    Ok(path.with_file_name(name))
}

/// A rename is durable once its directory is.
fn sync_dir(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(dir) if cfg!(unix) => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

fn open_options(access: Access) -> OpenOptions {
    let options = OpenOptions::new();
    #[cfg(unix)]
    {
        let mut options = options;
        let mode = if access == Access::Owner { 0o600 } else { 0o644 };
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        options
    }
    #[cfg(not(unix))]
    {
        let _ = access;
        options
    }
}

#[cfg(unix)]
fn refuse_if_exposed(path: &Path, about: &fs::Metadata) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(Error::Exposed { path: path.into(), mode }) }
}

#[cfg(not(unix))]
fn refuse_if_exposed(_: &Path, _: &fs::Metadata) -> Result<(), Error> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    #[test]
    fn what_is_written_is_read_back_and_a_missing_file_is_none() {
        let dir = dir();
        let path = dir.path().join("peers.json");
        assert_eq!(read::<Vec<String>>(&path, "dsip/peers", Access::Directory).expect("no file"), None);
        write(&path, "dsip/peers", Access::Directory, &vec!["a", "b"]).expect("written");
        let read = read::<Vec<String>>(&path, "dsip/peers", Access::Directory).expect("read");
        assert_eq!(read, Some(vec!["a".into(), "b".into()]));
        let names: Vec<_> =
            fs::read_dir(dir.path()).expect("listed").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["peers.json"], "no temporary file stays behind");
    }

    /// Root looks after a node that runs as another user; whoever runs the tests as somebody else sees that nothing changes.
    #[cfg(unix)]
    #[test]
    fn what_is_written_belongs_to_the_owner_of_the_home() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let dir = dir();
        if fs::metadata(dir.path()).expect("there").uid() == 0 {
            chown(dir.path(), Some(65_534), Some(65_534)).expect("given away");
        }
        let owner = fs::metadata(dir.path()).expect("there").uid();
        make_dir(&dir.path().join("phones")).expect("made");
        drop(lock(dir.path()).expect("locked"));
        for _ in 0..2 {
            write(&dir.path().join("names.json"), "dsip/names", Access::Owner, &1).expect("written");
        }
        for name in ["phones", "lock", "names.json"] {
            let about = fs::metadata(dir.path().join(name)).expect("there");
            assert_eq!((about.uid(), about.permissions().mode() & 0o077), (owner, 0), "{name}");
        }
    }

    #[test]
    fn damage_is_named_without_quoting_the_content() {
        let dir = dir();
        let path = dir.path().join("device.key");
        for (content, what) in [
            (r#"{"format":"dsip/device","version":1,"content":"secret"}"#, "line 1"),
            (r#"{"format":"dsip/device","version":1,"content":["#, "line 1"),
            (r#"{"format":"dsip/other","version":1,"content":[]}"#, "dsip/other"),
            ("", "line 1"),
        ] {
            replace(&path, Access::Owner, content.as_bytes()).expect("written");
            let error = read::<Vec<u8>>(&path, "dsip/device", Access::Owner).expect_err("damaged").to_string();
            assert!(error.contains(what) && error.contains("device.key"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        replace(&path, Access::Owner, br#"{"format":"dsip/device","version":9,"content":[]}"#).expect("written");
        let error = read::<Vec<u8>>(&path, "dsip/device", Access::Owner).expect_err("from the future");
        assert!(matches!(error, Error::TooNew { version: 9, .. }));
    }

    #[cfg(unix)]
    #[test]
    fn key_material_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = dir();
        let path = dir.path().join("device.key");
        write(&path, "dsip/device", Access::Owner, &1).expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("opened up");
        assert!(matches!(read::<u8>(&path, "dsip/device", Access::Owner), Err(Error::Exposed { mode: 0o640, .. })));
    }
}
