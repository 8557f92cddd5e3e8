//! The other half of the work: a `wb-rootfs unpack` process for each layer, fed through a pipe.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use wb_doc::{Context, Error};
use wb_store::image::Digest;

/// What the pipe holds: enough that inflating and unpacking overlap.
const PIPE_BYTES: i32 = 1 << 20;

/// A running `wb-rootfs unpack`. Dropped before [`Unpack::finish`], its input ends too early, so that it finds a
/// wrong diff id and takes back what it has unpacked.
#[derive(Debug)]
pub struct Unpack {
    child: Child,
    input: Option<ChildStdin>,
}

/// Whether the program still wants its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// It goes on reading.
    More,
    /// It has ended well without reading all: somebody else unpacked the layer meanwhile.
    Enough,
}

impl Unpack {
    /// Starts the program.
    pub fn start(diff_id: &Digest, limits: &[String]) -> Result<Self, Error> {
        let name = "wb-rootfs";
        let start = |program: &Path| {
            wb_sys::child::spawn(&mut command(program, diff_id, limits), "a layer becomes a directory")
        };
        let mut spawned = start(Path::new(name));
        if spawned.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // Not in PATH: beside this program, as they are installed.
            if let Some(beside) = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)))
            {
                spawned = start(&beside);
            }
        }
        let mut child = spawned.context(|| name)?;
        let input = child.stdin.take();
        if let Some(pipe) = &input {
            // Only faster: a refusal changes nothing else.
            wb_sys::fd::set_pipe_size(pipe, PIPE_BYTES).ok();
        }
        Ok(Self { child, input })
    }

    /// Hands over a part of the uncompressed layer.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, Error> {
        let Some(input) = &mut self.input else { return Ok(Fed::Enough) };
        match input.write_all(bytes) {
            Ok(()) => Ok(Fed::More),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.end().map(|()| Fed::Enough),
            Err(error) => Err(error).context(|| "wb-rootfs unpack"),
        }
    }

    /// Ends the input and waits for the layer to be whole.
    pub fn finish(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        drop(self.input.take());
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.take(64 << 10).read_to_string(&mut said).context(|| "wb-rootfs unpack")?;
        }
        let status = self.child.wait().context(|| "wb-rootfs unpack")?;
        if status.success() { Ok(()) } else { Err(failure(&said, &status.to_string())) }
    }
}

impl Drop for Unpack {
    fn drop(&mut self) {
        drop(self.input.take());
        // It cleans up and ends; what it says about its short input is not the cause.
        self.child.wait().ok();
    }
}

fn command(program: &Path, diff_id: &Digest, limits: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(["unpack", "--diff-id", diff_id.as_str()]).args(limits);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The program's own line, without its name: it becomes part of ours.
fn failure(said: &str, status: &str) -> Error {
    let mut lines = said.lines();
    let error = match lines.next() {
        Some(line) => {
            Error::new(line.strip_prefix("wb-rootfs: ").unwrap_or(line).trim_start_matches("unpack: "))
        }
        None => Error::new(format!("wb-rootfs unpack: {status}")),
    };
    match lines.find_map(|line| line.strip_prefix("hint: ")) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_over_the_message_and_the_hint() {
        let error = failure("wb-rootfs: unpack: a: b (ENOSPC)\nhint: make room\n", "exit status: 1");
        assert_eq!(error.to_string(), "a: b (ENOSPC)");
        assert_eq!(error.advice(), Some("make room"));
        assert!(failure("", "signal: 9 (SIGKILL)").to_string().contains("signal: 9"));
    }
}
