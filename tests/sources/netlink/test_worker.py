"""A worker's thread answers one call at a time; a stuck one costs only itself."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from agent.errors import Reason, SourceError
from agent.sources.worker import Worker
from lab.process import wait_until


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    made = Worker("test work")
    yield made
    made.close()


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "test work"]


async def called_when_free(worker: Worker) -> int:
    """Call again and again until the call before has ended."""
    while True:
        try:
            return await worker.call(lambda: 7, 5.0)
        except SourceError:
            await asyncio.sleep(0)


async def test_answers_from_a_thread_of_its_own_name(worker: Worker) -> None:
    assert not threads()
    names = {await worker.call(lambda: threading.current_thread().name, 5.0) for _ in range(3)}
    assert names == {"test work"}
    (thread,) = threads()
    assert thread.daemon  # the process can end while it waits for the kernel


async def test_an_exception_comes_back_and_the_thread_goes_on(worker: Worker) -> None:
    def fail() -> None:
        raise SourceError(Reason.DENIED, "no")

    for _ in range(2):
        with pytest.raises(SourceError, match="denied: no"):
            await worker.call(fail, 5.0)
    with pytest.raises(ZeroDivisionError):
        await worker.call(lambda: 1 // 0, 5.0)
    assert await worker.call(lambda: 7, 5.0) == 7


async def test_a_stuck_call_is_left_behind_until_it_ends(worker: Worker) -> None:
    release = threading.Event()
    with pytest.raises(SourceError, match=r"no answer in 0\.01 s") as caught:
        await worker.call(release.wait, 0.01)
    assert caught.value.reason is Reason.TIMEOUT
    with pytest.raises(SourceError, match="still unanswered") as caught:
        await worker.call(lambda: 7, 5.0)
    assert caught.value.reason is Reason.TIMEOUT
    release.set()
    assert await called_when_free(worker) == 7
    assert len(threads()) == 1


async def test_a_late_exception_is_for_nobody(worker: Worker) -> None:
    release = threading.Event()

    def fail() -> None:
        release.wait()
        raise ZeroDivisionError

    with pytest.raises(SourceError, match="no answer"):
        await worker.call(fail, 0.01)
    release.set()
    assert await called_when_free(worker) == 7


async def test_a_caller_that_is_cancelled_stays_cancelled(worker: Worker) -> None:
    release = threading.Event()
    task = asyncio.create_task(worker.call(release.wait, 5.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(SourceError, match="still unanswered"):
        await worker.call(lambda: 7, 5.0)
    release.set()
    assert await called_when_free(worker) == 7


async def test_ends_its_thread_when_it_is_closed() -> None:
    worker = Worker("test work")
    worker.close()
    await worker.call(lambda: None, 5.0)
    (thread,) = threads()
    worker.close()
    worker.close()
    await asyncio.to_thread(thread.join, 5.0)
    assert not thread.is_alive()


async def test_works_again_after_it_was_closed_while_busy() -> None:
    worker = Worker("test work")
    release = threading.Event()
    with pytest.raises(SourceError, match="no answer"):
        await worker.call(release.wait, 0.01)
    worker.close()
    release.set()
    for _ in range(2):
        assert await called_when_free(worker) == 7
    worker.close()


def test_an_answer_for_a_loop_that_is_gone_ends_the_thread() -> None:
    worker = Worker("test work")
    release = threading.Event()

    async def give_up() -> None:
        with pytest.raises(SourceError, match="no answer"):
            await worker.call(release.wait, 0.01)

    asyncio.run(give_up())
    release.set()
    wait_until(lambda: not threads(), what="end of the thread")


async def test_an_exception_that_a_future_does_not_take_comes_back_too(worker: Worker) -> None:
    with pytest.raises(RuntimeError) as caught:
        await worker.call(lambda: next(iter(())), 5.0)
    assert isinstance(caught.value.__cause__, StopIteration)
