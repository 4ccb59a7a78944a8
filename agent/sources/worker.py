"""A named thread for what blocks: it answers one call at a time, and a stuck one costs only itself.

asyncio's own executor is not used: Python waits for its threads at the end of the process, and one
that waits for the kernel would keep the process from ending.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from agent.errors import Reason, SourceError

T = TypeVar("T")

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Worker:
    """Runs calls in one thread, which starts with the first.

    Args:
        name: Of the thread, and of the work in messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False

    async def call(self, work: Callable[[], T], timeout_seconds: float) -> T:
        """Run something in the thread.

        Args:
            work: What to run; its exceptions come back.
            timeout_seconds: How long to wait for it. It goes on afterwards, for nobody.

        Raises:
            SourceError: TIMEOUT if it takes longer, or the call before has not ended yet; BROKEN
                if there are no more threads.
        """
        if self._busy:
            raise SourceError(
                Reason.TIMEOUT, f"{self._name}: the last question is still unanswered"
            )
        self._start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._busy = True
        self._jobs.put((loop, answer, work))
        # Not wait_for() and not timeout(): in a task that is being cancelled Python 3.11's lose
        # the one or the other.
        await asyncio.wait({answer}, timeout=timeout_seconds)
        if not answer.done():
            answer.cancel()
            raise SourceError(Reason.TIMEOUT, f"{self._name}: no answer in {timeout_seconds:g} s")
        return answer.result()

    def close(self) -> None:
        """Let the thread end after what it does now."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None
            self._jobs = queue.SimpleQueue()  # the next thread's own

    def _start(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(
            target=self._run, args=(self._jobs,), name=self._name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads
            raise SourceError(Reason.BROKEN, f"{self._name}: {error}") from error
        self._thread = thread

    def _run(self, jobs: "queue.SimpleQueue[_Job | None]") -> None:
        while (job := jobs.get()) is not None:
            loop, answer, work = job
            error: BaseException | None
            try:
                result, error = work(), None
            except StopIteration as raised:  # which a future does not take
                result, error = None, RuntimeError(f"{self._name}: {raised!r}")
                error.__cause__ = raised
            except BaseException as raised:  # noqa: BLE001 (it is raised where the call was made)
                result, error = None, raised
            try:
                loop.call_soon_threadsafe(self._give, answer, result, error)
            except RuntimeError:  # the loop is closed, nobody waits for it
                return
            del job, answer, work, result, error

    def _give(
        self, answer: "asyncio.Future[Any]", result: Any, error: BaseException | None
    ) -> None:
        self._busy = False
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)
