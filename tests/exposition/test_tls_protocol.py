"""Versions, cipher suites and curves, as a real handshake finds them."""

import ssl
from pathlib import Path

import pytest

from tests.exposition.pki import Identity, Pki, client_context, install
from tests.exposition.web import get, put, refused, serving

CERTIFIED = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def ca(pki: Pki) -> Identity:
    return pki.authority()


@pytest.fixture(scope="module")
def server(pki: Pki, ca: Identity) -> Identity:
    return pki.leaf(ca)


@pytest.fixture
def config(tmp_path: Path, server: Identity) -> Path:
    install(server, tmp_path)
    path = tmp_path / "web.yml"
    path.write_text(CERTIFIED)
    return path


async def test_speaks_tls_1_2_and_1_3_unless_told_otherwise(config: Path, ca: Identity) -> None:
    old = client_context(ca, version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with serving(config) as port:
        assert not await refused(port, client_context(ca, version=ssl.TLSVersion.TLSv1_3))
        assert not await refused(port, client_context(ca, version=ssl.TLSVersion.TLSv1_2))
        assert await refused(port, old)


@pytest.mark.parametrize(
    ("setting", "served", "not_served"),
    [
        ("min_version: TLS13", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2),
        ("max_version: TLS12", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
        (
            "cipher_suites: [TLS_AES_128_GCM_SHA256]",
            ssl.TLSVersion.TLSv1_3,
            ssl.TLSVersion.TLSv1_2,
        ),
    ],
)
async def test_speaks_only_the_versions_that_are_configured(
    config: Path, ca: Identity, setting: str, served: ssl.TLSVersion, not_served: ssl.TLSVersion
) -> None:
    put(config, f"{CERTIFIED}  {setting}\n")
    async with serving(config) as port:
        assert not await refused(port, client_context(ca, version=served))
        assert await refused(port, client_context(ca, version=not_served))


@pytest.mark.parametrize(
    ("server_prefers", "chosen"),
    [("true", "ECDHE-ECDSA-AES256-GCM-SHA384"), ("false", "ECDHE-ECDSA-AES128-GCM-SHA256")],
)
async def test_chooses_the_cipher_suite_that_the_preferred_side_prefers(
    config: Path, ca: Identity, server_prefers: str, chosen: str
) -> None:
    put(
        config,
        f"{CERTIFIED}  prefer_server_cipher_suites: {server_prefers}\n  cipher_suites:\n"
        "  - TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n"
        "  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n",
    )
    context = client_context(ca, version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    async with serving(config) as port:
        assert (await get(port, context)).cipher == chosen


async def test_serves_no_cipher_suite_that_is_not_configured(config: Path, ca: Identity) -> None:
    put(config, f"{CERTIFIED}  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA]\n")
    context = client_context(ca, version=ssl.TLSVersion.TLSv1_2)
    async with serving(config) as port:
        context.set_ciphers("ECDHE-ECDSA-AES128-SHA")
        assert not await refused(port, context)
        context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
        assert await refused(port, context)


async def test_serves_the_first_curve_that_python_can_set(config: Path, ca: Identity) -> None:
    put(config, f"{CERTIFIED}  curve_preferences: [CurveP521, CurveP256]\n")
    context = client_context(ca)
    async with serving(config) as port:
        context.set_ecdh_curve("secp521r1")
        assert not await refused(port, context)
        context.set_ecdh_curve("secp384r1")
        assert await refused(port, context)
