"""setns(2), which Python itself has only from 3.12 on."""

import ctypes
import os
from pathlib import Path

CLONE_NEWNET = 0x40000000
CLONE_NEWPID = 0x20000000

_libc = ctypes.CDLL(None, use_errno=True)


def setns(namespace: Path, kind: int) -> None:
    """Move this thread into a namespace; into one of processes only the children it has from now.

    Args:
        namespace: The file that stands for it.
        kind: Which kind it has to be: ``CLONE_NEWNET``, …

    Raises:
        OSError: If it is gone or of another kind.
    """
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, kind):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))
    finally:
        os.close(descriptor)
