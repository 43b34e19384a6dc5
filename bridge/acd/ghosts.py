"""Ghosts: what the floor believes of a session that the session does not, or the other way round.

An event on its way explains every difference for a moment. So one counts only when it is seen again, unchanged, a while later.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import msgspec

from bridge.acd.lines import Service, Work
from bridge.acd.places import PlaceInLine
from bridge.events import AgentId, Channel, QueueId, SessionId

GRACE = 45.0
"""Seconds a difference must last; longer than the journal may be away without an event being lost."""


class Seen(msgspec.Struct, frozen=True):
    """What a session says of itself on one channel: it waits at a place, or an agent has it, or neither."""

    session: SessionId
    channel: Channel
    place: PlaceInLine | None = None
    """Where it waits."""
    agent: AgentId | None = None
    """Who has it."""
    queue: QueueId | None = None
    """What the agent has it for."""


Difference: TypeAlias = tuple[int | Service | None, Seen | None]
"""What the floor has, the number of a place or work in hand, and what the session says; None for nothing."""


class Suspicions:
    """Remembers differences until they are gone or have lasted."""

    def __init__(self) -> None:
        self._since: dict[Work, tuple[Difference, float]] = {}

    def confirmed(self, differences: Mapping[Work, Difference], now: float, grace: float) -> Iterator[Work]:
        """Those of *differences* that were there *grace* seconds ago already, word for word."""
        before, self._since = self._since, {}
        for work, story in differences.items():
            known, since = before.get(work, (None, now))
            self._since[work] = (story, since if known == story else now)
            if known == story and now - since >= grace:
                del self._since[work]
                yield work

    def dump(self) -> list[tuple[Work, Difference, float]]:
        """Everything, for `load`."""
        return [(work, story, since) for work, (story, since) in self._since.items()]

    def load(self, dumped: list[tuple[Work, Difference, float]]) -> None:
        """Remember what was dumped, and nothing else."""
        self._since = {work: (story, since) for work, story, since in dumped}
