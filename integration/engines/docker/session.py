"""One runtime's conversation with the engine: what was asked, what came back, and whether two such are the same."""

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass

from common.terminal import on_terminal

# The words by which engines tell one failure of a runtime from another; all else in such a message is the runtime's own.
PHRASES = (
    "executable file not found", "no such file or directory", "permission denied", "operation not permitted",
    "is a directory", "not a directory", "exec format error", "read-only file system", "already exists",
    "invalid argument", "no such device", "does not exist", "not running", "no such process",
)
RUNTIME_ERROR = re.compile(r"(OCI runtime \w+ failed): .*", re.S)
# What differs from one run to the next under any runtime.
VOLATILE = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{12}\b"), "<short id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)"), "<time>"),
    (re.compile(r"\b02:42(?::[0-9a-f]{2}){4}\b"), "<mac>"),
    (re.compile(r"tini \(\d+\)"), "tini"),
    (re.compile(r"\b172\.17\.0\.\d+\b"), "<address>"),
)


def steady(text):
    """`text` without what changes from run to run, and without a runtime's own wording of its errors."""
    found = RUNTIME_ERROR.search(text)
    if found:
        said = found.group(0).lower()
        words = [phrase for phrase in PHRASES if phrase in said]
        text = text[: found.start()] + f"{found.group(1)}: {', '.join(words) or 'in other words'}"
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    return text


@dataclass
class Reply:
    """What a command gave back. `rc` is its exit code, or `timeout`."""

    asked: str
    rc: object
    out: str
    err: str
    seconds: float

    def same(self, other):
        """Whether two replies agree in all that must not depend on the runtime."""
        return (self.asked, self.rc, steady(self.out), steady(self.err)) == (
            other.asked, other.rc, steady(other.out), steady(other.err))


class Session:
    """Asks an engine for things under one runtime and keeps the replies in `replies`, broken promises in `broken`."""

    image = "busybox"

    def __init__(self, engine, runtime, name):
        self.engine, self.runtime = engine, runtime
        # Every runtime's containers have the same name, so that it need not be taken out of the replies.
        self.name = "c-" + re.sub(r"\W+", "-", name)
        self.replies, self.broken = [], []

    def docker(self, *words, rc=0, want=None, given=None, keep=True, seconds=60, environment=None):
        """Runs the docker client. `rc` (one, some, or None for any) and `want` (a pattern in its output) are
        what any right runtime gives; with `keep=False` the reply is a means only and is not compared."""
        words = [str(word) for word in words]
        started = time.monotonic()
        process = subprocess.Popen(
            ["docker", *words], env={**self.engine.environment(), **(environment or {})}, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.PIPE if given is not None else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(given, timeout=seconds)
            got = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            got = "timeout"
        return self._keep(Reply(self._shown(words), got, out, err, time.monotonic() - started), rc, want, keep)

    def run(self, *words, **about):
        """`docker run` under this session's runtime."""
        return self.docker("run", "--runtime", self.runtime, *words, **about)

    def sh(self, script, *flags, **about):
        """Runs a shell script in a new container with these flags; the container is gone afterwards."""
        return self.run("--rm", *flags, self.image, "sh", "-c", script, **about)

    def start(self, script, *flags, **about):
        """Starts a shell script in a detached container that bears the case's name, and waits until it says `ready`."""
        reply = self.run("-d", "--name", self.name, *flags, self.image, "sh", "-c", script, **about)
        self.until("ready" if "echo ready" in script else None)
        return reply

    def until(self, word=None, seconds=20):
        """Waits for `word` in the container's log, or, without a word, for its end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if word is not None:
                if word in self.docker("logs", self.name, rc=None, keep=False).out:
                    return
            elif self.docker("inspect", "-f", "{{.State.Status}}", self.name, keep=False).out.strip() in ("exited", "dead"):
                return
            time.sleep(0.05)
        self.broken.append(f"container {self.name} did not {'say ' + word if word else 'end'} within {seconds} s")

    def note(self, what, value, right=None):
        """Adds a finding of the case itself to what is compared; `right` is what any runtime must give."""
        self.replies.append(Reply(what, 0, str(value), "", 0.0))
        if right is not None and value != right:
            self.broken.append(f"{what}: {value!r} instead of {right!r}")

    def terminal(self, *words, typed=(), size=(40, 100), rc=0, want=None, seconds=30):
        """Runs the docker client on a terminal of `size` (rows, columns). `typed` is a list of (wait for, then type),
        where a tuple of numbers as the second means a new size of the terminal."""
        words = [str(word) for word in words]
        started = time.monotonic()
        status, text = on_terminal(["docker", *words], self.engine.environment(), typed, size, seconds)
        reply = Reply(self._shown(words), status, text, "", time.monotonic() - started)
        return self._keep(reply, rc, want, True)

    def end(self):
        """Removes the case's container, if it left one."""
        self.docker("rm", "-f", "-v", self.name, rc=None, keep=False)

    def _keep(self, reply, rc, want, keep):
        if rc is not None and reply.rc not in (rc if isinstance(rc, tuple) else (rc,)):
            self.broken.append(f"{reply.asked}: exit code {reply.rc} instead of {rc}: {(reply.err or reply.out).strip()[-400:]}")
        if want is not None and not re.search(want, reply.out + reply.err, re.MULTILINE | re.DOTALL):
            self.broken.append(f"{reply.asked}: no {want!r} in {(reply.out + reply.err).strip()[-400:]!r}")
        if keep:
            self.replies.append(reply)
        return reply

    def _shown(self, words):
        return " ".join(words).replace(f"--runtime {self.runtime} ", "")
