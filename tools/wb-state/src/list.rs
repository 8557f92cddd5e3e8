//! `wb-state list`: containers, newest first.

use crate::row::Row;
use crate::select::Filters;
use crate::size::Sizes;
use crate::{TOOL, docker, words};
use jiff::Timestamp;
use serde_json::Value;
use std::io::{ErrorKind, IsTerminal, Write};
use wb_doc::{Context, Document, Error, ExitCode, Filter, names, table};
use wb_store::{Place, record};

/// What to list, and how.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// A table for people, unless --json asks for the other
    #[arg(long)]
    table: bool,
    /// One JSON array
    #[arg(long)]
    json: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Print what this template says of each: .ID, .Image, .Command, .CreatedAt, .RunningFor, .Ports, .State, .Status,
    /// .Names, .Labels, .Mounts, .Networks; a leading "table" gives headings
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// The last N containers made; also -n N
    #[arg(long = "last", value_name = "N")]
    last: Option<usize>,
    /// The size of the files written in it, and with its image
    #[arg(short, long)]
    size: bool,
    /// Only those that do not run, though their restart policy wants them to
    #[arg(long)]
    due: bool,
    /// The last container made
    #[arg(short, long)]
    latest: bool,
    /// Only those that match: id, name, status, exited, label, ancestor, before, since, network, volume, publish,
    /// expose, health, until
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

/// The verb. A record that cannot be read is reported and left out.
pub fn list(place: &Place, args: &ListArgs) -> Result<ExitCode, Error> {
    let filters = Filters::parse(&args.filters)?;
    let boot_id = wb_sys::proc::boot_id().context(|| "boot_id")?;
    let keep_text = !args.quiet && !args.table && args.format.is_none();
    let (mut rows, mut texts) = (Vec::new(), Vec::new());
    for id in record::list(place)? {
        match read(place, &id) {
            Ok((row, text)) => {
                rows.push(row);
                texts.push(if keep_text { text } else { Vec::new() });
            }
            // Removed meanwhile, or just being made.
            Err(_) if !record::exists(place, &id) => {}
            Err(error) => drop(Filter::doing(TOOL, "list").report(&error)),
        }
    }
    let stale: Vec<bool> = rows.iter_mut().map(|row| row.true_status(&boot_id)).collect();
    let shown = choose(&rows, args, &filters);
    let printed = if args.quiet {
        print(ids(shown.iter().map(|&at| &rows[at]), args))
    } else if let Some(format) = &args.format {
        print(formatted(format, shown.iter().map(|&at| &rows[at]), args)?)
    } else if args.table && !args.json {
        print(people(shown.iter().map(|&at| &rows[at]), args))
    } else if args.json || std::io::stdout().is_terminal() {
        let documents = shown.iter().map(|&at| document(&texts[at], &boot_id)).collect::<Result<_, _>>()?;
        print_indented(documents, args.json)
    } else {
        // A record is a document on one line: what is still true goes out as it lies there.
        let mut lines = Vec::new();
        for &at in &shown {
            if stale[at] || texts[at].trim_ascii_end().contains(&b'\n') {
                lines.extend(document(&texts[at], &boot_id)?.to_line());
            } else {
                lines.extend(texts[at].trim_ascii_end());
            }
            lines.push(b'\n');
        }
        print(&lines)
    };
    Ok(match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => return Err(error).context(|| "writing the list"),
        Ok(()) => ExitCode::SUCCESS,
    })
}

fn read(place: &Place, id: &str) -> Result<(Row, Vec<u8>), Error> {
    let what = || format!("record of {}", names::short(id));
    let text = record::bytes(place, id)?;
    let row = Row::parse(&text).context(what)?;
    if row.wb.id == id {
        Ok((row, text))
    } else {
        Err(Error::new("it is not about this container").within(what()))
    }
}

fn document(text: &[u8], boot_id: &str) -> Result<Document, Error> {
    let mut document = Document::parse(text)?;
    record::true_status(&mut document, boot_id)?;
    Ok(document)
}

/// The places of the rows to show, newest first.
fn choose(rows: &[Row], args: &ListArgs, filters: &Filters) -> Vec<usize> {
    let last = if args.latest { Some(1) } else { args.last };
    let every = args.all || args.due || last.is_some() || filters.ask_for_status();
    let runs = |row: &Row| matches!(row.status(), "running" | "paused" | "restarting");
    let mut shown: Vec<usize> = (0..rows.len())
        .filter(|&at| !args.due || rows[at].is_due())
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

fn ids<'a>(rows: impl Iterator<Item = &'a Row>, args: &'a ListArgs) -> String {
    rows.flat_map(|row| [shown_id(row, args), "\n"]).collect()
}

/// `--format`: a line for each; with `table` in front in columns, under their names.
fn formatted<'a>(
    format: &str,
    rows: impl Iterator<Item = &'a Row>,
    args: &ListArgs,
) -> Result<String, Error> {
    let now = Timestamp::now();
    let values: Vec<Value> = rows.map(|row| docker::listed(row, args.no_trunc, now)).collect();
    table::formatted(format, "CONTAINER", &values)
}

fn people<'a>(rows: impl Iterator<Item = &'a Row>, args: &ListArgs) -> String {
    let now = Timestamp::now();
    let mut sizes = Sizes::default();
    let cells: Vec<Vec<String>> = rows
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
            .into_iter()
            .chain(args.size.then(|| sizes.of(row)))
            .collect()
        })
        .collect();
    let headings = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES", "SIZE"];
    table::layout(&headings[..headings.len() - usize::from(!args.size)], &cells)
}

fn print(text: impl AsRef<[u8]>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_ref())?;
    out.flush()
}

fn print_indented(documents: Vec<Document>, as_array: bool) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if as_array {
        let array: Vec<Value> = documents.into_iter().map(Document::into_value).collect();
        serde_json::to_writer_pretty(&mut out, &array)?;
        writeln!(out)?;
    } else {
        for document in documents {
            out.write_all(&document.to_pretty())?;
            writeln!(out)?;
        }
    }
    out.flush()
}
