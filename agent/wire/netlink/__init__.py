"""Netlink: bytes <-> facts. Numbers are in the machine's own byte order."""
