"""A pod of the chart as a runtime of containers gets it from kubelet: an OCI bundle for runc.

What kubelet and containerd make of a pod is repeated here for what the chart uses: user,
capabilities, no_new_privs, seccomp, read-only root, namespaces, mounts and their propagation.
There is no kubelet in the packages of the tests.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.agent import PROGRAM
from tests.deploy.chart import Object

SECCOMP = Path("/usr/share/containers/seccomp.json")
"""What CRI-O's RuntimeDefault is; containerd's has the same rule for setns (SYS_ADMIN)."""
NODE_IP = "127.0.0.1"
TREE = ("usr", *(name for name in ("bin", "sbin", "lib", "lib64") if Path("/", name).exists()))
REPOSITORY = Path(__file__).parents[2]
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
MASKED = ("acpi", "kcore", "keys", "latency_stats", "timer_list", "sched_debug", "scsi")


def write_bundle(directory: Path, pod: Object, sources: Mapping[str, Path]) -> None:
    """Write config.json and an empty root.

    Args:
        directory: Of the bundle.
        pod: Specification with one container.
        sources: Directories that are mounted in the container, by name of the volume; one that
            has another path in its name (``run/netns``) is mounted below that volume.
    """
    (container,) = pod["containers"]
    rights = {**pod.get("securityContext", {}), **container["securityContext"]}
    assert rights["capabilities"]["drop"] == ["ALL"]
    assert not rights["privileged"]
    capabilities = [f"CAP_{name}" for name in rights["capabilities"].get("add", [])]
    kinds = ["mount", "ipc", "uts", *([] if pod["hostPID"] else ["pid"])]
    assert pod["hostNetwork"]
    config = {
        "ociVersion": "1.0.2",
        "root": {"path": "root", "readonly": rights["readOnlyRootFilesystem"]},
        "process": {
            "user": {
                "uid": rights["runAsUser"],
                "gid": rights["runAsGroup"],
                "additionalGids": rights.get("supplementalGroups", []),
            },
            "cwd": "/",
            "args": [
                # it ends with the runtime, whatever ends that
                *("setpriv", "--pdeathsig", "KILL", "--", str(PROGRAM)),
                *(arg.replace("$(HOST_IP)", NODE_IP) for arg in container["args"]),
            ],
            "env": [
                "PATH=/usr/bin:/bin",
                *(
                    f"{each['name']}={each['value']}"
                    for each in container["env"]
                    if "value" in each
                ),
            ],
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "noNewPrivileges": not rights["allowPrivilegeEscalation"],
        },
        "mounts": [*_system(), *_volumes(container, sources)],
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "rootfsPropagation": "rslave",
            "readonlyPaths": [f"/proc/{name}" for name in READ_ONLY],
            "maskedPaths": [f"/proc/{name}" for name in MASKED],
            "seccomp": _seccomp(rights["seccompProfile"], capabilities),
        },
    }
    _make_root(directory / "root")
    (directory / "config.json").write_text(json.dumps(config))


def _given(container: Object) -> list[Object]:
    return [each for each in container["env"] if "value" in each]


def _make_root(root: Path) -> None:
    """Make what stands for the image: this machine's programs, and nothing of /etc, /run, /var."""
    root.mkdir()
    for name in TREE:
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())


def _system() -> list[Object]:
    programs = [Path("/", name) for name in TREE if not Path("/", name).is_symlink()]
    programs += [REPOSITORY, *({Path(sys.prefix)} if REPOSITORY not in PROGRAM.parents else ())]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
        _bound(Path("/sys"), "/sys", "rprivate"),
        *(_bound(path, str(path), "rprivate") for path in programs),
    ]


def _volumes(container: Object, sources: Mapping[str, Path]) -> list[Object]:
    found = []
    for mount in container["volumeMounts"]:
        assert mount["readOnly"]
        follows = mount.get("mountPropagation") == "HostToContainer"
        for name, source in sources.items():
            volume, _, below = name.partition("/")
            if volume == mount["name"]:
                where = str(Path(mount["mountPath"], below))
                found.append(_bound(source, where, "rslave" if follows else "rprivate"))
    return found


def _bound(source: Path, destination: str, propagation: str) -> Object:
    options = ["rbind", propagation, "ro"]
    return {
        "destination": destination,
        "source": str(source),
        "type": "bind",
        "options": options,
    }


def _seccomp(profile: Object, capabilities: list[str]) -> Object:
    """Choose from the profile what these capabilities are given, as the runtimes do."""
    assert profile == {"type": "RuntimeDefault"}
    whole: dict[str, Any] = json.loads(SECCOMP.read_text())
    rules = []
    for rule in whole["syscalls"]:
        wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
        if "amd64" not in wanted.get("arches", ["amd64"]) or "amd64" in unwanted.get("arches", ()):
            continue
        if set(wanted.get("caps", ())) - set(capabilities):
            continue
        if set(unwanted.get("caps", ())) & set(capabilities):
            continue
        kept = {key: rule[key] for key in ("names", "action", "args") if rule.get(key)}
        if rule["action"] == "SCMP_ACT_ERRNO" and rule.get("errnoRet") is not None:
            kept["errnoRet"] = rule["errnoRet"]
        rules.append(kept)
    return {
        "defaultAction": whole["defaultAction"],
        "defaultErrnoRet": whole["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }
