//! Sees to it that sockets of this node are given their backends, as far as the kernel and the container allow it.
//!
//! What keeps it from working is said once and tried again; clients that come by the uplinks do not depend on it.

use crate::config::SocketsOf;
use crate::dataplane::{Attached, Dataplane, Error, Scope};
use crate::source::{Problem, Severity};

use super::report;

/// The selection for sockets, and how it stands.
#[derive(Debug)]
pub struct SocketSelection {
    wanted: SocketsOf,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    /// Nobody has looked yet, or not for long. What was found before is kept.
    Unknown(Option<Scope>),
    /// As it was asked for.
    Served(Option<Scope>),
    /// Not as it was asked for, and why.
    Failed(String),
}

impl SocketSelection {
    pub fn new(wanted: &SocketsOf) -> Self {
        Self { wanted: wanted.clone(), standing: Standing::Unknown(None) }
    }

    /// Makes the next pass see whether all is as it shall be.
    pub fn look_again(&mut self) {
        let standing = std::mem::replace(&mut self.standing, Standing::Unknown(None));
        if let Standing::Served(scope) | Standing::Unknown(scope) = standing {
            self.standing = Standing::Unknown(scope);
        }
    }

    /// Attaches or detaches what is to be, and says what is in the way.
    pub fn serve(&mut self, dataplane: &mut Dataplane) -> Option<Problem> {
        if let Standing::Unknown(known) = &mut self.standing {
            self.standing = match attach(&self.wanted, known.take(), dataplane) {
                Ok((scope, attached)) => {
                    report::attached(&attached);
                    Standing::Served(scope)
                }
                Err(error) => Standing::Failed(format!("{:#}", anyhow::Error::from(error))),
            };
        }
        let Standing::Failed(why) = &self.standing else { return None };
        let message =
            format!("processes and Pods of this node reach no VIP: {why}; --no-socket-selection goes without");
        Some(Problem { severity: Severity::Warning, ..Problem::of_file("", message) })
    }

    /// How it stands, for people.
    pub fn describe(&self) -> String {
        match &self.standing {
            Standing::Unknown(_) => String::new(),
            Standing::Served(Some(scope)) => scope.to_string(),
            Standing::Served(None) => "of nobody: --no-socket-selection".to_owned(),
            Standing::Failed(_) => "of nobody: see the problem below".to_owned(),
        }
    }
}

fn attach(
    wanted: &SocketsOf,
    known: Option<Scope>,
    dataplane: &mut Dataplane,
) -> Result<(Option<Scope>, Attached), Error> {
    let scope = match (wanted, known) {
        (SocketsOf::Nobody, _) => None,
        (_, Some(known)) => Some(known),
        (SocketsOf::Node, None) => Some(Scope::find(None)?),
        (SocketsOf::Cgroup(path), None) => Some(Scope::find(Some(path))?),
    };
    let attached = dataplane.select_sockets(scope.as_ref())?;
    Ok((scope, attached))
}
