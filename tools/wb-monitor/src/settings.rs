//! What the document says about how its container is attended: `wb.run`, `process.terminal`, `process.user`.

use serde::Deserialize;
use wb_doc::oci::{ConsoleSize, IdMapping};
use wb_doc::{Document, Error, units};

/// The grace between the stop signal and SIGKILL where none is said, in seconds.
pub const STOP_TIMEOUT_S: i64 = 10;

/// `wb.run`; docker's flags under docker's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Run {
    /// `-d`: nobody waits for it.
    pub detach: bool,
    /// `-i`: standard input is kept open.
    pub interactive: bool,
    /// `-t`: a pty.
    pub tty: bool,
    /// `-a`: which streams; empty means all there are.
    pub attach: Vec<String>,
    /// `--rm`.
    pub remove: bool,
    /// `--sig-proxy`; absent means yes.
    pub sig_proxy: Option<bool>,
    /// `--detach-keys`.
    pub detach_keys: Option<String>,
    /// `--stop-signal`.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, in seconds.
    pub stop_timeout: Option<i64>,
    /// `--restart`.
    pub restart: Restart,
    /// `--log-opt`.
    pub log: LogOptions,
    /// `--pidfile`.
    pub pidfile: Option<String>,
}

/// `wb.run.restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Restart {
    /// `no`, `on-failure`, `always` or `unless-stopped`.
    pub name: String,
    /// For `on-failure`: how often at most; 0 means without end.
    pub max: u64,
}

/// `wb.run.log`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogOptions {
    driver: String,
    max_size: Option<Size>,
    max_file: Option<Size>,
}

/// A number, or a person's spelling of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Size {
    Number(i64),
    Text(String),
}

/// How large the log may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// One file, in bytes.
    pub max_bytes: u64,
    /// How many files, the one being written included.
    pub files: u32,
}

impl LogOptions {
    /// Whether nothing is to be logged: `--log-driver none`.
    pub fn is_off(&self) -> bool {
        self.driver == "none"
    }

    /// The limits with the defaults filled in: 10 MiB, three files. A size of -1 is no limit.
    pub fn limits(&self) -> Result<LogLimits, Error> {
        let max_bytes = match &self.max_size {
            None => 10 << 20,
            Some(Size::Number(bytes)) => *bytes,
            Some(Size::Text(text)) => units::bytes(text)?,
        };
        let files = match &self.max_file {
            None => Some(3),
            Some(Size::Number(count)) => u32::try_from(*count).ok(),
            Some(Size::Text(text)) => text.parse().ok(),
        };
        let files = files
            .filter(|&files| files > 0)
            .ok_or_else(|| Error::usage("log option max-file: a number of files, 1 or more"))?;
        // A file smaller than one record would be turned over at each write.
        let max_bytes = if max_bytes <= 0 { u64::MAX } else { u64::try_from(max_bytes).unwrap_or(u64::MAX) };
        Ok(LogLimits { max_bytes, files })
    }
}

/// Everything the monitor and the foreground client need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `wb.run`.
    pub run: Run,
    /// Whether there is a pty.
    pub tty: bool,
    /// `process.consoleSize`.
    pub console_size: Option<ConsoleSize>,
    /// Limits of the log.
    pub log: LogLimits,
    /// Who the process will be, on the host: its pty belongs to it.
    pub owner: Option<u32>,
    /// The signal that asks it to stop.
    pub stop_signal: i32,
}

impl Settings {
    /// Reads a document.
    pub fn of(document: &Document) -> Result<Self, Error> {
        let run: Run = document.read("/wb/run")?.unwrap_or_default();
        let uid: u32 = document.read("/process/user/uid")?.unwrap_or_default();
        let maps: Vec<IdMapping> = document.read("/linux/uidMappings")?.unwrap_or_default();
        Ok(Self {
            tty: run.tty || document.read("/process/terminal")?.unwrap_or_default(),
            console_size: document.read("/process/consoleSize")?,
            log: run.log.limits()?,
            owner: on_host(uid, &maps),
            stop_signal: stop_signal(&run)?,
            run,
        })
    }

    /// Whether the foreground client attaches to a stream: `stdin`, `stdout`, `stderr`.
    pub fn attaches(&self, stream: &str) -> bool {
        let named = self.run.attach.is_empty() || self.run.attach.iter().any(|word| word == stream);
        named && (stream != "stdin" || self.run.interactive)
    }
}

/// The signal that asks a container to stop; SIGTERM where none is named.
pub fn stop_signal(run: &Run) -> Result<i32, Error> {
    let word = run.stop_signal.as_deref().filter(|word| !word.is_empty()).unwrap_or("TERM");
    wb_sys::signal::parse(word).map_err(|_| Error::usage(format!("invalid stop signal {word:?}")))
}

/// The host's number for the container's user `uid`; none where it has none.
fn on_host(uid: u32, maps: &[IdMapping]) -> Option<u32> {
    if maps.is_empty() {
        return Some(uid);
    }
    maps.iter().find_map(|map| {
        let offset = uid.checked_sub(map.container_id).filter(|&offset| offset < map.size)?;
        map.host_id.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Settings, Error> {
        Settings::of(&Document::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn an_empty_document_gets_the_defaults() {
        let settings = of("{}").unwrap();
        assert_eq!(settings.log, LogLimits { max_bytes: 10 << 20, files: 3 });
        assert_eq!((settings.tty, settings.stop_signal, settings.owner), (false, 15, Some(0)));
        assert!(settings.attaches("stdout") && settings.attaches("stderr") && !settings.attaches("stdin"));
    }

    #[test]
    fn reads_what_the_flags_said() {
        let text = r#"{"process":{"terminal":true,"user":{"uid":5}},"wb":{"run":{"interactive":true,
            "attach":["stdin","stdout"],"stopSignal":"SIGQUIT","log":{"maxSize":"1k","maxFile":2}}},
            "linux":{"uidMappings":[{"containerID":0,"hostID":1000,"size":10}]}}"#;
        let settings = of(text).unwrap();
        assert_eq!(settings.log, LogLimits { max_bytes: 1024, files: 2 });
        assert_eq!((settings.tty, settings.stop_signal, settings.owner), (true, 3, Some(1005)));
        assert!(settings.attaches("stdin") && !settings.attaches("stderr"));
    }

    #[test]
    fn refuses_nonsense() {
        assert!(of(r#"{"wb":{"run":{"stopSignal":"SIGFOO"}}}"#).is_err());
        assert!(of(r#"{"wb":{"run":{"log":{"maxFile":0}}}}"#).is_err());
        assert!(of(r#"{"wb":{"run":{"log":{"maxSize":"big"}}}}"#).is_err());
    }
}
