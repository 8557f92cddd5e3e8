//! `run`: starts a container's monitor in the background and stays as its first client, or leaves once it runs.

use crate::client::{self, Options, keys};
use crate::message::Streams;
use crate::monitor::{self, Finish, Pipeline, Task, keep};
use crate::settings::Settings;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use wb_doc::{Context, Document, Error, ExitCode};
use wb_store::{Place, record};
use wb_sys::{child, socket, tty};

/// The flags of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Run these filters on the container's document when the container has ended, and wait for them: programs and
    /// their words between blanks, with | in between, as in `wb-cgroup delete | wb-state finish`; nothing is quoted
    #[arg(long, value_name = "PIPELINE")]
    finish: Option<OsString>,
    /// Run these filters, quietly and beside the container, if tools that were killed have left something
    #[arg(long, value_name = "PIPELINE")]
    sweep: Option<OsString>,
    /// Check the container's health with this program, which runs the document's process in the container
    #[arg(long, value_name = "PROGRAM")]
    health: Option<OsString>,
    /// Leave as soon as the container runs, and print its id
    #[arg(short, long, conflicts_with = "attach")]
    detach: bool,
    /// Stay until the container ends, whatever its document says
    #[arg(short, long)]
    attach: bool,
    /// With --attach: connect standard input too
    #[arg(short, long)]
    interactive: bool,
    /// The container's document, which becomes its record, from this file or descriptor
    #[arg(long, value_name = "FILE|FD", conflicts_with = "id")]
    doc: Option<OsString>,
    /// Remove the file that --doc names: its record takes its place
    #[arg(long, requires = "doc")]
    take: bool,
    /// The container's id, its name, or the start of its id
    #[arg(value_name = "ID", required_unless_present = "doc")]
    id: Option<OsString>,
    /// The chain of programs that becomes the container
    #[arg(last = true, required = true, value_name = "CHAIN")]
    chain: Vec<OsString>,
}

/// Runs a container.
pub fn run(args: RunArgs) -> Result<ExitCode, Error> {
    let finish = args.finish.as_deref().map(Pipeline::parse).transpose()?;
    let sweep = args.sweep.as_deref().map(Pipeline::parse).transpose()?;
    let given = args.doc.clone().map(|doc| made(&doc, args.take)).transpose()?;
    // Nothing is inherited but the standard streams: whoever waits for a pipe's end must not wait for the container.
    child::close_range(3, u32::MAX).context(|| "close_range")?;
    let place = Place::from_env()?;
    let is_made = given.is_some();
    let document = if let Some(document) = given {
        // Its id must have been claimed, and nobody remove it; what is stored of it is older.
        if let Err(error) = stored(&place, document.id()?) {
            // Whoever removed it did not know of all. Why it does not start matters more.
            finish.map_or(Ok(()), |pipeline| Finish::run(&pipeline, &document)).ok();
            return Err(error);
        }
        document
    } else {
        let word = args.id.as_deref().unwrap_or_default().to_string_lossy();
        stored(&place, &record::resolve(&place, &word)?)?
    };
    let settled = settle(&args, &document).inspect_err(|_| {
        if is_made {
            // As one that did not start; why it did not matters more.
            keep(&place, &document).ok();
        }
    });
    let (settings, wanted, options) = settled?;
    let id = document.id()?.to_owned();
    let size = tty::size(std::io::stdin()).or_else(|_| tty::size(std::io::stdout())).ok();
    let task = Task {
        place,
        id: id.clone(),
        document,
        is_made,
        settings,
        chain: args.chain,
        finish,
        sweep,
        health: args.health,
        size,
        wanted,
    };
    let detach = options.detach;
    let signals = client::signals(false)?;
    let (ours, theirs) = socket::pair().context(|| "socketpair")?;
    // What each side has for itself; the other one drops its copy.
    let (mut mine, mut its) = (Some((ours, signals)), Some((task, theirs)));
    child::fork("the monitor, which outlives this client", || {
        drop(mine.take());
        match its.take().map(|(task, socket)| monitor::run(task, socket)) {
            Some(Ok(())) => 0,
            _ => 125,
        }
    })
    .context(|| "fork")?;
    if let Some((task, socket)) = its {
        drop(socket);
        // Its memory is the monitor's too, page by page until somebody writes there, as freeing would.
        std::mem::forget(task);
    }
    let Some((socket, signals)) = mine else { return Ok(ExitCode::from(125)) };
    // The monitor outlives us; and a shell that was here before may have left children.
    child::disown().context(|| "SIGCHLD")?;
    let code = client::attend(socket, signals, options)?;
    if detach && code == 0 {
        let mut out = std::io::stdout();
        // Whoever does not want to know the id has closed the pipe.
        writeln!(out, "{id}").ok();
    }
    Ok(ExitCode::from(code))
}

/// The document that a pipeline has made; with `take` its file is removed.
fn made(doc: &OsString, take: bool) -> Result<Document, Error> {
    if take && doc.to_str().is_some_and(|text| text.parse::<u32>().is_ok()) {
        return Err(Error::usage("--take: a file, not a descriptor"));
    }
    let read = wb_doc::read_one(&doc.clone().into());
    if take {
        std::fs::remove_file(doc).context(|| doc.to_string_lossy().into_owned())?;
    }
    let document = read.map_err(|error| error.code(125))?;
    match document.failure() {
        Some(failure) => Err(failure.to_error()),
        None => Ok(document),
    }
}

/// The record of a container that is there, and stays.
fn stored(place: &Place, id: &str) -> Result<Document, Error> {
    let document = record::read(place, id)?;
    record::refuse_if_removing(&document).map(|()| document)
}

/// What the document and the flags say about how the container is attended.
fn settle(args: &RunArgs, document: &Document) -> Result<(Settings, Streams, Options), Error> {
    let mut settings = Settings::of(document)?;
    apply(args, &mut settings);
    let wanted = streams(args, &settings);
    if wanted.stdin && settings.tty && !std::io::stdin().is_terminal() {
        return Err(Error::new("the input device is not a terminal").hint("-t wants one; -i alone does not"));
    }
    let options = Options {
        sig_proxy: settings.run.sig_proxy.unwrap_or(true),
        keys: keys::Keys::parse(settings.run.detach_keys.as_deref().unwrap_or(keys::DEFAULT))?,
        detach: settings.run.detach,
    };
    Ok((settings, wanted, options))
}

fn apply(args: &RunArgs, settings: &mut Settings) {
    if args.attach {
        settings.run.detach = false;
        settings.run.attach.clear();
    } else if args.detach {
        settings.run.detach = true;
    }
    if let Some(path) = &settings.run.pidfile {
        // The monitor's working directory is another.
        settings.run.pidfile =
            std::path::absolute(path).ok().and_then(|path| path.into_os_string().into_string().ok());
    }
}

fn streams(args: &RunArgs, settings: &Settings) -> Streams {
    if settings.run.detach {
        return Streams::default();
    }
    Streams {
        stdin: settings.attaches("stdin") && (!args.attach || args.interactive),
        stdout: settings.attaches("stdout"),
        stderr: settings.attaches("stderr"),
    }
}
