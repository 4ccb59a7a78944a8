"""An agent that watches itself, for what cannot be seen from outside: python -m lab.observer.

It runs in the network and mount namespaces where it is started, scrapes itself, and answers lines
on standard input with lines of JSON: ``report`` with how it is, ``seen`` with what came into and
went out of its store and when, ``page`` with a page. It ends with its standard input.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from agent import log
from agent.config import from_process
from agent.daemon import Agent
from agent.exposition import http, text
from agent.model.namespace import Namespace

PROBE_SECONDS = 0.005
DEADLINE_SECONDS = 8.0
Seen = tuple[float, str, str, str]
T = TypeVar("T")


class Observer:
    """What was seen of one agent in this process."""

    def __init__(self, agent: Agent) -> None:
        self.scrapes = 0
        self.seen: list[Seen] = []
        self.worst_lag_seconds = 0.0
        self.worst_turn_seconds = 0.0
        self._asked = 0
        self._agent = agent
        self._known: Mapping[str, Namespace] = {}
        agent.store.namespaces.on_change = self._note

    def _note(self) -> None:
        namespaces = self._agent.store.namespaces.known().value or {}
        now, before = time.monotonic(), self._known
        for name in before.keys() | namespaces.keys():
            old, new = before.get(name), namespaces.get(name)
            if old is new:
                continue
            if old is None or new is None:
                self.seen.append((now, "-" if new is None else "+", name, ""))
            was, is_ = _devices(old), _devices(new)
            self.seen += [(now, "-", name, device) for device in was - is_]
            self.seen += [(now, "+", name, device) for device in is_ - was]
        self._known = namespaces

    async def probe(self) -> None:
        """Measure how late the loop comes, and how long it was busy by itself in between.

        The first is what a client waits, with all that the machine does besides; the second is
        the processor's time of the loop's thread alone.
        """
        while True:
            began, used, asked = time.monotonic(), time.thread_time(), self._asked
            await asyncio.sleep(PROBE_SECONDS)
            if asked != self._asked:
                continue  # what the observer itself does for an answer is no agent's work
            lag = time.monotonic() - began - PROBE_SECONDS
            self.worst_lag_seconds = max(self.worst_lag_seconds, lag)
            self.worst_turn_seconds = max(self.worst_turn_seconds, time.thread_time() - used)

    async def scrape(self) -> bytes:
        """Make a page."""
        collected = await self._agent.scraper.scrape(DEADLINE_SECONDS)
        self.scrapes += 1
        return b"".join(text.render(http.page(collected), text.Format.TEXT))

    async def scrape_on(self, interval_seconds: float) -> None:
        """Scrape for ever."""
        while True:
            await self.scrape()
            await asyncio.sleep(interval_seconds)

    def report(self) -> dict[str, Any]:
        """Say how it is; the worst since the last report."""
        gc.collect()
        status = Path("/proc/self/status").read_text()
        found = {
            "resident_kib": int(status.partition("VmRSS:")[2].split()[0]),
            "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - a count
            "threads": int(status.partition("Threads:")[2].split()[0]),
            "scrapes": self.scrapes,
            "worst_lag_seconds": self.worst_lag_seconds,
            "worst_turn_seconds": self.worst_turn_seconds,
            "sources": self._agent.status()["sources"],
            "events": {each.name: dict(each.facts().events) for each in self._agent.sources},
        }
        self.worst_lag_seconds = self.worst_turn_seconds = 0.0
        return found

    async def answer(self, question: str) -> Any:
        """Answer a line."""
        self._asked += 1
        if question == "report":
            return self.report()
        if question == "page":
            return (await self.scrape()).decode()
        seen, self.seen = self.seen, []
        return seen


def _devices(namespace: Namespace | None) -> set[str]:
    return {link.name for link in namespace.links.values()} if namespace else set()


async def _unless(bug: "asyncio.Task[None]", work: Coroutine[Any, Any, T]) -> T:
    """Do something, unless the agent dies of an error of ours first, which is raised."""
    doing = asyncio.create_task(work)
    await asyncio.wait({bug, doing}, return_when=asyncio.FIRST_COMPLETED)
    if bug.done():
        doing.cancel()
        bug.result()
    return await doing


async def observe(interval_seconds: float) -> None:
    """Run until standard input ends."""
    agent = Agent(from_process(None, {}))
    observer = Observer(agent)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async with agent.running():
        await agent.asked()
        gc.collect()
        gc.freeze()  # as the daemon does once it is ready
        bug = asyncio.create_task(agent.bug())
        tasks = [bug, asyncio.create_task(observer.probe())]
        if interval_seconds:
            tasks.append(asyncio.create_task(observer.scrape_on(interval_seconds)))
        while line := await _unless(bug, lines.readline()):
            print(json.dumps(await observer.answer(line.decode().strip())), flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    log.configure("warning", "logfmt")
    asyncio.run(observe(float(sys.argv[1])))
