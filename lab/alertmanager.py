"""A real Alertmanager on 127.0.0.1 that is told of alerts, and says which it would not tell."""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from lab.namespace import delete_directory, make_directory
from lab.part import Part
from lab.process import Daemon, free_port, wait_until
from lab.prometheus import ANSWER_SECONDS, DIRECT

Labels = Mapping[str, str]


class Alertmanager(Part):
    """Runs from ``start`` to ``stop`` in a directory of its own, alone, and notifies nobody.

    Args:
        inhibit_rules: As alertmanager.yml has them.
    """

    def __init__(self, inhibit_rules: Sequence[Mapping[str, object]]) -> None:
        super().__init__()
        self.inhibit_rules = inhibit_rules
        self.port = 0
        self._daemon: Daemon | None = None

    def _build(self) -> None:
        self.port = free_port(0)
        directory = make_directory()
        self._stack.callback(delete_directory, directory)
        config = directory / "alertmanager.yml"
        content = {
            "route": {"receiver": "nobody"},
            "receivers": [{"name": "nobody"}],
            "inhibit_rules": list(self.inhibit_rules),
        }
        config.write_text(json.dumps(content))  # JSON is YAML
        self._daemon = Daemon(
            [
                "prometheus-alertmanager",
                f"--config.file={config}",
                f"--storage.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
                "--log.level=warn",
            ],
            directory / "alertmanager.log",
        )
        self._stack.callback(self._daemon.stop)
        wait_until(self._is_ready, timeout=30, what="Alertmanager to be ready")

    def fire(self, alerts: Sequence[Labels]) -> None:
        """Tell it of alerts as Prometheus does; they fire until it ends."""
        body = json.dumps([{"labels": dict(each)} for each in alerts]).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url("/api/v2/alerts"), body, headers)  # noqa: S310 - http on 127.0.0.1
        with DIRECT.open(request, timeout=ANSWER_SECONDS):
            pass

    def told(self) -> list[dict[str, str]]:
        """Return the labels of all that it would tell somebody of."""
        return [each["labels"] for each in self._alerts() if not each["status"]["inhibitedBy"]]

    def _alerts(self) -> list[dict[str, Any]]:
        with DIRECT.open(self._url("/api/v2/alerts"), timeout=ANSWER_SECONDS) as answer:
            found: list[dict[str, Any]] = json.load(answer)
            return found

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _is_ready(self) -> bool:
        if self._daemon is not None:
            self._daemon.require_alive()
        try:
            with DIRECT.open(self._url("/-/ready"), timeout=ANSWER_SECONDS) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False
