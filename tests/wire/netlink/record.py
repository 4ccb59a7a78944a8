"""Makes links of every kind that this kernel has and records what it says about them.

    unshare --net python -m tests.wire.netlink.record DIRECTORY

Needs root, ``ip`` and ``bridge``, and an empty network namespace, which it fills.
"""

import fcntl
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

from agent.sources.netlink_socket import NetlinkSocket
from agent.wire.netlink.addresses import ADDRESSES
from agent.wire.netlink.allowed import GETADDR, GETLINK, GETNEIGH, ROUTE
from agent.wire.netlink.forwarding import FORWARDING
from agent.wire.netlink.header import HEADER, LENGTH
from agent.wire.netlink.links import LINKS
from lab.process import LabError, run

GROUPS = (1, 3, 5, 9)
"""RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR."""
LINK_COMMANDS = """
add br-plain type bridge
add br-stp type bridge stp_state 1 forward_delay 200
add br-vlan type bridge vlan_filtering 1
add veth0 type veth peer name veth0-peer
add veth1 type veth peer name veth1-peer
add veth2 type veth peer name veth2-peer
add vlan.5 link veth2 type vlan id 5
add vlan.4094 link veth2 type vlan id 4094 protocol 802.1ad
add macvlan0 link veth2 type macvlan
add dummy0 type dummy
add ifb0 type ifb
add bond1 type bond
add vrf0 type vrf table 10
add wg0 type wireguard
add vx-unicast type vxlan id 100 local 127.0.0.1 remote 10.0.0.2 dstport 4789
add vx-group type vxlan id 16777215 group 239.1.1.1 dev veth2 dstport 8472
add vx-nowhere type vxlan id 102 dstport 4789 noudpcsum
add vx-six type vxlan id 103 local fd00::1 remote fd00::2 dstport 4790
add vx-group-six type vxlan id 104 group ff05::100 dev veth2 dstport 4790
add vx-external type vxlan external dstport 4791
add vx-zero type vxlan id 0 remote 10.0.0.2 dstport 4792
add gnv type geneve id 4 remote 10.0.0.9
add gnv-six type geneve id 5 remote fd00::9 dstport 6082
add gnv-external type geneve external dstport 6083
add gre-plain type gre local 10.0.0.1 remote 10.0.0.3
add gre-keys type gre local 10.0.0.1 remote 10.0.0.4 ikey 5 okey 4000000000
add gre-ikey type gre local 10.0.0.1 remote 10.0.0.5 ikey 6
add gre-zero type gretap local 10.0.0.1 remote 10.0.0.6 key 0
add gretap1 type gretap remote 10.0.0.3 key 10.0.0.7
add gre-any type gretap key 9
add gre-external type gretap external
add gre6 type ip6gre local fd00::1 remote fd00::3 key 7
add gretap6 type ip6gretap local fd00::1 remote fd00::4
add gre6-external type ip6gretap external
add erspan1 type erspan seq key 30 local 10.0.0.1 remote 10.0.0.3 erspan_ver 1
add erspan6 type ip6erspan seq key 31 local fd00::1 remote fd00::3 erspan_ver 1
add ipip1 type ipip local 10.0.0.1 remote 10.0.0.3
add ipip-external type ipip external
add sit1 type sit local 10.0.0.1 remote 10.0.0.3
add ip6ip6 type ip6tnl mode ip6ip6 local fd00::1 remote fd00::3
add ip6any type ip6tnl mode any remote fd00::4
set lo up
set veth0 master br-plain
set veth1 master br-plain
set vx-unicast master br-plain
set macvlan0 master br-plain
set dummy0 master br-stp
set gretap1 master br-vlan
set gnv master br-vlan
set vlan.5 master vrf0
set veth0 up
set veth0-peer up
set veth1 up
set veth1-peer up
set veth2 up
set br-plain up
set vx-unicast up
set vx-group up
set vx-nowhere up
set br-stp up
set dummy0 up
set ip6any up
set veth2 mtu 1400
set veth1 nomaster
set veth1 master br-plain
set vx-unicast nomaster
set vx-unicast master br-plain
add gone type veth peer name gone-peer
set gone master br-plain
delete gone
set ifb0 name renamed
"""
ADDRESS_COMMANDS = """
add 192.0.2.1/24 dev veth2
add 192.0.2.2/24 dev veth2
add 192.0.2.129/32 dev veth2 scope link
add 198.51.100.1 peer 198.51.100.2/32 dev veth2
add 203.0.113.1/24 dev veth2 scope 10
add 2001:db8::1/64 dev veth2 nodad
add 2001:db8::2 peer 2001:db8::3/128 dev veth2
add fd00::1/64 dev lo
add 192.0.2.3/24 dev veth2
delete 192.0.2.3/24 dev veth2
add 2001:db8::4/64 dev veth2
delete 2001:db8::4/64 dev veth2
"""
FDB_COMMANDS = """
add 02:00:00:00:00:01 dev veth0 master static
add 02:00:00:00:00:01 dev gretap1 master static vlan 1
append 00:00:00:00:00:00 dev vx-nowhere dst 10.0.0.11
append 00:00:00:00:00:00 dev vx-nowhere dst 10.0.0.12 port 4000 vni 7
append 00:00:00:00:00:00 dev vx-nowhere dst 10.0.0.12
append 00:00:00:00:00:00 dev vx-nowhere dst 10.0.0.13
delete 00:00:00:00:00:00 dev vx-nowhere dst 10.0.0.13
add 02:00:00:00:00:02 dev vx-nowhere dst 10.0.0.11
add 02:00:00:00:00:03 dev vx-nowhere dst 10.0.0.11
replace 02:00:00:00:00:03 dev vx-nowhere dst 10.0.0.12
add 02:00:00:00:00:04 dev vx-nowhere dst 10.0.0.12
delete 02:00:00:00:00:04 dev vx-nowhere dst 10.0.0.12
add 02:00:00:00:00:05 dev vx-six dst fd00::5
add 02:00:00:00:00:05 dev vx-external src_vni 50 dst 10.0.0.14 vni 60
add 02:00:00:00:00:05 dev vx-external src_vni 51 dst 10.0.0.15 vni 61
add 02:00:00:00:00:06 dev veth1 self
"""
COMMANDS: dict[tuple[str, ...], str] = {
    ("ip", "link"): LINK_COMMANDS,
    ("ip", "address"): ADDRESS_COMMANDS,
    ("bridge", "fdb"): FDB_COMMANDS,
}
DUMPS: tuple[tuple[str, int, bytes, tuple[str, ...]], ...] = (
    ("links", GETLINK, LINKS, ("ip", "-d", "-j", "link")),
    ("addresses", GETADDR, ADDRESSES, ("ip", "-j", "address")),
    ("forwarding", GETNEIGH, FORWARDING, ("bridge", "-d", "-j", "fdb")),
)
MOVES_IN_BRIDGE, MOVES_IN_TUNNEL = (bytes.fromhex(f"0200000000{it}") for it in ("aa", "bb"))
SETTLED_SECONDS = 8.0
"""STP listens and learns for twice the forward_delay of br-stp; addresses of IPv6 are tried."""
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


def main(directory: Path) -> None:
    """Fill the namespace and write what the kernel said meanwhile and says after."""
    release = ".".join(os.uname().release.split(".")[:2])
    heard = NetlinkSocket(ROUTE, 5.0)
    heard.subscribe(*GROUPS)
    for command, lines in COMMANDS.items():
        for line in filter(None, lines.splitlines()):
            try:
                run(*command, *line.split())
            except LabError as error:  # a kernel without this kind
                sys.stderr.write(f"{error}\n")
    tap = _open_tap()
    _learn()
    time.sleep(SETTLED_SECONDS)
    events = b"".join(
        HEADER.pack(LENGTH + len(it.payload), it.type, it.flags, it.sequence, 0) + it.payload
        for it in heard.receive_events(1 << 20)
    )
    asked = NetlinkSocket(ROUTE, 5.0)
    recorded = {"events": events}
    for name, kind, payload, command in DUMPS:
        recorded[name] = b"".join(asked.datagrams(kind, payload))
        shown = json.loads(run(*command))
        text = json.dumps(shown, sort_keys=True, separators=(",", ":")).replace("},{", "},\n{")
        (directory / f"{name}-{release}.json").write_text(text + "\n")
    os.close(tap)
    for name, data in recorded.items():
        (directory / f"{name}-{release}.bin").write_bytes(data)


def _open_tap() -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI))
    return descriptor


def _learn() -> None:
    """Let addresses be learned, and be learned elsewhere."""
    for device in ("veth0-peer", "veth1-peer"):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
            packets.bind((device, 0))
            packets.send(_frame(MOVES_IN_BRIDGE))
    for sender in ("127.0.0.2", "127.0.0.3"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tunnel:
            tunnel.bind((sender, 0))
            vni = bytes.fromhex("0800000000006400")
            tunnel.sendto(vni + _frame(MOVES_IN_TUNNEL), ("127.0.0.1", 4789))


def _frame(source: bytes) -> bytes:
    return bytes.fromhex("020000000099") + source + bytes.fromhex("88b5") + bytes(46)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
