"""What is said on libvirt's socket: messages in XDR (RFC 4506), the few that a lab needs.

A message is its length (4 bytes, which count), a header of six words and a payload. The programs
are libvirt's src/remote/remote_protocol.x and src/rpc/virkeepaliveprotocol.x, the header and the
error src/rpc/virnetprotocol.x.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

REMOTE = 0x20008086
KEEPALIVE = 0x6B656570
VERSION = 1
PING, PONG = 1, 2

LENGTH_BYTES = 4
MESSAGE_MAX_BYTES = 33_554_432 + LENGTH_BYTES
"""What the client takes at most: VIR_NET_MESSAGE_MAX and the length itself."""

_HEADER = struct.Struct(">IIiiIi")
_U32 = struct.Struct(">I")
_I32 = struct.Struct(">i")
_U64 = struct.Struct(">Q")
_I64 = struct.Struct(">q")
UUID_BYTES = 16


class RpcError(ValueError):
    """A peer sent what is not a message, or not the arguments of its procedure."""


class Type(IntEnum):
    """virNetMessageType: a question, its answer, and what is said unasked."""

    CALL = 0
    REPLY = 1
    MESSAGE = 2


class Status(IntEnum):
    """virNetMessageStatus."""

    OK = 0
    ERROR = 1


class Procedure(IntEnum):
    """remote_procedure: REMOTE_PROC_* without its prefix."""

    CONNECT_OPEN = 1
    CONNECT_CLOSE = 2
    CONNECT_GET_TYPE = 3
    CONNECT_GET_VERSION = 4
    DOMAIN_GET_XML_DESC = 14
    DOMAIN_GET_AUTOSTART = 15
    DOMAIN_GET_INFO = 16
    DOMAIN_GET_OS_TYPE = 19
    CONNECT_LIST_DEFINED_DOMAINS = 21
    DOMAIN_LOOKUP_BY_ID = 22
    DOMAIN_LOOKUP_BY_NAME = 23
    DOMAIN_LOOKUP_BY_UUID = 24
    CONNECT_NUM_OF_DEFINED_DOMAINS = 25
    CONNECT_LIST_DOMAINS = 37
    CONNECT_NUM_OF_DOMAINS = 51
    CONNECT_GET_HOSTNAME = 59
    CONNECT_SUPPORTS_FEATURE = 60
    DOMAIN_BLOCK_STATS = 64
    DOMAIN_INTERFACE_STATS = 65
    AUTH_LIST = 66
    AUTH_POLKIT = 70
    CONNECT_GET_URI = 110
    CONNECT_IS_SECURE = 149
    DOMAIN_IS_ACTIVE = 150
    DOMAIN_IS_PERSISTENT = 151
    CONNECT_GET_LIB_VERSION = 157
    DOMAIN_GET_STATE = 212
    CONNECT_LIST_ALL_DOMAINS = 273
    CONNECT_LIST_ALL_STORAGE_POOLS = 281
    CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY = 316
    CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY = 317
    DOMAIN_EVENT_CALLBACK_LIFECYCLE = 318
    DOMAIN_EVENT_CALLBACK_REBOOT = 319
    DOMAIN_EVENT_CALLBACK_DEVICE_REMOVED = 333
    CONNECT_GET_ALL_DOMAIN_STATS = 344
    DOMAIN_EVENT_CALLBACK_AGENT_LIFECYCLE = 348
    DOMAIN_EVENT_CALLBACK_DEVICE_ADDED = 354
    DOMAIN_EVENT_CALLBACK_MIGRATION_ITERATION = 359
    CONNECT_REGISTER_CLOSE_CALLBACK = 360
    CONNECT_UNREGISTER_CLOSE_CALLBACK = 361
    DOMAIN_EVENT_CALLBACK_METADATA_CHANGE = 379


class Event(IntEnum):
    """virDomainEventID: the kinds of event that a client asks for."""

    LIFECYCLE = 0
    REBOOT = 1
    DEVICE_REMOVED = 15
    AGENT_LIFECYCLE = 18
    DEVICE_ADDED = 19
    MIGRATION_ITERATION = 20
    METADATA_CHANGE = 23


EVENT_PROCEDURES = {event: Procedure[f"DOMAIN_EVENT_CALLBACK_{event.name}"] for event in Event}
"""Under which procedure an event is sent to a client that asked for it."""


@dataclass(frozen=True, slots=True)
class Header:
    """virNetMessageHeader. ``type`` and ``status`` are numbers: a peer may send any."""

    program: int
    version: int
    procedure: int
    type: int
    serial: int
    status: int = Status.OK


@dataclass(frozen=True, slots=True)
class Identity:
    """remote_nonnull_domain: how a domain is named in every message.

    Attributes:
        id: -1 while it does not run.
    """

    name: str
    uuid: UUID
    id: int


def message(header: Header, payload: bytes = b"") -> bytes:
    """Pack a message, its length first."""
    length = LENGTH_BYTES + _HEADER.size + len(payload)
    return (
        _U32.pack(length)
        + _HEADER.pack(
            header.program,
            header.version,
            header.procedure,
            header.type,
            header.serial,
            header.status,
        )
        + payload
    )


def parse_length(data: bytes) -> int:
    """Return how many bytes of a message follow its length.

    Raises:
        RpcError: If they are fewer than a header or more than libvirt allows.
    """
    (length,) = _U32.unpack(data)
    if not LENGTH_BYTES + _HEADER.size <= length <= MESSAGE_MAX_BYTES:
        raise RpcError(f"a message of {length} bytes")
    return int(length) - LENGTH_BYTES


def parse_message(data: bytes) -> tuple[Header, "Reader"]:
    """Take apart a message without its length: at least a header."""
    return Header(*_HEADER.unpack_from(data)), Reader(data, _HEADER.size)


def u32(value: int) -> bytes:
    """Pack an unsigned int; also a bool, an unsigned char and a short, which are words too."""
    return _U32.pack(value)


def i32(value: int) -> bytes:
    """Pack an int."""
    return _I32.pack(value)


def u64(value: int) -> bytes:
    """Pack an unsigned hyper."""
    return _U64.pack(value)


def i64(value: int) -> bytes:
    """Pack a hyper."""
    return _I64.pack(value)


def string(value: str) -> bytes:
    """Pack a remote_nonnull_string: its length, itself, zeros up to a whole word."""
    data = value.encode()
    return _U32.pack(len(data)) + data + bytes(-len(data) % 4)


def optional_string(value: str | None) -> bytes:
    """Pack a remote_string, which may be NULL."""
    return _U32.pack(0) if value is None else _U32.pack(1) + string(value)


def array(items: Iterable[bytes]) -> bytes:
    """Pack an array: how many, and each."""
    packed = list(items)
    return _U32.pack(len(packed)) + b"".join(packed)


def identity(domain: Identity) -> bytes:
    """Pack a remote_nonnull_domain."""
    return string(domain.name) + domain.uuid.bytes + _I32.pack(domain.id)


def int_param(field: str, value: int) -> bytes:
    """Pack a remote_typed_param of type VIR_TYPED_PARAM_INT."""
    return string(field) + _U32.pack(1) + _I32.pack(value)


def uint_param(field: str, value: int) -> bytes:
    """Pack a remote_typed_param of type VIR_TYPED_PARAM_UINT."""
    return string(field) + _U32.pack(2) + _U32.pack(value)


def ullong_param(field: str, value: int) -> bytes:
    """Pack a remote_typed_param of type VIR_TYPED_PARAM_ULLONG."""
    return string(field) + _U32.pack(4) + _U64.pack(value)


def string_param(field: str, value: str) -> bytes:
    """Pack a remote_typed_param of type VIR_TYPED_PARAM_STRING."""
    return string(field) + _U32.pack(7) + string(value)


def error(code: int, domain: int, text: str) -> bytes:
    """Pack a virNetMessageError of level VIR_ERR_ERROR.

    Args:
        code: virErrorNumber.
        domain: virErrorDomain: the part of libvirt that says it.
        text: Its message, as the part that says it would word it.
    """
    nothing = _U32.pack(0)
    return (
        _I32.pack(code)
        + _I32.pack(domain)
        + optional_string(text)
        + _I32.pack(2)  # VIR_ERR_ERROR
        + nothing  # the domain
        + optional_string(text)  # str1, which virReportError fills with the whole text
        + nothing * 2  # str2, str3
        + _I32.pack(-1) * 2  # int1, int2
        + nothing  # the network
    )


class Reader:
    """Takes arguments off a payload, one after the other.

    Each method raises ``RpcError`` if the payload ends before the value does.
    """

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self._offset = offset

    def take(self, count: int) -> bytes:
        """Return the next bytes as they are."""
        end = self._offset + count
        if end > len(self._data):
            raise RpcError(f"{count} bytes wanted, {len(self._data) - self._offset} left")
        data = self._data[self._offset : end]
        self._offset = end
        return data

    def u32(self) -> int:
        """Return an unsigned int."""
        return int(_U32.unpack(self.take(_U32.size))[0])

    def i32(self) -> int:
        """Return an int."""
        return int(_I32.unpack(self.take(_I32.size))[0])

    def string(self) -> str:
        """Return a remote_nonnull_string."""
        length = self.u32()
        data = self.take(length)
        self.take(-length % 4)
        return data.decode(errors="replace")

    def uuid(self) -> UUID:
        """Return a remote_uuid."""
        return UUID(bytes=self.take(UUID_BYTES))

    def identity(self) -> Identity:
        """Return a remote_nonnull_domain."""
        return Identity(self.string(), self.uuid(), self.i32())

    def optional_string(self) -> str | None:
        """Return a remote_string; ``None`` for NULL."""
        return self.string() if self.u32() else None

    def optional_identity(self) -> Identity | None:
        """Return a remote_domain; ``None`` for NULL."""
        return self.identity() if self.u32() else None
