//! Rules of the house that no lint knows.
//!
//! Size of files, what a file opens with, words that must not be committed, files that no build reaches, tests that no
//! command runs, and which module may use which crate. All complaints come at once, each with file, line and what to do.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{test_kind::Kind, workspace};

/// Lines that a file stays below.
const MAX_LINES: usize = 600;

/// Words that must not be committed, and what to do instead. They are written in halves, or this file would break its
/// own rule.
const WORDS: &[(&str, &str)] = &[
    (concat!("todo", "!("), "write it, or open an issue"),
    (concat!("unimplemented", "!("), "write it, or open an issue"),
    (concat!("dbg", "!("), "remove it"),
    (concat!("#[", "ignore"), "a test runs or goes"),
];

/// Within a folder, a crate that only some modules may use.
struct Boundary {
    folder: &'static str,
    krate: &'static str,
    allowed: &'static [&'static str],
}

const BOUNDARIES: &[Boundary] = &[
    Boundary { folder: "gateway-userspace/src", krate: "aya", allowed: &["dataplane"] },
    Boundary { folder: "gateway-userspace/src", krate: "kube", allowed: &["kubernetes"] },
    Boundary { folder: "gateway-common/src", krate: "std", allowed: &[] },
    Boundary { folder: "gateway-ebpf/src", krate: "aya_ebpf", allowed: &["bin"] },
    Boundary { folder: "gateway-userspace/src/model", krate: "tokio", allowed: &[] },
    Boundary { folder: "gateway-userspace/src/reconcile", krate: "tokio", allowed: &[] },
];

/// Folders with Rust files of ours.
const PACKAGES: [&str; 5] = ["gateway-common", "gateway-ebpf", "gateway-userspace", "tests", "xtask"];

pub fn run() -> Result<()> {
    let mut files = Vec::new();
    for package in PACKAGES {
        collect(&workspace::root().join(package), &mut files)?;
    }
    files.sort();

    let mut complaints = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let relative = workspace::shown(path);
        complaints.extend(judge_text(&relative, &text));
        complaints.extend(unreachable(path, &relative)?);
    }
    if !complaints.is_empty() {
        bail!("{} complaints\n{}", complaints.len(), complaints.join("\n"));
    }
    println!("{} files", files.len());
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// What is wrong with a file by its text alone.
fn judge_text(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines >= MAX_LINES {
        complaints.push(format!("{path}: {lines} lines, {MAX_LINES} or more: find the missing concept and split it"));
    }
    if !text.starts_with("//!") {
        complaints.push(format!("{path}: does not open with `//!`: say what it is for, promises and does not do"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        for (word, advice) in WORDS {
            if line.contains(word) {
                complaints.push(format!("{path}:{number}: `{word}`: {advice}"));
            }
        }
        for boundary in BOUNDARIES.iter().filter(|boundary| boundary.is_crossed(path, line)) {
            let (krate, folder) = (boundary.krate, boundary.folder);
            let place = match boundary.allowed {
                [] => format!("nothing in {folder}"),
                allowed => format!("in {folder} only {}", allowed.join(", ")),
            };
            complaints.push(format!("{path}:{number}: uses `{krate}`: {place} may"));
        }
    }
    complaints
}

impl Boundary {
    fn is_crossed(&self, path: &str, line: &str) -> bool {
        let Some(inside) = path.strip_prefix(self.folder) else { return false };
        let module = inside.trim_start_matches('/').trim_end_matches(".rs");
        let allowed = self
            .allowed
            .iter()
            .any(|&name| module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        !allowed && !line.trim_start().starts_with("//") && uses_crate(line, self.krate)
    }
}

/// Whether a line names a crate: `krate::` or `use krate;`, and not as the end of a longer word or path.
fn uses_crate(line: &str, krate: &str) -> bool {
    let name_before = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    line.match_indices(krate).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + krate.len()..]);
        let whole = !before.ends_with(name_before);
        let imported = before.trim_end().ends_with("use") && after.starts_with([';', ' ']);
        whole && (after.starts_with("::") || imported)
    })
}

/// A module that no parent declares, or a test program that no command runs.
fn unreachable(path: &Path, relative: &str) -> Result<Option<String>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str())) else {
        return Ok(None);
    };
    if name == "mod" {
        return Ok(Some(format!("{relative}: move it to `{}.rs`", workspace::shown(directory))));
    }
    if let Some(program) = test_program(relative) {
        let known = Kind::value_variants().iter().any(|kind| kind.name() == program);
        return Ok((!known).then(|| format!("{relative}: `cargo xtask test` knows no kind `{program}`: add it there")));
    }
    let is_root = matches!(name, "main" | "lib" | "build")
        || directory.ends_with("src/bin")
        || directory.ends_with("examples")
        || directory.ends_with("benches");
    if is_root {
        return Ok(None);
    }
    let declaration = format!("mod {name};");
    let parents = [directory.with_extension("rs"), directory.join("main.rs"), directory.join("lib.rs")];
    for parent in parents.iter().filter(|parent| parent.is_file()) {
        if fs::read_to_string(parent)?.lines().any(|line| line.trim_end().ends_with(&declaration)) {
            return Ok(None);
        }
    }
    Ok(Some(format!("{relative}: no module declares it: add `{declaration}` or remove the file")))
}

/// The test program that a file is the root of: `tests/tests/NAME.rs` or `tests/tests/NAME/main.rs`.
fn test_program(relative: &str) -> Option<&str> {
    let inside = relative.strip_prefix("tests/tests/")?;
    match inside.split_once('/') {
        None => inside.strip_suffix(".rs"),
        Some((program, "main.rs")) => Some(program),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_named_by_a_path_or_an_import_and_not_by_a_longer_word() {
        let naming = ["use aya::Ebpf;", "let x = aya::maps::Map;", "use aya;", "    pub use aya as loader;"];
        let others = ["use aya_ebpf::x;", "let playa = 1; playa::f()", "// aya", "crate::aya::f()", "\"aya\""];

        assert!(naming.iter().all(|line| uses_crate(line, "aya")));
        assert!(!others.iter().any(|line| uses_crate(line, "aya")));
    }

    #[test]
    fn only_the_named_module_may_cross_a_boundary() {
        let line = "use aya::Ebpf;";
        let judge = |path: &str| BOUNDARIES.iter().any(|boundary| boundary.is_crossed(path, line));

        assert!(!judge("gateway-userspace/src/dataplane.rs"));
        assert!(!judge("gateway-userspace/src/dataplane/load.rs"));
        assert!(judge("gateway-userspace/src/dataplane_extra.rs"));
        assert!(judge("gateway-userspace/src/agent.rs"));
        assert!(!judge("tests/src/lib.rs"));
    }

    #[test]
    fn long_files_unfinished_code_and_missing_openings_are_complaints() {
        let long = format!("//! Opening.\n{}", "\n".repeat(MAX_LINES));
        let unfinished = format!("//! Opening.\nfn f() {{ {}) }}\n", WORDS[0].0);

        assert_eq!(judge_text("a.rs", "//! Opening.\nfn f() {}\n"), Vec::<String>::new());
        assert_eq!(judge_text("a.rs", &long).len(), 1);
        assert!(judge_text("a.rs", &unfinished)[0].starts_with("a.rs:2: "));
        assert_eq!(judge_text("a.rs", "fn f() {}\n").len(), 1);
    }

    #[test]
    fn roots_of_test_programs_are_told_from_their_modules() {
        assert_eq!(test_program("tests/tests/packets.rs"), Some("packets"));
        assert_eq!(test_program("tests/tests/network/main.rs"), Some("network"));
        assert_eq!(test_program("tests/tests/network/udp.rs"), None);
        assert_eq!(test_program("xtask/src/test.rs"), None);
    }
}
