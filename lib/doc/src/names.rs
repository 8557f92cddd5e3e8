//! The grammar of names: ids, container names, networks, volumes. What passes here is safe as a file name.

use crate::error::{Error, escape};

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// How many digits of an id people see.
pub const SHORT_ID: usize = 12;

/// Checks `name` against `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`; `what` says what kind of name it is.
///
/// The first byte can be no dot and no dash, and no byte is a slash: a name can never leave its directory nor
/// be taken for a flag.
pub fn check(what: &str, name: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() {
        return Err(Error::usage(format!("{what} is empty")));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::usage(format!("{what} longer than {MAX_NAME_BYTES} bytes")));
    }
    if !name.bytes().all(allowed) || !name.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(Error::usage(format!(
            "{what} {:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed",
            escape(name)
        )));
    }
    Ok(())
}

/// The first [`SHORT_ID`] characters of an id.
pub fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_docker_accepts() {
        for name in ["a", "web-1", "A.b_c", "0", &"x".repeat(128)] {
            assert!(check("name", name).is_ok(), "{name}");
        }
    }

    #[test]
    fn refuses_paths_flags_and_control_bytes() {
        for name in ["", ".", "..", "../x", "a/b", "-h", "a\nb", "a b", "ä", &"x".repeat(129)] {
            assert!(check("name", name).is_err(), "{name}");
        }
    }
}
