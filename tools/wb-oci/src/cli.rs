//! The command line, option for option that of runc and crun: engines write it.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// What engines read: a version of this program, and of the specification.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.2.0");

/// Containers for engines: an OCI runtime made of the other tools
#[derive(Debug, Parser)]
#[command(name = "wb-oci", version = VERSION, disable_version_flag = true, disable_help_subcommand = true)]
#[command(override_usage = "wb-oci [OPTIONS] COMMAND [COMMAND OPTIONS] [ID] [ARGUMENTS]")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options before the command.
#[derive(Debug, Args)]
pub struct Global {
    /// The directory of the containers' states
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Append messages to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How messages are written to it
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    pub log_format: String,
    /// Log how it goes on, too
    #[arg(long)]
    pub debug: bool,
    /// linux.cgroupsPath has systemd's form (refused: systemd is not asked)
    #[arg(long)]
    systemd_cgroup: bool,
    /// Who makes cgroups: only cgroupfs
    #[arg(long, value_name = "MANAGER", value_parser = ["cgroupfs", "systemd"], default_value = "cgroupfs")]
    cgroup_manager: String,
    /// Accepted for runc's sake: what the caller may do decides
    #[arg(long, value_name = "BOOL", value_parser = ["auto", "true", "false"], default_value = "auto")]
    rootless: String,
    /// Print the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

impl Global {
    /// Whether systemd is to make the cgroups.
    pub fn systemd_cgroup(&self) -> bool {
        self.systemd_cgroup || self.cgroup_manager == "systemd"
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a container that waits to be started
    Create(CreateArgs),
    /// Let a created container run its program
    Start(IdArgs),
    /// Print a container's state
    State(IdArgs),
    /// Send a signal to a container's first process
    Kill(KillArgs),
    /// Remove a container that has stopped
    Delete(DeleteArgs),
    /// Create, start, wait for the end, delete
    Run(RunArgs),
    /// Run another program in a container
    Exec(Box<ExecArgs>),
    /// List containers
    List(ListArgs),
    /// List a container's processes
    Ps(PsArgs),
    /// Stop every process of a container for a while
    Pause(IdArgs),
    /// Let a paused container go on
    Resume(IdArgs),
    /// Change the limits of a container
    Update(Box<UpdateArgs>),
    /// Print what a container uses and what happens to it
    Events(EventsArgs),
    /// Write a config.json to begin with
    Spec(SpecArgs),
    /// Print what this runtime can do
    Features,
}

impl Verb {
    /// Its word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Start(_) => "start",
            Self::State(_) => "state",
            Self::Kill(_) => "kill",
            Self::Delete(_) => "delete",
            Self::Run(_) => "run",
            Self::Exec(_) => "exec",
            Self::List(_) => "list",
            Self::Ps(_) => "ps",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Update(_) => "update",
            Self::Events(_) => "events",
            Self::Spec(_) => "spec",
            Self::Features => "features",
        }
    }
}

/// A container.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// The container
    pub id: String,
}

/// What `create` and `run` have in common.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The container's id, which must be free
    pub id: String,
    /// The directory with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Where the first process's pid is written
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// The socket that gets the other end of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// How many descriptors after standard error the container gets
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Move the root over the host's by chroot, where that is an initramfs; it is weaker
    #[arg(long)]
    pub no_pivot: bool,
    /// Leave the session keyring as it is
    #[arg(long)]
    pub no_new_keyring: bool,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub create: CreateArgs,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
    /// Keep the container after its end
    #[arg(long)]
    pub keep: bool,
    /// Accepted for runc's sake: orphans go to whoever adopts them
    #[arg(long)]
    no_subreaper: bool,
}

/// `kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// The container
    pub id: String,
    /// The signal, by name or number
    #[arg(default_value = "TERM")]
    pub signal: String,
    /// To every process of the container
    #[arg(short, long)]
    pub all: bool,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The container
    pub id: String,
    /// Kill what runs first; what is not there is deleted
    #[arg(short, long)]
    pub force: bool,
}

/// `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The container
    pub id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true)]
    pub command: Vec<OsString>,
    /// The process as JSON, in place of all the other options
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// A terminal of its own
    #[arg(short, long)]
    pub tty: bool,
    /// Who the program is
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Supplementary groups
    #[arg(short = 'g', long, value_name = "GID", value_delimiter = ',')]
    pub additional_gids: Vec<u32>,
    /// The working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// A variable of the environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// A capability more
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Setuid programs give nothing
    #[arg(long)]
    pub no_new_privs: bool,
    /// The AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// The SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// Where the pid is written
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// The socket that gets the other end of the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
    /// How many descriptors after standard error the program gets
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Also into a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    /// A cgroup below the container's
    #[arg(long, value_name = "[CONTROLLERS:]PATH")]
    pub cgroup: Vec<String>,
    /// Accepted for runc's sake
    #[arg(long)]
    no_subreaper: bool,
}

/// `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// How the list is written
    #[arg(short, long, value_parser = ["table", "json"], default_value = "table")]
    pub format: String,
    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,
}

/// `ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// The container
    pub id: String,
    /// How the list is written
    #[arg(short, long, value_parser = ["table", "json"], default_value = "table")]
    pub format: String,
    /// Options of ps(1); -ef where there are none
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<OsString>,
}

/// `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The container
    pub id: String,
    /// Print the accounts once
    #[arg(long)]
    pub stats: bool,
    /// How often the accounts are printed
    #[arg(long, value_name = "SECONDS", default_value = "5s")]
    pub interval: String,
}

/// `spec`.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Where config.json is written
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// For a caller without privileges
    #[arg(long)]
    pub rootless: bool,
}

/// `update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The container
    pub id: String,
    /// linux.resources as JSON; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Memory in bytes; -1 is no limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Memory that is left when memory is short
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Memory and swap together
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// TCP buffers
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub kernel_memory_tcp: Option<String>,
    /// Accepted and ignored: the kernel counts it with memory
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// The length of a CPU period, in microseconds
    #[arg(long, value_name = "USECS")]
    pub cpu_period: Option<u64>,
    /// CPU time a period, in microseconds
    #[arg(long, value_name = "USECS", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// What may be saved up
    #[arg(long, value_name = "USECS")]
    pub cpu_burst: Option<u64>,
    /// CPU weight
    #[arg(long, value_name = "N")]
    pub cpu_share: Option<u64>,
    /// Realtime period
    #[arg(long, value_name = "USECS")]
    pub cpu_rt_period: Option<u64>,
    /// Realtime CPU time a period
    #[arg(long, value_name = "USECS", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// SCHED_IDLE for the whole container
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,
    /// CPUs
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// How many processes
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Block I/O weight
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// Refused: there is no resctrl
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Refused: there is no resctrl
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
}
