//! `linux.netDevices`: handing network devices of the host to the container (config-linux.md, "Network Devices").
//!
//! The parent moves each device and tells init which permanent global addresses it had, because the kernel drops them on the
//! way; init, inside the network namespace, gives them back and sets the device up.

use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Route};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::config::NetDevice;
use crate::error::{Error, Result, ResultExt, Wrap};

/// A device that has arrived in the container's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Its name on the host, for messages.
    host_name: String,
    /// Its index in the container.
    index: u32,
    /// Its permanent global addresses.
    addresses: Vec<(IpAddr, u8)>,
}

/// The kernel's answer to one message holds this much at most (netlink(7) recommends 8 KiB).
const ANSWER_MAX: usize = 32 * 1024;

/// Moves `devices` into the network namespace of process `pid`.
///
/// # Errors
/// `linux.netDevices.NAME`: there is no such device, its new name is taken, or it cannot be moved.
pub fn hand_over(devices: &[NetDevice], pid: Pid) -> Result<Vec<Moved>> {
    let mut kernel = Kernel::connect()?;
    let moved = |device: &NetDevice| {
        kernel
            .hand_over(device, pid)
            .map_err(|e| Error::config(format!("linux.netDevices.{}", device.host_name), e.to_string()))
    };
    devices.iter().map(moved).collect()
}

/// Gives the devices their addresses back and sets them up; called inside the network namespace.
pub fn take_up(devices: &[Moved]) -> Result<()> {
    let mut kernel = Kernel::connect()?;
    devices
        .iter()
        .try_for_each(|d| kernel.take_up(d).wrap(|| format!("linux.netDevices.{}", d.host_name)))
}

/// A connection to the kernel's routing tables, in the network namespace that it was made in.
struct Kernel {
    socket: Socket,
    sequence: u32,
}

impl Kernel {
    fn connect() -> Result<Kernel> {
        let mut socket = Socket::new(NETLINK_ROUTE).call(|| "socket(AF_NETLINK)")?;
        socket.bind_auto().call(|| "bind(AF_NETLINK)")?;
        socket.connect(&SocketAddr::new(0, 0)).call(|| "connect(AF_NETLINK)")?;
        Ok(Kernel { socket, sequence: 0 })
    }

    fn hand_over(&mut self, device: &NetDevice, pid: Pid) -> Result<Moved> {
        let index = self.index_of(&device.host_name)?;
        let addresses = self.addresses(index)?;
        // The index is asked for, because a name with %d in it does not tell which one the kernel makes of it.
        let spare = [index, index + 1000, index + 10_000];
        let mut last = Error::message("no free index");
        for new_index in spare {
            let mut link = LinkMessage::default();
            link.header.index = index;
            link.attributes = vec![
                LinkAttribute::NetNsPid(pid.as_raw_nonzero().get() as u32),
                LinkAttribute::IfName(device.name.clone()),
                LinkAttribute::NewIfIndex(new_index as i32),
            ];
            match self.change(Route::SetLink(link), 0, || {
                format!("move it to the container as {:?}", device.name)
            }) {
                Ok(()) => {
                    return Ok(Moved {
                        host_name: device.host_name.clone(),
                        index: new_index,
                        addresses,
                    });
                }
                Err(e) if e.errno() == Some(nix::libc::EBUSY) => last = e,
                Err(e) => return Err(e),
            }
        }
        Err(last)
    }

    fn take_up(&mut self, device: &Moved) -> Result<()> {
        for (address, prefix) in &device.addresses {
            let mut message = AddressMessage::default();
            message.header.family = if address.is_ipv4() {
                AddressFamily::Inet
            } else {
                AddressFamily::Inet6
            };
            message.header.prefix_len = *prefix;
            message.header.flags = AddressHeaderFlags::Permanent;
            message.header.scope = AddressScope::Universe;
            message.header.index = device.index;
            message.attributes = vec![AddressAttribute::Local(*address), AddressAttribute::Address(*address)];
            self.change(Route::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE, || {
                format!("add {address}/{prefix}")
            })?;
        }
        let mut link = LinkMessage::default();
        link.header.index = device.index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.change(Route::SetLink(link), 0, || "set it up".to_owned())
    }

    fn index_of(&mut self, name: &str) -> Result<u32> {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        self.send(Route::GetLink(link), NLM_F_REQUEST)?;
        for answer in self.receive()? {
            match answer.payload {
                NetlinkPayload::InnerMessage(Route::NewLink(link)) => return Ok(link.header.index),
                NetlinkPayload::Error(e) => {
                    return Err(Error::sys(format!("find network device {name:?}"), -e.raw_code()));
                }
                _ => {}
            }
        }
        Err(Error::message(format!("the kernel does not answer about {name:?}")))
    }

    /// The permanent addresses of global scope.
    fn addresses(&mut self, index: u32) -> Result<Vec<(IpAddr, u8)>> {
        self.send(Route::GetAddress(AddressMessage::default()), NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut found = Vec::new();
        loop {
            for answer in self.receive()? {
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(e) => return Err(Error::sys("list its addresses", -e.raw_code())),
                    NetlinkPayload::InnerMessage(Route::NewAddress(message)) if message.header.index == index => {
                        found.extend(permanent(&message));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Sends a change and waits for the kernel's word on it.
    fn change(&mut self, message: Route, flags: u16, what: impl Fn() -> String) -> Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        for answer in self.receive()? {
            if let NetlinkPayload::Error(e) = answer.payload {
                return if e.raw_code() == 0 {
                    Ok(())
                } else {
                    Err(Error::sys(what(), -e.raw_code()))
                };
            }
        }
        Err(Error::message(format!("{}: the kernel does not answer", what())))
    }

    fn send(&mut self, message: Route, flags: u16) -> Result<()> {
        self.sequence += 1;
        let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        packet.header.flags = flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).call(|| "send(AF_NETLINK)").map(drop)
    }

    /// All messages of one datagram.
    fn receive(&mut self) -> Result<Vec<NetlinkMessage<Route>>> {
        let mut bytes = vec![0; ANSWER_MAX];
        let size = self
            .socket
            .recv(&mut bytes.as_mut_slice(), 0)
            .call(|| "recv(AF_NETLINK)")?;
        let mut rest = bytes.get(..size).unwrap_or_default();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let message = NetlinkMessage::<Route>::deserialize(rest)
                .map_err(|e| Error::message(format!("an answer of the kernel cannot be read: {e}")))?;
            // Messages are aligned to four bytes (netlink(7), NLMSG_ALIGN).
            let length = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
            messages.push(message);
        }
        Ok(messages)
    }
}

fn permanent(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    let header = &message.header;
    if header.scope != AddressScope::Universe || !header.flags.contains(AddressHeaderFlags::Permanent) {
        return None;
    }
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let other = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    local.or(other).map(|ip| (ip, header.prefix_len))
}
