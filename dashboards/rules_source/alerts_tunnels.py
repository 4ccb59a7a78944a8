"""Alerts of tunnels: one end, a whole node, a peer that many miss, and sizes that do not fit."""

from dashboards.rules_source.mtu import TOO_LARGE
from dashboards.rules_source.recording import DOWN
from dashboards.rules_source.text import Alert, Group, fit

WANTED = 'max by (job, remote_ip) (ovn_tunnel_expected_info{JOB, tunnel_type="geneve"})'
NODES = """
ovn_controller_encap_ip{JOB}
unless on (instance) dataplane_tunnel_endpoint_info{JOB, remote_ip="flow"}
"""
"""Nodes that have a tunnel for each peer: where flows say the other end, there is one for all."""
OWN = fit(
    """
label_replace(
  <nodes>,
  "remote_ip", "$1", "ipaddress", "(.+)"
)
""",
    nodes=NODES,
)
PRESENT = fit(
    """
dataplane_tunnel_endpoint_info{JOB, tunnel_type="geneve"}
and on (instance) (
  <nodes>
)
""",
    nodes=NODES,
)
COUNTED = """
count by (job, remote_ip) (
  group by (job, instance, remote_ip) (
    <rows>
  )
)
or 0 * <wanted>
"""
"""0 where the Southbound names an end that no row has."""
MISSING = fit(
    """
(
  <wanted>
  * on (job) group_left ()
  count by (job) (
    group by (job, instance) (
      <nodes>
    )
  )
  - on (job, remote_ip) (
    <own>
  )
  - on (job, remote_ip) (
    <present>
  )
) > 0
""",
    wanted=WANTED,
    nodes=NODES,
    own=fit(COUNTED, rows=OWN, wanted=WANTED),
    present=fit(COUNTED, rows=PRESENT, wanted=WANTED),
)
"""Of the nodes whose agent sees an ovn-controller: all, less the end itself, less who has it."""

GROUP = Group(
    "dataplane-tunnel-alerts",
    """
Tunnels: a dead peer is one page for the fleet, not one for each node that misses it (see
inhibit.example.yaml). Expected ends need an agent beside the databases of OVN.
""",
    (
        Alert(
            "DataplaneTunnelDown",
            "warning",
            f"""
{DOWN}
* on (job, instance, interface) group_left (bridge, tunnel_type, local_ip, remote_ip)
label_replace(
  dataplane_tunnel_endpoint_info{{JOB, implementation="ovs"}},
  "interface", "$1", "device", "(.+)"
)
""",
            "{{ $labels.instance }}: the tunnel to {{ $labels.remote_ip }} is down",
            """
            Tunnel {{ $labels.interface }} ({{ $labels.tunnel_type }}) of {{ $labels.bridge }} on {{
            $labels.instance }} to {{ $labels.remote_ip }} is down: BFD or CFM hears nobody, or the
            device that its packets leave by has no carrier. Instances here do not reach those
            there. Look first whether the peer answers on the underlay and whether others reach it.
            """,
            "5m",
        ),
        Alert(
            "DataplaneNodeTunnelsDown",
            "critical",
            """
instance:dataplane_tunnel_down:count >= 2
and
instance:dataplane_tunnel_down:count / instance:dataplane_tunnel_endpoints:count > 0.5
""",
            "{{ $labels.instance }}: {{ $value }} tunnels are down, more than half of all",
            """
            {{ $value }} tunnels of {{ $labels.instance }} are down, more than half of those it has:
            it is the node or its underlay, not its peers. Its instances are cut off from other
            nodes. Look first at the link, address and route of the tunnels' local end.
            """,
            "3m",
        ),
        Alert(
            "DataplaneTunnelPeerDown",
            "critical",
            """
job_remote:dataplane_tunnel_down:count >= 2
and
job_remote:dataplane_tunnel_down:count / job_remote:dataplane_tunnel_endpoints:count > 0.5
""",
            "The tunnel end {{ $labels.remote_ip }} is down for {{ $value }} nodes",
            """
            {{ $value }} nodes of job {{ $labels.job }}, more than half of those with a tunnel to
            it, hold {{ $labels.remote_ip }} for dead: that node is down or off the underlay. Look
            first whether it is up and answers on that address.
            """,
            "3m",
        ),
        Alert(
            "DataplaneTunnelPeerMissing",
            "warning",
            MISSING,
            "{{ $value }} nodes have no tunnel to {{ $labels.remote_ip }}",
            """
            The Southbound names {{ $labels.remote_ip }} as an end of geneve tunnels, and {{ $value
            }} nodes that run ovn-controller have none to it: instances there and here do not reach
            each other. Look first whether ovn-controller on those nodes runs and is connected.
            Transport zones are a good reason.
            """,
            "10m",
        ),
        Alert(
            "DataplaneTunnelMtu",
            "warning",
            TOO_LARGE,
            "{{ $labels.instance }}: packets can be {{ $value }} bytes too large for the tunnel",
            """
            On {{ $labels.instance }} {{ with $labels.device }}device {{ . }} takes{{ else }}ports
            of tunnelled networks take{{ end }} packets that with the tunnel's header are {{ $value
            }} bytes larger than what carries them: large packets vanish while ping works. Look
            first at the MTU of the network, of the bridge and of the underlay's device.
            """,
            "15m",
        ),
    ),
)
