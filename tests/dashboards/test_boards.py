"""The boards are what the code writes, and ask for what there is, in the sense that they say."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.boards import BOARDS
from dashboards.build import JSON, stale
from tests.dashboards.meaning import (
    Metric,
    Reading,
    Vector,
    WrongError,
    emitted,
    recorded,
    selectors,
)
from tests.dashboards.questions import (
    TIMES,
    VARIABLE,
    Board,
    Question,
    boards,
    filled,
    panels,
    questions,
    values,
)

ALL_BOARDS, QUESTIONS, CHOICES = boards(), list(questions()), list(values())
ANYTHING = ("cluster", "bridge", "table", "netns", "instance_name", "domain")
CHOSEN = {**dict.fromkeys(ANYTHING, ".*"), "job": "dataplane-agent", "node": "compute01:10978"}
UNITS = {
    "packets/s": "pps",
    "bytes/s": "Bps",
    "count/s": "cps",
    "ratio": "percentunit",
    "s": "s",
    "bytes": "bytes",
    "timestamp of Grafana": "dateTimeFromNow",
    **dict.fromkeys(("packets", "count", "one"), "short"),
}
"""Of what an expression gives, what Grafana calls it."""
MORE_IS_BETTER = re.compile(r"hits|knew|^CPU$", re.IGNORECASE)
"""Parts of a whole without a bound that is known."""
GRID_WIDTH = 24
CONFIG_MAP_BYTES = 1 << 20
Panel = dict[str, Any]

every_board = pytest.mark.parametrize("board", ALL_BOARDS.values(), ids=ALL_BOARDS)
every_name = pytest.mark.parametrize("name", ALL_BOARDS)


@pytest.fixture(scope="module")
def own() -> dict[str, Metric]:
    """What the agents show."""
    return emitted()


@pytest.fixture(scope="module")
def of_rules() -> dict[str, Metric]:
    return recorded()


@pytest.fixture(scope="module")
def reading(own: dict[str, Metric], of_rules: dict[str, Metric]) -> Reading:
    return Reading({**own, **of_rules})


def asked(board: str) -> Iterator[Question]:
    """Yield what a board asks."""
    for question in QUESTIONS:
        if question.board == board:
            print(question)  # noqa: T201 - pytest shows it of a test that fails: it is the last
            yield question


def parsed(expr: str) -> promql.Expr:
    return promql.parse(filled(expr, CHOSEN))


def panel_of(question: Question) -> Panel:
    board = ALL_BOARDS[question.board]
    return next(each for each in panels(board) if each["title"] == question.panel)


# -- what is committed -----------------------------------------------------------------------------


def test_what_is_committed_is_what_the_code_writes() -> None:
    assert stale() == []
    assert set(ALL_BOARDS) == set(BOARDS)


@every_board
def test_a_board_survives_the_way_through_the_sdk(board: Board) -> None:
    register_default_plugins()
    again = json.dumps(Dashboard.from_json(board), cls=JSONEncoder, sort_keys=True)
    assert json.loads(again) == board


# -- what Grafana wants of a file ------------------------------------------------------------------


@every_board
def test_a_board_loads_from_a_file_without_an_edit(board: Board) -> None:
    assert re.fullmatch(r"dataplane-[a-z]{3,30}", board["uid"])
    assert board["schemaVersion"] >= 36
    assert not board.keys() & {"id", "__inputs", "__requires", "version", "iteration"}
    assert "${DS_" not in json.dumps(board)
    assert board["tags"] == ["dataplane-agent"]
    assert board["description"].endswith(".")
    assert len({each["uid"] for each in ALL_BOARDS.values()}) == len(ALL_BOARDS)


def test_all_boards_together_fit_into_one_config_map() -> None:
    """Which a sidecar reads, and which Kubernetes takes up to 1 MiB of."""
    assert sum(path.stat().st_size for path in JSON.iterdir()) < CONFIG_MAP_BYTES


@every_board
def test_panels_have_numbers_of_their_own_and_do_not_overlap(board: Board) -> None:
    ids = [each["id"] for each in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0
    taken: set[tuple[int, int]] = set()
    for each in board["panels"]:
        at = each["gridPos"]
        assert at["x"] + at["w"] <= GRID_WIDTH
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, each["title"]
        taken |= cells


@every_board
def test_rows_are_full(board: Board) -> None:
    """No holes on the right, but after the last panel of a row."""
    tops = Counter[int]()
    for each in board["panels"]:
        tops[each["gridPos"]["y"]] += each["gridPos"]["w"]
    starts = sorted(y for y, width in tops.items() if width < GRID_WIDTH)
    rows = sorted(each["gridPos"]["y"] for each in board["panels"] if each["type"] == "row")
    for y in starts:
        below = min((other for other in tops if other > y), default=None)
        assert below is None or below in rows, y


@every_board
def test_every_variable_that_is_used_is_there_and_the_other_way_round(board: Board) -> None:
    names = [each["name"] for each in board["templating"]["list"]]
    assert names[:3] == ["datasource", "cluster", "job"]
    used = set()
    for text in _texts({key: value for key, value in board.items() if key != "links"}):
        used |= {one or other for one, other in VARIABLE.findall(text)}
    internal = {each for each in used if each.startswith("__") or each.isdigit()}
    assert used - internal - TIMES.keys() == set(names)


def _texts(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for each in part.values():
            yield from _texts(each)
    elif isinstance(part, list):
        for each in part:
            yield from _texts(each)


@every_board
def test_everything_is_asked_of_the_chosen_data_source(board: Board) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels(board):
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
    for variable in board["templating"]["list"]:
        assert variable.get("datasource", chosen) == chosen


@every_board
def test_boards_lead_to_each_other_with_what_is_chosen_and_the_time(board: Board) -> None:
    (link,) = board["links"]
    assert (link["type"], link["tags"]) == ("dashboards", board["tags"])
    assert link["includeVars"]
    assert link["keepTime"]
    uids = {each["uid"]: each for each in ALL_BOARDS.values()}
    for url, names in _data_links(board):
        path, _, query = url.partition("?")
        assert "${__url_time_range}" in query
        assert {"${datasource:queryparam}", "${cluster:queryparam}", "${job:queryparam}"} <= set(
            query.split("&")
        )
        there = uids[path.removeprefix("/d/")]
        known = {each["name"] for each in there["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= known
        assert set(re.findall(r"__data\.fields\.(\w+)", query)) <= names


def _data_links(board: Board) -> Iterator[tuple[str, set[str]]]:
    """Yield each address on a board, and the names of the fields that it may take values of."""
    for panel in panels(board):
        yield from ((link["url"], set[str]()) for link in panel.get("links", ()))
        for override in panel["fieldConfig"]["overrides"]:
            for each in override["properties"]:
                if each["id"] == "links":
                    yield each["value"][0]["url"], _fields(panel)


def _fields(panel: Panel) -> set[str]:
    found = (x["options"] for x in panel["transformations"] if x["id"] == "filterFieldsByName")
    return set(next(found)["include"]["names"])


def test_the_fleet_leads_to_a_node_and_a_node_to_its_flows() -> None:
    ways = {
        (name, url.partition("?")[0].removeprefix("/d/dataplane-"))
        for name, board in ALL_BOARDS.items()
        for url, _ in _data_links(board)
    }
    assert {("fleet", "node"), ("node", "flows"), ("node", "instances")} <= ways


# -- what a person reads ---------------------------------------------------------------------------


@every_board
def test_every_panel_says_what_it_is(board: Board) -> None:
    titles = Counter(each["title"] for each in panels(board))
    assert titles.most_common(1)[0][1] == 1
    for panel in panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        steps = defaults["thresholds"]["steps"]
        assert steps[0]["value"] is None, panel["title"]
        if defaults["unit"] == "percentunit" and not MORE_IS_BETTER.search(panel["title"]):
            assert len(steps) > 1, panel["title"]
    for variable in board["templating"]["list"]:
        assert variable["label"]
        assert variable["description"].endswith(".")


@every_name
def test_a_legend_names_labels_that_there_are(name: str, reading: Reading) -> None:
    for question in asked(name):
        given = reading.of(parsed(question.expr)).labels or frozenset()
        panel = panel_of(question)
        named = set(re.findall(r"\{\{(\w+)\}\}", question.legend))
        assert named <= given
        if panel["type"] in {"timeseries", "state-timeline"}:
            assert question.legend


@every_board
def test_columns_of_a_table_are_there(board: Board, reading: Reading) -> None:
    for panel in panels(board):
        if panel["type"] != "table":
            continue
        refs = [target["refId"] for target in panel["targets"]]
        known = {"Value"} if len(refs) == 1 else {f"Value #{ref}" for ref in refs}
        for target in panel["targets"]:
            known |= reading.of(parsed(target["expr"])).labels or set()
        assert _fields(panel) <= known, panel["title"]
        named = set(_columns(panel).values())
        for override in panel["fieldConfig"]["overrides"]:
            assert override["matcher"]["options"] in named, panel["title"]


def _columns(panel: Panel) -> dict[str, str]:
    """Return the titles of columns by what they show."""
    found = (each["options"] for each in panel["transformations"] if each["id"] == "organize")
    titles: dict[str, str] = next(found)["renameByName"]
    return titles


# -- what is asked ---------------------------------------------------------------------------------


@every_name
def test_a_query_asks_for_what_there_is(name: str, reading: Reading) -> None:
    """Metrics, labels in selectors, by, on and group; growth of counters and of nothing else."""
    for question in asked(name):
        assert reading.of(parsed(question.expr)).unit in UNITS


@every_name
def test_every_selector_names_cluster_and_job(name: str, own: dict[str, Metric]) -> None:
    for question in asked(name):
        found = list(
            selectors(promql.parse(filled(question.expr, {**CHOSEN, "cluster": "CLUSTER"})))
        )
        assert found
        for selector in found:
            matchers = {each.name: each.value for each in selector.matchers.matchers}
            assert matchers["cluster"] == "CLUSTER"
            assert matchers["job"] == CHOSEN["job"]
            assert question.board != "fleet" or selector.name not in own


def test_the_fleet_is_made_of_recording_rules_alone(of_rules: dict[str, Metric]) -> None:
    asked = [x.expr for x in QUESTIONS if x.board == "fleet"]
    asked += [x.selector for x in CHOICES if x.board == "fleet"]
    assert {found.name for expr in asked for found in selectors(parsed(expr))} <= of_rules.keys()


def test_a_variable_asks_for_what_there_is(reading: Reading) -> None:
    for choice in CHOICES:
        expr = parsed(choice.selector)
        assert choice.label in (reading.of(expr).labels or ()), choice
        (selector,) = selectors(expr)
        named = {each.name for each in selector.matchers.matchers}
        assert choice.variable in {"cluster", "job"} or {"cluster", "job"} <= named, choice


@every_name
def test_a_value_has_its_unit(name: str, reading: Reading) -> None:
    for question in asked(name):
        unit = UNITS[reading.of(parsed(question.expr)).unit]
        panel = panel_of(question)
        if panel["type"] != "table":
            assert panel["fieldConfig"]["defaults"]["unit"] == unit
            continue
        value = "Value" if len(panel["targets"]) == 1 else f"Value #{question.ref}"
        title = _columns(panel).get(value)
        if title is None:
            continue  # it brings labels
        shown = {
            each["matcher"]["options"]: prop["value"]
            for each in panel["fieldConfig"]["overrides"]
            for prop in each["properties"]
            if prop["id"] == "unit"
        }
        assert shown.get(title, panel["fieldConfig"]["defaults"]["unit"]) == unit


# -- rx and tx -------------------------------------------------------------------------------------

RX, TX, FROM, TO = "rx", "tx", "from the instance", "to the instance"
WORDS = {
    RX: r"\brx\b|receive",
    TX: r"\btx\b|transmit|\bsent (?!up)",
    FROM: r"\bfrom (the )?instances?\b",
    TO: r"\bto (the )?instances?\b",
}
SENSES = {
    re.compile(r"_rx_"): {RX, FROM},
    re.compile(r"_tx_"): {TX, TO},
    # libvirt has them in the instance's own sense
    re.compile(r"_receive_"): {RX, TO},
    re.compile(r"_transmit_"): {TX, FROM},
}
DIRECTIONS = {"from_instance": {FROM}, "to_instance": {TO}, "rx": {RX}, "tx": {TX}}


def senses(selector: promql.VectorSelector) -> set[str]:
    """Return the words that are true of what a metric counts; none where it counts either."""
    for matcher in selector.matchers.matchers:
        if matcher.name == "direction":
            return DIRECTIONS[matcher.value]
    return next((true for name, true in SENSES.items() if name.search(selector.name or "")), set())


def is_called_wrong(text: str, selector: promql.VectorSelector) -> bool:
    """Return whether a text says of what is counted another direction than it has, or none."""
    said = {word for word, pattern in WORDS.items() if re.search(pattern, text, re.IGNORECASE)}
    true = senses(selector)
    return bool(true) and not (said and said <= true)


@every_name
def test_a_direction_is_called_what_it_is(name: str) -> None:
    for question in asked(name):
        panel = panel_of(question)
        text = f"{question.panel} {question.legend}"
        if panel["type"] == "table":
            text += " " + _columns(panel).get(f"Value #{question.ref}", "")
        wrong = [x for x in selectors(parsed(question.expr)) if is_called_wrong(text, x)]
        assert wrong == []


@every_name
def test_what_has_directions_says_of_each_which(name: str, reading: Reading) -> None:
    for question in asked(name):
        given = reading.of(parsed(question.expr)).labels or frozenset()
        panel = panel_of(question)
        shown = (
            _fields(panel) if panel["type"] == "table" else set(re.findall(r"\w+", question.legend))
        )
        of_one = any("direction=" in str(each) for each in selectors(parsed(question.expr)))
        brings_labels = panel["type"] == "table" and "Value" not in str(_fields(panel))
        assert "direction" not in given or "direction" in shown or of_one or brings_labels


# -- what the checks above would see ---------------------------------------------------------------


@pytest.mark.parametrize(
    "expr",
    [
        "ovs_no_such_metric",
        'ovs_flow_packets_total{interface="tap0"}',
        "ovs_flow_packets_total",
        "rate(ovs_bridge_flows[5m])",
        "max_over_time(ovs_flow_packets_total[5m])",
        "sum by (interface) (rate(ovs_flow_packets_total[5m]))",
        "rate(ovs_flow_packets_total[5m]) * on (instance, interface) ovs_interface_info",
        "rate(ovs_flow_packets_total[5m]) * on (instance, bridge) group_left (mac) ovs_bridge_info",
        "ovs_upcall_flows / ovs_bridge_flows",
        "rate(ovs_flow_packets_total[5m]) + rate(ovs_flow_bytes_total[5m])",
        'label_replace(ovs_bridge_info, "a", "$1", "interface", "(.+)")',
    ],
)
def test_what_is_wrong_is_seen(expr: str, reading: Reading) -> None:
    with pytest.raises(WrongError):
        reading.of(promql.parse(expr))


def test_a_join_brings_its_labels_and_keeps_the_unit(reading: Reading) -> None:
    expr = (
        "sum by (instance, bridge, name) (rate(ovs_flow_table_dropped_packets_total[5m])"
        " * on (instance, bridge, table) group_left (name) ovs_flow_table_info)"
    )
    found = Vector(frozenset({"instance", "bridge", "name"}), "packets/s")
    assert reading.of(promql.parse(expr)) == found


@pytest.mark.parametrize(
    ("title", "selector"),
    [
        ("Traffic", "ovs_interface_rx_bytes_total"),
        ("Transmitted by the instance", "ovs_interface_rx_bytes_total"),
        ("Received by the instance", "libvirt_domain_interface_stats_transmit_bytes_total"),
        ("From the instance", "libvirt_domain_interface_stats_receive_bytes_total"),
        ("To the instance", 'ovs_interface_flow_dropped_packets_total{direction="from_instance"}'),
        ("Sent by devices (tx)", "netns_network_rx_bytes_total"),
        ("To instances, their rx", "ovs_interface_tx_bytes_total"),
    ],
)
def test_a_wrong_direction_is_seen(title: str, selector: str) -> None:
    (parsed_selector,) = selectors(promql.parse(selector))
    assert is_called_wrong(title, parsed_selector)
