"""Tests of what only a kernel with Open vSwitch shows, run in a virtual machine.

A test of this directory is an ordinary test. It runs as root in a machine with Debian's kernel and
all of the project's files, where it may load modules and use the kernel as it likes. ``make test``
and ``pytest tests/kernel`` start the machine before their first test, run all selected ones in it,
beside the others, and show what became of each when it is due as if it had run here, with its
failure and its logs.

How to write one:

- Take ``kernel_switches``, two switches on the kernel's datapath with a vxlan and a geneve tunnel
  between them. They are shared and cost seconds: look, send, but break nothing. Make what you break
  yourself (``with KernelSwitch() as switch``).
- The processor is emulated, and there is one: Python is 15 times slower than outside, and a process
  that imports the agent takes 10 s to start. Wait for events with generous deadlines, and promise
  no durations.
- libvirtd and a domain, which QEMU emulates within what it emulates, take 10 s to start.
- ``/usr`` and the project are read-only. Everything else may be written and is forgotten.
- Modules are not loaded until something asks for them: ``run("modprobe", "geneve")``.
- Leave the test without a timeout of its own: each has ``TEST_SECONDS`` in there.
- To see what a machine prints: ``-s`` shows nothing, but a failing test has what it captured; a
  test of which nothing is heard fails with the last words of the machine.
"""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import machine
from lab.kernel_switch import KernelPair
from lab.machine import Machine
from lab.process import LabError, wait_until

HERE = Path(__file__).parent
INSIDE = machine.inside()
REPORTS, SELECTED = "reports", "selected"
TEST_SECONDS = 300
GRACE_SECONDS = 60
"""For pytest to start, and to say that a test took too long."""
TAIL = 4000


@pytest.fixture(scope="session", autouse=True)
def _in_the_machine() -> None:
    """Only where the machine cannot be started, a test gets here outside of it."""
    if INSIDE:
        return
    reason = f"missing: {', '.join(machine.missing())} (make setup, as root)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kernel_switches() -> Iterator[KernelPair]:
    """Two switches with tunnels between them, shared: look and send, but break nothing."""
    with KernelPair() as pair:
        yield pair


def pytest_configure(config: pytest.Config) -> None:
    plugin = Recorder(config) if INSIDE else Replayer(config)
    config.pluginmanager.register(plugin, "kernel-machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in filter(_is_ours, items):
        item.add_marker(pytest.mark.kernel)
        if not INSIDE:
            item.add_marker(pytest.mark.timeout(0))  # the first one waits for the machine to boot


def _is_ours(item: pytest.Item) -> bool:
    return item.path.is_relative_to(HERE)


class Recorder:
    """In the machine: writes each report as a line of JSON."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        # a line goes out at once: the machine may not survive the next test
        self._file = (machine.EXCHANGE / REPORTS).open("a", encoding="utf-8", buffering=1)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook.pytest_report_to_serializable
        json.dump(hook(config=self._config, report=report), self._file)
        self._file.write("\n")


class Replayer:
    """Outside: has the machine run all selected tests, and shows its reports as this run's."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._machine: Machine | None = None
        self._reports: dict[str, list[pytest.TestReport]] = defaultdict(list)
        self._read_bytes = 0
        self._told = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Start the machine now: its one processor works minutes while other tests run."""
        due = any(map(_is_ours, session.items)) and not session.config.option.collectonly
        if session.testsfailed or machine.missing() or not due:
            return
        try:
            self._start(session)
        except LabError:
            self._machine = None  # the first test tries again, and says why if it must

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if not _is_ours(item) or machine.missing():
            return None  # any other test, or one that says in its setup what is missing
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._outcome(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self) -> None:
        if self._machine is not None:
            self._machine.stop()

    def _outcome(self, item: pytest.Item) -> list[pytest.TestReport]:
        try:
            running = self._machine or self._start(item.session)
            seconds = TEST_SECONDS + GRACE_SECONDS
            wait_until(lambda: self._has_ended(item.nodeid), seconds, "the machine's report")
        except LabError as error:
            return [_failure(item, f"{error}\n{self._give_up()}")]
        reports = self._reports[item.nodeid]
        if not reports or reports[-1].when != "teardown":
            text = f"the machine ended before this test did\n{self._last_words(running)}"
            reports.append(_failure(item, text))
        return reports

    def _give_up(self) -> str:
        """End the machine, so that no later test waits for it, and return what it said."""
        if self._machine is None:
            return ""
        words = self._last_words(self._machine)
        self._machine.stop()
        return words

    def _last_words(self, ended: Machine) -> str:
        if self._told:
            return "(an earlier test has its last words)"
        self._told = True
        return f"-- pytest --\n{ended.output[-TAIL:]}\n-- console --\n{ended.console[-TAIL:]}"

    def _start(self, session: pytest.Session) -> Machine:
        options = session.config.option
        argv = [
            *(sys.executable, "-m", "pytest", "-q", f"@{machine.EXCHANGE / SELECTED}"),
            # the plugin of hypothesis imports all of it, which takes 10 s in there
            *("-p", "no:cacheprovider", "-p", "no:hypothesispytest", f"--timeout={TEST_SECONDS}"),
            *(f"--maxfail={options.maxfail or 0}", f"--tb={options.tbstyle}"),
        ]
        environment = {name: os.environ[name] for name in ("CI",) if name in os.environ}
        self._machine = Machine(argv, session.config.rootpath, environment)
        selected = "\n".join(item.nodeid for item in filter(_is_ours, session.items))
        (self._machine.exchange / SELECTED).write_text(selected, encoding="utf-8")
        self._machine.start()
        return self._machine

    def _has_ended(self, nodeid: str) -> bool:
        ended = self._machine is None or not self._machine.alive  # asked before the last look
        self._read()
        reports = self._reports[nodeid]
        return ended or bool(reports and reports[-1].when == "teardown")

    def _read(self) -> None:
        if self._machine is None or not (path := self._machine.exchange / REPORTS).exists():
            return
        with path.open("rb") as file:
            file.seek(self._read_bytes)
            for line in file:
                if not line.endswith(b"\n"):  # it is still being written
                    break
                self._read_bytes += len(line)
                report = self._load(line)
                self._reports[report.nodeid].append(report)

    def _load(self, line: bytes) -> pytest.TestReport:
        data: dict[str, Any] = json.loads(line)
        for name in ("location", "longrepr"):  # tuples, which JSON does not know
            if isinstance(data[name], list):
                data[name] = tuple(data[name])
        hook = self._config.hook.pytest_report_from_serializable
        report: pytest.TestReport = hook(config=self._config, data=data)
        return report


def _failure(item: pytest.Item, text: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="failed",
        longrepr=text,
        when="call",
    )
