"""Programs on a terminal: what a person would see and type."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time


def on_terminal(words, environment, typed=(), size=(40, 100), seconds=60):
    """Runs a program on a terminal of `size` (rows, columns). `typed` is a list of (wait for, then type), where a tuple of
    numbers as the second means a new size of the terminal. Gives the exit code, or `timeout`, and what was seen."""
    deadline = time.monotonic() + seconds
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(words[0], words, environment)
    resize(master, size)
    text, ended = talk(master, list(typed), deadline)
    os.close(master)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return (status if ended else "timeout"), text


def resize(terminal, size):
    """Gives a terminal a size in rows and columns; the kernel tells the foreground program."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))


def talk(terminal, script, deadline):
    """Reads a terminal to its end, typing what `script` says. Gives what it said and whether the end came in time."""
    seen, answered = "", 0
    while time.monotonic() < deadline:
        if script and script[0][0] in seen[answered:]:
            awaited, answer = script.pop(0)
            answered = seen.index(awaited, answered) + len(awaited)
            resize(terminal, answer) if isinstance(answer, tuple) else os.write(terminal, answer.encode())
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            block = os.read(terminal, 4096)
        except OSError:  # EIO: the other side is closed
            return seen, True
        if not block:
            return seen, True
        seen += block.decode(errors="replace")
    return seen, False
