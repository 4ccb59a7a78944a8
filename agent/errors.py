"""What can go wrong with a peer, in the words of the metric catalogue."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a source is down: the ``reason`` label of dataplane_agent_source_failures_total."""

    ABSENT = "absent"
    """There is no such peer: its socket, file or service does not exist."""
    REFUSED = "refused"
    """The peer is there and says no: connection refused, version or command not allowed."""
    DENIED = "denied"
    """The operating system says no: a missing right."""
    TIMEOUT = "timeout"
    """The peer did not answer in time."""
    BROKEN = "broken"
    """The connection ended in the middle, or the peer answered with an error."""
    MALFORMED = "malformed"
    """The peer answered with something that its protocol does not allow."""


class SourceError(Exception):
    """A peer cannot be read now; trying again is right. Anything else is a bug.

    Args:
        reason: Which of the six reasons.
        detail: One line for a person: which socket, which command, what it said.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ParseError(ValueError):
    """Bytes or text from a peer that its protocol does not allow. Sources map it to malformed."""


class UnknownFactError(Exception):
    """A collector needs something that is not known now. Its families are left out of the page."""

    def __init__(self, fact: str) -> None:
        super().__init__(f"{fact} is not known")
        self.fact = fact
