//! How the calling process is scheduled and limited: policy, I/O priority, CPUs, memory nodes, persona, rlimits.

use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::libc;

/// The arguments of sched_setattr(2), version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchedAttr {
    /// `SCHED_*` number.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// -20 to 19, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// 1 to 99, for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`, as the next two.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// `struct sched_attr` as the kernel has it since 3.14.
#[repr(C)]
struct RawSchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the scheduling policy of the calling thread (sched_setattr(2)).
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE` for real-time policies and a lower nice value, `EBUSY` when the deadline policy has no
/// bandwidth left, `EINVAL` for values that do not go together.
pub fn set_scheduler(attr: SchedAttr) -> Result<()> {
    let raw = RawSchedAttr {
        size: size_of::<RawSchedAttr>() as u32,
        policy: attr.policy,
        flags: attr.flags,
        nice: attr.nice,
        priority: attr.priority,
        runtime: attr.runtime,
        deadline: attr.deadline,
        period: attr.period,
    };
    // SAFETY: `raw` is a sched_attr of the size it states and outlives the call.
    let r = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0) };
    checked(r, || format!("sched_setattr({attr:?})"))
}

/// Sets the I/O priority of the calling thread (ioprio_set(2), `IOPRIO_WHO_PROCESS`); children inherit it.
///
/// # Errors
/// `EPERM` for the real-time class without `CAP_SYS_ADMIN` or `CAP_SYS_NICE`.
pub fn set_io_priority(class: u8, priority: u8) -> Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    const IOPRIO_CLASS_SHIFT: u32 = 13;
    let value = (u32::from(class) << IOPRIO_CLASS_SHIFT) | u32::from(priority);
    // SAFETY: the call takes numbers only.
    let r = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) };
    checked(r, || format!("ioprio_set(class={class}, priority={priority})"))
}

/// Allows the calling thread these CPUs (sched_setaffinity(2)); numbers have no upper bound of their own.
///
/// # Errors
/// `EINVAL` if none of them is in the cgroup's cpuset.
pub fn set_cpus(cpus: &[u32]) -> Result<()> {
    let mask = bit_mask(cpus);
    set_affinity(&mask).map_err(|e| Error::sys(format!("sched_setaffinity({cpus:?})"), e))
}

/// Allows the calling thread every CPU its cgroup has or will have: undoes the affinity inherited from the caller.
///
/// # Errors
/// Those of sched_setaffinity(2), such as `EPERM` under a seccomp filter.
pub fn set_all_cpus() -> Result<()> {
    // The kernel cuts the mask to the CPUs it supports, so that one longer than any kernel's NR_CPUS needs no look-up.
    const WORDS: usize = 65_536 / u64::BITS as usize;
    set_affinity(&[u64::MAX; WORDS]).map_err(|e| Error::sys("sched_setaffinity(all)", e))
}

fn set_affinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `size_of_val(mask)` bytes of `mask`.
    let r = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
    Errno::result(r).map(drop)
}

/// Sets the NUMA memory policy of the calling thread (set_mempolicy(2)); `mode` holds the `MPOL_F_*` flags, too.
///
/// # Errors
/// `EINVAL` for nodes the machine or the cpuset does not have, `ENOSYS` on a kernel without NUMA.
pub fn set_memory_policy(mode: i32, nodes: &[u32]) -> Result<()> {
    let mask = bit_mask(nodes);
    // The kernel takes "number of bits plus one"; no nodes at all is a null mask.
    let (pointer, bits) = if nodes.is_empty() {
        (std::ptr::null(), 0)
    } else {
        (mask.as_ptr(), mask.len() * u64::BITS as usize + 1)
    };
    // SAFETY: `pointer` is null with zero bits, or covers the bits it is said to.
    let r = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    checked(r, || format!("set_mempolicy({mode:#x}, {nodes:?})"))
}

/// Sets the persona (personality(2)).
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: the call takes a number only.
    let r = unsafe { libc::personality(persona as libc::c_ulong) };
    checked(i64::from(r), || format!("personality({persona:#x})"))
}

/// Sets a resource limit of process `pid` (0: the caller; prlimit(2)); `u64::MAX` is infinity.
///
/// # Errors
/// `EPERM` when the hard limit rises and the caller lacks `CAP_SYS_RESOURCE`, `EINVAL` when soft exceeds hard.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the kernel reads one rlimit64 and writes none.
    let r = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    checked(r, || format!("prlimit({pid}, {resource}, soft={soft}, hard={hard})"))
}

/// The soft and hard limit of process `pid` (0: the caller; prlimit(2)).
pub fn rlimit(pid: i32, resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one rlimit64 and reads none.
    let r = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            std::ptr::null::<libc::rlimit64>(),
            &raw mut limit,
        )
    };
    checked(r, || format!("prlimit({pid}, {resource})"))?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

fn bit_mask(numbers: &[u32]) -> Vec<u64> {
    let words = numbers.iter().max().map_or(0, |n| *n as usize / 64 + 1);
    let mut mask = vec![0u64; words];
    for n in numbers {
        mask[*n as usize / 64] |= 1 << (n % 64);
    }
    mask
}

fn checked(r: i64, call: impl FnOnce() -> String) -> Result<()> {
    if r < 0 {
        Err(Error::sys(call(), Errno::last()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_as_long_as_its_highest_number_needs() {
        assert_eq!(bit_mask(&[]), Vec::<u64>::new());
        assert_eq!(bit_mask(&[0, 2, 63]), vec![1 << 63 | 5]);
        let wide = bit_mask(&[1, 2000]);
        assert_eq!(wide.len(), 32);
        assert_eq!((wide[0], wide[31]), (2, 1 << (2000 % 64)));
    }

    #[test]
    fn every_cpu_is_accepted_whatever_the_kernel_supports() {
        set_all_cpus().unwrap();
    }

    #[test]
    fn a_limit_reads_back() {
        let (soft, hard) = rlimit(0, libc::RLIMIT_CORE).unwrap();
        set_rlimit(0, libc::RLIMIT_CORE, soft, hard).unwrap();
        assert_eq!(rlimit(0, libc::RLIMIT_CORE).unwrap(), (soft, hard));
    }
}
