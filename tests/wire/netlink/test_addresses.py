"""Addresses are those that ip prints."""

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from agent.errors import ParseError
from agent.model.link import Address
from agent.wire.netlink.addresses import (
    DELADDR,
    IFA_ADDRESS,
    IFA_LOCAL,
    IFADDRMSG,
    NEWADDR,
    parse_address,
)
from agent.wire.netlink.attributes import attribute
from agent.wire.netlink.header import HEADER, LENGTH
from tests.wire.netlink.recorded import KERNELS, recorded, shown

AF_INET, AF_MPLS = 2, 28


@pytest.mark.parametrize("kernel", KERNELS)
def test_addresses_are_as_ip_prints_them(kernel: str) -> None:
    printed = [
        Address(link["ifindex"], f"{it['local']}/{it['prefixlen']}", it["family"], it["scope"])
        for link in shown("addresses", kernel)
        for it in link["addr_info"]
    ]
    found = [parse_address(it.payload) for it in recorded("addresses", kernel)]
    assert sorted(map(str, found)) == sorted(map(str, printed))
    scopes = {it.scope for it in found if it is not None}
    assert scopes == {"global", "link", "host", "10"}


@pytest.mark.parametrize("kernel", KERNELS)
def test_addresses_are_as_pyroute2_decodes_them(kernel: str) -> None:
    messages = recorded("events", kernel, NEWADDR, DELADDR)
    assert len(messages) > 10
    for message in messages:
        header = HEADER.pack(LENGTH + len(message.payload), message.type, 0, 0, 0)
        whole = ifaddrmsg(header + message.payload)
        whole.decode()
        local = whole.get_attr("IFA_LOCAL") or whole.get_attr("IFA_ADDRESS")
        found = parse_address(message.payload)
        assert found is not None
        assert (found.index, found.address) == (whole["index"], f"{local}/{whole['prefixlen']}")


@pytest.mark.parametrize("kernel", KERNELS)
def test_following_events_leads_to_what_a_dump_says(kernel: str) -> None:
    addresses = set()
    for message in recorded("events", kernel, NEWADDR, DELADDR):
        if message.type == NEWADDR:
            addresses.add(parse_address(message.payload))
        else:
            addresses.remove(parse_address(message.payload))
    assert addresses == {parse_address(it.payload) for it in recorded("addresses", kernel)}


def test_of_a_point_to_point_link_its_own_end_is_meant() -> None:
    message = (
        IFADDRMSG.pack(AF_INET, 32, 0, 255, 7)
        + attribute(IFA_ADDRESS, bytes((198, 51, 100, 2)))
        + attribute(IFA_LOCAL, bytes((198, 51, 100, 1)))
    )
    assert parse_address(message) == Address(7, "198.51.100.1/32", "inet", "nowhere")


def test_other_families_have_no_addresses_here() -> None:
    assert parse_address(IFADDRMSG.pack(AF_MPLS, 0, 0, 0, 1)) is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        IFADDRMSG.pack(AF_INET, 24, 0, 0, 7),
        IFADDRMSG.pack(AF_INET, 24, 0, 0, 7) + attribute(IFA_LOCAL, bytes(3)),
        IFADDRMSG.pack(AF_INET, 24, 0, 0, 7) + attribute(IFA_LOCAL, bytes(16)),
        IFADDRMSG.pack(AF_INET, 24, 0, 0, 7) + attribute(IFA_LOCAL, bytes(4))[:-1],
    ],
)
def test_a_message_cut_short_is_refused(message: bytes) -> None:
    with pytest.raises(ParseError):
        parse_address(message)
