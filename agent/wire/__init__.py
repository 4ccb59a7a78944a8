"""Bytes and text of peers <-> facts; pure."""
