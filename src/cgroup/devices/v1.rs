//! The devices controller of v1: `devices.allow` and `devices.deny`.

use super::super::apply::apply;
use super::super::dir::{Dir, is_forbidden};
use super::super::write::Write;
use super::filter::{ALL, Filter, Which, access};
use crate::error::Result;
use crate::ns::in_user_namespace;

const AT: &str = "linux.resources.devices";

/// Brings a cgroup to the filter. A new cgroup has its parent's rules; of one in use only what differs is changed, so that no
/// device is out of reach in between.
///
/// # Errors
/// The kernel refuses, for instance because a cgroup above does not have the device. In a user namespace nobody may change the
/// rules, and nothing is done.
pub(crate) fn set(dir: &Dir, filter: &Filter, new: bool) -> Result<()> {
    let present = if new { None } else { parse(&dir.read("devices.list")?) };
    match apply(dir, &transition(present.as_ref(), filter)) {
        Err(e) if is_forbidden(&e) && in_user_namespace() => Ok(()),
        other => other,
    }
}

/// The writes from `present` to `target`. `None` is an unknown state: a rule for all devices comes first then.
fn transition(present: Option<&Filter>, target: &Filter) -> Vec<Write> {
    let file = |allow: bool| if allow { "devices.allow" } else { "devices.deny" };
    let line = |allow: bool, which: &Which, access: u8| Write::new("devices", file(allow), which.text(access), AT);
    let mut writes = Vec::new();
    let nothing = Filter::default();
    let present = match present {
        Some(present) if present.default_allow == target.default_allow => present,
        _ => {
            writes.push(Write::new("devices", file(target.default_allow), "a", AT));
            &nothing
        }
    };
    let lost = |a: &Filter, b: &Filter| -> Vec<(Which, u8)> {
        a.exceptions
            .iter()
            .map(|(which, bits)| (which, bits & !b.exceptions.of(which)))
            .filter(|(_, bits)| *bits != 0)
            .collect()
    };
    for (which, bits) in lost(present, target) {
        writes.push(line(target.default_allow, &which, bits));
    }
    for (which, bits) in lost(target, present) {
        writes.push(line(!target.default_allow, &which, bits));
    }
    writes
}

/// Reads `devices.list`. `None` if everything not denied is allowed: the list does not show what is denied.
fn parse(list: &str) -> Option<Filter> {
    let mut filter = Filter::default();
    for line in list.lines() {
        let mut words = line.split([' ', ':']);
        let kind = words.next()?.chars().next()?;
        if kind == 'a' {
            return None;
        }
        let mut number = || match words.next()? {
            "*" => Some(None),
            n => n.parse().ok().map(Some),
        };
        let (major, minor) = (number()?, number()?);
        filter
            .exceptions
            .add(Which { major, minor, kind }, access(words.next()?) & ALL);
    }
    Some(filter)
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::filter;
    use super::*;

    fn lines(present: Option<&Filter>, target: &Filter) -> Vec<String> {
        let writes = transition(present, target);
        writes
            .iter()
            .map(|w| format!("{} {}", w.file.replace("devices.", ""), w.value))
            .collect()
    }

    #[test]
    fn a_new_cgroup_denies_all_first() {
        let drawn = lines(None, &filter(&[(true, "b 8:0 r")]).unwrap());
        assert_eq!(drawn[0], "deny a");
        assert_eq!(drawn.len(), 13);
        assert!(drawn[1..].iter().all(|l| l.starts_with("allow ")));
        assert!(drawn.contains(&"allow b 8:0 r".to_owned()));
        assert_eq!(lines(None, &filter(&[(true, "a")]).unwrap()), ["allow a"]);
    }

    #[test]
    fn an_update_changes_only_what_differs() {
        let old = filter(&[(true, "b 8:0 rw"), (true, "c 4:64 r")]).unwrap();
        let new = filter(&[(true, "b 8:0 rm"), (true, "c 4:65 r")]).unwrap();
        assert_eq!(
            lines(Some(&old), &new),
            ["deny b 8:0 w", "deny c 4:64 r", "allow b 8:0 m", "allow c 4:65 r"]
        );
        assert!(lines(Some(&new), &new).is_empty());
    }

    #[test]
    fn a_change_of_the_default_starts_over() {
        let open = filter(&[(true, "a"), (false, "b 8:0 rw")]).unwrap();
        assert_eq!(lines(Some(&filter(&[]).unwrap()), &open), ["allow a", "deny b 8:0 rw"]);
    }

    #[test]
    fn reads_what_the_kernel_shows() {
        let target = filter(&[(true, "b 8:* rw")]).unwrap();
        let list: String = target.exceptions.iter().map(|(w, a)| w.text(a) + "\n").collect();
        assert_eq!(parse(&list), Some(target));
        assert_eq!(parse("a *:* rwm\n"), None);
        assert_eq!(parse(""), Some(Filter::default()));
        assert_eq!(parse("c x:1 r\n"), None);
    }
}
