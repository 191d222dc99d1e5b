//! What later processes of a container (`exec`) take from its configuration, and what a command line changes of it.
//!
//! `create` keeps an [`ExecConfig`] in the state folder, so that `exec` neither reads nor checks config.json again, which may
//! have changed or gone by then.

use std::collections::HashSet;
use std::path::PathBuf;

use oci_spec::runtime::Process as SpecProcess;
use serde::{Deserialize, Serialize};

use super::check::{self, IdMaps};
use super::{Config, IdMapping, NamespaceKind, Process};
use crate::error::{Error, Kind, Result};

/// Who gets the notify descriptor of the seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompListener {
    /// A listening unix socket.
    pub path: PathBuf,
    /// Handed on as it is.
    pub metadata: Option<String>,
}

impl SeccompListener {
    /// `linux.seccomp.listenerPath` and `listenerMetadata`.
    pub fn of(config: &Config) -> Option<SeccompListener> {
        let profile = config.seccomp.as_ref()?;
        Some(SeccompListener {
            path: profile.listener_path().clone()?,
            metadata: profile.listener_metadata().clone(),
        })
    }
}

/// The part of a checked configuration that holds for every process of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecConfig {
    /// `process`, the model of all others.
    pub process: Process,
    /// The namespaces that the container does not share with the runtime.
    pub namespaces: Vec<NamespaceKind>,
    /// `linux.uidMappings`; empty without a user namespace of its own.
    pub uid_mappings: Vec<IdMapping>,
    /// `linux.gidMappings`, likewise.
    pub gid_mappings: Vec<IdMapping>,
    /// The container has a session keyring (`create` without `--no-new-keyring`).
    pub session_keyring: bool,
    /// `linux.seccomp.listenerPath` and `listenerMetadata`.
    pub seccomp_listener: Option<SeccompListener>,
}

/// What the flags of `exec` say; what they do not say is as in the container's own process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOverrides {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `--cwd`
    pub cwd: Option<PathBuf>,
    /// `--env`, each `NAME=VALUE`; a later one wins over an earlier one and over the container's.
    pub env: Vec<String>,
    /// `--tty`: a terminal is only there when asked for.
    pub terminal: bool,
    /// `--user`: user id, and group id if given.
    pub user: Option<(u32, Option<u32>)>,
    /// `--additional-gids`, on top of the container's.
    pub additional_gids: Vec<u32>,
    /// `--process-label`
    pub selinux_label: Option<String>,
    /// `--apparmor`
    pub apparmor_profile: Option<String>,
    /// `--no-new-privs`
    pub no_new_privileges: bool,
    /// `--cap`, as a mask: on top of the container's effective, permitted and bounding sets.
    pub capabilities: u64,
}

impl ExecConfig {
    /// What is to be kept of `config`; `None` without a process.
    pub fn of(config: &Config, session_keyring: bool) -> Option<ExecConfig> {
        let own = |kind: &NamespaceKind| config.namespaces.is_own(*kind);
        Some(ExecConfig {
            process: config.process.clone()?,
            namespaces: NamespaceKind::ALL.into_iter().filter(own).collect(),
            uid_mappings: config.uid_mappings.clone(),
            gid_mappings: config.gid_mappings.clone(),
            session_keyring,
            seccomp_listener: SeccompListener::of(config),
        })
    }

    /// The container has its own namespace of this kind.
    pub fn has_own(&self, kind: NamespaceKind) -> bool {
        self.namespaces.contains(&kind)
    }

    /// The process that a document (`exec --process`) describes. What it leaves out is the container's, as in runc.
    ///
    /// # Errors
    /// The first broken rule, with its JSON path below `process`.
    pub fn by_document(self, given: &SpecProcess, warnings: &mut Vec<String>) -> Result<Process> {
        let ids = IdMaps {
            uids: &self.uid_mappings,
            gids: &self.gid_mappings,
        };
        let said = check::process(given, "process", ids, warnings)?;
        let model = self.process;
        Ok(Process {
            keep_groups: model.keep_groups,
            umask: said.umask.or(model.umask),
            rlimits: if said.rlimits.is_empty() {
                model.rlimits
            } else {
                said.rlimits
            },
            capabilities: if given.capabilities().is_some() {
                said.capabilities
            } else {
                model.capabilities
            },
            oom_score_adj: said.oom_score_adj.or(model.oom_score_adj),
            apparmor_profile: said.apparmor_profile.or(model.apparmor_profile),
            selinux_label: said.selinux_label.or(model.selinux_label),
            scheduler: said.scheduler.or(model.scheduler),
            io_priority: said.io_priority.or(model.io_priority),
            exec_cpu_affinity: said.exec_cpu_affinity.or(model.exec_cpu_affinity),
            personality: model.personality,
            memory_policy: model.memory_policy,
            ..said
        })
    }

    /// The container's own process with what the command line changes.
    ///
    /// # Errors
    /// No program, a relative `--cwd`, an `--env` without a name, an id that is not mapped.
    pub fn by_flags(self, said: ExecOverrides) -> Result<Process> {
        if said.args.is_empty() {
            return Err(usage("exec args cannot be empty: name the program to run after the ID"));
        }
        let mut process = self.process;
        process.args = said.args;
        process.terminal = said.terminal;
        process.console_size = None;
        process.no_new_privileges |= said.no_new_privileges;
        if let Some(cwd) = said.cwd {
            if !cwd.is_absolute() {
                return Err(usage(format!("--cwd {cwd:?} is not absolute, it must begin with /")));
            }
            process.cwd = cwd;
        }
        if let Some((uid, gid)) = said.user {
            process.uid = mapped(uid, &self.uid_mappings, "--user")?;
            process.gid = gid.map_or(Ok(process.gid), |gid| mapped(gid, &self.gid_mappings, "--user"))?;
        }
        for gid in said.additional_gids {
            let gid = mapped(gid, &self.gid_mappings, "--additional-gids")?;
            process.additional_gids.push(gid);
        }
        process.selinux_label = said.selinux_label.or(process.selinux_label);
        process.apparmor_profile = said.apparmor_profile.or(process.apparmor_profile);
        let sets = &mut process.capabilities;
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            *set |= said.capabilities;
        }
        if sets.inheritable != 0 {
            // None can be ambient that is not inheritable, and --cap adds nothing to that set (CVE-2022-29162).
            sets.ambient |= said.capabilities & sets.inheritable;
        }
        process.env = with_env(process.env, said.env)?;
        Ok(process)
    }
}

fn usage(text: impl Into<String>) -> Error {
    Error::new(Kind::Usage(text.into()))
}

fn mapped(id: u32, mappings: &[IdMapping], flag: &str) -> Result<u32> {
    let inside = |m: &IdMapping| id.checked_sub(m.container).is_some_and(|distance| distance < m.size);
    match mappings.is_empty() || mappings.iter().any(inside) {
        true if id != u32::MAX => Ok(id),
        _ => Err(usage(format!(
            "{flag}: {id} is not mapped in the container's user namespace"
        ))),
    }
}

/// `more` on top of `env`; of each name the last one stays.
fn with_env(mut env: Vec<String>, more: Vec<String>) -> Result<Vec<String>> {
    if more.is_empty() {
        return Ok(env);
    }
    if let Some(bad) = more
        .iter()
        .find(|e| e.split_once('=').is_none_or(|(name, _)| name.is_empty()))
    {
        return Err(usage(format!(
            "invalid environment variable {bad:?}: write --env NAME=VALUE"
        )));
    }
    env.extend(more);
    let mut seen = HashSet::with_capacity(env.len());
    let last: Vec<bool> = env
        .iter()
        .rev()
        .map(|e| seen.insert(e.split('=').next().unwrap_or_default().to_owned()))
        .collect();
    let mut keep = last.into_iter().rev();
    env.retain(|_| keep.next().unwrap_or(true));
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ExecConfig {
        let json = br#"{"args":["init"],"cwd":"/","env":["PATH=/bin","A=1"],"user":{"uid":5,"gid":6,"umask":7},
            "capabilities":{"bounding":["CAP_KILL"],"effective":["CAP_KILL"],"permitted":["CAP_KILL"]},
            "rlimits":[{"type":"RLIMIT_CORE","soft":0,"hard":0}],"oomScoreAdj":10,"terminal":true}"#;
        let (spec, _) = crate::oci::process_document(json).unwrap();
        ExecConfig {
            process: check::process(&spec, "process", IdMaps::default(), &mut Vec::new()).unwrap(),
            namespaces: vec![NamespaceKind::Pid],
            uid_mappings: Vec::new(),
            gid_mappings: Vec::new(),
            session_keyring: true,
            seccomp_listener: None,
        }
    }

    fn flags(args: &[&str]) -> ExecOverrides {
        ExecOverrides {
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            ..ExecOverrides::default()
        }
    }

    #[test]
    fn comes_back_as_it_was_kept() {
        let text = serde_json::to_vec(&model()).unwrap();
        assert_eq!(serde_json::from_slice::<ExecConfig>(&text).unwrap(), model());
    }

    #[test]
    fn flags_change_what_they_name() {
        let process = model()
            .by_flags(ExecOverrides {
                env: vec!["A=2".into(), "B=".into(), "A=3".into()],
                user: Some((0, None)),
                capabilities: 1 << 21,
                ..flags(&["x", "-y"])
            })
            .unwrap();
        assert_eq!(process.args, ["x", "-y"]);
        assert_eq!(process.env, ["PATH=/bin", "B=", "A=3"]);
        assert_eq!((process.uid, process.gid, process.umask), (0, 6, Some(7)));
        assert!(!process.terminal, "only --tty gives a terminal");
        let sets = process.capabilities;
        assert_eq!(sets.bounding, 1 << 21 | 1 << 5);
        assert_eq!((sets.effective, sets.permitted), (sets.bounding, sets.bounding));
        assert_eq!((sets.inheritable, sets.ambient), (0, 0));
    }

    #[test]
    fn flags_that_make_no_sense_are_refused() {
        let mut config = model();
        config.uid_mappings.push(IdMapping {
            container: 0,
            host: 1000,
            size: 1,
        });
        let refusal = |said| config.clone().by_flags(said).unwrap_err().to_string();
        assert!(refusal(flags(&[])).starts_with("exec args cannot be empty"));
        let user = ExecOverrides {
            user: Some((1, None)),
            ..flags(&["x"])
        };
        assert!(refusal(user).contains("1 is not mapped"));
        let cwd = ExecOverrides {
            cwd: Some("tmp".into()),
            ..flags(&["x"])
        };
        assert!(refusal(cwd).contains("is not absolute"));
        for bad in ["A", "=1"] {
            let env = ExecOverrides {
                env: vec![bad.into()],
                ..flags(&["x"])
            };
            assert!(refusal(env).contains("invalid environment variable"));
        }
    }

    #[test]
    fn a_document_leaves_the_rest_to_the_container() {
        let (spec, _) = crate::oci::process_document(br#"{"args":["x"],"cwd":"/tmp"}"#).unwrap();
        let process = model().by_document(&spec, &mut Vec::new()).unwrap();
        assert_eq!((process.uid, process.gid), (0, 0));
        assert!(process.env.is_empty() && !process.terminal);
        assert_eq!(process.rlimits, model().process.rlimits);
        assert_eq!(process.capabilities, model().process.capabilities);
        assert_eq!((process.umask, process.oom_score_adj), (Some(7), Some(10)));
        let (spec, _) = crate::oci::process_document(br#"{"args":["x"],"cwd":"/","capabilities":{}}"#).unwrap();
        let process = model().by_document(&spec, &mut Vec::new()).unwrap();
        assert_eq!(process.capabilities.bounding, 0);
    }
}
