//! `cargo x web`: the rules as WebAssembly, the npm package around them, and the page that every node serves.
//!
//! ```text
//! crates/web ──rustc──► wasm ──wasm-bindgen──► web/client/wasm ──tsc──► web/client/dist ──vite──► web/dist ──► the node
//! ```
//!
//! The bundle is kept in the tree, so that a clone with nothing but Rust has the page. `web/dist.sources` says which sources it
//! was made of; `cargo x check` compares (decision 0022).

use std::path::{Path, PathBuf};

use crate::shell::{Failure, Outcome, Run, has, root, target};

const TARGET: &str = "wasm32-unknown-unknown";
/// What the bundle is made of. What is built, or only tests it, is left out.
const SOURCES: &[&str] = &[
    "crates/proto/src",
    "crates/web/src",
    "web/client/src",
    "web/client/package.json",
    "web/client/tsconfig.json",
    "web/app",
    "web/package-lock.json",
];
const LEFT_OUT: &[&str] = &["node_modules", "dist", "test", "tests"];
/// Where the bundle says what it was made of.
const RECORD: &str = "web/dist.sources";
/// The longest first load, compressed: the issue's budget.
const BUDGET: u64 = 600 * 1024;

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let (only_client, test) = (asked("--client"), asked("--test"));
    wasm()?;
    let web = root().join("web");
    Run::new("npm", &["ci", "--no-audit", "--no-fund"]).within(&web).run()?;
    Run::new("npm", &["run", "build", "-w", "client"]).within(&web).run()?;
    if !only_client {
        Run::new("npm", &["run", "build", "-w", "app"]).within(&web).run()?;
        std::fs::write(root().join(RECORD), format!("{}\n", fingerprint()?))?;
        budget(&web.join("dist"))?;
    }
    if test { tests(&web) } else { Ok(()) }
}

/// The package and the page in a browser, with real nodes and terminals: those of the binary that is built, which holds the page.
fn tests(web: &Path) -> Outcome {
    crate::shell::cargo(&["build", "--workspace", "--locked"]).run()?;
    let binary = target().join("debug/dsip").display().to_string();
    Run::new("npm", &["run", "check", "-w", "app"]).within(web).run()?;
    for package in ["app", "client", "e2e"] {
        Run::new("npm", &["test", "-w", package]).within(web).env("DSIP_BIN", &binary).run()?;
    }
    Ok(())
}

/// Whether the bundle in the tree was made of the sources beside it.
pub(crate) fn check() -> Outcome {
    eprintln!("\n# the page in the tree");
    let Ok(recorded) = std::fs::read_to_string(root().join(RECORD)) else {
        return Err(Failure::new(format!("{RECORD} is missing; `cargo x web` builds the page")));
    };
    if recorded.trim() == fingerprint()? {
        return Ok(());
    }
    Err(Failure::new("web/dist is older than its sources; `cargo x web` builds it"))
}

/// The rules as WebAssembly, with bindings, in `web/client/wasm`.
fn wasm() -> Outcome {
    // A directory of its own: other flags than the native build, and a lock that nobody waits for.
    let built = target().join("web");
    let profile = ["build", "--profile", "web", "-p", "dsip-web", "--locked", "--target", TARGET];
    let installed = Run::new("rustup", &["target", "list", "--installed"]).capture().unwrap_or_default();
    let build = if installed.lines().any(|line| line == TARGET) {
        Run::new("cargo", &profile)
    } else if Path::new("/usr/lib/rustlib/src").exists()
        || has("/usr/bin/rustc", "--version") && has("wasm-ld", "--version")
    {
        // Debian's `rustc-web`, `rust-web-src` and `lld`: the standard library is built along, from source.
        Run::new("/usr/bin/cargo", &profile)
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTUP_TOOLCHAIN", "")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld")
    } else {
        return Err(Failure::new(format!(
            "there is no compiler for {TARGET}; `rustup target add {TARGET}`, or Debian's rustc-web, cargo-web, rust-web-src and lld"
        )));
    };
    build.env("CARGO_TARGET_DIR", &built.display().to_string()).run()?;

    let module = built.join(TARGET).join("web/dsip_web.wasm");
    let out = root().join("web/client/wasm");
    let bindgen = bindgen()?;
    Run::new(&bindgen.display().to_string(), &["--target", "web", "--out-dir"])
        .arg(&out.display().to_string())
        .arg(&module.display().to_string())
        .run()?;
    let module = out.join("dsip_web_bg.wasm").display().to_string();
    if has("wasm-opt", "--version") {
        // What rustc assumes of every browser since 2023, which old versions of the optimiser have to be told.
        let features = [
            "--enable-bulk-memory",
            "--enable-sign-ext",
            "--enable-mutable-globals",
            "--enable-nontrapping-float-to-int",
            "--enable-reference-types",
            "--enable-multivalue",
        ];
        let mut optimise = Run::new("wasm-opt", &["-Oz", &module, "-o", &module]);
        for feature in features {
            optimise = optimise.arg(feature);
        }
        optimise.run()?;
    } else {
        eprintln!("\n# no wasm-opt (Debian: binaryen): the module stays as large as rustc made it");
    }
    Ok(())
}

/// The generator of bindings, of the very version that the lock file has for its macros.
fn bindgen() -> Result<PathBuf, Failure> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock"))?;
    let version = lock.split("[[package]]").find_map(|package| {
        let mut lines = package.lines().filter(|line| !line.is_empty());
        (lines.next()? == "name = \"wasm-bindgen\"").then_some(())?;
        lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
    });
    let version = version.ok_or_else(|| Failure::new("Cargo.lock has no wasm-bindgen"))?;
    let ours = target().join("tools");
    let places = [PathBuf::from("wasm-bindgen"), ours.join("bin/wasm-bindgen")];
    let is_right = |program: &&PathBuf| {
        let said = Run::new(&program.display().to_string(), &["--version"]).capture().unwrap_or_default();
        said.split_whitespace().nth(1) == Some(version)
    };
    if let Some(found) = places.iter().find(is_right) {
        return Ok(found.clone());
    }
    let into = ours.display().to_string();
    Run::new("cargo", &["install", "wasm-bindgen-cli", "--locked", "--version", version, "--root", &into]).run()?;
    Ok(ours.join("bin/wasm-bindgen"))
}

/// A number for everything the bundle is made of: any change of a source changes it. It is no proof against anybody who wants to
/// deceive; who reviews the tree rebuilds.
fn fingerprint() -> Result<String, Failure> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root().join(source), &mut files)?;
    }
    files.sort();
    // FNV-1a, 128 bits wide.
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    };
    for file in &files {
        let name = file.strip_prefix(root()).unwrap_or(file).display().to_string();
        add(name.replace('\\', "/").as_bytes());
        let content = std::fs::read(file)?;
        add(&content.len().to_le_bytes());
        add(&content);
    }
    Ok(format!("{hash:032x}"))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if path.is_file() {
        files.push(path.to_path_buf());
    } else if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                collect(&entry.path(), files)?;
            }
        }
    }
    Ok(())
}

/// What a first visit loads, compressed, is within its budget.
fn budget(dist: &Path) -> Outcome {
    let mut files = Vec::new();
    collect(dist, &mut files)?;
    let compressed = files.iter().filter(|file| {
        let name = file.display().to_string();
        name.ends_with(".wasm.br") || name.ends_with(".js.br")
    });
    let bytes: u64 = compressed.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum();
    eprintln!("\n# script and WebAssembly: {} KiB compressed", bytes / 1024);
    if bytes <= BUDGET { Ok(()) } else { Err(Failure::new(format!("that is more than {} KiB", BUDGET / 1024))) }
}
