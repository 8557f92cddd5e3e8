//! `logs`: what a container has written, and with `-f` what it writes.

mod files;
mod record;

use crate::clock;
use files::{Files, Follow};
use record::Record;
use std::ffi::OsString;
use std::io::{self, BufWriter, ErrorKind, Write};
use wb_doc::{Context, Error, ExitCode};
use wb_store::{Place, record as store};

/// The flags of `logs`.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Go on with what is written from now on, until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only this many lines from the end, or `all`
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all", allow_negative_numbers = true)]
    tail: String,
    /// Only what was written at this time or later: RFC 3339, seconds after 1970, or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was written before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: OsString,
}

/// Prints a container's log.
pub fn logs(args: &LogsArgs) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let tail = parse_tail(&args.tail)?;
    let mut printer = Printer {
        since: args.since.as_deref().map(|text| parse_time("--since", text)).transpose()?,
        until: args.until.as_deref().map(|text| parse_time("--until", text)).transpose()?,
        timestamps: args.timestamps,
        inside: [false, false],
        out: BufWriter::with_capacity(64 << 10, io::stdout()),
        err: BufWriter::with_capacity(64 << 10, io::stderr()),
    };
    let id = store::resolve(&place, &args.container.to_string_lossy())?;
    if store::read(&place, &id)?.str_at("/wb/run/log/driver") == Some("none") {
        return Err(Error::new("nothing is logged of this container: it was made with --log-driver none"));
    }
    // The watch stands before the first look, so that nothing falls between.
    let follow = if args.follow { Follow::start(&place, &id)? } else { None };
    match print_all(&place, &id, tail, follow, &mut printer) {
        Err(Stop::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::from(141)),
        Err(Stop::Output(error)) => Err(error).context(|| "standard output"),
        Err(Stop::Failed(error)) => Err(error),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// Why printing ended early.
enum Stop {
    Output(io::Error),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn print_all(
    place: &Place,
    id: &str,
    tail: Option<u64>,
    mut follow: Option<Follow>,
    printer: &mut Printer,
) -> Result<(), Stop> {
    let mut files = Files::open(&place.container(id).join("log"), tail)?;
    loop {
        // What was written before the end was seen is read after it.
        let ended = follow.as_mut().is_none_or(Follow::has_ended);
        files.read(|line| printer.print(line).map_err(Stop::Output))?;
        printer.flush().map_err(Stop::Output)?;
        match &mut follow {
            Some(follow) if !ended => follow.wait()?,
            _ => return Ok(()),
        }
    }
}

fn parse_tail(text: &str) -> Result<Option<u64>, Error> {
    match text.parse::<i64>() {
        Ok(count) => Ok(u64::try_from(count).ok()),
        Err(_) if text == "all" => Ok(None),
        Err(_) => Err(Error::usage(format!("--tail {text:?}: a number of lines, or all"))),
    }
}

fn parse_time(flag: &str, text: &str) -> Result<[u8; clock::LENGTH], Error> {
    clock::parse(text).ok_or_else(|| {
        Error::usage(format!("{flag} {text:?}: for example 2026-01-02T15:04:05Z, 1767366245, or 10m"))
    })
}

struct Printer {
    since: Option<[u8; clock::LENGTH]>,
    until: Option<[u8; clock::LENGTH]>,
    timestamps: bool,
    /// Whether the last record of a stream was a part, so that the next goes on with its line.
    inside: [bool; 2],
    out: BufWriter<io::Stdout>,
    err: BufWriter<io::Stderr>,
}

impl Printer {
    fn print(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(record) = Record::parse(line) else { return Ok(()) };
        // All times have one length, so they compare as bytes.
        if self.since.is_some_and(|since| record.time < &since[..])
            || self.until.is_some_and(|until| record.time >= &until[..])
        {
            return Ok(());
        }
        let inside = std::mem::replace(&mut self.inside[usize::from(record.stderr)], !record.full);
        let out: &mut dyn Write = if record.stderr {
            self.out.flush()?;
            &mut self.err
        } else {
            self.err.flush()?;
            &mut self.out
        };
        if self.timestamps && !inside {
            out.write_all(record.time)?;
            out.write_all(b" ")?;
        }
        out.write_all(record.text)?;
        if record.full { out.write_all(b"\n") } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }
}
