//! The clean-up: a pipeline of filters, started once when the container has ended, with its document as the input.
//! The monitor starts the programs itself: no shell and no reader of the record have to be there for it.

use super::{birth, stdio};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use wb_doc::{Context, Document, Error};
use wb_sys::{child, pipe, process};

/// How much of what it says on standard error is kept.
const MAX_NOTE_BYTES: usize = 1024;

/// What is run: programs with their arguments, each reading what the one before it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline(Vec<Vec<OsString>>);

impl Pipeline {
    /// Reads `PROGRAM ARG... | PROGRAM ARG...`: words between blanks, with no quoting of any kind.
    pub fn parse(text: &OsStr) -> Result<Self, Error> {
        let stages: Vec<Vec<OsString>> = text
            .as_bytes()
            .split(|&byte| byte == b'|')
            .map(|stage| {
                let words = stage.split(u8::is_ascii_whitespace);
                words.filter(|word| !word.is_empty()).map(|word| OsStr::from_bytes(word).to_owned()).collect()
            })
            .collect();
        if stages.iter().any(Vec::is_empty) {
            return Err(Error::usage(format!("{:?}: a stage without a program", text.to_string_lossy())));
        }
        Ok(Self(stages))
    }

    /// Starts all stages, with what they need of our environment; the last writes to nobody. It begins with the last:
    /// each makes itself ready, and waits for its input, while those before it start.
    ///
    /// What could not be started is among the failures: the next stage has an empty input then, and those that run go on.
    pub fn start(&self, stderr: BorrowedFd<'_>) -> Result<Started, Error> {
        let environment = birth::environment(std::env::vars_os());
        let mut output = stdio::null().context(|| "/dev/null")?;
        let (mut running, mut failures) = (Vec::new(), Vec::new());
        for stage in self.0.iter().rev() {
            let (reader, writer) = pipe::pipe().context(|| "pipe")?;
            let streams = [reader.as_fd(), output.as_fd(), stderr];
            match child::spawn_with(None, stage, &environment, &streams, "a stage of the pipeline") {
                Ok(pid) => running.push(pid),
                Err(errno) => failures.push(Error::errno(stage[0].to_string_lossy().into_owned(), errno)),
            }
            output = writer;
        }
        Ok(Started { running, failures, input: output })
    }
}

/// A pipeline that runs.
#[derive(Debug)]
pub struct Started {
    /// Its processes, the last stage's first.
    pub running: Vec<Pid>,
    /// What of it could not be started.
    pub failures: Vec<Error>,
    /// Where its documents are written to.
    pub input: OwnedFd,
}

/// The clean-up while it runs.
#[derive(Debug)]
pub struct Finish {
    /// The processes that have not ended; the last stage speaks for all.
    running: Vec<Pid>,
    last: Option<Pid>,
    /// Where the document goes, until it has.
    input: Option<OwnedFd>,
    code: u8,
    complaints: Option<OwnedFd>,
    note: Vec<u8>,
}

impl Finish {
    /// Starts the pipeline, which then waits for the document.
    pub fn begin(pipeline: &Pipeline) -> Result<Self, Error> {
        let (complaints, stderr) = pipe::pipe().context(|| "clean-up")?;
        pipe::set_nonblocking(&complaints, true).context(|| "clean-up")?;
        let Started { running, failures, input } = pipeline.start(stderr.as_fd())?;
        Ok(Self {
            last: running.first().copied(),
            running,
            input: Some(input),
            code: if failures.is_empty() { 0 } else { 125 },
            complaints: Some(complaints),
            note: failures.first().map(|error| format!("{error}\n").into_bytes()).unwrap_or_default(),
        })
    }

    /// Runs the pipeline to its end, for a container that has no monitor.
    pub fn run(pipeline: &Pipeline, document: &Document) -> Result<(), Error> {
        let mut finish = Self::begin(pipeline)?;
        finish.start(document)?;
        finish.running.iter().try_for_each(|&pid| process::wait(pid).map(drop)).context(|| "clean-up")
    }

    /// It gets no document: it ends.
    pub fn give_up(&mut self) {
        self.input = None;
    }

    /// Gives it the document. A large one may have to wait until the first stage reads, which is all that does.
    pub fn start(&mut self, document: &Document) -> Result<(), Error> {
        let Some(input) = self.input.take() else { return Ok(()) };
        let line = document.to_line();
        pipe::set_capacity(&input, i32::try_from(line.len()).unwrap_or(i32::MAX)).ok();
        std::fs::File::from(input).write_all(&line).context(|| "clean-up")
    }

    /// Whether `pid` was one of its processes, which has ended with `code`.
    pub fn reaped(&mut self, pid: Pid, code: u8) -> bool {
        let Some(at) = self.running.iter().position(|&running| running == pid) else { return false };
        self.running.swap_remove(at);
        if self.last == Some(pid) && self.code == 0 {
            self.code = code;
        }
        true
    }

    /// Whether all of it has ended.
    pub fn is_over(&self) -> bool {
        self.running.is_empty()
    }

    /// The descriptor of its standard error, until that ends.
    pub fn complaints(&self) -> Option<BorrowedFd<'_>> {
        self.complaints.as_ref().map(OwnedFd::as_fd)
    }

    /// Reads its standard error; what is too much is read and forgotten, so that it never waits for us.
    pub fn listen(&mut self) {
        let mut chunk = [0; 1024];
        while let Some(fd) = &self.complaints {
            match pipe::read(fd, &mut chunk) {
                Ok(count) if count > 0 => {
                    let room = MAX_NOTE_BYTES.saturating_sub(self.note.len());
                    self.note.extend_from_slice(&chunk[..count.min(room)]);
                }
                Err(nix::errno::Errno::EAGAIN) => return,
                _ => self.complaints = None,
            }
        }
    }

    /// The first line it said, for a person, if it failed.
    pub fn note(&mut self) -> String {
        self.listen();
        if self.code == 0 {
            return String::new();
        }
        let text = String::from_utf8_lossy(&self.note);
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            format!("the clean-up failed with status {}", self.code)
        } else {
            line.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_words_between_blanks_and_bars() {
        let parsed = Pipeline::parse(OsStr::new(" a  del| b-c\tx |d\n")).unwrap();
        let words = |stage: &[&str]| stage.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(parsed, Pipeline(vec![words(&["a", "del"]), words(&["b-c", "x"]), words(&["d"])]));
        assert!(Pipeline::parse(OsStr::new("a || b")).is_err());
        assert!(Pipeline::parse(OsStr::new("")).is_err());
    }
}
