"""Frames made by hand, byte by byte, with right lengths and checksums.

Conntrack looks at checksums: a wrong one makes a packet invalid, and a test would count the wrong
flow.
"""

import struct
from socket import inet_aton, inet_ntoa
from typing import NamedTuple

BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP, IPV4, VLAN = 0x0806, 0x0800, 0x8100
ICMP, TCP, UDP = 1, 6, 17
ECHO_REPLY, ECHO_REQUEST = 0, 8
SYN, RST = 0x02, 0x04
VXLAN_PORT, VXLAN_VNI_VALID = 4789, 0x08
ETHERNET = struct.Struct("!6s6sH")
ARP_BODY = struct.Struct("!HHBBH6s4s6s4s")
ARP_REQUEST, ARP_REPLY = 1, 2
IPV4_HEADER = struct.Struct("!BBHHHBBH4s4s")
TTL = 64


class Host(NamedTuple):
    """A sender or receiver: MAC address and IPv4 address, as text."""

    mac: str
    ip: str


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of ``fa:16:3e:61:21:c6``."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(mac: bytes) -> str:
    """Return ``fa:16:3e:61:21:c6`` for six bytes."""
    return mac.hex(":")


def ethernet(source: str, target: str, kind: int, payload: bytes) -> bytes:
    """Make an Ethernet frame of this EtherType."""
    return ETHERNET.pack(mac_bytes(target), mac_bytes(source), kind) + payload


def tagged(frame: bytes, vlan: int) -> bytes:
    """Put an 802.1Q tag into a frame."""
    return frame[:12] + struct.pack("!HH", VLAN, vlan) + frame[12:]


def arp_request(sender: Host, target_ip: str) -> bytes:
    """Ask all who has an address."""
    body = _arp(ARP_REQUEST, sender, Host("00:00:00:00:00:00", target_ip))
    return ethernet(sender.mac, BROADCAST, ARP, body)


def arp_reply(sender: Host, target: Host) -> bytes:
    """Tell one host that the sender has the sender's address."""
    return ethernet(sender.mac, target.mac, ARP, _arp(ARP_REPLY, sender, target))


def _arp(operation: int, sender: Host, target: Host) -> bytes:
    return ARP_BODY.pack(
        1,
        IPV4,
        6,
        4,
        operation,
        mac_bytes(sender.mac),
        inet_aton(sender.ip),
        mac_bytes(target.mac),
        inet_aton(target.ip),
    )


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(sender: Host, target: Host, protocol: int, payload: bytes) -> bytes:
    """Make a frame with an IPv4 packet that may not be fragmented."""
    length = IPV4_HEADER.size + len(payload)
    ends = inet_aton(sender.ip), inet_aton(target.ip)
    blank = IPV4_HEADER.pack(0x45, 0, length, 0, 0x4000, TTL, protocol, 0, *ends)
    header = blank[:10] + struct.pack("!H", checksum(blank)) + blank[12:]
    return ethernet(sender.mac, target.mac, IPV4, header + payload)


def echo(
    sender: Host,
    target: Host,
    kind: int = ECHO_REQUEST,
    identifier: int = 1,
    sequence: int = 1,
    data: bytes = b"dataplane" * 6,
) -> bytes:
    """Make an ICMP echo request or reply."""
    rest = struct.pack("!HH", identifier, sequence) + data
    total = checksum(struct.pack("!BBH", kind, 0, 0) + rest)
    return ipv4(sender, target, ICMP, struct.pack("!BBH", kind, 0, total) + rest)


def udp(sender: Host, target: Host, source_port: int, port: int, data: bytes) -> bytes:
    """Make a UDP packet."""
    length = 8 + len(data)
    blank = struct.pack("!HHHH", source_port, port, length, 0)
    total = checksum(_pseudo_header(sender, target, UDP, length) + blank + data) or 0xFFFF
    return ipv4(sender, target, UDP, blank[:6] + struct.pack("!H", total) + data)


def tcp(sender: Host, target: Host, source_port: int, port: int, flags: int = SYN) -> bytes:
    """Make a TCP segment without data."""
    blank = struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 0x50, flags, 64240, 0, 0)
    total = checksum(_pseudo_header(sender, target, TCP, len(blank)) + blank)
    return ipv4(sender, target, TCP, blank[:16] + struct.pack("!H", total) + blank[18:])


def _pseudo_header(sender: Host, target: Host, protocol: int, length: int) -> bytes:
    return inet_aton(sender.ip) + inet_aton(target.ip) + struct.pack("!BBH", 0, protocol, length)


def dhcp_discover(mac: str) -> bytes:
    """Make what an instance sends first: DHCPDISCOVER (RFC 2131), from no address to all."""
    fixed = struct.pack("!BBBBIHH16x6s10x192x", 1, 1, 6, 0, 1, 0, 0, mac_bytes(mac))
    options = bytes.fromhex("63825363 350101 ff")  # cookie, message type 1, end
    return udp(Host(mac, "0.0.0.0"), Host(BROADCAST, "255.255.255.255"), 68, 67, fixed + options)  # noqa: S104 - not an address to bind, but what DHCP says before there is one


def vxlan(sender: Host, target: Host, vni: int, frame: bytes) -> bytes:
    """Put a frame into VXLAN (RFC 7348) from one VTEP to another."""
    header = struct.pack("!B3xI", VXLAN_VNI_VALID, vni << 8)
    return udp(sender, target, 49152, VXLAN_PORT, header + frame)


def vxlan_payload(frame: bytes, target_ip: str) -> bytes | None:
    """Return the frame that a VXLAN packet to this VTEP carries; ``None`` for any other frame."""
    to_port = struct.pack("!H", VXLAN_PORT)
    is_ip = frame[12:14] == struct.pack("!H", IPV4) and frame[23:24] == bytes([UDP])
    if is_ip and frame[30:34] == inet_aton(target_ip) and frame[36:38] == to_port:
        return frame[50:]
    return None


def answer(frame: bytes, hosts: tuple[Host, ...]) -> bytes | None:
    """Return what these hosts answer to a frame: ARP and ICMP echo for their addresses.

    Returns:
        The answer, or ``None`` if none of them is asked.
    """
    if len(frame) < ETHERNET.size:
        return None
    _, source, kind = ETHERNET.unpack_from(frame)
    for host in hosts:
        if kind == ARP and len(frame) >= ETHERNET.size + ARP_BODY.size:
            fields = ARP_BODY.unpack_from(frame, ETHERNET.size)
            operation, sender_mac, sender_ip, target_ip = fields[4], *fields[5:7], fields[8]
            if operation == ARP_REQUEST and target_ip == inet_aton(host.ip):
                return arp_reply(host, Host(mac_text(sender_mac), inet_ntoa(sender_ip)))
        elif kind == IPV4 and frame[30:34] == inet_aton(host.ip) and frame[23] == ICMP:
            length = int.from_bytes(frame[16:18], "big")
            message = frame[34 : ETHERNET.size + length]
            if message[:1] == bytes([ECHO_REQUEST]):
                asker = Host(mac_text(source), inet_ntoa(frame[26:30]))
                identifier, sequence = struct.unpack_from("!HH", message, 4)
                return echo(host, asker, ECHO_REPLY, identifier, sequence, message[8:])
    return None
