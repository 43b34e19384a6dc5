"""Every counted thing again, slowly, straight from the rows of the journal, by other means than the server's.

Nothing of `bridge` is used here. Before every line of a timeline it is asked anew, from the first line on, who is in line and at
work; where the answer changes, something has begun or ended. Agents' time is counted by looking at what they do tick by tick.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

TICK = 1.0
"""Seconds between two looks at agents: the test's clock goes in whole ones."""
NOT_ELIGIBLE = {"disabled", "number_withheld", "opted_out", "cannot_text", "refused_before", "asked_before"}
DAY = 86_400.0


class Thing(NamedTuple):
    """Something to be counted: what it is, of whom, when, and how much."""

    name: str
    at: float
    queue: str | None
    channel: str
    type: str
    agent: str | None
    amount: float = 1.0


class Said(NamedTuple):
    """A line of a timeline."""

    n: int
    at: float
    kind: str
    data: Mapping[str, Any]


class Place(NamedTuple):
    """A stay in line."""

    begun: Said
    queue: str
    since: float
    """When the customer began to wait, in whatever line."""


class Part(NamedTuple):
    """An agent's part."""

    begun: Said
    agent: str
    queue: str | None


class Now(NamedTuple):
    """How a session stands after some lines."""

    line: Mapping[str, Place | None]
    work: Mapping[str, Part | None]
    queue: str | None
    on_call: bool
    texting: str | None
    called_back: bool


class Books:
    """The journal's rows."""

    def __init__(self, path: Path) -> None:
        with sqlite3.connect(path) as database:
            database.row_factory = sqlite3.Row
            self.sessions = [dict(row) for row in database.execute("select * from session order by opened_at, id")]
            self.texts = {row["id"]: dict(row) for row in database.execute("select * from message")}
            self.spans = [dict(row) for row in database.execute("select * from agent_span order by since, n")]
            self.lines: dict[str, list[Said]] = defaultdict(list)
            for row in database.execute("select * from timeline order by session, n"):
                self.lines[row["session"]].append(Said(row["n"], row["at"], row["kind"], json.loads(row["data"])))


class Conversation:
    """One session."""

    def __init__(self, row: Mapping[str, Any], lines: Sequence[Said]) -> None:
        self.row, self.lines = row, lines
        self.names = {name: agent for agent, name in json.loads(row["snapshot"])["names"].items()}
        service = row["service"]
        first = lines[0].kind if lines else ""
        self.began = {"inbound": "sms_in", "outbound": "sms_out", "call": "inbound_call"}.get(service, service)
        if first == "call.arrived":
            self.began = "inbound_call"
        kinds = [said.kind for said in lines]
        if self.began == "sms_out" and "call.placed" in kinds and "queue.joined" not in kinds[: kinds.index("call.placed")]:
            self.began = "outbound_call"
        self.states = [self.now(n) for n in range(len(lines) + 1)]

    def now(self, n: int) -> Now:  # noqa: C901, PLR0912, PLR0915  # one rule after the other
        """How it stands after the first *n* lines."""
        line: dict[str, Place | None] = {"voice": None, "sms": None}
        work: dict[str, Part | None] = {"voice": None, "sms": None}
        queue: str | None = None
        handed_from: str | None = None
        on_call, texting, called_back, came_back = False, None, False, False
        for said in self.lines[:n]:
            data, channel = said.data, said.data.get("channel", "sms")
            was = work[channel]
            match said.kind:
                case "call.arrived" | "call.placed":
                    on_call = True
                case "callback.asked":
                    called_back, line["voice"] = True, None
                    queue = data["queue"]
                case "callback.tried":
                    line["voice"] = None
                case "callback.failed" | "callback.cancelled" | "callback.merged":
                    called_back, line["voice"] = False, None
                case "transfer.failed" if channel == "voice":
                    came_back = work["voice"] is None
                case "transfer.started" if channel == "voice":
                    pass
                case "call.ended":
                    on_call, work["voice"], came_back = False, None, False
                    if data["cause"] == "restart":
                        line["voice"] = None
                case "queue.joined":
                    place = line[channel]
                    back, came_back = came_back and channel == "voice", came_back and channel == "sms"
                    if place is None or place.queue != data["queue"] or back:
                        line[channel] = Place(said, data["queue"], said.at - max(0.0, data["waited"]))
                        queue = data["queue"]
                case "queue.moved" | "supervisor.moved":
                    place, to = line[channel], data["to"] if said.kind == "queue.moved" else data["queue"]
                    if place is not None and to is not None and to != place.queue:
                        line[channel], queue = Place(said, to, place.since), to
                case "queue.left":
                    line["voice"] = None
                case "agent.joined":
                    place = line[channel]
                    work[channel] = Part(said, self.names[data["name"]], place.queue if place is not None else queue)
                    line[channel] = None
                case "conversation.opened":
                    queue = data["queue"]
                    work["sms"] = Part(said, self.names[data["name"]], queue)
                case "agent.left":
                    work[channel] = None
                    if data["by"] == "network" and channel == "sms" and was is not None and was.queue is not None:
                        queue = was.queue
                        line["sms"] = Place(said, queue, said.at)
                case "transfer.started":
                    handed_from = None if was is None else was.queue
                    queue = data["queue"]
                    line["sms"], work["sms"] = Place(said, data["queue"], said.at), None
                case "transfer.failed":
                    queue = handed_from
                    line["sms"] = None if handed_from is None else Place(said, handed_from, said.at)
                case "chat.ended" | "chat.dismissed":
                    work["sms"] = None
                case "opted_out":
                    line["sms"] = work["sms"] = None
                case "chat.expired" | "menu.answered":
                    line["sms"] = None
                case "text.sent" if data["preset"] == "bye":
                    line["sms"] = None
                case "session.closed":
                    line, work = {"voice": None, "sms": None}, {"voice": None, "sms": None}
                case _:
                    pass
            if said.kind == "offer.answered" and data["answer"] == "accepted":
                texting = {"deflect": "deflected", "hold": "hold_time"}[data["kind"]]
            if said.kind == "text.withdrawn" and texting == "deflected":
                texting = None
            if said.kind == "text.sent" and data["author"].startswith("agent:") and on_call and texting is None:
                texting = "in_call"
        return Now(line, work, queue, on_call, texting, called_back)

    def type_of(self, channel: str, said: Said) -> str:
        """The type of what happens at a line, with what it changes."""
        if channel == "voice":
            return "callback" if self.states[said.n].called_back else str(self.began)
        if self.began not in {"inbound_call", "outbound_call"}:
            return str(self.began)
        return self.states[said.n].texting or "in_call"

    def until(self, channel: str, begun: Said, what: str) -> Said | None:
        """The line at which what began at *begun* is over."""
        for said in self.lines[begun.n :]:
            held = getattr(self.states[said.n], what)[channel]
            if held is None or held.begun.n != begun.n:
                return said
        return None

    def places(self) -> Iterator[tuple[str, Place, Said | None]]:
        """Stays in line, with the line that ended each."""
        for channel in ("voice", "sms"):
            for said in self.lines:
                place = self.states[said.n].line[channel]
                if place is not None and place.begun.n == said.n:
                    yield channel, place, self.until(channel, said, "line")

    def parts(self) -> Iterator[tuple[str, Part, Said | None]]:
        """Agents' parts, with the line that ended each."""
        for channel in ("voice", "sms"):
            for said in self.lines:
                part = self.states[said.n].work[channel]
                if part is not None and part.begun.n == said.n:
                    yield channel, part, self.until(channel, said, "work")


class Naive:
    """All things of all sessions.

    Args:
        books: The journal's rows.
        now: What time it is.
        in_time: The target, in seconds, by queue.
        short: What is a short abandon, by queue.
        prices: Of a segment: (direction, country) to the price.
    """

    def __init__(
        self,
        books: Books,
        now: float,
        in_time: Mapping[str, float],
        short: Mapping[str, float],
        prices: Mapping[tuple[str, str], float],
    ) -> None:
        self.books, self.now_, self.in_time, self.short, self.prices = books, now, in_time, short, prices
        self.conversations = {row["id"]: Conversation(row, books.lines[row["id"]]) for row in books.sessions}
        self.first_responses: list[Thing] = []
        self.things = [thing for each in self.conversations.values() for thing in self._of(each)] + list(self._wrap_ups())

    def _of(self, talk: Conversation) -> Iterator[Thing]:
        yield from self._session(talk)
        yield from self._places(talk)
        yield from self._parts(talk)
        yield from self._answers(talk)
        yield from self._texts(talk)
        yield from self._counted(talk)
        yield from self._offers(talk)

    def _session(self, talk: Conversation) -> Iterator[Thing]:
        row, lines = talk.row, talk.lines
        queues = [place.queue for place in sorted((each[1] for each in talk.places()), key=lambda place: place.begun.n)]
        opened = [said.data["queue"] for said in lines if said.kind == "conversation.opened"]
        end = talk.states[-1]
        of = (row["opened_at"], next(iter([*queues, *opened]), None), "voice" if "call" in talk.began else "sms",
              "deflected" if end.texting == "deflected" else talk.began, None)  # fmt: skip
        yield Thing("sessions", *of)
        if talk.began not in {"inbound_call", "sms_in", "direct"}:
            return
        yield Thing("contacts", *of)
        if row["closed_at"] is not None and of[1] is None:
            yield Thing("left_before_line", *of)
        earlier = [
            each["opened_at"]
            for each in self.books.sessions
            if each["customer"] is not None
            and each["customer"] == row["customer"]
            and each["opened_at"] < row["opened_at"]
            and each["service"] in {"call", "inbound", "direct"}
        ]
        for name, within in (("repeated_24h", DAY), ("repeated_7d", 7 * DAY)):
            if any(row["opened_at"] - at <= within for at in earlier):
                yield Thing(name, *of)

    def _places(self, talk: Conversation) -> Iterator[Thing]:
        for channel, place, over in talk.places():
            at = place.begun.at
            agent = None
            if over is not None and over.kind == "agent.joined" and over.data["channel"] == channel:
                part = talk.states[over.n].work[channel]
                assert part is not None
                agent = part.agent
            of = (at, place.queue, channel, talk.type_of(channel, place.begun), agent)
            yield Thing("offered", *of)
            lapses = [
                said
                for said in talk.lines[place.begun.n : len(talk.lines) if over is None else over.n]
                if (said.kind == "offer.lapsed" and said.data["channel"] == channel and said.data["reason"] != "withdrawn")
                or (said.kind == "agent.unreachable" and channel == "voice")
            ]
            yield Thing("unanswered_rings", *of, float(len(lapses)))
            yield Thing("longest_wait", *of, (self.now_ if over is None else over.at) - at)
            if over is None:
                yield Thing("waiting", *of)
                continue
            wait = over.at - at
            if agent is not None:
                yield Thing("answered", *of)
                yield Thing("wait_answered", *of, wait)
                yield Thing("place_wait_answered", *of, over.at - place.since)
                if wait <= self.in_time[place.queue]:
                    yield Thing("answered_in_time", *of)
            elif over.kind == "queue.left" and over.data["outcome"] == "abandoned":
                yield Thing("short_abandoned" if wait < self.short[place.queue] else "abandoned", *of)
                yield Thing("wait_abandoned", *of, wait)
                if wait <= self.in_time[place.queue]:
                    yield Thing("abandoned_in_time", *of)
            else:
                yield Thing("left_otherwise", *of)

    def _parts(self, talk: Conversation) -> Iterator[Thing]:
        for channel, part, over in talk.parts():
            of = (part.begun.at, part.queue, channel, talk.type_of(channel, part.begun), part.agent)
            if over is None:
                yield Thing("going_on", *of)
                continue
            yield Thing("handled", *of)
            yield Thing("handled_calls" if channel == "voice" else "handled_chats", *of)
            held = sum(self._holds(talk, part.begun.n, over)) if channel == "voice" else 0.0
            yield Thing("talk" if channel == "voice" else "chat_time", *of, over.at - part.begun.at - held)
            yield Thing("hold", *of, held)

    @staticmethod
    def _holds(talk: Conversation, begun: int, over: Said) -> Iterator[float]:
        """How long each hold was; the end of the part ends it as well."""
        theirs = [said for said in talk.lines[begun : over.n] if said.kind in {"call.held", "call.resumed"} or said is over]
        for said, following in pairwise(theirs):
            if said.kind == "call.held":
                yield following.at - said.at

    def _answers(self, talk: Conversation) -> Iterator[Thing]:
        """For each agent's text: which text of the customer it answers, and whether it is the first of the chat."""
        for channel, part, over in talk.parts():
            if channel != "sms":
                continue
            of = (part.begun.at, part.queue, channel, talk.type_of(channel, part.begun), part.agent)
            for said in talk.lines:
                if said.kind != "text.sent" or said.data["author"] != f"agent:{part.agent}":
                    continue
                if not part.begun.n < said.n < (10**9 if over is None else over.n):
                    continue
                asked = self._asked(talk, said)
                if asked is None:
                    continue
                yield Thing("responses", *of)
                yield Thing("response_time", *of, said.at - asked.at)
                if self._is_first(talk, said):
                    first = Thing("first_response", *of, said.at - asked.at)
                    self.first_responses.append(first)
                    yield Thing("first_responses", *of)

    def _asked(self, talk: Conversation, answer: Said) -> Said | None:
        """The customer's first text since the last agent's, or since the last chat ended."""
        asked: Said | None = None
        for said in talk.lines[: answer.n - 1]:
            wrote = (said.kind == "text.received" and said.data["keyword"] is None) or (
                said.kind == "media.uploaded" and said.data["media"]
            )
            if wrote and asked is None:
                asked = said
            if said.kind == "chat.ended" or (said.kind == "text.sent" and said.data["author"].startswith("agent:")):
                asked = None
        return asked

    def _is_first(self, talk: Conversation, answer: Said) -> bool:
        """Whether no text of an agent has answered the customer since they joined the line; never of a chat that we began."""
        due = True
        for said in talk.lines[: answer.n - 1]:
            if said.kind == "queue.joined" and said.data["channel"] == "sms":
                before = talk.states[said.n - 1].line["sms"]
                due = due or before is None or before.begun.n != (talk.states[said.n].line["sms"] or before).begun.n
            elif said.kind == "conversation.opened":
                due = False
            elif said.kind == "text.sent" and said.data["author"].startswith("agent:"):
                part = talk.states[said.n].work["sms"]
                mine = part is not None and said.data["author"] == f"agent:{part.agent}"
                due = due and not (mine and self._asked(talk, said) is not None)
        return due

    def _texts(self, talk: Conversation) -> Iterator[Thing]:
        for said in talk.lines:
            if said.kind not in {"text.sent", "text.received"}:
                continue
            text, now = self.books.texts[said.data["message"]], talk.states[said.n - 1]
            kind = "in_call" if now.work["voice"] is not None else talk.type_of("sms", said)
            author = said.data.get("author", "")
            by = author.removeprefix("agent:") if author.startswith("agent:") else None
            if said.kind == "text.received":
                at_work = now.work["sms"] or now.work["voice"]
                by = None if at_work is None else at_work.agent
            of = (said.at, now.queue, "sms", kind, by)
            yield from self._one_text(said, text, author, of)

    def _one_text(
        self, said: Said, text: Mapping[str, Any], author: str, of: tuple[float, str | None, str, str, str | None]
    ) -> Iterator[Thing]:
        segments = text["segments"]
        if said.kind == "text.received":
            yield Thing("texts_received", *of)
            yield Thing("segments_received", *of, 1.0 if segments is None else segments)
            price = self.prices.get(("in", "US"), 0.0) if text["media"] == "[]" else 0.0
            yield Thing("cost", *of, price * (1.0 if segments is None else segments))
            return
        yield Thing("texts_sent", *of)
        if author.startswith("agent:"):
            yield Thing("texts_custom" if said.data["preset"] is None else "texts_preset", *of)
        else:
            yield Thing({"flow": "texts_flow", "system": "texts_system"}.get(author, "texts_api"), *of)
        if text["state"] in {"delivered", "read"}:
            yield Thing("texts_delivered", *of)
        if text["state"] in {"undelivered", "failed", "canceled"}:
            yield Thing("texts_failed", *of)
        if text["state"] not in {"pending", "failed", "canceled"} and segments is not None:
            yield Thing("segments_sent", *of, segments)
            yield Thing("cost", *of, (self.prices.get(("out", "US"), 0.0) if text["media"] == "[]" else 0.0) * segments)

    def _counted(self, talk: Conversation) -> Iterator[Thing]:
        names = {
            "transfer.started": "transfers_started",
            "transfer.completed": "transfers_completed",
            "transfer.failed": "transfers_failed",
            "opted_out": "opted_out",
            "opted_in": "opted_in",
        }
        for said in talk.lines:
            now = talk.states[said.n - 1]
            live = "voice" if now.on_call else "sms"
            if said.kind in names:
                agent = talk.names[said.data["by"]] if said.kind.startswith("transfer") else None
                channel = said.data.get("channel", "sms")
                yield Thing(names[said.kind], said.at, now.queue, channel, talk.type_of(channel, said), agent)
            elif said.kind == "callback.asked":
                of = (said.at, said.data["queue"] or now.queue, "voice", "callback", None)
                yield Thing("callbacks_promised", *of)
                later = [
                    each
                    for each in talk.lines[said.n :]
                    if each.kind in {"call.placed", "callback.asked"} or "callback.c" in each.kind
                ]
                if later and later[0].kind == "call.placed":
                    yield Thing("callbacks_tried", *of)
                    promised_by = said.data["promised_by"]
                    yield Thing("callbacks_in_time", *of, float(promised_by is None or later[0].at <= promised_by))
            elif said.kind == "consent.given":
                name = "consents_given" if said.data["granted"] else "consents_refused"
                yield Thing(name, said.at, now.queue, live, talk.type_of(live, said), None)
            elif said.kind == "offer.lapsed" and said.data["reason"] != "withdrawn":
                name, channel = "declined" if said.data["reason"] == "declined" else "missed", said.data["channel"]
                yield Thing(name, said.at, now.queue, channel, talk.type_of(channel, said), said.data["agent"])
            elif said.kind == "agent.unreachable" and now.line["voice"] is not None:
                agent = talk.names[said.data["name"]]
                yield Thing("missed", said.at, now.queue, "voice", talk.type_of("voice", said), agent)
            elif said.kind == "ewt.told":
                yield Thing("waits_told", said.at, now.queue, "voice", talk.type_of("voice", said), None)
                if said.data["high"] is not None:
                    yield from self._kept(talk, said)

    def _kept(self, talk: Conversation, said: Said) -> Iterator[Thing]:
        """Compare what was told with the next time an agent picked up."""
        for answer in talk.lines[said.n :]:
            waiting = talk.states[answer.n - 1].line["voice"]
            if answer.kind == "agent.joined" and answer.data["channel"] == "voice" and waiting is not None:
                of = (said.at, waiting.queue, "voice", talk.type_of("voice", said), None)
                low, high = 60.0 * said.data["low"], 60.0 * max(1, said.data["high"])
                took = answer.at - said.at
                yield Thing("waits_compared", *of)
                yield Thing("waits_within", *of, float(low <= took <= high))
                yield Thing("wait_error", *of, took - (low + high) / 2)
                yield Thing("wait_error_size", *of, abs(took - (low + high) / 2))
                return

    def _offers(self, talk: Conversation) -> Iterator[Thing]:
        for said in talk.lines:
            if said.kind != "offer.decided" or said.data["kind"] == "callback":
                continue
            now = talk.states[said.n - 1]
            live = "voice" if now.on_call else "sms"
            of = (said.at, said.data["inputs"].get("queue", now.queue), live, talk.type_of(live, said), None)
            yield Thing("offers_considered", *of)
            if said.data["reason"] in NOT_ELIGIBLE:
                continue
            yield Thing("offers_eligible", *of)
            if said.data["reason"] == "held_out":
                yield Thing("offers_held_out", *of)
            yield from self._fate(talk, said, of)

    def _fate(self, talk: Conversation, decided: Said, of: tuple[float, str | None, str, str, str | None]) -> Iterator[Thing]:
        """What became of an offer, until another of its kind was decided."""
        kind = decided.data["kind"]
        for said in talk.lines[decided.n :]:
            if said.data.get("kind") != kind:
                continue
            if said.kind == "offer.decided":
                return
            if said.kind == "offer.made":
                yield Thing("offers_made", *of)
            elif said.kind == "offer.answered":
                answer = {"accepted": "accepted", "declined": "declined"}.get(said.data["answer"], "unanswered")
                yield Thing(f"offers_{answer}", *of)
                texts = [each for each in talk.lines[said.n :] if each.kind == "text.sent" and each.data["author"] == "flow"]
                if answer != "accepted" or not texts:
                    continue
                state = self.books.texts[texts[0].data["message"]]["state"]
                if state not in {"delivered", "read"}:
                    continue
                yield Thing("offers_delivered", *of)
                if kind == "deflect":
                    yield Thing("deflected", *of)
                    yield from self._contained(talk, of)

    def _contained(self, talk: Conversation, of: tuple[float, str | None, str, str, str | None]) -> Iterator[Thing]:
        if of[0] > self.now_ - DAY or talk.row["customer"] is None:
            return
        yield Thing("settled_deflected", *of)
        again = [
            row
            for row in self.books.sessions
            if row["customer"] == talk.row["customer"] and row["service"] == "call" and of[0] < row["opened_at"] <= of[0] + DAY
        ]
        if not again:
            yield Thing("contained", *of)

    def _wrap_ups(self) -> Iterator[Thing]:
        """Each wrap-up that is over goes to the agent's work that ended last before it, when that was a call."""
        for agent in sorted({span["agent"] for span in self.books.spans}):
            theirs = [span for span in self.books.spans if span["agent"] == agent]
            for span, following in pairwise(theirs):
                if span["state"] != "wrap_up":
                    continue
                ended = [
                    (over.at, part.begun.at, talk, channel, part)
                    for talk in self.conversations.values()
                    for channel, part, over in talk.parts()
                    if part.agent == agent and over is not None and span["since"] - 60.0 <= over.at <= span["since"]
                ]
                if not ended:
                    continue
                _, at, talk, channel, part = max(ended, key=lambda each: each[:2])
                if channel == "voice":
                    of = (at, part.queue, channel, talk.type_of(channel, part.begun), agent)
                    yield Thing("wrap_up", *of, following["since"] - span["since"])

    # --- agents' time

    def presence(self, since: float, until: float) -> Iterator[Thing]:
        """What agents do, tick by tick."""
        parts = [
            (part.agent, channel, part.begun.at, self.now_ if over is None else over.at)
            for talk in self.conversations.values()
            for channel, part, over in talk.parts()
        ]
        at = since
        while at < min(until, self.now_):
            middle = at + TICK / 2
            for agent in {span["agent"] for span in self.books.spans} | {part[0] for part in parts}:
                known = [span["state"] for span in self.books.spans if span["agent"] == agent and span["since"] <= middle]
                chats = sum(1 for each in parts if each[0] == agent and each[1] == "sms" and each[2] <= middle < each[3])
                calls = sum(1 for each in parts if each[0] == agent and each[1] == "voice" and each[2] <= middle < each[3])
                for name, amount in _doing(known[-1] if known else None, calls, chats):
                    yield Thing(name, at, None, "", "", agent, amount * TICK)
            at += TICK


def _doing(state: str | None, calls: int, chats: int) -> Iterator[tuple[str, float]]:
    if chats:
        yield "chat_seconds", chats
        yield "chatting", 1.0
    if state in {None, "offline"}:
        return
    yield "logged_in", 1.0
    yield {"wrap_up": "wrapping"}.get(str(state), str(state)), 1.0
    if calls or chats or state == "wrap_up":
        yield "busy", 1.0
    elif state == "ready":
        yield "idle", 1.0
