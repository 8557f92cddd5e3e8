//! What goes to standard output: lines, tables, JSON; and what goes beside them to standard error.

use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};
use wb_doc::{Context, Error};

/// Writes text to standard output. Nobody reading any more is a quiet end, not a failure.
pub fn text(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context(|| "standard output"),
    }
}

/// Writes one line.
pub fn line(line: &str) -> Result<(), Error> {
    text(&format!("{line}\n"))
}

/// Writes JSON: indented for a person, on one line for a program.
pub fn json(value: &impl Serialize) -> Result<(), Error> {
    let written = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    line(&written.context(|| "JSON")?)
}

/// Writes a table: columns as wide as their widest cell, three blanks between them; control characters escaped.
pub fn table(rows: &[Vec<String>]) -> Result<(), Error> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| wb_doc::escape(cell)).collect()).collect();
    let width =
        |column: usize| cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut shown = String::new();
    for row in &cells {
        for (at, cell) in row.iter().enumerate() {
            if at + 1 == row.len() {
                shown.push_str(cell);
            } else {
                let blanks = widths[at] - cell.chars().count() + 3;
                shown.push_str(cell);
                shown.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        shown.push('\n');
    }
    text(&shown)
}

/// Says on standard error what went wrong with one of several things, and goes on.
#[allow(clippy::print_stderr, reason = "messages beside the product")]
pub fn complain(verb: &str, error: &Error) {
    eprintln!("wb-image: {verb}: {error}");
    if let Some(hint) = error.advice() {
        eprintln!("hint: {hint}");
    }
}

/// A size as docker writes it: three significant digits, powers of 1000.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    // Only shown: a rounding error in the fourth digit does not matter.
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let number = format!("{value:.digits$}");
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", UNITS[unit])
}

/// How long ago something was, as docker says it.
pub fn ago(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let text = match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours <= 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if days < 14 => format!("{days} days"),
        () if days < 60 => format!("{} weeks", days / 7),
        () if days < 730 => format!("{} months", days / 30),
        () => format!("{} years", days / 365),
    };
    format!("{text} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_as_docker_shows_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_240_000, "1.24MB"),
            (77_800_000, "77.8MB"),
            (141_000_000, "141MB"),
            (999_900, "1MB"),
            (1_150_000_000, "1.15GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(ago(0), "Less than a second ago");
        assert_eq!(ago(3 * 86400), "3 days ago");
        assert_eq!(ago(3600), "About an hour ago");
    }
}
