//! Ctrl-C and SIGTERM for commands that must clean up: the signal sets a flag, and the work ends at its next step.
//!
//! A program that a step runs to its end gets the same Ctrl-C and ends at once. Those in the background do not get it, so
//! that no step waits in vain for what they should do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether the user asked to stop.
#[derive(Clone)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP only set the flag.
    pub fn install() -> Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&requested)).context("cannot watch for signals")?;
        }
        Ok(Self { requested })
    }

    /// An error if the user asked to stop; to be called between steps.
    pub fn check(&self) -> Result<()> {
        if self.requested() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Whether a signal came.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}
