"""Reads what commands printed on a real node, so that the node can be built again from it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NODES = Path(__file__).parent / "nodes"


@dataclass(frozen=True, slots=True)
class Interface:
    """An ``Interface`` of ``ovs-vsctl show`` and the ``Port`` of the same name around it.

    Attributes:
        tag: VLAN of an access port; ``None`` for a trunk.
        type: As printed; empty where nothing is printed, which means system.
        options: ``{key=value, …}`` as printed, which is also how ovs-vsctl takes it.
        error: Why it could not be opened; empty if it was.
    """

    name: str
    tag: int | None = None
    type: str = ""
    options: str = ""
    error: str = ""


@dataclass(slots=True)
class Bridge:
    """A ``Bridge`` of ``ovs-vsctl show``. ``controllers`` maps a target to its connection."""

    name: str
    fail_mode: str = ""
    datapath_type: str = ""
    controllers: dict[str, bool] = field(default_factory=dict)
    interfaces: dict[str, Interface] = field(default_factory=dict)


@dataclass(slots=True)
class Switch:
    """All of ``ovs-vsctl show``. ``managers`` maps a target to its connection."""

    managers: dict[str, bool] = field(default_factory=dict)
    bridges: dict[str, Bridge] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flow:
    """A line of ``ovs-ofctl dump-flows``.

    Attributes:
        match: Without the priority.
    """

    table: int
    priority: int
    match: str
    actions: str
    cookie: str
    packets: int
    bytes: int

    @property
    def text(self) -> str:
        """The flow without counters, as ovs-ofctl add-flows takes it."""
        head = f"cookie={self.cookie},table={self.table},priority={self.priority}"
        return f"{head}{',' if self.match else ''}{self.match} actions={self.actions}"


@dataclass(frozen=True, slots=True)
class Link:
    """A device of ``ip -d link show``."""

    name: str
    mac: str
    mtu: int


def parse_show(text: str) -> Switch:
    """Read ``ovs-vsctl show``.

    ```
    698493db-95ef-4c31-b419-56b3d4096f2b
        Manager "ptcp:6640:127.0.0.1"
            is_connected: true
        Bridge br-int
            Controller "tcp:127.0.0.1:6633"
                is_connected: true
            fail_mode: secure
            Port tap0ab9a23c-99
                tag: 1
                Interface tap0ab9a23c-99
                    error: "could not open network device tap0ab9a23c-99 (No such device)"
    ```
    """
    switch = Switch()
    for block in _blocks(text, 4):
        kind, _, name = block[0].strip().partition(" ")
        if kind == "Manager":
            switch.managers[_plain(name)] = _connected(block)
        elif kind == "Bridge":
            switch.bridges[_plain(name)] = _bridge(_plain(name), block)
    return switch


def _bridge(name: str, lines: list[str]) -> Bridge:
    bridge = Bridge(name)
    for block in _blocks("\n".join(lines), 8):
        words = block[0].strip()
        kind, _, rest = words.partition(" ")
        if kind == "Controller":
            bridge.controllers[_plain(rest)] = _connected(block)
        elif kind == "Port":
            interface = _interface(block)
            bridge.interfaces[interface.name] = interface
        elif kind == "fail_mode:":
            bridge.fail_mode = rest
        elif kind == "datapath_type:":
            bridge.datapath_type = rest
    return bridge


def _interface(block: list[str]) -> Interface:
    facts = dict(line.strip().split(": ", 1) for line in block if ": " in line)
    return Interface(
        name=_plain(block[0].strip().partition(" ")[2]),
        tag=int(facts["tag"]) if "tag" in facts else None,
        type=facts.get("type", ""),
        options=facts.get("options", ""),
        error=_plain(facts.get("error", "")),
    )


def _blocks(text: str, indent: int) -> Iterator[list[str]]:
    """Yield each line at this indent with the deeper ones below it."""
    block: list[str] = []
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        if depth <= indent and block:
            yield block
            block = []
        if depth == indent or (depth > indent and block):
            block.append(line)
    if block:
        yield block


def _connected(block: list[str]) -> bool:
    return any(line.strip() == "is_connected: true" for line in block)


def _plain(text: str) -> str:
    return text.strip('"')


_FLOW = re.compile(
    r" *cookie=(?P<cookie>\w+), .*?table=(?P<table>\d+), n_packets=(?P<packets>\d+), "
    r"n_bytes=(?P<bytes>\d+), (?:\w+_age=\d+, |\w+_timeout=\d+, |importance=\d+, )*"
    r"(?:(?:send_flow_rem|check_overlap|reset_counts|no_packet_counts|no_byte_counts) )*"
    r"(?:priority=(?P<priority>\d+))?,?(?P<match>.*?) ?actions=(?P<actions>.*)"
)
DEFAULT_PRIORITY = 32768
"""Of a flow whose line names none."""


def parse_flows(text: str) -> list[Flow]:
    """Read ``ovs-ofctl --names dump-flows``; lines that are no flow are passed over.

    ```
     cookie=0x43978a274ab5e8e0, duration=9512.553s, table=0, n_packets=853, n_bytes=131026, \
priority=1,in_port="patch-int" actions=resubmit(,2)
    ```
    """
    return [
        Flow(
            table=int(found["table"]),
            priority=int(found["priority"] or DEFAULT_PRIORITY),
            match=found["match"],
            actions=found["actions"],
            cookie=found["cookie"],
            packets=int(found["packets"]),
            bytes=int(found["bytes"]),
        )
        for found in map(_FLOW.fullmatch, text.splitlines())
        if found
    ]


def parse_links(text: str) -> dict[str, Link]:
    """Read ``ip -d link show``.

    ```
    12: tap648437e1-0d: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue …
        link/ether fe:16:3e:61:21:c6 brd ff:ff:ff:ff:ff:ff promiscuity 1 …
    ```
    """
    pattern = r"^\d+: (\S+?)(?:@\S+)?: .*? mtu (\d+) .*\n +link/\w+ (\S+)"
    found = re.findall(pattern, text, re.MULTILINE)
    return {name: Link(name, mac, int(mtu)) for name, mtu, mac in found}


def parse_domain_macs(xml: str) -> dict[str, str]:
    """Read the ``<interface>`` elements of ``virsh dumpxml``: MAC address by target device."""
    pattern = r"<mac address='([0-9a-f:]+)'/>\s*<target dev='([^']+)'/>"
    return {device: mac for mac, device in re.findall(pattern, xml)}


def parse_servers(table: str) -> dict[str, str]:
    """Read ``openstack server list``: the instance's id by each of its addresses.

    ```
    | ID | Name | Status | Networks | Image | Flavor |
    | b7959d0f-… | instance03 | ACTIVE | selfservice=192.168.101.9 | cirros062 | m1.milli |
    ```
    """
    rows = re.findall(r"^\| ([0-9a-f-]{36}) \|(.*)\|$", table, re.MULTILINE)
    return {
        address: identity
        for identity, columns in rows
        for address in re.findall(r"\d+\.\d+\.\d+\.\d+", columns)
    }
