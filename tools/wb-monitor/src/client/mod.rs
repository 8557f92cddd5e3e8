//! The client: what a person, or a shell's pipeline, has to do with a container. Its end is not the container's.

pub mod copy;
pub mod keys;
pub mod terminal;

use crate::message::{Answer, MAX_BYTES, Request, Streams};
use copy::{Copier, Turn};
use keys::Keys;
use nix::sys::signal::Signal;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use terminal::Terminal;
use wb_doc::{Context, Error};
use wb_sys::poll::{self, Set};
use wb_sys::signal::Signals;
use wb_sys::{Errno, socket, tty};

/// Exit status of a client whose monitor vanished: what became of the container it does not know.
const LOST: u8 = 125;
/// Interrupted that often without effect, the client leaves.
const PATIENCE: u32 = 3;

/// What a client does.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the signals it gets are the container's.
    pub sig_proxy: bool,
    /// The keys that detach it from a pty.
    pub keys: Keys,
    /// Whether it leaves as soon as the container runs.
    pub detach: bool,
}

/// A client at work.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    options: Options,
    signals: Signals,
    /// Standard input, output and error, as far as they are connected.
    copiers: [Option<Copier>; 3],
    raw: Option<Terminal>,
    tty: bool,
    interrupts: u32,
    last: Option<Answer>,
}

#[derive(Debug, Clone, Copy)]
enum Token {
    Socket,
    Signals,
    Copier(usize),
}

/// The signals a client hands on, or cares about; taken before anybody else is started.
///
/// What the terminal's job control sends (SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT) stays the client's own, and so does what
/// means a fault of the client itself.
pub fn signals(with_children: bool) -> Result<Signals, Error> {
    use Signal::{
        SIGABRT, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGILL, SIGKILL, SIGPIPE, SIGSEGV, SIGSTOP, SIGSYS,
        SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,
    };
    let own = [
        SIGABRT, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGILL, SIGKILL, SIGPIPE, SIGSEGV, SIGSTOP, SIGSYS,
        SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,
    ];
    // 32 and 33 belong to the C library.
    let mut numbers: Vec<i32> =
        (1..=64).filter(|&n| n != 32 && n != 33 && !own.iter().any(|&signal| signal as i32 == n)).collect();
    if with_children {
        numbers.push(SIGCHLD as i32);
    }
    Signals::take(&numbers).context(|| "signals")
}

/// Attends a container over `socket` until it ends or the client leaves; gives the exit status.
pub fn attend(socket: OwnedFd, signals: Signals, options: Options) -> Result<u8, Error> {
    let mut client = Client {
        socket,
        options,
        signals,
        copiers: [None, None, None],
        raw: None,
        tty: false,
        interrupts: 0,
        last: None,
    };
    let code = client.run();
    // Before anything is printed: a terminal in raw mode would show it askew.
    client.raw = None;
    code
}

impl Client {
    fn run(&mut self) -> Result<u8, Error> {
        let mut set = Set::default();
        let mut connected = true;
        loop {
            if !connected && self.copiers[1].is_none() && self.copiers[2].is_none() {
                return self.end();
            }
            set.clear();
            set.add(&self.signals, poll::IN, Token::Signals);
            if connected {
                set.add(&self.socket, poll::IN, Token::Socket);
            }
            for (index, copier) in self.copiers.iter().enumerate() {
                if let Some((fd, events)) = copier.as_ref().map(Copier::waits) {
                    set.add(fd, events, Token::Copier(index));
                }
            }
            set.wait(None).context(|| "poll")?;
            for index in 0..set.len() {
                let code = match set.at(index) {
                    (_, 0) => None,
                    (Token::Signals, _) => self.on_signals()?,
                    (Token::Socket, _) => {
                        connected = self.on_answer()?;
                        match &self.last {
                            Some(Answer::Running) if self.options.detach => Some(0),
                            _ => None,
                        }
                    }
                    (Token::Copier(which), _) => self.on_copier(which),
                };
                if let Some(code) = code {
                    return Ok(code);
                }
            }
        }
    }

    /// The end, when all output has been written.
    fn end(&mut self) -> Result<u8, Error> {
        self.raw = None;
        match self.last.take() {
            Some(Answer::Exited { code, note, .. }) => {
                say(&note);
                Ok(code)
            }
            Some(Answer::Failed { code, message }) => {
                say(&message);
                Ok(code)
            }
            _ => Err(Error::new("the monitor has gone; the container may still run").code(LOST)),
        }
    }

    /// Takes one answer; whether the connection goes on.
    fn on_answer(&mut self) -> Result<bool, Error> {
        let mut buffer = [0; MAX_BYTES];
        let (length, fds) = match socket::receive(&self.socket, &mut buffer) {
            Ok((0, _)) | Err(Errno::ECONNRESET) => return Ok(false),
            other => other.context(|| "attach.sock")?,
        };
        let answer = Answer::decode(&buffer[..length])?;
        match &answer {
            Answer::Attached { streams, tty } => {
                self.tty = *tty;
                self.connect(*streams, fds)?;
                return Ok(true);
            }
            Answer::Running => {
                self.last = Some(answer);
                return Ok(true);
            }
            Answer::Exited { rest, .. } => self.append(*rest, fds),
            Answer::Failed { .. } => {}
        }
        self.copiers[0] = None;
        self.last = Some(answer);
        Ok(false)
    }

    /// Connects our streams with those of the container.
    fn connect(&mut self, streams: Streams, fds: Vec<OwnedFd>) -> Result<(), Error> {
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or_else(|| Error::new("the monitor sent too few descriptors"));
        if streams.stdin {
            let input = next()?;
            let keys = self.tty.then(|| self.options.keys.clone());
            self.copiers[0] = Some(Copier::new(copy_of(std::io::stdin())?, input, keys));
        }
        if streams.stdout {
            self.copiers[1] = Some(Copier::new(next()?, copy_of(std::io::stdout())?, None));
        }
        if streams.stderr {
            self.copiers[2] = Some(Copier::new(next()?, copy_of(std::io::stderr())?, None));
        }
        if self.tty && streams.stdin && std::io::stdin().is_terminal() {
            self.raw = Some(Terminal::enter(std::io::stdin())?);
            self.resize();
        }
        Ok(())
    }

    /// Output that waits in files comes after what is still in the pipes.
    fn append(&mut self, rest: Streams, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        for (index, wanted) in [(1, rest.stdout), (2, rest.stderr)] {
            let file = if wanted { fds.next() } else { None };
            if let (Some(file), Some(copier)) = (file, &mut self.copiers[index]) {
                copier.then(file);
            }
        }
    }

    fn on_copier(&mut self, which: usize) -> Option<u8> {
        let turn = self.copiers[which].as_mut()?.turn();
        match (turn, which) {
            (Turn::Goes, _) => return None,
            (Turn::Detached, _) => {
                self.ask(&Request::Detach);
                return Some(0);
            }
            // A pty has no end of input; the user's terminal may well have.
            (Turn::Ended | Turn::Broken, 0) if !self.tty => self.ask(&Request::StdinEnd),
            (Turn::Broken, 1) => self.ask(&Request::Broken(false)),
            (Turn::Broken, 2) => self.ask(&Request::Broken(true)),
            (Turn::Ended | Turn::Broken, _) => {}
        }
        self.copiers[which] = None;
        None
    }

    fn on_signals(&mut self) -> Result<Option<u8>, Error> {
        while let Some(number) = self.signals.next() {
            let leaving = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP];
            let leaves = leaving.iter().any(|&signal| signal as i32 == number);
            if number == Signal::SIGWINCH as i32 {
                self.resize();
            } else if self.tty || !self.options.sig_proxy {
                if leaves {
                    self.raw = None;
                    return Ok(Some(u8::try_from(128 + number).unwrap_or(LOST)));
                }
            } else {
                self.ask(&Request::Signal(number));
                self.interrupts +=
                    u32::from(number == Signal::SIGINT as i32 || number == Signal::SIGTERM as i32);
                if self.interrupts >= PATIENCE {
                    return Err(Error::new("interrupted three times; the container goes on").code(LOST));
                }
            }
        }
        Ok(None)
    }

    fn resize(&self) {
        if let (true, Some(copier), Ok(size)) = (self.tty, &self.copiers[0], tty::size(std::io::stdin())) {
            // A pty whose container has gone needs no size.
            tty::set_size(copier.to(), size).ok();
        }
    }

    fn ask(&self, request: &Request) {
        // A monitor that has gone is noticed where its answers are read.
        socket::send(&self.socket, &request.encode(), &[]).ok();
    }
}

/// One of our standard streams, to be closed by whoever uses it.
pub fn copy_of(stream: impl AsFd) -> Result<OwnedFd, Error> {
    stream.as_fd().try_clone_to_owned().context(|| "standard streams")
}

/// A message that was made elsewhere, for a person.
pub fn say(message: &str) {
    if !message.is_empty() {
        // A person who cannot be reached need not be told.
        writeln!(std::io::stderr(), "{}", wb_doc::escape(message)).ok();
    }
}
