//! The one funnel every kernel call goes through: it shows the call, and in tests it kills the caller at the
//! N-th one.
//!
//! `WB_TRACE=1` prints each call on standard error in strace's notation with its result, its duration in seconds
//! and a few words of why; `WB_TRACE=json` one JSON object a call; `WB_TRACE=FILE` (and `json:FILE`) appends to a
//! file. A call that is made is a call that is shown.
//!
//! Where the lines go is kept under a high number, out of the way of the tools' own descriptors, and [`handed_on`]
//! gives it to the next tool as `fd:N:VALUE`: that tool may have other standard streams, or another root.

use crate::{Result, process};
use std::ffi::{CString, OsStr};
use std::fmt::{Display, Write as _};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// The lowest number of the descriptor the lines go to.
const SINK_MIN: RawFd = 200;

/// What the environment asked for.
#[derive(Default)]
struct Mode {
    sink: Option<File>,
    /// The value the user gave.
    value: String,
    json: bool,
    terminal: bool,
    colour: bool,
    kill_at: Option<u64>,
}

static MODE: OnceLock<Mode> = OnceLock::new();
static CALLS: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicBool = AtomicBool::new(false);

fn mode() -> &'static Mode {
    MODE.get_or_init(|| {
        let kill_at = std::env::var("WB_KILL_AT").ok().and_then(|value| kill_at(&value));
        let Some(value) = std::env::var_os(VARIABLE) else { return Mode { kill_at, ..Mode::default() } };
        let value = value.to_string_lossy();
        let (inherited, value) = split(&value);
        let json = value == "json" || value.starts_with("json:");
        let kept = inherited.and_then(|number| crate::fd::inherited(number).ok());
        let sink = kept.map(File::from).or_else(|| open(value));
        let terminal = sink.as_ref().is_some_and(File::is_terminal);
        let colour = terminal && !json && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Mode { sink, value: value.to_owned(), json, terminal, colour, kill_at }
    })
}

/// What [`handed_on`] made, taken apart: the descriptor's number and what the user gave.
fn split(value: &str) -> (Option<RawFd>, &str) {
    let parts = value.strip_prefix("fd:").and_then(|rest| rest.split_once(':'));
    match parts.and_then(|(number, value)| Some((number.parse().ok()?, value))) {
        Some((number, value)) => (Some(number), value),
        None => (None, value),
    }
}

/// `1`, `json`, or a file's path, which may have `json:` in front of it. A trace nobody can read must not stop the
/// work, and the tool's own message would come too early.
fn open(value: &str) -> Option<File> {
    match value.strip_prefix("json:").unwrap_or(value) {
        "" | "0" => None,
        "1" | "json" => high(2).ok(),
        path => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path).ok()?;
            high(file.as_raw_fd()).ok()
        }
    }
}

fn high(number: RawFd) -> Result<File> {
    // A low limit on open files leaves no high numbers.
    crate::fd::duplicate(number, SINK_MIN).or_else(|_| crate::fd::duplicate(number, 3)).map(File::from)
}

/// Whether calls are being shown.
pub fn is_on() -> bool {
    mode().sink.is_some() && !ENDED.load(Ordering::Relaxed)
}

/// The number of the descriptor the lines go to, which whoever closes all others leaves open.
pub(crate) fn descriptor() -> Option<RawFd> {
    mode().sink.as_ref().filter(|_| is_on()).map(AsRawFd::as_raw_fd)
}

/// Makes `environment` (`NAME=value` each) that of the program `argv0`, about to be executed: one of the tools finds
/// the trace where it is now, any other program what the user gave.
pub(crate) fn handed_on(argv0: &OsStr, mut environment: Vec<CString>) -> Vec<CString> {
    let mode = mode();
    let Some(sink) = &mode.sink else { return environment };
    environment.retain(|variable| !variable.as_bytes().starts_with(b"WB_TRACE="));
    let value = if !is_on() {
        None
    } else if crate::program::is_tool(argv0) && crate::fd::set_cloexec(sink, false).is_ok() {
        Some(format!("{VARIABLE}=fd:{}:{}", sink.as_raw_fd(), mode.value))
    } else {
        Some(format!("{VARIABLE}={}", mode.value))
    };
    environment.extend(value.and_then(|value| CString::new(value).ok()));
    environment
}

/// Shows nothing more, and lets go of where it went.
pub(crate) fn end() {
    if let Some(sink) = descriptor() {
        ENDED.store(true, Ordering::Relaxed);
        nix::unistd::close(sink).ok();
    }
}

/// To be called by a process that will outlive its caller: a trace on standard error ends, since the caller may wait
/// for that to be closed; one in a file goes on.
pub fn end_on_stderr() {
    if matches!(mode().value.as_str(), "1" | "json") {
        end();
    }
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
    if !is_on() {
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

/// Tells, as JSON alone, that this program has begun: a timeline has a lane then for one that only reads and writes, too.
/// A person sees that without being told.
pub(crate) fn begin() {
    if is_on() && mode().json {
        let argv: Vec<CString> =
            std::env::args_os().filter_map(|word| CString::new(word.into_encoded_bytes()).ok()).collect();
        let program = argv.first().map_or(String::new(), |word| quoted(process::lossy(word)));
        print(&format!("execve({program}, {})", process::shown_argv(&argv)), "", None, "the program begins");
    }
}

/// Tells, as JSON alone, that this program ends with `status`.
pub(crate) fn exit(status: i32) {
    if is_on() && mode().json {
        print(&format!("exit_group({status})"), "", None, "the program ends");
    }
}

fn print(call: &str, result: &str, duration: Option<Duration>, why: &str) {
    let mode = mode();
    let tool = std::env::args_os().next().unwrap_or_default();
    let tool = Path::new(&tool).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let line = if mode.json {
        json_line(&tool, call, result, duration, why)
    } else {
        let paint = |code: &'static str| if mode.colour { code } else { "" };
        let (dim, bold, plain) = (paint("\x1b[2m"), paint("\x1b[1m"), paint("\x1b[0m"));
        let red = if result.starts_with("-1 ") { paint("\x1b[31m") } else { "" };
        let ending = duration
            .map(|duration| format!(" = {red}{result}{plain} {dim}<{:.6}>{plain}", duration.as_secs_f64()));
        let (name, arguments) = call.split_at(call.find('(').unwrap_or_default());
        let (who, cyan) = (format!("{tool}[{}]", std::process::id()), paint("\x1b[36m"));
        let ending = ending.unwrap_or_default();
        format!("{cyan}{who}{plain} {bold}{name}{plain}{arguments}{ending}  {dim}# {why}{plain}\n")
    };
    // Where a container has the terminal it is raw, and a new line does not begin at its left by itself.
    let line = if mode.terminal { line.replace('\n', "\r\n") } else { line };
    // One write a line, so that lines of programs side by side do not mix; and a trace nobody can read must not
    // stop the work.
    mode.sink.as_ref().map(|mut sink| sink.write_all(line.as_bytes()).ok());
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

/// `WB_KILL_AT=[TOOL:]N`: the number, if this is that tool.
fn kill_at(value: &str) -> Option<u64> {
    let Some((tool, number)) = value.split_once(':') else { return value.parse().ok() };
    let own = std::env::args_os().next()?;
    (Path::new(&own).file_name()? == tool).then(|| number.parse().ok())?
}

/// The test mode behind `WB_KILL_AT=[TOOL:]N`: SIGKILL at the N-th kernel call of this process, counted from 1.
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
    fn what_is_handed_on_holds_what_the_user_gave() {
        assert_eq!(split("fd:200:json:/tmp/a:b"), (Some(200), "json:/tmp/a:b"));
        assert_eq!(split("fd:7"), (None, "fd:7"));
        assert_eq!(split("1"), (None, "1"));
    }

    #[test]
    fn a_json_line_holds_whatever_a_path_holds() {
        let line = json_line("wb-x", "mkdir(\"a\\n\u{1b}\")", "0", Some(Duration::from_micros(5)), "why");
        assert!(line.contains(r#""name":"mkdir","call":"mkdir(\"a\\n\u001b\")","why":"why","result":"0","seconds":0.000005}"#), "{line}");
    }
}
