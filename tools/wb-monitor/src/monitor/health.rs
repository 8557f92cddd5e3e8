//! Health checks: now and then another program in the container says whether it does its job.

use super::birth::{self, Birth, News};
use super::record::Record;
use super::stdio;
use crate::clock;
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use wb_doc::{Context, Document, Error};
use wb_sys::{child, pipe};

/// How many results are kept, and how much of each one's output.
const MAX_RESULTS: usize = 5;
const MAX_OUTPUT_BYTES: usize = 1024;
/// What docker records where there is no exit status.
const NO_STATUS: i32 = -1;

/// `wb.healthcheck`, in the image specification's spelling; durations in nanoseconds, 0 and absent mean the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Check {
    test: Vec<String>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    start_interval: u64,
    retries: u32,
}

impl Check {
    /// The check of a document, if it has one.
    pub fn of(document: &Document) -> Result<Option<Self>, Error> {
        let check: Option<Self> = document.read("/wb/healthcheck")?;
        Ok(check.filter(|check| check.command().is_some()))
    }

    /// The words of the command; none where nothing is to be checked.
    fn command(&self) -> Option<Vec<String>> {
        match self.test.split_first() {
            Some((kind, words)) if kind == "CMD" && !words.is_empty() => Some(words.to_vec()),
            Some((kind, [line, ..])) if kind == "CMD-SHELL" => {
                Some(vec!["/bin/sh".into(), "-c".into(), line.clone()])
            }
            _ => None,
        }
    }

    fn timeout(&self) -> Duration {
        or(self.timeout, Duration::from_secs(30))
    }

    /// The wait before the next check, `age` after the start.
    fn wait(&self, age: Duration, starting: bool) -> Duration {
        if starting && age < Duration::from_nanos(self.start_period) {
            return or(self.start_interval, Duration::from_secs(5));
        }
        or(self.interval, Duration::from_secs(30))
    }
}

fn or(nanos: u64, default: Duration) -> Duration {
    if nanos == 0 { default } else { Duration::from_nanos(nanos) }
}

/// What is known of a container's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Starting,
    Healthy,
    Unhealthy,
}

/// The checks of a running container.
#[derive(Debug)]
pub struct Health {
    check: Check,
    chain: [OsString; 1],
    since: Instant,
    next: Instant,
    probe: Option<Probe>,
    status: Status,
    streak: u32,
    results: VecDeque<Value>,
}

/// A check on its way.
#[derive(Debug)]
struct Probe {
    birth: Option<Birth>,
    pid: Option<i32>,
    output: Option<OwnedFd>,
    text: Vec<u8>,
    start: String,
    deadline: Instant,
}

impl Health {
    /// Begins to check a container that has just started; `program` runs a command in it.
    pub fn begin(check: Check, program: OsString, record: &Record) -> Result<Self, Error> {
        let now = Instant::now();
        let next = now + check.wait(Duration::ZERO, true);
        let health = Self {
            check,
            chain: [program],
            since: now,
            next,
            probe: None,
            status: Status::Starting,
            streak: 0,
            results: VecDeque::new(),
        };
        health.write(record)?;
        Ok(health)
    }

    /// When something is due.
    pub fn deadline(&self) -> Instant {
        self.probe.as_ref().map_or(self.next, |probe| probe.deadline)
    }

    /// What a check says and reports.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let probe = self.probe.as_ref();
        let status = probe.and_then(|probe| probe.birth.as_ref()).map(AsFd::as_fd);
        status.into_iter().chain(probe.and_then(|probe| probe.output.as_ref()).map(AsFd::as_fd))
    }

    /// Whether a check is on its way that has not said yet which process it is.
    pub fn awaits_word(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.birth.is_some() && probe.pid.is_none())
    }

    /// Does what is due.
    pub fn tick(&mut self, record: &Record) -> Result<(), Error> {
        if Instant::now() < self.deadline() {
            return Ok(());
        }
        if let Some(probe) = &self.probe {
            if let Some(pid) = probe.pid {
                // It is our child, and has not been waited for.
                child::kill(pid, Signal::SIGKILL as i32, "a health check that takes too long").ok();
            }
            let note = format!("no answer within {:?}", self.check.timeout());
            return self.conclude(NO_STATUS, &note, record);
        }
        let document = record.read()?;
        if document.str_at("/wb/state/status") == Some("paused") {
            // Nothing answers now, and that says nothing about its health.
            self.schedule();
            return Ok(());
        }
        match self.start(document) {
            Ok(probe) => {
                self.probe = Some(probe);
                Ok(())
            }
            Err(error) => self.conclude(NO_STATUS, &error.to_string(), record),
        }
    }

    fn start(&self, mut document: Document) -> Result<Probe, Error> {
        document.set("/process/args", self.check.command())?;
        document.set("/process/terminal", false)?;
        document.remove("/wb/run");
        let (output, writer) = pipe::pipe().context(|| "pipe")?;
        pipe::set_nonblocking(&output, true).context(|| "pipe")?;
        let copy = writer.try_clone().context(|| "pipe")?;
        let theirs = [stdio::null().context(|| "/dev/null")?, writer, copy];
        let birth = Birth::start(&self.chain, &document, &theirs)?;
        Ok(Probe {
            birth: Some(birth),
            pid: None,
            output: Some(output),
            text: Vec::new(),
            start: clock::now_text(),
            deadline: Instant::now() + self.check.timeout(),
        })
    }

    /// Hears and reads what there is.
    pub fn listen(&mut self, record: &Record) -> Result<(), Error> {
        let Some(probe) = &mut self.probe else { return Ok(()) };
        probe.read();
        let failure = loop {
            match probe.birth.as_mut().and_then(Birth::hear) {
                None => return Ok(()),
                Some(News::Started(pid, _)) => probe.pid = Some(pid),
                Some(News::Ended(None)) if probe.pid.is_some() => {
                    probe.birth = None;
                    return Ok(());
                }
                Some(News::Ended(failure)) => break failure,
            }
        };
        let code = failure.as_ref().map_or(125, |failure| failure.code);
        let text = failure.as_ref().map_or_else(|| "the chain ended early".into(), birth::message);
        self.conclude(code.into(), &text, record)
    }

    /// A child has ended; whether it was a check.
    pub fn reaped(&mut self, pid: i32, code: u8, record: &Record) -> Result<bool, Error> {
        match &mut self.probe {
            Some(probe) if probe.pid == Some(pid) => {
                probe.read();
                self.conclude(code.into(), "", record).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    fn conclude(&mut self, code: i32, note: &str, record: &Record) -> Result<(), Error> {
        let probe = self.probe.take();
        let age = self.since.elapsed();
        let forgiven = self.status == Status::Starting && age < Duration::from_nanos(self.check.start_period);
        if code == 0 {
            (self.status, self.streak) = (Status::Healthy, 0);
        } else if !forgiven {
            self.streak += 1;
            let retries = if self.check.retries == 0 { 3 } else { self.check.retries };
            if self.streak >= retries {
                self.status = Status::Unhealthy;
            }
        }
        let (start, text) = probe.map_or_else(|| (clock::now_text(), Vec::new()), |p| (p.start, p.text));
        let said = String::from_utf8_lossy(&text);
        let output = if note.is_empty() { said.as_ref() } else { note };
        if self.results.len() == MAX_RESULTS {
            self.results.pop_front();
        }
        self.results.push_back(json!({
            "Start": start, "End": clock::now_text(), "ExitCode": code, "Output": output,
        }));
        self.schedule();
        self.write(record)
    }

    fn schedule(&mut self) {
        let wait = self.check.wait(self.since.elapsed(), self.status == Status::Starting);
        self.next = Instant::now() + wait;
    }

    fn write(&self, record: &Record) -> Result<(), Error> {
        let status = match self.status {
            Status::Starting => "starting",
            Status::Healthy => "healthy",
            Status::Unhealthy => "unhealthy",
        };
        record.health(&json!({"status": status, "failingStreak": self.streak, "log": self.results}))
    }
}

impl Probe {
    fn read(&mut self) {
        let mut chunk = [0; 1024];
        while let Some(fd) = &self.output {
            match pipe::read(fd, &mut chunk) {
                Ok(count) if count > 0 => {
                    let room = MAX_OUTPUT_BYTES - self.text.len();
                    self.text.extend_from_slice(&chunk[..count.min(room)]);
                }
                Err(nix::errno::Errno::EAGAIN) => return,
                _ => self.output = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Option<Check> {
        Check::of(&Document::parse(format!("{{\"wb\":{{\"healthcheck\":{text}}}}}").as_bytes()).unwrap())
            .unwrap()
    }

    #[test]
    fn reads_the_images_notation() {
        let shell = check(r#"{"Test":["CMD-SHELL","test -e /x"],"Interval":1000000000}"#).unwrap();
        assert_eq!(shell.command().unwrap(), ["/bin/sh", "-c", "test -e /x"]);
        assert_eq!(shell.wait(Duration::ZERO, true), Duration::from_secs(1));
        assert_eq!(check(r#"{"Test":["CMD","a","b"]}"#).unwrap().command().unwrap(), ["a", "b"]);
        for text in
            ["{}", r#"{"Test":[]}"#, r#"{"Test":["NONE"]}"#, r#"{"Test":["CMD"]}"#, r#"{"Retries":1}"#]
        {
            assert_eq!(check(text), None, "{text}");
        }
        assert_eq!(Check::of(&Document::default()).unwrap(), None);
    }

    #[test]
    fn checks_more_often_while_it_starts() {
        let check = check(r#"{"Test":["CMD","a"],"StartPeriod":60000000000}"#).unwrap();
        assert_eq!(check.wait(Duration::from_secs(1), true), Duration::from_secs(5));
        assert_eq!(check.wait(Duration::from_secs(1), false), Duration::from_secs(30));
        assert_eq!(check.wait(Duration::from_secs(61), true), Duration::from_secs(30));
        assert_eq!(check.timeout(), Duration::from_secs(30));
    }
}
