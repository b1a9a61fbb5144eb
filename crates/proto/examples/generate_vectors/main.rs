//! Writes this repository's own conformance vectors into `vectors/`.
//!
//! Inputs are signed here; what has to come out of them is stated by hand, from the contract, and never taken from the
//! code under test. The result is the same on every run: `cargo run -p dsip-proto --example generate_vectors`.

mod suite;

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors"));
    let files = suite::files();
    for kind in files.keys().filter_map(|name| name.split('/').next()) {
        let folder = root.join(kind);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = format!("{kind}/{}", path.file_stem().unwrap_or_default().to_string_lossy());
            if !files.contains_key(&name) {
                fs::remove_file(path)?;
            }
        }
    }
    for (name, text) in &files {
        fs::write(root.join(format!("{name}.json")), text)?;
    }
    println!("{} vectors in {}", files.len(), root.display());
    Ok(())
}
