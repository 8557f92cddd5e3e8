//! seccomp(2): a filter over the system calls of this process and its descendants.

use crate::trace::call;
use crate::{Errno, Result};
use nix::libc;

/// One instruction of classic BPF: `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions it skips if true.
    pub jt: u8,
    /// How many instructions it skips if false.
    pub jf: u8,
    /// A constant.
    pub k: u32,
}

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Puts a filter in force, for good (`SECCOMP_SET_MODE_FILTER`). It takes `no_new_privs` or CAP_SYS_ADMIN.
pub fn load(program: &[Instruction], flags: u32) -> Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    call(
        "only these system calls from here on",
        || format!("seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x}, {{len={length}, filter=[...]}})"),
        || {
            let program = Program { length, instructions: program.as_ptr() };
            let (mode, pointer) = (libc::SECCOMP_SET_MODE_FILTER, std::ptr::from_ref(&program));
            // SAFETY: the kernel copies `length` instructions, which live through the call.
            let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, pointer) };
            Errno::result(result).map(drop)
        },
    )
}
