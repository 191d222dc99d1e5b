//! `linux.resources.memory`.

use oci_spec::runtime::LinuxMemory;

use crate::config::Memory;
use crate::error::{Error, Result};

/// Zero means "not given" for `limit`, `reservation` and `kernelTCP`, as in runc; for `swap` it is kept, the cgroup version decides.
#[allow(deprecated, reason = "kernel memory limits are obsolete, yet must be noticed")]
pub(super) fn memory(given: &LinuxMemory, at: &str, warnings: &mut Vec<String>) -> Result<Memory> {
    let limit = bytes(given.limit(), || format!("{at}.limit"))?.filter(|n| *n != 0);
    let reservation = bytes(given.reservation(), || format!("{at}.reservation"))?.filter(|n| *n != 0);
    let swap = bytes(given.swap(), || format!("{at}.swap"))?;
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (limit, swap)
        && swap < limit
    {
        let problem =
            format!("{swap} is less than the memory limit {limit}, swap is the limit of memory and swap together");
        return Err(Error::config(format!("{at}.swap"), problem));
    }
    if let (Some(-1), Some(swap @ 1..)) = (limit, swap) {
        let problem =
            format!("{swap} limits memory and swap together while memory alone is unlimited, set limit or drop swap");
        return Err(Error::config(format!("{at}.swap"), problem));
    }
    if let (Some(limit @ 1..), Some(reservation @ 1..)) = (limit, reservation)
        && reservation > limit
    {
        warnings.push(format!(
            "{at}.reservation: {reservation} is more than the limit {limit} and has no effect"
        ));
    }
    if given.kernel().is_some() {
        warnings.push(format!(
            "{at}.kernel: limits of kernel memory are obsolete and have no effect"
        ));
    }
    let kernel_tcp = bytes(given.kernel_tcp(), || format!("{at}.kernelTCP"))?.filter(|n| *n != 0);
    if let Some(swappiness) = given.swappiness().filter(|swappiness| *swappiness > 100) {
        return Err(Error::config(
            format!("{at}.swappiness"),
            format!("{swappiness} is not from 0 to 100"),
        ));
    }
    Ok(Memory {
        limit,
        reservation,
        swap,
        kernel_tcp,
        swappiness: given.swappiness(),
        disable_oom_killer: given.disable_oom_killer(),
        use_hierarchy: given.use_hierarchy(),
        check_before_update: given.check_before_update().unwrap_or(false),
    })
}

fn bytes(number: Option<i64>, at: impl Fn() -> String) -> Result<Option<i64>> {
    match number {
        Some(n) if n < -1 => Err(Error::config(at(), format!("{n} bytes are no limit; -1 is unlimited"))),
        _ => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> Result<Memory> {
        memory(&serde_json::from_value(value).unwrap(), "m", &mut Vec::new())
    }

    #[test]
    fn swap_includes_memory() {
        assert!(parse(json!({"limit": 100, "swap": 99})).is_err());
        assert!(parse(json!({"limit": -1, "swap": 99})).is_err());
        assert!(parse(json!({"limit": 100, "swap": 100})).is_ok());
        assert!(parse(json!({"limit": 100, "swap": -1})).is_ok());
        assert_eq!(parse(json!({"limit": 100, "swap": 0})).map(|m| m.swap), Ok(Some(0)));
    }

    #[test]
    fn bounds() {
        assert!(parse(json!({"limit": -2})).is_err());
        assert!(parse(json!({"swappiness": 101})).is_err());
        assert_eq!(parse(json!({"limit": 0, "reservation": 0})), Ok(Memory::default()));
    }
}
