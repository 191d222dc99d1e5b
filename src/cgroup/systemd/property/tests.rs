use super::*;
use crate::cgroup::{v1, v2};
use crate::config::Resources;

fn of(json: &str, present: Present) -> (Vec<String>, Vec<Write>) {
    let resources: Resources = serde_json::from_str(json).unwrap();
    let mut writes = v2::writes(&resources, &v2::Present::default()).unwrap();
    (text(&of_writes(&mut writes, present)), writes)
}

fn text(properties: &[Property]) -> Vec<String> {
    properties
        .iter()
        .map(|p| match &p.value {
            Value::U64(INFINITY) => format!("{}=infinity", p.name),
            Value::U64(v) => format!("{}={v}", p.name),
            Value::Array(_, bytes) => format!("{}={:?}", p.name, bytes),
            other => format!("{}={other:?}", p.name),
        })
        .collect()
}

#[test]
fn limits_of_v2() {
    let json = r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":524288},"pidsLimit":0,
        "cpu":{"shares":1024,"quota":20000,"period":50000,"cpus":"0-1,9","mems":"0"}}"#;
    let (properties, _) = of(json, Present::default());
    assert_eq!(
        properties,
        [
            "TasksMax=1",
            "MemorySwapMax=1048576",
            "MemoryMax=1048576",
            "MemoryLow=524288",
            "CPUWeight=100",
            "CPUQuotaPerSecUSec=400000",
            "CPUQuotaPeriodUSec=50000",
            "AllowedCPUs=[Byte(3), Byte(2)]",
            "AllowedMemoryNodes=[Byte(1)]",
        ]
    );
    let (properties, _) = of(
        r#"{"memory":{"limit":-1},"pidsLimit":-1,"cpu":{"quota":-1}}"#,
        Present::default(),
    );
    assert_eq!(
        properties,
        [
            "TasksMax=infinity",
            "MemorySwapMax=infinity",
            "MemoryMax=infinity",
            "CPUQuotaPerSecUSec=infinity",
            "CPUQuotaPeriodUSec=100000"
        ]
    );
    assert!(of("{}", Present::default()).0.is_empty());
}

#[test]
fn quotas_are_whole_percents_in_both_places() {
    let (properties, writes) = of(r#"{"cpu":{"quota":12345,"period":100000}}"#, Present::default());
    assert_eq!(properties, ["CPUQuotaPerSecUSec=130000", "CPUQuotaPeriodUSec=100000"]);
    assert_eq!(writes[0].value, "13000 100000");
    let (_, writes) = of(r#"{"cpu":{"quota":1000,"period":1000000}}"#, Present::default());
    assert_eq!(writes[0].value, "10000 1000000");
    let (_, writes) = of(r#"{"cpu":{"quota":30000,"period":100000}}"#, Present::default());
    assert_eq!(writes[0].value, "30000 100000");
}

#[test]
fn an_update_keeps_the_period() {
    let present = Present {
        period: 50_000,
        ..Present::default()
    };
    let (properties, _) = of(r#"{"unified":{"cpu.max":"10000"}}"#, present);
    assert_eq!(properties, ["CPUQuotaPerSecUSec=200000", "CPUQuotaPeriodUSec=50000"]);
    let (properties, _) = of(r#"{"memory":{"limit":4096}}"#, present);
    assert_eq!(properties, ["MemoryMax=4096"]);
}

#[test]
fn unified_overrides() {
    let json =
        r#"{"pidsLimit":5,"unified":{"pids.max":"7","memory.high":"max","cpu.weight":"x","io.max":"8:0 rbps=1"}}"#;
    assert_eq!(of(json, Present::default()).0, ["MemoryHigh=infinity", "TasksMax=7"]);
}

#[test]
fn idle_is_weight_0() {
    assert_eq!(
        of(r#"{"cpu":{"idle":1,"shares":1024}}"#, Present::default()).0,
        ["CPUWeight=0"]
    );
    assert_eq!(
        of(r#"{"cpu":{"idle":0,"shares":1024}}"#, Present::default()).0,
        ["CPUWeight=100"]
    );
    assert!(of(r#"{"cpu":{"idle":0}}"#, Present::default()).0.is_empty());
    let idle = Present {
        idle: true,
        ..Present::default()
    };
    assert_eq!(of(r#"{"cpu":{"idle":0}}"#, idle).0, ["CPUWeight=100"]);
}

#[test]
fn weights_of_both_schedulers() {
    let bfq = Present {
        bfq: true,
        ..Present::default()
    };
    assert_eq!(of(r#"{"blockIo":{"weight":500}}"#, bfq).0, ["IOWeight=4500"]);
    assert_eq!(
        of(r#"{"blockIo":{"weight":500}}"#, Present::default()).0,
        ["IOWeight=4950"]
    );
    let json = r#"{"unified":{"io.weight":"default 300"}}"#;
    assert_eq!(of(json, bfq).0, ["IOWeight=300"]);
    assert!(of(r#"{"blockIo":{"weightDevice":[[8,0,300,null]]}}"#, bfq).0.is_empty());
}

#[test]
fn policies_for_want_of_memory() {
    let policy = |value: &str| {
        let (_, writes) = of(
            &format!(r#"{{"unified":{{"memory.oom.group":"{value}"}}}}"#),
            Present::default(),
        );
        oom_policy(&writes).map(|p| p.value)
    };
    assert_eq!(policy("1"), Some(Value::str("kill")));
    assert_eq!(policy("0"), Some(Value::str("continue")));
    assert_eq!(policy("x"), None);
    assert_eq!(oom_policy(&[]), None);
}

#[test]
fn limits_of_v1() {
    let json = r#"{"memory":{"limit":1048576},"pidsLimit":5,"cpu":{"shares":512,"quota":12345,"period":50000}}"#;
    let mut writes = v1::writes(&serde_json::from_str(json).unwrap()).unwrap();
    let mut properties = text(&of_writes(&mut writes, Present::default()));
    properties.sort();
    assert_eq!(
        properties,
        [
            "CPUQuotaPerSecUSec=250000",
            "CPUQuotaPeriodUSec=50000",
            "CPUShares=512",
            "MemoryLimit=1048576",
            "TasksMax=5"
        ]
    );
    assert_eq!(last(&writes, "cpu.cfs_quota_us"), Some("12500"));
}

#[test]
fn lists_that_are_none() {
    for bad in ["", ",", "a", "3-1", "0-99999999"] {
        assert_eq!(bits(bad), None, "{bad}");
    }
}
