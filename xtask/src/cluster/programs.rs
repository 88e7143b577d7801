//! Where the cluster's programs come from.
//!
//! etcd and Kubernetes are taken from `KUBEBUILDER_ASSETS`, from an earlier build, or from the search path if they are
//! of the pinned version; what is left is built once from the Go modules that `tests/cluster/go.mod` pins. Builds and
//! Gateway API's CRDs are kept in the user's cache folder, by the hash of what they were built from. containerd, runc and
//! the CNI plug-ins come from the distribution and are only looked for.

use std::{
    collections::{BTreeMap, VecDeque},
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

use super::{daemon::Interrupt, plan::Channel};
use crate::{image::archive, process, workspace};

/// A program and the Go package it is built from. Those with a path of this repository are never looked for elsewhere.
const PROGRAMS: [(&str, &str); 9] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    ("pause", "./pause"),
    ("pki", "./pki"),
];

/// Files that decide what a build gives.
const SOURCES: [&str; 4] = ["go.mod", "go.sum", "pause/main.go", "pki/main.go"];

/// Where distributions put CNI plug-ins.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// Every program of a cluster, found.
pub struct Programs {
    found: BTreeMap<&'static str, PathBuf>,
    /// The folder with `ptp`, `host-local` and `loopback`.
    pub plugins: PathBuf,
    cache: PathBuf,
}

impl Programs {
    /// Finds everything and builds what is missing, with its progress on the terminal.
    pub fn ensure(interrupt: &Interrupt) -> Result<Self> {
        let plugins = network_plugins().context("the CNI plug-ins are missing: run `cargo xtask setup`")?;
        let cache = cache()?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let _lock = lock(&cache, interrupt)?;

        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, package) in PROGRAMS {
            match find(name, package, &cache)? {
                Some(path) => drop(found.insert(name, path)),
                None => missing.push((name, package)),
            }
        }
        if !missing.is_empty() {
            build(&missing, &cache, interrupt)?;
            found.extend(missing.iter().map(|&(name, _)| (name, cache.join(name))));
        }
        if !cache.join("crds").exists() {
            fetch_crds(&cache)?;
        }
        Ok(Self { found, plugins, cache })
    }

    /// Finds kubectl without building it; for commands on a cluster that is already up.
    pub fn kubectl() -> Result<PathBuf> {
        let kubectl = PROGRAMS.iter().find(|(name, _)| *name == "kubectl");
        let found = kubectl.map(|(name, package)| find(name, package, &cache()?)).transpose()?.flatten();
        found.context("kubectl is not built: run `cargo xtask cluster up`")
    }

    /// A program by its name.
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.path(name))
    }

    pub fn path<'a>(&'a self, name: &'a str) -> &'a Path {
        self.found.get(name).map_or(Path::new(name), PathBuf::as_path)
    }

    /// The folder with Gateway API's CRDs.
    pub fn crds(&self, channel: Channel) -> PathBuf {
        self.cache.join("crds").join(channel.name())
    }
}

/// The folder with the CNI plug-ins of the distribution.
pub fn network_plugins() -> Option<PathBuf> {
    let complete = |folder: &PathBuf| ["ptp", "host-local", "loopback"].iter().all(|name| folder.join(name).exists());
    PLUGIN_FOLDERS.into_iter().map(PathBuf::from).find(complete)
}

/// Whether nothing must be built for a cluster.
pub fn are_there() -> bool {
    let Ok(cache) = cache() else { return false };
    let is_there = |name, package| find(name, package, &cache).is_ok_and(|found| found.is_some());
    cache.join("crds").exists() && PROGRAMS.iter().all(|&(name, package)| is_there(name, package))
}

/// Waits until no other command builds into the cache; others wait while what it returns is open.
fn lock(cache: &Path, interrupt: &Interrupt) -> Result<File> {
    let folder = File::open(cache)?;
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

/// Where builds from the present sources are kept.
fn cache() -> Result<PathBuf> {
    let mut sources = Vec::new();
    for name in SOURCES {
        let path = modules().join(name);
        sources.extend(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let key: String = archive::hexadecimal(&sources).chars().take(12).collect();
    let base = match env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(path) => path,
        None => env::home_dir().context("no home folder: set XDG_CACHE_HOME")?.join(".cache"),
    };
    Ok(base.join("beeline/cluster").join(key))
}

/// The folder whose `go.mod` pins everything.
fn modules() -> PathBuf {
    workspace::root().join("tests/cluster")
}

/// The version of a module that `go.mod` requires.
fn pinned(module: &str) -> Result<String> {
    let text = fs::read_to_string(modules().join("go.mod")).context("cannot read tests/cluster/go.mod")?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix(module)?.trim().strip_prefix('v'));
    let version = version.and_then(|version| version.split_whitespace().next());
    Ok(version.with_context(|| format!("tests/cluster/go.mod does not require {module}"))?.to_owned())
}

fn find(name: &str, package: &str, cache: &Path) -> Result<Option<PathBuf>> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(|folder| Path::new(&folder).join(name));
    let ours = package.starts_with("./");
    if let Some(path) = assets.filter(|path| !ours && path.is_file())
        && is_pinned(name, &path)?
    {
        return Ok(Some(path));
    }
    let built = cache.join(name);
    if built.is_file() {
        return Ok(Some(built));
    }
    match process::find(name) {
        Some(path) if !ours && is_pinned(name, &path)? => Ok(Some(path)),
        _ => Ok(None),
    }
}

/// Whether a program is of the minor version that is pinned; parts of other versions need not fit together.
fn is_pinned(name: &str, path: &Path) -> Result<bool> {
    let module = if name == "etcd" { "go.etcd.io/etcd/server/v3" } else { "k8s.io/kubernetes" };
    let version = pinned(module)?;
    let minor = version.rsplit_once('.').map_or(version.as_str(), |(minor, _)| minor);
    let mut command = Command::new(path);
    match name {
        "kubectl" => command.args(["version", "--client"]),
        _ => command.arg("--version"),
    };
    let says = process::output(&mut command).unwrap_or_default();
    Ok(says.contains(&format!("v{minor}.")) || says.contains(&format!(": {minor}.")))
}

fn go() -> Result<Command> {
    let path = process::find("go").context("go is missing: install Go 1.26 or newer, or set KUBEBUILDER_ASSETS")?;
    let mut command = Command::new(path);
    command.current_dir(modules()).env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "-mod=readonly");
    Ok(command)
}

/// Builds programs into the cache. Kubernetes learns its version by the linker.
fn build(missing: &[(&str, &str)], cache: &Path, interrupt: &Interrupt) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|&(name, _)| name).collect();
    let packages: Vec<&str> = missing.iter().map(|&(_, package)| package).collect();
    eprintln!("building {} into {}; this takes minutes, once", names.join(", "), cache.display());
    let dependencies = process::output(go()?.args(["list", "-deps"]).args(&packages))?;
    let total = dependencies.lines().count();

    let version = pinned("k8s.io/kubernetes")?;
    let minor = version.split('.').nth(1).unwrap_or_default();
    let set = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    let flags =
        ["-s -w".to_owned(), set("gitVersion", &format!("v{version}")), set("gitMajor", "1"), set("gitMinor", minor)];
    let partial = cache.join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).context("cannot remove what an earlier build left")?;
    }
    fs::create_dir_all(&partial)?;
    let mut child = go()?
        .args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", &flags.join(" ")])
        .arg("-o")
        .arg(format!("{}/", partial.display()))
        .args(&packages)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start go")?;
    let group = Pid::from_raw(child.id().cast_signed());
    let mut progress = Progress::new(total);
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
    for (name, package) in missing {
        // A package whose path ends in a major version is named for the folder above.
        let built = partial.join(package.trim_end_matches("/v3").rsplit('/').next().unwrap_or(name));
        fs::rename(&built, cache.join(name)).with_context(|| format!("cannot keep {}", built.display()))?;
    }
    fs::remove_dir_all(&partial).context("cannot remove the folder of the build")
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

/// Copies Gateway API's CRDs out of its Go module.
fn fetch_crds(cache: &Path) -> Result<()> {
    let module = "sigs.k8s.io/gateway-api";
    let answer = process::output(go()?.args(["mod", "download", "-json", module]))?;
    let answer: serde_json::Value = serde_json::from_str(&answer).context("cannot read what go says")?;
    let folder = answer["Dir"].as_str().with_context(|| format!("go does not say where {module} lies"))?;
    let partial = cache.join("crds.partial");
    for channel in [Channel::Standard, Channel::Experimental] {
        let target = partial.join(channel.name());
        fs::create_dir_all(&target)?;
        let source = Path::new(folder).join("config/crd").join(channel.name());
        for entry in fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))? {
            let entry = entry?;
            // The module's files are read-only; what is written here is not.
            if entry.file_name() != "kustomization.yaml" {
                fs::write(target.join(entry.file_name()), fs::read(entry.path())?)?;
            }
        }
    }
    fs::rename(&partial, cache.join("crds")).context("cannot keep the CRDs of Gateway API")
}
