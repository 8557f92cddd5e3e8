//! The container's terminal: its other end goes to the engine, or is served here while the caller waits.

use nix::sys::signal::Signal;
use std::io::IsTerminal;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use wb_doc::oci::ConsoleSize;
use wb_doc::{Context, Document, Error};
use wb_sys::poll::{self, Set};
use wb_sys::signal::Signals;
use wb_sys::tty::{self, Raw, Size};
use wb_sys::{Errno, child, pipe, process, socket};

/// A new terminal.
#[derive(Debug)]
pub struct Console {
    /// The end that this process serves, if it does.
    master: Option<OwnedFd>,
    /// The container's end.
    pub slave: OwnedFd,
}

/// The terminal that a process asks for: sent to `console_socket`, or kept where the caller waits (`stays`).
pub fn of(document: &Document, console_socket: Option<&Path>, stays: bool) -> Result<Option<Console>, Error> {
    let wanted = document.read::<bool>("/process/terminal")?.unwrap_or(false);
    match (wanted, console_socket) {
        (false, None) => return Ok(None),
        (false, Some(_)) => return Err(Error::new("--console-socket: process.terminal is false")),
        (true, None) if !stays => return Err(Error::new("process.terminal: --console-socket is missing")),
        (true, _) => {}
    }
    let (master, slave) = tty::open_pty().context(|| "pty")?;
    if let Some(size) = document.read::<ConsoleSize>("/process/consoleSize")? {
        tty::set_size(&slave, Size { rows: size.height, columns: size.width })
            .context(|| "process.consoleSize")?;
    }
    let Some(path) = console_socket else { return Ok(Some(Console { master: Some(master), slave })) };
    let name = || format!("--console-socket {}", path.display());
    let connection = socket::connect_stream(path).context(name)?;
    // The name tells one terminal from another where a socket gets several, as runc's does.
    socket::send(&connection, b"/dev/ptmx", &[master.as_raw_fd()]).context(name)?;
    Ok(Some(Console { master: None, slave }))
}

impl Console {
    /// Copies between the caller's terminal and the container's until the process `pid` ends; its exit status.
    pub fn serve(self, pid: i32, signals: &Signals) -> Result<u8, Error> {
        let Some(master) = self.master else { return Err(Error::new("the terminal is somebody else's")) };
        drop(self.slave);
        let (input, output) = (std::io::stdin(), std::io::stdout());
        let raw = input.is_terminal().then(|| Raw::enter(&input)).transpose().context(|| "raw mode")?;
        if let (Some(_), Ok(size)) = (&raw, tty::size(&input)) {
            // The program may be gone already, and its end shows that.
            tty::set_size(&master, size).ok();
        }
        let (mut code, mut output_is_over, mut input_is_over) = (None, false, false);
        let mut set = Set::default();
        loop {
            if let (Some(code), true) = (code, output_is_over) {
                return Ok(code);
            }
            set.clear();
            set.add(signals, poll::IN, 's');
            if !output_is_over {
                set.add(&master, poll::IN, 'o');
            }
            if !input_is_over {
                set.add(&input, poll::IN, 'i');
            }
            set.wait(None).context(|| "poll")?;
            for index in 0..set.len() {
                match set.at(index) {
                    (_, 0) => {}
                    ('s', _) => code = on_signals(signals, pid, &master, raw.is_some())?.or(code),
                    // EIO: nobody has the terminal open any more.
                    ('o', _) => output_is_over = copy(&master, &output)?,
                    (_, _) => input_is_over = copy(&input, &master)?,
                }
            }
        }
    }
}

fn on_signals(signals: &Signals, pid: i32, master: &OwnedFd, on_terminal: bool) -> Result<Option<u8>, Error> {
    let mut code = None;
    while let Some(number) = signals.next() {
        if number == Signal::SIGCHLD as i32 {
            while let Some(status) = child::reap() {
                if status.pid().map(nix::unistd::Pid::as_raw) == Some(pid) {
                    code = process::exit_code(status);
                }
            }
        } else if number == Signal::SIGWINCH as i32 {
            if let (true, Ok(size)) = (on_terminal, tty::size(std::io::stdin())) {
                tty::set_size(master, size).context(|| "window size")?;
            }
        } else {
            match child::kill(pid, number, "a signal for the container") {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::errno("signal", errno)),
            }
        }
    }
    Ok(code)
}

/// Copies what is there; whether that was the last.
fn copy(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd) -> Result<bool, Error> {
    let mut chunk = [0; 4096];
    let count = match pipe::read(from, &mut chunk) {
        Ok(0) | Err(Errno::EIO) => return Ok(true),
        Err(Errno::EINTR | Errno::EAGAIN) => return Ok(false),
        other => other.context(|| "terminal")?,
    };
    let mut rest = &chunk[..count];
    while !rest.is_empty() {
        match pipe::write(&to, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::EINTR) => {}
            Err(Errno::EIO | Errno::EPIPE) => return Ok(true),
            Err(errno) => return Err(Error::errno("terminal", errno)),
        }
    }
    Ok(false)
}
