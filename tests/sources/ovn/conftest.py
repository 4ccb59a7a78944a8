"""The source's patience, shortened where a test need not wait for it."""

import pytest

from agent.sources import ovn_following


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publications at once, or nearly."""
    monkeypatch.setattr(ovn_following, "PUBLISH_SECONDS", 0.05)
