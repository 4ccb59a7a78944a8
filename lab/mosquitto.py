"""Mosquitto, and somebody who listens to all that is published there.

```python
with Broker() as broker, Subscriber(broker) as heard:
    heard.wait_for(lambda message: message.topic.endswith("/status"))
```
"""

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.namespace import delete_directory, make_directory
from lab.part import Part
from lab.process import Daemon, LabError, free_port, run, wait_until

USER, READER, PASSWORD = "agent", "listener", "s3cret words"
"""Of a broker with users; both have the same password."""
KEPT = "$SYS/broker/version"
"""What every broker has for whoever asks: who gets it listens, and complains that it is no JSON."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a broker's TLS; ``client_ca`` signs the certificates that clients must have."""

    certificate: Path
    private_key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What a subscriber got: ``payload`` is JSON already; ``retain`` only when it was kept."""

    topic: str
    payload: dict[str, Any]
    retain: bool
    qos: int


class Broker(Part):
    """Listens on 127.0.0.1, always on one port; keeps sessions and messages when it restarts.

    Args:
        tls: Files, for TLS.
        users: Let in only ``USER`` and ``READER``.
        acl: Lines of an ACL file; ``None`` without one.
        more: Lines of its configuration.
        netns: Name of the network namespace to run in; ``None`` for the lab's own.

    Attributes:
        config: All lines of its configuration.
    """

    def __init__(
        self,
        *,
        tls: Tls | None = None,
        users: bool = False,
        acl: Sequence[str] | None = None,
        more: Sequence[str] = (),
        netns: str | None = None,
    ) -> None:
        super().__init__()
        self.port = 0
        self.netns = netns
        self.config: list[str] = []
        self._tls = tls
        self._users = users
        self._acl = acl
        self._more = more
        self._directory = Path()
        self._daemon: Daemon | None = None
        self._read = self._received = 0

    @property
    def daemon(self) -> Daemon:
        """Its process.

        Raises:
            LabError: If it was never started.
        """
        if self._daemon is None:
            raise LabError("the broker was never started")
        return self._daemon

    @property
    def log(self) -> str:
        """All it has written."""
        return self._log.read_text()

    @property
    def received(self) -> int:
        """How many messages were published so far, by its log."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            whole = log.read().rpartition(b"\n")[0]
        self._read += len(whole)
        self._received += whole.count(b"Received PUBLISH from ")
        return self._received

    def pause(self) -> None:
        """SIGSTOP it: connections are taken by the kernel, nothing is answered."""
        self.daemon.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT it."""
        self.daemon.send(signal.SIGCONT)

    def end(self) -> None:
        """End it in order: it writes down what it keeps."""
        self.daemon.stop()

    def begin(self) -> None:
        """Start it, again on the same port."""
        config = self._directory / "mosquitto.conf"
        self._daemon = Daemon(["mosquitto", "-c", str(config)], self._log, netns=self.netns)
        wait_until(self._listens, what="mosquitto to listen")

    @property
    def _log(self) -> Path:
        return self._directory / "mosquitto.log"

    def _listens(self) -> bool:
        self.daemon.require_alive()
        connections = run("ss", "-Hltn", f"sport = :{self.port}", netns=self.netns)
        return bool(connections.strip())

    def _build(self) -> None:
        self._directory = make_directory()
        self._stack.callback(delete_directory, self._directory)
        self.port = free_port()
        self.config = [*self._config(), *self._more]
        (self._directory / "mosquitto.conf").write_text("\n".join(self.config) + "\n")
        self._stack.callback(self._stop)
        self.begin()

    def _config(self) -> list[str]:
        lines = [
            f"listener {self.port} 127.0.0.1",
            "user root",
            "persistence true",
            f"persistence_location {self._directory}/",
            "log_dest stderr",
            "log_type all",
            "max_queued_messages 0",
            f"allow_anonymous {'false' if self._users else 'true'}",
        ]
        if self._users:
            passwords = self._directory / "passwords"
            run("mosquitto_passwd", "-c", "-b", str(passwords), USER, PASSWORD)
            run("mosquitto_passwd", "-b", str(passwords), READER, PASSWORD)
            lines.append(f"password_file {passwords}")
        if self._acl is not None:
            acl = self._directory / "acl"
            acl.write_text("\n".join(self._acl) + "\n")
            acl.chmod(0o600)
            lines.append(f"acl_file {acl}")
        if self._tls is not None:
            lines += [f"certfile {self._tls.certificate}", f"keyfile {self._tls.private_key}"]
            if self._tls.client_ca is not None:
                lines += [f"cafile {self._tls.client_ca}", "require_certificate true"]
        return lines

    def _stop(self) -> None:
        if self._daemon is not None:
            self._daemon.stop()


class Subscriber(Part):
    """mosquitto_sub: reads everything, also what was published while it was not connected.

    Args:
        broker: Whose messages.
        options: More options of mosquitto_sub: TLS, a user.
        name: What it is to the broker; two with one name push each other out.
    """

    def __init__(self, broker: Broker, *options: str, name: str = "subscriber") -> None:
        super().__init__()
        self._broker = broker
        self._options = options
        self._name = name
        self._output = Path()
        self._daemon: Daemon | None = None

    @property
    def messages(self) -> list[Message]:
        """All it has got so far, in order."""
        text = self._output.read_text()
        whole, _, _ = text.rpartition("\n")
        return [_message(line) for line in whole.split("\n") if line.startswith("{")]

    @property
    def count(self) -> int:
        """How many it has got so far."""
        return self._output.read_bytes().count(b'"tst":')

    def pause(self) -> None:
        """SIGSTOP it: it takes nothing more."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT it."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._daemon is None:
            raise LabError("the subscriber was never started")
        self._daemon.send(number)

    def wait_for(
        self, wanted: Callable[[Message], bool], *, count: int = 1, timeout: float = 15.0
    ) -> list[Message]:
        """Return the messages that are wanted, as soon as there are so many.

        Raises:
            LabError: If there are fewer after ``timeout`` seconds.
        """

        def found() -> list[Message]:
            some = [message for message in self.messages if wanted(message)]
            return some if len(some) >= count else []

        return wait_until(found, timeout, f"{count} messages")

    def _build(self) -> None:
        directory = make_directory()
        self._stack.callback(delete_directory, directory)
        self._output = directory / "messages"
        server = ("-h", "127.0.0.1", "-p", str(self._broker.port))
        session = ("-V", "mqttv5", "-c", "-i", self._name, "-x", "3600")
        topics = ("-q", "1", "-t", "#", "-t", KEPT)
        command = ["mosquitto_sub", *server, *session, *topics, "-F", "%J", *self._options]
        self._daemon = daemon = Daemon(command, self._output, netns=self._broker.netns)
        self._stack.callback(daemon.stop)

        def listens() -> bool:
            daemon.require_alive()
            return KEPT in self._output.read_text()

        wait_until(listens, what="the subscriber to listen")


def _message(line: str) -> Message:
    content = json.loads(line)
    return Message(
        content["topic"], content["payload"], bool(content["retain"]), int(content["qos"])
    )
