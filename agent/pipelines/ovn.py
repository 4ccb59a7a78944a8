"""OVN's integration bridge, as far as its flows alone tell.

Numbers of tables are those of controller/lflow.h; the middle ones moved with nearly every release.
Named is what is the same everywhere, or what the flows that ovn-controller always installs tell
apart (controller/physical.c): each of its own tables, and none of a logical pipeline, has a flow
of priority 0 that matches everything. The last such table before SAVE_INPORT is CHECK_LOOPBACK.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from agent.model.flow import Accounts, Effect, Flow
from agent.pipelines.base import FROM_INSTANCE, TO_INSTANCE, Owner, Pipeline, Structure
from agent.pipelines.ovn_logical import LOG_INGRESS_PIPELINE, Logical, find
from agent.pipelines.reduced import Reduced

NAME = "ovn"

SAVE_INPORT = 64, 88
"""Where it may be: from 20.03 to 26.03, and after."""
BEYOND = (
    "save_inport",
    "log_to_phy",
    "mac_binding",
    "mac_lookup",
    "chk_lb_hairpin",
    "chk_lb_hairpin_reply",
    "ct_snat_hairpin",
    "get_fdb",
    "lookup_fdb",
    "chk_in_port_sec",
    "chk_in_port_sec_nd",
    "chk_out_port_sec",
    "ecmp_nh_mac",
    "ecmp_nh",
    "chk_lb_affinity",
    "mac_cache_use",
    "ct_zone_lookup",
    "ct_orig_nw_dst_load",
    "ct_orig_ip6_dst_load",
    "ct_orig_tp_dst_load",
    "flood_remote_chassis",
    "ct_state_save",
    "ct_orig_proto_load",
    "get_remote_fdb",
    "learn_remote_fdb",
    "evpn_arp_lookup",
)
"""From SAVE_INPORT on: only ever added to at the end."""

LOG_OPCODE = 7
"""ACTION_OPCODE_LOG of include/ovn/actions.h, the first four bytes of the userdata."""
_OPCODE = struct.Struct(">I")
_FLOODED = re.compile(
    r"(?:^|,)(?:arp|icmp_type=13[3-6]|dl_dst=[0-9a-f][13579bdf]:[^,]*"
    r"|nw_dst=2(?:2[4-9]|[345]\d)\.[^,]*|ipv6_dst=ff[^,]*)(?=,|$)"
)
"""ARP, neighbour discovery (IPv6 only: IPv4 has no such ICMP), and what is bound for a group."""
_FLOODED_TO_ROUTERS = re.compile(rf"{_FLOODED.pattern}|(?:^|,)nw_src=0\.0\.0\.0/8(?=,|$)")
"""And what comes from nobody yet: DHCP is broadcast."""


@dataclass(frozen=True)
class Ovn(Pipeline):
    """The integration bridge of ovn-controller.

    Attributes:
        ports: OpenFlow ports of logical ports, by datapath (metadata) and key (reg14 or reg15).
        check_loopback: The table; ``None`` where it cannot be told.
        patch_keys: Logical ports, likewise, that lead to another bridge: of physical networks.
        log_to_phy: The table; ``None`` where it cannot be told.
        tunnels_go_on: The table LOCAL_OUTPUT, where what went into a tunnel goes on to it.
        logical: The logical pipelines.
    """

    ports: Mapping[tuple[int, int], int] = field(default_factory=dict)
    check_loopback: int | None = None
    patch_keys: frozenset[tuple[int, int]] = frozenset()
    log_to_phy: int | None = None
    tunnels_go_on: int | None = None
    logical: Logical = field(default_factory=Logical)

    def refuses(self, table: int) -> int | None:
        """Port security and, from 23.06 on, ACLs: see ``pipelines/ovn_logical.py``."""
        return self.logical.refuses(table, self.names.get(table))

    def is_refusal(self, flow: Flow) -> bool:
        """Not a router's flow."""
        return self.logical.is_refusal(flow)

    def drops_refused(self, flow: Flow) -> bool:
        """``reg0=0x8000/0x8000,metadata=0x1 actions=drop`` in ls_in_apply_port_sec, and so on."""
        return self.logical.drops_refused(flow)

    def accounts(self, table: int, reduced: Reduced) -> Accounts | None:
        """Stages and ACLs."""
        return self.logical.accounts(table, reduced)

    def only_logs(self, table: int, effect: Effect) -> bool:  # noqa: ARG002  # the opcode says it
        """ACL logging: every controller action has ``userdata=00.00.00.07…`` (log)."""
        return bool(effect.userdata) and all(
            len(userdata) >= _OPCODE.size and _OPCODE.unpack_from(userdata)[0] == LOG_OPCODE
            for userdata in effect.userdata
        )

    def is_copy(self, flow: Flow) -> bool:
        """The loopback check, and what floods come to that has no use for them.

        - Flooding does not go back to where it came from, and what must stay on the node (of the
          metadata agent's port) not to the provider network:
          ``reg10=0/0x1,reg14=0x2,reg15=0x2,metadata=0x1 actions=drop`` and
          ``reg10=0x10/0x10,reg15=0x3,metadata=0x1 actions=drop`` in CHECK_LOOPBACK.
        - A router gets every broadcast of its switches, and drops the ARP requests (those for the
          addresses that it has elsewhere too) and the multicast that are not its own, and what
          comes from 0.0.0.0, which is DHCP: ``priority=85,arp,metadata=0x3 actions=drop``,
          ``priority=91,arp,reg14=0x1,metadata=0x3,arp_tpa=… actions=drop``
          (build_lrouter_ip_input in northd/northd.c).
        - Floods of the provider network that are somebody's elsewhere: ``arp,reg14=0x3,… drop`` of
          its localnet port (ls_in_external_port).
        - A port that is migrating here gets the packets already, and its own chassis still does:
          ``table=65,priority=1000,reg15=0x1,metadata=0x1 actions=drop``, beside the output.
        - A provider bridge floods the VLANs that are nobody's here into the patch port too, and
          from 22.12 on they meet ``table=0,priority=0 actions=drop`` (controller/physical.c).
        - From 22.06 on a packet goes into a tunnel by ``output:5,resubmit(,40)``, in case its port
          is here as well while it migrates, and meets ``table=40,priority=0 actions=drop``. What is
          for a port that is nowhere ends there too, and nobody can tell these from those.
        """
        scope = flow.scope
        if flow.priority == 0 and not flow.match and flow.table_id in (0, self.tunnels_go_on):
            return flow.table_id != 0 or bool(self.patch_ports)
        if flow.table_id == 0 or scope.metadata is None:
            return False
        if scope.reg15 is not None:
            going_out = flow.table_id == self.log_to_phy
            is_here = going_out and (scope.metadata, scope.reg15) in self.ports
            return is_here or flow.table_id == self.check_loopback
        if self._is_router(scope.metadata):
            return _is_flooded(flow.match, _FLOODED_TO_ROUTERS)
        from_network = (scope.metadata, scope.reg14 or 0) in self.patch_keys
        return from_network and _is_flooded(flow.match, _FLOODED)

    def _is_router(self, datapath: int) -> bool:
        """Tell by its flows for what comes in; without any, by that no port of it is here."""
        if datapath in self.logical.switches:
            return False
        return datapath in self.logical.routers or datapath not in self._with_ports

    @cached_property
    def _with_ports(self) -> frozenset[int]:
        """Datapaths that have a port here that is no patch port: they are no routers."""
        return frozenset(datapath for datapath, _key in self.ports)

    def attribute(self, flow: Flow) -> Owner | None:
        """By the logical port that packets go out by, else come in by, else by in_port."""
        scope = flow.scope
        if scope.metadata is None:
            return self.sender(flow)
        for key, direction in (scope.reg15, TO_INSTANCE), (scope.reg14, FROM_INSTANCE):
            if key is not None:
                port = self.ports.get((scope.metadata, key))
                return None if port is None else (port, direction)
        return None


def recognise(
    bridge: Structure, release: str | None = None, *, by_datapath: bool = False
) -> Pipeline | None:
    """Tell whether this is OVN's: 0 -> 8, and flows for a datapath from there on.

    Args:
        bridge: Any.
        release: Of ovn-controller, ``23.03.1``: names stages; ``None`` while it is not known.
        by_datapath: Whether each datapath has stages of its own.
    """
    if LOG_INGRESS_PIPELINE not in bridge.continues.get(0, ()):
        return None
    if not any(
        flow.scope.metadata is not None
        for table, flows in bridge.tables.items()
        if table >= LOG_INGRESS_PIPELINE
        for flow in flows
    ):
        return None
    save_inport = next((table for table in SAVE_INPORT if _leads(bridge, table)), None)
    defaults = {} if save_inport is None else _defaults(bridge, save_inport)
    egress = defaults[max(defaults)] if defaults else None
    logical = find(bridge, egress, defaults, release, by_datapath=by_datapath)
    ports = {} if save_inport is None else _ports(bridge, save_inport + 1)
    local_output = max(defaults) - 1 if defaults else 0
    goes_on = bool(defaults) and any(
        effect.delivers and any(min(defaults) <= table <= local_output for table in effect.tables)
        for effects in bridge.effects.values()
        for effect in effects
    )
    return Ovn(
        NAME,
        {**_names(save_inport, defaults), **logical.names()},
        bridge.patch_ports,
        # One multicast flow sends every copy through the loopback check, the egress pipeline, and
        # by routers back into the ingress pipeline: all of it can be reached by copies, always.
        copies_share_tables=True,
        ports={key: port for key, port in ports.items() if port not in bridge.patch_ports},
        patch_keys=frozenset(key for key, port in ports.items() if port in bridge.patch_ports),
        log_to_phy=None if save_inport is None else save_inport + 1,
        check_loopback=max(defaults, default=None),
        tunnels_go_on=local_output if goes_on else None,
        logical=logical,
    )


def _is_flooded(match: str, flooded: re.Pattern[str]) -> bool:
    """Whether a match names packets that switches flood."""
    return flooded.search(match) is not None


def _leads(bridge: Structure, table: int) -> bool:
    default = bridge.default(table)
    return default is not None and default.tables == (table + 1,)


def _ports(bridge: Structure, log_to_phy: int) -> dict[tuple[int, int], int]:
    """Read which logical port each OpenFlow port is: LOG_TO_PHY sends to it."""
    return {
        (flow.scope.metadata, flow.scope.reg15): flow.output
        for flow in bridge.tables.get(log_to_phy, ())
        if flow.scope.metadata is not None
        and flow.scope.reg15 is not None
        and flow.output is not None
    }


def _defaults(bridge: Structure, save_inport: int) -> dict[int, int]:
    """Read where the tables of ovn-controller's own before SAVE_INPORT continue by default."""
    return {
        table: default.tables[0]
        for table in range(LOG_INGRESS_PIPELINE, save_inport)
        if (default := bridge.default(table)) is not None and len(default.tables) == 1
    }


def _names(save_inport: int | None, defaults: Mapping[int, int]) -> dict[int, str]:
    names = {0: "phy_to_log", LOG_INGRESS_PIPELINE: "log_ingress_pipeline"}
    if save_inport is not None:
        names |= dict(enumerate(BEYOND, save_inport))
    if defaults:
        last = max(defaults)
        names |= {defaults[last]: "log_egress_pipeline", last: "check_loopback"}
        names[last - 1] = "local_output"
        names |= _output_names(defaults, last - 1)
    return names


def _output_names(defaults: Mapping[int, int], local_output: int) -> dict[int, str]:
    """Name the tables before LOCAL_OUTPUT, by where each continues.

    20.03: 32 -> 33. 23.03: 37 -> 39, 38 -> 39, 39 -> 40. 25.09: 41 -> 43, 42 -> 43, 43 -> 44,
    44 -> 45. Two that continue to the same are those of large packets, and that is REMOTE_OUTPUT.
    """
    for (detect, target), (process, same) in pairwise(sorted(defaults.items())):
        if target == same == process + 1:
            names = {detect: "output_large_pkt_detect", process: "output_large_pkt_process"}
            names[target] = "remote_output"
            if defaults.get(target) == local_output - 1:
                names[local_output - 1] = "remote_vtep_output"
            return names
    first = local_output - 1
    return {first: "remote_output"} if defaults.get(first) == local_output else {}
