//! The workspace's own text: which files there are, and which lines of them are code, comment or test.

use std::path::{Path, PathBuf};

use crate::shell::Failure;

/// One line of a Rust file.
pub(crate) struct Line<'a> {
    pub(crate) number: usize,
    /// The whole line.
    pub(crate) text: &'a str,
    /// The line without a trailing `//` comment.
    pub(crate) code: &'a str,
    /// Whether it belongs to tests: a test file, or a `#[cfg(test)]` module.
    pub(crate) is_test: bool,
}

/// Every file below `dir` whose name ends in `.{extension}`, sorted.
pub(crate) fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let (mut dirs, mut files) = (vec![dir.to_path_buf()], Vec::new());
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                // Build output, other people's packages and version control are nobody's source here.
                if !["target", "node_modules", "dist"].contains(&&*name) && !name.starts_with('.') {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|end| end == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether the module above this file has it for tests alone: `#[cfg(test)] mod name;`.
fn is_test_module(path: &Path) -> bool {
    let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { return false };
    let declared = format!("#[cfg(test)]\nmod {name};");
    ["mod.rs", "lib.rs"]
        .iter()
        .any(|above| std::fs::read_to_string(path.with_file_name(above)).is_ok_and(|text| text.contains(&declared)))
}

/// The lines of a Rust file. Modules end where rustfmt puts their closing brace, so no parser is needed.
pub(crate) fn lines<'a>(path: &Path, text: &'a str) -> Vec<Line<'a>> {
    let in_tests = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches")
        || path.file_stem().is_some_and(|name| name == "tests")
        || is_test_module(path);
    let mut lines = Vec::new();
    let mut module: Option<&str> = None;
    let mut attribute = false;
    for (index, text) in text.lines().enumerate() {
        let trimmed = text.trim_start();
        let indent = &text[..text.len() - trimmed.len()];
        if module.is_none() && attribute && trimmed.starts_with("mod ") && trimmed.ends_with('{') {
            module = Some(indent);
        }
        attribute = trimmed.starts_with("#[cfg(test)]") || (attribute && trimmed.starts_with("#["));
        let is_test = in_tests || module.is_some() || attribute;
        let code = text.find("//").map_or(text, |at| &text[..at]);
        lines.push(Line { number: index + 1, text, code, is_test });
        if module.is_some_and(|indent| text.strip_prefix(indent).is_some_and(|rest| rest == "}")) {
            module = None;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_for_tests_alone_is_a_test() {
        let link = crate::shell::root().join("crates/endpoint/src/link");
        assert!(is_test_module(&link.join("loopback.rs")));
        assert!(!is_test_module(&link.join("quic.rs")));
    }

    #[test]
    fn a_test_module_ends_with_its_brace() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {} // d\n";
        let lines = lines(Path::new("src/x.rs"), text);
        let tests: Vec<bool> = lines.iter().map(|line| line.is_test).collect();
        assert_eq!(tests, [false, true, true, true, true, false]);
        assert_eq!(lines[5].code, "fn c() {} ");
    }
}
