//! The chain of tools that becomes the container's process, and what it says on its status pipe.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use wb_doc::chain::Report;
use wb_doc::{Context, Document, Error, Failure};
use wb_sys::{Errno, child, fd, memfd, pipe, process};

/// A report is a line; more than this is no report.
const MAX_STATUS_BYTES: usize = 64 << 10;

/// What the status pipe says.
#[derive(Debug)]
pub enum News {
    /// The first process exists: its pid and start time.
    Started(i32, u64),
    /// It is complete, and waits to be started.
    Ready,
    /// A tool failed.
    Failed(Error),
    /// The pipe has ended: the user's program runs, or a tool has failed before.
    Ended,
}

/// The reading end of a status pipe.
#[derive(Debug)]
pub struct Status {
    reader: OwnedFd,
    heard: Vec<u8>,
}

impl Status {
    /// A pipe, and the end for the chain.
    pub fn pipe() -> Result<(Self, OwnedFd), Error> {
        let (reader, writer) = pipe::pipe().context(|| "status pipe")?;
        Ok((Self { reader, heard: Vec::new() }, writer))
    }

    /// A pipe with a name, which whoever starts the container can read later, and the end for the chain.
    pub fn fifo(path: &Path) -> Result<(Self, OwnedFd), Error> {
        make_fifo(path)?;
        let status = Self::open(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let writer = nix::fcntl::open(path, flags, Mode::empty()).context(|| path.display().to_string())?;
        Ok((status, writer))
    }

    /// The reading end of a pipe with a name.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = || path.display().to_string();
        // Opening would wait for a writer, reading is to wait for what is written.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let reader = nix::fcntl::open(path, flags, Mode::empty()).context(name)?;
        pipe::set_nonblocking(&reader, false).context(name)?;
        Ok(Self { reader, heard: Vec::new() })
    }

    /// The next report; waits for it.
    pub fn hear(&mut self) -> Result<News, Error> {
        loop {
            if let Some(at) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=at).collect();
                return Ok(match Report::parse(&line)? {
                    Report::Started { pid, start_time } => News::Started(pid, start_time),
                    Report::Ready { .. } => News::Ready,
                    Report::Failed { error } => News::Failed(told(error)),
                });
            }
            let mut chunk = [0; 4096];
            match pipe::read(&self.reader, &mut chunk) {
                Ok(0) => return Ok(News::Ended),
                Ok(count) if self.heard.len() < MAX_STATUS_BYTES => {
                    self.heard.extend_from_slice(&chunk[..count]);
                }
                Ok(_) => return Err(Error::new("status pipe: a line without an end")),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::errno("status pipe", errno)),
            }
        }
    }
}

/// A tool's failure as ours, with the exit status it asks for.
pub fn told(failure: Failure) -> Error {
    let Failure { tool, verb, message, code, .. } = failure;
    let step = if verb.is_empty() { tool } else { format!("{tool}: {verb}") };
    // Only what the program itself has to do with is told apart: 126, 127.
    let code = if code >= 126 { code } else { 1 };
    // docker knows what could not be executed by these words, in small letters.
    let message = message.replace("Permission denied (EACCES)", "permission denied (EACCES)");
    Error::new(message).code(code).within(step)
}

/// Makes a pipe with a name.
pub fn make_fifo(path: &Path) -> Result<(), Error> {
    nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).context(|| format!("fifo {}", path.display()))
}

/// The numbers of the descriptors that travel along the chain: after those of the user's program.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    first: i32,
}

impl Numbers {
    /// Those after standard error and `preserve` more.
    pub fn after(preserve: u32) -> Result<Self, Error> {
        let first = i32::try_from(preserve).ok().and_then(|count| count.checked_add(3));
        Ok(Self { first: first.ok_or_else(|| Error::new("--preserve-fds: too many"))? })
    }

    /// The document.
    pub fn document(self) -> i32 {
        self.first
    }

    /// The status pipe.
    pub fn status(self) -> i32 {
        self.first + 1
    }

    /// What a created container waits on.
    pub fn start(self) -> i32 {
        self.first + 2
    }

    /// The connection to whoever listens for `SCMP_ACT_NOTIFY`.
    pub fn listener(self) -> i32 {
        self.first + 3
    }
}

/// A program and the flags that every tool of a chain takes.
pub fn tool(words: &[&str], numbers: Numbers) -> Vec<OsString> {
    let mut tool = vec![crate::tools::path(words[0])];
    tool.extend(words[1..].iter().map(OsString::from));
    tool.extend(["--doc".into(), numbers.document().to_string().into()]);
    tool.extend(["--status-fd".into(), numbers.status().to_string().into()]);
    tool
}

/// Starts a chain: the document under its number, and the given descriptors under theirs.
pub fn start(
    words: &[OsString],
    document: &Document,
    numbers: Numbers,
    given: &[(BorrowedFd<'_>, i32)],
) -> Result<(), Error> {
    let sealed = memfd::sealed("document", &document.to_line()).context(|| "the document for the chain")?;
    let mut all = vec![(sealed.as_fd(), numbers.document())];
    all.extend_from_slice(given);
    let status = given.iter().find(|(_, number)| *number == numbers.status()).map(|(fd, _)| *fd);
    let highest = all.iter().map(|(_, number)| *number).max().unwrap_or(0);
    child::fork("the chain that becomes the container's process", || {
        let errno = match place_all(&all, highest) {
            Ok(()) => process::exec(words, "the first program of the chain"),
            Err(errno) => errno,
        };
        let name = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let report = Report::failed(crate::TOOL, "", &Error::errno(name, errno));
        if let Some(status) = status {
            let file = status.try_clone_to_owned().map(std::fs::File::from);
            // Nobody else is there to hear of it.
            file.and_then(|mut file| file.write_all(&report.to_line())).ok();
        }
        1
    })
    .context(|| "fork")
    .map(drop)
}

/// First all are moved out of the way, since one may stand where another has to go.
fn place_all(fds: &[(BorrowedFd<'_>, i32)], highest: i32) -> wb_sys::Result<()> {
    let mut moved = Vec::with_capacity(fds.len());
    for (one, number) in fds {
        let copy = fcntl(one.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(highest + 1))?;
        moved.push((fd::inherited(copy)?, *number));
    }
    moved.iter().try_for_each(|(fd, number)| child::place(fd, *number))
}

/// Descriptors that the caller says are there for the user's program; those of socket activation come first
/// (sd_listen_fds(3)).
pub fn preserved(asked: u32) -> Result<u32, Error> {
    let listening = std::env::var("LISTEN_FDS").ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let all = asked.checked_add(listening).filter(|all| *all <= 1 << 16);
    let all = all.ok_or_else(|| Error::new("--preserve-fds: too many"))?;
    for number in 3..3 + all {
        if !Path::new(&format!("/proc/self/fd/{number}")).exists() {
            return Err(Error::new(format!("--preserve-fds {asked}: descriptor {number} is not open")));
        }
    }
    Ok(all)
}
