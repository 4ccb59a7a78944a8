"""Names, types and help texts are API: the rules that every family keeps."""

import json
import re
import shutil
import subprocess

import pytest

from agent import catalogue
from agent.collectors import COLLECTORS, NAMES, OF_SWITCH
from agent.families import Family, Sample, render_labels
from tests.page import rendered

ENTRIES = catalogue.families()
FAMILIES = [family for _, family in ENTRIES]
OURS = [family for collector in COLLECTORS for family in collector.families]
TARGET_LABELS = {"instance", "job", "hostname", "host", "node", "system_id"}


def test_collectors_stand_from_a_to_z_and_are_named_as_their_file() -> None:
    assert list(NAMES) == sorted(NAMES)
    for collector in COLLECTORS:
        modules = {part.__module__ for part in collector.collect}
        assert modules == {f"agent.collectors.{collector.name}"}


def test_only_collectors_that_exist_are_off_without_open_vswitch() -> None:
    assert set(NAMES) > OF_SWITCH


def test_no_two_families_have_one_name() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("family", OURS, ids=lambda family: family.name)
def test_a_family_keeps_the_rules_of_names(family: Family) -> None:
    assert re.fullmatch(r"(ovs|ovn|netns|linux|libvirt|dataplane)_[a-z0-9_]+", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert not family.name.endswith("_count")
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in family.labels)
    assert len(set(family.labels)) == len(family.labels)
    # the first exists to tell the system-id, the second tells of other nodes
    if family.name not in ("ovs_vswitch_info", "ovn_chassis_info"):
        assert not TARGET_LABELS & set(family.labels)


@pytest.mark.parametrize("family", OURS, ids=lambda family: family.name)
def test_help_is_one_sentence_that_ends_in_its_origin(family: Family) -> None:
    assert re.fullmatch(r"[A-Z0-9][^\n]*[a-z0-9).] ?\[[^\[\]]+\]\.", family.help), family.help
    assert ". " not in family.help


def test_what_a_collector_refuses_first_is_its_own() -> None:
    for collector in COLLECTORS:
        assert set(collector.detail) <= set(collector.families)


def one_of_everything() -> list[Sample]:
    samples = []
    for family in FAMILIES:
        labels = render_labels(family.labels, tuple("v" for _ in family.labels))
        suffixes = ("_sum", "_count") if family.kind == "summary" else ("",)
        samples += [Sample(family, labels, 1, suffix) for suffix in suffixes]
    return samples


def test_promtool_is_content_with_everything_that_can_be_emitted() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is part of Debian's prometheus package: make setup"
    page = rendered(one_of_everything())
    answer = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, check=False
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"", b"")


def test_the_lists_for_people_and_programs_hold_every_family() -> None:
    table = catalogue.markdown(ENTRIES)
    assert all(f"| {name} | {family.name} |" in table for name, family in ENTRIES)
    names = [entry["name"] for entry in json.loads(catalogue.as_json(ENTRIES))]
    assert names == [family.name for family in FAMILIES]
