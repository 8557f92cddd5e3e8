//! A root file system into an image of one layer.

use crate::{build, change, layer, names, out};
use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};
use wb_doc::{Context, Error, ExitCode, LayerLimits};
use wb_store::Place;
use wb_store::image::{ContainerConfig, History, ImageConfig, ImageStore, Platform};

/// Make an image of one layer from a root file system
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A tar, plain or compressed with gzip or zstd; a directory; or - for a tar on standard input
    #[arg(value_name = "FILE|DIR|-")]
    source: OsString,
    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
    /// Apply a line of a Dockerfile to the configuration: `CMD sh`, `ENV A=b`
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What to note in the image's history
    #[arg(short, long)]
    message: Option<String>,
    /// The platform the programs in it are for
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    #[command(flatten)]
    limits: LayerLimits,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let name = args.name.as_deref().map(names::target).transpose()?;
    let platform = args.platform.as_deref().map_or_else(|| Ok(Platform::local()), Platform::parse)?;
    let mut container = ContainerConfig::default();
    for line in &args.change {
        change::apply(&mut container, line)?;
    }
    let created = build::now()?;
    let store = ImageStore::new(&Place::from_env()?);
    store.prepare()?;
    let _hold = store.hold()?;
    let layer = read(&store, &args.source, &args.limits.arguments())?;
    let mut config = ImageConfig { created: Some(created.clone()), ..ImageConfig::default() };
    build::set_platform(&mut config, &platform);
    config.config = Some(container);
    config.rootfs.diff_ids.push(layer.diff_id);
    let source = args.source.to_string_lossy();
    config.history = Some(vec![History {
        created: Some(created),
        comment: Some(args.message.clone().unwrap_or_else(|| format!("Imported from {source}"))),
        ..History::default()
    }]);
    let name = name.map(|name| name.normalized());
    let id = build::store(&store, &config, vec![layer.blob], name.as_deref())?;
    out::line(id.as_str())?;
    Ok(ExitCode::SUCCESS)
}

fn read(store: &ImageStore, source: &OsString, limits: &[String]) -> Result<layer::Layer, Error> {
    let shown = || Path::new(source).display().to_string();
    if source == "-" {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err(Error::usage("standard input is a terminal").hint("tar -c . | wb import - NAME"));
        }
        return layer::store(store, stdin.lock(), limits).map_err(|error| error.within("standard input"));
    }
    if Path::new(source).is_dir() {
        return directory(store, Path::new(source), limits).map_err(|error| error.within(shown()));
    }
    let file = File::open(source).context(shown)?;
    if !file.metadata().context(shown)?.is_file() && !source.to_string_lossy().starts_with("/dev/fd/") {
        return Err(Error::new(format!("{}: not a file", shown())));
    }
    layer::store(store, file, limits).map_err(|error| error.within(shown()))
}

/// A directory's tree, without what is mounted below it, as `wb-rootfs diff` writes layers.
fn directory(store: &ImageStore, directory: &Path, limits: &[String]) -> Result<layer::Layer, Error> {
    let mut command = Command::new("wb-rootfs");
    command.args(["diff", "--tar", "--upper"]).arg(directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = wb_sys::child::spawn(&mut command, "a directory as a layer").context(|| "wb-rootfs")?;
    layer::store(store, layer::Checked::new(child)?, limits)
}
