"""The same files are accepted and refused as by ``promtool check web-config``, or we say why not.

promtool is built from the exporter toolkit that defined the format. An older promtool than the
format is enough: what it does not know yet stands among the differences.
"""

import subprocess
from pathlib import Path

import pytest

from agent.exposition.web_config import WebConfigError, load
from tests.exposition.pki import Pki

HASH = "$2y$10$qRTBuFoULoYNA7AQ/F3ck.trZBPyjV64.oA4ZsSBCIWvXuvQlQTuu"
SALTED = HASH.removeprefix("$2y$10$")
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
CBC = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
GCM = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"

ACCEPTED = {
    "empty": "",
    "comment": "# nothing\n",
    "document without content": "---\n",
    "empty mapping": "{}\n",
    "sections without content": "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
    "certificate": TLS,
    "certificate and key in one file, key first": TLS.replace("server.pem", "both.pem").replace(
        "server.key", "both.pem"
    ),
    "no client certificate": f"{TLS}  client_auth_type: NoClientCert\n",
    "empty policy": f'{TLS}  client_auth_type: ""\n',
    "requested certificate": f"{TLS}  client_auth_type: RequestClientCert\n",
    "certificate if given": f"{TLS}  client_auth_type: VerifyClientCertIfGiven\n",
    "required certificate": f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n",
    "required certificate of an authority": (
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
    ),
    "cipher suite": f"{TLS}  cipher_suites: [{GCM}]\n",
    "cipher suites, one of TLS 1.3": f"{TLS}  cipher_suites: [TLS_AES_128_GCM_SHA256, {CBC}]\n",
    "cipher suite of TLS 1.3 only": f"{TLS}  cipher_suites: [TLS_CHACHA20_POLY1305_SHA256]\n",
    "no cipher suites": f"{TLS}  cipher_suites: []\n",
    "cipher suites without content": f"{TLS}  cipher_suites:\n",
    "without the suite of HTTP/2": f"{TLS}  cipher_suites: [{GCM}]\n  max_version: TLS12\n",
    "order of the client": f"{TLS}  prefer_server_cipher_suites: false\n",
    "all curves": f"{TLS}  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n",
    "one curve": f"{TLS}  min_version: TLS13\n  curve_preferences: [CurveP521]\n",
    "old minimum": f"{TLS}  min_version: TLS10\n",
    "versions": f"{TLS}  min_version: TLS12\n  max_version: TLS12\n",
    "version without content": f"{TLS}  min_version:\n",
    "only a version": "tls_server_config:\n  min_version: TLS13\n",
    "boolean of YAML 1.1": "http_server_config:\n  http2: off\n",
    "boolean of one letter": "http_server_config:\n  http2: y\n",
    "headers": (
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
        "    Strict-Transport-Security: max-age=31536000; includeSubDomains\n"
        "    X-Content-Type-Options: nosniff\n    X-XSS-Protection: 1\n"
        "    Content-Security-Policy: \"default-src 'self'\"\n"
    ),
    "blank header": "http_server_config:\n  headers:\n    Content-Security-Policy:\n",
    "users": f"basic_auth_users:\n  alice: {HASH}\n  bob: $2y$18${SALTED}\n",
    "users with TLS": f"{TLS}basic_auth_users:\n  alice: {HASH}\n",
    "no users": "basic_auth_users: {}\n",
    "users that look like numbers": f"basic_auth_users: {{1: {HASH}, 01: {HASH}, true: {HASH}}}\n",
    "hash of an early version": f"basic_auth_users:\n  a: $2$10${SALTED}\n",
    "hash of version x": f"basic_auth_users:\n  a: $2x$10${SALTED}\n",
    "hash with a rest": f"basic_auth_users:\n  a: {HASH}rest\n",
    "hash in a block": f"basic_auth_users:\n  a: |\n    {HASH}\n",
    "alias": "basic_auth_users: &a {}\nhttp_server_config: *a\n",
    "explicit mapping": "!!map {}\n",
    "unquoted path with spaces": TLS.replace("server.pem", "  server.pem  "),
}

REFUSED = {
    "text": "hWkNKCp3fvIx3jKnsaBI\nTuEjdwNS8A2vYdFbiKqr\n",
    "list": "[1]\n",
    "unknown section": "tls_config: {}\n",
    "unknown section without content": "tls_config:\n",
    "unknown key": 'tls_server_config:\n  cert_filse: "server.pem"\n',
    "key of another case": TLS.replace("cert_file", "Cert_File"),
    "section as text": "tls_server_config: x\n",
    "section as list": "tls_server_config: []\n",
    "duplicate section": f"{TLS}{TLS}",
    "duplicate key": f"{TLS}  cert_file: server.pem\n",
    "duplicate user": f"basic_auth_users:\n  1: {HASH}\n  1: {HASH}\n",
    "duplicate header": (
        "http_server_config:\n  headers: {X-XSS-Protection: 1, X-XSS-Protection: 1}\n"
    ),
    "list as key": "? {a: b}\n: c\n",
    "unknown alias": "basic_auth_users: *a\n",
    "alias of itself": "http_server_config: &a {headers: *a}\n",
    "directive": "%%%\n",
    "tabulator": "\t\n",
    "unclosed": "tls_server_config: {\n",
    "no certificate": "tls_server_config:\n  key_file: server.key\n",
    "no key": "tls_server_config:\n  cert_file: server.pem\n",
    "empty path of the certificate": TLS.replace("server.pem", '""'),
    "empty path of the key": TLS.replace("server.key", '""'),
    "missing certificate": TLS.replace("server.pem", "somefile"),
    "missing key": TLS.replace("server.key", "somefile"),
    "certificate is a directory": TLS.replace("server.pem", "."),
    "certificate and key exchanged": (
        "tls_server_config:\n  cert_file: server.key\n  key_file: server.pem\n"
    ),
    "key of another certificate": TLS.replace("server.key", "ca.key"),
    "broken certificate": TLS.replace("server.pem", "broken.pem"),
    "only a policy": "tls_server_config:\n  client_auth_type: NoClientCert\n",
    "only an authority": "tls_server_config:\n  client_ca_file: ca.pem\n",
    "invented policy": f"{TLS}  client_auth_type: x\n",
    "policy of another case": f"{TLS}  client_auth_type: requireandverifyclientcert\n",
    "authority without a policy": f"{TLS}  client_ca_file: ca.pem\n",
    "authority without client certificates": (
        f"{TLS}  client_auth_type: NoClientCert\n  client_ca_file: ca.pem\n"
    ),
    "missing authority": (
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: somefile\n"
    ),
    "missing authority of a requested certificate": (
        f"{TLS}  client_auth_type: RequestClientCert\n  client_ca_file: somefile\n"
    ),
    "invented cipher suite": f"{TLS}  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]\n",
    "insecure cipher suite": f"{TLS}  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n",
    "OpenSSL's name": f"{TLS}  cipher_suites: [ECDHE-RSA-AES128-GCM-SHA256]\n",
    "cipher suite as text": f"{TLS}  cipher_suites: {GCM}\n",
    "invented curve": f"{TLS}  curve_preferences: [CurveP257]\n",
    "invented version": f"{TLS}  min_version: TLS111\n",
    "empty version": f'{TLS}  min_version: ""\n',
    "quoted boolean": "http_server_config:\n  http2: 'true'\n",
    "number as boolean": "http_server_config:\n  http2: 1\n",
    "boolean of mixed case": "http_server_config:\n  http2: tRue\n",
    "invented header": "http_server_config:\n  headers:\n    Content-Type: foo\n",
    "header of another case": "http_server_config:\n  headers:\n    x-frame-options: deny\n",
    "value of a header": "http_server_config:\n  headers:\n    X-Frame-Options: foo\n",
    "other value": "http_server_config:\n  headers:\n    X-Content-Type-Options: sniff\n",
    "blank value of a header": "http_server_config:\n  headers:\n    X-Frame-Options: ''\n",
    "headers as list": "http_server_config:\n  headers: [X-Frame-Options]\n",
    "password in clear": f"{TLS}basic_auth_users:\n  john: doe\n",
    "user without a hash": "basic_auth_users:\n  john:\n",
    "users as list": "basic_auth_users: [john]\n",
    "hash of another kind": f"basic_auth_users:\n  a: $6$10${SALTED}\n",
    "hash with a low cost": f"basic_auth_users:\n  a: $2y$03${SALTED}\n",
    "hash with a high cost": f"basic_auth_users:\n  a: $2y$32${SALTED}\n",
    "hash that is cut": f"basic_auth_users:\n  a: {HASH[:-2]}\n",
}

NEWER = "promtool's toolkit is older than this key"
UNVERIFIED = "Python's ssl asks for no certificate that it does not verify"
NEVER_SERVES = "no connection could ever succeed: better said at the start"
HIDES = "could hide protection that a reader believes to be in force"

STRICTER = {
    "any certificate": (f"{TLS}  client_auth_type: RequireAnyClientCert\n", UNVERIFIED),
    "any certificate, older name": (f"{TLS}  client_auth_type: RequireClientCert\n", UNVERIFIED),
    "old maximum": (f"{TLS}  max_version: TLS11\n", "OpenSSL does not serve it by default"),
    "no version left": (f"{TLS}  min_version: TLS13\n  max_version: TLS12\n", NEVER_SERVES),
    "no suite left": (
        f"{TLS}  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
        NEVER_SERVES,
    ),
    "authority without certificates": (
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key\n",
        NEVER_SERVES,
    ),
    "authority, one of two broken": (
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: half.pem\n",
        "Go leaves out what it cannot read, without a word",
    ),
    "cipher suite without forward secrecy": (
        f"{TLS}  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n",
        "Go counts it among the insecure ones since 1.22, so newer toolkits refuse it",
    ),
    "cipher suite without a name": (f"{TLS}  cipher_suites: [~]\n", "Go takes it for suite 0"),
    "only X25519": (
        f"{TLS}  curve_preferences: [X25519]\n",
        "Python 3.11 sets one curve, and not this one",
    ),
    "short key": (
        TLS.replace("server.", "short."),
        "OpenSSL's security level, as the distribution sets it",
    ),
    "salt that cannot be": (
        f"basic_auth_users:\n  a: $2y$10$!!!!{SALTED[4:]}\n",
        "no password could ever match",
    ),
    "cost with a sign": (f"basic_auth_users:\n  a: $2y$+9${SALTED}\n", "no tool writes it"),
    "cost of minutes": (
        f"basic_auth_users:\n  a: $2y$21${SALTED}\n",
        "one guess would keep a core busy for minutes",
    ),
    "second document": (f"---\n{{}}\n---\nbasic_auth_users: {{a: {HASH}}}\n", HIDES),
    "merge key": (f"basic_auth_users:\n  <<: {{a: {HASH}}}\n", HIDES),
    "tag of one's own": ("basic_auth_users: !own {}\n", HIDES),
    "binary": (f"{TLS}  min_version: !!binary VExTMTI=\n", HIDES),
}

MORE = {
    "rate limit": ("rate_limit:\n  interval: 1s\n  burst: 5\n", NEWER),
    "allowed names": (
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [one]\n",
        NEWER,
    ),
    "authority in the file": (
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca: |\n    @ca@\n",
        NEWER,
    ),
    "certificate in the file": (
        "tls_server_config:\n  cert: |\n    @server@\n  key_file: server.key\n",
        NEWER,
    ),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("promtool")
    pki = Pki(path)
    for name, identity in (("server", pki.leaf(None)), ("ca", pki.authority())):
        identity.cert.rename(path / f"{name}.pem")
        identity.key.rename(path / f"{name}.key")
    cert = (path / "server.pem").read_bytes()
    broken = cert.replace(cert[40:60], cert[40:60].swapcase())
    (path / "both.pem").write_bytes((path / "server.key").read_bytes() + cert)
    (path / "broken.pem").write_bytes(broken)
    (path / "half.pem").write_bytes(cert + broken)
    short = ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-noenc", "-subj", "/CN=short"]
    short += ["-keyout", path / "short.key", "-out", path / "short.pem"]
    subprocess.run(short, check=True, capture_output=True)
    return path


def promtool_accepts(path: Path) -> bool:
    command = ["promtool", "check", "web-config", path]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def agent_accepts(path: Path) -> bool:
    try:
        load(path)
    except WebConfigError:
        return False
    return True


def write(directory: Path, content: str) -> Path:
    for name in ("ca", "server"):
        pem = (directory / f"{name}.pem").read_text().strip().replace("\n", "\n    ")
        content = content.replace(f"@{name}@", pem)
    path = directory / "web.yml"
    path.write_text(content)
    return path


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepts_what_promtool_accepts(directory: Path, name: str) -> None:
    path = write(directory, ACCEPTED[name])
    assert promtool_accepts(path)
    assert agent_accepts(path)


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_promtool_refuses(directory: Path, name: str) -> None:
    path = write(directory, REFUSED[name])
    assert not promtool_accepts(path)
    assert not agent_accepts(path)


@pytest.mark.parametrize("name", STRICTER)
def test_refuses_more_than_promtool_only_for_a_reason(directory: Path, name: str) -> None:
    content, reason = STRICTER[name]
    path = write(directory, content)
    assert promtool_accepts(path)
    assert not agent_accepts(path), reason


@pytest.mark.parametrize("name", MORE)
def test_accepts_more_than_promtool_only_where_the_format_has_grown(
    directory: Path, name: str
) -> None:
    content, reason = MORE[name]
    path = write(directory, content)
    assert agent_accepts(path), reason


def test_names_without_a_policy_that_checks_them_are_refused(directory: Path) -> None:
    """The toolkit accepts them and checks nothing."""
    assert not agent_accepts(write(directory, f"{TLS}  client_allowed_sans: [one]\n"))
    assert not agent_accepts(write(directory, "tls_server_config: {client_allowed_sans: [one]}\n"))
    requested = f"{TLS}  client_auth_type: RequestClientCert\n  client_allowed_sans: [one]\n"
    assert not agent_accepts(write(directory, requested))
