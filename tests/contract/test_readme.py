"""What the README and its pages tell people to paste works."""

import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent import catalogue, config
from agent.collectors import COLLECTORS

ROOT = Path(__file__).parents[2]
DOCS = (
    *("events", "flows", "install", "instances", "kernel", "ovn"),
    *("scaling", "scraping", "security", "troubleshooting"),
)
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in DOCS))
TEXT = "\n".join(page.read_text() for page in PAGES)


def blocks(language: str) -> Iterator[str]:
    """Those of a list stand further right."""
    for found in re.finditer(rf"^ *```{language}\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE):
        yield textwrap.dedent(found[1])


QUERIES = list(blocks("promql"))
SECTIONS = f"(?:{'|'.join(config.Settings.model_fields)}):"
SETTINGS = [block for block in blocks("yaml") if re.match(SECTIONS, block)]
SCRAPES = [block for block in blocks("yaml") if "scrape_configs:" in block]
NAMES = {family.name for _, family in catalogue.families()}
PREFIXES = "ovs|ovn|dataplane|netns|linux|libvirt"
SOURCES = {"ovn_controller", "ovn_flow", "ovn_northbound", "ovn_southbound", "ovs_genl"}
"""And collectors: they are named there as well."""
GOLDEN = ROOT / "tests" / "collectors" / "golden"


@pytest.mark.usefixtures("prometheus_installed")
def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(QUERIES)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "readme", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(QUERIES) >= 9


def test_every_name_in_them_can_be_emitted() -> None:
    # A family of families is written with a star; a setting has a point before it, a file a slash.
    found = set(re.findall(rf"(?<![\w./])(?:{PREFIXES})_[a-z_]*[a-z](?![a-z_*])", TEXT))
    named = {name.removesuffix("_sum").removesuffix("_count") for name in found}
    assert named - NAMES - SOURCES == set()
    begun = set(re.findall(rf"\b((?:{PREFIXES})_[a-z_]*)\*", TEXT))
    assert begun
    assert all(any(name.startswith(each) for name in NAMES) for each in begun)


@pytest.mark.usefixtures("prometheus_installed")
def test_every_join_finds_one_partner(tmp_path: Path) -> None:
    lines = (line for page in GOLDEN.glob("*.prom") for line in page.read_text().splitlines())
    node = [
        {
            "series": _at(series, "compute01"),
            "values": f"{value}+{int('_total' in series)}x60",  # counters count
        }
        for series, _, value in (
            line.rpartition(" ") for line in lines if line[:1] not in ("", "#")
        )
    ]
    # Nothing is expected: promtool then says of each what it found, or why it cannot be answered.
    asked = [{"expr": query, "eval_time": "30m", "exp_samples": []} for query in QUERIES]
    file = tmp_path / "tests.yaml"
    test = {"interval": "1m", "input_series": node, "promql_expr_test": asked}
    file.write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    answered = done.stdout + done.stderr
    assert answered.count("got:") >= len(QUERIES) / 2, answered
    assert "err: " not in answered, answered


def _at(series: str, instance: str) -> str:
    name, _, labels = series.partition("{")
    return f'{name}{{instance="{instance}",{labels or "}"}'


def test_the_agent_takes_every_setting(tmp_path: Path) -> None:
    assert len(SETTINGS) >= 7
    for number, settings in enumerate(SETTINGS):
        file = tmp_path / f"{number}.yaml"
        file.write_text(settings)
        config.load(file, {}, {})


@pytest.mark.usefixtures("prometheus_installed")
def test_prometheus_takes_every_configuration(tmp_path: Path) -> None:
    assert len(SCRAPES) >= 6
    for number, text in enumerate(SCRAPES):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        # not whether certificates and passwords are there
        done = subprocess.run(
            ["promtool", "check", "config", "--syntax-only", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, text + done.stdout + done.stderr


def test_the_recipe_that_spares_the_switch_names_every_collector_that_reads_flows() -> None:
    flows = [collector.name for collector in COLLECTORS if "flows" in collector.reads]
    recipe = re.search(r'"exclude\[\]": \[([a-z_, ]+)\]', TEXT)
    other = re.search(r'"collect\[\]": \[agent, ([a-z_, ]+)\]', TEXT)
    assert recipe is not None
    assert other is not None
    assert sorted(recipe[1].split(", ")) == sorted(other[1].split(", ")) == sorted(flows)
