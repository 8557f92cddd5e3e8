//! wb-pull: an image reference into blobs in the store, and its defaults into the document.
//!
//! `wb-pull [flags] [REF]`, `wb-pull login|logout [flags] [HOST]`
#![cfg_attr(not(test), no_main)]

mod docker_archive;
mod layer;
mod login;
mod merge;
mod oci_layout;
mod pull;
mod source;
mod unpack;

use clap::{Parser, Subcommand, ValueEnum};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::FileTypeExt;
use wb_doc::{Context, Document, Error, ExitCode, Filter, FilterArgs, LayerLimits};
use wb_registry::Access;
use wb_store::Place;
use wb_store::image::Platform;

/// Bring an image into the store, and its defaults into the document
#[derive(Debug, Parser)]
#[command(
    name = "wb-pull",
    version,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    disable_help_subcommand = true
)]
struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    pull: PullArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Keep a user's name and password for a registry
    Login(login::LoginArgs),
    /// Forget them
    Logout(login::LogoutArgs),
}

#[derive(Debug, Clone, clap::Args)]
struct PullArgs {
    /// The image: NAME[:TAG][@DIGEST], oci:DIR[:TAG] or docker-archive:FILE[:NAME]; else wb.image.ref
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// Ask the registry always, where the image is missing, or never
    #[arg(long, value_name = "WHEN")]
    pull: Option<When>,
    /// Take the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Store the image under this name instead of its own
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Say nothing on standard error unless it fails
    #[arg(short, long)]
    quiet: bool,
    /// Print this instead of the document
    #[arg(long, value_name = "WHAT")]
    print: Option<What>,
    /// How many layers to fetch at once
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    jobs: usize,
    #[command(flatten)]
    limits: LayerLimits,
    #[command(flatten)]
    access: Access,
}

/// When the registry is asked (docker's `--pull`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    Always,
    Missing,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Name,
    Id,
    Digest,
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let mut args = wb_doc::parse_filter::<Args>();
    match args.verb {
        Some(Verb::Login(login)) => return wb_doc::main("wb-pull", || login::login(&login)),
        Some(Verb::Logout(logout)) => return wb_doc::main("wb-pull", || login::logout(&logout)),
        None => {}
    }
    let pull = args.pull;
    if pull.reference.is_some() && args.filter.doc.is_none() && stdin_is_null() {
        args.filter.null_input = true;
    }
    let filter = Filter::doing("wb-pull", "");
    if let Some(what) = pull.print {
        return wb_doc::main("wb-pull", || print(what, &args.filter, &pull));
    }
    filter.run(&args.filter, |document| one(document, &pull))
}

/// `wb-pull REF </dev/null` is how a service or a cron job would call it: there is no document, but a job.
fn stdin_is_null() -> bool {
    std::fs::metadata("/proc/self/fd/0").is_ok_and(|found| found.file_type().is_char_device())
        && !std::io::stdin().is_terminal()
}

fn print(what: What, filter: &FilterArgs, args: &PullArgs) -> Result<ExitCode, Error> {
    let mut document = if args.reference.is_some() { Document::default() } else { wb_doc::read_one(filter)? };
    one(&mut document, args)?;
    let member = match what {
        What::Name => "/wb/image/name",
        What::Id => "/wb/image/id",
        What::Digest => "/wb/image/digest",
    };
    let text = document.str_at(member).ok_or_else(|| Error::new("the image has no name"))?;
    writeln!(std::io::stdout(), "{text}").context(|| "standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Pulls the image of one document.
fn one(document: &mut Document, args: &PullArgs) -> Result<(), Error> {
    // Inside a flow the image is part of starting a container, which fails with docker's 125.
    let in_flow = args.reference.is_none() && document.at("/wb/image/ref").is_some();
    let done = merge_image(document, args);
    if in_flow { done.map_err(|error| error.code(125)) } else { done }
}

fn merge_image(document: &mut Document, args: &PullArgs) -> Result<(), Error> {
    if let Some(reference) = &args.reference {
        if document.str_at("/wb/image/ref") != Some(reference) {
            document.remove("/wb/image");
            document.set("/wb/image/ref", reference)?;
        }
    }
    let Some(reference) = document.read::<String>("/wb/image/ref")? else {
        if document.at("/root/path").is_some() || document.at("/process").is_some() {
            return merge::no_image(document);
        }
        return Err(Error::usage("no image").hint("name one, or pipe in a document with wb.image.ref"));
    };
    let asked = match &args.platform {
        Some(platform) => Some(platform.clone()),
        None => document.read::<String>("/wb/image/platform")?,
    };
    let when = match (args.pull, document.str_at("/wb/image/pull")) {
        (Some(when), _) => when,
        (None, Some(text)) => {
            When::from_str(text, false).map_err(|_| Error::usage(format!("wb.image.pull: {text:?}")))?
        }
        (None, None) => When::Missing,
    };
    let wanted = pull::Wanted {
        reference: &reference,
        when,
        platform: asked.as_deref().map(Platform::parse).transpose()?,
        name: args.name.as_deref(),
        quiet: args.quiet || document.read::<bool>("/wb/image/quiet")?.unwrap_or_default(),
        jobs: args.jobs,
        limits: args.limits.arguments(),
        access: &args.access,
    };
    let image = pull::pull(&Place::from_env()?, &wanted)?;
    merge::image(document, &image, asked.as_deref(), args.reference.is_none())
}
