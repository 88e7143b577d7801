//! Is the agent alive, is it ready? It says so on a socket of its own, and `beeline probe` asks there.
//!
//! The answers come from a thread of their own, so an agent that hangs is told from one that is not there. What the
//! agent does is not asked here: it leaves its [`Pulse`] at every turn.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::local;
use crate::model::fingerprint;

/// An agent that has not turned for so long hangs: it turns every few seconds even if nothing happens.
const LONGEST_TURN: Duration = Duration::from_secs(30);

/// How often an agent that waits for something turns.
const BEAT: Duration = Duration::from_secs(1);

/// How long either side of a probe may keep the other waiting.
const LIMIT: Duration = Duration::from_secs(2);

/// Pause before a name is tried again that another agent has.
const RETRY: Duration = Duration::from_secs(1);

/// Longer names of instances are shortened: what a socket may be called is limited.
const LONGEST_INSTANCE: usize = 80;

/// A question is one short word.
const LONGEST_QUESTION_BYTES: u64 = 16;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// Does the agent turn? If not, restart it
    Live,
    /// Is everything served as the objects ask?
    Ready,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it is yes.
    pub ok: bool,
    /// Why.
    pub reason: String,
}

/// The agent's pulse, which probes feel. Every clone is the same one.
#[derive(Clone, Debug)]
pub struct Pulse {
    vital: Arc<Mutex<Vital>>,
}

#[derive(Debug)]
struct Vital {
    turned: Instant,
    ready: Result<&'static str, String>,
}

impl Pulse {
    /// That of an agent that starts.
    pub fn new() -> Self {
        let vital = Vital { turned: Instant::now(), ready: Err("the agent is starting".to_owned()) };
        Self { vital: Arc::new(Mutex::new(vital)) }
    }

    /// The agent has turned, and this is whether everything is served.
    pub fn turned(&self, ready: Result<(), String>) {
        *self.vital() = Vital { turned: Instant::now(), ready: ready.map(|()| "serving") };
    }

    /// The agent has handed over and waits: nobody shall restart it, and a rollout shall go on.
    pub fn stands_by(&self) {
        *self.vital() = Vital { turned: Instant::now(), ready: Ok("standing by: another agent has taken over") };
    }

    /// Waits for something for however long, and lives meanwhile.
    pub async fn while_waiting<T>(&self, something: impl Future<Output = T>) -> T {
        let mut something = std::pin::pin!(something);
        loop {
            self.vital().turned = Instant::now();
            if let Ok(done) = tokio::time::timeout(BEAT, &mut something).await {
                return done;
            }
        }
    }

    /// Answers the probes of an instance from now on, on a thread of its own.
    pub fn answer_probes(&self, instance: &str) -> io::Result<()> {
        let (pulse, name) = (self.clone(), name_of(instance));
        let mut listener = local::listen(&name);
        if let Err(error) = &listener {
            warn!(name, %error, "probes are not answered yet: another agent may have the same BEELINE_INSTANCE");
        }
        let run = move || {
            let listener = loop {
                match listener {
                    Ok(listener) => break listener,
                    Err(_) => thread::sleep(RETRY),
                }
                listener = local::listen(&name);
            };
            pulse.run(&listener);
        };
        thread::Builder::new().name("probe".to_owned()).spawn(run).map(|_| ())
    }

    fn run(&self, listener: &UnixListener) {
        for connection in listener.incoming() {
            let answered = connection.and_then(|mut stream| {
                local::trusted_peer(&stream)?;
                let question = receive(&mut stream, LONGEST_QUESTION_BYTES)?;
                send(&mut stream, &serde_json::to_string(&self.answer(question.trim(), Instant::now()))?)
            });
            if let Err(error) = answered {
                debug!(%error, "a probe was not answered");
            }
        }
    }

    fn answer(&self, question: &str, now: Instant) -> Answer {
        let vital = self.vital();
        let still = now.saturating_duration_since(vital.turned);
        let answer = |ok, reason: &str| Answer { ok, reason: reason.to_owned() };
        match Question::from_str(question, false) {
            Ok(_) if still > LONGEST_TURN => answer(false, &format!("the agent hangs since {} s", still.as_secs())),
            Ok(Question::Live) => answer(true, "the agent turns"),
            Ok(Question::Ready) => match &vital.ready {
                Ok(reason) => answer(true, reason),
                Err(reason) => answer(false, reason),
            },
            Err(_) => answer(false, "this agent does not know the question: it may be of another version"),
        }
    }

    fn vital(&self) -> MutexGuard<'_, Vital> {
        self.vital.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the agent of an instance.
pub fn ask(instance: &str, question: Question) -> io::Result<Answer> {
    let (mut stream, _) = local::connect(&name_of(instance))?;
    let word = question.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    send(&mut stream, &word)?;
    Ok(serde_json::from_str(&receive(&mut stream, u64::MAX)?)?)
}

fn send(stream: &mut UnixStream, line: &str) -> io::Result<()> {
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(format!("{line}\n").as_bytes())
}

fn receive(stream: &mut UnixStream, longest_bytes: u64) -> io::Result<String> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut line = String::new();
    BufReader::new(stream.take(longest_bytes)).read_line(&mut line)?;
    Ok(line)
}

fn name_of(instance: &str) -> String {
    if instance.len() > LONGEST_INSTANCE {
        return format!("beeline/probe/{:016x}", fingerprint(instance));
    }
    format!("beeline/probe/{instance}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(pulse: &Pulse, question: &str, after: Duration) -> bool {
        pulse.answer(question, Instant::now() + after).ok
    }

    #[test]
    fn a_starting_agent_is_live_and_not_ready() {
        let pulse = Pulse::new();

        assert!(ok(&pulse, "live", Duration::ZERO));
        assert!(!ok(&pulse, "ready", Duration::ZERO));
    }

    #[test]
    fn an_agent_that_does_not_turn_is_neither_live_nor_ready() {
        let pulse = Pulse::new();
        pulse.turned(Ok(()));

        assert!(ok(&pulse, "live", Duration::from_secs(29)) && ok(&pulse, "ready", Duration::from_secs(29)));
        assert!(!ok(&pulse, "live", Duration::from_secs(31)) && !ok(&pulse, "ready", Duration::from_secs(31)));
    }

    #[test]
    fn a_failure_makes_an_agent_unready_and_says_why() {
        let pulse = Pulse::new();
        pulse.turned(Err("maps cannot be written".to_owned()));

        assert!(ok(&pulse, "live", Duration::ZERO));
        assert_eq!(pulse.answer("ready", Instant::now()).reason, "maps cannot be written");
    }

    #[test]
    fn an_agent_that_stands_by_is_live_and_ready() {
        let pulse = Pulse::new();
        pulse.stands_by();

        assert!(ok(&pulse, "live", Duration::ZERO) && ok(&pulse, "ready", Duration::ZERO));
    }

    #[test]
    fn each_instance_is_asked_by_its_own_name_however_long_that_is() {
        let process = std::process::id();
        let (one, other) = (format!("{}-one-{process}", "x".repeat(200)), format!("other-{process}"));
        let pulse = Pulse::new();
        pulse.turned(Ok(()));
        pulse.answer_probes(&one).expect("a thread");

        assert!(ask(&one, Question::Ready).expect("an answer").ok);
        assert!(ask(&other, Question::Ready).is_err());
    }
}
