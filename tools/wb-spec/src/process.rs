//! `process`: what runs, as whom, in which environment.

use crate::flags::{Given, invalid};
use crate::run::Subject;
use crate::{capabilities, environment, namespaces, security};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};
use wb_doc::Error;

/// Open files a container may have, as the kernel's own default for the first process.
const NOFILE: (u64, u64) = (1024, 524_288);

/// The member `process`. Without an image it is complete; otherwise wb-pull adds the image's defaults.
pub fn process(given: &Given, subject: &Subject, command: &[String], complete: bool) -> Result<Value, Error> {
    let mut process = serde_json::Map::new();
    process.insert("terminal".into(), given.on("tty").into());
    process.insert("user".into(), user(given)?);
    let mut args = command.to_vec();
    if complete {
        if let Some(entrypoint) = given.last("entrypoint") {
            args.splice(0..0, self::entrypoint(entrypoint));
        }
        if args.is_empty() {
            return Err(Error::usage("no command specified"));
        }
    }
    process.insert("args".into(), args.into());
    let mut env = environment::variables(given)?;
    if complete {
        let hostname = namespaces::hostname(given, subject)?;
        environment::complete(&mut env, hostname.as_deref(), given.on("tty"));
    }
    process.insert("env".into(), env.into());
    match workdir(given)? {
        Some(cwd) => process.insert("cwd".into(), cwd.into()),
        None if complete => process.insert("cwd".into(), "/".into()),
        None => None,
    };
    let effective = capabilities::of_run(given)?;
    process.insert("capabilities".into(), capabilities::sets(&effective));
    process.insert("rlimits".into(), rlimits(given)?);
    process.insert("noNewPrivileges".into(), security::no_new_privileges(given)?.into());
    if let Some(score) = given.number::<i32>("oom-score-adj")? {
        if !(-1000..=1000).contains(&score) {
            return Err(invalid("oom-score-adj", &score.to_string(), "a number from -1000 to 1000"));
        }
        process.insert("oomScoreAdj".into(), score.into());
    }
    for (member, value) in security::labels(given)? {
        process.insert(member.into(), value.into());
    }
    Ok(Value::Object(process))
}

/// `--entrypoint ""` resets the image's, anything else is one word.
pub fn entrypoint(program: &str) -> Vec<String> {
    if program.is_empty() { Vec::new() } else { vec![program.to_owned()] }
}

/// `-w`: docker wants an absolute path.
pub fn workdir(given: &Given) -> Result<Option<&str>, Error> {
    match given.last("workdir") {
        Some(path) if !path.starts_with('/') => Err(invalid("workdir", path, "an absolute path")),
        other => Ok(other),
    }
}

/// `process.user`. Names are looked up in the root by wb-rootfs; numbers are put in here already.
pub fn user(given: &Given) -> Result<Value, Error> {
    let umask = match given.last("umask") {
        Some(mask) => u32::from_str_radix(mask, 8)
            .ok()
            .filter(|mask| *mask <= 0o777)
            .ok_or_else(|| invalid("umask", mask, "an octal number up to 777"))?,
        None => 0o022,
    };
    let mut user = match given.last("user").filter(|user| !user.is_empty()) {
        Some(name) => named_user(name)?,
        None => json!({"uid": 0, "gid": 0}),
    };
    user["umask"] = umask.into();
    let numbers: Vec<u32> = given.all("group-add").filter_map(|group| group.parse().ok()).collect();
    if !numbers.is_empty() {
        user["additionalGids"] = numbers.into();
    }
    Ok(user)
}

/// `USER[:GROUP]` as a `process.user` without umask and groups.
pub fn named_user(name: &str) -> Result<Value, Error> {
    let (user, group) = name.split_once(':').unwrap_or((name, ""));
    if user.is_empty() || name.chars().any(char::is_control) {
        return Err(invalid("user", name, "USER[:GROUP]"));
    }
    for part in [user, group] {
        let number = part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty();
        // Ids above 2^31 are negative to half of the world's programs.
        if number && part.parse::<u32>().is_ok_and(|id| id < 1 << 31) != number {
            return Err(invalid("user", name, "an id below 2147483648"));
        }
    }
    Ok(json!({
        "uid": user.parse::<u32>().unwrap_or(0),
        "gid": group.parse::<u32>().unwrap_or(0),
        "username": name,
    }))
}

/// The groups of `--group-add` that are names, for wb-rootfs to look up in the root.
pub fn named_groups(given: &Given) -> Option<Value> {
    let names: Vec<&str> = given.all("group-add").filter(|group| group.parse::<u32>().is_err()).collect();
    (!names.is_empty()).then(|| names.into())
}

/// Docker's names of setrlimit(2)'s limits.
const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn rlimits(given: &Given) -> Result<Value, Error> {
    // More than our own hard limit could not be set without CAP_SYS_RESOURCE.
    let ceiling = getrlimit(Resource::RLIMIT_NOFILE).map_or(NOFILE.1, |(_, hard)| hard);
    let hard = NOFILE.1.min(ceiling);
    let mut limits = vec![("nofile", NOFILE.0.min(hard), hard), ("core", 0, 0)];
    for text in given.all("ulimit") {
        let wrong = || invalid("ulimit", text, "NAME=SOFT[:HARD]");
        let (name, values) = text.split_once('=').ok_or_else(wrong)?;
        let name = LIMITS
            .into_iter()
            .find(|known| *known == name)
            .ok_or_else(|| Error::usage(format!("invalid ulimit type: {name}")).hint(LIMITS.join(", ")))?;
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(u64::MAX),
            digits => digits.parse::<u64>().map_err(|_| wrong()),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(Error::usage(format!("ulimit {text}: the soft limit is above the hard limit")));
        }
        limits.retain(|(other, ..)| *other != name);
        limits.push((name, soft, hard));
    }
    Ok(limits
        .into_iter()
        .map(|(name, soft, hard)| {
            json!({"type": format!("RLIMIT_{}", name.to_ascii_uppercase()), "hard": hard, "soft": soft})
        })
        .collect())
}
