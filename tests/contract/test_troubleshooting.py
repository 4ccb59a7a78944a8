"""Whatever ``check``, /status and the log say is found in docs/troubleshooting.md."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.check import lines
from agent.config import Settings
from agent.daemon import Agent
from agent.errors import Reason, SourceError
from agent.health import SourceHealth

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
LOGGERS = {"logger", "_LOG", "log.get(__name__)"}
LEVELS = {"info", "warning", "error", "exception"}
ANY = "any with a socket"
EVERYTHING = {
    "collectors": {"address": True, "conntrack_zone": True},
    "ovn": {"databases": {"northbound": "tcp:192.0.2.1:6641", "southbound": "tcp:192.0.2.1:6642"}},
    "mqtt": {"host": "broker.example"},
}


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's tables, without their heads."""
    found = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in section(title).splitlines()
        if line.startswith("| ")
    ]
    return [row for row in found if row[0] not in {"source", "reason", "line", "key"}]


def said(source: SourceHealth, *, kernel: bool) -> list[str]:
    return list(lines([source], {source.name} if kernel else ()))


def printed(agent: Agent) -> Iterator[tuple[str, str, str]]:
    """Yield source, reason and hint, of every hint there is."""
    kernel = {source.name for source in agent.kernel_sources}
    for name in (source.name for source in agent.sources):
        for reason in Reason:
            health = SourceHealth(name)
            health.failed(SourceError(reason, "detail"), "part")
            head, problem, *hints = said(health, kernel=name in kernel)
            assert (head, problem) == (f"{name}: down", f"  part: {reason}: detail")
            for hint in hints:
                yield name, reason, hint.strip()


async def test_every_hint_has_a_row_and_every_row_a_hint() -> None:
    agent = Agent(Settings.model_validate(EVERYTHING))
    kernel = {source.name for source in agent.kernel_sources}
    documented = {
        (source, reason, hint)
        for names, reason, hint, _ in rows("Hints, one by one")
        for source in names.split(", ")
    }
    used = set()
    for source, reason, hint in printed(agent):
        by = {source} if source in kernel else {source, ANY}
        found = {(name, reason, hint) for name in by} & documented
        assert found, (source, reason, hint)
        used |= found
    assert documented - used == set()


async def test_every_other_line_of_check_is_told() -> None:
    text = section("What check says")
    unseen = said(SourceHealth("libvirt", configured=False), kernel=False)
    waiting = said(SourceHealth("openflow"), kernel=False)
    for line in (*unseen, waiting[1].strip()):
        assert f"`{line}`" in text
    good = SourceHealth("openflow")
    good.good()
    good.note(("something",))
    assert said(good, kernel=False) == ["openflow: good", "  note: something"]
    assert "`openflow: good`" in text
    assert "`note: …`" in text
    source = (ROOT / "agent" / "check.py").read_text()
    for written in re.findall(r'sys\.stdout\.write\(f?"([a-z]+: )', source):
        assert f"`{written}" in text


@pytest.mark.usefixtures("prometheus_installed")
def test_prometheus_can_read_what_is_to_be_asked(tmp_path: Path) -> None:
    asked = [
        query
        for title in ("Flows are missing", "An instance has no name")
        for row in rows(title)
        for query in re.findall(r"`([^`]*[{_][^`]*)`", row[0])
        if not re.fullmatch(r"[a-z_]+\.[a-z_]+(: .*)?|limits.*", query)
    ]
    assert len(asked) >= 8
    rules = [{"record": f"asked:{number}", "expr": query} for number, query in enumerate(asked)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_reason_is_told() -> None:
    assert {row[0] for row in rows("What check says")} >= {*Reason}


async def test_every_key_of_status_is_told() -> None:
    named = set(re.findall(r"`([a-z_]+)`", " ".join(row[0] for row in rows("What /status shows"))))
    assert named == Agent(Settings()).status().keys()


def test_every_event_of_the_log_is_told() -> None:
    logged = {
        call.args[0].value
        for path in (ROOT / "agent").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and ast.unparse(call.func.value) in LOGGERS
        and isinstance(call.args[0], ast.Constant)
    }
    told = {each for row in rows("What the log says") for each in re.findall(r"`([^`]+)`", row[0])}
    assert told == logged
    assert len(told) >= 15
