//! wb-image: the image store, an OCI image layout.
//!
//! Usage: `wb-image list | inspect | history | tag | rm | import | commit | save | load | push | gc`
#![cfg_attr(not(test), no_main)]

mod build;
mod change;
mod commit;
mod gc;
mod history;
mod import;
mod inspect;
mod layer;
mod list;
mod load;
mod names;
mod out;
mod push;
mod rm;
mod save;
mod tag;
mod users;

use clap::{Parser, Subcommand};
use wb_doc::ExitCode;

/// The image store: a standard OCI image layout
#[derive(Parser)]
#[command(name = "wb-image", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    #[command(visible_alias = "ls")]
    List(list::Args),
    Inspect(inspect::Args),
    Tag(tag::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Import(import::Args),
    Commit(commit::Args),
    History(history::Args),
    Save(save::Args),
    Load(load::Args),
    Push(push::Args),
    Gc(gc::Args),
}

wb_sys::start!(main);

fn main() -> ExitCode {
    match wb_doc::parse::<Cli>().verb {
        Verb::List(args) => wb_doc::main("wb-image: list", || list::run(&args)),
        Verb::Inspect(args) => wb_doc::main("wb-image: inspect", || inspect::run(&args)),
        Verb::Tag(args) => wb_doc::main("wb-image: tag", || tag::run(&args)),
        Verb::Rm(args) => wb_doc::main("wb-image: rm", || rm::run(&args)),
        Verb::Import(args) => wb_doc::main("wb-image: import", || import::run(&args)),
        Verb::Commit(args) => wb_doc::main("wb-image: commit", || commit::run(&args)),
        Verb::History(args) => wb_doc::main("wb-image: history", || history::run(&args)),
        Verb::Save(args) => wb_doc::main("wb-image: save", || save::run(&args)),
        Verb::Load(args) => wb_doc::main("wb-image: load", || load::run(&args)),
        Verb::Push(args) => wb_doc::main("wb-image: push", || push::run(&args)),
        Verb::Gc(args) => wb_doc::main("wb-image: gc", || gc::run(&args)),
    }
}
