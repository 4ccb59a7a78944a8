"""Events: what changed on the node, derived from what was known before and what is known now.

``derive`` is pure: memory and snapshot in, memory and changes out, one file for each subject.
``maker`` looks when something has changed, ``queue`` numbers what it found and keeps it until it
is taken. Who takes it, and how it leaves the node, is exposition's affair.
"""
