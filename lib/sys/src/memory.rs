//! Memory of this very program: madvise(2).

use crate::Result;
use crate::trace::call;
use std::ptr::NonNull;

// SAFETY: the linker defines both (ld(1), "PROVIDE"); only their addresses are ever used.
unsafe extern "C" {
    static __executable_start: u8;
    static etext: u8;
}

/// Forgets the pages of the program's own code and constants: what is needed again comes back from the page cache.
///
/// For a program that has done most of its work and now waits for long: a few pages stay of a few hundred.
pub fn forget_program() -> Result<()> {
    let start = (&raw const __executable_start) as usize;
    let end = (&raw const etext) as usize;
    // A page is the smallest thing to forget; the kernel rounds the end up itself.
    let start = start & !0xfff;
    let length = end.saturating_sub(start);
    call(
        "pages that were needed to begin are not needed to wait",
        || format!("madvise({start:#x}, {length}, MADV_DONTNEED)"),
        || {
            let Some(address) = NonNull::new(start as *mut std::ffi::c_void) else { return Ok(()) };
            let advice = nix::sys::mman::MmapAdvise::MADV_DONTNEED;
            // SAFETY: from the start of the executable to the end of its code lie only pages of the file that are
            // never written (relocated data comes after the code), so each comes back as it was.
            unsafe { nix::sys::mman::madvise(address, length, advice) }
        },
    )
}

/// Gives the heap's free pages back: malloc_trim(3). C libraries other than glibc do so by themselves.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no memory of ours; the allocator has locks of its own.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_goes_on_afterwards() {
        let constant = "a constant of the program";
        super::forget_program().unwrap();
        assert_eq!(constant.len(), 25);
        assert_eq!(format!("{:?}", Some(1.5)), "Some(1.5)");
    }
}
