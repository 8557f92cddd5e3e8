//! An image's defaults into the document, by the image-spec's conversion rules (conversion.md) and docker's.
//!
//! What the document already says wins everywhere: it came from the user's flags.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use wb_doc::{Document, Error, oci::Process};
use wb_store::image::{ContainerConfig, Image};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NO_COMMAND: &str = "no command specified";

/// Writes what the image is into `wb.image`, and its defaults into the rest of the document.
///
/// With `to_run` there must be a command in the end; else the image is all that was asked for.
pub fn image(
    document: &mut Document,
    image: &Image,
    platform_asked: Option<&str>,
    to_run: bool,
) -> Result<(), Error> {
    let again = document.str_at("/wb/image/id") == Some(image.id().as_str());
    describe(document, image, platform_asked)?;
    if again {
        // A document that has been through here already: its entrypoint must not be put in front twice.
        return Ok(());
    }
    let config = image.config.config.clone().unwrap_or_default();
    process(document, &config, to_run)?;
    annotations(document, image, &config)?;
    if let Some(signal) = config.stop_signal.as_deref().filter(|signal| !signal.is_empty()) {
        document.set_default("/wb/run/stopSignal", signal)?;
    }
    if let Some(labels) = &config.labels {
        let mut all = labels.clone();
        all.extend(document.read::<BTreeMap<String, String>>("/wb/labels")?.unwrap_or_default());
        document.set("/wb/labels", all)?;
    }
    if let Some(ports) = config.exposed_ports.as_ref().filter(|ports| !ports.is_empty()) {
        let mut exposed = document.read::<Vec<String>>("/wb/network/exposed")?.unwrap_or_default();
        for port in ports.keys() {
            let port = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
            if !exposed.contains(&port) {
                exposed.push(port);
            }
        }
        document.set("/wb/network/exposed", exposed)?;
    }
    if let Some(check) = config.healthcheck.as_ref().filter(|check| !check.is_null()) {
        document.set_default("/wb/healthcheck", check)?;
    }
    Ok(())
}

/// Fills the defaults that every container has, where there is no image (`--rootfs`).
pub fn no_image(document: &mut Document) -> Result<(), Error> {
    process(document, &ContainerConfig::default(), true)
}

fn describe(document: &mut Document, image: &Image, platform_asked: Option<&str>) -> Result<(), Error> {
    if let Some(name) = &image.name {
        document.set("/wb/image/name", name)?;
    }
    let mut manifest = image.descriptor.clone();
    manifest.annotations = None;
    manifest.platform = None;
    manifest.other = Map::new();
    document.set("/wb/image/digest", &manifest.digest)?;
    document.set("/wb/image/id", image.id())?;
    document.set("/wb/image/manifest", &manifest)?;
    document.set("/wb/image/layers", image.diff_ids())?;
    document.set("/wb/image/config", image.config.config.clone().unwrap_or_default())?;
    platform_asked.map_or(Ok(()), |platform| document.set("/wb/image/platform", platform))
}

fn process(document: &mut Document, config: &ContainerConfig, to_run: bool) -> Result<(), Error> {
    // Only to fail early, and by name, on members of a wrong type.
    let process = document.read::<Process>("/process")?.unwrap_or_default();
    let entrypoint = document.read::<Vec<String>>("/wb/entrypoint")?;
    let args = args(entrypoint.as_deref(), process.args, config);
    if args.is_empty() && to_run {
        return Err(Error::new(NO_COMMAND).code(125));
    }
    document.remove("/wb/entrypoint");
    if !args.is_empty() {
        document.set("/process/args", args)?;
    }
    let mut env = env(config.env.as_deref().unwrap_or_default(), &process.env);
    if process.terminal {
        default_variable(&mut env, "TERM", "xterm");
    }
    if let Some(hostname) = document.str_at("/hostname") {
        default_variable(&mut env, "HOSTNAME", hostname);
    }
    document.set("/process/env", env)?;
    if process.cwd.is_empty() {
        document.set("/process/cwd", cwd(config.working_dir.as_deref().unwrap_or_default()))?;
    }
    document.set_default("/ociVersion", "1.2.0")?;
    // A document made by hand may have no user; the runtime-spec wants one.
    document.set_default("/process/user/uid", 0)?;
    document.set_default("/process/user/gid", 0)?;
    match config.user.as_deref() {
        Some(user) if !user.is_empty() => document.set_default("/process/user/username", user),
        _ => Ok(()),
    }
}

/// The command: the entrypoint of the flag, else the image's; then the user's words, else the image's, which are
/// dropped when the flag gave an entrypoint.
fn args(flag: Option<&[String]>, words: Vec<String>, config: &ContainerConfig) -> Vec<String> {
    let image_command = config.cmd.clone().unwrap_or_default();
    let mut args: Vec<String> = match flag {
        // `--entrypoint ""` means none.
        Some(flag) => flag.iter().filter(|word| !word.is_empty()).cloned().collect(),
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    args.extend(if words.is_empty() && flag.is_none() { image_command } else { words });
    args
}

/// The image's variables, overridden by the document's; one without `=` unsets. `PATH` is always there.
fn env(image: &[String], flags: &[String]) -> Vec<String> {
    let mut env: Vec<String> = Vec::with_capacity(image.len() + flags.len() + 1);
    for entry in image.iter().chain(flags) {
        let known = env.iter().position(|other| variable(other) == variable(entry));
        match (known, entry.contains('=')) {
            (Some(at), true) => env[at].clone_from(entry),
            (Some(at), false) => drop(env.remove(at)),
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
    if !env.iter().any(|entry| variable(entry) == "PATH") {
        env.insert(0, DEFAULT_PATH.to_owned());
    }
    env
}

fn default_variable(env: &mut Vec<String>, name: &str, value: &str) {
    if !env.iter().any(|entry| variable(entry) == name) {
        env.push(format!("{name}={value}"));
    }
}

fn variable(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn cwd(image: &str) -> String {
    if image.starts_with('/') { image.to_owned() } else { format!("/{image}") }
}

/// conversion.md, "Annotation fields" and "Parsed fields"; an annotation of the document wins over a label.
fn annotations(document: &mut Document, image: &Image, config: &ContainerConfig) -> Result<(), Error> {
    let mut all = Map::new();
    let facts = [
        ("os", Some(&image.config.os)),
        ("architecture", Some(&image.config.architecture)),
        ("variant", image.config.variant.as_ref()),
        ("author", image.config.author.as_ref()),
        ("created", image.config.created.as_ref()),
        ("stopSignal", config.stop_signal.as_ref()),
    ];
    for (name, value) in facts {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            all.insert(format!("org.opencontainers.image.{name}"), json!(value));
        }
    }
    if let Some(ports) = config.exposed_ports.as_ref().filter(|ports| !ports.is_empty()) {
        let ports = ports.keys().map(String::as_str).collect::<Vec<_>>().join(",");
        all.insert("org.opencontainers.image.exposedPorts".into(), json!(ports));
    }
    for (name, value) in config.labels.iter().flatten() {
        all.insert(name.clone(), json!(value));
    }
    if let Some(Value::Object(own)) = document.at("/annotations") {
        all.extend(own.clone());
    }
    if all.is_empty() { Ok(()) } else { document.set("/annotations", all) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wb_store::image::{Descriptor, Digest, ImageConfig, Manifest};

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn image_of(config: &Value) -> Image {
        let digest = Digest::of(b"x");
        let config: ImageConfig = serde_json::from_value(json!({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": [digest] },
        }))
        .unwrap();
        Image {
            name: Some("docker.io/library/x:latest".into()),
            descriptor: Descriptor::new("m", digest.clone(), 1),
            manifest: Manifest {
                schema_version: 2,
                media_type: None,
                config: Descriptor::new("c", digest, 1),
                layers: Vec::new(),
                other: Map::new(),
            },
            config,
        }
    }

    fn merged(document: Value, config: &Value) -> Document {
        let mut document = Document::from_value(document).unwrap();
        image(&mut document, &image_of(config), None, true).unwrap();
        document
    }

    #[test]
    fn composes_the_command_as_docker_does() {
        let image = |entrypoint: &str, cmd: &str| ContainerConfig {
            entrypoint: Some(words(entrypoint)),
            cmd: Some(words(cmd)),
            ..ContainerConfig::default()
        };
        for (flag, user, entrypoint, cmd, expected) in [
            (None, "", "", "sh", "sh"),
            (None, "ls -l", "", "sh", "ls -l"),
            (None, "", "top", "-b", "top -b"),
            (None, "-c", "top", "-b", "top -c"),
            (Some("cat"), "", "top", "-b", "cat"),
            (Some("cat"), "/x", "top", "-b", "cat /x"),
            (Some(""), "id", "top", "-b", "id"),
        ] {
            let flag: Option<Vec<String>> = flag.map(words);
            let args = args(flag.as_deref(), words(user), &image(entrypoint, cmd));
            assert_eq!(args, words(expected));
        }
        assert!(args(Some(&[String::new()]), Vec::new(), &image("top", "-b")).is_empty());
    }

    #[test]
    fn a_container_needs_a_command_and_an_image_alone_does_not() {
        let nothing = image_of(&json!({}));
        let error = image(&mut Document::default(), &nothing, None, true).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("no command specified", 125));
        assert!(image(&mut Document::default(), &nothing, None, false).is_ok());
    }

    #[test]
    fn flags_override_and_unset_the_images_variables() {
        let env = env(&words("A=1 B=2 C=3"), &words("B=x D=4 C"));
        assert_eq!(env, [DEFAULT_PATH, "A=1", "B=x", "D=4"]);
        assert_eq!(super::env(&words("PATH=/x"), &[]), ["PATH=/x"]);
    }

    #[test]
    fn what_the_document_says_wins() {
        let config = json!({
            "User": "nobody", "WorkingDir": "/srv", "Cmd": ["a"], "StopSignal": "SIGQUIT", "Volumes": null,
            "Labels": {"l": "image", "m": "image"}, "ExposedPorts": {"80/tcp": {}, "53": {}},
        });
        let plain = merged(json!({}), &config);
        assert_eq!(plain.str_at("/process/user/username"), Some("nobody"));
        assert_eq!(plain.str_at("/process/cwd"), Some("/srv"));
        assert_eq!(plain.str_at("/wb/run/stopSignal"), Some("SIGQUIT"));
        assert_eq!(plain.at("/wb/network/exposed").unwrap(), &json!(["80/tcp", "53/tcp"]));
        assert_eq!(plain.str_at("/annotations/org.opencontainers.image.os"), Some("linux"));
        assert_eq!(plain.str_at("/wb/image/name"), Some("docker.io/library/x:latest"));
        let own = merged(
            json!({"process": {"user": {"username": "1:2"}, "cwd": "/w", "args": ["b"]},
                   "annotations": {"l": "mine"},
                   "wb": {"run": {"stopSignal": "SIGINT"}, "labels": {"l": "mine"}}}),
            &config,
        );
        assert_eq!(own.str_at("/process/user/username"), Some("1:2"));
        assert_eq!(own.str_at("/process/cwd"), Some("/w"));
        assert_eq!(own.at("/process/args").unwrap(), &json!(["b"]));
        assert_eq!(own.str_at("/wb/run/stopSignal"), Some("SIGINT"));
        assert_eq!(own.at("/wb/labels").unwrap(), &json!({"l": "mine", "m": "image"}));
        assert_eq!(own.str_at("/annotations/l"), Some("mine"));
        assert_eq!(own.str_at("/annotations/m"), Some("image"));
    }

    #[test]
    fn a_second_pass_changes_nothing() {
        let config = json!({"Entrypoint": ["e"], "Cmd": ["c"]});
        let mut once = merged(json!({"process": {"args": ["x"]}}), &config);
        assert_eq!(once.at("/process/args").unwrap(), &json!(["e", "x"]));
        let before = once.clone();
        image(&mut once, &image_of(&config), None, true).unwrap();
        assert_eq!(once, before);
    }
}
