"""The kinds of panels that boards are made of; each has a title, a text, a unit and thresholds.

A gap in a line means that nobody has read the value (the agent leaves out what it did not read),
so lines are never drawn over one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PACKETS, BYTES_A_SECOND, EVENTS = (
    units.PacketsPerSecond,
    units.BytesPerSecondSI,
    units.CountsPerSecond,
)
SECONDS, BYTES, SHARE, COUNT = units.Seconds, units.BytesIEC, units.PercentUnit, units.Short
SINCE = units.DateTimeFromNow

Target = Builder[Dataquery]
Query = tuple[str, str]
"""An expression, and the legend of its series."""
Steps = Sequence[tuple[float, str]]
"""Bounds that are known: from this value on it has this color."""
States = Mapping[int, tuple[str, str]]
"""Text and color of each value."""

GOOD, WARN, BAD, NEUTRAL = "green", "orange", "red", "text"
LOSS: Steps = ((0.001, BAD),)
"""Of what should not be lost at all."""
ONE: Steps = ((1, BAD),)
FULL: Steps = ((0.8, WARN), (0.95, BAD))
"""Of the share of a limit that is used."""
UP_OR_DOWN: States = {0: ("down", BAD), 1: ("up", GOOD)}
YES_OR_NO: States = {0: ("no", BAD), 1: ("yes", GOOD)}
BFD: States = {
    0: ("switched off", NEUTRAL),
    1: ("down", BAD),
    2: ("init", WARN),
    3: ("up", GOOD),
}

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
ALL_WIDTH, HALF, THIRD, QUARTER = 24, 12, 8, 6
GRAPH_HEIGHT, TABLE_HEIGHT, STAT_HEIGHT = 8, 9, 4


def graph(
    title: str, about: str, unit: str, *queries: Query, bounds: Steps = ()
) -> timeseries.Panel:
    """Draw lines; bounds are drawn as dashed lines."""
    legend = (
        common.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(options.LegendDisplayMode.TABLE)
        .placement(options.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )
    tooltip = (
        common.VizTooltipOptions()
        .mode(options.TooltipDisplayMode.MULTI)
        .sort(options.SortOrder.DESCENDING)
    )
    mode = options.GraphTresholdsStyleMode.DASHED if bounds else options.GraphTresholdsStyleMode.OFF
    return (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .targets(_targets(queries))
        .unit(unit)
        .min(0)
        .thresholds(_thresholds(bounds))
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(mode))
        .legend(legend)
        .tooltip(tooltip)
        .fill_opacity(10)
        .show_points(options.VisibilityMode.AUTO)
        .span_nulls(span_nulls=False)
        .span(THIRD)
        .height(GRAPH_HEIGHT)
    )


def share(title: str, about: str, *queries: Query, bounds: Steps = ()) -> timeseries.Panel:
    """Draw parts of a whole, from 0 to 1."""
    return graph(title, about, SHARE, *queries, bounds=bounds).max(1)


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Put the lines on top of each other."""
    stacking = common.StackingConfig().mode(options.StackingMode.NORMAL)
    return panel.stacking(stacking).fill_opacity(60)


def leading(panel: timeseries.Panel, **ways: str) -> timeseries.Panel:
    """Put links to other boards above it: their titles, and their addresses."""
    return panel.links(
        [
            dashboard.DashboardLink(title).type(model.DashboardLinkType.LINK).url(url)
            for title, url in ways.items()
        ]
    )


def number(title: str, about: str, unit: str, expr: str, bounds: Steps = ()) -> stat.Panel:
    """Write one number, or one for each series."""
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .targets([_target("A", expr).instant()])
        .unit(unit)
        .thresholds(_thresholds(bounds))
        .color_mode(options.BigValueColorMode.VALUE)
        .graph_mode(options.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
        .span(QUARTER)
        .height(STAT_HEIGHT)
    )


def states(title: str, about: str, texts: States, *queries: Query) -> statetimeline.Panel:
    """Draw when something was in which state."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .targets(_targets(queries))
        .unit(COUNT)
        .thresholds(_thresholds(()))
        .mappings([_mapping(texts)])
        .show_value(options.VisibilityMode.NEVER)
        .row_height(0.8)
        .fill_opacity(80)
        .legend(common.VizLegendOptions().show_legend(show_legend=True))
        .span(HALF)
        .height(GRAPH_HEIGHT)
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, in the order they are given in.

    Attributes:
        of: A label, or ``Value`` of the only query, or ``Value #B`` of one of several.
        title: Above it.
        unit: Of a value.
        bounds: Of a value; the cell has their color.
        texts: Of a value that is a state.
        link: Where a click leads.
    """

    of: str
    title: str
    unit: str = ""
    bounds: Steps = ()
    texts: States | None = None
    link: str = ""

    def properties(self) -> list[model.DynamicConfigValue]:
        """Return what is different from other columns."""
        found: list[model.DynamicConfigValue] = []
        if self.unit:
            found.append(model.DynamicConfigValue(id_val="unit", value=self.unit))
        if self.texts:
            found.append(model.DynamicConfigValue("mappings", [_mapping(self.texts)]))
        if self.bounds:
            found.append(model.DynamicConfigValue("thresholds", _thresholds(self.bounds).build()))
        if self.bounds or self.texts:
            found.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
        if self.link:
            links = [{"title": "Look there", "url": self.link}]
            found.append(model.DynamicConfigValue("links", links))
        return found


def table(
    title: str, about: str, queries: str | Sequence[str], *columns: Column, sort: str = ""
) -> tables.Panel:
    """Write rows: labels, and the values of queries that have these labels.

    Args:
        title: Above it.
        about: What it shows.
        queries: Of several, rows that agree in all labels that all have become one.
        columns: What is shown of it.
        sort: Title of the column that is sorted by, largest first.
    """
    queries = [queries] if isinstance(queries, str) else queries
    panel = (
        tables.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .targets([_row(name, expr) for name, expr in zip(ascii_uppercase, queries, strict=False)])
        .unit(COUNT)
        .thresholds(_thresholds(()))
        .transformations(_shown(columns, several=len(queries) > 1))
        .cell_height(options.TableCellHeight.SM)
        .span(ALL_WIDTH)
        .height(TABLE_HEIGHT)
    )
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(desc=True)])
    for column in columns:
        if properties := column.properties():
            panel = panel.override_by_name(column.title, properties)
    return panel


def _shown(columns: Sequence[Column], *, several: bool) -> list[model.DataTransformerConfig]:
    names = [column.of for column in columns]
    steps: list[tuple[str, dict[str, object]]] = [("merge", {})] if several else []
    steps += [
        ("filterFieldsByName", {"include": {"names": names}}),
        (
            "organize",
            {
                "excludeByName": {},
                "indexByName": {name: place for place, name in enumerate(names)},
                "renameByName": {column.of: column.title for column in columns},
            },
        ),
    ]
    return [model.DataTransformerConfig(id_val=name, options=how) for name, how in steps]


def _targets(queries: Sequence[Query]) -> list[Target]:
    return [_line(name, *query) for name, query in zip(ascii_uppercase, queries, strict=False)]


def _line(name: str, expr: str, legend: str) -> Target:
    return _target(name, expr).legend_format(legend).range()


def _row(name: str, expr: str) -> Target:
    return _target(name, expr).instant().format(PromQueryFormat.TABLE)


def _target(name: str, expr: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(name).expr(expr).datasource(DATASOURCE)


def _thresholds(bounds: Steps) -> dashboard.ThresholdsConfig:
    base = model.Threshold(value=None, color=GOOD if bounds else NEUTRAL)
    steps = [base, *(model.Threshold(value=value, color=color) for value, color in bounds)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _mapping(texts: States) -> model.ValueMap:
    places = count()
    return model.ValueMap(
        {
            str(value): model.ValueMappingResult(text=text, color=color, index=next(places))
            for value, (text, color) in texts.items()
        }
    )
