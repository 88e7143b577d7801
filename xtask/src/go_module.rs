//! Programs that are built from one of this repository's Go modules, once.
//!
//! A folder below `tests` pins versions by its `go.mod` and `go.sum`. What is built lies in the user's cache folder, by
//! the hash of what it was built from, so a change there builds anew and nothing else does. Which programs there are, and
//! with which flags they are built, is for whoever needs them.

use std::{
    collections::VecDeque,
    env,
    fs::{self, File, TryLockError},
    io::{BufRead, BufReader, IsTerminal, stderr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStderr, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{cluster::Interrupt, image::archive, process, workspace};

/// A folder below `tests` with a `go.mod`.
pub struct GoModule {
    /// The folder's name, and that of its builds in the cache.
    pub name: &'static str,
    /// The files that decide what a build gives.
    pub sources: &'static [&'static str],
}

impl GoModule {
    /// The folder whose `go.mod` pins everything.
    pub fn folder(&self) -> PathBuf {
        workspace::root().join("tests").join(self.name)
    }

    /// Where builds from the present sources are kept.
    pub fn cache(&self) -> Result<PathBuf> {
        let mut sources = Vec::new();
        for name in self.sources {
            let path = self.folder().join(name);
            sources.extend(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        let key: String = archive::hexadecimal(&sources).chars().take(12).collect();
        let base = match env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
            Some(path) => path,
            None => env::home_dir().context("no home folder: set XDG_CACHE_HOME")?.join(".cache"),
        };
        Ok(base.join("beeline").join(self.name).join(key))
    }

    /// The version of a module that `go.mod` requires.
    pub fn pinned(&self, module: &str) -> Result<String> {
        let path = self.folder().join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let version = text.lines().find_map(|line| line.trim().strip_prefix(module)?.trim().strip_prefix('v'));
        let version = version.and_then(|version| version.split_whitespace().next());
        Ok(version.with_context(|| format!("tests/{}/go.mod does not require {module}", self.name))?.to_owned())
    }

    /// Go, at work in the folder.
    pub fn go(&self) -> Result<Command> {
        let path = process::find("go").context("go is missing: install Go 1.26 or newer, or set KUBEBUILDER_ASSETS")?;
        let mut command = Command::new(path);
        command.current_dir(self.folder()).env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "-mod=readonly");
        Ok(command)
    }

    /// Makes the cache and waits until no other command builds into it; others wait while what it returns is open.
    pub fn lock(&self, interrupt: &Interrupt) -> Result<File> {
        let cache = self.cache()?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let folder = File::open(&cache)?;
        loop {
            match folder.try_lock() {
                Ok(()) => return Ok(folder),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(200)),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", cache.display()));
                }
            }
            interrupt.check()?;
        }
    }

    /// Builds programs, each of a package, into the cache, with its progress on the terminal. `flags` are the linker's.
    pub fn build(&self, missing: &[(&str, &str)], flags: &str, interrupt: &Interrupt) -> Result<()> {
        let cache = self.cache()?;
        let partial = self.empty_folder()?;
        let packages: Vec<&str> = missing.iter().map(|&(_, package)| package).collect();
        let names: Vec<&str> = missing.iter().map(|&(name, _)| name).collect();
        self.compile(&names, &packages, flags, Some(&partial), interrupt)?;
        for (name, package) in missing {
            // A package whose path ends in a major version is named for the folder above.
            let built = partial.join(package.trim_end_matches("/v3").rsplit('/').next().unwrap_or(name));
            fs::rename(&built, cache.join(name)).with_context(|| format!("cannot keep {}", built.display()))?;
        }
        fs::remove_dir_all(&partial).context("cannot remove the folder of the build")
    }

    /// Builds the folder's own tests into one program of the cache; `packages` are the libraries that most of it is made of,
    /// which are built first, since the build of a test does not say how far it is.
    pub fn build_test(&self, name: &str, packages: &[&str], flags: &str, interrupt: &Interrupt) -> Result<()> {
        let partial = self.empty_folder()?;
        self.compile(&[name], packages, flags, None, interrupt)?;
        let built = partial.join(name);
        process::run(self.go()?.args(["test", "-c", "-trimpath", "-ldflags", flags, "-o"]).arg(&built).arg("."))?;
        interrupt.check()?;
        fs::rename(&built, self.cache()?.join(name)).with_context(|| format!("cannot keep {}", built.display()))?;
        fs::remove_dir_all(&partial).context("cannot remove the folder of the build")
    }

    fn empty_folder(&self) -> Result<PathBuf> {
        let partial = self.cache()?.join("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).context("cannot remove what an earlier build left")?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
        Ok(partial)
    }

    /// Compiles packages; programs go to the target, and of libraries nothing is left but what Go keeps for itself.
    fn compile(
        &self,
        names: &[&str],
        packages: &[&str],
        flags: &str,
        target: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let cache = self.cache()?;
        eprintln!("building {} into {}; this takes minutes, once", names.join(", "), cache.display());
        let dependencies = process::output(self.go()?.args(["list", "-deps"]).args(packages))?;
        let target = target.map(|target| format!("-o={}/", target.display()));
        let mut child = self
            .go()?
            .args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", flags])
            .args(target)
            .args(packages)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start go")?;
        let group = Pid::from_raw(child.id().cast_signed());
        let mut progress = Progress::new(dependencies.lines().count());
        if let Some(output) = child.stderr.take() {
            let lines = read_apart(output);
            if !progress.follow(&lines, interrupt) {
                killpg(group, Signal::SIGTERM).context("cannot end the build")?;
            }
        }
        let status = child.wait()?;
        progress.end();
        interrupt.check()?;
        ensure!(status.success(), "`go build` failed: {status}\n{}", progress.last_words());
        Ok(())
    }
}

/// Reads lines in a thread of its own, so that whoever waits for them can also look at the time.
fn read_apart(output: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Shows how far a build is: one line that is written over on a terminal, one line every half minute elsewhere.
struct Progress {
    start: Instant,
    shown: Instant,
    built: usize,
    total: usize,
    terminal: bool,
    last: VecDeque<String>,
}

impl Progress {
    fn new(total: usize) -> Self {
        let now = Instant::now();
        Self { start: now, shown: now, built: 0, total, terminal: stderr().is_terminal(), last: VecDeque::new() }
    }

    /// Counts packages until the build closes its output (true) or a signal comes (false).
    fn follow(&mut self, lines: &Receiver<String>, interrupt: &Interrupt) -> bool {
        loop {
            match lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => self.saw(line),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupt.is_set() {
                return false;
            }
            self.show();
        }
    }

    fn saw(&mut self, line: String) {
        self.built += 1;
        self.last.push_back(line);
        if self.last.len() > 20 {
            self.last.pop_front();
        }
    }

    fn show(&mut self) {
        let every = if self.terminal { Duration::from_secs(1) } else { Duration::from_secs(30) };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let (start, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let seconds = self.start.elapsed().as_secs();
        eprint!("{start}  {} of at most {} packages, {seconds} s{end}", self.built, self.total);
    }

    fn end(&self) {
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{start}  {} packages in {} s", self.built, self.start.elapsed().as_secs());
    }

    fn last_words(&self) -> String {
        self.last.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
