//! What went through the network interfaces of a container.

use procfs::FromRead;
use procfs::net::InterfaceDeviceStatus;
use serde::Serialize;

use crate::error::{Error, Result};

/// The counters of one interface as the container sees it, with the keys of runc's events.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Interface {
    /// Its name in the container.
    pub name: String,
    /// Received.
    pub rx_bytes: u64,
    /// Received.
    pub rx_packets: u64,
    /// Received.
    pub rx_errors: u64,
    /// Received.
    pub rx_dropped: u64,
    /// Sent.
    pub tx_bytes: u64,
    /// Sent.
    pub tx_packets: u64,
    /// Sent.
    pub tx_errors: u64,
    /// Sent.
    pub tx_dropped: u64,
}

/// The interfaces of the network namespace of process `pid`, without the loopback device, by name. None if the namespace is the
/// caller's own: then they are not the container's.
///
/// # Errors
/// procfs cannot be read though the process is there.
pub fn interfaces(pid: i32) -> Result<Vec<Interface>> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let theirs = namespace(&pid.to_string());
    if theirs.is_none() || theirs == namespace("self") {
        return Ok(Vec::new());
    }
    match std::fs::read(format!("/proc/{pid}/net/dev")) {
        Ok(text) => parse(&text),
        // It has just ended.
        Err(_) => Ok(Vec::new()),
    }
}

fn parse(text: &[u8]) -> Result<Vec<Interface>> {
    let status = InterfaceDeviceStatus::from_read(text)
        .map_err(|e| Error::message(format!("make sense of /proc/PID/net/dev: {e}")))?;
    let others = status.0.into_values().filter(|device| device.name != "lo");
    let mut interfaces: Vec<Interface> = others
        .map(|device| Interface {
            name: device.name,
            rx_bytes: device.recv_bytes,
            rx_packets: device.recv_packets,
            rx_errors: device.recv_errs,
            rx_dropped: device.recv_drop,
            tx_bytes: device.sent_bytes,
            tx_packets: device.sent_packets,
            tx_errors: device.sent_errs,
            tx_dropped: device.sent_drop,
        })
        .collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth1:    1234      10    1    2    0     0          0         0     5678      20    3    4    0     0       0          0
  eth0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
";

    #[test]
    fn counters_by_interface() {
        let found = parse(DEV.as_bytes()).unwrap();
        assert_eq!(
            found.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(),
            ["eth0", "eth1"]
        );
        let eth1 = serde_json::to_string(&found[1]).unwrap();
        assert_eq!(
            eth1,
            r#"{"Name":"eth1","RxBytes":1234,"RxPackets":10,"RxErrors":1,"RxDropped":2,"TxBytes":5678,"TxPackets":20,"TxErrors":3,"TxDropped":4}"#
        );
    }

    #[test]
    fn the_callers_own_interfaces_are_not_a_containers() {
        assert!(interfaces(std::process::id() as i32).unwrap().is_empty());
        assert!(interfaces(i32::MAX).unwrap().is_empty());
    }
}
