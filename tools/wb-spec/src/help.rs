//! `--help`, printed from the table of flags.

use crate::flags::{Flag, RUN};
use crate::table::TABLE;
use std::fmt::Write as _;
use std::io::Write as _;
use wb_doc::ExitCode;

/// `wb-spec --help`.
pub fn overview() -> ExitCode {
    print(
        "Words into a document: docker's flags become an OCI runtime configuration.\n\n\
         Usage: wb-spec run [FLAGS] IMAGE [COMMAND [ARG...]]\n       \
         wb-spec run [FLAGS] --rootfs DIR COMMAND [ARG...]\n       \
         wb-spec exec [FLAGS] -- COMMAND [ARG...]\n       \
         wb-spec -n exec [FLAGS] CONTAINER COMMAND [ARG...]\n       \
         wb-spec update [FLAGS]\n       \
         wb-spec -n update [FLAGS] CONTAINER...\n\n\
         exec and update read the container's document from standard input; with -n the store has it.\n\
         wb-spec VERB --help lists the flags of a verb.\n",
    )
}

/// `wb-spec VERB --help`.
pub fn of_verb(verb: u8, usage: &str) -> ExitCode {
    let mut text = format!("Usage: wb-spec {usage}\n\nFlags:\n");
    for flag in TABLE.iter().filter(|flag| flag.verbs & verb != 0) {
        // Writing to a String cannot fail.
        writeln!(text, "{:<44} {}", left(flag, verb), flag.help).ok();
    }
    print(&text)
}

/// `wb-spec --version`.
pub fn version() -> ExitCode {
    print(concat!("wb ", env!("CARGO_PKG_VERSION"), "\n"))
}

fn left(flag: &Flag, verb: u8) -> String {
    let short = match flag.short {
        ' ' => "    ".to_owned(),
        letter => format!("-{letter}, "),
    };
    let alias = match flag.aliases.first() {
        Some(alias) if verb == RUN => format!(", --{alias}"),
        _ => String::new(),
    };
    let value = if flag.value.is_empty() { String::new() } else { format!(" {}", flag.value) };
    format!("  {short}--{}{alias}{value}", flag.name)
}

fn print(text: &str) -> ExitCode {
    // A closed pipe ends the help quietly.
    std::io::stdout().lock().write_all(text.as_bytes()).ok();
    ExitCode::SUCCESS
}
