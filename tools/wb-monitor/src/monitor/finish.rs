//! The clean-up program: run once when the container has ended, with the container's id as its argument.

use super::birth;
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use wb_doc::{Context, Error};
use wb_sys::{child, pipe};

/// How much of what it says on standard error is kept.
const MAX_NOTE_BYTES: usize = 1024;

/// The clean-up program while it runs.
#[derive(Debug)]
pub struct Finish {
    /// Its process.
    pub pid: Pid,
    complaints: Option<OwnedFd>,
    note: Vec<u8>,
}

impl Finish {
    /// Starts `command ID` with nothing of our environment but `PATH` and what concerns whalebox.
    pub fn start(command: &OsStr, id: &str) -> Result<Self, Error> {
        let (complaints, writer) = pipe::pipe().context(|| "finish")?;
        let argv = [command.to_owned(), OsString::from(id)];
        let pid = child::fork("the clean-up", || {
            let ready = birth::leave_streams(true).is_ok() && child::place(&writer, 2).is_ok();
            if ready {
                let environment: Vec<OsString> = environment(std::env::vars_os());
                child::exec_with(&argv, &environment, "the clean-up program");
            }
            127
        })
        .context(|| "finish")?;
        pipe::set_nonblocking(&complaints, true).context(|| "finish")?;
        Ok(Self { pid, complaints: Some(complaints), note: Vec::new() })
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
                    let room = MAX_NOTE_BYTES - self.note.len();
                    self.note.extend_from_slice(&chunk[..count.min(room)]);
                }
                Err(nix::errno::Errno::EAGAIN) => return,
                _ => self.complaints = None,
            }
        }
    }

    /// The first line it said, for a person, if it failed with `code`.
    pub fn note(&mut self, code: u8) -> String {
        self.listen();
        if code == 0 {
            return String::new();
        }
        let text = String::from_utf8_lossy(&self.note);
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() { format!("the clean-up failed with status {code}") } else { line.to_owned() }
    }
}

fn environment(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<OsString> {
    let ours = |name: &OsStr| name == "PATH" || name.as_encoded_bytes().starts_with(b"WB_");
    all.filter(|(name, _)| ours(name))
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        })
        .collect()
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
}
