"""docs/events.md says what is published: kinds, fields, topics, sources and numbers of the code."""

import json
import re
from pathlib import Path

import yaml

from agent import catalogue, config
from agent.config import Settings
from agent.daemon import Agent
from agent.events.change import MAX_CHARACTERS, Kind
from agent.events.maker import MAX_PAUSE_SECONDS, PAUSE_SECONDS, SHARE
from agent.exposition.mqtt import MAX_DELAY_SECONDS, STOP_SECONDS, WINDOW
from agent.supervise import FIRST_DELAY_SECONDS
from tests.events.valid import DESCRIBED, validate
from tests.exposition.mqtt_peer import Peer, Publishing, until

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "events.md").read_text()
PLAIN = re.sub(r"\s+", " ", TEXT)
COMMON = ("schema", "time", "node", "boot", "sequence", "kind")
ABOVE = "as above"


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table after a heading, without its head."""
    table = re.search(rf"^## {heading}\n.*?\n\n?(\|.*?)\n\n", TEXT, re.DOTALL | re.MULTILINE)
    assert table is not None, heading
    lines = table[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_kind_stands_there_with_the_fields_of_its_schema() -> None:
    (_, _, always_first, known_first), *_ = kinds = rows("Kinds")
    described = DESCRIBED["definitions"]
    for names, _, always, known in kinds:
        required = {*quoted(always), *(quoted(always_first) if ABOVE in always else ())}
        optional = {*quoted(known), *(quoted(known_first) if ABOVE in known else ())}
        for kind in quoted(names):
            assert set(described[kind]["required"]) == {*COMMON, *required}, kind
            assert set(described[kind]["properties"]) == {*COMMON, *required, *optional}, kind
    assert [kind for names, *_ in kinds for kind in quoted(names)] == list(Kind)


def test_what_every_event_has_stands_there() -> None:
    sentence = re.search(r"Every event has (.*?)\. What", PLAIN)
    assert sentence is not None
    assert tuple(quoted(sentence[1])) == COMMON
    assert f"`schema` ({DESCRIBED['definitions']['schema']['const']})" in sentence[1]


async def test_topics_are_those_that_are_published_to() -> None:
    documented = {quoted(topic)[0]: kept == "yes" for topic, kept, _ in rows("Topics")}
    async with Peer().listening() as peer, Publishing(peer.port).running() as publishing:
        publishing.happen(1)
        await until(lambda: peer.sequences)
    names = {"<prefix>": "dataplane", "<node>": "compute01", "<kind>": "source_up"}
    for name, value in names.items():
        documented = {topic.replace(name, value): kept for topic, kept in documented.items()}
    assert {topic: topic in peer.kept for topic, _ in peer.got} == documented


def test_the_examples_are_valid_and_in_their_topics() -> None:
    examples = re.findall(r"^(dataplane/\S+) (\{.*\})$", TEXT, re.MULTILINE)
    for topic, text in examples:
        document = validate(json.loads(text))
        what = f"event/{document['kind']}" if "kind" in document else "status"
        assert topic == f"dataplane/{document['node']}/{what}"
    assert len(examples) >= 3


def test_the_settings_are_taken_and_every_one_that_is_named_exists(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    file = tmp_path / "agent.yaml"
    file.write_text(example)
    assert config.load(file, {}, {}).mqtt.host == yaml.safe_load(example)["mqtt"]["host"]
    page = catalogue.settings_page()
    for name in re.findall(r"`((?:mqtt|identity|links|libvirt|ovs)\.[a-z_.]+[a-z])`", TEXT):
        assert f"`{name}`" in page, name


def test_every_metric_that_is_named_exists() -> None:
    emitted = {family.name for _, family in catalogue.families()}
    assert set(re.findall(r"dataplane_agent_[a-z_]+", TEXT)) <= emitted


async def test_every_source_stands_there_and_whether_it_is_followed_or_read() -> None:
    sentence = re.search(r"Those that are followed \((.*?)\) turn at once.*?\((.*?)\)", PLAIN)
    assert sentence is not None
    settings = Settings.model_validate(
        {
            "mqtt": {"host": "127.0.0.1"},
            "libvirt": {"enabled": True},
            "ovn": {"databases": {"northbound": "unix:/nb.sock", "southbound": "unix:/sb.sock"}},
        }
    )
    agent = Agent(settings, publishes=True)
    followed, read = (set(quoted(words)) for words in sentence.groups())
    assert followed | read == {source.name for source in agent.sources}
    assert followed & read == {"libvirt"}
    assert {each.name for each in agent.sources if each.subscription} <= followed


def test_numbers_are_those_of_the_code() -> None:
    assert f"cut at {MAX_CHARACTERS} characters" in PLAIN
    assert f"looks {PAUSE_SECONDS:g} s after a change" in PLAIN
    spared = f"more than {1000 * PAUSE_SECONDS / SHARE:g} ms ({SHARE} times as long"
    assert f"{spared}, {MAX_PAUSE_SECONDS:g} s at most)" in PLAIN
    assert f"at most {WINDOW} messages on their way" in PLAIN
    assert (FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS) == (0.5, 30.0)
    assert "tried again after half a second to half a minute" in PLAIN
    assert STOP_SECONDS == 1.0
    assert "a broker gets one second" in PLAIN


def test_every_kind_is_heard_of_in_a_test_with_the_real_thing() -> None:
    text = (ROOT / "tests" / "e2e" / "test_events.py").read_text()
    assert {kind for kind in Kind if f'"{kind}"' not in text} == set()
