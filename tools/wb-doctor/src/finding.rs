//! What is lacking, and how it is shown.

use serde::Serialize;
use std::fmt::Write as _;

/// One thing this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `lacks`: the container does not run without it; `note`: it runs, with less than was asked for.
    pub level: &'static str,
    /// What is lacking.
    pub what: String,
    /// The member of the document that needs it.
    pub member: String,
    /// Why it is lacking.
    pub cause: String,
    /// The command that mends it, or what else to do.
    pub mend: String,
}

impl Finding {
    /// Whether the container cannot run.
    pub fn is_fatal(&self) -> bool {
        self.level == "lacks"
    }
}

/// Everything that was found, in the order in which a person should mend it.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Something without which the container does not run.
    pub fn lacks(&mut self, what: &str, member: &str, cause: impl Into<String>, mend: impl Into<String>) {
        self.add("lacks", what, member, cause.into(), mend.into());
    }

    /// Something without which it runs otherwise than asked.
    pub fn note(&mut self, what: &str, member: &str, cause: impl Into<String>, mend: impl Into<String>) {
        self.add("note", what, member, cause.into(), mend.into());
    }

    fn add(&mut self, level: &'static str, what: &str, member: &str, cause: String, mend: String) {
        let finding = Finding { level, what: what.into(), member: member.into(), cause, mend };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Four lines for each, for people.
    pub fn shown(&self, colour: bool) -> String {
        let paint = |code: &'static str| if colour { code } else { "" };
        let (bold, plain) = (paint("\x1b[1m"), paint("\x1b[0m"));
        if self.0.is_empty() {
            return "nothing is lacking\n".into();
        }
        let mut out = String::new();
        for finding in &self.0 {
            let shade = paint(if finding.is_fatal() { "\x1b[31m" } else { "\x1b[33m" });
            // Writing to a String cannot fail.
            writeln!(
                out,
                "{shade}{:>5}{plain} {bold}{}{plain}\n  for {}\ncause {}\n mend {}\n",
                finding.level,
                wb_doc::escape(&finding.what),
                wb_doc::escape(&finding.member),
                wb_doc::escape(&finding.cause),
                wb_doc::escape(&finding.mend),
            )
            .ok();
        }
        out
    }

    /// What is lacking, by name.
    #[cfg(test)]
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|finding| finding.what.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_thing_is_said_once() {
        let mut found = Findings::default();
        assert_eq!(found.shown(true), "nothing is lacking\n");
        for _ in 0..2 {
            found.lacks("nft", "wb.network", "not in PATH", "apt-get install nftables");
        }
        let text = found.shown(false);
        assert_eq!(
            text,
            "lacks nft\n  for wb.network\ncause not in PATH\n mend apt-get install nftables\n\n"
        );
        assert!(found.shown(true).starts_with("\u{1b}[31mlacks\u{1b}[0m "));
    }
}
