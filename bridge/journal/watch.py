"""Whether the database works, for whoever asks at any moment: a server can go away while nobody has anything to save."""

import asyncio
import contextlib

import structlog

from bridge.journal.database import Threads
from bridge.journal.rows import JournalUnavailableError

EVERY = 1.0
"""Seconds between two looks."""
ANSWERS_WITHIN = 3.0
"""Seconds after which a database that says nothing counts as away."""

log = structlog.get_logger(__name__)


class Watch:
    """Asks a database again and again for nothing.

    Args:
        readers: What to ask through.
    """

    def __init__(self, readers: Threads) -> None:
        self._readers = readers
        self.trouble: str | None = None
        """Why the database cannot be used, as of the last look; None: it can."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            look = asyncio.create_task(self._readers.run(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()))
            try:
                await asyncio.wait({look}, timeout=ANSWERS_WITHIN)
                if not look.done():
                    self._say("the database does not answer")
                with contextlib.suppress(JournalUnavailableError):
                    await look
                    self._say(None)
                    await asyncio.sleep(EVERY)
                    continue
            finally:
                look.cancel()
            self._say("the database cannot be reached")
            await asyncio.sleep(EVERY / 4)

    def _say(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self.trouble:
            log.warning("journal.away", reason=trouble)
        elif trouble is None and self.trouble is not None:
            log.warning("journal.back")
        self.trouble = trouble
