//! What a client and the monitor say to each other over `attach.sock`: whole messages of a few bytes
//! (`SOCK_SEQPACKET`), the first byte saying which.
//!
//! The streams themselves do not pass through the socket. The monitor answers an attachment with descriptors
//! (`SCM_RIGHTS`): a pipe for each output stream, and the container's own standard input (a pipe's end, or the master
//! of its pty). So bytes need no frames, travel at the speed of a pipe, and a terminal's size is set by its ioctl.

use wb_doc::Error;

/// The largest message.
pub const MAX_BYTES: usize = 4096;
const MAX_TEXT: usize = 2048;

/// Which streams a client wants, or gets descriptors for, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output; with a pty all output.
    pub stdout: bool,
    /// Standard error; never with a pty.
    pub stderr: bool,
}

/// From a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// I want these streams, and in any case to hear of the end.
    Attach(Streams),
    /// Send the container this signal.
    Signal(i32),
    /// My standard input has ended.
    StdinEnd,
    /// Nobody reads what I write any more, so the container shall not write it: `false` is standard output.
    Broken(bool),
    /// I leave, and the container goes on as it is.
    Detach,
    /// It is being stopped on purpose: do not start it again.
    Stop,
}

/// From the monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Descriptors for these streams come with this message.
    Attached {
        /// For which streams.
        streams: Streams,
        /// Whether there is a pty.
        tty: bool,
    },
    /// The user's program has been executed.
    Running,
    /// It has not, and the container has been cleaned up.
    Failed {
        /// The exit status.
        code: u8,
        /// Why.
        message: String,
    },
    /// It has ended and the container has been cleaned up. Output the client was too slow for comes as files, to be
    /// read from their present offset on.
    Exited {
        /// The exit status.
        code: u8,
        /// For which streams a file comes with this message.
        rest: Streams,
        /// What went wrong in cleaning up; empty if nothing.
        note: String,
    },
}

impl Streams {
    fn bits(self) -> u8 {
        u8::from(self.stdin) | u8::from(self.stdout) << 1 | u8::from(self.stderr) << 2
    }

    fn of(bits: u8) -> Self {
        Self { stdin: bits & 1 != 0, stdout: bits & 2 != 0, stderr: bits & 4 != 0 }
    }
}

impl Request {
    /// The message.
    pub fn encode(&self) -> [u8; 2] {
        match self {
            Self::Attach(streams) => [b'A', streams.bits()],
            Self::Signal(number) => [b'S', u8::try_from(*number).unwrap_or(0)],
            Self::StdinEnd => [b'E', 0],
            Self::Broken(stderr) => [b'B', u8::from(*stderr)],
            Self::Detach => [b'D', 0],
            Self::Stop => [b'T', 0],
        }
    }

    /// Reads a message; `None` where it is none of these.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [b'A', bits] => Some(Self::Attach(Streams::of(bits))),
            [b'S', number] if (1..=64).contains(&number) => Some(Self::Signal(i32::from(number))),
            [b'E', _] => Some(Self::StdinEnd),
            [b'B', stderr] => Some(Self::Broken(stderr != 0)),
            [b'D', _] => Some(Self::Detach),
            [b'T', _] => Some(Self::Stop),
            _ => None,
        }
    }
}

impl Answer {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        // A character cut in two is replaced where it is read.
        let text = |text: &str| text.as_bytes()[..text.len().min(MAX_TEXT)].to_vec();
        match self {
            Self::Attached { streams, tty } => vec![b'H', streams.bits(), u8::from(*tty)],
            Self::Running => vec![b'R'],
            Self::Failed { code, message } => [vec![b'F', *code], text(message)].concat(),
            Self::Exited { code, rest, note } => [vec![b'X', *code, rest.bits()], text(note)].concat(),
        }
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match bytes {
            [b'H', bits, tty] => Ok(Self::Attached { streams: Streams::of(*bits), tty: *tty != 0 }),
            [b'R'] => Ok(Self::Running),
            [b'F', code, message @ ..] => Ok(Self::Failed { code: *code, message: text(message) }),
            [b'X', code, rest, note @ ..] => {
                Ok(Self::Exited { code: *code, rest: Streams::of(*rest), note: text(note) })
            }
            _ => Err(Error::new("an answer of the monitor that makes no sense")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way() {
        let streams = Streams { stdin: true, stdout: false, stderr: true };
        for request in [
            Request::Attach(streams),
            Request::Signal(15),
            Request::StdinEnd,
            Request::Broken(true),
            Request::Detach,
            Request::Stop,
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        for bytes in [&b""[..], b"S", b"S\0", b"Sx", b"Z0", b"AAA"] {
            assert_eq!(Request::decode(bytes), None);
        }
    }

    #[test]
    fn answers_survive_the_way_and_long_texts_are_cut() {
        let streams = Streams { stdin: false, stdout: true, stderr: true };
        for answer in [
            Answer::Attached { streams, tty: true },
            Answer::Running,
            Answer::Failed { code: 127, message: "wb-confine: exec: x".into() },
            Answer::Exited { code: 255, rest: streams, note: String::new() },
        ] {
            assert_eq!(Answer::decode(&answer.encode()).unwrap(), answer);
        }
        let long = Answer::Failed { code: 1, message: "é".repeat(MAX_BYTES) };
        assert!(long.encode().len() < MAX_BYTES);
        assert!(Answer::decode(b"?").is_err());
    }
}
