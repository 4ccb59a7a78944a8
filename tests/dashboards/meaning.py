"""What an expression of PromQL gives: which labels, and of what unit; and what is wrong with it.

Labels are those that a series can have; every one can also have those of its target.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import singledispatchmethod

import promql_parser as promql
import yaml

from agent.catalogue import families
from dashboards.build import RULES

TARGET = frozenset({"cluster", "job", "instance"})
GROWTH = {"rate", "irate", "increase"}
NOTHING = "nothing"
"""Unit of 0 times anything."""
FILTERS = {"and", "unless"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
PACKETS = re.compile(
    r"(_packets|_dropped|_drops|_errors|_lookup_(hits|missed|lost)|_table_(lookups|matches)"
    r"|_mask_cache_hits|_resets)_total"
)
CONNECTIONS = re.compile(r"netns_conntrack_\w+")


class WrongError(AssertionError):
    """An expression does not do what it seems to."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What is known of a name.

    Attributes:
        labels: Of its series.
        unit: Of its values: packets, bytes, s, timestamp, count, one (always 1), or a ratio.
        counter: Whether only its growth says anything.
    """

    labels: frozenset[str]
    unit: str
    counter: bool = False


@dataclass(frozen=True, slots=True)
class Vector:
    """What an expression gives; without labels, ``None``, one number."""

    labels: frozenset[str] | None
    unit: str


def emitted() -> dict[str, Metric]:
    """Return all that an agent can show."""
    found = {}
    for _, family in families():
        labels = frozenset(family.labels) | TARGET
        counter = family.kind in {"counter", "summary"}
        ends = ("_sum", "_count") if family.kind == "summary" else ("",)
        for end in ends:
            name = family.name + end
            found[name] = Metric(labels, _unit_of(name, counter=counter), counter)
    return found


def _unit_of(name: str, *, counter: bool) -> str:
    if counter:
        if name.endswith("_bytes_total"):
            return "bytes"
        if name.endswith(("_seconds_sum", "_seconds_total")):
            return "s"
        is_packets = PACKETS.search(name) and not CONNECTIONS.match(name)
        return "packets" if is_packets else "count"
    ends = {
        ("_timestamp_seconds", "_start_time_seconds"): "timestamp",
        ("_seconds",): "s",
        ("_bytes",): "bytes",
        ("_info", "_meta", "_encap_ip", "_encap_type"): "one",
    }
    return next((unit for end, unit in ends.items() if name.endswith(end)), "count")


def recorded() -> dict[str, Metric]:
    """Return all that the recording rules make, by what their expressions give."""
    own = {
        "up": Metric(TARGET, "count"),
        "scrape_duration_seconds": Metric(TARGET, "s"),
    }
    found: dict[str, Metric] = {}
    rules = yaml.safe_load((RULES / "recording.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            known = Reading({**emitted(), **own, **found})
            given = known.of(promql.parse(rule["expr"]))
            labels = (given.labels or frozenset()) | rule.get("labels", {}).keys()
            unit = "ratio" if "ratio" in rule["record"] else given.unit
            before = found.get(rule["record"], Metric(frozenset(), unit))
            found[rule["record"]] = Metric(before.labels | labels, before.unit)
    return {
        name: Metric(metric.labels | {"cluster"}, metric.unit) for name, metric in found.items()
    }


def selectors(expr: promql.Expr) -> Iterator[promql.VectorSelector]:
    """Yield every selector in an expression."""
    found: list[promql.VectorSelector] = []

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)
        elif isinstance(node, promql.VectorSelector):
            found.append(node)

    promql.walk(expr, visit)
    yield from found


class Reading:
    """Finds out what expressions give.

    Args:
        metrics: All that there are.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._metrics = metrics

    @singledispatchmethod
    def of(self, expr: promql.Expr) -> Vector:
        """Return what an expression gives.

        Raises:
            WrongError: If it asks for what is not there, or for something else than it says.
        """
        raise WrongError(f"unknown: {expr}")

    @of.register
    def _(self, expr: promql.NumberLiteral) -> Vector:
        return Vector(None, f"{expr.val:g}")

    @of.register
    def _(self, expr: promql.ParenExpr) -> Vector:
        return self.of(expr.expr)

    @of.register
    def _(self, expr: promql.SubqueryExpr) -> Vector:
        return self.of(expr.expr)

    @of.register
    def _(self, expr: promql.VectorSelector) -> Vector:
        metric = self._selected(expr)
        if metric.counter:
            raise WrongError(f"the counter {expr.name} stands for itself")
        return Vector(metric.labels, metric.unit)

    @of.register
    def _(self, expr: promql.Call) -> Vector:
        name = expr.func.name
        if name == "time":
            return Vector(None, "timestamp")
        if name == "label_replace":
            return self._renamed(*expr.args)
        given = next(each for each in expr.args if not isinstance(each, promql.NumberLiteral))
        if isinstance(given, promql.MatrixSelector):
            return self._over_time(name, given.vector_selector)
        return self.of(given)  # clamp_min and the like

    def _renamed(self, given: promql.Expr, *texts: promql.StringLiteral) -> Vector:
        vector, (new, _, old, _) = self.of(given), (text.val for text in texts)
        labels = vector.labels or frozenset()
        if old and old not in labels:
            raise WrongError(f"no label {old} to take {new} from")
        return Vector(labels | {new}, vector.unit)

    def _over_time(self, function: str, selector: promql.VectorSelector) -> Vector:
        metric = self._selected(selector)
        if function in GROWTH:
            if not metric.counter:
                raise WrongError(f"{function}() of {selector.name}, which is no counter")
            per_second = {"s": "ratio"}.get(metric.unit, f"{metric.unit}/s")
            return Vector(metric.labels, metric.unit if function == "increase" else per_second)
        if metric.counter and function not in {"last_over_time", "count_over_time"}:
            raise WrongError(f"{function}() of the counter {selector.name}")
        return Vector(metric.labels, "count" if function == "count_over_time" else metric.unit)

    def _selected(self, selector: promql.VectorSelector) -> Metric:
        metric = self._metrics.get(selector.name or "")
        if metric is None:
            raise WrongError(f"there is no {selector.name}")
        if unknown := {each.name for each in selector.matchers.matchers} - metric.labels:
            raise WrongError(f"{selector.name} has no {unknown}")
        return metric

    @of.register
    def _(self, expr: promql.AggregateExpr) -> Vector:
        vector = self.of(expr.expr)
        labels = vector.labels or frozenset()
        how = str(expr.op)
        if how in {"topk", "bottomk"}:
            return vector
        unit = "count" if how in {"count", "group"} else vector.unit
        if expr.modifier is None:
            return Vector(frozenset(), unit)
        if expr.modifier.type != promql.AggModifierType.By:
            raise WrongError("without(): say what stays")
        kept = frozenset(expr.modifier.labels)
        if missing := kept - labels:
            raise WrongError(f"{how} by ({', '.join(missing)}), which is not there: {expr.expr}")
        return Vector(kept, unit)

    @of.register
    def _(self, expr: promql.BinaryExpr) -> Vector:
        left, right = self.of(expr.lhs), self.of(expr.rhs)
        unit = self._unit(expr, left.unit, right.unit)
        if left.labels is None or right.labels is None:
            return Vector(right.labels if left.labels is None else left.labels, unit)
        matching = expr.modifier.matching if expr.modifier else None
        if matching is None:
            if left.labels != right.labels and str(expr.op) != "or":
                differing = sorted(left.labels ^ right.labels)
                raise WrongError(f"never equal in {differing}: {expr.lhs} and {expr.rhs}")
            return Vector(left.labels | right.labels, unit)
        if matching.type != promql.LabelModifierType.Include:
            raise WrongError("ignoring(): say on what")
        on = frozenset(matching.labels)
        if missing := on - (left.labels & right.labels):
            raise WrongError(f"on ({', '.join(missing)}), which one side lacks: {expr}")
        return Vector(self._joined(expr, on, left.labels, right.labels), unit)

    @staticmethod
    def _joined(
        expr: promql.BinaryExpr, on: frozenset[str], left: frozenset[str], right: frozenset[str]
    ) -> frozenset[str]:
        operator, modifier = str(expr.op), expr.modifier
        if operator == "or":
            return left | right
        if operator in FILTERS:
            return left
        carried = frozenset(modifier.group_labels or ()) if modifier else frozenset()
        card = modifier.card if modifier else promql.VectorMatchCardinality.OneToOne
        if card == promql.VectorMatchCardinality.OneToOne:
            return on
        swapped = card == promql.VectorMatchCardinality.OneToMany
        many, one = (right, left) if swapped else (left, right)
        if missing := carried - one:
            raise WrongError(f"group ({', '.join(missing)}), which the other side lacks: {expr}")
        return many | carried

    def _unit(self, expr: promql.BinaryExpr, left: str, right: str) -> str:
        operator = str(expr.op)
        if operator in COMPARISONS:
            return "count" if expr.modifier and expr.modifier.return_bool else left
        if operator in FILTERS:
            return left
        if operator in {"or", "+", "-"}:
            return _added(operator, left, right)
        return _multiplied(left, right) if operator == "*" else _divided(left, right)


def _is_number(unit: str) -> bool:
    return unit.lstrip("-").replace(".", "").isdigit()


def _added(operator: str, left: str, right: str) -> str:
    if _is_number(left) or _is_number(right):
        return right if _is_number(left) else left
    if NOTHING in (left, right):
        return right if left == NOTHING else left
    if left != right:
        if operator == "or":
            return "mixed"
        raise WrongError(f"{left} {operator} {right}")
    return "s" if (operator, left) == ("-", "timestamp") else left


def _multiplied(left: str, right: str) -> str:
    if (left, right) == ("timestamp", "1000"):
        return "timestamp of Grafana"
    if "0" in (left, right):
        return NOTHING
    for one, other in ((left, right), (right, left)):
        if one == "one" or _is_number(one):
            return other
    if left != "count" != right:
        raise WrongError(f"{left} * {right}")
    return left if right == "count" else right


def _divided(left: str, right: str) -> str:
    if _is_number(right):
        return left
    if left == right or (left, right) == ("s", "s"):
        return "ratio"
    if (left, right) == ("ratio", "count/s"):
        return "s"  # of seconds in a second and of events in a second: seconds of an event
    if left.endswith("/s") and right.endswith("/s"):
        return "count"
    raise WrongError(f"{left} / {right}")
