"""The list of cases, and how a case joins it."""

from dataclasses import dataclass
from typing import Callable


@dataclass
class Case:
    """A named conversation with the engine; `later` is true for what the runtime does not promise yet."""

    name: str
    hold: Callable
    later: bool = False


ALL = []


def case(name, later=False):
    """Adds the function below to the list, to be called with a session per runtime."""

    def add(function):
        ALL.append(Case(name, function, later))
        return function

    return add


def seen(name, script, *flags, **about):
    """Adds the commonest kind of case: run a shell script with these flags and compare what it prints."""
    ALL.append(Case(name, lambda d: d.sh(script, *flags, **about)))
