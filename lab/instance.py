"""The instance of a recording, as a domain of libvirt in the way that Nova makes one."""

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from lab.domain_xml import NO_BOOT_CODE, domain_xml
from lab.frames import Host
from lab.hypervisor import Hypervisor
from lab.nic import Nic, redirection
from lab.reactor import Reactor
from lab.recorded import parse_domain_macs, parse_domains, parse_table

PACKAGE, CREATED = "29.0.1", "2024-05-18 01:35:24"
MADE_UP = uuid.UUID("bccf406c-045d-401b-91ba-5c7552a124ae")
"""Namespace for what no recording shows."""
USER, PROJECT = "myuser", "myproject"


@dataclass(frozen=True, slots=True)
class Port:
    """An instance's port. ``identity`` is Neutron's; ``hosts`` are its MAC and IPv4 addresses."""

    identity: str
    hosts: tuple[Host, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as libvirt and OpenStack list it.

    Attributes:
        domain: libvirt's name of it.
        identity: OpenStack's ID, which is the domain's UUID as well.
        name: OpenStack's name of it.
        flavor: Name of its flavor.
        project: ID of its project.
        interfaces: Its ``<interface>`` elements as ``virsh dumpxml`` printed them.
        ports: By tap, in the order of the interfaces.
    """

    domain: str
    identity: str
    name: str
    flavor: str
    project: str
    interfaces: str
    ports: Mapping[str, Port]

    @property
    def user(self) -> str:
        """ID of its user, in Keystone's form: made up, the same for every instance."""
        return uuid.uuid5(MADE_UP, USER).hex

    @property
    def image(self) -> str:
        """ID of its image: made up, the same for every instance."""
        return str(uuid.uuid5(MADE_UP, "image"))

    def define(self, hypervisor: Hypervisor) -> None:
        """Make the domain; what libvirt added to the recorded interfaces, it adds again."""
        recorded = re.sub(r"\s*<(?:alias|address) .*/>", "", self.interfaces)
        recorded = recorded.replace("</interface>", f"{NO_BOOT_CODE}</interface>")
        interfaces = re.findall(r"<interface.*?</interface>", recorded, re.DOTALL)
        arguments = [
            argument
            for number, tap in enumerate(self.ports)
            for argument in redirection(number, tap, hypervisor.directory)
        ]
        metadata = "".join(self._metadata())
        hypervisor.define(
            domain_xml(
                self.domain, self.identity, interfaces, metadata=metadata, arguments=arguments
            )
        )

    def start(self, hypervisor: Hypervisor, reactor: Reactor) -> dict[str, Nic]:
        """Start the domain and return what is to play its guest, by tap."""
        hypervisor.start_domain(self.domain)
        directory = hypervisor.directory
        return {tap: Nic(reactor, directory, tap, port.hosts) for tap, port in self.ports.items()}

    def _metadata(self) -> Iterator[str]:
        """Yield the lines that Nova writes, as of its nova/virt/libvirt/config.py."""
        yield '<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">'
        yield f'<nova:package version="{PACKAGE}"/>'
        yield f"<nova:name>{escape(self.name)}</nova:name>"
        yield f"<nova:creationTime>{CREATED}</nova:creationTime>"
        yield f"<nova:flavor name={quoteattr(self.flavor)}>"
        yield "<nova:memory>1024</nova:memory><nova:disk>2</nova:disk><nova:swap>0</nova:swap>"
        yield "<nova:ephemeral>0</nova:ephemeral><nova:vcpus>1</nova:vcpus></nova:flavor>"
        yield f'<nova:owner><nova:user uuid="{self.user}">{USER}</nova:user>'
        yield f'<nova:project uuid="{self.project}">{PROJECT}</nova:project></nova:owner>'
        yield f'<nova:root type="image" uuid="{self.image}"/>'
        yield "<nova:ports>"
        for port in self.ports.values():
            yield f'<nova:port uuid="{port.identity}">'
            for host in port.hosts:
                yield f'<nova:ip type="fixed" address="{host.ip}" ipVersion="4"/>'
            yield "</nova:port>"
        yield "</nova:ports></nova:instance>"


def read_instance(directory: Path, ports: Mapping[str, Port]) -> Instance:
    """Read the instance of a recorded node, which lists one.

    Args:
        directory: The recording.
        ports: By tap; others than the instance's may be among them.
    """

    def text(name: str) -> str:
        return (directory / name).read_text(encoding="utf-8")

    (domain,) = parse_domains(text("virsh-list.txt"))
    (balancer,) = parse_table(text("loadbalancer-list.txt"))
    interfaces = text("virsh-interfaces.xml")
    own = {tap: ports[tap] for tap in parse_domain_macs(interfaces)}
    addresses = {host.ip for port in own.values() for host in port.hosts}
    (server,) = (
        row
        for row in parse_table(text("server-list.txt"))
        if addresses.intersection(re.findall(r"\d+\.\d+\.\d+\.\d+", row["Networks"]))
    )
    return Instance(
        domain=domain,
        identity=server["ID"],
        name=server["Name"],
        flavor=server["Flavor"],
        project=balancer["project_id"],
        interfaces=interfaces,
        ports=own,
    )
