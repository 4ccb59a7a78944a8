"""Whatever libvirtd says, or does not say, the page is valid and on time, and /status says why."""

import json
import subprocess
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.sax.saxutils import escape, quoteattr

import pytest

from agent.exposition.text import Format
from lab.agent import Agent
from lab.host import Host
from lab.libvirt_domains import RUNNING, SHUTOFF, Domain, Interface
from lab.libvirt_faults import GARBAGE, Answer, Call, half_then_closes, says_nothing
from lab.libvirt_rpc import Procedure
from lab.libvirt_server import LibvirtServer
from lab.process import wait_until
from tests.e2e.instance_page import COUNTERS, INFO, META, OPENSTACK, STATE, family
from tests.page import Series, of, series
from tests.sources.libvirt.following import made

pytestmark = [pytest.mark.e2e, pytest.mark.node, pytest.mark.usefixtures("prometheus_installed")]

TIMEOUT_SECONDS, ANSWER_SECONDS = 1.0, 2.0
"""What Prometheus gives a scrape, and the agent libvirt: a page does not wait for that."""
ENV = {
    "DATAPLANE_AGENT_OVS__ENABLED": "false",
    "DATAPLANE_AGENT_TIMEOUTS__LIBVIRT_SECONDS": f"{ANSWER_SECONDS:g}",
}
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
LONGEST = 1024
"""Characters of a text that a page shows."""
STATS, LIST, XML = (
    Procedure.CONNECT_GET_ALL_DOMAIN_STATS,
    Procedure.CONNECT_LIST_ALL_DOMAINS,
    Procedure.DOMAIN_GET_XML_DESC,
)
MAC, SECOND_MAC = "fa:16:3e:00:01:01", "fa:16:3e:00:01:02"
ESCAPE = "\x1b"
HOSTILE = (
    'quo"ted',
    "back\\slash",
    "new\nline",
    'all\\"\n} 1\n',
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe\N{RIGHT-TO-LEFT MARK}",
    f"\N{LINE SEPARATOR}\x7f{ESCAPE}[2J\N{NO-BREAK SPACE}",
    "\N{PILE OF POO}" * 5,
    "x" * 10_000,
)
GOOD = made("good", "tap0", number=99)


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LibvirtServer]:
    with LibvirtServer(tmp_path / "sock", [GOOD]) as server:
        yield server


@pytest.fixture
def agent(server: LibvirtServer, host: Host) -> Iterator[Agent]:
    with Agent(host.directory, f"--libvirt.uri={server.uri}", env=ENV, host=host) as agent:
        yield agent


def scrape(agent: Agent) -> Series:
    """Scrape in both formats: on time, content for promtool, and no series twice."""
    found: list[Series] = []
    for accepted, form in (("text/plain", Format.TEXT), (OPENMETRICS, Format.OPENMETRICS)):
        began = time.monotonic()
        headers = {
            "Accept": accepted,
            "X-Prometheus-Scrape-Timeout-Seconds": f"{TIMEOUT_SECONDS:g}",
        }
        answer = agent.get(headers=headers)
        assert time.monotonic() - began < TIMEOUT_SECONDS
        assert answer.status == 200
        found.append(series(answer.body, form))
        if form is Format.TEXT:
            check = ["promtool", "check", "metrics"]
            promtool = subprocess.run(check, input=answer.body, capture_output=True, check=False)
            assert (promtool.returncode, promtool.stdout, promtool.stderr) == (0, b"", b"")
    return found[0]


def scrape_until(agent: Agent, promise: Callable[[Series], bool], what: str) -> Series:
    """Scrape until the page is as promised; each page on the way is valid and on time."""

    def kept() -> Series | None:
        page = scrape(agent)
        return page if promise(page) else None

    page = wait_until(kept, timeout=20, what=what)
    assert page is not None
    return page


def values(page: Series, name: str, label: str) -> set[str]:
    return {dict(labels).get(label, "") for each, labels in page if each == name}


def libvirt(agent: Agent) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(agent.get("/status").text)["sources"]["libvirt"]
    return told


def reasons(agent: Agent) -> dict[str, str]:
    return {part: problem["reason"] for part, problem in libvirt(agent)["problems"].items()}


def counters_of(page: Series) -> set[str]:
    """Return which of the eight counters have any series."""
    return {name for name, _ in page} & set(map(family, COUNTERS))


def is_well(page: Series) -> bool:
    """Whether all is known of the domain that nothing is wrong with."""
    return of(page, "dataplane_agent_source_up", source="libvirt") == [1] and all(
        of(page, family(name), domain=GOOD.name, target_device="tap0") == [10] for name in COUNTERS
    )


def nova(name: str) -> str:
    """Return the metadata of an instance that has the same name for everything."""
    return (
        f"<metadata><nova:instance xmlns:nova='{NOVA}'>"
        f"<nova:name>instance_name{escape(name)}</nova:name>"
        f"<nova:flavor name={quoteattr('flavor_name' + name)}/>"
        f"<nova:owner><nova:user uuid='u'>user_name{escape(name)}</nova:user>"
        f"<nova:project uuid='p'>project_name{escape(name)}</nova:project></nova:owner>"
        "</nova:instance></metadata>"
    )


def xml(*inside: str) -> str:
    return f"<domain type='kvm'>{''.join(inside)}</domain>"


def devices(*inside: str) -> str:
    return f"<devices>{''.join(inside)}</devices>"


def plug(device: str, mac: str = MAC) -> str:
    return (
        f"<interface type='bridge'><mac address='{mac}'/><target dev={quoteattr(device)}/>"
        "</interface>"
    )


def domain(number: int, name: str, *devices: str, text: str, state: int = RUNNING) -> Domain:
    plugs = tuple(Interface(device, counters=(number,) * 8) for device in devices)
    return Domain(name, UUID(int=number), number, state, interfaces=plugs, xml=text)


# -- names -----------------------------------------------------------------------------------------


def test_hostile_names_of_novas_stand_on_the_page_as_they_are(
    server: LibvirtServer, agent: Agent
) -> None:
    names = [name.replace(ESCAPE, "") for name in HOSTILE]  # which XML cannot hold
    server.domains = (
        GOOD,
        *(
            domain(number, f"vm-{number}", text=xml(nova(name)))
            for number, name in enumerate(names, start=1)
        ),
    )
    server.drop()
    page = scrape_until(
        agent, lambda page: len(of(page, OPENSTACK)) == 1 + len(names), "all domains"
    )
    for label in ("instance_name", "flavor_name", "project_name", "user_name"):
        shown = values(page, OPENSTACK, label)
        assert len(shown) == 1 + len(names)
        assert shown > {f"{label}{name}".strip()[:LONGEST] for name in names}
    scrape_until(agent, is_well, "the domain with nothing wrong")
    assert reasons(agent) == {}


def test_hostile_names_of_domains_stand_on_the_page_as_they_are(
    server: LibvirtServer, agent: Agent
) -> None:
    names = (*HOSTILE, "y" * LONGEST + "1", "y" * LONGEST + "2")
    server.domains = (
        GOOD,
        *(
            domain(number, name, f"tap{number}", text=xml(devices(plug(f"tap{number}"))))
            for number, name in enumerate(names, start=1)
        ),
    )
    server.drop()
    shown = {GOOD.name, *(name[:LONGEST] for name in names)}
    assert len(shown) == len(names), "two are the same when they are cut"
    scrape_until(agent, lambda page: values(page, STATE, "domain") == shown, "all domains")
    page = scrape_until(agent, is_well, "the domain with nothing wrong")
    for name in (STATE, META, INFO, *map(family, COUNTERS)):
        assert values(page, name, "domain") == shown, name
    assert len(of(page, STATE)) == len(shown)
    assert len(of(page, INFO)) == 1 + len(names)
    assert reasons(agent) == {}


def test_a_hostile_name_is_one_printable_line_of_the_log_and_of_status(
    server: LibvirtServer, agent: Agent
) -> None:
    server.domains = (GOOD, *(domain(n, name, text="<") for n, name in enumerate(HOSTILE, start=1)))
    server.drop()
    wait_until(lambda: len(reasons(agent)) == len(HOSTILE), what="all of them to be refused")
    assert reasons(agent) == {f"domain {name[:LONGEST]}": "malformed" for name in HOSTILE}
    for line in agent.log.splitlines():
        assert line.startswith("ts=")
        assert not any(unicodedata.category(each) in ("Cc", "Zl", "Zp") for each in line)


# -- descriptions ----------------------------------------------------------------------------------


def test_domains_that_have_nothing_or_the_same_twice_break_no_page(
    server: LibvirtServer, agent: Agent
) -> None:
    twice = devices(plug("tap1"), plug("tap1"), plug("tap1", SECOND_MAC))
    server.domains = (
        GOOD,
        domain(1, "bare", text=xml()),
        domain(2, "no devices", text=xml(nova("web"))),
        domain(3, "no interfaces", text=xml(devices())),
        domain(4, "twice", "tap1", "tap1", text=xml(twice)),
        domain(5, "one", "tap2", text=xml(devices(plug("tap2")))),
        domain(6, "other", "tap2", text=xml(devices(plug("tap2")))),
        domain(7, "off", text=xml(devices(plug("tap2"))), state=SHUTOFF),
    )
    server.drop()
    names = {each.name for each in server.domains}
    scrape_until(agent, lambda page: values(page, STATE, "domain") == names, "all domains")
    page = scrape_until(agent, is_well, "the domain with nothing wrong")
    assert values(page, OPENSTACK, "domain") == {"good", "no devices"}
    assert pairs(page, META, "domain", "mac") == [
        ("good", "fa:16:3e:00:00:01"),
        ("off", MAC),
        ("one", MAC),
        ("other", MAC),
        ("twice", MAC),
        ("twice", SECOND_MAC),
    ]
    for name in map(family, COUNTERS):
        assert pairs(page, name, "domain", "target_device") == [
            ("good", "tap0"),
            ("one", "tap2"),
            ("other", "tap2"),
            ("twice", "tap1"),
        ]
    assert [device for device, _ in pairs(page, INFO, "interface", "domain")] == [
        *("tap0", "tap1", "tap2")
    ]
    assert reasons(agent) == {}


def pairs(page: Series, name: str, *labels: str) -> list[tuple[str, ...]]:
    """Return these labels of each series of a family, A to Z."""
    found = (dict(pairs) for each, pairs in page if each == name)
    return sorted(tuple(known.get(label, "") for label in labels) for known in found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<domain><devices>",
        "<network/>",
        "<!DOCTYPE domain [<!ENTITY a 'b'>]><domain>&a;</domain>",
        f"<domain>{'<a>' * 300}{'</a>' * 300}</domain>",
        f"<domain>{'x' * (1 << 20)}</domain>",
    ],
    ids=["nothing", "half", "another root", "an entity", "deep", "long"],
)
def test_a_domain_that_cannot_be_understood_is_told_and_hides_no_other(
    server: LibvirtServer, agent: Agent, text: str
) -> None:
    bad = domain(1, "bad", "tap1", text=text)
    server.domains = (GOOD, bad)
    server.drop()
    counted = family("receive_bytes")
    page = scrape_until(
        agent,
        lambda page: values(page, counted, "domain") == {"good", "bad"},
        "the counters of both",
    )
    assert reasons(agent) == {"domain bad": "malformed"}
    assert of(page, "dataplane_agent_source_up", source="libvirt") == [0]
    assert values(page, STATE, "domain") == {"good", "bad"}
    assert values(page, META, "domain") == values(page, INFO, "domain") == {"good"}
    server.domains = (GOOD, replace(bad, xml=xml(devices(plug("tap1")))))
    server.metadata_changed(bad)
    page = scrape_until(agent, is_well, "the domain to be understood")
    assert values(page, META, "domain") == values(page, INFO, "domain") == {"good", "bad"}
    assert reasons(agent) == {}


# -- answers ---------------------------------------------------------------------------------------


async def not_utf_8(call: Call) -> None:
    await call.say(call.honest().replace(b"good", b"\xff\xfe\xfd\xfc"))


FAULTS: dict[str, Answer] = {
    **{
        what: GARBAGE[what]
        for what in (
            "a payload without its last word",
            "a length above what is allowed",
            "random bytes",
        )
    },
    "text that is not UTF-8": not_utf_8,
    "half an answer": half_then_closes,
}


@pytest.mark.parametrize("procedure", [STATS, LIST], ids=["statistics", "list"])
def test_garbage_costs_what_libvirt_counts_and_all_comes_back_by_itself(
    server: LibvirtServer, agent: Agent, procedure: Procedure
) -> None:
    scrape_until(agent, is_well, "all to be well")
    for what, answer in FAULTS.items():
        server.answers[procedure] = answer
        if procedure is LIST:
            server.drop()
        page = scrape_until(
            agent, lambda page: not counters_of(page) and bool(reasons(agent)), what
        )
        assert set(reasons(agent).values()) <= {"malformed", "broken"}
        assert of(page, "dataplane_agent_source_up", source="libvirt") == [0]
        assert values(page, STATE, "domain") == {GOOD.name}, "they go on without libvirtd"
        del server.answers[procedure]
        server.drop()
        scrape_until(agent, is_well, f"all to be well after {what}")
        assert reasons(agent) == {}
    assert agent.daemon.alive
    assert "Traceback" not in agent.log


@pytest.mark.parametrize("how", ["every call", "statistics", "the list"])
def test_silence_costs_what_libvirt_counts_and_all_comes_back_by_itself(
    server: LibvirtServer, agent: Agent, how: str
) -> None:
    scrape_until(agent, is_well, "all to be well")
    if how == "every call":
        server.freeze()
    else:
        server.answers[{"statistics": STATS, "the list": LIST}[how]] = says_nothing
    if how == "the list":
        server.drop()
    page = scrape_until(
        agent,
        lambda page: not counters_of(page) and "timeout" in reasons(agent).values(),
        "a timeout",
    )
    assert counters_of(page) == set()
    assert values(page, STATE, "domain") == {GOOD.name}
    server.answers.clear()
    server.thaw()
    server.drop()  # whoever still waits has waited in vain
    scrape_until(agent, is_well, "all to be well again")
    assert reasons(agent) == {}
