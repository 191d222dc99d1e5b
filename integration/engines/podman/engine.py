"""Podman with storage, networks and settings of its own, in namespaces of its own."""

import shutil
import subprocess
from pathlib import Path

from common import programs
from common.space import Space, remove_cgroups
from common.suite import TOP, command, until

SETTINGS = """\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
firewall_driver = "iptables"
network_config_dir = "{work}/networks"
"""
STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{work}/storage"\nrunroot = "/run/containers/storage"\n'
# The parent of what Podman makes without asking us, which is that of Podman on the host as well.
SHARED_CGROUP = "libpod_parent"


class Podman(Space):
    """Calls Podman with one runtime as the default; use as a context manager."""

    image = "localhost/busybox"
    wasm_image = "localhost/tutorial"

    def __init__(self, runtime):
        super().__init__("podman")
        self.runtime = runtime
        self.had_cgroup = any(Path("/sys/fs/cgroup").glob(f"*/{SHARED_CGROUP}"))

    def enter(self):
        """Makes the namespaces, registers the runtime as an installation does, and imports the images."""
        super().enter()
        settings = self.work / "containers.conf"
        settings.write_text(SETTINGS.format(work=self.work))
        (self.work / "storage.conf").write_text(STORAGE.format(work=self.work))
        self.name_of_runtime = Path(self.runtime).name
        if self.name_of_runtime == "runw":
            subprocess.run([TOP / "scripts/register", "podman", self.runtime, settings], check=True, stderr=subprocess.DEVNULL)
        root = programs.busybox(self.work / "image")
        self.import_image(root, self.image, "CMD /bin/sh", "ENV PATH=/bin:/sbin:/usr/bin:/usr/sbin")
        module = self.work / "module"
        module.mkdir()
        shutil.copy(root / "hello.wasm", module)
        self.import_image(module, self.wasm_image, 'ENTRYPOINT ["/hello.wasm"]', platform=("--os", "wasi", "--arch", "wasm"))

    def environment(self):
        """Podman's own settings and nobody else's."""
        return {**super().environment(), "CONTAINERS_CONF": str(self.work / "containers.conf"),
                "CONTAINERS_STORAGE_CONF": str(self.work / "storage.conf"), "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}

    def import_image(self, root, name, *changes, platform=()):
        """Makes an image of one layer from a folder."""
        tar = root.with_suffix(".tar")
        subprocess.run(["tar", "-C", root, "--numeric-owner", "-cf", tar, "."], check=True)
        self.podman("import", *platform, *(word for change in changes for word in ("--change", change)), tar, name)

    def words(self, *words):
        """The command line of a call."""
        return self.inside("podman", "--runtime", self.name_of_runtime, *words)

    def podman(self, *words, **about):
        """Calls Podman."""
        return command(self.words(*words), self.environment(), **about)

    def run(self, *words, **about):
        """`podman run` with a cgroup below ours."""
        return self.podman("run", "--cgroup-parent", f"/{self.name}", *words, **about)

    def sh(self, script, *flags, **about):
        """Runs a shell script in a new container, which is gone afterwards."""
        return self.run("--rm", *flags, self.image, "sh", "-c", script, **about)

    def start(self, script, *flags, name="one"):
        """Starts a shell script in a detached container and waits until it says `ready`."""
        self.run("-d", "--name", name, *flags, self.image, "sh", "-c", script)
        self.said(name, "ready")

    def said(self, name, word):
        """Waits for a word in a container's log."""
        until(f"{name} says {word}", lambda: word in self.podman("logs", name).out)

    def state(self, name="one", template="{{.State.Status}} {{.State.ExitCode}}"):
        """What inspect says of a container."""
        return self.podman("inspect", "-f", template, name).out.strip()

    def tidy(self):
        """Removes what a case left."""
        self.podman("pod", "rm", "-af", "-t", "0", rc=None)
        self.podman("rm", "-af", "-t", "0", rc=None)

    def close(self):
        """Takes down Podman's own mounts with the namespaces, and the parent cgroup that it made."""
        super().close()
        if not self.had_cgroup:
            remove_cgroups(SHARED_CGROUP)
