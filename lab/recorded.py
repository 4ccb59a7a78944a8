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
    """A device of ``ip -d link show``, or of ``ip address`` which says less.

    Attributes:
        mac: Link-layer address.
        flags: UP, LOWER_UP, …
        master: Name of the device it is a member of; empty for none.
        kind: bridge, tun, vxlan, …; empty for hardware.
        options: What is printed behind the kind, as it is printed.
        port_state: Of a member of a Linux bridge, in words; empty for others.
    """

    name: str
    mac: str
    mtu: int
    flags: frozenset[str] = frozenset()
    master: str = ""
    kind: str = ""
    options: str = ""
    port_state: str = ""

    def option(self, name: str) -> str:
        """Return the word behind this one in the options.

        Raises:
            ValueError: If it is not printed.
        """
        words = self.options.split()
        return words[words.index(name) + 1]


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a device in ``ip address``, with its prefix.

    Attributes:
        family: inet or inet6.
        scope: global, link, host, …
    """

    address: str
    family: str
    scope: str


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


_LINK = re.compile(
    r"\d+: (?P<name>\S+?)(?:@\S+)?: <(?P<flags>\S*)> mtu (?P<mtu>\d+)(?:.* master (?P<master>\S+))?"
)
_NO_KIND = (
    "link/",
    "openvswitch_slave",
    "bridge_slave",
    "altname ",
    "inet ",
    "inet6 ",
    "valid_lft ",
)


def parse_links(text: str) -> dict[str, Link]:
    """Read ``ip -d link show`` or ``ip address``.

    ```
    13: vxlan-267: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue master brqc08e7dcd-4a …
        link/ether ca:08:b8:a0:9b:e6 brd ff:ff:ff:ff:ff:ff promiscuity 1 …
        vxlan id 267 local 172.16.0.31 dev eth0 srcport 0 0 dstport 8472 ttl auto ageing 300 …
        bridge_slave state forwarding priority 32 cost 2 … addrgenmode eui64 numtxqueues 1 …
    ```
    """
    links = (_link(block) for block in _blocks(text, 0))
    return {link.name: link for link in links if link}


def _link(block: list[str]) -> Link | None:
    head = _LINK.match(block[0])
    if head is None:
        return None
    details = [line.strip().partition(" addrgenmode ")[0] for line in block[1:]]
    kind, _, options = next((d for d in details if not d.startswith(_NO_KIND)), "").partition(" ")
    return Link(
        name=head["name"],
        mac=_word_after(r"link/\w+", details),
        mtu=int(head["mtu"]),
        flags=frozenset(head["flags"].split(",")),
        master=head["master"] or "",
        kind=kind,
        options=options,
        port_state=_word_after("bridge_slave state", details),
    )


def _word_after(pattern: str, lines: list[str]) -> str:
    found = (re.match(rf"{pattern} (\S+)", line) for line in lines)
    return next((each[1] for each in found if each), "")


def parse_addresses(text: str) -> dict[str, tuple[Address, ...]]:
    """Read ``ip address``: the addresses by device.

    ```
    3: rfp-242fcb80-e: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc pfifo_fast state UP …
        link/ether 02:9f:83:86:46:4c brd ff:ff:ff:ff:ff:ff
        inet 192.168.74.104/32 brd 192.168.74.104 scope global rfp-242fcb80-e
           valid_lft forever preferred_lft forever
    ```
    """
    pattern = r"^ +(inet6?) (\S+) .*?scope (\S+)"
    return {
        head["name"]: tuple(
            Address(address, family, scope)
            for family, address, scope in re.findall(pattern, "\n".join(block), re.MULTILINE)
        )
        for block in _blocks(text, 0)
        if (head := _LINK.match(block[0]))
    }


def parse_domain_macs(xml: str) -> dict[str, str]:
    """Read the ``<interface>`` elements of ``virsh dumpxml``: MAC address by target device."""
    pattern = r"<mac address='([0-9a-f:]+)'/>\s*(?:<source .*/>\s*)?<target dev='([^']+)'/>"
    return {device: mac for mac, device in re.findall(pattern, xml)}


def parse_domains(text: str) -> list[str]:
    """Read ``virsh list``, in whatever language: the domains' names.

    ```
     Id   Name                State
    ----------------------------------
     2    instance-00000007   running
    ```
    """
    return re.findall(r"^ (?:\d+|-) +(\S+) ", text, re.MULTILINE)


def parse_table(text: str) -> list[dict[str, str]]:
    """Read what ``openstack … list`` prints, once or several times: a mapping for each row.

    ```
    | ID | Name | Status | Networks | Image | Flavor |
    | b7959d0f-… | instance03 | ACTIVE | selfservice=192.168.101.9 | cirros062 | m1.milli |
    ```
    """
    rows: list[dict[str, str]] = []
    head: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].lower() == "id":
            head = cells
        else:
            rows.append(dict(zip(head, cells, strict=True)))
    return rows


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
