"""containerd of our own, with its CRI plug-in, in namespaces of its own."""

import shutil
import subprocess
from pathlib import Path

from . import programs
from .archive import archive
from .space import Space
from .suite import TOP, command

# The pause image of a pod, made of what the distribution has for it.
PAUSE = Path("/usr/bin/catatonit")
SETTINGS = """\
version = 2
root = "{work}/root"
state = "/run/containerd"
[grpc]
  address = "{work}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Pods ask for a score below ours, and not every machine that runs this lets root lower it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{work}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
NETWORK = """\
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni-addresses",
  "ranges": [[{"subnet": "10.77.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
"""


class Containerd(Space):
    """containerd with images of busybox, of a wasm module and of a pod's pause; use as a context manager."""

    image, wasm_image = "localhost/busybox:1", "localhost/tutorial:1"

    def __init__(self, runtime, namespace="default"):
        """`namespace` is containerd's, in which images and containers are kept apart."""
        super().__init__("containerd")
        self.runtime, self.namespace = runtime, namespace
        self.process = None

    def enter(self):
        """Makes the namespaces, registers the runtime as an installation does, starts containerd and imports the images."""
        super().enter()
        (self.work / "cni").mkdir()
        (self.work / "cni/pods.conflist").write_text(NETWORK)
        settings = self.work / "config.toml"
        settings.write_text(SETTINGS.format(work=self.work))
        # A runtime's handler is called runw or runc.
        self.handler = Path(self.runtime).name
        if self.handler == "runw":
            subprocess.run([TOP / "scripts/register", "containerd", self.runtime, settings], check=True, stderr=subprocess.DEVNULL)
        self.start_daemon()
        root = programs.busybox(self.work / "image")
        self._import(root, self.image, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin:/sbin:/usr/bin:/usr/sbin"]})
        module, pause = self.work / "module", self.work / "pause"
        module.mkdir()
        shutil.copy(root / "hello.wasm", module)
        self._import(module, self.wasm_image, {"Entrypoint": ["/hello.wasm"]})
        pause.mkdir()
        shutil.copy(PAUSE, pause)
        self._import(pause, "localhost/pause:1", {"Entrypoint": ["/catatonit", "-P"]})

    def start_daemon(self):
        """Starts containerd, at first or once more, and waits until it answers."""
        run = 'echo $$ >"$1"; exec containerd --config "$2"'
        self.process = self.daemon("sh", "-c", run, "sh", self.work / "containerd.pid", self.work / "config.toml", log="containerd.log")
        self.wait("answer", lambda: subprocess.run(self.words("version"), env=self.environment(), capture_output=True).returncode == 0,
                  self.process, log="containerd.log")

    def kill_daemon(self):
        """Kills containerd as a crash does. Its pid is that of the inner namespace."""
        inner = (self.work / "containerd.pid").read_text().strip()
        subprocess.run(self.inside("kill", "-KILL", inner), check=True)
        self.process.wait()

    def words(self, *words):
        """The command line of a call of ctr."""
        return self.inside("ctr", "--address", self.work / "containerd.sock", "--namespace", self.namespace, *words)

    def ctr(self, *words, **about):
        """Calls ctr."""
        return command(self.words(*words), self.environment(), **about)

    def _import(self, root, name, config):
        file = archive(root, root.with_suffix(".tar"), name, config)
        self.ctr("images", "import", file)
