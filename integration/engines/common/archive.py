"""Images as archives, in the form that `docker save` writes and containerd imports."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def machine():
    """This machine's architecture in the words of images."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def archive(root, file, name, config, os="linux", architecture=None):
    """Writes an image of one layer: the folder `root`, with `config` (Cmd, Entrypoint, Env) and a platform."""
    layer = subprocess.run(["tar", "-C", root, "--numeric-owner", "-c", "."], check=True, stdout=subprocess.PIPE).stdout
    digest = hashlib.sha256(layer).hexdigest()
    about = json.dumps({
        "architecture": architecture or machine(), "os": os, "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}, "history": [],
    }).encode()
    about_name = hashlib.sha256(about).hexdigest() + ".json"
    manifest = json.dumps([{"Config": about_name, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]).encode()
    with tarfile.open(file, "w") as tar:
        for path, data in ((about_name, about), (f"{digest}/layer.tar", layer), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file
