//! `linux.resources` from inside: the container reads its own limits, and what they keep from it is measured.
//! (Memory and processes that are one too many: `limits`.)

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Bundle, Cgroups, Layout};

/// A container that sees its own cgroup at `/sys/fs/cgroup`.
fn with_its_cgroup() -> Bundle {
    let options = ["ro", "nosuid", "nodev", "noexec"];
    let c = Bundle::busybox().namespace("cgroup", None);
    c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &options)
}

/// The file of a controller as the container sees it.
fn inside(controller: &str, file: &str) -> String {
    match Cgroups::host().layout() {
        Layout::V1 => format!("/sys/fs/cgroup/{controller}/{file}"),
        Layout::V2 => format!("/sys/fs/cgroup/{file}"),
    }
}

/// Sets one limit and reads it inside.
#[track_caller]
fn is_seen(controller: &'static str, (path, value): (&str, Value), v1: (&str, &str), v2: (&str, &str)) {
    if !Cgroups::host().has(controller) {
        return crate::harness::not_for_this_host(controller);
    }
    let (file, shown) = if Cgroups::host().layout() == Layout::V2 { v2 } else { v1 };
    let c = with_its_cgroup().set(path, value);
    c.run(&["cat", &inside(controller, file)]).prints(&format!("{shown}\n"));
}

#[test]
fn limits_are_seen_from_inside() {
    let at = |part: &str| format!("linux.resources.{part}");
    let bytes = "67108864";
    is_seen(
        "memory",
        (&at("memory.limit"), json!(67_108_864)),
        ("memory.limit_in_bytes", bytes),
        ("memory.max", bytes),
    );
    is_seen(
        "pids",
        (&at("pids.limit"), json!(42)),
        ("pids.max", "42"),
        ("pids.max", "42"),
    );
    is_seen(
        "cpu",
        (&at("cpu"), json!({ "quota": 30_000, "period": 60_000 })),
        ("cpu.cfs_quota_us", "30000"),
        ("cpu.max", "30000 60000"),
    );
    is_seen(
        "cpuset",
        (&at("cpu.cpus"), json!("0")),
        ("cpuset.cpus", "0"),
        ("cpuset.cpus", "0"),
    );
}

#[test]
fn a_cpu_quota_holds_the_payload_back() {
    needs!(Cgroups::host().has("cpu"); "a cpu controller");
    let c = with_its_cgroup().set("linux.resources.cpu", json!({ "quota": 10_000, "period": 100_000 }));
    let script = format!(
        "timeout 2 sh -c 'while :; do :; done'; grep nr_throttled {}",
        inside("cpu", "cpu.stat")
    );
    let output = c.run_sh(&script).ok();
    let throttled = output
        .text()
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("nr_throttled "));
    let throttled: u32 = throttled
        .unwrap_or_else(|| panic!("{}", output.story()))
        .parse()
        .unwrap();
    assert!(throttled >= 5, "{}", output.story());
}

/// The disk that a folder lies on, as major and minor; limits are the disk's, not a partition's.
fn disk_of(folder: &Path) -> Option<(u32, u32)> {
    let device = fs::metadata(folder).ok()?.st_dev();
    let block = format!(
        "/sys/dev/block/{}:{}",
        nix::sys::stat::major(device),
        nix::sys::stat::minor(device)
    );
    let block = Path::new(&block).canonicalize().ok()?;
    let disk = if block.join("partition").exists() {
        block.parent()?
    } else {
        &block
    };
    let number = fs::read_to_string(disk.join("dev")).ok()?;
    let (major, minor) = number.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn an_io_limit_holds_the_payload_back() {
    let controller = if Cgroups::host().layout() == Layout::V2 {
        "io"
    } else {
        "blkio"
    };
    needs!(Cgroups::host().has(controller); "a block I/O controller");
    // Not in the bundle, which may lie in memory.
    let folder = Path::new("/var/tmp").join(Bundle::busybox().id());
    let Some((major, minor)) = disk_of(Path::new("/var/tmp")) else {
        return crate::harness::not_for_this_host("a disk below /var/tmp");
    };
    fs::create_dir(&folder).unwrap();
    let took = |rate: Option<u64>| {
        let mut c = Bundle::busybox().bind(&folder, "/mnt", &["bind"]);
        if let Some(rate) = rate {
            let limit = json!([{ "major": major, "minor": minor, "rate": rate }]);
            c = c.set("linux.resources.blockIO.throttleWriteBpsDevice", limit);
        }
        let before = Instant::now();
        c.run_sh("dd if=/dev/zero of=/mnt/file bs=256k count=8 oflag=direct")
            .ok();
        before.elapsed()
    };
    let (free, held) = (took(None), took(Some(1 << 20)));
    fs::remove_dir_all(&folder).unwrap();
    // 2 MiB at 1 MiB/s; the kernel lets the first part of a second pass.
    assert!(
        held > Duration::from_millis(1400) && held > free,
        "{free:?} without, {held:?} with"
    );
}
