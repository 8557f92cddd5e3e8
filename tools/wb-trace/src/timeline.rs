//! The trace as lanes: one for each process, its calls in order.

use serde::Deserialize;
use std::io::BufRead;
use wb_doc::{Context, Error};

/// One kernel call.
#[derive(Debug, Clone, Deserialize)]
pub struct Call {
    /// When it was made, in seconds; counted from the first call once read.
    pub time: f64,
    tool: String,
    pid: i64,
    /// The system call's name.
    pub name: String,
    /// The call in strace's notation.
    #[serde(rename = "call")]
    pub text: String,
    /// What it gave back; empty for one that does not return.
    #[serde(default)]
    pub result: String,
    /// How long it took.
    #[serde(default)]
    pub seconds: f64,
    /// Why it was made.
    #[serde(default)]
    pub why: String,
}

/// A process's calls while it was one program.
#[derive(Debug, Clone)]
pub struct Lane {
    /// The program.
    pub tool: String,
    /// The process.
    pub pid: i64,
    /// In order of time; never empty.
    pub calls: Vec<Call>,
}

/// All lanes, in the order in which they began.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// The lanes.
    pub lanes: Vec<Lane>,
}

impl Call {
    /// When it had returned.
    pub fn end(&self) -> f64 {
        self.time + self.seconds
    }
}

impl Lane {
    /// When the first call was made.
    pub fn start(&self) -> f64 {
        self.calls.first().map_or(0.0, |call| call.time)
    }

    /// When the last call had returned.
    pub fn end(&self) -> f64 {
        self.calls.iter().map(Call::end).fold(0.0, f64::max)
    }

    /// The time spent in calls.
    pub fn in_calls(&self) -> f64 {
        self.calls.iter().map(|call| call.seconds).sum()
    }

    /// The call that took longest.
    pub fn slowest(&self) -> Option<&Call> {
        let timed = self.calls.iter().filter(|call| call.seconds > 0.0);
        timed.max_by(|a, b| a.seconds.total_cmp(&b.seconds))
    }
}

impl Timeline {
    /// Reads JSON lines. A line that is none is an error that names its number.
    pub fn read(input: impl BufRead) -> Result<Self, Error> {
        let mut calls = Vec::new();
        for (number, line) in input.lines().enumerate() {
            let line = line.context(|| "reading the trace")?;
            if !line.trim().is_empty() {
                let call: Call = serde_json::from_str(&line)
                    .context(|| format!("line {} is no trace line", number + 1))?;
                calls.push(call);
            }
        }
        calls.sort_by(|a, b| a.time.total_cmp(&b.time));
        let zero = calls.first().map_or(0.0, |call| call.time);
        let mut lanes: Vec<Lane> = Vec::new();
        for mut call in calls {
            call.time -= zero;
            // A process that becomes the next program goes on in a lane of that name.
            match lanes.iter_mut().find(|lane| lane.pid == call.pid && lane.tool == call.tool) {
                Some(lane) => lane.calls.push(call),
                None => lanes.push(Lane { tool: call.tool.clone(), pid: call.pid, calls: vec![call] }),
            }
        }
        Ok(Self { lanes })
    }

    /// When the last call of all had returned.
    pub fn end(&self) -> f64 {
        self.lanes.iter().map(Lane::end).fold(0.0, f64::max)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const SAMPLE: &str = r#"
{"time":100.002,"tool":"wb-unshare","pid":8,"name":"clone3","call":"clone3({flags=CLONE_NEWPID})","why":"a \"new\" <world>","result":"9","seconds":0.0004}
{"time":100.000,"tool":"wb-rootfs","pid":7,"name":"mount","call":"mount(\"overlay\", \"/m\")","why":"layers","result":"0","seconds":0.001}
{"time":100.003,"tool":"wb-confine","pid":8,"name":"execve","call":"execve(\"/bin/sh\")","why":"the user's program"}
"#;

    #[test]
    fn lanes_begin_in_order_and_time_counts_from_the_first_call() {
        let timeline = Timeline::read(SAMPLE.as_bytes()).unwrap();
        let tools: Vec<_> = timeline.lanes.iter().map(|lane| lane.tool.as_str()).collect();
        assert_eq!(tools, ["wb-rootfs", "wb-unshare", "wb-confine"]);
        assert!(timeline.lanes[0].start() == 0.0);
        assert!((timeline.end() - 0.003).abs() < 1e-6);
    }

    #[test]
    fn a_line_that_is_no_call_is_named() {
        let error = Timeline::read("{}\n".as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 1 is no trace line"), "{error}");
    }
}
