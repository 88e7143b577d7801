//! Searches for streams and heads that break a property, for as long as it is told: `cargo xtask fuzz`.
//!
//! Inputs are made from tapes of random bytes (`tape`), so what fails is made smaller by making its tape
//! smaller. Everything follows from the seed, which is printed first: the same seed makes the same inputs.

mod random;
mod shrink;
mod target;

use std::collections::BTreeMap;
use std::panic;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;

use random::Random;
use target::{TARGETS, Target};

/// The longest tape. Longer ones make no longer streams.
const MAX_TAPE: u64 = 300;

#[derive(Parser)]
#[command(name = "beeline-fuzz", about = "Searches for inputs that break a property")]
struct Args {
    /// Targets; all if left out
    #[arg(value_parser = TARGETS.map(|target| target.name))]
    targets: Vec<String>,
    /// How long to search, for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Where the random numbers begin; another place each time if left out
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(clock);
    // What fails is reported below, once and in short.
    panic::set_hook(Box::new(|_| {}));
    let chosen =
        TARGETS.iter().filter(|target| args.targets.is_empty() || args.targets.iter().any(|n| n == target.name));
    let mut code = ExitCode::SUCCESS;
    for target in chosen {
        println!("{}: {}, {} s, seed {seed}", target.name, target.about, args.seconds);
        if let Err(failure) = search(target, seed, Duration::from_secs(args.seconds)) {
            eprintln!("error: {}: with seed {seed}: {failure}", target.name);
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Runs a target for a time. The first failure ends it.
fn search(target: &Target, seed: u64, time: Duration) -> Result<(), String> {
    let (mut random, start) = (Random::new(seed), Instant::now());
    let mut outcomes = BTreeMap::<&str, u64>::new();
    while start.elapsed() < time {
        let tape = random.bytes(MAX_TAPE);
        match target.run(&tape) {
            Ok(outcome) => *outcomes.entry(outcome).or_default() += 1,
            Err(_) => return Err(describe(target, &shrink::smallest(tape, |tape| target.run(tape).is_err()))),
        }
    }
    let runs: u64 = outcomes.values().sum();
    println!("{}: {runs} inputs, {} outcomes", target.name, outcomes.len());
    for (outcome, count) in outcomes {
        println!("{count:10} {outcome}");
    }
    Ok(())
}

/// What fails and why, in a form that a test can be written from.
fn describe(target: &Target, tape: &[u8]) -> String {
    let why = target.run(tape).err().unwrap_or_else(|| "it fails only sometimes".to_owned());
    format!("{why}\ninput: {}", target.shown(tape))
}

fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
