"""What may be sent to a switch: messages that read. Checked at the one place that writes."""

from agent.errors import ParseError
from agent.wire.openflow.header import HEADER_LENGTH, Type, Version, parse_header
from agent.wire.openflow.multipart import BODY_OFFSET, MULTIPART, Multipart

_FREE = frozenset({Type.HELLO, Type.ECHO_REQUEST, Type.ECHO_REPLY})
_VERSIONS = frozenset(Version)
_MULTIPARTS = frozenset(Multipart)


def is_allowed(message: bytes) -> bool:
    """Say whether these bytes are exactly one message that changes nothing on the switch.

    HELLO, ECHO, FEATURES and the multipart requests of ``Multipart``;
    TABLE_FEATURES only with an empty body, because with a body it writes. Bytes behind the
    message's stated end are another message, hence refused, as is a request in several parts.
    """
    try:
        header = parse_header(message)
    except ParseError:
        return False
    if header.length != len(message) or header.version not in _VERSIONS:
        return False
    if header.type == Type.MULTIPART_REQUEST:
        return _multipart_reads(message)
    if header.type == Type.FEATURES_REQUEST:
        return len(message) == HEADER_LENGTH
    return header.type in _FREE


def _multipart_reads(message: bytes) -> bool:
    if len(message) < BODY_OFFSET:
        return False
    kind, flags = MULTIPART.unpack_from(message, HEADER_LENGTH)
    if kind == Multipart.TABLE_FEATURES and len(message) > BODY_OFFSET:
        return False
    return kind in _MULTIPARTS and flags == 0
