"""How instances are asked for: by what is chosen, whoever counts it."""

from dashboards import panels as p
from dashboards.boards.flow_queries import explained
from dashboards.promql import by, level, of_those, rate

INFO = "dataplane_instance_interface_info"
NAME, DOMAIN = 'instance_name=~"$instance_name"', 'domain=~"$domain"'
WHO = level(INFO, NAME, DOMAIN)
"""The interfaces of the chosen instances."""
OF_NOVA = level("libvirt_domain_openstack_info", NAME, DOMAIN)
STATE = of_those(
    level("libvirt_domain_state", DOMAIN),
    "domain",
    f"({WHO} or on (cluster, instance, domain) {OF_NOVA})",
)
"""Also of those that have no interface."""

STATES: p.States = {
    0: ("no state", p.NEUTRAL),
    1: ("running", p.GOOD),
    2: ("blocked", p.WARN),
    3: ("paused", p.WARN),
    4: ("shutting down", p.WARN),
    5: ("shut off", p.BAD),
    6: ("crashed", p.BAD),
    7: ("suspended by its guest", p.WARN),
}


def seen(what: str) -> str:
    """Return what libvirt counts, in the instance's own sense."""
    each = rate(f"libvirt_domain_interface_stats_{what}_total", DOMAIN)
    return of_those(each, "domain", WHO)


def counted(counter: str, *matchers: str) -> str:
    """Return what Open vSwitch counts at the interfaces of the instances."""
    return of_those(by("interface", rate(counter, *matchers)), "interface", WHO)


def queued(*matchers: str) -> str:
    """Return what queueing disciplines drop at the interfaces of the instances."""
    each = rate("netns_qdisc_dropped_total", *matchers)
    renamed = f'label_replace({each}, "interface", "$1", "device", "(.+)")'
    return of_those(by("interface", renamed), "interface", WHO)


def flows(*matchers: str) -> str:
    """Return the busiest of the flows whose packets are the instances'."""
    info = of_those(level("ovs_flow_info", *matchers), "interface", WHO)
    return f"topk(50, {explained(rate('ovs_flow_packets_total'), f'({info})')} > 0)"
