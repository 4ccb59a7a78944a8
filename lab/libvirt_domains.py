"""Domains for ``lab.libvirt_server``: what they are, their XML and what their interfaces count."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from uuid import UUID, uuid5
from xml.sax.saxutils import escape, quoteattr

from lab.libvirt_rpc import (
    Identity,
    array,
    identity,
    int_param,
    string,
    string_param,
    u32,
    u64,
    uint_param,
)

RUNNING, BLOCKED, PAUSED, SHUTOFF, CRASHED = 1, 2, 3, 5, 6
"""virDomainState, those that are used."""
INACTIVE = frozenset({SHUTOFF, CRASHED})
COUNTERS = (
    "rx.bytes",
    "rx.pkts",
    "rx.errs",
    "rx.drop",
    "tx.bytes",
    "tx.pkts",
    "tx.errs",
    "tx.drop",
)
"""Of an interface, in the order of DOMAIN_INTERFACE_STATS and as CONNECT_GET_ALL_DOMAIN_STATS
calls them."""
UNKNOWN = -1
"""A counter that libvirt could not read; left out of CONNECT_GET_ALL_DOMAIN_STATS."""

STATS_STATE, STATS_INTERFACE = 1 << 0, 1 << 4
"""virDomainStatsTypes, those that are answered."""

_MADE = UUID("7d3b8e6a-6f0e-4f3e-9d43-6f1f6f8a2d11")
_ULLONG = u32(4)


@dataclass(frozen=True, slots=True)
class Interface:
    """One ``<interface>`` of a domain.

    Attributes:
        device: On the node. ``None``: hostdev, which has none and is not counted.
        mac: The guest's own address.
        counters: In the order of ``COUNTERS``.
        port: uuid of the Neutron port, the virtualport's interfaceid; ``None``: no virtualport.
    """

    device: str | None
    mac: str = "fa:16:3e:00:00:01"
    counters: tuple[int, ...] = (0,) * len(COUNTERS)
    port: str | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as the server shows it.

    Attributes:
        id: While it runs; -1 otherwise.
        state: virDomainState.
        reason: Of the state, numbered for each state by itself.
        xml: What DOMAIN_GET_XML_DESC answers; ``None``: made of the rest, with Nova's metadata.
        persistent: Whether libvirt would still know it when it stops.
    """

    name: str
    uuid: UUID
    id: int = -1
    state: int = RUNNING
    reason: int = 1
    interfaces: tuple[Interface, ...] = ()
    xml: str | None = None
    persistent: bool = True

    @property
    def active(self) -> bool:
        """Whether it is there: it runs, is paused, or comes or goes."""
        return self.state not in INACTIVE

    @property
    def identity(self) -> Identity:
        """How messages name it."""
        return Identity(self.name, self.uuid, self.id)


def many(domains: int, interfaces: int) -> tuple[Domain, ...]:
    """Make running domains like Nova's, with as many interfaces each, all of them different."""
    return tuple(
        Domain(
            f"instance-{number:08x}",
            uuid5(_MADE, f"{number}"),
            number,
            interfaces=tuple(
                _interface(number, slot, uuid5(_MADE, f"{number}/{slot}"))
                for slot in range(interfaces)
            ),
        )
        for number in range(1, domains + 1)
    )


def _interface(number: int, slot: int, port: UUID) -> Interface:
    mac = ":".join(f"{byte:02x}" for byte in (0xFA, 0x16, 0x3E, number >> 8, number & 0xFF, slot))
    counters = tuple((number << 8 | slot) * (column + 1) for column in range(len(COUNTERS)))
    return Interface(f"tap{port}"[:14], mac, counters, str(port))


def describe(domain: Domain) -> str:
    """Return a domain's XML as libvirt and nova-compute write it, the parts that name things."""
    if domain.xml is not None:
        return domain.xml
    name, number = escape(domain.name), f" id='{domain.id}'" if domain.active else ""
    interfaces = "".join(
        _describe_interface(interface, slot) for slot, interface in enumerate(domain.interfaces)
    )
    return f"""\
<domain type='kvm'{number}>
  <name>{name}</name>
  <uuid>{domain.uuid}</uuid>
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:package version="26.2.1"/>
      <nova:name>server of {name}</nova:name>
      <nova:creationTime>2024-05-06 07:08:09</nova:creationTime>
      <nova:flavor name="m1.small">
        <nova:memory>2048</nova:memory>
        <nova:disk>20</nova:disk>
        <nova:swap>0</nova:swap>
        <nova:ephemeral>0</nova:ephemeral>
        <nova:vcpus>1</nova:vcpus>
      </nova:flavor>
      <nova:owner>
        <nova:user uuid="0f5d4c3b2a1908f7e6d5c4b3a2918070">operator</nova:user>
        <nova:project uuid="a1b2c3d4e5f60718293a4b5c6d7e8f90">shop</nova:project>
      </nova:owner>
      <nova:root type="image" uuid="5b7e0e2c-3e47-4a7b-8a63-0d1f0a5a9f7e"/>
    </nova:instance>
  </metadata>
  <memory unit='KiB'>2097152</memory>
  <currentMemory unit='KiB'>2097152</currentMemory>
  <vcpu placement='static'>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='/var/lib/nova/instances/{domain.uuid}/disk'/>
      <target dev='vda' bus='virtio'/>
      <alias name='virtio-disk0'/>
    </disk>
{interfaces}  </devices>
</domain>
"""


def _describe_interface(interface: Interface, slot: int) -> str:
    port = interface.port and (
        "      <virtualport type='openvswitch'>\n"
        f"        <parameters interfaceid={quoteattr(interface.port)}/>\n"
        "      </virtualport>\n"
    )
    if interface.device is None:
        kind = "hostdev"
        device = "      <driver name='vfio'/>\n"
    else:
        kind = "bridge"
        device = (
            "      <source bridge='br-int'/>\n"
            f"{port or ''}"
            f"      <target dev={quoteattr(interface.device)}/>\n"
            "      <model type='virtio'/>\n"
        )
    return (
        f"    <interface type='{kind}'>\n"
        f"      <mac address='{interface.mac}'/>\n"
        f"{device}"
        f"      <alias name='net{slot}'/>\n"
        "    </interface>\n"
    )


Read = Callable[[Domain, Interface], tuple[int, ...]]
"""Reads an interface's counters, in the order of ``COUNTERS``."""


def stats_record(domain: Domain, stats: int, read: Read) -> bytes:
    """Pack a remote_domain_stats_record, as qemuDomainGetStatsState and …Interface fill it.

    Args:
        domain: Whose.
        stats: virDomainStatsTypes, or 0 for all.
        read: Gives the counters.
    """
    return identity(domain.identity) + array(_params(domain, stats or ~0, read))


def _params(domain: Domain, stats: int, read: Read) -> Iterator[bytes]:
    if stats & STATS_STATE:
        yield int_param("state.state", domain.state)
        yield int_param("state.reason", domain.reason)
    if stats & STATS_INTERFACE and domain.active:
        yield uint_param("net.count", len(domain.interfaces))
        for slot, interface in enumerate(domain.interfaces):
            if interface.device is None:
                continue
            yield string_param(f"net.{slot}.name", interface.device)
            for field, value in zip(_fields(slot), read(domain, interface), strict=True):
                if value != UNKNOWN:
                    yield field + u64(value)


@cache
def _fields(slot: int) -> tuple[bytes, ...]:
    """Everything before the number of each counter, packed once."""
    return tuple(string(f"net.{slot}.{counter}") + _ULLONG for counter in COUNTERS)
