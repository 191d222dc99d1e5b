//! The annotations that say what runtime-spec has no field for: crun's, but for those of systemd and of WebAssembly.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::workload;
use crate::error::{Error, Result};
use crate::sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

/// Annotations of a container that change how it is run; whoever lets strangers write annotations must filter them. What ends
/// with a dot is the beginning of keys.
pub const UNSAFE: [&str; 8] = [
    "io.kubernetes.cri-o.ContainerType",
    "io.kubernetes.cri.container-type",
    "module.wasm.image/variant",
    "org.criu.config",
    "org.opencontainers.image.architecture",
    "org.opencontainers.image.os",
    "org.systemd.property.",
    "run.oci.",
];

/// Whether `key` is one of [`UNSAFE`].
pub fn is_unsafe(key: &str) -> bool {
    UNSAFE
        .iter()
        .any(|known| key == *known || known.ends_with('.') && key.starts_with(known))
}

const HANDLER: &str = "run.oci.handler";
const STDOUT: &str = "run.oci.hooks.stdout";
const STDERR: &str = "run.oci.hooks.stderr";
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
const BPF: &str = "run.oci.seccomp_bpf_data";
const RECEIVER: &str = "run.oci.seccomp.receiver";
const PLUGINS: &str = "run.oci.seccomp.plugins";
const UNKNOWN_FAILS: &str = "run.oci.seccomp_fail_unknown_syscall";
const CONTEXT: &str = "run.oci.mount_context_type";
const PIDFD: &str = "run.oci.pidfd_receiver";
const CGROUP_V1: &str = "run.oci.systemd.force_cgroup_v1";

/// What the annotations ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotated {
    /// The payload keeps the supplementary groups of the runtime's caller.
    pub keep_groups: bool,
    /// A finished seccomp filter, which takes the place of the profile.
    pub filter: Option<Vec<Instruction>>,
    /// Who gets the notify descriptor of a profile without `listenerPath`; absolute.
    pub seccomp_receiver: Option<PathBuf>,
    /// A system call that the profile names and libseccomp does not know is an error.
    pub unknown_syscalls_fail: bool,
    /// Which of SELinux' mount options carries `linux.mountLabel`.
    pub mount_context: MountContext,
    /// A unix socket to which a pidfd of init is sent.
    pub pidfd_receiver: Option<PathBuf>,
}

/// The mount options by which SELinux labels a file system (mount(8)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MountContext {
    /// All files of it.
    #[default]
    Context,
    /// The file system itself.
    FileSystem,
    /// Files that have no label.
    Default,
    /// Its root folder.
    Root,
}

impl MountContext {
    const ALL: [MountContext; 4] = [
        MountContext::Context,
        MountContext::FileSystem,
        MountContext::Default,
        MountContext::Root,
    ];

    /// The option's name.
    pub fn option(self) -> &'static str {
        match self {
            MountContext::Context => "context",
            MountContext::FileSystem => "fscontext",
            MountContext::Default => "defcontext",
            MountContext::Root => "rootcontext",
        }
    }
}

/// Where hooks write instead of to the runtime, which only reads what it may have to say in an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookOutput {
    /// Absolute.
    pub stdout: Option<PathBuf>,
    /// Absolute.
    pub stderr: Option<PathBuf>,
}

impl HookOutput {
    /// What the annotations of a container say about it.
    ///
    /// # Errors
    /// A path that is not absolute.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<HookOutput> {
        Ok(HookOutput {
            stdout: path(annotations, STDOUT)?,
            stderr: path(annotations, STDERR)?,
        })
    }
}

/// Reads them; what nobody here can do is refused, or warned of where the container runs as well without it.
///
/// # Errors
/// `annotations["…"]` with a value that it cannot have.
pub(super) fn read(annotations: &BTreeMap<String, String>, warnings: &mut Vec<String>) -> Result<Annotated> {
    HookOutput::of(annotations)?;
    handler(annotations)?;
    if given(annotations, PLUGINS).is_some() {
        let problem = "plug-ins of libseccomp-notify are not supported; name an agent in linux.seccomp.listenerPath";
        return Err(wrong(PLUGINS, problem));
    }
    if given(annotations, CGROUP_V1).is_some() {
        warnings.push(format!(
            "annotations[{CGROUP_V1:?}]: cgroup v1 is not mounted for systemd, the container sees the host's version"
        ));
    }
    let filter = given(annotations, BPF).map(|text| filter(text).map_err(|problem| wrong(BPF, problem)));
    Ok(Annotated {
        keep_groups: is_on(annotations, KEEP_GROUPS),
        filter: filter.transpose()?,
        seccomp_receiver: path(annotations, RECEIVER)?,
        unknown_syscalls_fail: is_on(annotations, UNKNOWN_FAILS),
        mount_context: mount_context(annotations)?,
        pidfd_receiver: path(annotations, PIDFD)?,
    })
}

fn wrong(key: &str, problem: impl Into<String>) -> Error {
    Error::config(format!("annotations[{key:?}]"), problem)
}

fn given<'a>(annotations: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    annotations.get(key).map(String::as_str).filter(|text| !text.is_empty())
}

/// As in crun: whatever is not "0" switches it on.
fn is_on(annotations: &BTreeMap<String, String>, key: &str) -> bool {
    annotations.get(key).is_some_and(|text| text != "0")
}

fn path(annotations: &BTreeMap<String, String>, key: &str) -> Result<Option<PathBuf>> {
    match given(annotations, key) {
        None => Ok(None),
        Some(text) if text.starts_with('/') && !text.contains('\0') => Ok(Some(text.into())),
        Some(text) => Err(wrong(key, format!("{text:?} is not absolute, it must begin with /"))),
    }
}

/// A handler that somebody else would give the container to, a virtual machine for example, must not be taken for none.
fn handler(annotations: &BTreeMap<String, String>) -> Result<()> {
    match given(annotations, HANDLER) {
        Some(name) if !workload::is_sandbox(annotations) && !workload::HANDLERS.contains(&name) => Err(wrong(
            HANDLER,
            format!(
                "there is no handler {name:?}, use one of {}, or leave it out",
                workload::HANDLERS.join(", ")
            ),
        )),
        _ => Ok(()),
    }
}

fn mount_context(annotations: &BTreeMap<String, String>) -> Result<MountContext> {
    let Some(name) = given(annotations, CONTEXT) else {
        return Ok(MountContext::default());
    };
    let known = MountContext::ALL.into_iter().find(|kind| kind.option() == name);
    known.ok_or_else(|| {
        let names = MountContext::ALL.map(MountContext::option).join(", ");
        wrong(CONTEXT, format!("{name:?} is unknown, use one of {names}"))
    })
}

fn filter(text: &str) -> std::result::Result<Vec<Instruction>, String> {
    let bytes = base64(text).ok_or("is not base64 (RFC 4648)")?;
    let (instructions, rest) = bytes.as_chunks::<{ size_of::<Instruction>() }>();
    if instructions.is_empty() || !rest.is_empty() || instructions.len() > MAX_INSTRUCTIONS {
        return Err(format!(
            "{} bytes are no program of 1 to {MAX_INSTRUCTIONS} BPF instructions of 8 bytes",
            bytes.len()
        ));
    }
    Ok(instructions.iter().map(Instruction::from_bytes).collect())
}

/// Decodes base64; blanks and line ends are passed over, padding at the end may be missing.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits) = (0u32, 0u32);
    for c in text.trim_end().trim_end_matches('=').bytes() {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => return None,
        };
        word = word << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    // What is left over are the zeros that fill the last digit.
    (bits < 6 && word == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn refused(key: &str, value: &str) -> String {
        read(&map(&[(key, value)]), &mut Vec::new()).unwrap_err().to_string()
    }

    #[test]
    fn nothing_asks_for_nothing() {
        let mut warnings = Vec::new();
        let empty = [HANDLER, STDOUT, BPF, RECEIVER, PLUGINS, CONTEXT, PIDFD, CGROUP_V1].map(|key| (key, ""));
        assert_eq!(read(&map(&empty), &mut warnings).unwrap(), Annotated::default());
        assert!(warnings.is_empty());
    }

    #[test]
    fn switches_are_on_unless_0() {
        for (text, on) in [("1", true), ("", true), ("no", true), ("0", false)] {
            let read = read(&map(&[(KEEP_GROUPS, text), (UNKNOWN_FAILS, text)]), &mut Vec::new()).unwrap();
            assert_eq!((read.keep_groups, read.unknown_syscalls_fail), (on, on), "{text:?}");
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for key in [STDOUT, STDERR, RECEIVER, PIDFD] {
            assert!(refused(key, "relative").contains("is not absolute"), "{key}");
        }
        assert!(refused(CONTEXT, "x").contains("context, fscontext, defcontext, rootcontext"));
        assert!(refused(HANDLER, "krun").contains("there is no handler \"krun\""));
        assert!(refused(PLUGINS, "x.so").contains("not supported"));
        for (text, problem) in [("?", "not base64"), ("AAAA", "3 bytes"), ("AAAAAAAA", "6 bytes")] {
            assert!(refused(BPF, text).contains(problem), "{text}");
        }
        let sandbox = map(&[("io.kubernetes.cri.container-type", "sandbox"), (HANDLER, "krun")]);
        assert!(read(&sandbox, &mut Vec::new()).is_ok());
    }

    #[test]
    fn a_filter_is_decoded() {
        // `ret ALLOW`: code 0x06, k 0x7fff0000.
        let read = read(&map(&[(BPF, "BgAAAAAA/38=")]), &mut Vec::new()).unwrap();
        let allow = Instruction {
            code: 6,
            jt: 0,
            jf: 0,
            k: 0x7fff_0000,
        };
        assert_eq!(read.filter.unwrap(), [allow]);
    }

    #[test]
    fn base64_of_the_rfc() {
        let cases = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let coded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (plain, coded) in cases.into_iter().zip(coded) {
            assert_eq!(base64(coded).as_deref(), Some(plain.as_bytes()), "{coded}");
        }
        assert_eq!(base64("Zm9v\nYmFy\n").unwrap(), b"foobar");
        for bad in ["Z", "Zh==", "Zm9v=Zg", "Zm9v-", "Zm9vY"] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_annotation_that_is_looked_at_is_named() {
        let sources = [
            include_str!("annotated.rs"),
            include_str!("workload.rs"),
            include_str!("../aot/order.rs"),
            include_str!("../cgroup/systemd/annotation.rs"),
            include_str!("../container/checkpoint.rs"),
        ];
        let code = sources.map(|source| source.split("#[cfg(test)]").next().unwrap_or_default());
        let mut quoted: Vec<_> = code
            .iter()
            .flat_map(|code| code.split('"').skip(1).step_by(2))
            .filter(|text| text.contains('.') && !text.contains(' '))
            .collect();
        quoted.retain(|text| {
            ["io.", "org.", "run.", "module."]
                .iter()
                .any(|prefix| text.starts_with(prefix))
        });
        assert!(quoted.len() > UNSAFE.len());
        for key in quoted {
            assert!(is_unsafe(key), "{key}");
        }
    }
}
