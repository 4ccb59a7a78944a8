"""Makes links, queueing disciplines and tracked connections, and records their counters.

    unshare --net python -m tests.wire.netlink.record_counters DIRECTORY

Needs root, ``ip`` and ``tc``, an empty network namespace, which it fills, and a kernel that has
connection tracking with netlink (``modprobe nf_conntrack_netlink``).
"""

import json
import os
import socket
import sys
import time
import warnings
from pathlib import Path

from agent.sources.netlink_socket import NetlinkSocket
from agent.wire.netlink import conntrack, link_stats, qdiscs
from agent.wire.netlink.allowed import (
    CT_GET,
    CT_GET_STATS_CPU,
    GETQDISC,
    GETSTATS,
    NETFILTER,
    ROUTE,
)
from lab.process import LabError, run

COMMANDS = """
ip link set lo up
ip link add v1 numrxqueues 2 numtxqueues 2 type veth peer name w1
ip link add v2 type veth peer name w2
ip link set v1 up
ip link set w1 up
ip link set v2 up
ip link set w2 up
ip address add 192.0.2.1/24 dev v1
ip address add 198.51.100.1/24 dev v2
ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev v1
ip neigh add 198.51.100.2 lladdr 02:00:00:00:00:01 dev v2
tc qdisc add dev v1 root handle 1: mq
tc qdisc add dev v1 parent 1:1 handle 10: tbf rate 8kbit burst 1600 limit 3000
tc qdisc add dev v1 parent 1:2 handle 11: tbf rate 8kbit burst 1600 limit 3000
tc qdisc add dev v2 root handle 1: htb default 10
tc class add dev v2 parent 1: classid 1:10 htb rate 8kbit
tc qdisc add dev v2 parent 1:10 handle 20: pfifo limit 2
tc qdisc add dev w1 clsact
tc filter add dev w1 ingress protocol all u32 match u32 0 0 action drop
tc qdisc add dev w2 ingress
tc filter add dev w2 parent ffff: protocol all u32 match u32 0 0 action police rate 8kbit \
burst 1600 drop
"""
ZONES = (0, 0, 0, 0, 5, 5, 5, 700, 65535)
"""Of the connections that are made."""
SETTLED_SECONDS = 20.0
"""What waits in the disciplines has gone out at 1,000 bytes a second."""


def main(directory: Path) -> None:
    """Fill the namespace and write what the kernel counts."""
    release = ".".join(os.uname().release.split(".")[:2])
    for line in filter(None, COMMANDS.splitlines()):
        try:
            run(*line.split())
        except LabError as error:  # a kernel without this filter
            sys.stderr.write(f"{error}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        for number in range(60):
            packets.sendto(bytes(900), ("192.0.2.2", 1000 + number))
            packets.sendto(bytes(900), ("198.51.100.2", 1000 + number))
    time.sleep(SETTLED_SECONDS)
    track(ZONES)
    for name, protocol, kind, payload in (
        ("link-stats", ROUTE, GETSTATS, link_stats.REQUEST),
        ("qdiscs", ROUTE, GETQDISC, qdiscs.REQUEST),
        ("conntrack-cpus", NETFILTER, CT_GET_STATS_CPU, conntrack.REQUEST),
        ("conntrack-entries", NETFILTER, CT_GET, conntrack.REQUEST),
    ):
        data = b"".join(NetlinkSocket(protocol, 5.0).whole(kind, payload))
        (directory / f"{name}-{release}.bin").write_bytes(data)
    for name, command in (
        ("link-stats", ("ip", "-s", "-s", "-j", "link")),
        ("qdiscs", ("tc", "-s", "-j", "qdisc")),
    ):
        text = json.dumps(json.loads(run(*command)), sort_keys=True, separators=(",", ":"))
        (directory / f"{name}-{release}.json").write_text(text.replace("},{", "},\n{") + "\n")
    stat = Path("/proc/thread-self/net/stat/nf_conntrack")
    if stat.exists():
        (directory / f"conntrack-stat-{release}.txt").write_bytes(stat.read_bytes())


def track(zones: tuple[int, ...], timeout_seconds: int = 600) -> None:
    """Make a tracked connection in each of these zones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, at import
        from pyroute2 import NFCTSocket  # noqa: PLC0415 - see above
        from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple  # noqa: PLC0415 - same
    with NFCTSocket() as table:
        for number, zone in enumerate(zones):
            there = NFCTAttrTuple(
                saddr="192.0.2.1", daddr="192.0.2.2", proto=17, sport=1000 + number, dport=53
            )
            table.entry(
                "add",
                timeout=timeout_seconds,
                tuple_orig=there,
                tuple_reply=there.reverse(),
                **({"zone": zone} if zone else {}),
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
