//! Which program of a home speaks for its device.
//!
//! ```text
//! phones/0000000007    locked by the program that came seventh, for as long as it lives
//! line                 locked by the program that deals with a frame, or is in a call
//! ```
//!
//! A node keeps one connection of a device (WS-7), so programs of one home take turns: whoever has the line keeps it, else
//! whoever came last goes first. All of it is locks on files, which a crash gives back; what is in them does not matter.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use dsip_proto::agent::Company;

use super::store;
use super::{Error, Home};

/// Where each program has a file.
const PHONES: &str = "phones";
/// The file for the line.
const LINE: &str = "line";

/// One program's claim to the links of its home's device. Dropping it gives everything back, and so does a crash.
#[derive(Debug)]
pub(crate) struct Claim {
    dir: PathBuf,
    number: u64,
    /// Locked as long as this is here.
    _own: File,
    line: File,
    has_line: bool,
}

impl Claim {
    /// Comes after every other program of `home`.
    pub(crate) fn stake(home: &Home) -> Result<Self, Error> {
        store::make_dir(home.dir())?;
        let dir = home.path(PHONES);
        store::make_dir(&dir)?;
        let _guard = store::lock(home.dir())?;
        let number = others(&dir)?.map(|(number, _)| number).max().unwrap_or(0).saturating_add(1);
        for (_, path) in others(&dir)?.filter(|(_, path)| !is_alive(path)) {
            // It left its file behind when it crashed. If it cannot be removed it is in nobody's way.
            let _ = fs::remove_file(path);
        }
        let path = own_path(&dir, number);
        let own = store::open_to_lock(&path)?;
        own.lock().map_err(Error::io(&path))?;
        let line = store::open_to_lock(&home.path(LINE))?;
        Ok(Self { dir, number, _own: own, line, has_line: false })
    }

    /// Takes the line, so that nobody else does until it is [left](Self::leave_line); or says who goes first.
    pub(crate) fn take_line(&mut self) -> Result<(), Company> {
        if self.has_line {
            return Ok(());
        }
        // Whatever else goes wrong with a lock (a file system without any), a phone alone in its home must not fall silent.
        if matches!(self.line.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(Company::InCall);
        }
        self.has_line = true;
        if self.is_last() {
            return Ok(());
        }
        self.leave_line();
        Err(Company::Newer)
    }

    /// Others may speak, unless they came before.
    pub(crate) fn leave_line(&mut self) {
        if std::mem::take(&mut self.has_line) {
            let _ = self.line.unlock();
        }
    }

    /// Whether no program that lives came later.
    pub(crate) fn is_last(&self) -> bool {
        let later = |(number, path): (u64, PathBuf)| number > self.number && is_alive(&path);
        others(&self.dir).map_or(true, |mut all| !all.any(later))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(own_path(&self.dir, self.number));
    }
}

fn own_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}"))
}

/// Who has come, living or not.
fn others(dir: &Path) -> Result<impl Iterator<Item = (u64, PathBuf)> + use<>, Error> {
    let all = fs::read_dir(dir).map_err(Error::io(dir))?;
    Ok(all.flatten().filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))))
}

/// Whether the program whose file that is still runs. Many may look at once, hence a shared lock.
fn is_alive(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_last_goes_first_unless_another_has_the_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(dir.path());
        let claim = || Claim::stake(&home).expect("staked");
        let mut first = claim();
        assert_eq!(first.take_line(), Ok(()));
        let mut second = claim();
        assert_eq!(second.take_line(), Err(Company::InCall), "the first has it");
        assert_eq!(first.take_line(), Ok(()), "and keeps it");
        first.leave_line();
        assert_eq!(first.take_line(), Err(Company::Newer));
        assert_eq!(second.take_line(), Ok(()));
        let mut third = claim();
        assert_eq!(first.take_line(), Err(Company::InCall));
        drop(second);
        assert_eq!(first.take_line(), Err(Company::Newer));
        assert_eq!(third.take_line(), Ok(()));
        drop(third);
        assert_eq!(first.take_line(), Ok(()), "back when the others are gone");
    }

    #[test]
    fn a_program_that_crashed_is_in_nobodys_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(dir.path());
        let mut first = Claim::stake(&home).expect("staked");
        let left = own_path(&dir.path().join(PHONES), 77);
        store::replace(&left, store::Access::Owner, b"").expect("left behind");
        assert_eq!(first.take_line(), Ok(()));
        first.leave_line();
        let second = Claim::stake(&home).expect("staked");
        assert!(!left.exists());
        assert_eq!(first.take_line(), Err(Company::Newer));
        drop(second);
        drop(first);
        assert_eq!(fs::read_dir(dir.path().join(PHONES)).expect("listed").count(), 0);
    }
}
