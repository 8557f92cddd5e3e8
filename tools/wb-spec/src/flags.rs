//! The command line, read as docker reads it (its pflag library): flags from a table until the first operand.
//!
//! The table drives the parser, the help and the manual's test, so that they cannot disagree. A parser of our own
//! rather than clap's: it starts ten times faster with ninety flags and keeps docker's odd spellings.

use wb_doc::{Error, escape};
use wb_store::near;

/// Verbs a flag belongs to.
pub const RUN: u8 = 1;
/// `wb-spec exec`.
pub const EXEC: u8 = 2;
/// `wb-spec update`.
pub const UPDATE: u8 = 4;

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// The long name, which is also how the program asks for it.
    pub name: &'static str,
    /// The one-letter name, or a space.
    pub short: char,
    /// Further long names.
    pub aliases: &'static [&'static str],
    /// What the value is called; empty for a switch.
    pub value: &'static str,
    /// The verbs that know it.
    pub verbs: u8,
    /// One line for people.
    pub help: &'static str,
}

/// A command line taken apart.
#[derive(Debug, Default)]
pub struct Given {
    flags: Vec<(&'static str, String)>,
    /// The operands: everything from the first one on.
    pub words: Vec<String>,
}

impl Given {
    /// The last value given for a flag.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }

    /// Every value given for a flag, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }

    /// Every value of several flags, in the order in which they were given.
    pub fn any<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = (&'static str, &'a str)> {
        self.flags
            .iter()
            .filter(|(flag, _)| names.contains(flag))
            .map(|(flag, value)| (*flag, value.as_str()))
    }

    /// Whether a switch is on.
    pub fn on(&self, name: &str) -> bool {
        self.last(name) == Some("true")
    }

    /// Whether a flag was given at all.
    pub fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// A flag's value as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        self.last(name)
            .map(|value| value.trim().parse().map_err(|_| invalid(name, value, "a number")))
            .transpose()
    }
}

/// The error for a value a flag cannot take.
pub fn invalid(name: &str, value: &str, wanted: &str) -> Error {
    Error::usage(format!("invalid argument {:?} for --{name}: {wanted} is needed", escape(value)))
}

/// Reads `words` by the flags of `verb` in `table`. `--help` and `-h` without a value are left to the caller.
pub fn parse(
    table: &'static [Flag],
    verb: u8,
    words: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Given, Error> {
    let mut given = Given::default();
    let mut words = words.into_iter().map(|word| {
        word.into_string()
            .map_err(|word| Error::usage(format!("argument {:?} is not valid UTF-8", word.to_string_lossy())))
    });
    while let Some(word) = words.next() {
        let word = word?;
        if word == "--" {
            given.words = words.collect::<Result<_, _>>()?;
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = split_value(long);
            let flag = find(table, verb, name).ok_or_else(|| unknown(table, verb, name))?;
            take(&mut given, flag, value, &format!("--{name}"), &mut words)?;
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            let (name, value) = split_value(letters);
            match single_dash(table, verb, name) {
                Some(flag) => take(&mut given, flag, value, &format!("-{name}"), &mut words)?,
                None => bundle(&mut given, table, verb, letters, &mut words)?,
            }
        } else {
            given.words.push(word);
            for word in words {
                given.words.push(word?);
            }
            break;
        }
    }
    Ok(given)
}

fn split_value(text: &str) -> (&str, Option<&str>) {
    text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)))
}

fn find(table: &'static [Flag], verb: u8, name: &str) -> Option<&'static Flag> {
    table.iter().find(|flag| flag.verbs & verb != 0 && (flag.name == name || flag.aliases.contains(&name)))
}

fn find_short(table: &'static [Flag], verb: u8, letter: char) -> Option<&'static Flag> {
    table.iter().find(|flag| flag.verbs & verb != 0 && flag.short == letter && letter != ' ')
}

/// A long name after one dash, as the older systems spelled theirs (`-name web`, `-mem 100m`, `-cpuset 0-1`).
///
/// Only where docker would refuse the word: `-env` is `-e nv` to docker and stays so. `-mem` would be the size
/// "em", `-cpuset` the number "puset", `-pids` the port "ids": those can be nothing else.
fn single_dash(table: &'static [Flag], verb: u8, name: &str) -> Option<&'static Flag> {
    const NOT_DOCKER: [&str; 12] = [
        "mem",
        "memory",
        "mmem",
        "mpid",
        "cpu",
        "cpus",
        "cpuset",
        "cpuset-cpus",
        "cpushare",
        "cpu-shares",
        "pids",
        "pids-limit",
    ];
    let first = name.chars().next()?;
    if name.len() < 3 {
        return None;
    }
    let takes_value = find_short(table, verb, first).is_some_and(|flag| !flag.value.is_empty());
    if takes_value && !NOT_DOCKER.contains(&name) { None } else { find(table, verb, name) }
}

/// `-itd`, `-eA=B`, `-e=A=B`, `-p 80:80`.
fn bundle(
    given: &mut Given,
    table: &'static [Flag],
    verb: u8,
    letters: &str,
    words: &mut impl Iterator<Item = Result<String, Error>>,
) -> Result<(), Error> {
    for (at, letter) in letters.char_indices() {
        let flag = find_short(table, verb, letter).ok_or_else(|| {
            Error::usage(format!("unknown shorthand flag: {:?} in -{}", letter.to_string(), escape(letters)))
        })?;
        let rest = &letters[at + letter.len_utf8()..];
        if let Some(value) = rest.strip_prefix('=') {
            return take(given, flag, Some(value), &format!("-{letter}"), words);
        }
        if !flag.value.is_empty() {
            let value = (!rest.is_empty()).then_some(rest);
            return take(given, flag, value, &format!("-{letter}"), words);
        }
        given.flags.push((flag.name, "true".into()));
    }
    Ok(())
}

fn take(
    given: &mut Given,
    flag: &'static Flag,
    value: Option<&str>,
    shown: &str,
    words: &mut impl Iterator<Item = Result<String, Error>>,
) -> Result<(), Error> {
    let value = match value {
        Some(value) if flag.value.is_empty() => boolean(value).map(str::to_owned).ok_or_else(|| {
            Error::usage(format!("invalid argument {:?} for {shown}: true or false is needed", escape(value)))
        })?,
        Some(value) => value.to_owned(),
        None if flag.value.is_empty() => "true".into(),
        None => words.next().ok_or_else(|| Error::usage(format!("flag needs an argument: {shown}")))??,
    };
    given.flags.push((flag.name, value));
    Ok(())
}

/// Go's `strconv.ParseBool`.
fn boolean(value: &str) -> Option<&'static str> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some("true"),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some("false"),
        _ => None,
    }
}

fn unknown(table: &'static [Flag], verb: u8, name: &str) -> Error {
    let error = Error::usage(format!("unknown flag: --{}", escape(name)));
    // Not of this program, but of the flow that calls it.
    if let ("dry-run" | "break", RUN) = (name, verb) {
        return error.hint(format!("--{name} comes first: wb run --{name} ..."));
    }
    let flags = table.iter().filter(|flag| flag.verbs & verb != 0).map(|flag| flag.name);
    match near::nearest(name, flags) {
        Some(flag) => error.hint(format!("did you mean --{flag}?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TABLE;

    fn run(line: &str) -> Result<Given, Error> {
        parse(TABLE, RUN, line.split(' ').map(Into::into))
    }

    #[test]
    fn reads_dockers_spellings() {
        for line in [
            "-itd --name web busybox",
            "-i -t -d --name=web busybox",
            "-ti -d=true -name web busybox",
            "--interactive --tty --detach --name web busybox",
            "-dit -name=web busybox",
        ] {
            let given = run(line).unwrap();
            assert!(given.on("interactive") && given.on("tty") && given.on("detach"), "{line}");
            assert_eq!(given.last("name"), Some("web"), "{line}");
            assert_eq!(given.words, ["busybox"], "{line}");
        }
        for line in ["-eA=1 -e B=2 i", "-e=A=1 --env B=2 i", "--env=A=1 -itde B=2 i"] {
            assert_eq!(run(line).unwrap().all("env").collect::<Vec<_>>(), ["A=1", "B=2"], "{line}");
        }
        for line in ["-m 100m i", "-m100m i", "-mem 100m i", "--memory 100m i", "--mem=100m i", "-m=100m i"] {
            assert_eq!(run(line).unwrap().last("memory"), Some("100m"), "{line}");
        }
        assert_eq!(run("-cpuset 0-1 i").unwrap().last("cpuset-cpus"), Some("0-1"));
        assert_eq!(run("-cpushare 512 i").unwrap().last("cpu-shares"), Some("512"));
        assert_eq!(run("-net none i").unwrap().last("network"), Some("none"));
        assert_eq!(run("-h box i").unwrap().last("hostname"), Some("box"));
        assert!(!run("--rm --rm=false i").unwrap().on("rm"));
    }

    #[test]
    fn stops_at_the_first_operand() {
        let given = run("--rm stress -m 1 --name x -- y").unwrap();
        assert_eq!(given.words, ["stress", "-m", "1", "--name", "x", "--", "y"]);
        assert!(!given.has("memory") && !given.has("name"));
        assert_eq!(run("-- -x").unwrap().words, ["-x"]);
        assert_eq!(run("--name -x i").unwrap().last("name"), Some("-x"));
    }

    #[test]
    fn refuses_in_dockers_words() {
        for (line, message) in [
            ("--foo i", "unknown flag: --foo"),
            ("-zit i", "unknown shorthand flag: \"z\" in -zit"),
            ("--name", "flag needs an argument: --name"),
            ("-e", "flag needs an argument: -e"),
            ("--rm=maybe i", "invalid argument \"maybe\" for --rm: true or false is needed"),
        ] {
            assert_eq!(run(line).unwrap_err().to_string(), message);
        }
        assert_eq!(run("--netwrok x i").unwrap_err().advice(), Some("did you mean --network?"));
    }

    #[test]
    fn no_name_stands_twice_in_the_table() {
        for verb in [RUN, EXEC, UPDATE] {
            let flags = || TABLE.iter().filter(move |flag| flag.verbs & verb != 0);
            for flag in flags() {
                let same = |other: &&Flag| {
                    let names = |flag: &Flag| [&[flag.name], flag.aliases].concat();
                    names(other).iter().any(|name| names(flag).contains(name))
                        || (flag.short != ' ' && flag.short == other.short)
                };
                assert_eq!(flags().filter(same).count(), 1, "--{}", flag.name);
            }
        }
    }
}
