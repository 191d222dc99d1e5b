//! `linux.devices` and the rules of `linux.resources.devices`.

use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::{flattened, no_nul, tidy};
use crate::config::{Device, DeviceKind, DeviceRule};
use crate::error::{Error, Result};

/// The kernel's device numbers have 12 and 20 bits (makedev(3), `MKDEV`).
const MAX_MAJOR: i64 = 0xfff;
const MAX_MINOR: i64 = 0xf_ffff;

pub(super) fn devices(list: Option<&[LinuxDevice]>) -> Result<Vec<Device>> {
    let list = list.unwrap_or_default().iter().enumerate();
    list.map(|(i, entry)| device(entry, &format!("linux.devices[{i}]")))
        .collect()
}

fn device(entry: &LinuxDevice, at: &str) -> Result<Device> {
    let path = entry.path();
    no_nul(path.as_os_str().as_bytes(), || format!("{at}.path"))?;
    if !path.is_absolute() || flattened(path).as_os_str() == "/" {
        let problem = format!("{path:?} is not the full path of a device inside the container, such as /dev/fuse");
        return Err(Error::config(format!("{at}.path"), problem));
    }
    let kind = match entry.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => {
            let problem = "\"a\" (all) is for resources.devices only, use c, u, b or p";
            return Err(Error::config(format!("{at}.type"), problem));
        }
    };
    let (major, minor) = match kind {
        DeviceKind::Fifo => (0, 0),
        _ => (major(entry.major(), at)?, minor(entry.minor(), at)?),
    };
    Ok(Device {
        path: tidy(path),
        kind,
        major,
        minor,
        mode: entry.file_mode().unwrap_or(0o666) & 0o7777,
        uid: entry.uid().unwrap_or(0),
        gid: entry.gid().unwrap_or(0),
    })
}

pub(super) fn rules(list: Option<&Vec<LinuxDeviceCgroup>>, at: &str) -> Result<Vec<DeviceRule>> {
    let list = list.into_iter().flatten().enumerate();
    list.map(|(i, entry)| rule(entry, &format!("{at}[{i}]"))).collect()
}

fn rule(entry: &LinuxDeviceCgroup, at: &str) -> Result<DeviceRule> {
    let kind = match entry.typ() {
        None | Some(LinuxDeviceType::A) => 'a',
        Some(LinuxDeviceType::B) => 'b',
        Some(LinuxDeviceType::C) => 'c',
        Some(other) => {
            let problem = format!("{:?} is no type of a device rule, use a, b or c", other.as_str());
            return Err(Error::config(format!("{at}.type"), problem));
        }
    };
    let given = entry.access().as_deref().unwrap_or_default();
    if given.is_empty() || given == "a" {
        return Err(Error::config(
            format!("{at}.access"),
            "is missing, name the rights by r, w and m",
        ));
    }
    // runc takes no notice of an `a` among them, and its own suite has one.
    if let Some(odd) = given.chars().find(|c| !"rwma".contains(*c)) {
        let problem = format!("{given:?} holds {odd:?}, only r, w and m are rights");
        return Err(Error::config(format!("{at}.access"), problem));
    }
    // -1 is runc's word for any.
    let number = |number: Option<i64>| number.filter(|n| *n != -1);
    Ok(DeviceRule {
        allow: entry.allow(),
        kind,
        major: number(entry.major()).map(|n| major(n, at)).transpose()?,
        minor: number(entry.minor()).map(|n| minor(n, at)).transpose()?,
        access: "rwm".chars().filter(|right| given.contains(*right)).collect(),
    })
}

/// `number` as a major device number.
pub(super) fn major(number: i64, at: &str) -> Result<u32> {
    in_range(number, MAX_MAJOR, || format!("{at}.major"))
}

/// `number` as a minor device number.
pub(super) fn minor(number: i64, at: &str) -> Result<u32> {
    in_range(number, MAX_MINOR, || format!("{at}.minor"))
}

fn in_range(number: i64, highest: i64, at: impl Fn() -> String) -> Result<u32> {
    match u32::try_from(number) {
        Ok(n) if number <= highest => Ok(n),
        _ => Err(Error::config(
            at(),
            format!("{number} is no device number, it must be from 0 to {highest}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn device_defaults_and_oddities() {
        let parse = |value| device(&serde_json::from_value(value).unwrap(), "d");
        let d = parse(json!({"path": "/dev/x/", "type": "u", "major": 1, "minor": 3, "fileMode": 0o20_644})).unwrap();
        assert_eq!(
            (d.path.to_str(), d.kind, d.mode),
            (Some("/dev/x"), DeviceKind::Char, 0o644)
        );
        let d = parse(json!({"path": "/f", "type": "p", "major": -5})).unwrap();
        assert_eq!((d.kind, d.major, d.mode), (DeviceKind::Fifo, 0, 0o666));
        assert!(parse(json!({"path": "/dev/x", "type": "c", "major": 4096, "minor": 0})).is_err());
        assert!(parse(json!({"path": "/dev/..", "type": "p"})).is_err());
    }

    #[test]
    fn rules_are_put_in_order() {
        let parse = |value| rule(&serde_json::from_value(value).unwrap(), "r");
        let r = parse(json!({"allow": true, "type": "c", "major": -1, "minor": 3, "access": "mr"})).unwrap();
        assert_eq!(
            (r.kind, r.major, r.minor, r.access.as_str()),
            ('c', None, Some(3), "rm")
        );
        assert!(parse(json!({"allow": true, "type": "c", "major": -2, "access": "r"})).is_err());
        assert!(parse(json!({"allow": false})).is_err());
        assert!(parse(json!({"allow": false, "access": "rx"})).is_err());
        assert!(parse(json!({"allow": false, "type": "p", "access": "r"})).is_err());
    }
}
