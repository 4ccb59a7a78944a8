"""What is cut off or too short is refused, not read short; tests/wire/test_fuzz.py has the rest."""

import pytest

from agent.errors import ParseError
from agent.wire.openflow.effects import read_instructions
from agent.wire.openflow.match import format_match, iter_oxm
from tests.wire.openflow import recorded


def test_a_match_that_is_cut_inside_a_field_is_refused() -> None:
    match = recorded.flows("br-fields", "of13")[0].match
    ends = {0}
    for oxm in iter_oxm(match):
        header = match[max(ends) : max(ends) + 4]
        ends.add(max(ends) + 4 + header[3])
        assert oxm.size_bytes > 0
    for end in set(range(len(match))) - ends:
        with pytest.raises(ParseError):
            format_match(match[:end], {})


def test_instructions_that_are_cut_are_refused() -> None:
    for entry in recorded.flows("br-actions", "of14"):
        for end in range(1, len(entry.instructions)):
            if end % 8:
                with pytest.raises(ParseError):
                    read_instructions(entry.instructions[:end])
