//! Where a passphrase comes from: a file, the home itself, or a person at a terminal.

use std::io::IsTerminal as _;
use std::path::Path;

use dsip_endpoint::home::{Home, Passphrase};

use crate::cli::Globals;
use crate::failure::Failure;

/// Anything longer is some other file.
const MAX_FILE: u64 = 4096;

/// A new passphrase. A person is asked twice, since a slip could never be undone.
pub(crate) fn choose(globals: &Globals) -> Result<Passphrase, Failure> {
    if let Some(file) = &globals.passphrase_file {
        return from_file(file);
    }
    if !std::io::stdin().is_terminal() {
        let remedy = "give --passphrase-file FILE or --no-passphrase";
        return Err(Failure::home("passphrase", "there is no terminal to ask on", remedy));
    }
    let first = ask("Passphrase for the new identity: ")?;
    if first.is_empty() {
        return Err(Failure::home("passphrase", "it is empty", "choose one, or use --no-passphrase"));
    }
    if ask("Once more: ")? != first {
        return Err(Failure::home("passphrase", "the two are not the same", "try again"));
    }
    Ok(Passphrase::new(first))
}

/// The passphrase that opens the identity key of `home`.
pub(crate) fn unlock(globals: &Globals, home: &Home) -> Result<Passphrase, Failure> {
    if let Some(file) = &globals.passphrase_file {
        return from_file(file);
    }
    if let Some(stored) = home.stored_passphrase().map_err(Failure::from)? {
        return Ok(stored);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::home("passphrase", "there is no terminal to ask on", "give --passphrase-file FILE"));
    }
    ask("Passphrase: ").map(Passphrase::new)
}

fn from_file(file: &Path) -> Result<Passphrase, Failure> {
    let failed = |wrong: String| Failure::home(file.display(), wrong, "give a file whose first line is the passphrase");
    let about = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?;
    if about.len() > MAX_FILE {
        return Err(failed("this is not a passphrase file".into()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Passphrase::new(line)),
        _ => Err(failed("its first line is empty".into())),
    }
}

fn ask(prompt: &str) -> Result<String, Failure> {
    rpassword::prompt_password(prompt).map_err(|error| {
        Failure::home("passphrase", format!("it cannot be asked for: {error}"), "give --passphrase-file FILE")
    })
}
