#!/usr/bin/env python3
"""containerd's CRI plug-in with the runtime under test, as a kubelet would use it: pods, native and wasm containers in them.

    integration/engines/cri [--runtime PROGRAM] [PATTERN ...]

--runtime    what is tested; default $RUNW_RUNTIME, else target/bin/runw
PATTERN      only the cases whose names match one of these regular expressions
"""

import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # a test leaves nothing in the checkout
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from client import Refused, call
from common.containerd import Containerd
from common.suite import Broken, Suite, command, holds, until

suite = Suite("cri", __doc__)
READY, RUNNING, EXITED = 0, 1, 2
# Values of the enumeration NamespaceMode.
CONTAINER, NODE = 1, 2


class Kubelet(Containerd):
    """Calls the CRI as a kubelet does; pods run with the RuntimeClass handler of the runtime under test."""

    def __init__(self, runtime):
        super().__init__(runtime, namespace="k8s.io")
        self.pods, self.count = {}, 0

    def cri(self, method, **request):
        """One call of the CRI."""
        return call(self.work / "containerd.sock", method, **request)

    def pod(self, **config):
        """A new pod; gives its id."""
        self.count += 1
        linux = {"cgroup_parent": f"/{self.name}", **config.pop("linux", {})}
        config = {"metadata": {"name": f"pod{self.count}", "uid": f"uid{self.count}", "namespace": "tests"}, "hostname": f"pod{self.count}",
                  "log_directory": str(self.work / "logs"), **config, "linux": linux}
        ident = self.cri("RunPodSandbox", config=config, runtime_handler=self.handler)["pod_sandbox_id"]
        self.pods[ident] = config
        return ident

    def create(self, pod, name, *command, env=None, **config):
        """A new container of a pod; gives its id."""
        envs = [{"key": key, "value": value} for key, value in (env or {}).items()]
        config = {"metadata": {"name": name}, "image": {"image": self.image}, "command": command, "envs": envs,
                  "log_path": f"{pod}-{name}.log", **config}
        return self.cri("CreateContainer", pod_sandbox_id=pod, config=config, sandbox_config=self.pods[pod])["container_id"]

    def run(self, pod, name, *command, **config):
        """A started container; gives its id."""
        ident = self.create(pod, name, *command, **config)
        self.cri("StartContainer", container_id=ident)
        return ident

    def log(self, pod, name):
        """What a container said, without the dates and stream names that the CRI puts before lines."""
        file = self.work / "logs" / f"{pod}-{name}.log"
        return "\n".join(line.split(" ", 3)[3] for line in file.read_text().splitlines()) if file.exists() else ""

    def said(self, pod, name, word):
        """Waits for a word in a container's log."""
        until(f"{name} says {word}; it says {self.log(pod, name)!r}", lambda: word in self.log(pod, name))

    def status(self, ident):
        """The status of a container."""
        return self.cri("ContainerStatus", container_id=ident)["status"]

    def ended(self, ident, code):
        """Waits for a container's end and holds its exit code."""
        until("the container ends", lambda: self.status(ident)["state"] == EXITED)
        holds("exit code", self.status(ident)["exit_code"], code)

    def execute(self, ident, *command, rc=0):
        """ExecSync; gives what the program printed."""
        reply = self.cri("ExecSync", container_id=ident, cmd=command, timeout=60)
        holds(f"exit code of {command} ({reply['stderr'].strip()})", reply["exit_code"], rc)
        return reply["stdout"]

    def tidy(self):
        """Stops and removes all pods, and with them their containers."""
        for pod in list(self.pods):
            try:
                self.cri("StopPodSandbox", pod_sandbox_id=pod)
                self.cri("RemovePodSandbox", pod_sandbox_id=pod)
            except Broken:
                pass  # what is still there goes with the namespaces
            del self.pods[pod]


@suite.case("what the plug-in says of itself and of the handler")
def about(k):
    holds("name", k.cri("Version", version="v1")["runtime_name"], "containerd")
    status = k.cri("Status")
    conditions = {condition["type"]: condition["status"] for condition in status["status"]["conditions"]}
    holds("conditions", (conditions["RuntimeReady"], conditions["NetworkReady"]), (True, True))
    # containerd tells features of handlers from 2.0 on.
    handlers = {handler["name"]: handler["features"] for handler in status["runtime_handlers"]}
    if handlers:
        holds("features of the handler", handlers[k.handler], {"recursive_read_only_mounts": True, "user_namespaces": True})


@suite.case("an unknown handler is refused")
def unknown(k):
    try:
        k.cri("RunPodSandbox", config={"metadata": {"name": "x", "uid": "x", "namespace": "x"}}, runtime_handler="no-such")
    except Refused as error:
        holds("the reason names it", "no-such" in str(error), True)
        return
    raise Broken("a pod of an unknown handler runs")


@suite.case("a pod's life")
def life(k):
    pod = k.pod()
    status = k.cri("PodSandboxStatus", pod_sandbox_id=pod)["status"]
    holds("state and handler", (status["state"], status["runtime_handler"]), (READY, k.handler))
    one = k.create(pod, "one", "sh", "-c", "trap 'exit 7' TERM; echo ready; hostname; while :; do sleep 0.1; done")
    holds("state before the start", k.status(one)["state"], 0)
    k.cri("StartContainer", container_id=one)
    k.said(pod, "one", f"pod{k.count}")
    holds("state", k.status(one)["state"], RUNNING)
    k.cri("StopContainer", container_id=one, timeout=60)
    k.ended(one, 7)
    k.cri("RemoveContainer", container_id=one)
    k.cri("StopPodSandbox", pod_sandbox_id=pod)
    holds("state of the stopped pod", k.cri("PodSandboxStatus", pod_sandbox_id=pod)["status"]["state"], 1)
    k.cri("RemovePodSandbox", pod_sandbox_id=pod)
    del k.pods[pod]


@suite.case("exit codes and programs that can't be run")
def exit_codes(k):
    pod = k.pod()
    for code in (0, 3, 255):
        k.ended(k.run(pod, f"c{code}", "sh", "-c", f"exit {code}"), code)
    killed = k.run(pod, "killed", "sleep", "1000")
    k.cri("StopContainer", container_id=killed, timeout=0)
    k.ended(killed, 137)
    try:
        k.run(pod, "missing", "no-such-program")
    except Refused as error:
        holds("the reason", 'exec: "no-such-program": executable file not found in $PATH' in str(error), True)
    else:
        raise Broken("a missing program runs")


@suite.case("containers of a pod share network, IPC and, if asked to, processes")
def shared(k):
    pod = k.pod(linux={"security_context": {"namespace_options": {"pid": 0}}})
    server = k.run(pod, "server", "/service", "serve", "80", env={"VERSION": "pod"})
    k.said(pod, "server", "ready")
    options = {"namespace_options": {"pid": 0}}
    client = k.run(pod, "client", "sh", "-c", "wget -q -O - http://127.0.0.1/; ps -o args; for n in net ipc uts pid; do readlink /proc/self/ns/$n; done",
                   linux={"security_context": options})
    k.ended(client, 0)
    said = k.log(pod, "client")
    holds(f"the server's answer ({said})", "native pod" in said, True)
    holds(f"processes of the pod ({said})", "catatonit" in said, True)
    holds("state of the server", k.status(server)["state"], RUNNING)
    # The pod's address is reached from outside of it.
    address = k.cri("PodSandboxStatus", pod_sandbox_id=pod)["status"]["network"]["ip"]
    fetch = f"import urllib.request; print(urllib.request.urlopen('http://{address}/', timeout=20).read().decode())"
    command(k.inside(sys.executable, "-c", fetch), k.environment(), want="^native pod$")


@suite.case("a container's security context")
def security(k):
    pod = k.pod(linux={"sysctls": {"net.ipv4.ip_unprivileged_port_start": "77"}})
    context = {"run_as_user": {"value": 1000}, "readonly_rootfs": True, "no_new_privs": True, "seccomp": {"profile_type": 0},
               "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"]}}
    script = ("id -u; touch /x 2>&1; grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; cat /proc/sys/net/ipv4/ip_unprivileged_port_start;"
              "ls /proc/acpi | wc -l; echo $(cat /proc/self/oom_score_adj)")
    one = k.run(pod, "one", "sh", "-c", script, linux={"security_context": context, "resources": {"oom_score_adj": 500}})
    k.ended(one, 0)
    said = " ".join(k.log(pod, "one").split())
    for word in ("1000 touch: /x: Read-only file system", "CapBnd: 0000000000000400", "NoNewPrivs: 1", "Seccomp: 2", " 77 ", " 500"):
        holds(f"{word!r} in {said!r}", word in said, True)


@suite.case("mounts")
def mounts(k):
    folder = k.work / "volume"
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("from the host\n")
    where = {"container_path": "/volume", "host_path": str(folder)}
    pod = k.pod()
    k.ended(k.run(pod, "one", "sh", "-c", "cat /volume/file && touch /volume/by-one", mounts=[where]), 0)
    k.ended(k.run(pod, "two", "touch", "/volume/by-two", mounts=[{**where, "readonly": True}]), 1)
    holds("files", sorted(path.name for path in folder.iterdir()), ["by-one", "file"])


def limit_of(k, ident):
    """The memory limit of a container, in bytes, read on the host."""
    places = [path.read_text().strip() for pattern in ("memory/{}/{}/memory.limit_in_bytes", "{}/{}/memory.max")
              for path in Path("/sys/fs/cgroup").glob(pattern.format(k.name, ident))]
    return [int(text) for text in places]


@suite.case("limits and their update")
def update(k):
    pod = k.pod()
    one = k.run(pod, "one", "sleep", "1000", linux={"resources": {"memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000}})
    holds("the limit", limit_of(k, one), [64 << 20])
    k.cri("UpdateContainerResources", container_id=one, linux={"memory_limit_in_bytes": 32 << 20})
    holds("the new limit", limit_of(k, one), [32 << 20])


@suite.case("ExecSync")
def exec_sync(k):
    pod = k.pod()
    one = k.run(pod, "one", "sleep", "1000", env={"A": "1"})
    holds("output", k.execute(one, "sh", "-c", "echo $A $(hostname)"), f"1 pod{k.count}\n")
    k.execute(one, "sh", "-c", "exit 3", rc=3)
    try:
        k.execute(one, "no-such-program")
    except Refused as error:
        holds("the reason", "executable file not found in $PATH" in str(error), True)
    else:
        raise Broken("a missing program runs")
    # Probes come at once, and again and again.
    probes = [subprocess.Popen([sys.executable, "-c", "import sys; sys.path[:0] = sys.argv[1:3]\nfrom client import call\n"
                                "print(call(sys.argv[3], 'ExecSync', container_id=sys.argv[4], cmd=['sh', '-c', 'exit 5'], timeout=60)['exit_code'])",
                                *sys.path[:2], str(k.work / "containerd.sock"), one], stdout=subprocess.PIPE, text=True) for _ in range(10)]
    holds("exit codes of probes at once", [probe.communicate(timeout=120)[0].strip() for probe in probes], ["5"] * 10)


@suite.case("stats")
def stats(k):
    pod = k.pod()
    one = k.run(pod, "one", "sh", "-c", "echo ready; while :; do :; done")
    k.said(pod, "one", "ready")
    first = k.cri("ContainerStats", container_id=one)["stats"]
    until("its CPU time grows", lambda: k.cri("ContainerStats", container_id=one)["stats"]["cpu"]["usage_core_nano_seconds"]["value"]
          > first["cpu"]["usage_core_nano_seconds"]["value"])
    if (Path("/sys/fs/cgroup/memory").exists()) or "memory" in Path("/sys/fs/cgroup/cgroup.controllers").read_text():
        holds("it uses memory", first["memory"]["working_set_bytes"]["value"] > 0, True)


@suite.case("a native and a wasm container in one pod", ours=True)
def wasm(k):
    pod = k.pod()
    module = k.run(pod, "module", "/service.wasm", "serve", "80", env={"VERSION": "pod"})
    k.said(pod, "module", "ready")
    native = k.run(pod, "native", "sh", "-c", "wget -q -O - http://127.0.0.1/ && echo ready; exec sleep 1000")
    k.said(pod, "native", "ready")
    holds("the module's answer", "WebAssembly pod" in k.log(pod, "native"), True)
    holds("ExecSync in the native one", k.execute(native, "echo", "hello"), "hello\n")
    holds("ExecSync in the module's", k.execute(module, "echo", "beside"), "beside\n")
    until("stats of the module", lambda: k.cri("ContainerStats", container_id=module)["stats"]["cpu"]["usage_core_nano_seconds"]["value"] > 0)
    began = time.monotonic()
    k.cri("StopContainer", container_id=module, timeout=60)
    holds("stop waited for the module", time.monotonic() - began < 20, True)
    k.ended(module, 143)
    holds("the native one goes on", k.status(native)["state"], RUNNING)
    for code in (0, 3, 255):
        k.ended(k.run(pod, f"exit{code}", "/hello.wasm", "exit", code), code)
    # An image with nothing but a module, and its entry point.
    k.ended(k.run(pod, "alone", image={"image": k.wasm_image}), 0)
    holds("what it says", "Hello from a WebAssembly program" in k.log(pod, "alone"), True)


@suite.case("eight containers in a pod")
def many(k):
    pod = k.pod()
    containers = [k.create(pod, f"n{n}", "sh", "-c", f"exit {n}") for n in range(8)]
    for ident in containers:
        k.cri("StartContainer", container_id=ident)
    for n, ident in enumerate(containers):
        k.ended(ident, n)


suite.main(Kubelet)
