//! Manifests and requests in, listener, route, rule, rewrite and backend out: the real sources and the real router, without a
//! kernel.
//!
//! A folder of `tests/routes` has manifests and `requests.txt`, one line a request: `GET http://shop.example/cart => …`. What
//! stands before the arrow is described in `table`, what comes after it in `walk`. `problems.txt` has what is wrong with the
//! manifests, if anything is. `BLESS=1` writes what comes out instead of comparing it.

mod table;
mod walk;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use beeline_tests::certificate::Certificate;
use gateway_userspace::source::FolderSource;
use gateway_userspace::source::manifest::{self, Format};
use gateway_userspace::translate::{Options, Translation, translate};

use self::table::Table;
use self::walk::Sites;
use crate::dumps::folders;

#[test]
fn every_request_meets_the_expected_rule() -> Result<()> {
    let folders = folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("routes"))?;
    ensure!(!folders.is_empty(), "there are no routes");

    let mut failures = Vec::new();
    for folder in &folders {
        if let Err(error) = play(folder) {
            failures.push(format!("{}: {error:#}", folder.display()));
        }
    }

    assert!(failures.is_empty(), "{} of {} folders:\n{}", failures.len(), folders.len(), failures.join("\n"));
    Ok(())
}

fn play(folder: &Path) -> Result<()> {
    let mut snapshot = FolderSource::open(folder)?.read();
    // Which names are in its certificate makes no difference to routes.
    let secret = Certificate::of(&["shop.example"])?.secret("shop", "web");
    for entry in manifest::parse(&"secret.yaml".into(), &secret, Format::Yaml).entries {
        snapshot.objects.insert(entry);
    }
    let translation = translate(&snapshot.objects, &Options::default());
    let problems = snapshot.problems.iter().chain(&translation.problems);
    let path = format!("{}/", folder.display());
    let problems: String = problems.map(|problem| format!("{problem}\n").replace(&path, "")).collect();
    compare(&folder.join("problems.txt"), &problems)?;
    compare_requests(&folder.join("requests.txt"), &translation)
}

fn compare(file: &Path, actual: &str) -> Result<()> {
    if is_blessing() {
        // Most folders have nothing to tell, and no file then.
        return match (actual.is_empty(), file.exists()) {
            (true, false) => Ok(()),
            (true, true) => Ok(fs::remove_file(file)?),
            (false, _) => Ok(fs::write(file, actual)?),
        };
    }
    let expected = if file.exists() { fs::read_to_string(file)? } else { String::new() };
    ensure!(expected == actual, "expected problems\n{expected}\nbut these are\n{actual}");
    Ok(())
}

fn compare_requests(file: &Path, translation: &Translation) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut table = Table::parse(&text)?;
    ensure!(table.rows().next().is_some(), "there are no requests");
    let sites = Sites::new(&translation.model)?;
    if is_blessing() {
        for row in table.rows_mut() {
            row.expected = sites.walk(&row.request)?;
        }
        return fs::write(file, table.to_string()).with_context(|| format!("cannot write {}", file.display()));
    }
    let mut failures = Vec::new();
    for row in table.rows() {
        let actual = sites.walk(&row.request)?;
        if actual != row.expected {
            let why = sites.explain(&row.request)?;
            failures.push(format!("  {}\n    expected {}\n    but meets {actual}\n{why}", row.text, row.expected));
        }
    }
    ensure!(failures.is_empty(), "\n{}", failures.join("\n"));
    Ok(())
}

fn is_blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}
