//! `wb-spec run`: a new container's document.

use crate::flags::{self, Given, RUN};
use crate::{
    attend, capabilities, devices, health, help, mounts, namespaces, network, process, resources, security,
};
use serde_json::{Value, json};
use wb_doc::{Context, Document, Error, ExitCode, names};
use wb_store::{Place, record};

const USAGE: &str = "run [FLAGS] IMAGE [COMMAND [ARG...]]";

/// What the modules of a run need beside the flags.
pub struct Subject {
    /// The container's id.
    pub id: String,
    /// Where containers and volumes lie.
    pub place: Place,
}

/// The verb.
pub fn main(words: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let given = match flags::parse(crate::table::TABLE, RUN, words) {
        Ok(given) if given.on("help") => return help::of_verb(RUN, USAGE),
        Ok(given) => Ok(given),
        Err(error) => Err(hinted(error)),
    };
    wb_doc::emit(crate::TOOL, "run", given.and_then(|given| document(&given)).map_err(crate::refused))
}

fn hinted(error: Error) -> Error {
    if error.advice().is_some() { error } else { error.hint("wb-spec run --help") }
}

/// The document for a command line.
pub fn document(given: &Given) -> Result<Document, Error> {
    let id = match given.last("id") {
        Some(id) => {
            names::check("id", id)?;
            id.to_owned()
        }
        None => record::random_id()?,
    };
    let subject = Subject { id, place: Place::from_env()? };
    let (image, command) = image_and_command(given)?;
    check_conflicts(given)?;
    capabilities::check_available(given)?;
    let mut document = Document::default();
    document.set("/ociVersion", "1.2.0")?;
    document.set("/process", process::process(given, &subject, command, image.is_none())?)?;
    document.set("/root", root(given)?)?;
    if let Some(hostname) = namespaces::hostname(given, &subject)? {
        document.set("/hostname", hostname)?;
    }
    if let Some(domainname) = given.last("domainname") {
        document.set("/domainname", domainname)?;
    }
    let mounted = mounts::mounts(given, &subject)?;
    document.set("/mounts", mounted.mounts)?;
    if let Some(annotations) = pairs(given, "annotation")? {
        document.set("/annotations", annotations)?;
    }
    let linux = linux(given, &subject)?;
    let filter = security::filter(&subject.place, linux.get("seccomp"))?;
    document.set("/linux", linux)?;
    document.set("/wb/id", &subject.id)?;
    if let Some(name) = given.last("name") {
        names::check("container name", name.strip_prefix('/').unwrap_or(name))?;
        document.set("/wb/name", name.strip_prefix('/').unwrap_or(name))?;
    }
    if let Some(image) = image {
        document.set("/wb/image", image)?;
        if let Some(entrypoint) = given.last("entrypoint") {
            document.set("/wb/entrypoint", process::entrypoint(entrypoint))?;
        }
    }
    document.set("/wb/run", attend::run(given)?)?;
    document.set("/wb/labels", crate::environment::labels(given)?)?;
    let networks = network::networks(given, &subject)?;
    for (pointer, value) in [
        ("/wb/network", Some(networks.first)),
        ("/wb/networks", (!networks.further.is_empty()).then(|| Value::from(networks.further))),
        ("/wb/volumes", (!mounted.volumes.is_empty()).then(|| Value::from(mounted.volumes))),
        ("/wb/healthcheck", health::healthcheck(given)?),
        ("/wb/groups", process::named_groups(given)),
        ("/wb/userns", namespaces::user_mode(given)?),
        ("/wb/seccomp", security::seccomp_mode(given)?.map(Value::from)),
        ("/wb/seccompFilter", filter),
        ("/wb/privileged", given.on("privileged").then_some(Value::Bool(true))),
    ] {
        if let Some(value) = value {
            document.set(pointer, value)?;
        }
    }
    Ok(document)
}

/// The image as typed, or nothing with `--rootfs`; and the words after it.
fn image_and_command(given: &Given) -> Result<(Option<Value>, &[String]), Error> {
    if given.has("rootfs") {
        return Ok((None, &given.words));
    }
    let Some((reference, command)) = given.words.split_first() else {
        return Err(Error::usage("an image is missing").hint(format!("wb-spec {USAGE}")));
    };
    if reference.is_empty() {
        return Err(Error::usage("the image's name is empty"));
    }
    let pull = given.last("pull").unwrap_or("missing");
    if !["always", "missing", "never"].contains(&pull) {
        return Err(flags::invalid("pull", pull, "always, missing or never"));
    }
    let mut image = json!({"ref": reference, "pull": pull});
    if let Some(platform) = given.last("platform") {
        image["platform"] = platform.into();
    }
    if given.on("quiet") {
        image["quiet"] = true.into();
    }
    Ok((Some(image), command))
}

fn root(given: &Given) -> Result<Value, Error> {
    let mut root = serde_json::Map::new();
    if let Some(directory) = given.last("rootfs") {
        let path = std::path::absolute(directory).context(|| format!("--rootfs {directory}"))?;
        root.insert("path".into(), path.to_string_lossy().into());
    }
    root.insert("readonly".into(), given.on("read-only").into());
    Ok(Value::Object(root))
}

fn linux(given: &Given, subject: &Subject) -> Result<Value, Error> {
    let limits = resources::of_run(given)?;
    let devices = devices::devices(given)?;
    let mut linux = json!({
        "namespaces": namespaces::namespaces(given, subject)?,
        "cgroupsPath": cgroups_path(given, subject),
        "resources": Value::Object(limits),
        "sysctl": namespaces::sysctl(given)?,
        "maskedPaths": security::masked_paths(given)?,
        "readonlyPaths": security::readonly_paths(given)?,
    });
    linux["resources"]["devices"] = devices.rules;
    if !devices.nodes.is_empty() {
        linux["devices"] = devices.nodes.into();
    }
    if let Some(seccomp) = security::seccomp(given)? {
        linux["seccomp"] = seccomp;
    }
    Ok(linux)
}

fn cgroups_path(given: &Given, subject: &Subject) -> String {
    match given.last("cgroup-parent").map(|parent| parent.trim_matches('/')) {
        Some(parent) if !parent.is_empty() => format!("/{parent}/{}", subject.id),
        _ => format!("/{}/{}", subject.place.machine_name("wb"), subject.id),
    }
}

/// What docker refuses because two flags contradict each other.
fn check_conflicts(given: &Given) -> Result<(), Error> {
    if let Some(parent) =
        given.last("cgroup-parent").filter(|parent| parent.split('/').any(|part| part == ".."))
    {
        return Err(flags::invalid("cgroup-parent", parent, "a path without .."));
    }
    let conflict = |a: &str, b: &str| Err(Error::usage(format!("conflicting options: --{a} and --{b}")));
    if given.on("detach") && given.has("attach") {
        return conflict("attach", "detach");
    }
    let restart = given.last("restart").unwrap_or("no");
    if given.on("rm") && !matches!(restart, "no" | "") {
        return conflict("restart", "rm");
    }
    if given.last("uts") == Some("host") {
        for name in ["hostname", "domainname"] {
            if given.has(name) {
                return conflict(name, "uts host");
            }
        }
    }
    if given.on("no-healthcheck") && health::is_given(given) {
        return conflict("no-healthcheck", "health-*");
    }
    Ok(())
}

/// `KEY=VALUE` flags as a JSON object, `None` where there is none.
pub fn pairs(given: &Given, name: &str) -> Result<Option<Value>, Error> {
    let mut map = serde_json::Map::new();
    for pair in given.all(name) {
        match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                map.insert(key.into(), value.into());
            }
            _ => return Err(flags::invalid(name, pair, "KEY=VALUE")),
        }
    }
    Ok((!map.is_empty()).then_some(Value::Object(map)))
}

#[cfg(test)]
mod tests;
