"""A real Prometheus on 127.0.0.1 that scrapes what it is told to, and answers PromQL."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from lab.namespace import delete_directory, make_directory
from lab.part import Part
from lab.process import Daemon, free_port, wait_until

ANSWER_SECONDS = 30.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs without the proxies of the environment."""


@dataclass(frozen=True, slots=True)
class Job:
    """A ``scrape_config``; fields are Prometheus's own and left out when empty.

    Attributes:
        targets: ``host:port`` each.
        interval: With unit, for example ``1s``; also the timeout, unless ``timeout`` is given.
        labels: Of all its targets; ``job`` is what series have in place of the name.
        basic_auth: User name and password.
        tls: ``tls_config`` as Prometheus takes it, for example ``{"ca_file": …}``.
    """

    targets: Sequence[str]
    name: str = "dataplane-agent"
    interval: str = "1s"
    timeout: str = ""
    path: str = "/metrics"
    scheme: str = "http"
    params: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    basic_auth: tuple[str, str] | None = None
    tls: Mapping[str, object] = field(default_factory=dict)

    def config(self) -> dict[str, object]:
        """Return it as an element of ``scrape_configs``."""
        config: dict[str, object] = {
            "job_name": self.name,
            "scrape_interval": self.interval,
            "scrape_timeout": self.timeout or self.interval,
            "metrics_path": self.path,
            "scheme": self.scheme,
            "params": {name: list(values) for name, values in self.params.items()},
            "static_configs": [{"targets": list(self.targets), "labels": dict(self.labels)}],
        }
        if self.basic_auth:
            config["basic_auth"] = dict(zip(("username", "password"), self.basic_auth, strict=True))
        if self.tls:
            config["tls_config"] = dict(self.tls)
        return config


@dataclass(frozen=True, slots=True)
class Series:
    """A row of an answer: labels, and values as pairs of Unix time and number, oldest first."""

    labels: dict[str, str]
    values: list[tuple[float, float]]

    @property
    def value(self) -> float:
        """Its newest value."""
        return self.values[-1][1]


class Prometheus(Part):
    """Runs from ``start`` to ``stop`` in a directory of its own.

    Args:
        jobs: What to scrape.
        port: To listen on; the next free one if it is taken. 0: any.
        rules: Files of recording and alerting rules.
        evaluation_interval: Of rules, with unit.
    """

    def __init__(
        self,
        *jobs: Job,
        port: int = 0,
        rules: Sequence[Path] = (),
        evaluation_interval: str = "1s",
    ) -> None:
        super().__init__()
        self.jobs = jobs
        self.rules = rules
        self.evaluation_interval = evaluation_interval
        self.port = port
        self._daemon: Daemon | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def _build(self) -> None:
        self.port = free_port(self.port)
        directory = make_directory()
        self._stack.callback(delete_directory, directory)
        config = directory / "prometheus.yml"
        content = {
            "global": {"evaluation_interval": self.evaluation_interval},
            "rule_files": [str(file.absolute()) for file in self.rules],
            "scrape_configs": [job.config() for job in self.jobs],
        }
        config.write_text(json.dumps(content))  # JSON is YAML
        self._daemon = Daemon(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            directory / "prometheus.log",
        )
        self._stack.callback(self._daemon.stop)
        wait_until(self._is_ready, timeout=30, what="Prometheus to be ready")

    def query(self, promql: str) -> list[Series]:
        """Evaluate an expression now. A range selector, ``up[5m]``, gives the raw samples."""
        return self._series(self.get("/api/v1/query", query=promql))

    def query_range(self, promql: str, start: float, end: float, step: float = 1) -> list[Series]:
        """Evaluate an expression at each step between two Unix times."""
        times = {"start": str(start), "end": str(end), "step": str(step)}
        return self._series(self.get("/api/v1/query_range", query=promql, **times))

    def alerts(self) -> list[dict[str, Any]]:
        """Return pending and firing alerts with ``labels``, ``state`` and ``activeAt``."""
        answer: list[dict[str, Any]] = self.get("/api/v1/alerts")["alerts"]
        return answer

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets with ``health`` and ``lastError``."""
        answer: list[dict[str, Any]] = self.get("/api/v1/targets")["activeTargets"]
        return answer

    def get(self, path: str, **parameters: str) -> Any:
        """Return the ``data`` of an API answer.

        Raises:
            urllib.error.HTTPError: If Prometheus refuses, for example the expression.
        """
        url = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        with DIRECT.open(url, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)["data"]

    def _is_ready(self) -> bool:
        if self._daemon is not None:
            self._daemon.require_alive()
        try:
            with DIRECT.open(f"{self.url}/-/ready", timeout=ANSWER_SECONDS) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    @staticmethod
    def _series(data: Any) -> list[Series]:
        return [
            Series(
                row["metric"],
                [(at, float(value)) for at, value in row.get("values") or [row["value"]]],
            )
            for row in data["result"]
        ]
