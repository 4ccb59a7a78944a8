"""Feed the parsers of OpenFlow and unixctl what coverage-guided mutation (atheris) makes up.

Run as ``PYTHONPATH=. python tests/soak/fuzz_openflow.py SECONDS [PARSER …]``. Starts from recorded
input; every parser of tests/wire/parsers.py has its turn. Prints executions and findings, each
with the input that repeats it, and ends with status 1 if there are any: an exception other than
ParseError, or more memory than a small multiple of the input.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
import tracemalloc
from pathlib import Path
from types import TracebackType

import atheris  # type: ignore[import-untyped] # it ships no types

with atheris.instrument_imports(include=["agent.wire"]):
    from agent.errors import ParseError
    from tests.wire.parsers import PARSERS, Parser

LARGEST_BYTES = 8192
PEAK_BYTES, PEAK_BYTES_PER_BYTE = 1 << 17, 100
MEASURED = 64
"""Of so many executions the memory of one is measured: it makes them three times slower."""
SHOWN_FINDINGS = 20


def say(line: str) -> None:
    """Write a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Fuzzer:
    """Runs parsers on input whose first byte chooses one, until the time is up."""

    def __init__(self, parsers: list[Parser], seconds: float) -> None:
        self._parsers = parsers
        self._end = time.monotonic() + seconds
        self._executions = [0] * len(parsers)
        self._refused = 0
        self._findings: dict[str, bytes] = {}
        self._corpus = tempfile.TemporaryDirectory()

    def __call__(self, data: bytes) -> None:
        """Run once. Ends the process when the time is up: libFuzzer never returns."""
        if data:
            self._run(data[0] % len(self._parsers), data[1:])
        if time.monotonic() > self._end:
            self._report()
            self._corpus.cleanup()
            os._exit(1 if self._findings else 0)

    def write_corpus(self) -> str:
        """Write the recorded input with the byte that chooses its parser; return the directory."""
        directory = Path(self._corpus.name)
        for index, parser in enumerate(self._parsers):
            for number, sample in enumerate(parser.samples):
                (directory / f"{index}-{number}").write_bytes(bytes([index]) + sample)
        return self._corpus.name

    def _run(self, index: int, data: bytes) -> None:
        parser = self._parsers[index]
        self._executions[index] += 1
        measured = sum(self._executions) % MEASURED == 0
        if measured:
            tracemalloc.start()
        try:
            parser.parse(data)
        except ParseError:
            self._refused += 1
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            self._find(f"{parser.name}: {error!r} {_place(error.__traceback__)}", data)
        if measured:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            if peak > PEAK_BYTES + PEAK_BYTES_PER_BYTE * len(data):
                self._find(f"{parser.name}: much memory", data)

    def _find(self, what: str, data: bytes) -> None:
        known = self._findings.setdefault(what, data)
        if known is data and len(self._findings) <= SHOWN_FINDINGS:
            say(f"\nfinding: {what}\n  {data.hex()}")

    def _report(self) -> None:
        for parser, count in zip(self._parsers, self._executions, strict=True):
            say(f"{count:10} {parser.name}")
        say(
            f"{sum(self._executions)} executions, {self._refused} refused, "
            f"{len(self._findings)} findings"
        )


def _place(trace: TracebackType | None) -> str:
    frame = traceback.extract_tb(trace)[-1]
    return f"at {Path(frame.filename).name}:{frame.lineno}"


def main() -> None:
    """Read the arguments and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("parsers", nargs="*", choices=[[], *(it.name for it in PARSERS)])
    arguments = parser.parse_args()
    chosen = [it for it in PARSERS if it.name in arguments.parsers or not arguments.parsers]
    fuzzer = Fuzzer(chosen, arguments.seconds)
    options = [f"-max_len={LARGEST_BYTES}", "-verbosity=0", "-timeout=20"]
    atheris.Setup([sys.argv[0], *options, fuzzer.write_corpus()], fuzzer)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
