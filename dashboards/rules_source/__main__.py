"""Writes rules with a site's settings: ``python -m dashboards.rules_source --to DIRECTORY``."""

import argparse
import os
from pathlib import Path

from dashboards.rules_source import Settings, rules

RULES = Path(__file__).parents[1] / "rules"


def main() -> None:
    """Write every file; what is not said is as in ``Settings``."""
    own = Settings()
    parser = argparse.ArgumentParser(prog="python -m dashboards.rules_source", description=__doc__)
    parser.add_argument("--to", type=Path, default=RULES, help="where; default: %(default)s")
    parser.add_argument("--job", default=own.job, help="matcher of the agents' jobs; %(default)s")
    parser.add_argument("--window", default=own.window, help="of rates; %(default)s")
    parser.add_argument(
        "--runbook-base",
        default=os.environ.get("RUNBOOK_BASE", own.runbook_base),
        help="address of this repository's files, with a slash at its end; RUNBOOK_BASE",
    )
    parser.add_argument("--deadline-seconds", type=float, default=own.deadline_seconds)
    parser.add_argument("--scrape-interval", default=own.scrape_interval)
    chosen = vars(parser.parse_args())
    to: Path = chosen.pop("to")
    to.mkdir(parents=True, exist_ok=True)
    for name, text in rules(Settings(**chosen)).items():
        (to / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
