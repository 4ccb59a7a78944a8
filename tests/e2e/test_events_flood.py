"""Ten thousand events, a consumer that stands still meanwhile, and a broker with small limits."""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from threading import Event

import pytest

from agent.exposition.mqtt import WINDOW
from lab.process import wait_until
from tests.conftest import OPEN_VSWITCH, require_parts
from tests.e2e.event_site import DROPPED, MOSQUITTO, QOS, WAITING, EventSite

pytestmark = [pytest.mark.e2e]

PORTS, TURNS = 1000, 9
EVENTS = PORTS * (1 + TURNS)
PAUSE_SECONDS = 0.3
INTERFACES = {f"d{number}" for number in range(PORTS)}


@pytest.fixture(scope="module", autouse=True)
def _parts() -> None:
    require_parts(*OPEN_VSWITCH, *MOSQUITTO)


@contextmanager
def scraped_again_and_again(site: EventSite) -> Iterator[list[int]]:
    """Scrape some times a second; give the status of each answer."""
    answers: list[int] = []
    done = Event()

    def scrape() -> None:
        while not done.wait(PAUSE_SECONDS):
            answers.append(site.agent.get().status)

    with ThreadPoolExecutor(max_workers=1) as thread:
        scraping = thread.submit(scrape)
        try:
            yield answers
        finally:
            done.set()
            scraping.result()


def heard(site: EventSite, first: int) -> dict[int, str]:
    """Return the namespaces of events from a number on, by their numbers, in the order they came.

    What came twice stands where it came first.
    """
    events = (event for event in site.events() if event["sequence"] >= first)
    return {event["sequence"]: event["netns"] for event in events}


def vsctl(site: EventSite, *commands: tuple[str, ...]) -> None:
    """Do all of it in one transaction, without ovs-vswitchd, which does not run."""
    words = (word for command in commands for word in ("--", *command))
    site.switch.vsctl("--no-wait", *words)


def test_ten_thousand_events_lose_nothing_also_where_a_consumer_stands_still() -> None:
    with (
        EventSite(switch=True, env={"DATAPLANE_AGENT_MQTT__QUEUE": str(EVENTS)}) as site,
        scraped_again_and_again(site) as answers,
    ):
        site.switch.kill_vswitchd()  # links turn as the database says: here as the test says
        site.heard.pause()
        before = site.broker.received

        def published(count: int) -> None:
            wait_until(lambda: site.broker.received >= before + count, 60, f"{count} messages")

        added = [("add-port", "br0", name) for name in INTERFACES]
        vsctl(site, *added)
        published(PORTS)
        for turn in range(1, TURNS + 1):
            link = f"link_state={'up' if turn % 2 else 'down'}"
            vsctl(site, *(("set", "Interface", name, link) for name in INTERFACES))
            published(PORTS * (1 + turn))
        site.until(WAITING, 0)
        assert site.metric(DROPPED) == 0
        assert set(answers) == {200}
        assert site.heard.count < EVENTS, "it stands still"
        site.heard.resume()
        expected = site.broker.received
        wait_until(lambda: site.heard.count >= expected, 60, "the consumer to catch up")
        events = site.events()
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    turns = defaultdict[str, list[str]](list)
    for event in events:
        if event.get("interface") in INTERFACES:
            turns[event["interface"]].append(event["kind"].removeprefix("interface_"))
    assert turns.keys() == INTERFACES
    assert set(map(tuple, turns.values())) == {("added", *islice(cycle(("up", "down")), TURNS))}


@pytest.mark.parametrize("qos", ["0", "2"])
def test_events_arrive_with_every_quality_of_service(qos: str) -> None:
    with EventSite(env={QOS: qos}) as site:
        first = len(site.events()) + 1
        names = {f"n{number}" for number in range(2 * WINDOW)}
        site.broker.pause()  # so that a whole window is on its way at once
        for name in names:
            site.host.add_namespace(name)
        site.broker.resume()
        site.until(WAITING, 0)
        wait_until(lambda: len(heard(site, first)) == len(names), 20, "the last one")
        assert list(heard(site, first)) == list(range(first, first + len(names)))
        assert set(heard(site, first).values()) == names
        assert site.metric(DROPPED) == 0


def test_a_broker_with_small_limits_gets_what_it_can_take() -> None:
    limits = ("max_inflight_messages 2", "max_packet_size 700")
    with EventSite(broker={"more": limits}) as site:
        first = len(site.events()) + 1
        names = {f"n{number}" for number in range(10)}
        for name in names:
            site.host.add_namespace(name)
        long = "n" + "\u2028" * 80  # 240 bytes of a name are 480 of JSON
        site.host.add_namespace(long)
        wait_until(lambda: site.metric(DROPPED) == 1, 20, "one event dropped")
        site.host.delete_namespace(long)
        wait_until(lambda: site.metric(DROPPED) == 2, 20, "another one dropped")
        site.host.add_namespace("last")
        wait_until(lambda: site.has_event(netns="last"), 20, "the last one")
        assert set(heard(site, first).values()) == {*names, "last"}
        assert site.agent.log.count('event="mqtt refused"') == 1
        assert 'event="mqtt down"' not in site.agent.log
