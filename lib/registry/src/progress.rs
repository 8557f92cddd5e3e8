//! What a person sees meanwhile, on standard error: one bar a layer on a terminal, else a line for each that ends.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(100);
const BAR_COLUMNS: usize = 30;
/// What a line has beside its bar: the layer's short name, and two sizes.
const TEXT_COLUMNS: usize = 38;

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
    /// How a line ends: where bars are drawn, it may lie over a longer one.
    fn line_end(self) -> &'static str {
        if self == Self::Bars { "\x1b[K\n" } else { "\n" }
    }

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
        let mut text = screen.back();
        text.push_str(&wb_doc::escape(line));
        text.push_str(self.show.line_end());
        screen.draw(&mut text);
        print(&text);
    }

    /// A new bar below the others.
    pub fn bar(self: &Arc<Self>, name: &str, size: u64) -> Bar {
        let state =
            Arc::new(State { name: name.to_owned(), size, at: AtomicU64::new(0), end: Mutex::new(None) });
        if self.show == Show::Bars {
            let mut screen = lock(&self.screen);
            let mut text = screen.back();
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
        let mut text = screen.back();
        screen.draw(&mut text);
        print(&text);
    }
}

impl Screen {
    /// Moves to the first bar's line. What is written next goes over the old lines, and erases each only to its end: a
    /// screen cleared from its very top goes into the history of some terminals.
    fn back(&mut self) -> String {
        let up = std::mem::take(&mut self.drawn);
        if up == 0 { String::new() } else { format!("\x1b[{up}A") }
    }

    /// What has ended gets its last line, which scrolls away as any other. What goes on is drawn again each time: no
    /// wider and no higher than the terminal, or going back to its first line would end somewhere else.
    fn draw(&mut self, text: &mut String) {
        let (ended, bars): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.bars).into_iter().partition(|bar| lock(&bar.end).is_some());
        self.bars = bars;
        let size = wb_sys::tty::size(io::stderr()).unwrap_or_default();
        // A terminal that does not know its size says 0.
        let limit = |size: u16| if size == 0 { usize::MAX } else { usize::from(size - 1) };
        self.drawn = self.bars.len().min(limit(size.rows));
        for line in ended.iter().map(|bar| bar.line(usize::MAX)) {
            text.push_str(&line);
            text.push_str(Show::Bars.line_end());
        }
        for bar in &self.bars[..self.drawn] {
            text.extend(bar.line(limit(size.columns)).chars().take(limit(size.columns)));
            text.push_str(Show::Bars.line_end());
        }
        if !ended.is_empty() {
            // There may be fewer lines than before.
            text.push_str("\x1b[J");
        }
    }
}

impl State {
    /// Its line on a terminal of so many columns, where a narrow one gets a shorter bar.
    fn line(&self, columns: usize) -> String {
        if let Some(end) = *lock(&self.end) {
            return format!("{}: {end} ({})", self.name, size(self.size));
        }
        let at = self.at.load(Ordering::Relaxed);
        let width = columns.saturating_sub(TEXT_COLUMNS).min(BAR_COLUMNS);
        let full = u128::from(at) * width as u128 / u128::from(self.size.max(1));
        let full = usize::try_from(full).unwrap_or(width).min(width);
        let (done, rest) = ("=".repeat(full), " ".repeat(width - full));
        format!("{}: [{done}{rest}] {}/{}", self.name, size(at), size(self.size))
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
                Show::Lines => print(&format!("{}\n", self.state.line(usize::MAX))),
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
    fn bars_fit_into_the_terminal() {
        let state = |at| State {
            name: "0123456789ab".into(),
            size: 200_000_000,
            at: AtomicU64::new(at),
            end: Mutex::new(None),
        };
        assert_eq!(
            state(100_000_000).line(80),
            format!("0123456789ab: [{}{}] 100.0 MB/200.0 MB", "=".repeat(15), " ".repeat(15))
        );
        // More than was announced, for a moment.
        assert!(state(400_000_000).line(80).contains(&"=".repeat(30)));
        for columns in [1, 20, 40, 50, 66, 200] {
            let line = state(199_999_999).line(columns);
            assert!(line.len() <= columns.max(TEXT_COLUMNS), "{columns}: {line}");
        }
    }

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
