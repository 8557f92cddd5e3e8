//! One error type: what failed, on which object, why, and where it helps, what to do.

use nix::errno::Errno;
use std::fmt::{self, Display, Write as _};

/// Exit status of a job that failed.
pub const FAILED: u8 = 1;
/// Exit status of a command line or document that makes no sense.
pub const USAGE: u8 = 2;

/// Whether `wb` has started this tool: then the exit status is what a person expects of docker, not the tool's own.
pub(crate) fn is_behind_wb() -> bool {
    std::env::var_os("WB_FLOWS").is_some()
}

/// A failure with everything a person needs to know, made where the call was made.
///
/// Shown as `object: cause (ERRNO)` in one line; control bytes are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
    errno: Option<Errno>,
    code: u8,
    hint: Option<String>,
}

impl Error {
    /// A failure without an errno; exit status 1.
    pub fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), errno: None, code: FAILED, hint: None }
    }

    /// A command line or input that makes no sense; exit status 2, behind a command of `wb` 1 as with docker.
    pub fn usage(message: impl Display) -> Self {
        Self::new(message).code(if is_behind_wb() { FAILED } else { USAGE })
    }

    /// A failed system call on `object`.
    pub fn errno(object: impl Display, errno: Errno) -> Self {
        Self { errno: Some(errno), ..Self::new(object) }
    }

    /// Sets the exit status: 125 the tool itself, 126 not executable, 127 not found (docker's rules).
    #[must_use]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// A second line, for a cause whose errno misleads.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Puts the step in front: `step: message`.
    #[must_use]
    pub fn within(mut self, step: impl Display) -> Self {
        self.message = format!("{step}: {}", self.message);
        self
    }

    /// The exit status this failure asks for.
    pub fn exit_code(&self) -> u8 {
        self.code
    }

    /// The system call's errno, if one failed.
    pub fn raw_errno(&self) -> Option<Errno> {
        self.errno
    }

    /// The advice, if there is any.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.message))?;
        if let Some(errno) = self.errno {
            write!(f, ": {} ({errno:?})", errno.desc())?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Names the object a call failed on.
pub trait Context<T> {
    /// Turns the cause into an [`Error`] about `object`.
    fn context<D: Display>(self, object: impl FnOnce() -> D) -> Result<T, Error>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn context<D: Display>(self, object: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|errno| Error::errno(object(), errno))
    }
}

impl<T> Context<T> for Result<T, std::io::Error> {
    fn context<D: Display>(self, object: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|cause| match cause.raw_os_error() {
            Some(number) => Error::errno(object(), Errno::from_raw(number)),
            None => Error::new(format!("{}: {cause}", object())),
        })
    }
}

impl<T> Context<T> for Result<T, serde_json::Error> {
    fn context<D: Display>(self, object: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|cause| Error::new(format!("{}: {cause}", object())))
    }
}

impl<T> Context<T> for Result<T, Error> {
    fn context<D: Display>(self, object: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|cause| cause.within(object()))
    }
}

/// `text` with control characters written as escapes, so that a hostile name cannot drive a terminal.
pub fn escape(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len() + 8), |mut out, c| {
        if c.is_control() {
            // Writing to a String cannot fail.
            write!(out, "{}", c.escape_default()).ok();
        } else {
            out.push(c);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_object_cause_and_errno() {
        let error = Error::errno("overlay on /run/wb/3f2a/merged", Errno::ENOENT);
        assert_eq!(error.to_string(), "overlay on /run/wb/3f2a/merged: No such file or directory (ENOENT)");
    }

    #[test]
    fn escapes_control_bytes() {
        assert_eq!(escape("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(escape("grün"), "grün");
    }
}
