use super::super::compile::compile_long;
use super::*;
use oci_spec::runtime::LinuxSeccomp;

/// What a program returns for a system call, on a little-endian machine.
fn run(program: &[Instruction], architecture: u32, number: u32, args: [u64; 6]) -> u32 {
    let (mut at, mut a) = (0, 0);
    loop {
        let i = &program[at];
        at += 1;
        match i.code {
            LOAD_WORD => {
                a = match i.k {
                    NUMBER => number,
                    ARCHITECTURE => architecture,
                    offset => {
                        let word = (offset as usize - 16) / 4;
                        (args[word / 2] >> (word % 2 * 32)) as u32
                    }
                }
            }
            AND => a &= i.k,
            RETURN => return i.k,
            JUMP => at += i.k as usize,
            _ => at += usize::from(if holds(i, a) { i.jt } else { i.jf }),
        }
    }
}

/// A profile with ranges, gaps, conditions of every kind, and three architectures.
fn profile(default: &str) -> LinuxSeccomp {
    let allowed: Vec<&str> =
        "read write open close stat fstat poll lseek mmap mprotect munmap brk ioctl pread64 access pipe \
         select sched_yield dup nanosleep getpid execve exit wait4 kill uname fcntl getcwd chdir openat \
         waitpid socketcall futex epoll_wait getrandom statx clone3 exit_group rt_sigreturn no_such_call time"
            .split(' ')
            .collect();
    let condition = |name: &str, index: u32, op: &str, value: u64, two: u64| {
        let arg = serde_json::json!({"index": index, "op": op, "value": value, "valueTwo": two});
        serde_json::json!({"names": [name], "action": "SCMP_ACT_LOG", "args": [arg]})
    };
    serde_json::from_value(serde_json::json!({
        "defaultAction": default,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": allowed, "action": "SCMP_ACT_TRAP"},
            condition("socket", 0, "SCMP_CMP_NE", 40, 0),
            condition("personality", 0, "SCMP_CMP_EQ", 0x1_0000_0008, 0),
            condition("personality", 0, "SCMP_CMP_EQ", 8, 0),
            condition("clone", 0, "SCMP_CMP_MASKED_EQ", 0x7e02_0000, 0),
            condition("prctl", 1, "SCMP_CMP_GT", 5, 0),
            condition("ptrace", 2, "SCMP_CMP_LE", 1 << 40, 0),
        ],
    }))
    .unwrap()
}

const INTERESTING: [u64; 12] = [
    0,
    1,
    5,
    6,
    8,
    39,
    40,
    41,
    0x7e02_0000,
    1 << 40,
    (1 << 40) + 1,
    0x1_0000_0008,
];
const ARCHITECTURES: [u32; 4] = [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0];

#[test]
fn a_small_program_gives_every_call_the_same_answer() {
    for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS"] {
        let long = compile_long(&profile(default)).unwrap().instructions;
        let small = shrink(&long).unwrap();
        assert!(small.len() < long.len(), "{} of {}", small.len(), long.len());
        let numbers = (0..700)
            .chain(0x4000_0000..0x4000_0300)
            .chain([1 << 31, u32::MAX - 1, u32::MAX]);
        for number in numbers {
            for architecture in ARCHITECTURES {
                for v in INTERESTING {
                    for args in [[v; 6], [v, 0, v, 0, 0, 0], [0, v, 1 << 41, 0, 0, 0]] {
                        let want = run(&long, architecture, number, args);
                        assert_eq!(
                            run(&small, architecture, number, args),
                            want,
                            "{architecture:#x} {number} {args:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn jumps_stay_forward_and_inside() {
    let small = shrink(&compile_long(&profile("SCMP_ACT_ERRNO")).unwrap().instructions).unwrap();
    for (at, i) in small.iter().enumerate() {
        let furthest = match i.code {
            JUMP => i.k as usize,
            JUMP_EQUAL | JUMP_GREATER | JUMP_AT_LEAST | JUMP_BITS => i.jt.max(i.jf).into(),
            RETURN => continue,
            _ => 0,
        };
        assert!(at + 1 + furthest < small.len(), "{at}");
    }
}

#[test]
fn a_changed_answer_is_noticed() {
    let long = compile_long(&profile("SCMP_ACT_ERRNO")).unwrap().instructions;
    let tables = tables(&long, BTreeSet::new()).unwrap();
    let small = shrink(&long).unwrap();
    assert!(same(&long, &tables, &small));
    let mut overlooked = 0;
    for at in 0..small.len() {
        let mut other = small.clone();
        other[at].k ^= 1;
        (other[at].jt, other[at].jf) = (small[at].jf, small[at].jt);
        if same(&long, &tables, &other) {
            // A jump to an equal instruction next to the right one, then: the answers must not have changed.
            overlooked += 1;
            for number in (0..500).chain(0x4000_0000..0x4000_0220) {
                for v in INTERESTING {
                    let of = |p: &[Instruction]| ARCHITECTURES.map(|a| run(p, a, number, [v; 6]));
                    assert_eq!(of(&other), of(&long), "{at}: {:?}", small[at]);
                }
            }
        }
    }
    assert!(overlooked < 5, "{overlooked} of {}", small.len());
}

#[test]
fn programs_that_do_more_than_compare_are_left_alone() {
    let scratch = Instruction {
        code: 0x02,
        jt: 0,
        jf: 0,
        k: 0,
    };
    assert_eq!(shrink(&[op(LOAD_WORD, NUMBER), scratch, op(RETURN, 0)]), None);
    let masked = [op(LOAD_WORD, NUMBER), op(AND, 0xff), op(RETURN, 0)];
    assert_eq!(shrink(&masked), None);
    let low_bits = Instruction {
        code: JUMP_BITS,
        jt: 0,
        jf: 1,
        k: 1,
    };
    assert_eq!(
        shrink(&[op(LOAD_WORD, NUMBER), low_bits, op(RETURN, 0), op(RETURN, 1)]),
        None
    );
    assert_eq!(shrink(&[op(RETURN, 0)]), None);
    assert_eq!(shrink(&[op(JUMP, 9)]), None);
}

#[test]
fn many_ranges_are_searched_in_several_runs() {
    for (width, kinds) in [(3, 7), (1, 2), (1, 3), (2, 1)] {
        let others: Ranges = (0..1000).map(|n| (n * width, Outcome::Return(n % kinds))).collect();
        let code = assemble(
            &[],
            &Tables {
                known: Vec::new(),
                others,
            },
        );
        for n in (0..3100).chain([u32::MAX]) {
            assert_eq!(run(&code, 0, n, [0; 6]), (n / width).min(999) % kinds, "{n}");
        }
    }
}

#[test]
fn a_profile_as_engines_have_it_shrinks_to_a_fraction() {
    let calls = (0..460).filter(|n| n % 11 != 0 && !(160..190).contains(n) && !(335..424).contains(n));
    let conditional = ["socket", "personality", "clone", "prctl", "ptrace"];
    let names = calls.filter_map(|n| libseccomp::ScmpSyscall::from_raw_syscall(n).get_name().ok());
    let names = names.filter(|name| !conditional.contains(&name.as_str()));
    let mut whole = profile("SCMP_ACT_ERRNO");
    let mut rules = whole.syscalls().clone().unwrap();
    rules[0].set_names(names.collect());
    whole.set_syscalls(Some(rules));
    let long = compile_long(&whole).unwrap().instructions;
    let small = shrink(&long).unwrap();
    assert!(small.len() * 3 < long.len(), "{} of {}", small.len(), long.len());
}
