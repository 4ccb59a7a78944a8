"""A real Prometheus that scrapes one agent, and somebody who takes what it writes."""

import json
import re
import threading
import urllib.request
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.agent import Place
from lab.namespace import delete_directory, make_directory
from lab.part import Part
from lab.process import Daemon, free_port, wait_until
from lab.prometheus import ANSWER_SECONDS, DIRECT, Job

QUEUE = {"max_samples_per_send": 2000, "max_shards": 50}
"""As docs/scaling.md has it, and Prometheus 3 by default."""


class Sink(BaseHTTPRequestHandler):
    """Takes every remote write and forgets it."""

    protocol_version = "HTTP/1.1"  # connections stay, as those of a real receiver do

    def do_POST(self) -> None:
        """Read it to the end and say yes."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class Forwarder(Part):
    """Runs from ``start`` to ``stop`` in the network of a place.

    Args:
        host: Where the agent is as well.
        job: What to scrape.
        stores: Whether it keeps what it gets, instead of writing it on in agent mode.

    Attributes:
        pid: Of Prometheus.
    """

    def __init__(self, host: Place, job: Job, *, stores: bool = False) -> None:
        super().__init__()
        self._host = host
        self._job = job
        self._stores = stores
        self._url = ""
        self.pid = 0

    def metric(self, name: str) -> float:
        """Return what it says of itself, all series of a name together; 0 while there is none."""
        with_labels = re.compile(rf"^{name}(?:{{.*}})? (\S+)$", re.MULTILINE)
        return sum(map(float, with_labels.findall(self._host.inside(self._page))))

    def _build(self) -> None:
        directory = make_directory()
        self._stack.callback(delete_directory, directory)
        sink = self._host.inside(lambda: ThreadingHTTPServer(("127.0.0.1", 0), Sink))
        self._stack.callback(sink.server_close)
        thread = threading.Thread(target=sink.serve_forever, name="sink")
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(sink.shutdown)
        content: dict[str, object] = {"scrape_configs": [self._job.config()]}
        mode = [f"--storage.tsdb.path={directory}/data"]
        if not self._stores:
            url = f"http://127.0.0.1:{sink.server_port}/"
            content["remote_write"] = [{"url": url, "queue_config": QUEUE}]
            mode = ["--enable-feature=agent", f"--storage.agent.path={directory}/data"]
        config = directory / "prometheus.yml"
        config.write_text(json.dumps(content))  # JSON is YAML
        port = self._host.inside(partial(free_port))
        self._url = f"http://127.0.0.1:{port}/metrics"
        daemon = Daemon(
            [
                *self._host.enter,
                "prometheus",
                *mode,
                f"--config.file={config}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            directory / "prometheus.log",
        )
        self.pid = daemon.pid
        self._stack.callback(daemon.stop)

        def answers() -> bool:
            daemon.require_alive()
            try:
                return bool(self._host.inside(self._page))
            except OSError:
                return False

        wait_until(answers, timeout=30, what="Prometheus to answer")

    def _page(self) -> str:
        request = urllib.request.Request(self._url)  # noqa: S310 - http by construction
        with DIRECT.open(request, timeout=ANSWER_SECONDS) as answer:
            text: str = answer.read().decode()
        return text
