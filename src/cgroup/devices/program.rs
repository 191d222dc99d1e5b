//! A filter as an eBPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE`. It returns 1 to allow and 0 to deny.
//!
//! The kernel runs it at every open and mknod of a device with a `struct bpf_cgroup_dev_ctx`: three 32-bit words, of which the
//! first holds the type in its lower half (1 block, 2 character) and the access in its upper one.

use super::filter::{ALL, Filter, Which};
use crate::sys::bpf::Insn;

/// Registers: the verdict, the context (later a scratch register), and what the context holds.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const KIND_BLOCK: i32 = 1;
const KIND_CHAR: i32 = 2;

/// Writes the program.
pub(super) fn program(filter: &Filter) -> Vec<Insn> {
    let mut code = vec![
        Insn::load_word(KIND, CONTEXT, 0),
        Insn::load_word(ACCESS, CONTEXT, 0),
        Insn::and32(KIND, 0xffff),
        Insn::shift_right32(ACCESS, 16),
        Insn::load_word(MAJOR, CONTEXT, 4),
        Insn::load_word(MINOR, CONTEXT, 8),
    ];
    for (which, access) in filter.exceptions.iter() {
        code.extend(exception(which, access, !filter.default_allow));
    }
    code.extend(verdict(filter.default_allow));
    code
}

/// Jumps over itself unless everything matches. An allowing exception must cover all of the access asked for, a denying one any
/// of it: so the v1 controller has it.
fn exception(which: Which, access: u8, allow: bool) -> Vec<Insn> {
    let kind = if which.kind == 'b' { KIND_BLOCK } else { KIND_CHAR };
    let mut code = vec![Insn::jump_unless_equal(KIND, kind)];
    for (register, number) in [(MAJOR, which.major), (MINOR, which.minor)] {
        if let Some(number) = number {
            // Numbers beyond 31 bits are no device's; sign extension keeps them from matching.
            code.push(Insn::jump_unless_equal(register, number as i32));
        }
    }
    if access != ALL {
        code.push(Insn::move32(CONTEXT, ACCESS));
        code.push(Insn::and32(CONTEXT, i32::from(access)));
        code.push(if allow {
            Insn::jump_unless_same(CONTEXT, ACCESS)
        } else {
            Insn::jump_if_equal(CONTEXT, 0)
        });
    }
    code.extend(verdict(allow));
    let end = code.len();
    for (index, insn) in code.iter_mut().enumerate() {
        insn.jump_to_end(index, end);
    }
    code
}

fn verdict(allow: bool) -> [Insn; 2] {
    [Insn::set(VERDICT, i32::from(allow)), Insn::exit()]
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::filter;
    use super::super::filter::{MKNOD, READ, WRITE};
    use super::*;

    /// Runs a program as the kernel would.
    fn run(code: &[Insn], kind: u32, access: u8, major: u32, minor: u32) -> bool {
        let context = [kind | u32::from(access) << 16, major, minor];
        let mut regs = [0u64; 11];
        let mut at = 0usize;
        while at < code.len() {
            let insn = code[at];
            let (dst, src) = (usize::from(insn.registers & 15), usize::from(insn.registers >> 4));
            at += 1;
            let mut jump = |taken: bool| {
                if taken {
                    at = (at as i64 + i64::from(insn.offset)) as usize;
                }
            };
            match insn.code {
                0x61 => regs[dst] = u64::from(context[insn.offset as usize / 4]),
                0x54 => regs[dst] = u64::from(regs[dst] as u32 & insn.immediate as u32),
                0x74 => regs[dst] = u64::from((regs[dst] as u32) >> insn.immediate),
                0xbc => regs[dst] = u64::from(regs[src] as u32),
                0xb7 => regs[dst] = insn.immediate as i64 as u64,
                0x55 => jump(regs[dst] != insn.immediate as i64 as u64),
                0x15 => jump(regs[dst] == insn.immediate as i64 as u64),
                0x5d => jump(regs[dst] != regs[src]),
                0x95 => return regs[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
        panic!("the program runs over its end");
    }

    /// What the v1 controller of the kernel would say.
    fn expected(filter: &Filter, kind: char, access: u8, major: u32, minor: u32) -> bool {
        let covers =
            |w: Which| w.kind == kind && w.major.is_none_or(|m| m == major) && w.minor.is_none_or(|m| m == minor);
        let mut hits = filter.exceptions.iter().filter(|(w, _)| covers(*w));
        match filter.default_allow {
            false => hits.any(|(_, bits)| access & !bits == 0),
            true => !hits.any(|(_, bits)| access & bits != 0),
        }
    }

    #[test]
    fn agrees_with_the_v1_controller() {
        let filters: [&[(bool, &str)]; 6] = [
            &[],
            &[(false, "a")],
            &[(true, "a")],
            &[
                (true, "b 8:0 r"),
                (true, "b 8:1 rw"),
                (true, "c 4:* w"),
                (true, "b *:3 rwm"),
            ],
            &[
                (true, "a"),
                (false, "b 8:0 w"),
                (false, "c 4:64 rwm"),
                (false, "b 9:* r"),
            ],
            &[(true, "c 4294967295:4294967294 rwm")],
        ];
        for rules in filters {
            let filter = filter(rules).unwrap();
            let code = program(&filter);
            for (kind, number) in [('b', 1), ('c', 2)] {
                for access in 1..=ALL {
                    for major in [0, 1, 4, 5, 8, 9, 10, 136, u32::MAX] {
                        for minor in [0, 1, 2, 3, 9, 64, 200, u32::MAX - 1] {
                            // The kernel never asks for numbers beyond 31 bits.
                            let absurd = major > i32::MAX as u32 || minor > i32::MAX as u32;
                            let want = expected(&filter, kind, access, major, minor);
                            let got = run(&code, number, access, major, minor);
                            assert!(got == want || absurd, "{rules:?} {kind} {major}:{minor} {access:03b}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_denial_of_writing_stops_read_write() {
        let code = program(&filter(&[(true, "a"), (false, "b 8:0 w")]).unwrap());
        assert!(run(&code, 1, READ, 8, 0));
        assert!(!run(&code, 1, WRITE, 8, 0));
        assert!(!run(&code, 1, READ | WRITE, 8, 0));
        assert!(run(&code, 1, MKNOD, 8, 0));
    }

    #[test]
    fn a_full_exception_asks_nothing_about_access() {
        let length = |rules: &[(bool, &str)]| program(&filter(rules).unwrap()).len();
        let base = length(&[]);
        assert_eq!(length(&[(true, "b 8:0 rwm")]) - base, 5);
        assert_eq!(length(&[(true, "b 8:0 rw")]) - base, 8);
        assert_eq!(length(&[(true, "b 8:* rwm")]) - base, 4);
    }
}
