"""Messages of supervisors at the desks: to one agent, a team or everybody, kept until they are read or have expired. Pure."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from bridge.events import AgentId

Scope: TypeAlias = Literal["agent", "team", "everybody"]
LIVES = 24 * 3600.0
"""Seconds after which a message that nobody has read is of no use any more."""
MOST = 300
"""Messages that are kept; the oldest makes room."""


class Bulletin(msgspec.Struct, frozen=True, kw_only=True):
    """One message."""

    id: str
    at: float
    by: AgentId
    by_name: str
    scope: Scope
    to: str
    """Agent or team; empty for everybody."""
    words: str
    until: float
    pinned: bool = False
    """Stays at the top of every desk it is for until it expires or is taken down; reading does not remove it."""
    read_by: tuple[AgentId, ...] = ()

    def is_for(self, agent: AgentId, teams: Collection[str]) -> bool:
        """Whether it stands at this agent's desk as long as it is not read."""
        match self.scope:
            case "agent":
                return self.to == agent
            case "team":
                return self.to in teams
            case "everybody":  # pragma: no branch  # there is no other scope
                return True


class Bulletins:
    """Every message that somebody may still have to read."""

    def __init__(self) -> None:
        self._all: dict[str, Bulletin] = {}

    def post(self, bulletin: Bulletin) -> None:
        """Put it up."""
        self._all[bulletin.id] = bulletin
        while len(self._all) > MOST:
            del self._all[next(iter(self._all))]

    def read(self, bulletin: str, agent: AgentId) -> bool:
        """The agent has read it. False: there was nothing to mark."""
        known = self._all.get(bulletin)
        if known is None or known.pinned or agent in known.read_by:
            return False
        if known.scope == "agent":
            del self._all[bulletin]  # the only one it was for
        else:
            self._all[bulletin] = msgspec.structs.replace(known, read_by=(*known.read_by, agent))
        return True

    def take_down(self, bulletin: str) -> Bulletin | None:
        """Remove it from every desk; None when it was gone already."""
        return self._all.pop(bulletin, None)

    def expire(self, now: float) -> list[Bulletin]:
        """Remove what is too old; returns it."""
        old = [each for each in self._all.values() if each.until <= now]
        for each in old:
            del self._all[each.id]
        return old

    def at_desk(self, agent: AgentId, teams: Collection[str], now: float) -> tuple[Bulletin, ...]:
        """What this agent has to read: the pinned first, then the newest."""
        mine = [
            each
            for each in self._all.values()
            if each.is_for(agent, teams) and each.until > now and (each.pinned or agent not in each.read_by)
        ]
        return tuple(sorted(mine, key=lambda each: (not each.pinned, -each.at)))

    @property
    def all(self) -> tuple[Bulletin, ...]:
        """Everything that stands at some desk, the newest first."""
        return tuple(sorted(self._all.values(), key=lambda each: -each.at))

    def save(self) -> list[dict[str, Any]]:
        """All of it as JSON."""
        return [msgspec.to_builtins(each) for each in self._all.values()]

    def restore(self, saved: list[Mapping[str, Any]]) -> None:
        """Put up again what `save` gave."""
        for each in saved:
            self.post(msgspec.convert(each, Bulletin))
