//! The meaning of a list of device rules: a default and exceptions from it, as the v1 controller keeps them.
//!
//! Rules for all devices (`a`) choose the default and forget what was before. An exception can be taken back only as it was
//! made: the kernel ignores a deny of one device out of an allowed range, which would leave the user believing that it is
//! denied, so that is an error here as in runc.

use crate::config::DeviceRule;
use crate::error::{Error, Result};

/// Access bits as in `bpf(2)`: `BPF_DEVCG_ACC_*`.
pub(super) const MKNOD: u8 = 1;
pub(super) const READ: u8 = 2;
pub(super) const WRITE: u8 = 4;
pub(super) const ALL: u8 = MKNOD | READ | WRITE;

/// Which devices an exception is about; `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Which {
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    /// `b` or `c`.
    pub(super) kind: char,
}

/// A default and the exceptions from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    pub(super) default_allow: bool,
    pub(super) exceptions: Exceptions,
}

/// Each of the devices once, with its access bits, in the order of the rules: the order in which they must be applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Exceptions(Vec<(Which, u8)>);

impl Exceptions {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Which, u8)> {
        self.0.iter().copied()
    }

    /// The bits of exactly these devices; 0 if there is no such exception.
    pub(super) fn of(&self, which: Which) -> u8 {
        self.iter().find(|(w, _)| *w == which).map_or(0, |(_, bits)| bits)
    }

    pub(super) fn add(&mut self, which: Which, bits: u8) {
        match self.0.iter_mut().find(|(w, _)| *w == which) {
            Some((_, had)) => *had |= bits,
            None => self.0.push((which, bits)),
        }
    }

    fn remove(&mut self, which: Which, bits: u8) {
        self.0.retain_mut(|(w, had)| {
            if *w == which {
                *had &= !bits;
            }
            *had != 0
        });
    }
}

/// The devices that every container may use, as runc has them: making any node, the usual character devices, terminals, tun.
const DEFAULTS: [(char, Option<u32>, Option<u32>, u8); 11] = [
    ('c', None, None, MKNOD),
    ('b', None, None, MKNOD),
    ('c', Some(1), Some(3), ALL),
    ('c', Some(1), Some(5), ALL),
    ('c', Some(1), Some(7), ALL),
    ('c', Some(1), Some(8), ALL),
    ('c', Some(1), Some(9), ALL),
    ('c', Some(5), Some(0), ALL),
    ('c', Some(5), Some(2), ALL),
    ('c', Some(136), None, ALL),
    ('c', Some(10), Some(200), ALL),
];

impl Filter {
    /// What the rules of config.json and then the default devices amount to. Without any rule everything else is denied.
    ///
    /// # Errors
    /// A rule takes back a part of an exception.
    pub(crate) fn of(rules: &[DeviceRule]) -> Result<Filter> {
        let mut filter = Filter::default();
        for (index, rule) in rules.iter().enumerate() {
            let which = Which {
                major: rule.major,
                minor: rule.minor,
                kind: rule.kind,
            };
            let at = || format!("linux.resources.devices[{index}]");
            filter
                .apply(rule.allow, which, access(&rule.access))
                .map_err(|problem| Error::config(at(), problem))?;
        }
        for (kind, major, minor, access) in DEFAULTS {
            let applied = filter.apply(true, Which { major, minor, kind }, access);
            applied.map_err(|problem| Error::config("linux.resources.devices", problem))?;
        }
        Ok(filter)
    }

    /// Everything is allowed.
    pub(crate) fn allows_all(&self) -> bool {
        self.default_allow && self.exceptions.0.is_empty()
    }

    pub(super) fn apply(&mut self, allow: bool, which: Which, access: u8) -> std::result::Result<(), String> {
        if which.kind == 'a' {
            *self = Filter {
                default_allow: allow,
                exceptions: Exceptions::default(),
            };
            return Ok(());
        }
        if allow != self.default_allow {
            self.exceptions.add(which, access);
            return Ok(());
        }
        self.take_back(which, access)
    }

    fn take_back(&mut self, which: Which, access: u8) -> std::result::Result<(), String> {
        let wider = [
            Which { major: None, ..which },
            Which { minor: None, ..which },
            Which {
                major: None,
                minor: None,
                ..which
            },
        ];
        for range in wider.into_iter().filter(|w| *w != which) {
            if self.exceptions.of(range) & access != 0 {
                return Err(format!(
                    "{} cannot be excepted from the rule for {}: put the wider rule last or leave it out",
                    which.text(access),
                    range.text(ALL)
                ));
            }
        }
        self.exceptions.remove(which, access);
        Ok(())
    }
}

impl Which {
    /// The line for `devices.allow` and `devices.deny`: `c 1:3 rwm`.
    pub(super) fn text(self, access: u8) -> String {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let letters: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .into_iter()
            .filter(|(bit, _)| access & bit != 0)
            .map(|(_, letter)| letter)
            .collect();
        format!("{} {}:{} {letters}", self.kind, number(self.major), number(self.minor))
    }
}

/// The bits of `rwm`.
pub(super) fn access(letters: &str) -> u8 {
    letters.chars().fold(0, |bits, letter| {
        bits | match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => 0,
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn rule(allow: bool, text: &str) -> DeviceRule {
        let mut words = text.split([' ', ':']);
        let kind = words.next().unwrap().chars().next().unwrap();
        let mut number = || words.next().and_then(|n| n.parse().ok());
        let (major, minor) = (number(), number());
        let access = words.next().unwrap_or("rwm").to_owned();
        DeviceRule {
            allow,
            kind,
            major,
            minor,
            access,
        }
    }

    pub(crate) fn filter(rules: &[(bool, &str)]) -> Result<Filter> {
        let rules: Vec<DeviceRule> = rules.iter().map(|(allow, text)| rule(*allow, text)).collect();
        Filter::of(&rules)
    }

    fn lines(filter: &Filter) -> Vec<String> {
        filter
            .exceptions
            .iter()
            .map(|(which, access)| which.text(access))
            .collect()
    }

    #[test]
    fn no_rules_are_the_default_devices() {
        let filter = filter(&[]).unwrap();
        assert!(!filter.default_allow);
        assert_eq!(
            lines(&filter),
            [
                "c *:* m",
                "b *:* m",
                "c 1:3 rwm",
                "c 1:5 rwm",
                "c 1:7 rwm",
                "c 1:8 rwm",
                "c 1:9 rwm",
                "c 5:0 rwm",
                "c 5:2 rwm",
                "c 136:* rwm",
                "c 10:200 rwm"
            ]
        );
    }

    #[test]
    fn the_order_is_that_of_the_rules() {
        let f = filter(&[(true, "c 10:229"), (true, "b 8:20 rw"), (true, "b 1:0 r")]).unwrap();
        assert_eq!(lines(&f)[..4], ["c 10:229 rwm", "b 8:20 rw", "b 1:0 r", "c *:* m"]);
    }

    #[test]
    fn rules_for_all_forget_what_was_before() {
        let f = filter(&[(true, "c 4:1"), (false, "a")]).unwrap();
        assert_eq!(f, filter(&[]).unwrap());
        let f = filter(&[(true, "c 4:1"), (true, "a")]).unwrap();
        assert!(f.allows_all());
        let f = filter(&[(true, "a"), (false, "b 8:0")]).unwrap();
        assert!(f.default_allow && !f.allows_all());
        assert_eq!(lines(&f), ["b 8:0 rwm"]);
    }

    #[test]
    fn permissions_add_up_and_are_taken_back() {
        let f = filter(&[
            (true, "b 8:0 r"),
            (true, "b 8:0 w"),
            (true, "b 8:1 rwm"),
            (false, "b 8:1 w"),
        ])
        .unwrap();
        assert!(lines(&f).contains(&"b 8:0 rw".to_owned()));
        assert!(lines(&f).contains(&"b 8:1 rm".to_owned()));
        let f = filter(&[(true, "b 8:0 r"), (false, "b 8:0 rwm")]).unwrap();
        assert_eq!(f, filter(&[]).unwrap());
    }

    #[test]
    fn defaults_lift_a_denial() {
        let f = filter(&[(true, "a"), (false, "c 1:3 rwm")]).unwrap();
        assert!(f.allows_all());
    }

    #[test]
    fn holes_are_refused() {
        for rules in [
            [(true, "b 8:* r"), (false, "b 8:0 r")],
            [(true, "b *:* r"), (false, "b 8:0 r")],
            [(true, "b *:0 r"), (false, "b 8:0 r")],
        ] {
            let refused = filter(&rules).unwrap_err().to_string();
            assert!(refused.contains("linux.resources.devices[1]"), "{refused}");
        }
        assert!(filter(&[(true, "b 8:* r"), (false, "b 8:0 w")]).is_ok());
        assert!(filter(&[(true, "b 8:* r"), (false, "b 8:* r")]).is_ok());
    }
}
