"""Statistics of the interfaces of all domains: virConnectGetAllDomainStats in libvirt-domain.h."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.model.domain import FIELDS
from agent.wire.text import clean

MAX_INTERFACES = 512
"""More than a machine has."""
UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF
SUFFIXES = (
    "rx.bytes",
    "rx.pkts",
    "rx.errs",
    "rx.drop",
    "tx.bytes",
    "tx.pkts",
    "tx.errs",
    "tx.drop",
)
"""Behind ``net.N.``, in the order of ``FIELDS``. rx is what the instance receives."""

Row = tuple[str, str, tuple[int, ...]]


@lru_cache(maxsize=MAX_INTERFACES)
def _keys(number: int) -> tuple[str, tuple[str, ...]]:
    return f"net.{number}.name", tuple(f"net.{number}.{suffix}" for suffix in SUFFIXES)


def interfaces_of(domain: str, statistics: Mapping[str, Any]) -> Iterable[Row]:
    """Yield domain, device and numbers of each interface that has a device.

    Args:
        domain: Its name.
        statistics: Typed parameters of its record::

            {'state.state': 1, 'net.count': 2, 'net.0.name': 'tap13abc033-93',
             'net.0.rx.bytes': 90, 'net.0.rx.pkts': 1, 'net.0.rx.errs': 0, 'net.0.rx.drop': 0,
             'net.0.tx.bytes': 0, 'net.0.tx.pkts': 0, 'net.0.tx.errs': 0, 'net.0.tx.drop': 0}

            Without a device (SR-IOV) an interface has its number and nothing else. A number that
            libvirt could not read is missing.
    """
    count = statistics.get("net.count", 0)
    for number in range(min(count, MAX_INTERFACES) if isinstance(count, int) else 0):
        name, keys = _keys(number)
        device = statistics.get(name)
        if isinstance(device, str) and device:
            yield domain, clean(device), tuple(_count(statistics.get(key)) for key in keys)


def interface_row(domain: str, device: str, statistics: Iterable[Any]) -> Row:
    """Return the same of one interface: virDomainInterfaceStats.

    Args:
        domain: Its name.
        device: The interface's device.
        statistics: Bytes, packets, errors and drops received, the same sent; -1 is not known.
    """
    return domain, device, tuple(map(_count, statistics))


def columns(rows: Iterable[Row]) -> tuple[tuple[tuple[str, str], ...], NDArray[np.uint64]]:
    """Return (domain, device) of each interface and its numbers; of two the first counts."""
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    for domain, device, counted in rows:
        found.setdefault((domain, device), counted)
    numbers = np.array(list(found.values()), np.uint64).reshape(len(found), len(FIELDS))
    return tuple(found), numbers


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < UNKNOWN else UNKNOWN
