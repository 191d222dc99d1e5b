//! Starting a program that outlives its starter.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::libc;

use super::fd;
use crate::error::{Error, Result, ResultExt};

/// The first descriptor of those that are handed on.
const FIRST: RawFd = 3;

/// Starts `command` in a session of its own, at the root of the file system, without environment and without any descriptor of this
/// process but `fds`, which it gets as 3, 4 and so on. Its standard streams are `/dev/null`.
///
/// # Errors
/// What the execution of the program says.
pub fn in_own_session(command: &mut Command, fds: &[BorrowedFd<'_>]) -> Result<Child> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let beyond = FIRST + numbers.len() as RawFd;
    let mut aside = vec![0; numbers.len()];
    let arrange = move || {
        // A descriptor may stand where another is to go, so all of them step aside first.
        for (free, fd) in aside.iter_mut().zip(&numbers) {
            *free = duplicate(*fd, beyond)?;
        }
        for (target, fd) in (FIRST..).zip(&aside) {
            // SAFETY: takes numbers only; the child, which is about to execute, owns its whole table.
            check(unsafe { libc::dup2(*fd, target) })?;
        }
        // SAFETY: the call takes nothing.
        check(unsafe { libc::setsid() }).map(drop)
    };
    // SAFETY: `arrange` makes system calls on numbers only; its vectors were allocated before and are only written in place.
    unsafe { command.pre_exec(arrange) };
    fd::inherit_nothing_from(command, beyond as u32);
    let program = command.get_program().to_owned();
    command
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .call(|| format!("exec {program:?}"))
}

fn duplicate(fd: RawFd, from: RawFd) -> io::Result<RawFd> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, from) })
}

fn check(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// Takes the descriptors that [`in_own_session`] has handed to this program. To be called once, before anything is opened.
///
/// # Errors
/// One of them is not open: the program was started by somebody else.
pub fn handed<const N: usize>() -> Result<[OwnedFd; N]> {
    let numbers: [RawFd; N] = std::array::from_fn(|n| FIRST + n as RawFd);
    for fd in numbers {
        // SAFETY: takes numbers only.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })
            .map_err(|_| Error::message(format!("descriptor {fd} is not open")))?;
    }
    // SAFETY: they are open, and nobody else owns what was inherited: the contract of this function.
    Ok(numbers.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_program_gets_these_descriptors_and_a_session() {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let script = "echo $(ls /proc/$$/fd | tr '\\n' ' ') $(cut -d' ' -f6 /proc/$$/stat) $$ $(pwd) >&4";
        let mut command = Command::new("/bin/sh");
        let mut child = in_own_session(command.args(["-c", script]), &[file.as_fd(), write.as_fd()]).unwrap();
        drop(write);
        let text = std::io::read_to_string(std::fs::File::from(read)).unwrap();
        assert!(child.wait().unwrap().success());
        let words: Vec<&str> = text.split_whitespace().collect();
        let pid = child.id().to_string();
        assert!(words.starts_with(&["0", "1", "2", "3", "4"]), "{text}");
        assert!(words.ends_with(&[&pid, &pid, "/"]), "{text}");
    }
}
