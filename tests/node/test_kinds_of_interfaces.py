"""Interfaces that libvirt resolves itself, as it tells them of a domain that runs."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from agent.model.instance import join
from lab.domain_xml import NO_BOOT_CODE, domain_xml
from lab.host import Host
from lab.hypervisor import Hypervisor
from tests.sources.libvirt.following import Following

pytestmark = pytest.mark.usefixtures("libvirt_installed")

NAME, BRIDGE, NETWORK = "instance-00000001", "br-cloud", "cloud"
OF_NETWORK, ON_BRIDGE, OF_USER = (f"fa:16:3e:00:00:0{number}" for number in (1, 2, 3))
PORT = "13abc033-935d-52f8-a13d-61106f5c7d15"
CLOUD = f"""
<network>
  <name>{NETWORK}</name><forward mode='bridge'/><bridge name='{BRIDGE}'/>
</network>
"""


def plug(kind: str, mac: str, inside: str = "") -> str:
    return f"""
<interface type='{kind}'>
  <mac address='{mac}'/>{inside}<model type='virtio'/>{NO_BOOT_CODE}
</interface>
"""


@pytest.fixture(scope="module")
def hypervisor() -> Iterator[Hypervisor]:
    with Host() as host, Hypervisor(host.name) as hypervisor:
        host.run("ip", "link", "add", BRIDGE, "up", "type", "bridge")
        file = hypervisor.directory / "network.xml"
        file.write_text(CLOUD)
        hypervisor.virsh("net-define", str(file))
        hypervisor.virsh("net-start", NETWORK)
        interfaces = (
            plug("network", OF_NETWORK, f"<source network='{NETWORK}'/>"),
            plug("bridge", ON_BRIDGE, f"<source bridge='{BRIDGE}'/><target dev='tap13abc033-93'/>"),
            plug("user", OF_USER),
        )
        nova = "http://openstack.org/xmlns/libvirt/nova/1.1"
        ports = f"<n:ports><n:port uuid='{PORT}'/></n:ports>"
        metadata = f"<n:instance xmlns:n='{nova}'><n:name>x</n:name>{ports}</n:instance>"
        hypervisor.define(domain_xml(NAME, str(uuid4()), interfaces, metadata=metadata))
        hypervisor.start_domain(NAME)
        yield hypervisor


async def test_what_libvirt_has_resolved_is_what_is_told(hypervisor: Hypervisor) -> None:
    listed = [line.split() for line in hypervisor.virsh("domiflist", NAME).splitlines()]
    devices = {mac: device for device, *_, mac in listed if device != "-"}
    assert devices.keys() == {OF_NETWORK, ON_BRIDGE}
    async with Following(hypervisor.uri, timeouts={}).running() as following:
        (domain,) = following.domains.values()
        told = {one.mac: one for one in domain.interfaces}
        assert {mac: one.target_device for mac, one in told.items()} == {**devices, OF_USER: None}
        assert {mac: one.source_bridge for mac, one in told.items()} == {
            OF_NETWORK: BRIDGE,
            ON_BRIDGE: BRIDGE,
            OF_USER: None,
        }
        assert told[ON_BRIDGE].iface_id == PORT, "by the name of its tap, from Nova's ports"
        assert told[OF_NETWORK].iface_id is None
        assert (await following.counted()).keys() == {(NAME, each) for each in devices.values()}
        rows = join(None, following.domains, None)
        assert {row.attached_mac: row.bridge for row in rows.values()} == dict.fromkeys(
            devices, BRIDGE
        )
