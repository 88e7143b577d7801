//! `beeline probe`: asks the agent of this container how it is, for the probes of a kubelet.

use anyhow::Context;

use super::{Outcome, print};
use crate::agent::probe::{self, Question};
use crate::config::InstanceFlag;

const EXAMPLES: &str = "\
Examples:
  beeline probe live      does the agent turn? if not, it should be restarted
  beeline probe ready     is everything served as the objects ask?

Prints one line that says why. Exit code 0 for yes, 1 for no or if no agent answers. An agent that has handed over to
another and stands by is live and ready. Nothing but the agent itself is asked.";

/// Ask the agent of this container whether it is live or ready
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What to ask
    question: Question,

    #[command(flatten)]
    instance: InstanceFlag,
}

pub fn execute(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let instance = &arguments.instance.instance;
    let answer = probe::ask(instance, arguments.question).with_context(|| {
        format!(
            "no agent of the instance `{instance}` answers: is `beeline run` up in this network namespace, with the same \
             BEELINE_INSTANCE?"
        )
    })?;
    print(&format!("{}\n", answer.reason))?;
    Ok(if answer.ok { Outcome::Fine } else { Outcome::ProblemsFound })
}
