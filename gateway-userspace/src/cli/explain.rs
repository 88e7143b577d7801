//! `beeline explain`: what becomes of a request, and why, as the agent that runs would decide now.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use clap::{ArgAction, Subcommand};

use super::table::Table;
use super::{Outcome, Output, print, print_json};
use crate::agent::inspection::{self, Question};
use crate::http::explain::{self, Answer, Destination, Explained};
use crate::http::framing::Authority;
use crate::http::router::Considered;
use crate::model::http::{Hostname, Picker};
use crate::source::kinds::closest;

const EXAMPLES: &str = "\
Examples:
  beeline explain http --host shop.example --path /cart
  beeline explain http --host shop.example --https --address 192.0.2.10 --output json";

const HTTP_EXAMPLES: &str = "\
Examples:
  beeline explain http --host shop.example
  beeline explain http --host shop.example --path '/cart?item=7' --method POST --header 'X-Canary: yes'
  beeline explain http --host shop.example --https --address 192.0.2.10 --port 443
  beeline explain http --host shop.example --sni other.example      a connection that was made for another host
  beeline explain http --host shop.example --output json | jq '.frontends[0].met'

Asks the agent that runs, by what it serves at this moment; nothing is sent to any Pod. Exit code 1 if no frontend
that was asked about would serve the request.";

/// Hosts that are named where the asked one is unknown.
const HOSTS_NAMED: usize = 20;

/// Say what becomes of a request, and why nothing else
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    Http(Box<HttpArguments>),
}

/// Say which listener, route and rule a request meets, where it goes, and why it meets nothing else
#[derive(Debug, clap::Args)]
#[command(after_help = HTTP_EXAMPLES)]
struct HttpArguments {
    /// Host that the client asks for, with its port if it names one
    #[arg(long)]
    host: String,

    /// Path, and perhaps a query
    #[arg(long, default_value = "/")]
    path: String,

    /// Method
    #[arg(long, default_value = "GET")]
    method: String,

    /// Further header of the request; repeatable
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header, action = ArgAction::Append)]
    headers: Vec<(String, String)>,

    /// Ask as within TLS
    #[arg(long)]
    https: bool,

    /// Name in the client's TLS, if it is not the host; implies --https
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,

    /// Address of the frontend [default: all]
    #[arg(long, value_name = "IP", visible_alias = "vip")]
    address: Option<IpAddr>,

    /// Port of the frontend [default: all]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Form of the result
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub fn execute(arguments: &Arguments, bpffs: &Path) -> anyhow::Result<Outcome> {
    let Subject::Http(arguments) = &arguments.subject;
    let question = arguments.question();
    question.check()?;
    let answer: Answer = inspection::ask(bpffs, &Question::ExplainHttp(question))?;
    match arguments.output {
        Output::Json => print_json(&answer)?,
        Output::Text => print(&arguments.text(&answer)?)?,
    }
    let is_served = answer.frontends.iter().any(|explained| explained.verdict.is_served());
    Ok(if is_served { Outcome::Fine } else { Outcome::ProblemsFound })
}

impl HttpArguments {
    fn is_secure(&self) -> bool {
        self.https || self.sni.is_some()
    }

    fn question(&self) -> explain::Question {
        explain::Question {
            address: self.address,
            port: self.port,
            is_secure: self.is_secure(),
            server_name: self.sni.clone(),
            method: self.method.clone(),
            host: self.host.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
        }
    }

    fn text(&self, answer: &Answer) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        let scheme = if self.is_secure() { "https" } else { "http" };
        writeln!(out, "request    {} {scheme}://{}{}", self.method, self.host, self.path)?;
        let (reached, others): (Vec<_>, Vec<_>) =
            answer.frontends.iter().partition(|explained| explained.listener.is_some());
        for explained in &reached {
            write!(out, "\n{}", frontend(explained)?)?;
        }
        if !others.is_empty() {
            let mut table = Table::new(["OTHER FRONTEND", "OWNER", "LISTENER", "WHY NOT"]);
            for explained in others {
                other(&mut table, explained);
            }
            write!(out, "\n{table}")?;
        }
        if answer.more_frontends > 0 {
            writeln!(out, "\nand {} more frontends: name one by --address and --port", answer.more_frontends)?;
        }
        if let Some(hint) = self.hint(answer) {
            writeln!(out, "\n{hint}")?;
        }
        Ok(out)
    }

    /// What to ask for instead, if nothing that was asked about knows the host, or there is nothing of the kind.
    fn hint(&self, answer: &Answer) -> Option<String> {
        if answer.frontends.is_empty() {
            let none = "no frontend of the HTTP layer has this address and port: `beeline status` lists them";
            return Some(none.to_owned());
        }
        let host = self.sni.as_deref().unwrap_or(&self.host).to_ascii_lowercase();
        let host = Authority::parse(host.as_bytes()).map_or(host, |authority| authority.host);
        let mut served = answer.hosts.iter();
        if answer.more_hosts > 0 || served.any(|served| served == "*" || Hostname::parse(served).covers(&host)) {
            return None;
        }
        let near = closest(&host, answer.hosts.iter().map(String::as_str));
        let guess = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
        let named: Vec<&str> = answer.hosts.iter().take(HOSTS_NAMED).map(String::as_str).collect();
        let more = answer.hosts.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!("no route is for the host `{host}`{guess}\nhosts      {}{more}", named.join(", ")))
    }
}

/// What the request meets at one frontend.
fn frontend(explained: &Explained) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "frontend   {} ({})", explained.frontend, explained.owner)?;
    writeln!(out, "listener   {}", explained.listener.as_deref().unwrap_or("none"))?;
    let mut table = None;
    if let Some(met) = &explained.met {
        let name = met.rule_name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default();
        let condition = if met.condition.is_empty() { String::new() } else { format!(": {}", met.condition) };
        let place = if condition.is_empty() {
            String::new()
        } else {
            format!(" rule {}{name} match {}", met.rule, met.matched)
        };
        writeln!(out, "route      {}{place}{condition}", met.route)?;
        met.filters.iter().try_for_each(|filter| writeln!(out, "filter     {filter}"))?;
        met.terms.iter().try_for_each(|term| writeln!(out, "term       {term}"))?;
        for destination in &met.destinations {
            picked(&mut out, destination)?;
            sent(&mut out, destination)?;
        }
        table = Some(destinations(&met.destinations)).filter(|table| !table.is_empty());
    }
    let status = explained.verdict.status.map(|status| format!("{status} ")).unwrap_or_default();
    writeln!(out, "verdict    {status}{}: {}", explained.verdict.name, explained.verdict.text)?;
    if let Some(table) = table {
        write!(out, "\n{table}")?;
    }
    let mut table = Table::new(["NOT MET", "WHY NOT"]);
    explained.listeners.iter().chain(&explained.routes).for_each(|considered| not_met(&mut table, considered));
    if !table.is_empty() {
        write!(out, "\n{table}")?;
    }
    if explained.more_routes > 0 {
        writeln!(out, "and {} more matches", explained.more_routes)?;
    }
    Ok(out)
}

/// How a backend of a reference is picked, if not by weight alone.
fn picked(out: &mut String, destination: &Destination) -> std::fmt::Result {
    if destination.picks == Picker::default().to_string() {
        return Ok(());
    }
    writeln!(out, "picked     by {}, of those behind {}", destination.picks, destination.reference)
}

/// What the backends of a reference would see.
fn sent(out: &mut String, destination: &Destination) -> std::fmt::Result {
    let (Some(path), Some(host)) = (&destination.path, &destination.host) else { return Ok(()) };
    let headers: Vec<String> = destination.headers.iter().map(|header| format!(", {header}")).collect();
    destination
        .filters
        .iter()
        .try_for_each(|filter| writeln!(out, "filter     {filter}, for {}", destination.reference))?;
    writeln!(out, "sent       {path}, Host {host}{}, to {}", headers.concat(), destination.reference)
}

fn destinations(destinations: &[Destination]) -> Table {
    let mut table =
        Table::new(["REFERENCE", "WEIGHT", "SHARE", "SPEAKS", "BACKEND", "POD", "WEIGHT", "SHARE", "STATE"]);
    let dash = || "-".to_owned();
    for destination in destinations {
        let own = || {
            let share = format!("{:.2}%", destination.share_percent);
            [destination.reference.clone(), destination.weight.to_string(), share, destination.speaks.clone()]
        };
        if destination.members.is_empty() || destination.failure.is_some() {
            let [reference, weight, share, speaks] = own();
            let failure = destination.failure.clone().unwrap_or_else(|| "nobody is there".to_owned());
            table.row([reference, weight, share, speaks, dash(), dash(), dash(), dash(), failure]);
        }
        for member in &destination.members {
            let [reference, weight, share, speaks] = own();
            let state = match member.passed_over.as_deref() {
                None => "in use",
                Some("fails_check") => "passed over: it fails its health check",
                Some(_) => "passed over: it failed of late",
            };
            let share_of_all = format!("{:.2}%", member.share_percent);
            let (address, name) = (member.address.to_string(), member.name.clone());
            let own_weight = member.weight.to_string();
            table.row([reference, weight, share, speaks, address, name, own_weight, share_of_all, state.to_owned()]);
        }
        if destination.more_members > 0 {
            let [reference, weight, share, speaks] = own();
            let more = format!("and {} more", destination.more_members);
            table.row([reference, weight, share, speaks, more, dash(), dash(), dash(), dash()]);
        }
    }
    table
}

fn not_met(table: &mut Table, considered: &Considered) {
    if let Some(why_not) = &considered.why_not {
        table.row([considered.name.clone(), why_not.clone()]);
    }
}

fn other(table: &mut Table, explained: &Explained) {
    for considered in &explained.listeners {
        let why_not = considered.why_not.clone().unwrap_or_else(|| explained.verdict.text.clone());
        table.row([explained.frontend.clone(), explained.owner.clone(), considered.name.clone(), why_not]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn arguments(line: &[&str]) -> HttpArguments {
        let line = ["beeline", "explain", "http"].iter().chain(line);
        match Cli::try_parse_from(line).expect("a command line").command {
            Command::Explain(Arguments { subject: Subject::Http(arguments) }) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    fn answer(hosts: &[&str], listener: Option<&str>) -> Answer {
        let explained = Explained { listener: listener.map(str::to_owned), ..Explained::default() };
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Answer { frontends: vec![explained], more_frontends: 0, hosts, more_hosts: 0 }
    }

    #[test]
    fn a_name_in_tls_means_tls_and_headers_are_read_as_they_are_sent() {
        let question = arguments(&["--host", "a.example", "--sni", "b.example", "--header", "X-A: 1:2"]).question();

        assert!(question.is_secure);
        assert_eq!(question.headers, [("X-A".to_owned(), "1:2".to_owned())]);
    }

    #[test]
    fn for_an_unknown_host_those_are_named_that_there_are_and_the_nearest() {
        let asked = arguments(&["--host", "shpo.example:8080"]);

        let text = asked.text(&answer(&["*.b.example", "shop.example"], None)).expect("a text");

        assert!(text.contains("no route is for the host `shpo.example`: did you mean `shop.example`?"), "{text}");
        assert!(text.ends_with("hosts      *.b.example, shop.example\n"), "{text}");
        for known in ["shpo.example", "*.example", "*"] {
            let text = asked.text(&answer(&[known], Some("web/http"))).expect("a text");
            assert!(!text.contains("no route is for"), "{text}");
        }
    }
}
