//! `stats`: what running containers use, as docker's table shows it, once a second.

use crate::group::{self, Group};
use crate::hierarchy::Hierarchies;
use crate::stat;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};
use wb_doc::{Context, Document, Error, ExitCode, Template, names, units};
use wb_store::{Place, record};

/// The time between two tables.
const INTERVAL: Duration = Duration::from_secs(1);
/// The first one comes sooner: it only needs two looks at the CPU time.
const FIRST: Duration = Duration::from_millis(250);
const HEADINGS: [&str; 8] =
    ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
/// The names of the same in docker's templates.
const FIELDS: [&str; 8] = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];

// What to show, and how.
#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// One table, and no more
    #[arg(long)]
    no_stream: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// A JSON array of numbers instead of the table
    #[arg(long)]
    json: bool,
    /// Print what this template says of each: .ID, .Name, .CPUPerc, .MemUsage, .MemPerc, .NetIO, .BlockIO, .PIDs
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "json")]
    format: Option<String>,
    /// The containers; all that run where none is named
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// The CPU time of a container when it was last looked at.
type Before = HashMap<String, (Instant, u64)>;

/// The verb; ends when nobody reads any more, or when none of the containers named exists any more.
pub fn stats(place: &Place, hierarchies: &Hierarchies, args: &StatsArgs) -> Result<ExitCode, Error> {
    let boot_id = wb_sys::proc::boot_id().context(|| "boot_id")?;
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let named =
        args.containers.iter().map(|word| record::resolve(place, word)).collect::<Result<Vec<_>, _>>()?;
    let live = std::io::stdout().is_terminal() && !args.no_stream;
    let mut before = Before::new();
    let look = |before: &mut Before| -> Result<Vec<Value>, Error> {
        let ids = if named.is_empty() { record::list(place)? } else { named.clone() };
        let mut seen: Vec<Value> = Vec::new();
        for id in ids {
            // Removed meanwhile.
            let Ok(mut document) = record::read(place, &id) else { continue };
            record::true_status(&mut document, &boot_id)?;
            let runs = matches!(document.str_at("/wb/state/status"), Some("running" | "paused"));
            if runs || args.all || !named.is_empty() {
                let group = Group::existing(hierarchies, &group::path_of(&document, place)?);
                seen.push(sample(&document, &group, before));
            }
        }
        if named.is_empty() {
            seen.sort_by(|a, b| b["created"].as_str().cmp(&a["created"].as_str()));
        }
        Ok(seen)
    };
    let mut wait = FIRST;
    look(&mut before)?;
    loop {
        std::thread::sleep(wait);
        wait = INTERVAL;
        let seen = look(&mut before)?;
        let text = match &template {
            Some(template) => lines(template, &seen, args)?,
            None if args.json => format!("{}\n", Value::from(seen.clone())),
            None => table(&seen.iter().map(|one| row(one, args.no_trunc)).collect::<Vec<_>>()),
        };
        match print(&text, live) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::from(141)),
            other => other.context(|| "writing the table")?,
        }
        if args.no_stream || (seen.is_empty() && !named.is_empty()) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// One container's numbers: the accounts of `stat`, and what only a second look or another file tells.
fn sample(document: &Document, group: &Group, before: &mut Before) -> Value {
    let now = Instant::now();
    let id = document.str_at("/wb/id").unwrap_or_default();
    let mut one = stat::stat(group);
    let used = one["cpu"]["usage"].as_u64().unwrap_or_default();
    let percent = match before.insert(id.to_owned(), (now, used)) {
        Some((then, earlier)) => ratio(used.saturating_sub(earlier), now.duration_since(then).as_nanos()),
        None => 0.0,
    };
    // The cache that can be given back at once is nobody's use (docker counts so).
    let memory = |member: &str| one["memory"][member].as_u64();
    let usage =
        memory("usage").unwrap_or_default().saturating_sub(memory("inactiveFile").unwrap_or_default());
    let limit = memory("limit").unwrap_or(u64::MAX).min(total_memory());
    let pid = document.at("/wb/state/pid").and_then(Value::as_u64).filter(|_| !group.paths.is_empty());
    let own_network = document
        .at("/linux/namespaces")
        .and_then(Value::as_array)
        .is_some_and(|namespaces| namespaces.iter().any(|namespace| namespace["type"] == "network"));
    let (received, sent) = pid.filter(|_| own_network).map_or((0, 0), network);
    one["id"] = id.into();
    one["name"] = document.str_at("/wb/name").into();
    one["created"] = document.str_at("/wb/created").into();
    one["status"] = document.str_at("/wb/state/status").into();
    one["cpuPercent"] = percent.into();
    one["memoryUsage"] = usage.into();
    one["memoryLimit"] = limit.into();
    one["memoryPercent"] = ratio(usage, limit.into()).into();
    one["network"] = json!({"receivedBytes": received, "sentBytes": sent});
    one
}

#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn ratio(part: u64, whole: u128) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// What the machine has, in bytes: no container can have more.
fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    total.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(u64::MAX, |kib| kib << 10)
}

/// Bytes received and sent in the network namespace of a process, by all interfaces but the loopback.
fn network(pid: u64) -> (u64, u64) {
    // A process that has just ended uses nothing.
    count(&fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

fn count(dev: &str) -> (u64, u64) {
    let mut total = (0, 0);
    for (name, counters) in dev.lines().filter_map(|line| line.split_once(':')) {
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if name.trim() != "lo" && counters.len() > 8 {
            total = (total.0 + counters[0], total.1 + counters[8]);
        }
    }
    total
}

/// The cells of a container, as docker words them.
fn row(one: &Value, whole: bool) -> [String; 8] {
    let number = |object: &Value, member: &str| object[member].as_u64().unwrap_or_default();
    let size = |object: &Value, member: &str| units::human_size(number(object, member));
    let percent = |member: &str| format!("{:.2}%", one[member].as_f64().unwrap_or_default());
    let id = one["id"].as_str().unwrap_or_default();
    let memory = |member: &str| units::human_memory(number(one, member));
    let (network, io) = (&one["network"], &one["io"]);
    [
        if whole { id } else { names::short(id) }.to_owned(),
        one["name"].as_str().unwrap_or_default().to_owned(),
        percent("cpuPercent"),
        format!("{} / {}", memory("memoryUsage"), memory("memoryLimit")),
        percent("memoryPercent"),
        format!("{} / {}", size(network, "receivedBytes"), size(network, "sentBytes")),
        format!("{} / {}", size(io, "readBytes"), size(io, "writtenBytes")),
        number(&one["pids"], "current").to_string(),
    ]
}

fn lines(template: &Template, seen: &[Value], args: &StatsArgs) -> Result<String, Error> {
    let mut text = String::new();
    for one in seen {
        let cells = row(one, args.no_trunc).map(Value::from);
        let mut fields: serde_json::Map<_, _> = FIELDS.map(str::to_owned).into_iter().zip(cells).collect();
        fields.insert("Container".into(), fields["ID"].clone());
        text.push_str(&template.render(&Value::Object(fields))?);
        text.push('\n');
    }
    Ok(text)
}

fn table(rows: &[[String; 8]]) -> String {
    let headings = HEADINGS.map(str::to_owned);
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let all = std::iter::once(&headings).chain(rows);
            let width = all.map(|row| row[column].chars().count()).max().unwrap_or_default();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// On a terminal a table takes the place of the one before: from the corner, each line cleared behind its end.
fn print(text: &str, live: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if live {
        write!(out, "\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_does_not_count() {
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n\
                   eth0: 100 1 0 0 0 0 0 0 30 1 0 0 0 0 0 0\n  eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(count(dev), (101, 32));
    }

    #[test]
    fn a_row_in_dockers_words() {
        let one = json!({"id": "0123456789abcdef", "name": "web", "cpuPercent": 12.345, "memoryUsage": 1 << 20,
            "memoryLimit": 1 << 30, "memoryPercent": 0.0976, "pids": {"current": 3},
            "network": {"receivedBytes": 1450, "sentBytes": 0}, "io": {"readBytes": 2_000_000}});
        assert_eq!(
            row(&one, false),
            ["0123456789ab", "web", "12.35%", "1MiB / 1GiB", "0.10%", "1.45kB / 0B", "2MB / 0B", "3"]
        );
        assert!(table(&[row(&one, false)]).starts_with("CONTAINER ID   NAME   CPU %    MEM USAGE / LIMIT"));
    }
}
