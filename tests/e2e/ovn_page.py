"""What a page says of an OVN node, beside what the commands of Open vSwitch and OVN say."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from lab.agent import Agent, Place
from lab.ovn import OvnCloud
from lab.ovn_central import OvnCentral
from lab.ovn_chassis import INTEGRATION_BRIDGE, Chassis
from lab.process import wait_until
from lab.recorded import Flow, parse_flows
from tests.e2e.page import Page, parse

PACKETS, ACLS = "ovn_logical_flow_packets_total", "ovn_acl_packets_total"
DROPPED = "ovs_flow_table_dropped_packets_total"
DROPPED_OF_INTERFACE = "ovs_interface_flow_dropped_packets_total"
UNATTRIBUTED = "ovs_flow_table_unattributed_packets_total"
UP = "dataplane_agent_source_up"
CONNECTED = "ovn_controller_southbound_database_connected"

ACL_STAGE = re.compile(r"ls_(in|out)_acl(_after_lb)?(_eval)?")
"""Where ACLs are evaluated; other stages are northd's own."""
BFD_STATES = ("admin_down", "down", "init", "up")
WAIT_SECONDS = 30.0

EVERY_SCRAPE_READS = {
    "DATAPLANE_AGENT_SCRAPE__SHARE_SECONDS": "0",
    "DATAPLANE_AGENT_FLOWS__DUTY_CYCLE": "1",
}


def agent_on(
    chassis: Chassis, *arguments: str, env: dict[str, str] | None = None, host: Place | None = None
) -> Agent:
    """Make the agent of a chassis, on it unless another place is given."""
    environment = {"DATAPLANE_AGENT_OVN__RUNDIR": str(chassis.ovn_rundir), **(env or {})}
    return Agent(chassis.switch.rundir, *arguments, env=environment, host=host or chassis)


def wait_for(agent: Agent, promise: Callable[[Page], bool], what: str) -> Page:
    """Scrape until the page is as promised, and return it."""

    def kept() -> Page | None:
        page = parse(agent.metrics())
        return page if promise(page) else None

    page = wait_until(kept, timeout=WAIT_SECONDS, what=what)
    assert page is not None
    return page


def counted(chassis: Chassis, agent: Agent) -> Page:
    """Scrape when every packet handled so far is on its flow."""
    chassis.switch.appctl("revalidator/wait")
    return parse(agent.metrics())


def growth(before: Page, after: Page, name: str) -> list[tuple[dict[str, str], int]]:
    """Return labels and growth of each series of packets that grew; a new one grew from 0."""
    start = {frozenset(labels.items()): value for labels, value in before.get(name, [])}
    now = after.get(name, [])
    assert start.keys() <= {frozenset(labels.items()) for labels, _ in now}, name
    grown = ((each, value - start.get(frozenset(each.items()), 0)) for each, value in now)
    return [(labels, int(value)) for labels, value in grown if value]


def table_names(page: Page) -> dict[tuple[str, str], list[str]]:
    """Return the names of tables by bridge and number: stages of switches, and of routers."""
    return {
        (labels["bridge"], labels["table"]): labels["name"].split("/")
        for labels, _ in page["ovs_flow_table_info"]
    }


def total(page: Page, name: str, **wanted: str) -> float:
    """Add up the series of a family with these labels."""
    return sum(v for labels, v in page.get(name, []) if wanted.items() <= labels.items())


# -- the commands ----------------------------------------------------------------------------------


def rows(printed: str) -> list[dict[str, Any]]:
    """Read ``--format=json list``: maps become dicts, sets lists, UUIDs text."""
    read = json.loads(printed)
    return [dict(zip(read["headings"], map(_plain, row), strict=True)) for row in read["data"]]


def _plain(cell: Any) -> Any:
    match cell:
        case ["map", pairs]:
            return dict(pairs)
        case ["set", members]:
            return [_plain(each) for each in members]
        case ["uuid", uuid]:
            return uuid
        case _:
            return cell


def switch_rows(chassis: Chassis, table: str) -> list[dict[str, Any]]:
    return rows(chassis.switch.vsctl("--format=json", "list", table))


def southbound_rows(central: OvnCentral, table: str) -> list[dict[str, Any]]:
    return rows(central.sbctl("--format=json", "list", table))


def northbound_rows(central: OvnCentral, table: str) -> list[dict[str, Any]]:
    return rows(central.nbctl("--format=json", "list", table))


def cookie_of(uuid: str) -> str:
    """Return the cookie of a logical flow's flows, as ovs-ofctl prints it."""
    return f"{int(uuid[:8], 16):#x}"


class LogicalFlow(NamedTuple):
    """A line of ``ovn-sbctl --uuid lflow-list``; one flow has a line for each of its datapaths.

    Attributes:
        cookie: Of its flows on every chassis, as ovs-ofctl prints it.
        datapath: Name of the switch or router.
    """

    cookie: str
    datapath: str
    pipeline: str
    table: int
    stage: str


_DATAPATH = re.compile(r'Datapath: "(\S+)".*  Pipeline: (\w+)')
_LOGICAL_FLOW = re.compile(r"  uuid=(0x\w+), table=(\d+) *\((\w+) *\), ")


def logical_flows(central: OvnCentral) -> Iterator[LogicalFlow]:
    """Read all of them.

    ```
    Datapath: "neutron-f5e2…" aka "selfservice" (a6c6f842-…)  Pipeline: ingress
      uuid=0x0b359030, table=4 (ls_out_acl         ), priority=2002 , match=(…), action=(…)
    ```
    """
    datapath = pipeline = ""
    for line in central.sbctl("--uuid", "lflow-list").splitlines():
        if head := _DATAPATH.match(line):
            datapath, pipeline = head[1], head[2]
        elif found := _LOGICAL_FLOW.match(line):
            cookie, table, stage = found.groups()
            yield LogicalFlow(cookie_of(cookie[2:]), datapath, pipeline, int(table), stage)


def dumped(chassis: Chassis, bridge: str = INTEGRATION_BRIDGE) -> list[Flow]:
    return parse_flows(chassis.switch.ofctl("--names", "dump-flows", bridge))


def acls_by_cookie(cloud: OvnCloud) -> dict[str, str]:
    """Return the UUID of the ACL that the flows of a cookie are made of."""
    return {
        cookie: row["_uuid"]
        for row in northbound_rows(cloud.central, "ACL")
        for cookie in cloud.central.cookies(row["_uuid"])
    }
