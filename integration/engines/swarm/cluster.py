"""Docker engines in network namespaces of their own, cabled to one switch and joined to one swarm."""

import contextlib
import subprocess

from common import programs
from common.dockerd import Engine
from common.space import Space
from common.suite import command, until

NODES = 3


class Node(Engine):
    """An engine whose default runtime is the one under test, because a service can't choose one."""

    def __init__(self, runtime, number, switch):
        super().__init__({"tested": runtime}, default_runtime="tested", iptables=True)
        self.number, self.switch = number, switch
        self.address = f"10.99.0.{number + 1}"
        self.lost = False
        # Agents ask a registry for an image even if they have it: the answer that there is none has to come at once.
        (self.work / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        self.binds["/etc/resolv.conf"] = self.work / "resolv.conf"

    def enter(self):
        """Makes the namespaces, plugs the node's cable into the switch, and starts the daemon."""
        self.path_first.mkdir()
        (self.work / "client").mkdir()
        Space.enter(self)
        port = f"port{self.number}"
        # Both ends are moved to where they belong from the outside, where process ids mean the same for all.
        for words in (
            ("ip", "link", "add", port, "netns", self.switch.anchor_pid, "type", "veth", "peer", "name", "eth0", "netns", self.anchor_pid),
            ("nsenter", "-t", self.switch.anchor_pid, "-n", "ip", "link", "set", port, "master", "switch", "up"),
            ("nsenter", "-t", self.anchor_pid, "-n", "ip", "address", "add", f"{self.address}/24", "dev", "eth0"),
            ("nsenter", "-t", self.anchor_pid, "-n", "ip", "link", "set", "eth0", "up"),
        ):
            subprocess.run([str(word) for word in words], check=True)
        self.start_daemon()

    def docker(self, *words, **about):
        """The docker client of this node."""
        return command(["docker", *words], self.environment(), **about)

    def lose(self):
        """Ends the node as a power cut does."""
        self.lost = True
        self.process = None
        super().close()

    def close(self):
        if not self.lost:
            super().close()


class Cluster(contextlib.ExitStack):
    """A manager and its workers; use as a context manager."""

    image = "swarm-test:1"

    def __init__(self, runtime):
        super().__init__()
        self.runtime, self.nodes = runtime, []

    def __enter__(self):
        super().__enter__()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def _build(self):
        switch = self.enter_context(Space("switch"))
        command(switch.inside("ip", "link", "add", "switch", "type", "bridge"), switch.environment())
        command(switch.inside("ip", "link", "set", "switch", "up"), switch.environment())
        root = programs.busybox(switch.work / "image")
        for number in range(NODES):
            self.nodes.append(self.enter_context(Node(self.runtime, number, switch)))
            self.nodes[-1].import_image(root, self.image, ["ENV PATH=/bin:/sbin:/usr/bin:/usr/sbin", "CMD /bin/sh"])
        manager, *workers = self.nodes
        manager.docker("swarm", "init", "--advertise-addr", manager.address, "--listen-addr", f"{manager.address}:2377",
                       # A lost node is noticed after three heartbeats.
                       "--dispatcher-heartbeat", "2s", "--task-history-limit", "3")
        token = manager.docker("swarm", "join-token", "-q", "worker").out.strip()
        for worker in workers:
            worker.docker("swarm", "join", "--token", token, "--advertise-addr", worker.address, f"{manager.address}:2377")

    def docker(self, *words, **about):
        """The docker client of the manager."""
        return self.nodes[0].docker(*words, **about)

    def service(self, name, *flags, image=None, command=()):
        """Creates a service; networks between nodes, which need VXLAN, are not part of it."""
        self.docker("service", "create", "--detach", "--no-resolve-image", "--stop-grace-period", "1s", "--restart-delay", "100ms",
                    "--name", name, *flags, image or self.image, *command)

    def tasks(self, name, state="Running"):
        """Tasks of a service that are and shall be running, as (task, node, image)."""
        out = self.docker("service", "ps", "--no-trunc", "--filter", "desired-state=running", "--format",
                          "{{.ID}}|{{.Node}}|{{.CurrentState}}|{{.Name}}", name).out
        lines = [line.split("|") for line in out.splitlines()]
        return [line for line in lines if line[2].startswith(state)]

    def running(self, name, replicas):
        """Waits until so many replicas run, and gives their tasks."""
        return until(f"{replicas} replicas of {name} run", lambda: (t := self.tasks(name)) and len(t) == replicas and t)

    def containers(self, name):
        """Containers of a service that run, by node: a list of (node, id)."""
        return [(node, ident) for node in self.nodes if not node.lost
                for ident in node.docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={name}").out.split()]

    def tidy(self):
        """Removes all services and waits until their containers are gone."""
        for name in self.docker("service", "ls", "-q", rc=None).out.split():
            self.docker("service", "rm", name, rc=None)
        until("containers of removed services end", lambda: not any(
            node.docker("ps", "-q").out for node in self.nodes if not node.lost))
