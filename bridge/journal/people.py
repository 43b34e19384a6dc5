"""What is known of people: what they agreed to, whether they may be texted; all that is kept of them on request, and erased."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import select, union

from bridge.events import AgentId
from bridge.journal import tables
from bridge.journal.database import Threads, upsert
from bridge.journal.door import Door, Writer, as_struct
from bridge.journal.erasure import erase, export
from bridge.journal.rows import AgentStateRow, BlockRow, ConsentRow, Erased, LineTypeRow, Suppression

EVERY_SENDER = "*"
"""The sender of a suppression that counts for all our numbers."""

_suppression, _blocked, _consent = tables.suppression, tables.blocked, tables.consent


BLOCKS_FOR, MOST_BLOCKS = 5.0, 10_000
"""Seconds for which a look at the block list holds (another node may have changed it), and how many of them are kept."""


class People(Door):
    """Numbers and the people behind them."""

    def __init__(self, readers: Threads, writer: Writer) -> None:
        super().__init__(readers, writer)
        self._blocks: dict[str, tuple[float, BlockRow | None]] = {}
        """When somebody looked whether a number is blocked, and what was found."""

    async def suppressed(self, number: str, sender: str) -> bool:
        """Whether *number* opted out of texts from *sender*, or of all our texts; provisional words count."""
        return await self.suppression(number, sender) is not None

    async def suppression(self, number: str, sender: str) -> Suppression | None:
        """Why *number* gets no texts from *sender*; None: it may be texted.

        Of our number and of all numbers the newest entry counts, and START to one number lifts for it what held for all; of two
        that hold a definite one comes before a provisional.
        """
        holding: dict[str, Suppression] = {}
        for holds, entry in await self.suppressions(number):
            if entry.sender not in {sender, EVERY_SENDER}:
                continue
            if holds:
                holding[entry.sender] = entry
            elif entry.sender == sender:
                holding.clear()
            else:
                holding.pop(EVERY_SENDER, None)
        return min(holding.values(), key=lambda entry: entry.provisional, default=None)

    async def suppressions(self, number: str) -> list[tuple[bool, Suppression]]:
        """The ledger of a number's opt-outs (True) and opt-ins (False), oldest first."""
        query = select(_suppression).where(_suppression.c.number == number).order_by(_suppression.c.n)
        return await self._read(query, lambda row: (bool(row["suppressed"]), as_struct(Suppression, row)))

    async def noted(self, numbers: Collection[str]) -> set[str]:
        """Those of *numbers* that have ever opted out or are blocked; the others may be texted without a closer look."""
        opted_out = select(_suppression.c.number).where(_suppression.c.number.in_(numbers))
        blocked = select(_blocked.c.number).where(_blocked.c.number.in_(numbers))
        return await self._readers.run(lambda connection: set(connection.execute(union(opted_out, blocked)).scalars()))

    async def blocked(self, number: str) -> BlockRow | None:
        """Why calls and texts of *number* are not taken; None: they are.

        Asked for every text, so the answer is kept a moment. What was blocked through this journal counts at once, what
        another node blocked after BLOCKS_FOR, or after `forget_cached`.
        """
        now, blocks = asyncio.get_running_loop().time(), self._blocks
        at, row = blocks.get(number, (-BLOCKS_FOR, None))
        if now - at >= BLOCKS_FOR:
            row = await self._first(select(_blocked).where(_blocked.c.number == number), lambda row: as_struct(BlockRow, row))
            if len(blocks) >= MOST_BLOCKS:
                blocks.clear()
            blocks[number] = (now, row)  # thrown away with the others when somebody was blocked meanwhile
        return row

    def forget_cached(self) -> None:
        """Look anew at everything that is remembered of the journal, as somebody else has changed it: who is blocked."""
        self._blocks = {}

    async def blocklist(self, limit: int, after: str | None = None) -> list[BlockRow]:
        """Blocked numbers in order; *after* is the last number of the page before this one."""
        query = select(_blocked).order_by(_blocked.c.number).limit(limit)
        if after is not None:
            query = query.where(_blocked.c.number > after)
        return await self._read(query, lambda row: as_struct(BlockRow, row))

    async def consents(self, number: str) -> list[ConsentRow]:
        """The consent ledger of a number, oldest first."""
        query = select(_consent).where(_consent.c.number == number).order_by(_consent.c.n)
        return await self._read(query, lambda row: as_struct(ConsentRow, row))

    async def line_type(self, number: str) -> LineTypeRow | None:
        """What was learnt about the kind of line behind *number*; None: nothing."""
        table = tables.line_type
        return await self._first(select(table).where(table.c.number == number), lambda row: as_struct(LineTypeRow, row))

    async def put_line_type(self, row: LineTypeRow) -> None:
        """Keep what was learnt in place of what was known."""
        values = msgspec.structs.asdict(row)
        await self._write(lambda connection: connection.execute(upsert(tables.line_type, connection.dialect.name), values))

    async def agent_states(self) -> dict[AgentId, AgentStateRow]:
        """What every agent did when last heard."""
        rows = await self._read(select(tables.agent_state), lambda row: as_struct(AgentStateRow, row))
        return {row.agent: row for row in rows}

    async def erase(self, number: str, *, at: float, keep_opt_out: bool = True) -> Erased:
        """Remove what is kept of a person: words, pictures, numbers, names, events, the course of conversations, the contact.

        What stays are sessions and texts without content and without the number, so that counts and reports stay true; and
        with *keep_opt_out* that the number opted out, refused or was blocked, so that it goes on being left alone.

        Args:
            number: Whose.
            at: Now. Texts that wait to be sent to the number are canceled at this time.
            keep_opt_out: False also forgets opt-outs, refusals and blocks.

        Raises:
            StillOpenError: a session of theirs is open, or a text is on its way out or in. Nothing has changed.
        """
        erased: Erased = await self._write(lambda connection: erase(connection, number, at, keep_opt_out=keep_opt_out))
        self.forget_cached()
        return erased

    async def export(self, number: str) -> Mapping[str, Any]:
        """Everything kept about a number, ready for JSON, each list oldest first.

        `sessions` (each with its `timeline`, `decisions` and `uploads`), `messages`, `consents`, `suppressions`, `notices`;
        `contact`, `blocked` and `line_type` are None when there is nothing.
        """
        return await self._readers.run(lambda connection: export(connection, number))
