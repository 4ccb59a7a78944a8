"""What this process may do, of what decides about sources: docs/security.md.

For ``check``: whoever runs it as root sees what root can reach, which may be more than the service.
"""

import os
from pathlib import Path

CAPABILITIES = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_PTRACE": 19,
}
"""Those that a source may need, by their numbers (linux/capability.h)."""
STATUS = Path("/proc/self/status")
EFFECTIVE = "CapEff:"


def own_rights(status: Path = STATUS) -> str:
    """Return the user, the groups and the capabilities that matter, those without last.

    For example ``uid 994, groups 994 995, CAP_DAC_OVERRIDE, CAP_NET_ADMIN; without CAP_SYS_ADMIN,
    CAP_SYS_PTRACE``.

    Args:
        status: File of a process with a line ``CapEff:`` and 16 hexadecimal digits (proc(5)).
    """
    groups = sorted({os.getegid(), *os.getgroups()})
    who = f"uid {os.geteuid()}, groups {' '.join(map(str, groups))}"
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        bits = int(next(line for line in lines if line.startswith(EFFECTIVE)).split()[1], 16)
    except (OSError, StopIteration, ValueError, IndexError):
        return f"{who}, capabilities not known"
    held = [name for name, number in CAPABILITIES.items() if bits >> number & 1]
    lacking = [name for name in CAPABILITIES if name not in held]
    without = f"; without {', '.join(lacking)}" if lacking else ""
    return f"{who}, {', '.join(held) or 'no capability'}{without}"
