"""Control sockets of ovs-vswitchd and ovn-controller: JSON-RPC framing, texts of show commands.

The texts are those of Open vSwitch 2.13 to 4.0 and of OVN 20.03 to 26.09. A line that is unknown
is passed over and a line that is missing leaves ``None``, because releases add and drop lines
freely; what is refused is a text of some other command and a number that is none.
"""
