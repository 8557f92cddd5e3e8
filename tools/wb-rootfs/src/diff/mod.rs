//! What a container changed in its root: as a list, or as the layer that makes the same changes.

mod plan;
mod tar;

use plan::{Change, Kind, Tree};
use std::collections::BTreeSet;
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use wb_doc::{Context, Document, Error, ExitCode, FilterArgs};

/// List what a container changed (A added, C changed, D deleted), or write it as a layer
///
/// The directories come from the document (`wb.rootfs`) or from flags. What is mounted in the container, volumes and
/// generated files, is no part of it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// The directory with the changes, instead of the document's
    #[arg(long, value_name = "DIR")]
    upper: Option<PathBuf>,
    /// A layer below it, the lowest first; can be given several times
    #[arg(long, value_name = "DIR", requires = "upper")]
    lower: Vec<PathBuf>,
    /// Leave out this path and what is below it; can be given several times
    #[arg(long, value_name = "PATH")]
    exclude: Vec<PathBuf>,
    /// Write a layer: a tar with whiteouts and opaque markers, the same bytes for the same tree
    #[arg(long)]
    tar: bool,
    /// One JSON array
    #[arg(long, conflicts_with = "tar")]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> ExitCode {
    wb_doc::main("wb-rootfs: diff", || diff(args))
}

fn diff(args: &Args) -> Result<ExitCode, Error> {
    let stdout = std::io::stdout();
    if args.tar && stdout.is_terminal() {
        return Err(
            Error::usage("a layer is not written to a terminal").hint("wb-rootfs diff --tar >layer.tar")
        );
    }
    let tree = Tree::open(&parse(args)?)?;
    let changes = tree.changes()?;
    let mut out = BufWriter::with_capacity(256 << 10, stdout.lock());
    let written = if args.tar {
        tar::write(&tree, &changes, &mut out)?;
        out.flush()
    } else if args.json {
        json(&changes, &mut out)
    } else {
        list(&changes, &mut out)
    };
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS).context(|| "standard output"),
    }
}

/// The directories, and what of the root is not the container's to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where the changes are.
    pub upper: PathBuf,
    /// Layers below, the uppermost first.
    pub lowers: Vec<PathBuf>,
    /// Paths without a leading slash.
    pub excludes: BTreeSet<Vec<u8>>,
}

fn parse(args: &Args) -> Result<Source, Error> {
    let mut source = match &args.upper {
        Some(upper) => Source {
            upper: upper.clone(),
            lowers: args.lower.iter().rev().cloned().collect(),
            ..Source::default()
        },
        None => from_document(&wb_doc::read_one(&args.filter)?)?,
    };
    source.excludes.extend(args.exclude.iter().filter_map(|path| relative(path.as_os_str().as_bytes())));
    Ok(source)
}

fn from_document(document: &Document) -> Result<Source, Error> {
    if let Some(failure) = document.failure() {
        return Err(failure.to_error());
    }
    let upper: Option<PathBuf> = document.read("/wb/rootfs/upper")?;
    let upper = upper.ok_or_else(|| {
        Error::new("the document has no wb.rootfs.upper")
            .hint("wb-state get NAME | wb-rootfs diff, or --upper DIR")
    })?;
    let mut lowers: Vec<PathBuf> = document.read("/wb/rootfs/lower")?.unwrap_or_default();
    lowers.reverse();
    let mounts: Vec<serde_json::Value> = document.read("/mounts")?.unwrap_or_default();
    let destinations = mounts.iter().filter_map(|mount| mount.get("destination")?.as_str());
    Ok(Source {
        upper,
        lowers,
        excludes: destinations.filter_map(|path| relative(path.as_bytes())).collect(),
    })
}

/// A path's components joined by `/`; `None` for the root, and for what leaves it.
fn relative(path: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    (!parts.is_empty() && !parts.contains(&&b".."[..])).then(|| parts.join(&b'/'))
}

fn list(changes: &[Change], out: &mut impl Write) -> std::io::Result<()> {
    for change in changes.iter().filter(|change| !change.path.is_empty()) {
        let path = String::from_utf8_lossy(&change.path);
        writeln!(out, "{} /{}", change.kind.letter(), wb_doc::escape(&path))?;
    }
    out.flush()
}

fn json(changes: &[Change], out: &mut impl Write) -> std::io::Result<()> {
    let object = |change: &Change| {
        let kind = match change.kind {
            Kind::Added => "added",
            Kind::Changed => "changed",
            Kind::Deleted => "deleted",
        };
        serde_json::json!({ "kind": kind, "path": format!("/{}", String::from_utf8_lossy(&change.path)) })
    };
    let array: Vec<_> = changes.iter().filter(|change| !change.path.is_empty()).map(object).collect();
    serde_json::to_writer(&mut *out, &array)?;
    writeln!(out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_document_are_left_out() {
        let document = Document::parse(
            br#"{"mounts":[{"destination":"/etc/hosts"},{"destination":"/"},{"destination":"//a/./b/"},{"destination":"/../x"}],
                "wb":{"rootfs":{"upper":"/u","lower":["/1","/2"]}}}"#,
        )
        .unwrap();
        let source = from_document(&document).unwrap();
        assert_eq!(source.lowers, [PathBuf::from("/2"), PathBuf::from("/1")]);
        assert_eq!(source.excludes.into_iter().collect::<Vec<_>>(), [&b"a/b"[..], b"etc/hosts"]);
    }
}
