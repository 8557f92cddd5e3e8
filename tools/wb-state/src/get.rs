//! `wb-state get`: documents as they are on disk, with the status that is true.

use crate::{TOOL, docker};
use serde_json::Value;
use std::io::{ErrorKind, IsTerminal, Write};
use wb_doc::{Context, Document, Error, ExitCode, Filter, FilterArgs, Template};
use wb_store::atomic::Durability;
use wb_store::{Place, record};

/// What to get.
#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// Names, ids, or unique starts of ids; without any, the ids of the documents on standard input
    containers: Vec<String>,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    /// Print what this template says, with docker's names or the document's
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Report a container that does not exist, and go on as if it had not been named
    #[arg(long)]
    ignore: bool,
    /// Refuse a container that runs, and note that the caller is about to work on it
    #[arg(long)]
    not_running: bool,
    /// Refuse a container that does not run
    #[arg(long, conflicts_with = "not_running")]
    running: bool,
    /// Refuse a container that is not paused
    #[arg(long, conflicts_with_all = ["not_running", "running"])]
    paused: bool,
}

/// The verb. A container that does not exist is reported, the others still come; the status is then 1.
pub fn get(place: &Place, args: &GetArgs, input: &FilterArgs) -> ExitCode {
    let filter = Filter::doing(TOOL, "get");
    let boot_id = match wb_sys::proc::boot_id().context(|| "boot_id") {
        Ok(boot_id) => boot_id,
        Err(error) => return ExitCode::from(filter.report(&error)),
    };
    let template =
        match args.format.as_deref().filter(|format| *format != "json").map(Template::parse).transpose() {
            Ok(template) => template,
            Err(error) => return ExitCode::from(filter.report(&error)),
        };
    if args.containers.is_empty() {
        return filter.run(input, |document| {
            *document = one(place, document.id()?, args, &boot_id)?;
            Ok(())
        });
    }
    let mut code = 0;
    let mut found = Vec::new();
    for word in &args.containers {
        match one(place, word, args, &boot_id) {
            Ok(document) => found.push(document),
            Err(error) => {
                filter.report(&error);
                if args.ignore && error.to_string().starts_with("no such container") {
                    continue;
                }
                if code == 0 {
                    code = error.exit_code().max(1);
                }
                // The next stage must not take an empty input for success.
                if !args.json && args.format.is_none() && !std::io::stdout().is_terminal() {
                    let mut failed = Document::default();
                    failed.fail(TOOL, "get", &error);
                    found.push(failed);
                }
            }
        }
    }
    let printed = match template {
        Some(template) => match render(&template, &found) {
            Ok(text) => std::io::stdout().lock().write_all(text.as_bytes()),
            Err(error) => return ExitCode::from(filter.report(&error)),
        },
        None => print(found, args.json),
    };
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(141),
        _ => ExitCode::from(code),
    }
}

/// A line for each document.
fn render(template: &Template, documents: &[Document]) -> Result<String, Error> {
    let mut text = String::new();
    for document in documents {
        text.push_str(&template.render(&docker::inspected(document))?);
        text.push('\n');
    }
    Ok(text)
}

fn one(place: &Place, word: &str, args: &GetArgs, boot_id: &str) -> Result<Document, Error> {
    let id = record::resolve(place, word)?;
    if args.not_running {
        return record::update(place, &id, Durability::Visible, |document| {
            record::true_status(document, boot_id)?;
            check_not_running(document, word)?;
            record::claim(document, &record::callers())
        });
    }
    let mut document = record::read(place, &id)?;
    record::true_status(&mut document, boot_id)?;
    check_status(&document, word, args)?;
    Ok(document)
}

fn check_status(document: &Document, word: &str, args: &GetArgs) -> Result<(), Error> {
    let status = document.str_at("/wb/state/status").unwrap_or_default();
    match status {
        "paused" if args.running => {
            Err(Error::new(format!("container {word} is paused")).hint(format!("wb unpause {word}")))
        }
        _ if args.running && status != "running" => {
            Err(Error::new(format!("container {word} is not running")))
        }
        _ if args.paused && status != "paused" => Err(Error::new(format!("container {word} is not paused"))),
        _ => Ok(()),
    }
}

fn check_not_running(document: &Document, word: &str) -> Result<(), Error> {
    match document.str_at("/wb/state/status") {
        Some(status @ ("running" | "paused" | "restarting")) => {
            Err(Error::new(format!("container {word} is {status}")).hint(format!("wb stop {word}")))
        }
        _ => Ok(()),
    }
}

fn print(documents: Vec<Document>, as_array: bool) -> std::io::Result<()> {
    let stdout = std::io::stdout();
    let pretty = stdout.is_terminal();
    let mut out = stdout.lock();
    if as_array {
        let array: Vec<Value> = documents.into_iter().map(Document::into_value).collect();
        serde_json::to_writer_pretty(&mut out, &array)?;
        writeln!(out)?;
    } else {
        for document in documents {
            let mut bytes = if pretty { document.to_pretty() } else { document.to_line() };
            bytes.push(b'\n');
            out.write_all(&bytes)?;
        }
    }
    out.flush()
}
