"""ovs-vswitchd's control socket: what is not in its database and not on the OpenFlow wire."""

from agent.model.datapath import UnixctlReading
from agent.sources.unixctl.allowed import ALLOWED
from agent.sources.unixctl.control import CommandError, Control
from agent.sources.unixctl.reader import UnixctlReader

__all__ = ["ALLOWED", "CommandError", "Control", "UnixctlReader", "UnixctlReading"]
