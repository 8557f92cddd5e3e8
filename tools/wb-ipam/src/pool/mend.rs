//! Books that are new, of another pool, of another boot, lost, or left half changed.

use super::{LAST_AT, Layout, MAGIC, NONE, PAGE, PAGE_LEN, Pool, SLOT, SLOT_LEN, Survivors, hash, slot_of};
use nix::unistd::{Whence, lseek};
use wb_doc::{Context, Error};
use wb_sys::Errno;

impl Pool<'_> {
    /// Makes the books anew where they are new, of another pool, of another boot, lost, or were left half changed.
    pub(super) fn mend(&self, length: u64, survivors: Survivors) -> Result<(), Error> {
        let mut found = [0; 72];
        self.read(0, &mut found)?;
        let expected = self.header()?;
        let same = |part: std::ops::Range<usize>| found[part.clone()] == expected[part];
        let same_geometry = same(0..16);
        let whole = self.layout.slots + u64::from(self.subnet.size) * SLOT;
        let is_cut = same_geometry && length < whole;
        if same(0..64) && !is_cut {
            return if found[64..68] == [0; 4] { Ok(()) } else { self.rebuild() };
        }
        // Of another boot: no container outlives a reboot, so its leases go; where we stopped giving stays.
        if is_cut || !(same_geometry && same(24..56)) {
            if !is_cut && same(24..56) && !self.is_empty_of_size(&found)? {
                return Err(Error::new(format!("{}: leases of another pool are in use", self.subnet.net)));
            }
            let last = if same_geometry { found[68..72].to_vec() } else { NONE.to_le_bytes().to_vec() };
            self.file.set_len(0).context(|| &self.what)?;
            self.file.set_len(whole).context(|| &self.what)?;
            self.write(LAST_AT, &last, "goes on where it stopped")?;
            for (owner, address) in survivors()? {
                // One that may not be given is nobody's to give a second time.
                if let Ok(offset) = self.subnet.offset(address) {
                    self.write(self.slot_at(offset), &slot_of(&owner)?, "who lives keeps its address")?;
                }
            }
        }
        self.rebuild()?;
        self.write(0, &expected, "the books are valid from here on")
    }

    /// Whether a file made for another base or size holds no lease.
    fn is_empty_of_size(&self, header: &[u8]) -> Result<bool, Error> {
        let size = header[56..60].try_into().map_or(0, u32::from_le_bytes);
        let mut empty = true;
        self.each_slot_from(Layout::of(size).slots, |_, _| {
            empty = false;
            Ok(())
        })?;
        Ok(empty)
    }

    /// The first 64 bytes: magic, hash of the geometry, hash of the rest of the description, boot id, size.
    fn header(&self) -> Result<[u8; 64], Error> {
        let mut header = [0; 64];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&hash(&self.subnet.geometry()).to_le_bytes());
        header[16..24].copy_from_slice(&hash(&self.subnet.fingerprint()).to_le_bytes());
        let boot = wb_sys::proc::boot_id().context(|| "boot id")?;
        for (to, from) in header[24..56].iter_mut().zip(boot.bytes().filter(|&byte| byte != b'-')) {
            *to = from;
        }
        header[56..60].copy_from_slice(&self.subnet.size.to_le_bytes());
        Ok(header)
    }

    fn rebuild(&self) -> Result<(), Error> {
        let mut bits = self.subnet.reserved();
        let mut index = vec![0_u32; usize::try_from(self.layout.index_len).unwrap_or_default()];
        self.each_slot(|offset, owner| {
            if let Some(word) = bits.get_mut(offset as usize / 64) {
                *word |= 1 << (offset % 64);
            }
            let mut entry = usize::try_from(self.home(&owner)).unwrap_or_default();
            while index[entry] != 0 {
                entry = (entry + 1) % index.len();
            }
            index[entry] = offset + 1;
            Ok(())
        })?;
        let mut full = vec![0_u64; bits.len().div_ceil(64)];
        for (word, _) in bits.iter().enumerate().filter(|(_, bits)| **bits == u64::MAX) {
            full[word / 64] |= 1 << (word % 64);
        }
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        self.write(PAGE, &bytes(&bits), "the books made anew from the slots")?;
        self.write(self.layout.full, &bytes(&full), "the books made anew from the slots")?;
        // Page by page, so that the empty pages of a large index stay holes.
        let per_page = PAGE_LEN / 4;
        for (page, entries) in index.chunks(per_page).enumerate() {
            let at = self.layout.index + page as u64 * PAGE;
            let mut old = vec![0; entries.len() * 4];
            let new: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
            self.read(at, &mut old)?;
            if old != new {
                self.write(at, &new, "the books made anew from the slots")?;
            }
        }
        self.set_busy(false)
    }

    pub(super) fn each_slot(&self, each: impl FnMut(u32, String) -> Result<(), Error>) -> Result<(), Error> {
        self.each_slot_from(self.layout.slots, each)
    }

    /// Calls `each` for every slot with an owner; holes of the file are skipped.
    fn each_slot_from(
        &self,
        slots: u64,
        mut each: impl FnMut(u32, String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut at = slots;
        let mut page = [0; PAGE_LEN];
        while let Some(next) = self.next_data(at)? {
            at = next - next % PAGE;
            self.read(at, &mut page)?;
            for (index, slot) in page.chunks(SLOT_LEN).enumerate().filter(|(_, slot)| slot[0] != 0) {
                let offset = (at - slots) / SLOT + index as u64;
                let owner = String::from_utf8_lossy(&slot[1..=usize::from(slot[0])]).into_owned();
                if let Ok(offset) = u32::try_from(offset) {
                    each(offset, owner)?;
                }
            }
            at += PAGE;
        }
        Ok(())
    }

    fn next_data(&self, at: u64) -> Result<Option<u64>, Error> {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        match lseek(&*self.file, at, Whence::SeekData) {
            Ok(next) => Ok(u64::try_from(next).ok()),
            Err(Errno::ENXIO) => Ok(None),
            Err(errno) => Err(errno).context(|| &self.what),
        }
    }
}
