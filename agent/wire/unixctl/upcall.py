"""``upcall/show``: the revalidators' view of each datapath."""

import re
from dataclasses import replace

from agent.errors import ParseError
from agent.model.datapath import Upcalls
from agent.wire.unixctl.text import number

_FLOWS = re.compile(r"\((current|limit) ([^()]*)\)")


def parse_upcall_show(text: str) -> tuple[Upcalls, ...]:
    """Return one element a datapath, none without datapaths.

    ::

        netdev@ovs-netdev:
          flows         : (current 35) (avg 34) (max 35) (limit 27000)
          offloaded flows : 12
          dump duration : 1ms
          ufid enabled : true

          4: (keys 35)

    Releases before 2.14 have no ``offloaded flows``; 4.0 prints it only when there are some.

    Raises:
        ParseError: If the text names no datapath though it is not empty, or a number is none.
    """
    found: list[Upcalls] = []
    for line in text.split("\n"):
        if line[:1].strip() and "@" in line and line.endswith(":"):
            found.append(Upcalls(line[:-1]))
        elif found:
            found[-1] = _with_line(found[-1], line)
    if text.strip() and not found:
        raise ParseError(f"not an answer of upcall/show: {text[:40]!r}")
    return tuple(found)


def _with_line(upcalls: Upcalls, line: str) -> Upcalls:
    label, _, value = line.partition(":")
    match label.strip():
        case "flows":
            counts = {
                name: number(digits, f"flows {name}") for name, digits in _FLOWS.findall(line)
            }
            return replace(upcalls, flows=counts.get("current"), flow_limit=counts.get("limit"))
        case "offloaded flows":
            return replace(upcalls, offloaded_flows=number(value.strip(), "offloaded flows"))
        case "dump duration":
            milliseconds = number(value.strip().removesuffix("ms"), "dump duration")
            return replace(upcalls, dump_duration_seconds=milliseconds / 1000)
        case _:
            return upcalls
