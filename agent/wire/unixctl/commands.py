"""``list-commands``: what this release can be asked."""

from agent.errors import ParseError

HEADER = "The available commands are:"


def parse_list_commands(text: str) -> frozenset[str]:
    """Return the names of the commands.

    ::

        The available commands are:
          coverage/show
          fdb/stats-show          bridge

    A command that a release hides from the list can still be asked for: 4.0 hides
    ``dpif-netdev/pmd-stats-show``, there an alias of ``pmd-perf-show``.

    Raises:
        ParseError: If the header line is missing.
    """
    header, _, lines = text.partition("\n")
    if header.strip() != HEADER:
        raise ParseError(f"not an answer of list-commands: {header[:40]!r}")
    return frozenset(line.split(maxsplit=1)[0] for line in lines.split("\n") if line.strip())
