//! `--security-opt seccomp=FILE`: docker's profile format, or the OCI's own, as `linux.seccomp`.
//!
//! Docker's format says of each rule when it counts: for which architectures, with which capabilities, from which
//! kernel version on. All of that is decided here, so that any OCI runtime can use the result.

use serde_json::{Map, Value, json};
use wb_doc::{Context, Document, Error};

/// Reads the profile in the file `path` for a container with these capabilities.
pub fn read(path: &str, capabilities: &[String]) -> Result<Value, Error> {
    let what = || format!("seccomp profile {path}");
    let text = std::fs::read(path).context(what)?;
    let profile = Document::parse(&text).context(what)?;
    let kernel = nix::sys::utsname::uname().context(what)?;
    convert(&profile, capabilities, &kernel.release().to_string_lossy()).context(what)
}

fn convert(profile: &Document, capabilities: &[String], kernel: &str) -> Result<Value, Error> {
    let Some(default_action) = profile.str_at("/defaultAction") else {
        return Err(Error::usage("no defaultAction"));
    };
    let mut seccomp = Map::new();
    seccomp.insert("defaultAction".into(), default_action.into());
    for member in ["defaultErrnoRet", "flags", "listenerPath", "listenerMetadata"] {
        if let Some(value) = profile.at(&format!("/{member}")) {
            seccomp.insert(member.into(), value.clone());
        }
    }
    seccomp.insert("architectures".into(), architectures(profile)?);
    let mut rules = Vec::new();
    for rule in profile.read::<Vec<Value>>("/syscalls")?.unwrap_or_default() {
        if applies(&rule, capabilities, kernel)? {
            rules.push(self::rule(&rule)?);
        }
    }
    seccomp.insert("syscalls".into(), rules.into());
    Ok(Value::Object(seccomp))
}

/// `architectures`, or docker's `archMap` for the one we run on.
fn architectures(profile: &Document) -> Result<Value, Error> {
    if let Some(list) =
        profile.at("/architectures").filter(|list| list.as_array().is_some_and(|l| !l.is_empty()))
    {
        return Ok(list.clone());
    }
    let native = if cfg!(target_arch = "aarch64") { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" };
    for entry in profile.read::<Vec<Value>>("/archMap")?.unwrap_or_default() {
        if entry["architecture"] == native {
            let mut all = vec![json!(native)];
            all.extend(entry["subArchitectures"].as_array().cloned().unwrap_or_default());
            return Ok(all.into());
        }
    }
    Ok(json!([native]))
}

fn applies(rule: &Value, capabilities: &[String], kernel: &str) -> Result<bool, Error> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let list = |condition: &str, member: &str| -> Vec<String> {
        let list = rule[condition][member].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let includes = list("includes", "arches");
    if !(includes.is_empty() || includes.iter().any(|name| name == arch))
        || list("excludes", "arches").iter().any(|name| name == arch)
        || list("excludes", "caps").iter().any(|name| capabilities.contains(name))
        || !list("includes", "caps").iter().all(|name| capabilities.contains(name))
    {
        return Ok(false);
    }
    for (condition, wanted) in [("includes", true), ("excludes", false)] {
        if let Some(least) = rule[condition]["minKernel"].as_str() {
            let least = version(least).ok_or_else(|| Error::usage(format!("minKernel {least}")))?;
            if (version(kernel).is_some_and(|now| now >= least)) != wanted {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// `6.1.0-18-amd64` as (6, 1).
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', '-']).map(str::parse::<u32>);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn rule(rule: &Value) -> Result<Value, Error> {
    let mut out = Map::new();
    // Old profiles have one name a rule.
    let names = match (&rule["names"], &rule["name"]) {
        (Value::Array(names), _) => names.clone(),
        (_, Value::String(name)) => vec![json!(name)],
        _ => return Err(Error::usage("a rule without names")),
    };
    out.insert("names".into(), names.into());
    let action = rule["action"].as_str().ok_or_else(|| Error::usage("a rule without an action"))?;
    out.insert("action".into(), action.into());
    for member in ["errnoRet", "args"] {
        let value = &rule[member];
        if !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()) {
            out.insert(member.into(), value.clone());
        }
    }
    Ok(Value::Object(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_dockers_conditions() {
        let profile = Document::from_value(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []}],
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}},
                {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
                {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
                {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                 "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}}]
        }))
        .unwrap();
        let names = |capabilities: &[&str]| {
            let capabilities: Vec<String> = capabilities.iter().map(|&name| name.to_owned()).collect();
            let seccomp = convert(&profile, &capabilities, "6.1.0-18-amd64").unwrap();
            let rules = seccomp["syscalls"].as_array().unwrap().clone();
            rules.iter().map(|rule| rule["names"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["read", "ptrace", "clone3"]);
        assert_eq!(names(&["CAP_SYS_ADMIN"]), ["read", "ptrace", "mount"]);
    }
}
