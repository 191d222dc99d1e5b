"""A Docker daemon of our own, in namespaces of its own."""

import json
import subprocess
import sys
from pathlib import Path

from .space import Space


class Engine(Space):
    """dockerd and its containerd in namespaces of their own; use as a context manager."""

    def __init__(self, runtimes, remapped=False, **settings):
        """`runtimes` maps a name to a program's path; `remapped` gives every container a user namespace; the rest are
        further settings as in daemon.json, with underscores for hyphens."""
        super().__init__("docker")
        self.log = self.work / "dockerd.log"
        self.path_first = self.work / "first-in-path"
        self.process = None
        self.settings = {
            "data-root": str(self.work / "data"),
            "pidfile": str(self.work / "dockerd.pid"),
            "hosts": ["unix://" + str(self.work / "docker.sock")],
            "cgroup-parent": "/" + self.name,
            "runtimes": {name: {"path": str(path)} for name, path in runtimes.items()},
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        if remapped:
            # The daemon wants a user that has ids to give away; it sees these lists instead of the machine's.
            for kind in ("subuid", "subgid"):
                (self.work / kind).write_text("nobody:100000:65536\n")
                self.binds[f"/etc/{kind}"] = self.work / kind
            self.settings["userns-remap"] = "nobody:nogroup"

    def enter(self):
        """Makes the namespaces and starts the daemon in them."""
        self.path_first.mkdir()
        (self.work / "client").mkdir()
        super().enter()
        self.start_daemon()

    def environment(self):
        """What a docker client needs: our socket, and no settings of the user's."""
        usual = super().environment()
        return {**usual, "PATH": f"{self.path_first}:{usual['PATH']}", "DOCKER_HOST": self.settings["hosts"][0],
                "DOCKER_CONFIG": str(self.work / "client")}

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
        self.signal_daemon("HUP")
        self.wait("read its changed settings", lambda: b"Reloaded configuration" in self.log.read_bytes()[seen:], log="dockerd.log")

    def start_daemon(self):
        """Starts dockerd, at first or once more, and waits until it answers."""
        self._write_settings()
        Path(self.settings["pidfile"]).unlink(missing_ok=True)
        self.process = self.daemon("dockerd", "--config-file", self.work / "daemon.json", log="dockerd.log")
        client = ["docker", "version", "--format", "{{.Server.Version}}"]
        self.wait("answer", lambda: subprocess.run(client, env=self.environment(), capture_output=True).returncode == 0,
                  self.process, log="dockerd.log")

    def kill_daemon(self):
        """Kills dockerd as a crash does. Its containerd goes with it; what live-restore keeps are the containers."""
        self.signal_daemon("KILL")
        self.process.wait()

    def signal_daemon(self, name):
        """Sends dockerd a signal. The pid file, like dockerd, knows only the inner process id."""
        inner = Path(self.settings["pidfile"]).read_text().strip()
        subprocess.run(self.inside("kill", "-" + name, inner), check=True)

    def close(self):
        """Stops the daemon in peace, so that it takes its containers and mounts down, and then all the rest."""
        if self.process is not None and self.process.poll() is None:
            self.signal_daemon("TERM")
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                print("dockerd did not stop within 20 s", file=sys.stderr)
        super().close()

    def _write_settings(self):
        (self.work / "daemon.json").write_text(json.dumps(self.settings, indent=1))
