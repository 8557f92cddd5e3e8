//! A profile as a classic BPF program (seccomp(2)): for each architecture a binary tree over the numbers.
//!
//! A tree of some two hundred instructions is found in eight steps, where libseccomp's list is walked for
//! hundreds, at each system call that the kernel does not know to be constant.

use super::profile::{Action, Condition, Operator, Profile, Rule};
use super::table;
use wb_doc::Error;
use wb_sys::seccomp::Instruction;

/// One architecture of this kernel.
struct Architecture {
    /// Its columns in the table.
    columns: &'static [usize],
    /// Its number in `seccomp_data.arch` (linux/audit.h).
    audit: u32,
    /// Whether arguments have 64 bits.
    wide: bool,
    /// Where numbers begin that are its own, and say nothing about which calls a profile knows.
    own_from: u32,
}

const X86_64: Architecture = Architecture { columns: &[0], audit: 0xc000_003e, wide: true, own_from: 512 };
const X86: Architecture = Architecture { columns: &[1], audit: 0x4000_0003, wide: false, own_from: 0xf0000 };
/// x32 is x86_64 with a bit in the number; its own numbers begin at 512, where x86_64 has none, and a call that only
/// one of the two has fails by the other. So one tree serves both.
const X86_64_X32: Architecture =
    Architecture { columns: &[0, X32_COLUMN], audit: 0xc000_003e, wide: true, own_from: 512 };
const AARCH64: Architecture = Architecture { columns: &[3], audit: 0xc000_00b7, wide: true, own_from: 512 };
const ARM: Architecture = Architecture { columns: &[4], audit: 0x4000_0028, wide: false, own_from: 0xf0000 };

const X32_COLUMN: usize = 2;
/// The bit that marks a system call of x32.
const X32_BIT: u32 = 0x4000_0000;

// Opcodes of linux/bpf_common.h: class, size or operation, mode or source.
const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The kernel's limit (BPF_MAXINSNS).
const MAX_INSTRUCTIONS: usize = 4096;

/// Compiles a profile for the machine this program is built for. Architectures it cannot run are left out: what
/// calls by them is killed.
pub fn compile(profile: &Profile) -> Result<Vec<Instruction>, Error> {
    let wants = |column: usize| profile.architectures.iter().any(|name| name == table::COLUMNS[column]);
    let (native, narrow) = if cfg!(target_arch = "aarch64") { (AARCH64, ARM) } else { (X86_64, X86) };
    let mut code = Code::default();

    let mut others = code.give(Action::KILL_PROCESS);
    if wants(narrow.columns[0]) {
        let tree = code.tree(profile, &narrow);
        let body = code.load(NUMBER, tree);
        others = code.jump(JEQ, narrow.audit, body, others);
    }
    let body = if native.columns != X86_64.columns {
        let tree = code.tree(profile, &native);
        code.load(NUMBER, tree)
    } else if wants(X32_COLUMN) {
        let tree = code.tree(profile, &X86_64_X32);
        let without_bit = code.and(!X32_BIT, tree);
        code.load(NUMBER, without_bit)
    } else {
        // -1 is no call of x32 but what a tracer leaves of a call it has skipped.
        let (kill, unknown) = (code.give(Action::KILL_PROCESS), code.give(profile.unknown));
        let x32 = code.jump(JEQ, u32::MAX, unknown, kill);
        let tree = code.tree(profile, &native);
        let split = code.jump(JGE, X32_BIT, x32, tree);
        code.load(NUMBER, split)
    };
    let first = code.jump(JEQ, native.audit, body, others);
    code.load(ARCH, first);
    code.backwards.reverse();
    if code.backwards.len() > MAX_INSTRUCTIONS {
        return Err(Error::new(format!(
            "document: linux.seccomp: {} instructions, the kernel takes {MAX_INSTRUCTIONS}",
            code.backwards.len()
        )));
    }
    Ok(code.backwards)
}

/// A place in the code: how many instructions come after it.
type Place = usize;

/// Code that is written from its end: jumps lead forward only, so where they lead is there already.
#[derive(Default)]
struct Code {
    backwards: Vec<Instruction>,
    /// Returns that were written, to be shared.
    returns: Vec<(Action, Place)>,
}

impl Code {
    /// How far a conditional jump reaches, with room for the two jumps that may come in between.
    const REACH: usize = 250;

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Place {
        self.backwards.push(Instruction { code, jt, jf, k });
        self.backwards.len() - 1
    }

    /// How many instructions one written now would skip to get to `to`.
    fn over(&self, to: Place) -> usize {
        self.backwards.len() - 1 - to
    }

    /// A return of this action that is not far, written if there is none.
    fn give(&mut self, action: Action) -> Place {
        let near = |place: Place| self.backwards.len() - place < Self::REACH / 2;
        let shared = self.returns.iter().rev().find(|(other, place)| *other == action && near(*place));
        if let Some((_, place)) = shared {
            return *place;
        }
        let place = self.push(RETURN, 0, 0, action.0);
        self.returns.push((action, place));
        place
    }

    /// Goes on at `to`, which may be far: the unconditional jump reaches anything.
    fn near(&mut self, to: Place) -> Place {
        if self.over(to) <= Self::REACH {
            return to;
        }
        let over = u32::try_from(self.over(to)).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, over)
    }

    /// Goes on at `yes` if the comparison holds, else at `no`.
    fn jump(&mut self, code: u16, k: u32, yes: Place, no: Place) -> Place {
        let (yes, no) = (self.near(yes), self.near(no));
        // `near` has left room for one jump more; the distances fit.
        let distance = |code: &Self, to| u8::try_from(code.over(to)).unwrap_or(u8::MAX);
        let (jt, jf) = (distance(self, yes), distance(self, no));
        self.push(code, jt, jf, k)
    }

    /// An instruction that goes on at `then`, which has to come right after it.
    fn followed_by(&mut self, code: u16, k: u32, then: Place) -> Place {
        if self.over(then) > 0 {
            let over = u32::try_from(self.over(then)).unwrap_or(u32::MAX);
            self.push(JUMP, 0, 0, over);
        }
        self.push(code, 0, 0, k)
    }

    fn load(&mut self, offset: u32, then: Place) -> Place {
        self.followed_by(LOAD, offset, then)
    }

    fn and(&mut self, mask: u32, then: Place) -> Place {
        self.followed_by(AND, mask, then)
    }

    /// The tree over one architecture's numbers.
    fn tree(&mut self, profile: &Profile, architecture: &Architecture) -> Place {
        let spans = spans(profile, architecture);
        self.branches(&spans, architecture.wide)
    }

    fn branches(&mut self, spans: &[(u32, Leaf)], wide: bool) -> Place {
        match spans {
            [] => self.give(Action::KILL_PROCESS),
            [(_, Leaf::Plain(action))] => self.give(*action),
            [(_, Leaf::Tested(rules, otherwise))] => {
                let mut next = self.give(*otherwise);
                for rule in rules.iter().rev() {
                    next = self.rule(rule, next, wide);
                }
                next
            }
            _ => {
                let (lower, upper) = spans.split_at(spans.len() / 2);
                let yes = self.branches(upper, wide);
                let no = self.branches(lower, wide);
                self.jump(JGE, upper[0].0, yes, no)
            }
        }
    }

    /// Gives the rule's action if its conditions hold, and else goes on at `otherwise`.
    fn rule(&mut self, rule: &Rule, otherwise: Place, wide: bool) -> Place {
        let mut next = self.give(rule.action);
        for condition in rule.conditions.iter().rev() {
            next = self.condition(*condition, next, otherwise, wide);
        }
        next
    }

    /// Compares an argument word by word: the upper half first, and only where arguments have one.
    fn condition(&mut self, condition: Condition, held: Place, failed: Place, wide: bool) -> Place {
        let half = |value: u64, shift: u32| u32::try_from(value >> shift & 0xffff_ffff).unwrap_or_default();
        let (upper, lower) = (half(condition.value, 32), half(condition.value, 0));
        // Both of our architectures put the lower half first.
        let low_word = ARGUMENTS + 8 * condition.index;
        let high_word = low_word + 4;
        if let Operator::Masked { mask } = condition.operator {
            let mut next = held;
            let words = [(low_word, half(mask, 0), lower), (high_word, half(mask, 32), upper)];
            for (word, mask, value) in words.into_iter().take(if wide { 2 } else { 1 }) {
                if mask == 0 {
                    continue;
                }
                next = self.jump(JEQ, value, next, failed);
                if mask != u32::MAX {
                    next = self.and(mask, next);
                }
                next = self.load(word, next);
            }
            return next;
        }
        let (code, yes, no) = match condition.operator {
            Operator::Eq | Operator::Masked { .. } => (JEQ, held, failed),
            Operator::Ne => (JEQ, failed, held),
            Operator::Gt => (JGT, held, failed),
            Operator::Ge => (JGE, held, failed),
            Operator::Lt => (JGE, failed, held),
            Operator::Le => (JGT, failed, held),
        };
        let low = self.jump(code, lower, yes, no);
        let low = self.load(low_word, low);
        if !wide {
            return low;
        }
        // What a larger and what a smaller upper half mean; where they are the same the lower halves decide.
        let (larger, smaller) = match condition.operator {
            Operator::Eq | Operator::Masked { .. } => (failed, failed),
            Operator::Ne => (held, held),
            Operator::Gt | Operator::Ge => (held, failed),
            Operator::Lt | Operator::Le => (failed, held),
        };
        let mut high = self.jump(JEQ, upper, low, smaller);
        if larger != smaller {
            high = self.jump(JGT, upper, larger, high);
        }
        self.load(high_word, high)
    }
}

/// What becomes of one number.
#[derive(Clone, PartialEq, Eq)]
enum Leaf<'a> {
    /// Always this.
    Plain(Action),
    /// The first rule whose conditions hold, else the action.
    Tested(Vec<&'a Rule>, Action),
}

/// Neighbouring numbers that end alike, each span by its first number.
fn spans<'a>(profile: &'a Profile, architecture: &Architecture) -> Vec<(u32, Leaf<'a>)> {
    let mut by_number: Vec<(u32, Vec<&Rule>)> = Vec::new();
    for rule in &profile.rules {
        for name in &rule.names {
            // A name nobody knows here is newer than this program, or another architecture's.
            let Some(numbers) = table::numbers(name) else { continue };
            let of_this = architecture.columns.iter().map(|column| numbers[*column]);
            let numbers = of_this.filter_map(|number| u32::try_from(number).ok());
            by_number.extend(numbers.map(|number| (number, vec![rule])));
        }
    }
    // Stable: rules of one number keep their order.
    by_number.sort_by_key(|(number, _)| *number);
    by_number.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            // Two columns with one number bring a rule twice.
            later.1.retain(|rule| !kept.1.iter().any(|other| std::ptr::eq(*rule, *other)));
            kept.1.append(&mut later.1);
        }
        same
    });
    let newest =
        by_number.iter().map(|(number, _)| *number).filter(|number| *number < architecture.own_from).max();
    let mut spans: Vec<(u32, Leaf)> = Vec::new();
    let mut push = |start: u32, leaf: Leaf<'a>| {
        if spans.last().is_none_or(|(_, last)| *last != leaf) {
            spans.push((start, leaf));
        }
    };
    let mut next = 0;
    for (number, rules) in by_number {
        if number > next {
            let known = newest.is_some_and(|newest| next <= newest);
            push(next, Leaf::Plain(if known { profile.default } else { profile.unknown }));
        }
        push(number, leaf(rules, profile.default));
        next = number + 1;
    }
    push(next, Leaf::Plain(profile.unknown));
    spans
}

/// Rules with conditions come first, whatever the order: a rule without says what is left to say.
fn leaf(rules: Vec<&Rule>, default: Action) -> Leaf<'_> {
    let always = rules.iter().find(|rule| rule.conditions.is_empty()).map_or(default, |rule| rule.action);
    let tested: Vec<_> = rules.into_iter().filter(|rule| !rule.conditions.is_empty()).collect();
    if tested.is_empty() { Leaf::Plain(always) } else { Leaf::Tested(tested, always) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What the kernel's interpreter would return.
    fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCH => arch,
            _ => {
                let argument = arguments[((offset - ARGUMENTS) / 8) as usize];
                let half = if offset % 8 == 0 { argument & 0xffff_ffff } else { argument >> 32 };
                u32::try_from(half).unwrap()
            }
        };
        let (mut at, mut a) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let choose = |yes: bool| usize::from(if yes { jt } else { jf });
            match code {
                LOAD => a = word(k),
                AND => a &= k,
                JUMP => at += k as usize,
                JEQ => at += choose(a == k),
                JGT => at += choose(a > k),
                JGE => at += choose(a >= k),
                RETURN => return k,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    fn program(value: &serde_json::Value) -> Vec<Instruction> {
        compile(&Profile::of(value).unwrap()).unwrap()
    }

    fn native(program: &[Instruction], name: &str, arguments: [u64; 6]) -> u32 {
        let architecture = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };
        let number = table::numbers(name).unwrap()[architecture.columns[0]];
        run(program, architecture.audit, u32::try_from(number).unwrap(), arguments)
    }

    const EPERM: u32 = 0x0005_0001;
    const ALLOW: u32 = 0x7fff_0000;
    const KILL: u32 = 0x8000_0000;

    #[test]
    fn every_operator_over_both_halves() {
        let values = [
            0,
            1,
            5,
            6,
            7,
            u64::from(u32::MAX),
            1 << 32,
            (1 << 32) + 5,
            (5 << 32) + 5,
            (6 << 32) + 1,
            u64::MAX,
        ];
        for value in [5, (5_u64 << 32) + 5, 0, u64::MAX] {
            type Holds = fn(u64, u64) -> bool;
            let checks: [(&str, Holds); 6] = [
                ("EQ", |a, b| a == b),
                ("NE", |a, b| a != b),
                ("LT", |a, b| a < b),
                ("LE", |a, b| a <= b),
                ("GT", |a, b| a > b),
                ("GE", |a, b| a >= b),
            ];
            for (op, holds) in checks {
                let program = program(
                    &json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"],
                    "action": "SCMP_ACT_ALLOW", "args": [{"index": 3, "value": value, "op": format!("SCMP_CMP_{op}")}]}]}),
                );
                for argument in values {
                    let wanted = if holds(argument, value) { ALLOW } else { EPERM };
                    let got = native(&program, "read", [0, 0, 0, argument, 0, 0]);
                    assert_eq!(got, wanted, "{argument:#x} {op} {value:#x}");
                }
            }
        }
    }

    #[test]
    fn a_mask_looks_at_its_bits_only() {
        let program = program(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["clone"],
            "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}]}));
        assert_eq!(native(&program, "clone", [0x11, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(&program, "clone", [0x1000_0011, 0, 0, 0, 0, 0]), EPERM);
    }

    #[test]
    fn all_conditions_of_a_rule_and_any_of_the_rules() {
        let program = program(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 2, "value": 9, "op": "SCMP_CMP_NE"}]}]}));
        assert_eq!(native(&program, "read", [1, 2, 9, 0, 0, 0]), ALLOW);
        assert_eq!(native(&program, "read", [1, 3, 9, 0, 0, 0]), EPERM);
        assert_eq!(native(&program, "read", [1, 3, 8, 0, 0, 0]), 0x7ffc_0000);
    }

    #[test]
    fn a_tested_exception_stands_before_the_rule_without_conditions() {
        for order in [[0, 1], [1, 0]] {
            let rules = [
                json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"}),
                json!({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 0xffff_ffff_u32,
                    "valueTwo": 0x5412, "op": "SCMP_CMP_MASKED_EQ"}]}),
            ];
            let rules = order.map(|at: usize| rules[at].clone());
            let program = program(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}));
            assert_eq!(native(&program, "ioctl", [0, 0x5412, 0, 0, 0, 0]), EPERM);
            // The kernel looks at 32 bits of it (CVE-2019-10063).
            assert_eq!(native(&program, "ioctl", [0, 0x1_0000_5412, 0, 0, 0, 0]), EPERM);
            assert_eq!(native(&program, "ioctl", [0, 0x5413, 0, 0, 0, 0]), ALLOW);
        }
    }

    #[test]
    fn new_calls_are_unknown_and_foreign_ones_die() {
        let text = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "clone3", "nosuch"],
            "action": "SCMP_ACT_ALLOW"}]});
        let program = program(&text);
        assert_eq!(native(&program, "clone3", [0; 6]), ALLOW);
        assert_eq!(native(&program, "mount", [0; 6]), EPERM);
        assert_eq!(native(&program, "mseal", [0; 6]), 0x0005_0026);
        assert_eq!(run(&program, 0x4000_0003, 3, [0; 6]), KILL);
        assert_eq!(run(&program, 0x1234, 3, [0; 6]), KILL);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(run(&program, X86_64.audit, X32_BIT, [0; 6]), KILL);
            assert_eq!(run(&program, X86_64.audit, u32::MAX, [0; 6]), 0x0005_0026);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn each_architecture_has_its_own_numbers() {
        let program = program(&json!({"defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_S390X"],
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}));
        assert_eq!(run(&program, X86_64.audit, 0, [0; 6]), ALLOW);
        assert_eq!(run(&program, X86.audit, 3, [0; 6]), ALLOW);
        assert_eq!(run(&program, X86.audit, 0, [0; 6]), EPERM);
        assert_eq!(run(&program, X86_64.audit, X32_BIT, [0; 6]), ALLOW);
    }

    #[test]
    fn the_default_profile_is_small_and_closed() {
        let profile = wb_doc::seccomp::default_profile(&wb_sys::capability::DOCKER_DEFAULT);
        let program = program(&profile);
        assert!(program.len() < 400, "{}", program.len());
        for (name, first, wanted) in [
            ("read", 0, ALLOW),
            ("openat", 0, ALLOW),
            ("chroot", 0, ALLOW),
            ("mount", 0, EPERM),
            ("bpf", 0, EPERM),
            ("keyctl", 0, EPERM),
            ("userfaultfd", 0, EPERM),
            ("io_uring_setup", 0, EPERM),
            ("clone3", 0, 0x0005_0026),
            ("clone", 0x11, ALLOW),
            ("clone", 0x1000_0000, EPERM),
            ("socket", 2, ALLOW),
            ("socket", 38, EPERM),
            ("socket", 40, EPERM),
            ("personality", 0xffff_ffff, ALLOW),
            ("personality", 1, EPERM),
            ("open_tree_attr", 0, 0x0005_0026),
        ] {
            assert_eq!(native(&program, name, [first, 0, 0, 0, 0, 0]), wanted, "{name} {first:#x}");
        }
        assert_eq!(native(&program, "ioctl", [0, 0x5412, 0, 0, 0, 0]), 0x0005_0005);
        assert_eq!(native(&program, "ioctl", [0, 0x5401, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn a_default_that_allows_stays_so_for_new_calls() {
        let program = program(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
            "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]}));
        assert_eq!(native(&program, "read", [0; 6]), 0x0005_0005);
        assert_eq!(native(&program, "mseal", [0; 6]), ALLOW);
    }
}
