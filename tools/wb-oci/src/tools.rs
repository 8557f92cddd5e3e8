//! The other tools: they lie beside this one, wherever an engine found it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wb_doc::{Context, Document, Error, MAX_DOCUMENT_BYTES};
use wb_sys::{child, memfd};

/// The directory of this program.
pub fn directory() -> PathBuf {
    let own = std::fs::read_link("/proc/self/exe").ok();
    own.as_deref().and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
}

/// The file of a tool.
pub fn path(tool: &str) -> OsString {
    directory().join(tool).into_os_string()
}

/// Runs a tool that takes a document in and gives it back changed.
pub fn filter(words: &[&str], document: &Document) -> Result<Document, Error> {
    let (output, status) = run(words, document)?;
    let document = Document::parse(&output).map_err(|error| match status {
        0 => error.within(words[0]),
        _ => Error::new(format!("{} failed with status {status}", words[0])),
    })?;
    match document.failure() {
        Some(failure) => Err(crate::chain::told(failure)),
        None => Ok(document),
    }
}

/// Runs a tool that reads a document and prints lines.
pub fn lines(words: &[&str], document: &Document) -> Result<String, Error> {
    match run(words, document)? {
        (output, 0) => Ok(String::from_utf8_lossy(&output).into_owned()),
        (_, status) => Err(Error::new(format!("{} failed with status {status}", words[0]))),
    }
}

/// Runs a tool on a document; its output and exit status. What it says about a failure is in the document it gives.
fn run(words: &[&str], document: &Document) -> Result<(Vec<u8>, i32), Error> {
    let input = memfd::sealed("document", &document.to_line()).context(|| "the document for a tool")?;
    let mut command = command(words, input);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child::spawn(&mut command, "one of our tools").context(|| words[0])?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_DOCUMENT_BYTES as u64 + 1).read_to_end(&mut output).context(|| words[0])?;
    }
    let status = child.wait().context(|| words[0])?;
    Ok((output, status.code().unwrap_or(1)))
}

/// A tool with a document as its standard input, which it opens anew: the descriptor stands at its end.
fn command(words: &[&str], document: OwnedFd) -> Command {
    let mut command = Command::new(path(words[0]));
    command.args(&words[1..]).args(["--doc", "0"]).stdin(File::from(document));
    command
}
