"""Connection tracking: how full the table is.

A full table drops every new connection while the established ones go on, which looks like a
fault of the application. The kernel datapath's is the host's own; every namespace has one, and so
has each userspace datapath. A zone with a limit is full long before the table is.
"""

from agent.collectors.base import Collector
from agent.families import Counter, Gauge, Output
from agent.model.namespace import HOST
from agent.model.node import Node

DATAPATH = ("datapath",)
ZONE = ("datapath", "zone")
NETNS = ("netns",)

ENTRIES = Gauge(
    "ovs_conntrack_entries",
    "Tracked connections of a datapath [dpctl/ct-get-nconns, nf_conntrack_count].",
    labels=DATAPATH,
)
LIMIT = Gauge(
    "ovs_conntrack_entries_limit",
    "Connections that a datapath tracks at most [dpctl/ct-get-maxconns, nf_conntrack_max].",
    labels=DATAPATH,
)
ZONE_ENTRIES = Gauge(
    "ovs_conntrack_zone_entries",
    "Tracked connections of a zone that has a limit [dpctl/ct-get-limits count].",
    labels=ZONE,
)
ZONE_LIMIT = Gauge(
    "ovs_conntrack_zone_entries_limit",
    "Connections that a datapath tracks at most in a zone [dpctl/ct-get-limits limit].",
    labels=ZONE,
)
NETNS_ENTRIES = Gauge(
    "netns_conntrack_entries",
    "Tracked connections of a network namespace [nf_conntrack_count].",
    labels=NETNS,
)
NETNS_LIMIT = Gauge(
    "netns_conntrack_entries_limit",
    "Connections that a network namespace tracks at most [nf_conntrack_max].",
    labels=NETNS,
)
INSERT_FAILED = Counter(
    "netns_conntrack_insert_failed_total",
    "Connections not taken in since the agent first saw the table [conntrack -S insert_failed].",
    labels=NETNS,
)
DROP = Counter(
    "netns_conntrack_drop_total",
    "Packets dropped for want of room since the agent first saw the table [conntrack -S drop].",
    labels=NETNS,
)
EARLY_DROP = Counter(
    "netns_conntrack_early_drop_total",
    "Connections thrown out for new ones since the agent first saw the table "
    "[conntrack -S early_drop].",
    labels=NETNS,
)
SEARCH_RESTART = Counter(
    "netns_conntrack_search_restart_total",
    "Lookups that began again because the table changed size, since the agent first saw it "
    "[conntrack -S search_restart].",
    labels=NETNS,
)


def from_namespaces(node: Node) -> Output:
    """Yield the table of each namespace; the host's own is also that of a kernel datapath."""
    datapaths = [each.datapath.name for each in node.kernel_datapaths.value or ()]
    tables, namespaces = node.conntrack_tables.require(), node.namespaces.value
    for table in tables:
        namespace = (namespaces or {}).get(table.netns)
        if namespaces is not None and (namespace is None or not namespace.is_of(table.key)):
            continue  # it went since its table was read
        if table.netns == HOST:
            for datapath in datapaths:
                yield ENTRIES(table.entries, datapath)
                yield LIMIT(table.entries_limit, datapath)
        yield NETNS_ENTRIES(table.entries, table.netns)
        yield NETNS_LIMIT(table.entries_limit, table.netns)
        yield INSERT_FAILED(table.insert_failed, table.netns)
        yield DROP(table.drop, table.netns)
        yield EARLY_DROP(table.early_drop, table.netns)
        yield SEARCH_RESTART(table.search_restart, table.netns)


def from_datapaths(node: Node) -> Output:
    """Yield zones with a limit of the kernel's datapaths, and the tables of the userspace's.

    Where no bridge has a userspace datapath there is none of these, whether ovs-vswitchd answers
    or not.
    """
    for each in node.kernel_datapaths.value or ():
        for limited in each.zone_limits or ():
            labels = (each.datapath.name, str(limited.zone))
            yield ZONE_ENTRIES(limited.entries, *labels)
            yield ZONE_LIMIT(limited.limit, *labels)
    switch = node.switch.value
    if switch is not None and all(each.datapath_type == "system" for each in switch.bridges):
        return
    for conntrack in node.conntracks.require():
        yield ENTRIES(conntrack.entries, conntrack.datapath)
        yield LIMIT(conntrack.entries_limit, conntrack.datapath)


COLLECTOR = Collector(
    "conntrack",
    (
        ENTRIES, LIMIT, ZONE_ENTRIES, ZONE_LIMIT,
        NETNS_ENTRIES, NETNS_LIMIT, INSERT_FAILED, DROP, EARLY_DROP, SEARCH_RESTART,
    ),
    (from_datapaths, from_namespaces),
    reads=("conntrack", "ovs_genl", "unixctl"),
    follows=("rtnetlink",),
)  # fmt: skip
