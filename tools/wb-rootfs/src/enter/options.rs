//! Mount options as the runtime-spec and mount(8) spell them (config.md, "Linux mount options").

use wb_doc::{Error, escape};
use wb_sys::mount_fd::{ATIME_BITS, Attributes, Propagation};

/// The options of one mount, sorted by what the kernel calls take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// A bind mount; `true` with the mounts below.
    pub bind: Option<bool>,
    /// Changes the mount that is there.
    pub remount: bool,
    /// Attributes of this mount.
    pub attributes: Bits,
    /// Attributes of this mount and those below.
    pub recursive: Bits,
    /// Propagation; `true` for the mounts below as well.
    pub propagation: Option<(Propagation, bool)>,
    /// A tmpfs starts with what lies at the destination.
    pub copy_up: bool,
    /// Ids shown through maps; `true` for the mounts below as well.
    pub idmap: Option<bool>,
    /// Words for the file system as a whole (fsconfig flags).
    pub superblock: Vec<&'static str>,
    /// Everything else: the file system's own options, `key` or `key=value`.
    pub data: Vec<String>,
}

/// Attributes to be set and to be cleared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bits {
    /// To be set.
    pub set: Attributes,
    /// To be cleared.
    pub clear: Attributes,
}

impl Bits {
    /// A later option takes back an earlier one.
    fn put(&mut self, set: Attributes, clear: Attributes) {
        self.set = (self.set - clear) | set;
        self.clear = (self.clear - set) | clear;
    }

    /// Whether there is nothing to do.
    pub fn is_empty(self) -> bool {
        self.set.is_empty() && self.clear.is_empty()
    }
}

/// One word's meaning.
enum Meaning {
    /// Sets and clears attributes; with an `r` in front (`rro`) also of the mounts below.
    Attribute(Attributes, Attributes),
    /// Propagation; with an `r` in front also of the mounts below.
    Propagation(Propagation),
    /// For the file system as a whole.
    Superblock(&'static str),
    /// The default, or a word for mount(8) only.
    Nothing,
}

const NONE: Attributes = Attributes::empty();

/// Every word but those that stand alone (`bind`, `remount`, `tmpcopyup`, `idmap`).
const WORDS: &[(&str, Meaning)] = &[
    ("ro", Meaning::Attribute(Attributes::MOUNT_ATTR_RDONLY, NONE)),
    ("rw", Meaning::Attribute(NONE, Attributes::MOUNT_ATTR_RDONLY)),
    ("nosuid", Meaning::Attribute(Attributes::MOUNT_ATTR_NOSUID, NONE)),
    ("suid", Meaning::Attribute(NONE, Attributes::MOUNT_ATTR_NOSUID)),
    ("nodev", Meaning::Attribute(Attributes::MOUNT_ATTR_NODEV, NONE)),
    ("dev", Meaning::Attribute(NONE, Attributes::MOUNT_ATTR_NODEV)),
    ("noexec", Meaning::Attribute(Attributes::MOUNT_ATTR_NOEXEC, NONE)),
    ("exec", Meaning::Attribute(NONE, Attributes::MOUNT_ATTR_NOEXEC)),
    ("nosymfollow", Meaning::Attribute(Attributes::MOUNT_ATTR_NOSYMFOLLOW, NONE)),
    ("symfollow", Meaning::Attribute(NONE, Attributes::MOUNT_ATTR_NOSYMFOLLOW)),
    ("nodiratime", Meaning::Attribute(Attributes::MOUNT_ATTR_NODIRATIME, NONE)),
    ("diratime", Meaning::Attribute(NONE, Attributes::MOUNT_ATTR_NODIRATIME)),
    ("noatime", Meaning::Attribute(Attributes::MOUNT_ATTR_NOATIME, ATIME_BITS)),
    ("strictatime", Meaning::Attribute(Attributes::MOUNT_ATTR_STRICTATIME, ATIME_BITS)),
    // What the kernel does when told nothing else is relatime.
    ("relatime", Meaning::Attribute(NONE, ATIME_BITS)),
    ("norelatime", Meaning::Attribute(NONE, ATIME_BITS)),
    ("nostrictatime", Meaning::Attribute(NONE, ATIME_BITS)),
    ("atime", Meaning::Attribute(NONE, ATIME_BITS)),
    ("private", Meaning::Propagation(Propagation::Private)),
    ("slave", Meaning::Propagation(Propagation::Slave)),
    ("shared", Meaning::Propagation(Propagation::Shared)),
    ("unbindable", Meaning::Propagation(Propagation::Unbindable)),
    ("sync", Meaning::Superblock("sync")),
    ("async", Meaning::Superblock("async")),
    ("dirsync", Meaning::Superblock("dirsync")),
    ("lazytime", Meaning::Superblock("lazytime")),
    ("nolazytime", Meaning::Superblock("nolazytime")),
    ("mand", Meaning::Superblock("mand")),
    ("nomand", Meaning::Superblock("nomand")),
    ("iversion", Meaning::Superblock("iversion")),
    ("noiversion", Meaning::Superblock("noiversion")),
    ("silent", Meaning::Superblock("silent")),
    ("loud", Meaning::Superblock("loud")),
    ("defaults", Meaning::Nothing),
];

impl Options {
    /// Reads the options of a mount at `destination`. What no table knows is the file system's own.
    pub fn parse(words: &[String], destination: &str) -> Result<Self, Error> {
        let mut options = Self::default();
        for word in words {
            if word.contains('\0') {
                return Err(Error::usage(format!("mount {}: NUL in an option", escape(destination))));
            }
            if !options.take_alone(word) && !options.take_from_table(word) && !word.is_empty() {
                options.data.push(word.clone());
            }
        }
        if options.bind.is_some() && !options.data.is_empty() {
            return Err(Error::usage(format!(
                "mount {}: a bind mount has no option {}",
                escape(destination),
                escape(&options.data[0])
            )));
        }
        Ok(options)
    }

    fn take_alone(&mut self, word: &str) -> bool {
        match word {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            _ => return false,
        }
        true
    }

    fn take_from_table(&mut self, word: &str) -> bool {
        let find = |word: &str| WORDS.iter().find(|(name, _)| *name == word).map(|(_, meaning)| meaning);
        // No word of the table starts with an r before another word of it, `relatime` and `rw` included.
        let (meaning, recursive) = match find(word) {
            Some(meaning) => (meaning, false),
            None => match word.strip_prefix('r').and_then(find) {
                Some(meaning @ (Meaning::Attribute(..) | Meaning::Propagation(_))) => (meaning, true),
                _ => return false,
            },
        };
        match *meaning {
            Meaning::Attribute(set, clear) if recursive => self.recursive.put(set, clear),
            Meaning::Attribute(set, clear) => self.attributes.put(set, clear),
            Meaning::Propagation(kind) => self.propagation = Some((kind, recursive)),
            Meaning::Superblock(flag) => self.superblock.push(flag),
            Meaning::Nothing => {}
        }
        true
    }

    /// Whether the mount is to be read-only.
    pub fn readonly(&self) -> bool {
        (self.attributes.set | self.recursive.set).contains(Attributes::MOUNT_ATTR_RDONLY)
    }

    /// The value of one of the file system's own options.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.data.iter().rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
}

/// `rprivate`, `slave` and so on: `linux.rootfsPropagation`, and a mount's own.
pub fn propagation(word: &str) -> Option<(Propagation, bool)> {
    let mut options = Options::default();
    options.take_from_table(word);
    options.propagation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Options {
        let words: Vec<String> = words.split(',').map(str::to_owned).collect();
        Options::parse(&words, "/x").unwrap()
    }

    #[test]
    fn sorts_words_by_what_the_kernel_takes() {
        let options = parse("nosuid,strictatime,mode=755,size=65536k,defaults,sync");
        assert_eq!(options.data, ["mode=755", "size=65536k"]);
        assert_eq!(options.superblock, ["sync"]);
        let set = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_STRICTATIME;
        assert_eq!(options.attributes.set, set);
        assert_eq!(options.value("mode"), Some("755"));
    }

    #[test]
    fn a_later_word_takes_back_an_earlier_one() {
        assert!(!parse("ro,rw").readonly());
        assert!(parse("rw,ro").readonly());
        let atime = parse("noatime,relatime").attributes;
        assert_eq!((atime.set, atime.clear), (NONE, ATIME_BITS));
    }

    #[test]
    fn recursive_words_are_kept_apart() {
        let options = parse("rbind,rro,rslave,noexec");
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.recursive.set, Attributes::MOUNT_ATTR_RDONLY);
        assert_eq!(options.attributes.set, Attributes::MOUNT_ATTR_NOEXEC);
        assert_eq!(options.propagation, Some((Propagation::Slave, true)));
        assert_eq!(parse("rrw").recursive.clear, Attributes::MOUNT_ATTR_RDONLY);
        assert_eq!(parse("rrelatime").recursive.clear, ATIME_BITS);
    }

    #[test]
    fn every_word_of_the_specification_is_known() {
        let words = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev \
             nodiratime noexec noiversion nolazytime norelatime nostrictatime nosuid nosymfollow private ratime \
             rbind rdev rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime \
             rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow \
             runbindable rw shared silent slave strictatime suid symfollow sync unbindable mand nomand tmpcopyup \
             idmap ridmap";
        for word in words.split_ascii_whitespace() {
            assert!(parse(word).data.is_empty(), "{word}");
        }
    }

    #[test]
    fn a_bind_mount_has_no_options_of_a_file_system() {
        assert!(Options::parse(&["bind".into(), "size=1".into()], "/x").is_err());
        assert!(Options::parse(&["mode=1\0".into()], "/x").is_err());
    }
}
