#!/usr/bin/env python3
"""Runs every case under a real Docker daemon with two runtimes, and fails where they differ.

    integration/engines/docker [--runtime PROGRAM] [--against PROGRAM] [--all] [--verbose] [PATTERN ...]

--runtime    what is tested; default $RUNW_RUNTIME, else target/bin/runw
--against    what it has to equal; default runc
--all        also the cases of commands that the runtime does not promise yet
--verbose    print what each case said
PATTERN      only the cases whose names match one of these regular expressions
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True  # a test leaves nothing in the checkout
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cases
import cases_host, cases_life, cases_process, cases_root  # they add themselves to the list
from common.dockerd import Engine
from session import Session, steady

TOP = Path(__file__).resolve().parents[3]
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")) / "bin" / "runw"


# The cases that are worth holding once more where every container has a user namespace.
REMAPPED = {
    "process status", "user by numbers", "all capabilities dropped", "all capabilities added", "seccomp profiles", "ulimits",
    "missing working directory", "exit codes", "programs that can't be run", "all mounts", "default devices", "default devices work",
    "masked paths", "read-only paths", "read-only root with tmpfs", "bind mounts", "volumes", "cgroups mounted",
    "memory limits read back", "number of processes, bitten", "sysctls", "published ports", "foreground with a terminal",
    "detached, logs, stop, rm", "exec", "WebAssembly",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default=os.environ.get("RUNW_RUNTIME", str(BUILT)))
    parser.add_argument("--against", default="runc")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    return parser.parse_args()


def program(name):
    """The absolute path of a program given by name or path."""
    path = shutil.which(name)
    if path is None:
        sys.exit(f"docker suite: there is no program {name}: build it with scripts/build, or name another with --runtime")
    return os.path.abspath(path)


def rootfs(kind):
    """The path of one of the root file systems of scripts/rootfs."""
    return subprocess.run([TOP / "scripts/rootfs", kind], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def prepare_images(engine):
    """Imports busybox with a few things in it that only tests want, and the wasm program with nothing beside it."""
    engine.import_image(rootfs("hello-wasm"), "hello-wasm", ['CMD ["/hello.wasm"]'])
    with tempfile.TemporaryDirectory(dir=engine.work) as folder:
        root = Path(folder) / "root"
        subprocess.run(["cp", "-a", rootfs("busybox"), root], check=True)
        tests = root / "tests"
        (tests / "locked").mkdir(parents=True)
        for name, mode, text in (
            ("script", 0o755, "#!/bin/sh\necho script got $1\n"), ("not-executable", 0o644, "#!/bin/sh\necho no\n"),
            ("no-interpreter", 0o755, "#!/no/such/interpreter\n"), ("no-format", 0o755, "just words\n"),
            ("root-only", 0o700, "#!/bin/sh\necho no\n"), ("file", 0o644, "from the image\n"),
        ):
            (tests / name).write_text(text)
            (tests / name).chmod(mode)
        (tests / "file-link").symlink_to("/tests/file")
        (tests / "link").symlink_to("../home")
        (tests / "locked").chmod(0o700)
        subprocess.run(
            ["gcc", "-static", "-s", "-O2", "-o", root / "bin/setuid-id", TOP / "integration/programs/setuid-id.c"], check=True)
        (root / "bin/setuid-id").chmod(0o4755)
        engine.import_image(root, Session.image, ["CMD /bin/sh", "ENV PATH=/bin:/sbin:/usr/bin:/usr/sbin"])


def hold(case, engine, runtime):
    """Holds a case under one runtime, and tidies up whatever happens."""
    session = Session(engine, runtime, case.name)
    try:
        case.hold(session)
    except Exception as error:  # a case that stumbles is a failed case, and the next one still runs
        session.broken.append(f"the case stumbled: {type(error).__name__}: {error}")
    finally:
        session.end()
    return session


def excerpt(text, other):
    """The part of a reply that is worth reading: from a little before the first difference on."""
    if not (isinstance(text, str) and isinstance(other, str)):
        return repr(text)
    start = max(0, len(os.path.commonprefix([text, other])) - 100)
    return f"{'…' if start else ''}{text[start:start + 400]!r}"


def differences(subject, reference):
    """In words, where the subject broke a promise or gave another reply than the reference."""
    found = []
    for session in (subject,) if subject is reference else (reference, subject):
        found += [f"broken under {session.runtime}: {what}" for what in session.broken[:5]]
        if len(session.broken) > 5:
            found.append(f"broken under {session.runtime}: {len(session.broken) - 5} more")
    for mine, theirs in zip(subject.replies, reference.replies):
        if mine.same(theirs):
            continue
        found.append(f"differs: {mine.asked}")
        for part in ("rc", "out", "err"):
            pair = [getattr(reply, part) for reply in (mine, theirs)]
            pair = [steady(text) if isinstance(text, str) else text for text in pair]
            if pair[0] != pair[1]:
                found += [f"    {part:3} {side.runtime:9} {excerpt(text, other)}"
                          for side, text, other in ((subject, *pair), (reference, *reversed(pair)))]
        for reply, side in ((mine, subject), (theirs, reference)):
            if "OCI runtime" in reply.err:
                found.append(f"    in full, {side.runtime}: {reply.err.strip()}")
    if len(subject.replies) != len(reference.replies):
        found.append(f"{len(subject.replies)} replies instead of {len(reference.replies)}")
    return found


def judge(case, engine, runtimes, verbose):
    """Holds one case under each runtime and gives what is wrong with it, if anything."""
    sessions = {}
    for runtime in runtimes if not case.ours else ["subject"]:
        sessions[runtime] = hold(case, engine, runtime)
    if verbose:
        for reply in sessions["subject"].replies:
            print(f"     $ {reply.asked}\n       {reply.rc} {steady(reply.out)!r} {steady(reply.err)!r}")
    return differences(sessions["subject"], sessions.get("reference", sessions["subject"]))


def tell(case, engine, runtimes, verbose, count):
    """Judges a case, a second time if need be, and says how it went: a busy machine makes Docker itself stumble,
    under any runtime. What only the second attempt passed is counted and shown, so that it can't become a habit."""
    found = judge(case, engine, runtimes, verbose)
    if not found:
        count["passed"] += 1
        print(f"ok   {case.name}", flush=True)
        return
    again = judge(case, engine, runtimes, verbose)
    outcome = "failed" if again else "passed at the second attempt"
    count[outcome] += 1
    print(f"{'FAIL' if again else 'ok, at the second attempt:'} {case.name}", *(again or found), sep="\n     ", flush=True)


def main():
    options = arguments()
    # An interrupted suite tidies up as a finished one does.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    if os.geteuid() != 0:
        sys.exit("docker suite: needs root, for a daemon of its own")
    runtimes = {"reference": program(options.against), "subject": program(options.runtime)}
    is_ours = os.path.basename(runtimes["subject"]).startswith("runw")
    chosen = [c for c in cases.ALL if (options.all or not c.later) and (is_ours or not c.ours) and
              (not options.patterns or any(re.search(p, c.name) for p in options.patterns))]
    if not chosen:
        sys.exit("docker suite: no case has such a name")
    print(f"docker suite: {runtimes['subject']} against {runtimes['reference']}", flush=True)
    count = {"passed": 0, "failed": 0, "passed at the second attempt": 0, "skipped": 0}
    started = time.monotonic()
    for remapped in (False, True):
        of_this_daemon = [c for c in chosen if not remapped or c.name in REMAPPED]
        if not of_this_daemon:
            continue
        print(f"-- {'containers with a user namespace' if remapped else 'usual containers'}")
        with Engine(runtimes, remapped) as engine:
            prepare_images(engine)
            for case in of_this_daemon:
                if case.lacks():
                    print(f"skip {case.name}: no cgroup controller {case.lacks()} here")
                    count["skipped"] += 1
                else:
                    tell(case, engine, runtimes, options.verbose, count)
    print(f"docker suite: {', '.join(f'{n} {what}' for what, n in count.items() if n or what in ('passed', 'failed'))} "
          f"in {time.monotonic() - started:.0f} s")
    sys.exit(1 if count["failed"] else 0)


main()
