"""A node with a broker: Open vSwitch, libvirt, namespaces, Mosquitto, a subscriber, the agent."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from lab.agent import Agent
from lab.host import Host
from lab.hypervisor import Hypervisor
from lab.mosquitto import Broker, Message, Subscriber
from lab.node import Node
from lab.process import LabError, wait_until
from tests.events.valid import Document, validate

MOSQUITTO = ("mosquitto", "mosquitto_sub", "mosquitto_passwd", "ss", "ip", "nsenter")
NODE = "compute01"
QOS = "DATAPLANE_AGENT_MQTT__QOS"
CONNECTED = "dataplane_agent_mqtt_connected"
WAITING = "dataplane_agent_mqtt_queue_length"
DROPPED = "dataplane_agent_mqtt_events_dropped_total"


class EventSite:
    """All of it in one network; switch and hypervisor only on request.

    Args:
        switch: Whether there is an Open vSwitch.
        domains: Whether there is a libvirtd.
        broker: Arguments for the broker.
        env: More settings of the agent's.
        listen: Options of the subscriber.
        start: Whether the agent is started, and has connected.
    """

    def __init__(
        self,
        *,
        switch: bool = False,
        domains: bool = False,
        broker: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        listen: tuple[str, ...] = (),
        start: bool = True,
    ) -> None:
        self._stack = ExitStack()
        self._tries = 0
        self._switch = switch
        self._domains = domains
        self._broker = broker or {}
        self._env = env or {}
        self._listen = listen
        self._start = start

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.host = stack.enter_context(Host())
            self.broker = stack.enter_context(Broker(netns=self.host.name, **self._broker))
            self.heard = stack.enter_context(Subscriber(self.broker, *self._listen))
            if self._switch:
                self.switch = stack.enter_context(Node(self.host.name))
                self.switch.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", *NETDEV)
            if self._domains:
                self.hypervisor = stack.enter_context(Hypervisor(self.host.name))
            self.agent = self.another_agent()
            if self._start:
                stack.enter_context(self.agent)
                self.until(CONNECTED, 1)
                # Whatever is known at the start is the baseline; before it nothing is an event.
                wait_until(self.is_settled, 20, "the baseline")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def another_agent(self, **env: str) -> Agent:
        """Return an agent that is not started yet; from now on it is this site's."""
        rundir = self.switch.rundir if self._switch else self.host.directory
        self.agent = Agent(rundir, env={**self.environment(), **env}, host=self.host)
        return self.agent

    def environment(self) -> dict[str, str]:
        """Return the agent's settings."""
        libvirt = {"DATAPLANE_AGENT_LIBVIRT__ENABLED": "false"}
        if self._domains:
            libvirt = {
                "DATAPLANE_AGENT_LIBVIRT__ENABLED": "true",
                "DATAPLANE_AGENT_LIBVIRT__URI": self.hypervisor.uri,
            }
        return {
            **libvirt,
            "DATAPLANE_AGENT_OVS__ENABLED": str(self._switch).lower(),
            "DATAPLANE_AGENT_OVN__ENABLED": "false",
            "DATAPLANE_AGENT_MQTT__HOST": "127.0.0.1",
            "DATAPLANE_AGENT_MQTT__PORT": str(self.broker.port),
            "DATAPLANE_AGENT_MQTT__NODE": NODE,
            "DATAPLANE_AGENT_MQTT__TIMEOUT_SECONDS": "1",
            **self._env,
        }

    def is_settled(self) -> bool:
        """Whether something that came now would be an event: a namespace is one."""
        self._tries += 1
        name = f"try-{self._tries}"
        self.host.add_namespace(name)
        with suppress(LabError):
            wait_until(lambda: self.has_event(netns=name), 1)
        return self.has_event(netns=name)

    def has_event(self, **fields: str) -> bool:
        """Whether there was an event with these fields."""
        return any(fields.items() <= event.items() for event in self.events())

    def metric(self, series: str) -> float | None:
        """Scrape, and return the value of a series."""
        return self.agent.metrics().get(series)

    def until(self, series: str, value: float) -> None:
        """Scrape until a series has a value."""
        wait_until(lambda: self.metric(series) == value, 20, f"{series} {value}")

    def statuses(self) -> list[str]:
        """Return what the status was, in order."""
        return [
            validate(message.payload)["status"]
            for message in self.heard.messages
            if message.topic == f"dataplane/{NODE}/status"
        ]

    def events(self) -> list[Document]:
        """Return all events in order; each is valid and in the topic of its kind."""
        return [
            self._event(message) for message in self.heard.messages if "/event/" in message.topic
        ]

    def after(self, action: Callable[[], object], *kinds: str, **fields: str) -> list[Document]:
        """Do something, and return the events with these fields as soon as there are such kinds.

        They are the only ones with these fields, in this order.
        """
        before = len(self.events())

        def new() -> list[Document]:
            return [
                event
                for event in self.events()[before:]
                if fields.items() <= event.items() and event["kind"] in kinds
            ]

        action()
        wait_until(lambda: len(new()) >= len(kinds), 20, f"{kinds} {fields}")
        assert [event["kind"] for event in new()] == list(kinds)
        return new()

    def _event(self, message: Message) -> Document:
        document = validate(message.payload)
        assert message.topic == f"dataplane/{NODE}/event/{document['kind']}"
        assert document["node"] == NODE
        assert message.qos == min(1, int(self._env.get(QOS, "1")))  # the subscriber asks for 1
        assert not message.retain
        return document


NETDEV = ("datapath_type=netdev",)


def certificate_options(authority: Path) -> tuple[str, ...]:
    """Return how the subscriber trusts a broker with TLS."""
    return ("--cafile", str(authority), "--insecure")
