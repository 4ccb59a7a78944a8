"""libvirt's XML of a domain: its interfaces, and what Nova wrote about the instance.

https://libvirt.org/formatdomain.html, and virDomainNetDefFormat of libvirt's domain_conf.c for what
the XML of a running domain has.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from xml.parsers import expat

from agent.errors import ParseError
from agent.model.domain import DomainInterface, Owner
from agent.wire.text import MAX_TEXT_CHARACTERS, clean

MAX_XML_CHARACTERS = 1 << 20
"""A domain of Nova has about 10,000."""
MAX_INTERFACES = 512
MAX_PORTS = 512
"""More than a machine has; a domain that has more is refused, not read by half."""
MAX_DEPTH = 256
"""Elements in elements: what libxml2, with which libvirt reads it, takes (xmlParserMaxDepth)."""
NOVA = "http://openstack.org/xmlns/libvirt/nova/"
"""What Nova's namespaces begin with: 1.0, later 1.1."""

_PIECE_CHARACTERS = 1 << 16
"""An error of ours ends the parsing only where a piece ends: expat runs on without handlers."""
_DEPTH = 3
"""Of an interface and of Nova's instance; no deeper are the prefixes of Nova declared."""
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_DEVICE_CHARACTERS, _PREFIX_CHARACTERS = 14, 3

_Path = tuple[str, ...]
_Names = Mapping[str, str]
_OF_INTERFACE: Mapping[_Path, _Names] = {
    (): {"type": "type"},
    ("mac",): {"address": "mac"},
    ("model",): {"type": "model"},
    ("source",): {"bridge": "source_bridge", "path": "socket_path", "type": "socket_type"},
    ("target",): {"dev": "target_device"},
    ("virtualport", "parameters"): {"interfaceid": "iface_id"},
}
"""Attributes of an interface and the elements in it, and what they are called here."""
_OF_INSTANCE: Mapping[_Path, _Names] = {
    ("flavor",): {"name": "flavor_name"},
    ("owner", "project"): {"uuid": "project_id"},
    ("owner", "user"): {"uuid": "user_id"},
}
"""The same of Nova's instance."""
_TEXTS: Mapping[_Path, str] = {
    ("name",): "instance_name",
    ("owner", "project"): "project_name",
    ("owner", "user"): "user_name",
}
"""Its elements whose text is kept, up to the first element in it."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the XML of a domain tells.

    Attributes:
        interfaces: In its order; two may have the same target device.
        owner: ``None`` without metadata of Nova.
    """

    interfaces: tuple[DomainInterface, ...]
    owner: Owner | None


def parse_domain_xml(text: str) -> Description:
    """Read the XML of a domain, of a running one as of one that is only defined.

    ::

        <domain type='kvm' id='7'>
          <name>instance-00000007</name>
          <metadata>
            <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
              <nova:name>web-1</nova:name>
              <nova:flavor name="m1.small">…</nova:flavor>
              <nova:owner>
                <nova:user uuid="ff627ad39ed94479b9c5033bc462cf78">admin</nova:user>
                <nova:project uuid="512866f9994f4ad8916d8539a7cdeec9">demo</nova:project>
              </nova:owner>
              <nova:ports>
                <nova:port uuid="13abc033-93d5-4f7e-9a56-2b1e0f4f6f10">…</nova:port>
              </nova:ports>
            </nova:instance>
          </metadata>
          <devices>
            <interface type='bridge'>
              <mac address='fa:16:3e:6d:9f:87'/>
              <source bridge='br-int'/>
              <virtualport type='openvswitch'>
                <parameters interfaceid='13abc033-93d5-4f7e-9a56-2b1e0f4f6f10'/>
              </virtualport>
              <target dev='tap13abc033-93'/>
              <model type='virtio'/>
            </interface>
          </devices>
        </domain>

    A running interface of a network has the type and bridge that the network led to. One without
    a type is left out. ``mac`` is ``None`` when it is not six pairs of digits. Where the
    virtualport does not name the Neutron port (ethernet, vhostuser, a Linux bridge), it is the one
    of Nova's ports after which the device is called; Nova and Neutron call one by three letters and
    the first 11 characters of its port (NIC_NAME_LEN of nova/network/model.py).

    Of two instances of Nova the last counts. There are two when Nova was upgraded under a domain:
    virDomainSetMetadata replaces what has the same namespace and otherwise appends.

    Raises:
        ParseError: If it is no well-formed XML, not of a domain, has a document type (libvirt
            writes none, and no entity is worth its risks), or passes one of the limits above. Its
            text has nothing out of the XML, which may hold passwords.
    """
    if len(text) > MAX_XML_CHARACTERS:
        raise ParseError(f"longer than {MAX_XML_CHARACTERS} characters")
    if "<!DOCTYPE" in text:
        # Looked for here because expat does not stop for a handler's error, but expands on.
        raise ParseError("it has a document type")
    reader = _Reader()
    # Without namespace_separator: expat would write a namespace of half a megabyte out again for
    # each element in it.
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        for start in range(0, len(text), _PIECE_CHARACTERS):
            parser.Parse(text[start : start + _PIECE_CHARACTERS], False)  # noqa: FBT003 (its API)
        parser.Parse("", True)  # noqa: FBT003 (its API)
    except expat.ExpatError as error:
        raise ParseError(f"line {error.lineno}: {expat.ErrorString(error.code)}") from None
    except UnicodeEncodeError:
        raise ParseError("it has half of a surrogate pair") from None
    return reader.description()


class _Reader:
    """Handles the events of a parser, which it does not know: a cycle would keep both."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._attributes: list[_Names] = []  # of the outermost elements, for their namespaces
        self._interfaces: list[DomainInterface] = []
        self._interface: dict[str, str] | None = None  # that is being read
        self._instance: dict[str, str] | None = None
        self._ports: list[str] = []
        self._text: str | None = None  # what the text that follows is called in the instance

    def start(self, name: str, attributes: _Names) -> None:
        path = self._path
        if len(path) == MAX_DEPTH:
            raise ParseError(f"nested deeper than {MAX_DEPTH} elements")
        if len(path) < _DEPTH:
            self._attributes[len(path) :] = [attributes]
        path.append(name)
        if len(path) == 1 and name != "domain":
            raise ParseError("its root is not a domain")
        match path:
            case [_, "devices", "interface", *_]:
                self._start_interface(tuple(path[3:]), attributes)
            case [_, "metadata", _, *_]:
                path[-1] = self._nova(name)
                if path[2] == "instance":
                    self._start_instance(tuple(path[3:]), attributes)

    def _nova(self, name: str) -> str:
        """Return a name of Nova's without its prefix, of any other namespace nothing."""
        prefix, colon, local = name.rpartition(":")
        declaration = f"xmlns{colon}{prefix}"
        for attributes in reversed(self._attributes):
            if declaration in attributes:
                return local if attributes[declaration].startswith(NOVA) else ""
        return ""

    def _start_interface(self, inside: _Path, attributes: _Names) -> None:
        if not inside:
            if len(self._interfaces) == MAX_INTERFACES:
                raise ParseError(f"more than {MAX_INTERFACES} interfaces")
            self._interface = {}
        if self._interface is not None:
            _keep(self._interface, _OF_INTERFACE.get(inside), attributes)

    def _start_instance(self, inside: _Path, attributes: _Names) -> None:
        if not inside:
            self._instance, self._ports = {}, []
        if self._instance is not None:
            _keep(self._instance, _OF_INSTANCE.get(inside), attributes)
        self._text = _TEXTS.get(inside)
        if inside == ("ports", "port") and (uuid := _nova_text(attributes.get("uuid", "").lower())):
            if len(self._ports) == MAX_PORTS:
                raise ParseError(f"more than {MAX_PORTS} ports")
            self._ports.append(uuid)

    def text(self, data: str) -> None:
        if self._text is not None and self._instance is not None:
            known = self._instance.get(self._text, "")
            self._instance[self._text] = (known + data).lstrip()[:MAX_TEXT_CHARACTERS]

    def end(self, _name: str) -> None:
        self._text = None
        if len(self._path) == _DEPTH and self._interface is not None:
            if (made := _interface(self._interface)) is not None:
                self._interfaces.append(made)
            self._interface = None
        self._path.pop()

    def description(self) -> Description:
        ports = _by_device(self._ports)
        return Description(
            tuple(
                each
                if each.iface_id is not None or each.target_device is None
                else replace(each, iface_id=_port_of(each.target_device, ports))
                for each in self._interfaces
            ),
            None if self._instance is None else _owner(self._instance, tuple(self._ports)),
        )


def _keep(found: dict[str, str], names: _Names | None, attributes: _Names) -> None:
    """Take the attributes that have a name here; like libvirt, of several the first."""
    if names is not None:
        for attribute, name in names.items():
            if value := attributes.get(attribute):
                found.setdefault(name, value)


def _interface(found: _Names) -> DomainInterface | None:
    known = {name: clean(value) for name, value in found.items()}
    if "type" not in known:
        return None
    mac = known.get("mac", "").lower()
    iface_id = known.get("iface_id")
    shared = known["type"] == "vhostuser" and known.get("socket_type") == "unix"
    return DomainInterface(
        type=known["type"],
        mac=mac if _MAC.fullmatch(mac) else None,
        target_device=known.get("target_device"),
        model=known.get("model"),
        source_bridge=known.get("source_bridge"),
        socket_path=known.get("socket_path") if shared else None,
        iface_id=None if iface_id is None else clean(iface_id.lower()),
    )


def _owner(found: _Names, ports: tuple[str, ...]) -> Owner:
    known = {name: text for name, value in found.items() if (text := _nova_text(value))}
    return Owner(
        instance_name=known.get("instance_name"),
        flavor_name=known.get("flavor_name"),
        project_id=known.get("project_id"),
        project_name=known.get("project_name"),
        user_id=known.get("user_id"),
        user_name=known.get("user_name"),
        ports=ports,
    )


def _nova_text(text: str) -> str:
    return clean(text.strip())


def _by_device(ports: list[str]) -> dict[str, str | None]:
    """Return ports by what a device's name has of them; ``None`` for two that have the same."""
    found: dict[str, str | None] = {}
    for port in ports:
        head = port[: _DEVICE_CHARACTERS - _PREFIX_CHARACTERS]
        found[head] = port if found.get(head, port) == port else None
    return found


def _port_of(device: str, ports: Mapping[str, str | None]) -> str | None:
    if len(device) != _DEVICE_CHARACTERS or not device[:_PREFIX_CHARACTERS].isalpha():
        return None
    return ports.get(device[_PREFIX_CHARACTERS:])
