#!/usr/bin/env python3
"""containerd with the runtime under test, by ctr: tasks, exec, pause, metrics, crashes of containerd and of a shim.

    integration/engines/containerd [--runtime PROGRAM] [PATTERN ...]

--runtime    what is tested; default $RUNW_RUNTIME, else target/bin/runw
PATTERN      only the cases whose names match one of these regular expressions
"""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True  # a test leaves nothing in the checkout
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.containerd import Containerd
from common.suite import Broken, Suite, command, criu, holds, until
from common.terminal import on_terminal

suite = Suite("containerd", __doc__)


class Tasks(Containerd):
    """Containers and their tasks, as ctr knows them."""

    def flags(self, name):
        """What every container has: our runtime, and a cgroup below ours."""
        return ("--runc-binary", self.runtime, "--cgroup", f"/{self.name}/{name}")

    def run(self, *words, flags=(), name="one", image=None, **about):
        """`ctr run --rm` to its end."""
        return self.ctr("run", "--rm", *self.flags(name), *flags, image or self.image, name, *words, **about)

    def sh(self, script, *flags, **about):
        """Runs a shell script in a container that is gone afterwards."""
        return self.run("sh", "-c", script, flags=flags, **about)

    def through(self, *words):
        """Sends a line through a command of ctr that copies its input, and then its end. ctr forgets the end of an input that
        comes before the task is there, under any runtime: so it has to wait for the line."""
        process = subprocess.Popen(self.words(*words), env=self.environment(), text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        try:
            process.stdin.write("through\n")
            process.stdin.flush()
            line = process.stdout.readline()
            rest, err = process.communicate()
        finally:
            watchdog.cancel()
        holds(f"what came through {words} ({err.strip()})", (line + rest, process.returncode), ("through\n", 0))

    def start(self, *words, flags=(), name="one", image=None, ready="ready"):
        """Starts a detached task whose output goes to a file, and waits until it says `ready`."""
        log = self.work / f"{name}.log"
        log.unlink(missing_ok=True)
        self.ctr("run", "-d", "--log-uri", f"file://{log}", *self.flags(name), *flags, image or self.image, name, *words)
        until(f"{name} says {ready}", lambda: log.exists() and ready in log.read_text())
        return log

    def state(self, name="one"):
        """The state of a task in ctr's words."""
        found = re.search(rf"^{name}\s+\d+\s+(\w+)", self.ctr("tasks", "ls").out, re.MULTILINE)
        return found.group(1) if found else "none"

    def pid(self, name="one"):
        """The process id of a task in the engine's namespace."""
        return int(re.search(rf"^{name}\s+(\d+)", self.ctr("tasks", "ls").out, re.MULTILINE).group(1))

    def lives(self, pid):
        """Whether a process of that id is there in the engine's namespace, and not only as a zombie."""
        reply = command(self.inside("sed", "-n", "s/^State:.//p", f"/proc/{pid}/status"), self.environment(), rc=None)
        return reply.rc == 0 and not reply.out.startswith("Z")

    def delete(self, code):
        """Deletes a stopped task, which tells its exit code; ctr itself ends with 0."""
        self.ctr("tasks", "delete", "one", want=f"exit code {code}\\b")

    def tidy(self):
        """Removes what a case left."""
        for kind in ("tasks", "containers"):
            for name in self.ctr(kind, "ls", "-q", rc=None).out.split():
                self.ctr(kind, "rm", *(("-f",) if kind == "tasks" else ()), name, rc=None)
        left = command(self.inside("find", "/run/containerd/runc", "-mindepth", "2"), self.environment(), rc=None).out
        if left:
            raise Broken(f"the runtime's state folder is not empty: {left}")


@suite.case("run: streams, environment, exit codes")
def run(c):
    c.sh("echo out; echo err >&2; exit 3", rc=3, want="out\nerr")
    c.through("run", "--rm", *c.flags("one"), c.image, "one", "cat")
    c.sh("echo $A $(id -u):$(id -g) $(pwd)", "--env", "A=blue", "--user", "1000:100", "--cwd", "/var", want="^blue 1000:100 /var$")
    for code in (0, 1, 42, 255):
        c.sh(f"exit {code}", rc=code)


@suite.case("programs that can't be run")
def unstartable(c):
    c.run("no-such-program", rc=1, want='exec: "no-such-program": executable file not found in \\$PATH')
    c.run("/no/such/program", rc=1, want="no such file or directory")
    c.run("/etc/passwd", rc=1, want="permission denied")
    holds("tasks that are left", c.ctr("tasks", "ls", "-q").out, "")


@suite.case("mounts, limits, capabilities")
def mounts(c):
    folder = c.work / "shared"
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("from the host\n")
    c.sh("cat /m/file; touch /m/new && exit 9; true", "--mount", f"type=bind,src={folder},dst=/m,options=rbind:ro", want="from the host")
    c.sh("touch /here && exit 9; true", "--read-only", want="Read-only")
    c.sh("grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status", "--seccomp", want="CapEff:\\s00000000a80425fb.*NoNewPrivs:\\s1.*Seccomp:\\s2")
    c.sh("hostname", "--hostname", "named", want="^named$")
    # Its spec does not mount cgroups: the limit is read where the host sees it.
    c.start("sh", "-c", "echo ready; exec sleep 1000", flags=("--memory-limit", str(64 << 20)))
    places = [path.read_text().strip() for pattern in ("memory/{}/one/memory.limit_in_bytes", "{}/one/memory.max")
              for path in Path("/sys/fs/cgroup").glob(pattern.format(c.name))]
    holds("the memory limit", places, [str(64 << 20)])


@suite.case("user namespaces")
def user_namespace(c):
    c.sh("cat /proc/self/uid_map; id -u", "--uidmap", "0:200000:65536", "--gidmap", "0:200000:65536", want="^ +0 +200000 +65536\n0$")


@suite.case("a terminal")
def terminal(c):
    words = c.words("run", "--rm", "-t", *c.flags("one"), c.image, "one", "sh", "-c", "tty; echo first; read a; echo got $a; until stty size 2>&1 | grep -q '^40 '; do sleep 0.05; done; stty size; exit 3")
    code, text = on_terminal(words, c.environment(), typed=[("first", "blue\n")])
    holds(f"exit code ({text})", code, 3)
    holds(f"what the terminal showed: {text!r}", all(word in text for word in ("/dev/pts/0", "got blue", "40 100")), True)


@suite.case("a task's life")
def life(c):
    log = c.start("sh", "-c", "trap 'echo got usr1' USR1; trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    holds("state", c.state(), "RUNNING")
    c.ctr("tasks", "kill", "-s", "USR1", "one")
    until("the signal comes", lambda: "got usr1" in log.read_text())
    c.ctr("tasks", "kill", "-s", "TERM", "one")
    until("it ends", lambda: c.state() == "STOPPED")
    c.ctr("tasks", "kill", "one", rc=1, want="not found|not running|already finished")
    c.delete(7)
    # The same container, a second task.
    c.ctr("tasks", "start", "-d", "one")
    holds("state of the second task", c.state(), "RUNNING")
    c.ctr("tasks", "kill", "-s", "KILL", "one")
    until("it is killed", lambda: c.state() == "STOPPED")
    c.delete(137)
    c.ctr("containers", "rm", "one")


@suite.case("all processes of a task are killed")
def kill_all(c):
    c.start("sh", "-c", "trap '' TERM; (trap '' TERM; sleep 1001) & sleep 1000 & echo ready; while :; do sleep 0.1; done")
    c.ctr("tasks", "kill", "-a", "-s", "KILL", "one")
    until("it ends", lambda: c.state() == "STOPPED")
    c.delete(137)


@suite.case("exec")
def execute(c):
    c.start("sh", "-c", "echo ready; exec sleep 1000", flags=("--env", "A=1"))
    c.ctr("tasks", "exec", "--exec-id", "e1", "one", "sh", "-c", "echo $A; exit 3", rc=3, want="^1$")
    c.ctr("tasks", "exec", "--exec-id", "e2", "--cwd", "/var", "--user", "1000", "one", "sh", "-c", "pwd; id -u", want="^/var\n1000$")
    c.through("tasks", "exec", "--exec-id", "e3", "one", "cat")
    c.ctr("tasks", "exec", "--exec-id", "e4", "one", "no-such-program", rc=1, want="executable file not found in \\$PATH")
    c.ctr("tasks", "exec", "--exec-id", "e5", "one", "sh", "-c", "kill -9 $$", rc=137)
    code, text = on_terminal(c.words("tasks", "exec", "-t", "--exec-id", "e6", "one", "sh", "-c",
                                    "tty; echo first; read a; until stty size 2>&1 | grep -q '^40 '; do sleep 0.05; done; stty size; exit 4"), c.environment(), typed=[("first", "on\n")])
    holds(f"exit code on a terminal ({text})", code, 4)
    holds(f"what the terminal showed: {text!r}", "/dev/pts/" in text and "40 100" in text, True)


@suite.case("list of processes")
def processes(c):
    c.start("sh", "-c", "sleep 1001 & echo ready; exec sleep 1000")
    reply = c.ctr("tasks", "ps", "one")
    holds(f"processes ({reply.out})", len(reply.out.splitlines()), 3)


@suite.case("metrics")
def metrics(c):
    c.start("sh", "-c", "echo ready; exec sleep 1000")
    c.ctr("tasks", "metrics", "one", want="pids.current +1$|memory.usage_in_bytes +[1-9]")


@suite.case("pause and resume")
def pause(c):
    log = c.start("sh", "-c", "echo ready; while :; do date +%s%N; sleep 0.05; done")
    c.ctr("tasks", "pause", "one")
    holds("state", c.state(), "PAUSED")
    first = log.read_text()
    time.sleep(0.5)
    holds("nothing said meanwhile", log.read_text() == first, True)
    c.ctr("tasks", "resume", "one")
    until("it goes on", lambda: log.read_text() != first)
    holds("state", c.state(), "RUNNING")


COUNTER = "echo began >>/began; i=0; echo ready; while :; do i=$((i + 1)); echo $i >/count.new; mv /count.new /count; sleep 0.05; done"


@suite.case("checkpoint: a task is saved, and another goes on where it was", lacks=criu)
def checkpoint(c):
    def read(name, file):
        return command(c.inside("cat", f"/proc/{c.pid(name)}/root{file}"), c.environment()).out

    def count(name):
        return int(read(name, "/count"))

    c.start("sh", "-c", COUNTER)
    until("it counts", lambda: count("one") > 3)
    # The task runs on after the first, and ends with the second.
    c.ctr("containers", "checkpoint", "--rw", "--image", "--task", "one", "localhost/saved:1")
    holds("state after a checkpoint", c.state(), "RUNNING")
    before = count("one")
    until("it counts on", lambda: count("one") > before + 3)
    c.ctr("tasks", "checkpoint", "--exit", "--image-path", c.work / "images", "--work-path", c.work / "criu", "one")
    until("it ends", lambda: c.state() == "STOPPED")
    holds("images", (c.work / "images/inventory.img").exists(), True)
    c.ctr("tasks", "delete", "one")
    c.ctr("containers", "rm", "one")
    c.ctr("containers", "restore", "--rw", "--live", "two", "localhost/saved:1")
    holds("state of the restored task", c.state("two"), "RUNNING")
    holds("how often it began", read("two", "/began"), "began\n")
    before = count("two")
    until("it counts on", lambda: count("two") > before + 3)
    c.ctr("tasks", "pause", "two")
    holds("state", c.state("two"), "PAUSED")
    c.ctr("tasks", "resume", "two")
    c.ctr("tasks", "kill", "-s", "KILL", "two")
    until("it is killed", lambda: c.state("two") == "STOPPED")
    c.ctr("images", "rm", "localhost/saved:1")


@suite.case("checkpoint of a module is refused and leaves it alone", ours=True)
def wasm_checkpoint(c):
    log = c.start("/service.wasm", "count", ready="WebAssembly 3")
    c.ctr("tasks", "checkpoint", "--image-path", c.work / "images", "--work-path", c.work / "criu", "one", rc=1,
          want="checkpoint is not supported for WebAssembly containers")
    first = log.read_text()
    until("it goes on", lambda: log.read_text() != first)
    holds("state", c.state(), "RUNNING")


@suite.case("containerd is killed and comes back")
def crash(c):
    c.start("sh", "-c", "echo ready; exec sleep 1000")
    pid = c.pid()
    c.kill_daemon()
    c.start_daemon()
    until("the task is found again", lambda: c.state() == "RUNNING")
    holds("its process", c.pid(), pid)
    c.ctr("tasks", "kill", "-s", "KILL", "one")
    until("it is killed", lambda: c.state() == "STOPPED")
    c.delete(137)


@suite.case("a shim is killed")
def shim_crash(c):
    c.start("sh", "-c", "echo ready; exec sleep 1000")
    pid = c.pid()
    shim = command(c.inside("awk", "$1 == \"PPid:\" {print $2}", f"/proc/{pid}/status"), c.environment()).out.strip()
    command(c.inside("kill", "-KILL", shim), c.environment())
    # containerd calls the shim once more, to delete, and that calls the runtime with --force.
    until("the process is taken down", lambda: not c.lives(pid))
    until("the task is gone", lambda: c.state() in ("none", "STOPPED"))


@suite.case("twenty at once")
def at_once(c):
    running = [subprocess.Popen(c.words("run", "--rm", *c.flags(f"n{n}"), c.image, f"n{n}", "sh", "-c", f"exit {n}"), env=c.environment(),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for n in range(20)]
    for n, process in enumerate(running):
        err = process.communicate(timeout=180)[1]
        holds(f"exit code of container {n} ({err.strip()})", process.returncode, n)
    holds("tasks that are left", c.ctr("tasks", "ls", "-q").out, "")


@suite.case("wasm: streams, exit codes, signals", ours=True)
def wasm(c):
    c.run("/hello.wasm", "a", "two words", want="^Hello from a WebAssembly.*argv.2. = two words$")
    c.run(image=c.wasm_image, want="^Hello from a WebAssembly")
    for code in (0, 3, 255):
        c.run("/hello.wasm", "exit", code, rc=code)
    for signal, code in (("TERM", 143), ("KILL", 137)):
        c.start("/service.wasm", "spin")
        c.ctr("tasks", "kill", "-s", signal, "one")
        until("it ends", lambda: c.state() == "STOPPED", seconds=30)
        c.delete(code)
        c.ctr("containers", "rm", "one")


@suite.case("wasm: pause and resume of a busy guest", ours=True)
def wasm_pause(c):
    log = c.start("/service.wasm", "count", ready="WebAssembly 3")
    c.ctr("tasks", "pause", "one")
    first = log.read_text()
    time.sleep(0.5)
    holds("nothing said meanwhile", log.read_text() == first, True)
    c.ctr("tasks", "resume", "one")
    until("it goes on", lambda: log.read_text() != first)


suite.main(Tasks)
