"""What the documentation points at is there: files, headings, commands and paths of the tree."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOPS = ("dashboards", "deploy", "docs")
PAGES = [*ROOT.glob("*.md"), *(page for top in TOPS for page in sorted((ROOT / top).rglob("*.md")))]
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
REFERENCE = re.compile(r"^\[[^\]]+\]: (\S+)$", re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TREE = re.compile(
    r"(?<![\w./-])((?:(?:agent|bench|dashboards|deploy|docs|lab|tests)/[\w./-]*\w"
    r"|requirements[\w-]*\.lock))"
)
MAKE = re.compile(r"(?:^\s*|`)make ([a-z]+)", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them: of a heading that is there twice, the second has a number."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(FENCE.sub("", page.read_text())):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        slug = slug.strip().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def dead(page: Path) -> Iterator[str]:
    text = FENCE.sub("", page.read_text())
    for target in (*LINK.findall(text), *REFERENCE.findall(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield target


def test_no_link_is_dead() -> None:
    assert {page.name: found for page in PAGES if (found := list(dead(page)))} == {}


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A b\n\n## `x`, y\n\n## A b\n[1](#a-b-1) [2](#x-y) [3](#c) [4](none.md)\n")
    assert list(dead(page)) == ["#c", "none.md"]


def test_every_file_of_the_tree_that_is_named_is_there() -> None:
    # some are named as from the page's own folder
    missing = {
        each
        for page in PAGES
        for each in TREE.findall(page.read_text())
        if not any((at / each).exists() for at in (ROOT, page.parent))
    }
    assert missing == set()


def test_every_target_of_make_that_is_named_is_there() -> None:
    there = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in MAKE.findall(page.read_text())}
    assert {"setup", "demo", "test"} <= named
    assert named - there == set()


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, new = set(), {ROOT / "README.md"}
    while new:
        page = new.pop()
        reached.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(page.read_text()))
        files = {(page.parent / each).resolve() for each in targets if each}
        # a link to a folder shows what is in it
        files |= {inside for each in files if each.is_dir() for inside in each.glob("*.md")}
        new |= {each for each in files if each.suffix == ".md" and each.exists()} - reached
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - reached == set()
