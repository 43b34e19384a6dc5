"""What has been kept of sessions, as the API and `explain` show it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge import events as e
from bridge.journal import ERASED, StoredSession, TimelineLine
from bridge.runner import Runner
from bridge.session import State
from bridge.web.ports import Line

_STATE = msgspec.json.Decoder(State)
QUIET = frozenset({"flow.trace", "flow.ended"})
"""Lines that only `explain` shows."""


class Records:
    """Implements `bridge.web.ports.Records`: what the API reads."""

    def __init__(self, runner: Runner, *, draining: Callable[[], bool]) -> None:
        self._runner = runner
        self._draining = draining

    async def sessions(self, *, limit: int, customer: str | None = None) -> list[Mapping[str, Any]]:
        """The newest sessions."""
        return [_row(stored) for stored in await self._runner.journal.sessions(limit, customer=customer)]

    async def session(self, session: e.SessionId) -> Mapping[str, Any] | None:
        """A session with its timeline and texts."""
        stored = await self._runner.journal.session(session)
        if stored is None:
            return None
        state = state_of(stored)
        return {
            **_row(stored),
            "place_since": state.since,
            "card": state.card,
            "path": state.path,
            "answers": state.answers,
            "timeline": [
                msgspec.to_builtins(line_of(line))
                for line in await self._runner.journal.timeline(session)
                if line.kind not in QUIET
            ],
            "texts": [msgspec.to_builtins(message) for message in await self._runner.journal.messages(session)],
        }

    async def explain(self, session: e.SessionId) -> Mapping[str, Any] | None:
        """Everything that was decided in a session, with what it was decided from."""
        stored = await self._runner.journal.session(session)
        if stored is None:
            return None
        return {
            **_row(stored),
            "trail": [msgspec.to_builtins(line_of(line)) for line in await self._runner.journal.timeline(session)],
            "decisions": [msgspec.to_builtins(decision) for decision in await self._runner.journal.decisions(session)],
        }

    def ready(self, *, calls: bool = True) -> tuple[bool, str]:
        """Whether traffic may come."""
        if self._draining():
            return False, "draining"
        trouble = self._runner.journal.trouble
        if trouble is not None:
            return False, trouble
        if calls and not self._runner.takes_calls:
            return False, "Redis, which the nodes share, does not answer: new calls are refused, texts are taken and kept"
        return True, ""


def state_of(stored: StoredSession) -> State:
    """As last saved. Of a session whose customer asked to be forgotten only what stands in its row is left."""
    if stored.snapshot != ERASED:
        return _STATE.decode(stored.snapshot)
    row = stored.row
    return State(
        id=stored.id,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        touched_at=row.opened_at,
        customer=row.customer,
        our_number=row.our_number,
        desk=None,
        language=row.language,
        introduced=False,
    )


def line_of(line: TimelineLine) -> Line:
    """A line as the web reads it."""
    return Line(line.n, line.at, line.kind, line.data)


def _row(stored: StoredSession) -> dict[str, Any]:
    return {"id": stored.id, **msgspec.to_builtins(stored.row)}
