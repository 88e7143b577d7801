//! `cargo xtask inspect`: what each program costs, against a committed baseline.
//!
//! Three figures a program: instructions as compiled, stack, and the instructions that the verifier walked until it was
//! satisfied. One that jumps by more than a tenth fails until it is blessed, so a jump is a decision and shows in the
//! diff. The first two are read from the object, the third needs root and the kernel.

mod baseline;
mod object;
mod verifier;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{build_ebpf, process, workspace};
use baseline::Baseline;

#[derive(clap::Args, Default)]
#[command(
    after_help = "Examples:\n  cargo xtask inspect                  compare with xtask/inspect-baseline.json\n  \
                        cargo xtask inspect --bless          make today's figures the baseline\n  \
                        cargo xtask inspect --output json    the same for a program to read"
)]
pub struct Args {
    /// Write today's figures into the baseline
    #[arg(long)]
    bless: bool,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

/// What one program costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cost {
    /// Instructions as compiled, with those of the functions that were not inlined.
    instructions: u32,
    /// Bytes of stack along the deepest chain of calls.
    stack_bytes: u32,
    /// Instructions that the verifier walked, over all paths. Depends on the kernel.
    verified_instructions: u32,
}

/// What the programs of one object cost, by name.
type Costs = BTreeMap<String, Cost>;

pub fn run(args: &Args) -> Result<()> {
    process::require_root("asking the kernel's verifier", "inspect")?;
    build_ebpf::run(&build_ebpf::Args::default())?;
    let costs = measure()?;
    let baseline = Baseline::read()?;
    match args.output {
        Output::Table => print_table(&costs, &baseline),
        Output::Json => println!("{}", serde_json::to_string_pretty(&costs)?),
    }
    if args.bless {
        return Baseline::of(costs)?.write();
    }
    let complaints = baseline.judge(&costs)?;
    if !complaints.is_empty() {
        bail!("{}\nif this is wanted, run `cargo xtask inspect --bless` and commit", complaints.join("\n"));
    }
    Ok(())
}

/// Puts together what the object and the verifier say.
fn measure() -> Result<Costs> {
    let object = workspace::datapath();
    let mut verified = verifier::verified_instructions(&object)?;
    let programs = object::read(&object)?.into_iter().map(|(name, program)| {
        let verified = verified.remove(&name).with_context(|| format!("bpftool loaded no program `{name}`"))?;
        let cost = Cost {
            instructions: program.instructions as u32,
            stack_bytes: program.stack_bytes as u32,
            verified_instructions: verified,
        };
        Ok((name, cost))
    });
    programs.collect()
}

fn print_table(costs: &Costs, baseline: &Baseline) {
    println!("{:16} {:>20} {:>20} {:>24}", "program", "instructions", "stack bytes", "verified instructions");
    for (name, cost) in costs {
        let before = baseline.programs.get(name);
        let cell = |now: u32, before: Option<u32>| match before {
            Some(before) if before != now => format!("{now} (was {before})"),
            Some(_) => now.to_string(),
            None => format!("{now} (new)"),
        };
        println!(
            "{name:16} {:>20} {:>20} {:>24}",
            cell(cost.instructions, before.map(|cost| cost.instructions)),
            cell(cost.stack_bytes, before.map(|cost| cost.stack_bytes)),
            cell(cost.verified_instructions, before.map(|cost| cost.verified_instructions)),
        );
    }
}
