//! The clean-up: a pipeline of filters, started once when the container has ended, with its document as the input.
//! The monitor starts the programs itself: no shell and no reader of the record have to be there for it.

use super::{birth, stdio};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::io::Seek;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use wb_doc::{Context, Document, Error};
use wb_sys::{child, memfd, pipe};

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

    /// Starts all stages: the first reads `input`, the last writes to nobody. Gives their processes, and what could not
    /// be started: the next stage has an empty input then, and those that run go on.
    pub fn start(
        &self,
        input: BorrowedFd<'_>,
        stderr: BorrowedFd<'_>,
    ) -> Result<(Vec<Pid>, Vec<Error>), Error> {
        let mut begun = self.begin(stderr)?;
        begun.first(self, input, stderr);
        Ok((begun.running, begun.failures))
    }

    /// Starts the stages behind the first, the last one first: each makes itself ready, and waits for its input, while
    /// those before it start.
    fn begin(&self, stderr: BorrowedFd<'_>) -> Result<Begun, Error> {
        let null = stdio::null().context(|| "/dev/null")?;
        let mut begun = Begun { running: Vec::new(), failures: Vec::new(), output: null };
        for stage in self.0.iter().skip(1).rev() {
            let (reader, writer) = pipe::pipe().context(|| "pipe")?;
            begun.stage(stage, reader.as_fd(), stderr);
            begun.output = writer;
        }
        Ok(begun)
    }
}

/// A pipeline that has begun at its end.
#[derive(Debug)]
struct Begun {
    /// Its processes, the last stage's first.
    running: Vec<Pid>,
    failures: Vec<Error>,
    /// Where the stage before those that run writes to.
    output: OwnedFd,
}

impl Begun {
    /// Starts the first stage, and so the work.
    fn first(&mut self, pipeline: &Pipeline, input: BorrowedFd<'_>, stderr: BorrowedFd<'_>) {
        if let Some(stage) = pipeline.0.first() {
            self.stage(stage, input, stderr);
        }
    }

    /// Starts a stage, with nothing of our environment but `PATH`, `NO_COLOR` and what concerns whalebox.
    fn stage(&mut self, stage: &[OsString], input: BorrowedFd<'_>, stderr: BorrowedFd<'_>) {
        let environment = environment(std::env::vars_os());
        let streams = [input, self.output.as_fd(), stderr];
        match child::spawn_with(None, stage, &environment, &streams, "a stage of the pipeline") {
            Ok(pid) => self.running.push(pid),
            Err(errno) => self.failures.push(Error::errno(stage[0].to_string_lossy().into_owned(), errno)),
        }
    }
}

/// The clean-up while it runs.
#[derive(Debug)]
pub struct Finish {
    /// The processes that have not ended; the last stage speaks for all.
    running: Vec<Pid>,
    last: Option<Pid>,
    /// What is needed for the first stage, as long as that waits for the document.
    rest: Option<(Pipeline, Begun, OwnedFd)>,
    code: u8,
    complaints: Option<OwnedFd>,
    note: Vec<u8>,
}

impl Finish {
    /// Starts what of the pipeline needs no document yet. Without [`Finish::start`] it ends by itself.
    pub fn begin(pipeline: Pipeline) -> Result<Self, Error> {
        let what = || "clean-up";
        let (complaints, stderr) = pipe::pipe().context(what)?;
        pipe::set_nonblocking(&complaints, true).context(what)?;
        let begun = pipeline.begin(stderr.as_fd())?;
        let last = begun.running.first().copied();
        let running = begun.running.clone();
        let rest = Some((pipeline, begun, stderr));
        Ok(Self { last, running, rest, code: 0, complaints: Some(complaints), note: Vec::new() })
    }

    /// Starts the pipeline's first stage, on `document`.
    pub fn start(&mut self, document: &Document) -> Result<(), Error> {
        let Some((pipeline, mut begun, stderr)) = self.rest.take() else { return Ok(()) };
        let what = || "clean-up";
        let mut input = std::fs::File::from(memfd::sealed("wb-document", &document.to_line()).context(what)?);
        input.rewind().context(what)?;
        begun.first(&pipeline, input.as_fd(), stderr.as_fd());
        self.last = begun.running.first().copied();
        self.running = begun.running;
        if let Some(error) = begun.failures.first() {
            self.code = 125;
            self.note = format!("{error}\n").into_bytes();
        }
        Ok(())
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

fn environment(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<OsString> {
    let ours =
        |name: &OsStr| name == "PATH" || name == "NO_COLOR" || name.as_encoded_bytes().starts_with(b"WB_");
    all.filter(|(name, _)| ours(name)).map(birth::variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_environment_is_handed_on() {
        let all = [("PATH", "/bin"), ("LD_PRELOAD", "x"), ("WB_ROOT", "/a=b"), ("HOME", "/")];
        let kept = environment(all.into_iter().map(|(name, value)| (name.into(), value.into())));
        assert_eq!(kept, ["PATH=/bin", "WB_ROOT=/a=b"]);
    }

    #[test]
    fn a_pipeline_is_words_between_blanks_and_bars() {
        let parsed = Pipeline::parse(OsStr::new(" a  del| b-c\tx |d\n")).unwrap();
        let words = |stage: &[&str]| stage.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(parsed, Pipeline(vec![words(&["a", "del"]), words(&["b-c", "x"]), words(&["d"])]));
        assert!(Pipeline::parse(OsStr::new("a || b")).is_err());
        assert!(Pipeline::parse(OsStr::new("")).is_err());
    }
}
