"""OpenFlow 1.3 and 1.4 as Open vSwitch speaks them: bytes <-> facts, without I/O."""
