"""Flows as a person writes them, in the language of ovs-ofctl, without the wire."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from agent.model.flow import KINDS, MARKS, OWN_TABLE, Effect, Fate, Flow, Group, Scope
from agent.pipelines.fate import Judge

Tables = dict[int, tuple[Flow, ...]]
Names = Mapping[str, int]

_FLOW = re.compile(
    r"(?:cookie=(0x[0-9a-f]+), )?table=(\d+),?\s*(?:n_packets=(\d+), )?"
    r".*?(?:priority=(\d+))?,?(\S*) actions=(.*)"
)
_SCOPE = re.compile(r"(?:^|,)(in_port|reg5|reg14|reg15|metadata)=([^,/]+)(?=,|$)")
_HARMLESS = re.compile(
    r"drop$|learn\(|mod_|strip_vlan|push_vlan|pop_|load:|move:|set_field:|ct_clear|dec_ttl|note:"
    r"|push:|pop:|meter:|sample\(|set_queue:|check_pkt_larger|write_metadata:|ct\((?!.*table=)"
)


def flow(line: str, names: Names | None = None) -> Flow:
    """``table=71,priority=10,reg5=4 actions=resubmit(,93)``; the priority is 1 without one."""
    return counted(line, names)[0]


def counted(line: str, names: Names | None = None) -> tuple[Flow, int]:
    """A flow with its n_packets, as ``dump-flows`` writes it."""
    found = _FLOW.search(line)
    assert found, line
    cookie, table, packets, priority, match, actions = found.groups()
    scope = {name: _number(value, names or {}) for name, value in _SCOPE.findall(match)}
    effect, output = read_actions(actions, names or {})
    order = 1 if priority is None else int(priority)
    return Flow(
        int(table), order, match, int(cookie or "0", 16), Scope(**scope), effect, output
    ), int(packets or 0)


def tables(text: str, names: Names | None = None) -> Tables:
    """The flows of a bridge, one each line."""
    found: dict[int, list[Flow]] = {}
    for line in text.splitlines():
        if "actions=" in line:
            one = flow(line, names)
            found.setdefault(one.table_id, []).append(one)
    return {table: tuple(flows) for table, flows in found.items()}


def judge(
    bridge: str | Tables,
    groups: Mapping[int, Group] | None = None,
    patch_ports: frozenset[int] = frozenset(),
) -> Fate:
    return Judge().judge(tables(bridge) if isinstance(bridge, str) else bridge, groups, patch_ports)


def kinds(
    bridge: str,
    groups: Mapping[int, Group] | None = None,
    patch_ports: frozenset[int] = frozenset(),
) -> list[str]:
    """The kind of each flow, in the order of the lines."""
    read = tables(bridge)
    fate = judge(read, groups, patch_ports)
    left = {table: iter(codes.tolist()) for table, codes in fate.kinds.items()}
    lines = [line for line in bridge.splitlines() if "actions=" in line]
    return [KINDS[next(left[flow(line).table_id])] for line in lines]


def group(group_id: int, *buckets: str, sends_copies: bool = False) -> Group:
    """A group of buckets, each a list of actions."""
    return Group(group_id, sends_copies, tuple(read_actions(one)[0] for one in buckets))


def read_actions(text: str, names: Names | None = None) -> tuple[Effect, int | None]:
    effect, outputs = Effect(), set[int]()
    for action in _split(text):
        effect = _add(effect, action, names or {}, outputs)
    return replace(effect, action=_label(effect, text)), (
        outputs.pop() if len(outputs) == 1 else None
    )


def _add(effect: Effect, action: str, names: Names, outputs: set[int]) -> Effect:  # noqa: C901, PLR0911, PLR0912  # one case for each action
    def merged(inner: Effect) -> Effect:
        return replace(
            effect,
            delivers=effect.delivers or inner.delivers,
            punts=effect.punts or inner.punts,
            userdata=effect.userdata + inner.userdata,
            groups=effect.groups + inner.groups,
            tables=effect.tables + inner.tables,
        )

    if action == "clear_actions":
        return replace(effect, clears=True)
    if found := re.fullmatch(r"goto_table:(\d+)", action):
        target = int(found[1])
        return replace(effect, tables=(*effect.tables, target), goes_to=target)
    if found := re.fullmatch(r"resubmit\((?:[^,]*),(\d*)(?:,ct)?\)", action):
        return replace(effect, tables=(*effect.tables, int(found[1] or OWN_TABLE)))
    if action.startswith("resubmit:"):
        return replace(effect, tables=(*effect.tables, OWN_TABLE))
    if found := re.match(r"ct\(.*?table=(\d+)", action):
        return replace(effect, tables=(*effect.tables, int(found[1])))
    if found := re.fullmatch(r"clone\((.*)\)", action):
        inner, output = read_actions(found[1], names)
        outputs |= set() if output is None else {output}
        return merged(inner)
    if found := re.fullmatch(r"write_actions\((.*)\)", action):
        inner, _ = read_actions(found[1], names)
        return replace(effect, writes_output=inner.delivers, writes_groups=inner.groups)
    if found := re.fullmatch(r"group:(\d+)", action):
        return replace(effect, groups=(*effect.groups, int(found[1])))
    if action.startswith("conjunction("):
        return replace(effect, conjunction=True)
    if found := re.match(r"(?i:controller)(?:\(.*?userdata=([0-9a-f.]+))?", action):
        userdata = bytes.fromhex((found[1] or "").replace(".", ""))
        return replace(effect, punts=True, userdata=(*effect.userdata, userdata))
    if (mark := _mark(action)) is not None:
        return replace(effect, marks=effect.marks | {mark})
    if _HARMLESS.match(action):
        return effect
    if found := re.fullmatch(r'output:"?([-\w]+?)"?', action):
        outputs.add(_number(found[1], names))
    else:
        assert re.fullmatch(r"NORMAL|FLOOD|ALL|LOCAL|IN_PORT|output:NXM.*", action), action
    return replace(effect, delivers=True)


def _mark(action: str) -> int | None:
    """Tell which of the registers of ``MARKS`` an action sets the bit of."""
    if found := re.fullmatch(r"load:0x1->(?:NXM_NX_REG(\d+)|OXM_OF_PKT_REG(\d+))\[(\d+)\]", action):
        register, pair, bit = (int(one or -1) for one in found.groups())
        if pair >= 0:
            register, bit = 2 * pair + (bit < 32), bit % 32
    elif found := re.fullmatch(r"set_field:(0x[0-9a-f]+)/\1->(x?)reg(\d+)", action):
        bit, register = int(found[1], 16).bit_length() - 1, int(found[3])
        if found[2]:
            register, bit = 2 * register + (bit < 32), bit % 32
    else:
        return None
    return register if MARKS.get(register) == 1 << bit else None


def _label(effect: Effect, text: str) -> str:
    if effect.delivers:
        return "normal" if "NORMAL" in text else "output"
    moves = effect.tables or effect.groups or effect.punts or effect.conjunction
    return "other" if moves or effect.writes_output or effect.writes_groups else "drop"


def _split(text: str) -> Iterator[str]:
    """Cut a list of actions at the commas that stand in no bracket."""
    depth = start = 0
    for place, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _number(text: str, names: Names) -> int:
    text = text.strip('"')
    return names[text] if text in names else int(text, 0)
