"""A client of the CRI: gRPC is HTTP/2, and curl speaks that."""

import struct
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from common.suite import Broken
from messages import MESSAGES, decode, encode


class Refused(Broken):
    """A call that the server answered with an error."""


# Calls whose request has another name than usual, or is like that of others.
REQUESTS = {
    "StopPodSandbox": "Pod", "RemovePodSandbox": "Pod", "PodSandboxStatus": "Pod", "StartContainer": "Container",
    "RemoveContainer": "Container", "ContainerStatus": "Container", "ContainerStats": "Container", "Status": "Empty",
}


def call(socket, method, seconds=120, **request):
    """Calls `runtime.v1.RuntimeService/method` on a Unix socket with a request's fields, and gives the response."""
    data = encode(REQUESTS.get(method, method + "Request"), request)
    with tempfile.TemporaryDirectory() as folder:
        headers = Path(folder) / "headers"
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--max-time", str(seconds), "--unix-socket", socket,
             "--header", "content-type: application/grpc", "--header", "te: trailers", "--data-binary", "@-",
             "--dump-header", headers, "--output", "-", f"http://localhost/runtime.v1.RuntimeService/{method}"],
            # A message is preceded by a byte that says whether it is compressed, and by its length.
            input=b"\0" + struct.pack(">I", len(data)) + data, capture_output=True)
        if done.returncode != 0:
            raise Broken(f"{method}: {done.stderr.decode(errors='replace').strip()}")
        # The status comes in the trailers, after the message.
        told = dict(line.split(": ", 1) for line in headers.read_text(errors="replace").splitlines() if ": " in line)
    if told.get("grpc-status") != "0":
        raise Refused(f"{method}: status {told.get('grpc-status')}: {urllib.parse.unquote(told.get('grpc-message', ''))}")
    response = method + "Response"
    return decode(response if response in MESSAGES else "Empty", done.stdout[5:])
