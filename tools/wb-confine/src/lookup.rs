//! The program: found as execvp(3) finds it, with docker's words where it is not.

use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use wb_doc::Error;
use wb_sys::Errno;

/// Where programs are where the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The value of `PATH` in an environment; the first counts, as for getenv(3).
pub fn search_path(env: &[OsString]) -> OsString {
    let found = env.iter().find_map(|pair| pair.as_bytes().strip_prefix(b"PATH="));
    found.map_or_else(|| DEFAULT_PATH.into(), |value| OsStr::from_bytes(value).to_owned())
}

/// The file to execute, as the present user may: 127 where there is none, 126 where it cannot be executed.
pub fn find(word: &OsStr, search_path: &OsStr) -> Result<PathBuf, Error> {
    if word.is_empty() {
        return Err(failure(word, "empty command").code(127));
    }
    if word.as_bytes().contains(&b'/') {
        let path = PathBuf::from(word);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(errno) => Err(refused(word, errno)),
        };
    }
    let mut denied = false;
    for directory in search_path.as_bytes().split(|byte| *byte == b':') {
        // An empty entry is the current directory, as ever. It is not searched: nobody means it.
        if directory.is_empty() {
            continue;
        }
        let path = PathBuf::from(OsStr::from_bytes(directory)).join(word);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(Errno::EACCES | Errno::EISDIR) => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        return Err(refused(word, Errno::EACCES));
    }
    Err(failure(word, "executable file not found in PATH").code(127))
}

fn executable(path: &PathBuf) -> Result<(), Errno> {
    // With the effective ids, since they are the ones execve(2) asks.
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    let status = nix::sys::stat::stat(path)?;
    let kind = status.st_mode & nix::sys::stat::SFlag::S_IFMT.bits();
    match kind {
        kind if kind == nix::sys::stat::SFlag::S_IFDIR.bits() => Err(Errno::EISDIR),
        kind if kind == nix::sys::stat::SFlag::S_IFREG.bits() => Ok(()),
        _ => Err(Errno::EACCES),
    }
}

/// What execve(2) or the search said, as docker says it.
pub fn refused(word: &OsStr, errno: Errno) -> Error {
    let name = format!("exec: {:?}", word.to_string_lossy());
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => Error::errno(name, errno).code(127),
        Errno::ENOEXEC => {
            Error::errno(name, errno).code(126).hint("a script begins with #! and its interpreter")
        }
        _ => Error::errno(name, errno).code(126),
    }
}

fn failure(word: &OsStr, message: &str) -> Error {
    Error::new(format!("exec: {:?}: {message}", word.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(word: &str, path: &str) -> u8 {
        find(OsStr::new(word), OsStr::new(path)).map_or_else(|error| error.exit_code(), |_| 0)
    }

    #[test]
    fn searches_the_path_in_order() {
        assert_eq!(find(OsStr::new("sh"), OsStr::new("/nosuch:/bin")).unwrap(), PathBuf::from("/bin/sh"));
        assert_eq!(status("/bin/sh", ""), 0);
    }

    #[test]
    fn docker_s_statuses() {
        assert_eq!(status("nosuch", "/bin:/usr/bin"), 127);
        assert_eq!(status("/nosuch/x", "/bin"), 127);
        assert_eq!(status("/etc/passwd", "/bin"), 126);
        assert_eq!(status("/etc", "/bin"), 126);
        assert_eq!(status("", "/bin"), 127);
        let error = find(OsStr::new("nosuch"), OsStr::new("/bin")).unwrap_err();
        assert_eq!(error.to_string(), r#"exec: "nosuch": executable file not found in PATH"#);
    }

    #[test]
    fn the_path_of_the_environment_or_the_usual_one() {
        assert_eq!(search_path(&["A=1".into(), "PATH=/x".into(), "PATH=/y".into()]), "/x");
        assert_eq!(search_path(&[]), DEFAULT_PATH);
    }
}
