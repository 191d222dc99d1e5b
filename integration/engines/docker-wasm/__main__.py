#!/usr/bin/env python3
"""Docker's WebAssembly tutorial, end to end under a real daemon with the containerd image store.

    integration/engines/docker-wasm [--runtime PROGRAM] [PATTERN ...]

--runtime    what is tested; default $RUNW_RUNTIME, else target/bin/runw
PATTERN      only the cases whose names match one of these regular expressions
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # a test leaves nothing in the checkout
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import programs
from common.dockerd import Engine
from common.suite import Broken, Suite, command, holds, say, until

suite = Suite("docker-wasm", __doc__)
TUTORIAL = 'FROM scratch\nCOPY hello.wasm /hello.wasm\nENTRYPOINT ["hello.wasm"]\n'
PLATFORM = ("--platform", "wasi/wasm32")
STATE = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"


class Tutorial(Engine):
    """A daemon with the image store that knows platforms, and the tutorial's images."""

    def __init__(self, runtime):
        super().__init__({"runw": runtime}, features={"containerd-snapshotter": True})
        self.context = self.work / "context"

    def enter(self):
        super().enter()
        for name, program in (("tutorial", "hello"), ("service", "service")):
            folder = self.context / name
            folder.mkdir(parents=True)
            programs.compiled(program, folder / f"{program}.wasm", "wasm")
            (folder / "Dockerfile").write_text(TUTORIAL.replace("hello", program))
        # The same file among the programs of an ordinary image, built for the machine's own platform.
        linux = self.context / "linux"
        shutil.copytree(self.context / "tutorial", linux)
        (linux / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (linux / "busybox").chmod(0o755)
        (linux / "Dockerfile").write_text(
            'FROM scratch\nCOPY busybox /bin/busybox\nCOPY --chmod=644 hello.wasm /srv/hello.wasm\nENV PATH=/bin:/srv\n'
            'ENTRYPOINT ["hello.wasm"]\n')

    def docker(self, *words, **about):
        """The docker client."""
        return command(["docker", *words], self.environment(), **about)

    def build(self, name, *flags):
        """Builds one of the images as the tutorial does."""
        return self.docker("buildx", "build", *flags, "-t", name, self.context / name, seconds=300)

    def built(self, name, *flags):
        """Builds an image unless it is there: every case can be held alone."""
        if self.docker("image", "inspect", name, rc=None).rc != 0:
            self.build(name, *flags)

    def run(self, *words, **about):
        """`docker run` of the tutorial's image, whose words say the arguments."""
        self.built("tutorial", *PLATFORM)
        return self.docker("run", "--rm", "--runtime", "runw", *PLATFORM, *words, **about)

    def service(self, *flags, verb, ready="ready"):
        """Starts a service of the tutorial's kind and waits until it works."""
        self.built("service", *PLATFORM)
        self.docker("run", "-d", "--runtime", "runw", *PLATFORM, "--name", "service", *flags, "service", *verb)
        until(f"the service says {ready}", lambda: ready in self.docker("logs", "service").out)

    def tidy(self):
        """Removes what a case left."""
        for name in self.docker("ps", "-aq", rc=None).out.split():
            self.docker("rm", "-f", name, rc=None)


@suite.case("buildx builds an image for wasi/wasm32", ours=True)
def build(d):
    d.build("tutorial", *PLATFORM)
    d.docker("image", "inspect", "-f", "{{.Os}}/{{.Architecture}} {{json .Config.Entrypoint}}", "tutorial",
             want=r'^wasi/wasm32 \["hello.wasm"\]')


@suite.case("the tutorial's image runs", ours=True)
def run(d):
    d.run("tutorial", want=r"^Hello from a WebAssembly program in C.\nargv\[0\] = hello.wasm\n")
    d.run("tutorial", "a", "two words", want=r"argv\[1\] = a\nargv\[2\] = two words\n")
    d.run("-e", "COLOUR=blue", "tutorial", "env", "COLOUR", want="^blue$")
    d.run("--entrypoint", "/hello.wasm", "tutorial", "env", "HOSTNAME", want="^[0-9a-f]{12}$")


@suite.case("the same file in a linux image, without a platform", ours=True)
def linux(d):
    d.build("linux")
    d.docker("image", "inspect", "-f", "{{.Os}}", "linux", want="^linux$")
    d.docker("run", "--rm", "--runtime", "runw", "linux", want="^Hello from a WebAssembly program in C.\nargv.0. = hello.wasm$")
    d.docker("run", "--rm", "--runtime", "runw", "linux", "exit", "3", rc=3)
    d.docker("run", "--rm", "--runtime", "runw", "--entrypoint", "busybox", "linux", "echo", "native beside it", want="^native beside it$")


@suite.case("exit codes", ours=True)
def exit_codes(d):
    for code in (0, 1, 3, 42, 255):
        d.run("tutorial", "exit", code, rc=code)
    d.docker("run", "-d", "--name", "three", "--runtime", "runw", *PLATFORM, "tutorial", "exit", "3")
    d.docker("wait", "three", want="^3$")
    d.docker("inspect", "-f", STATE, "three", want="^exited 3 false$")


@suite.case("programs that are not there", ours=True)
def missing(d):
    d.run("--entrypoint", "/no-such.wasm", "tutorial", rc=127, want="no such file or directory")
    d.run("--entrypoint", "no-such.wasm", "tutorial", rc=127, want="executable file not found")


@suite.case("standard input", ours=True)
def standard_input(d):
    d.run("-i", "tutorial", "cat", given="through a module\n", want="^through a module$")
    d.run("-i", "tutorial", "cat", given="", want="^$")
    block = "0123456789abcdef" * 64 + "\n"
    reply = d.run("-i", "tutorial", "cat", given=block * 4096, seconds=180)
    holds("bytes through a module", len(reply.out), len(block) * 4096)
    holds("they are the same", reply.out == block * 4096, True)


@suite.case("logs of a detached container", ours=True)
def logs(d):
    d.built("service", *PLATFORM)
    d.docker("run", "-d", "--name", "counts", "--runtime", "runw", *PLATFORM, "service", "count")
    until("it counts", lambda: "WebAssembly 5\n" in d.docker("logs", "counts").out)
    d.docker("logs", "--tail", "1", "counts", want=r"^WebAssembly \d+$")
    reply = d.docker("logs", "counts")
    holds("the first line", reply.out.splitlines()[0], "WebAssembly 1")
    holds("words of the engine among them", reply.err, "")
    d.docker("top", "counts", want=r" service\.wasm count$")
    d.docker("top", "counts", "-eo", "pid,comm", want=r" service\.wasm$")
    follow = subprocess.Popen(["docker", "logs", "-f", "--tail", "0", "counts"], env=d.environment(), text=True, stdout=subprocess.PIPE)
    try:
        if not follow.stdout.readline().startswith("WebAssembly "):
            raise Broken("docker logs -f gave no line")
        d.docker("kill", "counts")
        follow.stdout.read()
        holds("docker logs -f ends with the container", follow.wait(30), 0)
    finally:
        follow.kill()
        follow.stdout.close()
        follow.wait()


@suite.case("stop of an endless loop", ours=True)
def stop(d):
    d.service(verb=("spin",))
    took = d.docker("stop", "-t", "30", "service").seconds
    say(f"     docker stop of an endless wasm loop took {took:.2f} s")
    holds("stop waited for the module", took < 5, True)
    d.docker("inspect", "-f", STATE, "service", want="^exited 143 ")
    d.docker("start", "service")
    until("it runs again", lambda: d.docker("logs", "service").out.count("ready") == 2)
    d.docker("kill", "service")
    d.docker("inspect", "-f", STATE, "service", want="^exited 137 ")


@suite.case("signal of the user's choice", ours=True)
def stop_signal(d):
    d.service("--stop-signal", "INT", verb=("spin",))
    d.docker("stop", "-t", "30", "service")
    d.docker("inspect", "-f", STATE, "service", want="^exited 130 ")


@suite.case("signal of the image's choice", ours=True)
def image_stop_signal(d):
    folder = d.context / "hangup"
    if not folder.exists():
        shutil.copytree(d.context / "service", folder)
        (folder / "Dockerfile").write_text(TUTORIAL.replace("hello", "service") + "STOPSIGNAL SIGUSR1\n")
    d.build("hangup", *PLATFORM)
    d.docker("run", "-d", "--runtime", "runw", *PLATFORM, "--name", "service", "hangup", "spin")
    until("the service says ready", lambda: "ready" in d.docker("logs", "service").out)
    holds("stop waited for the module", d.docker("stop", "-t", "30", "service").seconds < 5, True)
    d.docker("inspect", "-f", STATE, "service", want="^exited 138 ")


@suite.case("pause of a busy guest", ours=True)
def pause(d):
    d.service(verb=("count",), ready="WebAssembly 3\n")
    d.docker("pause", "service")
    d.docker("inspect", "-f", STATE, "service", want="^paused ")
    before = d.docker("logs", "service").out
    time.sleep(0.5)
    holds("numbers of a paused guest", d.docker("logs", "service").out, before)
    d.docker("unpause", "service")
    until("it counts on", lambda: len(d.docker("logs", "service").out) > len(before))
    numbers = d.docker("logs", "service").out.splitlines()
    holds("not one is missing", numbers, [f"WebAssembly {n + 1}" for n in range(len(numbers))])


@suite.case("further processes", ours=True)
def further(d):
    d.service(verb=("spin",))
    d.docker("exec", "service", "/service.wasm", "no-such-verb", rc=99, want="unknown verb no-such-verb")
    d.docker("exec", "service", "/bin/sh", rc=(126, 127), want="no such file or directory")
    d.built("linux")
    d.docker("run", "-d", "--runtime", "runw", "--name", "mixed", "linux", "wait")
    until("the module runs", lambda: "Hello" in d.docker("logs", "mixed").out)
    d.docker("exec", "mixed", "busybox", "echo", "native beside it", want="^native beside it$")
    d.docker("exec", "-e", "COLOUR=blue", "mixed", "/srv/hello.wasm", "env", "COLOUR", want="^blue$")
    d.docker("exec", "-i", "mixed", "hello.wasm", "cat", given="through a module\n", want="^through a module$")
    d.docker("exec", "mixed", "hello.wasm", "exit", "7", rc=7)
    d.docker("run", "-d", "--runtime", "runw", "--name", "native", "--entrypoint", "busybox", "linux", "sleep", "1000")
    d.docker("exec", "native", "hello.wasm", "x", want=r"^Hello from a WebAssembly program in C.\nargv.0. = hello.wasm\nargv.1. = x$")


@suite.case("a server behind a published port", ours=True)
def server(d):
    d.service("-p", "127.0.0.1:8080:80", "-e", "VERSION=one", verb=("serve", "80"))
    fetch = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080/', timeout=20).read().decode())"
    # Docker's bridge and its proxy are in the daemon's network namespace, where a neighbour of the host would be.
    for _ in range(3):
        command(d.inside(sys.executable, "-c", fetch), d.environment(), want="^WebAssembly one$")
    address = d.docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "service").out.strip()
    command(d.inside(sys.executable, "-c", fetch.replace("127.0.0.1:8080", address)), d.environment(), want="^WebAssembly one$")


@suite.case("twelve at once", ours=True)
def at_once(d):
    d.built("tutorial", *PLATFORM)
    running = [subprocess.Popen(["docker", "run", "--rm", "--runtime", "runw", *PLATFORM, "tutorial", "exit", str(n)], env=d.environment(),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for n in range(12)]
    for n, process in enumerate(running):
        err = process.communicate(timeout=180)[1]
        holds(f"exit code of container {n} ({err.strip()})", process.returncode, n)


suite.main(Tutorial)
