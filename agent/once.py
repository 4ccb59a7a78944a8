"""``dataplane-agent once``: one exposition, for a person or a textfile collector."""

import asyncio

from agent import log
from agent.config import Settings
from agent.daemon import Agent
from agent.exposition import http, text

logger = log.get(__name__)

ASK_SECONDS = 3.0


async def once(settings: Settings) -> str:
    """Ask every source once and return the page in the text format.

    The ledgers of dropped packets, which otherwise begin at 0 with the process, begin at what the
    flows count since they were installed, those of queueing disciplines and connection tracking at
    the kernel's own figures: one page has no before.
    """
    logger.info("ledgers begin at the figures of flows", reason="one page has no before")
    agent = Agent(settings, from_figures=True)
    async with agent.running():
        await ask(agent)
        collected = await agent.scraper.scrape(settings.scrape.deadline_seconds)
        return b"".join(text.render(http.page(collected), text.Format.TEXT)).decode()


async def ask(agent: Agent) -> None:
    """Wait until what is subscribed to is known or could not be asked for, at most 3 s."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await agent.asked()
    except TimeoutError:
        return  # the page says source_up 0
