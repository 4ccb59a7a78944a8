"""``dataplane-agent drops``: which flows lose packets right now, and whose packets they are.

``command`` is the story, ``watch`` does the readings, ``choice`` finds what was asked for,
``growth`` compares two readings into a ``report``, ``text`` and ``as_json`` write it.
"""
