"""The documentation that is generated is up to date."""

from pathlib import Path

from agent import catalogue

DOCS = Path(__file__).parents[2] / "docs"
ASK = "run: make docs"


def test_the_list_of_metrics_is_the_code() -> None:
    assert catalogue.metrics_page() == (DOCS / "metrics.md").read_text(), ASK


def test_the_list_of_settings_is_the_code() -> None:
    assert catalogue.settings_page() == (DOCS / "configuration.md").read_text(), ASK
