//! Where a request goes, as one line: the listener, the route with its rule, and the backend, or what is answered in its place.
//!
//! `edge/http, HTTPRoute shop/web rule 0, Service shop/web:80`. Behind a backend stands what it sees of another host or path;
//! of several backends each has its weight in front. All of it is what `beeline explain http` says.

use std::sync::Arc;

use anyhow::{Result, ensure};
use gateway_userspace::http::explain::{Destination, Explained, Met, Question, explain};
use gateway_userspace::http::{Live, Options};
use gateway_userspace::model::Model;

/// The HTTP layer with all sites, which nobody connects to.
pub struct Sites(Arc<Live>);

impl Sites {
    pub fn new(model: &Model) -> Result<Self> {
        let live = Live::new(Options::default());
        let problems = live.install(&model.sites);
        ensure!(problems.is_empty(), "{problems:?}");
        Ok(Self(live))
    }

    /// Where a request goes.
    pub fn walk(&self, request: &Question) -> Result<String> {
        let explained = self.explained(request)?;
        Ok(explained.map_or_else(|| "no frontend".to_owned(), |explained| line(&explained, request)))
    }

    /// Why a request meets what it meets, for people.
    pub fn explain(&self, request: &Question) -> Result<String> {
        let Some(Explained { listeners, routes, .. }) = self.explained(request)? else { return Ok(String::new()) };
        let considered = listeners.iter().chain(&routes);
        let text = |name: &str, why_not: Option<&str>| format!("    {name}: {}\n", why_not.unwrap_or("met"));
        Ok(considered.map(|one| text(&one.name, one.why_not.as_deref())).collect())
    }

    fn explained(&self, request: &Question) -> Result<Option<Explained>> {
        let mut frontends = explain(&self.0.load(), request)?.frontends;
        ensure!(frontends.len() <= 1, "several frontends have the port: say which vip");
        Ok(frontends.pop())
    }
}

fn line(explained: &Explained, request: &Question) -> String {
    let Explained { listener, met, verdict, .. } = explained;
    let met_text = met.as_ref().map(|met| if verdict.name == "relayed" { met.route.clone() } else { rule(met) });
    let outcome = match (verdict.name.as_str(), verdict.status) {
        ("forwarded" | "relayed", _) => shares(met.as_ref().map_or(&[], |met| &met.destinations), request),
        ("answered", _) => verdict.text.clone(),
        (reason, Some(status)) => format!("{status} {reason}"),
        (reason, None) => reason.to_owned(),
    };
    [listener.clone(), met_text, Some(outcome)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn rule(met: &Met) -> String {
    let rule = met.rule_name.clone().unwrap_or_else(|| met.rule.to_string());
    let matched = if met.matched > 0 { format!(" match {}", met.matched) } else { String::new() };
    format!("{} rule {rule}{matched}", met.route)
}

fn shares(destinations: &[Destination], request: &Question) -> String {
    let share = |destination: &Destination| {
        let weight = if destinations.len() > 1 { format!("{} ", destination.weight) } else { String::new() };
        let status = destination.failure.as_deref().and_then(|failure| failure.split(' ').next());
        let failure = status.map(|status| format!(" ({status})")).unwrap_or_default();
        let host = destination.host.as_deref().filter(|host| *host != request.host);
        let path = destination.path.as_deref().filter(|path| *path != request.path);
        let host = host.map(|host| format!(" as {host}")).unwrap_or_default();
        let path = path.map(|path| format!(" at {path}")).unwrap_or_default();
        format!("{weight}{}{failure}{host}{path}", destination.reference)
    };
    destinations.iter().map(share).collect::<Vec<_>>().join(" and ")
}
