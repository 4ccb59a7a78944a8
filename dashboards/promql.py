"""PromQL of the boards: every selector names cluster and job, every join stays within a cluster.

``cluster`` is a label that a site may have or not; where it is missing all of this is as if it
were not written. Agents of one node may be scraped by two jobs, which share the work
(docs/flows.md): so joins are not on ``job``, and what every job shows is aggregated.
"""

CLUSTER, JOB, NODE = 'cluster=~"$cluster"', 'job=~"$job"', 'instance=~"$node"'
FLEET = (CLUSTER, JOB)
"""Matchers of what all nodes show together."""
HERE = (*FLEET, NODE)
"""Matchers of what the chosen nodes show."""
TARGET = "cluster, instance"
"""Labels of a node."""


def level(metric: str, *matchers: str, of: tuple[str, ...] = HERE) -> str:
    """Select a gauge.

    Args:
        metric: Its name.
        matchers: More of them, such as ``kind="lost"``.
        of: Whose.
    """
    return f"{metric}{{{', '.join((*of, *matchers))}}}"


def rate(counter: str, *matchers: str, of: tuple[str, ...] = HERE) -> str:
    """Return a counter's growth by second."""
    return f"rate({level(counter, *matchers, of=of)}[$__rate_interval])"


def increase(counter: str, *matchers: str, of: tuple[str, ...] = HERE) -> str:
    """Return a counter's growth in the time that is shown."""
    return f"increase({level(counter, *matchers, of=of)}[$__range])"


def by(labels: str, expr: str, how: str = "sum") -> str:
    """Aggregate by node and these labels; ``""`` is by node alone."""
    return f"{how} by ({', '.join(filter(None, (TARGET, labels)))}) ({expr})"


def joined(left: str, on: str, carried: str, right: str) -> str:
    """Give the left side labels of an info metric of the same node.

    Args:
        left: What keeps its value and its labels.
        on: Labels that both have, besides those of a node; ``""`` for none.
        carried: Labels of the right side to add.
        right: A value of 1 for each of them.
    """
    return f"{left} * on ({', '.join(filter(None, (TARGET, on)))}) group_left ({carried}) {right}"


def of_those(left: str, on: str, right: str) -> str:
    """Keep what the right side has too, by node and these labels."""
    return f"{left} and on ({TARGET}, {on}) {right}"


def or_plain(left: str, on: str, carried: str, right: str) -> str:
    """Join, and keep what the right side does not know as it is."""
    labels = f"on ({TARGET}, {on})"
    return f"{joined(left, on, carried, right)}\nor {left} unless {labels} {right}"


def busiest(count: int, counter: str, *matchers: str) -> str:
    """Return the rates of those that grew most in all the time that is shown.

    ``topk`` of a rate would choose others at every point, and draw a line for each.
    """
    grown = f"increase({level(counter, *matchers)}[$__range] @ end())"
    return f"({rate(counter, *matchers)} and topk({count}, {grown}))"


def busiest_once(labels: str, count: int, counter: str, *matchers: str) -> str:
    """Return the same of what every job shows of a node: by node and these labels, once."""
    grown = by(labels, f"increase({level(counter, *matchers)}[$__range] @ end())", "max")
    return f"({by(labels, rate(counter, *matchers), 'max')} and topk({count}, {grown}))"


def largest(count: int, gauge: str, *matchers: str) -> str:
    """Return those that were largest at some time of all that is shown."""
    selected = level(gauge, *matchers)
    return f"({selected} and topk({count}, max_over_time({selected}[$__range] @ end())))"


def largest_once(labels: str, count: int, gauge: str, *matchers: str) -> str:
    """Return the same of what every job shows of a node: by node and these labels, once."""
    selected = level(gauge, *matchers)
    most = by(labels, f"max_over_time({selected}[$__range] @ end())", "max")
    return f"({by(labels, selected, 'max')} and topk({count}, {most}))"


def lowest(count: int, gauge: str, *matchers: str) -> str:
    """Return those that were lowest at some time of all that is shown: of states, the worst."""
    selected = level(gauge, *matchers)
    return f"({selected} and bottomk({count}, min_over_time({selected}[$__range] @ end())))"


def lowest_once(labels: str, count: int, gauge: str, *matchers: str) -> str:
    """Return the same of what every job shows of a node: by node and these labels, once."""
    selected = level(gauge, *matchers)
    least = by(labels, f"min_over_time({selected}[$__range] @ end())", "min")
    return f"({by(labels, selected, 'min')} and bottomk({count}, {least}))"


def recorded(record: str) -> str:
    """Select what a rule has recorded of all nodes."""
    return level(record, of=FLEET)


def worst(record: str, how: str = "topk") -> str:
    """Return the ten largest that a rule has recorded, at each time; ``bottomk``: the smallest."""
    return f"{how}(10, {recorded(record)})"


def worst_nodes(record: str, how: str) -> str:
    """Return the ten nodes with most of what a rule has recorded by job.

    Args:
        record: Of each job of a node.
        how: Jobs of a node together: ``sum`` or ``max``.
    """
    return f"topk(10, {by('', recorded(record), how)})"
