"""vhostuser: an instance without a tap counts what the switch counts for it, turned round.

No DPDK here: the port is a tap, which is what the switch opens and what carries the packets. That
the instance's end is a socket only its XML says, and that is all the join has to go by.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import frames, namespace
from lab.agent import Agent
from lab.frames import Host
from lab.libvirt_domains import Domain, many
from lab.libvirt_rpc import Procedure
from lab.libvirt_server import LibvirtServer
from lab.node import Node
from lab.reactor import Reactor
from lab.station import Station
from tests.e2e.page import labels_of, parse, value_of

pytestmark = [pytest.mark.e2e, pytest.mark.node]

PORT, MAC, PEER_PORT = "vhu1", "fa:16:3e:00:00:01", "tap2"
SENT, GOT = 7, 4
FRESH = {"DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0"}
XML = f"""
<domain type='kvm'><name>dpdk</name><devices>
  <interface type='vhostuser'>
    <mac address='{MAC}'/>
    <source type='unix' path='/run/vhost/some.sock' mode='server'/>
    <model type='virtio'/>
  </interface>
</devices></domain>
"""


@pytest.fixture
def domain() -> Domain:
    (made,) = many(1, 0)
    return Domain("dpdk", made.uuid, 1, xml=XML)


@pytest.fixture
def server(tmp_path: Path, domain: Domain) -> Iterator[LibvirtServer]:
    with LibvirtServer(tmp_path / "libvirt", [domain]) as server:
        yield server


def test_receive_and_transmit_are_the_instances_own(
    node: Node, server: LibvirtServer, domain: Domain
) -> None:
    reactor = Reactor("vhostuser-guests")
    try:
        instance, peer = (
            Station(reactor, namespace.open_tap(node.name, port), (Host(mac, address),))
            for port, mac, address in (
                (PORT, MAC, "192.0.2.1"),
                (PEER_PORT, "fa:16:3e:00:00:02", "192.0.2.2"),
            )
        )
        node.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        ids = (f'attached-mac="{MAC}"', f"vm-uuid={domain.uuid}", "iface-id=the-port")
        for port in (PORT, PEER_PORT):
            node.run("ip", "link", "set", port, "up")
            node.vsctl("add-port", "br0", port)
        node.vsctl("set", "Interface", PORT, *(f"external_ids:{each}" for each in ids))
        # From one to the other, and nothing else comes by.
        for source, target in ((PORT, PEER_PORT), (PEER_PORT, PORT)):
            node.ofctl("add-flow", "br0", f"priority=9,in_port={source},actions=output:{target}")
        with Agent(node.rundir, f"--libvirt.uri={server.uri}", env=FRESH) as agent:
            before = parse(agent.metrics())
            instance.send(frames.udp(instance.host, peer.host, 1, 2, b"out"), SENT)
            peer.send(frames.udp(peer.host, instance.host, 2, 1, b"in"), GOT)
            node.flows("br0")  # when it returns, all has been counted
            after = parse(agent.metrics())
    finally:
        reactor.close()

    def grown(name: str, **labels: str) -> float:
        return value_of(after, name, **labels) - value_of(before, name, **labels)

    whose = {"domain": "dpdk", "target_device": PORT}
    assert grown("libvirt_domain_interface_stats_transmit_packets_total", **whose) == SENT
    assert grown("libvirt_domain_interface_stats_receive_packets_total", **whose) == GOT
    assert grown("ovs_interface_rx_packets_total", interface=PORT) == SENT
    assert grown("ovs_interface_tx_packets_total", interface=PORT) == GOT
    key = ("interface", "bridge", "iface_id", "attached_mac", "domain", "instance_id")
    assert labels_of(after, "dataplane_instance_interface_info", *key) == {
        (PORT, "br0", "the-port", MAC, "dpdk", str(domain.uuid))
    }
    assert server.calls[Procedure.DOMAIN_INTERFACE_STATS] == 0, "libvirt would start ovs-vsctl"
    assert server.calls[Procedure.CONNECT_GET_ALL_DOMAIN_STATS] == 0, "the same"
