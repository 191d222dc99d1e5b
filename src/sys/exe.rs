//! The runtime's own executable: running from a copy that nobody can write to, and executing other programs.
//!
//! A container that gets hold of `/proc/PID/exe` of a runtime process could overwrite the host's binary (CVE-2019-5736). So
//! `create`, `run` and `exec` go on running from a read-only overlay over the binary's folder, which has no upper layer and is
//! attached nowhere: its file takes the place of the host's in memory. Where the kernel does not allow that, as it does not
//! to users without privileges, they execute themselves anew: from the overlay, or from a sealed memfd where none can be mounted.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::remap;
use crate::error::{Error, Result, ResultExt};

const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
/// A second lower layer is needed for an overlay without an upper one; any folder that does not overlap the first will do.
const SECOND_LAYER: &str = "/sys/kernel";

/// The path of the binary on the host, if the process has gone on running from a sealed image.
static HOST_PATH: OnceLock<PathBuf> = OnceLock::new();

/// The path of the binary as the host knows it, also when executed from a sealed image (then it is argv[0]).
pub fn host_path() -> Result<PathBuf> {
    if let Some(path) = HOST_PATH.get() {
        return Ok(path.clone());
    }
    let exe = rustix::fs::readlink("/proc/self/exe", Vec::new()).call(|| "readlink(\"/proc/self/exe\")")?;
    let exe = PathBuf::from(OsString::from_vec(exe.into_bytes()));
    if is_sealed()? {
        return std::env::args_os()
            .next()
            .map(PathBuf::from)
            .ok_or_else(|| Error::message("argv[0] is missing"));
    }
    Ok(exe)
}

/// Where the twin and what it loads lie, as seen from the folder of the programs.
pub const LIBRARIES: &str = "../lib/runw";

/// What the twin loads: the file `name`, beside it, also when the twin goes by the name of `runw`.
pub fn library(name: &OsStr) -> Result<PathBuf> {
    let own = host_path()?;
    let beside = own.with_file_name(name);
    match beside.exists() {
        true => Ok(beside),
        false => Ok(own.with_file_name(LIBRARIES).join(name)),
    }
}

/// Another program of runw, such as `runw-aot`: beside `runw`, also when asked by the twin.
pub fn companion(name: &str) -> Result<PathBuf> {
    let own = host_path()?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    if folder.ends_with("lib/runw") {
        return Ok(folder.join("../../bin").join(name));
    }
    Ok(folder.join(name))
}

/// Whether the running image can't be written to by anybody.
pub fn is_sealed() -> Result<bool> {
    let exe = own_exe()?;
    if let Ok(seals) = rustix::fs::fcntl_get_seals(&exe) {
        return Ok(seals.contains(SealFlags::WRITE | SealFlags::SEAL));
    }
    let overlay = rustix::fs::fstatfs(&exe).is_ok_and(|s| s.f_type == OVERLAYFS_SUPER_MAGIC);
    let readonly = rustix::fs::fstatvfs(&exe).is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY));
    Ok(overlay && readonly)
}

/// Re-executes `program` (the host's path of runw or its twin) from a sealed image with the same arguments and environment;
/// argv[0] becomes `name`, the host's path that [`host_path`] will answer. Returns only on failure.
pub fn exec_sealed(program: &Path, name: &Path) -> Result<Infallible> {
    let image = overlay_image(program).or_else(|_| memfd_image(program))?;
    let args = std::iter::once(name.as_os_str().to_owned()).chain(std::env::args_os().skip(1));
    let args = args.map(|a| c_string(a.as_os_str())).collect::<Result<Vec<_>>>()?;
    exec_fd(image.as_fd(), &args, &own_environment()?).map_err(|e| e.wrap(format!("start {}", program.display())))
}

/// Makes sure that the process runs from a sealed image: it runs on from one, or executes itself anew from it.
///
/// # Errors
/// Neither an overlay nor a sealed copy in memory can be made.
pub fn seal() -> Result<()> {
    if is_sealed()? {
        return Ok(());
    }
    let own = host_path()?;
    match run_on_sealed(&own) {
        Ok(()) => Ok(()),
        Err(_) => match exec_sealed(&own, &own)? {},
    }
}

/// Goes on running from an image that nobody can write to; half a millisecond less than [`exec_sealed`].
fn run_on_sealed(own: &Path) -> Result<()> {
    let image = overlay_image(own)?;
    if !is_same(&own_exe()?, &image)? {
        return Err(Error::message("the binary was replaced after its start"));
    }
    remap::onto(image.as_fd())?;
    let _ = HOST_PATH.set(own.to_owned());
    Ok(())
}

/// Whether two files have the same content, as far as times and size tell. An overlay has those of the files below it.
fn is_same(one: &OwnedFd, other: &OwnedFd) -> Result<bool> {
    let facts = |file| -> Result<_> {
        let stat = rustix::fs::fstat(file).call(|| "fstat(binary)")?;
        Ok((
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        ))
    };
    Ok(facts(one)? == facts(other)?)
}

/// The first 4096 bytes of a file, or all of a shorter one.
pub fn first_page(path: &Path) -> Result<Vec<u8>> {
    let file =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).call(|| format!("open({path:?})"))?;
    let mut page = vec![0; 4096];
    let n = rustix::io::pread(&file, &mut page[..], 0).call(|| format!("pread({path:?})"))?;
    page.truncate(n);
    Ok(page)
}

/// The environment as `NAME=VALUE` strings.
fn own_environment() -> Result<Vec<CString>> {
    std::env::vars_os()
        .map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            CString::new(entry).map_err(|_| Error::message("a NUL byte in the environment"))
        })
        .collect()
}

fn own_exe() -> Result<OwnedFd> {
    rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| "open(\"/proc/self/exe\")")
}

/// A detached read-only overlay whose lower layer is the folder of `program`, and `program` in it.
fn overlay_image(program: &Path) -> Result<OwnedFd> {
    let (Some(folder), Some(name)) = (program.parent(), program.file_name()) else {
        return Err(Error::message("the binary's path has no folder"));
    };
    if folder
        .as_os_str()
        .as_bytes()
        .iter()
        .any(|b| matches!(b, b':' | b'\\' | b','))
    {
        return Err(Error::message(
            "the binary's folder cannot be named as an overlay layer",
        ));
    }
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).call(|| "fsopen(\"overlay\")")?;
    let mut layers = folder.as_os_str().as_bytes().to_vec();
    layers.push(b':');
    layers.extend_from_slice(SECOND_LAYER.as_bytes());
    rustix::mount::fsconfig_set_string(&fs, "lowerdir", layers).call(|| "fsconfig(\"lowerdir\")")?;
    rustix::mount::fsconfig_create(&fs).call(|| "fsconfig(CMD_CREATE)")?;
    let flags =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let mount = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags).call(|| "fsmount(overlay)")?;
    let image = rustix::fs::openat(
        &mount,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call(|| "openat(overlay)")?;
    let stat = rustix::fs::fstat(&image).call(|| "fstat(overlay)")?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Error::message("the binary is not a regular file"));
    }
    Ok(image)
}

/// A sealed copy of `program` in memory.
fn memfd_image(program: &Path) -> Result<OwnedFd> {
    let file = rustix::fs::open(program, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({program:?})"))?;
    let size = rustix::fs::fstat(&file).call(|| "fstat(binary)")?.st_size as u64;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let image = rustix::fs::memfd_create("runw", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("runw", flags))
        .call(|| "memfd_create(\"runw\")")?;
    let mut offset = 0;
    while offset < size {
        let left = (size - offset) as usize;
        let n = rustix::fs::sendfile(&image, &file, Some(&mut offset), left).call(|| "sendfile(binary)")?;
        if n == 0 {
            return Err(Error::message("the binary shrank while it was copied"));
        }
    }
    rustix::fs::fcntl_add_seals(
        &image,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )
    .call(|| "fcntl(F_ADD_SEALS)")?;
    Ok(image)
}

/// Executes an open file (execveat(2), `AT_EMPTY_PATH`).
fn exec_fd(image: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> Result<Infallible> {
    let args = pointers(args);
    let env = pointers(env);
    // SAFETY: both arrays are NULL-terminated and point to C strings that outlive the call.
    unsafe {
        nix::libc::syscall(
            nix::libc::SYS_execveat,
            image.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            nix::libc::AT_EMPTY_PATH,
        );
    }
    Err(Error::sys("execveat", nix::errno::Errno::last()))
}

/// Executes the program at `path` (execve(2)); returns only on failure.
pub fn exec(path: &OsStr, args: &[CString], env: &[CString]) -> Result<Infallible> {
    let c_path = c_string(path)?;
    let args = pointers(args);
    let env = pointers(env);
    // SAFETY: as in `exec_fd`.
    unsafe { nix::libc::execve(c_path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Err(Error::sys(
        format!("exec {}", path.display()),
        nix::errno::Errno::last(),
    ))
}

fn pointers(strings: &[CString]) -> Vec<*const nix::libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain(std::iter::once(std::ptr::null()))
        .collect()
}

/// A C string, or an error that names the one with a NUL byte in it.
pub fn c_string(text: &OsStr) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Error::message(format!("{text:?} holds a NUL byte")))
}
