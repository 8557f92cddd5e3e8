//! Mounts opened on the host and handed down by descriptor, to where the host's paths and ids are out of reach.
//!
//! Inside a new user namespace root is nobody special on the host: it can neither walk to the container's root nor
//! make idmapped mounts. So `wb-rootfs open` does both before the namespaces are made, and leaves the detached mounts
//! to `wb-rootfs enter` on descriptors that the environment variable names.

use super::attach;
use super::plan::{Act, Plan, Planned};
use nix::sched::CloneFlags;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use wb_doc::{Context, Error};
use wb_sys::mount_fd::Propagation;
use wb_sys::{fd, mount_fd, namespace};

/// Names the descriptors: `root:N` and, for the mounts of the document by their index, `INDEX:N`, joined by commas.
pub const VARIABLE: &str = "WB_TREES";

/// Detached mounts.
#[derive(Debug, Default)]
pub struct Trees {
    /// The container's root and what is mounted in it.
    root: Option<OwnedFd>,
    /// Sources of bind mounts, one entry for each member of `mounts`.
    sources: Vec<Option<OwnedFd>>,
}

impl Trees {
    /// Takes over what `wb-rootfs open` has handed down; nothing where it has not been run.
    pub fn inherited(plan: &Plan) -> Result<Self, Error> {
        let mut trees = Self { root: None, sources: plan.mounts.iter().map(|_| None).collect() };
        let Ok(variable) = std::env::var(VARIABLE) else { return Ok(trees) };
        let wrong = || Error::usage(format!("{VARIABLE} is not as wb-rootfs open makes it"));
        for entry in variable.split(',').filter(|entry| !entry.is_empty()) {
            let (what, number) = entry.split_once(':').ok_or_else(wrong)?;
            let number = number.parse().map_err(|_| wrong())?;
            let tree = fd::inherited(number).context(|| format!("{VARIABLE} {entry}"))?;
            if what == "root" {
                trees.root = Some(tree);
            } else {
                let index: usize = what.parse().map_err(|_| wrong())?;
                *trees.sources.get_mut(index).ok_or_else(wrong)? = Some(tree);
            }
        }
        Ok(trees)
    }

    /// Opens everything of the host that the plan names.
    pub fn open(plan: &Plan) -> Result<Self, Error> {
        let mut trees = Self { root: Some(root(plan)?), sources: Vec::new() };
        for mount in &plan.mounts {
            trees.sources.push(match &mount.act {
                Act::Bind(source) => Some(attach::clone_source(source, mount, plan.maps.as_ref())?),
                Act::New(kind, source) if kind == "sysfs" => plan
                    .network
                    .as_deref()
                    .map(|network| sysfs_of(network, source, mount))
                    .transpose()
                    .context(|| format!("mount {}", mount.destination.display()))?,
                _ => None,
            });
        }
        if let Some(network) = plan.network.as_deref().filter(|_| !plan.sysctl.is_empty()) {
            join_network(network)?;
            super::sysctl::write_network(plan)?;
        }
        Ok(trees)
    }

    /// Opens what cannot wait: the root; bind mounts that receive or send mount events, which they do no more once this
    /// namespace is private; mapped ones, since a process whose root is covered makes no user namespaces; and those of
    /// other mount namespaces, since whoever comes back from one finds its root where the topmost mount is.
    pub fn complete(&mut self, plan: &Plan) -> Result<OwnedFd, Error> {
        for (mount, source) in plan.mounts.iter().zip(&mut self.sources) {
            let connected =
                matches!(mount.options.propagation, Some((Propagation::Slave | Propagation::Shared, _)));
            let Act::Bind(path) = &mount.act else { continue };
            let early = connected || mount.is_mapped() || attach::foreign(path).is_some();
            if early && source.is_none() {
                *source = Some(attach::clone_source(path, mount, plan.maps.as_ref())?);
            }
        }
        self.root.take().map_or_else(|| root(plan), Ok)
    }

    /// Whether the root is open already: `wb-rootfs open` has been run.
    pub fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// The source of the mount at `index`, if it is open already.
    pub fn take(&mut self, index: usize) -> Option<OwnedFd> {
        self.sources.get_mut(index).and_then(Option::take)
    }

    /// Lets the next programs inherit the descriptors; gives the value of [`VARIABLE`].
    pub fn pass_on(&self) -> Result<String, Error> {
        let mut entries = Vec::new();
        let root = self.root.iter().map(|tree| ("root".to_owned(), tree));
        let sources = self.sources.iter().enumerate();
        let sources = sources.filter_map(|(index, tree)| Some((index.to_string(), tree.as_ref()?)));
        for (what, tree) in root.chain(sources) {
            fd::set_cloexec(tree, false).context(|| "passing on a descriptor")?;
            entries.push(format!("{what}:{}", tree.as_raw_fd()));
        }
        Ok(entries.join(","))
    }
}

/// A sysfs that shows the devices of the network namespace at `network`, which this process joins for that, as the
/// container will. That namespace belongs to the host, so root of the container's user namespace is refused one.
fn sysfs_of(network: &Path, source: &str, mount: &Planned) -> Result<OwnedFd, Error> {
    join_network(network)?;
    attach::make_filesystem("sysfs", source, &mount.options)
}

/// What is made and written from now on is this network's.
fn join_network(path: &Path) -> Result<(), Error> {
    let name = || path.display().to_string();
    let namespace = namespace::open(path).context(name)?;
    let why = "sysfs and sysctls are those of the network this process is in";
    namespace::setns(&namespace, CloneFlags::CLONE_NEWNET, why).context(name)
}

fn root(plan: &Plan) -> Result<OwnedFd, Error> {
    mount_fd::clone_path(&plan.root, true, "the root and what is mounted in it")
        .map_err(|errno| super::explain(Error::errno(format!("root {}", plan.root.display()), errno)))
}
