"""ovs-vswitchd's control socket: JSON-RPC framing and the texts of its show commands.

The texts are those of Open vSwitch 2.13 to 4.0. A line that is unknown is passed over and a line
that is missing leaves ``None``, because releases add and drop lines freely; what is refused is a
text of some other command and a number that is none.
"""
