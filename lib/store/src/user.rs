//! Where an ordinary user's containers lie: the XDG base directories, and what stands in for them.

use nix::unistd::{Uid, geteuid};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};

/// `$XDG_DATA_HOME/wb`, or `~/.local/share/wb`.
pub fn root(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    // The XDG specification: a relative path is to be ignored.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("wb"))
        .ok_or_else(|| Error::usage("neither XDG_DATA_HOME nor HOME is set").hint("or set WB_ROOT"))
}

/// `$XDG_RUNTIME_DIR/wb` where that is the user's own; else `/run/user/UID/wb`; where nobody made that either,
/// `/tmp/wb-UID`, made by this call.
///
/// In su(1)'s environment `XDG_RUNTIME_DIR` is another user's, and over ssh or from cron it may be absent: the same
/// user must find the same containers in all of them.
pub fn run(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    let user = geteuid();
    let named = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let usual = PathBuf::from(format!("/run/user/{user}"));
    let found = named.into_iter().chain([usual]).find(|path| is_private(path, user));
    match found {
        Some(path) => Ok(path.join("wb")),
        None => make_private(PathBuf::from(format!("/tmp/wb-{user}")), user),
    }
}

fn is_private(path: &Path, user: Uid) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| why_not(&found, user).is_none())
}

/// Why a directory is not for this user alone.
fn why_not(found: &Metadata, user: Uid) -> Option<&'static str> {
    match found {
        found if !found.is_dir() => Some("is no directory"),
        found if found.uid() != user.as_raw() => Some("belongs to somebody else"),
        found if found.mode() & 0o022 != 0 => Some("can be written by others"),
        _ => None,
    }
}

/// In a directory that anybody may write to: what lies there under our name may be another's.
fn make_private(path: PathBuf, user: Uid) -> Result<PathBuf, Error> {
    let shown = || path.display().to_string();
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error).context(shown),
        _ => {}
    }
    match why_not(&fs::symlink_metadata(&path).context(shown)?, user) {
        None => Ok(path),
        Some(why) => Err(Error::new(format!("{}: {why}", shown()))
            .hint("set XDG_RUNTIME_DIR to a directory of your own, mode 0700")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn data_go_where_xdg_says() {
        let of = |pairs: &'static [(&str, &str)]| {
            root(move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        assert_eq!(of(&[("HOME", "/home/u")]).unwrap(), Path::new("/home/u/.local/share/wb"));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]).unwrap(), Path::new("/d/wb"));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_DATA_HOME", "d")]).unwrap(), Path::new("/h/.local/share/wb"));
        assert!(of(&[]).is_err());
    }

    #[test]
    fn a_directory_that_others_can_change_is_refused() {
        let user = geteuid();
        let top = std::env::temp_dir().join(format!("wb-user-{}", std::process::id()));
        fs::create_dir(&top).unwrap();
        let made = make_private(top.join("made"), user).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o700);
        assert!(make_private(made.clone(), user).is_ok() && is_private(&made, user));
        fs::set_permissions(&made, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(make_private(made.clone(), user).is_err() && !is_private(&made, user));
        symlink("/etc", top.join("link")).unwrap();
        assert!(make_private(top.join("link"), user).is_err());
        assert!(make_private(made, Uid::from_raw(user.as_raw() + 1)).is_err());
        fs::remove_dir_all(top).unwrap();
    }
}
