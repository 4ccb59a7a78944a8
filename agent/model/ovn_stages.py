"""Stages of OVN's logical pipelines by release: which number in a pipeline has which name.

PIPELINE_STAGES of northd/northd.h (before 24.03 northd/northd.c, before 21.09
northd/ovn-northd.c) at the tags v20.03.0 to v26.03.2, and 26.09.0 as it was recorded. Stages also
move in point releases, so a layout begins with a tag and holds to the next. Where the egress
pipeline begins among OpenFlow's tables is not here: it moved within 22.09, 22.12, 23.03 and 23.06,
and the flows themselves say it (``pipelines/ovn.py``).
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

Kind = Literal["switch", "router"]
PREFIXES: Mapping[tuple[str, str], str] = {
    ("switch", "ingress"): "ls_in_",
    ("switch", "egress"): "ls_out_",
    ("router", "ingress"): "lr_in_",
    ("router", "egress"): "lr_out_",
}
ACL_STAGES = re.compile(r"ls_(in|out)_acl(_after_lb)?(_eval)?")
"""Where ACLs are evaluated; ``_eval`` from 23.06 on, the drop being in ``_action``."""
ACL_PRIORITIES = range(1000, 33768)
"""Of an ACL's logical flows there: its own and OVN_ACL_PRI_OFFSET; others are northd's."""

_Release = tuple[int, ...]
_DEVELOPMENT = 90
"""26.03.90 is on its way to 26.09."""
_LAST: _Release = (26, 9)
"""The newest release whose stages are known, with all its point releases."""
_TEXT = """\
switch ingress 20.03.0: port_sec_l2 port_sec_ip port_sec_nd pre_acl pre_lb pre_stateful acl
  qos_mark qos_meter lb stateful pre_hairpin hairpin arp_rsp dhcp_options dhcp_response dns_lookup
  dns_response external_port l2_lkup
switch ingress 20.09.0: port_sec_l2 port_sec_ip port_sec_nd pre_acl pre_lb pre_stateful acl_hint
  acl qos_mark qos_meter lb stateful pre_hairpin hairpin arp_rsp dhcp_options dhcp_response
  dns_lookup dns_response external_port l2_lkup
switch ingress 20.12.0: port_sec_l2 port_sec_ip port_sec_nd pre_acl pre_lb pre_stateful acl_hint
  acl qos_mark qos_meter lb stateful pre_hairpin nat_hairpin hairpin arp_rsp dhcp_options
  dhcp_response dns_lookup dns_response external_port l2_lkup
switch ingress 21.03.0: port_sec_l2 port_sec_ip port_sec_nd lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl qos_mark qos_meter lb stateful pre_hairpin nat_hairpin hairpin arp_rsp
  dhcp_options dhcp_response dns_lookup dns_response external_port l2_lkup l2_unknown
switch ingress 21.06.0: port_sec_l2 port_sec_ip port_sec_nd lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl qos_mark qos_meter stateful pre_hairpin nat_hairpin hairpin arp_rsp
  dhcp_options dhcp_response dns_lookup dns_response external_port l2_lkup l2_unknown
switch ingress 21.12.1: port_sec_l2 port_sec_ip port_sec_nd lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl qos_mark qos_meter lb acl_after_lb stateful pre_hairpin nat_hairpin
  hairpin arp_rsp dhcp_options dhcp_response dns_lookup dns_response external_port l2_lkup
  l2_unknown
switch ingress 22.03.3: port_sec_l2 port_sec_ip port_sec_nd lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl qos_mark qos_meter lb pre_hairpin nat_hairpin hairpin acl_after_lb
  stateful arp_rsp dhcp_options dhcp_response dns_lookup dns_response external_port l2_lkup
  l2_unknown
switch ingress 22.06.0: check_port_sec apply_port_sec lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl qos_mark qos_meter lb acl_after_lb stateful pre_hairpin nat_hairpin
  hairpin arp_rsp dhcp_options dhcp_response dns_lookup dns_response external_port l2_lkup
  l2_unknown
switch ingress 22.09.2: check_port_sec apply_port_sec lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl qos_mark qos_meter lb pre_hairpin nat_hairpin hairpin acl_after_lb
  stateful arp_rsp dhcp_options dhcp_response dns_lookup dns_response external_port l2_lkup
  l2_unknown
switch ingress 22.12.0: check_port_sec apply_port_sec lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl qos_mark qos_meter lb_aff_check lb lb_aff_learn acl_after_lb stateful
  pre_hairpin nat_hairpin hairpin arp_rsp dhcp_options dhcp_response dns_lookup dns_response
  external_port l2_lkup l2_unknown
switch ingress 22.12.1: check_port_sec apply_port_sec lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl qos_mark qos_meter lb_aff_check lb lb_aff_learn pre_hairpin
  nat_hairpin hairpin acl_after_lb stateful arp_rsp dhcp_options dhcp_response dns_lookup
  dns_response external_port l2_lkup l2_unknown
switch ingress 23.06.0: check_port_sec apply_port_sec lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl_eval acl_action qos_mark qos_meter lb_aff_check lb lb_aff_learn
  pre_hairpin nat_hairpin hairpin acl_after_lb_eval acl_after_lb_action stateful arp_rsp
  dhcp_options dhcp_response dns_lookup dns_response external_port l2_lkup l2_unknown
switch ingress 24.09.0: check_port_sec apply_port_sec lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl_eval acl_sample acl_action qos lb_aff_check lb lb_aff_learn
  pre_hairpin nat_hairpin hairpin acl_after_lb_eval acl_after_lb_sample acl_after_lb_action
  stateful arp_rsp dhcp_options dhcp_response dns_lookup dns_response external_port l2_lkup
  l2_unknown
switch ingress 25.09.0: check_port_sec apply_port_sec mirror lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl_eval acl_sample acl_action qos ct_extract lb_aff_check lb lb_aff_learn
  pre_hairpin nat_hairpin hairpin acl_after_lb_eval acl_after_lb_sample acl_after_lb_action
  stateful arp_rsp dhcp_options dhcp_response dns_lookup dns_response external_port l2_lkup
  l2_unknown
switch ingress 26.03.0: check_port_sec apply_port_sec mirror lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl_eval acl_sample acl_action qos ct_extract lb_aff_check lb lb_aff_learn
  pre_hairpin nat_hairpin hairpin acl_after_lb_eval acl_after_lb_sample acl_after_lb_action
  pre_network_function stateful network_function arp_rsp dhcp_options dhcp_response dns_lookup
  dns_response external_port l2_lkup l2_unknown
switch ingress 26.9.0: check_port_sec apply_port_sec mirror lookup_fdb put_fdb pre_acl pre_lb
  pre_stateful acl_hint acl_eval acl_sample acl_action qos ct_extract lb_aff_check lb lb_aff_learn
  pre_hairpin nat_hairpin hairpin acl_after_lb_eval acl_after_lb_sample acl_after_lb_action
  pre_network_function stateful network_function arp_nd_pre_lookup arp_rsp dhcp_options
  dhcp_response dns_lookup dns_response external_port l2_lkup l2_unknown
switch egress 20.03.0: pre_lb pre_acl pre_stateful lb acl qos_mark qos_meter stateful
  port_sec_ip port_sec_l2
switch egress 20.09.0: pre_lb pre_acl pre_stateful lb acl_hint acl qos_mark qos_meter stateful
  port_sec_ip port_sec_l2
switch egress 21.06.0: pre_lb pre_acl pre_stateful acl_hint acl qos_mark qos_meter stateful
  port_sec_ip port_sec_l2
switch egress 22.03.3: pre_acl pre_lb pre_stateful acl_hint acl qos_mark qos_meter stateful
  port_sec_ip port_sec_l2
switch egress 22.06.0: pre_lb pre_acl pre_stateful acl_hint acl qos_mark qos_meter stateful
  check_port_sec apply_port_sec
switch egress 22.09.2: pre_acl pre_lb pre_stateful acl_hint acl qos_mark qos_meter stateful
  check_port_sec apply_port_sec
switch egress 22.12.0: pre_lb pre_acl pre_stateful acl_hint acl qos_mark qos_meter stateful
  check_port_sec apply_port_sec
switch egress 22.12.1: pre_acl pre_lb pre_stateful acl_hint acl qos_mark qos_meter stateful
  check_port_sec apply_port_sec
switch egress 23.06.0: pre_acl pre_lb pre_stateful acl_hint acl_eval acl_action qos_mark
  qos_meter stateful check_port_sec apply_port_sec
switch egress 24.09.0: pre_acl pre_lb pre_stateful acl_hint acl_eval acl_sample acl_action qos
  stateful check_port_sec apply_port_sec
switch egress 25.03.0: lookup_fdb put_fdb pre_acl pre_lb pre_stateful acl_hint acl_eval
  acl_sample acl_action qos stateful check_port_sec apply_port_sec
switch egress 25.09.0: lookup_fdb put_fdb pre_acl pre_lb pre_stateful acl_hint acl_eval
  acl_sample acl_action mirror qos stateful check_port_sec apply_port_sec
switch egress 26.03.0: lookup_fdb put_fdb pre_acl pre_lb pre_stateful acl_hint acl_eval
  acl_sample acl_action mirror qos pre_network_function stateful network_function check_port_sec
  apply_port_sec
router ingress 20.03.0: admission lookup_neighbor learn_neighbor ip_input defrag unsnat dnat
  nd_ra_options nd_ra_response ip_routing ip_routing_ecmp policy arp_resolve chk_pkt_len
  larger_pkts gw_redirect arp_request
router ingress 20.09.0: admission lookup_neighbor learn_neighbor ip_input defrag unsnat dnat
  ecmp_stateful nd_ra_options nd_ra_response ip_routing ip_routing_ecmp policy arp_resolve
  chk_pkt_len larger_pkts gw_redirect arp_request
router ingress 21.03.0: admission lookup_neighbor learn_neighbor ip_input defrag unsnat dnat
  ecmp_stateful nd_ra_options nd_ra_response ip_routing ip_routing_ecmp policy policy_ecmp
  arp_resolve chk_pkt_len larger_pkts gw_redirect arp_request
router ingress 21.09.0: admission lookup_neighbor learn_neighbor ip_input unsnat defrag dnat
  ecmp_stateful nd_ra_options nd_ra_response ip_routing ip_routing_ecmp policy policy_ecmp
  arp_resolve chk_pkt_len larger_pkts gw_redirect arp_request
router ingress 21.12.0: admission lookup_neighbor learn_neighbor ip_input unsnat defrag dnat
  ecmp_stateful nd_ra_options nd_ra_response ip_routing_pre ip_routing ip_routing_ecmp policy
  policy_ecmp arp_resolve chk_pkt_len larger_pkts gw_redirect arp_request
router ingress 22.12.0: admission lookup_neighbor learn_neighbor ip_input unsnat defrag
  lb_aff_check dnat lb_aff_learn ecmp_stateful nd_ra_options nd_ra_response ip_routing_pre
  ip_routing ip_routing_ecmp policy policy_ecmp arp_resolve chk_pkt_len larger_pkts gw_redirect
  arp_request
router ingress 24.03.6: admission lookup_neighbor learn_neighbor ip_input unsnat defrag
  lb_aff_check dnat lb_aff_learn ecmp_stateful nd_ra_options nd_ra_response ip_routing_pre
  ip_routing ip_routing_ecmp policy policy_ecmp arp_resolve chk_pkt_len larger_pkts gw_redirect
  network_id arp_request
router ingress 24.09.0: admission lookup_neighbor learn_neighbor ip_input dhcp_relay_req unsnat
  defrag lb_aff_check dnat lb_aff_learn ecmp_stateful nd_ra_options nd_ra_response ip_routing_pre
  ip_routing ip_routing_ecmp policy policy_ecmp dhcp_relay_resp_chk dhcp_relay_resp arp_resolve
  chk_pkt_len larger_pkts gw_redirect arp_request
router ingress 24.09.3: admission lookup_neighbor learn_neighbor ip_input dhcp_relay_req unsnat
  defrag lb_aff_check dnat lb_aff_learn ecmp_stateful nd_ra_options nd_ra_response ip_routing_pre
  ip_routing ip_routing_ecmp policy policy_ecmp dhcp_relay_resp_chk dhcp_relay_resp arp_resolve
  chk_pkt_len larger_pkts gw_redirect network_id arp_request
router ingress 25.03.0: admission lookup_neighbor learn_neighbor ip_input dhcp_relay_req unsnat
  post_unsnat defrag lb_aff_check dnat lb_aff_learn ecmp_stateful nd_ra_options nd_ra_response
  ip_routing_pre ip_routing ip_routing_ecmp policy policy_ecmp dhcp_relay_resp_chk dhcp_relay_resp
  arp_resolve chk_pkt_len larger_pkts gw_redirect arp_request
router ingress 25.03.1: admission lookup_neighbor learn_neighbor ip_input dhcp_relay_req unsnat
  post_unsnat defrag lb_aff_check dnat lb_aff_learn ecmp_stateful nd_ra_options nd_ra_response
  ip_routing_pre ip_routing ip_routing_ecmp policy policy_ecmp dhcp_relay_resp_chk dhcp_relay_resp
  arp_resolve chk_pkt_len larger_pkts gw_redirect network_id arp_request
router ingress 25.03.3: admission lookup_neighbor learn_neighbor ip_input dhcp_relay_req unsnat
  post_unsnat defrag lb_aff_check dnat lb_aff_learn ecmp_stateful nd_ra_options nd_ra_response
  ip_routing_pre ip_routing ip_routing_ecmp policy policy_ecmp dhcp_relay_resp_chk dhcp_relay_resp
  arp_resolve chk_pkt_len larger_pkts gw_redirect network_id arp_request ecmp_stateful_egr
router ingress 25.09.0: admission lookup_neighbor learn_neighbor ip_input dhcp_relay_req unsnat
  post_unsnat defrag ct_extract lb_aff_check dnat lb_aff_learn ecmp_stateful nd_ra_options
  nd_ra_response ip_routing_pre ip_routing ip_routing_ecmp policy policy_ecmp dhcp_relay_resp_chk
  dhcp_relay_resp arp_resolve chk_pkt_len larger_pkts gw_redirect network_id arp_request
router ingress 25.09.3: admission lookup_neighbor learn_neighbor ip_input dhcp_relay_req unsnat
  post_unsnat defrag ct_extract lb_aff_check dnat lb_aff_learn ecmp_stateful nd_ra_options
  nd_ra_response ip_routing_pre ip_routing ip_routing_ecmp policy policy_ecmp dhcp_relay_resp_chk
  dhcp_relay_resp arp_resolve chk_pkt_len larger_pkts gw_redirect network_id arp_request
  ecmp_stateful_egr
router egress 20.03.0: undnat snat egr_loop delivery
router egress 21.09.0: undnat post_undnat snat egr_loop delivery
router egress 21.12.0: chk_dnat_local undnat post_undnat snat post_snat egr_loop delivery
"""
"""Since which tag, and the names in order without their prefix; a line that is indented goes on."""
_NUMBERS = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")


def _layouts() -> Mapping[tuple[str, str], tuple[tuple[_Release, tuple[str, ...]], ...]]:
    found: dict[tuple[str, str], tuple[tuple[_Release, tuple[str, ...]], ...]] = {}
    for line in _TEXT.replace("\n  ", " ").splitlines():
        head, _, names = line.partition(": ")
        kind, pipeline, since = head.split()
        prefix = PREFIXES[kind, pipeline]
        layout = _numbers(since), tuple(prefix + name for name in names.split())
        found[kind, pipeline] = (*found.get((kind, pipeline), ()), layout)
    return found


def _numbers(release: str) -> _Release:
    found = _NUMBERS.match(release)
    return tuple(int(number or 0) for number in found.groups()) if found else ()


_LAYOUTS = _layouts()


@lru_cache(maxsize=256)
def stages(release: str, kind: str, pipeline: str) -> tuple[str, ...]:
    """Return the names of a pipeline's stages in order; empty for a release that is not known.

    Args:
        release: ``23.03.1``, as ovn-controller's ``version`` says.
        kind: ``switch`` or ``router``.
        pipeline: ``ingress`` or ``egress``.
    """
    numbers, layouts = _numbers(release), _LAYOUTS.get((kind, pipeline), ())
    if not numbers or numbers[:2] > _LAST or numbers[-1] >= _DEVELOPMENT:
        return ()
    place = bisect_right([since for since, _ in layouts], numbers) - 1
    return layouts[place][1] if place >= 0 else ()


def stage_name(release: str, kind: str, pipeline: str, table_id: int) -> str:
    """Return a stage's name; ``ls_in_7`` where the release is not known, or has no such stage."""
    names = stages(release, kind, pipeline)
    return names[table_id] if table_id < len(names) else f"{PREFIXES[kind, pipeline]}{table_id}"
