//! Manifests in, `beeline dump` out: the real agent in a real kernel, compared with committed text.
//!
//! A scenario is a folder of `tests/scenarios`: manifests and `expected.txt`, or several such folders `1`, `2` and so
//! on that follow each other while one agent runs. The text is the dump, then notes and problems, if there are any. A file
//! `node` names the node that the agent is.
//! `BLESS=1` writes what comes out instead of comparing it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use beeline_tests::agent::Agent;
use beeline_tests::lab::Lab;
use beeline_tests::topology::Plan;

/// How long a text must stay as it is before it is written down.
const SETTLED: Duration = Duration::from_millis(1500);
/// How long the expected text may take to come.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn every_scenario_ends_in_the_expected_dump() -> Result<()> {
    let scenarios = folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))?;
    assert!(!scenarios.is_empty(), "there are no scenarios");

    let mut failures = Vec::new();
    for scenario in &scenarios {
        if let Err(error) = play(scenario) {
            failures.push(format!("{}: {error:#}", scenario.display()));
        }
    }

    assert!(failures.is_empty(), "{} of {} scenarios:\n{}", failures.len(), scenarios.len(), failures.join("\n"));
    Ok(())
}

fn play(scenario: &Path) -> Result<()> {
    let lab = Lab::build(&Plan::pods(&[]))?;
    let mut agent = lab.agent()?;
    if let Ok(node) = fs::read_to_string(scenario.join("node")) {
        agent = agent.with_arguments(&["--node-name", node.trim()]);
    }
    let steps = folders(scenario)?;
    let steps = if steps.is_empty() { vec![scenario.to_owned()] } else { steps };
    for (index, step) in steps.iter().enumerate() {
        replace_manifests(&lab, step)?;
        if index == 0 {
            agent.start()?;
        }
        compare(&lab, &agent, &step.join("expected.txt")).with_context(|| format!("step {}", index + 1))?;
    }
    Ok(())
}

fn compare(lab: &Lab, agent: &Agent<'_>, file: &Path) -> Result<()> {
    if std::env::var_os("BLESS").is_some() {
        return fs::write(file, settled(lab, agent)?).with_context(|| format!("cannot write {}", file.display()));
    }
    let expected =
        fs::read_to_string(file).with_context(|| format!("there is no {}: run with BLESS=1", file.display()))?;
    let begin = Instant::now();
    loop {
        let actual = text(lab, agent)?;
        if actual == expected {
            return Ok(());
        }
        if begin.elapsed() > LIMIT {
            bail!("expected\n{expected}\nbut it is\n{actual}");
        }
    }
}

/// The text when it has not changed for a while.
fn settled(lab: &Lab, agent: &Agent<'_>) -> Result<String> {
    let (mut last, mut since) = (text(lab, agent)?, Instant::now());
    while since.elapsed() < SETTLED {
        let now = text(lab, agent)?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(last)
}

/// The dump, the notes and the problems, without the path of the folder, which differs from run to run.
fn text(lab: &Lab, agent: &Agent<'_>) -> Result<String> {
    let mut text = agent.dump()?;
    let folder = format!("{}/", lab.folder.path().display());
    for note in agent.notes()? {
        text += "note: ";
        text += &note;
        text.push('\n');
    }
    for problem in agent.problems()? {
        text += "problem: ";
        text += &problem.replace(&folder, "");
        text.push('\n');
    }
    Ok(text)
}

/// Makes the agent's folder equal to a step's: files that are not in the step go, the others are replaced whole.
fn replace_manifests(lab: &Lab, step: &Path) -> Result<()> {
    let new = manifests(step)?;
    for old in manifests(lab.folder.path())? {
        if !new.contains(&old) {
            lab.folder.remove(&old)?;
        }
    }
    new.iter().try_for_each(|name| lab.folder.write(name, &fs::read_to_string(step.join(name))?))
}

fn manifests(folder: &Path) -> Result<Vec<String>> {
    let names = entries(folder)?.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

pub fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What is in a folder, in order.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
