"""Which names of namespaces are followed: by patterns, up to a limit, each written once."""

from collections import Counter
from collections.abc import Container
from fnmatch import fnmatchcase

from agent.config import Settings
from agent.errors import Reason, SourceError

ALIKE = "whose names are written like others' are not entered"


class ChosenNames:
    """Remembers what was refused.

    Args:
        settings: Patterns and the limit.

    Attributes:
        refused: Names of files that would be followed if there were fewer others, or others.
    """

    def __init__(self, settings: Settings) -> None:
        self.refused: dict[bytes, str] = {}
        self._settings = settings.namespaces
        self._limit = settings.limits.namespaces

    def written(self, raw: bytes) -> str | None:
        """Return how a name is written; ``None`` if the patterns leave it out.

        Bytes that are no UTF-8 become backslash escapes, so two names may be written alike.
        """
        name = raw.decode("utf-8", "backslashreplace")
        included = any(fnmatchcase(name, pattern) for pattern in self._settings.include)
        excluded = any(fnmatchcase(name, pattern) for pattern in self._settings.exclude)
        return name if included and not excluded else None

    def is_full(self, count: int) -> bool:
        """Say whether so many are as many as there may be."""
        return count >= self._limit

    def accept(self, raw: bytes, name: str, others: Container[str], count: int) -> bool:
        """Say whether there is room for another name, and remember it if not.

        Args:
            raw: The file's name.
            name: How it is written.
            others: Names that are followed.
            count: How many they are.
        """
        if name in others:
            self.refused[raw] = ALIKE
        elif self.is_full(count):
            self.refused[raw] = f"beyond limits.namespaces ({self._limit}) are not entered"
        else:
            self.refused.pop(raw, None)
        return raw not in self.refused

    def problem(self) -> SourceError | None:
        """Return what to tell about the refused ones."""
        counts = Counter(self.refused.values())
        detail = "; ".join(f"{count} {why}" for why, count in sorted(counts.items()))
        return SourceError(Reason.REFUSED, detail) if detail else None
