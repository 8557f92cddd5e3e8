//! `exec`: another program in a running container, through a chain of programs, attended by this process itself.
//!
//! It leaves no record and no log. The streams are pipes or a pty of its own: nothing of the caller's, no terminal and
//! no file, is ever open inside the container.

use crate::client::copy::{Copier, Turn};
use crate::client::keys::{self, Keys};
use crate::client::terminal::Terminal;
use crate::client::{self, say};
use crate::monitor::birth::{self, Birth, News};
use crate::monitor::stdio::{self, Stdio};
use crate::settings::Settings;
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::time::Instant;
use wb_doc::{Context, Error, ExitCode, FilterArgs, read_one};
use wb_sys::poll::{self, Set};
use wb_sys::signal::Signals;
use wb_sys::{child, process, tty};

/// Exit status of a client that left by its detach keys, as docker's.
const DETACHED: u8 = 0;

/// The flags of `exec`.
#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// The chain of programs that becomes the user's program
    #[arg(last = true, required = true, value_name = "CHAIN")]
    chain: Vec<OsString>,
}

/// Runs a program in a container.
pub fn exec(args: &ExecArgs) -> Result<ExitCode, Error> {
    let mut document = read_one(&args.filter)?;
    if let Some(failure) = document.failure() {
        // It has been printed by the stage that failed.
        return Ok(ExitCode::from(failure.code.max(1)));
    }
    child::close_range(3, u32::MAX).context(|| "close_range")?;
    let settings = Settings::of(&document)?;
    let detach = settings.run.detach;
    let mine = std::io::stdin();
    if settings.tty && settings.attaches("stdin") && !detach && !mine.is_terminal() {
        return Err(Error::new("the input device is not a terminal").hint("-t wants one; -i alone does not"));
    }
    let keys = Keys::parse(settings.run.detach_keys.as_deref().unwrap_or(keys::DEFAULT))?;
    let stdio = if detach {
        document.set("/process/terminal", false)?;
        stdio::nowhere().context(|| "/dev/null")?
    } else {
        Stdio::new(&settings, tty::size(&mine).or_else(|_| tty::size(std::io::stdout())).ok())?
    };
    let signals = client::signals(true)?;
    let birth = Birth::start(&args.chain, &document, &stdio.theirs)?;
    let mut execution = Execution::new(birth, signals, &settings, stdio, keys)?;
    let code = execution.attend();
    execution.raw = None;
    match code? {
        End::Code(code) => Ok(ExitCode::from(code)),
        End::Failed(code, message) => {
            say(&message);
            Ok(ExitCode::from(code))
        }
    }
}

#[derive(Debug)]
enum End {
    Code(u8),
    Failed(u8, String),
}

#[derive(Debug)]
struct Execution {
    birth: Option<Birth>,
    /// The user's program.
    init: Option<i32>,
    code: Option<u8>,
    signals: Signals,
    copiers: [Option<Copier>; 3],
    raw: Option<Terminal>,
    tty: bool,
    detach: bool,
    sig_proxy: bool,
}

#[derive(Debug, Clone, Copy)]
enum Token {
    Signals,
    Status,
    Copier(usize),
}

impl Execution {
    fn new(
        birth: Birth,
        signals: Signals,
        settings: &Settings,
        stdio: Stdio,
        keys: Keys,
    ) -> Result<Self, Error> {
        let Stdio { theirs, ours } = stdio;
        // As long as we held the container's side, its end would not be seen.
        drop(theirs);
        let mut copiers = [None, None, None];
        let mut raw = None;
        if let (Some(input), true) = (ours.input, settings.attaches("stdin")) {
            copiers[0] =
                Some(Copier::new(client::copy_of(std::io::stdin())?, input, settings.tty.then_some(keys)));
            if settings.tty {
                raw = Some(Terminal::enter(std::io::stdin())?);
            }
        }
        let [out, err] = ours.output;
        if let Some(out) = out {
            copiers[1] = Some(Copier::new(out, client::copy_of(std::io::stdout())?, None));
        }
        if let Some(err) = err {
            copiers[2] = Some(Copier::new(err, client::copy_of(std::io::stderr())?, None));
        }
        Ok(Self {
            birth: Some(birth),
            init: None,
            code: None,
            signals,
            copiers,
            raw,
            tty: settings.tty,
            detach: settings.run.detach,
            sig_proxy: settings.run.sig_proxy.unwrap_or(true),
        })
    }

    fn attend(&mut self) -> Result<End, Error> {
        let mut set = Set::default();
        loop {
            set.clear();
            set.add(&self.signals, poll::IN, Token::Signals);
            if let Some(birth) = &self.birth {
                set.add(birth, poll::IN, Token::Status);
            }
            for (index, copier) in self.copiers.iter().enumerate() {
                if let Some((fd, events)) = copier.as_ref().map(Copier::waits) {
                    set.add(fd, events, Token::Copier(index));
                }
            }
            // When the program has ended its output is what is there now: a child it left may hold the pipe for ever.
            let over = self.code.is_some() && self.birth.is_none();
            let waits_for_room = self.copiers[1..].iter().flatten().any(Copier::wants_room);
            set.wait((over && !waits_for_room).then(Instant::now)).context(|| "poll")?;
            let mut moved = false;
            for index in 0..set.len() {
                let end = match set.at(index) {
                    (_, 0) => None,
                    (Token::Signals, _) => self.on_signals(),
                    (Token::Status, _) => self.on_status(),
                    (Token::Copier(which), _) => {
                        moved |= which > 0;
                        self.on_copier(which)
                    }
                };
                if let Some(end) = end {
                    return Ok(end);
                }
            }
            if let Some(end) = self.reap() {
                return Ok(end);
            }
            if let (true, false, false, Some(code)) = (over, waits_for_room, moved, self.code) {
                return Ok(End::Code(code));
            }
        }
    }

    fn on_status(&mut self) -> Option<End> {
        loop {
            match self.birth.as_mut()?.hear()? {
                News::Started(pid, _) => self.init = Some(pid),
                News::Ended(failure) => {
                    self.birth = None;
                    return match failure {
                        Some(failure) => Some(End::Failed(failure.code, birth::message(&failure))),
                        None if self.init.is_none() && self.code.is_none() => {
                            Some(End::Failed(125, "wb-monitor: exec: the chain ended early".into()))
                        }
                        None => self.detach.then_some(End::Code(0)),
                    };
                }
            }
        }
    }

    fn on_signals(&mut self) -> Option<End> {
        while let Some(number) = self.signals.next() {
            if number == Signal::SIGCHLD as i32 {
                // Seen to at the end of each turn.
            } else if number == Signal::SIGWINCH as i32 {
                self.resize();
            } else if let (Some(pid), true) = (self.init, self.sig_proxy && !self.tty) {
                // It is our child, and has not been waited for.
                child::kill(pid, number, "signals of the client are the program's").ok();
            } else if [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP]
                .iter()
                .any(|&signal| signal as i32 == number)
            {
                return Some(End::Code(u8::try_from(128 + number).unwrap_or(125)));
            }
        }
        None
    }

    /// Waits for the children that have ended. As long as the chain has not said which process it has made, none is
    /// waited for: it may be that one, which was quicker than the word of it.
    fn reap(&mut self) -> Option<End> {
        if let Some(end) = self.on_status() {
            return Some(end);
        }
        if self.birth.is_some() && self.init.is_none() && self.code.is_none() {
            return None;
        }
        while let Some(status) = child::reap() {
            if status.pid().map(nix::unistd::Pid::as_raw) == self.init {
                self.code = process::exit_code(status);
                self.init = None;
                self.copiers[0] = None;
            }
        }
        None
    }

    fn on_copier(&mut self, which: usize) -> Option<End> {
        match self.copiers[which].as_mut()?.turn() {
            Turn::Goes => {}
            Turn::Detached => return Some(End::Code(DETACHED)),
            Turn::Ended | Turn::Broken => self.copiers[which] = None,
        }
        None
    }

    fn resize(&self) {
        if let (true, Some(copier), Ok(size)) = (self.tty, &self.copiers[0], tty::size(std::io::stdin())) {
            // A pty whose program has gone needs no size.
            tty::set_size(copier.to(), size).ok();
        }
    }
}
