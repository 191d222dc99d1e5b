//! Limits as data: which value goes to which file, and what a refusal means.

use std::borrow::Cow;

/// One value for one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The controller whose file it is; says which hierarchy on v1.
    pub controller: Cow<'static, str>,
    /// The file's name.
    pub file: Cow<'static, str>,
    /// What to write.
    pub value: String,
    /// Where config.json asks for it.
    pub at: Cow<'static, str>,
    /// File and value to use where the kernel has no such file.
    pub instead: Option<(&'static str, String)>,
    /// What if that is not there either.
    pub if_missing: IfMissing,
    /// The kernel may find the value invalid as long as others of the list have not been written (a quota and its period):
    /// then it is tried again after all of them.
    pub may_wait: bool,
}

/// What a file that the kernel does not have means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// The limit cannot be set: an error.
    Refuse,
    /// Nothing is lost by leaving it out.
    Skip,
}

impl Write {
    /// A write that must succeed.
    pub fn new(
        controller: &'static str,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        at: impl Into<Cow<'static, str>>,
    ) -> Write {
        Write {
            controller: controller.into(),
            file: file.into(),
            value: value.to_string(),
            at: at.into(),
            instead: None,
            if_missing: IfMissing::Refuse,
            may_wait: false,
        }
    }

    /// The file may be missing.
    #[must_use]
    pub fn optional(mut self) -> Write {
        self.if_missing = IfMissing::Skip;
        self
    }

    /// See [`Write::may_wait`].
    #[must_use]
    pub fn may_wait(mut self, may_wait: bool) -> Write {
        self.may_wait = may_wait;
        self
    }

    /// See [`Write::instead`].
    #[must_use]
    pub fn or(mut self, file: &'static str, value: impl ToString) -> Write {
        self.instead = Some((file, value.to_string()));
        self
    }
}

/// `-1` and other negative values mean no limit.
pub fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// `linux.resources.pids.limit`: 0 becomes 1. A cgroup that holds its first process behaves the same with both, and systemd
/// cannot be told 0; runc does so for both drivers.
pub fn pids(limit: Option<i64>, writes: &mut Vec<Write>) {
    if let Some(limit) = limit {
        let limit = if limit == 0 { 1 } else { limit };
        writes.push(Write::new(
            "pids",
            "pids.max",
            or_max(limit),
            "linux.resources.pids.limit",
        ));
    }
}

/// `linux.resources.rdma`: the same file in v1 and v2.
pub fn rdma(devices: &[(String, Option<u32>, Option<u32>)], writes: &mut Vec<Write>) {
    for (device, handles, objects) in devices {
        let mut line = device.clone();
        for (name, value) in [("hca_handle", handles), ("hca_object", objects)] {
            if let Some(value) = value {
                line += &format!(" {name}={value}");
            }
        }
        writes.push(Write::new("rdma", "rdma.max", line, "linux.resources.rdma"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_limits() {
        for (limit, expected) in [(-1, "max"), (0, "1"), (1, "1"), (500, "500")] {
            let mut writes = Vec::new();
            pids(Some(limit), &mut writes);
            assert_eq!(writes[0].value, expected);
        }
        let mut writes = Vec::new();
        pids(None, &mut writes);
        assert!(writes.is_empty());
    }

    #[test]
    fn rdma_lines() {
        let mut writes = Vec::new();
        rdma(
            &[("mlx5_0".into(), Some(2), Some(2000)), ("mlx5_1".into(), None, Some(3))],
            &mut writes,
        );
        let values: Vec<&str> = writes.iter().map(|w| w.value.as_str()).collect();
        assert_eq!(values, ["mlx5_0 hca_handle=2 hca_object=2000", "mlx5_1 hca_object=3"]);
    }
}
