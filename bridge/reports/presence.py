"""Agents' time, sliced: what they were ready for, what they worked on, and how much of it at once."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple


class Stay(NamedTuple):
    """From then on, the agent was in this state."""

    agent: str
    since: float
    state: str
    """`ready`, `not_ready`, `wrap_up` or `offline`."""


class Work(NamedTuple):
    """A call or a chat that an agent had."""

    agent: str
    at: float
    until: float
    voice: bool


Sums = dict[str, float]


def slice_time(
    stays: Iterable[Stay], work: Iterable[Work], beginnings: tuple[float, ...], until: float
) -> dict[tuple[int, str], Sums]:
    """What agents did in each span, in seconds, by number of the span and agent.

    `logged_in`, `ready`, `not_ready`, `wrapping`: by state. `busy`: with a call, a chat or wrap-up while logged in, however
    many at once. `idle`: ready with nothing to do. `chat_seconds`: every open chat's time added up. `chatting`: with one chat
    or more. Before an agent's first known state nothing is known but the work.

    Args:
        stays: In any order; the last before the range tells how it begins.
        work: In any order.
        beginnings: Of the spans.
        until: The end of the last one, or now.
    """
    beginnings = tuple(at for at in beginnings if at < until)
    by_agent: dict[str, tuple[list[Stay], list[Work]]] = {}
    for stay in stays:
        by_agent.setdefault(stay.agent, ([], []))[0].append(stay)
    for piece in work:
        by_agent.setdefault(piece.agent, ([], []))[1].append(piece)
    sums: dict[tuple[int, str], Sums] = {}
    for agent, (theirs, pieces) in by_agent.items() if beginnings else ():
        _slice_one(agent, sorted(theirs, key=lambda stay: stay.since), pieces, beginnings, until, sums)
    return sums


def _slice_one(  # noqa: C901, PLR0912  # one turn of a hot loop, flat
    agent: str,
    stays: Sequence[Stay],
    work: Sequence[Work],
    beginnings: tuple[float, ...],
    until: float,
    sums: dict[tuple[int, str], Sums],
) -> None:
    since, state = beginnings[0], ""
    changes: list[tuple[float, int, str]] = [(at, _BORDER, "") for at in beginnings[1:]]
    for stay in stays:
        if stay.since <= since:
            state = stay.state
        elif stay.since < until:
            changes.append((stay.since, _STATE, stay.state))
    for piece in work:
        first, last = max(piece.at, since), min(piece.until, until)
        if first < last:
            begins, ends = (_CALL, _NO_CALL) if piece.voice else (_CHAT, _NO_CHAT)
            changes += [(first, begins, ""), (last, ends, "")]
    changes.append((until, _BORDER, ""))
    changes.sort(key=_when)
    calls = chats = span = 0
    at, here = since, _Slice()
    for now, what, other in changes:  # once for everything that anybody did: a month of a hundred agents is half a million turns
        if now > at:
            here.add(state, calls, chats, now - at)
            at = now
        if what == _STATE:
            state = other
        elif what == _CHAT:
            chats += 1
        elif what == _NO_CHAT:
            chats -= 1
        elif what == _CALL:
            calls += 1
        elif what == _NO_CALL:
            calls -= 1
        else:
            if here.sums:
                sums[span, agent] = here.sums
            span, here = span + 1, _Slice()


_BORDER, _STATE, _CALL, _NO_CALL, _CHAT, _NO_CHAT = range(6)
_when = itemgetter(0)


class _Slice:
    """One agent in one span."""

    def __init__(self) -> None:
        self.sums: Sums = {}

    def add(self, state: str, calls: int, chats: int, seconds: float) -> None:
        """They were in this state, with so many calls and chats; empty: nobody knows the state."""
        sums = self.sums
        if chats:
            sums["chat_seconds"] = sums.get("chat_seconds", 0.0) + seconds * chats
            sums["chatting"] = sums.get("chatting", 0.0) + seconds
        if not state or state == "offline":
            return
        name = "wrapping" if state == "wrap_up" else state
        sums["logged_in"] = sums.get("logged_in", 0.0) + seconds
        sums[name] = sums.get(name, 0.0) + seconds
        if chats or calls or state == "wrap_up":
            sums["busy"] = sums.get("busy", 0.0) + seconds
        elif state == "ready":
            sums["idle"] = sums.get("idle", 0.0) + seconds
