//! `--systemd-cgroup`: where systemd would put a container's cgroup (systemd.slice(5), systemd.scope(5)).
//!
//! Such a cgroup is systemd's to make, on request over D-Bus. It is not asked here: what it would make is said instead.

use std::path::Path;
use wb_doc::Error;

/// There while systemd runs (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// Why the cgroup is not made.
pub fn refuse(cgroups_path: &str) -> Error {
    let path = match path(cgroups_path) {
        Ok(path) => path,
        Err(error) => return error.within("--systemd-cgroup"),
    };
    let why = if Path::new(BOOTED).is_dir() { "is not asked here" } else { "does not run here" };
    Error::new(format!("--systemd-cgroup: {path} is for systemd to make, which {why}"))
        .hint("let the engine use cgroupfs: podman --cgroup-manager cgroupfs")
}

/// `slice:prefix:name` as the path of its scope below the root of the hierarchy.
fn path(cgroups_path: &str) -> Result<String, Error> {
    let wrong = |why: &str| Error::new(format!("linux.cgroupsPath: {cgroups_path:?}: {why}"));
    let parts: Vec<&str> = cgroups_path.split(':').collect();
    let [slice, prefix, name] = parts[..] else { return Err(wrong("not of the form slice:prefix:name")) };
    if name.is_empty() || [prefix, name].iter().any(|part| part.contains('/')) {
        return Err(wrong("prefix and name make no unit"));
    }
    let slices = slices(slice).ok_or_else(|| wrong("no slice"))?;
    Ok(match (name.strip_suffix(".slice").is_some(), prefix) {
        (true, _) => format!("{slices}/{name}"),
        (false, "") => format!("{slices}/{name}.scope"),
        (false, prefix) => format!("{slices}/{prefix}-{name}.scope"),
    })
}

/// A slice lies below those that its name begins with: `a-b.slice` in `a.slice`. `-.slice` is the root.
fn slices(slice: &str) -> Option<String> {
    let name = if slice.is_empty() { "system" } else { slice.strip_suffix(".slice")? };
    if name == "-" {
        return Some(String::new());
    }
    let parts: Vec<&str> = name.split('-').collect();
    if parts.iter().any(|part| part.is_empty() || part.contains('/')) {
        return None;
    }
    let above = (1..=parts.len()).map(|count| format!("/{}.slice", parts[..count].join("-")));
    Some(above.collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_lies_in_those_its_name_begins_with() {
        for (given, expected) in [
            ("system.slice:docker:f00", "/system.slice/docker-f00.scope"),
            ("test-a-b.slice:cri:one", "/test.slice/test-a.slice/test-a-b.slice/cri-one.scope"),
            (":p:one", "/system.slice/p-one.scope"),
            ("-.slice:p:one", "/p-one.scope"),
            ("user.slice::one", "/user.slice/one.scope"),
            ("user.slice::more.slice", "/user.slice/more.slice"),
        ] {
            assert_eq!(path(given).unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for bad in [
            "",
            "/some/path",
            "a.slice:b",
            "a:b:c",
            "a--b.slice:p:n",
            "-a.slice:p:n",
            "a.slice:p:",
            "a.slice:p:../n",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
