//! Firewalls of the old iptables: its tables are their own world, asked of the kernel directly and changed by its own
//! program. `linux/netfilter_ipv4/ip_tables.h` and its IPv6 counterpart have the offsets.

use crate::nat::{Rules, mark};
use std::process::{Command, Stdio};
use wb_doc::{Context, Error};
use wb_sys::Errno;
use wb_sys::iptables::{self, Table};

const FORWARD: usize = 2;
/// A verdict is the negative of `NF_DROP` or `NF_ACCEPT`, less one.
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
/// `struct xt_entry_match` and `xt_entry_target`: a size, a name, a revision.
const EXTENSION_LEN: usize = 32;

/// How one family's `struct ipt_entry` is laid out.
struct Family {
    is_ipv4: bool,
    program: &'static str,
    iniface: usize,
    outiface: usize,
    /// What has to match: nothing but zeros where everything does.
    conditions_len: usize,
    target_offset: usize,
    /// Matches and the target come behind this.
    len: usize,
}

const FAMILIES: [Family; 2] = [
    Family {
        is_ipv4: true,
        program: "iptables",
        iniface: 16,
        outiface: 32,
        conditions_len: 84,
        target_offset: 88,
        len: 112,
    },
    Family {
        is_ipv4: false,
        program: "ip6tables",
        iniface: 64,
        outiface: 80,
        conditions_len: 136,
        target_offset: 140,
        len: 168,
    },
];

/// One rule, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Rule<'a> {
    iniface: &'a [u8],
    outiface: &'a [u8],
    comment: &'a [u8],
    verdict: Option<i32>,
    drops_all: bool,
}

/// Whether a firewall of that kind drops what our bridge forwards.
pub fn is_in_the_way(rules: &Rules) -> Result<bool, Error> {
    for family in &FAMILIES {
        if in_the_way(family, rules)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the bridge's rules at the head of the chain where it needs them.
pub fn let_through(rules: &Rules) -> Result<(), Error> {
    for family in &FAMILIES {
        if in_the_way(family, rules)? {
            for interface in ["-i", "-o"] {
                change(family, "-I", interface, rules)?;
            }
        }
    }
    Ok(())
}

/// Takes them out again.
pub fn remove(rules: &Rules) -> Result<(), Error> {
    for family in &FAMILIES {
        let Some(table) = table(family)? else { continue };
        let bridge = rules.bridge.as_bytes();
        for rule in chain(family, &table).filter(|rule| rule.comment == mark(rules).as_bytes()) {
            change(family, "-D", if rule.iniface == bridge { "-i" } else { "-o" }, rules)?;
        }
    }
    Ok(())
}

fn table(family: &Family) -> Result<Option<Table>, Error> {
    iptables::filter(family.is_ipv4).context(|| format!("{}: table filter", family.program))
}

fn in_the_way(family: &Family, rules: &Rules) -> Result<bool, Error> {
    if !rules.subnets.iter().any(|net| net.addr().is_ipv4() == family.is_ipv4) {
        return Ok(false);
    }
    Ok(table(family)?.is_some_and(|table| drops(family, &table) && !lets_through(family, &table, rules)))
}

fn drops(family: &Family, table: &Table) -> bool {
    let policy = rule(family, table.entries.get(table.underflow[FORWARD] as usize..).unwrap_or_default());
    let policy_drops = policy.is_some_and(|(rule, _)| rule.verdict == Some(DROP));
    policy_drops || chain(family, table).last().is_some_and(|rule| rule.drops_all)
}

fn lets_through(family: &Family, table: &Table, rules: &Rules) -> bool {
    let (mark, bridge) = (mark(rules), rules.bridge.as_bytes());
    let ours: Vec<Rule> = chain(family, table)
        .filter(|rule| rule.comment == mark.as_bytes() && rule.verdict == Some(ACCEPT))
        .collect();
    ours.iter().any(|rule| rule.iniface == bridge) && ours.iter().any(|rule| rule.outiface == bridge)
}

/// The rules of the chain FORWARD, without its policy.
fn chain<'a>(family: &'a Family, table: &'a Table) -> impl Iterator<Item = Rule<'a>> {
    let (mut at, end) = (table.hook_entry[FORWARD] as usize, table.underflow[FORWARD] as usize);
    std::iter::from_fn(move || {
        let (rule, length) = rule(family, table.entries.get(at..end).filter(|rest| !rest.is_empty())?)?;
        at += length;
        Some(rule)
    })
}

/// The rule at the start of `entry`, and how long it is.
fn rule<'a>(family: &Family, entry: &'a [u8]) -> Option<(Rule<'a>, usize)> {
    let (target_at, next) = (short(entry, family.target_offset)?, short(entry, family.target_offset + 2)?);
    let matches = entry.get(family.len..target_at)?;
    let target = entry.get(target_at..next)?;
    let name = text(target.get(2..EXTENSION_LEN)?);
    let verdict = target
        .get(EXTENSION_LEN..EXTENSION_LEN + 4)
        .filter(|_| name.is_empty())
        .and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    let everything = matches.is_empty() && entry.get(..family.conditions_len)?.iter().all(|byte| *byte == 0);
    let rule = Rule {
        iniface: text(entry.get(family.iniface..family.iniface + 16)?),
        outiface: text(entry.get(family.outiface..family.outiface + 16)?),
        comment: comment(matches).unwrap_or_default(),
        verdict,
        drops_all: everything && (verdict == Some(DROP) || name == b"REJECT"),
    };
    (next > 0).then_some((rule, next))
}

fn comment(mut matches: &[u8]) -> Option<&[u8]> {
    while let Some(length) = short(matches, 0).filter(|length| *length >= EXTENSION_LEN) {
        let one = matches.get(..length)?;
        if text(one.get(2..EXTENSION_LEN)?) == b"comment" {
            return Some(text(&one[EXTENSION_LEN..]));
        }
        matches = &matches[length..];
    }
    None
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Has the old iptables insert or delete one of our two rules.
fn change(family: &Family, how: &str, interface: &str, rules: &Rules) -> Result<(), Error> {
    let mark = mark(rules);
    let arguments =
        ["-w", how, "FORWARD", interface, &rules.bridge, "-m", "comment", "--comment", &mark, "-j", "ACCEPT"];
    let run = |program: &str| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        wb_sys::child::spawn(&mut command, "another firewall's own program")
            .and_then(std::process::Child::wait_with_output)
    };
    let named = format!("{}-legacy", family.program);
    let output = match run(&named) {
        // Where nft's iptables is not installed, the old one needs no other name.
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => run(family.program),
        other => other,
    };
    let output = output.context(|| format!("run {named}")).map_err(|error| {
        error.hint("its FORWARD chain drops what containers send; the package is iptables")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{named}: {}", said.lines().next().unwrap_or("failed without a word"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(family: &Family, iniface: &str, comment: &str, target: &str, verdict: i32) -> Vec<u8> {
        let mut entry = vec![0; family.len];
        entry[family.iniface..family.iniface + iniface.len()].copy_from_slice(iniface.as_bytes());
        if !comment.is_empty() {
            let at = entry.len();
            entry.resize(at + EXTENSION_LEN + 256, 0);
            let length = u16::try_from(EXTENSION_LEN + 256).unwrap();
            entry[at..at + 2].copy_from_slice(&length.to_ne_bytes());
            entry[at + 2..at + 9].copy_from_slice(b"comment");
            entry[at + EXTENSION_LEN..at + EXTENSION_LEN + comment.len()].copy_from_slice(comment.as_bytes());
        }
        let at = entry.len();
        entry.resize(at + EXTENSION_LEN + 8, 0);
        entry[at + 2..at + 2 + target.len()].copy_from_slice(target.as_bytes());
        entry[at + EXTENSION_LEN..at + EXTENSION_LEN + 4].copy_from_slice(&verdict.to_ne_bytes());
        let length = u16::try_from(entry.len()).unwrap();
        let offset = u16::try_from(at).unwrap();
        entry[family.target_offset..family.target_offset + 2].copy_from_slice(&offset.to_ne_bytes());
        entry[family.target_offset + 2..family.target_offset + 4].copy_from_slice(&length.to_ne_bytes());
        entry
    }

    fn table(list: &[Vec<u8>]) -> Table {
        let entries = list.concat();
        let policy = u32::try_from(entries.len() - list.last().unwrap().len()).unwrap();
        Table { entries, hook_entry: [0; 5], underflow: [policy; 5] }
    }

    #[test]
    fn a_policy_or_a_last_rule_that_drops_is_in_the_way() {
        for family in &FAMILIES {
            let accept = || entry(family, "", "", "", ACCEPT);
            let docker = || entry(family, "docker0", "", "", ACCEPT);
            assert!(!drops(family, &table(&[docker(), accept()])));
            assert!(drops(family, &table(&[docker(), entry(family, "", "", "", DROP)])));
            assert!(drops(family, &table(&[docker(), entry(family, "", "", "REJECT", 3), accept()])));
            assert!(!drops(family, &table(&[entry(family, "eth0", "", "", DROP), accept()])));
            assert!(!drops(family, &table(&[entry(family, "", "x", "", DROP), accept()])));
        }
    }

    #[test]
    fn our_rules_are_known_by_their_comment() {
        for family in &FAMILIES {
            let table = table(&[entry(family, "wb0", "wb: bridge wb0", "", ACCEPT), vec![]]);
            let found: Vec<_> = chain(family, &table).collect();
            assert_eq!((found[0].iniface, found[0].comment), (&b"wb0"[..], &b"wb: bridge wb0"[..]));
        }
    }

    #[test]
    fn a_broken_table_ends_the_reading() {
        let family = &FAMILIES[0];
        assert!(rule(family, &[0; 200]).is_none());
        let cut = Table { entries: vec![0xff; 300], hook_entry: [0; 5], underflow: [300; 5] };
        assert_eq!(chain(family, &cut).count(), 0);
        assert!(!drops(family, &cut));
    }
}
