"""Agents' time, sliced: what they were ready for, what they worked on, and how much of it at once."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from bridge.reports.spans import span_of


class Stay(msgspec.Struct, frozen=True):
    """From then on, the agent was in this state."""

    agent: str
    since: float
    state: str
    """`ready`, `not_ready`, `wrap_up` or `offline`."""


class Work(msgspec.Struct, frozen=True):
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


def _slice_one(
    agent: str,
    stays: Sequence[Stay],
    work: Sequence[Work],
    beginnings: tuple[float, ...],
    until: float,
    sums: dict[tuple[int, str], Sums],
) -> None:
    since = beginnings[0]
    state: str | None = None
    changes: list[tuple[float, int, str]] = [(at, 0, "") for at in (*beginnings, until)]
    for stay in stays:
        if stay.since <= since:
            state = stay.state
        elif stay.since < until:
            changes.append((stay.since, 0, stay.state))
    for piece in work:
        first, last = max(piece.at, since), min(piece.until, until)
        if first < last:
            what = "voice" if piece.voice else "sms"
            changes += [(first, 1, what), (last, -1, what)]
    changes.sort(key=lambda change: change[0])
    open_now = {"voice": 0, "sms": 0}
    for (at, step, what), (end, _, _) in pairwise(changes):
        if step:
            open_now[what] += step
        elif what:
            state = what
        if end > at:
            _add(sums.setdefault((span_of(at, beginnings), agent), {}), state, open_now, end - at)


def _add(sums: Sums, state: str | None, open_now: Mapping[str, int], seconds: float) -> None:
    def add(name: str, amount: float) -> None:
        sums[name] = sums.get(name, 0.0) + amount

    if open_now["sms"] > 0:
        add("chat_seconds", seconds * open_now["sms"])
        add("chatting", seconds)
    if state is None or state == "offline":
        return
    add("logged_in", seconds)
    add({"wrap_up": "wrapping"}.get(state, state), seconds)
    if state == "wrap_up" or open_now["sms"] > 0 or open_now["voice"] > 0:
        add("busy", seconds)
    elif state == "ready":
        add("idle", seconds)
