//! Many calls at once: each ends in one right answer.

use crate::harness::{Act, Bundle, Payload};

#[test]
fn two_creates_of_one_id() {
    except!(Runc; "runc 1.1 lets two of them win now and then");
    let c = Bundle::sleeper();
    for _ in 0..5 {
        let racers: Vec<_> = (0..4).map(|_| c.call("create").no_pid_file().spawn()).collect();
        let outputs: Vec<_> = racers.into_iter().map(|racer| racer.wait()).collect();
        let winners = outputs.iter().filter(|output| output.code == 0).count();
        let stories: Vec<String> = outputs.iter().map(|output| output.story()).collect();
        assert_eq!(winners, 1, "{}", stories.join("\n"));
        for loser in outputs.iter().filter(|output| output.code != 0) {
            assert_eq!(loser.code, 1);
            assert!(loser.stderr.contains("exist"), "{}", loser.story());
        }
        assert_eq!(c.status(), "created", "the losers did no harm to the winner");
        c.start().ok();
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn two_starts_of_one_container() {
    only!(Runw; "of several starts of runc one may wait for ever at the FIFO, three times of eight");
    let c = Bundle::busybox().sh("echo once; sleep 1000");
    let created = c.create().ok();
    let racers: Vec<_> = (0..4).map(|_| c.call("start").spawn()).collect();
    let codes: Vec<i32> = racers.into_iter().map(|racer| racer.wait().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(c.status(), "running");
    crate::harness::eventually("the payload", || !created.stdout_now().is_empty());
    assert_eq!(created.stdout_now(), "once\n");
}

#[test]
fn start_during_delete() {
    for _ in 0..10 {
        let c = Bundle::sleeper();
        c.create().ok();
        let (start, delete) = (c.call("start").spawn(), c.call("delete").flag("--force").spawn());
        let (start, delete) = (start.wait(), delete.wait());
        assert_eq!(delete.code, 0, "{}", delete.story());
        assert!(matches!(start.code, 0 | 1), "{}", start.story());
        c.assert_no_trace();
    }
}

#[test]
fn kill_during_start() {
    for _ in 0..10 {
        let c = Bundle::sleeper();
        c.create().ok();
        let (start, kill) = (c.call("start").spawn(), c.call("kill").after(&["KILL"]).spawn());
        let (start, kill) = (start.wait(), kill.wait());
        assert_eq!(kill.code, 0, "{}", kill.story());
        assert!(matches!(start.code, 0 | 1), "{}", start.story());
        assert_eq!(c.wait(), 137);
        c.delete().ok();
    }
}

#[test]
fn two_deletes_of_one_container() {
    let c = Payload::Native.bundle(&Act::Exit(0));
    c.launch();
    c.wait();
    let racers: Vec<_> = (0..4).map(|_| c.call("delete").flag("--force").spawn()).collect();
    for racer in racers {
        let output = racer.wait();
        assert!(matches!(output.code, 0 | 1), "{}", output.story());
        assert!(
            output.code == 0 || output.stderr.contains("exist"),
            "{}",
            output.story()
        );
    }
    c.assert_no_trace();
}

#[test]
fn fifty_creates_at_once() {
    let c = Bundle::sleeper().without("linux.cgroupsPath");
    let names: Vec<String> = (0..50).map(|n| format!("{}-{n}", c.id())).collect();
    let creates: Vec<_> = names
        .iter()
        .map(|name| c.call("create").no_pid_file().id(name).spawn())
        .collect();
    for create in creates {
        create.wait().ok();
    }
    let list = c.call("list").no_id().flag("-q").output().ok();
    assert_eq!(list.stdout.lines().count(), 50);
    let starts: Vec<_> = names.iter().map(|name| c.call("start").id(name).spawn()).collect();
    for start in starts {
        start.wait().ok();
    }
    let list = c.call("list").no_id().flag("--format=json").output().json();
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .all(|entry| entry["status"] == "running"),
        "{list}"
    );
    let deletes: Vec<_> = names
        .iter()
        .map(|name| c.call("delete").flag("--force").id(name).spawn())
        .collect();
    for delete in deletes {
        delete.wait().ok();
    }
    c.assert_no_trace();
}

#[test]
fn list_while_containers_come_and_go() {
    let c = Bundle::busybox().args(&["true"]).without("linux.cgroupsPath");
    let names: Vec<String> = (0..10).map(|n| format!("{}-{n}", c.id())).collect();
    let runs: Vec<_> = names
        .iter()
        .map(|name| c.call("run").no_pid_file().id(name).spawn())
        .collect();
    for _ in 0..10 {
        let list = c.call("list").no_id().flag("-q").output();
        assert!(
            list.code == 0 || list.stderr.contains("no such file") || list.stderr.contains("exist"),
            "{}",
            list.story()
        );
    }
    for run in runs {
        run.wait().ok();
    }
    c.assert_no_trace();
}
