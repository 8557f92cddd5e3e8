//! `run`: the namespaces a document asks for, then the next program of the chain.

use crate::TOOL;
use crate::birth::{self, Birth};
use crate::plan::Plan;
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use wb_doc::chain::{self, ChainArgs, Report};
use wb_doc::{Context, Document, Error, ExitCode};
use wb_sys::attend::Attendant;
use wb_sys::capability::{self, Set};
use wb_sys::{clone, fd, proc, process};

const VERB: &str = "run";

/// Where `wb-rootfs open` leaves word of what it has opened.
const OPENED: &str = "WB_TREES";

/// Make the namespaces a document asks for, then become the next program in them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    chain: ChainArgs,
}

/// The two descriptors of a chain, taken over by number.
#[derive(Debug)]
pub struct Inherited {
    /// The document; `None` where `--doc` is a file, or absent.
    doc: Option<File>,
    /// The status pipe.
    pub status: Option<File>,
}

impl Inherited {
    /// Takes the descriptors over, and reads the document.
    pub fn take(args: &ChainArgs) -> Result<(Self, Document), (Self, Error)> {
        let mut inherited = Self { doc: None, status: None };
        if let Some(number) = args.status_fd {
            match fd::inherited(number).context(|| format!("--status-fd {number}")) {
                Ok(status) => inherited.status = Some(File::from(status)),
                Err(error) => return Err((inherited, error)),
            }
        }
        let Some(source) = args.source() else {
            return Err((inherited, Error::usage("--doc is missing")));
        };
        let doc = &mut inherited.doc;
        let document = source.read(|number| {
            let name = || format!("--doc {number}");
            let file = doc.insert(File::from(fd::inherited(number).context(name)?));
            fd::read_all(&*file, wb_doc::MAX_DOCUMENT_BYTES).context(name)
        });
        match document {
            Ok(document) => Ok((inherited, document)),
            Err(error) => Err((inherited, error)),
        }
    }

    /// Lets the next program inherit them again.
    pub fn pass_on(&self) -> Result<(), Error> {
        for file in self.doc.iter().chain(&self.status) {
            fd::set_cloexec(file, false).context(|| "descriptors for the next program")?;
        }
        Ok(())
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> ExitCode {
    let (inherited, document) = match Inherited::take(&args.chain) {
        Ok(both) => both,
        Err((inherited, error)) => return chain::fail(TOOL, VERB, inherited.status.as_ref(), &error),
    };
    match start(&document, &inherited, &args.chain.next) {
        Ok(code) => code,
        Err(error) => chain::fail(TOOL, VERB, inherited.status.as_ref(), &error),
    }
}

fn start(document: &Document, inherited: &Inherited, next: &[OsString]) -> Result<ExitCode, Error> {
    if next.is_empty() {
        return Err(Error::usage("no next program"));
    }
    let plan = Plan::of(document)?;
    birth::shield(&plan, || inherited.pass_on())?;
    if plan.enters_user_namespace() && needs_host(document, next) {
        return Err(open_host_first(inherited));
    }
    let status = inherited.status.as_ref();
    let attendant =
        if status.is_none() { Some(Attendant::prepare().context(|| "signal mask")?) } else { None };
    match birth::make(&plan, status.is_some())? {
        Birth::Child(child) => {
            let stays = attendant.is_some();
            let settle = || {
                // By itself: once it runs the program it may end, and be waited for, before the parent has looked.
                if let Some(status) = status {
                    report_start(status)?;
                }
                if let Some(attendant) = attendant {
                    birth::die_with_parent()?;
                    attendant.release().context(|| "signal mask")?;
                }
                child.settle(&plan)?;
                if stays {
                    birth::die_with_parent()?;
                }
                inherited.pass_on()
            };
            let error = settle().err().unwrap_or_else(|| birth::become_next(&plan, next));
            chain::fail(TOOL, VERB, status, &error);
            clone::exit_now(error.exit_code())
        }
        Birth::Parent(parent) => {
            parent.allow(&plan)?;
            match attendant {
                Some(attendant) => Ok(ExitCode::from(parent.attend(attendant, plan.session)?)),
                None => Ok(ExitCode::SUCCESS),
            }
        }
    }
}

/// Whether the next program mounts things of the host, which root of a new user namespace cannot reach, and nobody
/// has opened them yet.
fn needs_host(document: &Document, next: &[OsString]) -> bool {
    let enters = next.first().is_some_and(|word| Path::new(word).file_name() == Some("wb-rootfs".as_ref()));
    enters && document.at("/root/path").is_some() && std::env::var_os(OPENED).is_none() && may_mount()
}

/// Without the privilege nothing can be opened beforehand: inside, what belongs to the caller can be reached.
fn may_mount() -> bool {
    let wanted = Set::of("CAP_SYS_ADMIN").unwrap_or_default();
    capability::permitted().is_ok_and(|have| have.contains(wanted))
}

/// Becomes `wb-rootfs open`, which opens them and comes back to this very command.
fn open_host_first(inherited: &Inherited) -> Error {
    if let Err(error) = inherited.pass_on() {
        return error;
    }
    let own: Vec<OsString> = std::env::args_os().collect();
    let chain = own.iter().skip(2).take_while(|word| *word != "--");
    let mut argv: Vec<OsString> = vec!["wb-rootfs".into(), "open".into()];
    argv.extend(chain.cloned());
    argv.push("--".into());
    argv.extend(own.iter().cloned());
    let errno = process::exec(&argv, "what the container needs of the host is opened first");
    Error::errno("wb-rootfs open", errno)
}

/// Says on the status pipe that this process, the child, exists; the host's `/proc` is still there.
fn report_start(mut status: &File) -> Result<(), Error> {
    use std::io::Write;
    let proc = File::open("/proc").context(|| "/proc")?;
    let (pid, start_time) = proc::own_at(proc).context(|| "/proc/self/stat")?;
    match status.write_all(&Report::Started { pid, start_time }.to_line()) {
        Ok(()) => Ok(()),
        // Nobody reads: the one who started this is gone, and this process with it or not.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error).context(|| "status pipe"),
    }
}
