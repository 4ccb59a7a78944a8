"""Writes dashboards/rules: ``python -m dashboards.rules_source``."""

from pathlib import Path

from dashboards.rules_source import Settings, rules

RULES = Path(__file__).parents[1] / "rules"

for name, text in rules(Settings()).items():
    (RULES / name).write_text(text, encoding="utf-8")
