//! Edits of a bundle before it is run: its config, and the files below its root.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::bundle::Bundle;
use super::spec;

/// The config.
impl Bundle {
    /// Edits config.json by hand.
    pub fn config(mut self, edit: impl FnOnce(&mut Value)) -> Bundle {
        edit(&mut self.spec);
        self
    }

    /// Sets the value at a dotted path, `process.user.uid`; missing parents are made.
    pub fn set(self, path: &str, value: impl Into<Value>) -> Bundle {
        let value = value.into();
        self.config(|spec| *spec::at(spec, path) = value)
    }

    /// Appends to the array at a dotted path, which is made if missing.
    pub fn push(self, path: &str, value: impl Into<Value>) -> Bundle {
        let value = value.into();
        self.config(|spec| {
            let array = spec::at(spec, path);
            if array.is_null() {
                *array = json!([]);
            }
            array.as_array_mut().unwrap().push(value);
        })
    }

    /// Removes a property.
    pub fn without(self, path: &str) -> Bundle {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        self.config(|spec| {
            let parent = if parent.is_empty() {
                spec
            } else {
                spec::at(spec, parent)
            };
            parent.as_object_mut().unwrap().remove(name);
        })
    }

    /// Appends a mount.
    pub fn mount(self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Bundle {
        self.push("mounts", spec::mount(destination, kind, source, options))
    }

    /// Appends a bind mount of a path of the host.
    pub fn bind(self, source: impl AsRef<Path>, destination: &str, options: &[&str]) -> Bundle {
        let source = source.as_ref().to_str().unwrap().to_owned();
        self.mount(destination, "bind", &source, options)
    }

    /// Removes the mount at a destination.
    pub fn without_mount(self, destination: &str) -> Bundle {
        self.config(|spec| {
            spec["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|m| m["destination"] != destination)
        })
    }

    /// Adds a namespace, or changes the one of this type.
    pub fn namespace(self, kind: &str, path: Option<&str>) -> Bundle {
        let bundle = self.without_namespace(kind);
        match path {
            Some(path) => bundle.push("linux.namespaces", json!({ "type": kind, "path": path })),
            None => bundle.push("linux.namespaces", json!({ "type": kind })),
        }
    }

    /// Removes a namespace: the container shares the host's.
    pub fn without_namespace(self, kind: &str) -> Bundle {
        self.config(|spec| {
            spec["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .retain(|n| n["type"] != kind)
        })
    }

    /// A new user namespace in which 0.. is `host`.. outside; the root file system is given to its root.
    pub fn user_namespace(self, host: u32, size: u32) -> Bundle {
        let map = json!([{ "containerID": 0, "hostID": host, "size": size }]);
        let bundle = self
            .namespace("user", None)
            .set("linux.uidMappings", map.clone())
            .set("linux.gidMappings", map);
        chown_tree(&bundle.rootfs(), host);
        bundle
    }

    /// Replaces the five capability sets by one list.
    pub fn capabilities(self, names: &[&str]) -> Bundle {
        let sets = json!({ "bounding": names, "effective": names, "permitted": names });
        self.set("process.capabilities", sets)
    }

    /// Appends `NAME=value` to the environment.
    pub fn env(self, variable: &str) -> Bundle {
        self.push("process.env", variable)
    }

    /// Sets what the container runs.
    pub fn args(self, args: &[&str]) -> Bundle {
        self.set("process.args", args)
    }

    /// Sets a shell script as what the container runs.
    pub fn sh(self, script: &str) -> Bundle {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Writes this text as config.json instead of the config.
    pub fn raw_config(mut self, text: &str) -> Bundle {
        self.raw = Some(text.to_owned());
        self
    }
}

/// The root file system.
impl Bundle {
    /// Writes a file into the root file system, with its parents.
    pub fn file(self, path: &str, text: &str) -> Bundle {
        let file = self.in_rootfs(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self
    }

    /// Makes a folder in the root file system, with its parents.
    pub fn folder(self, path: &str) -> Bundle {
        fs::create_dir_all(self.in_rootfs(path)).unwrap();
        self
    }

    /// Makes a symbolic link in the root file system, in the place of what was there.
    pub fn symlink(self, path: &str, target: &str) -> Bundle {
        let link = self.in_rootfs(path);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        if link.is_dir() && !link.is_symlink() {
            fs::remove_dir_all(&link).unwrap();
        } else {
            let _ = fs::remove_file(&link);
        }
        std::os::unix::fs::symlink(target, link).unwrap();
        self
    }
}

/// Gives a whole tree to a user and group of the same number.
fn chown_tree(root: &Path, id: u32) {
    std::os::unix::fs::lchown(root, Some(id), Some(id)).unwrap();
    if root.is_dir() && !root.is_symlink() {
        for entry in fs::read_dir(root).unwrap() {
            chown_tree(&entry.unwrap().path(), id);
        }
    }
}
