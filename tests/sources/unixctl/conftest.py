"""What every test of the control socket's source promises besides its own sentence."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx


@pytest.fixture
def rundir() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's: sun_path holds 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="unixctl-") as name:
        yield Path(name)


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.fixture(autouse=True)
async def nothing_leaks() -> AsyncIterator[None]:
    """No descriptor and no task is left over, and the agent never blocks the loop."""
    await asyncio.to_thread(os.getpid)  # the executor's thread is made once and stays
    tasks = asyncio.all_tasks()
    before = descriptors()
    with blockbuster_ctx(scanned_modules=["agent"]):
        yield
    assert asyncio.all_tasks() - tasks <= {asyncio.current_task()}
    assert descriptors() == before
