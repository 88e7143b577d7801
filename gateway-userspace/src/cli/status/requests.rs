//! What `status` says of the HTTP layer: only the agent that serves knows it, so it is asked.

use std::fmt::Write as _;
use std::path::Path;

use crate::agent::inspection::{self, Question};
use crate::cli::table::Table;
use crate::http::{Activity, ListenerActivity, Reason};

/// What the agent says; nothing if none answers or it serves no requests.
pub fn ask(bpffs: &Path) -> Option<Activity> {
    inspection::ask(bpffs, &Question::HttpActivity).ok()
}

/// One line of numbers.
pub fn summary(out: &mut String, activity: &Activity) -> std::fmt::Result {
    let open: u64 = activity.frontends.iter().map(|frontend| frontend.open).sum();
    let counts = &activity.counts;
    write!(
        out,
        "http       {} requests, {} retries, {open} open connections of {}; {} to backends; {} ejections of backends",
        counts.requests, counts.retries, counts.connections, counts.backend_connections, counts.ejections
    )?;
    match activity.dropped_log_lines {
        Some(lines) if lines > 0 => writeln!(out, "; {lines} lines of the access log dropped"),
        _ => writeln!(out),
    }
}

/// The listeners with their requests, by status.
pub fn listeners(activity: &Activity) -> Table {
    let mut table =
        Table::new(["FRONTEND", "LISTENER", "REQUESTS", "1XX", "2XX", "3XX", "4XX", "5XX", "BACKENDS' MEAN"]);
    for frontend in &activity.frontends {
        for ListenerActivity { name, requests } in &frontend.listeners {
            let [informational, success, redirect, client, server] = requests.statuses.map(|count| count.to_string());
            let mean = requests.mean_wait().map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1?}"));
            let (frontend, all) = (frontend.frontend.clone(), requests.answers().to_string());
            table.row([frontend, name.clone(), all, informational, success, redirect, client, server, mean]);
        }
    }
    table
}

/// Why requests and connections were not served, or broke off.
pub fn rejected(activity: &Activity) -> Table {
    let mut table = Table::new(["NAME", "COUNT", "MEANING"]);
    for (name, count) in &activity.counts.rejected {
        let reason = Reason::ALL.iter().find(|reason| reason.name() == name);
        let meaning = reason.map_or("", |reason| reason.sentence());
        table.row([name.clone(), count.to_string(), meaning.to_owned()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{FrontendActivity, RequestCounts};

    #[test]
    fn a_listener_shows_its_answers_by_status_and_what_its_backends_take() {
        let requests = RequestCounts { statuses: [0, 7, 1, 0, 2], waits: vec![10], wait_us: 12_340 };
        let listener = ListenerActivity { name: "web/http".to_owned(), requests };
        let frontend = "TCP 192.0.2.1:80".to_owned();
        let activity = Activity {
            frontends: vec![FrontendActivity { frontend, listeners: vec![listener], open: 3, connections: 5 }],
            ..Activity::default()
        };

        let table = listeners(&activity).to_string();

        let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(row, ["TCP", "192.0.2.1:80", "web/http", "10", "0", "7", "1", "0", "2", "1.2ms"]);
    }

    #[test]
    fn a_reason_is_shown_with_its_meaning() {
        let mut activity = Activity::default();
        activity.counts.rejected.insert("none_ready".to_owned(), 4);

        assert!(rejected(&activity).to_string().contains("no backend is ready"));
    }
}
