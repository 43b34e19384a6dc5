"""Which rows of the boards somebody wants to see, and in which order. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from bridge.board import AgentRow, Phase, QueueRow, SessionRow, in_order, matches
from sms.numbers import mask

BoardName: TypeAlias = Literal["agents", "queues", "sessions", "top", "wall"]
"""`top`: the strip of figures alone."""
Row: TypeAlias = AgentRow | QueueRow | SessionRow
MOST_ROWS = 250
"""Rows that are sent; more nobody reads, and the search finds them."""
_STATES = {"ready": 0, "wrap_up": 1, "not_ready": 2, "offline": 3}
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_PRIVATE = frozenset({"body", "note", "said", "answers", "card", "whisper", "word", "media", "last"})
"""What people wrote or said, by the name of the field."""


class View(msgspec.Struct, frozen=True):
    """What somebody looks at."""

    board: BoardName = "agents"
    phase: Phase = "now"
    words: str = ""
    team: str = ""
    state: str = ""
    queue: str = ""
    sort: str = ""
    down: bool = False


def view_of(wish: Mapping[str, Any]) -> View:
    """A view from what a page asks for; what it may not ask for is left out."""
    board, phase = str(wish.get("board", "")), str(wish.get("phase", ""))
    words, team, state, queue, sort = (str(wish.get(name, ""))[:80] for name in ("words", "team", "state", "queue", "sort"))
    return View(
        board=board if board in get_args(BoardName) else "agents",  # type: ignore[arg-type]
        phase=phase if phase in {"now", "upcoming"} else "now",  # type: ignore[arg-type]
        words=words,
        team=team,
        state=state,
        queue=queue,
        sort=sort if any(sort in keys for keys in SORTS.values()) else "",
        down=str(wish.get("down", "")) in {"1", "true", "True"},
    )


_Key: TypeAlias = Callable[[Any], Any]
SORTS: Mapping[str, Mapping[str, _Key]] = {
    "agents": {
        "name": lambda row: row.name.casefold(),
        "state": lambda row: (_STATES[row.state], row.name.casefold()),
        "since": lambda row: row.since,
        "load": lambda row: -(10 * row.calls + row.chats),
        "answered": lambda row: -row.answered,
        "missed": lambda row: -row.missed,
        "aht": lambda row: row.average_handling,
    },
    "queues": {
        "title": lambda row: row.title.casefold(),
        "waiting": lambda row: -row.waiting,
        "oldest": lambda row: row.oldest,
        "ewt": lambda row: row.p90,
        "level": lambda row: row.service_level,
        "offered": lambda row: -row.offered,
        "abandoned": lambda row: -row.abandoned,
        "ready": lambda row: -row.agents_ready,
    },
    "sessions": {
        "since": lambda row: row.since,
        "queue": lambda row: row.queue,
        "customer": lambda row: (row.name or "", row.customer or ""),
        "agent": lambda row: row.agents or None,
        "unanswered": lambda row: row.unanswered_since,
    },
}
"""By board and column: the rows' key, the one that is looked for first in front."""
_USUAL = {"agents": "state", "queues": "title", "sessions": "since"}


def chosen(view: View, rows: Iterable[Row], names: Callable[[str], str | None], *, numbers: bool) -> list[Row]:
    """The rows that *view* asks for, in its order.

    Args:
        view: What is asked for.
        rows: Of its board.
        names: An agent's name by id.
        numbers: Customers may be found by name and number.
    """
    found = [row for row in rows if _wanted(view, row, names, numbers=numbers)]
    sorts = SORTS[view.board]
    return in_order(found, sorts.get(view.sort) or sorts[_USUAL[view.board]], down=view.down)


def _wanted(view: View, row: Row, names: Callable[[str], str | None], *, numbers: bool) -> bool:
    match row:
        case AgentRow():
            if view.team and view.team not in row.teams:
                return False
            if view.queue and view.queue not in row.queues:
                return False
            if view.state and view.state != ("busy" if row.works and view.state == "busy" else row.state):
                return False
            if not view.words:
                return True
            people = [text for work in row.work for text in (work.customer, work.name)] if numbers else []
            return matches(view.words, row.name, row.agent, row.reason, *row.teams, *people)
        case QueueRow():
            return matches(view.words, row.title, row.queue, row.channel)
        case SessionRow():
            if row.phase != view.phase or (view.queue and view.queue != row.queue):
                return False
            if not view.words:
                return True
            customer = (row.customer, row.name) if numbers else ()
            return matches(view.words, row.session, row.queue, row.service, *map(names, row.agents), *customer)


def key_of(row: Row) -> str:
    """What names a row among those of its board."""
    match row:
        case AgentRow():
            return row.agent
        case QueueRow():
            return row.queue
        case SessionRow():
            return row.session


def discreet(row: Row) -> Row:
    """A row for who may not know customers: numbers masked, names left out."""
    match row:
        case AgentRow():
            work = tuple(msgspec.structs.replace(each, customer=_masked(each.customer), name=None) for each in row.work)
            return msgspec.structs.replace(row, work=work)
        case SessionRow():
            return msgspec.structs.replace(row, customer=_masked(row.customer), name=None)
        case QueueRow():
            return row


def without_customer(value: Any, field: str = "") -> Any:
    """Anything that is JSON, without what customers said or wrote, and with their numbers masked."""
    match value:
        case str() if field in _PRIVATE:
            return "…" if value else value
        case str():
            return _NUMBER.sub(lambda found: mask(found.group()), value)
        case Mapping():
            return "…" if field in _PRIVATE and value else {name: without_customer(each, name) for name, each in value.items()}
        case list() | tuple():
            return [] if field in _PRIVATE else [without_customer(each, field) for each in value]
        case _:
            return value


def _masked(number: str | None) -> str | None:
    return None if number is None else mask(number)


def curve(peaks: tuple[int, ...], *, width: int = 90, height: int = 22) -> str:
    """Points of an SVG polyline; empty when there is nothing to draw."""
    if len(peaks) < 2 or not any(peaks):
        return ""
    step, top = width / (len(peaks) - 1), max(*peaks, 4)
    return " ".join(f"{n * step:.1f},{height - 1 - peak / top * (height - 2):.1f}" for n, peak in enumerate(peaks))
