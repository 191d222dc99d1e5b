//! What `oci_spec` 0.10 reads more strictly than the runtime spec or the Go types of its peers do, mended in the JSON tree.
//!
//! Go takes `null` and the empty string for "not given" everywhere; unknown capabilities are warnings by the spec; two flags of
//! the scheduler have other names in the crate; sections for other platforms are none of our business.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

const OTHER_PLATFORMS: [&str; 5] = ["solaris", "windows", "vm", "zos", "freebsd"];
/// Top-level keys that the crate knows and the spec does not.
const INVENTED: [&str; 2] = ["uidMappings", "gidMappings"];
const CAPABILITY_SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];

/// Mends a whole config.json.
pub fn config(tree: &mut Value, warnings: &mut Vec<String>) {
    strip_nulls(tree);
    let Some(top) = tree.as_object_mut() else { return };
    for key in OTHER_PLATFORMS {
        if top.remove(key).is_some() {
            warnings.push(format!("{key}: this section is for another platform and has no effect"));
        }
    }
    for key in INVENTED {
        top.remove(key);
    }
    if let Some(value) = top.get_mut("process") {
        process(value, "process", warnings);
    }
    let Some(linux) = top.get_mut("linux").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(value) = linux.get_mut("resources") {
        resources(value);
    }
    if linux
        .get_mut("seccomp")
        .and_then(Value::as_object_mut)
        .is_some_and(seccomp_is_off)
    {
        linux.remove("seccomp");
    }
}

/// Mends a `process` object, found at `at`.
pub fn process(tree: &mut Value, at: &str, warnings: &mut Vec<String>) {
    strip_nulls(tree);
    let Some(process) = tree.as_object_mut() else { return };
    process.entry("user").or_insert_with(|| Value::Object(Map::new()));
    if let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) {
        let mut unknown = BTreeSet::new();
        for set in CAPABILITY_SETS {
            if let Some(list) = sets.get_mut(set).and_then(Value::as_array_mut) {
                drop_unknown_capabilities(list, &mut unknown);
            }
        }
        if !unknown.is_empty() {
            let names = Vec::from_iter(unknown).join(" ");
            warnings.push(format!(
                "{at}.capabilities: ignoring unknown or unavailable capabilities: [{names}]"
            ));
        }
    }
    if let Some(scheduler) = process.get_mut("scheduler").and_then(Value::as_object_mut)
        && let Some(flags) = scheduler.get_mut("flags").and_then(Value::as_array_mut)
    {
        flags.iter_mut().for_each(rename_scheduler_flag);
    }
    if let Some(affinity) = process.get_mut("execCPUAffinity").and_then(Value::as_object_mut) {
        affinity.values_mut().for_each(tidy_cpu_list);
        affinity.retain(|_, list| list.as_str() != Some(""));
    }
}

/// Mends a `linux.resources` object.
pub fn resources(tree: &mut Value) {
    strip_nulls(tree);
    let Some(resources) = tree.as_object_mut() else { return };
    if resources
        .get("pids")
        .and_then(Value::as_object)
        .is_some_and(|pids| !pids.contains_key("limit"))
    {
        resources.remove("pids");
    }
    for rule in objects(resources.get_mut("devices")) {
        rule.retain(|key, value| key != "type" || value.as_str() != Some(""));
    }
    for entry in objects(resources.get_mut("hugepageLimits")) {
        let other = entry.keys().find(|key| key.eq_ignore_ascii_case("pageSize")).cloned();
        if let Some(size) = other.and_then(|key| entry.remove(&key)) {
            entry.insert("pageSize".to_owned(), size);
        }
        // The spec has a u64 here, the crate an i64: what does not fit is as good as no limit.
        if let Some(limit) = entry.get_mut("limit")
            && limit.as_u64().is_some_and(|n| i64::try_from(n).is_err())
        {
            *limit = Value::from(-1);
        }
    }
}

/// runc's reading: without a default action and without rules there is no filter. Otherwise fills in what Go would.
fn seccomp_is_off(seccomp: &mut Map<String, Value>) -> bool {
    let no_action = seccomp.get("defaultAction").is_none_or(|action| action == "");
    let no_rules = seccomp
        .get("syscalls")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty);
    if no_action && no_rules {
        return true;
    }
    for rule in objects(seccomp.get_mut("syscalls")) {
        for arg in objects(rule.get_mut("args")) {
            arg.entry("index").or_insert_with(|| Value::from(0));
            arg.entry("value").or_insert_with(|| Value::from(0));
        }
    }
    false
}

fn drop_unknown_capabilities(list: &mut Vec<Value>, unknown: &mut BTreeSet<String>) {
    list.retain(|value| match value.as_str() {
        Some(name) if !is_capability(name) => {
            unknown.insert(name.to_owned());
            false
        }
        _ => true,
    });
}

fn is_capability(name: &str) -> bool {
    serde_json::from_value::<oci_spec::runtime::Capability>(Value::from(name)).is_ok()
}

fn rename_scheduler_flag(flag: &mut Value) {
    let name = match flag.as_str() {
        Some("SCHED_FLAG_RESET_ON_FORK") => "SCHED_RESET_ON_FORK",
        Some("SCHED_FLAG_DL_OVERRUN") => "SCHED_FLAG_D_L_OVERRUN",
        _ => return,
    };
    *flag = Value::from(name);
}

/// As runc: blanks around the elements and empty elements do no harm.
fn tidy_cpu_list(list: &mut Value) {
    if let Some(text) = list.as_str() {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        *list = Value::from(parts.join(","));
    }
}

fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn strip_nulls(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use crate::oci::Bundle;

    fn bundle(config: serde_json::Value) -> Bundle {
        Bundle::parse(PathBuf::from("/b"), config.to_string().into_bytes()).unwrap()
    }

    #[test]
    fn null_is_the_same_as_absent() {
        let b = bundle(
            json!({"ociVersion": null, "process": {"cwd": "/", "user": {"uid": null}, "args": null},
                              "linux": {"uidMappings": [{"containerID": null, "hostID": 5, "size": 1}]}}),
        );
        assert_eq!(b.spec.version(), "");
        let mapping = b.spec.linux().as_ref().unwrap().uid_mappings().as_ref().unwrap()[0];
        assert_eq!((mapping.container_id(), mapping.host_id()), (0, 5));
        assert!(b.warnings.is_empty());
    }

    #[test]
    fn other_platforms_are_left_out_with_a_warning() {
        let b = bundle(json!({"vm": {"hwconfig": {}}, "uidMappings": 3}));
        assert_eq!(
            b.warnings,
            ["vm: this section is for another platform and has no effect"]
        );
    }

    #[test]
    fn the_spec_names_of_scheduler_flags_are_understood() {
        let b = bundle(json!({"process": {"cwd": "/", "scheduler": {"policy": "SCHED_OTHER",
            "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY"]}}}));
        let scheduler = b.spec.process().as_ref().unwrap().scheduler().clone().unwrap();
        assert_eq!(scheduler.flags().as_ref().unwrap().len(), 3);
    }

    #[test]
    fn cpu_lists_may_be_empty_or_loosely_written() {
        let b = bundle(json!({"process": {"cwd": "/", "execCPUAffinity": {"initial": "", "final": " 0-1, 3,"}}}));
        let affinity = b.spec.process().as_ref().unwrap().exec_cpu_affinity().clone().unwrap();
        assert_eq!(affinity.initial(), &None);
        assert_eq!(affinity.cpu_affinity_final().as_deref(), Some("0-1,3"));
    }

    #[test]
    fn a_huge_hugepage_limit_is_no_limit() {
        let b = bundle(json!({"linux": {"resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": u64::MAX}]}}}));
        let resources = b.spec.linux().as_ref().unwrap().resources().clone().unwrap();
        assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].limit(), -1);
    }

    #[test]
    fn page_sizes_may_be_written_in_small_letters() {
        let b = bundle(json!({"linux": {"resources": {"hugepageLimits": [{"pagesize": "2MB", "limit": 1}]}}}));
        let resources = b.spec.linux().as_ref().unwrap().resources().clone().unwrap();
        assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].page_size(), "2MB");
    }

    #[test]
    fn an_empty_seccomp_section_is_no_filter() {
        let seccomp = |value| {
            bundle(json!({"linux": {"seccomp": value}}))
                .spec
                .linux()
                .clone()
                .unwrap()
                .seccomp()
                .clone()
        };
        assert_eq!(seccomp(json!({})), None);
        assert_eq!(seccomp(json!({"defaultAction": ""})), None);
        let kept = seccomp(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": null, "syscalls":
            [{"names": ["x"], "action": "SCMP_ACT_LOG", "args": [{"op": "SCMP_CMP_EQ"}]}]}));
        assert_eq!(
            kept.unwrap().syscalls().as_ref().unwrap()[0].args().as_ref().unwrap()[0].value(),
            0
        );
    }
}
