//! The one funnel every kernel call goes through: it shows the call, and in tests it kills the caller at the
//! N-th one.
//!
//! `WB_TRACE=1` prints each call on standard error in strace's notation with its result, its duration in seconds
//! and a few words of why; `WB_TRACE=json` one JSON object a call; `WB_TRACE=FILE` (and `json:FILE`) appends to a
//! file. A call that is made is a call that is shown.

use crate::Result;
use std::ffi::OsStr;
use std::fmt::{Display, Write as _};
use std::io::{IsTerminal, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The environment variable that asks for the trace.
pub const VARIABLE: &str = "WB_TRACE";

/// How a call's result is shown.
pub trait Returned {
    /// The value as strace prints it.
    fn shown(&self) -> String;

    /// Whether this return is shown: a call that returns in two processes is shown once.
    fn is_shown(&self) -> bool {
        true
    }
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
#[derive(Default)]
struct Mode {
    sink: Option<Sink>,
    json: bool,
    colour: bool,
    kill_at: Option<u64>,
}

/// Where the lines go.
enum Sink {
    Stderr,
    File(std::fs::File),
}

static MODE: OnceLock<Mode> = OnceLock::new();
static CALLS: AtomicU64 = AtomicU64::new(0);

fn mode() -> &'static Mode {
    MODE.get_or_init(|| {
        let kill_at = std::env::var("WB_KILL_AT").ok().and_then(|value| value.parse().ok());
        let value = std::env::var_os(VARIABLE).unwrap_or_default();
        let (sink, json) = parse(&value);
        let colour = matches!(sink, Some(Sink::Stderr))
            && !json
            && std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Mode { sink, json, colour, kill_at }
    })
}

/// `1`, `json`, a file's path, or what [`inherit`] made of them: `fd:N` and `json:fd:N`.
fn parse(value: &OsStr) -> (Option<Sink>, bool) {
    let text = value.to_string_lossy();
    let (json, text) = match text.strip_prefix("json:") {
        Some(rest) => (true, rest),
        None => (false, text.as_ref()),
    };
    let append = |path: &str| {
        // A trace nobody can read must not stop the work; the shell's own message would come too early.
        std::fs::OpenOptions::new().create(true).append(true).open(path).ok().map(Sink::File)
    };
    match text.strip_prefix("fd:").and_then(|number| number.parse().ok()) {
        Some(number) => (crate::fd::duplicate(number).ok().map(|fd| Sink::File(fd.into())), json),
        None => match text {
            "" | "0" => (None, json),
            "json" => (Some(Sink::Stderr), true),
            "1" => (Some(Sink::Stderr), json),
            path => (append(path), json),
        },
    }
}

/// Puts the trace's sink at descriptor `number`, inheritable, and returns the value of `WB_TRACE` that finds it
/// there: for programs whose standard error is somebody else's, or that have left the host's file system.
///
/// `None` where nothing is traced.
pub fn inherit(number: RawFd) -> Result<Option<String>> {
    let mode = mode();
    let fd = match &mode.sink {
        None => return Ok(None),
        Some(Sink::Stderr) => crate::child::place(std::io::stderr(), number),
        Some(Sink::File(file)) => crate::child::place(file, number),
    };
    fd.map(|()| Some(format!("{}fd:{number}", if mode.json { "json:" } else { "" })))
}

/// Whether calls are being shown.
pub fn is_on() -> bool {
    mode().sink.is_some()
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
    if mode.sink.is_none() {
        return act();
    }
    let text = show();
    let start = Instant::now();
    let result = act();
    let duration = start.elapsed();
    match &result {
        Ok(value) if !value.is_shown() => {}
        Ok(value) => print(&text, &value.shown(), Some(duration), why),
        Err(errno) => print(&text, &format!("-1 {errno:?} ({})", errno.desc()), Some(duration), why),
    }
    result
}

/// Shows a call that does not return when it succeeds, before it is made.
pub fn before(why: &str, show: impl FnOnce() -> String) {
    if let Some(kill_at) = mode().kill_at {
        die_at(kill_at);
    }
    if is_on() {
        print(&show(), "", None, why);
    }
}

fn print(call: &str, result: &str, duration: Option<Duration>, why: &str) {
    let mode = mode();
    let tool = std::env::args_os().next().unwrap_or_default();
    let tool = Path::new(&tool).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let line = if mode.json {
        json_line(&tool, call, result, duration, why)
    } else {
        let ending = duration.map(|duration| format!(" = {result} <{:.6}>", duration.as_secs_f64()));
        let (dim, plain) = if mode.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let ending = ending.unwrap_or_default();
        format!("{dim}{tool}[{}]{plain} {call}{ending}  {dim}# {why}{plain}\n", std::process::id())
    };
    // One write a line, so that lines of programs side by side do not mix; and a trace nobody can read must not
    // stop the work.
    match &mode.sink {
        Some(Sink::File(file)) => (&*file).write_all(line.as_bytes()).ok(),
        _ => std::io::stderr().write_all(line.as_bytes()).ok(),
    };
}

/// One JSON object: when the call was made (seconds of the epoch), by whom, what, its result, seconds, and why.
fn json_line(tool: &str, call: &str, result: &str, duration: Option<Duration>, why: &str) -> String {
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = end.saturating_sub(duration.unwrap_or_default()).as_secs_f64();
    let name = call.split('(').next().unwrap_or_default();
    let mut line = format!(
        "{{\"time\":{start:.6},\"tool\":{},\"pid\":{},\"name\":{},\"call\":{},\"why\":{}",
        json(tool),
        std::process::id(),
        json(name),
        json(call),
        json(why)
    );
    if let Some(duration) = duration {
        // Writing to a String cannot fail.
        write!(line, ",\"result\":{},\"seconds\":{:.6}", json(result), duration.as_secs_f64()).ok();
    }
    line.push_str("}\n");
    line
}

/// A JSON string (RFC 8259, section 7).
fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a String cannot fail.
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)).unwrap_or(()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_holds_whatever_a_path_holds() {
        let line = json_line("wb-x", "mkdir(\"a\\n\u{1b}\")", "0", Some(Duration::from_micros(5)), "why");
        assert!(line.contains(r#""name":"mkdir","call":"mkdir(\"a\\n\u001b\")","why":"why","result":"0","seconds":0.000005}"#), "{line}");
    }
}
