//! The container's document, and the contract every tool keeps with the pipe it stands in.
//!
//! A document is one JSON object that is always a valid OCI runtime configuration (runtime-spec 1.2
//! `config.json`) plus one extension member, `wb`. This crate reads and writes documents, runs the filter
//! loop, and gives errors their one form. It makes no system calls of its own beyond standard input and
//! output.
#![deny(missing_docs)]

pub mod chain;
mod cli;
pub mod clock;
mod document;
mod error;
mod exit;
mod filter;
pub mod hooks;
mod limits;
mod member;
pub mod names;
pub mod oci;
mod prune;
pub mod seccomp;
mod stream;
pub mod table;
mod template;
pub mod units;

pub use cli::{alone, main, parse, parse_filter, parse_filter_from};
pub use document::{Document, Failure, MAX_DEPTH, MAX_DOCUMENT_BYTES, at_birth};
pub use error::{Context, Error, escape};
pub use exit::ExitCode;
pub use filter::{Filter, FilterArgs, documents, emit, read_one, warn};
pub use limits::LayerLimits;
pub use prune::{PruneFilters, has_label};
pub use stream::Documents;
pub use template::Template;
