"""inhibit.example.yaml: what Alertmanager need not say while it says something else."""

from dashboards.rules_source.text import HEAD, comment

NODE = ("cluster", "instance")
DURING_RESTARTS = (
    "DataplaneControllerDisconnected", "DataplaneMainLoopSlow", "DataplaneUpcallsLost",
    "DataplaneCacheHitRateCollapse", "DataplaneFlowLimitPressure", "DataplanePortOpenError",
    "DataplaneTunnelDown", "DataplaneDroppedPacketGrowth", "DataplaneSourceDown",
    "DataplaneScrapeDeadlineExceeded",
)  # fmt: skip

INHIBITIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (
        """
        An agent that is gone: all else of its node is as of five minutes ago, or absent. Of two
        jobs the one that gets no page is silent, and what the other one sees is told.
        """,
        ('alertname="DataplaneAgentMissing"', 'severity="warning"'),
        ('alertname=~"Dataplane.+"', 'alertname!="DataplaneAgentMissing"'),
        (*NODE, "job"),
    ),
    (
        "The same alert once, at its worst.",
        ('alertname=~"Dataplane.+"', 'severity="critical"'),
        ('alertname=~"Dataplane.+"', 'severity="warning"'),
        ("alertname", *NODE, "datapath", "netns", "zone"),
    ),
    (
        "An ovs-vswitchd that restarts again and again explains whatever else the switch shows.",
        ('alertname="DataplaneVswitchdRestartLoop"',),
        (f'alertname=~"{"|".join(DURING_RESTARTS)}"',),
        NODE,
    ),
    (
        "A peer that is down: not each node's tunnel to it, and not that ends to it are missing.",
        ('alertname="DataplaneTunnelPeerDown"',),
        ('alertname=~"DataplaneTunnelDown|DataplaneTunnelPeerMissing"',),
        ("cluster", "job", "remote_ip"),
    ),
    (
        "A node without any tunnel: not each of its tunnels.",
        ('alertname="DataplaneNodeTunnelsDown"',),
        ('alertname="DataplaneTunnelDown"',),
        NODE,
    ),
    (
        """
        Growth of a layer whose own alert says why. A guest that does not read hides the layer of
        all taps in that direction: leave this out where guests are yours too.
        """,
        ('alertname=~"DataplaneNicDrops|DataplaneUpcallsLost|DataplaneGuestNotReading"',),
        ('alertname="DataplaneDroppedPacketGrowth"',),
        (*NODE, "layer", "direction"),
    ),
    (
        "Growth of what a full table of connections drops.",
        ('alertname="DataplaneConntrackNearlyFull"',),
        ('alertname="DataplaneDroppedPacketGrowth"',),
        (*NODE, "layer"),
    ),
    (
        "An ovn-controller that is gone is also behind.",
        ('alertname=~"DataplaneOvnControllerGone|DataplaneOvnControllerDisconnected"',),
        ('alertname="DataplaneOvnConfigLag"',),
        NODE,
    ),
    (
        "While ovsdb-server is down, ovs-vswitchd answers no OpenFlow.",
        ('alertname="DataplaneSourceDown"', 'source="ovsdb"'),
        ('alertname="DataplaneSourceDown"', 'source="openflow"'),
        NODE,
    ),
    (
        "A source that is down is also late, and scrapes that wait for it are long.",
        ('alertname=~"DataplaneSourceDown|DataplaneScrapeDeadlineExceeded"',),
        ('alertname="DataplaneScrapeNearDeadline"',),
        NODE,
    ),
    (
        "Readings are left out because the main loop is slow.",
        ('alertname="DataplaneMainLoopSlow"',),
        ('alertname="DataplaneSourceThrottled"',),
        NODE,
    ),
)
"""Why, what speaks, what is silent meanwhile, and the labels that both have in common."""

ABOUT = """
# For alertmanager.yml, not for Prometheus: examples of what need not be said while something else
# is. A label of `equal` that neither alert has is equal.
inhibit_rules:
"""


def inhibitions() -> str:
    """Write inhibit.example.yaml."""
    lines = [*(HEAD + ABOUT.lstrip("\n")).splitlines()]
    for why, source, target, equal in INHIBITIONS:
        lines += [*comment(why, "  "), "  - source_matchers:"]
        lines += [f"      - {matcher}" for matcher in source]
        lines.append("    target_matchers:")
        lines += [f"      - {matcher}" for matcher in target]
        lines.append(f"    equal: [{', '.join(equal)}]")
    return "\n".join(lines) + "\n"
