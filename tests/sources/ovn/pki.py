"""Certificates that are valid at another time than now, made by the openssl command."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.exposition.pki import Identity, Pki

_CA = """\
[ca]
default_ca = ours
[ours]
database = {directory}/index.txt
new_certs_dir = {directory}
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
"""


class DatedPki(Pki):
    """Issues certificates with dates into a directory of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._ca = directory / "ca.cnf"
        self._ca.write_text(_CA.format(directory=directory))
        (directory / "index.txt").touch()

    def dated(self, issuer: Identity, start: timedelta, end: timedelta) -> Identity:
        """Make a certificate that is valid between two moments, counted from now."""
        made = self.leaf(issuer)
        request = made.cert.with_suffix(".csr")
        ask = ["openssl", "x509", "-x509toreq", "-in", made.cert, "-signkey", made.key]
        subprocess.run([*ask, "-out", request], check=True, capture_output=True)
        now = datetime.now(UTC)
        sign = ["openssl", "ca", "-batch", "-notext", "-config", self._ca, "-in", request]
        sign += ["-cert", issuer.cert, "-keyfile", issuer.key, "-out", made.cert]
        sign += [
            "-startdate",
            f"{now + start:%y%m%d%H%M%SZ}",
            "-enddate",
            f"{now + end:%y%m%d%H%M%SZ}",
        ]
        subprocess.run(sign, check=True, capture_output=True)
        return made
