//! Running the hooks of a document.

use std::path::Path;
use std::time::Duration;
use wb_doc::hooks::{self, Hook};
use wb_doc::{Context, Document, Error};
use wb_sys::hook::{self, End};

/// Runs hooks in their order; the first that fails is an error, and the rest are not run.
pub fn run_all(list: &[Hook], told: &Document, status: &str, pid: Option<i32>) -> Result<(), Error> {
    if list.is_empty() {
        return Ok(());
    }
    let input = hooks::state(told, status, pid);
    list.iter().try_for_each(|hook| run(hook, &input))
}

/// Runs them all, whatever becomes of one; the first failure is the error.
pub fn run_each(list: &[Hook], told: &Document, status: &str) -> Result<(), Error> {
    if list.is_empty() {
        return Ok(());
    }
    let input = hooks::state(told, status, None);
    list.iter().map(|hook| run(hook, &input)).fold(Ok(()), Result::and)
}

fn run(hook: &Hook, input: &[u8]) -> Result<(), Error> {
    let name = || format!("hook {}", hook.path);
    let timeout = hook.timeout.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let what = hook::Hook { path: Path::new(&hook.path), args: &hook.args, env: &hook.env, input, timeout };
    match hook::run(what).context(name)? {
        End::Status(0) => Ok(()),
        End::Status(status) => Err(Error::new(format!("{}: exit status {status}", name()))),
        End::TimedOut => {
            Err(Error::new(format!("{}: killed after {} seconds", name(), hook.timeout.unwrap_or(0))))
        }
    }
}
