"""What a web configuration may say, and what is said about one that may not be used."""

import os
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.exposition.watched import MAX_FILE_BYTES, WatchedFiles
from agent.exposition.web_config import WebConfigError, WebConfigFile, load
from agent.exposition.web_settings import HEADERS, RateLimit, WebSettings
from agent.exposition.web_yaml import Scalar, WebYamlError, parse
from tests.exposition.pki import Identity, Pki

HASH = "$2y$10$qRTBuFoULoYNA7AQ/F3ck.trZBPyjV64.oA4ZsSBCIWvXuvQlQTuu"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Pki(tmp_path_factory.mktemp("pki")).leaf(None)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "web.yml"


def problems_of(path: Path, content: str | bytes) -> list[str]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(WebConfigError) as caught:
        load(path)
    return caught.value.problems


@pytest.mark.parametrize(
    "content", ["", "\n", "# nothing yet\n", "---\n", "{}", "tls_server_config:\n"]
)
def test_an_empty_file_is_plain_http_for_everyone(config: Path, content: str) -> None:
    config.write_text(content)
    loaded = load(config)
    assert loaded.context is None
    assert loaded.users == {}
    assert loaded.headers == {}
    assert loaded.rate_limit.interval == 0


def test_finds_every_wrong_value_at_once_and_says_where(config: Path) -> None:
    content = f"""
tls_server_config:
  cert_filse: server.crt
  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_RSA_WITH_RC4_128_SHA]
  curve_preferences: CurveP256
  min_version: TLS111
  prefer_server_cipher_suites: 'true'
http_server_config:
  headers: {{Content-Type: text/plain}}
rate_limit:
  interval: 1 minute
  burst: '5'
basic_auth_users:
  alice: {HASH}
  bob: bob
users: []
"""
    assert problems_of(config, content) == [
        "tls_server_config.cipher_suites.1: not one of Go's crypto/tls CipherSuites",
        "tls_server_config.curve_preferences: expected a list",
        "tls_server_config.min_version: expected one of TLS10, TLS11, TLS12, TLS13",
        "tls_server_config.prefer_server_cipher_suites: expected true or false, without quotes",
        "tls_server_config.cert_filse: unknown key",
        f"http_server_config.headers: Content-Type cannot be configured, only {', '.join(HEADERS)}",
        "rate_limit.interval: expected a duration such as 500ms or 1m30s",
        "rate_limit.burst: expected an integer, without quotes",
        "basic_auth_users, line 15: not a bcrypt hash",
        "users: unknown key",
    ]


def test_finds_every_missing_file_at_once(config: Path) -> None:
    content = """
tls_server_config:
  cert_file: a.pem
  key_file: sub/b.pem
  client_ca_file: /nonexistent/c.pem
  client_auth_type: RequireAndVerifyClientCert
"""
    assert problems_of(config, content) == [
        f"tls_server_config.cert_file: {config.parent}/a.pem: No such file or directory",
        f"tls_server_config.key_file: {config.parent}/sub/b.pem: No such file or directory",
        "tls_server_config.client_ca_file: /nonexistent/c.pem: No such file or directory",
    ]


def test_paths_are_relative_to_the_file_and_not_to_the_process(
    config: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.parent / "cert.pem").write_bytes(identity.cert.read_bytes())
    config.write_text(
        f"tls_server_config: {{cert_file: cert.pem, key_file: {identity.key.resolve()}}}"
    )
    monkeypatch.chdir(config.parent.parent)
    assert load(Path(config.parent.name, config.name)).context is not None


@pytest.mark.parametrize(
    "content",
    [
        f"basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}\n",
        "basic_auth_users:\n  alice: sesame\n  bob: 'sesame\n",
        "tls_server_config:\n  key: sesame\n  cert: sesame\n",
        "tls_server_config: sesame\n",
        "basic_auth_users: {alice: {sesame: sesame}}\n",
        "basic_auth_users: {alice: [sesame]}\n",
        "basic_auth_users: alice\n",
        "basic_auth_users:\n  alice: $2y$99$sesame.ULoYNA7AQ/F3ck.trZBPyjV64.oA4ZsSBCIWvXuvQlQTu\n",
        "basic_auth_users:\n  alice: $2y$10$sesame\n\tx",
        "basic_auth_users: {alice: sesame, <<: sesame}\n",
    ],
)
def test_no_problem_tells_a_user_or_a_secret(config: Path, content: str) -> None:
    text = " ".join(problems_of(config, content))
    assert "alice" not in text
    assert "sesame" not in text
    assert HASH not in text


def test_an_encrypted_key_is_refused_without_asking_for_its_password(
    config: Path, identity: Identity
) -> None:
    subprocess.run(
        ["openssl", "pkey", "-in", identity.key, "-aes128", "-passout", "pass:x", "-out", "k.pem"],
        check=True,
        cwd=config.parent,
    )
    content = f"tls_server_config: {{cert_file: {identity.cert}, key_file: k.pem}}"
    assert problems_of(config, content) == [
        "tls_server_config.cert_file, key_file: the private key is encrypted"
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: 1\nhttp_server_config:\n  http2: true\n  http2: true\n", "line 4, column 3: the key"),
        ("rate_limit: {}\n---\nbasic_auth_users: {}\n", "line 2, column 1: expected a single"),
        ("rate_limit: !!python/object:os.system {}\n", "line 1, column 13: a tag that means"),
        ("rate_limit: !own {}\n", "line 1, column 13: a tag that means nothing"),
        ("? [a]\n: b\n", "line 1, column 3: a key must be text"),
        ("~: b\n", "line 1, column 1: a key must be text"),
        ("&a {rate_limit: *a}\n", "line 1, column 1: found unconstructable recursive node"),
        ('a: "\\ud800"\n', "line 1, column 4: found half of a surrogate pair"),
        ("[" * 5000, "nested too deeply"),
        ("{a: " * 5000, "nested too deeply"),
        (b"\xff", "not YAML: neither UTF-8 nor UTF-16, or control characters"),
        (b"a: \x00", "not YAML: neither UTF-8 nor UTF-16, or control characters"),
    ],
)
def test_refuses_yaml_that_is_broken_or_hides_something(
    config: Path, content: str | bytes, problem: str
) -> None:
    (found,) = problems_of(config, content)
    assert found.startswith(f"{config}: {problem}")


def test_a_merge_key_is_a_key_like_any_other(config: Path) -> None:
    assert problems_of(config, "rate_limit: {<<: {burst: 1}}\n") == ["rate_limit.<<: unknown key"]


def test_aliases_do_not_multiply_what_is_read(config: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert len(problems_of(config, "\n".join(lines))) == 40


def test_scalars_stay_what_was_written(config: Path) -> None:
    config.write_text(
        f"basic_auth_users:\n  007: {HASH}\n  yes: {HASH}\n  '': {HASH}\n"
        f"  2001-01-01: |\n    {HASH}\n"
        "http_server_config:\n  http2: off\n  headers:\n    X-XSS-Protection: 1\n"
        "    X-Frame-Options:  deny\n    Strict-Transport-Security:\n"
        "    Content-Security-Policy: |\n      default-src 'self';\n      img-src *\n"
    )
    loaded = load(config)
    assert set(loaded.users) == {b"007", b"yes", b"", b"2001-01-01"}
    assert loaded.headers == {
        "X-XSS-Protection": "1",
        "X-Frame-Options": "deny",
        "Content-Security-Policy": "default-src 'self'; img-src *",
    }


def test_a_header_cannot_begin_another_line(config: Path) -> None:
    content = 'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: a=b"}}'
    config.write_text(content)
    assert load(config).headers == {"X-XSS-Protection": "1  Set-Cookie: a=b"}
    content = 'http_server_config: {headers: {X-XSS-Protection: "a\\0b"}}'
    assert problems_of(config, content) == [
        "http_server_config.headers.X-XSS-Protection: control characters"
    ]


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [
        ("1s", 1),
        ("'1m30s'", 90),
        ("1h2m3s4ms", 3723.004),
        (".5s", 0.5),
        ("1.5h", 5400),
        ("100us", 1e-4),
        ("100µs", 1e-4),
        ("-1s", -1),
        ("0", 0),
        ("'0'", 0),
        ("1000000000", 1),
    ],
)
def test_reads_durations_as_go_does(interval: str, seconds: float) -> None:
    document = parse(f"rate_limit: {{interval: {interval}, burst: 3}}".encode())
    limit = WebSettings.model_validate(document).rate_limit
    assert limit == RateLimit.model_construct(interval=pytest.approx(seconds), burst=3)


@pytest.mark.parametrize("interval", ["1", "1d", "1ss", "s", ".", ".s", "1 s", "", "'5'", "inf"])
def test_refuses_what_is_no_duration(config: Path, interval: str) -> None:
    quoted = interval if interval.startswith("'") else f"'{interval}'"
    assert problems_of(config, f"rate_limit: {{interval: {quoted}}}") == [
        "rate_limit.interval: expected a duration such as 500ms or 1m30s"
    ]


def test_refuses_what_is_no_regular_file_without_waiting_for_it(config: Path) -> None:
    os.mkfifo(config)
    with pytest.raises(WebConfigError, match="not a regular file"):
        load(config)
    with pytest.raises(WebConfigError, match="Is a directory"):
        load(config.parent)
    with pytest.raises(WebConfigError, match="not a regular file"):
        load(Path("/dev/zero"))


def test_refuses_a_file_without_end(config: Path) -> None:
    assert problems_of(config, "#" * (MAX_FILE_BYTES + 1)) == [
        f"{config}: larger than {MAX_FILE_BYTES} bytes"
    ]


def test_a_missing_file_is_a_problem_and_not_an_empty_one(config: Path) -> None:
    with pytest.raises(WebConfigError, match="No such file or directory"):
        load(config)


def test_a_path_with_a_nul_is_a_problem_and_not_a_bug(config: Path) -> None:
    content = 'tls_server_config: {cert_file: "a\\0b", key_file: "c"}'
    assert "embedded null byte" in problems_of(config, content)[0]


def test_a_file_that_is_half_written_opens_no_door(config: Path, identity: Identity) -> None:
    whole = f"""
tls_server_config:
  cert_file: {identity.cert}
  key_file: {identity.key}
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: {identity.cert}
  client_allowed_sans: [one, two]
basic_auth_users:
  alice: {HASH}
"""
    config.write_text(whole)
    file = WebConfigFile(config)
    for length in range(len(whole) + 1):
        config.write_text(whole[:length])
        loaded = file.current()
        assert set(loaded.users) == {b"alice"}
        assert loaded.context is not None
        assert loaded.context.verify_mode is ssl.CERT_REQUIRED
        assert loaded.context.allowed_sans == {"one", "two"}


def test_notices_each_way_to_change_a_file(tmp_path: Path) -> None:
    watched, file = WatchedFiles(), tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        watched.read(file)
    assert not watched.changed()
    file.write_bytes(b"1")
    assert watched.changed()
    assert watched.read(file) == b"1"
    assert not watched.changed()
    file.with_suffix(".new").write_bytes(b"1")
    file.with_suffix(".new").replace(file)
    assert watched.changed()
    assert watched.read(file) == b"1"
    file.unlink()
    assert watched.changed()


def test_notices_another_target_behind_a_link(tmp_path: Path) -> None:
    """Kubernetes changes a mounted secret this way."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "data").symlink_to("old")
    watched, file = WatchedFiles(), tmp_path / "data" / "file"
    assert watched.read(file) == b"old"
    (tmp_path / "link").symlink_to("new")
    (tmp_path / "link").replace(tmp_path / "data")
    assert watched.changed()
    assert watched.read(file) == b"new"


_KEYS = st.sampled_from([*WebSettings.model_fields, "headers", "burst", "cert", "x"])
_TEXTS = st.sampled_from(["", "~", "1", "-1s", "yes", "'a'", f"'{HASH}'", "*a", "&a b", "<<", "!x"])
_DOCUMENTS = st.recursive(
    _TEXTS,
    lambda inner: (
        st.dictionaries(_KEYS, inner, max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"
        )
        | st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
    ),
    max_leaves=8,
)


@given(st.binary(max_size=64) | _DOCUMENTS.map(str.encode))
def test_any_bytes_are_a_configuration_or_a_problem(data: bytes) -> None:
    try:
        document = parse(data)
        WebSettings.model_validate(document)
    except (WebYamlError, ValidationError):
        return
    assert document is None or isinstance(document, dict)
    assert all(isinstance(key, Scalar) for key in document or ())
