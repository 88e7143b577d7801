//! How the programs of this package end: the result to standard output in the form asked for, an error as one line.
//!
//! What a result looks like is its own affair.

use std::fmt::Display;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

/// The forms of a measurement's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Markdown
    #[default]
    Md,
    /// One JSON document
    Json,
}

impl Output {
    /// Prints a report in this form.
    pub fn print(self, report: &(impl Display + Serialize)) -> Result<()> {
        match self {
            Self::Md => print!("{report}"),
            Self::Json => print_json(report)?,
        }
        Ok(())
    }
}

/// Prints a report as one JSON document.
pub fn print_json(report: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}

/// What a program exits with; says what went wrong.
pub fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
