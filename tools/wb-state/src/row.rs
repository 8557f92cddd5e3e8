//! What a list shows of a container, read from its record without building the whole document.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The members of a record that lists and filters look at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Row {
    pub process: Process,
    pub root: Root,
    pub wb: Wb,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Process {
    pub args: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Root {
    pub path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wb {
    pub id: String,
    pub name: String,
    pub created: String,
    pub image: Image,
    pub labels: BTreeMap<String, String>,
    pub network: Network,
    pub networks: Vec<Network>,
    pub volumes: Vec<Volume>,
    pub rootfs: Rootfs,
    pub run: Run,
    pub state: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Image {
    #[serde(rename = "ref")]
    pub reference: String,
    pub name: String,
    pub id: String,
    pub digest: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Network {
    pub name: String,
    pub ports: Vec<Port>,
    pub exposed: Vec<String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "CNI's names")]
pub struct Port {
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Volume {
    pub name: String,
    pub source: String,
    pub destination: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rootfs {
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Run {
    pub restart: Restart,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Restart {
    pub name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct State {
    pub status: String,
    pub pid: i32,
    pub start_time: u64,
    pub boot_id: String,
    pub exit_code: Option<u8>,
    pub oom_killed: bool,
    pub stopped: bool,
    pub started_at: String,
    pub finished_at: String,
    pub health: Health,
    pub monitor: Who,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Health {
    pub status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Who {
    pub pid: i32,
    pub start_time: u64,
}

impl Row {
    /// Reads a record's text.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Puts the true status in, as `wb_store::record::true_status` does for a document. Returns
    /// whether it had to be corrected.
    pub fn true_status(&mut self, boot_id: &str) -> bool {
        let state = &mut self.wb.state;
        let (pid, start) = match state.status.as_str() {
            "running" | "paused" => (state.pid, state.start_time),
            "restarting" => (state.monitor.pid, state.monitor.start_time),
            _ => return false,
        };
        let alive = pid > 0
            && state.boot_id == boot_id
            && wb_sys::proc::stat(pid)
                .is_ok_and(|(letter, now)| now == start && !matches!(letter, b'Z' | b'X'));
        if !alive {
            state.status = "exited".into();
            state.exit_code = None;
        }
        !alive
    }

    /// What a person calls the image.
    pub fn image(&self) -> &str {
        if self.wb.image.reference.is_empty() { &self.root.path } else { &self.wb.image.reference }
    }

    /// Whether the restart policy wants the container to run after a boot, though it does not: one that was stopped on
    /// purpose only where the policy is `always`, one that never ran not at all.
    pub fn is_due(&self) -> bool {
        let state = &self.wb.state;
        let wanted = match self.wb.run.restart.name.as_str() {
            "always" => true,
            "unless-stopped" => !state.stopped,
            _ => false,
        };
        wanted && state.status == "exited" && !state.started_at.is_empty()
    }

    /// The status in docker's one word: what `creating` becomes.
    pub fn status(&self) -> &str {
        match self.wb.state.status.as_str() {
            "creating" | "" => "created",
            other => other,
        }
    }
}
