//! Makes the table of the files of the web phone, which become part of the program (`src/web.rs`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The built page, from here.
const DIST: &str = "../../web/dist";

fn main() -> io::Result<()> {
    let dist = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(DIST);
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    find(&dist, "", &mut files)
        .map_err(|error| io::Error::new(error.kind(), format!("{}, the built page: {error}", dist.display())))?;
    files.sort();
    let mut table = String::from("static FILES: &[(&str, &[u8])] = &[\n");
    for name in files {
        let path = dist.join(&name);
        let _ = writeln!(table, "    ({:?}, include_bytes!({:?})),", format!("/{name}"), path.display().to_string());
    }
    table.push_str("];\n");
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("files.rs"), table)
}

/// The names of all files in `dir`, from the top of the page.
fn find(dir: &Path, above: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{above}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            find(&entry.path(), &format!("{name}/"), files)?;
        } else if !name.starts_with('.') {
            files.push(name);
        }
    }
    Ok(())
}
