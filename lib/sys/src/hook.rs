//! A program run to its end on behalf of somebody else: text on its standard input, and so much time.

use crate::poll::{self, Set};
use crate::{Errno, Result, process};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Hook<'a> {
    /// The file, not looked up.
    pub path: &'a Path,
    /// Its arguments with its own name first; empty: the path alone.
    pub args: &'a [String],
    /// Its whole environment, `NAME=value` each.
    pub env: &'a [String],
    /// Its standard input.
    pub input: &'a [u8],
    /// After this it is killed.
    pub timeout: Option<Duration>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status as a shell reports it.
    Status(u8),
    /// Killed, since its time was over.
    TimedOut,
}

/// Runs a program and waits for its end. Its standard output and error are the caller's standard error.
pub fn run(hook: Hook<'_>) -> Result<End> {
    let raw = |error: &std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let (name, args) =
        hook.args.split_first().map_or((None, [].as_slice()), |(name, rest)| (Some(name), rest));
    let mut command = Command::new(hook.path);
    if let Some(name) = name {
        command.arg0(name);
    }
    let pairs = hook.env.iter().filter_map(|pair| pair.split_once('='));
    command.args(args).env_clear().envs(pairs).stdin(Stdio::piped()).stdout(std::io::stderr());
    let mut child = crate::child::spawn(&mut command, "a hook").map_err(|error| raw(&error))?;
    let deadline = hook.timeout.map(|timeout| Instant::now() + timeout);
    let handle = process::pidfd_open(i32::try_from(child.id()).map_err(|_| Errno::ESRCH)?)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read what it is told.
        stdin.write_all(hook.input).ok();
    }
    let mut set = Set::default();
    loop {
        set.clear();
        set.add(&handle, poll::IN, ());
        set.wait(deadline)?;
        if let Some(status) = child.try_wait().map_err(|error| raw(&error))? {
            return Ok(End::Status(code(status)));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let pid = i32::try_from(child.id()).map_err(|_| Errno::ESRCH)?;
            crate::child::kill(pid, nix::libc::SIGKILL, "its time is over")?;
            child.wait().map_err(|error| raw(&error))?;
            return Ok(End::TimedOut);
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Option<Duration>) -> Result<End> {
        let args = ["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let hook = Hook {
            path: Path::new("/bin/sh"),
            args: &args,
            env: &["A=b".to_owned()],
            input: b"text",
            timeout,
        };
        run(hook)
    }

    #[test]
    fn has_its_input_and_only_its_environment() {
        assert_eq!(shell("x=$(cat); test $x$A = textb && test -z \"$HOME\"", None), Ok(End::Status(0)));
        assert_eq!(shell("kill -9 $$", None), Ok(End::Status(137)));
    }

    #[test]
    fn is_killed_when_its_time_is_over() {
        let start = Instant::now();
        assert_eq!(shell("exec sleep 20", Some(Duration::from_millis(50))), Ok(End::TimedOut));
        assert!(start.elapsed() < Duration::from_secs(10));
        let nothing = Hook { path: Path::new("/nosuch"), args: &[], env: &[], input: b"", timeout: None };
        assert_eq!(run(nothing), Err(Errno::ENOENT));
    }
}
