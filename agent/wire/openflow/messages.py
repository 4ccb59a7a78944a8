"""All that a source needs to speak OpenFlow, under one name."""

from agent.wire.openflow.allowed import is_allowed
from agent.wire.openflow.effects import read_bucket, read_instructions
from agent.wire.openflow.error import OpenFlowErrorMessage, parse_error
from agent.wire.openflow.groups import parse_group_desc
from agent.wire.openflow.header import (
    HEADER_LENGTH,
    Header,
    Type,
    Version,
    echo_reply,
    echo_request,
    features_request,
    parse_header,
)
from agent.wire.openflow.hello import hello, negotiate
from agent.wire.openflow.meters import meter_stats_request_body, parse_meter_stats
from agent.wire.openflow.multipart import (
    Assembler,
    Multipart,
    flow_request_body,
    multipart_request,
    parse_table_stats,
    port_stats_request_body,
)
from agent.wire.openflow.ports import parse_port_desc, parse_port_stats

__all__ = [
    "HEADER_LENGTH",
    "Assembler",
    "Header",
    "Multipart",
    "OpenFlowErrorMessage",
    "Type",
    "Version",
    "echo_reply",
    "echo_request",
    "features_request",
    "flow_request_body",
    "hello",
    "is_allowed",
    "meter_stats_request_body",
    "multipart_request",
    "negotiate",
    "parse_error",
    "parse_group_desc",
    "parse_header",
    "parse_meter_stats",
    "parse_port_desc",
    "parse_port_stats",
    "parse_table_stats",
    "port_stats_request_body",
    "read_bucket",
    "read_instructions",
]
