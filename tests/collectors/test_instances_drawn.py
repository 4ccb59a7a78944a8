"""Instances that nobody would make: what a join needs is there once, in both formats."""

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.collectors import domain, instance
from agent.errors import UnknownFactError
from agent.exposition.text import Format
from agent.families import Block, Sample
from agent.model.domain import FIELDS, Domain, DomainCounters, DomainInterface, Owner
from agent.model.instance import join
from agent.model.link import Link
from agent.model.namespace import HOST, Namespace
from agent.model.node import Known, Node
from agent.model.switch import Bridge, Interface, Port, Switch
from agent.wire.text import clean
from tests.collectors.links import AGENT
from tests.page import rendered, series

INFO, META = "dataplane_instance_interface_info", "libvirt_domain_interface_meta"
KEYS = {
    INFO: ("interface",),
    META: ("domain", "mac"),
    "libvirt_domain_openstack_info": ("domain",),
    "libvirt_domain_state": ("domain",),
}
"""What HELP says to join on, beside the target."""

TEXT = st.sampled_from(['b"', "c\\", "d\n", "\r", "}", "# EOF", "é"]) | st.text(
    min_size=1, max_size=4
).map(clean)
DEVICES = st.sampled_from(["tap1", "qvo1", "vhu1", "macvtap1"]) | TEXT
DOMAINS = st.sampled_from(["d", "e"]) | TEXT
UUIDS = st.sampled_from(["a", "b", "c"])
MACS = st.sampled_from(["fa:16:3e:00:00:01", "fa:16:3e:00:00:02"])


def few(of: Any, most: int = 4) -> Any:
    return st.lists(of, max_size=most).map(tuple)


def maybe(of: Any) -> Any:
    return st.none() | of


PLUGS = st.builds(
    DomainInterface,
    st.sampled_from(["ethernet", "bridge", "network", "vhostuser", "hostdev", "direct"]),
    mac=maybe(MACS),
    target_device=maybe(DEVICES),
    socket_path=maybe(st.sampled_from(["/run/vhu1", "/elsewhere/vhu1", "vhu1", "/"])),
    iface_id=maybe(UUIDS),
)
OWNERS = st.builds(Owner, *[maybe(TEXT)] * 6)
INSTANCES = st.builds(Domain, UUIDS, DOMAINS, st.integers(0, 8), few(PLUGS), maybe(OWNERS))
INTERFACES = st.builds(
    Interface,
    DEVICES,
    st.sampled_from(["system", "dpdkvhostuser", "dpdkvhostuserclient"]),
    iface_id=maybe(UUIDS),
    vm_uuid=maybe(UUIDS),
    attached_mac=maybe(MACS | TEXT),
    options=st.sampled_from([{}, {"vhost-server-path": "/run/vhu1"}]),
)
PORTS = st.builds(Port, DEVICES, few(INTERFACES, 2), maybe(st.integers(0, 4095)))
SWITCHES = few(st.builds(Bridge, DEVICES, ports=few(PORTS)), 2).map(
    lambda bridges: Switch(bridges=bridges)
)
KINDS = st.sampled_from(["tun", "macvtap", "bridge", None])
LINKS = few(st.builds(Link, st.integers(1, 6), DEVICES, KINDS, master=maybe(st.integers(1, 6))))
COUNTED = st.lists(st.tuples(DOMAINS, DEVICES), unique=True, max_size=5).map(
    lambda keys: DomainCounters(tuple(keys), np.ones((len(keys), len(FIELDS)), np.uint64))
)


@settings(max_examples=300, deadline=None)
@given(maybe(SWITCHES), maybe(few(INSTANCES)), maybe(LINKS), maybe(COUNTED))
def test_every_key_is_there_once(switch: Any, instances: Any, links: Any, counted: Any) -> None:
    domains = None if instances is None else {each.uuid: each for each in instances}
    host = None if links is None else Namespace(HOST, {link.index: link for link in links})
    node = Node(
        AGENT,
        switch=Known("switch", switch),
        domains=Known("domains", domains),
        namespaces=Known("namespaces", None if host is None else {HOST: host}),
        domain_counters=Known("domain counters", counted),
    )
    rows = join(switch, domains, host)
    running = [each for each in (domains or {}).values() if each.active]
    devices = {plug.target_device for each in running for plug in each.interfaces} - {None}
    assert devices <= rows.keys()
    text, openmetrics = (series(rendered(items(node), form), form) for form in Format)
    assert text.keys() == openmetrics.keys()
    found: Counter[tuple[str, ...]] = Counter()
    for name, pairs in text:
        labels = dict(pairs)
        found[name, *(labels.get(key, "") for key in KEYS.get(name, labels))] += name in KEYS
        if name == META and "target_device" in labels:
            found["device", labels["domain"], labels["target_device"]] += 1
    assert {key: times for key, times in found.items() if times > 1} == {}
    if switch is not None or domains is not None:
        assert {dict(pairs)["interface"] for name, pairs in text if name == INFO} == rows.keys()


def items(node: Node) -> list[Sample | Block]:
    """Return what both collectors say, each part as far as it is known."""
    found: list[Sample | Block] = []
    for part in (*domain.COLLECTOR.collect, *instance.COLLECTOR.collect):
        try:
            found += [item for item in part(node) if isinstance(item, Sample | Block)]
        except UnknownFactError:
            continue
    return found
