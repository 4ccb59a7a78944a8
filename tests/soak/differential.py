"""Compare the text of random flows with ovs-ofctl's, seed after seed, for as long as one likes.

Run as ``PYTHONPATH=. python tests/soak/differential.py SECONDS [FIRST_SEED]``, as root. Ends with
status 1 if a flow was printed differently or refused; the seed repeats it, as ``FLOW_SEED`` of
the test too.
"""

import argparse
import secrets
import sys
import time

from lab.node import Node
from lab.process import LabError
from tests.node.flow_differential import BRIDGES, add_bridges, compare

FLOWS = 2500
SHOWN_ERROR = 2000


def say(line: str) -> None:
    """Write a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Compare until the time is up and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("first_seed", type=int, nargs="?", default=secrets.randbits(32))
    arguments = parser.parse_args()
    first, seeds, compared, findings = arguments.first_seed, 0, 0, 0
    end = time.monotonic() + arguments.seconds
    with Node() as node:
        add_bridges(node)
        while time.monotonic() < end:
            seed = first + seeds
            for bridge in BRIDGES:
                try:
                    result = compare(node, bridge, bridge.generator(seed).flows(FLOWS))
                except LabError as error:
                    found = [str(error)[-SHOWN_ERROR:]]
                else:
                    compared += result.compared
                    found = result.differences
                findings += bool(found)
                for line in found:
                    say(f"FLOW_SEED={seed} {bridge.name}: {line}")
            seeds += 1
    say(f"{seeds} seeds from {first}: {compared} flows compared, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
