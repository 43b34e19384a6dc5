"""Was everything done once? Looks at the journal, at the provider and at what nodes show, and says in words what is wrong.

Nothing here believes the server: what was acknowledged is known from who sent it, what was sent from the Twilio-shaped server
that took it, and the rest from the rows of the journal, whoever wrote them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from sqlalchemy import create_engine, select

from bridge.journal import tables as t
from bridge.journal.database import address
from sms.testing.twilio_server import TwilioServer

Row = Mapping[str, Any]


class Board(msgspec.Struct, frozen=True):
    """What one node shows of the floor."""

    chats: Mapping[str, int]
    """By agent."""
    work: Mapping[str, frozenset[str]]
    """By agent, the sessions they are busy with."""
    waiting: Mapping[str, int]
    """By queue."""


class Evidence(msgspec.Struct):
    """What there is to look at when everything has settled."""

    sessions: list[Row] = []
    events: list[Row] = []
    """`body` decoded."""
    lines: list[Row] = []
    messages: list[Row] = []
    outbox: list[Row] = []
    inbound: list[Row] = []
    kept: Mapping[str, str] = {}
    """Texts that got a 2xx: the provider's id, and the words."""
    given: Mapping[str, int] = {}
    """How often the provider took each of our texts, by our id."""
    owners: Mapping[str, Sequence[str]] = {}
    """By session, the nodes that say that they own it."""
    fences: Mapping[str, Sequence[int]] = {}
    """By session, the fences that were seen one after the other."""
    boards: Mapping[str, Board] = {}
    """By node."""


def read_journal(url: str) -> Evidence:
    """The rows of the journal at *url*."""
    engine = create_engine(address(url), isolation_level="SERIALIZABLE")  # as it was at one moment
    try:
        with engine.begin() as connection:

            def rows(table: Any, *order: Any) -> list[Row]:
                return [dict(row) for row in connection.execute(select(table).order_by(*order)).mappings()]

            events = rows(t.event, t.event.c.session, t.event.c.seq)
            return Evidence(
                sessions=rows(t.session, t.session.c.opened_at),
                events=[{**row, "body": msgspec.json.decode(row["body"])} for row in events],
                lines=rows(t.timeline, t.timeline.c.session, t.timeline.c.n),
                messages=rows(t.message, t.message.c.n),
                outbox=rows(t.outbox, t.outbox.c.n),
                inbound=rows(t.inbound, t.inbound.c.n),
            )
    finally:
        engine.dispose()


def taken_by(twilio: TwilioServer) -> Counter[str]:
    """How often the provider took each of our texts, by our id, which is in the address for its reports."""
    given: Counter[str] = Counter()
    for message in twilio.messages.values():
        if message.direction == "outbound-api":
            query = parse_qs(urlsplit((message.callback or "").partition("#")[0]).query)
            given[query["message"][0]] += 1
    return given


def problems(evidence: Evidence) -> list[str]:
    """Everything that is wrong, in words; empty when every text was handled once and every session is in one pair of hands."""
    return [
        *_kept(evidence),
        *_handled(evidence),
        *_sent(evidence),
        *_said(evidence),
        *_numbered(evidence),
        *_owned(evidence),
        *_shown(evidence),
    ]


def _kept(evidence: Evidence) -> Iterator[str]:
    """Every text that was acknowledged is kept once."""
    spooled = Counter(row["ref"] for row in evidence.inbound)
    messages = {row["provider_ref"] for row in evidence.messages if row["direction"] == "in"}
    for ref, body in evidence.kept.items():
        if spooled[ref] != 1:
            yield f"inbound text {ref} ({body!r}) was acknowledged and is kept {spooled[ref]} times"
        if ref not in messages:
            yield f"inbound text {ref} ({body!r}) was acknowledged and is no message"


def _handled(evidence: Evidence) -> Iterator[str]:
    """One session has handled each text, once."""
    rows = {row["provider_ref"]: row for row in evidence.messages if row["direction"] == "in"}
    arrived = defaultdict(list)
    for event in evidence.events:
        if event["body"]["event"] == "TextArrived":
            arrived[event["body"]["ref"]].append(event["session"])
    received = defaultdict(list)
    for line in evidence.lines:
        if line["kind"] == "text.received":
            received[line["data"]["message"]].append(line["session"])
    for row in evidence.inbound:
        ref = row["ref"]
        message = rows.get(ref)
        own = [] if message is None or message["session"] is None else [message["session"]]
        if not row["handled"]:
            yield f"inbound text {ref} waits for a session"
        if row["handled"] and message is None:
            yield f"inbound text {ref} is handled and is no message"
        if arrived[ref] != own:
            yield f"inbound text {ref} of session {own} was an event of sessions {arrived[ref]}"
        if message is not None and received[message["id"]] != own:
            yield f"inbound text {ref} of session {own} is in the timelines of {received[message['id']]}"
    known = {row["ref"] for row in evidence.inbound}
    yield from (f"event of inbound text {ref}, which nobody kept" for ref in sorted(arrived.keys() - known))


def _sent(evidence: Evidence) -> Iterator[str]:
    """No text was given to the provider twice, and the outbox knows of each that was."""
    outbox = {row["message"]: row for row in evidence.outbox}
    for message, times in evidence.given.items():
        if times > 1:
            yield f"outbound text {message} was sent {times} times"
        row = outbox.get(message)
        if row is None:
            yield f"outbound text {message} was sent, and is not in the outbox"
        elif row["outcome"] != "accepted":
            yield f"outbound text {message} was sent, and the outbox says {row['state']}, {row['outcome']}"


def _said(evidence: Evidence) -> Iterator[str]:
    """Every text of ours has come to its end, and stands in one timeline."""
    outbox = {row["message"]: row for row in evidence.outbox}
    for message, row in outbox.items():
        if row["state"] != "done":
            yield f"outbound text {message} is not settled: {row['state']} after {row['attempts']} attempts"
        elif row["outcome"] == "accepted" and message not in evidence.given:
            yield f"outbound text {message} is said to be sent, and nobody has it"
    sent = Counter(line["data"]["message"] for line in evidence.lines if line["kind"] == "text.sent")
    for row in evidence.messages:
        if row["direction"] == "out":
            if row["id"] not in outbox:
                yield f"outbound text {row['id']} was never put into the outbox"
            if row["session"] is not None and sent[row["id"]] != 1:
                yield f"outbound text {row['id']} of session {row['session']} is {sent[row['id']]} times in timelines"


def _numbered(evidence: Evidence) -> Iterator[str]:
    """Events and lines of a session are numbered without a gap up to what the session says."""
    events, lines = defaultdict(list), defaultdict(list)
    for row in evidence.events:
        events[row["session"]].append(row["seq"])
    for row in evidence.lines:
        lines[row["session"]].append(row["n"])
    for row in evidence.sessions:
        session = row["id"]
        for what, found, end in (("events", events[session], row["seq"]), ("lines", lines[session], row["lines"])):
            if found != list(range(1, end + 1)):
                gaps = sorted(set(range(1, end + 1)) - set(found))
                yield f"session {session}: {len(found)} {what} and not {end}; {gaps} are missing"
    for session, seen in evidence.fences.items():
        if any(late < early for early, late in pairwise(seen)):
            yield f"session {session}: its fence has fallen: {list(seen)}"


def _owned(evidence: Evidence) -> Iterator[str]:
    """Every open session has one owner, and no closed one has any."""
    if not evidence.owners:
        return
    for row in evidence.sessions:
        owners = evidence.owners.get(row["id"], ())
        if row["closed_at"] is None and len(owners) != 1:
            yield f"session {row['id']} is open and owned by {list(owners) or 'nobody'}"
        if row["closed_at"] is not None and owners:
            yield f"session {row['id']} is closed and owned by {list(owners)}"


def _shown(evidence: Evidence) -> Iterator[str]:
    """All nodes show the same floor, and it is what the sessions say: no agent is busy with nothing, nobody waits who is gone."""
    still_open = [row for row in evidence.sessions if row["closed_at"] is None]
    chatting = Counter(row["agent"] for row in still_open if row["text_state"] == "chatting")
    waiting = Counter(
        row["queue"] for row in still_open for state in (row["text_state"], row["call_state"]) if state in {"queued", "callback"}
    )
    ids = {row["id"] for row in still_open}
    for node, board in evidence.boards.items():
        for agent in board.chats.keys() | chatting.keys():
            if board.chats.get(agent, 0) != chatting[agent]:
                yield f"node {node}: {agent} is shown with {board.chats.get(agent, 0)} chats and has {chatting[agent]}"
        for agent, sessions in board.work.items():
            if sessions - ids:
                yield f"node {node}: {agent} is shown busy with {sorted(sessions - ids)}, which are over"
        for queue in board.waiting.keys() | waiting.keys():
            if board.waiting.get(queue, 0) != waiting[queue]:
                yield f"node {node}: {board.waiting.get(queue, 0)} are shown waiting in {queue}, and {waiting[queue]} do"
    first, *others = evidence.boards.items() or [("", None)]
    yield from (f"nodes {first[0]} and {node} show different floors" for node, board in others if board != first[1])


def recovery(evidence: Evidence, sessions: Iterable[str], since: float) -> dict[str, float | None]:
    """By session, seconds from *since* (when its node died) to its first event after that; None: it never went on."""
    first: dict[str, float] = {}
    for row in evidence.events:
        if row["at"] > since:
            first.setdefault(row["session"], row["at"] - since)
    return {session: first.get(session) for session in sessions}
