//! What CRIU's log says about a failure.

/// Lines of the log that are errors to CRIU and no reason for anything: it goes on without a limit that it may not raise, and
/// tells at the end that it has failed.
const NO_REASON: [&str; 3] = [
    "rlimit: Can't setup RLIMIT_NOFILE",
    "Dumping FAILED",
    "Restoring FAILED",
];

/// The first error in the text of a log that may be the reason for the failure, without time and place.
///
/// A line reads `(00.229904) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=1 path=/tmp/out`; one of the restored
/// process itself has `pie: 1: ` in front.
pub fn first(log: &str) -> Option<String> {
    log.lines().find_map(|line| {
        let (_, error) = line.split_once("Error (")?;
        let (_, text) = error.split_once("): ")?;
        let reason = !NO_REASON.iter().any(|known| text.contains(known));
        reason.then(|| text.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_with_a_reason_counts() {
        let log = "(00.05) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n\
                   (00.22) fdinfo 1: pos: 0 flags: 100001/0\n\
                   (00.23) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=1 path=/tmp/out\n\
                   (00.24) Error (criu/cr-dump.c:1681): Dump files (pid: 23956) failed with -1\n\
                   (00.35) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        assert_eq!(first(log).unwrap(), "Can't lookup mount=27 for fd=1 path=/tmp/out");
        assert_eq!(first("pie: 1: Error (criu/pie/restorer.c:1): no\n").unwrap(), "no");
        assert_eq!(first("(00.35) Error (criu/cr-dump.c:2111): Dumping FAILED.\n"), None);
        assert_eq!(first("all is well"), None);
    }
}
