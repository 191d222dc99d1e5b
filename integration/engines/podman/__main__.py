#!/usr/bin/env python3
"""Podman with the runtime under test: containers, pods, kube play, wasm among them.

    integration/engines/podman [--runtime PROGRAM] [PATTERN ...]

--runtime    what is tested; default $RUNW_RUNTIME, else target/bin/runw
PATTERN      only the cases whose names match one of these regular expressions
"""

import json
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # a test leaves nothing in the checkout
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.suite import Broken, Suite, criu, holds, until
from engine import Podman

suite = Suite("podman", __doc__)


def unified():
    """Whether containers live in the v2 hierarchy."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


@suite.case("run: streams, environment, exit codes")
def run(p):
    p.sh("echo out; echo err >&2; exit 3", rc=3, want="out\nerr")
    p.sh("cat", "-i", given="through\n", want="^through$")
    p.sh("echo $A $(id -u):$(id -g) $(pwd)", "-e", "A=blue", "--user", "1000:100", "-w", "/var", want="^blue 1000:100 /var$")
    p.sh("kill -9 $$", "--init", rc=137)
    for code in (0, 1, 42, 255):
        p.sh(f"exit {code}", rc=code)


@suite.case("programs that can't be run")
def unstartable(p):
    p.run("--rm", p.image, "no-such-program", rc=127, want="executable file.*not found in \\$PATH")
    p.run("--rm", p.image, "/no/such/program", rc=127, want="(?i)no such file or directory")
    p.run("--rm", p.image, "/etc/passwd", rc=126, want="(?i)permission denied")
    p.run("--rm", p.image, "/etc", rc=(126, 127))


@suite.case("mounts and limits")
def mounts(p):
    folder = p.work / "shared"
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("from the host\n")
    p.sh("cat /m/file; touch /m/new && exit 9; echo read only", "-v", f"{folder}:/m:ro", want="from the host\nread only|Read-only")
    p.sh("echo made >/m/made", "-v", f"{folder}:/m")
    holds("a file made in the container", (folder / "made").read_text(), "made\n")
    p.sh("df /scratch | tail -n 1 | cut -d' ' -f1; touch /here && exit 9; echo read only", "--read-only", "--tmpfs", "/scratch",
         want="tmpfs.*read only")
    p.sh("ulimit -n; cat /proc/self/oom_score_adj", "--ulimit", "nofile=300:300", "--oom-score-adj", "300", want="^300\n300$")
    limit = "memory.max" if unified() else "memory/memory.limit_in_bytes"
    p.sh(f"cat /sys/fs/cgroup/{limit}", "--memory", "64m", want="^67108864$")
    p.sh("grep -E 'CapEff|NoNewPrivs' /proc/self/status", "--cap-drop", "all", "--security-opt", "no-new-privileges",
         want="CapEff:\\s0000000000000000\nNoNewPrivs:\\s1")


@suite.case("a terminal")
def terminal(p):
    p.sh("tty; test -t 0 && test -t 1 && echo a terminal", "-t", want="/dev/pts/0\\s+a terminal")


@suite.case("user namespaces")
def user_namespace(p):
    p.sh("cat /proc/self/uid_map; id -u; touch /by-root; stat -c %u /by-root", "--uidmap", "0:200000:65536", "--gidmap", "0:200000:65536",
         want="^ +0 +200000 +65536\n0\n0$")


@suite.case("stop, start again, kill, wait")
def life(p):
    p.start("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    p.podman("stop", "-t", "30", "one")
    holds("state after stop", p.state(), "exited 7")
    p.podman("start", "one")
    until("it runs again", lambda: p.podman("logs", "one").out.count("ready") == 2)
    p.podman("kill", "-s", "KILL", "one")
    p.podman("wait", "one", want="^137$")
    holds("state after kill", p.state(), "exited 137")
    p.podman("rm", "one")
    p.podman("inspect", "one", rc=125)


@suite.case("signal of the image's choice")
def stop_signal(p):
    p.start("trap 'exit 5' USR1; echo ready; while :; do sleep 0.1; done", "--stop-signal", "USR1")
    p.podman("stop", "-t", "30", "one")
    holds("state after stop", p.state(), "exited 5")


@suite.case("restart on failure")
def restarts(p):
    p.run("-d", "--name", "one", "--restart", "on-failure:2", p.image, "sh", "-c", "echo once; exit 6")
    until("two restarts", lambda: p.podman("logs", "one").out.count("once") == 3)
    until("it ends", lambda: p.state() == "exited 6")
    holds("restarts", p.state(template="{{.RestartCount}}"), "2")


@suite.case("logs -f follows to the end")
def logs(p):
    p.start("echo ready; for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.2; done")
    follow = subprocess.run(p.words("logs", "-f", "one"), env=p.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=120)
    holds("lines", follow.stdout.split("\n"), ["ready", *(f"line {n}" for n in range(1, 9)), ""])
    holds("state at the end of the log", until("it ends", lambda: p.state() == "exited 0"), True)


@suite.case("published port and a network of the user's")
def network(p):
    p.podman("network", "create", "net1")
    try:
        p.start("echo ready; exec /service serve 80", "--network", "net1", "-p", "8085:80", "-e", "VERSION=net")
        fetch = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8085/', timeout=20).read().decode())"
        until("the server answers", lambda: "native net" in subprocess.run(
            p.inside(sys.executable, "-c", fetch), env=p.environment(), capture_output=True, text=True).stdout)
    finally:
        p.tidy()
        p.podman("network", "rm", "-f", "net1", rc=None)


# Podman lets only some runtimes go without cgroups, and runc is not one of them.
@suite.case("without cgroups", ours=True)
def cgroupless(p):
    own = Path("/proc/self/cgroup").read_text()
    # The container stays in the cgroups of its conmon, and nothing is made for it.
    reply = p.podman("run", "--rm", "--network", "none", "--cgroups=disabled", "--cgroupns", "host", p.image, "cat", "/proc/self/cgroup")
    for line in reply.out.splitlines():
        if "libpod" in line or line not in own.splitlines():
            raise Broken(f"a cgroup was made: {line}")
    p.podman("run", "-d", "--name", "one", "--network", "none", "--cgroups=disabled", p.image, "sleep", "100")
    p.podman("kill", "one")
    until("it ends", lambda: p.state() == "exited 137")


@suite.case("pods of native containers")
def pod(p):
    p.podman("pod", "create", "--name", "p1", "--cgroup-parent", f"/{p.name}")
    p.podman("run", "-d", "--pod", "p1", "--name", "server", "-e", "VERSION=pod", p.image, "/service", "serve", "80")
    p.said("server", "ready")
    p.podman("run", "--rm", "--pod", "p1", p.image, "wget", "-q", "-O", "-", "http://127.0.0.1/", want="^native pod$")
    holds("state of the pod", p.podman("pod", "inspect", "-f", "{{.State}}", "p1").out.strip(), "Running")
    p.podman("pod", "stop", "-t", "1", "p1")
    until("the pod stops", lambda: p.podman("pod", "inspect", "-f", "{{.State}}", "p1").out.strip() == "Exited")
    p.podman("pod", "start", "p1")
    until("the server runs again", lambda: p.podman("logs", "server").out.count("ready") == 2)
    p.podman("pod", "rm", "-f", "-t", "0", "p1")


@suite.case("a wasm container in a pod", ours=True)
def wasm_pod(p):
    p.podman("pod", "create", "--name", "p2", "--cgroup-parent", f"/{p.name}")
    p.podman("run", "-d", "--pod", "p2", "--name", "module", "-e", "VERSION=pod", p.image, "/service.wasm", "serve", "80")
    p.said("module", "ready")
    # They share the pod's network: the native one finds the module's server on its own loopback device.
    p.podman("run", "--rm", "--pod", "p2", p.image, "wget", "-q", "-O", "-", "http://127.0.0.1/", want="^WebAssembly pod$")
    began = time.monotonic()
    p.podman("stop", "-t", "60", "module")
    holds("stop waited for the module", time.monotonic() - began < 20, True)
    holds("state of the module", p.state("module"), "exited 143")


@suite.case("wasm: a module in a linux image and an image for wasi/wasm", ours=True)
def wasm(p):
    p.run("--rm", p.image, "/hello.wasm", "a", "two words", want="^Hello from a WebAssembly.*argv.2. = two words$")
    for code in (0, 3, 255):
        p.run("--rm", p.image, "/hello.wasm", "exit", code, rc=code)
    p.run("--rm", "-i", p.image, "/hello.wasm", "cat", given="through a module\n", want="^through a module$")
    # Nothing says --runtime here: the platform alone leads to runw-wasm.
    plain = p.inside("podman", "run", "--rm", "--cgroup-parent", f"/{p.name}", "--platform", "wasi/wasm", p.wasm_image, "exit", "4")
    found = subprocess.run(plain, env=p.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    holds(f"exit code by the platform alone ({found.stderr.strip()})", found.returncode, 4)


KUBE = """\
apiVersion: v1
kind: Pod
metadata:
  name: kube
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    image: {image}
    imagePullPolicy: Never
    command: ["{server}", "serve", "80"]
    env: [{{name: VERSION, value: kube}}]
  - name: client
    image: {image}
    imagePullPolicy: Never
    command: ["sh", "-c", "until wget -q -O - http://127.0.0.1/; do sleep 0.2; done; echo asked; exec sleep 1000"]
    resources: {{limits: {{memory: 64Mi}}}}
"""


def kube_play(p, server, answer):
    """Plays a pod of a server and its client, and takes it down."""
    manifest = p.work / "pod.yaml"
    manifest.write_text(KUBE.format(image=p.image, server=server))
    p.podman("kube", "play", manifest)
    p.said("kube-client", "asked")
    p.podman("logs", "kube-client", want=answer)
    state = json.loads(p.podman("pod", "inspect", "kube").out)
    # Podman 5 gives a list here, older ones the object itself.
    state = state[0] if isinstance(state, list) else state
    holds("containers that run", [c["State"] for c in state["Containers"]], ["running"] * 3)
    p.podman("kube", "down", manifest)
    holds("pods that are left", p.podman("pod", "ps", "-q").out, "")


@suite.case("kube play")
def kube(p):
    kube_play(p, "/service", "native kube")


@suite.case("kube play with a wasm container", ours=True)
def wasm_kube(p):
    kube_play(p, "/service.wasm", "WebAssembly kube")


@suite.case("exec")
def execute(p):
    p.start("echo ready; exec sleep 1000", "-e", "A=1")
    p.podman("exec", "-e", "B=2", "-w", "/var", "--user", "1000", "one", "sh", "-c", "echo $A $B $(pwd) $(id -u)", want="^1 2 /var 1000$")
    p.podman("exec", "one", "sh", "-c", "exit 3", rc=3)
    p.podman("exec", "-i", "one", "cat", given="through exec\n", want="^through exec$")
    p.podman("exec", "-t", "one", "sh", "-c", "test -t 0 && echo a terminal", want="a terminal")
    p.podman("exec", "one", "no-such-program", rc=127)
    p.podman("exec", "one", "/etc/passwd", rc=126)
    p.podman("exec", "-d", "one", "touch", "/detached")
    until("the detached exec", lambda: p.podman("exec", "one", "test", "-e", "/detached", rc=None).rc == 0)


@suite.case("exec into a wasm container", ours=True)
def wasm_exec(p):
    p.run("-d", "--name", "module", p.image, "/service.wasm", "serve", "80")
    p.said("module", "ready")
    p.podman("exec", "module", "wget", "-q", "-O", "-", "http://127.0.0.1/", want="WebAssembly")
    p.podman("exec", "module", "/hello.wasm", "exit", "7", rc=7)


@suite.case("health check")
def health(p):
    p.start("touch /well; echo ready; exec sleep 1000", "--health-cmd", "test -e /well", "--health-interval", "disable", "--health-retries", "1")
    p.podman("healthcheck", "run", "one")
    holds("health", p.state(template="{{.State.Health.Status}}"), "healthy")
    p.podman("exec", "one", "rm", "/well")
    p.podman("healthcheck", "run", "one", rc=1)
    holds("health", p.state(template="{{.State.Health.Status}}"), "unhealthy")


@suite.case("top and stats")
def top(p):
    p.start("sleep 1001 & echo ready; exec sleep 1000")
    p.podman("top", "one", "args", want="sleep 1000 *\nsleep 1001")
    p.podman("stats", "--no-stream", "--format", "{{.PIDs}}", "one", want="^2$")


@suite.case("pause and unpause")
def pause(p):
    p.start("echo ready; while :; do date +%s%N; sleep 0.05; done")
    p.podman("pause", "one")
    holds("state", p.state(template="{{.State.Status}}"), "paused")
    first = p.podman("logs", "one").out
    time.sleep(0.5)
    holds("nothing said meanwhile", p.podman("logs", "one").out == first, True)
    p.podman("unpause", "one")
    until("it goes on", lambda: p.podman("logs", "one").out != first)


@suite.case("update")
def update(p):
    p.start("echo ready; exec sleep 1000", "--memory", "64m")
    p.podman("update", "--memory", "32m", "--pids-limit", "20", "one")
    file = "memory.max" if unified() else "memory/memory.limit_in_bytes"
    p.podman("exec", "one", "cat", f"/sys/fs/cgroup/{file}", want="^33554432$")


COUNTER = "i=0; echo ready; while :; do i=$((i + 1)); echo $i >/count.new; mv /count.new /count; echo line $i; sleep 0.05; done"


def count(p):
    """How far the container `one` has come."""
    return int(p.podman("exec", "one", "cat", "/count").out)


def counts_on(p):
    """Waits for it to go on."""
    now = count(p)
    until("it counts on", lambda: count(p) > now + 3)


@suite.case("checkpoint and restore", lacks=criu)
def checkpoint(p):
    p.start(COUNTER)
    until("it counts", lambda: count(p) > 3)
    ident = p.state(template="{{.Id}}")
    saved = count(p)
    p.podman("container", "checkpoint", "one")
    holds("state after a checkpoint", p.state(template="{{.State.Status}} {{.State.Checkpointed}}"), "exited true")
    p.podman("container", "restore", "one")
    holds("state after a restore", p.state(template="{{.State.Status}} {{.Id}}"), f"running {ident}")
    holds("it did not begin anew", count(p) >= saved, True)
    counts_on(p)
    # conmon still gets what it says.
    p.podman("logs", "--tail", "1", "one", want="line [0-9]+")
    p.podman("container", "checkpoint", "--leave-running", "one")
    holds("state", p.state(template="{{.State.Status}}"), "running")
    counts_on(p)
    p.podman("kill", "one")
    until("it ends", lambda: p.state() == "exited 137")


@suite.case("a checkpoint goes elsewhere as a file", lacks=criu)
def migrate(p):
    p.start(COUNTER)
    until("it counts", lambda: count(p) > 3)
    saved = count(p)
    file = p.work / "checkpoint.tar"
    p.podman("container", "checkpoint", "--tcp-established", "--file-locks", "--export", file, "one")
    p.podman("rm", "one")
    p.podman("container", "restore", "--tcp-established", "--file-locks", "--import", file)
    holds("it did not begin anew", count(p) >= saved, True)
    counts_on(p)


@suite.case("checkpoint of a module is refused and leaves it alone", ours=True)
def wasm_checkpoint(p):
    p.run("-d", "--name", "module", p.image, "/service.wasm", "count")
    p.said("module", "WebAssembly 3")
    p.podman("container", "checkpoint", "module", rc=125, want="checkpoint is not supported for WebAssembly containers")
    holds("state", p.state("module", "{{.State.Status}}"), "running")


suite.main(Podman)
