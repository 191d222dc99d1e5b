//! What `linux.cgroupsPath` means to systemd: `SLICE:PREFIX:NAME`, runc's form, and where the cgroup of such a unit lies.

use super::session::Session;
use crate::error::{Error, Result};

const AT: &str = "linux.cgroupsPath";

/// Longer ones are refused by systemd (UNIT_NAME_MAX).
const MAX: usize = 255;

/// A unit and the slice it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Such as `runw-c1.scope`.
    pub(super) unit: String,
    /// Such as `system.slice`, `user-1000.slice`; `-.slice` is the root.
    pub(super) slice: String,
}

impl Name {
    /// The unit of container `id`: `PREFIX-NAME.scope`, by default `runw-ID.scope` in `system.slice` or, in a user's session,
    /// in `user.slice`.
    ///
    /// # Errors
    /// The path has another form, or names that systemd does not take.
    pub(super) fn of(cgroups_path: Option<&str>, id: &str, session: Session) -> Result<Name> {
        let default_path;
        let path = match cgroups_path.filter(|p| !p.is_empty()) {
            Some(path) => path,
            None => {
                default_path = format!(":runw:{}", escape(id));
                &default_path
            }
        };
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts.as_slice() else {
            return Err(Error::config(
                AT,
                format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                ),
            ));
        };
        if name.ends_with(".slice") {
            return Err(Error::config(
                AT,
                format!("{name:?} is a slice, and systemd puts no process into a slice: name a scope"),
            ));
        }
        let slice = match (*slice, session) {
            ("", Session::System) => "system.slice",
            ("", Session::User) => "user.slice",
            ("-", _) => "-.slice",
            (slice, _) => slice,
        };
        let unit = format!("{prefix}-{name}.scope");
        for name in [&unit, slice] {
            check(name)?;
        }
        Ok(Name {
            unit,
            slice: slice.to_owned(),
        })
    }

    /// Its cgroup below that of the systemd it belongs to: `a-b.slice` lies in `a.slice`.
    ///
    /// # Errors
    /// The slice is not one.
    pub(super) fn path(&self) -> Result<String> {
        let mut path = expand(&self.slice)?;
        path += "/";
        path += &cgroup_name(&self.unit);
        Ok(path)
    }
}

/// `/a.slice/a-b.slice` for `a-b.slice`; nothing for the root slice.
fn expand(slice: &str) -> Result<String> {
    let invalid = || Error::config(AT, format!("invalid slice name: {slice}"));
    let name = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    if name == "-" {
        return Ok(String::new());
    }
    let (mut path, mut prefix) = (String::new(), String::new());
    for part in name.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        prefix += part;
        path += "/";
        path += &cgroup_name(&format!("{prefix}.slice"));
        prefix += "-";
    }
    Ok(path)
}

/// systemd.unit(5): which characters the name of a unit has.
fn check(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    match name.chars().find(|c| !good(*c)) {
        Some(bad) => Err(Error::config(
            AT,
            format!("{name:?} is no name of a systemd unit: it holds {bad:?}"),
        )),
        None if name.len() > MAX => Err(Error::config(
            AT,
            format!("{name:?} is no name of a systemd unit: it is longer than {MAX} bytes"),
        )),
        None => Ok(()),
    }
}

/// As systemd-escape(1) does it, for the characters that ids of containers have and units have not.
fn escape(id: &str) -> String {
    id.replace('+', "\\x2b")
}

/// The folder of a unit: one whose name could be that of a file of the kernel's gets an underscore in front.
fn cgroup_name(unit: &str) -> String {
    const CONTROLLERS: [&str; 12] = [
        "cgroup", "cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids", "hugetlb", "misc", "rdma",
    ];
    let controller = unit.split_once('.').map(|(first, _)| first);
    let clash = unit.starts_with(['_', '.']) || controller.is_some_and(|c| CONTROLLERS.contains(&c));
    if clash { format!("_{unit}") } else { unit.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: Option<&str>, session: Session) -> (String, String, String) {
        let name = Name::of(path, "c1", session).unwrap();
        let path = name.path().unwrap();
        (name.unit, name.slice, path)
    }

    #[test]
    fn forms_of_the_path() {
        for (path, unit, slice, cgroup) in [
            (None, "runw-c1.scope", "system.slice", "/system.slice/runw-c1.scope"),
            (Some(""), "runw-c1.scope", "system.slice", "/system.slice/runw-c1.scope"),
            (Some("::x"), "-x.scope", "system.slice", "/system.slice/-x.scope"),
            (
                Some("machine.slice:libpod:ab12"),
                "libpod-ab12.scope",
                "machine.slice",
                "/machine.slice/libpod-ab12.scope",
            ),
            (
                Some("kubepods-burstable-pod1_2.slice:cri-containerd:ab"),
                "cri-containerd-ab.scope",
                "kubepods-burstable-pod1_2.slice",
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-ab.scope",
            ),
            (Some("-:a:b"), "a-b.scope", "-.slice", "/a-b.scope"),
        ] {
            let expected = (unit.to_owned(), slice.to_owned(), cgroup.to_owned());
            assert_eq!(name(path, Session::System), expected, "{path:?}");
        }
        assert_eq!(name(None, Session::User).2, "/user.slice/runw-c1.scope");
    }

    #[test]
    fn ids_become_names() {
        let name = Name::of(None, "a+b", Session::System).unwrap();
        assert_eq!(name.unit, "runw-a\\x2bb.scope");
    }

    #[test]
    fn what_systemd_would_refuse() {
        for path in [
            "/a/b",
            "a",
            "a:b",
            "a:b:c:d",
            "s.slice:p:x.slice",
            "s.slice:p:a/b",
            "s.slice:p:a b",
        ] {
            let error = Name::of(Some(path), "c1", Session::System).unwrap_err().to_string();
            assert!(
                error.starts_with("config.json: linux.cgroupsPath") || error.contains("cgroupsPath"),
                "{error}"
            );
        }
        let long = "n".repeat(300);
        assert!(Name::of(Some(&format!("s.slice:p:{long}")), "c1", Session::System).is_err());
        for slice in ["system", ".slice", "-a.slice", "a--b.slice", "a-.slice"] {
            let name = Name::of(Some(&format!("{slice}:p:n")), "c1", Session::System).unwrap();
            assert!(name.path().is_err(), "{slice}");
        }
    }

    #[test]
    fn folders_that_could_be_files() {
        for (unit, folder) in [
            ("cpu.x-1.scope", "_cpu.x-1.scope"),
            ("_a-1.scope", "__a-1.scope"),
            ("cpu-1.scope", "cpu-1.scope"),
            ("memory.slice", "_memory.slice"),
        ] {
            assert_eq!(cgroup_name(unit), folder);
        }
    }
}
