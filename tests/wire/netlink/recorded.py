"""What the kernels of the fixtures said, see fixtures/README.md."""

import json
from pathlib import Path
from typing import Any

from agent.wire.netlink.header import DONE, Message, messages

FIXTURES = Path(__file__).parent / "fixtures"
KERNELS = ("6.1", "6.18")


def recorded(name: str, kernel: str, *kinds: int) -> list[Message]:
    """Return messages of these types, or all but the end of a dump."""
    data = (FIXTURES / f"{name}-{kernel}.bin").read_bytes()
    return [it for it in messages(data) if (it.type in kinds if kinds else it.type != DONE)]


def shown(name: str, kernel: str) -> list[dict[str, Any]]:
    """Return what ``ip`` or ``bridge`` printed of the same."""
    found: list[dict[str, Any]] = json.loads((FIXTURES / f"{name}-{kernel}.json").read_bytes())
    return found
