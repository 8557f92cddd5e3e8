//! `attach` and `wait`: clients that come later.

use crate::client::{self, Options, keys};
use crate::message::{Answer, MAX_BYTES, Request, Streams};
use crate::monitor::SOCKET;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use wb_doc::{Context, Error, ExitCode};
use wb_store::{Place, record};
use wb_sys::{Errno, proc, socket};

/// The flags of `attach`.
#[derive(Debug, clap::Args)]
pub struct AttachArgs {
    /// Do not connect standard input
    #[arg(long)]
    no_stdin: bool,
    /// The keys that leave the container alone again
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Whether signals this program gets are the container's
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sig_proxy: String,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: OsString,
}

/// The containers `wait` waits for.
#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<OsString>,
}

/// Connects to a container's monitor; `None` where none is there.
pub fn connect(place: &Place, id: &str) -> Result<Option<OwnedFd>, Error> {
    let path = place.container_run(id).join(SOCKET);
    match socket::connect_to(&path) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
        Err(errno) => Err(errno).context(|| path.display().to_string()),
    }
}

/// Attaches to a running container.
pub fn attach(args: &AttachArgs) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let id = record::resolve(&place, &args.container.to_string_lossy())?;
    let document = record::read(&place, &id)?;
    let keys = args.detach_keys.as_deref().or(document.str_at("/wb/run/detachKeys")).unwrap_or(keys::DEFAULT);
    let sig_proxy = match args.sig_proxy.as_str() {
        "true" | "1" => true,
        "false" | "0" => false,
        other => return Err(Error::usage(format!("--sig-proxy {other:?}: true or false"))),
    };
    let options = Options { sig_proxy, keys: keys::Keys::parse(keys)?, detach: false };
    let tty = crate::settings::Settings::of(&document)?.tty;
    if !args.no_stdin && tty && !std::io::stdin().is_terminal() {
        return Err(Error::new("the input device is not a terminal").hint("--no-stdin leaves it alone"));
    }
    if document.str_at("/wb/state/status") == Some("paused") {
        return Err(Error::new("the container is paused").hint("wb unpause it first"));
    }
    let socket = connect(&place, &id)?.ok_or_else(|| {
        if alive(&document) {
            Error::new("nobody attends the container: its monitor was killed")
        } else {
            Error::new("the container is not running")
        }
    })?;
    let signals = client::signals(false)?;
    let streams = Streams { stdin: !args.no_stdin, stdout: true, stderr: true };
    ask(&socket, &Request::Attach(streams))?;
    client::attend(socket, signals, options).map(ExitCode::from)
}

/// Sends a monitor one request.
pub fn ask(socket: &OwnedFd, request: &Request) -> Result<(), Error> {
    socket::send(socket, &request.encode(), &[]).context(|| SOCKET)
}

/// Whether the record's process lives.
pub fn alive(document: &wb_doc::Document) -> bool {
    proc::boot_id().is_ok_and(|boot_id| record::is_alive(document, "/wb/state", &boot_id))
}

/// Waits for containers to end, and prints their exit codes in the order in which they were named.
pub fn wait(args: &WaitArgs) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    // All are joined before the first is waited for: one that is removed at its end is not there later.
    let mut joined = Vec::new();
    for name in &args.containers {
        let id = record::resolve(&place, &name.to_string_lossy())?;
        joined.push((connect(&place, &id)?, id));
    }
    let mut out = std::io::stdout();
    for (socket, id) in joined {
        let code = match socket.map(|socket| last_word(&socket)).transpose()?.flatten() {
            Some(code) => code.to_string(),
            None => recorded(&place, &id)?,
        };
        match writeln!(out, "{code}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(ExitCode::from(141)),
            other => other.context(|| "standard output")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The exit status a monitor reports; none where it was killed.
fn last_word(socket: &OwnedFd) -> Result<Option<u8>, Error> {
    let mut buffer = [0; MAX_BYTES];
    loop {
        match socket::receive(socket, &mut buffer) {
            Ok((0, _)) | Err(Errno::ECONNRESET) => return Ok(None),
            Ok((length, _)) => match Answer::decode(&buffer[..length])? {
                Answer::Exited { code, .. } | Answer::Failed { code, .. } => return Ok(Some(code)),
                _ => {}
            },
            Err(errno) => return Err(errno).context(|| SOCKET),
        }
    }
}

/// The exit status in the record, of a container without a monitor. One that nobody saw is not invented.
fn recorded(place: &Place, id: &str) -> Result<String, Error> {
    let document = record::read(place, id)?;
    if alive(&document) {
        wait_for_process(&document)?;
        return Err(Error::new(format!("{id}: nobody attended its end, so its exit code is not known")));
    }
    match document.at("/wb/state/exitCode") {
        Some(code) => Ok(code.to_string()),
        None if document.at("/wb/state/startedAt").is_none() => Ok("0".into()),
        None => Err(Error::new(format!("{id}: nobody attended its end, so its exit code is not known"))),
    }
}

fn wait_for_process(document: &wb_doc::Document) -> Result<(), Error> {
    let pid: i32 = document.read("/wb/state/pid")?.unwrap_or_default();
    match wb_sys::process::pidfd_open(pid) {
        // The number may have found another process in the meantime.
        Ok(pidfd) if alive(document) => crate::stop::wait_for(&pidfd, None).map(drop),
        _ => Ok(()),
    }
}
