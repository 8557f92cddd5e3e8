//! Messages for engines: a line each in the file they name, as text or as JSON.

use crate::cli::Global;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use wb_doc::Error;

/// Where messages go.
#[derive(Debug)]
pub struct Log {
    file: Option<PathBuf>,
    json: bool,
    debug: bool,
}

impl Log {
    /// What the command line says.
    pub fn of(global: &Global) -> Self {
        let file = global.log.clone().filter(|path| !path.as_os_str().is_empty());
        Self { file, json: global.log_format == "json", debug: global.debug }
    }

    /// The failure this program ends with.
    pub fn error(&self, error: &Error) {
        self.line("error", &error.to_string());
    }

    /// What was done otherwise than asked.
    pub fn warning(&self, message: &str) {
        self.line("warning", message);
    }

    /// How it goes on, for `--debug`.
    pub fn debug(&self, message: &str) {
        if self.debug {
            self.line("debug", message);
        }
    }

    fn line(&self, level: &str, message: &str) {
        let Some(path) = &self.file else { return };
        let time = jiff::Timestamp::now();
        let line = if self.json {
            format!("{}\n", json!({"level": level, "msg": message, "time": format!("{time:.0}")}))
        } else {
            format!("time=\"{time:.0}\" level={level} msg={message:?}\n")
        };
        let opened = OpenOptions::new().append(true).create(true).open(path);
        // A log that cannot be written must not stop the work; failures are on standard error too.
        opened.and_then(|mut file| file.write_all(line.as_bytes())).ok();
    }
}
