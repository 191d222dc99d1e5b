//! `linux.resources.blockIO`.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use super::devices::{major, minor};
use crate::config::BlockIo;
use crate::error::{Error, Result};

pub(super) fn block_io(given: &LinuxBlockIo, at: &str) -> Result<BlockIo> {
    let throttle = |list: &Option<Vec<LinuxThrottleDevice>>, field: &str| throttles(list, &format!("{at}.{field}"));
    Ok(BlockIo {
        weight: weight(given.weight(), || format!("{at}.weight"))?,
        leaf_weight: weight(given.leaf_weight(), || format!("{at}.leafWeight"))?,
        weight_device: weight_devices(given.weight_device(), &format!("{at}.weightDevice"))?,
        read_bps: throttle(given.throttle_read_bps_device(), "throttleReadBpsDevice")?,
        write_bps: throttle(given.throttle_write_bps_device(), "throttleWriteBpsDevice")?,
        read_iops: throttle(given.throttle_read_iops_device(), "throttleReadIOPSDevice")?,
        write_iops: throttle(given.throttle_write_iops_device(), "throttleWriteIOPSDevice")?,
    })
}

/// Zero means "not given", as in runc.
fn weight(number: Option<u16>, at: impl Fn() -> String) -> Result<Option<u16>> {
    match number {
        None | Some(0) => Ok(None),
        Some(10..=1000) => Ok(number),
        Some(n) => Err(Error::config(at(), format!("{n} is not from 10 to 1000"))),
    }
}

type Weights = Vec<(u32, u32, Option<u16>, Option<u16>)>;

fn weight_devices(list: &Option<Vec<LinuxWeightDevice>>, at: &str) -> Result<Weights> {
    let check = |(i, entry): (usize, &LinuxWeightDevice)| {
        let at = format!("{at}[{i}]");
        let own = weight(entry.weight(), || format!("{at}.weight"))?;
        let leaf = weight(entry.leaf_weight(), || format!("{at}.leafWeight"))?;
        if own.is_none() && leaf.is_none() {
            return Err(Error::config(at, "needs weight or leafWeight, or both"));
        }
        Ok((major(entry.major(), &at)?, minor(entry.minor(), &at)?, own, leaf))
    };
    list.iter().flatten().enumerate().map(check).collect()
}

fn throttles(list: &Option<Vec<LinuxThrottleDevice>>, at: &str) -> Result<Vec<(u32, u32, u64)>> {
    let check = |(i, entry): (usize, &LinuxThrottleDevice)| {
        let at = format!("{at}[{i}]");
        Ok((major(entry.major(), &at)?, minor(entry.minor(), &at)?, entry.rate()))
    };
    list.iter().flatten().enumerate().map(check).collect()
}
