//! `state`, `list`, `ps`: what there is.

use crate::cli::{ListArgs, PsArgs};
use crate::end;
use crate::record::{Container, Place, Status};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use wb_doc::{Context, Error, ExitCode};

/// Runs `state`.
pub fn state(place: &Place, id: &str) -> Result<(), Error> {
    let container = place.container(id)?;
    let mut state = described(&container);
    if let Some(members) = state.as_object_mut() {
        members.remove("owner");
    }
    print(&pretty(&state))
}

/// runtime.md, "State", with the members that runc and crun add.
fn described(container: &Container) -> Value {
    let document = &container.document;
    let status = container.status();
    let pid =
        container.process.as_ref().filter(|_| status != Status::Stopped).map_or(0, |process| process.pid);
    let owner = std::fs::metadata(container.directory.path()).map_or(0, |found| found.uid());
    let owner = nix::unistd::User::from_uid(owner.into()).ok().flatten().map(|user| user.name);
    let mut state = json!({
        "ociVersion": document.str_at("/ociVersion"),
        "id": container.id(),
        "pid": pid,
        "status": status.name(),
        "bundle": document.str_at("/wb/bundle"),
        "rootfs": document.str_at("/root/path"),
        "created": document.str_at("/wb/created"),
    });
    if let Some(annotations) = document.at("/annotations") {
        state["annotations"] = annotations.clone();
    }
    state["owner"] = json!(owner.unwrap_or_default());
    state
}

/// Runs `list`.
pub fn list(place: &Place, args: &ListArgs) -> Result<(), Error> {
    let containers = place.containers()?;
    if args.quiet {
        return print(&joined(containers.iter().map(Container::id)));
    }
    let states: Vec<Value> = containers.iter().map(described).collect();
    if args.format == "json" {
        // runc's word for an empty list.
        let list =
            if states.is_empty() { "null\n".to_owned() } else { format!("{}\n", Value::Array(states)) };
        return print(&list);
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    for state in &states {
        rows.push(["id", "pid", "status", "bundle", "created", "owner"].map(|member| match &state[member] {
            Value::String(text) => wb_doc::escape(text),
            other => other.to_string(),
        }));
    }
    print(&table(&rows))
}

/// Columns as wide as their widest word.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Runs `ps`.
pub fn ps(place: &Place, args: &PsArgs) -> Result<ExitCode, Error> {
    let container = place.container(&args.id)?;
    let pids = end::members(&container)?;
    if args.format == "json" {
        print(&format!("{}\n", json!(pids)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = if args.options.is_empty() { vec!["-ef".into()] } else { args.options.clone() };
    let mut command = Command::new("ps");
    command.args(&options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = wb_sys::child::spawn(&mut command, "what the system's own program says of processes")
        .and_then(Child::wait_with_output)
        .context(|| "ps")?;
    if !output.status.success() {
        return Err(Error::new(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()).within("ps"));
    }
    print(&only(&String::from_utf8_lossy(&output.stdout), &pids)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The heading, and the lines whose PID is one of `pids`.
fn only(text: &str, pids: &[i32]) -> Result<String, Error> {
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_ascii_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| Error::new("ps: there is no column PID"))?;
    let wanted: BTreeSet<String> = pids.iter().map(i32::to_string).collect();
    let is_one =
        |line: &&str| line.split_ascii_whitespace().nth(column).is_some_and(|pid| wanted.contains(pid));
    Ok(joined([heading].into_iter().chain(lines.filter(is_one))))
}

/// Lines, each with its end.
fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// JSON for people and for machines.
pub fn pretty(value: &Value) -> String {
    // Serialising plain data to memory cannot fail.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Standard output is the product here.
pub fn print(text: &str) -> Result<(), Error> {
    std::io::stdout().lock().write_all(text.as_bytes()).context(|| "standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ps_are_chosen_by_pid() {
        let text = "UID PID CMD\nroot 1 init 22\nroot 22 sh\n";
        assert_eq!(only(text, &[22]).unwrap(), "UID PID CMD\nroot 22 sh\n");
        assert!(only("CMD\nsh\n", &[1]).is_err());
    }

    #[test]
    fn columns_stand_below_each_other() {
        let row = |one: &str, two: &str| [one.to_owned(), two.to_owned()];
        assert_eq!(table(&[row("ID", "PID"), row("long", "7")]), "ID     PID\nlong   7\n");
    }
}
