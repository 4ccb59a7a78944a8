"""``dataplane-agent check``: what can be reached, and if not, what is missing."""

import sys
from collections.abc import Container, Iterable, Iterator

from agent.config import Settings
from agent.daemon import Agent
from agent.exposition.web_config import load
from agent.health import SourceHealth
from agent.once import ask
from agent.sources.own_rights import own_rights

DENIED_SOCKET = (
    "a right is missing: connecting takes the right to write to the socket, as its owner, as a"
    " member of its group where the group may write, or CAP_DAC_OVERRIDE (docs/security.md)"
)
HINTS = {
    "absent": "is the service running, and does the path name its socket? (--ovs.rundir, --ovs.db)",
    "refused": "the socket is there, but nobody listens, or not for this protocol version",
    "denied": DENIED_SOCKET,
    "timeout": "the peer is there but does not answer: stopped, or busy",
    "broken": "the peer ended the connection or answered with an error",
    "malformed": "the peer speaks something else",
}
"""How to mend it, by reason, where the peer is a process with a socket."""
KERNEL_HINTS = {
    "denied": (
        "no right of its own is needed for this: a filter of system calls or a security module"
        " (seccomp, AppArmor, SELinux) says no"
    ),
}
"""The same of the kernel: what else it says is all there is to say."""
NETNS_HINTS = {
    "denied": (
        "a right is missing: entering a namespace takes CAP_SYS_ADMIN, one that is a link to"
        " /proc/PID/ns/net CAP_SYS_PTRACE as well (docs/security.md)"
    ),
}
CONNTRACK_HINTS = {
    "denied": (
        "a right is missing: entries by zone, and statistics where the kernel has no"
        " /proc/net/stat/nf_conntrack, take CAP_NET_ADMIN (docs/security.md)"
    ),
}
LIBVIRT_HINTS = {
    **HINTS,
    "absent": (
        "is libvirtd or virtqemud running, does libvirt.uri name its socket, and is libvirt-python"
        " installed? (--libvirt.uri)"
    ),
    "denied": "the read-only socket, or polkit's org.libvirt.unix.monitor, keeps this user out",
    "broken": (
        "the peer ended the connection or answered with an error; libvirt's library also fails for"
        " a user that /etc/passwd does not have"
    ),
}

OVN_DATABASE_HINTS = {
    **HINTS,
    "absent": "does the remote name the server? (ovn.databases, ovn.chassis_southbound)",
    "refused": (
        "nobody listens there, or the server does not let the agent read: its role, its certificate"
        " and the agent's (ovn.certificate, ovn.ca_certificate)"
    ),
}
HINTS_OF = {
    "conntrack": CONNTRACK_HINTS,
    "libvirt": LIBVIRT_HINTS,
    "netns": NETNS_HINTS,
    "ovn_controller": {
        **HINTS,
        "absent": "is ovn-controller running, and does ovn.rundir name its directory?",
    },
    "ovn_northbound": OVN_DATABASE_HINTS,
    "ovn_southbound": OVN_DATABASE_HINTS,
}
"""Of the sources that have their own."""


async def check(settings: Settings) -> int:
    """Ask every source once and print one line for each, and one for each problem.

    Returns:
        0 when all that is configured answers, 1 otherwise.

    Raises:
        WebConfigError: If --web.config.file cannot be used.
    """
    if settings.web.config_file:
        load(settings.web.config_file)
    agent = Agent(settings)
    async with agent.running():
        await ask(agent)
        await agent.scraper.scrape(settings.scrape.deadline_seconds)
    sys.stdout.write("configuration: good\n")
    sys.stdout.write(f"rights: {own_rights()}\n")
    kernel = {source.name for source in agent.kernel_sources}
    sys.stdout.writelines(f"{line}\n" for line in lines(agent.sources, kernel))
    return 0 if all(source.up or not source.configured for source in agent.sources) else 1


def lines(sources: Iterable[SourceHealth], kernel: Container[str]) -> Iterator[str]:
    """Yield what to print: a line for each source and problem, and one for each kind of problem.

    Args:
        sources: All.
        kernel: Names of those whose peer is the kernel.
    """
    for source in sources:
        status = source.status()
        if not source.configured:
            yield f"{source.name}: not on this node, or not needed by the enabled collectors"
            continue
        hints = HINTS_OF.get(source.name, KERNEL_HINTS if source.name in kernel else HINTS)
        yield f"{source.name}: {'good' if source.up else 'down'}"
        problems = status["problems"]
        for part, problem in problems.items():
            yield f"  {part}: {problem['reason']}: {problem['detail']}"
        for reason in dict.fromkeys(problem["reason"] for problem in problems.values()):
            if reason in hints:
                yield f"    {hints[reason]}"
        if not source.up and not problems:
            yield "  no answer yet"
        for note in status["notes"]:
            yield f"  note: {note}"
