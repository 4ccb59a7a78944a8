"""``--web.config.file``: TLS, client certificates, users, headers and the rate limit.

The format is the one of prometheus/exporter-toolkit, which every exporter shares. The file and
what it names are looked at for each connection and each request; what has changed is read again.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import ValidationError

from agent import log
from agent.exposition import web_yaml
from agent.exposition.credentials import BcryptHash
from agent.exposition.tls import ReloadingContext, ServerContext, TlsConfigError, build
from agent.exposition.watched import WatchedFiles
from agent.exposition.web_settings import RateLimit, WebSettings
from agent.exposition.web_yaml import Document, Scalar, WebYamlError

_LOG = log.get(__name__)
_USERS = "basic_auth_users"
_WORDS = {
    "extra_forbidden": "unknown key",
    "model_type": "expected keys and values",
    "dict_type": "expected keys and values",
    "tuple_type": "expected a list",
    "string_type": "expected text",
}


class WebConfigError(Exception):
    """The web configuration cannot be used.

    Attributes:
        problems: One line each: where, and what is wrong there. Names of users, hashes and keys
            are in none of them.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class WebConfig:
    """One valid version of the file.

    Attributes:
        context: What connections are served with; None: plain HTTP.
        headers: What each response carries.
        rate_limit: An interval of 0 is no limit.
        users: Hashes by name in UTF-8; empty: everyone is admitted.
    """

    context: ServerContext | None
    headers: Mapping[str, str]
    rate_limit: RateLimit
    users: Mapping[bytes, BcryptHash] = field(repr=False)


def load(path: Path) -> WebConfig:
    """Read and check a web configuration with all the files it names.

    Args:
        path: The file. An empty one is valid: plain HTTP, everyone is admitted.

    Raises:
        WebConfigError: With every problem that could be found.
    """
    return _load(path, WatchedFiles())


class WebConfigFile:
    """A web configuration that follows its files.

    A version that is broken, or that would take protection away, is not followed: the one before
    stays in force, and a warning says so once. A file that is being rewritten in place looks like
    either of them for a moment.

    Args:
        path: The file.

    Raises:
        WebConfigError: It cannot be used now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = WatchedFiles()
        self._config = _load(path, self._files)
        self._warned: list[str] = []

    def current(self) -> WebConfig:
        """Return the version in force, after a look at the files (a few stats, 2 µs each)."""
        if self._files.changed():
            self._follow()
        return self._config

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what a server takes for its life, None for plain HTTP."""
        first = self._config.context
        if first is None:
            return None
        return ReloadingContext(lambda: self.current().context or first)

    def _follow(self) -> None:
        self._files = WatchedFiles()
        try:
            found = _load(self.path, self._files)
        except WebConfigError as error:
            self._warn(error.problems)
            return
        if problems := _taken_away(self._config, found):
            self._warn(problems)
            return
        if self._config.context is None and found.context is not None:
            self._warn(["tls_server_config: TLS begins with a restart, the rest is in force"])
            self._config = replace(found, context=None)
            return
        self._config = found
        self._warned = []
        _LOG.info("web config reread", path=str(self.path))

    def _warn(self, problems: list[str]) -> None:
        if problems != self._warned:
            self._warned = problems
            _LOG.warning("web config not followed", path=str(self.path), problems=problems)


def _taken_away(old: WebConfig, new: WebConfig) -> list[str]:
    """Find protection that the new version has no longer; only a restart removes it."""
    problems = []
    if old.users and not new.users:
        problems.append("basic_auth_users: without users after a restart only")
    if old.context and not new.context:
        problems.append("tls_server_config: without TLS after a restart only")
    if old.context and new.context:
        if new.context.verify_mode < old.context.verify_mode:
            problems.append("tls_server_config.client_auth_type: weaker after a restart only")
        if old.context.allowed_sans is not None and new.context.allowed_sans is None:
            problems.append("tls_server_config.client_allowed_sans: gone after a restart only")
    return problems


def _load(path: Path, files: WatchedFiles) -> WebConfig:
    try:
        data = files.read(path)
    except OSError as error:
        raise WebConfigError([f"{path}: {error.strerror or error}"]) from None
    try:
        document = web_yaml.parse(data)
        settings = WebSettings.model_validate(document)
        context = build(settings.tls_server_config, path.parent, files)
    except WebYamlError as error:
        raise WebConfigError([f"{path}: {error}"]) from None
    except ValidationError as error:
        problems = [_problem(dict(detail), document) for detail in error.errors()]
        raise WebConfigError(problems) from None
    except TlsConfigError as error:
        raise WebConfigError(error.problems) from None
    return WebConfig(
        context,
        settings.http_server_config.headers,
        settings.rate_limit,
        {user.encode(): hashed for user, hashed in settings.basic_auth_users.items()},
    )


def _problem(detail: dict[str, Any], document: Document) -> str:
    """Write one of pydantic's errors without its input."""
    path = [str(part) for part in detail["loc"]]
    where = ".".join(path) or "the file"
    if path[:1] == [_USERS] and len(path) > 1:
        where = f"{_USERS}, line {_line_of_user(path[1], document)}"
    what = detail.get("ctx", {}).get("error") or _WORDS.get(detail["type"], detail["msg"])
    return f"{where}: {what}"


def _line_of_user(user: str, document: Document) -> int:
    """Return where a user stands: a name is not for logs."""
    users = next(v for k, v in document.items() if k == _USERS) if _is_map(document) else None
    return next(name.line for name in users if name == user) if _is_map(users) else 0


def _is_map(document: Document) -> TypeGuard[dict[Scalar, Document]]:
    return isinstance(document, dict)
