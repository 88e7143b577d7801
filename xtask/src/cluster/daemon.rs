//! The cluster's processes: started apart from this terminal, each with a log of its own, and watched until all is up.
//!
//! Every process is put into the cluster's cgroup before it runs, so that whatever it starts can be found and ended
//! together, also after this command is gone. A signal to this command is noticed by every wait here.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::{
        fd::AsRawFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::plan::Cluster;

/// How often a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

/// Notices Ctrl-C, so that what was begun can be taken back.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on, a signal to end does not end this process but is noticed.
    pub fn catch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot catch signals")?;
        }
        Ok(Self(flag))
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn check(&self) -> Result<()> {
        ensure!(!self.is_set(), "interrupted");
        Ok(())
    }
}

/// Where a daemon's output goes.
pub fn log(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.state().join("log").join(format!("{name}.log"))
}

/// The daemons that were started, by name, and their process ids.
pub fn started(cluster: &Cluster) -> Vec<(String, String)> {
    let entries = fs::read_dir(notes(cluster)).into_iter().flatten().flatten();
    let note =
        |entry: fs::DirEntry| Some((entry.file_name().into_string().ok()?, fs::read_to_string(entry.path()).ok()?));
    let mut started: Vec<_> = entries.filter_map(note).collect();
    started.sort();
    started
}

/// The folder with each daemon's process id.
fn notes(cluster: &Cluster) -> PathBuf {
    cluster.state().join("pids")
}

/// A process that stays.
pub struct Daemon {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts a program of a cluster in the namespaces of the calling thread.
    pub fn start(cluster: &Cluster, name: &str, command: &mut Command) -> Result<Self> {
        let log = log(cluster, name);
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let members = super::cgroup::members(&cluster.name)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // SAFETY: between fork and exec only async-signal-safe calls are made: `setsid`, and `write` to a descriptor
        // that the parent holds open until `spawn` has returned.
        unsafe {
            let descriptor = members.as_raw_fd();
            command.pre_exec(move || {
                if libc::setsid() < 0 || libc::write(descriptor, c"0".as_ptr().cast(), 1) != 1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        fs::write(notes(cluster).join(name), child.id().to_string())
            .with_context(|| format!("cannot note the process of {name}"))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the process is gone, with the end of its log.
    fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let how = match status.signal() {
            Some(signal) => format!("was ended by signal {signal}"),
            None => format!("ended by itself: {status}"),
        };
        bail!("{} {how}; it wrote last:\n{}", self.name, self.last_words());
    }

    fn last_words(&self) -> String {
        let Ok(log) = File::open(&self.log) else { return String::new() };
        let mut last = VecDeque::new();
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            last.push_back(line);
            if last.len() > 12 {
                last.pop_front();
            }
        }
        last.into_iter().collect::<Vec<_>>().join("\n")
    }
}

/// All processes of a cluster that is coming up.
pub struct Daemons {
    interrupt: Interrupt,
    running: Vec<Daemon>,
}

impl Daemons {
    pub fn new(interrupt: Interrupt) -> Self {
        Self { interrupt, running: Vec::new() }
    }

    pub fn add(&mut self, daemon: Daemon) {
        self.running.push(daemon);
    }

    /// Waits until `probe` finds something. Ends early if a process ends or a signal comes; after `limit` it shows
    /// the log of `blamed`.
    pub fn until<T>(
        &mut self,
        what: &str,
        blamed: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = probe() {
                return Ok(found);
            }
            self.interrupt.check()?;
            for daemon in &mut self.running {
                daemon.check()?;
            }
            if start.elapsed() > limit {
                let words = self.running.iter().find(|daemon| daemon.name == blamed).map(Daemon::last_words);
                bail!("{what} took more than {limit:?}; {blamed} wrote last:\n{}", words.unwrap_or_default());
            }
            thread::sleep(PAUSE);
        }
    }
}
