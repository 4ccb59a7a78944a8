"""The first file system of a machine: what mounts the real one, packed the way the kernel unpacks.

The kernel's Documentation/driver-api/early-userspace/buffer-format.rst describes the format.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.process import LabError, run

INIT = Path(__file__).with_name("machine_init.sh")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""What Debian's kernel needs to see this machine's files, and to write on top of them."""

EXECUTABLE, DIRECTORY = 0o100755, 0o040755
TRAILER = "TRAILER!!!"
DIRECTORIES = ("bin", "dev", "lower", "modules", "proc", "root", "upper")


def pack(release: str) -> bytes:
    """Return an archive with busybox, the modules of kernel ``release``, and ``/init``.

    Raises:
        LabError: If there is no busybox, or that kernel lacks a module.
    """
    files = {"init": INIT, **_busybox()}
    for number, module in enumerate(_modules(release)):
        files[f"modules/{number:02}-{module.name}"] = module
    parents = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    entries = [
        _entry(name, DIRECTORY, b"") for name in sorted({*DIRECTORIES, *parents}, key=_depth)
    ]
    entries += [_entry(name, EXECUTABLE, path.read_bytes()) for name, path in files.items()]
    return b"".join([*entries, _entry(TRAILER, 0, b"")])


def _depth(name: str) -> tuple[int, str]:
    return name.count("/"), name  # a directory is made before what is in it


def _entry(name: str, mode: int, content: bytes) -> bytes:
    """Return a file in cpio's "newc" format: numbers in hexadecimal text, padded to 4 bytes."""
    links, devices, checksum = 1, (0, 0, 0, 0), 0
    owner, modified, inode = (0, 0), 0, 0  # a file of one link is found by its name alone
    encoded = name.encode() + b"\0"
    numbers = (inode, mode, *owner, links, modified, len(content), *devices, len(encoded), checksum)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers)
    return _padded(header + encoded) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _modules(release: str) -> Iterator[Path]:
    """Yield the files in the order in which they can be loaded.

    ``modprobe --show-depends`` prints a line a module, what it needs first::

        insmod /lib/modules/6.1.0-56-amd64/kernel/net/9p/9pnet.ko
        insmod /lib/modules/6.1.0-56-amd64/kernel/net/9p/9pnet_virtio.ko
    """
    seen = set()
    for module in MODULES:
        shown = run("modprobe", "--set-version", release, "--show-depends", module)
        for path in re.findall(r"^insmod (\S+)", shown, re.MULTILINE):
            if path not in seen:
                seen.add(path)
                yield Path(path)


def _busybox() -> dict[str, Path]:
    """Return the program, and its libraries if it is not the static one, by where they belong.

    ``ldd`` prints a line a library; of the vdso, which is no file, without a path::

            libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007faf9928c000)
            /lib64/ld-linux-x86-64.so.2 (0x00007faf99551000)
    """
    program = shutil.which("busybox")
    if program is None:
        raise LabError("no busybox")
    # a static program makes ldd fail, and has no libraries
    shown = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    libraries = re.findall(r"(/\S+) \(0x", shown)
    return {"bin/busybox": Path(program)} | {path[1:]: Path(path) for path in libraries}
