"""Programs and root file systems that suites put into containers."""

import shutil
import subprocess

from .suite import TOP


def rootfs(kind):
    """The path of one of the root file systems of scripts/rootfs: to be copied, not changed."""
    return subprocess.run([TOP / "scripts/rootfs", kind], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def compiled(name, target, kind):
    """Compiles a program of integration/programs to the path `target`; `kind` is `wasm` or `native`."""
    compiler = ["clang", "--target=wasm32-wasi", "-Wl,--strip-all"] if kind == "wasm" else ["gcc", "-static", "-s"]
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*compiler, "-O2", "-o", target, TOP / "integration/programs" / f"{name}.c"], check=True)
    return target


def busybox(folder):
    """A root file system with a shell, and with both kinds of the programs `hello` and `service` at its top."""
    subprocess.run(["cp", "-a", rootfs("busybox"), folder], check=True)
    for kind in ("wasm", "native"):
        end = ".wasm" if kind == "wasm" else ""
        compiled("service", folder / f"service{end}", kind)
        shutil.copy(f"{rootfs(f'hello-{kind}')}/hello{end}", folder / f"hello{end}")
    return folder
