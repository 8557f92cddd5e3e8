//! wb-spec: words into a document.
//!
//! `wb-spec run [FLAGS] IMAGE [COMMAND [ARG...]]` writes a new container's document from docker's flags;
//! `wb-spec exec` replaces the process in a running container's document; `wb-spec update` changes its limits.
#![cfg_attr(not(test), no_main)]

mod attend;
mod capabilities;
mod devices;
mod environment;
mod exec;
mod flags;
mod health;
mod help;
mod key_values;
mod mounts;
mod namespaces;
mod network;
mod ports;
mod process;
mod resources;
mod run;
mod seccomp;
mod security;
mod table;
mod update;
mod volumes;

use wb_doc::{Error, ExitCode};

const TOOL: &str = "wb-spec";

wb_sys::start!(main);

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    // As in every tool: no document comes in. For exec and update the store then has it.
    let null_input = words.next_if(|word| word == "-n" || word == "--null-input").is_some();
    let verb = words.next().unwrap_or_default();
    match verb.to_str() {
        Some("run" | "create") => run::main(words),
        Some("exec") => exec::main(words, null_input),
        Some("update") => update::main(words, null_input),
        Some("--version" | "-V") => help::version(),
        Some("--help" | "-h" | "help") => help::overview(),
        Some("") => wb_doc::emit(TOOL, "", Err(Error::usage("a verb is missing").hint("wb-spec --help"))),
        _ => {
            let message = format!("unknown verb {:?}: run, exec or update", verb.to_string_lossy());
            wb_doc::emit(TOOL, "", Err(Error::usage(message).hint("wb-spec --help")))
        }
    }
}

/// As [`refused`], of `update`: behind `wb` alone, whose status for a wrong flag this is.
fn flag_refused(error: Error) -> Error {
    if std::env::var_os("WB_FLOWS").is_some() { refused(error) } else { error }
}

/// The exit status of a refused command line is docker's: 125, wb itself failed before the command.
fn refused(error: Error) -> Error {
    if error.exit_code() <= 2 { error.code(125) } else { error }
}
