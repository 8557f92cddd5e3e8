//! overlayfs's own extended attributes: `trusted.overlay.*`, which take root of the initial user namespace to write,
//! and in any other `user.overlay.*` (the option `userxattr`, Linux 5.11).

use std::sync::OnceLock;

/// The number of the initial user namespace (the kernel's `PROC_USER_INIT_INO`).
const INITIAL: &str = "user:[4026531837]";

/// Whether overlays are mounted with `userxattr` here.
pub fn is_users() -> bool {
    static USERS: OnceLock<bool> = OnceLock::new();
    // Without /proc nothing works anyway.
    *USERS
        .get_or_init(|| std::fs::read_link("/proc/self/ns/user").is_ok_and(|own| own.as_os_str() != INITIAL))
}

/// What the directory hides of those below; its value is `y`.
pub fn opaque() -> &'static str {
    if is_users() { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
}

/// The directory's name below, where that is another.
pub fn redirect() -> &'static str {
    if is_users() { "user.overlay.redirect" } else { "trusted.overlay.redirect" }
}

/// That the file's content is below.
pub fn metacopy() -> &'static str {
    if is_users() { "user.overlay.metacopy" } else { "trusted.overlay.metacopy" }
}
