"""What a scraper, a probe and a person get over HTTP."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Collection, Mapping
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.collectors import COLLECTORS, NAMES
from agent.collectors.base import Collector
from agent.exposition import text
from agent.exposition.connections import ListenError
from agent.exposition.http import (
    GZIP_IN_THREAD_BYTES,
    Exporter,
    accepts_gzip,
    deadline,
    serve,
)
from agent.exposition.text import Format
from agent.families import Gauge, Output
from agent.model.node import Node
from agent.scrape import Collected, Scraper
from agent.sections import OTHER_PATHS, Web
from tests.collectors import sample
from tests.exposition.exporter import Server, until
from tests.exposition.test_text import BROWSER, PROMETHEUS_2, PROMETHEUS_3
from tests.harness import Gate, Harness
from tests.page import block, of, series

REQUESTS = "dataplane_agent_http_requests_total"
TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    harness = Harness()
    harness.fill(sample.node())
    async with Server(harness, {"version": "0.1.0", "sources": {}}) as server:
        yield server


# Formats


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3])
async def test_prometheus_gets_openmetrics_to_its_end(server: Server, accept: str) -> None:
    answer = await server.get("/metrics", {"Accept": accept})
    assert answer.status == 200
    assert answer.headers["content-type"] == Format.OPENMETRICS.value
    assert answer.body.endswith(b"# EOF\n")
    page = series(answer.body, Format.OPENMETRICS)
    assert of(page, "ovs_datapath_lookup_hits_total", datapath="system@ovs-system") == [1835]


@pytest.mark.parametrize("headers", [{}, {"Accept": BROWSER}, {"Accept": "*/*"}])
async def test_everybody_else_gets_text(server: Server, headers: dict[str, str]) -> None:
    answer = await server.get("/metrics", headers)
    assert answer.status == 200
    assert answer.headers["content-type"] == Format.TEXT.value
    page = series(answer.body, Format.TEXT)
    assert of(page, "ovs_datapath_lookup_hits_total", datapath="system@ovs-system") == [1835]
    assert of(page, "process_start_time_seconds")


async def test_both_formats_say_the_same(server: Server) -> None:
    query = "/metrics?exclude[]=agent"
    text = await server.get(query)
    openmetrics = await server.get(query, {"Accept": PROMETHEUS_2})
    assert series(text.body) == series(openmetrics.body, Format.OPENMETRICS)


# Compression


async def test_a_page_is_compressed_for_who_asks_and_for_nobody_else(server: Server) -> None:
    query = "/metrics?exclude[]=agent"
    plain = await server.get(query)
    assert "content-encoding" not in plain.headers
    packed = await server.get(query, {"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 4
    for answer in (plain, packed):
        assert int(answer.headers["content-length"]) == len(answer.body)
        assert answer.headers["vary"] == "Accept, Accept-Encoding"


async def test_a_large_page_is_compressed_as_well() -> None:
    gauge = Gauge("g", "G [test].", ("n",))

    def collect(_node: Node) -> Output:
        yield block(gauge, [(gauge.text(str(n)), n) for n in range(20_000)])

    async with Server(Harness((Collector("large", (gauge,), (collect,)),))) as server:
        answer = await server.get("/metrics", {"Accept-Encoding": "gzip"})
    page = gzip.decompress(answer.body)
    assert len(page) > GZIP_IN_THREAD_BYTES
    assert len(series(page)) == 20_000


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("*", True),
        ("br;q=1.0, *", True),
        ("*;q=0, gzip", True),
        ("", False),
        ("identity", False),
        ("deflate", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzipped", False),
    ],
)
def test_gzip_is_wanted_by_name_or_star_and_not_with_weight_0(header: str, *, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted


# The deadline


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 8.0),
        ("10", 8.0),  # 10 - 1 is longer than what is configured
        ("8", 7.2),  # 10 %
        ("5", 4.5),  # 10 % is the half second here
        ("2", 1.5),  # half a second
        ("1.0", 0.5),
        ("0.55", 0.1),  # the shortest
        ("0.1", 0.1),
        ("1e3", 8.0),
        ("inf", 8.0),
        ("nan", 8.0),
        ("0", 8.0),
        ("-5", 8.0),
        ("", 8.0),
        ("soon", 8.0),
        ("5s", 8.0),
        ("1e999", 8.0),
    ],
)
def test_the_deadline_is_the_headers_less_a_margin_and_never_beyond_the_configured(
    header: str | None, seconds: float
) -> None:
    assert deadline(header, 8.0) == pytest.approx(seconds)


@given(header=st.text(), longest=st.floats(0.1, 60))
def test_whatever_the_header_says_there_is_a_deadline(header: str, longest: float) -> None:
    assert 0.1 <= deadline(header, longest) <= longest


async def test_a_scrape_is_answered_in_its_own_time_though_a_peer_hangs() -> None:
    harness = Harness(unixctl=Gate())
    harness.store.switch.put(sample.SWITCH)
    async with Server(harness) as server:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await server.get("/metrics", {TIMEOUT: "1.5"})
        assert loop.time() - began < 1.5
    assert answer.status == 200
    page = series(answer.body)
    assert of(page, "dataplane_agent_scrape_deadline_exceeded_total", source="unixctl") == [1]
    assert of(page, "ovs_build_info") == [1]


# Which collectors


async def test_collect_and_exclude_choose(server: Server) -> None:
    others = set(NAMES) - {"agent"}
    assert await server.collectors("") == others
    assert await server.collectors("collect[]=agent&collect[]=flow&collect[]=table") == {
        "flow",
        "table",
    }
    assert await server.collectors("exclude[]=flow&exclude[]=table") == others - {"flow", "table"}
    encoded = f"{quote('exclude[]')}=flow"
    assert await server.collectors(encoded) == others - {"flow"}


async def test_a_page_of_one_collector_has_nothing_else(server: Server) -> None:
    page = series((await server.get("/metrics?collect[]=bond")).body)
    assert {name for name, _ in page} == {
        "ovs_bond_info",
        "ovs_bond_member_enabled",
        "ovs_bond_active_member",
        "ovs_lacp_current",
    }


async def test_all_excluded_is_an_empty_page(server: Server) -> None:
    query = "&".join(f"exclude[]={name}" for name in NAMES)
    answer = await server.get(f"/metrics?{query}")
    assert (answer.status, answer.body) == (200, b"")


async def test_collect_together_with_exclude_is_refused(server: Server) -> None:
    answer = await server.get("/metrics?collect[]=flow&exclude[]=table")
    assert answer.status == 400
    assert answer.text == "collect[] and exclude[] exclude each other\n"


@pytest.mark.parametrize("key", ["collect[]", "exclude[]"])
async def test_an_unknown_collector_is_refused_by_name(server: Server, key: str) -> None:
    answer = await server.get(f"/metrics?{key}=flow&{key}=flows")
    assert answer.status == 400
    assert answer.text == "no such collector here: flows\n"


async def test_a_collector_that_is_switched_off_is_unknown_here() -> None:
    async with Server(Harness(tuple(c for c in COLLECTORS if c.name != "flow"))) as server:
        assert (await server.get("/metrics?collect[]=flow")).status == 400
        assert (await server.get("/metrics?collect[]=table")).status == 200


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "x" * 5000,
        "\r\nX-Forged: 1",
        "\x00",
        "\udc80",
        "ネット",
    ],
    ids=ascii,
)
async def test_what_is_refused_is_quoted_as_text_and_cut(server: Server, name: str) -> None:
    encoded = quote(name, errors="surrogatepass")
    answer = await server.get(f"/metrics?collect[]={encoded}")
    assert answer.status == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert "x-forged" not in answer.headers
    assert len(answer.text) < 300


# Too many


async def test_one_scrape_more_than_allowed_is_refused_and_health_is_not() -> None:
    gate = Gate()
    async with Server(Harness(unixctl=gate), max_requests=2) as server:
        running = [asyncio.create_task(server.get("/metrics")) for _ in range(2)]
        await until(lambda: server.exporter._running == 2)
        refused = await server.get("/metrics")
        assert refused.status == 503
        assert refused.text == "2 requests are being served\n"
        assert (await server.get("/healthz")).status == 200
        gate.open()
        assert [answer.status for answer in await asyncio.gather(*running)] == [200, 200]
        assert (await server.get("/metrics")).status == 200


async def test_without_a_limit_all_are_answered() -> None:
    gate = Gate()
    async with Server(Harness(unixctl=gate), max_requests=0) as server:
        running = [asyncio.create_task(server.get("/metrics")) for _ in range(50)]
        await until(lambda: server.exporter._running == 50)
        gate.open()
        assert {answer.status for answer in await asyncio.gather(*running)} == {200}


async def test_a_scrape_that_ends_badly_frees_its_place() -> None:
    async def bug() -> None:
        raise ZeroDivisionError("ours")

    harness = Harness(unixctl=bug)
    told: list[BaseException | None] = []
    harness.readers["unixctl"].on_bug = lambda task: told.append(task.exception())
    async with Server(harness, max_requests=1) as server:
        for _ in range(2):
            assert (await server.get("/metrics")).status == 500
        page = series((await server.get("/metrics?collect[]=agent")).body)
    assert of(page, REQUESTS, handler="/metrics", code="500") == [2]
    assert told


# The other paths


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/-/healthy", "/-/ready"])
async def test_health_answers_whatever_the_peers_do(path: str) -> None:
    gate = Gate()
    async with Server(Harness(openflow=gate, flows=gate, unixctl=gate)) as server:
        hanging = asyncio.create_task(server.get("/metrics"))
        await until(lambda: server.exporter._running == 1)
        answer = await server.get(path)
        assert (answer.status, answer.text) == (200, "ok\n")
        gate.open()
        await hanging


async def test_status_is_json(server: Server) -> None:
    answer = await server.get("/status")
    assert answer.headers["content-type"].startswith("application/json")
    assert json.loads(answer.body) == {"version": "0.1.0", "sources": {}}


async def test_the_landing_page_links_to_what_is_there(server: Server) -> None:
    landing = await server.get("/")
    assert landing.headers["content-type"].startswith("text/html")
    links = [part.split('"')[0] for part in landing.text.split('href="')[1:]]
    assert "/metrics" in links
    for link in links:
        assert (await server.get(link)).status == 200


async def test_metrics_are_where_they_are_configured_and_nowhere_else() -> None:
    async with Server(Harness(), telemetry_path="/dataplane/metrics") as server:
        assert (await server.get("/dataplane/metrics")).status == 200
        assert (await server.get("/metrics")).status == 404
        assert 'href="/dataplane/metrics"' in (await server.get("/")).text


def test_the_configuration_knows_all_other_paths() -> None:
    exporter = Exporter(Harness().scraper, dict, Web(), 8.0)
    assert set(exporter._handlers) == {"/", "/metrics", *OTHER_PATHS}


@pytest.mark.parametrize("path", ["/metrics", "/", "/status", "/healthz"])
async def test_head_says_what_get_would_without_the_body(server: Server, path: str) -> None:
    get = await server.get(path)
    head = await server.get(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed(server: Server, method: str) -> None:
    assert (await server.get("/metrics", method=method)).status == 405


# Counting


async def test_each_answer_is_on_the_next_page(server: Server) -> None:
    async def counted(**labels: str) -> list[float]:
        return of(series((await server.get("/metrics?collect[]=agent")).body), REQUESTS, **labels)

    assert await counted() == []
    assert await counted(handler="/metrics", code="200") == [1]
    await server.get("/metrics?collect[]=none")
    await server.get("/healthz")
    await server.get("/metrics", method="POST")
    page = series((await server.get("/metrics?collect[]=agent")).body)
    found = {
        (dict(labels)["handler"], dict(labels)["code"]): value
        for (name, labels), value in page.items()
        if name == REQUESTS
    }
    assert found == {
        ("/metrics", "200"): 2,
        ("/metrics", "400"): 1,
        ("/metrics", "405"): 1,
        ("/healthz", "200"): 1,
    }


async def test_unknown_paths_are_counted_together(server: Server) -> None:
    for path in ("/nowhere", "/wp-admin", "/metrics/", "/%00", "/metrics%0a", "/../etc/passwd"):
        assert (await server.get(path)).status == 404
    page = series((await server.get("/metrics")).body)
    assert of(page, REQUESTS) == [6]
    assert of(page, REQUESTS, handler="other", code="404") == [6]


async def test_an_address_that_is_taken_is_told_and_leaves_nothing_open(server: Server) -> None:
    app = server.exporter.application(None)
    taken = ("127.0.0.1", server.port)
    text = f"^cannot listen on 127.0.0.1:{server.port}: Address already in use$"
    with pytest.raises(ListenError, match=text):
        await serve(app, [("127.0.0.1", 0), taken], None)


async def test_the_time_to_write_a_page_is_kept_from_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a large page would be read until its deadline and written after it."""
    times: list[float] = []

    class Watched(Scraper):
        async def scrape(
            self,
            deadline_seconds: float,
            names: Collection[str] | None = None,
            requests: Mapping[tuple[str, str], int] | None = None,
        ) -> list[Collected]:
            times.append(deadline_seconds)
            return await super().scrape(deadline_seconds, names, requests)

    def slow(*page: object) -> list[bytes]:
        time.sleep(0.2)  # as rendering does, it keeps the loop
        return render(*page)  # type: ignore[arg-type]

    render = text.render
    monkeypatch.setattr(text, "render", slow)
    harness = Harness(())
    harness.scraper.__class__ = Watched
    async with Server(harness) as server:
        for _ in range(2):
            await server.get("/metrics", {TIMEOUT: "3"})
        await server.get("/metrics", {TIMEOUT: "0.9"})
    assert times[0] == 2.5
    assert times[1] <= 2.5 - 2 * 0.2
    assert times[2] == pytest.approx(0.2)  # half: without time to read there is nothing to write
