"""Busy days: conversations told through the real session machine, with the lines and rows that the journal would keep."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bridge import events as e
from bridge.journal import AgentStateRow, Unit
from bridge.ledger import step_unit
from bridge.legs import TextLeg
from bridge.reports.facts import Line, Told
from bridge.session import UnexpectedEvent
from sms.message import TextState
from tests.unit.bridge.story import ANN, BEN, RULES, Story, support, text_menu
from tests.unit.bridge.test_session_any_order import NAMES, PREFIXES, WAKE, event

CALLERS = tuple(f"+155501001{n:02}" for n in range(30, 42))
PATHS: tuple[tuple[str, ...], ...] = (
    *PREFIXES,
    (
        "arrive",
        "press 1",
        "press 2",
        "verdict no",
        "offered voice",
        "accepted voice",
        "answered",
        "agent leg ended",
        "call ended",
    ),
    (
        "arrive",
        "press 1",
        "press 2",
        "verdict no",
        "offered voice",
        "accepted voice",
        "answered",
        "ann says",
        "text",
        "call ended",
    ),
    ("arrive", "press 1", "press 2", "verdict no", "call ended"),
    ("arrive", "press 1", "press 2", "verdict no", "redirected", "accepted voice", "failed", "accepted voice", "answered"),
    (
        "arrive",
        "press 1",
        "press 2",
        "verdict yes",
        "press 1",
        "accepted text",
        "delivered",
        "heard",
        "text",
        "accepted sms",
        "ann says",
    ),
    ("arrive", "call ended"),
    ("text", "offered sms", "accepted sms", "text", "ann says", "text", "ann says", "chat ended"),
    ("text", "offered sms", "lapsed sms", "offered sms", "accepted sms by ben", "ben says", "text"),
    ("text", "accepted sms", "ann says", "to ben", "ben declines", "accepted sms", "chat ended"),
    ("text", "accepted sms", "ann says", "to ben", "accepted sms by ben", "text", "ben says"),
    ("text", "accepted sms", "ann says", "text", "lost", "accepted sms by ben", "ben says"),
    ("ann opens", "text", "ann says", "accepted text", "delivered", "chat ended"),
    ("api says", "accepted text", "delivered", "text", "accepted sms", "ann says", "text", "stop"),
    ("text", "exit"),
    ("text", "first", "first", "back"),
)
"""Ways that conversations go, before chance has its word."""


class Told_(Story):  # noqa: N801  # it tells, and remembers what it told
    """A story that keeps its lines, and each step as the journal's rows.

    Args:
        ident: Of the session.
        at: When it begins.
        customer: Whose it is.
        more: As for `Story`.
    """

    def __init__(self, ident: str, at: float, customer: str | None, **more: Any) -> None:
        self.ident = ident
        self.units: list[tuple[float, Unit]] = []
        self.releases: list[tuple[float, e.AgentId]] = []
        """When agents began to wrap up a call."""
        self._seq = 0
        self._ticks: dict[e.MessageId, TextState] = {}
        super().__init__(customer=customer, **more)
        self.now = at
        self.state.id, self.state.opened_at = e.SessionId(ident), at
        self._mine = 0

    def check(self, was: TextLeg, happened: e.AnyEvent | None, commands: Sequence[e.AnyCommand]) -> None:
        """Write the step down before the next one begins."""
        super().check(was, happened, commands)
        snapshot = self.session.state_json()
        unit = step_unit(
            happened,
            commands,
            state=self.state,
            snapshot=snapshot,
            seq=self._seq,
            ticks=self._ticks,
            provider="loopback",
            now=self.now,
        )
        self._seq += len(unit.events)
        self.units.append((self.now, unit))
        self.releases += [
            (self.now, command.agent)
            for command in commands
            if isinstance(command, e.ReleaseAgent) and command.wrap_up and command.channel == "voice"
        ]

    def arrival(self, body: str = "hello", **how: Any) -> e.TextArrived:
        """A text with an id that no other conversation has."""
        made = super().arrival(body, **how)
        return msgspec.structs.replace(
            made, message=e.MessageId(f"{self.ident}-{made.message}"), ref=e.ProviderRef(f"{self.ident}-{made.ref}")
        )

    def attempt(self, name: str) -> None:
        """Try it; what cannot happen now does not."""
        if name == WAKE:
            if self.session.wake_at is not None:
                self.wait(max(0.0, self.session.wake_at - self.now))
            return
        what = event(name, self)
        if isinstance(what, e.TextArrived) and self.state.customer is None:
            return
        if isinstance(what, e.ApiSaid):
            self._mine += 1
            what = msgspec.structs.replace(what, message=e.MessageId(f"{self.ident}-api-{self._mine}"))
        if isinstance(what, e.TextAccepted):
            what = msgspec.structs.replace(what, ref=e.ProviderRef(f"out-{what.message}"), segments=1 + len(self.units) % 3)
        if isinstance(what, e.TextAccepted | e.TextRejected | e.TextReported) and what.message == "none":
            return  # nothing has been sent
        if isinstance(what, e.MediaUploaded):
            self._mine += 1
            what = msgspec.structs.replace(what, token=f"{self.ident}-{self._mine}")
        try:
            self.tell(what)
        except UnexpectedEvent:
            return

    @property
    def lines_so_far(self) -> list[Line]:
        """The timeline."""
        lines = [line for _, unit in self.units for line in unit.timeline]
        return [Line(n, line.at, line.kind, line.data) for n, line in enumerate(lines, 1)]

    @property
    def session_told(self) -> Told:
        """What a reader of facts is given of it."""
        state = self.state
        names = {str(agent): name for agent, name in state.names.items()}
        return Told(self.ident, state.opened_at, state.closed_at, state.service, tuple(self.lines_so_far), names)


def conversation(ident: str, at: float, chance: random.Random, *, watch: Any = None) -> Told_:
    """One that goes some way, and then as chance has it.

    Args:
        ident: Of the session.
        at: When it begins.
        chance: Decides everything.
        watch: Called with the story after every attempt.
    """
    menu = chance.choice([None, None, text_menu()])
    path = chance.choice(PATHS)
    service = "call" if path[:1] == ("arrive",) else chance.choice(["inbound", "inbound", "direct"])
    story = Told_(
        ident,
        at,
        chance.choice([*CALLERS, None]) if chance.random() < 0.1 else chance.choice(CALLERS),
        flow=support(),
        menu=menu,
        rules=chance.choice([None, RULES]),
        service=service,
        **({"direct": ANN} if service == "direct" else {}),
    )
    names = [*path, *chance.choices(NAMES, k=chance.randrange(12))]
    for name in names:
        if chance.random() < 0.8:
            story.wait(round(chance.choice([0.0, 0.5, 3.0, 7.0, 15.0, 40.0, 200.0, 1_000.0]) * chance.random()))
        story.attempt(name)
        if watch is not None:
            watch(story)
    return story


def busy_day(seed: int, since: float, seconds: float, conversations: int) -> tuple[list[Told_], list[AgentStateRow]]:
    """Conversations that begin within so many seconds, and what agents were doing meanwhile."""
    chance = random.Random(seed)
    stories = [conversation(f"d{seed}-{n}", since + round(chance.random() * seconds), chance) for n in range(conversations)]
    stories = [story for story in stories if story.units]
    changes: list[tuple[float, e.AgentId, str]] = []
    for agent in (ANN, BEN):
        at = since - 1_000.0
        while at < since + seconds:
            changes.append((at, agent, chance.choice(["ready", "ready", "not_ready", "offline"])))
            at += round(chance.random() * seconds / 6)
    for story in stories:
        for at, agent in story.releases:
            changes += [(at + 1.0, agent, "wrap_up"), (at + 1.0 + round(60 * chance.random()), agent, "ready")]
    rows, last = [], dict[e.AgentId, str]()
    for at, agent, state in sorted(changes, key=lambda change: change[0]):
        if last.get(agent) != state:
            rows.append(AgentStateRow(agent=agent, state=state, since=at))
            last[agent] = state
    return stories, rows


def names_of(stories: Sequence[Told_]) -> Mapping[str, Told_]:
    """By the session's id."""
    return {story.ident: story for story in stories}
