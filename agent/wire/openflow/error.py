"""ERROR messages, with the specification's names."""

import struct
from dataclasses import dataclass

from agent.errors import ParseError
from agent.wire.openflow.header import HEADER_LENGTH, Type, whole

_ERROR = struct.Struct(">HH")

TYPES = [
    "HELLO_FAILED",
    "BAD_REQUEST",
    "BAD_ACTION",
    "BAD_INSTRUCTION",
    "BAD_MATCH",
    "FLOW_MOD_FAILED",
    "GROUP_MOD_FAILED",
    "PORT_MOD_FAILED",
    "TABLE_MOD_FAILED",
    "QUEUE_OP_FAILED",
    "SWITCH_CONFIG_FAILED",
    "ROLE_REQUEST_FAILED",
    "METER_MOD_FAILED",
    "TABLE_FEATURES_FAILED",
    "BAD_PROPERTY",
    "ASYNC_CONFIG_FAILED",
    "FLOW_MONITOR_FAILED",
    "BUNDLE_FAILED",
]
"""Error types by number (OpenFlow 1.4.0, 7.5.4)."""
EXPERIMENTER_TYPE = 0xFFFF
CODES = {
    0: ["INCOMPATIBLE", "EPERM"],
    1: [
        "BAD_VERSION",
        "BAD_TYPE",
        "BAD_MULTIPART",
        "BAD_EXPERIMENTER",
        "BAD_EXP_TYPE",
        "EPERM",
        "BAD_LEN",
        "BUFFER_EMPTY",
        "BUFFER_UNKNOWN",
        "BAD_TABLE_ID",
        "IS_SLAVE",
        "BAD_PORT",
        "BAD_PACKET",
        "MULTIPART_BUFFER_OVERFLOW",
        "MULTIPART_REQUEST_TIMEOUT",
        "MULTIPART_REPLY_TIMEOUT",
    ],
    4: [
        "BAD_TYPE",
        "BAD_LEN",
        "BAD_TAG",
        "BAD_DL_ADDR_MASK",
        "BAD_NW_ADDR_MASK",
        "BAD_WILDCARDS",
        "BAD_FIELD",
        "BAD_VALUE",
        "BAD_MASK",
        "BAD_PREREQ",
        "DUP_FIELD",
        "EPERM",
    ],
    13: ["BAD_TABLE", "BAD_METADATA", "BAD_TYPE", "BAD_LEN", "BAD_ARGUMENT", "EPERM"],
}
"""Codes by type and number, for the errors that reading requests can meet."""


@dataclass(frozen=True, slots=True)
class OpenFlowErrorMessage:
    """What the switch refused and why; ``str`` gives the names where they are known."""

    type: int
    code: int

    def __str__(self) -> str:
        if self.type == EXPERIMENTER_TYPE:
            return f"EXPERIMENTER {self.code}"
        kind = TYPES[self.type] if self.type < len(TYPES) else str(self.type)
        codes = CODES.get(self.type, [])
        return f"{kind} {codes[self.code] if self.code < len(codes) else self.code}"


def parse_error(message: bytes) -> OpenFlowErrorMessage:
    """Read an ERROR message (OpenFlow 1.3, 7.4.4).

    ``04 01 0014 00000005 0001 0002 …``: BAD_REQUEST, BAD_MULTIPART.

    Raises:
        ParseError: If it is another message or too short.
    """
    whole(message, Type.ERROR)
    if len(message) < HEADER_LENGTH + _ERROR.size:
        raise ParseError(f"ERROR of {len(message)} bytes")
    return OpenFlowErrorMessage(*_ERROR.unpack_from(message, HEADER_LENGTH))
