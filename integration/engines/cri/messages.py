"""Protocol buffers of the CRI, as far as the suite needs them: plain dictionaries to bytes and back.

Numbers are those of kubernetes/cri-api, pkg/apis/runtime/v1/api.proto. A field is `name: (number, kind)`; kinds are `str`,
`bytes`, `int`, `bool`, `map` (of strings), the name of another message, and a list of one kind for repeated fields.
"""

MESSAGES = {
    "Metadata": {"name": (1, "str"), "uid": (2, "str"), "namespace": (3, "str"), "attempt": (4, "int")},
    "Port": {"protocol": (1, "int"), "container_port": (2, "int"), "host_port": (3, "int"), "host_ip": (4, "str")},
    "Namespaces": {"network": (1, "int"), "pid": (2, "int"), "ipc": (3, "int"), "target_id": (4, "str")},
    "PodSecurity": {"namespace_options": (1, "Namespaces")},
    "PodLinux": {"cgroup_parent": (1, "str"), "security_context": (2, "PodSecurity"), "sysctls": (3, "map")},
    "PodConfig": {"metadata": (1, "Metadata"), "hostname": (2, "str"), "log_directory": (3, "str"), "port_mappings": (5, ["Port"]),
                  "labels": (6, "map"), "annotations": (7, "map"), "linux": (8, "PodLinux")},
    "RunPodSandboxRequest": {"config": (1, "PodConfig"), "runtime_handler": (2, "str")},
    "RunPodSandboxResponse": {"pod_sandbox_id": (1, "str")},
    "Pod": {"pod_sandbox_id": (1, "str")},
    "PodNetwork": {"ip": (1, "str")},
    "PodStatus": {"id": (1, "str"), "state": (3, "int"), "network": (5, "PodNetwork"), "runtime_handler": (9, "str")},
    "PodSandboxStatusResponse": {"status": (1, "PodStatus")},
    "Image": {"image": (1, "str")},
    "ContainerName": {"name": (1, "str"), "attempt": (2, "int")},
    "KeyValue": {"key": (1, "str"), "value": (2, "str")},
    "Mount": {"container_path": (1, "str"), "host_path": (2, "str"), "readonly": (3, "bool"), "propagation": (5, "int"),
              "recursive_read_only": (8, "bool")},
    "Resources": {"cpu_period": (1, "int"), "cpu_quota": (2, "int"), "cpu_shares": (3, "int"), "memory_limit_in_bytes": (4, "int"),
                  "oom_score_adj": (5, "int")},
    "Number": {"value": (1, "int")},
    "Capabilities": {"add_capabilities": (1, ["str"]), "drop_capabilities": (2, ["str"])},
    "Profile": {"profile_type": (1, "int")},
    "Security": {"capabilities": (1, "Capabilities"), "privileged": (2, "bool"), "namespace_options": (3, "Namespaces"),
                 "run_as_user": (5, "Number"), "readonly_rootfs": (7, "bool"), "no_new_privs": (11, "bool"), "seccomp": (15, "Profile")},
    "ContainerLinux": {"resources": (1, "Resources"), "security_context": (2, "Security")},
    "ContainerConfig": {"metadata": (1, "ContainerName"), "image": (2, "Image"), "command": (3, ["str"]), "args": (4, ["str"]),
                        "working_dir": (5, "str"), "envs": (6, ["KeyValue"]), "mounts": (7, ["Mount"]), "annotations": (10, "map"),
                        "log_path": (11, "str"), "linux": (15, "ContainerLinux")},
    "CreateContainerRequest": {"pod_sandbox_id": (1, "str"), "config": (2, "ContainerConfig"), "sandbox_config": (3, "PodConfig")},
    "CreateContainerResponse": {"container_id": (1, "str")},
    "Container": {"container_id": (1, "str")},
    "StopContainerRequest": {"container_id": (1, "str"), "timeout": (2, "int")},
    "ContainerStatus": {"id": (1, "str"), "state": (3, "int"), "exit_code": (7, "int"), "reason": (10, "str"), "message": (11, "str")},
    "ContainerStatusResponse": {"status": (1, "ContainerStatus")},
    "ExecSyncRequest": {"container_id": (1, "str"), "cmd": (2, ["str"]), "timeout": (3, "int")},
    "ExecSyncResponse": {"stdout": (1, "str"), "stderr": (2, "str"), "exit_code": (3, "int")},
    "Cpu": {"timestamp": (1, "int"), "usage_core_nano_seconds": (2, "Number")},
    "Memory": {"timestamp": (1, "int"), "working_set_bytes": (2, "Number"), "usage_bytes": (4, "Number")},
    "ContainerStats": {"cpu": (2, "Cpu"), "memory": (3, "Memory")},
    "ContainerStatsResponse": {"stats": (1, "ContainerStats")},
    "UpdateContainerResourcesRequest": {"container_id": (1, "str"), "linux": (2, "Resources")},
    "VersionRequest": {"version": (1, "str")},
    "VersionResponse": {"version": (1, "str"), "runtime_name": (2, "str"), "runtime_version": (3, "str")},
    "Condition": {"type": (1, "str"), "status": (2, "bool"), "reason": (3, "str"), "message": (4, "str")},
    "RuntimeStatus": {"conditions": (1, ["Condition"])},
    "HandlerFeatures": {"recursive_read_only_mounts": (1, "bool"), "user_namespaces": (2, "bool")},
    "Handler": {"name": (1, "str"), "features": (2, "HandlerFeatures")},
    "StatusResponse": {"status": (1, "RuntimeStatus"), "runtime_handlers": (3, ["Handler"])},
    "Empty": {},
}


def varint(number):
    """A whole number, seven bits a byte, lowest first; negative ones as 64 bits."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def framed(number, data):
    """A field that tells its length."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def encode(message, value):
    """The bytes of a message given as a dictionary."""
    out = b""
    for name, item in value.items():
        number, kind = MESSAGES[message][name]
        for one in item if isinstance(kind, list) else [item]:
            out += field(number, kind[0] if isinstance(kind, list) else kind, one)
    return out


def field(number, kind, value):
    """The bytes of one field."""
    if kind in ("int", "bool"):
        return varint(number << 3) + varint(int(value))
    if kind == "map":
        return b"".join(framed(number, framed(1, key.encode()) + framed(2, item.encode())) for key, item in value.items())
    if kind in ("str", "bytes"):
        return framed(number, value if isinstance(value, bytes) else str(value).encode())
    return framed(number, encode(kind, value))


def read_varint(data, at):
    """The number at a place, and the place after it."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number - (1 << 64) if number >> 63 else number, at


def decode(message, data):
    """A message as a dictionary; fields that were not sent have their kind's zero, unknown ones are passed over."""
    kinds = {number: (name, kind) for name, (number, kind) in MESSAGES[message].items()}
    zero = {"str": "", "bytes": b"", "int": 0, "bool": False, "map": {}}
    value = {name: [] if isinstance(kind, list) else zero.get(kind) for name, (_, kind) in MESSAGES[message].items()}
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == 0:
            item, at = read_varint(data, at)
        elif tag & 7 == 2:
            length, at = read_varint(data, at)
            item, at = data[at:at + length], at + length
        else:
            size = {1: 8, 5: 4}[tag & 7]
            item, at = data[at:at + size], at + size
        if tag >> 3 not in kinds:
            continue
        name, kind = kinds[tag >> 3]
        one = kind[0] if isinstance(kind, list) else kind
        if one == "str":
            item = item.decode(errors="replace")
        elif one == "bool":
            item = bool(item)
        elif one in MESSAGES:
            item = decode(one, item)
        value[name] = value[name] + [item] if isinstance(kind, list) else item
    return value
