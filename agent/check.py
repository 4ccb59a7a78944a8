"""``dataplane-agent check``: what can be reached, and if not, what is missing."""

import sys
from collections.abc import Iterable

from agent.config import Settings
from agent.daemon import Agent
from agent.exposition.web_config import load
from agent.once import ask

HINTS = {
    "absent": "is the service running, and does the path name its socket? (--ovs.rundir, --ovs.db)",
    "refused": "the socket is there, but nobody listens, or not for this protocol version",
    "denied": "a right is missing: root's sockets take CAP_DAC_OVERRIDE, namespaces CAP_SYS_ADMIN",
    "timeout": "the peer is there but does not answer: stopped, or busy",
    "broken": "the peer ended the connection or answered with an error",
    "malformed": "the peer speaks something else",
}


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
    sys.stdout.writelines(f"{line}\n" for line in _lines(agent))
    return 0 if all(source.up or not source.configured for source in agent.sources) else 1


def _lines(agent: Agent) -> Iterable[str]:
    for source in agent.sources:
        status = source.status()
        if not source.configured:
            yield f"{source.name}: not on this node, or not needed by the enabled collectors"
            continue
        yield f"{source.name}: {'good' if source.up else 'down'}"
        for part, problem in status["problems"].items():
            yield f"  {part}: {problem['reason']}: {problem['detail']}"
            yield f"    {HINTS[problem['reason']]}"
        if not source.up and not status["problems"]:
            yield "  no answer yet"
        for note in status["notes"]:
            yield f"  note: {note}"
