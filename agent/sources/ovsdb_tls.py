"""TLS to OVSDB servers: whom we trust, who we are, and why a handshake failed.

OVSDB's certificates name switches and controllers, not hosts, so a server is whoever its
certificate authority says (ovs-pki(8)); no host name is checked. What OpenSSL says of an expired
certificate of one's own is an alert of the other side, after the handshake: the dates are looked
at before.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import ParseError, Reason, SourceError
from agent.wire.x509 import parse_validity

MAX_FILE_BYTES = 1 << 20
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; they are read anew for each connection, so that they can be replaced.

    Attributes:
        ca_certificate: Who signs the servers' certificates; without it no server is trusted.
        certificate: Ours, with what it was signed by behind it; ``None`` to have none.
        private_key: Of ``certificate``.
    """

    ca_certificate: Path | None
    certificate: Path | None = None
    private_key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what to connect with.

        Raises:
            SourceError: ABSENT, DENIED or MALFORMED for a file; REFUSED when our certificate is not
                valid now: no server would take it.
        """
        if self.ca_certificate is None:
            raise SourceError(Reason.ABSENT, "no ca_certificate is configured: nobody is trusted")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # with it, what is sent never waits to be read
        authorities = _read(self.ca_certificate)
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, ValueError) as error:
            raise _malformed(self.ca_certificate, error) from error
        if self.certificate and self.private_key:
            _check_dates(self.certificate)
            _read(self.private_key, 0)
            try:
                context.load_cert_chain(self.certificate, self.private_key, _no_password)
            except (OSError, ValueError) as error:  # SSLError is an OSError
                raise _malformed(self.private_key, error) from error
        return context


def refusal(error: ssl.SSLError) -> tuple[Reason, str]:
    """Return why TLS with a server failed, in OpenSSL's words.

    They are of its own tables: nothing of keys or certificates is in them.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return Reason.REFUSED, f"the server's certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Reason.BROKEN, "closed the connection in the middle of TLS"
    words = _words(error)
    if "alert" in words:
        return Reason.REFUSED, f"the server refuses TLS with us: {words}"
    return Reason.MALFORMED, f"no TLS that we understand: {words}"


def _check_dates(path: Path) -> None:
    text = _read(path)
    start, end = text.find(_BEGIN), text.find(_END)
    try:
        if start < 0 or end < start:
            raise ParseError("no certificate in PEM form")
        validity = parse_validity(ssl.PEM_cert_to_DER_cert(text[start : end + len(_END)]))
    except ValueError as error:  # ParseError is one, so is what base64 raises
        raise _malformed(path, error) from error
    now = datetime.now(UTC)
    if now > validity.not_after:
        day = validity.not_after.isoformat(" ", "seconds")
        raise SourceError(Reason.REFUSED, f"{path}: our certificate has expired: {day}")
    if now < validity.not_before:
        day = validity.not_before.isoformat(" ", "seconds")
        raise SourceError(Reason.REFUSED, f"{path}: our certificate is not valid before {day}")


def _read(path: Path, most_bytes: int = MAX_FILE_BYTES) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(most_bytes)
    except PermissionError as error:
        raise SourceError(Reason.DENIED, f"{path}: {error.strerror}") from error
    except (OSError, ValueError) as error:  # a ValueError is a path with a NUL character
        said = error.strerror if isinstance(error, OSError) else error
        raise SourceError(Reason.ABSENT, f"{path}: {said}") from error
    return raw.decode("ascii", "ignore")  # names stand as comments around what is PEM


def _malformed(path: Path, error: Exception) -> SourceError:
    words = _words(error) if isinstance(error, ssl.SSLError) else str(error)
    return SourceError(Reason.MALFORMED, f"{path}: {words}")


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "not readable by OpenSSL").lower().replace("_", " ")


def _no_password() -> str:
    # Without this OpenSSL asks on the terminal.
    raise ValueError("the private key is encrypted")
