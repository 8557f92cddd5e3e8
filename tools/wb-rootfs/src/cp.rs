//! Files into a container and out of it, running or not: as a copy, or as a tar on a pipe.
//!
//! A container is hostile: everything inside is reached by descriptors below its root, links are resolved there, and
//! what is opened is looked at first. Nothing it does meanwhile leads to a file of the host.

mod ends;
mod stream;
pub mod view;

use crate::copy::Copy;
use crate::tar_out::Writer;
use crate::unpack::archive::{Archive, Limits};
use crate::unpack::tree::Tree;
use ends::{Destination, Side, Source, Target, Typed};
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
pub use stream::Stream;
use view::View;
use wb_doc::{Context, Error, ExitCode, FilterArgs};

/// Copy files out of a container (--from) or into it (--to)
///
/// Docker's rules: into a directory that is there goes the source by its name, or, where that ends in `/.`, what is in
/// it; a destination that is not there becomes the copy. `-` is a tar on standard input or output.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("direction").required(true).args(["from", "to"])))]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// The path in the container to copy from
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// The path in the container to copy to
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// Keep owners, set-user-ID bits and devices also on the way out
    #[arg(short, long)]
    archive: bool,
    /// Follow the source where it is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// The file on this side, or - for a tar
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

/// Runs the verb.
pub fn run(args: &Args) -> ExitCode {
    wb_doc::main("wb-rootfs: cp", || cp(args))
}

fn cp(args: &Args) -> Result<ExitCode, Error> {
    let piped = args.file.as_os_str() == "-";
    let here = if piped { None } else { Some(Typed::here(&args.file)?) };
    let inside = args.from.as_deref().or(args.to.as_deref()).unwrap_or(Path::new(""));
    let inside = Typed::inside(inside)?;
    let mut document = wb_doc::read_one(&args.filter)?;
    if let Some(failure) = document.failure() {
        // It has been printed by the stage that failed.
        return Ok(ExitCode::from(failure.code.max(1)));
    }
    if piped && args.from.is_some() && std::io::stdout().is_terminal() {
        return Err(
            Error::usage("a tar is not written to a terminal").hint("redirect it, or pipe it to tar t")
        );
    }
    wb_sys::tree::clear_umask();
    let view = View::of(&mut document)?;
    match (args.from.is_some(), &here) {
        (true, Some(here)) => out(&view, &inside, here, args)?,
        (true, None) => tar_out(&view, &inside, args.follow_link)?,
        (false, Some(here)) => view.as_its_root(|| into(&view, here, &inside, args))??,
        (false, None) => view.as_its_root(|| tar_in(&view, &inside))??,
    }
    Ok(ExitCode::SUCCESS)
}

/// Container to host.
fn out(view: &View, from: &Typed, to: &Typed, args: &Args) -> Result<(), Error> {
    let source = Source::find(&Side::Inside(&view.root), from, args.follow_link)?;
    let target = Destination::find(&Side::Here, to)?.of(&source, to)?;
    // As docker has it, a copy is its maker's, and without its owner a set-user-ID bit would be the maker's, too.
    let owner = |uid, gid| args.archive.then(|| view.inside(uid, gid));
    copy(&source, &target, &owner, args.archive, view.kernels_own()?)
}

/// Host to container.
fn into(view: &View, from: &Typed, to: &Typed, args: &Args) -> Result<(), Error> {
    let source = Source::find(&Side::Here, from, args.follow_link)?;
    let target = Destination::find(&Side::Inside(&view.root), to)?.of(&source, to)?;
    copy(&source, &target, &|uid, gid| Some(view.outside(uid, gid)), true, Vec::new())
}

fn copy(
    source: &Source,
    target: &Target,
    owner: crate::copy::Owner<'_>,
    rights: bool,
    leave_out: Vec<u64>,
) -> Result<(), Error> {
    let (Target::Inside(directory) | Target::As(directory, _)) = target;
    let mut copy = Copy::new(directory, owner, rights)?;
    copy.leave_out = leave_out;
    match target {
        Target::Inside(directory) => copy.contents(&source.object, directory, &mut PathBuf::new()),
        Target::As(directory, name) => copy.put(&source.object, directory, name, &mut name.into(), 0),
    }
}

fn tar_out(view: &View, from: &Typed, follow: bool) -> Result<(), Error> {
    let source = Source::find(&Side::Inside(&view.root), from, follow)?;
    let stdout = std::io::stdout();
    wb_sys::tree::widen_pipe(&stdout);
    let owner = |uid, gid| view.inside(uid, gid);
    let mut stream = Stream::new(Writer::new(stdout.lock()), &owner);
    stream.leave_out = view.kernels_own()?;
    let name = source.name.as_deref().map_or(&b""[..], |name| name.as_bytes());
    stream.whole(&source.object, name)
}

fn tar_in(view: &View, to: &Typed) -> Result<(), Error> {
    match Destination::find(&Side::Inside(&view.root), to)? {
        Destination::Directory(_) => {}
        _ => return Err(Error::new(format!("{}: a tar goes to a directory", to.shown()))),
    }
    let root = wb_sys::tree::directory_in_root(&view.root, ".".as_ref()).context(|| "root")?;
    let mut tree = Tree::merging(root, to.path.as_os_str().as_bytes());
    let stdin = std::io::stdin();
    wb_sys::tree::widen_pipe(&stdin);
    let limits = Limits { bytes: u64::MAX, entries: u64::MAX, path: 4095 };
    let mut archive = Archive::new(stdin.lock(), limits);
    while let Some(mut entry) = archive.next()? {
        (entry.uid, entry.gid) = view.outside(entry.uid, entry.gid);
        tree.add(&entry, |sink| archive.content(sink))?;
    }
    // Whoever writes has more to say than the archive: tar pads it.
    archive.drain()?.read(&mut []).context(|| "standard input")?;
    tree.finish()
}
