//! The container's streams: pipes, or a pty.

use super::log::Stream;
use crate::settings::Settings;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Uid, fchown};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use wb_doc::{Context, Error};
use wb_sys::tty::{self, Size};
use wb_sys::{Result, pipe};

/// Room asked for in each pipe: fewer turns between the container, the monitor and its clients.
const PIPE_BYTES: i32 = 1 << 20;

/// Both sides of the container's streams.
#[derive(Debug)]
pub struct Stdio {
    /// What becomes descriptors 0, 1 and 2 of the container.
    pub theirs: [OwnedFd; 3],
    /// Our side.
    pub ours: Ours,
}

/// The monitor's side of the streams.
#[derive(Debug, Default)]
pub struct Ours {
    /// Where input for the container is written; none where it has none, or it was ended.
    pub input: Option<OwnedFd>,
    /// Where its output comes from, by [`Stream`].
    pub output: [Option<OwnedFd>; 2],
    /// Whether it is a pty: then standard error is in standard output, and input has no end.
    pub tty: bool,
}

impl Stdio {
    /// Makes what the settings ask for; `size` is that of the user's terminal.
    pub fn new(settings: &Settings, size: Option<Size>) -> std::result::Result<Self, Error> {
        if settings.tty { pty(settings, size) } else { pipes(settings).context(|| "pipe") }
    }
}

fn pty(settings: &Settings, size: Option<Size>) -> std::result::Result<Stdio, Error> {
    let (master, slave) = tty::open_pty().context(|| "pty")?;
    let wanted = settings.console_size.map(|size| Size { rows: size.height, columns: size.width });
    if let Some(size) = wanted.filter(|size| size.rows > 0).or(size) {
        tty::set_size(&master, size).context(|| "window size")?;
    }
    if let Some(uid) = settings.owner.filter(|&uid| uid != nix::unistd::geteuid().as_raw()) {
        fchown(&slave, Some(Uid::from_raw(uid)), None).context(|| "owner of the pty")?;
    }
    pipe::set_nonblocking(&master, true).context(|| "pty")?;
    let copy = |fd: &OwnedFd| fd.try_clone().context(|| "pty");
    let ours = Ours { input: Some(copy(&master)?), output: [Some(master), None], tty: true };
    Ok(Stdio { theirs: [copy(&slave)?, copy(&slave)?, slave], ours })
}

fn pipes(settings: &Settings) -> Result<Stdio> {
    let (stdin, input) = if settings.run.interactive {
        let (reader, writer) = pipe::pipe()?;
        prepare(&reader)?;
        // Clients share this open file: one that would have to wait must not.
        pipe::set_nonblocking(&writer, true)?;
        (reader, Some(writer))
    } else {
        (null()?, None)
    };
    let output = || {
        let (reader, writer) = pipe::pipe()?;
        prepare(&writer)?;
        pipe::set_nonblocking(&reader, true)?;
        Ok::<_, wb_sys::Errno>((reader, writer))
    };
    let ((out, stdout), (err, stderr)) = (output()?, output()?);
    let ours = Ours { input, output: [Some(out), Some(err)], tty: false };
    Ok(Stdio { theirs: [stdin, stdout, stderr], ours })
}

fn prepare(pipe: impl AsFd) -> Result<()> {
    // Above the user's limit the kernel keeps its default, which works too.
    pipe::set_capacity(&pipe, PIPE_BYTES).ok();
    // Whoever the container's user is, it must be able to open its own `/dev/stdout`. Nobody else can reach the pipe.
    fchmod(pipe, Mode::from_bits_truncate(0o666))
}

/// `/dev/null`.
pub fn null() -> Result<OwnedFd> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/null");
    opened.map(OwnedFd::from).map_err(|error| {
        let raw = error.raw_os_error();
        raw.map_or(wb_sys::Errno::EIO, wb_sys::Errno::from_raw)
    })
}

/// A pipe towards a client: its end, and ours, which never waits.
pub fn client_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe::pipe()?;
    pipe::set_capacity(&writer, PIPE_BYTES).ok();
    pipe::set_nonblocking(&writer, true)?;
    Ok((reader, writer))
}

/// Streams that lead nowhere.
pub fn nowhere() -> Result<Stdio> {
    Ok(Stdio { theirs: [null()?, null()?, null()?], ours: Ours::default() })
}

/// An unlinked file beside the log.
pub fn spill_file(directory: &std::path::Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::fcntl::OFlag::O_TMPFILE.bits())
        .mode(0o600)
        .open(directory)
}

/// Both output streams.
pub const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];
