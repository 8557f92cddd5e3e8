//! The command line's edges: how a tool starts, refuses flags, and ends.

use crate::ExitCode;
use crate::document::Failure;
use crate::error::{self, Error};
use crate::filter;
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::io::{self, IsTerminal, Write};

/// Docker's exit status where a flag is wrong.
const FLAG: u8 = 125;

/// Runs a tool's body; a failure is printed once and becomes the exit status.
pub fn main(tool: &str, run: impl FnOnce() -> Result<ExitCode, Error>) -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => ExitCode::from(filter::report(tool, "", &error)),
    }
}

/// Reads the command line; ends the program on `--help` (0) and on a usage error (one line, 2; see [`status`]).
pub fn parse<C: Parser>() -> C {
    C::try_parse().unwrap_or_else(|error| end(&error, false))
}

/// As [`parse`], for a tool that stands in a pipe: a usage error also goes down the pipe as a failed document,
/// since the next stage would take an empty input for success.
pub fn parse_filter<C: Parser>() -> C {
    parse_filter_from(std::env::args_os())
}

/// What a command line means that is a verb alone, as in the pipes of the flows, and `means` knows: without a look at all
/// the flags there could be, which takes a tenth of a stage's time.
pub fn alone<C>(means: impl FnOnce(&str) -> Option<C>) -> Option<C> {
    let mut words = std::env::args_os().skip(1);
    let verb = words.next().filter(|_| words.next().is_none());
    means(verb?.to_str()?)
}

/// As [`parse_filter`], from given words, the first being the tool's name.
pub fn parse_filter_from<C: Parser>(words: impl Iterator<Item = std::ffi::OsString>) -> C {
    C::try_parse_from(words).unwrap_or_else(|error| end(&error, true))
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "help is the product here")]
fn end(error: &clap::Error, in_pipe: bool) -> ! {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        print!("{error}");
        std::process::exit(0);
    }
    let tool = std::env::args_os()
        .next()
        .and_then(|name| Some(std::path::Path::new(&name).file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_default();
    let text = error.to_string();
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "a verb is missing"
        }
        // clap's first paragraph says what is wrong; the rest is the usage, which --help shows in full.
        _ => text.lines().next().map_or("", |line| line.strip_prefix("error: ").unwrap_or(line)),
    };
    eprintln!("{tool}: {}", crate::escape(message));
    for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("tip: ")) {
        eprintln!("hint: {line}");
    }
    eprintln!("hint: {tool} --help");
    let stdout = io::stdout();
    if in_pipe && !stdout.is_terminal() {
        let mut line = Failure::of_usage(&tool, message, status(error)).to_line();
        line.push(b'\n');
        // Nobody may be reading; the message above has been given.
        stdout.lock().write_all(&line).ok();
    }
    std::process::exit(status(error).into())
}

/// The exit status of a usage error: 2, and behind a command of `wb` docker's: 125 for a flag that there is not or a
/// value that it does not take, 1 for operands too many or too few.
fn status(error: &clap::Error) -> u8 {
    if !error::is_behind_wb() {
        return error::USAGE;
    }
    let is_flag = |text: &str| text.starts_with('-');
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => is_flag(text),
        _ => false,
    };
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidValue | ErrorKind::ValueValidation if unknown => FLAG,
        _ => error::FAILED,
    }
}
