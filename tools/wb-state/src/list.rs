//! `wb-state list`: containers, newest first.

use crate::row::Row;
use crate::select::Filters;
use crate::{TOOL, table, words};
use jiff::Timestamp;
use serde_json::Value;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use wb_doc::{Context, Document, Error, Filter, names};
use wb_store::{Place, record};

/// What to list, and how.
#[derive(clap::Args)]
pub struct ListArgs {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// A table for people
    #[arg(long)]
    table: bool,
    /// One JSON array
    #[arg(long)]
    json: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// The last N containers made; also -n N
    #[arg(long = "last", value_name = "N")]
    last: Option<usize>,
    /// The last container made
    #[arg(short, long)]
    latest: bool,
    /// Only those that match: id, name, status, exited, label, ancestor, before, since, network, volume, publish,
    /// expose, health
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

/// The verb. A record that cannot be read is reported and left out.
pub fn list(place: &Place, args: &ListArgs) -> Result<ExitCode, Error> {
    let filters = Filters::parse(&args.filters)?;
    let boot_id = wb_sys::proc::boot_id().context(|| "boot_id")?;
    let whole = !args.quiet && !args.table;
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for id in record::list(place)? {
        let read =
            if whole { read_document(place, &id) } else { read_row(place, &id).map(|row| (row, None)) };
        match read {
            Ok((mut row, document)) => {
                row.true_status(&boot_id);
                rows.push(row);
                documents.push(document);
            }
            // Removed meanwhile, or just being made.
            Err(_) if !place.container(&id).join(record::FILE).exists() => {}
            Err(error) => drop(Filter::doing(TOOL, "list").report(&error)),
        }
    }
    let shown = choose(&rows, args, &filters);
    let printed = if whole {
        let chosen = shown.into_iter().filter_map(|at| Some((at, documents[at].take()?)));
        let chosen = chosen.map(|(at, mut document)| {
            if rows[at].wb.state.status != document.str_at("/wb/state/status").unwrap_or_default() {
                record::true_status(&mut document, &boot_id)?;
            }
            Ok(document)
        });
        print_documents(chosen.collect::<Result<_, Error>>()?, args.json)
    } else {
        let shown: Vec<&Row> = shown.into_iter().map(|at| &rows[at]).collect();
        print(&if args.quiet { ids(&shown, args) } else { people(&shown, args) })
    };
    Ok(match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => return Err(error).context(|| "writing the list"),
        Ok(()) => ExitCode::SUCCESS,
    })
}

fn read_row(place: &Place, id: &str) -> Result<Row, Error> {
    let row = Row::parse(&record::bytes(place, id)?).context(|| format!("record of {}", names::short(id)))?;
    if row.wb.id == id {
        Ok(row)
    } else {
        Err(Error::new(format!("record of {id}: it is not about this container")))
    }
}

fn read_document(place: &Place, id: &str) -> Result<(Row, Option<Document>), Error> {
    let value = record::read(place, id)?.into_value();
    let row = Row::of(&value).context(|| format!("record of {}", names::short(id)))?;
    Ok((row, Some(Document::from_value(value)?)))
}

/// The places of the rows to show, newest first.
fn choose(rows: &[Row], args: &ListArgs, filters: &Filters) -> Vec<usize> {
    let last = if args.latest { Some(1) } else { args.last };
    let every = args.all || last.is_some() || filters.ask_for_status();
    let runs = |row: &Row| matches!(row.status(), "running" | "paused" | "restarting");
    let mut shown: Vec<usize> = (0..rows.len())
        .filter(|&at| (every || runs(&rows[at])) && filters.match_row(&rows[at], rows))
        .collect();
    // RFC 3339 in UTC with nine digits compares as text.
    shown.sort_by(|&a, &b| rows[b].wb.created.cmp(&rows[a].wb.created));
    shown.truncate(last.unwrap_or(usize::MAX));
    shown
}

fn shown_id<'a>(row: &'a Row, args: &ListArgs) -> &'a str {
    if args.no_trunc { &row.wb.id } else { names::short(&row.wb.id) }
}

fn ids(rows: &[&Row], args: &ListArgs) -> String {
    rows.iter().flat_map(|row| [shown_id(row, args), "\n"]).collect()
}

fn people(rows: &[&Row], args: &ListArgs) -> String {
    let now = Timestamp::now();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let runs = matches!(row.status(), "running" | "paused");
            vec![
                shown_id(row, args).to_owned(),
                row.image().to_owned(),
                words::command(&row.process.args, args.no_trunc),
                words::since(&row.wb.created, now).map_or_else(String::new, |time| format!("{time} ago")),
                words::status(row, now),
                if runs { words::ports(row) } else { String::new() },
                row.wb.name.clone(),
            ]
        })
        .collect();
    table::layout(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"], &cells)
}

fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn print_documents(documents: Vec<Document>, as_array: bool) -> std::io::Result<()> {
    let stdout = std::io::stdout();
    let pretty = stdout.is_terminal();
    let mut out = std::io::BufWriter::new(stdout.lock());
    if as_array {
        let array: Vec<Value> = documents.into_iter().map(Document::into_value).collect();
        serde_json::to_writer_pretty(&mut out, &array)?;
        writeln!(out)?;
    } else {
        for document in documents {
            out.write_all(&if pretty { document.to_pretty() } else { document.to_line() })?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}
