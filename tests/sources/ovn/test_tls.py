"""TLS with a real ovsdb-server, and every certificate that is none is said as such."""

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Reason, SourceError
from agent.sources import ovsdb_connect
from lab.process import free_port
from tests.exposition.pki import Identity
from tests.sources.ovn.pki import DatedPki
from tests.sources.ovn.servers import OvnServer, Southbounds, update

pytestmark = pytest.mark.usefixtures("open_vswitch", "prompt")

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> DatedPki:
    return DatedPki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def ca(pki: DatedPki) -> Identity:
    return pki.authority()


@pytest.fixture(scope="module")
def other_ca(pki: DatedPki) -> Identity:
    return pki.authority()


@pytest.fixture(scope="module")
def ours(pki: DatedPki, ca: Identity) -> Identity:
    return pki.leaf(ca)


@pytest.fixture(scope="module")
def theirs(pki: DatedPki, ca: Identity) -> Identity:
    return pki.leaf(ca)


@contextmanager
def server(
    path: Path, identity: Identity, trusted: Identity, *more: str
) -> Iterator[tuple[OvnServer, str]]:
    port = free_port()
    options = [f"--private-key={identity.key}", f"--certificate={identity.cert}"]
    options += [f"--ca-cert={trusted.cert}", *more]
    remotes = [f"pssl:{port}:127.0.0.1"]
    with OvnServer(path, remotes=remotes, options=options) as running:
        yield running, f"ssl:127.0.0.1:{port}"


def files(ca: Identity, ours: Identity, **others: Path) -> dict[str, Any]:
    return {
        "ovn": {
            "ca_certificate": ca.cert,
            "certificate": ours.cert,
            "private_key": ours.key,
            **others,
        }
    }


async def failure(remote: str, settings: dict[str, Any]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        async with asyncio.timeout(20):
            await Southbounds(remote, **settings).source.run()
    assert "\n" not in caught.value.detail
    assert "PRIVATE" not in caught.value.detail
    return caught.value


async def test_follows_a_database_over_tls(
    tmp_path: Path, ca: Identity, ours: Identity, theirs: Identity
) -> None:
    with server(tmp_path, theirs, ca) as (running, remote):
        (row,) = running.client.transact(running.client.insert("SB_Global", nb_cfg=1))
        observer = Southbounds(remote, **files(ca, ours))
        async with observer.running():
            await observer.until(lambda it: it.nb_cfg == 1)
            running.client.transact(update("SB_Global", row, nb_cfg=2))
            await observer.until(lambda it: it.nb_cfg == 2)


async def test_takes_large_contents_over_tls(
    tmp_path: Path, ca: Identity, ours: Identity, theirs: Identity
) -> None:
    """More than a record of TLS, and than a read."""
    with server(tmp_path, theirs, ca) as (running, remote):
        client = running.client
        client.transact(
            *(
                client.insert(
                    "Datapath_Binding", tunnel_key=key, external_ids=["map", [["name", "x" * 900]]]
                )
                for key in range(1, 2001)
            )
        )
        observer = Southbounds(remote, **files(ca, ours))
        async with observer.running():
            known = await observer.until(lambda it: bool(it.datapaths))
    assert len(known.datapaths) == 2000


@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
async def test_speaks_both_versions(
    ca: Identity, ours: Identity, theirs: Identity, protocol: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.cert, theirs.key)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[protocol.replace(".", "_")]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        spoken = []

        def serve() -> None:
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as accepted:
                spoken.append(accepted.version())

        thread = threading.Thread(target=serve)
        thread.start()
        remote = f"ssl:127.0.0.1:{listener.getsockname()[1]}"
        error = await failure(remote, files(ca, ours))
        await asyncio.to_thread(thread.join)
    assert spoken == [protocol]
    assert error.reason is Reason.BROKEN


async def test_says_that_the_server_s_certificate_has_expired(
    tmp_path: Path, pki: DatedPki, ca: Identity, ours: Identity
) -> None:
    expired = pki.dated(ca, -2 * DAY, -DAY)
    with server(tmp_path, expired, ca) as (_, remote):
        error = await failure(remote, files(ca, ours))
    assert error.reason is Reason.REFUSED
    assert error.detail == f"{remote}: the server's certificate: certificate has expired"


async def test_says_that_our_certificate_has_expired_without_asking_the_server(
    pki: DatedPki, ca: Identity
) -> None:
    expired = pki.dated(ca, -2 * DAY, -DAY)
    error = await failure("ssl:127.0.0.1:1", files(ca, expired))
    assert error.reason is Reason.REFUSED
    assert str(expired.cert) in error.detail
    assert "our certificate has expired: 20" in error.detail


async def test_says_that_our_certificate_is_not_valid_yet(pki: DatedPki, ca: Identity) -> None:
    future = pki.dated(ca, DAY, 2 * DAY)
    error = await failure("ssl:127.0.0.1:1", files(ca, future))
    assert error.reason is Reason.REFUSED
    assert "our certificate is not valid before 20" in error.detail


async def test_trusts_no_server_of_another_authority(
    tmp_path: Path, pki: DatedPki, ca: Identity, other_ca: Identity, ours: Identity
) -> None:
    with server(tmp_path, pki.leaf(other_ca), ca) as (_, remote):
        error = await failure(remote, files(ca, ours))
    assert error.reason is Reason.REFUSED
    assert "the server's certificate: " in error.detail


async def test_says_that_the_server_does_not_trust_us(
    tmp_path: Path, pki: DatedPki, ca: Identity, other_ca: Identity, theirs: Identity
) -> None:
    with server(tmp_path, theirs, ca) as (_, remote):
        stranger = await failure(remote, files(ca, pki.leaf(other_ca)))
        nobody = await failure(remote, {"ovn": {"ca_certificate": ca.cert}})
    assert stranger.reason is Reason.REFUSED
    assert "the server refuses TLS with us: " in stranger.detail
    assert nobody.reason in (Reason.REFUSED, Reason.BROKEN)


async def test_trusts_nobody_without_an_authority() -> None:
    error = await failure("ssl:127.0.0.1:1", {})
    assert error.reason is Reason.ABSENT
    assert "no ca_certificate is configured" in error.detail


async def test_says_which_file_cannot_be_used(
    tmp_path: Path, pki: DatedPki, ca: Identity, ours: Identity
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    missing = tmp_path / "missing.pem"
    other = pki.leaf(ca)
    locked = tmp_path / "locked.key"
    lock = ["openssl", "ec", "-in", ours.key, "-aes256", "-passout", "pass:x", "-out", locked]
    await asyncio.to_thread(subprocess.run, lock, check=True, capture_output=True)
    cases: list[tuple[dict[str, Path], Reason, Path]] = [
        ({"ca_certificate": missing}, Reason.ABSENT, missing),
        ({"certificate": missing}, Reason.ABSENT, missing),
        ({"private_key": missing}, Reason.ABSENT, missing),
        ({"ca_certificate": tmp_path}, Reason.ABSENT, tmp_path),
        ({"ca_certificate": garbage}, Reason.MALFORMED, garbage),
        ({"ca_certificate": ours.key}, Reason.MALFORMED, ours.key),
        ({"certificate": garbage}, Reason.MALFORMED, garbage),
        ({"certificate": ours.key}, Reason.MALFORMED, ours.key),
        ({"private_key": garbage}, Reason.MALFORMED, garbage),
        ({"private_key": other.key}, Reason.MALFORMED, other.key),
        ({"private_key": locked}, Reason.MALFORMED, locked),
    ]
    for others, reason, path in cases:
        error = await failure("ssl:127.0.0.1:1", files(ca, ours, **others))
        assert (error.reason, str(path) in error.detail) == (reason, True), error.detail


async def test_reads_files_again_for_each_connection(
    tmp_path: Path, pki: DatedPki, ca: Identity, ours: Identity, theirs: Identity
) -> None:
    expired = pki.dated(ca, -2 * DAY, -DAY)
    cert, key = tmp_path / "ours.pem", tmp_path / "ours.key"
    with server(tmp_path / "db", theirs, ca) as (_, remote):
        observer = Southbounds(remote, **files(ca, ours, certificate=cert, private_key=key))
        for identity in (expired, ours):
            cert.write_bytes(identity.cert.read_bytes())
            key.write_bytes(identity.key.read_bytes())
            async with observer.running() as task:
                done, _ = await asyncio.wait(
                    {task, asyncio.ensure_future(observer.until(lambda _: True))},
                    return_when=asyncio.FIRST_COMPLETED,
                )
            assert (task in done) == (identity is expired)


async def test_a_server_that_does_not_speak_tls_is_said_to(ca: Identity, ours: Identity) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"id":"echo","method":"echo","params":[]}')
        await writer.drain()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    error = await failure(f"ssl:127.0.0.1:{port}", files(ca, ours))
    listening.close()
    assert error.reason is Reason.MALFORMED
    assert "no TLS that we understand" in error.detail


async def test_a_server_that_says_nothing_is_given_up_and_costs_no_time(
    ca: Identity, ours: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovsdb_connect, "CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        remote = f"ssl:127.0.0.1:{listener.getsockname()[1]}"
        began, used = time.monotonic(), time.process_time()
        error = await failure(remote, files(ca, ours))
    assert error.reason is Reason.TIMEOUT
    assert 0.9 < time.monotonic() - began < 3
    assert time.process_time() - used < 0.5


async def test_stops_at_once_in_the_middle_of_a_handshake(ca: Identity, ours: Identity) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        observer = Southbounds(f"ssl:127.0.0.1:{listener.getsockname()[1]}", **files(ca, ours))
        async with observer.running():
            accepted, _ = await asyncio.to_thread(listener.accept)
            began = time.monotonic()
        accepted.close()
    assert time.monotonic() - began < 0.5
