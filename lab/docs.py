"""``make docs``: write the documentation that is made from the code."""

from pathlib import Path

from agent import catalogue
from lab import helm_chart

DOCS = Path(__file__).parents[1] / "docs"

if __name__ == "__main__":
    (DOCS / "metrics.md").write_text(catalogue.metrics_page(), encoding="utf-8")
    (DOCS / "configuration.md").write_text(catalogue.settings_page(), encoding="utf-8")
    for path, text in helm_chart.written().items():
        path.write_text(text, encoding="utf-8")
