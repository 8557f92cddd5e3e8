//! wb-trace: where the milliseconds went, from what the tools told with `WB_TRACE=json`.
//!
//! `wb-trace [--svg FILE] [--top NUMBER] [FILE]`
#![cfg_attr(not(test), no_main)]

mod picture;
mod scale;
mod table;
mod timeline;

use clap::Parser;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::PathBuf;
use timeline::Timeline;
use wb_doc::{Context, Error, ExitCode};

const TOOL: &str = "wb-trace";

/// Where the milliseconds went: a table, and a picture, of a trace
#[derive(Parser)]
#[command(name = TOOL, version)]
struct Cli {
    /// Draw a picture into this file: a lane for each process, a bar for each call
    #[arg(long, short = 'o', value_name = "FILE")]
    svg: Option<PathBuf>,
    /// How many of the slowest calls to list
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    top: usize,
    /// The trace, JSON lines as WB_TRACE=json prints them; standard input if absent
    #[arg(value_name = "FILE")]
    trace: Option<PathBuf>,
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let cli: Cli = wb_doc::parse();
    wb_doc::main(TOOL, || run(&cli))
}

fn run(cli: &Cli) -> Result<ExitCode, Error> {
    let input: Box<dyn Read> = match &cli.trace {
        Some(path) => Box::new(File::open(path).context(|| path.display().to_string())?),
        None => Box::new(io::stdin().lock()),
    };
    let timeline = Timeline::read(BufReader::new(input))?;
    if let Some(path) = &cli.svg {
        std::fs::write(path, picture::svg(&timeline)).context(|| path.display().to_string())?;
    }
    match io::stdout().lock().write_all(table::table(&timeline, cli.top).as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::from(141)),
        written => written.context(|| "standard output").map(|()| ExitCode::SUCCESS),
    }
}
