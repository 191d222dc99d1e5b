//! The processes of a container.

use super::{Id, Store};
use crate::error::{Error, Result};

/// The pids of all processes in the container's cgroup and below it, as the runtime's pid namespace has them; none once it has
/// stopped.
///
/// # Errors
/// The container has no cgroup of its own: nothing tells which processes are its.
pub fn pids(store: &Store, id: &Id) -> Result<Vec<i32>> {
    let (record, _) = store.folder(id)?.status()?;
    if record.cgroup.is_none() {
        return Err(Error::unsupported(
            "cannot list processes: the container has no cgroup of its own",
        ));
    }
    let pids = record.cgroup.pids()?;
    Ok(pids.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
}

/// Keeps of the output of ps(1) the header and the lines of `pids`, which it finds by the column named PID.
///
/// # Errors
/// There is no such column, or no number in it.
pub fn filter(output: &str, pids: &[i32]) -> Result<String> {
    let mut lines = output.split_inclusive('\n');
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Error::message("couldn't find PID field in ps output: leave the column PID in"))?;
    let mut kept = header.to_owned();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        let pid: i32 = pid.ok_or_else(|| Error::message(format!("no pid in the line {line:?} of ps")))?;
        if pids.contains(&pid) {
            kept.push_str(line);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_and_the_containers_own_lines_stay() {
        let output = "UID    PID CMD\nroot     1 init\nroot    12 sh -c 1\nroot   120 sleep 12\n";
        let kept = filter(output, &[12, 7]).unwrap();
        assert_eq!(kept, "UID    PID CMD\nroot    12 sh -c 1\n");
    }

    #[test]
    fn output_without_pids_is_refused() {
        assert!(
            filter("USER CMD\nroot x\n", &[1])
                .unwrap_err()
                .to_string()
                .contains("PID")
        );
        assert!(filter("PID CMD\nroot x\n", &[1]).is_err());
        assert!(filter("", &[1]).is_err());
    }
}
