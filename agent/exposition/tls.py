"""TLS of the web server: a context out of ``tls_server_config``, and one that can be renewed.

Python's ssl verifies every certificate that it asks for, so what Go's client_auth_type asks
without verifying cannot be had: it is refused where leaving it out would admit more clients.
"""

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from agent.exposition.watched import WatchedFiles
from agent.exposition.web_settings import CIPHER_SUITES, CURVES, VERSIONS, TlsServer

_SECTION = "tls_server_config"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"
_UNVERIFIED = frozenset({"RequireAnyClientCert", "RequireClientCert"})
_Content: TypeAlias = Callable[[str], tuple[str, bytes]]
"""Takes cert, key or client_ca; returns the key that is in force (cert_file) and its bytes."""

_VERIFY_MODES = {
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class TlsConfigError(Exception):
    """TLS cannot be served as configured.

    Attributes:
        problems: One line each: the key's path and what is wrong with it.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _ServerConnection(ssl.SSLObject):
    """A connection whose handshake fails when the client's certificate has no allowed name."""

    def do_handshake(self) -> None:
        """Finish the handshake, then look at the names."""
        super().do_handshake()
        context = self.context
        allowed = context.allowed_sans if isinstance(context, ServerContext) else None
        if allowed is not None and allowed.isdisjoint(subject_alt_names(self.getpeercert())):
            raise ssl.SSLCertVerificationError(1, "no allowed subjectAltName")


class ServerContext(ssl.SSLContext):
    """What one version of the configuration serves connections with.

    Attributes:
        allowed_sans: A client's certificate needs one of these; None: any that verifies.
    """

    allowed_sans: frozenset[str] | None = None
    sslobject_class = _ServerConnection


class ReloadingContext(ssl.SSLContext):
    """Stands in for whatever context is current when a connection comes.

    asyncio takes one context for the life of a server and asks it for each connection
    (wrap_bio). This one has no certificate of its own: used in any other way it serves nothing.

    Args:
        current: Returns the context in force; called for each connection, must not raise.
    """

    _current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> "ReloadingContext":  # noqa: PYI034 - a Self would need the base's signature
        """Make a server's context; the base takes its protocol here."""
        context = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        context._current = current
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature is Python's
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection with the context that is in force now."""
        context = self._current()
        return context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def build(settings: TlsServer, directory: Path, files: WatchedFiles) -> ServerContext | None:
    """Make a context for a server.

    Args:
        settings: tls_server_config.
        directory: What relative paths are relative to: where the configuration file is.
        files: Reads, and afterwards watches, the certificates and keys.

    Returns:
        None when TLS is not configured.

    Raises:
        TlsConfigError: With all problems that could be found.
    """
    if not settings.enabled and settings.client_allowed_sans is None:
        return None
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    problems = _contradictions(settings)
    if not problems:
        for load in (_protocol, _own_certificate, _client_verification):
            try:
                load(context, settings, lambda key: _content(settings, key, directory, files))
            except TlsConfigError as error:
                problems += error.problems
    if problems:
        raise TlsConfigError([f"{_SECTION}.{problem}" for problem in problems])
    return context


def subject_alt_names(certificate: dict[str, Any] | None) -> set[str]:
    """Return a certificate's names as Go writes them: DNS, e-mail, IP addresses and URIs.

    A sample of the input (ssl.SSLObject.getpeercert)::

        {"subjectAltName": (("DNS", "one"), ("IP Address", "2001:DB8:0:0:0:0:0:1"))}

    Args:
        certificate: None when the client gave none.
    """
    names = set()
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind in {"DNS", "email", "URI"}:
            names.add(value)
        elif kind == "IP Address":
            try:
                address = ipaddress.ip_address(value.strip())
            except ValueError:
                continue
            mapped = getattr(address, "ipv4_mapped", None)
            names.add(str(mapped or address))
    return names


def _contradictions(settings: TlsServer) -> list[str]:
    """Find what is wrong before a file is read."""
    problems = []
    policy = settings.client_auth_type
    if not (settings.cert or settings.cert_file):
        problems.append("cert_file: missing, and there is no cert either")
    if not (settings.key or settings.key_file):
        problems.append("key_file: missing, and there is no key either")
    if policy in {"", "NoClientCert"} and (settings.client_ca or settings.client_ca_file):
        problems.append("client_auth_type: missing, although there is a client CA")
    if policy in _UNVERIFIED:
        problems.append(
            f"client_auth_type: {policy} cannot be served, use RequireAndVerifyClientCert"
        )
    elif settings.client_allowed_sans is not None and policy not in _VERIFY_MODES:
        problems.append(
            "client_allowed_sans: needs client_auth_type RequireAndVerifyClientCert"
            " (or VerifyClientCertIfGiven), nothing would check the names"
        )
    if VERSIONS.index(settings.max_version) < VERSIONS.index("TLS12"):
        problems.append("max_version: versions before TLS12 are not served")
    elif VERSIONS.index(settings.max_version) < VERSIONS.index(settings.min_version):
        problems.append("max_version: older than min_version")
    elif settings.max_version == "TLS12" and _only_tls13(settings):
        problems.append("cipher_suites: all of them are of TLS13, which max_version excludes")
    return problems


def _only_tls13(settings: TlsServer) -> bool:
    """Say whether the configured suites leave nothing for TLS 1.2."""
    suites = settings.cipher_suites
    return bool(suites) and all(CIPHER_SUITES[suite] is None for suite in suites)


def _protocol(context: ServerContext, settings: TlsServer, _content: _Content) -> None:
    """Set versions, cipher suites and curves."""
    newer = settings.min_version == "TLS13" or _only_tls13(settings)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if newer else ssl.TLSVersion.TLSv1_2
    older = settings.max_version == "TLS12"
    context.maximum_version = ssl.TLSVersion.TLSv1_2 if older else ssl.TLSVersion.TLSv1_3
    wanted = settings.cipher_suites or tuple(CIPHER_SUITES)
    if suites := [name for suite in wanted if (name := CIPHER_SUITES[suite])]:
        context.set_ciphers(":".join(suites))
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if not settings.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    if settings.curve_preferences:
        _curve(context, settings.curve_preferences)


def _curve(context: ServerContext, preferences: tuple[str, ...]) -> None:
    """Set the first curve that can be set: Python takes one, which allows less, never more."""
    for preference in preferences:
        try:
            context.set_ecdh_curve(CURVES[preference])
        except (ssl.SSLError, ValueError):
            continue  # X25519, in Python 3.11
        return
    problem = f"curve_preferences: this Python's ssl cannot set {' or '.join(preferences)}"
    raise TlsConfigError([problem])


def _own_certificate(context: ServerContext, _settings: TlsServer, content: _Content) -> None:
    problems = []
    parts = {}
    for key, begin in (("cert", _CERTIFICATE), ("key", _KEY)):
        try:
            name, parts[key] = content(key)
        except TlsConfigError as error:
            problems += error.problems
            continue
        if begin not in parts[key]:
            what = "certificate" if key == "cert" else "private key"
            problems.append(f"{name}: no {what} in PEM form")
    if problems:
        raise TlsConfigError(problems)
    with _as_file(parts["cert"]) as cert, _as_file(parts["key"]) as key_path:
        try:
            context.load_cert_chain(cert, key_path, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise TlsConfigError([f"cert_file, key_file: {_reason(error)}"]) from None


def _client_verification(context: ServerContext, settings: TlsServer, content: _Content) -> None:
    """Set up the verification of clients; RequestClientCert admits all, so none is asked for."""
    if settings.client_ca or settings.client_ca_file:
        # Read in any case: the toolkit refuses a file that cannot be read.
        name, authorities = content("client_ca")
    else:
        name, authorities = "", b""
    if settings.client_auth_type not in _VERIFY_MODES:
        return
    context.verify_mode = _VERIFY_MODES[settings.client_auth_type]
    # As in Go, each certificate of the file is trusted as it is, also one that is no root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if settings.client_allowed_sans is not None:
        context.allowed_sans = frozenset(settings.client_allowed_sans)
    if not name:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    with _as_file(authorities) as path:
        try:
            context.load_verify_locations(cafile=path)
        except ssl.SSLError as error:
            raise TlsConfigError([f"{name}: {_reason(error)}"]) from None


def _content(
    settings: TlsServer, key: str, directory: Path, files: WatchedFiles
) -> tuple[str, bytes]:
    """Return the name of the key in force and what it holds; a file goes before inline text."""
    name = f"{key}_file"
    path = getattr(settings, name)
    if not path:
        return key, getattr(settings, key).encode()
    try:
        return name, files.read(directory / path)
    except (OSError, ValueError) as error:
        # A ValueError is a path with a NUL character.
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise TlsConfigError([f"{name}: {directory / path!s}: {reason}"]) from None


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Give bytes a path, because OpenSSL reads paths: the key that stands inline meets no disk.

    One read of a file is also what makes certificate and stamp belong together.
    """
    with open(os.memfd_create("web-config", os.MFD_CLOEXEC), "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _no_password() -> str:
    # Without this OpenSSL asks on the terminal.
    raise ValueError("the private key is encrypted")


def _reason(error: ssl.SSLError | ValueError) -> str:
    """Return OpenSSL's reason in its own words."""
    reason = error.reason if isinstance(error, ssl.SSLError) else str(error)
    return (reason or "not readable by OpenSSL").lower().replace("_", " ")
