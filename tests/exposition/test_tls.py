"""Real TLS servers of a web configuration, and real clients."""

import asyncio
import logging
import os
import shutil
import socket
import ssl
from pathlib import Path

import pytest
import structlog

from agent.exposition.tls import subject_alt_names
from agent.exposition.web_config import WebConfigError, load
from tests.exposition.pki import Identity, Pki, client_context, install
from tests.exposition.web import get, put, refused, serving
from tests.logs import without_slowness

CERTIFIED = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
VERIFIED = f"{CERTIFIED}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def ca(pki: Pki) -> Identity:
    return pki.authority()


@pytest.fixture(scope="module")
def other_ca(pki: Pki) -> Identity:
    return pki.authority()


@pytest.fixture(scope="module")
def server(pki: Pki, ca: Identity) -> Identity:
    return pki.leaf(ca, "DNS:server")


@pytest.fixture(scope="module")
def client(pki: Pki, ca: Identity) -> Identity:
    return pki.leaf(ca, "DNS:one")


@pytest.fixture(scope="module")
def stranger(pki: Pki, other_ca: Identity) -> Identity:
    return pki.leaf(other_ca, "DNS:one")


@pytest.fixture
def config(tmp_path: Path, server: Identity, ca: Identity) -> Path:
    install(server, tmp_path)
    (tmp_path / "ca.pem").write_bytes(ca.cert.read_bytes())
    path = tmp_path / "web.yml"
    path.write_text(CERTIFIED)
    return path


async def test_serves_a_new_certificate_without_a_restart(
    config: Path, pki: Pki, ca: Identity, server: Identity
) -> None:
    renewed = pki.leaf(ca)
    async with serving(config) as port:
        before = await get(port, client_context(ca))
        install(renewed, config.parent)
        after = await get(port, client_context(ca))
    assert (before.status, before.certificate) == (200, server.der)
    assert (after.status, after.certificate) == (200, renewed.der)


async def test_serves_a_certificate_that_was_overwritten_in_place(
    config: Path, pki: Pki, ca: Identity
) -> None:
    renewed = pki.leaf(ca)
    async with serving(config) as port:
        shutil.copyfile(renewed.cert, config.parent / "server.pem")
        shutil.copyfile(renewed.key, config.parent / "server.key")
        assert (await get(port, client_context(ca))).certificate == renewed.der


async def test_an_open_connection_survives_a_new_certificate(
    config: Path, pki: Pki, ca: Identity
) -> None:
    request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
    async with serving(config) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(ca))
        install(pki.leaf(ca), config.parent)
        await get(port, client_context(ca))
        writer.write(request)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


async def test_keeps_the_old_certificate_while_the_new_one_is_broken_and_says_so_once(
    config: Path, pki: Pki, ca: Identity, server: Identity
) -> None:
    renewed = pki.leaf(ca)
    async with serving(config) as port:
        with structlog.testing.capture_logs() as lines:
            shutil.copyfile(renewed.cert, config.parent / "server.pem")
            answers = [await get(port, client_context(ca)) for _ in range(3)]
            install(renewed, config.parent)
            repaired = await get(port, client_context(ca))
    assert [answer.certificate for answer in answers] == [server.der] * 3
    assert repaired.certificate == renewed.der
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "web config not followed"),
        ("info", "web config reread"),
    ]
    assert lines[0]["problems"] == ["tls_server_config.cert_file, key_file: key values mismatch"]


async def test_serves_a_certificate_and_a_key_that_stand_in_the_file(
    config: Path, server: Identity, ca: Identity
) -> None:
    lines = ["tls_server_config:"]
    for key, path in (("cert", server.cert), ("key", server.key)):
        lines += [f"  {key}: |", *(f"    {line}" for line in path.read_text().splitlines())]
    put(config, "\n".join(lines))
    async with serving(config) as port:
        assert (await get(port, client_context(ca))).certificate == server.der


async def test_admits_only_clients_that_its_authority_certified(
    config: Path, ca: Identity, client: Identity, stranger: Identity
) -> None:
    put(config, VERIFIED)
    async with serving(config) as port:
        assert not await refused(port, client_context(ca, client))
        assert await refused(port, client_context(ca, stranger))
        assert await refused(port, client_context(ca))


async def test_a_certificate_that_may_be_left_out_is_verified_when_it_is_given(
    config: Path, ca: Identity, client: Identity, stranger: Identity
) -> None:
    put(config, VERIFIED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"))
    async with serving(config) as port:
        assert not await refused(port, client_context(ca))
        assert not await refused(port, client_context(ca, client))
        assert await refused(port, client_context(ca, stranger))


async def test_a_certificate_that_is_only_requested_decides_nothing(
    config: Path, ca: Identity, stranger: Identity
) -> None:
    put(config, f"{CERTIFIED}  client_auth_type: RequestClientCert\n")
    async with serving(config) as port:
        assert not await refused(port, client_context(ca))
        assert not await refused(port, client_context(ca, stranger))


@pytest.mark.parametrize("policy", ["RequireAnyClientCert", "RequireClientCert"])
def test_refuses_to_start_where_it_could_not_ask_for_just_any_certificate(
    config: Path, policy: str
) -> None:
    put(config, f"{CERTIFIED}  client_auth_type: {policy}\n")
    with pytest.raises(WebConfigError) as caught:
        load(config)
    what = f"{policy} cannot be served, use RequireAndVerifyClientCert"
    assert caught.value.problems == [f"tls_server_config.client_auth_type: {what}"]


async def test_trusts_each_certificate_of_the_client_ca_file_as_it_is(
    config: Path, pki: Pki, ca: Identity, client: Identity
) -> None:
    intermediate = pki.authority(ca)
    below, itself = pki.leaf(intermediate), pki.leaf(None)
    trusted = intermediate.cert.read_text() + "# a comment: é\n" + itself.cert.read_text()
    put(config.parent / "ca.pem", trusted)
    put(config, VERIFIED)
    async with serving(config) as port:
        assert not await refused(port, client_context(ca, below))
        assert not await refused(port, client_context(ca, itself))
        assert await refused(port, client_context(ca, client))


async def test_verifies_against_the_system_without_a_client_ca(
    config: Path,
    ca: Identity,
    other_ca: Identity,
    client: Identity,
    stranger: Identity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(other_ca.cert))
    put(config, f"{CERTIFIED}  client_auth_type: RequireAndVerifyClientCert\n")
    async with serving(config) as port:
        assert not await refused(port, client_context(ca, stranger))
        assert await refused(port, client_context(ca, client))


async def test_a_replaced_client_ca_holds_from_the_next_connection(
    config: Path, ca: Identity, other_ca: Identity, client: Identity, stranger: Identity
) -> None:
    put(config, VERIFIED)
    async with serving(config) as port:
        assert not await refused(port, client_context(ca, client))
        shutil.copyfile(other_ca.cert, config.parent / "ca.pem")
        assert await refused(port, client_context(ca, client))
        assert not await refused(port, client_context(ca, stranger))


@pytest.mark.parametrize(
    ("san", "allowed"),
    [
        ("DNS:two", "two"),
        ("email:a@example.net", "a@example.net"),
        ("IP:192.0.2.1", "192.0.2.1"),
        ("IP:2001:db8::1", "2001:db8::1"),
        ("URI:spiffe://example.net/prometheus", "spiffe://example.net/prometheus"),
    ],
)
async def test_admits_a_client_with_an_allowed_name(
    config: Path, pki: Pki, ca: Identity, client: Identity, san: str, allowed: str
) -> None:
    put(config, f"{VERIFIED}  client_allowed_sans: ['{allowed}', three]\n")
    async with serving(config) as port:
        assert not await refused(port, client_context(ca, pki.leaf(ca, "DNS:zero", san)))
        assert await refused(port, client_context(ca, client))
        assert await refused(port, client_context(ca, pki.leaf(ca)))


async def test_an_allowed_name_does_not_replace_verification(
    config: Path, ca: Identity, stranger: Identity
) -> None:
    put(config, f"{VERIFIED}  client_allowed_sans: [one]\n")
    async with serving(config) as port:
        assert await refused(port, client_context(ca, stranger))


async def test_an_empty_list_of_names_admits_nobody(
    config: Path, ca: Identity, client: Identity
) -> None:
    put(config, f"{VERIFIED}  client_allowed_sans: []\n")
    async with serving(config) as port:
        assert await refused(port, client_context(ca, client))


async def test_allowed_names_ask_for_a_certificate_that_may_otherwise_be_left_out(
    config: Path, ca: Identity, client: Identity
) -> None:
    optional = VERIFIED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
    put(config, f"{optional}  client_allowed_sans: [one]\n")
    async with serving(config) as port:
        assert not await refused(port, client_context(ca, client))
        assert await refused(port, client_context(ca))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_resumed_session_is_checked_as_a_new_one(
    config: Path, ca: Identity, client: Identity, version: ssl.TLSVersion
) -> None:
    put(config, f"{VERIFIED}  client_allowed_sans: [one]\n")
    context = client_context(ca, client, version)
    async with serving(config) as port:
        session, _, answer = await asyncio.to_thread(ask_blocking, port, context, None)
        assert answer.startswith(b"HTTP/1.1 200")
        _, reused, answer = await asyncio.to_thread(ask_blocking, port, context, session)
        assert reused
        assert answer.startswith(b"HTTP/1.1 200")
        put(config, f"{VERIFIED}  client_allowed_sans: [two]\n")
        _, _, answer = await asyncio.to_thread(ask_blocking, port, context, session)
        assert answer == b""


def ask_blocking(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool | None, bytes]:
    """Ask with a session to resume, which asyncio's clients cannot; no bytes when refused."""
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        try:
            with context.wrap_socket(plain, session=session) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                answer = connection.recv(4096)
                return connection.session, connection.session_reused, answer
        except OSError:
            return None, None, b""


async def test_what_is_no_tls_leaves_no_line_in_the_log(
    config: Path, ca: Identity, client: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    put(config, f"{VERIFIED}  client_allowed_sans: [two]\n")
    asyncio.get_running_loop().set_debug(False)  # as in production; debugging tells more
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as lines:
        async with serving(config) as port:
            for nonsense in (b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", os.urandom(64), b"\x16\x03"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(nonsense)
                writer.write_eof()
                await asyncio.gather(reader.read(), return_exceptions=True)
                writer.close()
                await asyncio.gather(writer.wait_closed(), return_exceptions=True)
            assert await refused(port, client_context(ca))
            assert await refused(port, client_context(ca, client))
    assert lines == []
    assert without_slowness(caplog.records) == []


@pytest.mark.parametrize(
    "weaker",
    [
        "",
        CERTIFIED,
        f"{CERTIFIED}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n",
        VERIFIED,
    ],
)
async def test_a_rewrite_does_not_take_protection_away(
    config: Path, ca: Identity, client: Identity, weaker: str
) -> None:
    put(config, f"{VERIFIED}  client_allowed_sans: [two]\n")
    async with serving(config) as port:
        put(config, weaker)
        with structlog.testing.capture_logs() as lines:
            assert await refused(port, client_context(ca))
            assert await refused(port, client_context(ca, client))
    assert [line["event"] for line in lines] == ["web config not followed"]
    assert "after a restart only" in lines[0]["problems"][0]


async def test_tls_that_a_rewrite_adds_begins_with_a_restart(config: Path, ca: Identity) -> None:
    put(config, "http_server_config:\n  headers: {X-Frame-Options: deny}\n")
    async with serving(config) as port:
        put(config, f"{CERTIFIED}http_server_config:\n  headers: {{X-XSS-Protection: 1}}\n")
        plain = await get(port)
        assert plain.headers["X-XSS-Protection"] == "1"
        assert await refused(port, client_context(ca))


async def test_a_missing_file_is_read_when_it_appears(config: Path, pki: Pki, ca: Identity) -> None:
    renewed = pki.leaf(ca)
    async with serving(config) as port:
        put(config, CERTIFIED.replace("server.", "renewed."))
        await get(port, client_context(ca))
        shutil.copyfile(renewed.cert, config.parent / "renewed.pem")
        shutil.copyfile(renewed.key, config.parent / "renewed.key")
        assert (await get(port, client_context(ca))).certificate == renewed.der


def test_writes_names_as_they_are_configured() -> None:
    certificate = {
        "subject": ((("commonName", "not a name"),),),
        "subjectAltName": (
            ("DNS", "one"),
            ("email", "a@example.net"),
            ("URI", "spiffe://x/y"),
            ("IP Address", "192.0.2.1"),
            ("IP Address", "2001:DB8:0:0:0:0:0:1"),
            ("IP Address", "0:0:0:0:0:FFFF:C000:202"),
            ("IP Address", "<invalid>"),
            ("DirName", ((("commonName", "x"),),)),
        ),
    }
    assert subject_alt_names(certificate) == {
        "one",
        "a@example.net",
        "spiffe://x/y",
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
    }
    assert subject_alt_names(None) == set()
    assert subject_alt_names({}) == set()
