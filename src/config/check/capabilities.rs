//! `process.capabilities`: names to bits (capabilities(7)).

use oci_spec::runtime::{Capability, LinuxCapabilities};

use crate::config::Capabilities;

/// The capabilities in the order of their numbers.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The bit of a capability by name, with or without `CAP_`, in any case; `None` if there is none of that name.
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let number = NAMES.iter().position(|known| &known[4..] == bare)?;
    Some(1 << number)
}

/// The names of the capabilities in `mask`.
pub(super) fn names(mask: u64) -> impl Iterator<Item = &'static str> {
    let there = move |number: &usize| mask & 1 << number != 0;
    (0..NAMES.len()).filter(there).map(|number| NAMES[number])
}

/// The five sets; an absent section means no capability at all.
pub(super) fn sets(section: Option<&LinuxCapabilities>) -> Capabilities {
    let Some(given) = section else {
        return Capabilities::default();
    };
    let mask = |set: &Option<std::collections::HashSet<Capability>>| {
        set.iter().flatten().fold(0, |mask, cap| mask | 1 << number(*cap))
    };
    Capabilities {
        effective: mask(given.effective()),
        bounding: mask(given.bounding()),
        inheritable: mask(given.inheritable()),
        permitted: mask(given.permitted()),
        ambient: mask(given.ambient()),
    }
}

fn number(capability: Capability) -> u32 {
    use Capability as C;
    match capability {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_crate() {
        for (index, name) in NAMES.iter().enumerate() {
            let capability: Capability = serde_json::from_value((*name).into()).unwrap();
            assert_eq!(number(capability) as usize, index, "{name}");
            assert_eq!(bit(name), Some(1 << index));
        }
        assert_eq!(bit("net_admin"), Some(1 << 12));
        assert_eq!(bit("CAP_WHATEVER"), None);
    }

    #[test]
    fn an_absent_section_grants_nothing() {
        assert_eq!(sets(None), Capabilities::default());
    }
}
