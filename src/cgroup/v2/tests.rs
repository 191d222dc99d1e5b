use super::*;

fn lines(resources: &Resources) -> Vec<String> {
    lines_with(resources, &Present::default())
}

fn lines_with(resources: &Resources, present: &Present) -> Vec<String> {
    let writes = writes(resources, present).unwrap();
    writes.iter().map(|w| format!("{}={}", w.file, w.value)).collect()
}

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

#[test]
fn nothing_asked_nothing_written() {
    assert!(lines(&Resources::default()).is_empty());
    assert!(unheeded(&Resources::default()).is_empty());
}

#[test]
fn shares_become_weights() {
    for (shares, weight) in [
        (1, 1),
        (2, 1),
        (3, 2),
        (10, 4),
        (100, 17),
        (1023, 100),
        (1024, 100),
        (1025, 101),
        (2048, 174),
        (262_143, 10_000),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ] {
        assert_eq!(weight_of_shares(shares), weight, "{shares}");
    }
}

#[test]
fn swap_is_counted_alone() {
    for (both, limit, present, expected) in [
        (0, None, None, None),
        (0, Some(100), None, None),
        (0, Some(-1), None, Some(-1)),
        (-1, None, None, Some(-1)),
        (-1, Some(100), None, Some(-1)),
        (300, Some(100), None, Some(200)),
        (100, Some(100), None, Some(0)),
        (300, Some(-1), None, Some(300)),
        (300, None, Some(100), Some(200)),
        (300, None, Some(-1), Some(300)),
        (300, Some(250), Some(100), Some(50)),
    ] {
        assert_eq!(
            swap(both, limit, present).unwrap(),
            expected,
            "{both} {limit:?} {present:?}"
        );
    }
    assert!(swap(300, None, None).is_err());
    assert!(swap(99, Some(100), None).is_err());
}

#[test]
fn memory_files() {
    let r = resources(r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":524288}}"#);
    assert_eq!(
        lines(&r),
        ["memory.swap.max=1048576", "memory.max=1048576", "memory.low=524288"]
    );
    let r = resources(r#"{"memory":{"limit":-1}}"#);
    assert_eq!(lines(&r), ["memory.swap.max=max", "memory.max=max"]);
    assert_eq!(writes(&r, &Present::default()).unwrap()[0].if_missing, IfMissing::Skip);
    let r = resources(r#"{"memory":{"limit":5,"swap":9}}"#);
    assert_eq!(
        writes(&r, &Present::default()).unwrap()[0].if_missing,
        IfMissing::Refuse
    );
    assert!(lines(&resources(r#"{"memory":{"limit":0,"swap":0,"reservation":0}}"#)).is_empty());
}

#[test]
fn quota_and_period_keep_each_other() {
    let present = Present {
        cpu_max: Some(
            "20000 50000
"
            .into(),
        ),
        memory_max: None,
    };
    for (json, fresh, update) in [
        (r#"{"cpu":{"quota":5000}}"#, "cpu.max=5000 100000", "cpu.max=5000 50000"),
        (r#"{"cpu":{"quota":-1}}"#, "cpu.max=max 100000", "cpu.max=max 50000"),
        (r#"{"cpu":{"period":1000}}"#, "cpu.max=max 1000", "cpu.max=20000 1000"),
        (
            r#"{"cpu":{"quota":5000,"period":1000}}"#,
            "cpu.max=5000 1000",
            "cpu.max=5000 1000",
        ),
    ] {
        assert_eq!(lines(&resources(json)), [fresh]);
        assert_eq!(lines_with(&resources(json), &present), [update]);
    }
    assert!(lines(&resources(r#"{"cpu":{"quota":0,"period":0,"shares":0}}"#)).is_empty());
}

#[test]
fn burst_waits_for_its_quota() {
    let r = resources(r#"{"cpu":{"burst":500,"quota":5000}}"#);
    let drawn = writes(&r, &Present::default()).unwrap();
    assert_eq!(drawn[0].file, "cpu.max.burst");
    assert!(drawn[0].may_wait);
    let r = resources(r#"{"cpu":{"burst":0}}"#);
    assert!(!writes(&r, &Present::default()).unwrap()[0].may_wait);
}

#[test]
fn an_idle_cgroup_has_no_weight() {
    assert_eq!(lines(&resources(r#"{"cpu":{"idle":1,"shares":1024}}"#)), ["cpu.idle=1"]);
    assert_eq!(
        lines(&resources(r#"{"cpu":{"idle":0,"shares":1024}}"#)),
        ["cpu.idle=0", "cpu.weight=100"]
    );
}

#[test]
fn block_io_weights_and_throttles() {
    for (weight, expected) in [(10, 1), (11, 11), (500, 4950), (1000, 10_000), (5, 1)] {
        assert_eq!(io_weight(weight), expected);
    }
    let r = resources(
        r#"{"blockIo":{"weight":500,"weightDevice":[[8,0,300,null],[8,16,null,200]],
            "readBps":[[8,0,1024]],"writeIops":[[8,0,0],[7,1,10]]}}"#,
    );
    let drawn = writes(&r, &Present::default()).unwrap();
    assert_eq!(drawn[0].instead, Some(("io.weight", "4950".to_owned())));
    assert_eq!(drawn[0].if_missing, IfMissing::Refuse);
    assert_eq!(drawn[1].if_missing, IfMissing::Skip);
    assert_eq!(
        lines(&r),
        [
            "io.bfq.weight=500",
            "io.bfq.weight=8:0 300",
            "io.max=7:1 wiops=10",
            "io.max=8:0 rbps=1024 wiops=max"
        ]
    );
    assert_eq!(unheeded(&r), ["linux.resources.blockIO.weightDevice[].leafWeight"]);
}

#[test]
fn huge_pages_reserve_first() {
    let r = resources(r#"{"hugepageLimits":[["2MB",4194304],["1GB",-1]]}"#);
    assert_eq!(
        lines(&r),
        [
            "hugetlb.2MB.rsvd.max=4194304",
            "hugetlb.2MB.max=4194304",
            "hugetlb.1GB.rsvd.max=max",
            "hugetlb.1GB.max=max"
        ]
    );
}

#[test]
fn unified_comes_last_line_by_line() {
    let r = resources(
        r#"{"pidsLimit":5,"unified":{"pids.max":"7","io.max":"8:0 rbps=1\n8:16 rbps=2\n","misc.max":"","x.y.z":"1"}}"#,
    );
    assert_eq!(
        lines(&r),
        [
            "pids.max=5",
            "io.max=8:0 rbps=1",
            "io.max=8:16 rbps=2",
            "misc.max=",
            "pids.max=7",
            "x.y.z=1"
        ]
    );
    assert_eq!(writes(&r, &Present::default()).unwrap()[1].controller, "io");
    for key in ["memory/max", "../memory.max", "memorymax", ".max", "memory."] {
        let r = Resources {
            unified: [(key.to_owned(), "1".to_owned())].into(),
            ..Resources::default()
        };
        assert!(writes(&r, &Present::default()).is_err(), "{key}");
    }
}
