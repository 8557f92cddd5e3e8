//! The turns of a container's life: born, running, ended, started again or cleaned up.

use super::birth::{self, Birth, News};
use super::finish::Finish;
use super::health::Health;
use super::record::{End, Record};
use super::stdio::{STREAMS, Stdio};
use super::sweep::Sweep;
use super::{Monitor, Outcome, Phase, SOCKET, oom, store};
use crate::message::Answer;
use crate::settings::{Restart, STOP_TIMEOUT_S, Settings};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use wb_doc::{Document, Error, Failure};
use wb_sys::{child, process};

/// The wait before the first restart; it doubles with each.
const BACK_OFF: Duration = Duration::from_millis(100);
/// The longest wait before a restart.
const MAX_BACK_OFF: Duration = Duration::from_secs(60);
/// Whoever ran that long starts with the shortest wait again.
const STEADY: Duration = Duration::from_secs(10);
/// What may wait in a stream when its writers are dead: more than a pipe holds.
const MAX_TAIL_TURNS: usize = 64;

impl Monitor {
    pub(super) fn on_signals(&mut self) {
        while let Some(number) = self.signals.next() {
            if number == Signal::SIGTERM as i32 {
                // Ending the monitor is ending its container. At a shutdown everybody gets this signal: nobody has
                // said that the container shall not run after the next boot.
                self.stop();
                self.signal(self.task.settings.stop_signal);
                let patience = self.task.settings.run.stop_timeout.unwrap_or(STOP_TIMEOUT_S);
                self.kill_at = u64::try_from(patience).ok().map(|s| Instant::now() + Duration::from_secs(s));
            }
        }
    }

    /// Waits for the children that have ended. As long as a chain has not said which process it has made, none is
    /// waited for: it may be that one, which was quicker than the word of it.
    pub(super) fn reap(&mut self) {
        self.on_status();
        self.check_health(Health::listen);
        let unsaid = matches!(self.phase, Phase::Birth(_)) && self.init.is_none() && self.ended.is_none();
        if unsaid || self.health.as_ref().is_some_and(Health::awaits_word) {
            return;
        }
        while let Some(status) = child::reap() {
            if self.init.is_none() {
                // It may have begun and ended since we looked.
                self.on_status();
            }
            let (Some(pid), Some(code)) = (status.pid(), process::exit_code(status)) else { continue };
            if self.init.is_some_and(|(init, _)| init == pid.as_raw()) {
                self.init = None;
                let ooms = oom::count(self.ooms.0.as_ref());
                // A shell reports a killed child of its own with the same number.
                let end = End { code, oom_killed: code == 137 && ooms > self.ooms.1 };
                self.ooms.1 = ooms;
                self.on_end(end);
            } else if self.is_probe(pid.as_raw(), code) {
                // Written down.
            } else if self.sweep.as_mut().is_some_and(|sweep| sweep.is_over_with(pid)) {
                self.sweep = None;
            } else if let Phase::Finishing(finish) = &mut self.phase {
                if finish.reaped(pid, code) {
                    self.finished();
                }
            } else if self.ready.as_mut().is_some_and(|(finish, _)| finish.reaped(pid, code)) {
                // Without one of its programs it is of no use.
                self.ready = None;
            }
        }
    }

    pub(super) fn on_status(&mut self) {
        while let Phase::Birth(birth) = &mut self.phase {
            match birth.hear() {
                None => return,
                Some(News::Started(pid, start_time)) => self.on_process(pid, start_time),
                Some(News::Ended(Some(failure))) => self.on_failure(&failure),
                Some(News::Ended(None)) if self.init.is_none() && self.ended.is_none() => {
                    let error = Error::new("the chain ended without a container").code(125);
                    self.on_failure(&Failure::new("wb-monitor", "run", &error));
                }
                Some(News::Ended(None)) => self.on_running(),
            }
        }
    }

    fn on_process(&mut self, pid: i32, start_time: u64) {
        self.init = Some((pid, start_time));
        // It only saves time: where it cannot be had, all goes on as well.
        self.mounts = std::fs::File::open(format!("/proc/{pid}/ns/mnt")).ok();
        let was_stored = self.record.is_stored();
        match self.record.started(pid, start_time, self.restarts) {
            Ok(()) => {}
            Err(error) if was_stored => self.add_note(&error.to_string()),
            // Nobody would know of it; or somebody removes it at this moment.
            Err(error) => return self.on_failure(&Failure::new("wb-monitor", "run", &error.code(125))),
        }
        if let Some(path) = &self.task.settings.run.pidfile {
            if let Err(error) = std::fs::write(path, pid.to_string()) {
                self.add_note(&format!("{path}: {error}"));
            }
        }
    }

    fn on_running(&mut self) {
        self.phase = Phase::Running;
        self.started_at = Some(Instant::now());
        if self.task.settings.run.detach {
            // Nobody is to wait for us, not even for the end of a trace.
            wb_sys::trace::end_on_stderr();
        }
        for viewer in &mut self.viewers {
            viewer.send(&Answer::Running);
        }
        for number in std::mem::take(&mut self.pending) {
            self.signal(number);
        }
        self.sweep = self.task.sweep.take().and_then(|pipeline| Sweep::start(&pipeline, &self.task.place));
        if let Some(end) = self.ended.take() {
            self.on_end(end);
        } else if let (Some(check), Some(program)) = (&self.check, &self.task.health) {
            match Health::begin(check.clone(), program.clone(), &self.record) {
                Ok(health) => self.health = Some(health),
                Err(error) => self.add_note(&error.to_string()),
            }
        }
    }

    /// Does something with the checks, if there are any. Where a result cannot be written, the next one may.
    pub(super) fn check_health(&mut self, act: impl FnOnce(&mut Health, &Record) -> Result<(), Error>) {
        let done = self.health.as_mut().map_or(Ok(()), |health| act(health, &self.record));
        if let Err(error) = done {
            self.add_note(&error.to_string());
        }
    }

    fn is_probe(&mut self, pid: i32, code: u8) -> bool {
        let known = self.health.as_mut().map(|health| health.reaped(pid, code, &self.record));
        known.transpose().unwrap_or_default().unwrap_or_default()
    }

    fn on_failure(&mut self, failure: &Failure) {
        if let Some((pid, _)) = self.init {
            // It has said that it failed; it must not live on half-made.
            child::kill(pid, Signal::SIGKILL as i32, "a failed birth leaves nothing behind").ok();
        }
        let message = birth::message(failure);
        let end = End { code: failure.code, oom_killed: false };
        self.outcome = Some(Outcome::Failed { code: failure.code, message: message.clone() });
        self.hear_everybody();
        if self.restarts > 0 && !self.stopping && self.wants_restart(end) {
            // What was in the way may be gone by the next time. Whoever is left of this one is nobody's process.
            self.init = None;
            self.ended = None;
            self.restart_later(end, Some(&message));
            return;
        }
        if self.restarts > 0 {
            self.finish(|record, stopped| record.exited(end, stopped, None));
        } else {
            self.finish(|record, _| record.failed(failure.code, &message));
        }
    }

    fn on_end(&mut self, end: End) {
        if matches!(self.phase, Phase::Birth(_)) {
            // The status pipe says whether that was the user's program or one of ours.
            self.ended = Some(end);
            self.on_status();
            return;
        }
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        self.health = None;
        // The kernel ends all processes of a pid namespace before it reports the first: nothing is written any more.
        for stream in STREAMS {
            let mut turns = 0;
            while turns < MAX_TAIL_TURNS && self.take_output(stream) {
                turns += 1;
            }
            self.end_output(stream);
        }
        self.log.end();
        self.ours.input = None;
        self.outcome = Some(Outcome::Exited(end));
        self.hear_everybody();
        if self.stopping || !self.wants_restart(end) {
            self.exited(end);
        } else {
            if self.started_at.is_some_and(|since| since.elapsed() >= STEADY) {
                self.quick_restarts = 0;
            }
            self.restart_later(end, None);
        }
    }

    /// Lets everybody go, and waits: longer each time.
    fn restart_later(&mut self, end: End, error: Option<&str>) {
        let wait = back_off(self.quick_restarts);
        self.quick_restarts += 1;
        if let Err(error) = self.record.restarting(end, error) {
            self.add_note(&error.to_string());
        }
        self.mounts = None;
        self.tell_outcome();
        self.outcome = Some(Outcome::Exited(end));
        self.phase = Phase::Waiting(Instant::now() + wait);
    }

    fn exited(&mut self, end: End) {
        let log_failure = self.log.failure().map(|errno| format!("{} ({errno:?})", errno.desc()));
        self.finish(|record, stopped| record.exited(end, stopped, log_failure));
    }

    /// The policy as it is now: `wb update` may have changed it.
    fn wants_restart(&self, end: End) -> bool {
        let policy = &self.task.settings.run.restart;
        let policy = match store::read(&self.task.place, &self.task.id) {
            Ok(document) => document.read::<Restart>("/wb/run/restart").ok().flatten().unwrap_or_default(),
            // Without its record it could not be born again.
            Err(_) if !self.directory.exists() => return false,
            Err(_) => policy.clone(),
        };
        restarts(&policy, end.code, self.restarts)
    }

    /// Kills what was asked to end and had its time.
    pub(super) fn kill_when_due(&mut self) {
        if self.kill_at.is_some_and(|at| Instant::now() >= at) {
            self.kill_at = None;
            self.signal(Signal::SIGKILL as i32);
        }
    }

    /// It is to end: it is not started again.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        if let (Phase::Waiting(_), Some(Outcome::Exited(end))) = (&self.phase, &self.outcome) {
            let end = *end;
            self.exited(end);
        }
    }

    /// Runs the chain once more. Network, cgroup and root file system are still there; the namespaces that died with
    /// the process are made anew by the chain itself.
    pub(super) fn again(&mut self) {
        self.restarts += 1;
        let born = store::read(&self.task.place, &self.task.id).and_then(|document| {
            let settings = Settings::of(&document)?;
            let stdio = Stdio::new(&settings, self.task.size)?;
            let birth = Birth::start(&self.task.chain, &document, &stdio.theirs)?;
            Ok((stdio.ours, birth))
        });
        match born {
            Ok((ours, birth)) => {
                self.ours = ours;
                self.phase = Phase::Birth(birth);
            }
            Err(error) => self.on_failure(&Failure::new("wb-monitor", "run", &error.code(125))),
        }
    }

    /// Writes down how it ended, and cleans up. The programs of the clean-up start while that is written.
    fn finish(&mut self, write: impl FnOnce(&Record, bool) -> Result<Document, Error>) {
        self.ours.input = None;
        for stream in STREAMS {
            self.end_output(stream);
        }
        self.phase = Phase::Over;
        let ready = self.ready.take().map(|(finish, _)| Ok(finish));
        let begun = ready.or_else(|| self.task.finish.as_ref().map(Finish::begin));
        let written = write(&self.record, self.stop_wanted);
        if let Err(error) = &written {
            self.add_note(&error.to_string());
        }
        let started = begun.map(|begun| {
            let mut finish = begun?;
            // What could not be written can still be read, or is known here alone.
            let document =
                written.or_else(|_| self.record.read()).or_else(|error| self.record.made().ok_or(error));
            let started = document.and_then(|document| finish.start(&document));
            finish.give_up();
            self.phase = Phase::Finishing(finish);
            started
        });
        self.mounts = None;
        if let Some(Err(error)) = started {
            self.add_note(&error.to_string());
        }
        self.finished();
    }

    /// Goes on if the clean-up has ended.
    fn finished(&mut self) {
        if let Phase::Finishing(finish) = &mut self.phase {
            if finish.is_over() {
                let note = finish.note();
                self.add_note(&note);
                self.phase = Phase::Over;
            }
        }
    }

    /// Tells every client how it ended, and lets it go.
    fn tell_outcome(&mut self) {
        for mut viewer in std::mem::take(&mut self.viewers) {
            let rest = viewer.end_streams();
            match &self.outcome {
                Some(Outcome::Exited(end)) => viewer.say_exited(end.code, rest, &self.note),
                Some(Outcome::Failed { code, message }) => {
                    viewer.send(&Answer::Failed { code: *code, message: message.clone() });
                }
                None => {}
            }
        }
    }

    pub(super) fn farewell(&mut self) {
        let path = self.task.place.container_run(&self.task.id).join(SOCKET);
        // The clean-up may have removed it with its directory.
        std::fs::remove_file(path).ok();
        self.accept();
        // Before anybody hears of the end: they may start the container again at once.
        self.lock = None;
        self.tell_outcome();
    }

    fn add_note(&mut self, note: &str) {
        if !note.is_empty() && self.note.is_empty() {
            note.clone_into(&mut self.note);
        }
    }
}

/// How long to wait before the next restart, after `quick` ones that did not last.
fn back_off(quick: u32) -> Duration {
    BACK_OFF.saturating_mul(1 << quick.min(16)).min(MAX_BACK_OFF)
}

/// Whether a container that ended with `code` after `restarts` restarts is to be started again.
fn restarts(policy: &Restart, code: u8, restarts: u64) -> bool {
    match policy.name.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => code != 0 && (policy.max == 0 || restarts < policy.max),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_as_docker_has_them() {
        let policy = |name: &str, max| Restart { name: name.into(), max };
        assert!(!restarts(&policy("", 0), 1, 0));
        assert!(!restarts(&policy("no", 0), 1, 0));
        assert!(restarts(&policy("always", 0), 0, 1000));
        assert!(restarts(&policy("unless-stopped", 0), 137, 5));
        assert!(!restarts(&policy("on-failure", 0), 0, 0));
        assert!(restarts(&policy("on-failure", 3), 1, 2));
        assert!(!restarts(&policy("on-failure", 3), 1, 3));
    }

    #[test]
    fn waits_grow_up_to_a_minute() {
        assert_eq!(back_off(0), Duration::from_millis(100));
        assert_eq!(back_off(3), Duration::from_millis(800));
        assert_eq!(back_off(60), MAX_BACK_OFF);
    }
}
