"""Namespaces of a test's own: network, mounts, processes, /run and cgroups, so that an engine changes nothing of the host."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

# The first process of the namespaces. It stays, reaps whatever is orphaned, and takes all the rest with it when it is
# killed. /run is private because containerd's shims put sockets there under fixed names. Before the new proc is mounted,
# the old one still tells it what its process id is on the outside. Arguments: the ready file, then source and target of binds.
ANCHOR = """
read -r pid _ </proc/self/stat
mount --make-rprivate / && mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mount --make-rshared / || exit 1
ready=$1
shift
while [ $# -gt 1 ]; do
    mount --bind "$1" "$2" || exit 1
    shift 2
done
ip link set lo up && echo "$pid" >"$ready.new" && mv "$ready.new" "$ready" || exit 1
while :; do sleep 3600 & wait; done
"""


class Space:
    """A work folder and namespaces for an engine; use as a context manager. Its name is free for cgroups, which go with it."""

    def __init__(self, kind, binds=None):
        """`kind` goes into the name; `binds` maps paths of the machine to what the engine shall find there instead."""
        self.work = Path(tempfile.mkdtemp(prefix=f"runw-{kind}-", dir="/var/tmp"))
        self.name = self.work.name
        # Containers with user namespaces reach their roots through here as somebody else.
        self.work.chmod(0o711)
        self.binds = binds or {}
        self.daemons = []
        self.anchor = None
        self.anchor_pid = None

    def __enter__(self):
        try:
            self.enter()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def enter(self):
        """Makes the namespaces."""
        ready = self.work / "anchor.pid"
        binds = [str(word) for target, source in self.binds.items() for word in (source, target)]
        self.anchor = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child",
             "bash", "-c", ANCHOR, "anchor", ready, *binds], stdin=subprocess.DEVNULL)
        self.wait("get namespaces of its own", ready.exists, self.anchor)
        self.anchor_pid = int(ready.read_text())

    def inside(self, *command):
        """The command line that runs `command` in the namespaces."""
        return ["nsenter", "--target", str(self.anchor_pid), "--mount", "--net", "--pid", "--", *map(str, command)]

    def environment(self):
        """What an engine inherits. Debian keeps iptables and docker-proxy in sbin, which su and cron leave out of the PATH."""
        own = ("DOCKER_", "BUILDX_", "BUILDKIT_", "CONTAINER", "NOTIFY_SOCKET")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
        return {**kept, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}

    def daemon(self, *command, log, environment=None):
        """Starts a program in the namespaces that lives as long as they do."""
        with open(self.work / log, "ab") as out:
            process = subprocess.Popen(self.inside(*command), env=environment or self.environment(), stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out)
        self.daemons.append(process)
        return process

    def wait(self, what, done, process=None, seconds=90, log=None):
        """Waits until `done` gives something true, and gives that; the end of `process` or of patience is an error."""
        deadline = time.monotonic() + seconds
        while not (found := done()):
            if process is not None and process.poll() is not None or time.monotonic() > deadline:
                file = self.work / log if log else None
                tail = file.read_text(errors="replace")[-3000:] if file and file.exists() else ""
                raise RuntimeError(f"{self.name} did not {what}; its last words:\n{tail}")
            time.sleep(0.05)
        return found

    def close(self):
        """Ends every process in the namespaces, then removes what they leave outside: files and cgroups."""
        if self.anchor_pid is not None:
            # Process 1 of the namespace: its end is the end of all others in it.
            os.kill(self.anchor_pid, signal.SIGKILL)
            self.anchor_pid = None
        for process in (self.anchor, *self.daemons):
            if process is not None:
                process.wait()
        remove_cgroups(self.name)
        shutil.rmtree(self.work, ignore_errors=True)


def remove_cgroups(name):
    """Removes the cgroups of this name from all hierarchies; the kernel takes a moment to let go of the last processes."""
    tops = [*Path("/sys/fs/cgroup").glob(f"*/{name}"), Path("/sys/fs/cgroup") / name]
    for top in [top for top in tops if top.is_dir()]:
        if not (top / "cgroup.procs").exists():
            # A controller that is not mounted: Podman and CRIU make plain folders, and files in them.
            shutil.rmtree(top, ignore_errors=True)
            continue
        for folder in [*sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True), top]:
            for last in [False] * 200 + [True]:
                try:
                    folder.rmdir()
                    break
                except OSError:
                    if last:
                        raise
                    time.sleep(0.05)
