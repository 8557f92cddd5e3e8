//! The ids of a container's user namespace, and mounts that show files through them.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use wb_doc::oci::{IdMapping, Namespace};
use wb_doc::{Context, Document, Error};
use wb_sys::Errno;
use wb_sys::mount_fd::{self, Change};

/// Two maps, and the user namespace that stands for them once it is needed.
#[derive(Debug)]
pub struct Maps {
    uids: Vec<IdMapping>,
    gids: Vec<IdMapping>,
    namespace: OnceCell<OwnedFd>,
}

impl Maps {
    /// These maps; neither may be empty.
    pub fn new(uids: &[IdMapping], gids: &[IdMapping]) -> Result<Self, Error> {
        if uids.is_empty() || gids.is_empty() {
            return Err(Error::usage("ids of users and of groups must both be mapped"));
        }
        Ok(Self { uids: uids.to_vec(), gids: gids.to_vec(), namespace: OnceCell::new() })
    }

    /// Those of the user namespace the document asks for; `None` where it asks for none of its own.
    pub fn of(document: &Document) -> Result<Option<Self>, Error> {
        let namespaces: Vec<Namespace> = document.read("/linux/namespaces")?.unwrap_or_default();
        if !namespaces.iter().any(|namespace| namespace.kind == "user" && namespace.path.is_none()) {
            return Ok(None);
        }
        let uids: Vec<IdMapping> = document.read("/linux/uidMappings")?.unwrap_or_default();
        let gids: Vec<IdMapping> = document.read("/linux/gidMappings")?.unwrap_or_default();
        if uids.is_empty() && gids.is_empty() { Ok(None) } else { Self::new(&uids, &gids).map(Some) }
    }

    /// Makes a detached mount show ids through the maps: what the disk calls 0 is the container's root.
    pub fn apply(&self, tree: impl AsFd, recursive: bool) -> Result<(), Error> {
        let namespace = self.namespace()?;
        let change = Change { userns: Some(namespace.as_fd()), recursive, ..Change::default() };
        let why = "ids seen through the container's maps";
        mount_fd::set_attributes(tree, change, why).map_err(|errno| match errno {
            Errno::EINVAL => Error::errno("idmapped mount", errno)
                .hint("its file system must know idmapped mounts (ext4, xfs, btrfs; tmpfs since Linux 6.3)"),
            _ => Error::errno("idmapped mount", errno),
        })
    }

    /// The ids on the host of the container's root, or of whoever is mapped first.
    pub fn root(&self) -> (u32, u32) {
        let host = |map: &[IdMapping]| {
            let root = map.iter().find(|one| one.container_id == 0).or(map.first());
            root.map_or(0, |one| one.host_id)
        };
        (host(&self.uids), host(&self.gids))
    }

    /// The ids inside the container that these ids on the host stand for; an id without one stays as it is.
    pub fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        (inside(&self.uids, uid), inside(&self.gids, gid))
    }

    /// The ids on the host that these ids inside the container stand for; an id without one stays as it is.
    pub fn outside(&self, uid: u32, gid: u32) -> (u32, u32) {
        (outside(&self.uids, uid), outside(&self.gids, gid))
    }

    fn namespace(&self) -> Result<&OwnedFd, Error> {
        if let Some(namespace) = self.namespace.get() {
            return Ok(namespace);
        }
        let made = wb_sys::idmap::user_namespace(&lines(&self.uids), &lines(&self.gids));
        let made = made.context(|| "user namespace of an idmapped mount")?;
        Ok(self.namespace.get_or_init(|| made))
    }
}

fn inside(map: &[IdMapping], id: u32) -> u32 {
    let found = map.iter().find_map(|one| {
        let offset = id.checked_sub(one.host_id).filter(|offset| *offset < one.size)?;
        one.container_id.checked_add(offset)
    });
    found.unwrap_or(id)
}

fn outside(map: &[IdMapping], id: u32) -> u32 {
    let found = map.iter().find_map(|one| {
        let offset = id.checked_sub(one.container_id).filter(|offset| *offset < one.size)?;
        one.host_id.checked_add(offset)
    });
    found.unwrap_or(id)
}

fn lines(map: &[IdMapping]) -> String {
    map.iter().fold(String::new(), |mut text, one| {
        // Writing to a String cannot fail.
        writeln!(text, "{} {} {}", one.container_id, one.host_id, one.size).ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<Maps>, Error> {
        Maps::of(&Document::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn ids_inside_and_outside() {
        let map = [IdMapping { container_id: 0, host_id: 100_000, size: 1000 }];
        let maps = Maps::new(&map, &map).unwrap();
        assert_eq!(maps.inside(100_000, 100_999), (0, 999));
        assert_eq!(maps.inside(5, 101_000), (5, 101_000));
        assert_eq!(maps.outside(0, 999), (100_000, 100_999));
    }

    #[test]
    fn only_a_user_namespace_of_its_own_has_maps() {
        let map = r#"[{"containerID":0,"hostID":100000,"size":65536}]"#;
        let both = format!(r#""uidMappings":{map},"gidMappings":{map}"#);
        assert!(
            of(&format!(r#"{{"linux":{{"namespaces":[{{"type":"user"}}],{both}}}}}"#)).unwrap().is_some()
        );
        assert!(of(&format!(r#"{{"linux":{{"namespaces":[{{"type":"pid"}}],{both}}}}}"#)).unwrap().is_none());
        assert!(of(r#"{"linux":{"namespaces":[{"type":"user","path":"/x"}]}}"#).unwrap().is_none());
        let half = format!(r#"{{"linux":{{"namespaces":[{{"type":"user"}}],"uidMappings":{map}}}}}"#);
        assert!(of(&half).is_err());
    }
}
