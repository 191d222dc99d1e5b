//! `events`: counters of a container as JSON lines, and word of each time that it runs out of memory.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Act, Bundle, Cgroups, Layout, Payload, eventually};

for_each_payload!(counters_once, counters_at_intervals_until_the_end);

/// The events that a text holds, one a line.
fn events(text: &str) -> Vec<Value> {
    // The last line may be in the making.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn counters_once(payload: Payload) {
    except!(Crun; "crun has no events");
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    let output = c.call("events").flag("--stats").output().ok();
    assert_eq!(output.stdout.lines().count(), 1, "{}", output.story());
    let event = &events(&output.stdout)[0];
    assert_eq!(event["type"], "stats");
    assert_eq!(event["id"], c.id());
    let keys = [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ];
    for key in keys {
        assert!(event["data"].get(key).is_some(), "{key} in {event}");
    }
    let data = &event["data"];
    assert!(data["pids"]["current"].as_u64().unwrap() >= 1, "{data}");
    let cpu = &data["cpu"]["usage"];
    assert!(cpu["kernel"].is_u64() && cpu["user"].is_u64(), "{data}");
    // The interpreter and the shell both come to some milliseconds, which are nanoseconds here.
    assert!(cpu["total"].as_u64().unwrap() > 100_000, "{data}");
    if Cgroups::host().has("memory") {
        let usage = &data["memory"]["usage"];
        assert!(
            usage["usage"].as_u64().unwrap() > 4096 && usage["limit"].is_u64() && usage["failcnt"].is_u64(),
            "{data}"
        );
        assert!(data["memory"]["raw"].as_object().unwrap().len() > 5, "{data}");
        for kind in ["swap", "kernel", "kernelTCP"] {
            assert!(data["memory"][kind]["limit"].is_u64(), "{kind}: {data}");
        }
    }
    let wasm = data.get("wasm").map(|wasm| wasm["memoryPages"].as_u64().unwrap());
    match payload {
        Payload::Native => assert_eq!(wasm, None),
        Payload::Wasm => assert!((1..100).contains(&wasm.unwrap()), "{data}"),
    }
}

fn counters_at_intervals_until_the_end(payload: Payload) {
    except!(Crun; "crun has no events");
    except!(Runc if Cgroups::host().layout() == Layout::V2 && !Cgroups::host().has("memory"); "runc 1.1 ends where it cannot watch memory.events");
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    let watcher = c.call("events").flag("--interval").flag("50ms").spawn();
    eventually("three events", || events(&watcher.stdout_now()).len() >= 3);
    c.delete_force().ok();
    let output = watcher.wait().ok();
    assert!(
        events(&output.stdout).iter().all(|event| event["type"] == "stats"),
        "{}",
        output.story()
    );
}

#[test]
fn v1_counts_by_processor() {
    except!(Crun; "crun has no events");
    needs!(Cgroups::host().layout() == Layout::V1; "cgroup v1");
    let c = Bundle::sleeper();
    c.launch_ready();
    let data = &c.call("events").flag("--stats").output().json()["data"];
    for key in ["percpu", "percpu_kernel", "percpu_user"] {
        assert!(
            !data["cpu"]["usage"][key].as_array().unwrap().is_empty(),
            "{key}: {data}"
        );
    }
    assert!(!data["cpuset"]["cpus"].as_array().unwrap().is_empty(), "{data}");
    assert!(data["cpuset"]["mem_hardwall"].is_u64(), "{data}");
}

#[test]
fn v2_tells_of_pressure() {
    except!(Runc, Crun; "runc 1.1 does not know it; crun has no events");
    needs!(Cgroups::host().layout() == Layout::V2; "cgroup v2");
    let c = Bundle::sleeper();
    c.launch_ready();
    let file = c.cgroup_folders()[0].join("cpu.pressure");
    // A kernel may be built or booted without PSI: then the file is missing or cannot be read.
    needs!(std::fs::read_to_string(file).is_ok(); "PSI");
    let data = &c.call("events").flag("--stats").output().json()["data"];
    for (part, kinds) in [
        ("cpu", ["some", "full"]),
        ("memory", ["some", "full"]),
        ("blkio", ["some", "full"]),
    ] {
        for kind in kinds {
            let psi = &data[part]["psi"][kind];
            assert!(
                psi["avg10"].is_number() && psi["total"].is_u64(),
                "{part} {kind}: {data}"
            );
        }
    }
}

#[test]
fn running_out_of_memory_is_told() {
    except!(Crun; "crun has no events");
    needs!(Cgroups::host().has("memory"); "a memory controller");
    let c = Bundle::busybox().mount("/mnt", "tmpfs", "tmpfs", &["size=256m"]);
    let c = c
        .set("linux.resources.memory.limit", 16 << 20)
        .set("linux.resources.memory.swap", 16 << 20);
    // The child dies, the container lives on.
    let c = c.file("/go", "");
    let script =
        "echo ready; while [ -e /go ]; do sleep 0.1; done; dd if=/dev/zero of=/mnt/file bs=1M count=100; sleep 1000";
    let c = c.sh(script);
    c.launch_ready();
    let watcher = c.call("events").flag("--interval").flag("100ms").spawn();
    eventually("the first event", || !events(&watcher.stdout_now()).is_empty());
    std::fs::remove_file(c.in_rootfs("/go")).unwrap();
    let is_oom = |event: &Value| event["type"] == "oom";
    eventually("word of memory", || events(&watcher.stdout_now()).iter().any(is_oom));
    c.delete_force().ok();
    let output = watcher.wait().ok();
    let ooms: Vec<Value> = events(&output.stdout).into_iter().filter(is_oom).collect();
    assert_eq!(ooms[0], serde_json::json!({"type": "oom", "id": c.id()}));
}

#[test]
fn the_end_of_the_container_ends_the_watch() {
    only!(Runw; "runc goes on until the cgroup is removed");
    for milliseconds in [20, 100, 500, 2000, 10_000] {
        let c = Bundle::sleeper();
        c.launch_ready();
        let watcher = c.call("events").flag("--interval").flag("1h").spawn();
        // Nothing tells that the watch has begun; one that came too late says so.
        std::thread::sleep(Duration::from_millis(milliseconds));
        c.kill("KILL").ok();
        let output = watcher.wait();
        if !output.stderr.contains("container not running") {
            let _ = output.ok();
            return;
        }
    }
    panic!("no watch began within ten seconds");
}

#[test]
fn a_reader_that_goes_away_ends_the_watch() {
    except!(Crun; "crun has no events");
    let c = Bundle::sleeper();
    c.launch_ready();
    let mut watcher = c.call("events").flag("--interval").flag("20ms").spawn_with_pipes();
    drop(watcher.stdout.take());
    eventually("the end of the watch", || watcher.try_wait().unwrap().is_some());
}

#[test]
fn interfaces_of_the_containers_own_network() {
    only!(Runw; "runc counts none, as a config.json tells it of none");
    let c = Bundle::sleeper();
    c.launch_ready();
    let interfaces =
        |c: &Bundle| c.call("events").flag("--stats").output().json()["data"]["network_interfaces"].clone();
    // A new network namespace has the loopback device only.
    assert!(interfaces(&c).is_null());
    let namespace = format!("/proc/{}/ns/net", c.pid());
    let added = std::process::Command::new("nsenter")
        .args([
            &format!("--net={namespace}"),
            "ip",
            "link",
            "add",
            "runw-bridge",
            "type",
            "dummy",
        ])
        .output();
    needs!(added.is_ok_and(|output| output.status.success()); "bridges");
    let found = interfaces(&c);
    assert_eq!(found[0]["Name"], "runw-bridge");
    assert!(
        found[0]["RxBytes"].is_u64() && found[0]["TxDropped"].is_u64(),
        "{found}"
    );
}

#[test]
fn what_cannot_be_watched() {
    except!(Crun; "crun has no events");
    let c = Bundle::busybox().args(&["true"]);
    c.call("events").flag("--stats").output().fails_as_unknown();
    c.launch();
    c.call("events")
        .flag("--interval")
        .flag("0s")
        .output()
        .fails("must be greater than 0");
    c.wait();
    c.call("events").flag("--stats").output().fails("not running");
}
