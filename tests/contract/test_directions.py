"""Imports point one way: peers -> wire -> model -> store -> collectors -> exposition."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "agent"

MAY_IMPORT = {
    "errors": set(),
    "families": set(),
    "columns": {"families"},
    "log": set(),
    "supervise": {"errors"},
    "model": {"errors", "model"},
    "health": {"errors", "log", "model"},
    "wire": {"errors", "model", "wire"},
    "store": {"errors", "model"},
    "collectors": {"collectors", "columns", "families", "model"},
    "events": {"events", "model"},
    "pipelines": {"model", "pipelines"},
    "addresses": set(),
    "flow_rules": set(),
    "sections": {"addresses", "flow_rules", "model"},
    "sections_mqtt": {"sections"},
    "config": {"collectors", "sections", "sections_mqtt"},
    "sources": {
        "addresses",
        "config",
        "errors",
        "flow_rules",
        "health",
        "log",
        "model",
        "pipelines",
        "sections",
        "sources",
        "store",
        "supervise",
        "wire",
    },
    "scrape": {"collectors", "errors", "families", "health", "log", "model", "store"},
    "exposition": {
        "errors",
        "events",
        "exposition",
        "families",
        "log",
        "scrape",
        "sections",
        "sections_mqtt",
        "supervise",
    },
}
"""Everything else (daemon, cli and what they start) wires, and may import anything."""

IO_MODULES = {"aiohttp", "socket", "ssl", "select", "selectors", "urllib", "http", "os"}
MAY_DO_IO = {"sources", "exposition"}
OS_IS_ENVIRONMENT_ONLY = {"__init__", "addresses", "config"}
"""__init__.py sets a variable for numpy; config.py reads its file and the environment, before
anything else runs; a path is bytes."""
FORBIDDEN = {"subprocess", "multiprocessing", "pty"}

FILES = sorted(AGENT.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(AGENT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(AGENT)))
def test_imports_point_one_way(path: Path) -> None:
    allowed = MAY_IMPORT.get(part_of(path))
    if allowed is None:
        return
    ours = {
        name.split(".")[1]
        for name in imports(path)
        if name.startswith("agent.") and name != "agent.__version__"
    }
    assert ours <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(AGENT)))
def test_only_sources_and_exposition_do_io(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports(path)}
    assert not libraries & FORBIDDEN
    if part_of(path) not in MAY_DO_IO | OS_IS_ENVIRONMENT_ONLY:
        assert not libraries & IO_MODULES - pure_use(path)


def pure_use(path: Path) -> set[str]:
    """Writing an address as text does no I/O, though the function lives in socket."""
    used = {name for name in imports(path) if name.startswith("socket.")}
    return {"socket"} if used and used <= {"socket.AF_INET6", "socket.inet_ntop"} else set()


def test_every_part_of_the_tree_has_a_rule_or_wires() -> None:
    parts = {part_of(path) for path in FILES}
    assert parts - set(MAY_IMPORT) == {
        "__init__",
        "__main__",
        "catalogue",
        "check",
        "cli",
        "daemon",
        "drops",
        "events_side",
        "kernel_side",
        "once",
        "ovn_followed",
        "ovn_side",
        "status",
    }


def test_modules_stay_small() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in FILES}
    assert {str(path): size for path, size in sizes.items() if size > 400} == {}
    assert sorted(sizes.values())[len(sizes) // 2] <= 120
