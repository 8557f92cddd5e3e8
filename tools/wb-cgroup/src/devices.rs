//! Device rules on cgroup v2: there is no control file for them, but a BPF program the kernel asks at each open
//! and mknod (cgroup-v2.rst, "Device controller").

use crate::resources::DeviceRule;
use std::fs::File;
use std::path::Path;
use wb_doc::{Context, Error};
use wb_sys::bpf::{self, Instruction};

/// What the kernel hands the program: type and access in one word, then major, then minor.
const OFFSET_ACCESS_TYPE: i16 = 0;
const OFFSET_MAJOR: i16 = 4;
const OFFSET_MINOR: i16 = 8;

/// Registers: r1 points to the context, r2 holds the type, r3 the access, r4 the major, r5 the minor number.
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const BPF_DEVCG_DEV_BLOCK: i32 = 1;
const BPF_DEVCG_DEV_CHAR: i32 = 2;

/// Compiles the rules and attaches them to the cgroup in place of what was attached before.
pub fn attach(directory: &Path, rules: &[DeviceRule]) -> Result<(), Error> {
    let program = compile(rules)?;
    let cgroup = File::open(directory).context(|| directory.display().to_string())?;
    let program = bpf::load_cgroup_device(&program).context(|| "device rules as a BPF program")?;
    bpf::replace_cgroup_device(&cgroup, &program)
        .context(|| format!("device rules on {}", directory.display()))
}

/// A program that answers 1 for allowed. The rules are tried from the last to the first, since the last match
/// decides; no match means denied.
fn compile(rules: &[DeviceRule]) -> Result<Vec<Instruction>, Error> {
    let mut program = vec![
        Instruction::load_word(TYPE, CONTEXT, OFFSET_ACCESS_TYPE),
        Instruction::mov_register(ACCESS, TYPE),
        Instruction::and_immediate(TYPE, 0xffff),
        Instruction::right_shift(ACCESS, 16),
        Instruction::load_word(MAJOR, CONTEXT, OFFSET_MAJOR),
        Instruction::load_word(MINOR, CONTEXT, OFFSET_MINOR),
    ];
    for rule in rules.iter().rev() {
        let block = compile_rule(rule)?;
        let everything = block.len() == 2;
        program.extend(block);
        if everything {
            // A rule about every device hides those before it, and the verifier refuses dead code.
            return Ok(program);
        }
    }
    program.extend(answer(false));
    Ok(program)
}

fn answer(allow: bool) -> [Instruction; 2] {
    [Instruction::mov_immediate(0, i32::from(allow)), Instruction::exit()]
}

/// Each condition that fails jumps to the end of the rule; behind the last one stands the answer.
fn compile_rule(rule: &DeviceRule) -> Result<Vec<Instruction>, Error> {
    let mut conditions = Vec::new();
    let kind = match rule.kind.as_deref().unwrap_or("a") {
        "a" => None,
        "b" => Some(BPF_DEVCG_DEV_BLOCK),
        "c" => Some(BPF_DEVCG_DEV_CHAR),
        other => {
            return Err(Error::new(format!("linux.resources.devices: type {other:?} is none of a, b, c")));
        }
    };
    conditions.extend(kind.map(|kind| (TYPE, kind)));
    let access = access_bits(rule.access.as_deref().unwrap_or("rwm"))?;
    let numbers = [(MAJOR, rule.major), (MINOR, rule.minor)];
    for (register, number) in numbers {
        if let Some(number) = number.filter(|&number| number >= 0) {
            let number = i32::try_from(number)
                .map_err(|_| Error::new(format!("linux.resources.devices: number {number} is too large")))?;
            conditions.push((register, number));
        }
    }
    let mut block = Vec::new();
    // All accesses asked for must be among the rule's: asked & !rule == 0.
    let partial = access != 7;
    let tail = 2;
    let length = conditions.len() + if partial { 3 } else { 0 } + tail;
    let to_end = |at: usize| i16::try_from(length - at - 1).unwrap_or(i16::MAX);
    for (register, value) in conditions {
        block.push(Instruction::jump_if_not_equal(register, value, to_end(block.len())));
    }
    if partial {
        block.push(Instruction::mov_register(CONTEXT, ACCESS));
        block.push(Instruction::and_immediate(CONTEXT, !access & 7));
        block.push(Instruction::jump_if_not_equal(CONTEXT, 0, to_end(block.len())));
    }
    block.extend(answer(rule.allow));
    Ok(block)
}

/// `rwm` as the kernel's bits: mknod 1, read 2, write 4.
fn access_bits(text: &str) -> Result<i32, Error> {
    text.chars().try_fold(0, |bits, letter| match letter {
        'm' => Ok(bits | 1),
        'r' => Ok(bits | 2),
        'w' => Ok(bits | 4),
        _ => Err(Error::new(format!("linux.resources.devices: access {text:?} is not of r, w, m"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<DeviceRule> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_last_rule_is_tried_first_and_deny_is_the_end() {
        let program = compile(&rules(
            r#"[{"allow":false},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"}]"#,
        ))
        .unwrap();
        // Prologue, four conditions with their access test, allow, then the rule about everything: deny.
        assert_eq!(program.len(), 6 + 3 + 3 + 2 + 2);
        assert_eq!(program[program.len() - 2..], answer(false));
    }

    #[test]
    fn nothing_stands_behind_a_rule_about_everything() {
        let program = compile(&rules(r#"[{"allow":false,"type":"c","major":1},{"allow":true}]"#)).unwrap();
        assert_eq!(program.len(), 8);
        assert_eq!(program[6..], answer(true));
    }

    #[test]
    fn jumps_of_a_rule_end_right_behind_it() {
        let block = compile_rule(&rules(r#"[{"allow":true,"type":"b","major":8,"access":"r"}]"#)[0]).unwrap();
        assert_eq!(
            block[0],
            Instruction::jump_if_not_equal(TYPE, 1, i16::try_from(block.len()).unwrap() - 1)
        );
    }
}
