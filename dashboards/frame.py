"""What is around the panels of a board: its name, variables, links, rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.panels import DATASOURCE
from dashboards.promql import CLUSTER, FLEET, level

TAG = "dataplane-agent"
PREFIX = "dataplane-"
EVERY_NODE = "dataplane_agent_build_info"
"""What every agent shows."""
KEPT = "${datasource:queryparam}&${cluster:queryparam}&${job:queryparam}"
ALL = model.VariableOption(selected=True, text=["All"], value=["$__all"])

Panel = Builder[model.Panel]
Variable = Builder[model.VariableModel]


@dataclass(frozen=True, slots=True)
class Row:
    """Panels with a heading."""

    title: str
    panels: Sequence[Panel]


def chosen(name: str, label: str, about: str, query: str) -> dashboard.QueryVariable:
    """Make a variable of which one value is chosen, the first unless somebody chooses another.

    Args:
        name: In queries and in addresses.
        label: Before its values.
        about: What it chooses.
        query: ``label_values(SELECTOR, LABEL)``.
    """
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(about)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": "StandardVariableQuery"})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def several(name: str, label: str, about: str, query: str) -> dashboard.QueryVariable:
    """Make a variable of which any number may be chosen, all that there are at first."""
    one = chosen(name, label, about, query).multi(multi=True)
    return one.include_all(include_all=True).current(ALL)


def any_of(name: str, label: str, about: str, query: str) -> dashboard.QueryVariable:
    """Make one like it where all is ``.*``: also what lacks the label."""
    return several(name, label, about, query).all_value(".*")


def whose(metric: str = EVERY_NODE) -> list[Variable]:
    """Make the variables of every board: data source, cluster, job.

    All jobs are those that there are, not ``.*``: other exporters use some of the names, too.

    Args:
        metric: What clusters and jobs are read from.
    """
    return [
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .description("The Prometheus that has the agents' metrics.")
        .type("prometheus"),
        any_of(
            "cluster",
            "Cluster",
            "Value of the label cluster, where there is one.",
            f"label_values({metric}, cluster)",
        ),
        several(
            "job",
            "Job",
            "Jobs of Prometheus that scrape the agents.",
            f"label_values({level(metric, of=(CLUSTER,))}, job)",
        ),
    ]


NODES = f"label_values({level(EVERY_NODE, of=FLEET)}, instance)"


def one_node() -> Variable:
    """Make the variable of a board that shows one node."""
    return chosen("node", "Node", "The agent's address, as Prometheus scrapes it.", NODES)


def few_nodes() -> Variable:
    """Make the variable of a board whose series grow with the square of the nodes."""
    about = "The agents' addresses, as Prometheus scrapes them; several may be chosen."
    return chosen("node", "Nodes", about, NODES).multi(multi=True)


def nodes() -> Variable:
    """Make the variable of a board that shows any number of nodes."""
    return any_of("node", "Nodes", "The agents' addresses, as Prometheus scrapes them.", NODES)


def to(name: str, **variables: str) -> str:
    """Return the address of another board, with the time that is shown and what is chosen here.

    Args:
        name: Of the board.
        variables: What to choose there: ``node="${__data.fields.instance}"``.
    """
    more = "".join(f"&var-{variable}={value}" for variable, value in variables.items())
    return f"/d/{PREFIX}{name}?{KEPT}{more}&${{__url_time_range}}"


def board(
    name: str, title: str, about: str, variables: Sequence[Variable], rows: Sequence[Row]
) -> model.Dashboard:
    """Make a board.

    Args:
        name: Last part of its uid, and name of its file.
        title: Its title, after the agent's name.
        about: What it is for.
        variables: In their order.
        rows: In their order.
    """
    links = (
        dashboard.DashboardLink(TAG)
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .tooltip("The other boards, with what is chosen here and the same time.")
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
        .as_dropdown(as_dropdown=False)
        .target_blank(target_blank=False)
        .icon("external link")
        .url("")
    )
    frame = (
        dashboard.Dashboard(f"Dataplane / {title}")
        .uid(PREFIX + name)
        .description(about)
        .tags([TAG])
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("1m")
        .editable()
        .links([links])
        .variables(list(variables))
    )
    for row in rows:
        frame = frame.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            frame = frame.with_panel(panel)
    made = frame.build()
    for number, each in zip(count(1), made.panels or (), strict=False):
        each.id_val = number
    return made
