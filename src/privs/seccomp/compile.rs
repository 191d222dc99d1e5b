//! A seccomp profile becomes a program, by libseccomp.

use std::io::{Read, Seek};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};

use super::{Program, enosys, shrink};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::sys::seccomp::{self as sys, Instruction};

/// The number of arguments of a system call.
const ARGUMENTS: usize = 6;

/// Compiles `profile` for this machine's architecture and those it names.
///
/// Names of system calls that libseccomp does not know are skipped. A system call newer than every one the profile names
/// gets `ENOSYS` unless the profile lets unknown calls pass.
///
/// # Errors
/// `linux.seccomp…`: a profile that libseccomp refuses (an architecture it lacks, two actions for one condition).
pub fn compile(profile: &LinuxSeccomp) -> Result<Program> {
    let long = compile_long(profile)?;
    let instructions = shrink::shrink(&long.instructions).unwrap_or(long.instructions);
    if instructions.len() > sys::MAX_INSTRUCTIONS {
        let problem = format!(
            "the profile needs {} BPF instructions, the kernel takes {}; name fewer system calls or architectures",
            instructions.len(),
            sys::MAX_INSTRUCTIONS
        );
        return Err(Error::config("linux.seccomp", problem));
    }
    Ok(Program { instructions, ..long })
}

/// [`compile`] without making the program small.
pub(super) fn compile_long(profile: &LinuxSeccomp) -> Result<Program> {
    let mut flags = flags(profile);
    if uses_notify(profile) {
        flags |= sys::FLAG_NEW_LISTENER;
        let wait = LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv;
        if profile.flags().as_ref().is_some_and(|given| given.contains(&wait)) {
            flags |= sys::FLAG_WAIT_KILLABLE_RECV;
        }
        // The kernel takes both only with a third flag; a runtime has one thread when it loads the filter anyway.
        flags &= !sys::FLAG_TSYNC;
    }
    let default = action(profile.default_action(), profile.default_errno_ret());
    let architectures = architectures(profile);
    let tail = export(&filter(profile, default, &architectures)?)?;
    let mut instructions = match default {
        ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_) | ScmpAction::Errno(nix::libc::ENOSYS) => Vec::new(),
        _ => enosys::prologue(&newest_syscalls(profile, &architectures)),
    };
    instructions.extend(tail);
    Ok(Program { flags, instructions })
}

/// The flags with which a filter for `profile` is loaded, but for those that its rules ask for.
pub(super) fn flags(profile: &LinuxSeccomp) -> u32 {
    let Some(flags) = profile.flags() else {
        // Without the section runc sets this one: the speculation mitigation that seccomp would bring costs more than it helps.
        return sys::FLAG_SPEC_ALLOW;
    };
    flags.iter().fold(0, |bits, flag| {
        bits | match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => sys::FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => sys::FLAG_TSYNC,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => sys::FLAG_SPEC_ALLOW,
            // It is about who waits for an agent; without one the kernel refuses it.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        }
    })
}

/// The first system call of `profile` that libseccomp does not know.
pub(super) fn unknown(profile: &LinuxSeccomp) -> Option<(usize, &str)> {
    let rules = profile.syscalls().iter().flatten().enumerate();
    let mut names = rules.flat_map(|(i, rule)| rule.names().iter().map(move |name| (i, name.as_str())));
    names.find(|(_, name)| ScmpSyscall::from_name(name).is_err())
}

fn uses_notify(profile: &LinuxSeccomp) -> bool {
    let mut rules = profile.syscalls().iter().flatten();
    rules.any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

/// The architectures of the filter, native first, each once.
fn architectures(profile: &LinuxSeccomp) -> Vec<ScmpArch> {
    let mut all = vec![ScmpArch::native()];
    for arch in profile.architectures().iter().flatten().map(|a| architecture(*a)) {
        if !all.contains(&arch) {
            all.push(arch);
        }
    }
    all
}

fn filter(profile: &LinuxSeccomp, default: ScmpAction, archs: &[ScmpArch]) -> Result<ScmpFilterContext> {
    let whole = |e: libseccomp::error::SeccompError| Error::config("linux.seccomp", format!("libseccomp: {e}"));
    let mut filter = ScmpFilterContext::new(default).map_err(whole)?;
    for arch in &archs[1..] {
        filter.add_arch(*arch).map_err(|e| {
            Error::config(
                "linux.seccomp.architectures",
                format!("libseccomp does not take {arch:?}: {e}"),
            )
        })?;
    }
    filter.set_ctl_nnp(false).map_err(whole)?;
    for (i, rule) in profile.syscalls().iter().flatten().enumerate() {
        add_rule(&mut filter, rule, default).map_err(|(name, e)| {
            let at = format!("linux.seccomp.syscalls[{i}]");
            Error::config(at, format!("libseccomp refuses the rule for {name}: {e}"))
        })?;
    }
    Ok(filter)
}

fn add_rule<'r>(
    filter: &mut ScmpFilterContext,
    rule: &'r LinuxSyscall,
    default: ScmpAction,
) -> Result<(), (&'r str, libseccomp::error::SeccompError)> {
    let action = action(rule.action(), rule.errno_ret());
    if action == default {
        return Ok(());
    }
    let empty = Vec::new();
    let args = rule.args().as_ref().unwrap_or(&empty);
    let conditions: Vec<ScmpArgCompare> = args.iter().map(condition).collect();
    for name in rule.names() {
        let Ok(number) = ScmpSyscall::from_name(name) else {
            continue;
        };
        if conditions.is_empty() {
            filter.add_rule(action, number).map_err(|e| (name.as_str(), e))?;
        } else if repeats_an_argument(args) {
            // libseccomp takes one condition for each argument: such lists are alternatives, as they always were in runc.
            for one in &conditions {
                filter
                    .add_rule_conditional(action, number, &[*one])
                    .map_err(|e| (name.as_str(), e))?;
            }
        } else {
            filter
                .add_rule_conditional(action, number, &conditions)
                .map_err(|e| (name.as_str(), e))?;
        }
    }
    Ok(())
}

fn repeats_an_argument(args: &[LinuxSeccompArg]) -> bool {
    (0..ARGUMENTS).any(|index| args.iter().filter(|a| a.index() == index).count() > 1)
}

fn condition(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let (op, datum) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(arg.value()),
            arg.value_two().unwrap_or_default(),
        ),
    };
    ScmpArgCompare::new(arg.index() as u32, op, datum)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let value = errno.unwrap_or(nix::libc::EPERM as u32);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(i32::from(value as u16)),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(value as u16),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    }
}

fn architecture(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::native(),
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

/// For each architecture the highest number among the system calls that the profile names, whatever it does with them.
fn newest_syscalls(profile: &LinuxSeccomp, archs: &[ScmpArch]) -> Vec<(ScmpArch, u32)> {
    let names = || profile.syscalls().iter().flatten().flat_map(|s| s.names());
    let newest = |arch: ScmpArch| {
        names()
            .filter_map(|name| ScmpSyscall::from_name_by_arch(name, arch).ok())
            .filter_map(|number| u32::try_from(number.as_raw_syscall()).ok())
            .max()
    };
    archs.iter().filter_map(|arch| Some((*arch, newest(*arch)?))).collect()
}

/// Has libseccomp write the program.
fn export(filter: &ScmpFilterContext) -> Result<Vec<Instruction>> {
    let memory =
        rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC).call(|| "memfd_create(seccomp)")?;
    let mut file = std::fs::File::from(memory);
    filter
        .export_bpf(&file)
        .map_err(|e| Error::message(format!("seccomp_export_bpf: {e}")))
        .wrap(|| "compile linux.seccomp")?;
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .call(|| "read(the seccomp program)")?;
    Ok(bytes.as_chunks().0.iter().map(Instruction::from_bytes).collect())
}
