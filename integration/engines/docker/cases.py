"""The list of cases, and how a case joins it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

CGROUPS = Path("/sys/fs/cgroup")


@dataclass
class Case:
    """A named conversation with the engine."""

    name: str
    hold: Callable
    # True for what the runtime does not promise yet.
    later: bool = False
    # True for what no other runtime does: only the promises of the case count.
    ours: bool = False
    # The cgroup controller without which the case says nothing.
    needs: str = ""

    def lacks(self):
        """The controller that this machine's cgroups do not have, or nothing."""
        return "" if not self.needs or self.needs in controllers() else self.needs


ALL = []


def case(name, **about):
    """Adds the function below to the list, to be called with a session per runtime."""

    def add(function):
        ALL.append(Case(name, function, **about))
        return function

    return add


def seen(name, script, *flags, needs="", **about):
    """Adds the commonest kind of case: run a shell script with these flags and compare what it prints."""
    ALL.append(Case(name, lambda d: d.sh(script, *flags, **about), needs=needs))


def unified():
    """Whether containers live in the v2 hierarchy."""
    return (CGROUPS / "cgroup.controllers").exists()


def controllers():
    """The cgroup controllers that containers can have here."""
    if unified():
        return set((CGROUPS / "cgroup.controllers").read_text().split())
    return {kind for folder in CGROUPS.iterdir() for kind in folder.name.split(",")}


def limit(v1, v2):
    """A shell command that prints a limit from whichever cgroup version is mounted."""
    return f"cd /sys/fs/cgroup; cat {v1} 2>/dev/null || cat {v2}"
