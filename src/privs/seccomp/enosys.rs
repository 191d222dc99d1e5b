//! `ENOSYS` for system calls that are newer than the profile.
//!
//! A profile lists what its author knew. A C library that tries a newer call first, and falls back when the kernel lacks it,
//! needs to see "no such call", not the profile's "not permitted". So in front of libseccomp's program stands a test: a
//! number higher than any that the profile names, on the same architecture, gets `ENOSYS`.

use libseccomp::ScmpArch;

use crate::sys::seccomp::Instruction;

/// Offset of the system call number in `struct seccomp_data`.
const NUMBER: u32 = 0;
/// Offset of the audit architecture in `struct seccomp_data`.
const ARCHITECTURE: u32 = 4;
/// Set in the number of every x32 system call.
const X32_BIT: u32 = 0x4000_0000;
const RET_ENOSYS: u32 = 0x0005_0000 | nix::libc::ENOSYS as u32;

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// The instructions to put in front of a program, from the highest number that each architecture knows; they end by falling
/// through to it.
pub(super) fn prologue(newest: &[(ScmpArch, u32)]) -> Vec<Instruction> {
    let sections = sections(newest);
    let length: usize = sections.iter().map(|(_, body)| body.len() + 2).sum();
    let mut out = Vec::with_capacity(length + 1);
    if !sections.is_empty() {
        out.push(op(LOAD_WORD, ARCHITECTURE));
    }
    for (audit, body) in sections {
        out.push(branch(JUMP_EQUAL, audit, 0, body.len() as u8 + 1));
        out.extend(body);
        // Everything of this architecture is decided: over the other sections, into the program.
        out.push(op(JUMP, (length - out.len()) as u32));
    }
    out
}

/// One section for each audit architecture: x86_64 and x32 share one.
fn sections(newest: &[(ScmpArch, u32)]) -> Vec<(u32, Vec<Instruction>)> {
    let mut out: Vec<(u32, Vec<Instruction>)> = Vec::new();
    let of = |arch| newest.iter().find(|(a, _)| *a == arch).map(|(_, n)| *n);
    for (arch, number) in newest {
        let Some(audit) = audit_architecture(*arch) else {
            continue;
        };
        if out.iter().any(|(a, _)| *a == audit) {
            continue;
        }
        let body = match arch {
            ScmpArch::X8664 | ScmpArch::X32 => x86_64(of(ScmpArch::X8664), of(ScmpArch::X32)),
            // Large numbers are multiplexed through number 0 there, and stay 0 when the kernel does not know them.
            ScmpArch::S390 | ScmpArch::S390X => vec![
                op(LOAD_WORD, NUMBER),
                branch(JUMP_EQUAL, 0, 1, 0),
                branch(JUMP_GREATER, *number, 0, 1),
                op(RETURN, RET_ENOSYS),
            ],
            _ => vec![
                op(LOAD_WORD, NUMBER),
                branch(JUMP_GREATER, *number, 0, 1),
                op(RETURN, RET_ENOSYS),
            ],
        };
        out.push((audit, body));
    }
    out
}

/// The two system call tables of `AUDIT_ARCH_X86_64`, told apart by a bit in the number. A table that the profile does not
/// have goes on into the program, which treats it as a foreign architecture.
fn x86_64(wide: Option<u32>, x32: Option<u32>) -> Vec<Instruction> {
    let mut body = vec![op(LOAD_WORD, NUMBER)];
    match (wide, x32) {
        (Some(wide), Some(x32)) => body.extend([
            branch(JUMP_BITS, X32_BIT, 1, 0),
            branch(JUMP_GREATER, wide, 1, 2),
            branch(JUMP_GREATER, x32, 0, 1),
        ]),
        (Some(wide), None) => {
            body.extend([branch(JUMP_BITS, X32_BIT, 2, 0), branch(JUMP_GREATER, wide, 0, 1)]);
        }
        (None, Some(x32)) => {
            body.extend([branch(JUMP_BITS, X32_BIT, 0, 2), branch(JUMP_GREATER, x32, 0, 1)]);
        }
        (None, None) => return body,
    }
    body.push(op(RETURN, RET_ENOSYS));
    body
}

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// `AUDIT_ARCH_*` (linux/audit.h): the ELF machine with bits for 64-bit and little-endian.
fn audit_architecture(arch: ScmpArch) -> Option<u32> {
    const WIDE: u32 = 0x8000_0000;
    const LITTLE: u32 = 0x4000_0000;
    const N32: u32 = 0x2000_0000;
    Some(match arch {
        ScmpArch::Native => return None,
        ScmpArch::X86 => 3 | LITTLE,
        ScmpArch::X8664 | ScmpArch::X32 => 62 | WIDE | LITTLE,
        ScmpArch::Arm => 40 | LITTLE,
        ScmpArch::Aarch64 => 183 | WIDE | LITTLE,
        ScmpArch::Loongarch64 => 258 | WIDE | LITTLE,
        ScmpArch::M68k => 4,
        ScmpArch::Mips => 8,
        ScmpArch::Mips64 => 8 | WIDE,
        ScmpArch::Mips64N32 => 8 | WIDE | N32,
        ScmpArch::Mipsel => 8 | LITTLE,
        ScmpArch::Mipsel64 => 8 | WIDE | LITTLE,
        ScmpArch::Mipsel64N32 => 8 | WIDE | LITTLE | N32,
        ScmpArch::Ppc => 20,
        ScmpArch::Ppc64 => 21 | WIDE,
        ScmpArch::Ppc64Le => 21 | WIDE | LITTLE,
        ScmpArch::S390 => 22,
        ScmpArch::S390X => 22 | WIDE,
        ScmpArch::Parisc => 15,
        ScmpArch::Parisc64 => 15 | WIDE,
        ScmpArch::Riscv64 => 243 | WIDE | LITTLE,
        ScmpArch::Sheb => 42,
        ScmpArch::Sh => 42 | LITTLE,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a program does with a system call: the value it returns. Knows the operations of filters that look at number and
    /// architecture only.
    pub(in crate::privs::seccomp) fn interpret(program: &[Instruction], audit: u32, number: u32, low_arg0: u32) -> u32 {
        let (mut pc, mut a) = (0, 0);
        loop {
            let i = program[pc];
            pc += 1;
            let mut jump = |taken: bool| pc += usize::from(if taken { i.jt } else { i.jf });
            match i.code {
                LOAD_WORD => {
                    a = match i.k {
                        NUMBER => number,
                        ARCHITECTURE => audit,
                        16 => low_arg0,
                        _ => 0,
                    }
                }
                JUMP => pc += i.k as usize,
                JUMP_EQUAL => jump(a == i.k),
                JUMP_GREATER => jump(a > i.k),
                0x35 => jump(a >= i.k),
                JUMP_BITS => jump(a & i.k != 0),
                0x54 => a &= i.k,
                RETURN => return i.k,
                code => panic!("operation {code:#x}"),
            }
        }
    }

    const ALLOW: u32 = 0x7fff_0000;
    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;

    fn program(newest: &[(ScmpArch, u32)]) -> Vec<Instruction> {
        let mut p = prologue(newest);
        p.push(op(RETURN, ALLOW));
        p
    }

    #[test]
    fn newer_numbers_get_enosys_older_ones_reach_the_program() {
        let p = program(&[
            (ScmpArch::X8664, 450),
            (ScmpArch::X86, 440),
            (ScmpArch::X32, X32_BIT | 548),
        ]);
        for (audit, number, want) in [
            (X86_64, 0, ALLOW),
            (X86_64, 450, ALLOW),
            (X86_64, 451, RET_ENOSYS),
            (X86_64, X32_BIT | 548, ALLOW),
            (X86_64, X32_BIT | 549, RET_ENOSYS),
            (I386, 440, ALLOW),
            (I386, 441, RET_ENOSYS),
            (0xc000_00b7, 9999, ALLOW),
        ] {
            assert_eq!(interpret(&p, audit, number, 0), want, "{audit:#x} {number:#x}");
        }
    }

    #[test]
    fn a_table_without_a_rule_is_left_to_the_program() {
        let p = program(&[(ScmpArch::X8664, 10)]);
        assert_eq!(interpret(&p, X86_64, X32_BIT | 9999, 0), ALLOW);
        assert_eq!(interpret(&p, X86_64, 11, 0), RET_ENOSYS);
        let p = program(&[(ScmpArch::X32, X32_BIT | 10)]);
        assert_eq!(interpret(&p, X86_64, 9999, 0), ALLOW);
        assert_eq!(interpret(&p, X86_64, X32_BIT | 11, 0), RET_ENOSYS);
        assert_eq!(program(&[]).len(), 1);
    }

    #[test]
    fn the_multiplexer_of_s390_is_never_the_profiles_business() {
        let p = program(&[(ScmpArch::S390X, 400)]);
        assert_eq!(interpret(&p, 0x8000_0016, 0, 0), RET_ENOSYS);
        assert_eq!(interpret(&p, 0x8000_0016, 400, 0), ALLOW);
        assert_eq!(interpret(&p, 0x8000_0016, 401, 0), RET_ENOSYS);
    }
}
