//! Compiled profiles on disk, so that only the first container with a profile pays for libseccomp.
//!
//! The file name is the hash of everything that determines the program; the file ends with the hash of all its other bytes.
//! Whatever is odd about folder or file (owner, mode, length, checksum), the program is compiled anew: a cache never makes a
//! container fail, and a folder that others can write to is never read.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use oci_spec::runtime::LinuxSeccomp;
use rustix::fs::{Mode, OFlags};

use super::{Program, compile};
use crate::error::Result;
use crate::sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

/// Changes whenever the same profile would give another program or the file another layout.
const FORMAT: &[u8] = b"runw seccomp program 2\n";
const HASH: usize = blake3::OUT_LEN;
const HEAD: usize = FORMAT.len() + size_of::<u32>();
/// More files than this in the folder are a sign of profiles made up for each container; then it is emptied.
const MOST_FILES: usize = 256;

/// The program for `profile`: from `folder` if it is there, else compiled and put there. `None` compiles always.
///
/// # Errors
/// Those of [`compile`], never one of the cache.
pub fn program(profile: &LinuxSeccomp, folder: Option<&Path>) -> Result<Program> {
    let Some(folder) = folder else {
        return compile(profile);
    };
    let name = name(profile);
    if let Some(found) = load(folder, &name) {
        return Ok(found);
    }
    let program = compile(profile)?;
    // Not being able to keep it only costs the next start some time.
    let _ = store(folder, &name, &program);
    Ok(program)
}

/// The hash of all that the program depends on. The agent's address does not change it.
fn name(profile: &LinuxSeccomp) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(FORMAT);
    hasher.update(std::env::consts::ARCH.as_bytes());
    if let Ok(version) = libseccomp::ScmpVersion::current() {
        hasher.update(format!("{}.{}.{}", version.major, version.minor, version.micro).as_bytes());
    }
    let decisive = (
        profile.default_action(),
        profile.default_errno_ret(),
        profile.architectures(),
        profile.flags(),
        profile.syscalls(),
        profile.listener_path().is_some(),
    );
    match serde_json::to_vec(&decisive) {
        Ok(bytes) => hasher.update(&bytes),
        // Cannot happen for plain data; a profile that has no bytes must not share a name with another.
        Err(_) => hasher.update(format!("{profile:?}").as_bytes()),
    };
    hasher.finalize().to_hex().to_string()
}

/// Opens the cache folder if it is ours alone.
fn open_folder(folder: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&fd).ok()?;
    (stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0).then_some(fd)
}

fn load(folder: &Path, name: &str) -> Option<Program> {
    let folder = open_folder(folder)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty()).ok()?);
    let meta = file.metadata().ok()?;
    let most = HEAD + MAX_INSTRUCTIONS * size_of::<Instruction>() + HASH;
    if !meta.is_file()
        || meta.uid() != rustix::process::geteuid().as_raw()
        || meta.mode() & 0o077 != 0
        || meta.len() > most as u64
    {
        return None;
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.read_to_end(&mut bytes).ok()?;
    decode(&bytes)
}

fn store(folder: &Path, name: &str, program: &Program) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if open_folder(folder).is_none() {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    let old: Vec<_> = std::fs::read_dir(folder)?.flatten().collect();
    if old.len() >= MOST_FILES {
        for entry in old {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&encode(program)))
        .and_then(|()| std::fs::rename(&temporary, folder.join(name)));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

pub(super) fn encode(program: &Program) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + program.instructions.len() * size_of::<Instruction>() + HASH);
    out.extend_from_slice(FORMAT);
    out.extend_from_slice(&program.flags.to_ne_bytes());
    for i in &program.instructions {
        out.extend_from_slice(&i.code.to_ne_bytes());
        out.extend_from_slice(&[i.jt, i.jf]);
        out.extend_from_slice(&i.k.to_ne_bytes());
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

pub(super) fn decode(bytes: &[u8]) -> Option<Program> {
    let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
    if blake3::hash(content).as_bytes() != hash {
        return None;
    }
    let (flags, code) = content.strip_prefix(FORMAT)?.split_first_chunk()?;
    let (chunks, rest) = code.as_chunks();
    if chunks.is_empty() || !rest.is_empty() {
        return None;
    }
    Some(Program {
        flags: u32::from_ne_bytes(*flags),
        instructions: chunks.iter().map(Instruction::from_bytes).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("runw-cache-{test}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn some_program() -> Program {
        Program {
            flags: 4,
            instructions: vec![
                Instruction {
                    code: 6,
                    jt: 1,
                    jf: 2,
                    k: 0x7fff_0000
                };
                3
            ],
        }
    }

    #[test]
    fn what_is_stored_is_found_again() {
        let folder = Folder::new("roundtrip");
        assert_eq!(load(&folder.0, "a"), None);
        store(&folder.0, "a", &some_program()).unwrap();
        assert_eq!(load(&folder.0, "a"), Some(some_program()));
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = encode(&some_program());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None);
        }
        for end in 0..good.len() {
            assert_eq!(decode(&good[..end]), None);
        }
    }

    #[test]
    fn a_folder_or_file_that_others_may_touch_is_not_read() {
        let folder = Folder::new("modes");
        store(&folder.0, "a", &some_program()).unwrap();
        let file = folder.0.join("a");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o620)).unwrap();
        assert_eq!(load(&folder.0, "a"), None);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o770)).unwrap();
        assert_eq!(load(&folder.0, "a"), None);
        assert!(store(&folder.0, "b", &some_program()).is_err());
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let folder = Folder::new("link");
        store(&folder.0, "a", &some_program()).unwrap();
        std::os::unix::fs::symlink("a", folder.0.join("b")).unwrap();
        assert_eq!(load(&folder.0, "b"), None);
    }

    #[test]
    fn a_broken_file_is_replaced_by_the_next_compilation() {
        let folder = Folder::new("broken");
        let profile: LinuxSeccomp = serde_json::from_str(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mount"],"action":"SCMP_ACT_ERRNO"}]}"#,
        )
        .unwrap();
        let first = program(&profile, Some(&folder.0)).unwrap();
        let file = folder.0.join(name(&profile));
        std::fs::write(&file, b"rubbish").unwrap();
        assert_eq!(program(&profile, Some(&folder.0)).unwrap(), first);
        assert_eq!(load(&folder.0, &name(&profile)), Some(first));
    }
}
