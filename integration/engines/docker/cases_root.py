"""What the container sees of files: root, mounts, devices, volumes, masked paths."""

import subprocess

from cases import case, seen

# Mount ids and peer groups are numbers of the moment; the overlay's options name folders of this container.
# cgroup v1 hierarchies come in any order.
MOUNTS = ("awk '{sep=0; for (i=7; i<=NF; i++) if ($i == \"-\") sep=i; tags=\"\"; for (i=7; i<sep; i++) {t=$i; "
          "sub(/:.*/, \"\", t); tags=tags \" \" t}; print $5, $6, \"[\" tags \" ]\", $(sep+1), $(sep+2)}' /proc/self/mountinfo | sort")

# Devices that a user namespace can only have bound are ours without setuid and exec, which is of no consequence.
seen("all mounts", MOUNTS + " | sed '/devtmpfs/s/nosuid,noexec,//'", want="/proc/sys ro")
# The tmpfs over a masked folder has limits with some runtimes and versions.
seen("mount options of the file systems", "grep -vE ' (/|/etc/(resolv.conf|hostname|hosts)) ' /proc/mounts | cut -d' ' -f2-4 | sort | sed 's/,size=4k,nr_inodes=1$//'")
seen("default devices", "ls -l /dev | awk '{print $1, $2, $3, $4, $5, $6, $NF}' | grep -vE 'total|mqueue'; stat -c '%t %T %a' /dev/null /dev/tty")
seen("default devices work", "echo x >/dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; cat </dev/tty; echo x >/dev/full",
     rc=1, want="No space left")
seen("masked paths", "for p in /proc/acpi /proc/kcore /proc/keys /proc/timer_list /proc/scsi /sys/firmware; do [ -e $p ] && "
     "stat -c '%n %F %a' $p; ls $p 2>&1 | wc -l; head -c 1 $p 2>&1 | wc -c; done; true")
seen("read-only paths", "for p in /proc/sys/kernel/domainname /proc/sysrq-trigger /proc/irq/default_smp_affinity; do (echo x >$p); done; true",
     want="Read-only file system")
seen("system paths unmasked", "head -c 0 /proc/timer_list && touch /proc/sys/kernel/domainname && echo open",
     "--security-opt", "systempaths=unconfined", rc=None)
seen("names of the files around", "ls -a / /tmp /etc /var")
seen("device numbers", "mknod /tmp/null c 1 3 && echo x >/tmp/null && mknod /tmp/sda b 8 0; cat /tmp/sda", rc=1, want="not permitted")

seen("read-only root", "touch /a; echo $?; grep ' / ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1; touch /dev/shm/a && echo shm", "--read-only",
     want="Read-only file system")
seen("read-only root with tmpfs", "touch /a; touch /scratch/a && grep -E ' /(scratch|tmp) ' /proc/mounts | sort; stat -c %a /scratch /tmp",
     "--read-only", "--tmpfs", "/scratch:size=1m,mode=700,exec", "--tmpfs", "/tmp", want="size=1024k")
seen("tmpfs on a folder with files", "ls -a /home; stat -c %a /home", "--tmpfs", "/home")
seen("size of shared memory", "df -k /dev/shm | tail -n 1", "--shm-size", "8m", want="8192")

seen("a device to read", "ls -l /dev/mykmsg | awk '{print $1, $3, $5, $6}'; (exec 3</dev/mykmsg) && echo readable; exec 3>/dev/mykmsg",
     "--device", "/dev/kmsg:/dev/mykmsg:r", "--cap-add", "SYSLOG", rc=1, want="readable.*not permitted")
seen("a device not asked for", "mknod /dev/mykmsg c 1 11; exec 3</dev/mykmsg", "--cap-add", "SYSLOG", rc=1, want="not permitted")
seen("a device to write", "echo x >/dev/myzero && echo written", "--device", "/dev/zero:/dev/myzero", want="written")
seen("a folder of devices", "ls -R /dev/mynet", "--device", "/dev/net:/dev/mynet", rc=None)
seen("a missing device", "true", "--device", "/dev/no-such-device", rc=(125, 127))
seen("device rule", "mknod /tmp/d b 7 7 && head -c 0 /tmp/d; mknod /tmp/e b 7 8", "--device-cgroup-rule", "b 7:7 rwm", rc=None)


def folder(d, name):
    """A folder with a file in it, to be mounted, and open to all: root of a user namespace is somebody else here."""
    path = d.engine.work / "volumes" / name
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o777)
    (path / "file").write_text("from outside\n")
    return path


@case("bind mounts")
def binds(d):
    at = folder(d, "bind")
    look = "cat /v/file; (echo in >/v/new) && cat /v/new; grep ' /v ' /proc/mounts | cut -d' ' -f4"
    d.sh(look, "-v", f"{at}:/v", want="from outside\nin")
    d.sh(look, "-v", f"{at}:/v:ro", want="Read-only file system")
    d.sh(look, "--mount", f"type=bind,src={at},dst=/v,readonly", want="Read-only file system")
    d.sh(look, "--mount", f"type=bind,src={at},dst=/v", want="\nin")
    d.sh("cat /etc/one; ls -l /etc/one | cut -c1-10", "-v", f"{at}/file:/etc/one:ro", want="from outside")
    d.sh("cat /tests/file-link", "-v", f"{at}/file:/tests/file-link", want="from outside")
    d.sh("cat /tests/link/deeper/file; readlink /tests/link; ls /home", "-v", f"{at}:/tests/link/deeper", want="from outside")
    d.sh("cat /v//w/file", "-v", f"{at}:/v//w", want="from outside")
    d.sh("cat /v/file /v/w/file", "-v", f"{at}:/v/w", "-v", f"{at}:/v", want="from outside\nfrom outside")
    d.sh("true", "--mount", f"type=bind,src={at}/missing,dst=/v", rc=125)
    d.sh("true", "-v", f"{at}/file:/etc", rc=None)
    d.sh("true", "-v", f"{at}:/etc/passwd", rc=None)
    d.sh("true", "-v", f"{at}:/", rc=125)
    d.sh("cat /proc/uptime", "-v", f"{at}/file:/proc/uptime", rc=None)
    d.sh("ls /proc", "-v", f"{at}:/proc", rc=None)


@case("mounts below a bind")
def submounts(d):
    at = folder(d, "below")
    (at / "sub").mkdir(exist_ok=True)
    enter = d.engine.inside
    shell(enter("mount", "-t", "tmpfs", "tmpfs", at / "sub"))
    shell(enter("touch", at / "sub" / "in-tmpfs"))
    look = "ls /v/sub; touch /v/sub/new && rm /v/sub/new; grep ' /v' /proc/mounts | cut -d' ' -f2,4 | cut -d, -f1"
    d.sh(look, "-v", f"{at}:/v:ro", rc=None, want="in-tmpfs")
    d.sh(look, "--mount", f"type=bind,src={at},dst=/v,bind-recursive=enabled,readonly", rc=None, want="in-tmpfs")
    d.sh(look, "--mount", f"type=bind,src={at},dst=/v,bind-recursive=writable,readonly", rc=None, want="in-tmpfs")
    d.sh(look, "--mount", f"type=bind,src={at},dst=/v,bind-recursive=readonly,readonly,bind-propagation=rprivate", rc=None)
    d.sh(look, "--mount", f"type=bind,src={at},dst=/v,bind-recursive=disabled", rc=None)
    shell(enter("umount", at / "sub"))


@case("propagation")
def propagation(d):
    at = folder(d, "shared")
    tags = f"{MOUNTS} | grep -E '^/v '"
    for mode in ("private", "rprivate", "shared", "rshared", "slave", "rslave"):
        d.sh(tags, "-v", f"{at}:/v:{mode}", want="^/v")
    (at / "later").mkdir(exist_ok=True)
    for mode, right in (("rslave", "in-tmpfs"), ("rprivate", "")):
        d.start("echo ready; while [ ! -e /v/go ]; do sleep 0.1; done; ls /v/later", "-v", f"{at}:/v:{mode}")
        shell(d.engine.inside("mount", "-t", "tmpfs", "tmpfs", at / "later"))
        shell(d.engine.inside("touch", at / "later" / "in-tmpfs", at / "go"))
        d.until()
        log = d.docker("logs", d.name).out.split()
        d.note(f"what a {mode} mount shows of a later mount outside", " ".join(log[1:]), right)
        shell(d.engine.inside("umount", at / "later"))
        (at / "go").unlink()
        d.end()
    # And the other way round: a mount made inside is seen outside only if shared.
    d.sh("mount -t tmpfs tmpfs /v/later && touch /v/later/from-inside", "--privileged", "-v", f"{at}:/v:rshared")
    d.note("a mount made inside is seen outside", shell(d.engine.inside("ls", at / "later")), "from-inside\n")
    shell(d.engine.inside("umount", at / "later"))


@case("volumes")
def volumes(d):
    volume = d.name + "-volume"
    d.sh("echo kept >/data/a; ls -a /data", "-v", f"{volume}:/data")
    d.sh("cat /data/a", "-v", f"{volume}:/data:ro", want="kept")
    d.sh("ls /etc2 | head -n 3", "--mount", f"type=volume,src={volume}-2,dst=/etc2")
    d.sh("ls /tests", "-v", f"{volume}-3:/tests", want="script")
    d.sh("ls -a /tests", "-v", f"{volume}-4:/tests:nocopy")
    d.sh("grep ' /t ' /proc/mounts | cut -d' ' -f3,4; stat -c %a /t", "--mount", "type=tmpfs,dst=/t,tmpfs-size=65536,tmpfs-mode=0701", want="701")
    d.run("--name", d.name, "-v", f"{volume}:/data", d.image, "true")
    d.sh("cat /data/a", "--volumes-from", d.name, want="kept")
    d.end()
    d.docker("volume", "rm", volume, *(f"{volume}-{n}" for n in (2, 3, 4)))


@case("two containers on one root do not meet")
def separate_roots(d):
    d.start("echo mine >/own; echo ready; sleep 60")
    d.sh("cat /own", rc=1)
    d.docker("cp", f"{d.name}:/own", "-", keep=False, want="mine")
    d.docker("diff", d.name)


def shell(command):
    """Runs a command that has to succeed, outside the containers."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
