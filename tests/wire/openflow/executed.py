"""What the switch made of sets of actions, as ofproto/trace told.

A line of the recording is a set, what became of a packet in a bucket with it, and what became of
one in a flow that writes it (or ``refused``). Ports 1 and 2 of the bridge are 2 and 3 in the
datapath; port 3, there 4, can be reached only by the tables that resubmit and TABLE name.
"""

from typing import NamedTuple

from agent.model.flow import Effect
from tests.wire.openflow import recorded


class Executed(NamedTuple):
    """One line; an outcome is one of port, table, controller, nothing."""

    actions: str
    in_bucket: str
    in_action_set: str | None


def read() -> list[Executed]:
    """Return the lines; the group of line n has the number n, from 1."""
    lines = [line.split("\t") for line in recorded.text("br-effects-sets").splitlines()]
    return [
        Executed(actions, _outcome(bucket), None if written == "refused" else _outcome(written))
        for actions, bucket, written in lines
    ]


def outcome(effect: Effect) -> str:
    """Return what an effect that is one action says."""
    names = {
        "port": effect.delivers or effect.groups or effect.writes_output or effect.writes_groups,
        "table": effect.tables,
        "controller": effect.punts,
    }
    (said,) = [name for name, says in names.items() if says] or ["nothing"]
    return said


def _outcome(datapath_actions: str) -> str:
    if "userspace" in datapath_actions:
        return "controller"
    if datapath_actions == "4" or "recirc" in datapath_actions:
        return "table"
    return "nothing" if datapath_actions in ("drop", "ct(commit)") else "port"
