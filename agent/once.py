"""``dataplane-agent once``: one exposition, for a person or a textfile collector."""

import asyncio

from agent import log
from agent.config import Settings
from agent.daemon import Agent
from agent.exposition import http, text

logger = log.get(__name__)

DATABASE_SECONDS = 3.0


async def once(settings: Settings) -> str:
    """Ask every source once and return the page in the text format.

    The ledgers of dropped packets, which otherwise begin at 0 with the process, begin at what the
    flows count since they were installed: one page has no before.
    """
    logger.info("ledgers begin at the figures of flows", reason="one page has no before")
    agent = Agent(settings, from_figures=True)
    async with agent.running():
        await ask_database(agent)
        collected = await agent.scraper.scrape(settings.scrape.deadline_seconds)
        return b"".join(text.render(http.page(collected), text.Format.TEXT)).decode()


async def ask_database(agent: Agent) -> None:
    """Wait until the database has answered or could not be asked, at most 3 s."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            await agent.switch_asked.wait()
    except TimeoutError:
        return  # the page says source_up 0
