//! What a runtime must not leave behind, and how the suite clears it away when one does.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cgroups::{self, Cgroups};

/// Finds what is left of a bundle after its containers are deleted: cgroups, mounts and processes.
/// Clears it away, so that one bad case does not spoil the machine, and names each piece.
pub fn clear(dir: &Path, cgroup: &str) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(processes(dir));
    found.extend(cgroup_folders(cgroup));
    found.extend(mounts(dir));
    found
}

/// Reaps what of the pid namespace of `init` was left to the suite; gives how many processes beside it live there. One that
/// nobody reaps keeps init from ending.
pub fn reap_beside(init: i32) -> usize {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(theirs) = namespace(init) else { return 0 };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = pids.filter(|pid| *pid != init && namespace(*pid).as_ref() == Some(&theirs));
    let left = others.filter(|pid| {
        let reaped = waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
        !reaped.is_ok_and(|status| status != WaitStatus::StillAlive)
    });
    left.count()
}

/// Lets a frozen cgroup go on, so that its processes can die.
pub fn thaw(cgroup: &str) {
    for folder in Cgroups::host().folders(cgroup) {
        for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            if folder.join(file).exists() {
                let _ = fs::write(folder.join(file), thawed);
            }
        }
    }
}

/// The cgroup in each hierarchy, and its processes.
fn cgroup_folders(cgroup: &str) -> Vec<String> {
    let mut found = Vec::new();
    for folder in Cgroups::host().folders(cgroup).iter().filter(|folder| folder.exists()) {
        found.push(format!("cgroup {}", folder.display()));
        for pid in processes_in(folder) {
            found.push(format!("process {pid} in {}", folder.display()));
            let _ = kill(pid, Signal::SIGKILL);
        }
        for _ in 0..100 {
            cgroups::remove(folder);
            if !folder.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    found
}

/// All processes of a cgroup and those below it.
fn processes_in(folder: &Path) -> Vec<Pid> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<Pid> = own
        .lines()
        .filter_map(|line| line.parse().ok())
        .map(Pid::from_raw)
        .collect();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(processes_in(&entry.path()));
        }
    }
    pids
}

/// Mounts below the bundle's folder in the suite's own namespace.
fn mounts(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for place in mount_points(dir) {
        let _ = umount2(place.as_str(), MntFlags::MNT_DETACH);
        found.push(format!("mount {place}"));
    }
    found
}

/// Mount points below `dir`, the last mounted first.
pub fn mount_points(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut places: Vec<String> = places
        .filter(|place| Path::new(place).starts_with(dir))
        .map(str::to_owned)
        .collect();
    places.reverse();
    places
}

/// Processes whose command line names the bundle's folder: helpers and half-made inits of the runtime.
/// One that is about to end is given a moment.
fn processes(dir: &Path) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut found = processes_that_name(dir);
    while !found.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        found = processes_that_name(dir);
    }
    for (pid, _) in &found {
        let _ = kill(*pid, Signal::SIGKILL);
    }
    found
        .into_iter()
        .map(|(pid, line)| format!("process {pid}: {line}"))
        .collect()
}

fn processes_that_name(dir: &Path) -> Vec<(Pid, String)> {
    let mark = format!("{}/", dir.display());
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let lines = pids.map(|pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (Pid::from_raw(pid), String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|(_, line)| line.contains(&mark)).collect()
}
