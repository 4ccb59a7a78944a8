"""Users, headers and the rate limit, asked by real clients."""

import asyncio
import base64
import logging
import string
import threading
import time
from pathlib import Path

import bcrypt
import pytest
import structlog

from agent.exposition.auth import _Bucket, parse_basic
from agent.exposition.credentials import (
    CACHED_RESULTS,
    MAX_WAITING,
    BusyError,
    Verifier,
    parse_hash,
)
from agent.exposition.web_settings import RateLimit
from tests.exposition.web import get, put, serving

# The cheapest hashes there are, and dearer ones where the cost is the point.
CHEAP, DEAR = 4, 12


def hashed(password: str | bytes, cost: int = CHEAP) -> str:
    data = password.encode() if isinstance(password, str) else password
    return bcrypt.hashpw(data[:72], bcrypt.gensalt(cost)).decode()


def users(**passwords: str) -> str:
    lines = [f"  {name}: {hashed(password)}" for name, password in passwords.items()]
    return "\n".join(["basic_auth_users:", *lines, ""])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "web.yml"
    path.write_text(users(alice="sesame"))
    return path


async def test_without_users_everyone_is_admitted(config: Path) -> None:
    put(config, "")
    async with serving(config) as port:
        assert (await get(port)).body == b"hello"


async def test_admits_a_user_and_nobody_else(config: Path) -> None:
    async with serving(config) as port:
        assert (await get(port, user=("alice", "sesame"))).body == b"hello"
        for user in (None, ("alice", "wrong"), ("alice", ""), ("bob", "sesame"), ("", "sesame")):
            answer = await get(port, user=user)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Basic"
            assert answer.body == b"Unauthorized\n"


async def test_a_path_that_is_not_there_is_not_told_to_strangers(config: Path) -> None:
    async with serving(config) as port:
        assert (await get(port, path="/none")).status == 401
        assert (await get(port, path="/none", user=("alice", "sesame"))).status == 404


async def test_follows_the_users_of_a_rewritten_file(config: Path) -> None:
    async with serving(config) as port:
        assert (await get(port, user=("bob", "secret"))).status == 401
        put(config, users(alice="sesame", bob="secret"))
        assert (await get(port, user=("bob", "secret"))).status == 200
        assert (await get(port, user=("alice", "sesame"))).status == 200
        put(config, users(bob="secret"))
        assert (await get(port, user=("alice", "sesame"))).status == 401
        put(config, users(bob="changed"))
        assert (await get(port, user=("bob", "secret"))).status == 401
        assert (await get(port, user=("bob", "changed"))).status == 200


@pytest.mark.parametrize("rewritten", ["", "basic_auth_users: {}\n", "basic_auth_users: {a: x}\n"])
async def test_a_rewrite_opens_no_door(config: Path, rewritten: str) -> None:
    async with serving(config) as port:
        put(config, rewritten)
        with structlog.testing.capture_logs() as lines:
            assert (await get(port)).status == 401
            assert (await get(port, user=("alice", "sesame"))).status == 200
        assert [line["event"] for line in lines] == ["web config not followed"]


async def test_a_deleted_file_opens_no_door(config: Path) -> None:
    async with serving(config) as port:
        await asyncio.to_thread(config.unlink)
        assert (await get(port)).status == 401
        assert (await get(port, user=("alice", "sesame"))).status == 200


@pytest.mark.parametrize(
    "password", ["", "with:colon", "é", "a\0b", "x" * 72, "x" * 100, "é" * 50, "x" * 4000]
)
async def test_admits_whatever_bcrypt_hashes(config: Path, password: str) -> None:
    put(config, users(alice=password))
    async with serving(config) as port:
        assert (await get(port, user=("alice", password))).status == 200
        assert (await get(port, user=("alice", "wrong" + password))).status == 401


async def test_what_stands_beyond_72_bytes_takes_no_part(config: Path) -> None:
    """As in the toolkit's bcrypt, and in htpasswd's."""
    put(config, users(alice="x" * 72))
    async with serving(config) as port:
        assert (await get(port, user=("alice", "x" * 72 + "y"))).status == 200
        assert (await get(port, user=("alice", "x" * 71))).status == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !",
        "Basic YWxpY2U=c2VzYW1l",
        "Basic YWxpY2U6c2VzYW1",
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\x00").decode(),
        "Basic YWxpY2U6c2VzYW1l YWxpY2U6c2VzYW1l",
        "Basic é",
        "Bearer YWxpY2U6c2VzYW1l",
        "BasicYWxpY2U6c2VzYW1l",
        "Digest username=alice",
    ],
)
async def test_a_broken_header_is_no_more_than_a_wrong_one(config: Path, header: str) -> None:
    async with serving(config) as port:
        assert (await get(port, authorization=header)).status == 401


async def test_the_name_of_the_scheme_has_no_case(config: Path) -> None:
    async with serving(config) as port:
        assert (await get(port, authorization="bAsIc YWxpY2U6c2VzYW1l")).status == 200


def test_splits_at_the_first_colon_only() -> None:
    assert parse_basic("Basic " + base64.b64encode(b"a:b:c").decode()) == (b"a", b"b:c")
    assert parse_basic("Basic " + base64.b64encode(b":").decode()) == (b"", b"")


async def test_no_log_knows_a_user_or_a_password(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as lines:
        async with serving(config) as port:
            await get(port, user=("alice", "sesame"))
            await get(port, user=("alice", "closed-sesame"))
            await get(port, user=("mallory", "guess"))
            put(config, "basic_auth_users:\n  alice: sesame\n")
            await get(port, user=("alice", "sesame"))
    assert lines
    told = f"{lines}{caplog.text}"
    assert not any(word in told for word in ("alice", "sesame", "mallory", "guess", "YWxpY2U6"))


async def test_headers_stand_on_every_answer_but_never_over_a_handlers_own(config: Path) -> None:
    headers = "http_server_config:\n  headers: {X-Frame-Options: deny, X-XSS-Protection: 1}\n"
    put(config, users(alice="sesame") + headers)
    async with serving(config) as port:
        user = ("alice", "sesame")
        for path, status in (("/", 200), ("/none", 404), ("/broken", 500)):
            answer = await get(port, path=path, user=user)
            assert (answer.status, answer.headers["X-Frame-Options"]) == (status, "deny")
            assert answer.headers["X-XSS-Protection"] == "1"
        assert (await get(port)).headers["X-Frame-Options"] == "deny"
        framed = await get(port, path="/framed", user=user)
        assert framed.headers["X-Frame-Options"] == "sameorigin"


async def test_headers_follow_the_file(config: Path) -> None:
    put(config, "")
    async with serving(config) as port:
        assert "X-Frame-Options" not in (await get(port)).headers
        put(config, "http_server_config: {headers: {X-Frame-Options: deny}}\n")
        assert (await get(port)).headers["X-Frame-Options"] == "deny"


async def test_requests_above_the_rate_limit_are_refused_before_a_password_is_looked_at(
    config: Path,
) -> None:
    put(config, users(alice="sesame") + "rate_limit: {interval: 1h, burst: 2}\n")
    async with serving(config) as port:
        answers = [await get(port, user=("alice", "sesame")) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]


async def test_a_rate_limit_follows_the_file(config: Path) -> None:
    put(config, "rate_limit: {interval: 1s, burst: 0}\n")
    async with serving(config) as port:
        assert (await get(port)).status == 429
        put(config, "rate_limit: {interval: 0, burst: 0}\n")
        assert [(await get(port)).status for _ in range(5)] == [200] * 5


def test_a_bucket_fills_by_one_each_interval_up_to_the_burst() -> None:
    limit = RateLimit.model_construct(interval=10.0, burst=2)
    bucket = _Bucket()
    taken = [bucket.take(limit, now) for now in (100, 101, 102, 111, 112, 500, 501, 502)]
    assert taken == [True, True, False, True, False, True, True, False]


def test_a_bucket_without_a_positive_interval_never_ends() -> None:
    bucket = _Bucket()
    for interval in (0.0, -1.0):
        limit = RateLimit.model_construct(interval=interval, burst=-1)
        assert all(bucket.take(limit, 0) for _ in range(10))


async def test_a_hash_is_paid_for_once() -> None:
    verifier = Verifier()
    table = {b"alice": parse_hash(hashed("sesame", DEAR))}
    for password, expected in ((b"sesame", True), (b"wrong", False)):
        begin = time.perf_counter()
        assert await verifier.admits(table, b"alice", password) is expected
        first = time.perf_counter() - begin
        begin = time.perf_counter()
        for _ in range(20):
            assert await verifier.admits(table, b"alice", password) is expected
        assert time.perf_counter() - begin < first
    verifier.close()


async def test_a_hash_is_computed_beside_the_loop() -> None:
    verifier = Verifier()
    table = {b"alice": parse_hash(hashed("sesame", DEAR))}
    check = asyncio.create_task(verifier.admits(table, b"alice", b"sesame"))
    turns = 0
    while not check.done():
        turns += 1
        await asyncio.sleep(0)
    assert await check
    assert turns > 100
    verifier.close()


async def test_an_unknown_user_costs_as_much_as_a_known_one() -> None:
    verifier = Verifier()
    table = {b"alice": parse_hash(hashed("sesame", DEAR))}
    seconds = {b"alice": [], b"bob": []}
    for attempt in range(3):
        for user, durations in seconds.items():
            begin = time.perf_counter()
            assert not await verifier.admits(table, user, b"%d" % attempt)
            durations.append(time.perf_counter() - begin)
    assert 0.5 < min(seconds[b"bob"]) / min(seconds[b"alice"]) < 2
    verifier.close()


async def test_a_name_without_a_user_never_enters_even_with_the_decoys_hash() -> None:
    verifier = Verifier()
    table = {b"alice": parse_hash(hashed("sesame"))}
    decoy = verifier._decoy(table, b"bob")
    verifier._admitted.add(verifier._digest(b"bob", decoy.salt, decoy.digest, b"any"))
    assert not await verifier.admits(table, b"bob", b"any")
    verifier.close()


async def test_a_flood_of_guesses_fills_a_short_queue_and_leaves_the_admitted_alone() -> None:
    verifier = Verifier()
    table = {b"alice": parse_hash(hashed("sesame", 10))}
    assert await verifier.admits(table, b"alice", b"sesame")
    guesses = [verifier.admits(table, b"alice", b"%d" % n) for n in range(MAX_WAITING + 5)]
    flood = asyncio.gather(*guesses, return_exceptions=True)
    await asyncio.sleep(0)  # all of them have asked
    assert await verifier.admits(table, b"alice", b"sesame")
    assert not flood.done()
    assert len([t for t in threading.enumerate() if t.name.startswith("bcrypt")]) == 1
    results = await flood
    assert [r for r in results if isinstance(r, BaseException)] == results[MAX_WAITING:]
    assert all(isinstance(r, BusyError) for r in results[MAX_WAITING:])
    assert results[:MAX_WAITING] == [False] * MAX_WAITING
    verifier.close()


async def test_says_to_come_back_when_too_many_wait(config: Path) -> None:
    put(config, f"basic_auth_users:\n  alice: {hashed('sesame', 10)}\n")
    async with serving(config) as port:
        asked = [get(port, user=("alice", str(n))) for n in range(3 * MAX_WAITING)]
        answers = await asyncio.gather(*asked)
        assert {answer.status for answer in answers} == {401, 503}
        busy = [answer for answer in answers if answer.status == 503]
        assert all(answer.headers["Retry-After"] == "1" for answer in busy)
        assert (await get(port, user=("alice", "sesame"))).status == 200


async def test_guesses_do_not_push_the_admitted_out_of_the_cache() -> None:
    verifier = Verifier()
    table = {b"alice": parse_hash(hashed("sesame"))}
    assert await verifier.admits(table, b"alice", b"sesame")
    for guess in range(CACHED_RESULTS + 20):
        assert not await verifier.admits(table, b"alice", b"%d" % guess)
    assert len(verifier._admitted._keys) == 1
    assert len(verifier._refused._keys) == CACHED_RESULTS
    verifier.close()


async def test_one_who_leaves_takes_no_answer_from_another() -> None:
    verifier = Verifier()
    table = {b"alice": parse_hash(hashed("sesame", DEAR))}
    first, second = (
        asyncio.create_task(verifier.admits(table, b"alice", b"sesame")) for _ in range(2)
    )
    await asyncio.sleep(0)  # both have asked
    first.cancel()
    assert await second
    assert first.cancelled()
    verifier.close()


async def test_the_end_of_the_server_ends_its_thread(config: Path) -> None:
    async with serving(config) as port:
        await get(port, user=("alice", "sesame"))
        (worker,) = [t for t in threading.enumerate() if t.name.startswith("bcrypt")]
    await asyncio.to_thread(worker.join, 10)
    assert not worker.is_alive()


@pytest.mark.parametrize("version", ["2", "2a", "2b", "2x", "2y"])
@pytest.mark.parametrize("rest", ["", "\n", "rest"])
def test_reads_hashes_of_every_version_as_go_does(version: str, rest: str) -> None:
    text = hashed("sesame").replace("2b", version, 1) + rest
    assert parse_hash(text).matches(b"sesame")
    assert not parse_hash(text).matches(b"Sesame")


def test_knows_the_hashes_of_the_toolkits_own_tests() -> None:
    carol = parse_hash("$2y$10$qRTBuFoULoYNA7AQ/F3ck.trZBPyjV64.oA4ZsSBCIWvXuvQlQTuu")
    dave = parse_hash("$2y$10$2UXri9cIDdgeKjBo4Rlpx.U3ZLDV8X1IxKmsfOvhcM5oXQt/mLmXq")
    assert carol.matches(b"carol123")
    assert dave.matches(b"dave123")
    assert not dave.matches(b"carol123")


@pytest.mark.parametrize("last", string.ascii_letters + string.digits + "./")
def test_four_bits_of_a_salts_last_letter_are_not_part_of_it(last: str) -> None:
    """Tools differ in what they leave there; Go ignores them."""
    groups = ("./ABCDEFGHIJKLMN", "OPQRSTUVWXYZabcd", "efghijklmnopqrst", "uvwxyz0123456789")
    text = hashed("sesame")
    (own,) = (group for group in groups if text[28] in group)
    altered = parse_hash(f"{text[:28]}{last}{text[29:]}")
    assert altered.matches(b"sesame") == (last in own)


def test_a_hash_has_no_readable_form() -> None:
    text = hashed("sesame")
    assert text[7:] not in repr(parse_hash(text))
    assert "digest" not in repr(parse_hash(text))
