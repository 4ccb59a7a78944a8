"""What kubelet does with a pod of the chart, as far as the agent can tell."""

import http.client
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tests.deploy import chart
from tests.deploy.chart import Object

ETC = "/etc/dataplane-agent"
NODE_IP = "127.0.0.1"
ANSWER_SECONDS = 10.0


class Mounted:
    """The container's files, below a directory instead of /etc/dataplane-agent.

    Args:
        values: Of the chart.
        directory: For the files.
        web: Files of the Secret of the web configuration.
    """

    def __init__(
        self, values: str, directory: Path, web: Mapping[str, str | bytes] | None = None
    ) -> None:
        self.directory = directory
        self.container = chart.container(values)
        project(directory / "config", {"config.yaml": chart.settings_of(values)})
        if web:
            (mode,) = (
                each["secret"]["defaultMode"]
                for each in chart.pod(values)["volumes"]
                if each["name"] == "web"
            )
            project(directory / "web", web, mode)

    @property
    def args(self) -> list[str]:
        """The container's arguments, with variables expanded."""
        return [
            arg.replace(ETC, str(self.directory)).replace("$(HOST_IP)", NODE_IP)
            for arg in self.container["args"]
        ]

    @property
    def env(self) -> dict[str, str]:
        """The variables that have a value in the chart."""
        return {each["name"]: each["value"] for each in self.container["env"] if "value" in each}

    @property
    def port(self) -> int:
        """Where the agent listens."""
        (port,) = self.container["ports"]
        return int(port["containerPort"])

    def probe(self, name: str, changed: Object | None = None) -> bool:
        """Probe as kubelet does: 200 to 399 is a success, certificates are not looked at.

        Args:
            name: livenessProbe or readinessProbe.
            changed: Another probe instead of the chart's.
        """
        probe = changed or self.container[name]
        if "tcpSocket" in probe:
            with socket.create_connection((NODE_IP, self.port), ANSWER_SECONDS):
                return True
        get = probe["httpGet"]
        (port,) = self.container["ports"]
        assert get["port"] == port["name"]
        headers = {each["name"]: each["value"] for each in get.get("httpHeaders", [])}
        return 200 <= self.get(get["path"], get["scheme"], headers) < 400

    def get(self, path: str, scheme: str = "HTTP", headers: Mapping[str, str] | None = None) -> int:
        """Return the status of an answer."""
        return self._ask(path, scheme, headers)[0]

    def body(self, path: str) -> str:
        """Return an answer."""
        return self._ask(path, "HTTP", None)[1]

    def _ask(self, path: str, scheme: str, headers: Mapping[str, str] | None) -> tuple[int, str]:
        if scheme == "HTTPS":
            anyone = ssl.create_default_context()
            anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                NODE_IP, self.port, timeout=ANSWER_SECONDS, context=anyone
            )
        else:
            made = http.client.HTTPConnection(NODE_IP, self.port, timeout=ANSWER_SECONDS)
        with closing(made) as connection:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


def project(directory: Path, files: Mapping[str, str | bytes], mode: int = 0o644) -> None:
    """Write files as kubelet does: links to ``..data``, which links to a directory with a date."""
    real = directory / "..2026_01_01_00_00_00.1"
    real.mkdir(parents=True)
    (directory / "..data").symlink_to(real.name)
    for name, content in files.items():
        file = real / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)
        (directory / name).symlink_to(Path("..data") / name)
