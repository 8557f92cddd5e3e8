//! The chain that becomes the container: started with its streams, the document and a status pipe, and heard on that
//! pipe until it has become the user's program. The document is its descriptor 3, the status pipe 4.

use super::stdio;
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use wb_doc::chain::Report;
use wb_doc::{Context, Document, Error, Failure};
use wb_sys::{child, memfd, pipe, program};

/// A report is a line; more than this is no report.
const MAX_STATUS_BYTES: usize = 64 << 10;

/// A chain on its way.
#[derive(Debug)]
pub struct Birth {
    status: OwnedFd,
    heard: Vec<u8>,
    failure: Option<Failure>,
}

/// What the status pipe said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The container's first process exists: its pid and start time.
    Started(i32, u64),
    /// The pipe has ended: the user's program runs, or the chain failed.
    Ended(Option<Failure>),
}

impl Birth {
    /// Starts the chain; `theirs` become its descriptors 0, 1 and 2.
    pub fn start(chain: &[OsString], document: &Document, theirs: &[OwnedFd; 3]) -> Result<Self, Error> {
        let document = memfd::sealed("wb-document", &document.to_line()).context(|| "document")?;
        let (status, writer) = pipe::pipe().context(|| "status pipe")?;
        let fds = [&theirs[0], &theirs[1], &theirs[2], &document, &writer].map(OwnedFd::as_fd);
        let environment = environment(std::env::vars_os());
        let opened = open_first(chain);
        let path = opened.as_ref().map(|fd| OsString::from(format!("/proc/self/fd/{}", fd.as_raw_fd())));
        let why = "the chain that becomes the container";
        let started = child::spawn_with(path.as_deref(), chain, &environment, &fds, why);
        let mut birth = Self { status, heard: Vec::new(), failure: None };
        if let Err(errno) = started {
            // Heard as if the chain had said so itself: what was made for the container is then given back.
            let name = chain.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
            birth.fail(&Error::errno(name, errno));
        }
        pipe::set_nonblocking(&birth.status, true).context(|| "status pipe")?;
        Ok(birth)
    }

    /// Reads the status pipe; `None` where nothing complete has come.
    pub fn hear(&mut self) -> Option<News> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.heard) {
                let line: Vec<u8> = self.heard.drain(..=at).collect();
                match Report::parse(&line) {
                    Ok(Report::Started { pid, start_time }) => return Some(News::Started(pid, start_time)),
                    // Of a chain that waits in between; this one does not.
                    Ok(Report::Ready { .. }) => {}
                    // The first failure is the cause.
                    Ok(Report::Failed { mut error }) => {
                        // Docker's rule: what failed before the command is 125, but for 126 and 127 of the command.
                        error.code = error.code.max(125);
                        self.failure.get_or_insert(error);
                    }
                    Err(error) => self.fail(&error),
                }
                continue;
            }
            let mut chunk = [0; 4096];
            match pipe::read(&self.status, &mut chunk) {
                Ok(0) => return Some(News::Ended(self.failure.take())),
                Ok(_) if self.heard.len() > MAX_STATUS_BYTES => {
                    self.heard.clear();
                    self.fail(&Error::new("a status line without an end"));
                }
                Ok(count) => self.heard.extend_from_slice(&chunk[..count]),
                Err(Errno::EAGAIN) => return None,
                Err(errno) => {
                    self.fail(&Error::errno("status pipe", errno));
                    return Some(News::Ended(self.failure.take()));
                }
            }
        }
    }

    fn fail(&mut self, error: &Error) {
        self.failure.get_or_insert(Failure::new("wb-monitor", "run", &error.clone().code(125)));
    }
}

/// The first program of the chain as a descriptor, where that is called for: wb-nsenter wants to be where nobody in the
/// container can write to its file, and executes itself once more if it is not. Without the privilege to start it from
/// there it sees to it by itself.
fn open_first(chain: &[OsString]) -> Option<OwnedFd> {
    let first = chain.first().filter(|word| Path::new(word).file_name() == Some("wb-nsenter".as_ref()))?;
    program::find(first).and_then(|path| program::open_detached(&path)).ok()
}

/// A failure of the chain as a person reads it.
pub fn message(failure: &Failure) -> String {
    let verb = if failure.verb.is_empty() { String::new() } else { format!("{}: ", failure.verb) };
    format!("{}: {verb}{}", failure.tool, failure.message)
}

impl AsFd for Birth {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.status.as_fd()
    }
}

/// Of our environment, what our tools need: `PATH`, `NO_COLOR` and what concerns whalebox, but for the flow's claim,
/// which we have taken over. An init in the container keeps it (`/proc/1/environ`), so nothing of the user's is in it.
pub fn environment(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<OsString> {
    let ours = |name: &OsStr| {
        let named = name == "PATH" || name == "NO_COLOR" || name.as_encoded_bytes().starts_with(b"WB_");
        named && name != wb_store::record::CLAIM
    };
    let assigned = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        name
    };
    all.filter(|(name, _)| ours(name)).map(assigned).collect()
}

/// Gives up this process's own standard streams: nobody shall wait for the end of a pipe because of the monitor.
pub fn leave_streams() -> Result<(), Error> {
    let null = stdio::null().context(|| "/dev/null")?;
    for number in 0..3 {
        child::place(&null, number).context(|| "standard streams")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_environment_is_handed_on() {
        let all =
            [("PATH", "/bin"), ("LD_PRELOAD", "x"), ("WB_ROOT", "/a=b"), ("WB_CLAIM", "7"), ("HOME", "/")];
        let kept = environment(all.into_iter().map(|(name, value)| (name.into(), value.into())));
        assert_eq!(kept, ["PATH=/bin", "WB_ROOT=/a=b"]);
    }
}
