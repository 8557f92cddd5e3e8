//! bpf(2), as far as the device rules of cgroup v2 need it.

use crate::trace::call;
use crate::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One instruction of the eBPF machine (bpf instruction-set.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high four.
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        Self { code, registers: destination | source << 4, offset, immediate }
    }

    /// `destination = *(u32 *)(source + offset)`
    pub const fn load_word(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x61, destination, source, offset, 0)
    }

    /// `destination = (u32) source`
    pub const fn mov_register(destination: u8, source: u8) -> Self {
        Self::new(0xbc, destination, source, 0, 0)
    }

    /// `destination = immediate`
    pub const fn mov_immediate(destination: u8, immediate: i32) -> Self {
        Self::new(0xb7, destination, 0, 0, immediate)
    }

    /// `(u32) destination &= immediate`
    pub const fn and_immediate(destination: u8, immediate: i32) -> Self {
        Self::new(0x54, destination, 0, 0, immediate)
    }

    /// `(u32) destination >>= bits`
    pub const fn right_shift(destination: u8, bits: i32) -> Self {
        Self::new(0x74, destination, 0, 0, bits)
    }

    /// `if (destination != immediate) skip the next offset instructions`
    pub const fn jump_if_not_equal(destination: u8, immediate: i32, offset: i16) -> Self {
        Self::new(0x55, destination, 0, offset, immediate)
    }

    /// `return r0`
    pub const fn exit() -> Self {
        Self::new(0x95, 0, 0, 0, 0)
    }
}

const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_ATTACH: i32 = 8;
const BPF_PROG_DETACH: i32 = 9;
const BPF_PROG_GET_FD_BY_ID: i32 = 13;
const BPF_PROG_QUERY: i32 = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The first members of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The members of `union bpf_attr` for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[allow(clippy::struct_field_names, reason = "the kernel's names")]
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// The members of `union bpf_attr` for BPF_PROG_QUERY.
#[allow(clippy::struct_field_names, reason = "the kernel's names")]
#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

fn bpf<T>(command: i32, attribute: &mut T) -> Result<i64> {
    let size = std::mem::size_of::<T>();
    // SAFETY: the attribute is a C structure of the size given and outlives the call, as does what it points to.
    let result =
        unsafe { nix::libc::syscall(nix::libc::SYS_bpf, command, std::ptr::from_mut(attribute), size) };
    Errno::result(result)
}

fn owned(number: i64) -> Result<OwnedFd> {
    let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn number(fd: impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().unsigned_abs()
}

/// Loads a program of the type BPF_PROG_TYPE_CGROUP_DEVICE.
pub fn load_cgroup_device(program: &[Instruction]) -> Result<OwnedFd> {
    call(
        "cgroup v2 asks a program about devices",
        || {
            format!(
                "bpf(BPF_PROG_LOAD, {{prog_type=BPF_PROG_TYPE_CGROUP_DEVICE, insn_cnt={}}})",
                program.len()
            )
        },
        || {
            let mut attribute = Load {
                prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
                insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
                insns: program.as_ptr() as u64,
                license: c"MIT OR Apache-2.0".as_ptr() as u64,
                log_level: 0,
                log_size: 0,
                log_buf: 0,
                kern_version: 0,
                prog_flags: 0,
            };
            owned(bpf(BPF_PROG_LOAD, &mut attribute)?)
        },
    )
}

/// Attaches a device program to a cgroup, then detaches those that were attached to it before: at no moment is
/// the cgroup without one.
pub fn replace_cgroup_device(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let earlier = attached(&cgroup)?;
    let mut attribute = Attach {
        target_fd: number(&cgroup),
        attach_bpf_fd: number(&program),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
        replace_bpf_fd: 0,
    };
    call(
        "device access is decided by this program",
        || format!("bpf(BPF_PROG_ATTACH, {{target_fd={}, attach_type=BPF_CGROUP_DEVICE}})", number(&cgroup)),
        || bpf(BPF_PROG_ATTACH, &mut attribute).map(drop),
    )?;
    for id in earlier {
        let mut by_id = [id, 0, 0];
        let old = call(
            "the program before it",
            || format!("bpf(BPF_PROG_GET_FD_BY_ID, {{prog_id={id}}})"),
            || owned(bpf(BPF_PROG_GET_FD_BY_ID, &mut by_id)?),
        )?;
        attribute.attach_bpf_fd = number(&old);
        attribute.attach_flags = 0;
        call(
            "the program before it is not asked any more",
            || format!("bpf(BPF_PROG_DETACH, {{target_fd={}}})", number(&cgroup)),
            || bpf(BPF_PROG_DETACH, &mut attribute).map(drop),
        )?;
    }
    Ok(())
}

/// The ids of the device programs attached to a cgroup itself.
fn attached(cgroup: impl AsFd) -> Result<Vec<u32>> {
    let mut ids = [0_u32; 64];
    let mut attribute = Query {
        target_fd: number(&cgroup),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        padding: 0,
    };
    call(
        "whether a program is there already",
        || format!("bpf(BPF_PROG_QUERY, {{target_fd={}, attach_type=BPF_CGROUP_DEVICE}})", number(&cgroup)),
        || bpf(BPF_PROG_QUERY, &mut attribute).map(drop),
    )?;
    let count = usize::try_from(attribute.prog_cnt).map_err(|_| Errno::EOVERFLOW)?;
    Ok(ids.into_iter().take(count).collect())
}
