use super::*;
use serde_json::json;

struct Scratch(Place);

impl Scratch {
    fn new(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("wb-record-{name}-{}", std::process::id()));
        Self(Place::at(base.join("root"), base.join("run")))
    }

    fn container(&self, id: &str, name: &str) -> Document {
        let mut document = Document::from_value(json!({"wb": {"id": id, "name": name}})).unwrap();
        create(&self.0, &mut document).unwrap();
        document
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(self.0.root().parent().unwrap()).ok();
    }
}

#[test]
fn a_taken_name_is_refused_and_leaves_nothing() {
    let scratch = Scratch::new("taken");
    scratch.container("one", "web");
    let mut second = Document::from_value(json!({"wb": {"id": "two", "name": "web"}})).unwrap();
    let error = create(&scratch.0, &mut second).unwrap_err();
    assert_eq!(error.to_string(), "the name \"web\" is in use by container one");
    assert_eq!(error.exit_code(), 125);
    assert_eq!(list(&scratch.0).unwrap(), ["one"]);
}

#[test]
fn a_name_is_made_up_where_none_was_given() {
    let scratch = Scratch::new("random");
    let mut document = Document::from_value(json!({"wb": {"id": "x"}})).unwrap();
    create(&scratch.0, &mut document).unwrap();
    let name = document.str_at("/wb/name").unwrap();
    assert_eq!(resolve(&scratch.0, name).unwrap(), "x");
}

#[test]
fn finds_by_id_name_and_unique_prefix() {
    let scratch = Scratch::new("resolve");
    scratch.container("3f2a11", "web");
    scratch.container("3f2b22", "db");
    for word in ["3f2a11", "web", "3f2a"] {
        assert_eq!(resolve(&scratch.0, word).unwrap(), "3f2a11", "{word}");
    }
    let error = resolve(&scratch.0, "3f2").unwrap_err().to_string();
    assert_eq!(error, "\"3f2\" is the start of more than one id: 3f2a11, 3f2b22");
    for word in ["nope", "../x", "", "web/../db"] {
        let error = resolve(&scratch.0, word).unwrap_err();
        assert!(error.to_string().starts_with("no such container: "), "{error}");
    }
}

#[test]
fn an_update_never_stores_the_failure() {
    let scratch = Scratch::new("update");
    scratch.container("a", "web");
    update(&scratch.0, "a", Durability::Visible, |document| document.set("/wb/error", json!({"code": 1})))
        .unwrap();
    let text = fs::read_to_string(scratch.0.container("a").join(FILE)).unwrap();
    assert!(!text.contains("error"), "{text}");
    let failed = update(&scratch.0, "a", Durability::Visible, |_| Err(Error::new("no")));
    assert!(failed.is_err());
    assert!(update(&scratch.0, "b", Durability::Visible, |_| Ok(())).is_err());
}

#[test]
fn a_late_document_does_not_undo_an_exit() {
    let scratch = Scratch::new("put");
    let mut document = scratch.container("a", "web");
    document.set("/wb/state", json!({"status": "creating"})).unwrap();
    assert_eq!(
        put(&scratch.0, &document, Durability::Visible, &[]).unwrap().str_at("/wb/state/status"),
        Some("created")
    );
    let running = json!({"status": "running", "pid": 7, "startTime": 9, "bootId": "b"});
    update(&scratch.0, "a", Durability::Visible, |record| record.set("/wb/state", &running)).unwrap();
    let mut late = read(&scratch.0, "a").unwrap();
    late.set("/wb/state/status", "paused").unwrap();
    assert_eq!(
        put(&scratch.0, &late, Durability::Visible, &[]).unwrap().str_at("/wb/state/status"),
        Some("paused")
    );
    update(&scratch.0, "a", Durability::Visible, |record| {
        record.set("/wb/state/status", "exited")?;
        record.set("/wb/state/exitCode", 3)
    })
    .unwrap();
    let stored = put(&scratch.0, &late, Durability::Visible, &[]).unwrap();
    assert_eq!(stored.str_at("/wb/state/status"), Some("exited"));
    assert_eq!(stored.at("/wb/state/exitCode"), Some(&json!(3)));
}

#[test]
fn links_and_garbage_are_refused_and_the_others_are_read() {
    let scratch = Scratch::new("hostile");
    scratch.container("good", "web");
    for id in ["linked", "torn", "other", "half"] {
        DirBuilder::new().mode(0o700).create(scratch.0.container(id)).unwrap();
    }
    symlink("/etc/passwd", scratch.0.container("linked").join(FILE)).unwrap();
    fs::write(scratch.0.container("torn").join(FILE), "{\"wb\":{\"id\":\"to").unwrap();
    fs::write(scratch.0.container("other").join(FILE), "{\"wb\":{\"id\":\"good\"}}").unwrap();
    symlink("good", scratch.0.container("link")).unwrap();
    fs::write(scratch.0.containers().join("file"), "").unwrap();
    let mut ids = list(&scratch.0).unwrap();
    ids.sort();
    assert_eq!(ids, ["good", "half", "linked", "other", "torn"]);
    for id in ["linked", "torn", "other", "half"] {
        assert!(read(&scratch.0, id).is_err(), "{id}");
        remove(&scratch.0, id).unwrap();
    }
    assert!(read(&scratch.0, "good").is_ok());
}

#[test]
fn removal_frees_the_name_and_can_be_repeated() {
    let scratch = Scratch::new("remove");
    scratch.container("a", "web");
    fs::create_dir_all(scratch.0.container_run("a").join("merged")).unwrap();
    remove(&scratch.0, "a").unwrap();
    remove(&scratch.0, "a").unwrap();
    assert!(!scratch.0.container_run("a").exists());
    scratch.container("b", "web");
    rename(&scratch.0, "b", "db").unwrap();
    assert_eq!(resolve(&scratch.0, "db").unwrap(), "b");
    assert!(resolve(&scratch.0, "web").is_err());
}

#[test]
fn a_status_is_true() {
    let boot = wb_sys::proc::boot_id().unwrap();
    let pid = i32::try_from(std::process::id()).unwrap();
    let start = wb_sys::proc::start_time(pid).unwrap();
    for (status, start, boot_of_record, expected) in [
        ("running", start, boot.as_str(), "running"),
        ("running", start + 1, boot.as_str(), "exited"),
        ("running", start, "another", "exited"),
        ("paused", start, boot.as_str(), "paused"),
        ("restarting", start, boot.as_str(), "exited"),
        ("created", start, "another", "created"),
    ] {
        let state = json!({"status": status, "pid": pid, "startTime": start, "bootId": boot_of_record});
        let mut document = Document::from_value(json!({"wb": {"state": state}})).unwrap();
        true_status(&mut document, &boot).unwrap();
        assert_eq!(document.str_at("/wb/state/status"), Some(expected), "{status}");
        assert_eq!(document.at("/wb/state/exitCode"), None);
    }
}

#[test]
fn an_emptied_record_counts_as_gone_and_its_name_is_free() {
    let scratch = Scratch::new("emptied");
    scratch.container("one", "web");
    assert!(exists(&scratch.0, "one"));
    fs::write(scratch.0.container("one").join(FILE), "").unwrap();
    assert!(!exists(&scratch.0, "one"));
    assert_eq!(read(&scratch.0, "one").unwrap_err().to_string(), "no such container: one");
    scratch.container("two", "web");
    assert_eq!(resolve(&scratch.0, "web").unwrap(), "two");
    remove(&scratch.0, "one").unwrap();
    assert_eq!(resolve(&scratch.0, "web").unwrap(), "two");
}

#[test]
fn whoever_calls_is_at_work() {
    // No flow: the parent, its parent, and the leader of the session.
    let parent = nix::unistd::getppid().as_raw();
    assert_eq!(callers().first(), Some(&parent));
    assert!(callers().len() <= 3);
}
