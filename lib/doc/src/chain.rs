//! Chain loading: programs that each do one thing to themselves and then become the next program.
//!
//! The container's birth is such a chain. Two descriptors travel along it by number: the document, and the status
//! pipe, on which the chain tells whoever started it how far it got. A chain that ends without an error on the
//! status pipe has become the user's program.

use crate::ExitCode;
use crate::document::{Document, Failure, MAX_DOCUMENT_BYTES};
use crate::error::{Context, Error};
use crate::filter;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};

/// The flags every program of a chain takes, and the program it becomes.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ChainArgs {
    /// Read the document from this file, or from this inherited file descriptor if it is a number
    #[arg(long, value_name = "FD|FILE")]
    pub doc: Option<OsString>,
    /// Report the start and any failure as JSON lines on this inherited file descriptor, not on standard error
    #[arg(long, value_name = "FD")]
    pub status_fd: Option<i32>,
    /// The next program and its arguments
    #[arg(value_name = "NEXT", trailing_var_arg = true)]
    pub next: Vec<OsString>,
}

/// Where a document comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An inherited descriptor, to be read from its start without moving its offset, since others read it too.
    Fd(i32),
    /// A file.
    File(OsString),
}

impl Source {
    /// What `--doc` was given: a descriptor if it is a number, else a file.
    pub fn of(doc: &OsString) -> Self {
        let number = doc.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        number.and_then(|text| text.parse().ok()).map_or_else(|| Self::File(doc.clone()), Self::Fd)
    }

    /// Reads the one document of a file; `read_fd` gives the content of a descriptor (`wb_sys::fd::inherited` and
    /// `read_all`), of at most [`MAX_DOCUMENT_BYTES`].
    pub fn read(&self, read_fd: impl FnOnce(i32) -> Result<Vec<u8>, Error>) -> Result<Document, Error> {
        let bytes = match self {
            Self::Fd(number) => read_fd(*number)?,
            Self::File(path) => {
                let name = || format!("--doc {}", path.to_string_lossy());
                let mut bytes = Vec::new();
                let limit = MAX_DOCUMENT_BYTES as u64 + 1;
                File::open(path).context(name)?.take(limit).read_to_end(&mut bytes).context(name)?;
                bytes
            }
        };
        Document::parse(&bytes)
    }
}

impl ChainArgs {
    /// Where the document comes from, if `--doc` was given.
    pub fn source(&self) -> Option<Source> {
        self.doc.as_ref().map(Source::of)
    }
}

/// One line on the status pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Report {
    /// The container's first process exists. It may still fail before it becomes the user's program.
    #[serde(rename_all = "camelCase")]
    Started {
        /// Its pid in the pid namespace of the one who reads.
        pid: i32,
        /// Its start time in clock ticks after boot (proc(5), `/proc/PID/stat`, field 22).
        start_time: u64,
    },
    /// The container is complete, and waits to be started before the user's program is executed.
    Ready {
        /// Always true.
        ready: bool,
    },
    /// A program of the chain failed; the user's program was not executed.
    Failed {
        /// Which one, and why.
        error: Failure,
    },
}

impl Report {
    /// The report of a failure.
    pub fn failed(tool: &str, verb: &str, error: &Error) -> Self {
        Self::Failed { error: Failure::new(tool, verb, error) }
    }

    /// Reads one line.
    pub fn parse(line: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(line).context(|| "status line")
    }

    /// The line, with its newline: short enough that one write(2) to a pipe keeps it whole.
    pub fn to_line(&self) -> Vec<u8> {
        // Serialising plain data to memory cannot fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Ends a program of a chain that failed: one report on `status` if there is one, else one line on standard error.
///
/// Gives the exit status the failure asks for.
pub fn fail(tool: &str, verb: &str, status: Option<impl Write>, error: &Error) -> ExitCode {
    match status {
        Some(mut status) => {
            if status.write_all(&Report::failed(tool, verb, error).to_line()).is_err() {
                // Whoever started the chain is gone: the failure goes where a person may still see it.
                filter::report(tool, verb, error);
            }
            ExitCode::from(error.exit_code())
        }
        None => ExitCode::from(filter::report(tool, verb, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        chain: ChainArgs,
    }

    #[test]
    fn everything_after_the_next_program_is_its_own() {
        let tool = Tool::try_parse_from(["t", "--doc", "3", "--", "next", "--doc", "3", "--", "x"]).unwrap();
        assert_eq!(tool.chain.next, ["next", "--doc", "3", "--", "x"]);
        assert_eq!(tool.chain.source(), Some(Source::Fd(3)));
        let tool = Tool::try_parse_from(["t", "next", "-x"]).unwrap();
        assert_eq!(tool.chain.next, ["next", "-x"]);
        assert!(Tool::try_parse_from(["t", "--unknown"]).is_err());
    }

    #[test]
    fn reports_are_lines_of_json() {
        let started = Report::Started { pid: 12, start_time: 4711 };
        assert_eq!(started.to_line(), b"{\"pid\":12,\"startTime\":4711}\n");
        assert_eq!(Report::parse(&started.to_line()).unwrap(), started);
        let failed = Report::failed("wb-confine", "", &Error::new("x").code(127));
        assert_eq!(Report::parse(&failed.to_line()).unwrap(), failed);
    }

    #[test]
    fn a_failure_goes_to_the_status_pipe() {
        let mut status = Vec::new();
        fail("wb-confine", "", Some(&mut status), &Error::new("no").code(126));
        let Report::Failed { error } = Report::parse(&status).unwrap() else { panic!("not a failure") };
        assert_eq!((error.tool.as_str(), error.code), ("wb-confine", 126));
    }
}
