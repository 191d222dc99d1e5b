//! Id-mapped mounts: the options `idmap` and `ridmap`, with crun's `idmap=uids=0-1000-10#10-5000-1;gids=…`.

use oci_spec::runtime::Mount as SpecMount;

use super::IdMaps;
use super::namespaces::{checked, mappings};
use crate::config::{IdMap, IdMapping, NamespaceKind, Namespaces};
use crate::error::{Error, Result};

type Mappings = (Vec<IdMapping>, Vec<IdMapping>);

/// What the options of a mount say about id mapping.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// `idmap` or, recursive, `ridmap`.
    pub option: Option<bool>,
    /// What followed `idmap=`.
    pub mappings: Option<Mappings>,
}

impl Wish {
    /// Takes an option that may be `idmap=…`; `false` if it is another one.
    pub fn take(&mut self, option: &str, ids: IdMaps<'_>) -> Result<bool, String> {
        let (value, recursive) = match option.split_once('=') {
            Some(("idmap", value)) => (value, false),
            Some(("ridmap", value)) => (value, true),
            _ => return Ok(false),
        };
        self.option = Some(recursive);
        let (mut uids, mut gids) = (Vec::new(), Vec::new());
        for part in value.split(';').filter(|part| !part.is_empty()) {
            let (list, container, ranges) = match part.split_once('=') {
                Some(("uids", ranges)) => (&mut uids, ids.uids, ranges),
                Some(("gids", ranges)) => (&mut gids, ids.gids, ranges),
                _ => return Err(format!("{part:?} is neither uids=… nor gids=…")),
            };
            for range in ranges.split('#') {
                list.push(triplet(range, container)?);
            }
        }
        if uids.is_empty() || gids.is_empty() {
            return Err("needs both, as in idmap=uids=0-100000-10;gids=0-100000-10".to_owned());
        }
        self.mappings = Some((uids, gids));
        Ok(true)
    }

    /// Mappings without the option count as `idmap` (as in runc); the option without mappings takes the container's.
    pub fn decide(self, entry: &SpecMount, at: &str, namespaces: &Namespaces) -> Result<Option<IdMap>> {
        let mut own = own_mappings(entry, at)?;
        if let Some((uids, gids)) = self.mappings {
            if own.is_some() {
                let problem = "idmap=… excludes uidMappings and gidMappings of the mount, drop one of them";
                return Err(Error::config(format!("{at}.options"), problem));
            }
            let options = format!("{at}.options");
            own = Some((checked(uids, &options)?, checked(gids, &options)?));
        }
        if self.option.is_some() && own.is_none() && !namespaces.is_own(NamespaceKind::User) {
            let problem = "idmap needs uidMappings and gidMappings of the mount, or a user namespace of the container to take them from";
            return Err(Error::config(format!("{at}.options"), problem));
        }
        let wanted = self.option.is_some() || own.is_some();
        Ok(wanted.then(|| IdMap {
            recursive: self.option.unwrap_or(false),
            mappings: own,
        }))
    }
}

/// `FILE-HOST-SIZE`: ids on the file system, the ids they become, how many. With `@` in front, the second one is an id of the
/// container.
fn triplet(range: &str, container: &[IdMapping]) -> Result<IdMapping, String> {
    let (text, relative) = range.strip_prefix('@').map_or((range, false), |rest| (rest, true));
    let numbers: Option<Vec<u32>> = text.split('-').map(|number| number.parse().ok()).collect();
    let Some(&[file, host, size]) = numbers.as_deref() else {
        return Err(format!("{range:?} is no mapping, write FROM-TO-SIZE"));
    };
    let host = match relative {
        true => outside(host, container).ok_or_else(|| format!("{range:?}: the container has no id {host}"))?,
        false => host,
    };
    Ok(IdMapping {
        container: file,
        host,
        size,
    })
}

fn outside(id: u32, mappings: &[IdMapping]) -> Option<u32> {
    mappings.iter().find_map(|m| {
        let distance = id.checked_sub(m.container).filter(|distance| *distance < m.size)?;
        m.host.checked_add(distance)
    })
}

fn own_mappings(entry: &SpecMount, at: &str) -> Result<Option<Mappings>> {
    let uids = mappings(entry.uid_mappings().as_ref(), &format!("{at}.uidMappings"))?;
    let gids = mappings(entry.gid_mappings().as_ref(), &format!("{at}.gidMappings"))?;
    let missing = match (uids.is_empty(), gids.is_empty()) {
        (true, true) => return Ok(None),
        (false, false) => return Ok(Some((uids, gids))),
        (true, false) => "uidMappings",
        (false, true) => "gidMappings",
    };
    let problem = "is missing, uidMappings and gidMappings must be given together";
    Err(Error::config(format!("{at}.{missing}"), problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(option: &str) -> Result<Mappings, String> {
        let ids = [
            IdMapping {
                container: 0,
                host: 0,
                size: 1,
            },
            IdMapping {
                container: 1,
                host: 2,
                size: 1000,
            },
        ];
        let mut wish = Wish::default();
        assert_eq!(
            wish.take(option, IdMaps { uids: &ids, gids: &ids })?,
            option.contains("idmap=")
        );
        wish.mappings.ok_or_else(|| "nothing".to_owned())
    }

    #[test]
    fn crun_s_notation() {
        let (uids, gids) = take("idmap=uids=0-1-10#10-11-10;gids=0-100-10").unwrap();
        assert_eq!(
            uids[1],
            IdMapping {
                container: 10,
                host: 11,
                size: 10
            }
        );
        assert_eq!(
            gids,
            [IdMapping {
                container: 0,
                host: 100,
                size: 10
            }]
        );
        // The example of crun(1): id 3 of the container is 4 outside.
        assert_eq!(take("ridmap=uids=@1-3-10;gids=0-0-1").unwrap().0[0].host, 4);
        for bad in [
            "idmap=",
            "idmap=uids=0-1-1",
            "idmap=uids=0-1;gids=0-1-1",
            "idmap=x=0-1-1",
            "idmap=uids=@0-5000-1;gids=0-0-1",
            "size=1",
        ] {
            assert!(take(bad).is_err(), "{bad}");
        }
    }
}
