//! The one funnel every kernel call goes through: it shows the call, and in tests it kills the caller at the
//! N-th one.
//!
//! `WB_TRACE=1` prints each call on standard error in strace's notation with its result, its duration in seconds
//! and a few words of why. A call that is made is a call that is shown.

use crate::Result;
use std::fmt::Display;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How a call's result is shown.
pub trait Returned {
    /// The value as strace prints it.
    fn shown(&self) -> String;
}

impl Returned for () {
    fn shown(&self) -> String {
        "0".into()
    }
}

impl Returned for OwnedFd {
    fn shown(&self) -> String {
        self.as_raw_fd().to_string()
    }
}

impl Returned for usize {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Returned for i32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Returned for nix::unistd::Pid {
    fn shown(&self) -> String {
        self.as_raw().to_string()
    }
}

impl<T: Returned, U> Returned for (T, U) {
    fn shown(&self) -> String {
        self.0.shown()
    }
}

/// What the environment asked for.
struct Mode {
    shown: bool,
    kill_at: Option<u64>,
}

static MODE: OnceLock<Mode> = OnceLock::new();
static CALLS: AtomicU64 = AtomicU64::new(0);

fn mode() -> &'static Mode {
    MODE.get_or_init(|| Mode {
        shown: std::env::var_os("WB_TRACE").is_some_and(|value| !value.is_empty() && value != "0"),
        kill_at: std::env::var("WB_KILL_AT").ok().and_then(|value| value.parse().ok()),
    })
}

/// Whether calls are being shown.
pub fn is_on() -> bool {
    mode().shown
}

/// Makes a kernel call. `show` gives it in strace's notation without the result; it is asked only when tracing.
pub fn call<T: Returned>(
    why: &str,
    show: impl FnOnce() -> String,
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mode = mode();
    if let Some(kill_at) = mode.kill_at {
        die_at(kill_at);
    }
    if !mode.shown {
        return act();
    }
    let text = show();
    let start = Instant::now();
    let result = act();
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(value) => print(&format!("{text} = {} <{seconds:.6}>", value.shown()), why),
        Err(errno) => print(&format!("{text} = -1 {errno:?} ({}) <{seconds:.6}>", errno.desc()), why),
    }
    result
}

/// Shows a call that does not return when it succeeds, before it is made.
pub fn before(why: &str, show: impl FnOnce() -> String) {
    if let Some(kill_at) = mode().kill_at {
        die_at(kill_at);
    }
    if is_on() {
        print(&show(), why);
    }
}

fn print(text: &str, why: &str) {
    let tool = std::env::args_os().next().unwrap_or_default();
    let tool = Path::new(&tool).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let line = format!("{tool}[{}] {text}  # {why}\n", std::process::id());
    // A trace nobody can read must not stop the work.
    std::io::stderr().write_all(line.as_bytes()).ok();
}

/// The test mode behind `WB_KILL_AT=N`: SIGKILL at the N-th kernel call of this process, counted from 1.
fn die_at(kill_at: u64) {
    if CALLS.fetch_add(1, Ordering::Relaxed) + 1 == kill_at {
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL).ok();
    }
}

/// `text` as strace shows a string argument: quoted, with escapes.
pub fn quoted(text: impl AsRef<std::ffi::OsStr>) -> String {
    format!("{:?}", text.as_ref().to_string_lossy())
}

/// Flag names joined as strace joins them; `0` when there are none.
pub fn flags<D: Display>(names: impl IntoIterator<Item = D>) -> String {
    let joined = names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join("|");
    if joined.is_empty() { "0".into() } else { joined }
}
