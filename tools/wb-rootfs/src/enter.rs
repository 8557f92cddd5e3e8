//! Into a root file system: mounts, devices, masks, pivot_root, then the next program.
//!
//! It runs as the first process of new namespaces. Everything of the host that will be needed is opened first;
//! then the root is built by descriptors alone; then the host's file system is let go of for good.

mod attach;
mod cgroup;
mod copy_up;
mod devices;
mod ids;
mod leave;
mod next;
mod options;
mod paths;
mod plan;
mod root;
mod sysctl;
mod trees;

use next::Next;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
pub use plan::Plan;
use root::Root;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
pub use trees::{Trees, VARIABLE};
use wb_doc::chain::{self, Source};
use wb_doc::{Context, Document, Error, ExitCode, FilterArgs, MAX_DOCUMENT_BYTES};
use wb_sys::mount_fd::{self, Attributes, Change, Propagation};
use wb_sys::{Errno, fd, mount};

/// Enter a root file system and run the next program in it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The root directory; root.path of the document where it is not given
    #[arg(value_name = "ROOT")]
    root: Option<PathBuf>,
    /// Report a failure as a JSON line on this inherited file descriptor, not on standard error
    #[arg(long, value_name = "FD")]
    status_fd: Option<i32>,
    /// The next program and its arguments
    #[arg(last = true, value_name = "NEXT", required = true)]
    next: Vec<OsString>,
}

/// The descriptors of a chain, taken over by number.
#[derive(Debug, Default)]
pub struct Inherited {
    document: Option<OwnedFd>,
    /// The status pipe.
    pub status: Option<OwnedFd>,
}

impl Inherited {
    /// Takes over the status pipe.
    pub fn take(status: Option<i32>) -> Result<Self, Error> {
        let status = status.map(fd::inherited).transpose().context(|| "--status-fd")?;
        Ok(Self { document: None, status })
    }

    /// Reads the document, and takes over its descriptor where it is one.
    pub fn document(&mut self, source: &Source) -> Result<Document, Error> {
        source.read(|number| {
            let name = || format!("--doc {number}");
            let document = self.document.insert(fd::inherited(number).context(name)?);
            fd::read_all(&*document, MAX_DOCUMENT_BYTES).context(name)
        })
    }

    /// Lets the next program inherit them again.
    pub fn pass_on(&self) -> Result<(), Error> {
        for fd in self.document.iter().chain(&self.status) {
            fd::set_cloexec(fd, false).context(|| "passing on a descriptor")?;
        }
        Ok(())
    }
}

/// Runs the verb; does not return where it succeeds.
pub fn run(args: &Args, input: &FilterArgs) -> ExitCode {
    let (inherited, error) = match Inherited::take(args.status_fd) {
        Ok(mut inherited) => {
            let Err(error) = enter(args, input, &mut inherited);
            (inherited, error)
        }
        Err(error) => (Inherited::default(), error),
    };
    chain::fail("wb-rootfs", "enter", inherited.status.map(File::from), &error)
}

fn enter(args: &Args, input: &FilterArgs, inherited: &mut Inherited) -> Result<Infallible, Error> {
    let plan = match input.doc.as_ref().map(Source::of) {
        None => Plan::by_hand(args.root.as_deref())?,
        Some(source) => Plan::of(&inherited.document(&source)?, args.root.as_deref())?,
    };
    let next = Next::find(&args.next)?;
    let host = leave::Host::look(&plan)?;
    build(&plan)?;
    host.leave(&plan)?;
    if next.is_tool() {
        inherited.pass_on()?;
    }
    Err(next.exec())
}

/// Builds the root; ends with the working directory in it.
fn build(plan: &Plan) -> Result<(), Error> {
    // The modes of what is made here are meant exactly.
    wb_sys::tree::clear_umask();
    let name = || format!("root {}", plan.root.display());
    let mut trees = Trees::inherited(plan)?;
    // What wb-rootfs open has done already.
    let network_is_set = trees.has_root() && plan.network.is_some();
    let tree = trees.complete(plan)?;
    mount::mount(
        None,
        Path::new("/"),
        None,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None,
        "nothing leaks out",
    )
    .map_err(|errno| explain(Error::errno("make / private", errno)))?;
    let (kind, recursive) = match plan.propagation {
        // pivot_root refuses a shared root; it becomes shared afterwards.
        (Propagation::Shared | Propagation::Unbindable, recursive) => (Propagation::Private, recursive),
        other => other,
    };
    let change = Change { propagation: Some(kind), recursive, ..Change::default() };
    mount_fd::set_attributes(&tree, change, "how mount events travel").context(name)?;
    // Over the host's root: the one directory that every process can reach, and paths of the host still work,
    // since they start below what is mounted there.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let place = nix::fcntl::open("/", flags, nix::sys::stat::Mode::empty()).context(|| "/")?;
    mount_fd::attach(&tree, &place, "the root as a mount of its own").context(name)?;
    let console = plan.terminal.then(devices::console).transpose()?;
    let mut covers = paths::Covers::new(&plan.masked_paths)?;

    let root = Root::new(tree);
    let attached = attach::all(plan, &mut trees, &root)?;
    devices::make(plan, console.as_ref(), &root)?;
    sysctl::write(plan, network_is_set, &root)?;
    for path in &plan.readonly_paths {
        paths::protect(path, &root)?;
    }
    for path in &plan.masked_paths {
        covers.mask(path, &root)?;
    }
    let readonly = Change { set: Attributes::MOUNT_ATTR_RDONLY, ..Change::default() };
    for mount in &attached.readonly_later {
        mount_fd::set_attributes(mount, readonly, "read-only from now on").context(|| "read-only tmpfs")?;
    }
    if plan.readonly {
        mount_fd::set_attributes(root.fd(), readonly, "root.readonly").context(name)?;
    }
    nix::unistd::fchdir(root.fd()).context(name)
}

/// Mounts the plan's bind mounts, and nothing else of it, below a root that is mounted already.
pub fn bind_all(plan: &Plan, root: &OwnedFd) -> Result<(), Error> {
    let root = Root::new(root.try_clone().context(|| "dup")?);
    for mount in &plan.mounts {
        if let plan::Act::Bind(source) = &mount.act {
            let tree = attach::clone_source(source, mount, plan.maps.as_ref())?;
            attach::bind(mount, source, &tree, &root)?;
        }
    }
    Ok(())
}

/// What the errno hides.
fn explain(error: Error) -> Error {
    match error.raw_errno() {
        Some(Errno::EPERM) => {
            error.hint("enter runs in a mount namespace of its own, as root: wb-unshare --pid --mount -- wb-rootfs enter …")
        }
        _ => error,
    }
}
