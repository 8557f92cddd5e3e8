//! What a person sees meanwhile, on standard error: one bar a layer on a terminal, else a line for each that ends.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(100);
const BAR_COLUMNS: u64 = 30;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Bars that are redrawn.
    Bars,
    /// A line for each event.
    Lines,
    /// Nothing.
    Nothing,
}

impl Show {
    /// What suits standard error.
    pub fn suitable(quiet: bool) -> Self {
        match (quiet, io::stderr().is_terminal()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Bars,
            (false, false) => Self::Lines,
        }
    }
}

/// All layers' progress.
#[derive(Debug)]
pub struct Progress {
    show: Show,
    screen: Mutex<Screen>,
}

#[derive(Debug)]
struct Screen {
    bars: Vec<Arc<State>>,
    drawn: usize,
    last: Option<Instant>,
}

#[derive(Debug)]
struct State {
    name: String,
    size: u64,
    at: AtomicU64,
    end: Mutex<Option<&'static str>>,
}

/// One layer's progress.
#[derive(Debug, Clone)]
pub struct Bar {
    state: Arc<State>,
    progress: Option<Arc<Progress>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panicked painter leaves at worst a wrong picture.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    /// Nothing to show yet.
    pub fn new(show: Show) -> Arc<Self> {
        Arc::new(Self { show, screen: Mutex::new(Screen { bars: Vec::new(), drawn: 0, last: None }) })
    }

    /// A line of its own, above the bars.
    pub fn say(&self, line: &str) {
        if self.show == Show::Nothing {
            return;
        }
        let mut screen = lock(&self.screen);
        let mut text = screen.erase();
        text.push_str(&wb_doc::escape(line));
        text.push('\n');
        screen.draw(&mut text);
        print(&text);
    }

    /// A new bar below the others.
    pub fn bar(self: &Arc<Self>, name: &str, size: u64) -> Bar {
        let state =
            Arc::new(State { name: name.to_owned(), size, at: AtomicU64::new(0), end: Mutex::new(None) });
        if self.show == Show::Bars {
            let mut screen = lock(&self.screen);
            let mut text = screen.erase();
            screen.bars.push(Arc::clone(&state));
            screen.draw(&mut text);
            print(&text);
        }
        Bar { state, progress: Some(Arc::clone(self)) }
    }

    fn redraw(&self, now: bool) {
        let mut screen = lock(&self.screen);
        if !now && screen.last.is_some_and(|last| last.elapsed() < REDRAW) {
            return;
        }
        screen.last = Some(Instant::now());
        let mut text = screen.erase();
        screen.draw(&mut text);
        print(&text);
    }
}

impl Screen {
    /// Moves to the first bar's line and clears everything below.
    fn erase(&mut self) -> String {
        let up = std::mem::take(&mut self.drawn);
        if up == 0 { String::new() } else { format!("\x1b[{up}A\x1b[J") }
    }

    fn draw(&mut self, text: &mut String) {
        for bar in &self.bars {
            text.push_str(&bar.line());
            text.push('\n');
        }
        self.drawn = self.bars.len();
    }
}

impl State {
    fn line(&self) -> String {
        if let Some(end) = *lock(&self.end) {
            return format!("{}: {end} ({})", self.name, size(self.size));
        }
        let at = self.at.load(Ordering::Relaxed);
        let full = (at * BAR_COLUMNS).checked_div(self.size).unwrap_or_default().min(BAR_COLUMNS);
        let mut line = format!("{}: [", self.name);
        for column in 0..BAR_COLUMNS {
            line.push(if column < full { '=' } else { ' ' });
        }
        // Writing to a String cannot fail.
        write!(line, "] {}/{}", size(at), size(self.size)).ok();
        line
    }
}

impl Bar {
    /// A bar nobody sees.
    pub fn hidden() -> Self {
        let state = State { name: String::new(), size: 0, at: AtomicU64::new(0), end: Mutex::new(None) };
        Self { state: Arc::new(state), progress: None }
    }

    /// So many bytes more.
    pub fn add(&self, bytes: u64) {
        self.state.at.fetch_add(bytes, Ordering::Relaxed);
        if let Some(progress) = self.progress.as_ref().filter(|progress| progress.show == Show::Bars) {
            progress.redraw(false);
        }
    }

    /// So many bytes in all, where it goes on from another place.
    pub fn set(&self, bytes: u64) {
        self.state.at.store(bytes, Ordering::Relaxed);
    }

    /// The layer is there; `how` it came.
    pub fn done(&self, how: &'static str) {
        *lock(&self.state.end) = Some(how);
        if let Some(progress) = &self.progress {
            match progress.show {
                Show::Bars => progress.redraw(true),
                Show::Lines => print(&format!("{}\n", self.state.line())),
                Show::Nothing => {}
            }
        }
    }
}

/// A size for people, in powers of ten as docker shows it.
pub fn size(bytes: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "kB", "MB", "GB", "TB"] {
        if bytes < unit * 1000 || name == "TB" {
            if unit == 1 {
                return format!("{bytes} B");
            }
            let tenths = bytes / (unit / 10);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit *= 1000;
    }
    String::new()
}

fn print(text: &str) {
    // Progress nobody can read must not stop the work.
    io::stderr().write_all(text.as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (123_456_789, "123.4 MB"),
            (5_000_000_000, "5.0 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
