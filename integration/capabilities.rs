//! `process.capabilities` and `noNewPrivileges`: power, exactly as asked.

use serde_json::json;

use crate::harness::Bundle;

/// The five sets as /proc shows them, in the order inheritable, permitted, effective, bounding, ambient.
const SHOW_CAPABILITIES: &str = "grep ^Cap /proc/self/status | cut -f2 | sed 's/^0*//;s/^$/0/' | tr '\\n' ' '";

#[test]
fn capabilities_are_exactly_the_five_sets() {
    let c = Bundle::busybox().set(
        "process.capabilities",
        json!({
            "bounding": ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SYSLOG"],
            "permitted": ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL"],
            "effective": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": ["CAP_CHOWN"],
            "ambient": ["CAP_CHOWN"],
        }),
    );
    // An exec by root gains the whole bounding set, so another user looks: only the ambient set survives for it.
    let c = c.set("process.user", json!({ "uid": 1000, "gid": 1000 }));
    c.run_sh(SHOW_CAPABILITIES).prints("1 1 1 400000023 1 ");
}

#[test]
fn root_gets_the_bounding_set_and_nothing_inheritable() {
    let c = Bundle::busybox().capabilities(&["CAP_CHOWN", "CAP_KILL"]);
    c.run_sh(SHOW_CAPABILITIES).prints("0 21 21 21 0 ");
}

#[test]
fn no_capabilities_at_all() {
    let c = Bundle::busybox().without("process.capabilities");
    c.run_sh(SHOW_CAPABILITIES).prints("0 0 0 0 0 ");
    let c = c.set("process.capabilities", json!({}));
    c.run_sh(SHOW_CAPABILITIES).prints("0 0 0 0 0 ");
}

#[test]
fn an_unprivileged_user_has_no_capabilities() {
    let c = Bundle::busybox().set("process.user", json!({ "uid": 1000, "gid": 1000 }));
    c.capabilities(&["CAP_CHOWN"])
        .run_sh(SHOW_CAPABILITIES)
        .prints("0 0 0 1 0 ");
}

#[test]
fn an_unknown_capability_is_only_a_warning() {
    except!(Crun; "crun refuses it");
    let c = Bundle::busybox().capabilities(&["CAP_CHOWN", "CAP_TELEPATHY"]);
    c.run_sh(SHOW_CAPABILITIES).prints("0 1 1 1 0 ");
}

#[test]
fn no_new_privileges() {
    let look = "grep NoNewPrivs /proc/self/status | cut -f2";
    Bundle::busybox()
        .set("process.noNewPrivileges", true)
        .run_sh(look)
        .prints("1\n");
    Bundle::busybox()
        .set("process.noNewPrivileges", false)
        .run_sh(look)
        .prints("0\n");
    Bundle::busybox()
        .without("process.noNewPrivileges")
        .run_sh(look)
        .prints("0\n");
}

/// It is left out; later versions of runc say so on stderr where no log is named.
#[test]
fn an_ambient_capability_that_is_not_inheritable() {
    except!(Runc, Crun; "runc 1.1 says nothing of it, crun refuses it");
    let c = Bundle::busybox()
        .set("process.user", json!({ "uid": 1000, "gid": 1000 }))
        .capabilities(&["CAP_CHOWN", "CAP_KILL"])
        .set("process.capabilities.ambient", json!(["CAP_CHOWN", "CAP_KILL"]))
        .set("process.capabilities.inheritable", json!(["CAP_KILL"]));
    let output = c.run_sh(SHOW_CAPABILITIES);
    assert!(
        output.stderr.contains("can't raise ambient capability CAP_CHOWN: "),
        "{}",
        output.story()
    );
    output.prints("20 20 20 21 20 ");
}
