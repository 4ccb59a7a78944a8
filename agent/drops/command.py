"""The story of ``dataplane-agent drops``: read, wait, read again, compare, print."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from agent.config import Settings
from agent.drops import as_json, text
from agent.drops.choice import Chosen, NothingToCompareError, choose, devices_of, without_port
from agent.drops.growth import compare, obstacle
from agent.drops.printable import printable
from agent.drops.report import BOOKED, Growth, Report
from agent.drops.watch import Watch, wait

DEFAULT_SECONDS = 10.0
MIN_SECONDS, MAX_SECONDS = 1.0, 3600.0
TOO_LATE = "could not be read the first time"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        bridge: The only bridge to watch; ``None`` for all.
        interface: The only interface, by its name, Neutron port or MAC address; ``None`` for all.
        instance: The only instance, by its id, its name or its domain's; ``None`` for all.
        seconds: From the end of the first reading to the second.
        all_kinds: Show flows of kinds copy and patch too.
        json: Answer with a JSON object.
    """

    bridge: str | None = None
    interface: str | None = None
    instance: str | None = None
    seconds: float = DEFAULT_SECONDS
    all_kinds: bool = False
    json: bool = False


async def drops(settings: Settings, question: Question) -> int:
    """Watch the flows for a while and print which of them lost packets.

    Returns:
        0 when any bridge was compared, 1 otherwise: then the reason is on standard error.
    """
    try:
        report = await _watch(settings, question)
    except NothingToCompareError as error:
        for line in error.lines:
            _say(line)
        return 1
    sys.stdout.write(as_json.write(report) if question.json else text.write(report))
    return 0


async def _watch(settings: Settings, question: Question) -> Report:
    if not settings.ovs.enabled:
        raise NothingToCompareError("Open vSwitch is switched off: ovs.enabled is false")
    watch = Watch(settings, _say)
    async with watch.running():
        chosen = await _chosen(watch, question)
        watch.narrow(chosen)
        first = await watch.first()
        names = ", ".join(sorted(first))
        _say(f"watching {names} for {question.seconds:g} s, Ctrl-C ends it early")
        with _ctrl_c() as stop:
            await wait(stop, question.seconds)
            second = await watch.second(stop)
        switch, instances = await watch.switch(), await watch.instances()
        problems = [watch.reason(bridge) for bridge in chosen.keys() - second.keys()]
        with contextlib.suppress(NothingToCompareError):
            # An instance that was started anew has another port.
            chosen = {**chosen, **await _chosen(watch, question)}
            devices = await _devices(watch, question)
            problems += without_port(switch, question.bridge, question.interface, devices)
    growths: list[Growth] = []
    for bridge, now in second.items():
        then = first.get(bridge)
        problem = TOO_LATE if then is None else obstacle(then, now)
        if then is None or problem is not None:
            problems.append(f"{bridge}: {problem}")
        else:
            growths.append(compare(then, now, switch.ports(bridge), chosen[bridge], instances))
    if not growths:
        raise NothingToCompareError(*sorted(problems))
    kinds = BOOKED if question.all_kinds else BOOKED[:1]
    growths.sort(key=lambda growth: growth.bridge)
    whose = question.interface or question.instance
    return Report(kinds, whose, tuple(growths), tuple(sorted(problems)))


async def _chosen(watch: Watch, question: Question) -> Chosen:
    devices = await _devices(watch, question)
    return choose(await watch.switch(), question.bridge, question.interface, devices)


async def _devices(watch: Watch, question: Question) -> frozenset[str] | None:
    if question.instance is None:
        return None
    return devices_of(question.instance, await watch.instances())


def _say(line: str) -> None:
    """Tell a person what is going on; standard output is the answer's alone."""
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _ctrl_c() -> Iterator[asyncio.Event]:
    """Give an event that the first Ctrl-C sets; the second ends the process, as it always does."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def once() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, once)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGINT)
