//! The books of one subnet: a file under flock(2) that survives SIGKILL at any moment.
//!
//! ```text
//! header   magic, fingerprint, boot id, "being changed", last offset given
//! bits     one an address: set if it is not free
//! full     one a word of `bits`: set if that word has no free bit
//! index    owner's hash -> offset + 1, open addressing
//! slots    256 bytes an address: the owner, empty if there is none
//! ```
//! The slots are the truth; each is changed by one write inside one page. `bits`, `full` and `index` follow from
//! them and are made anew when whoever opens the file finds "being changed": its last user was killed. Books that
//! somebody else has emptied or cut off begin with what the records of living containers say. The file is sparse:
//! only what is in use takes space.

mod mend;

use crate::subnet::Subnet;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{File, OpenOptions};
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use wb_doc::{Context, Error};
use wb_sys::{Errno, trace};

const MAGIC: &[u8; 8] = b"wbipam1\n";
const PAGE_LEN: usize = 4096;
const PAGE: u64 = PAGE_LEN as u64;
const SLOT_LEN: usize = 256;
const SLOT: u64 = SLOT_LEN as u64;
/// The longest owner, in bytes.
pub const MAX_OWNER: usize = 255;
const BUSY_AT: u64 = 64;
const LAST_AT: u64 = 68;
/// Nothing was given yet.
const NONE: u32 = u32::MAX;

/// Tells who has which address where the books were lost.
pub type Survivors<'a> = &'a dyn Fn() -> Result<Vec<(String, IpAddr)>, Error>;

/// The books of one subnet, locked.
pub struct Pool<'a> {
    subnet: &'a Subnet,
    file: Flock<File>,
    what: String,
    layout: Layout,
}

/// Where the parts of the file begin.
#[derive(Debug, Clone, Copy)]
struct Layout {
    full: u64,
    index: u64,
    index_len: u64,
    slots: u64,
}

impl Layout {
    fn of(size: u32) -> Self {
        let page = |bytes: u64| bytes.next_multiple_of(PAGE);
        let words = u64::from(size.div_ceil(64));
        let full = PAGE + page(words * 8);
        let index = full + page(words.div_ceil(64) * 8);
        // Half empty at worst, so that a search is short.
        let index_len = (u64::from(size) * 2).next_power_of_two().max(64);
        Self { full, index, index_len, slots: index + page(index_len * 4) }
    }
}

impl<'a> Pool<'a> {
    /// Opens and locks the books of `subnet` in `directory`, making or mending them where need be.
    pub fn open(directory: &Path, subnet: &'a Subnet, survivors: Survivors) -> Result<Self, Error> {
        let path = directory.join(subnet.file_name());
        let what = path.display().to_string();
        let (file, length) = loop {
            let file = open_file(directory, &path)?;
            let file = lock(file).context(|| format!("lock {what}"))?;
            let metadata = file.metadata().context(|| &what)?;
            // A network that was removed while we waited took the file with it.
            if metadata.nlink() > 0 {
                break (file, metadata.len());
            }
        };
        let pool = Self { subnet, file, what, layout: Layout::of(subnet.size) };
        pool.mend(length, survivors)?;
        Ok(pool)
    }

    /// The address `owner` has.
    pub fn find(&self, owner: &str) -> Result<Option<IpAddr>, Error> {
        Ok(self.look_up(owner)?.ok().map(|(_, offset)| self.subnet.address(offset)))
    }

    /// Who has the address with number `offset`.
    pub fn owner(&self, offset: u32) -> Result<Option<String>, Error> {
        let mut slot = [0; SLOT_LEN];
        self.read(self.slot_at(offset), &mut slot)?;
        let length = usize::from(slot[0]);
        Ok((length > 0).then(|| String::from_utf8_lossy(&slot[1..=length]).into_owned()))
    }

    /// Gives `owner` the next free address after the one given last; `None` where there is none.
    pub fn take_next(&self, owner: &str) -> Result<Option<IpAddr>, Error> {
        let last = self.number(LAST_AT)?;
        let start = if last >= self.subnet.size - 1 { 0 } else { last + 1 };
        let Some(offset) = self.next_free(start)? else { return Ok(None) };
        self.take(owner, offset, true)?;
        Ok(Some(self.subnet.address(offset)))
    }

    /// Whether there is an address to give.
    pub fn has_room(&self) -> Result<bool, Error> {
        Ok(self.next_free(0)?.is_some())
    }

    /// Gives `owner` the address with number `offset`, which must have no owner.
    pub fn take_this(&self, owner: &str, offset: u32) -> Result<(), Error> {
        self.take(owner, offset, false)
    }

    /// Takes back what `owner` has; nothing is fine.
    pub fn release(&self, owner: &str) -> Result<Option<IpAddr>, Error> {
        let Ok((entry, offset)) = self.look_up(owner)? else { return Ok(None) };
        self.set_busy(true)?;
        self.write(self.slot_at(offset), &[0; SLOT_LEN], "the lease ends here")?;
        self.remove_entry(entry)?;
        if self.subnet.is_dynamic(offset) {
            self.set_bit(offset, false)?;
        }
        self.set_busy(false)?;
        Ok(Some(self.subnet.address(offset)))
    }

    /// Every lease: owner and address.
    pub fn leases(&self) -> Result<Vec<(String, IpAddr)>, Error> {
        let mut leases = Vec::new();
        self.each_slot(|offset, owner| {
            leases.push((owner, self.subnet.address(offset)));
            Ok(())
        })?;
        Ok(leases)
    }

    fn take(&self, owner: &str, offset: u32, move_on: bool) -> Result<(), Error> {
        let Err(entry) = self.look_up(owner)? else {
            return Err(Error::new(format!("{owner}: has an address already")));
        };
        self.set_busy(true)?;
        self.write(self.slot_at(offset), &slot_of(owner)?, "the lease is this write")?;
        self.write(self.entry_at(entry), &(offset + 1).to_le_bytes(), "so that the owner finds it")?;
        self.set_bit(offset, true)?;
        if move_on {
            self.write(LAST_AT, &offset.to_le_bytes(), "the next one comes after it")?;
        }
        self.set_busy(false)
    }

    /// The first free number at or after `start`, then from the beginning: two reads, however full the subnet is.
    fn next_free(&self, start: u32) -> Result<Option<u32>, Error> {
        let words = self.subnet.size.div_ceil(64);
        let first = start / 64;
        let tail = !self.word(PAGE, first)? & (u64::MAX << (start % 64));
        if tail != 0 {
            return Ok(Some(first * 64 + tail.trailing_zeros()));
        }
        let mut full = vec![0; words.div_ceil(64) as usize * 8];
        self.read(self.layout.full, &mut full)?;
        let has_room = |&word: &u32| {
            let byte = full[(word / 8) as usize];
            byte >> (word % 8) & 1 == 0
        };
        let after = (first + 1..words).find(has_room);
        let Some(word) = after.or_else(|| (0..=first).find(has_room)) else { return Ok(None) };
        let free = !self.word(PAGE, word)?;
        Ok((free != 0).then(|| word * 64 + free.trailing_zeros()))
    }

    fn set_bit(&self, offset: u32, on: bool) -> Result<(), Error> {
        let before = self.word(PAGE, offset / 64)?;
        let bit = 1 << (offset % 64);
        let after = if on { before | bit } else { before & !bit };
        self.set_word(PAGE, offset / 64, after)?;
        if (before == u64::MAX) != (after == u64::MAX) {
            let word = offset / 64;
            let full = self.word(self.layout.full, word / 64)?;
            let bit = 1 << (word % 64);
            let full = if after == u64::MAX { full | bit } else { full & !bit };
            self.set_word(self.layout.full, word / 64, full)?;
        }
        Ok(())
    }

    /// The index entry and offset of `owner`, or the empty entry where it would go.
    fn look_up(&self, owner: &str) -> Result<Result<(u64, u32), u64>, Error> {
        let mut entry = self.home(owner);
        for _ in 0..self.layout.index_len {
            match self.entry(entry)? {
                0 => return Ok(Err(entry)),
                taken if self.owner(taken - 1)?.as_deref() == Some(owner) => {
                    return Ok(Ok((entry, taken - 1)));
                }
                _ => entry = (entry + 1) % self.layout.index_len,
            }
        }
        Err(Error::new(format!("{}: damaged", self.what)).hint("without the file, the books are made anew"))
    }

    /// Empties an index entry and moves up those behind it that it kept from their place.
    fn remove_entry(&self, entry: u64) -> Result<(), Error> {
        let length = self.layout.index_len;
        let (mut hole, mut next) = (entry, entry);
        loop {
            next = (next + 1) % length;
            let taken = self.entry(next)?;
            if taken == 0 {
                return self.write(self.entry_at(hole), &[0; 4], "nobody looks here any more");
            }
            let Some(owner) = self.owner(taken - 1)? else { continue };
            // An entry may move to the hole if its wanted place is not between the two.
            let wanted = self.home(&owner);
            if (next + length - wanted) % length >= (next + length - hole) % length {
                self.write(self.entry_at(hole), &taken.to_le_bytes(), "moves up")?;
                hole = next;
            }
        }
    }

    fn home(&self, owner: &str) -> u64 {
        hash(owner) % self.layout.index_len
    }

    fn entry_at(&self, entry: u64) -> u64 {
        self.layout.index + entry * 4
    }

    fn entry(&self, entry: u64) -> Result<u32, Error> {
        self.number(self.entry_at(entry))
    }

    fn slot_at(&self, offset: u32) -> u64 {
        self.layout.slots + u64::from(offset) * SLOT
    }

    fn set_busy(&self, busy: bool) -> Result<(), Error> {
        let why = if busy { "from here on half changed" } else { "whole again" };
        self.write(BUSY_AT, &u32::from(busy).to_le_bytes(), why)
    }

    fn number(&self, at: u64) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn word(&self, base: u64, index: u32) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.read(base + u64::from(index) * 8, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn set_word(&self, base: u64, index: u32, word: u64) -> Result<(), Error> {
        self.write(base + u64::from(index) * 8, &word.to_le_bytes(), "the books follow the slots")
    }

    /// Reads what is there; beyond the end of the file everything is zero.
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while done < bytes.len() {
            match self.file.read_at(&mut bytes[done..], at + done as u64).context(|| &self.what)? {
                0 => break,
                n => done += n,
            }
        }
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8], why: &str) -> Result<(), Error> {
        let raw = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        trace::call(
            why,
            || format!("pwrite64({}, {} bytes at {at})", self.what, bytes.len()),
            || self.file.write_all_at(bytes, at).map_err(raw),
        )
        .context(|| &self.what)
    }
}

fn slot_of(owner: &str) -> Result<[u8; SLOT_LEN], Error> {
    let mut slot = [0; SLOT_LEN];
    slot[0] =
        u8::try_from(owner.len()).map_err(|_| Error::usage(format!("{owner}: longer than {MAX_OWNER}")))?;
    slot[1..=owner.len()].copy_from_slice(owner.as_bytes());
    Ok(slot)
}

/// FNV-1a: the same in every build, so that the index stays valid.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn open_file(directory: &Path, path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(OFlag::O_NOFOLLOW.bits());
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(directory).context(|| directory.display().to_string())?;
            options.open(path)
        }
        other => other,
    }
    .context(|| path.display().to_string())
}

fn lock(mut file: File) -> Result<Flock<File>, Errno> {
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(locked) => return Ok(locked),
            Err((again, Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests;
