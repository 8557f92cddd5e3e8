//! The IPAM plugin of a network: another program, called as CNI asks (CNI 1.1, section 4, "Delegated plugins").

use serde_json::Value;
use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use wb_doc::{Context, Error, escape};
use wb_store::cni::{Call, Refusal, code};
use wb_store::network::Outcome;

/// Calls the network's IPAM plugin with our own configuration; no result where it gives none.
pub fn ipam(call: &Call, command: &str) -> Result<Option<Outcome>, Refusal> {
    let name = call.config.plugin.ipam.kind.as_str();
    let path = find(name)?;
    let mut plugin = Command::new(&path);
    plugin.env("CNI_COMMAND", command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = wb_sys::child::spawn(&mut plugin, "which address is another program's business")
        .context(|| path.display().to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its configuration says why with its status.
        stdin.write_all(&call.raw).ok();
    }
    let output = child.wait_with_output().context(|| path.display().to_string())?;
    if !output.status.success() {
        return Err(said(name, &output.stdout));
    }
    if output.stdout.trim_ascii().is_empty() {
        return Ok(None);
    }
    let outcome = serde_json::from_slice(&output.stdout).context(|| format!("the result of {name}"));
    outcome.map(Some).map_err(|error| Refusal::new(code::DECODE, error))
}

/// The plugin's own error, with its own code.
fn said(name: &str, stdout: &[u8]) -> Refusal {
    let value: Value = serde_json::from_slice(stdout).unwrap_or_default();
    let number = value["code"].as_u64().and_then(|code| u32::try_from(code).ok()).unwrap_or(code::OWN);
    let message = value["msg"].as_str().unwrap_or("failed without a word");
    let details = value["details"].as_str().filter(|details| !details.is_empty());
    let error = Error::new(format!("{name}: {message}"));
    Refusal::new(number, details.map_or(error.clone(), |details| error.hint(details)))
}

/// The program in the directories of `CNI_PATH`.
fn find(name: &str) -> Result<PathBuf, Refusal> {
    if name.contains('/') {
        let error = Error::new(format!("ipam.type {:?}: a name is needed", escape(name)));
        return Err(Refusal::new(code::CONFIG, error));
    }
    let directories = env::var_os("CNI_PATH").unwrap_or_default();
    let found =
        env::split_paths(&directories).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let error = Error::new(format!("ipam.type {name}: no such plugin in CNI_PATH"));
        Refusal::new(code::CONFIG, error)
    })
}
