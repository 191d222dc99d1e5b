#!/usr/bin/env python3
"""Docker Swarm with the runtime under test on every node: services, rolling updates, a node that is lost.

    integration/engines/swarm [--runtime PROGRAM] [PATTERN ...]

--runtime    what is tested; default $RUNW_RUNTIME, else target/bin/runw
PATTERN      only the cases whose names match one of these regular expressions
"""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # a test leaves nothing in the checkout
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster import NODES, Cluster
from common.suite import Suite, command, holds, until

suite = Suite("swarm", __doc__)
NATIVE, WASM = ("native", "/service"), ("WebAssembly", "/service.wasm")


def nodes_ready(s):
    """How many nodes the manager calls ready."""
    return s.docker("node", "ls", "--format", "{{.Status}}").out.split().count("Ready")


@suite.case("nodes join")
def nodes(s):
    until("all nodes are ready", lambda: nodes_ready(s) == NODES)
    for node in s.nodes:
        node.docker("info", "-f", "{{.Swarm.LocalNodeState}} {{.DefaultRuntime}}", want="^active tested$")


def six_replicas(s, kind, program):
    """Six replicas on all nodes, run by the runtime under test, whose logs the manager gathers."""
    s.service("counts", "--replicas", "6", command=(program, "count"))
    s.running("counts", 6)
    containers = s.containers("counts")
    holds("nodes with replicas", len({node.number for node, _ in containers}), NODES)
    holds("replicas", len(containers), 6)
    for node, ident in containers:
        node.docker("inspect", "-f", "{{.HostConfig.Runtime}} {{.State.Status}}", ident, want="^tested running$")
    until("logs of all replicas", lambda: len({
        line.split("|")[0] for line in s.docker("service", "logs", "--tail", "3", "counts").out.splitlines() if f"{kind} " in line}) == 6)


@suite.case("six native replicas")
def native(s):
    six_replicas(s, *NATIVE)


@suite.case("six wasm replicas", ours=True)
def wasm(s):
    six_replicas(s, *WASM)


def roll(s, kind, program):
    """A rolling update of six replicas to another version, and back."""
    s.service("web", "--replicas", "6", "--env", "VERSION=one", "--update-parallelism", "2", "--update-delay", "0s", "--update-order",
              "start-first", "--update-monitor", "1s", "--rollback-parallelism", "0", "--rollback-monitor", "1s", command=(program, "serve", "8080"))
    s.running("web", 6)
    for words, state, version in ((("update", "--env-add", "VERSION=two"), "completed", "two"), (("rollback",), "rollback_completed", "one")):
        s.docker("service", *words, "--detach", "web")
        until(f"the update is {state}", lambda: s.docker("service", "inspect", "-f", "{{.UpdateStatus.State}}", "web").out.strip() == state)
        s.running("web", 6)
        until("the former replicas are gone", lambda: len(s.containers("web")) == 6)
        for node, ident in s.containers("web"):
            environment = json.loads(node.docker("inspect", "-f", "{{json .Config.Env}}", ident).out)
            holds("version of a replica", f"VERSION={version}" in environment, True)
            address = node.docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", ident).out.strip()
            fetch = f"import urllib.request; print(urllib.request.urlopen('http://{address}:8080/', timeout=20).read().decode())"
            # A replica listens a moment after it runs.
            until(f"{kind} {version} answers", lambda: command(
                node.inside(sys.executable, "-c", fetch), node.environment()).out.strip() == f"{kind} {version}")


@suite.case("rolling update and rollback, native")
def update(s):
    roll(s, *NATIVE)


@suite.case("rolling update and rollback, wasm", ours=True)
def wasm_update(s):
    roll(s, *WASM)


@suite.case("scaling")
def scale(s):
    s.service("scaled", "--replicas", "2", command=("/service", "count"))
    for replicas in (2, 5, 1):
        s.docker("service", "scale", "--detach", f"scaled={replicas}")
        s.running("scaled", replicas)
        until(f"{replicas} containers", lambda: len(s.containers("scaled")) == replicas)


@suite.case("failed tasks are started again")
def restart(s):
    s.service("fails", "--restart-condition", "on-failure", "--restart-max-attempts", "2", command=("sh", "-c", "echo began; exit 3"))
    until("three attempts", lambda: s.docker("service", "logs", "fails").out.count("began") == 3)
    s.docker("service", "ps", "--no-trunc", "--format", "{{.Error}}", "fails", want=r"non-zero exit \(3\)")


def job(s, program):
    """A job of four tasks that end by themselves."""
    s.service("job", "--mode", "replicated-job", "--replicas", "4", command=(program, "exit", "0"))
    until("four tasks complete", lambda: s.docker("service", "ps", "--format", "{{.CurrentState}}", "job").out.count("Complete") == 4)


@suite.case("a native job")
def native_job(s):
    job(s, "/hello")


@suite.case("a wasm job", ours=True)
def wasm_job(s):
    job(s, "/hello.wasm")


@suite.case("health checks of a service")
def health(s):
    s.service("healthy", "--replicas", "2", "--health-cmd", "test -e /tmp", "--health-interval", "500ms", "--health-timeout", "30s",
              command=("/service", "count"))
    s.running("healthy", 2)
    for node, ident in s.containers("healthy"):
        node.docker("inspect", "-f", "{{.State.Health.Status}}", ident, want="^healthy$")


# The last case: it leaves a cluster with one node less.
@suite.case("a lost node's replicas move to others")
def lost(s):
    until("the nodes are ready", lambda: nodes_ready(s) >= 2)
    kinds = [NATIVE] + ([WASM] if s.runtime.endswith("runw") else [])
    for kind, program in kinds:
        s.service(kind.lower(), "--replicas", "6", command=(program, "count"))
    for kind, _ in kinds:
        s.running(kind.lower(), 6)
    left = [node for node in s.nodes if not node.lost]
    left[-1].lose()
    until("the manager misses the node", lambda: s.docker("node", "ls", "--format", "{{.Status}}").out.split().count("Down") == NODES - len(left) + 1)
    for kind, _ in kinds:
        until(f"six {kind} replicas on the nodes that are left", lambda: len(s.containers(kind.lower())) == 6)
        s.running(kind.lower(), 6)


suite.main(Cluster)
