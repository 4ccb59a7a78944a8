import pytest

from agent.errors import ParseError
from agent.wire.openflow.actions import iter_actions, iter_instructions


def test_walks_actions_with_vendor_and_body() -> None:
    data = bytes.fromhex("ffff001000002320000efff848000000 00000010000000050000000000000000")
    resubmit, output = iter_actions(data)
    assert (resubmit.type, resubmit.vendor, bytes(resubmit.body)[2]) == (14, 0x2320, 72)
    assert (output.type, output.vendor, bytes(output.body)[:4].hex()) == (0, 0, "00000005")


def test_walks_instructions() -> None:
    assert [(k, bytes(b)) for k, b in iter_instructions(bytes.fromhex("0001000848000000"))] == [
        (1, b"\x48\0\0\0")
    ]


@pytest.mark.parametrize("data", ["0004", "00040004", "0004000c00000000", "0004001000000000"])
def test_refuses_instructions_that_cannot_be(data: str) -> None:
    with pytest.raises(ParseError):
        list(iter_instructions(bytes.fromhex(data)))


@pytest.mark.parametrize("data", ["0000", "0000 0004", "0000 0010 00000001", "ffff 0008 00002320"])
def test_refuses_actions_that_cannot_be(data: str) -> None:
    with pytest.raises(ParseError):
        list(iter_actions(bytes.fromhex(data)))
