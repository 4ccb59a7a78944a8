"""The text of flows against the ovs-ofctl of this machine, for flows nobody thought of."""

import os
import secrets
import sys

import pytest

from agent.wire.openflow.match import format_match
from lab.node import Node
from lab.process import LabError
from tests.node.flow_differential import BRIDGES, add_bridges, compare, printed_match
from tests.wire.openflow.meta_flow import WANTED, forms

FLOWS = 5200
"""For each bridge; some of them are the same flow."""
COMPARED = 10_000


def _seed(capsys: pytest.CaptureFixture[str]) -> int:
    """Return FLOW_SEED of the environment or a new one, and print it even if all goes well."""
    seed = int(os.environ.get("FLOW_SEED") or secrets.randbits(32))
    with capsys.disabled():
        sys.stdout.write(f"\nFLOW_SEED={seed}\n")
    return seed


@pytest.mark.node
def test_flow_text_matches_ofctl(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    seed = _seed(capsys)
    add_bridges(node)
    compared = 0
    matched: set[tuple[str, str]] = set()
    for bridge in BRIDGES:
        flows = bridge.generator(seed).flows(FLOWS)
        matched.update(*map(forms, flows))
        try:
            result = compare(node, bridge, flows)
        except LabError as error:
            error.add_note(f"FLOW_SEED={seed}: ovs-ofctl refuses what was generated")
            raise
        assert not result.differences, "\n".join([f"FLOW_SEED={seed}", *result.differences])
        compared += result.compared
    assert compared >= COMPARED, f"FLOW_SEED={seed}"
    assert matched >= WANTED, f"FLOW_SEED={seed} never matches {sorted(WANTED - matched)}"


@pytest.mark.node
@pytest.mark.parametrize(
    "match",
    [
        "00014804 00000000",  # recirc_id, as table 254 has it
        "00014804 00000005",
        "00014804 00000005 00014708 00000009 000000ff",  # and dp_hash, as for a bond
        "00014604 00000009",
        "ffff0008 00002320 000000aa 80000a02 0800",
        "ffff010c 00002320 000000aa 000000ff",
    ],
)
def test_text_of_fields_that_no_controller_can_load_matches_ofctl(node: Node, match: str) -> None:
    octets = bytes.fromhex(match)
    assert format_match(octets, {}) == printed_match(node, octets) != ""
