"""Control sockets: what daemons say that is in no database and not on the OpenFlow wire."""

from agent.model.datapath import UnixctlReading
from agent.sources.unixctl.allowed import ALLOWED, OVN_CONTROLLER, VSWITCHD
from agent.sources.unixctl.control import CommandError, Control
from agent.sources.unixctl.ovn_reader import OvnReader
from agent.sources.unixctl.reader import UnixctlReader

__all__ = [
    "ALLOWED",
    "OVN_CONTROLLER",
    "VSWITCHD",
    "CommandError",
    "Control",
    "OvnReader",
    "UnixctlReader",
    "UnixctlReading",
]
