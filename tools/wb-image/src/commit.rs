//! A container's changes as a new layer upon its image.

use crate::{build, change, layer, names, out};
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use wb_doc::{Context, Document, Error, ExitCode, FilterArgs};
use wb_store::image::{ContainerConfig, Descriptor, Digest, History, Image, ImageStore, media};
use wb_store::{Place, record};

/// Make an image of a container's changes
///
/// The container is named, or its document is piped in. Its processes should not write meanwhile: `wb commit` freezes
/// them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// The container, instead of a document on standard input
    #[arg(long, value_name = "NAME|ID")]
    container: Option<String>,
    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
    /// Who made it
    #[arg(short, long)]
    author: Option<String>,
    /// What to note in the image's history
    #[arg(short, long)]
    message: Option<String>,
    /// Apply a line of a Dockerfile to the configuration: `CMD sh`, `ENV A=b`
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let store = ImageStore::new(&place);
    let name = args.name.as_deref().map(names::target).transpose()?;
    let document = match &args.container {
        Some(word) => record::read(&place, &record::resolve(&place, word)?)?,
        None => wb_doc::read_one(&args.filter)?,
    };
    if let Some(failure) = document.failure() {
        return Err(failure.to_error());
    }
    let base = base(&store, &document)?;
    let mut config = base.config.clone();
    let mut container = configured(&document, config.config.unwrap_or_default())?;
    for line in &args.change {
        change::apply(&mut container, line)?;
    }
    let created = build::now()?;
    let _hold = store.hold()?;
    let layer = changes(&store, &document)?;
    config.created = Some(created.clone());
    config.author = args.author.clone().or(config.author);
    config.config = Some(container);
    // What docker notes of the build of the image it came from says nothing of this one.
    for member in ["container", "container_config", "docker_version", "moby.buildkit.buildinfo.v1"] {
        config.other.remove(member);
    }
    config.rootfs.diff_ids.push(layer.diff_id);
    config.history.get_or_insert_default().push(History {
        created: Some(created),
        created_by: Some(words(&document, "/process/args")?.join(" ")),
        author: args.author.clone(),
        comment: args.message.clone(),
        ..History::default()
    });
    let mut layers: Vec<Descriptor> = base.manifest.layers.iter().map(as_oci).collect();
    layers.push(layer.blob);
    let id = build::store(&store, &config, layers, name.map(|name| name.normalized()).as_deref())?;
    out::line(id.as_str())?;
    Ok(ExitCode::SUCCESS)
}

/// The image the container was made from.
fn base(store: &ImageStore, document: &Document) -> Result<Image, Error> {
    let Some(digest) = document.str_at("/wb/image/digest") else {
        return Err(Error::new("the container was not made from an image")
            .hint("wb export CONTAINER | wb import - NAME"));
    };
    let digest = Digest::parse(digest)?;
    let index = store.index()?;
    let entry = match index.manifests.iter().find(|entry| entry.digest == digest) {
        Some(entry) => entry.clone(),
        // Its name was taken away; its blobs may be there still.
        None => document
            .read("/wb/image/manifest")?
            .ok_or_else(|| Error::new(format!("the container's image {digest} is gone")))?,
    };
    store.load(&entry).map_err(|error| error.within("the container's image"))
}

/// The container's changes as `wb-rootfs diff` writes them.
fn changes(store: &ImageStore, document: &Document) -> Result<layer::Layer, Error> {
    let mut command = Command::new("wb-rootfs");
    command.args(["diff", "--tar"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = wb_sys::child::spawn(&mut command, "what the container changed, as a layer")
        .context(|| "wb-rootfs")?;
    if let Some(mut stdin) = child.stdin.take() {
        // It reads the document whole before it writes anything.
        match stdin.write_all(&document.to_line()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.context(|| "wb-rootfs diff")?,
        }
    }
    layer::store(store, layer::Checked::new(child)?, &[])
}

/// What a container made from the new image runs: what this one was told to run, as docker has it.
fn configured(document: &Document, mut config: ContainerConfig) -> Result<ContainerConfig, Error> {
    let args = words(document, "/process/args")?;
    if document.at("/wb/entrypoint").is_some() {
        config.entrypoint = Some(words(document, "/wb/entrypoint")?).filter(|words| !words.is_empty());
    }
    let entrypoint = config.entrypoint.clone().unwrap_or_default();
    config.cmd = args.strip_prefix(&entrypoint[..]).map(<[String]>::to_vec).or(config.cmd);
    let known: Vec<String> = config.env.unwrap_or_default();
    let mut env = words(document, "/process/env")?;
    // Given by us, not by the image and not by a person.
    env.retain(|variable| {
        let ours = matches!(name(variable), "HOSTNAME" | "HOME" | "TERM");
        !ours || known.iter().any(|other| name(other) == name(variable))
    });
    config.env = Some(env).filter(|env| !env.is_empty());
    if let Some(cwd) =
        document.str_at("/process/cwd").filter(|cwd| *cwd != "/" || config.working_dir.is_some())
    {
        config.working_dir = Some(cwd.to_owned());
    }
    if let Some(user) = document.str_at("/process/user/username").filter(|user| !user.is_empty()) {
        config.user = Some(user.to_owned());
    }
    if let Some(labels) = document.read::<std::collections::BTreeMap<String, String>>("/wb/labels")? {
        config.labels.get_or_insert_default().extend(labels);
        config.labels = config.labels.filter(|labels| !labels.is_empty());
    }
    for port in words(document, "/wb/network/exposed")? {
        config.exposed_ports.get_or_insert_default().insert(port, serde_json::json!({}));
    }
    Ok(config)
}

fn name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

fn words(document: &Document, pointer: &str) -> Result<Vec<String>, Error> {
    Ok(document.read(pointer)?.unwrap_or_default())
}

/// A layer's descriptor in OCI's words: one manifest speaks one language.
fn as_oci(layer: &Descriptor) -> Descriptor {
    let mut layer = layer.clone();
    let media_type = match layer.media_type.as_str() {
        media::DOCKER_LAYER_GZIP => media::OCI_LAYER_GZIP,
        media::DOCKER_LAYER => media::OCI_LAYER,
        other => other,
    };
    layer.media_type = media_type.to_owned();
    layer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_becomes_the_images_and_what_we_added_does_not() {
        let document = Document::parse(
            br#"{"process":{"args":["/entry","run","it"],"env":["PATH=/bin","HOSTNAME=x","A=1","HOME=/root"],"cwd":"/w",
                "user":{"username":"www"}},"wb":{"labels":{"l":"1"},"network":{"exposed":["80/tcp"]}}}"#,
        )
        .unwrap();
        let image = ContainerConfig { entrypoint: Some(vec!["/entry".into()]), ..ContainerConfig::default() };
        let config = configured(&document, image).unwrap();
        assert_eq!(config.cmd.unwrap(), ["run", "it"]);
        assert_eq!(config.env.unwrap(), ["PATH=/bin", "A=1"]);
        assert_eq!(config.working_dir.unwrap(), "/w");
        assert_eq!(config.user.unwrap(), "www");
        assert_eq!(config.labels.unwrap()["l"], "1");
        assert!(config.exposed_ports.unwrap().contains_key("80/tcp"));
    }
}
