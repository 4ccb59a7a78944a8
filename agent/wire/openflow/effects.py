"""What a flow's instructions, or a group's buckets, do with a packet, as far as its fate needs."""

from agent.model.flow import Effect
from agent.wire.openflow.actions import Instruction, iter_instructions
from agent.wire.openflow.destinations import LABELS, RANKS, Destinations

_NOTHING = Effect()
_SILENT = frozenset({Instruction.WRITE_METADATA, Instruction.METER})


def read_instructions(instructions: bytes) -> tuple[Effect, int | None]:
    """Read what a flow does, and the one port it sends to.

    ``0004 0018 00000000 ffff 0010 00002320 000e fff8 48 000000`` applies resubmit(,72):
    ``Effect(action="resubmit", tables=(72,))``.

    ``Effect.action`` is one of drop, output, normal, resubmit, ct, group, controller,
    conjunction, other. Of several the first of these counts:

    1. conjunction;
    2. output (to any port but NORMAL, CONTROLLER and TABLE, or by register or bundle);
    3. normal;
    4. group;
    5. resubmit, output to TABLE, or the instruction goto_table;
    6. ct with ``table=``;
    7. controller: what it is shown is mostly a copy;
    8. ct without ``table=``, which only commits;
    9. other: an action or instruction that is not known here;
    10. drop, when nothing sends the packet anywhere: setting fields, learning, sampling, meters.

    The contents of clone count as if they stood outside, in their order; what ct executes on its
    connection sends nothing. Of write_actions only the action counts that its set would end in:
    output is ``writes_output``, a group ``writes_groups``; resubmit and ct are among ``tables``,
    CONTROLLER punts.

    Args:
        instructions: ``FlowEntry.instructions``.

    Returns:
        The effect, and the OpenFlow number of the one port that its output actions name, members
        of a bundle among them: a port of the bridge or ``LOCAL``. ``None`` when they name none
        (by register, NORMAL, FLOOD, ALL, IN_PORT), or several.

    Raises:
        ParseError: As ``iter_instructions`` and ``iter_actions``, or if an action that matters
            is too short for what it has to say.
    """
    if not instructions:
        return _NOTHING, None
    applied, written = Destinations(), Destinations()
    goes_to, clears = None, False
    for kind, body in iter_instructions(instructions):
        if kind == Instruction.APPLY_ACTIONS:
            applied.take_list(body[4:])
        elif kind == Instruction.GOTO_TABLE:
            goes_to = body[0]
        elif kind == Instruction.WRITE_ACTIONS:
            written.take_set(body[4:])
        elif kind == Instruction.CLEAR_ACTIONS:
            clears = True
        elif kind not in _SILENT:
            applied.take_unknown()
    rank = min(applied.rank, written.rank)
    tables = applied.tables + written.tables
    if goes_to is not None:
        tables.append(goes_to)
        rank = min(rank, RANKS["resubmit"])
    effect = Effect(
        action=LABELS[rank],
        delivers=applied.delivers or written.unknown,
        punts=applied.punts or written.punts,
        userdata=tuple(applied.userdata + written.userdata),
        groups=tuple(applied.groups),
        tables=tuple(tables),
        goes_to=goes_to,
        writes_output=written.delivers,
        writes_groups=tuple(written.groups),
        clears=clears,
        conjunction=applied.conjunction,
        marks=frozenset(applied.marks),
    )
    ports = applied.ports | written.ports
    return effect, ports.pop() if len(ports) == 1 else None


def read_bucket(actions: bytes | memoryview) -> Effect:
    """Read what a group's bucket does: the one action that its set ends in.

    ``0000 0010 00000002 0000 000000000000`` is output to port 2.

    Of the fields about action sets (``goes_to``, ``writes_output``, ``writes_groups``, ``clears``)
    none is set: a bucket has a set of its own, which is executed there and then.

    Raises:
        ParseError: As ``read_instructions``.
    """
    found = Destinations()
    found.take_set(actions)
    return Effect(
        action=LABELS[found.rank],
        delivers=found.delivers,
        punts=found.punts,
        userdata=tuple(found.userdata),
        groups=tuple(found.groups),
        tables=tuple(found.tables),
    )
