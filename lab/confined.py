"""Runs a command as a container's process: its own root, user and capabilities, and no others.

``confined.py ROOT UID:GID:GROUP,... CAPABILITY,... COMMAND...``; it becomes the command.
"""

import ctypes
import os
import sys

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
"""linux/prctl.h"""
CAPABILITIES = {"DAC_OVERRIDE": 1, "NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_ADMIN": 21}
"""linux/capability.h; those that the agent knows what to do with."""
EINVAL = 22

_libc = ctypes.CDLL(None, use_errno=True)


def confine(root: str, user: str, capabilities: str) -> None:
    """Take everything else away from this process; what it starts is left with nothing more.

    A user other than root keeps no capability over the command's start, as with the engines.

    Raises:
        OSError: If the kernel does not let it.
    """
    uid, gid, groups = user.split(":")
    os.chroot(root)
    os.chdir("/")
    kept = {CAPABILITIES[name] for name in capabilities.split(",") if name}
    for number in range(64):
        if number not in kept and not _drop(number):
            break
    os.setgroups([int(group) for group in groups.split(",") if group])
    os.setgid(int(gid))
    os.setuid(int(uid))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _drop(capability: int) -> bool:
    """Drop one from what a start may give; whether the kernel has it."""
    try:
        _prctl(PR_CAPBSET_DROP, capability)
    except OSError as error:
        if error.errno == EINVAL:
            return False
        raise
    return True


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    _, _root, _user, _capabilities, *_command = sys.argv
    confine(_root, _user, _capabilities)
    os.execv(_command[0], _command)  # noqa: S606 - a program of the image
