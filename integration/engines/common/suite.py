"""Cases of a suite: a name, a function that raises where a promise is broken, and a count at the end."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")) / "bin" / "runw"


class Broken(Exception):
    """A promise that did not hold, in words."""


@dataclass
class Reply:
    """What a command gave back."""

    asked: str
    rc: int
    out: str
    err: str
    seconds: float

    @property
    def text(self):
        """Both streams."""
        return self.out + self.err


def say(text):
    """A line for the reader, at once."""
    print(text, flush=True)


def holds(what, found, right):
    """Breaks off unless what was found is what has to be."""
    if found != right:
        raise Broken(f"{what}: {found!r} instead of {right!r}")


def command(words, environment, rc=0, want=None, given=None, seconds=120):
    """Runs a command to its end. Unless its exit code is `rc` (one, some, or None for any) and `want`, a pattern, is in what
    it says, a promise is broken."""
    words = [str(word) for word in words]
    asked = " ".join(words)
    started = time.monotonic()
    process = subprocess.Popen(words, env=environment, text=True, errors="replace", start_new_session=True,
                               stdin=subprocess.PIPE if given is not None else subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise Broken(f"{asked}: not done after {seconds} s; it said: {(out + err)[-600:]!r}") from None
    reply = Reply(asked, process.returncode, out, err, time.monotonic() - started)
    if rc is not None and reply.rc not in (rc if isinstance(rc, tuple) else (rc,)):
        raise Broken(f"{asked}: exit code {reply.rc} instead of {rc}: {reply.text.strip()[-800:]}")
    if want is not None and not re.search(want, reply.text, re.MULTILINE | re.DOTALL):
        raise Broken(f"{asked}: no {want!r} in {reply.text.strip()[-800:]!r}")
    return reply


def until(what, probe, seconds=90):
    """Asks again and again until `probe` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            if found := probe():
                return found
        except Broken as error:
            last = error
        time.sleep(0.1)
    raise Broken(f"{what}: not within {seconds} s{f'; at last: {last}' if last else ''}")


class Suite:
    """The cases of one engine."""

    def __init__(self, engine, about):
        """`engine` is its name for the reader, `about` the suite's text of help."""
        self.engine, self.about, self.cases = engine, about, []

    def case(self, name, ours=False, lacks=None):
        """Adds the function below. `ours` is for what no other runtime does; `lacks`, called with
        the runtime's path, gives in words what the case would need and does not find, or nothing."""

        def add(function):
            self.cases.append((name, function, ours, lacks))
            return function

        return add

    def options(self):
        """The command line, the same for every suite."""
        parser = argparse.ArgumentParser(description=self.about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--runtime", default=os.environ.get("RUNW_RUNTIME", str(BUILT)))
        parser.add_argument("patterns", nargs="*", metavar="PATTERN")
        options = parser.parse_args()
        found = shutil.which(options.runtime)
        if found is None:
            sys.exit(f"{self.engine} suite: there is no program {options.runtime}: build it with scripts/build")
        options.runtime = os.path.abspath(found)
        if os.geteuid() != 0:
            sys.exit(f"{self.engine} suite: needs root, for an engine of its own")
        return options

    def main(self, start):
        """Holds all cases with what `start`, given the runtime's path, makes: a context manager whose value they get."""
        options = self.options()
        # An interrupted suite tidies up as a finished one does.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(130))
        is_ours = os.path.basename(options.runtime).startswith("runw")
        chosen = [case for case in self.cases if (is_ours or not case[2]) and
                  (not options.patterns or any(re.search(p, case[0]) for p in options.patterns))]
        if not chosen:
            sys.exit(f"{self.engine} suite: no case has such a name")
        say(f"{self.engine} suite: {options.runtime}")
        count = {"passed": 0, "failed": 0, "passed at the second attempt": 0, "skipped": 0}
        started = time.monotonic()
        with start(options.runtime) as engine:
            for name, function, _, lacks in chosen:
                missing = lacks(options.runtime) if lacks else None
                if missing:
                    say(f"skip {name}: {missing}")
                count["skipped" if missing else tell(name, function, engine)] += 1
        say(f"{self.engine} suite: {', '.join(f'{n} {what}' for what, n in count.items() if n or what in ('passed', 'failed'))} "
            f"in {time.monotonic() - started:.0f} s")
        sys.exit(1 if count["failed"] else 0)


def commands(*names):
    """For `lacks`: the commands that a case needs, while the runtime does not have all of them."""

    def missing(runtime):
        for name in names:
            if subprocess.run([runtime, name, "--help"], capture_output=True).returncode != 0:
                return f"the runtime has no command {name}"
        return None

    return missing


def criu(_):
    """For `lacks`: what of `criu check` fails here."""
    if shutil.which("criu") is None:
        return "CRIU is not installed"
    found = subprocess.run(["criu", "check"], capture_output=True, text=True)
    wrong = [line for line in (found.stdout + found.stderr).splitlines() if "Error" in line]
    return None if found.returncode == 0 else f"criu check fails: {'; '.join(wrong) or found.stderr.strip()}"


def tell(name, function, engine):
    """Holds one case and says how it went. A busy machine makes engines themselves stumble, under any runtime: what only
    the second attempt passed is counted and shown, so that it can't become a habit."""
    began = time.monotonic()
    first = attempt(function, engine)
    if first is None:
        say(f"ok   {name} ({time.monotonic() - began:.1f} s)")
        return "passed"
    again = attempt(function, engine)
    if again is None:
        say(f"ok, at the second attempt: {name}\n     {first}")
        return "passed at the second attempt"
    say(f"FAIL {name}\n     {again}")
    return "failed"


def attempt(function, engine):
    """What is wrong with the case, in words, or nothing; its containers are gone afterwards."""
    try:
        function(engine)
        return None
    except Exception as error:  # a case that stumbles is a failed case, and the next one still runs
        return f"{'' if isinstance(error, Broken) else type(error).__name__ + ': '}{error}"
    finally:
        engine.tidy()
