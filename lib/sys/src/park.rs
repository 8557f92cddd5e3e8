//! A process that only keeps something open: as small as a process can be.

use crate::trace::{self, before};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The registers and frames of what still runs lie within this much of the top of the stack.
const STACK_IN_USE: usize = 8 << 10;
/// The thread-local storage at the start of a static program's heap is no larger.
const TLS_IN_USE: usize = 4 << 10;
const PAGE: usize = 4 << 10;

/// Keeps `fds` open until the process is killed; everything else is closed and given back.
///
/// The process must be a fork of a single-threaded one. Standard input, output and error are closed too, and its
/// memory is emptied: nothing of Rust's runs after that.
pub fn forever(fds: &[OwnedFd]) -> ! {
    before("a process that only holds on to sockets", || "ppoll(NULL, 0, NULL, NULL)".into());
    // It outlives everybody who reads the trace.
    close_others(fds);
    let (ranges, count) = written_pages();
    // From here on not even libc is called: its addresses are in pages that go.
    for (start, length) in ranges.iter().take(count) {
        // SAFETY: private pages of this process. What still runs, this loop and the next, keeps its state in
        // registers and in the frames that were left out, and its code comes back from the file unchanged.
        unsafe { raw::call(raw::MADVISE, *start, *length, raw::MADV_DONTNEED) };
    }
    loop {
        // SAFETY: waits for a signal, with neither descriptors nor times.
        unsafe { raw::call(raw::PPOLL, 0, 0, 0) };
    }
}

/// Closes everything but `fds`, standard input, output and error too, and the trace with them.
///
/// What cannot be closed stays open: no reason to let go of the others.
pub fn close_others(fds: &[OwnedFd]) {
    trace::end();
    let keep: Vec<BorrowedFd> = fds.iter().map(AsFd::as_fd).collect();
    crate::child::close_all_but(&keep).ok();
}

/// The parts of memory that the parent may have written and nobody reads again: heap, stack, data, relocations.
fn written_pages() -> ([(usize, usize); 24], usize) {
    let mut ranges = [(0, 0); 24];
    let mut count = 0;
    let stack = std::ptr::from_ref(&count) as usize;
    // Without /proc the process is a little larger.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some((start, end)) = fields.next().and_then(|range| range.split_once('-')) else { continue };
        let hex = |text| usize::from_str_radix(text, 16).unwrap_or(0);
        let (mut start, mut end) = (hex(start), hex(end));
        let private = fields.next().is_some_and(|flags| flags.ends_with('p'));
        match fields.nth(3).unwrap_or_default() {
            "[heap]" => start += TLS_IN_USE,
            "[stack]" => end = stack.saturating_sub(STACK_IN_USE) & !(PAGE - 1),
            special if special.starts_with('[') => continue,
            _ => {}
        }
        if private && start < end && count < ranges.len() {
            ranges[count] = (start, end - start);
            count += 1;
        }
    }
    (ranges, count)
}

/// System calls without libc.
mod raw {
    pub const MADV_DONTNEED: usize = 4;
    #[cfg(target_arch = "x86_64")]
    pub const MADVISE: usize = 28;
    #[cfg(target_arch = "x86_64")]
    pub const PPOLL: usize = 271;
    #[cfg(not(target_arch = "x86_64"))]
    pub const MADVISE: usize = 233;
    #[cfg(not(target_arch = "x86_64"))]
    pub const PPOLL: usize = 73;

    /// A system call with three arguments and a fourth and fifth of 0.
    ///
    /// # Safety
    /// As for the system call itself.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a call would need the stack and the relocations that are gone")]
    pub unsafe fn call(number: usize, a: usize, b: usize, c: usize) {
        // SAFETY: the registers are those of the kernel's calling convention; the caller answers for the rest.
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") number => _, in("rdi") a, in("rsi") b, in("rdx") c,
                in("r10") 0, in("r8") 0, lateout("rcx") _, lateout("r11") _, options(nostack));
        }
    }

    /// As above.
    ///
    /// # Safety
    /// As for the system call itself.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a call would need the stack and the relocations that are gone")]
    pub unsafe fn call(number: usize, a: usize, b: usize, c: usize) {
        // SAFETY: the registers are those of the kernel's calling convention; the caller answers for the rest.
        unsafe {
            std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => _, in("x1") b, in("x2") c,
                in("x3") 0, in("x4") 0, options(nostack));
        }
    }
}
