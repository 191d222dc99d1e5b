//! `linux.netDevices` and `linux.resources.network`.

use std::collections::{BTreeMap, HashMap, HashSet};

use oci_spec::runtime::{LinuxNetDevice, LinuxNetwork};

use crate::config::{NamespaceKind, Namespaces, NetDevice};
use crate::error::{Error, Result};

/// A name the kernel takes for a network device (`dev_valid_name`): at most 15 bytes, no `/`, `:` or blank.
fn is_device_name(name: &str) -> bool {
    let fits = (1..16).contains(&name.len()) && name != "." && name != "..";
    fits && !name
        .bytes()
        .any(|b| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace() || b == 0x0b)
}

pub(super) fn net_devices(
    devices: Option<&HashMap<String, LinuxNetDevice>>,
    namespaces: &Namespaces,
) -> Result<Vec<NetDevice>> {
    let Some(devices) = devices.filter(|devices| !devices.is_empty()) else {
        return Ok(Vec::new());
    };
    if !namespaces.is_own(NamespaceKind::Network) {
        let problem = "devices cannot be moved without a private network namespace, add {\"type\":\"network\"} to linux.namespaces";
        return Err(Error::config("linux.netDevices", problem));
    }
    let mut names = HashSet::new();
    let mut result = Vec::with_capacity(devices.len());
    for (host_name, device) in devices.iter().collect::<BTreeMap<_, _>>() {
        let at = format!("linux.netDevices.{host_name}");
        if !is_device_name(host_name) {
            return Err(Error::config(
                at,
                format!("{host_name:?} is no name of a network device"),
            ));
        }
        let name = device
            .name()
            .as_ref()
            .filter(|name| !name.is_empty())
            .unwrap_or(host_name);
        if !is_device_name(name) || name.replacen("%d", "", 1).contains('%') {
            let problem = format!(
                "{name:?} is no name for a network device: at most 15 bytes, no '/', ':' or blank, %d at most once"
            );
            return Err(Error::config(format!("{at}.name"), problem));
        }
        if !name.contains("%d") && !names.insert(name) {
            return Err(Error::config(
                format!("{at}.name"),
                format!("another device is to be named {name:?}, too"),
            ));
        }
        result.push(NetDevice {
            host_name: host_name.clone(),
            name: name.clone(),
        });
    }
    Ok(result)
}

pub(super) fn priorities(network: Option<&LinuxNetwork>, at: &str) -> Result<Vec<(String, u32)>> {
    let list = network
        .and_then(|network| network.priorities().as_ref())
        .into_iter()
        .flatten();
    let mut result = Vec::new();
    for (i, entry) in list.enumerate() {
        let (name, priority) = (entry.name(), entry.priority());
        if !is_device_name(name) {
            return Err(Error::config(
                format!("{at}[{i}].name"),
                format!("{name:?} is no name of a network device"),
            ));
        }
        result.push((name.clone(), priority));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names() {
        for good in ["eth0", "a", "fifteen-bytes-1", "veth%d", "x.y"] {
            assert!(is_device_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteen-bytes-12", "a\tb", "a\0"] {
            assert!(!is_device_name(bad), "{bad:?}");
        }
    }
}
