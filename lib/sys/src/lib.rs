//! Every kernel call the tools make: thin, traced, and the only crate with `unsafe`.
//!
//! A function here is one system call (or one write to a control file of the kernel) with Rust types. Each goes
//! through [`trace::call`], which shows it when `WB_TRACE` asks for it. Functions return the bare
//! [`Errno`]; the caller knows the object and adds it (`wb_doc::Context`).

pub mod attend;
pub mod bpf;
pub mod capability;
pub mod cgroup;
pub mod child;
pub mod clone;
pub mod credentials;
pub mod fd;
pub mod file;
pub mod hook;
pub mod host;
pub mod idmap;
pub mod inotify;
pub mod iptables;
pub mod limits;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod mount_fd;
pub mod namespace;
pub mod netlink;
pub mod node;
pub mod park;
pub mod pipe;
pub mod poll;
pub mod port;
pub mod proc;
pub mod process;
pub mod procfs;
pub mod program;
pub mod random;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod start;
pub mod trace;
pub mod tree;
pub mod tty;

pub use nix::errno::Errno;
pub use nix::sys::stat::{FileStat, SFlag, major, makedev, minor};

/// What a kernel call gives back.
pub type Result<T> = nix::Result<T>;
