//! What must lie on disk: the place itself, the image, the root, the sources of mounts, hooks; and the name, free.

use crate::finding::Findings;
use crate::machine::{self, Machine};
use nix::sys::statfs::{FsType, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};
use serde_json::Value;
use std::path::Path;
use wb_doc::oci::Mount;
use wb_doc::{Document, Error, hooks};
use wb_store::image::ImageStore;
use wb_store::record;

/// File systems on which no upper directory of an overlay can lie (linux/magic.h).
const NO_UPPER: [(i64, &str); 8] = [
    (0x794c_7630, "overlay"),
    (0x6969, "nfs"),
    (0x4d44, "vfat"),
    (0xff53_4d42, "cifs"),
    (0x0102_1997, "9p"),
    (0x7371_7368, "squashfs"),
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
];

/// Everything about files.
pub fn examine(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    place(machine, document, found);
    image(machine, document, found);
    name(machine, document, found);
    if let Some(path) = document.str_at("/root/path").filter(|_| document.at("/wb/image").is_none()) {
        if !Path::new(path).is_dir() {
            found.lacks(
                "the root directory",
                "root.path",
                format!("{path} is no directory"),
                format!("mkdir -p {path}"),
            );
        }
    }
    sources(document, found)?;
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        for hook in hooks::of(document, kind)? {
            let path = Path::new(&hook.path);
            if !machine::is_executable(path) {
                let mend = format!("chmod +x {}", path.display());
                found.lacks(&path.display().to_string(), &format!("hooks.{kind}"), "it is no program", mend);
            }
        }
    }
    Ok(())
}

/// What is bound into the container. A volume stands in both lists, and the one of volumes says whether it is made.
fn sources(document: &Document, found: &mut Findings) -> Result<(), Error> {
    let volumes = document.read::<Vec<Value>>("/wb/volumes")?.unwrap_or_default();
    for mount in document.read::<Vec<Mount>>("/mounts")?.unwrap_or_default() {
        let bound = mount.options.iter().any(|option| option == "bind" || option == "rbind");
        let Some(source) = mount.source.filter(|_| bound) else { continue };
        let is_volume = volumes.iter().any(|volume| volume["source"] == source.as_str());
        // A relative one is the bundle's.
        if !is_volume && source.starts_with('/') && !Path::new(&source).exists() {
            let member = format!("mounts {}", mount.destination);
            found.lacks(&source, &member, "it does not exist", format!("mkdir -p {source}"));
        }
    }
    for volume in &volumes {
        let source = volume["source"].as_str().unwrap_or_default();
        if volume["type"] == "bind" && volume["create"] != true && !Path::new(source).exists() {
            let mend = format!("mkdir -p {source}, or -v, which makes it");
            found.lacks(source, "wb.volumes", "it does not exist, and --mount makes nothing", mend);
        }
    }
    Ok(())
}

/// Where containers lie must be writable and able to carry an overlay.
fn place(machine: &Machine, document: &Document, found: &mut Findings) {
    for (variable, directory) in [("WB_ROOT", machine.place.root()), ("WB_RUN", machine.place.run())] {
        let Some(existing) = directory.ancestors().find(|path| path.exists()) else { continue };
        let what = format!("{variable}, {}", directory.display());
        let member = "wb.rootfs";
        if statvfs(existing).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY)) {
            let cause = format!("{} is on a read-only file system", existing.display());
            found.lacks(&what, member, cause, format!("mount -o remount,rw, or another {variable}"));
        } else if access(existing, AccessFlags::W_OK).is_err() {
            let cause = format!("{} may not be written to", existing.display());
            found.lacks(&what, member, cause, format!("be root, or {variable}=$HOME/..."));
        }
        let FsType(kind) = match statfs(existing) {
            Ok(about) => about.filesystem_type(),
            Err(_) => continue,
        };
        let bad = NO_UPPER.iter().find(|(magic, _)| *magic == kind);
        if let (Some((_, name)), "WB_ROOT", Some(_)) = (bad, variable, document.at("/wb/image")) {
            let cause = format!("{} is on {name}, on which overlayfs cannot write", existing.display());
            found.lacks(&what, member, cause, "WB_ROOT on ext4, xfs, btrfs or tmpfs");
        }
    }
}

fn image(machine: &Machine, document: &Document, found: &mut Findings) {
    let Some(reference) = document.str_at("/wb/image/ref") else { return };
    let is_there = matches!(ImageStore::new(&machine.place).find(reference), Ok(Some(_)));
    if is_there || document.at("/wb/image/digest").is_some() {
        return;
    }
    let member = "wb.image.ref";
    if document.str_at("/wb/image/pull") == Some("never") {
        found.lacks(
            &format!("the image {reference}"),
            member,
            "it is not in the store",
            format!("wb pull {reference}"),
        );
    } else if let Some((file, path)) =
        reference.split_once(':').filter(|(kind, _)| matches!(*kind, "oci" | "docker-archive"))
    {
        let path = path.split(':').next().unwrap_or_default();
        if !Path::new(path).exists() {
            found.lacks(
                &format!("the {file} {path}"),
                member,
                "it does not exist",
                format!("skopeo copy docker://... {reference}"),
            );
        }
    } else {
        found.note(
            &format!("the image {reference}"),
            member,
            "it is not in the store, and will be pulled",
            format!("wb pull {reference}"),
        );
    }
}

fn name(machine: &Machine, document: &Document, found: &mut Findings) {
    let id = document.str_at("/wb/id").unwrap_or_default();
    let name = document.str_at("/wb/name").unwrap_or_default();
    // Names that may not be read are told of as the place. By the link itself: a name must not be taken for the start of an id.
    let names = record::names(&machine.place).unwrap_or_default();
    let taken = names.iter().any(|taken| taken == name);
    if taken && record::resolve(&machine.place, name).is_ok_and(|owner| owner != id) {
        let mend = format!("wb rm -f {name}, or another --name");
        found.lacks(&format!("the name {name}"), "wb.name", "another container has it", mend);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_disk_is_named_with_its_member() {
        let machine = Machine::of_files("files", &[("there/file", "")]);
        let there = machine.root.join("there");
        let text = format!(
            r#"{{"root":{{"path":"/nonexistent/root"}},"hooks":{{"prestart":[{{"path":"{0}/file"}}]}},
                "mounts":[{{"destination":"/a","source":"{0}","options":["bind"]}},
                          {{"destination":"/b","source":"/nonexistent/b","options":["rbind"]}}],
                "wb":{{"volumes":[{{"type":"bind","source":"/nonexistent/c"}},
                                  {{"type":"bind","source":"/nonexistent/d","create":true}}]}}}}"#,
            there.display()
        );
        let mut found = Findings::default();
        examine(&machine, &Document::parse(text.as_bytes()).unwrap(), &mut found).unwrap();
        let hook = format!("{}/file", there.display());
        assert_eq!(found.names(), ["the root directory", "/nonexistent/b", "/nonexistent/c", hook.as_str()]);
    }
}
