"""The agent in its image: as Podman runs it, or in a chroot where no engine can run.

```python
with Podman() as engine:
    image = engine.load(archive)
    with Agent(node.rundir, host=node, program=engine.command(image, example())) as agent:
        print(agent.metrics())
```
"""

import json
import resource
import sys
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import confined
from lab.namespace import delete_directory, make_directory
from lab.part import Part
from lab.process import LabError, run

EXAMPLES = Path(__file__).parents[1] / "deploy" / "container" / "examples"
QUADLET = EXAMPLES / "dataplane-agent.container"
SETTINGS = "/etc/dataplane-agent"
DRIVERS = ("overlay", "vfs")
"""Of Podman's storage: an overlay cannot be on an overlay, where a container runs the tests."""
MOST = 1 << 20
MOST_PROCESSES = Path("/proc/sys/kernel/pid_max")
"""Podman lowers its own limits to these when it starts."""


@dataclass(frozen=True)
class Given:
    """What a container is given, beside what all of them get.

    That is the network where it is started, a read-only root, no capability but these, and no new
    privileges.

    Attributes:
        user: ``uid:gid``; ``None``: the image's own.
        groups: Numbers of more groups.
        capabilities: Without ``CAP_``.
        volumes: ``SOURCE:TARGET:OPTIONS``, as Podman, Docker and quadlets write them.
        pids: Whether it sees the processes of the node.
        env: Variables.
    """

    user: str | None = None
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    pids: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """An image as an OCI archive holds it (image-spec, image-layout.md and config.md).

    Attributes:
        config: Its configuration, whole.
        layers: Compressed tar files, the lowest first.
    """

    config: Mapping[str, Any]
    layers: tuple[Path, ...]


def unpack(archive: Path, directory: Path) -> Image:
    """Unpack an archive with one image into an empty directory."""
    run("tar", "-xf", str(archive), "-C", str(directory))

    def blob(descriptor: Mapping[str, str]) -> Path:
        return directory / "blobs" / descriptor["digest"].replace(":", "/")

    (found,) = json.loads((directory / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(found).read_text())
    config = json.loads(blob(manifest["config"]).read_text())
    return Image(config, tuple(map(blob, manifest["layers"])))


class Engine(Part):
    """Runs the agent's image."""

    @abstractmethod
    def load(self, archive: Path) -> str:
        """Take an image from an OCI archive and return its name."""

    @abstractmethod
    def command(self, image: str, given: Given) -> list[str]:
        """Return the command that runs the agent; what follows it are the agent's flags."""


class Podman(Engine):
    """Podman with runc; images and containers are apart from the machine's own."""

    def __init__(self) -> None:
        super().__init__()
        self._podman: list[str] = []

    def _build(self) -> None:
        directory = make_directory()
        self._stack.callback(delete_directory, directory)
        for driver in DRIVERS:
            # runc: Debian 12's crun refuses machines that have cgroups of both versions
            self._podman = [
                *("podman", "--runtime=runc", "--cgroup-manager=cgroupfs"),
                *("--storage-driver", driver, "--root", str(directory / driver)),
                *("--runroot", str(directory / "run"), "--tmpdir", str(directory / "tmp")),
            ]
            try:
                run(*self._podman, "info")
            except LabError:
                if driver == DRIVERS[-1]:
                    raise
            else:
                break
        self._stack.callback(self._remove_containers)

    def _remove_containers(self) -> None:
        """Their mounts with them, so that the directory can be deleted."""
        run(*self._podman, "rm", "--all", "--force", "--time=0")
        run(*self._podman, "rmi", "--all", "--force")

    def load(self, archive: Path) -> str:
        """Take an image from an OCI archive and return its name."""
        said = run(*self._podman, "load", "--quiet", f"--input={archive}")
        return said.rsplit(": ", 1)[1].strip()

    def command(self, image: str, given: Given) -> list[str]:
        """Return the command that runs the agent.

        The limits are the lab's own: without CAP_SYS_RESOURCE they cannot be raised to Podman's.
        """
        most = {"nofile": MOST, "nproc": min(MOST, int(MOST_PROCESSES.read_text()))}
        return [
            *self._podman,
            *("run", "--rm", "--log-driver=none", "--network=host", "--read-only"),
            *("--cap-drop=all", "--security-opt=no-new-privileges"),
            *(f"--ulimit={name}={_limit(name, below)}" for name, below in most.items()),
            *([f"--user={given.user}"] if given.user else []),
            *(f"--group-add={group}" for group in given.groups),
            *(f"--cap-add={name}" for name in given.capabilities),
            *(f"--volume={volume}" for volume in given.volumes),
            *(["--pid=host"] if given.pids else []),
            *(f"--env={name}={value}" for name, value in given.env.items()),
            image,
        ]


class Chroot(Engine):
    """The image's root file system and no engine. It always sees the node's processes."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path()
        self._images: dict[str, Image] = {}

    def _build(self) -> None:
        self._directory = make_directory()
        self._stack.callback(delete_directory, self._directory)

    def load(self, archive: Path) -> str:
        """Take an image from an OCI archive and return its root."""
        packed, root = self._directory / "packed", self._directory / "root"
        packed.mkdir()
        root.mkdir()
        image = unpack(archive, packed)
        for layer in image.layers:
            run("tar", "-xf", str(layer), "-C", str(root))
        delete_directory(packed)
        self._images[str(root)] = image
        return str(root)

    def command(self, image: str, given: Given) -> list[str]:
        """Return the command that runs the agent."""
        config = self._images[image].config["config"]
        mounts = ["mount --rbind /proc proc"]
        for volume in given.volumes:
            source, target = volume.split(":")[:2]
            Path(image, target.lstrip("/")).mkdir(parents=True, exist_ok=True)
            mounts += [f"mount --rbind {source} .{target}", f"mount -o remount,bind,ro .{target}"]
        script = "\n".join(
            [
                f"mount --bind {image} {image} && cd {image}",
                *mounts,
                "mount -o remount,bind,ro .",
                'exec "$@"',
            ]
        )
        user = ":".join([given.user or config["User"], ",".join(map(str, given.groups))])
        return [
            # what is mounted on the node later is seen in it, as with rslave
            *("unshare", "--mount", "--propagation=slave", "sh", "-e", "-c", script, "sh"),
            *("env", *(f"{name}={value}" for name, value in given.env.items())),
            *(sys.executable, "-P", confined.__file__),
            *(image, user, ",".join(given.capabilities)),
            *config["Entrypoint"],
        ]


def _limit(name: str, below: int) -> str:
    limits = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    own = (below if each == resource.RLIM_INFINITY else min(each, below) for each in limits)
    return ":".join(map(str, own))


def example(*volumes: str) -> Given:
    """Return what the quadlet gives, without the operator's settings.

    Args:
        volumes: More of them.
    """
    keys = dict(quadlet())
    mounted = (value for key, value in quadlet() if key == "Volume")
    return Given(
        user=f"{keys['User']}:{keys['Group']}",
        capabilities=tuple(value for key, value in quadlet() if key == "AddCapability"),
        volumes=(*(each for each in mounted if SETTINGS not in each), *volumes),
        pids=keys.get("PodmanArgs") == "--pid=host",
    )


def quadlet() -> list[tuple[str, str]]:
    """Return keys and values of the quadlet's [Container], in their order."""
    section = QUADLET.read_text().split("[Container]\n")[1].split("\n[")[0]
    lines = (line for line in section.splitlines() if line and not line.startswith("#"))
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]
