"""The keys of a web configuration: types, defaults and names, as the exporter toolkit has them.

Source: prometheus/exporter-toolkit, docs/web-configuration.md and web/tls_config.go.
"""

import re
from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic import model_validator as _model_validator

from agent.exposition.credentials import BcryptHash, parse_hash
from agent.exposition.web_yaml import Scalar

CLIENT_AUTH_TYPES = (
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "RequireClientCert",  # an older name of RequireAnyClientCert
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
)

VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")
"""From the oldest to the newest."""

CIPHER_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_AES_128_GCM_SHA256": None,
    "TLS_AES_256_GCM_SHA384": None,
    "TLS_CHACHA20_POLY1305_SHA256": None,
}
"""OpenSSL's name by Go's (crypto/tls CipherSuites), None for suites of TLS 1.3, always on.

In the order of preference that holds when no list is configured.
"""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""OpenSSL's name by Go's."""

HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that may be configured, and their allowed values (none: any)."""

_TRUE = frozenset(["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"])
_FALSE = frozenset(["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"])
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_DURATION_PART = r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"([-+]?)((?:{_DURATION_PART}){{1,8}})")
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


def _one_of(allowed: Collection[str], expected: str = "") -> AfterValidator:
    def check(text: str) -> str:
        if text not in allowed:
            raise ValueError(expected or f"expected one of {', '.join(filter(None, allowed))}")
        return text

    return AfterValidator(check)


def _boolean(value: object) -> bool:
    if isinstance(value, Scalar) and value.plain and value in _TRUE | _FALSE:
        return value in _TRUE
    raise ValueError("expected true or false, without quotes")


def _integer(value: object) -> int:
    if isinstance(value, Scalar) and value.plain and _INTEGER.fullmatch(value):
        return int(value)
    raise ValueError("expected an integer, without quotes")


def _seconds(value: object) -> float:
    """Read a duration as Go writes it (``1m30s``); a bare number is nanoseconds, as it is there."""
    if isinstance(value, Scalar):
        if value == "0" or (value.plain and _INTEGER.fullmatch(value)):
            return int(value) * 1e-9
        if found := _DURATION.fullmatch(value):
            parts = re.findall(_DURATION_PART, found[2])
            return float(f"{found[1]}1") * sum(float(n) * _SECONDS[unit] for n, unit in parts)
    raise ValueError("expected a duration such as 500ms or 1m30s")


def _hash(value: object) -> BcryptHash:
    if not isinstance(value, Scalar):
        raise ValueError("not a bcrypt hash")  # noqa: TRY004 - pydantic takes ValueError only
    return parse_hash(value)


def _header_value(value: object) -> object:
    """Null is blank; line breaks become spaces: a block scalar ends with one."""
    if value is None:
        return ""
    if not isinstance(value, Scalar):
        return value
    line = value.replace("\r", " ").replace("\n", " ").strip()
    if any(ord(character) < ord(" ") or character == "\x7f" for character in line):
        raise ValueError("control characters")
    return line


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name not in HEADERS:
            raise ValueError(f"{name} cannot be configured, only {', '.join(HEADERS)}")
        if HEADERS[name] and value not in HEADERS[name]:
            raise ValueError(f"{name} must be {' or '.join(HEADERS[name])}")
    return {name: value for name, value in headers.items() if value}


_Boolean = Annotated[bool, BeforeValidator(_boolean)]
_Version = Annotated[str, _one_of(VERSIONS)]


class _Section(BaseModel):
    """A mapping of the file. A key with nothing behind it has its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @_model_validator(mode="before")
    @classmethod
    def _nothing_is_default(cls, data: object) -> object:
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields
        return {k: v for k, v in data.items() if v is not None or k not in fields}


class TlsServer(_Section):
    """tls_server_config. Empty text is the same as a missing key."""

    cert: str = ""
    key: str = Field("", repr=False)
    client_ca: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    client_auth_type: Annotated[str, _one_of(("", *CLIENT_AUTH_TYPES))] = ""
    client_allowed_sans: tuple[str, ...] | None = None
    """None: any certificate that verifies. An empty list allows none."""
    cipher_suites: tuple[
        Annotated[str, _one_of(CIPHER_SUITES, "not one of Go's crypto/tls CipherSuites")], ...
    ] = ()
    curve_preferences: tuple[Annotated[str, _one_of(CURVES)], ...] = ()
    min_version: _Version = "TLS12"
    max_version: _Version = "TLS13"
    prefer_server_cipher_suites: _Boolean = True

    @property
    def enabled(self) -> bool:
        """TLS is on as soon as one of these keys has a value; the others tune it only."""
        return any(
            (
                self.cert,
                self.cert_file,
                self.key,
                self.key_file,
                self.client_ca,
                self.client_ca_file,
                self.client_auth_type,
            )
        )


class HttpServer(_Section):
    """http_server_config."""

    http2: _Boolean = True
    """Accepted and without effect: the agent speaks HTTP/1.1."""
    headers: Annotated[
        dict[str, Annotated[str, BeforeValidator(_header_value)]], AfterValidator(_headers)
    ] = {}


class RateLimit(_Section):
    """rate_limit: a bucket of ``burst`` requests, refilled by one each ``interval`` (seconds)."""

    interval: Annotated[float, BeforeValidator(_seconds)] = 0.0
    burst: Annotated[int, BeforeValidator(_integer)] = 0


class WebSettings(_Section):
    """The whole file."""

    tls_server_config: TlsServer = TlsServer()
    http_server_config: HttpServer = HttpServer()
    rate_limit: RateLimit = RateLimit()
    basic_auth_users: dict[str, Annotated[BcryptHash, PlainValidator(_hash)]] = Field(
        {}, repr=False
    )
