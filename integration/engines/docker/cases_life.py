"""A container's life under the engine: detached, stopped, killed, restarted, on a terminal, built, inspected."""

import json
import subprocess
import time

from cases import case, limit

STATE = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Dead}} {{.State.Paused}} {{.State.Restarting}} [{{.State.Error}}]"


@case("detached, logs, stop, rm")
def detached(d):
    d.start("echo ready; echo and an error >&2; exec sleep 60")
    d.docker("logs", d.name, want="and an error")
    d.docker("inspect", "-f", STATE, d.name, want="^running 0 ")
    d.docker("ps", "--filter", f"name={d.name}", "--format", "{{.Names}} {{.State}} {{.Image}}", want="running")
    d.note("has a process", int(d.docker("inspect", "-f", "{{.State.Pid}}", d.name, keep=False).out) > 0, True)
    d.docker("rm", d.name, rc=1)
    d.docker("stop", "-t", "1", d.name)
    d.docker("inspect", "-f", STATE + " {{.State.Pid}}", d.name, want="^exited 137 ")
    d.docker("rm", d.name)
    d.docker("inspect", d.name, rc=1)


def timed_stop(d, right, slow, *flags, script="exec sleep 60"):
    """Stops a container and notes its exit code and whether the engine had to wait for the end of its patience."""
    d.start("echo ready; " + script, *flags)
    # Long enough to tell apart from a busy machine's slowness, short enough to wait for.
    patience = 3 if slow else 20
    took = d.docker("stop", "-t", patience, d.name).seconds
    d.note("stop waited for the end of its patience", took >= patience, slow)
    d.docker("inspect", "-f", STATE, d.name, want=f"^exited {right} ")
    d.end()


@case("how long stop takes")
def stopping(d):
    timed_stop(d, 137, True)
    timed_stop(d, 143, False, "--init")
    timed_stop(d, 7, False, script="trap 'echo bye; exit 7' TERM; while :; do sleep 0.1; done")
    timed_stop(d, 5, False, "--stop-signal", "USR1", script="trap 'exit 5' USR1; while :; do sleep 0.1; done")


@case("signals")
def signals(d):
    d.start("trap 'echo got usr1' USR1; trap 'echo got hup' HUP; echo ready; while :; do sleep 0.1; done")
    d.docker("kill", "-s", "USR1", d.name)
    d.until("got usr1")
    d.docker("kill", "-s", "1", d.name)
    d.until("got hup")
    d.docker("kill", "-s", "NOSUCH", d.name, rc=1)
    d.docker("kill", d.name)
    d.until()
    d.docker("inspect", "-f", STATE, d.name, want="^exited 137 ")
    d.docker("kill", d.name, rc=1)
    d.docker("logs", d.name, want="got usr1\ngot hup")


@case("an init process")
def init_process(d):
    d.sh("cat /proc/1/comm; ps -o ppid,args", "--init", want="docker-init")
    # Its orphan becomes init's child and is reaped: no zombie stays.
    d.sh("(sleep 0.1 & exec true); sleep 0.5; ps -o stat,args | grep -c '^Z'", "--init", rc=1, want="^0")
    d.sh("exit 3", "--init", rc=3)
    d.run("--rm", "--init", d.image, "no-such-program", rc=127)
    d.sh("kill -9 $$", "--init", rc=137)


@case("foreground with a terminal")
def terminal(d):
    look = "tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo a terminal; ls -l /dev/console | cut -c1-10; stty -a | grep -o '[-]*onlcr'; exit 3"
    d.terminal("run", "--runtime", d.runtime, "--rm", "-it", d.image, "sh", "-c", look, rc=3, want="40 100")
    d.terminal("run", "--runtime", d.runtime, "--rm", "-it", "--user", "1000", d.image, "sh", "-c",
               "echo written >/dev/tty; stat -c '%u %g %a' $(tty)", want="written")
    d.terminal("run", "--runtime", d.runtime, "--rm", "-it", d.image, "sh", "-c",
               # The client takes a moment to listen to changes of its terminal's size.
               "echo first; read line; echo you said $line; trap told=yes WINCH; sleep 1; echo second; "
               "while [ \"$(stty size)\" != '30 77' ]; do sleep 0.1; done; sleep 0.1; echo told: $told",
               typed=[("first", "blue\n"), ("second", (30, 77))], want="you said blue.*told: yes")
    d.terminal("run", "--runtime", d.runtime, "--rm", "-it", d.image, "sh", "-c", "echo up; exec cat", typed=[("up", "a\n"), ("a", "\x04")],
               want="a")
    d.terminal("run", "--runtime", d.runtime, "--rm", "-it", "--init", d.image, "sh", "-c", "echo up; exec sleep 60", typed=[("up", "\x03")], rc=130)
    d.terminal("run", "--runtime", d.runtime, "--rm", "-it", d.image, "no-such-program", rc=127)
    d.sh("test -t 1 && echo a terminal; stty size", "-t", rc=None, want="a terminal")


@case("start again")
def start_again(d):
    d.run("--name", d.name, d.image, "sh", "-c", "echo run >>/count; wc -l </count; exit 4", rc=4)
    d.docker("start", "-a", d.name, rc=4, want="^2")
    d.docker("inspect", "-f", STATE, d.name, want="^exited 4 ")
    d.end()
    d.start("echo ready; exec sleep 60")
    d.docker("restart", "-t", "0", d.name)
    d.docker("inspect", "-f", STATE + " {{.RestartCount}}", d.name, want="^running 0 ")
    d.docker("wait", d.name, rc=None, keep=False, seconds=0.5)
    d.docker("rm", "-f", d.name)


@case("restart on failure")
def restarts(d):
    d.run("-d", "--name", d.name, "--restart", "on-failure:2", d.image, "sh", "-c", "echo once; exit 6")
    d.docker("wait", d.name, want="6")
    d.until()
    d.docker("inspect", "-f", "{{.RestartCount}} {{.State.ExitCode}}", d.name, want="^2 6")
    d.docker("logs", d.name, want="once\nonce\nonce")


@case("create, start, attach, wait")
def in_steps(d):
    d.docker("create", "--runtime", d.runtime, "-i", "--name", d.name, d.image, "sh", "-c", "read a; echo got $a; exit 9")
    d.docker("inspect", "-f", STATE, d.name, want="^created 0 ")
    d.docker("start", "-a", "-i", d.name, given="word\n", rc=9, want="got word")
    d.docker("wait", d.name, want="^9")


@case("files in and out")
def files(d):
    d.start("echo ready; exec sleep 60")
    text = d.engine.work / "to-copy"
    text.write_text("copied\n")
    d.docker("cp", text, f"{d.name}:/tmp/copied", keep=False)
    d.docker("diff", d.name, want="A /tmp/copied")
    d.docker("commit", d.name, "runw-test:committed")
    d.run("--rm", "runw-test:committed", "cat", "/tmp/copied", want="copied")
    d.docker("rmi", "-f", "runw-test:committed", keep=False)


@case("thirty at once")
def at_once(d):
    names = [f"{d.name}-{n}" for n in range(30)]
    script = "".join(f"docker run --runtime {d.runtime} --name {name} {d.image} sh -c 'echo {name}; exit {n}' & " for n, name in enumerate(names))
    subprocess.run(["sh", "-c", script + "wait"], env=d.engine.environment(), capture_output=True, timeout=240)
    for n, name in enumerate(names):
        d.docker("inspect", "-f", STATE, name, want=f"^exited {n} ")
        d.docker("logs", name, want=name)
    d.docker("rm", *names)


@case("what docker info says of the runtime")
def info(d):
    runtimes = json.loads(d.docker("info", "--format", "{{json .Runtimes}}", keep=False).out)
    status = runtimes[d.runtime].get("status", {}).get("org.opencontainers.runtime-spec.features", "{}")
    features = json.loads(status)
    for key in ("ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"):
        d.note(f"features has {key}", key in features, True)
    d.note("hooks", sorted(features.get("hooks", [])))
    d.note("rro is offered", "rro" in features.get("mountOptions", []), True)
    d.note("namespaces of old are offered",
           {"pid", "network", "mount", "ipc", "uts", "cgroup", "user"} <= set(features.get("linux", {}).get("namespaces", [])), True)


DOCKERFILE = """\
FROM busybox
RUN echo built by $(id -u) >/built && cat /proc/self/mountinfo | wc -l >/dev/null
WORKDIR /made
USER 1000
RUN ["sh", "-c", "id -u; pwd; touch /tmp/by-user"]
CMD ["cat", "/built"]
"""


@case("build")
def build(d):
    folder = d.engine.work / "context"
    folder.mkdir(exist_ok=True)
    for name, text in (("Dockerfile", DOCKERFILE), ("Broken", "FROM busybox\nRUN exit 9\n")):
        (folder / name).write_text(text)
    program = d.engine.program(d.runtime)
    for kind in ("classic", "buildkit"):
        # The classic builder takes the default runtime; BuildKit takes what is called runc in the daemon's PATH.
        if kind == "classic":
            d.engine.reconfigure(**{"default-runtime": d.runtime})
        else:
            d.engine.put_first_in_path("runc", program)
        builder = {"DOCKER_BUILDKIT": "0" if kind == "classic" else "1"}
        d.docker("build", "--no-cache", "-t", "built", folder, keep=False, environment=builder, seconds=180)
        d.run("--rm", "built", want="built by 0")
        d.run("--rm", "built", "stat", "-c", "%u %n", "/tmp/by-user", "/made")
        code = d.docker("build", "--no-cache", "-f", folder / "Broken", folder, rc=None, keep=False, environment=builder).rc
        d.note(f"{kind} builder's exit code for a failing RUN", code, 9 if kind == "classic" else 1)
        d.docker("rmi", "-f", "built", keep=False)
    d.engine.put_first_in_path("runc", None)
    d.engine.reconfigure(**{"default-runtime": "runc"})


@case("WebAssembly", ours=True)
def webassembly(d):
    def module(*words, **about):
        d.run("--rm", "-i", "-e", "COLOUR=blue", "hello-wasm", "/hello.wasm", *words, **about)

    d.run("--rm", "hello-wasm", want="^Hello from a WebAssembly program")
    module("a", "two words", want=r"argv\[1\] = a\nargv\[2\] = two words\n")
    module("env", "COLOUR", want="^blue$")
    module("env", "HOSTNAME", want="^[0-9a-f]{12}$")
    module("cat", given="through a module\n", want="^through a module$")
    for code in (0, 3, 42, 255):
        module("exit", code, rc=code)
    d.run("--rm", "hello-wasm", "/no-such.wasm", rc=127)
    d.run("-d", "--name", d.name, "hello-wasm", "/hello.wasm", "wait")
    d.until("Hello")
    d.docker("logs", d.name, want="WebAssembly")
    took = d.docker("stop", "-t", "20", d.name).seconds
    d.note("stop took less than the engine's patience", took < 10, True)
    d.docker("inspect", "-f", STATE, d.name, want="^exited 143 ")


@case("exec")
def execute(d):
    d.start("echo ready; exec sleep 60", "-e", "A=1", "--user", "1000")
    d.docker("exec", d.name, "sh", "-c", "id; echo $A; echo err >&2; pwd; cat /proc/self/status | grep -E 'Cap|Seccomp|NoNew'", want="uid=1000")
    d.docker("exec", "--user", "0", "-w", "/bin", "-e", "B=2", d.name, "sh", "-c", "id; echo $A $B; pwd", want="uid=0")
    d.docker("exec", d.name, "sh", "-c", "exit 3", rc=3)
    d.docker("exec", d.name, "no-such-program", rc=(126, 127))
    d.docker("exec", d.name, "/etc", rc=126)
    d.docker("exec", "-w", "/no/such", d.name, "true", rc=None)
    d.docker("exec", "-i", d.name, "cat", given="through exec\n", want="through exec")
    d.docker("exec", "--privileged", d.name, "sh", "-c", "grep CapEff /proc/self/status")
    d.docker("exec", "-d", d.name, "touch", "/tmp/detached")
    d.terminal("exec", "-it", d.name, "sh", "-c", "tty; stty size", want="40 100")
    d.docker("exec", d.name, "sh", "-c", "kill -9 $$", rc=137)


@case("top")
def top(d):
    d.start("sleep 61 & echo ready; exec sleep 60")
    reply = d.docker("top", d.name, "-eo", "pid,args", keep=False)
    d.note("processes", sorted(line.split(maxsplit=1)[1] for line in reply.out.splitlines()[1:]))


@case("pause")
def pause(d):
    d.start("echo ready; while :; do date +%s%N; sleep 0.05; done")
    d.docker("pause", d.name)
    d.docker("inspect", "-f", STATE, d.name, want="^paused")
    first = d.docker("logs", d.name, keep=False).out
    second = d.docker("logs", d.name, keep=False).out
    d.note("says nothing while paused", first == second, True)
    d.docker("exec", d.name, "true", rc=1)
    d.docker("unpause", d.name)
    d.docker("inspect", "-f", STATE, d.name, want="^running")
    d.docker("pause", d.name)
    d.docker("rm", "-f", d.name)


@case("update", needs="memory")
def update(d):
    d.start("echo ready; exec sleep 60", "--memory", "64m", "--pids-limit", "50")
    d.docker("update", "--memory", "32m", "--memory-swap", "64m", "--pids-limit", "20", "--cpus", "0.3", d.name)
    for file, right in ((limit("memory/memory.limit_in_bytes", "memory.max"), "^33554432$"), (limit("pids/pids.max", "pids.max"), "^20$"),
                        (limit("cpu/cpu.cfs_quota_us", "cpu.max"), "^30000")):
        d.docker("exec", d.name, "sh", "-c", file, want=right)
    d.docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", d.name)


@case("stats")
def stats(d):
    d.start("sleep 61 & echo ready; exec sleep 60")
    d.docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", d.name, want=" 2$")
    d.docker("pause", d.name)
    d.docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.CPUPerc}}", d.name, want=" 2 0.00%")


@case("health check")
def health(d):
    d.start("touch /well; echo ready; exec sleep 60", "--health-cmd", "test -e /well || { echo ill; exit 1; }", "--health-interval", "200ms",
            "--health-retries", "2")
    d.note("health", becomes(d, "healthy"), True)
    d.docker("exec", d.name, "rm", "/well")
    d.note("health", becomes(d, "unhealthy"), True)
    d.docker("inspect", "-f", "{{json .State.Health.Log}}", d.name, keep=False, want='"ExitCode":1,"Output":"ill')
    d.docker("exec", d.name, "touch", "/well")
    d.note("health", becomes(d, "healthy"), True)


def becomes(d, right):
    """Whether the engine comes to call the container so."""
    for _ in range(200):
        if d.docker("inspect", "-f", "{{.State.Health.Status}}", d.name, keep=False).out.strip() == right:
            return True
        time.sleep(0.1)
    return False


@case("dockerd is killed and comes back, with live-restore")
def live_restore(d):
    d.engine.reconfigure(**{"live-restore": True})
    try:
        d.start("echo ready; exec sleep 1000")
        pid = d.docker("inspect", "-f", "{{.State.Pid}}", d.name, keep=False).out
        d.engine.kill_daemon()
        d.engine.start_daemon()
        d.docker("inspect", "-f", STATE, d.name, want="^running 0 ")
        d.note("the same process", d.docker("inspect", "-f", "{{.State.Pid}}", d.name, keep=False).out == pid, True)
        d.docker("exec", d.name, "echo", "still here", want="still here")
        d.docker("kill", d.name)
        d.until()
        d.docker("inspect", "-f", STATE, d.name, want="^exited 137 ")
    finally:
        d.engine.reconfigure(**{"live-restore": False})
