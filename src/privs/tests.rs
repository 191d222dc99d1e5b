use super::*;
use crate::config::{Capabilities, Process};
use crate::sys::cred::{CAP_SYS_ADMIN, CapSets};
use crate::sys::seccomp::Instruction;
use std::path::PathBuf;

fn process() -> Process {
    Process {
        args: vec!["/bin/true".to_owned()],
        env: Vec::new(),
        cwd: PathBuf::from("/"),
        terminal: false,
        console_size: None,
        uid: 0,
        gid: 0,
        additional_gids: Vec::new(),
        keep_groups: false,
        umask: None,
        rlimits: Vec::new(),
        capabilities: Capabilities {
            effective: 1,
            bounding: 1,
            inheritable: 0,
            permitted: 1,
            ambient: 0,
        },
        no_new_privileges: false,
        oom_score_adj: None,
        apparmor_profile: None,
        selinux_label: None,
        scheduler: None,
        io_priority: None,
        exec_cpu_affinity: None,
        personality: None,
        memory_policy: None,
    }
}

fn program() -> Program {
    Program {
        flags: 0,
        instructions: vec![Instruction {
            code: 6,
            jt: 0,
            jf: 0,
            k: 0x7fff_0000,
        }],
    }
}

fn input(process: &Process) -> PrivsInput<'_> {
    PrivsInput {
        process,
        id: "c",
        // Whatever the tests' user may do: in a namespace of its own all capabilities are there.
        user_namespace: true,
        session_keyring: true,
        seccomp: Some(program()),
        joins: false,
        listen_fds: 0,
        preserved_fds: 0,
        seal: Seal::AtExec,
        hooks_follow: false,
    }
}

fn names(steps: &[PrivStep]) -> Vec<&'static str> {
    steps.iter().map(PrivStep::name).collect()
}

fn sets(steps: &[PrivStep]) -> CapSets {
    let found = steps.iter().find_map(|s| match s {
        PrivStep::Capabilities { sets, .. } => Some(*sets),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn the_plan_of_a_plain_container() {
    let p = process();
    let plan = draw(&input(&p)).unwrap();
    assert!(plan.before_clone.is_empty() && plan.beside.is_empty());
    assert_eq!(names(&plan.early), ["session keyring", "cpu affinity"]);
    assert_eq!(
        names(&plan.late),
        [
            "umask",
            "enter cwd",
            "home",
            "bounding capabilities",
            "stdio owner",
            "user",
            "settle cwd",
            "capabilities"
        ]
    );
    assert_eq!(names(&plan.last), ["close descriptors", "seccomp"]);
}

#[test]
fn sys_admin_stays_until_execve_only_where_seccomp_needs_it() {
    let mut p = process();
    assert_eq!(sets(&draw(&input(&p)).unwrap().late).permitted, 1 | CAP_SYS_ADMIN);
    let without = PrivsInput {
        seccomp: None,
        ..input(&p)
    };
    assert_eq!(sets(&draw(&without).unwrap().late).permitted, 1);
    let now = PrivsInput {
        seal: Seal::Now,
        ..input(&p)
    };
    assert_eq!(sets(&draw(&now).unwrap().late).permitted, 1);
    p.no_new_privileges = true;
    assert_eq!(sets(&draw(&input(&p)).unwrap().late).permitted, 1);
}

#[test]
fn a_payload_without_execve_is_sealed_before_seccomp() {
    let mut p = process();
    p.uid = 1000;
    p.capabilities = Capabilities {
        effective: 3,
        bounding: 3,
        inheritable: 2,
        permitted: 3,
        ambient: 2,
    };
    let walls = ["no new privileges", "capabilities", "landlock", "seccomp"];
    let plan = draw(&PrivsInput {
        seal: Seal::Now,
        hooks_follow: true,
        ..input(&p)
    })
    .unwrap();
    assert_eq!(names(&plan.last)[0], "close descriptors");
    assert_eq!(names(&plan.last)[1..5], walls);
    assert_eq!(names(&plan.last)[5..], ["seccomp"]);
    let plan = draw(&PrivsInput {
        seal: Seal::Now,
        ..input(&p)
    })
    .unwrap();
    assert_eq!(names(&plan.late)[plan.late.len() - 4..], walls);
    assert_eq!(names(&plan.last), ["close descriptors", "seccomp"]);
    assert_eq!(
        sets(&plan.late),
        CapSets {
            effective: 2,
            permitted: 2,
            inheritable: 2
        }
    );
    p.uid = 0;
    let plan = draw(&PrivsInput {
        seal: Seal::Now,
        ..input(&p)
    })
    .unwrap();
    assert_eq!(
        sets(&plan.late),
        CapSets {
            effective: 3,
            permitted: 3,
            inheritable: 2
        }
    );
}

#[test]
fn sets_that_contradict_each_other_are_refused() {
    let mut p = process();
    p.capabilities.effective = 2;
    let e = draw(&input(&p)).unwrap_err().to_string();
    assert!(
        e.starts_with("config.json: process.capabilities.effective: CAP_DAC_OVERRIDE: operation not permitted: not in"),
        "{e}"
    );
    p.capabilities = Capabilities {
        inheritable: 2,
        permitted: 2,
        ..Capabilities::default()
    };
    let e = draw(&input(&p)).unwrap_err().to_string();
    assert!(e.starts_with("config.json: process.capabilities.inheritable:"), "{e}");
}

#[test]
fn exec_makes_no_directory_and_leaves_the_keyring_as_it_is() {
    let mut p = process();
    p.exec_cpu_affinity = Some(crate::config::ExecCpuAffinity {
        initial: vec![0],
        last: vec![1],
    });
    let plan = draw(&PrivsInput {
        joins: true,
        ..input(&p)
    })
    .unwrap();
    assert_eq!(plan.before_clone, [ParentStep::Cpus(vec![0])]);
    assert_eq!(
        plan.early[0],
        PrivStep::SessionKeyring {
            name: "_ses.c".to_owned(),
            grant: None
        }
    );
    assert!(plan.needs_cgroup && plan.early.len() == 1);
    assert_eq!(plan.late[0], PrivStep::Cpus(vec![1]));
    assert!(plan.late.contains(&PrivStep::EnterCwd {
        path: PathBuf::from("/"),
        create: false
    }));
    // The container's first process takes no notice of execCPUAffinity.
    let plan = draw(&input(&p)).unwrap();
    assert!(plan.before_clone.is_empty());
    assert_eq!(plan.early[1], PrivStep::AllCpus);
    assert!(!plan.needs_cgroup);
}

#[test]
fn hard_limits_rise_in_the_parent_only_for_a_user_namespace() {
    let mut p = process();
    let (_, hard) = crate::sys::sched::rlimit(0, nix::libc::RLIMIT_CORE).unwrap();
    let nofile = crate::sys::sched::rlimit(0, nix::libc::RLIMIT_NOFILE).unwrap();
    p.rlimits = vec![
        crate::config::Rlimit {
            resource: nix::libc::RLIMIT_CORE,
            soft: 0,
            hard,
        },
        crate::config::Rlimit {
            resource: nix::libc::RLIMIT_NOFILE,
            soft: 1,
            hard: nofile.1 + 1,
        },
    ];
    p.oom_score_adj = Some(5);
    let plan = draw(&input(&p)).unwrap();
    let raise = ParentStep::RaiseHardLimit {
        index: 1,
        resource: nix::libc::RLIMIT_NOFILE,
        soft: nofile.0,
        hard: nofile.1 + 1,
    };
    assert_eq!(plan.beside, [ParentStep::OomScore(5), raise]);
}

#[test]
fn a_payload_without_execve_is_sealed_before_a_filter_that_notifies() {
    let p = process();
    let notifying = Program {
        flags: crate::sys::seccomp::FLAG_NEW_LISTENER,
        ..program()
    };
    let plan = draw(&PrivsInput {
        seal: Seal::Now,
        seccomp: Some(notifying.clone()),
        ..input(&p)
    })
    .unwrap();
    assert!(names(&plan.late).ends_with(&["no new privileges", "capabilities", "landlock", "seccomp"]));
    assert_eq!(names(&plan.last), ["close descriptors", "seccomp"]);
    let plan = draw(&PrivsInput {
        seccomp: Some(notifying),
        ..input(&p)
    })
    .unwrap();
    assert_eq!(sets(&plan.late).permitted, 1 | CAP_SYS_ADMIN);
}
