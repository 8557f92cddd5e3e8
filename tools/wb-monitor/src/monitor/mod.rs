//! The monitor: one small process that stays with a container for its life. It owns the container's streams and log,
//! serves clients, waits for the end, writes down how it was, and has everything cleaned up.

pub mod birth;
mod feed;
mod finish;
mod health;
mod life;
mod log;
mod oom;
mod record;
pub mod stdio;
mod sweep;
mod viewer;

pub use log::numbered;

use crate::message::{Answer, Request, Streams};
use crate::settings::Settings;
use birth::Birth;
pub use finish::{Finish, Pipeline};
use health::{Check, Health};
use log::{Log, Stream};
use nix::sys::signal::Signal;
pub use record::keep;
use record::{End, Record};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stdio::{Ours, STREAMS, Stdio};
use sweep::Sweep;
use viewer::{Viewer, read_output};
use wb_doc::{Context, Document, Error};
use wb_store::leftover::MONITOR_LOCK;
use wb_store::lock::Lock;
use wb_store::{Place, record as store};
use wb_sys::poll::{self, Set};
use wb_sys::signal::Signals;
use wb_sys::tty::Size;
use wb_sys::{child, pipe, socket};

/// How much output is taken in one turn.
const READ_BYTES: usize = 512 << 10;
/// After that long without an event the monitor makes itself small.
const REST: Duration = Duration::from_secs(1);
/// How long the programs of the clean-up are kept ready for a container in the foreground, which is often a short one.
const READY: Duration = Duration::from_millis(100);
/// The name of the socket in the container's run directory.
pub const SOCKET: &str = "attach.sock";

/// What a monitor is given.
#[derive(Debug)]
pub struct Task {
    /// Where.
    pub place: Place,
    /// The container.
    pub id: String,
    /// Its document.
    pub document: Document,
    /// Whether that becomes its record once it runs; otherwise it is the record.
    pub is_made: bool,
    /// What the document says.
    pub settings: Settings,
    /// The chain that becomes the container.
    pub chain: Vec<OsString>,
    /// The clean-up.
    pub finish: Option<Pipeline>,
    /// What gives back what others have left.
    pub sweep: Option<Pipeline>,
    /// The program that runs a health check in the container.
    pub health: Option<OsString>,
    /// The size of the user's terminal.
    pub size: Option<Size>,
    /// What the client that waits in the foreground wants.
    pub wanted: Streams,
}

/// Where a container is in its life.
#[derive(Debug)]
enum Phase {
    /// The chain is on its way.
    Birth(Birth),
    /// The user's program runs.
    Running,
    /// It has ended and will be started again.
    Waiting(Instant),
    /// It has ended, and the clean-up runs.
    Finishing(Finish),
    /// Everything is done.
    Over,
}

/// How it came to its end.
#[derive(Debug, Clone)]
enum Outcome {
    Failed { code: u8, message: String },
    Exited(End),
}

#[derive(Debug)]
struct Monitor {
    task: Task,
    record: Record,
    directory: PathBuf,
    signals: Signals,
    listener: OwnedFd,
    lock: Option<Lock>,
    phase: Phase,
    /// The container's first process while it lives.
    init: Option<(i32, u64)>,
    /// Its mount namespace, held so that the kernel does not take that apart before it reports the process's end: it does
    /// so when the clean-up has begun.
    mounts: Option<std::fs::File>,
    /// The clean-up, ready for a container that ends soon, and until when.
    ready: Option<(Finish, Instant)>,
    /// How it ended, if that was before the status pipe did.
    ended: Option<End>,
    outcome: Option<Outcome>,
    ours: Ours,
    log: Log,
    viewers: Vec<Viewer>,
    /// Signals that came before there was a process.
    pending: Vec<i32>,
    /// It is to end and not to be started again.
    stopping: bool,
    /// Somebody asked for that, which a restart policy respects after a reboot.
    stop_wanted: bool,
    /// When its time to end is over.
    kill_at: Option<Instant>,
    restarts: u64,
    started_at: Option<Instant>,
    /// Restarts since it last ran for a while.
    quick_restarts: u32,
    /// The file that counts out-of-memory kills, and how many of them are known.
    ooms: (Option<PathBuf>, u64),
    check: Option<Check>,
    health: Option<Health>,
    sweep: Option<Sweep>,
    note: String,
    /// Whether something has happened lately.
    restless: bool,
    /// Where output is read into; nothing while there is none.
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Token {
    Signals,
    Listener,
    Status,
    Complaints,
    Health,
    Output(Stream),
    Viewer(usize),
    Lagging(usize, Stream),
}

/// Runs a monitor to the end of its container. `client` is the other end of the one in the foreground.
///
/// A failure to begin is returned, after it has been told to the client.
pub fn run(task: Task, client: OwnedFd) -> Result<(), Error> {
    let mut first = Viewer::new(client, true);
    let begun = pipe::set_nonblocking(&first, true)
        .context(|| "socket")
        .and_then(|()| leave())
        .and_then(|()| Preparation::of(&task))
        .inspect_err(|_| {
            if task.is_made {
                // As one that did not start; why it did not matters more.
                keep(&task.place, &task.document).ok();
            }
        })
        .map(|prepared| Monitor::begin(task, prepared));
    let mut monitor = match begun {
        Ok(monitor) => monitor,
        Err(error) => {
            first.send(&Answer::Failed { code: 125, message: format!("wb-monitor: run: {error}") });
            return Err(error);
        }
    };
    monitor.welcome(first);
    monitor.live();
    Ok(())
}

/// Leaves the session and the streams of the one who called.
fn leave() -> Result<(), Error> {
    child::new_session().context(|| "setsid")?;
    child::become_subreaper().context(|| "subreaper")?;
    birth::leave_streams()
}

/// What a monitor must have before it can begin.
struct Preparation {
    lock: Lock,
    signals: Signals,
    listener: OwnedFd,
    check: Option<Check>,
    ours: Ours,
    birth: Birth,
}

impl Preparation {
    fn of(task: &Task) -> Result<Self, Error> {
        let run = task.place.container_run(&task.id);
        make_directory(&run)?;
        let lock = Lock::try_exclusive(&run.join(MONITOR_LOCK))?
            .ok_or_else(|| Error::new(format!("{}: has a monitor already", task.id)))?;
        record::sign(&run.join(MONITOR_LOCK))?;
        let signals =
            Signals::take(&[Signal::SIGCHLD as i32, Signal::SIGTERM as i32]).context(|| "signals")?;
        let path = run.join(SOCKET);
        // One that a killed monitor left; the lock says that there is no other.
        std::fs::remove_file(&path).ok();
        let listener = socket::listen_at(&path).context(|| path.display().to_string())?;
        let check = Check::of(&task.document)?;
        let stdio = Stdio::new(&task.settings, task.size)?;
        let birth = Birth::start(&task.chain, &task.document, &stdio.theirs)?;
        Ok(Self { lock, signals, listener, check, ours: stdio.ours, birth })
    }
}

impl Monitor {
    fn begin(mut task: Task, prepared: Preparation) -> Self {
        let Preparation { lock, signals, listener, check, ours, birth } = prepared;
        // While the chain runs there is time to make it ready. What cannot be started is heard of when it is needed.
        let clean_up = task.finish.as_ref().filter(|_| !task.settings.run.detach);
        let ready = clean_up.and_then(|pipeline| Finish::begin(pipeline).ok());
        let directory = task.place.container(&task.id);
        let log = if task.settings.run.log.is_off() {
            Log::off()
        } else {
            Log::open(directory.join("log"), task.settings.log)
        };
        let counter = oom::counter(&task.document);
        // Nothing needs it but the record, and the monitor stays as long as the container.
        let document = std::mem::take(&mut task.document);
        let made = task.is_made.then_some(document);
        let record = Record::new(task.place.clone(), task.id.clone(), task.settings.run.remove, made);
        Self {
            record,
            directory,
            signals,
            listener,
            lock: Some(lock),
            phase: Phase::Birth(birth),
            init: None,
            ready: ready.map(|finish| (finish, Instant::now() + READY)),
            mounts: None,
            ended: None,
            outcome: None,
            ours,
            log,
            viewers: Vec::new(),
            pending: Vec::new(),
            stopping: false,
            stop_wanted: false,
            kill_at: None,
            restarts: 0,
            started_at: None,
            quick_restarts: 0,
            ooms: (counter, 0),
            check,
            health: None,
            sweep: None,
            note: String::new(),
            restless: true,
            buffer: Vec::new(),
            task,
        }
    }

    fn welcome(&mut self, mut first: Viewer) {
        let wanted = self.task.wanted;
        if wanted != Streams::default() && first.attach(wanted, &self.ours).is_err() {
            first.leave();
        }
        self.viewers.push(first);
    }

    fn live(&mut self) {
        let mut set = Set::default();
        while !matches!(self.phase, Phase::Over) {
            self.gather(&mut set);
            let deadline = match self.phase {
                Phase::Waiting(until) => Some(until),
                _ => self.restless.then(|| Instant::now() + REST),
            };
            let due = self.health.as_ref().map(Health::deadline);
            let ready = self.ready.as_ref().map(|(_, until)| *until);
            let deadline = deadline.into_iter().chain(due).chain(self.kill_at).chain(ready).min();
            if !self.restless {
                self.buffer = Vec::new();
                self.log.rest();
                wb_sys::memory::trim_heap();
                // Only saves memory; without it the monitor works as well. Last, so that what waits is all that comes back.
                wb_sys::memory::forget_program().ok();
            }
            if set.wait(deadline).is_err() {
                continue;
            }
            self.ready = self.ready.take().filter(|(_, until)| Instant::now() < *until);
            self.restless = (0..set.len()).any(|index| set.at(index).1 != 0);
            for index in 0..set.len() {
                let (token, events) = set.at(index);
                if events != 0 {
                    self.handle(token);
                }
            }
            if let Phase::Waiting(until) = self.phase {
                if Instant::now() >= until {
                    self.again();
                }
            }
            self.kill_when_due();
            self.check_health(Health::tick);
            self.reap();
            self.viewers.retain(|viewer| !viewer.is_gone());
        }
        self.farewell();
    }

    fn gather(&self, set: &mut Set<Token>) {
        set.clear();
        set.add(&self.signals, poll::IN, Token::Signals);
        set.add(&self.listener, poll::IN, Token::Listener);
        match &self.phase {
            Phase::Birth(birth) => set.add(birth, poll::IN, Token::Status),
            Phase::Finishing(finish) => {
                if let Some(fd) = finish.complaints() {
                    set.add(fd, poll::IN, Token::Complaints);
                }
            }
            _ => {}
        }
        for fd in self.health.iter().flat_map(Health::descriptors) {
            set.add(fd, poll::IN, Token::Health);
        }
        if !self.viewers.iter().any(Viewer::holds_up) {
            for stream in STREAMS {
                if let Some(fd) = &self.ours.output[stream as usize] {
                    set.add(fd, poll::IN, Token::Output(stream));
                }
            }
        }
        for (index, viewer) in self.viewers.iter().enumerate() {
            set.add(viewer, poll::IN, Token::Viewer(index));
            for (stream, fd) in viewer.lagging() {
                set.add(fd, poll::OUT, Token::Lagging(index, stream));
            }
        }
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Signals => self.on_signals(),
            Token::Listener => self.accept(),
            Token::Status => self.on_status(),
            Token::Complaints => {
                if let Phase::Finishing(finish) = &mut self.phase {
                    finish.listen();
                }
            }
            Token::Health => self.check_health(Health::listen),
            Token::Output(stream) => {
                self.take_output(stream);
            }
            Token::Viewer(index) => self.on_request(index),
            Token::Lagging(index, stream) => {
                if let Some(viewer) = self.viewers.get_mut(index) {
                    viewer.catch_up(stream);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok(Some(socket)) = socket::accept(&self.listener) {
            self.viewers.push(Viewer::new(socket, false));
        }
    }

    /// Serves everybody who has asked for something by now: who stops a container asks first and kills then, and the
    /// end must not be seen before the wish.
    fn hear_everybody(&mut self) {
        self.accept();
        for index in 0..self.viewers.len() {
            self.on_request(index);
        }
    }

    /// Takes one piece of output and gives it to the log and to every client; whether there was any.
    fn take_output(&mut self, stream: Stream) -> bool {
        let Some(fd) = &self.ours.output[stream as usize] else { return false };
        // Pages are shared with the clients' pipes before they are read: clients cost no copy.
        let from = (!self.ours.tty).then_some(fd.as_fd());
        let mut count = READ_BYTES;
        for viewer in &mut self.viewers {
            count = viewer.share(stream, from, count);
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_BYTES];
        }
        match read_output(fd.as_fd(), &mut self.buffer[..count]) {
            Ok(0) => self.ours.output[stream as usize] = None,
            Ok(count) => {
                let piece = &self.buffer[..count];
                for viewer in &mut self.viewers {
                    viewer.feed(stream, piece, &self.directory);
                }
                self.log.write(stream, piece);
                return true;
            }
            Err(nix::errno::Errno::EAGAIN) => {}
            Err(_) => self.ours.output[stream as usize] = None,
        }
        if self.ours.output[stream as usize].is_none() {
            self.end_output(stream);
        }
        false
    }

    /// Nothing more comes from a stream: clients that have everything see its end at once.
    fn end_output(&mut self, stream: Stream) {
        self.ours.output[stream as usize] = None;
        for viewer in &mut self.viewers {
            viewer.end_if_direct(stream);
        }
    }

    /// Serves what a client asks for. It may have been let go in this very turn.
    fn on_request(&mut self, index: usize) {
        while let Some(viewer) = self.viewers.get_mut(index) {
            let request = viewer.receive();
            // The input of the client in the foreground is the container's; that of others comes and goes.
            let owns_input = viewer.primary && viewer.has_input && !self.ours.tty;
            match request {
                None if viewer.is_gone() && owns_input => self.ours.input = None,
                Some(Request::Attach(streams)) => {
                    if viewer.attach(streams, &self.ours).is_err() {
                        viewer.leave();
                    }
                    if matches!(self.phase, Phase::Running) {
                        viewer.send(&Answer::Running);
                    }
                }
                Some(Request::Signal(number)) => self.signal(number),
                Some(Request::StdinEnd) if owns_input => self.ours.input = None,
                // As in a pipeline: who writes to a reader that has left gets EPIPE.
                Some(Request::Broken(stderr)) if viewer.primary => {
                    self.ours.output[usize::from(stderr)] = None;
                }
                None | Some(Request::StdinEnd | Request::Broken(_)) => {}
                Some(Request::Detach) => {
                    viewer.leave();
                    return;
                }
                Some(Request::Stop) => {
                    self.stop_wanted = true;
                    self.stop();
                }
            }
            if request.is_none() {
                return;
            }
        }
    }

    fn signal(&mut self, number: i32) {
        match self.init {
            // It is our child: its number is its own until we have waited for it.
            Some((pid, _)) => {
                child::kill(pid, number, "a client asked for it").ok();
            }
            None => self.pending.push(number),
        }
    }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.context(|| format!("mkdir {}", path.display()))
}
