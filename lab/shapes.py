"""Flow tables as large nodes have them: neutron's firewall in one shape, OVN's in the other.

Text for ``ovs-ofctl add-flows``, the same at every call, so that benchmarks compare like with like.
All are grown port by port; per port they have what a port has on a real node, and as many
security group rules as fill its flows up.

```python
with ShapedNode("neutron", 10_000) as node:
    node.load()
```
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from itertools import count as count_from
from pathlib import Path
from typing import NamedTuple

from lab.node import Node
from lab.wide import BRIDGE, add_dummies, dummy_name

FEW_FLOWS_PER_PORT = 60
"""About what a port has on the node of lab/nodes/lb_ovs: no table there has a third of all."""
MANY_FLOWS_PER_PORT = 200
"""With long lists of rules: in neutron's shape four of five flows are in table 82 then."""
NEUTRON_COOKIE = 0x50EBD87957CF5C44
NETWORK_PORTS = 10
"""Ports that share a network: a VLAN of br-int, a logical switch of OVN."""
ZONE = "zone=NXM_NX_REG6[0..15]"
MARK = f"ct(commit,{ZONE},exec(load:0x1->NXM_NX_CT_MARK[]))"


class Shape(NamedTuple):
    """Makes so many flows, in the language of ovs-ofctl; and how many of them a port has."""

    flows: Callable[[int], Iterator[str]]
    flows_per_port: int


class ShapedNode(Node):
    """One bridge, ``br-int``, for flows in a shape; it has none until ``load``.

    Args:
        shape: Which of ``SHAPES``.
        flows: How many; it gets the ports that they speak of, of type dummy.
        names: Of the first ports, also of more than the flows speak of.
        netns: Name of a network namespace to run in; ``None`` makes one.
    """

    def __init__(
        self, shape: str, flows: int, names: Sequence[str] = (), netns: str | None = None
    ) -> None:
        super().__init__(netns)
        self._shape, self._flows = SHAPES[shape], flows
        ports = -(-flows // self._shape.flows_per_port)
        self._names = [*names, *map(dummy_name, range(len(names), ports))]

    def _build(self) -> None:
        super()._build()
        add_dummies(self, self._names)

    def load(self) -> None:
        """Add the flows, all at once; 100,000 take two seconds."""
        flows = "\n".join(self._shape.flows(self._flows))
        self.ofctl("--bundle", "add-flows", BRIDGE, "-", stdin=flows)

    @property
    def mgmt(self) -> Path:
        """The bridge's management socket."""
        return self.rundir / f"{BRIDGE}.mgmt"


def neutron_flows(count: int, flows_per_port: int = FEW_FLOWS_PER_PORT) -> Iterator[str]:
    """Yield flows in the shape of neutron's Open vSwitch agent with its native firewall.

    The flows of a port are those of lab/nodes/lb_ovs, table by table; what is left of
    ``flows_per_port`` are security group rules, two flows of table 82 each. One cookie for all:
    the agent's.
    """
    ports_flows = (flow for port in count_from(1) for flow in _neutron_port(port, flows_per_port))
    for flow in islice(chain(_neutron_bridge(), ports_flows), count):
        yield f"cookie={NEUTRON_COOKIE:#x},{flow}"


def ovn_flows(count: int) -> Iterator[str]:
    """Yield flows in the shape of ovn-controller 23.03.

    For each local port: physical tables 0, 38, 64 and 65, port security in 73 to 75, ACLs in 16
    and 44; for each of the logical ports of its network, of which most are elsewhere: ARP and ND
    responders in 27, L2 lookup in 33, ARP resolution of the router in 25, tunnel in 37. Per
    logical switch the stages without rules, which pass on. A cookie is the first 32 bits of a
    row's UUID: each flow has its own here.
    """
    cookies = random.Random(count)  # noqa: S311 - the same cookies every time
    flows = (flow for port in count_from(1) for flow in _ovn_port(port))
    for flow in islice(flows, count):
        yield f"cookie={cookies.getrandbits(32):#x},{flow}"


def _mac(number: int) -> str:
    return f"fa:16:3e:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def _ip(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _ipv6(number: int) -> str:
    return f"fe80::f816:3eff:fe{number >> 16 & 255:x}:{number & 65535:x}"


# -- neutron ---------------------------------------------------------------------------------------


def _neutron_bridge() -> Iterator[str]:
    """What is there once, as recorded."""
    yield "table=0,priority=65535,dl_vlan=4095 actions=drop"
    yield "table=0,priority=0 actions=resubmit(,58)"
    for table in (23, 24, 71, 72, 73, 81, 82, 92, 93):
        yield f"table={table},priority=0 actions=drop"
    for table in (30, 31):
        yield f"table={table},priority=0 actions=resubmit(,58)"
    yield "table=58,priority=0 actions=resubmit(,60)"
    yield "table=60,priority=3 actions=NORMAL"
    yield "table=62,priority=3 actions=NORMAL"
    yield "table=71,priority=110,ct_state=+trk actions=ct_clear,resubmit(,71)"
    for table in (72, 82):
        yield f"table={table},priority=50,ct_state=+inv+trk actions=resubmit(,93)"
    yield "table=91,priority=1 actions=resubmit(,94)"
    yield "table=94,priority=1 actions=NORMAL"


def neutron_rules_flows(count: int) -> Iterator[str]:
    """Yield flows in neutron's shape for ports with long lists of rules."""
    return neutron_flows(count, MANY_FLOWS_PER_PORT)


def _neutron_port(port: int, flows_per_port: int) -> Iterator[str]:
    fixed = [*_neutron_way_in(port), *_neutron_out(port), *_neutron_in(port)]
    yield from fixed
    yield from islice(_neutron_rules(port), flows_per_port - len(fixed))


def _neutron_way_in(port: int) -> Iterator[str]:
    """Tables 60 and 71: who may send what."""
    vlan, mac, ip, ipv6 = _vlan(port), _mac(port), _ip(port), _ipv6(port)
    load = f"load:{port:#x}->NXM_NX_REG5[],load:{vlan:#x}->NXM_NX_REG6[]"
    yield f"table=60,priority=100,in_port={port} actions={load},resubmit(,71)"
    known = f"dl_vlan={vlan},dl_dst={mac}"
    yield f"table=60,priority=90,{known} actions={load},strip_vlan,resubmit(,81)"
    tap, sender = f"reg5={port:#x},in_port={port}", f"reg5={port:#x},in_port={port},dl_src={mac}"
    for allowed in (
        f"arp,{sender},arp_spa={ip}",
        f"rarp,{sender}",
        *(f"icmp6,{sender},ipv6_src={ipv6},icmp_type={kind}" for kind in (130, 133, 135)),
        f"icmp6,{tap},icmp_type=136,nd_target={ipv6}",
    ):
        yield f"table=71,priority=95,{allowed} actions=resubmit(,94)"
    for source in (ip, "0.0.0.0"):  # noqa: S104 - a DHCP client's address, not one to bind
        match = f"udp,{sender},nw_src={source},tp_src=68,tp_dst=67"
        yield f"table=71,priority=80,{match} actions=resubmit(,73)"
    match = f"udp6,{sender},ipv6_src={ipv6},tp_src=546,tp_dst=547"
    yield f"table=71,priority=80,{match} actions=resubmit(,73)"
    for server in ("udp,{},tp_src=67,tp_dst=68", "udp6,{},tp_src=547,tp_dst=546"):
        yield f"table=71,priority=70,{server.format(tap)} actions=resubmit(,93)"
    yield f"table=71,priority=70,icmp6,{tap},icmp_type=134 actions=resubmit(,93)"
    for source in (f"ip,{sender},nw_src={ip}", f"ipv6,{sender},ipv6_src={ipv6}"):
        yield f"table=71,priority=65,{source} actions=ct(table=72,{ZONE})"
    yield f"table=71,priority=10,{tap} actions=ct_clear,resubmit(,93)"


def _neutron_out(port: int) -> Iterator[str]:
    """Tables 72 and 73: what an instance may send, and to whom on this node."""
    vlan, reg5 = _vlan(port), f"reg5={port:#x}"
    for state in ("+est-rel-rpl", "+new-est"):
        for kind in ("ip", "ipv6"):
            yield f"table=72,priority=74,ct_state={state},{kind},{reg5} actions=resubmit(,73)"
    yield from _neutron_states(72, port, "resubmit(,94)")
    near = f"reg6={vlan:#x},dl_dst={_mac(port)}"
    load = f"load:{port:#x}->NXM_NX_REG5[]"
    yield f"table=73,priority=100,{near} actions={load},resubmit(,81)"
    for kind in ("ip", "ipv6"):
        commit = f"ct(commit,{ZONE}),resubmit(,91)"
        yield f"table=73,priority=90,ct_state=+new-est,{kind},{reg5} actions={commit}"
    yield f"table=73,priority=80,{reg5} actions=resubmit(,94)"


def _neutron_in(port: int) -> Iterator[str]:
    """Tables 81 and 82 without the rules: what an instance gets."""
    reg5, output = f"reg5={port:#x}", f"output:{port}"
    yield f"table=81,priority=100,arp,{reg5} actions={output}"
    for icmp_type in (130, 135, 136, 134):
        yield f"table=81,priority=100,icmp6,{reg5},icmp_type={icmp_type} actions={output}"
    for server in (f"udp,{reg5},tp_src=67,tp_dst=68", f"udp6,{reg5},tp_src=547,tp_dst=546"):
        yield f"table=81,priority=95,{server} actions={output}"
    for kind in ("ip", "ipv6"):
        tracked = f"ct(table=82,{ZONE})"
        yield f"table=81,priority=90,ct_state=-trk,{kind},{reg5} actions={tracked}"
    yield f"table=81,priority=80,ct_state=+trk,{reg5} actions=resubmit(,82)"
    yield from _neutron_states(82, port, output)


def _neutron_states(table: int, port: int, accept: str) -> Iterator[str]:
    """What both directions have after their rules: answers go on, the rest ends in table 93."""
    zone, reg5 = f"ct_zone={_vlan(port)}", f"reg5={port:#x}"
    yield f"table={table},priority=50,ct_mark=0x1,{reg5} actions=resubmit(,93)"
    for state in ("+est-rel+rpl", "-new-est+rel-inv"):
        match = f"ct_state={state},{zone},ct_mark=0,{reg5}"
        yield f"table={table},priority=50,{match} actions={accept}"
    yield f"table={table},priority=40,ct_state=-est,{reg5} actions=resubmit(,93)"
    for kind in ("ip", "ipv6"):
        yield f"table={table},priority=40,ct_state=+est,{kind},{reg5} actions={MARK}"


def _neutron_rules(port: int) -> Iterator[str]:
    """Security group rules: a member of a remote group, ping, then ports without end."""
    reg5 = f"reg5={port:#x}"
    member, group = f"ip,reg6={_vlan(port):#x},nw_src={_ip(port)}", 16 + 8 * port
    for offset, (state, accept) in enumerate(_accepts(port)):
        conjunction = group + offset
        for part, match in enumerate((member, f"ip,{reg5}"), start=1):
            action = f"conjunction({conjunction},{part}/2)"
            yield f"table=82,priority=70,ct_state={state},{match} actions={action}"
        both = f"conj_id={conjunction},ct_state={state},ip,{reg5}"
        yield f"table=82,priority=70,{both} actions=load:{conjunction:#x}->NXM_NX_REG7[],{accept}"
    for state, accept in _accepts(port):
        yield f"table=82,priority=75,ct_state={state},icmp,{reg5} actions={accept}"
    kinds: tuple[Callable[[int], str], ...] = (
        lambda n: f"tcp,{reg5},tp_dst={1024 + n}",
        lambda n: f"tcp,{reg5},nw_src={_ip(n << 8)}/24,tp_dst=443",
        lambda n: f"udp,{reg5},tp_dst={16 * n + 4096:#x}/0xfff0",
        lambda n: f"tcp6,{reg5},ipv6_src=2001:db8:{n:x}::/48,tp_dst=22",
    )
    for number in count_from():
        match = kinds[number % len(kinds)](number)
        for state, accept in _accepts(port):
            yield f"table=82,priority=77,ct_state={state},{match} actions={accept}"


def _accepts(port: int) -> tuple[tuple[str, str], ...]:
    """The two flows of a rule: of a connection that is there, and of one that begins."""
    begin = f"ct(commit,{ZONE}),output:{port},resubmit(,92)"
    return ("+est-rel-rpl", f"output:{port}"), ("+new-est", begin)


def _vlan(port: int) -> int:
    return (port - 1) // NETWORK_PORTS % 4094 + 1


# -- OVN -------------------------------------------------------------------------------------------

OVN_PASSED_STAGES = (10, 11, 12, 13, 14, 17, 18, 19, 20, 22, 23, 24, 26, 28, 29, 30, 31, 32, 40, 41)
"""Tables of stages that a switch without a rule for them passes: one flow each."""
OVN_REMOTE_PORTS = 20
"""Logical ports of the network for each local one: the others run on other nodes."""
OVN_HINTS = (
    ("+new-est+trk", 7),
    ("-new+est-rpl+trk", 6),
    ("-trk", 5),
    ("-new+est-rpl+trk", 4),
    ("-est+trk", 3),
    ("+est+trk", 2),
    ("+est-rpl+trk", 1),
)


def _ovn_port(port: int) -> Iterator[str]:
    datapath, key = (port - 1) // NETWORK_PORTS + 1, (port - 1) % NETWORK_PORTS + 2
    fixed = [*_ovn_physical(port, datapath, key), *_ovn_port_security(port, datapath, key)]
    if key == 2:  # noqa: PLR2004 - the first port brings its switch
        fixed += _ovn_switch(datapath)
    for number in range(OVN_REMOTE_PORTS):
        fixed += _ovn_neighbour(port * OVN_REMOTE_PORTS + number, datapath)
    yield from fixed
    yield from islice(_ovn_acls(datapath, key), MANY_FLOWS_PER_PORT - len(fixed))


def _ovn_switch(datapath: int) -> Iterator[str]:
    """Stages of a logical switch that pass, and the hints of its ACLs."""
    metadata = f"metadata={datapath:#x}"
    for table in OVN_PASSED_STAGES:
        yield f"table={table},priority=0,{metadata} actions=resubmit(,{table + 1})"
    for table in (15, 43):
        for state, priority in OVN_HINTS:
            match = f"ct_state={state},{metadata}"
            hint = f"load:0x1->NXM_NX_XXREG0[{96 + priority}]"
            yield f"table={table},priority={priority},{match} actions={hint},resubmit(,{table + 1})"


def _ovn_physical(port: int, datapath: int, key: int) -> Iterator[str]:
    """From the port to the pipeline and back."""
    zones = (
        f"load:{port + 10:#x}->NXM_NX_REG13[],load:{datapath:#x}->NXM_NX_REG11[]"
        f",load:{datapath + 4096:#x}->NXM_NX_REG12[]"
    )
    load = f"{zones},load:{datapath:#x}->OXM_OF_METADATA[],load:{key:#x}->NXM_NX_REG14[]"
    yield f"table=0,priority=100,in_port={port} actions={load},resubmit(,8)"
    out = f"reg15={key:#x},metadata={datapath:#x}"
    yield f"table=38,priority=100,{out} actions={zones},resubmit(,39)"
    loop = f"reg10=0/0x1,reg14={key:#x},{out}"
    yield f"table=39,priority=100,{loop} actions=drop"
    hide = "push:NXM_OF_IN_PORT[],load:0xffff->NXM_OF_IN_PORT[],resubmit(,65)"
    back = f"{hide},pop:NXM_OF_IN_PORT[]"
    yield f"table=64,priority=100,reg10=0x1/0x1,{out} actions={back}"
    yield f"table=65,priority=100,{out} actions=output:{port}"


def _ovn_port_security(port: int, datapath: int, key: int) -> Iterator[str]:
    """Port security: addresses that a port may use and get."""
    mac, ip, ipv6 = _mac(port), _ip(port), _ipv6(port)
    inside = f"reg14={key:#x},metadata={datapath:#x}"
    outside = f"reg15={key:#x},metadata={datapath:#x}"
    allow, refuse = "load:0->NXM_NX_REG10[12]", "load:0x1->NXM_NX_REG10[12]"
    check = "resubmit(,73),move:NXM_NX_REG10[12]->NXM_NX_XXREG0[111],resubmit(,9)"
    yield f"table=8,priority=70,{inside} actions={allow},{check}"
    for sent in (
        f"ip,{inside},dl_src={mac},nw_src={ip}",
        f"udp,{inside},dl_src={mac},nw_src=0.0.0.0,nw_dst=255.255.255.255,tp_src=68,tp_dst=67",
        f"ipv6,{inside},dl_src={mac},ipv6_src={ipv6}",
    ):
        yield f"table=73,priority=90,{sent} actions={allow}"
    yield f"table=73,priority=95,arp,{inside} actions=resubmit(,74)"
    for kind in ("ip", "ipv6"):
        yield f"table=73,priority=80,{kind},{inside},dl_src={mac} actions={refuse}"
    yield f"table=73,priority=80,{inside} actions={refuse}"
    known = f"dl_src={mac},arp_spa={ip},arp_sha={mac}"
    yield f"table=74,priority=90,arp,{inside},{known} actions={allow}"
    yield f"table=74,priority=80,arp,{inside} actions={refuse}"
    for got in (f"ip,{outside},dl_dst={mac},nw_dst={ip}", f"ipv6,{outside},dl_dst={mac}"):
        yield f"table=75,priority=90,{got} actions={allow}"
    yield f"table=75,priority=80,ip,{outside},dl_dst={mac} actions={refuse}"
    yield f"table=75,priority=75,{outside} actions={refuse}"


def _ovn_neighbour(number: int, datapath: int) -> Iterator[str]:
    """What a node has for every logical port of a network, wherever it runs."""
    mac, ip, key = _mac(1 << 20 | number), _ip(1 << 20 | number), 256 + number % 4096
    metadata = f"metadata={datapath:#x}"
    raw, address = f"0x{mac.replace(':', '')}", f"0x{10 << 24 | 1 << 20 | number:x}"
    turn = "move:NXM_NX_REG14[]->NXM_NX_REG15[],load:0x1->NXM_NX_REG10[0],resubmit(,37)"
    answer = (
        f"move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],mod_dl_src:{mac},load:0x2->NXM_OF_ARP_OP[]"
        f",move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],load:{raw}->NXM_NX_ARP_SHA[]"
        f",move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],load:{address}->NXM_OF_ARP_SPA[],{turn}"
    )
    yield f"table=27,priority=50,arp,{metadata},arp_tpa={ip},arp_op=1 actions={answer}"
    to = f"load:{key:#x}->NXM_NX_REG15[]"
    yield f"table=33,priority=50,{metadata},dl_dst={mac} actions={to},resubmit(,37)"
    hop = f"reg0={address},reg15=0x1,metadata={datapath + 4096:#x}"
    yield f"table=25,priority=100,{hop} actions=mod_dl_dst:{mac},resubmit(,26)"
    tunnel = f"load:{datapath:#x}->NXM_NX_TUN_ID[0..23],output:{number % 7 + 1}"
    yield f"table=37,priority=100,reg15={key:#x},metadata={datapath:#x} actions={tunnel}"


def _ovn_acls(datapath: int, key: int) -> Iterator[str]:
    """ACLs of the port in both directions, two flows each as connection tracking needs them."""
    sides = (16, "reg14", 17), (44, "reg15", 45)
    for number in count_from():
        table, register, then = sides[number % 2]
        where = f"{register}={key:#x},metadata={datapath:#x}"
        what = (
            f"tcp,{where},tp_dst={1024 + number}"
            if number % 4 < 2  # noqa: PLR2004 - half of them by port, half by address
            else f"ip,{where},nw_{'dst' if table == 16 else 'src'}={_ip(number << 8)}/24"  # noqa: PLR2004
        )
        new = f"load:0x1->NXM_NX_XXREG0[97],resubmit(,{then})"
        yield f"table={table},priority=2002,reg0=0x80/0x80,{what} actions={new}"
        yield f"table={table},priority=2002,reg0=0x100/0x100,{what} actions=resubmit(,{then})"


SHAPES = {
    "neutron": Shape(neutron_flows, FEW_FLOWS_PER_PORT),
    "neutron-rules": Shape(neutron_rules_flows, MANY_FLOWS_PER_PORT),
    "ovn": Shape(ovn_flows, MANY_FLOWS_PER_PORT),
}
"""All by name."""
