"""Writes dashboards and rules: ``python -m dashboards.build [--check]``."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.boards import BOARDS
from dashboards.rules_source import Settings, rules

HERE = Path(__file__).parent
JSON, RULES = HERE / "json", HERE / "rules"
CHART = HERE.parent / "deploy" / "helm" / "dataplane-agent" / "files"
"""Copies for the Helm chart, which packs nothing from outside its own directory."""
OF_ALERTMANAGER = "inhibit.example.yaml"


def text_of(board: Dashboard) -> str:
    """Write a board as Grafana reads it: keys in order, so that a change shows as what it is."""
    return json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def written() -> Iterator[tuple[Path, str]]:
    """Yield every file and what belongs there."""
    for name, build in BOARDS.items():
        text = text_of(build())
        yield JSON / f"{name}.json", text
        yield CHART / "dashboards" / f"{name}.json", text
    for name, text in rules(Settings()).items():
        yield RULES / name, text
        if name != OF_ALERTMANAGER:
            yield CHART / "rules" / name, text


def stale() -> list[Path]:
    """Return the files that are not what they should be, and boards that nothing writes."""
    wanted = dict(written())
    changed = {path for path, text in wanted.items() if not path.exists() or _read(path) != text}
    there = {path for path in (*JSON.iterdir(), *CHART.glob("*/*")) if path.is_file()}
    return sorted(changed | there - wanted.keys())


def main() -> int:
    """Write them, or with ``--check`` say which are out of date."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if that is wrong")
    if parser.parse_args().check:
        out_of_date = stale()
        for path in out_of_date:
            print(f"{path.relative_to(HERE.parent)} is out of date: make dashboards")
        return 1 if out_of_date else 0
    for path, text in written():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
