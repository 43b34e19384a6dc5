"""Sums over the facts: what each counted thing of `bridge.reports.definitions` is in the tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Label,
    Select,
    Table,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.types import Double

from bridge.journal import facts_tables as t
from bridge.journal import tables
from bridge.journal.facts import FactsDoor
from bridge.reports.definitions import Dimension
from bridge.reports.measures import LARGEST, Tally
from bridge.reports.presence import Stay, Work, slice_time
from bridge.reports.spans import QUARTER, Every, Range, span_of, starts

Key: TypeAlias = tuple[str | int | None, ...]
"""The values of a group, in the order of `Ask.by`; of an interval the number of the span."""
CONTAINED_AFTER = 86_400.0
"""Seconds in which a deflected caller who calls again was not contained."""
WEEK = 7 * 86_400.0
HOUR = 3600.0


class Price(msgspec.Struct, frozen=True):
    """What a segment costs, or a picture message."""

    direction: Literal["in", "out"]
    kind: Literal["sms", "mms"]
    country: str | None
    """ISO 3166 alpha-2; None: every country without a price of its own."""
    price: float


class Limits(msgspec.Struct, frozen=True):
    """What is in time for a queue, in seconds."""

    answer_within: float
    short_abandon: float


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be counted."""

    range: Range
    every: Every = "all"
    """How long the spans of `interval` are."""
    by: tuple[Dimension, ...] = ()
    names: frozenset[str]
    """Counted things of `definitions.COUNTED`."""
    now: float
    queues: tuple[str, ...] = ()
    """Only these; none: all. The same below."""
    agents: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    teams: Mapping[str, tuple[str, ...]] = {}
    """Teams of each agent, for grouping. Who is in two counts in both."""
    limits: Mapping[str, Limits] = {}
    usual: Limits = Limits(20.0, 5.0)
    """Of queues without limits."""
    prices: tuple[Price, ...] = ()


class Counts(msgspec.Struct, frozen=True):
    """What was counted."""

    groups: Mapping[Key, Tally]
    total: Tally
    beginnings: tuple[float, ...]
    """Of the spans."""


class Behind(msgspec.Struct, frozen=True):
    """A session that is behind a figure."""

    session: str
    at: float
    queue: str | None
    channel: str
    type: str
    agent: str | None
    until: float | None
    outcome: str | None


class Facts(FactsDoor):
    """What the pages and the API ask of the facts; `catch_up` before, to have the newest."""

    async def count(self, ask: Ask) -> Counts:
        """Everything asked for, by group and in total."""
        return await self._readers.run(lambda connection: _count(connection, ask))

    async def behind(self, ask: Ask, name: str, limit: int) -> list[Behind]:
        """The newest sessions behind one counted thing; empty when it is none of sessions."""
        return await self._readers.run(lambda connection: _behind(connection, ask, name, limit))


class _Counted(msgspec.Struct, frozen=True):
    """How one thing is counted: rows of *table* for which *when* holds, each as one or as *amount*."""

    table: Table
    when: ColumnElement[bool]
    amount: ColumnElement[Any] | None = None
    agent: bool = True
    """False: belongs to no agent."""


def _count(connection: Connection, ask: Ask) -> Counts:
    beginnings = starts(ask.range, ask.every if "interval" in ask.by else "all")
    base: dict[Key, Tally] = {}
    if beginnings:
        things = {name: counted for name, counted in _counted(ask).items() if name in ask.names}
        for table in dict.fromkeys(counted.table for counted in things.values()):
            theirs = {name: counted for name, counted in things.items() if counted.table is table}
            _sum(connection, ask, table, theirs, beginnings, base)
        if "first_response" in ask.names:
            _values(connection, ask, beginnings, base)
        if ask.names & _PRESENCE and not {"queue", "type", "channel"} & set(ask.by) and not (ask.queues or ask.types):
            _presence(connection, ask, beginnings, base)
    total = Tally()
    groups: dict[Key, Tally] = {}
    for key, tally in base.items():
        total.take(tally)
        for shown in _shown(key, ask):
            groups.setdefault(shown, Tally()).take(tally)
    return Counts(groups, total, beginnings)


def _shown(key: Key, ask: Ask) -> Iterable[Key]:
    """The groups as they were asked for: of an agent, their teams."""
    if "team" not in ask.by:
        return (key,)
    place = ask.by.index("team")
    teams: Sequence[str | None] = ask.teams.get(str(key[place]), ()) or (None,)
    return [(*key[:place], team, *key[place + 1 :]) for team in teams]


def _sum(
    connection: Connection,
    ask: Ask,
    table: Table,
    things: Mapping[str, _Counted],
    beginnings: tuple[float, ...],
    base: dict[Key, Tally],
) -> None:
    if ("agent" in ask.by or "team" in ask.by or ask.agents) and not all(thing.agent for thing in things.values()):
        return
    names = list(things)
    dims = _dims(ask, table, beginnings)
    query = select(*dims, *(_aggregate(name, things[name]).label(f"s{n}") for n, name in enumerate(names)))
    kinds = [thing.when for thing in things.values()] if table is t.fact_mark else []
    query = query.where(*_conditions(ask, table), *([or_(*kinds)] if kinds else []))
    for row in connection.execute(query.group_by(*(dim.element for dim in dims)) if dims else query):
        tally = base.setdefault(_key(ask, row[: len(dims)], beginnings), Tally())
        for name, amount in zip(names, row[len(dims) :], strict=True):
            if amount:
                tally.add(name, float(amount))


def _values(connection: Connection, ask: Ask, beginnings: tuple[float, ...], base: dict[Key, Tally]) -> None:
    table = t.fact_handling
    dims = _dims(ask, table, beginnings)
    query = select(*dims, table.c.first_response).where(*_conditions(ask, table), table.c.first_response.is_not(None))
    for row in connection.execute(query):
        tally = base.setdefault(_key(ask, row[: len(dims)], beginnings), Tally())
        tally.values.setdefault("first_response", []).append(row[-1])


def _aggregate(name: str, thing: _Counted) -> ColumnElement[Any]:
    amount = literal(1) if thing.amount is None else thing.amount
    chosen = case((thing.when, amount), else_=null())
    return func.max(chosen) if name in LARGEST else func.sum(chosen)


def _dims(ask: Ask, table: Table, beginnings: tuple[float, ...]) -> list[Label[Any]]:
    dims: list[Label[Any]] = []
    for place, dimension in enumerate(ask.by):
        element: ColumnElement[Any]
        if dimension == "interval":
            element = cast(func.floor(table.c.at / _width(beginnings)), Integer)
        elif dimension in {"agent", "team"}:
            element = table.c.agent
        else:
            element = table.c[dimension]
        dims.append(element.label(f"d{place}"))
    return dims


def _width(beginnings: tuple[float, ...]) -> float:
    """Seconds of the slots that spans are put together from."""
    return HOUR if all(at % HOUR == 0 for at in beginnings) else QUARTER


def _key(ask: Ask, values: Sequence[Any], beginnings: tuple[float, ...]) -> Key:
    return tuple(
        span_of(value * _width(beginnings), beginnings) if dimension == "interval" else value
        for dimension, value in zip(ask.by, values, strict=True)
    )


def _conditions(ask: Ask, table: Table) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [table.c.at >= ask.range.since, table.c.at < ask.range.until]
    for name, wanted in (("queue", ask.queues), ("agent", ask.agents), ("channel", ask.channels), ("type", ask.types)):
        if wanted:
            conditions.append(table.c[name].in_(wanted))
    return conditions


def _presence(connection: Connection, ask: Ask, beginnings: tuple[float, ...], base: dict[Key, Tally]) -> None:
    until = min(ask.range.until, max(ask.now, beginnings[0]))
    stays, work = _stays(connection, ask), _work(connection, ask)
    for (span, agent), sums in slice_time(stays, work, beginnings, until).items():
        named: dict[Dimension, str | int] = {"interval": span, "agent": agent, "team": agent}
        tally = base.setdefault(tuple(named[dimension] for dimension in ask.by), Tally())
        for name in _PRESENCE & ask.names & sums.keys():
            tally.add(name, sums[name])


def _stays(connection: Connection, ask: Ask) -> list[Stay]:
    """Agents' states in the range, and of each the last one before it."""
    span, agents = t.agent_span, tables.agent_state
    before = (
        select(span.c.n)
        .where(span.c.agent == agents.c.agent, span.c.since < ask.range.since)
        .order_by(span.c.since.desc(), span.c.n.desc())
        .limit(1)
        .scalar_subquery()
    )
    first = select(before.label("n")).select_from(agents).subquery()
    query = select(span.c.agent, span.c.since, span.c.state)
    if ask.agents:
        query = query.where(span.c.agent.in_(ask.agents))
    inside = query.where(span.c.since >= ask.range.since, span.c.since < ask.range.until).order_by(span.c.since, span.c.n)
    earlier = query.join(first, first.c.n == span.c.n)
    return [Stay._make(row) for part in (earlier, inside) for row in connection.execute(part)]


def _work(connection: Connection, ask: Ask) -> list[Work]:
    """Calls and chats that reach into the range."""
    table = t.fact_handling
    query = select(table.c.agent, table.c.at, table.c.until, table.c.channel).where(
        table.c.at < ask.range.until, or_(table.c.until.is_(None), table.c.until > ask.range.since)
    )
    if ask.agents:
        query = query.where(table.c.agent.in_(ask.agents))
    return [
        Work(row.agent, row.at, ask.now if row.until is None else row.until, row.channel == "voice")
        for row in connection.execute(query)
    ]


_PRESENCE = frozenset({"logged_in", "ready", "not_ready", "wrapping", "busy", "idle", "chat_seconds", "chatting"})


def _counted(ask: Ask) -> dict[str, _Counted]:
    """How each thing is counted, with this request's limits, prices and time."""
    return {**_visits(ask), **_handlings(), **_marks(), **_sessions(), **_deflections(ask), **_texts(ask)}


def _limit(ask: Ask, name: Literal["answer_within", "short_abandon"]) -> ColumnElement[Any]:
    usual = literal(getattr(ask.usual, name), Double)
    by_queue = {queue: getattr(limits, name) for queue, limits in ask.limits.items()}
    return case(by_queue, value=t.fact_visit.c.queue, else_=usual) if by_queue else usual


def _visits(ask: Ask) -> dict[str, _Counted]:
    c = t.fact_visit.c
    wait = c.until - c.at
    answered, hung_up = c.outcome == "answered", and_(c.outcome == "abandoned", c.channel == "voice")
    in_time, short = wait <= _limit(ask, "answer_within"), wait < _limit(ask, "short_abandon")
    other = and_(c.until.is_not(None), ~answered, ~hung_up)
    things: dict[str, tuple[ColumnElement[bool], ColumnElement[Any] | None]] = {
        "offered": (true(), None),
        "answered": (answered, None),
        "answered_in_time": (and_(answered, in_time), None),
        "abandoned": (and_(hung_up, ~short), None),
        "short_abandoned": (and_(hung_up, short), None),
        "abandoned_in_time": (and_(hung_up, in_time), None),
        "left_otherwise": (other, None),
        "waiting": (c.until.is_(None), None),
        "wait_answered": (answered, wait),
        "wait_abandoned": (hung_up, wait),
        "place_wait_answered": (answered, c.until - c.place),
        "longest_wait": (true(), func.coalesce(c.until, ask.now) - c.at),
        "unanswered_rings": (true(), c.lapses),
    }
    return {name: _Counted(t.fact_visit, *thing) for name, thing in things.items()}


def _handlings() -> dict[str, _Counted]:
    c, wrap = t.fact_handling.c, t.fact_wrap_up.c
    over = c.until.is_not(None)
    call, chat = and_(over, c.channel == "voice"), and_(over, c.channel == "sms")
    things: dict[str, tuple[ColumnElement[bool], ColumnElement[Any] | None]] = {
        "handled": (over, None),
        "handled_calls": (call, None),
        "handled_chats": (chat, None),
        "going_on": (~over, None),
        "talk": (call, c.until - c.at - c.held),
        "hold": (call, c.held),
        "chat_time": (chat, c.until - c.at),
        "first_responses": (c.first_response.is_not(None), None),
        "responses": (true(), c.responses),
        "response_time": (true(), c.response_time),
    }
    counted = {name: _Counted(t.fact_handling, *thing) for name, thing in things.items()}
    return {**counted, "wrap_up": _Counted(t.fact_wrap_up, true(), wrap.seconds)}


def _marks() -> dict[str, _Counted]:
    c = t.fact_mark.c
    kinds = {
        "transfers_started": "transfer_started",
        "transfers_completed": "transfer_completed",
        "transfers_failed": "transfer_failed",
        "missed": "missed",
        "declined": "declined",
        "consents_given": "consent_given",
        "consents_refused": "consent_refused",
        "opted_out": "opted_out",
        "opted_in": "opted_in",
        "offers_considered": "offer_considered",
        "offers_eligible": "offer_eligible",
        "offers_held_out": "offer_held_out",
        "offers_made": "offer_made",
        "offers_accepted": "offer_accepted",
        "offers_declined": "offer_declined",
        "offers_unanswered": "offer_unanswered",
        "waits_told": "ewt_told",
        "waits_compared": "ewt_error",
        "callbacks_promised": "callback_promised",
        "callbacks_tried": "callback_tried",
    }
    counted = {name: _Counted(t.fact_mark, c.kind == kind) for name, kind in kinds.items()}
    compared = c.kind == "ewt_error"
    return {
        **counted,
        "waits_within": _Counted(t.fact_mark, and_(compared, c.other == 1.0)),
        "wait_error": _Counted(t.fact_mark, compared, c.value),
        "wait_error_size": _Counted(t.fact_mark, compared, func.abs(c.value)),
        "callbacks_in_time": _Counted(t.fact_mark, and_(c.kind == "callback_tried", c.other == 1.0)),
        "offers_delivered": _Counted(t.fact_mark, and_(c.kind == "offer_accepted", _delivered())),
    }


def _delivered() -> ColumnElement[bool]:
    """The text of a mark has arrived."""
    text = t.fact_text
    arrived = select(text.c.message).where(text.c.message == t.fact_mark.c.message, text.c.state.in_(["delivered", "read"]))
    return exists(arrived)


def _deflections(ask: Ask) -> dict[str, _Counted]:
    c = t.fact_mark.c
    deflected = and_(c.kind == "offer_accepted", c.detail == "deflect", _delivered())
    caller, again = tables.session.alias("caller"), tables.session.alias("again")
    known = exists(select(caller.c.id).where(caller.c.id == c.session, caller.c.customer.is_not(None)))
    settled = and_(deflected, c.at <= ask.now - CONTAINED_AFTER, known)
    called = exists(
        select(again.c.id)
        .join(caller, caller.c.customer == again.c.customer)
        .where(
            caller.c.id == c.session,
            again.c.service == "call",
            again.c.opened_at > c.at,
            again.c.opened_at <= c.at + CONTAINED_AFTER,
        )
    )
    return {
        "deflected": _Counted(t.fact_mark, deflected),
        "settled_deflected": _Counted(t.fact_mark, settled),
        "contained": _Counted(t.fact_mark, and_(settled, ~called)),
    }


def _sessions() -> dict[str, _Counted]:
    c = t.fact_session.c
    gap = c.at - c.previous_at
    things = {
        "sessions": true(),
        "contacts": c.by_customer,
        "left_before_line": and_(c.by_customer, c.until.is_not(None), c.queue.is_(None)),
        "repeated_24h": and_(c.by_customer, gap <= CONTAINED_AFTER),
        "repeated_7d": and_(c.by_customer, gap <= WEEK),
    }
    return {name: _Counted(t.fact_session, when, agent=False) for name, when in things.items()}


def _texts(ask: Ask) -> dict[str, _Counted]:
    c = t.fact_text.c
    out = c.direction == "out"
    left = and_(out, c.state.not_in(["pending", "canceled", "failed"]))
    things: dict[str, tuple[ColumnElement[bool], ColumnElement[Any] | None]] = {
        **{f"texts_{author}": (c.author == author, None) for author in ("preset", "custom", "flow", "system", "api")},
        "texts_sent": (out, None),
        "texts_received": (~out, None),
        "texts_delivered": (and_(out, c.state.in_(["delivered", "read"])), None),
        "texts_failed": (and_(out, c.state.in_(["undelivered", "failed", "canceled"])), None),
        "segments_sent": (left, func.coalesce(c.segments, 0)),
        "segments_received": (~out, func.coalesce(c.segments, 1)),
        "cost": (or_(left, ~out), _price(ask.prices) * func.coalesce(c.segments, case((out, 0), else_=1))),
    }
    return {name: _Counted(t.fact_text, *thing) for name, thing in things.items()}


def _price(prices: Sequence[Price]) -> ColumnElement[Any]:
    """Of one segment; a price of the country comes before one of all countries."""
    c = t.fact_text.c
    whens = []
    for price in sorted(prices, key=lambda each: each.country is None):
        there = true() if price.country is None else c.country == price.country
        media = c.media if price.kind == "mms" else ~c.media
        whens.append((and_(c.direction == price.direction, media, there), literal(price.price, Double)))
    return case(*whens, else_=literal(0.0, Double)) if whens else literal(0.0, Double)


def _behind(connection: Connection, ask: Ask, name: str, limit: int) -> list[Behind]:
    thing = _counted(ask).get("first_responses" if name == "first_response" else name)
    if thing is None:
        return []
    c = thing.table.c
    session = c.id if thing.table is t.fact_session else c.session
    nothing = null()
    columns = {
        "session": session,
        "at": c.at,
        "queue": c.queue,
        "channel": c.channel,
        "type": c.type,
        "agent": c.get("agent", nothing),
        "until": c.get("until", nothing),
        "outcome": c.get("outcome", c.get("ended_by", nothing)),
    }
    if ask.agents and "agent" not in c:
        return []
    counts = [] if thing.amount is None else [thing.amount > 0]
    query: Select[Any] = (
        select(*(column.label(label) for label, column in columns.items()))
        .where(*_conditions(ask, thing.table), thing.when, *counts, session.is_not(None))
        .order_by(c.at.desc(), session)
        .limit(limit)
    )
    return [Behind(*row) for row in connection.execute(query)]
