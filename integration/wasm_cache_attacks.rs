//! Native code of WebAssembly modules is never believed: what others could have touched is not loaded. Ours alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::harness::guest;
use crate::wasm_cache::{Cache, Ran, hello};

/// Spoils the artifact and expects that it goes without having been loaded, and that another is made.
#[track_caller]
fn is_not_loaded(spoil: impl FnOnce(&Path)) {
    let (cache, c) = (Cache::new(), hello());
    assert_eq!(cache.run(&c, "wait"), Ran::Natively);
    let artifact = cache.artifact();
    spoil(&artifact);
    let before = fs::symlink_metadata(&artifact).unwrap();
    let (ran, log) = cache.run_logged(&c, "wait");
    assert_eq!(ran, Ran::Natively);
    assert!(log.contains("is not loaded but removed: "), "{log}");
    let after = fs::symlink_metadata(&artifact).unwrap();
    assert_eq!((after.uid(), after.mode() & 0o7777), (0, 0o444));
    assert_ne!((after.ino(), after.ctime()), (before.ino(), before.ctime()));
    let (ran, log) = cache.run_logged(&c, "wait");
    assert_eq!(ran, Ran::Natively);
    assert!(!log.contains("removed"), "{log}");
}

#[test]
fn a_tampered_artifact_is_not_loaded() {
    only!(Runw; "modules are run by our own engine");
    is_not_loaded(|artifact| {
        let mut bytes = fs::read(artifact).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(artifact, bytes).unwrap();
    });
}

#[test]
fn a_truncated_artifact_is_not_loaded() {
    only!(Runw; "modules are run by our own engine");
    is_not_loaded(|artifact| {
        let bytes = fs::read(artifact).unwrap();
        fs::write(artifact, &bytes[..bytes.len() - 100]).unwrap();
    });
}

#[test]
fn an_artifact_that_others_may_write_to_is_not_loaded() {
    only!(Runw; "modules are run by our own engine");
    is_not_loaded(|artifact| fs::set_permissions(artifact, PermissionsExt::from_mode(0o446)).unwrap());
}

#[test]
fn an_artifact_of_somebody_else_is_not_loaded() {
    only!(Runw; "modules are run by our own engine");
    is_not_loaded(|artifact| chown(artifact, Some(1000), Some(1000)).unwrap());
}

#[test]
fn a_link_in_the_place_of_an_artifact_is_not_followed() {
    only!(Runw; "modules are run by our own engine");
    is_not_loaded(|artifact| {
        let elsewhere = artifact.with_file_name("elsewhere");
        fs::rename(artifact, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, artifact).unwrap();
    });
}

/// The other module prints other words, so that running its code would be seen.
#[test]
fn an_artifact_of_another_module_is_not_loaded() {
    only!(Runw; "modules are run by our own engine");
    let (cache, other) = (Cache::new(), Cache::new_for("other"));
    let c = hello();
    assert_eq!(cache.run(&c, "wait"), Ran::Natively);
    let call = guest("view").args(&["/view.wasm", "args", "x"]);
    let call = call
        .call("run")
        .flag("--wasm-aot=wait")
        .flag("--wasm-cache")
        .flag(&other.0)
        .output();
    call.ok();
    fs::rename(other.artifact(), cache.artifact()).unwrap();
    let (ran, log) = cache.run_logged(&c, "background");
    assert_eq!(ran, Ran::Interpreted);
    assert!(log.contains("it was made for something else"), "{log}");
}

#[test]
fn a_cache_of_somebody_else_is_not_used() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), hello());
    assert_eq!(cache.run(&c, "wait"), Ran::Natively);
    for spoil in [
        |path: &Path| chown(path, Some(1000), None).unwrap(),
        |path: &Path| {
            chown(path, Some(0), None).unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o770)).unwrap();
        },
    ] {
        spoil(&cache.0);
        let (ran, log) = cache.run_logged(&c, "background");
        assert_eq!(ran, Ran::Interpreted);
        assert!(log.contains("nobody else may write to it"), "{log}");
    }
}

#[test]
fn another_user_cannot_write_to_the_cache() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), hello());
    assert_eq!(cache.run(&c, "wait"), Ran::Natively);
    let artifact = cache.artifact();
    let script = format!(
        "echo >> {0} || echo > {1}/new || rm -f {0} || ls {1}",
        artifact.display(),
        cache.0.display()
    );
    let user = [
        "setpriv",
        "--reuid=1000",
        "--regid=1000",
        "--clear-groups",
        "sh",
        "-c",
        &script,
    ];
    let output = Command::new(user[0]).args(&user[1..]).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(cache.run(&c, "off"), Ran::Interpreted);
    assert_eq!(cache.run(&c, "background"), Ran::Natively);
}
