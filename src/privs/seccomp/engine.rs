//! The filter for processes that run a WebAssembly engine: what an engine never needs is denied, whatever the container's own
//! profile says. A guest that broke out of the engine would find neither programs to execute nor ways to change the system.

use libc::{SYS_clone, SYS_clone3, c_long};

use super::Program;
use super::shrink::returns;
use crate::sys::seccomp::{FLAG_SPEC_ALLOW, Instruction};

/// Of classic BPF: load a word of the call's data, compare, return.
const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;
/// Where in `struct seccomp_data` they are.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const LOW_ARGUMENT_0: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };

const ALLOW: u32 = 0x7fff_0000;
const DENY: u32 = 0x0005_0000 | libc::EPERM as u32;
const UNKNOWN: u32 = 0x0005_0000 | libc::ENOSYS as u32;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
/// Numbers from here on are those of x32.
const X32: u32 = 0x4000_0000;

/// Programs and processes; other processes' memory; mounts and namespaces; identity; the kernel itself; the clock.
const DENIED: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mknodat,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_personality,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// The filter. Threads may be made, processes may not; clone3(2), whose flags a filter cannot see, is unknown, so that libc takes
/// clone(2).
pub fn engine() -> Program {
    let mut out = vec![
        op(LOAD_WORD, ARCHITECTURE),
        branch(JUMP_EQUAL, NATIVE, 1, 0),
        op(RETURN, DENY),
        op(LOAD_WORD, NUMBER),
        branch(JUMP_AT_LEAST, X32, 0, 1),
        op(RETURN, DENY),
        branch(JUMP_EQUAL, SYS_clone3 as u32, 0, 1),
        op(RETURN, UNKNOWN),
        branch(JUMP_EQUAL, SYS_clone as u32, 0, 4),
        op(LOAD_WORD, LOW_ARGUMENT_0),
        branch(JUMP_BITS, libc::CLONE_THREAD as u32, 0, 1),
        op(RETURN, ALLOW),
        op(RETURN, DENY),
    ];
    // One comparison after the other is what takes longest of all steps of an engine: for each load the kernel tries every number.
    out.extend(returns(&ranges()));
    Program {
        flags: FLAG_SPEC_ALLOW,
        instructions: out,
    }
}

/// From which number on what is returned, in the order of the numbers.
fn ranges() -> Vec<(u32, u32)> {
    let mut denied: Vec<u32> = DENIED.iter().map(|number| *number as u32).collect();
    denied.sort_unstable();
    let mut out = vec![(0, ALLOW)];
    for number in denied {
        match out.last_mut() {
            // Right behind another one.
            Some((first, _)) if *first == number => *first = number + 1,
            _ => out.extend([(number, DENY), (number + 1, ALLOW)]),
        }
    }
    out
}

fn op(code: u16, k: u32) -> Instruction {
    branch(code, k, 0, 0)
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::super::enosys::tests::interpret;
    use super::*;

    fn answer(number: c_long, argument: u32) -> u32 {
        interpret(&engine().instructions, NATIVE, number as u32, argument)
    }

    #[test]
    fn what_an_engine_needs_is_allowed_and_no_more() {
        for number in DENIED {
            assert_eq!(answer(*number, 0), DENY, "{number}");
        }
        let allowed = (0..500).filter(|n| ![SYS_clone, SYS_clone3].contains(n) && !DENIED.contains(n));
        for number in allowed {
            assert_eq!(answer(number, 0), ALLOW, "{number}");
        }
        for number in [
            libc::SYS_read,
            libc::SYS_openat,
            libc::SYS_exit_group,
            libc::SYS_mmap,
            libc::SYS_tgkill,
        ] {
            assert_eq!(answer(number, 0), ALLOW, "{number}");
        }
        assert_eq!(answer(libc::SYS_accept4, 0), ALLOW);
        assert_eq!(
            answer(libc::SYS_seccomp, 0),
            ALLOW,
            "the container's own profile follows"
        );
    }

    #[test]
    fn threads_but_no_processes() {
        assert_eq!(
            answer(libc::SYS_clone, (libc::CLONE_VM | libc::CLONE_THREAD) as u32),
            ALLOW
        );
        assert_eq!(answer(libc::SYS_clone, libc::SIGCHLD as u32), DENY);
        assert_eq!(answer(libc::SYS_clone3, 0), UNKNOWN);
    }

    #[test]
    fn no_other_table_of_system_calls() {
        let filter = engine().instructions;
        assert_eq!(interpret(&filter, 0x4000_0003, 11, 0), DENY);
        assert_eq!(interpret(&filter, NATIVE, X32 | 59, 0), DENY);
    }
}
