"""``dpif-netdev/pmd-stats-show`` and ``pmd-perf-show``: the userspace datapath's threads.

All numbers taken are counters since the thread's start or the last ``pmd-stats-clear``; the rest
of the texts are averages over that time. ``pmd-stats-show`` (until 3.7) has all of them, and the
main thread. ``pmd-perf-show`` has cycles only as a sum, with the busy share rounded to 0.1 %: a
counter made from that would fall now and then, which Prometheus reads as a restart. Up to 3.7 it
leaves out the main thread. 4.0 has only the latter, under both names.
"""

import re

from agent.errors import ParseError
from agent.model.datapath import Pmd
from agent.wire.unixctl.text import first_word, number

MAIN = "main"

_THREAD = re.compile(r"(main|pmd) thread(?: numa_id (-?[0-9]+))?(?: core_id ([0-9]+))?:")
_FIELDS = {
    "phwol hits": "phwol_hit",
    "simple match hits": "simple_match_hit",
    "emc hits": "emc_hit",
    "smc hits": "smc_hit",
    "megaflow hits": "megaflow_hit",
    "miss with success upcall": "upcall_success",
    "upcalls": "upcall_success",
    "miss with failed upcall": "upcall_failed",
    "lost upcalls": "upcall_failed",
    "processing cycles": "busy_cycles",
    "idle cycles": "idle_cycles",
    "used tsc cycles": "used_cycles",
}


def parse_pmd_show(text: str) -> tuple[Pmd, ...]:
    """Return one element a thread, from either command.

    ``pmd-stats-show``::

        pmd thread numa_id 0 core_id 1:
          packets received: 30
          emc hits: 0
          megaflow hits: 29
          miss with success upcall: 1
          miss with failed upcall: 0
          idle cycles: 5445614824 (99.47%)
          processing cycles: 29177667 (0.53%)

    ``pmd-perf-show``, which prints no hits before the first packet::

        Time: 22:07:36.130
        Measurement duration: 2.115 s

        pmd thread numa_id 0 core_id 1:

          - Used TSC cycles:    5483977641  ( 99.7 % of total cycles)
          - EMC hits:                    0  (  0.0 %)
          - Megaflow hits:              29  ( 96.7 %, 1.00 subtbl lookups/hit)
          - Upcalls:                     1  (  3.3 %, 0.0 us/upcall)
          - Lost upcalls:                0  (  0.0 %)

    Raises:
        ParseError: If the text names no thread though it is not empty, or a number is none.
    """
    threads: list[tuple[str, str, dict[str, int]]] = []
    for line in text.split("\n"):
        if thread := _THREAD.fullmatch(line):
            is_main = thread[1] == "main"
            numa, cpu = (MAIN, MAIN) if is_main else (thread[2] or "", thread[3] or "")
            threads.append((numa, cpu, {}))
        elif threads:
            _take(threads[-1][2], line)
    if text.strip() and not threads:
        raise ParseError(f"not an answer of pmd-stats-show or pmd-perf-show: {text[:40]!r}")
    return tuple(Pmd(numa, cpu, **counts) for numa, cpu, counts in threads)


def _take(counts: dict[str, int], line: str) -> None:
    label, _, value = line.partition(":")
    name = _FIELDS.get(label.strip(" -").lower())
    if name is not None:
        counts[name] = number(first_word(value), label.strip(" -"))
    if "busy_cycles" in counts and "idle_cycles" in counts:
        counts["used_cycles"] = counts["busy_cycles"] + counts["idle_cycles"]
