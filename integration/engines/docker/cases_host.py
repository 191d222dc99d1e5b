"""What the container shares with the host: cgroups and their limits, namespaces, network, sysctls."""

import os
import socket
import subprocess

from cases import case, limit, seen, unified

seen("memory limits read back", f"{limit('memory/memory.limit_in_bytes', 'memory.max')}; "
     f"{limit('memory/memory.soft_limit_in_bytes', 'memory.low')}; {limit('memory/memory.memsw.limit_in_bytes', 'memory.swap.max')}",
     "--memory", "64m", "--memory-reservation", "32m", "--memory-swap", "128m", rc=None, want="67108864\n33554432", needs="memory")
seen("swappiness and oom-kill", f"{limit('memory/memory.swappiness', 'memory.max')}; {limit('memory/memory.oom_control', 'memory.max')}",
     "--memory", "64m", "--memory-swappiness", "10", "--oom-kill-disable", rc=None, needs="memory")
seen("processors", f"{limit('cpu/cpu.cfs_quota_us', 'cpu.max')}; {limit('cpu/cpu.shares', 'cpu.weight')}", "--cpus", "0.5",
     "--cpu-shares", "300", want="^50000", needs="cpu")
seen("quota and period", f"{limit('cpu/cpu.cfs_quota_us', 'cpu.max')}; {limit('cpu/cpu.cfs_period_us', 'cpu.max')}",
     "--cpu-quota", "20000", "--cpu-period", "50000", want="20000", needs="cpu")
seen("a set of processors", f"nproc; {limit('cpuset/cpuset.cpus', 'cpuset.cpus')}; grep Cpus_allowed_list /proc/self/status",
     "--cpuset-cpus", "0", "--cpuset-mems", "0", want="^1\n", needs="cpuset")
seen("number of processes", limit("pids/pids.max", "pids.max"), "--pids-limit", "77", want="^77$", needs="pids")
seen("number of processes, bitten", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait; echo not reached", "--pids-limit", "5", rc=2,
     want="can't fork", needs="pids")
seen("no limit of processes", limit("pids/pids.max", "pids.max"), "--pids-limit", "-1", want="^max$", needs="pids")
seen("reads and writes of a disk", f"{limit('blkio/blkio.throttle.read_bps_device', 'io.max')}; "
     f"{limit('blkio/blkio.throttle.write_iops_device', 'io.max')}", "--device-read-bps", "/dev/vda:1mb", "--device-write-iops",
     "/dev/vda:100", rc=None)
seen("weight of block devices", limit("blkio/blkio.weight", "io.weight"), "--blkio-weight", "300", rc=None)
seen("cgroups mounted", "ls /sys/fs/cgroup; grep cgroup /proc/mounts | cut -d' ' -f2-4 | sort; mkdir /sys/fs/cgroup/pids/a /sys/fs/cgroup/a", rc=1,
     want="(Read-only file system|Permission denied)")
seen("cgroup namespace, private", "cat /proc/self/cgroup; ls /sys/fs/cgroup/pids 2>/dev/null; cut -d' ' -f4 /proc/self/mountinfo | grep -E '^/[.r]'",
     "--cgroupns", "private", rc=None, want=":/\n")
seen("cgroup namespace, the host's", "cat /proc/self/cgroup", "--cgroupns", "host", want="runw-docker")
seen("cgroup of the user's choice", "cut -d: -f3 /proc/self/cgroup | sort -u | sed 's,/[^/]*$,,'", "--cgroupns", "host")


@case("memory limit, bitten", needs="memory")
def out_of_memory(d):
    hog = "head -c 200m /dev/zero | tail -n 1 | wc -c; exit 9"
    d.run("--name", d.name, "--memory", "16m", "--memory-swap", "16m", d.image, "tail", "-n", "1", "/dev/zero", rc=137)
    d.docker("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", d.name, want="true 137")
    d.sh(hog, "--memory", "16m", "--memory-swap", "16m", rc=9)


@case("cgroups are gone afterwards")
def cgroups_gone(d):
    d.start("mkdir -p /sys/fs/cgroup/pids/child/grandchild /sys/fs/cgroup/child 2>/dev/null; echo ready; sleep 60", "--privileged")
    ident = d.docker("inspect", "-f", "{{.Id}}", d.name).out.strip()
    d.note("cgroups while it runs", cgroups_of(d, ident) > 0, True)
    d.docker("rm", "-f", d.name)
    d.note("cgroups afterwards", cgroups_of(d, ident), 0)


def cgroups_of(d, ident):
    """How many cgroups of a container there are in the hierarchies."""
    return sum(1 for folder, _, _ in os.walk("/sys/fs/cgroup") if folder.endswith("/" + ident))


# Whether a namespace is the daemon's own shows by its number; `inside` compares the container's with the daemon's.
@case("namespaces shared with the host")
def shared_namespaces(d):
    theirs = {}
    for kind in ("pid", "net", "ipc", "uts", "cgroup", "mnt", "user", "time"):
        theirs[kind] = subprocess.run(d.engine.inside("readlink", f"/proc/self/ns/{kind}"), capture_output=True, text=True).stdout

    def inside(flags, *shared):
        script = "for n in pid net ipc uts cgroup mnt user time; do echo $n $(readlink /proc/self/ns/$n); done"
        out = d.run("--rm", *flags, d.image, "sh", "-c", script, keep=False).out
        same = {kind for kind, link in (line.split() for line in out.splitlines()) if link == theirs[kind].strip()}
        d.note(f"namespaces shared with {' '.join(flags) or 'no flag'}", sorted(same), sorted({"user", "time", *shared, *(() if unified() else ("cgroup",))}))

    inside([])
    inside(["--pid=host"], "pid")
    inside(["--network=host"], "net")
    inside(["--ipc=host"], "ipc")
    inside(["--uts=host"], "uts")
    inside(["--pid=host", "--network=host", "--ipc=host", "--uts=host", "--cgroupns=host"], "pid", "net", "ipc", "uts", "cgroup")
    d.note("the host's name", socket.gethostname() in d.sh("hostname", "--uts=host", keep=False).out, True)


@case("namespaces shared with a container")
def joined_namespaces(d):
    links = "for n in pid net ipc; do readlink /proc/self/ns/$n; done"
    d.start(f"{links}; echo ready; sleep 60", "--ipc=shareable", "--hostname", "first")
    first = d.docker("logs", d.name, keep=False).out.split()
    for index, kind in enumerate(("pid", "network", "ipc")):
        second = d.sh(links, f"--{kind}=container:{d.name}", keep=False).out.split()
        d.note(f"shares only the {kind} namespace", [a == b for a, b in zip(first, second)], [n == index for n in range(3)])
    d.sh("ps -o args | head -n 2; kill -TERM 99999", f"--pid=container:{d.name}", rc=1, want="sleep 60")
    d.sh("hostname; ls /sys/class/net", f"--network=container:{d.name}", want="first")
    # The pid namespace is not its own: ending it must still end all its processes, and no others.
    d.run("-d", "--name", d.name + "-2", f"--pid=container:{d.name}", d.image, "sh", "-c", "sleep 71 & sleep 72")
    d.docker("rm", "-f", d.name + "-2")
    d.sh("ps -o args | grep -c 'sleep 7[12]'", f"--pid=container:{d.name}", rc=1, want="^0$")


seen("host name and domain", "hostname; hostname -f; cat /proc/sys/kernel/domainname", "--hostname", "sea", "--domainname", "example",
     rc=None, want="^sea\n")
seen("hosts and resolver", "cat /etc/hosts; cat /etc/resolv.conf; ls -l /etc/hosts | cut -c1-10", "--add-host", "a.example:10.1.2.3", "--dns",
     "10.9.8.7", want="10.1.2.3")
seen("no network", "ls /sys/class/net; ip -o addr | awk '{print $2, $4}'; ping -c 1 -W 1 127.0.0.1 >/dev/null && echo lo is up",
     "--network=none", want="lo is up")
seen("the host's network", "ls /sys/class/net; cat /proc/net/dev | grep -c docker0", "--network=host", want="docker0")
seen("the bridge", "ip route | head -n 1; ip -o link | awk '{print $2, $3}' | sed 's/@if[0-9]*//'; cat /sys/class/net/eth0/mtu", want="eth0")

seen("sysctls", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max",
     "--sysctl", "net.ipv4.ip_unprivileged_port_start=99", "--sysctl", "kernel.shm_rmid_forced=1", "--sysctl", "fs.mqueue.msg_max=20",
     want="^99\n1\n20$")
seen("an interface's sysctl", "cat /proc/sys/net/ipv4/conf/lo/forwarding", "--sysctl", "net.ipv4.conf.lo.forwarding=0", want="^0$")
seen("a sysctl of the whole machine", "true", "--sysctl", "vm.swappiness=1", rc=125)
seen("a sysctl without its namespace", "true", "--network=host", "--sysctl", "net.ipv4.ip_forward=1", rc=125)
seen("an unknown sysctl", "true", "--sysctl", "net.ipv4.no_such_thing=1", rc=None)


@case("published ports")
def published_ports(d):
    serve = "mkdir /www; echo it is $(hostname) >/www/index.html; echo ready; httpd -f -p 80 -h /www"
    d.start(serve, "--hostname", "server", "-p", "127.0.0.1:18080:80", "-p", "18081:80")
    for port in (18080, 18081):
        got = fetch(d, "127.0.0.1", port)
        d.note(f"port {port} answers", got, "it is server\n")
    address = d.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", d.name).out.strip()
    d.note("the container's address answers", fetch(d, address, 80), "it is server\n")
    d.docker("port", d.name)
    d.sh(f"wget -q -O - http://{address}/", want="it is server")
    d.docker("stop", "-t", "1", d.name)
    d.note("a stopped container does not answer", fetch(d, "127.0.0.1", 18080, tries=1), "")


FETCH = """
import sys, time, urllib.request
for attempt in range(int(sys.argv[2])):
    try:
        print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode(), end="")
        break
    except OSError:
        time.sleep(0.1)
"""


def fetch(d, host, port, tries=30):
    """What an HTTP server answers in the daemon's network, or nothing."""
    command = d.engine.inside("python3", "-c", FETCH, f"http://{host}:{port}/", tries)
    return subprocess.run(command, capture_output=True, text=True).stdout
