"""Random flows that ovs-ofctl accepts, over every field that it can install."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from tests.wire.openflow.flow_fields import Field, fields
from tests.wire.openflow.meta_flow import EXACT, MASKED

BARE_CHANCE = 0.15
"""Of a packet that has a type but no Ethernet header, where it could have one."""
MASKED_CHANCE, PART_CHANCE, PRESENCE_CHANCE, CONNECTION_CHANCE = 0.4, 0.15, 0.2, 0.3
MOST_OF_A_KIND = 5
"""A flow has fewer fields of its packet than this, and fewer metadata, besides the one in turn."""
CT_STATES = ("+trk-inv", "+trk+est", "+rpl", "+new-rel", "est|trk", "+snat", "+trk+dnat-new")
"""Which say that there is a connection, so that its original tuple can be matched."""
CONNECTION, CONNECTION_PORTS = "ct", frozenset({"ct_tp_src", "ct_tp_dst"})
TABLES = 200
PRIORITIES = (0, 1, 100, 32767, 32768, 65535)


class Packet(NamedTuple):
    """A kind of packet.

    Attributes:
        layers: Which fields it may have, by ``Field.layer``.
        spellings: How a flow says that it is one.
    """

    layers: frozenset[str]
    spellings: tuple[str, ...]

    @property
    def bare(self) -> "Packet | None":
        """The same without an Ethernet header; ``None`` if that has no type."""
        typed = [each for each in self.spellings if each.startswith("dl_type=")]
        if not typed:
            return None
        halves = [each.removeprefix("dl_type=").partition(",") for each in typed]
        spellings = tuple(f"packet_type=(1,{kind}){comma}{rest}" for kind, comma, rest in halves)
        return Packet(self.layers - {"ethernet"}, spellings)


def _packet(layers: str, *spellings: str) -> Packet:
    return Packet(frozenset(layers.split()), spellings)


def _transport(name: str, proto: int) -> tuple[Packet, Packet]:
    four = (name, f"ip,nw_proto={proto}", f"dl_type=0x0800,nw_proto={proto}")
    six = (f"{name}6", f"ip6,ip_proto={proto}", f"dl_type=0x86dd,ip_proto={proto}")
    return (
        _packet(f"ethernet ip ip4 ports {name}", *four),
        _packet(f"ethernet ip ip6 ports {name}", *six),
    )


_ICMP6 = "dl_type=0x86dd,nw_proto=58"
PACKETS = (
    _packet("blank", ""),
    _packet("ethernet untyped", "", "eth"),
    _packet("ethernet", "dl_type=0x8100", "dl_type=0x88a8", "eth_type=0x9100"),  # QinQ
    _packet("ethernet arp", "arp", "dl_type=0x0806", "eth_type=2054", "rarp", "dl_type=0x8035"),
    _packet("ethernet mpls", "mpls", "mplsm", "dl_type=0x8847", "eth_type=0x8848"),
    _packet("ethernet nsh", "dl_type=0x894f", "eth_type=0x894f"),
    _packet("ethernet ip ip4 protocol", "ip", "ipv4", "ip4", "dl_type=0x0800", "eth_type=2048"),
    _packet("ethernet ip ip6 protocol", "ipv6", "ip6", "dl_type=0x86dd"),
    _packet("ethernet ip4", "ip,nw_frag=later", "dl_type=2048,nw_frag=later"),
    _packet("ethernet ip6", "ipv6,ip_frag=later"),
    _packet("ethernet ip ip4", "ip,nw_proto=2", "dl_type=0x0800,ip_proto=2"),  # IGMP
    *_transport("tcp", 6),
    *_transport("udp", 17),
    *_transport("sctp", 132),
    _packet("ethernet ip ip4 icmp", "icmp", "ip,nw_proto=1", "dl_type=0x0800,nw_proto=1"),
    _packet("ethernet ip ip6 icmp6", "icmp6", "ipv6,nw_proto=58", _ICMP6),
    _packet("ethernet ip ip6 icmp", "icmp6", _ICMP6),
    *(
        _packet(f"ethernet ip ip6 nd {kind}", f"icmp6,{message}", f"{_ICMP6},{message}")
        for kind, message in (
            ("solicit", "icmp_type=135,icmp_code=0"),
            ("advert", "icmpv6_type=136,icmpv6_code=0"),
        )
    ),
)


class Generator:
    """Writes flows for ``ovs-ofctl add-flows``.

    Args:
        seed: Of the random numbers, so that a failure can be repeated.
        ports: The bridge's ports as ovs-ofctl takes them.
        options: Bytes of its Geneve options by number.
    """

    def __init__(self, seed: str, ports: Sequence[str], options: Mapping[int, int]) -> None:
        self._random = Random(seed)  # noqa: S311 - test data
        self._fields = fields(ports, options)
        self._turns = [(name, EXACT) for name in self._fields]
        self._turns += [(name, MASKED) for name, each in self._fields.items() if each.masked]
        self._random.shuffle(self._turns)

    def flows(self, count: int) -> list[str]:
        """Return flows; every field has its turn, with and without a mask, if there are enough."""
        turns = len(self._turns)
        return [self._flow(n % TABLES, *self._turns[n % turns]) for n in range(count)]

    def _flow(self, table: int, name: str, form: str) -> str:
        """Return a flow that matches one field in one form, and others as it comes."""
        random, own = self._random, self._fields[name]
        packet = random.choice([each for each in PACKETS if _has(each, own)])
        if random.random() < BARE_CHANCE and packet.bare and _has(packet.bare, own):
            packet = packet.bare
        connection = CONNECTION in own.layer.split() or (
            name != "ct_state" and random.random() < CONNECTION_CHANCE
        )
        chosen = self._choose(packet, name, connection=connection)
        texts = [
            f"table={table},priority={random.choice(PRIORITIES)}",
            f"cookie={random.getrandbits(64):#x}",
            random.choice(packet.spellings),
            *(self._before(chosen) if connection else ()),
            *(self._write(each, form if each == name else "") for each in chosen),
        ]
        return ",".join([*filter(None, texts), "actions=drop"])

    def _choose(self, packet: Packet, first: str, *, connection: bool) -> list[str]:
        """Return names of fields that a packet may have together, the first among them."""
        names = [each for each, field in self._fields.items() if _has(packet, field)]
        ours = [each for each in names if self._fields[each].layer]
        others = [each for each in names if not self._fields[each].layer]
        candidates = [first]
        for some in (ours, others):
            count = self._random.randrange(min(len(some), MOST_OF_A_KIND) + 1)
            candidates += self._random.sample(some, count)
        chosen: list[str] = []
        covered = {"ct_state"} if connection else set()
        for name in candidates:
            field = self._fields[name]
            unfit = CONNECTION in field.layer.split() and not connection
            if not unfit and covered.isdisjoint(field.covers):
                covered |= field.covers
                chosen.append(name)
        # a priority of the tag says that there is one; a VLAN id after it may take that back
        return sorted(chosen, key=lambda name: name.endswith("_pcp"))

    def _before(self, chosen: list[str]) -> list[str]:
        """Return what a connection's fields need: its state, and a protocol for its ports."""
        found = [f"ct_state={self._random.choice(CT_STATES)}"]
        if not CONNECTION_PORTS.isdisjoint(chosen) and "ct_nw_proto" not in chosen:
            found.append(f"ct_nw_proto={self._random.choice([6, 17, 132])}")
        return found

    def _write(self, name: str, form: str) -> str:
        """Return a field in a form, or if that is empty in any."""
        random, field = self._random, self._fields[name]
        if not form and name.startswith("tun_metadata") and random.random() < PRESENCE_CHANCE:
            return name
        wants_mask = form == MASKED if form else random.random() < MASKED_CHANCE
        if field.masked is None or not wants_mask:
            return f"{name}={field.exact(random)}"
        if field.bits and random.random() < PART_CHANCE:
            return f"{name}{self._part(field.bits)}"
        return f"{name}={field.masked(random)}"

    def _part(self, bits: int) -> str:
        """Return ``[3..5]=2`` or ``[3]=1``."""
        first = self._random.randrange(bits)
        last = self._random.randrange(first, bits)
        value = self._random.getrandbits(last - first + 1)
        return f"[{first}]={value}" if first == last else f"[{first}..{last}]={value:#x}"


def _has(packet: Packet, field: Field) -> bool:
    """Say whether packets of a kind may have a field; what says a connection is up to the flow."""
    return set(field.layer.split()) - {CONNECTION} <= packet.layers
