"""Who the process is and what it may do: identity, capabilities, seccomp, limits, environment, exit codes."""

import json

from cases import case, seen

STATUS = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Sig(Blk|Ign|Cgt))' /proc/self/status"
EFFECTIVE = "grep CapEff /proc/self/status"

seen("prints on both streams", "echo to stdout; echo to stderr >&2", want="to stdout")
seen("process status", STATUS, want="NoNewPrivs:\t0")
seen("open descriptors", "exec ls -l /proc/self/fd | awk '{print $NF}' | sed 's/[0-9]\\+/N/g' | wc -l; ls /proc/1/fd")
seen("process tree", "ps -o ppid,args; cat /proc/1/stat | cut -d' ' -f5-8")
seen("stdin of a pipe", "cat; echo end", "-i", given="one\ntwo\n", want="two\nend")
seen("stdin closed", "cat; echo end", want="^end")

seen("user by numbers", f"id; {STATUS}", "--user", "1000:1000", want="CapEff:\t0000000000000000")
seen("user by name", "id; echo $HOME", "--user", "user", want="uid=1000")
seen("user without entry", "id; echo $HOME", "--user", "4242:4243", want="uid=4242")
seen("unknown user", "id", "--user", "nobody-here", rc=125)
seen("further groups", "id; grep Groups /proc/self/status", "--group-add", "100", "--group-add", "4444", want="4444")
seen("writes to its streams as a user", "echo a > /dev/stdout; echo b > /dev/stderr", "--user", "1000", rc=None)

seen("all capabilities dropped", STATUS, "--cap-drop", "ALL", want="CapEff:\t0000000000000000")
seen("one capability dropped", f"{EFFECTIVE}; chown 1 /tmp", "--cap-drop", "CHOWN", rc=1, want="not permitted")
seen("one capability added", f"{EFFECTIVE}; ip link set lo down && echo lo is down", "--cap-add", "NET_ADMIN", want="lo is down")
seen("all capabilities added", STATUS, "--cap-add", "ALL")
seen("dropped and added", STATUS, "--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "KILL", want="CapEff:\t0000000000000021")
seen("capabilities of a user", STATUS, "--user", "1000", "--cap-add", "NET_ADMIN")
seen("privileged", f"{STATUS}; ls /dev | wc -l; mount -t tmpfs none /mnt && echo mounted", "--privileged", want="mounted")
seen("privileged, what is mounted how", "cut -d' ' -f2-4 /proc/mounts | grep -E '^/(sys|proc)' | sort", "--privileged")

seen("no new privileges", f"{STATUS}; /bin/setuid-id", "--security-opt", "no-new-privileges", "--user", "1000",
     want="NoNewPrivs:\t1")
seen("new privileges", "/bin/setuid-id", "--user", "1000", want="euid=0")


@case("seccomp profiles")
def seccomp_profiles(d):
    def profile(name, action, **more):
        path = d.engine.work / f"{name}.json"
        path.write_text(json.dumps({
            "defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": action, **more}],
        }))
        return "--security-opt", f"seccomp={path}"

    state = "grep Seccomp /proc/self/status"
    d.sh(f"{state}; unshare -U true", rc=None, want="Seccomp:\t2")
    d.sh(f"{state}; mkdir /tmp/a && echo made", "--security-opt", "seccomp=unconfined", want="Seccomp:\t0")
    d.sh(f"{state}; mkdir /tmp/a", *profile("errno", "SCMP_ACT_ERRNO", errnoRet=30), rc=1, want="Read-only file system")
    d.sh(f"{state}; mkdir /tmp/a", *profile("default-errno", "SCMP_ACT_ERRNO"), rc=1, want="not permitted")
    d.run("--rm", *profile("kill", "SCMP_ACT_KILL_PROCESS"), d.image, "mkdir", "/tmp/a", rc=159)
    d.sh("mkdir /tmp/a; echo survived", *profile("log", "SCMP_ACT_LOG"), want="survived")
    # A filter on an argument: only sockets of family 16 (netlink) are refused.
    netlink = profile("argument", "SCMP_ACT_ERRNO", names=["socket"], args=[{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}])
    d.sh("ip link; nc -l -p 1 -w 1 -e true; echo $?", *netlink, rc=None, want="not permitted")
    d.sh("mkdir /tmp/a", *profile("broken", "SCMP_ACT_NO_SUCH"), rc=None)


seen("ulimits", "ulimit -n; ulimit -Hn; ulimit -c; ulimit -s", "--ulimit", "nofile=512:1024", "--ulimit", "core=0",
     "--ulimit", "stack=4194304", want="^512\n1024\n0\n4096")
seen("ulimit that bites", "ulimit -f; dd if=/dev/zero of=/tmp/big bs=1M count=2; exit $?", "--ulimit", "fsize=1048576", rc=153)
seen("out-of-memory score", "cat /proc/self/oom_score_adj", "--oom-score-adj", "500", want="^500$")

seen("environment", "env | sort", "-e", "A=1", "-e", "B=two words", "-e", "EMPTY=", "-e", "A=2", want="A=2")
seen("no inherited environment", "env | wc -l; echo $HOME $PATH")
seen("working directory", "pwd", "-w", "/usr/bin", want="^/usr/bin$")
seen("missing working directory", "pwd; stat -c '%a %u %g' .", "-w", "/made/for/me", want="^/made/for/me\n755 0 0")
seen("working directory of another user", "pwd", "-w", "/home/user", "--user", "1000", want="^/home/user")


@case("command lines")
def command_lines(d):
    d.run("--rm", d.image, "echo", "", "two words", "*", "$HOME", "--rm", want=r"two words \* \$HOME --rm")
    d.run("--rm", "--entrypoint", "echo", d.image, "as", "entrypoint", want="as entrypoint")
    d.run("--rm", "-w", "/bin", d.image, "./echo", "relative to cwd", want="relative to cwd")
    d.run("--rm", "-e", "PATH=/elsewhere:/opt", d.image, "sh", "-c", "true", rc=127)
    d.run("--rm", "-e", "PATH=/tests", d.image, "script", "an argument", want="script got an argument")


@case("exit codes")
def exit_codes(d):
    for code in (0, 1, 3, 125, 126, 127, 137, 255):
        d.sh(f"exit {code}", rc=code)
    for number in (1, 2, 6, 9, 11, 15):
        # Process 1 is spared signals that it sends itself: a child has to die for the shell to tell of.
        d.sh(f"sh -c 'kill -{number} $$'; exit $?", rc=128 + number)


@case("programs that can't be run")
def unstartable(d):
    for code, program in (
        (127, "no-such-program"), (127, "/no/such/program"), (126, "/etc"), (126, "/tests/not-executable"),
        (125, "/etc/passwd/below"), (127, "./nothing"), (None, ""),
    ):
        d.run("--rm", d.image, program, rc=code)
    # Until the exec the process has the container's capabilities, whoever it runs as: it is the shell that fails.
    d.run("--rm", "--user", "1000", d.image, "/tests/root-only", rc=2)
    d.run("--rm", "--user", "1000", "--cap-drop", "ALL", d.image, "/tests/root-only", rc=126)
    d.run("--rm", "--user", "1000", "-w", "/tests/locked", d.image, "pwd", rc=None)
    d.run("--rm", "-w", "/etc/passwd", d.image, "pwd", rc=None)
    d.run("--rm", "-w", "relative", d.image, "pwd", rc=125)
    d.run("--rm", "--no-such-flag", d.image, "true", rc=125)


# What only the exec itself finds out, runc tells the container's log, with exit code 1; we let the start fail with the reason.
@case("programs that the kernel refuses", ours=True)
def refused_by_kernel(d):
    d.run("--rm", d.image, "/tests/no-interpreter", rc=127, want="/tests/no-interpreter.*no such file or directory")
    d.run("--rm", d.image, "/tests/no-format", rc=125, want="/tests/no-format.*exec format error")


@case("what is left of a failed start")
def failed_start(d):
    d.run("--name", d.name, d.image, "no-such-program", rc=127)
    d.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}} {{.State.Running}}", d.name, want="created 127 0")
    d.docker("inspect", "-f", "{{.State.Error}}", d.name, want="executable file not found")
    d.docker("start", d.name, rc=1)
    d.docker("rm", d.name)
