//! `USER[:GROUP]` looked up in a root file system's own `/etc/passwd` and `/etc/group`.
//!
//! The root is hostile: the files are opened inside it (openat2(2), `RESOLVE_IN_ROOT`), must be regular files of at
//! most [`MAX_BYTES`], and ids beyond [`MAX_ID`] do not count (CVE-2024-40635, CVE-2026-30892, CVE-2024-9676).

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use std::os::fd::AsFd;
use std::path::Path;
use wb_doc::{Context, Error, escape};
use wb_sys::{fd, file, node};

/// The largest passwd or group file that is read.
pub const MAX_BYTES: usize = 1 << 20;
/// The largest id, as docker has it: 2³¹ − 1.
pub const MAX_ID: u32 = 0x7fff_ffff;

/// Who a process is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// Supplementary groups. The first is `gid`, so that a right taken from that group cannot be won back by
    /// becoming another group (CVE-2022-36109).
    pub additional_gids: Vec<u32>,
    /// The home directory, `/` where none is known.
    pub home: String,
}

/// Looks `user` up below `root`: `name`, `uid`, `name:group`, `uid:gid` and so on, as docker does. Empty means uid 0.
///
/// A number is never looked up as a name. A uid without an entry is itself, with gid 0 and home `/`; an unknown
/// name is an error. Supplementary groups are those that list the user, unless a group was named.
pub fn resolve(root: impl AsFd, user: &str) -> Result<Identity, Error> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let wanted = Wanted::parse("user", if user.is_empty() { "0" } else { user })?;
    let wanted_group = group.filter(|group| !group.is_empty()).map(|group| Wanted::parse("group", group));
    let wanted_group = wanted_group.transpose()?;

    let passwd = read(&root, "etc/passwd")?;
    let entry = lines(&passwd).filter_map(User::parse).find(|entry| wanted.is(entry.name, entry.uid));
    let (uid, primary, home) = match (&entry, wanted) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home),
        (None, Wanted::Id(uid)) => (uid, 0, "/"),
        (None, Wanted::Name(name)) => return Err(unknown("user", name, "etc/passwd")),
    };
    let groups = read(&root, "etc/group")?;
    let mut additional_gids = Vec::new();
    let gid = if let Some(wanted) = wanted_group {
        find_group(&groups, wanted)?
    } else {
        if let Some(entry) = &entry {
            let listed = lines(&groups).filter_map(Group::parse).filter(|group| group.lists(entry.name));
            additional_gids.extend(listed.map(|group| group.gid).filter(|&gid| gid != primary));
        }
        primary
    };
    additional_gids.insert(0, gid);
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, additional_gids, home: home.to_owned() })
}

/// Looks up one group, a name or a number, below `root`.
pub fn resolve_group(root: impl AsFd, group: &str) -> Result<u32, Error> {
    match Wanted::parse("group", group)? {
        Wanted::Id(gid) => Ok(gid),
        wanted @ Wanted::Name(_) => find_group(&read(root, "etc/group")?, wanted),
    }
}

fn find_group(groups: &str, wanted: Wanted<'_>) -> Result<u32, Error> {
    let found = lines(groups).filter_map(Group::parse).find(|group| wanted.is(group.name, group.gid));
    match (found, wanted) {
        (Some(group), _) => Ok(group.gid),
        (None, Wanted::Id(gid)) => Ok(gid),
        (None, Wanted::Name(name)) => Err(unknown("group", name, "etc/group")),
    }
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::new(format!("{what} {}: not in the root's /{file}", escape(name))).code(125)
}

/// What was typed: a number is a number, whatever the files call it.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    Id(u32),
    Name(&'a str),
}

impl<'a> Wanted<'a> {
    fn parse(what: &str, text: &'a str) -> Result<Self, Error> {
        let number = text.strip_prefix(['-', '+']).unwrap_or(text);
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text));
        }
        id(text).map(Self::Id).ok_or_else(|| {
            Error::new(format!("{what} {}: ids go from 0 to {MAX_ID}", escape(text))).code(125)
        })
    }

    fn is(self, name: &str, id: u32) -> bool {
        match self {
            Self::Id(wanted) => wanted == id,
            Self::Name(wanted) => wanted == name,
        }
    }
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    /// passwd(5): `name:password:uid:gid:gecos:home:shell`. Broken lines do not count.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _) = (fields.next()?, fields.next()?);
        let (uid, gid) = (id(fields.next()?)?, id(fields.next()?)?);
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    /// group(5): `name:password:gid:member,member`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _) = (fields.next()?, fields.next()?);
        Some(Self { name, gid: id(fields.next()?)?, members: fields.next().unwrap_or_default() })
    }

    fn lists(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member.trim() == user)
    }
}

fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&id| digits && id <= MAX_ID)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The content of a file below `root`; empty where there is none.
fn read(root: impl AsFd, path: &str) -> Result<String, Error> {
    let object = || format!("/{path} in the root");
    let open = |flags| file::open_in_root(&root, Path::new(path), flags, Mode::empty());
    // Looked at before it is opened: opening a device or a fifo can do things, looking cannot.
    let looked = match open(OFlag::O_PATH) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(String::new()),
        other => other.context(object)?,
    };
    check(&looked).context(object)?;
    let opened = open(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).context(object)?;
    // Something else may have taken its place meanwhile.
    check(&opened).context(object)?;
    let bytes = fd::read_all(&opened, MAX_BYTES).context(object)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn check(opened: impl AsFd) -> Result<(), Error> {
    let status = node::status(opened).context(|| "fstat")?;
    if node::kind(&status) != SFlag::S_IFREG {
        return Err(Error::new("no regular file"));
    }
    if usize::try_from(status.st_size).map_or(true, |size| size > MAX_BYTES) {
        return Err(Error::new("larger than 1 MiB"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("wb-passwd-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("etc")).unwrap();
            let passwd = "# a comment\nroot:x:0:0:root:/root:/bin/sh\nweb:x:1000:50:Web:/srv/web:/bin/sh\n\
                          1234:x:7:7::/tricked:\nbig:x:4294967296:0::/:\nneg:x:-1:0::/:\nbroken:x\nnohome:x:8:8\n";
            fs::write(path.join("etc/passwd"), passwd).unwrap();
            let group = "root:x:0:\nwheel:x:10:root,web\nvideo:x:44:web\nweb:x:50:\nbad:x:99999999999:web\n";
            fs::write(path.join("etc/group"), group).unwrap();
            Self(path)
        }

        fn resolve(&self, user: &str) -> Result<Identity, Error> {
            resolve(fs::File::open(&self.0).unwrap(), user)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn ids(identity: &Identity) -> (u32, u32, &[u32], &str) {
        (identity.uid, identity.gid, &identity.additional_gids, &identity.home)
    }

    #[test]
    fn resolves_as_docker_does() {
        let root = Scratch::new("docker");
        for (user, expected) in [
            ("", (0, 0, &[0, 10][..], "/root")),
            ("root", (0, 0, &[0, 10], "/root")),
            ("web", (1000, 50, &[50, 10, 44], "/srv/web")),
            ("1000", (1000, 50, &[50, 10, 44], "/srv/web")),
            ("web:video", (1000, 44, &[44], "/srv/web")),
            ("web:", (1000, 50, &[50, 10, 44], "/srv/web")),
            (":video", (0, 44, &[44], "/root")),
            ("4711", (4711, 0, &[0], "/")),
            ("4711:4712", (4711, 4712, &[4712], "/")),
            ("nohome", (8, 8, &[8], "/")),
        ] {
            assert_eq!(ids(&root.resolve(user).unwrap()), expected, "{user:?}");
        }
    }

    #[test]
    fn a_number_is_never_a_name() {
        let root = Scratch::new("number");
        assert_eq!(root.resolve("1234").unwrap().uid, 1234);
    }

    #[test]
    fn refuses_unknown_names_and_ids_out_of_range() {
        let root = Scratch::new("range");
        for user in ["nobody", "web:nogroup", "2147483648", "-1", "4294967296", "0:2147483648", "big", "neg"]
        {
            assert!(root.resolve(user).is_err(), "{user:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_small_regular_file() {
        let root = Scratch::new("kind");
        let passwd = root.0.join("etc/passwd");
        fs::remove_file(&passwd).unwrap();
        nix::unistd::mkfifo(&passwd, Mode::S_IRWXU).unwrap();
        assert!(root.resolve("web").unwrap_err().to_string().contains("no regular file"));
        fs::remove_file(&passwd).unwrap();
        fs::write(&passwd, vec![b'x'; MAX_BYTES + 1]).unwrap();
        assert!(root.resolve("web").unwrap_err().to_string().contains("1 MiB"));
    }

    #[test]
    fn a_link_stays_inside_the_root() {
        let root = Scratch::new("link");
        let passwd = root.0.join("etc/passwd");
        fs::rename(&passwd, root.0.join("passwd")).unwrap();
        symlink("/passwd", &passwd).unwrap();
        assert_eq!(root.resolve("web").unwrap().uid, 1000);
        fs::remove_file(&passwd).unwrap();
        // The host's file has this name too; inside the root it does not exist.
        symlink("/etc/hostname", &passwd).unwrap();
        assert_eq!(root.resolve("0").unwrap().home, "/");
    }

    #[test]
    fn without_files_numbers_still_work() {
        let root = Scratch::new("empty");
        fs::remove_dir_all(root.0.join("etc")).unwrap();
        assert_eq!(ids(&root.resolve("5").unwrap()), (5, 0, &[0][..], "/"));
        assert!(root.resolve("web").is_err());
    }
}
