//! The filter contract, kept once for every tool: documents in, the same documents out, failures passed down.

use crate::ExitCode;
use crate::document::Document;
use crate::error::{Context, Error};
use crate::stream::Documents;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};

/// Where the documents come from; the same two flags in every tool.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FilterArgs {
    /// Start from an empty document instead of reading one
    #[arg(short = 'n', long = "null-input", global = true)]
    pub null_input: bool,
    /// Read the document from this file, or from this file descriptor if it is a number
    #[arg(long = "doc", value_name = "FILE|FD", global = true)]
    pub doc: Option<OsString>,
}

impl From<OsString> for FilterArgs {
    /// As `--doc` with this value.
    fn from(doc: OsString) -> Self {
        Self { null_input: false, doc: Some(doc) }
    }
}

/// One verb of a tool, run over every document of the input.
#[derive(Debug, Clone, Copy)]
pub struct Filter {
    tool: &'static str,
    verb: &'static str,
    undoing: bool,
    instead: Instead,
}

/// What is printed instead of the document, for a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instead {
    Nothing,
    Ids,
    DoneIds,
    Names,
}

impl Filter {
    /// A verb that does something: it leaves a document that carries a failure alone.
    pub fn doing(tool: &'static str, verb: &'static str) -> Self {
        Self { tool, verb, undoing: false, instead: Instead::Nothing }
    }

    /// A verb that undoes: it acts on a failed document too, so that one failure does not keep the rest of a
    /// container on the machine. The first failure stays in the document.
    pub fn undoing(tool: &'static str, verb: &'static str) -> Self {
        Self { tool, verb, undoing: true, instead: Instead::Nothing }
    }

    /// Prints each document's id instead of the document, for a shell; nothing for one without an id.
    #[must_use]
    pub fn printing_ids(mut self, on: bool) -> Self {
        if on {
            self.instead = Instead::Ids;
        }
        self
    }

    /// Prints the ids of those for which everything worked instead of the documents.
    #[must_use]
    pub fn printing_done_ids(mut self, on: bool) -> Self {
        if on {
            self.instead = Instead::DoneIds;
        }
        self
    }

    /// Prints the names of those for which everything worked instead of the documents, as docker's commands do.
    #[must_use]
    pub fn printing_names(mut self, on: bool) -> Self {
        if on {
            self.instead = Instead::Names;
        }
        self
    }

    /// Runs `each` over every document and passes it on.
    ///
    /// A document that fails gets `wb.error`, keeps the changes made so far, and goes on down the pipe. The exit
    /// status is that of the first failed document, 0 if there was none, 141 (as by SIGPIPE) if nobody reads.
    pub fn run(
        self,
        args: &FilterArgs,
        mut each: impl FnMut(&mut Document) -> Result<(), Error>,
    ) -> ExitCode {
        let mut code = 0;
        let mut out = Output::stdout();
        let documents = match open(args) {
            Ok(documents) => documents,
            Err(error) => return emit(self.tool, self.verb, Err(error)),
        };
        for next in documents {
            let mut document = match next {
                Ok(document) => document,
                Err(error) => {
                    let mut failed = Document::default();
                    failed.fail(self.tool, self.verb, &error);
                    self.report(&error);
                    // A broken stream still tells the next stage that it broke.
                    out.write(&failed).ok();
                    return ExitCode::from(if code == 0 { error.exit_code() } else { code });
                }
            };
            let earlier = document.failure();
            if earlier.is_none() || self.undoing {
                let result = each(&mut document);
                // What failed before it had an id has made nothing that could be undone.
                let nothing = earlier.is_some() && document.at("/wb/id").is_none();
                if let Some(error) = result.err().filter(|_| !nothing) {
                    self.report(&error);
                    document.fail(self.tool, self.verb, &error);
                    if self.undoing {
                        // Whatever failed first: something is left, and the record of it must stay.
                        document.set("/wb/error/undo", true).ok();
                    }
                }
            }
            if let (0, Some(failure)) = (code, document.failure()) {
                code = failure.code.max(1);
            }
            let written = match self.instead {
                Instead::Nothing => out.write(&document),
                Instead::Names | Instead::DoneIds if document.failure().is_some() => Ok(()),
                Instead::Ids | Instead::DoneIds => out.write_word(document.id().ok()),
                Instead::Names => out.write_word(document.str_at("/wb/name").or(document.id().ok())),
            };
            if let Err(error) = written {
                if error.kind() == ErrorKind::BrokenPipe {
                    return ExitCode::from(141);
                }
                let failed: Result<(), _> = Err(error);
                if let Err(error) = failed.context(|| "writing the document") {
                    return ExitCode::from(self.report(&error));
                }
            }
        }
        ExitCode::from(code)
    }

    /// Prints a failure on standard error and returns its exit status.
    pub fn report(self, error: &Error) -> u8 {
        report(self.tool, self.verb, error)
    }
}

/// Writes the document a tool made from nothing, or its failure: once on standard error, and, unless a person
/// reads the output, down the pipe as a document that holds nothing else.
pub fn emit(tool: &str, verb: &str, made: Result<Document, Error>) -> ExitCode {
    let (document, code) = match made {
        Ok(document) => (document, 0),
        Err(error) => {
            let code = report(tool, verb, &error).max(1);
            if io::stdout().is_terminal() {
                return ExitCode::from(code);
            }
            let mut failed = Document::default();
            failed.fail(tool, verb, &error);
            (failed, code)
        }
    };
    match Output::stdout().write(&document) {
        Ok(()) => ExitCode::from(code),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => {
            let failed: Result<(), _> = Err(error);
            let code =
                failed.context(|| "writing the document").map_or_else(|e| report(tool, verb, &e), |()| 0);
            ExitCode::from(code)
        }
    }
}

/// Reads exactly one document, for a tool that is about to become another program.
pub fn read_one(args: &FilterArgs) -> Result<Document, Error> {
    let mut documents = open(args)?;
    let first = documents.next().ok_or_else(|| {
        Error::usage("no document on input").hint("pipe one in, name one with --doc, or start empty with -n")
    })??;
    match documents.next() {
        None => Ok(first),
        Some(_) => Err(Error::usage("more than one document where one was expected")),
    }
}

/// One line on standard error: `tool: verb: message`, and the hint on a second.
///
/// This is the one place that prints a message.
#[allow(clippy::print_stderr, reason = "the one place that prints messages")]
pub(crate) fn report(tool: &str, verb: &str, error: &Error) -> u8 {
    if verb.is_empty() {
        eprintln!("{tool}: {error}");
    } else {
        eprintln!("{tool}: {verb}: {error}");
    }
    if let Some(hint) = error.advice() {
        eprintln!("hint: {hint}");
    }
    error.exit_code()
}

/// A line on standard error about something that was done otherwise than a person may expect.
#[allow(clippy::print_stderr, reason = "the one place that prints messages")]
pub fn warn(tool: &str, message: &str) {
    eprintln!("{tool}: warning: {}", crate::escape(message));
}

/// The documents of the input, for a tool whose product is something else.
pub fn documents(args: &FilterArgs) -> Result<Box<dyn Iterator<Item = Result<Document, Error>>>, Error> {
    open(args)
}

fn open(args: &FilterArgs) -> Result<Box<dyn Iterator<Item = Result<Document, Error>>>, Error> {
    if let Some(source) = &args.doc {
        let path = match source.to_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit())) {
            Some(fd) => format!("/proc/self/fd/{fd}").into(),
            None => source.clone(),
        };
        let file = File::open(&path).context(|| format!("--doc {}", source.to_string_lossy()))?;
        return Ok(Box::new(Documents::new(file)));
    }
    let stdin = io::stdin();
    if args.null_input || stdin.is_terminal() {
        return Ok(Box::new(std::iter::once(Ok(Document::default()))));
    }
    Ok(Box::new(Documents::new(Box::new(stdin.lock()) as Box<dyn Read>)))
}

/// Standard output: compact in a pipe, indented on a terminal, each document flushed at once.
struct Output {
    pretty: bool,
    out: io::StdoutLock<'static>,
}

impl Output {
    fn stdout() -> Self {
        let stdout = io::stdout();
        Self { pretty: stdout.is_terminal(), out: stdout.lock() }
    }

    fn write_word(&mut self, word: Option<&str>) -> io::Result<()> {
        word.map_or(Ok(()), |word| writeln!(self.out, "{word}").and_then(|()| self.out.flush()))
    }

    fn write(&mut self, document: &Document) -> io::Result<()> {
        let mut bytes = if self.pretty { document.to_pretty() } else { document.to_line() };
        bytes.push(b'\n');
        self.out.write_all(&bytes)?;
        self.out.flush()
    }
}
