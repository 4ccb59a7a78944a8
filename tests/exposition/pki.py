"""Certificates for tests, made by the openssl command."""

import itertools
import ssl
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

_NO_DEFAULTS = "[req]\ndistinguished_name = dn\n[dn]\n"
_LEAF = ("basicConstraints=critical,CA:FALSE",)
_AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, both in PEM files."""

    cert: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The certificate as it goes over the wire."""
        return ssl.PEM_cert_to_DER_cert(self.cert.read_text())


class Pki:
    """Issues certificates into a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self._config = directory / "openssl.cnf"
        self._config.write_text(_NO_DEFAULTS)

    def authority(self, issuer: Identity | None = None) -> Identity:
        """Make a root, or an intermediate below an issuer."""
        return self._make(issuer, _AUTHORITY)

    def leaf(self, issuer: Identity | None, *sans: str, key: str = "EC") -> Identity:
        """Make a certificate for a server or a client; without an issuer it is self-signed."""
        names = [f"subjectAltName={','.join(sans)}"] if sans else []
        return self._make(issuer, (*_LEAF, *names), key)

    def _make(
        self, issuer: Identity | None, extensions: tuple[str, ...], key: str = "EC"
    ) -> Identity:
        number = next(self._numbers)
        made = Identity(self._directory / f"{number}.pem", self._directory / f"{number}.key")
        kind = ["rsa:2048"] if key == "RSA" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        command = ["openssl", "req", "-x509", "-config", self._config, "-newkey", *kind, "-noenc"]
        command += ["-days", "2", "-subj", f"/CN=test {number}", "-out", made.cert]
        command += ["-keyout", made.key]
        for extension in extensions:
            command += ["-addext", extension]
        if issuer:
            command += ["-CA", issuer.cert, "-CAkey", issuer.key]
        subprocess.run(command, check=True, capture_output=True)
        return made


def install(identity: Identity, directory: Path) -> None:
    """Put a server's identity where the configuration expects it, in the two steps of certbot."""
    for source, name in ((identity.cert, "server.pem"), (identity.key, "server.key")):
        fresh = directory / f"{name}.new"
        fresh.write_bytes(source.read_bytes())
        fresh.replace(directory / name)


def client_context(
    trusted: Identity, identity: Identity | None = None, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """Return what a client connects with, with one version of TLS only if it is given."""
    context = ssl.create_default_context(cafile=trusted.cert)
    context.check_hostname = False
    if identity:
        context.load_cert_chain(identity.cert, identity.key)
    if version:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # versions before TLS 1.2
            context.minimum_version = context.maximum_version = version
    return context
