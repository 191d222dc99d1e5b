//! bpf(2), as much of it as a device filter needs.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{Error, Result};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

/// The kernel lets at most this many programs be attached to one cgroup.
const MAX_ATTACHED: usize = 64;

/// One instruction of eBPF (RFC 9669).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u8,
    /// Destination register in the lower, source register in the upper half.
    pub registers: u8,
    /// Offset of a jump, in instructions, or of a memory access, in bytes.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

impl Insn {
    const fn new(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Insn {
        Insn {
            code,
            registers: dst | src << 4,
            offset,
            immediate,
        }
    }

    /// `dst = *(u32 *)(src + offset)`
    pub const fn load_word(dst: u8, src: u8, offset: i16) -> Insn {
        Insn::new(0x61, dst, src, offset, 0)
    }

    /// `dst &= value`, 32 bits
    pub const fn and32(dst: u8, value: i32) -> Insn {
        Insn::new(0x54, dst, 0, 0, value)
    }

    /// `dst >>= bits`, 32 bits
    pub const fn shift_right32(dst: u8, bits: i32) -> Insn {
        Insn::new(0x74, dst, 0, 0, bits)
    }

    /// `dst = src`, 32 bits
    pub const fn move32(dst: u8, src: u8) -> Insn {
        Insn::new(0xbc, dst, src, 0, 0)
    }

    /// `dst = value`
    pub const fn set(dst: u8, value: i32) -> Insn {
        Insn::new(0xb7, dst, 0, 0, value)
    }

    /// Jumps, to where [`Insn::jump_to_end`] says, if `dst != value`.
    pub const fn jump_unless_equal(dst: u8, value: i32) -> Insn {
        Insn::new(0x55, dst, 0, 0, value)
    }

    /// Jumps if `dst == value`.
    pub const fn jump_if_equal(dst: u8, value: i32) -> Insn {
        Insn::new(0x15, dst, 0, 0, value)
    }

    /// Jumps if `dst != src`.
    pub const fn jump_unless_same(dst: u8, src: u8) -> Insn {
        Insn::new(0x5d, dst, src, 0, 0)
    }

    /// Returns register 0.
    pub const fn exit() -> Insn {
        Insn::new(0x95, 0, 0, 0, 0)
    }

    /// Makes a jump at `index` of a block go to the block's `end`; leaves other instructions alone.
    pub fn jump_to_end(&mut self, index: usize, end: usize) {
        if matches!(self.code, 0x55 | 0x15 | 0x5d) {
            self.offset = (end - index - 1) as i16;
        }
    }
}

/// The parts of `union bpf_attr`, each as long as the fields in use.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    kind: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    program_fd: u32,
    kind: u32,
    flags: u32,
    replaced_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next: u32,
    open_flags: u32,
}

/// bpf(2) with an attribute that lives for the call.
fn bpf<T>(command: libc::c_int, attr: &mut T, name: &str) -> Result<libc::c_int> {
    // SAFETY: `attr` is a live, writable part of `union bpf_attr` of the size given; the pointers in it are to memory that the
    // callers keep alive over the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 {
        return Err(Error::sys(format!("bpf({name})"), std::io::Error::last_os_error()));
    }
    Ok(result as libc::c_int)
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`; it calls no helper, so its licence does not matter to the kernel.
///
/// # Errors
/// The verifier refuses it, or the caller may not load programs (`CAP_BPF` or `CAP_SYS_ADMIN`).
pub fn load_device_filter(code: &[Insn]) -> Result<OwnedFd> {
    match load(code) {
        // Kernels before 5.11 count programs against RLIMIT_MEMLOCK.
        Err(e) if e.errno() == Some(libc::EPERM) => {
            let old = getrlimit(Resource::Memlock);
            let unlimited = Rlimit {
                current: None,
                maximum: None,
            };
            if setrlimit(Resource::Memlock, unlimited).is_err() {
                return Err(e);
            }
            let result = load(code);
            // The container inherits the limit: it must not notice.
            let _ = setrlimit(Resource::Memlock, old);
            result
        }
        other => other,
    }
}

fn load(code: &[Insn]) -> Result<OwnedFd> {
    let mut attr = LoadAttr {
        kind: TYPE_CGROUP_DEVICE,
        insn_count: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttr::default()
    };
    attr.name[..12].copy_from_slice(b"runw_devices");
    let fd = bpf(PROG_LOAD, &mut attr, "BPF_PROG_LOAD")?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device filter to a cgroup beside others: a device is allowed if all of them allow it.
///
/// # Errors
/// `cgroup` is no cgroup v2 folder, or has 64 programs already.
pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = attach_attr(cgroup, program, ALLOW_MULTI);
    bpf(PROG_ATTACH, &mut attr, "BPF_PROG_ATTACH").map(drop)
}

/// Puts a device filter in the place of another, in one step (Linux 5.6).
///
/// # Errors
/// `old` is not attached there, or the kernel is too old (EINVAL).
pub fn replace(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, old: BorrowedFd<'_>) -> Result<()> {
    let mut attr = attach_attr(cgroup, program, ALLOW_MULTI | REPLACE);
    attr.replaced_fd = old.as_raw_fd() as u32;
    bpf(PROG_ATTACH, &mut attr, "BPF_PROG_ATTACH, BPF_F_REPLACE").map(drop)
}

/// Takes a device filter off a cgroup.
///
/// # Errors
/// It is not attached there.
pub fn detach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = attach_attr(cgroup, program, 0);
    bpf(PROG_DETACH, &mut attr, "BPF_PROG_DETACH").map(drop)
}

fn attach_attr(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, flags: u32) -> AttachAttr {
    AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        program_fd: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags,
        replaced_fd: 0,
    }
}

/// The device filters attached to a cgroup itself. One that a security module hides is left out: it can only restrict further.
///
/// # Errors
/// `cgroup` is no cgroup v2 folder, or the caller may not ask.
pub fn attached(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MAX_ATTACHED];
    let mut attr = QueryAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..QueryAttr::default()
    };
    bpf(PROG_QUERY, &mut attr, "BPF_PROG_QUERY")?;
    let count = (attr.count as usize).min(MAX_ATTACHED);
    let mut programs = Vec::with_capacity(count);
    for id in &ids[..count] {
        let mut attr = IdAttr {
            id: *id,
            ..IdAttr::default()
        };
        match bpf(PROG_GET_FD_BY_ID, &mut attr, "BPF_PROG_GET_FD_BY_ID") {
            // SAFETY: the kernel has just made this descriptor (close-on-exec) for us alone.
            Ok(fd) => programs.push(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(e) if matches!(e.errno(), Some(libc::EPERM | libc::EACCES | libc::ENOENT)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(programs)
}
