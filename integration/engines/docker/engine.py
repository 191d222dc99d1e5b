"""A Docker daemon of our own: its own network, mounts, processes, /run, data and cgroups, so nothing of the host changes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The first process of the daemon's namespaces. It stays, reaps whatever is orphaned, and takes all the rest
# with it when it is killed. /run is private because containerd's shims put sockets there under fixed names.
# Before the new proc is mounted, the old one still tells it what its process id is on the outside.
ANCHOR = """
read -r pid _ </proc/self/stat
mount --make-rprivate / && mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mount --make-rshared / || exit 1
for ids in "$2"/subuid "$2"/subgid; do
    [ ! -e "$ids" ] || mount --bind "$ids" "/etc/${ids##*/}" || exit 1
done
ip link set lo up && echo "$pid" >"$1.new" && mv "$1.new" "$1" || exit 1
while :; do sleep 3600 & wait; done
"""


class Engine:
    """dockerd and its containerd in namespaces of their own; use as a context manager."""

    def __init__(self, runtimes, remapped=False):
        """`runtimes` maps a name to a program's path; `remapped` gives every container a user namespace."""
        self.work = Path(tempfile.mkdtemp(prefix="runw-docker-", dir="/var/tmp"))
        self.name = self.work.name
        self.log = self.work / "dockerd.log"
        self.path_first = self.work / "first-in-path"
        self.anchor = None
        self.anchor_pid = None
        self.daemon = None
        self.settings = {
            "data-root": str(self.work / "data"),
            "pidfile": str(self.work / "dockerd.pid"),
            "hosts": ["unix://" + str(self.work / "docker.sock")],
            "cgroup-parent": "/" + self.name,
            "runtimes": {name: {"path": str(path)} for name, path in runtimes.items()},
        }
        # Containers of a remapping daemon reach their roots through here as somebody else.
        self.work.chmod(0o711)
        if remapped:
            # The daemon wants a user that has ids to give away; it sees these lists instead of the machine's.
            (self.work / "subuid").write_text("nobody:100000:65536\n")
            (self.work / "subgid").write_text("nobody:100000:65536\n")
            self.settings["userns-remap"] = "nobody:nogroup"

    def __enter__(self):
        try:
            self._enter_namespaces()
            self._start_daemon()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def environment(self):
        """What a docker client needs: our socket, and no settings of the user's."""
        # Debian keeps iptables and docker-proxy in sbin, which su and cron leave out of the PATH.
        path = f"{self.path_first}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "BUILDX_", "BUILDKIT_"))},
            "PATH": path,
            "DOCKER_HOST": self.settings["hosts"][0],
            "DOCKER_CONFIG": str(self.work / "client"),
            "LC_ALL": "C.UTF-8",
        }

    def inside(self, *command):
        """The command line that runs `command` in the daemon's namespaces."""
        return ["nsenter", "--target", str(self.anchor_pid), "--mount", "--net", "--pid", "--", *map(str, command)]

    def import_image(self, rootfs, name, changes=()):
        """Makes an image of one layer from a folder."""
        tar = subprocess.Popen(["tar", "-C", rootfs, "--numeric-owner", "-c", "."], stdout=subprocess.PIPE)
        options = [word for change in changes for word in ("--change", change)]
        subprocess.run(
            ["docker", "import", *options, "-", name], stdin=tar.stdout, env=self.environment(), check=True,
            stdout=subprocess.DEVNULL,
        )
        tar.stdout.close()
        if tar.wait() != 0:
            raise RuntimeError(f"tar could not read {rootfs}")

    def program(self, runtime):
        """The program that a runtime's name stands for."""
        return self.settings["runtimes"][runtime]["path"]

    def put_first_in_path(self, name, program):
        """From now on the daemon finds `program` when it looks for `name`; None undoes it."""
        link = self.path_first / name
        link.unlink(missing_ok=True)
        if program is not None:
            link.symlink_to(program)

    def reconfigure(self, **settings):
        """Changes settings that dockerd takes over on SIGHUP, such as the default runtime, and waits until it has."""
        self.settings.update(settings)
        self._write_settings()
        seen = self.log.stat().st_size
        self._signal_daemon("HUP")
        self._wait("read its changed settings", lambda: b"Reloaded configuration" in self.log.read_bytes()[seen:])

    def close(self):
        """Ends every process in the namespaces, then removes what they leave outside: data and cgroups."""
        if self.daemon is not None and self.daemon.poll() is None:
            self._signal_daemon("TERM")
            try:
                self.daemon.wait(20)
            except subprocess.TimeoutExpired:
                print("dockerd did not stop within 20 s", file=sys.stderr)
        if self.anchor_pid is not None:
            # Process 1 of the namespace: its end is the end of all others in it.
            os.kill(self.anchor_pid, signal.SIGKILL)
        for process in (self.anchor, self.daemon):
            if process is not None:
                process.wait()
        self._remove_cgroups()
        shutil.rmtree(self.work, ignore_errors=True)

    def _enter_namespaces(self):
        ready = self.work / "anchor.pid"
        self.path_first.mkdir()
        self.anchor = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child",
             "bash", "-c", ANCHOR, "anchor", ready, self.work],
        )
        self._wait("get namespaces of its own", ready.exists, self.anchor)
        self.anchor_pid = int(ready.read_text())

    def _start_daemon(self):
        (self.work / "client").mkdir()
        self._write_settings()
        with self.log.open("wb") as log:
            command = self.inside("dockerd", "--config-file", self.work / "daemon.json")
            self.daemon = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        client = ["docker", "version", "--format", "{{.Server.Version}}"]
        self._wait("answer", lambda: subprocess.run(client, env=self.environment(), capture_output=True).returncode == 0,
                   self.daemon)

    def _signal_daemon(self, name):
        # The pid file, like dockerd, knows only the inner process id.
        inner = Path(self.settings["pidfile"]).read_text().strip()
        subprocess.run(self.inside("kill", "-" + name, inner), check=True)

    def _write_settings(self):
        (self.work / "daemon.json").write_text(json.dumps(self.settings, indent=1))

    def _wait(self, what, done, process=None, seconds=60):
        deadline = time.monotonic() + seconds
        while not done():
            if process is not None and process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
                raise RuntimeError(f"the Docker daemon did not {what}; its last words:\n{tail}")
            time.sleep(0.05)

    def _remove_cgroups(self):
        for top in [*Path("/sys/fs/cgroup").glob(f"*/{self.name}"), Path("/sys/fs/cgroup") / self.name]:
            folders = sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True) if top.is_dir() else []
            for folder in [*folders, top] if top.is_dir() else []:
                folder.rmdir()
