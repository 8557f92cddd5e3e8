//! Random bytes of the kernel: getrandom(2).

use crate::trace::call;
use crate::{Errno, Result};

/// Fills `buffer`, at most 256 bytes (a larger request may come back short).
pub fn fill(buffer: &mut [u8]) -> Result<()> {
    if buffer.len() > 256 {
        return Err(Errno::EINVAL);
    }
    let length = buffer.len();
    call(
        "bytes nobody can guess",
        || format!("getrandom({length} bytes, 0)"),
        || {
            // SAFETY: the pointer and length are those of one buffer that lives through the call.
            let got = unsafe { nix::libc::getrandom(buffer.as_mut_ptr().cast(), length, 0) };
            let got = Errno::result(got)?;
            if usize::try_from(got) == Ok(length) { Ok(()) } else { Err(Errno::EIO) }
        },
    )
}
