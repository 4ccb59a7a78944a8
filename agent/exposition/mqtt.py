"""Events over MQTT 5: one connection to a broker, at least once, in order, and nothing asked.

aiomqtt waits for each confirmation with a deadline; paho below it never blocks in the event loop,
because the connection is made elsewhere (``mqtt_socket``) and its socket does not wait. A broker
that stands still costs a window of messages in memory and a deadline; what comes
meanwhile waits in the queue, which is bounded.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Never

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent import log
from agent.errors import Reason, SourceError
from agent.events.document import Origin
from agent.events.queue import Event, EventQueue
from agent.exposition.mqtt_socket import MAX_PACKET_BYTES, Dialer, Guarded
from agent.sections_mqtt import Mqtt
from agent.supervise import Backoff, keep_running

logger = log.get(__name__)

WINDOW = 20
"""Messages on their way at once, fewer where the broker says so."""
HEAD_BYTES = 31
"""Of a message beside topic and document, at most: type and length 5, length of the topic 2, number
2, properties 22 (MQTT 5.0, section 3.3)."""
MAX_DELAY_SECONDS = 30.0
"""Between two tries: a broker that comes back has a thousand nodes to greet."""
PROOF_SECONDS = 1.0
"""A connection that ends sooner was none worth telling: Mosquitto 2.0.11 lets in whom its ACL does
not let publish, and hangs up at the first event, again and again."""
STOP_SECONDS = 1.0
"""For what waits and the last word at the end of the process."""
GIVE_UP_SECONDS = 0.5

# Every lost connection is told once, by us; paho would tell it in several lines.
_silent = logging.getLogger("agent.exposition.mqtt.silent")
_silent.disabled = True


class _StoppedError(Exception):
    """The last word has been said."""


class _Client(aiomqtt.Client):
    """aiomqtt's client over a socket that is connected already.

    Attributes:
        refused: Events that the broker did not accept or would not, and ``refusal`` why not.
            aiomqtt takes every answer for a confirmation.
        window: How many messages the broker takes at once.
    """

    def __init__(self, guarded: Guarded, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.refused = 0
        self.refusal = ""
        self.window = WINDOW
        self._largest: int | None = None
        # paho's only place where a socket comes from; tests break when it is another.
        self._client._create_socket = lambda: guarded  # type: ignore[method-assign] # noqa: SLF001

    def takes(self, topic: str, document: bytes) -> bool:
        """Whether a message is not too large for the broker, which would hang up on it for ever."""
        size = HEAD_BYTES + len(topic.encode()) + len(document)
        return self._largest is None or size <= self._largest

    def _on_connect(
        self,
        client: Any,
        userdata: Any,
        flags: Any,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """Note the broker's limits, MQTT 5.0, sections 3.2.2.3.3 and 3.2.2.3.6."""
        self.window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self._largest = getattr(properties, "MaximumPacketSize", None)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_message(self, *_arguments: Any) -> None:
        """Keep nothing: nothing was subscribed to."""

    def _on_publish(
        self,
        client: Any,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        if reason_code.is_failure:
            self.refused += 1
            self.refusal = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def abandon(self) -> None:
        """Close the socket without a word, so that the broker publishes the last will."""
        self._client._sock_close()  # noqa: SLF001 - disconnect() would have to be read by the peer
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()  # seen: asyncio would complain that nobody has


class MqttPublisher:
    """Publishes what is in a queue, and whether it does.

    Args:
        settings: Where the broker is.
        origin: Writes documents.
        queue: Of events.

    Attributes:
        connected: Whether the broker has accepted the connection and it is not known to be lost.
        problem: Why there was none the last time; ``None`` while there is one.
    """

    def __init__(self, settings: Mqtt, origin: Origin, queue: EventQueue) -> None:
        self.connected = False
        self.problem: SourceError | None = None
        self._settings = settings
        self._origin = origin
        self._queue = queue
        self._dialer = Dialer(settings)
        self._topic = f"{settings.prefix}/{origin.node}"
        self._content = _json(PacketTypes.PUBLISH)
        self._stopping = False
        self._refusal_told = False
        self._down_told = False

    @contextlib.asynccontextmanager
    async def running(self, on_bug: Callable[[asyncio.Task[Any]], None]) -> AsyncIterator[None]:
        """Publish; at the end say so, within 1.5 s whatever the broker does.

        Args:
            on_bug: Told when publishing ends; an exception in it is a bug.
        """
        task = asyncio.create_task(self._publish(), name="mqtt")
        task.add_done_callback(on_bug)
        try:
            yield
        finally:
            self._stopping = True
            self._queue.filled.set()
            if self.connected:
                await asyncio.wait({task}, timeout=STOP_SECONDS)
            task.cancel()
            # Not gather(): wait_for(), which aiomqtt uses, can lose a cancellation in Python 3.11.
            await asyncio.wait({task}, timeout=GIVE_UP_SECONDS)

    async def _publish(self) -> None:
        with contextlib.suppress(_StoppedError):
            await keep_running(
                self._session, self._down, Backoff(max_delay_seconds=MAX_DELAY_SECONDS)
            )

    def _down(self, error: SourceError) -> None:
        self.problem = error
        if not self._down_told:
            self._down_told = True
            logger.warning("mqtt down", reason=str(error.reason), detail=error.detail)

    async def _session(self) -> Never:
        """Connect, publish until that ends.

        Raises:
            SourceError: When the broker cannot be reached, refuses, is late, or hangs up.
            _StoppedError: When it was told that this is the end.
        """
        way = await self._dialer.dial()
        client: _Client | None = None
        try:
            client = self._client(way.guarded, way.password)
            async with client:
                try:
                    await self._serve(client)
                except BaseException:
                    client.abandon()
                    raise
            raise _StoppedError
        except aiomqtt.MqttError as error:
            raise _source_error(self._where, error, way.guarded) from error
        finally:
            if client is not None:
                client.abandon()
            way.guarded.close()

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.broker_port}"

    def _client(self, guarded: Guarded, password: str | None) -> _Client:
        settings = self._settings
        connect = _properties(PacketTypes.CONNECT, MaximumPacketSize=MAX_PACKET_BYTES)
        will = self._origin.status(time.time(), online=False)
        return _Client(
            guarded,
            settings.host or "",
            settings.broker_port,
            username=settings.username,
            password=password,
            logger=_silent,
            identifier=settings.client_id or f"dataplane-agent-{self._origin.node}",
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            properties=connect,
            keepalive=settings.keepalive_seconds,
            timeout=settings.timeout_seconds,
            max_inflight_messages=WINDOW,
            max_queued_outgoing_messages=WINDOW,
            max_queued_incoming_messages=1,
            will=aiomqtt.Will(
                f"{self._topic}/status",
                will,
                qos=settings.qos,
                retain=True,
                properties=_json(PacketTypes.WILLMESSAGE),
            ),
        )

    async def _serve(self, client: _Client) -> None:
        lost = asyncio.create_task(_until_lost(client), name="mqtt connection")
        proof: asyncio.TimerHandle | None = None
        try:
            await self._say(client, online=True)
            self.connected, self.problem = True, None
            proof = asyncio.get_running_loop().call_later(PROOF_SECONDS, self._tell_up)
            await self._send_all(client, lost)
            await self._say(client, online=False)
        finally:
            self.connected = False
            if proof is not None:
                proof.cancel()
            self._queue.give_back()
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)

    def _tell_up(self) -> None:
        self._down_told = False
        logger.info("mqtt up", broker=self._where)

    async def _say(self, client: _Client, *, online: bool) -> None:
        document = self._origin.status(time.time(), online=online)
        await self._publish_one(client, f"{self._topic}/status", document, retain=True)
        client.refused = 0  # no event
        self._note_refusals(client)

    async def _send_all(self, client: _Client, lost: "asyncio.Task[Never]") -> None:
        """Send events as they come, a window of them at once; they arrive in their order.

        A window that moves on with every confirmation, and not a batch: with nothing to send, the
        acknowledgement of what came in waits 40 ms, and the broker's next answer waits for that.
        """
        sending: deque[asyncio.Task[None]] = deque()
        try:
            while sending or len(self._queue) or not self._stopping:
                room = client.window - len(sending)
                events = self._queue.take(room)
                sending.extend(asyncio.create_task(self._send(client, each)) for each in events)
                await self._wait(lost, sending, full=len(sending) >= client.window)
                while sending and sending[0].done():
                    sending[0].result()
                    sending.popleft()
                    self._queue.confirm(1)
                if lost.done():
                    lost.result()
                self._note_refusals(client)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    async def _wait(
        self, lost: "asyncio.Task[Never]", sending: "deque[asyncio.Task[None]]", *, full: bool
    ) -> None:
        """Wait for the oldest confirmation, for more to send where there is room, or the end."""
        filled = asyncio.create_task(self._queue.filled.wait())
        events: set[asyncio.Task[Any]] = {lost, *([sending[0]] if sending else [])}
        if not full:
            events.add(filled)
        try:
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        finally:
            filled.cancel()

    async def _send(self, client: _Client, event: Event) -> None:
        document = self._origin.event(event)
        topic = f"{self._topic}/event/{event.change.kind}"
        if client.takes(topic, document):
            await self._publish_one(client, topic, document, retain=False)
        else:
            client.refused += 1
            client.refusal = f"{event.change.kind} is larger than the broker's largest packet"

    async def _publish_one(
        self, client: _Client, topic: str, document: bytes, *, retain: bool
    ) -> None:
        await client.publish(
            topic,
            document,
            qos=self._settings.qos,
            retain=retain,
            properties=self._content,
        )

    def _note_refusals(self, client: _Client) -> None:
        """A broker may let somebody in and still not let them publish: one line, and a counter."""
        self._queue.refused(client.refused)
        client.refused = 0
        if client.refusal and not self._refusal_told:
            logger.warning("mqtt refused", broker=self._where, detail=client.refusal)
        self._refusal_told = bool(client.refusal)


async def _until_lost(client: _Client) -> Never:
    """Wait for the end of a connection.

    Raises:
        aiomqtt.MqttError: Always: messages, which would come first, are not subscribed to.
    """
    async for _ in client.messages:
        pass
    raise aiomqtt.MqttError("no more messages")


def _json(packet: int) -> Properties:
    return _properties(packet, PayloadFormatIndicator=1, ContentType="application/json")


def _properties(packet: int, **values: int | str) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call] # paho's has no types
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def _source_error(where: str, error: aiomqtt.MqttError, guarded: Guarded) -> SourceError:
    """Say in our words why a connection ended or was refused."""
    code = getattr(error, "rc", None)
    text = str(code) if isinstance(code, ReasonCode) else str(error)
    if isinstance(error.__cause__, aiomqtt.MqttCodeError):
        cause = error.__cause__.rc
        text = str(cause) if isinstance(cause, ReasonCode) else str(error.__cause__)
    elif error.__cause__ is not None:
        text = f"what the broker sent cannot be read: {type(error.__cause__).__name__}"
    reason = Reason.BROKEN
    if isinstance(error, MqttConnectError):
        reason = Reason.REFUSED
    elif "timed out" in text:
        reason = Reason.TIMEOUT
    return SourceError(reason, f"{where}: {guarded.complaint or text}")
