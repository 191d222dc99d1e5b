//! `linux.intelRdt`.

use oci_spec::runtime::LinuxIntelRdt;

use super::text;
use crate::config::IntelRdt;
use crate::error::{Error, Result};

pub(super) fn intel_rdt(given: Option<&LinuxIntelRdt>) -> Result<Option<IntelRdt>> {
    let Some(given) = given else { return Ok(None) };
    let at = |field: &str| format!("linux.intelRdt.{field}");
    let clos_id = text(given.clos_id().as_ref());
    if let Some(id) = &clos_id
        && id != "/"
        && (id.contains(['/', '\0', '\n']) || id == "." || id == "..")
    {
        return Err(Error::config(
            at("closID"),
            format!("{id:?} is no name of a class, use a plain name or / for the default class"),
        ));
    }
    let mut schemata = Vec::new();
    if let Some(schema) = text(given.l3_cache_schema().as_ref()) {
        // runc takes several lines here, and leaves out those that belong to memBwSchema.
        schemata.extend(
            schema
                .lines()
                .filter(|line| !line.starts_with("MB:") && !line.is_empty())
                .map(str::to_owned),
        );
    }
    if let Some(schema) = text(given.mem_bw_schema().as_ref()) {
        if !schema.starts_with("MB:") || schema.contains('\n') {
            return Err(Error::config(
                at("memBwSchema"),
                "must be one line that begins with MB:",
            ));
        }
        schemata.push(schema);
    }
    for (i, line) in given.schemata().iter().flatten().enumerate() {
        if line.contains('\n') {
            return Err(Error::config(at(&format!("schemata[{i}]")), "must be one line"));
        }
        schemata.push(line.clone());
    }
    Ok(Some(IntelRdt {
        clos_id,
        schemata,
        enable_monitoring: given.enable_monitoring().unwrap_or(false),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_lines_are_in_the_order_of_the_spec() {
        let parse = |value| intel_rdt(Some(&serde_json::from_value(value).unwrap()));
        let rdt = parse(
            json!({"closID": "/", "schemata": ["L2:0=f"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=7\nMB:0=9"}),
        );
        assert_eq!(rdt.unwrap().unwrap().schemata, ["L3:0=7", "MB:0=20", "L2:0=f"]);
        for id in [".", "..", "a/b"] {
            assert!(parse(json!({"closID": id})).is_err(), "{id}");
        }
        assert!(parse(json!({"memBwSchema": "L3:0=7"})).is_err());
        assert!(parse(json!({"schemata": ["a\nb"]})).is_err());
    }
}
