"""What becomes of events when the broker stalls, restarts, refuses, or asks who is there."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.agent import PROGRAM
from lab.mosquitto import KEPT, PASSWORD, READER, USER, Message, Subscriber, Tls
from lab.process import wait_until
from tests.conftest import OPEN_VSWITCH, require_parts
from tests.e2e.event_site import (
    CONNECTED,
    DROPPED,
    MOSQUITTO,
    NODE,
    WAITING,
    EventSite,
    certificate_options,
)
from tests.exposition.pki import Pki

pytestmark = [pytest.mark.e2e]

MQTT = "DATAPLANE_AGENT_MQTT__"
DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"
LOGIN = ("-u", READER, "-P", PASSWORD)


@pytest.fixture(scope="module", autouse=True)
def _mosquitto_installed() -> None:
    require_parts(*MOSQUITTO)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    return file


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def kept_statuses(site: EventSite) -> list[str]:
    """Return what the broker tells somebody who comes now."""
    with Subscriber(site.broker, name="late") as late:

        def status(message: Message) -> bool:
            return message.topic == f"dataplane/{NODE}/status"

        return [message.payload["status"] for message in late.wait_for(status) if message.retain]


# -- stalled, restarted, killed --------------------------------------------------------------------


def test_a_stalled_broker_costs_events_and_no_scrape() -> None:
    require_parts(*OPEN_VSWITCH)
    with EventSite(switch=True, env={f"{MQTT}QUEUE": "100"}) as site:
        first = len(site.events()) + 1
        site.broker.pause()
        ports = (
            ("--", "add-port", "br0", f"d{number}", "--", "set", "Interface", f"d{number}")
            for number in range(150)
        )
        site.switch.vsctl(*(word for port in ports for word in (*port, "type=dummy")))
        # Scrapes are answered all the while, and say how it is.
        wait_until(lambda: site.metric(DROPPED) == 200, 20, "200 of 300 events dropped")
        site.until(CONNECTED, 0)
        assert site.metric(WAITING) == 100
        assert "mqtt down" in site.agent.log
        site.broker.resume()
        site.until(WAITING, 0)
        last = first + 299
        wait_until(lambda: site.events()[-1]["sequence"] == last, 20, "the last event")
        # A message that the broker took without saying so in time comes once more.
        heard = [event["sequence"] for event in site.events() if event["sequence"] >= first]
        assert heard[-100:] == list(range(last - 99, last + 1))
        assert site.metric(DROPPED) == 200


def test_the_status_is_kept_and_says_offline_at_the_end_and_when_the_agent_is_killed() -> None:
    with EventSite() as site:
        assert kept_statuses(site) == ["online"]
        site.agent.stop()
        wait_until(lambda: site.statuses() == ["online", "offline"], what="offline, said")
        heard = len(site.events())
        site.agent.start()
        wait_until(lambda: len(site.statuses()) == 3, what="online again")
        wait_until(site.is_settled, 20, "the baseline")
        site.agent.daemon.kill()
        wait_until(lambda: site.statuses()[3:] == ["offline"], what="offline, the last will")
        assert site.statuses() == ["online", "offline", "online", "offline"]
        assert kept_statuses(site) == ["offline"]
        # The second process has a number of its own, and tells nothing of what was there before.
        before, after = site.events()[:heard], site.events()[heard:]
        assert len({event["boot"] for event in before}) == 1
        assert len({event["boot"] for event in (before[0], *after)}) == 2
        assert [event["sequence"] for event in after] == list(range(1, len(after) + 1))
        assert not {event.get("netns") for event in before} & {each.get("netns") for each in after}


def test_events_of_a_time_without_the_broker_arrive_after_it_in_order() -> None:
    with EventSite() as site:
        first = len(site.events()) + 1
        site.broker.end()
        site.until(CONNECTED, 0)
        for number in range(5):
            site.host.add_namespace(f"n{number}")
            wait_until(lambda n=number: site.metric(WAITING) == n + 1, what="one more waits")
        site.broker.begin()
        site.until(WAITING, 0)
        wait_until(lambda: len(site.events()) >= first + 4, what="the events")
        late = [event for event in site.events() if event["sequence"] >= first]
        assert [event["netns"] for event in late] == [f"n{number}" for number in range(5)]
        assert site.metric(DROPPED) == 0
        assert kept_statuses(site) == ["online"]

        def told() -> list[str]:
            return re.findall(r'event="(mqtt \w+)"', site.agent.log)

        wait_until(lambda: len(told()) >= 3, what="the line that it is up")
        assert told() == ["mqtt up", "mqtt down", "mqtt up"]


# -- who may ---------------------------------------------------------------------------------------


def test_a_password_that_is_wrong_is_told_without_it_and_mended_without_a_restart(
    password: Path,
) -> None:
    password.write_text("wr0ng words\n")
    env = {f"{MQTT}USERNAME": USER, f"{MQTT}PASSWORD_FILE": str(password)}
    users = {"users": True}
    with EventSite(broker=users, env=env, listen=LOGIN, start=False) as site, site.agent as agent:
        wait_until(lambda: "mqtt down" in agent.log, what="a line")
        assert site.metric(CONNECTED) == 0
        assert agent.get("/status").text.count('"reason": "refused"') == 1
        line = next(line for line in agent.log.splitlines() if "mqtt down" in line)
        assert "reason=refused" in line
        assert "Not authorized" in line
        password.write_text(PASSWORD)
        site.until(CONNECTED, 1)
        for text in (agent.log, agent.get("/status").text, agent.get().text):
            assert "words" not in text


def blocks() -> Iterator[list[str]]:
    """Yield the lines of each example of a broker's file in the documentation."""
    for text in re.findall(r"```\n(# /etc/mosquitto.*?)```", DOCUMENT.read_text(), re.DOTALL):
        yield [line for line in text.splitlines() if line and not line.startswith("#")]


def without_files(lines: list[str]) -> set[str]:
    """Return lines of a broker's configuration, files by what they are for only, not where."""
    return {re.sub(r" (/\S+|[0-9]+( 127\.0\.0\.1)?)$", "", line) for line in lines}


def test_the_broker_of_the_documentation_lets_a_node_write_what_is_its_own_only(
    pki: Pki, password: Path
) -> None:
    config, acl = blocks()
    authority = pki.authority()
    server = pki.leaf(authority, "IP:127.0.0.1")
    env = {
        f"{MQTT}USERNAME": USER,
        f"{MQTT}PASSWORD_FILE": str(password),
        f"{MQTT}NODE": USER,
        f"{MQTT}TLS__ENABLED": "true",
        f"{MQTT}TLS__CA_CERTIFICATE": str(authority.cert),
    }
    broker = {
        "tls": Tls(server.cert, server.key),
        "users": True,
        "acl": (*acl, f"topic read {KEPT}"),  # the last user of it is the one who listens
    }
    login = (*certificate_options(authority.cert), *LOGIN)
    with EventSite(broker=broker, env=env, listen=login, start=False) as site, site.agent:
        assert without_files(config) <= without_files(site.broker.config)
        site.until(CONNECTED, 1)
        wait_until(lambda: len(site.heard.messages) == 1, what="the status")
        publish = ("mosquitto_pub", "-h", "127.0.0.1", "-p", str(site.broker.port), "-q", "1")
        trust = certificate_options(authority.cert)
        for who, where in ((USER, "other"), (READER, USER), (USER, USER)):
            as_who = ("-u", who, "-P", PASSWORD, "-t", f"dataplane/{where}/status", "-m", "{}")
            site.host.run(*publish, *trust, *as_who)
        (forged,) = site.heard.wait_for(lambda message: message.payload == {})
        assert forged.topic == f"dataplane/{USER}/status", "the other two came before"


def test_a_broker_is_trusted_with_the_right_certificate_only_and_sees_the_agents(pki: Pki) -> None:
    authority, other = pki.authority(), pki.authority()
    server, client = pki.leaf(authority, "IP:127.0.0.1"), pki.leaf(authority, "DNS:compute01")
    env = {
        f"{MQTT}TLS__ENABLED": "true",
        f"{MQTT}TLS__CA_CERTIFICATE": str(authority.cert),
        f"{MQTT}TLS__CERTIFICATE": str(client.cert),
        f"{MQTT}TLS__PRIVATE_KEY": str(client.key),
    }
    broker = {"tls": Tls(server.cert, server.key, authority.cert)}
    listen = ("--cert", str(client.cert), "--key", str(client.key))
    options = (*certificate_options(authority.cert), *listen)
    with EventSite(broker=broker, env=env, listen=options) as site:
        assert site.statuses() == ["online"]
        site.after(lambda: site.host.add_namespace("n0"), "namespace_added", netns="n0")
        site.agent.stop()
        with site.another_agent(**{f"{MQTT}TLS__CA_CERTIFICATE": str(other.cert)}) as agent:
            wait_until(lambda: "mqtt down" in agent.log, what="a line")
            assert "reason=refused" in agent.log
            assert "certificate: " in agent.log
            assert site.metric(CONNECTED) == 0
        stranger = pki.leaf(other, "DNS:compute01")
        env = {
            f"{MQTT}TLS__CERTIFICATE": str(stranger.cert),
            f"{MQTT}TLS__PRIVATE_KEY": str(stranger.key),
        }
        with site.another_agent(**env) as agent:
            wait_until(lambda: "mqtt down" in agent.log, what="a line")
            assert "TLS: " in agent.log
            assert site.metric(CONNECTED) == 0
        assert site.statuses() == ["online", "offline"]


# -- the extra -------------------------------------------------------------------------------------


def test_without_the_library_a_broker_is_a_configuration_problem(tmp_path: Path) -> None:
    (tmp_path / "aiomqtt.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'aiomqtt'\")\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path), f"{MQTT}HOST": "127.0.0.1"}
    done = subprocess.run(
        [str(PROGRAM), "check"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "configuration: mqtt.host: needs aiomqtt, the extra mqtt" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_library_and_without_a_broker_the_agent_runs(tmp_path: Path) -> None:
    (tmp_path / "aiomqtt.py").write_text("raise ModuleNotFoundError\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        [str(PROGRAM), f"--ovs.rundir={tmp_path}", "--web.listen-address=127.0.0.1:0"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        seen = next((line for line in process.stderr if "event=ready" in line), "")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert seen
    assert process.returncode == 0


def test_one_page_publishes_nothing() -> None:
    with EventSite(start=False) as site:
        done = subprocess.run(
            [*site.host.enter, str(PROGRAM), "once", f"--ovs.rundir={site.host.directory}"],
            env={**os.environ, **site.environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "dataplane_agent_build_info" in done.stdout
        assert "mqtt" not in done.stdout
        assert "dataplane-agent" not in site.broker.log
