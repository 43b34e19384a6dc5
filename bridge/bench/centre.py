"""A simulated contact centre that knows how long everybody would have waited.

Who hangs up goes on standing in line as a ghost: an agent whose turn it is to take a ghost takes it and is free again in the
same moment. So every contact has a wait, and nothing has to be guessed when estimates are judged.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Literal, TypeAlias

from bridge.bench.rivals import Candidate
from bridge.events import Channel
from bridge.hindsight import Told

HOUR = 3600.0
Steps: TypeAlias = tuple[tuple[float, float], ...]
"""(from when on, how much), in order; the first holds from the beginning."""


@dataclass(frozen=True)
class Line:
    """A queue and who comes to it. Times are seconds."""

    id: str
    per_hour: Steps
    """Arrivals."""
    handle: float
    """Mean handling time."""
    channel: Channel = "voice"
    spread: float | None = 1.0
    """Standard deviation of the handling time by its mean (log-normal); None: exponential."""
    patience: float | None = 300.0
    """Mean time after which people hang up (exponential); None: never."""
    hasty: float = 0.0
    """Share of people whose patience is a fifth of that."""
    urgent: tuple[tuple[int, float], ...] = ((1, 1.0),)
    """(priority, share); 0 is most urgent."""
    handle_factor: Steps = ((0.0, 1.0),)
    """Times when contacts take longer."""


@dataclass(frozen=True)
class Team:
    """Agents with the same queues."""

    queues: tuple[str, ...]
    size: Steps
    """Agents at work: breaks, returns, outages."""
    chats: int = 0
    """At once; with a chat more than one open, no call is taken, and during a call no chat."""


@dataclass(frozen=True)
class Scenario:
    """A day, or part of one."""

    name: str
    about: str
    seconds: float
    lines: tuple[Line, ...]
    teams: tuple[Team, ...]
    aht_guess: float = 240.0
    """What an operator would have typed in."""
    patience_guess: float = 300.0

    def plan(self, queue: str) -> list[tuple[float, int]]:
        """How many agents, or places for chats, the queue has from when on."""
        line = next(line for line in self.lines if line.id == queue)
        teams = [team for team in self.teams if queue in team.queues]
        times = sorted({at for team in teams for at, _ in team.size})
        return [(at, sum(int(_at(team.size, at)) * _places(team, line.channel) for team in teams)) for at in times]


@dataclass(slots=True, eq=False)
class Contact:
    """Somebody who came."""

    id: str
    line: Line
    priority: int
    at: float
    handle: float
    told: dict[str, Told] = field(default_factory=dict)
    """By candidate, what was forecast; empty for one who found somebody free."""
    ghost: bool = False
    wait: float | None = None
    """Until an agent had them, or would have; None: not within the time that was simulated."""


@dataclass(slots=True, eq=False)
class _Agent:
    id: str
    team: Team
    present: bool = False
    on_call: bool = False
    chats: int = 0
    idle_since: float = 0.0

    @property
    def room(self) -> tuple[int, int]:
        """Calls and chats that could be taken."""
        if not self.present or self.on_call:
            return 0, 0
        return int(self.chats <= 1), max(0, self.team.chats - self.chats)

    def fits(self, line: Line) -> bool:
        return line.id in self.team.queues and self.room[line.channel == "sms"] > 0


@dataclass(frozen=True, slots=True)
class _Event:
    kind: Literal["comes", "hangs_up", "ends", "in", "out"]
    contact: Contact | None = None
    agent: _Agent | None = None


def simulate(scenario: Scenario, seed: int, candidates: Sequence[Candidate]) -> list[Contact]:
    """Everybody who came, in order, with what the *candidates* forecast and how long it was. The same seed gives the same day."""
    return _Centre(scenario, seed, candidates).run()


class _Centre:
    def __init__(self, scenario: Scenario, seed: int, candidates: Sequence[Candidate]) -> None:
        self._scenario = scenario
        self._chance = random.Random(f"{scenario.name} {seed}")  # noqa: S311  # a day that can be had again
        self._candidates = candidates
        self._numbers = count()
        self._events: list[tuple[float, int, _Event]] = []
        self._waiting: dict[tuple[str, int], deque[Contact]] = {}
        """By queue and priority; ghosts among them."""
        self._agents: list[_Agent] = []
        self._contacts: list[Contact] = []
        self._patience: dict[str, float] = {}
        self._priorities = sorted({priority for line in scenario.lines for priority, _ in line.urgent})

    def run(self) -> list[Contact]:
        self._staff()
        for line in self._scenario.lines:
            for contact, patience in self._arrivals(line):
                self._patience[contact.id] = patience
                self._later(contact.at, _Event("comes", contact))
        while self._events:
            now, _, event = heapq.heappop(self._events)
            if now > self._scenario.seconds + 4 * HOUR:
                break
            self._happens(now, event)
        return sorted(self._contacts, key=lambda contact: contact.at)

    def _later(self, at: float, event: _Event) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), event))

    def _staff(self) -> None:
        for number, team in enumerate(self._scenario.teams):
            here: list[_Agent] = []
            gone: list[_Agent] = []
            for at, size in team.size:
                while len(here) < size:
                    agent = gone.pop() if gone else _Agent(f"agent {number}.{len(here) + 1}", team)
                    if agent not in self._agents:
                        self._agents.append(agent)
                    here.append(agent)
                    self._later(at, _Event("in", agent=agent))
                while len(here) > size:
                    gone.append(here.pop())
                    self._later(at, _Event("out", agent=gone[-1]))

    def _arrivals(self, line: Line) -> Iterator[tuple[Contact, float]]:
        """Contacts and how patient they are; a Poisson process for each step of the rate."""
        chance = self._chance
        ends = [*(at for at, _ in line.per_hour[1:]), self._scenario.seconds]
        for (begin, per_hour), end in zip(line.per_hour, ends, strict=True):
            at = begin
            while per_hour > 0 and (at := at + chance.expovariate(per_hour / HOUR)) < min(end, self._scenario.seconds):
                mean = line.handle * _at(line.handle_factor, at)
                [priority] = chance.choices([p for p, _ in line.urgent], [share for _, share in line.urgent])
                contact = Contact(f"{line.id} {next(self._numbers)}", line, priority, at, self._drawn(mean, line.spread))
                patience = math.inf
                if line.patience is not None:
                    hasty = chance.random() < line.hasty
                    patience = chance.expovariate(1.0 / (line.patience / 5.0 if hasty else line.patience))
                yield contact, patience

    def _drawn(self, mean: float, spread: float | None) -> float:
        if spread is None:
            return self._chance.expovariate(1.0 / mean)
        variance = math.log1p(spread**2)
        return self._chance.lognormvariate(math.log(mean) - variance / 2.0, math.sqrt(variance))

    def _happens(self, now: float, event: _Event) -> None:
        contact, agent = event.contact, event.agent
        match event.kind:
            case "comes":
                assert contact is not None
                self._comes(now, contact)
            case "hangs_up":
                assert contact is not None
                if contact.wait is None:
                    contact.ghost = True
                    for candidate in self._candidates:
                        candidate.abandoned(now, contact.id)
            case "ends":
                assert contact is not None
                assert agent is not None
                self._ends(now, contact, agent)
            case "in":
                assert agent is not None
                agent.present, agent.idle_since = True, now
                for candidate in self._candidates:
                    candidate.login(now, agent.id, agent.team.queues, agent.team.chats)
                self._free(now, agent)
            case "out":
                assert agent is not None
                agent.present = False
                self._tell_room(now, agent)
                for candidate in self._candidates:
                    candidate.logout(now, agent.id)

    def _comes(self, now: float, contact: Contact) -> None:
        line = contact.line
        self._contacts.append(contact)
        fit = [agent for agent in self._agents if agent.fits(line)]
        if not fit:
            contact.told = {candidate.name: candidate.told(now, line.id, contact.priority) for candidate in self._candidates}
        for candidate in self._candidates:
            candidate.joined(now, contact.id, line.id, contact.priority)
        if fit:
            self._take(now, contact, min(fit, key=lambda agent: (agent.chats, agent.idle_since)))
            return
        self._waiting.setdefault((line.id, contact.priority), deque()).append(contact)
        patience = self._patience[contact.id]
        if patience < math.inf:
            self._later(now + patience, _Event("hangs_up", contact))

    def _take(self, now: float, contact: Contact, agent: _Agent) -> None:
        contact.wait = now - contact.at
        if contact.line.channel == "voice":
            agent.on_call = True
        else:
            agent.chats += 1
        for candidate in self._candidates:
            candidate.started(now, contact.id, agent.id)
        self._tell_room(now, agent)
        self._later(now + contact.handle, _Event("ends", contact, agent))

    def _ends(self, now: float, contact: Contact, agent: _Agent) -> None:
        if contact.line.channel == "voice":
            agent.on_call = False
        else:
            agent.chats -= 1
        agent.idle_since = now
        for candidate in self._candidates:
            candidate.ended(now, contact.id, agent.id)
        self._free(now, agent)

    def _free(self, now: float, agent: _Agent) -> None:
        """The agent takes whoever is next, for as long as there is room; ghosts cost no time."""
        while (contact := self._next_for(agent)) is not None:
            self._waiting[contact.line.id, contact.priority].popleft()
            if contact.ghost:
                contact.wait = now - contact.at
            else:
                self._take(now, contact, agent)
        self._tell_room(now, agent)

    def _next_for(self, agent: _Agent) -> Contact | None:
        lines = [line for line in self._scenario.lines if agent.fits(line)]
        for priority in self._priorities:
            heads = [waiting[0] for line in lines if (waiting := self._waiting.get((line.id, priority)))]
            if heads:
                return min(heads, key=lambda contact: contact.at)
        return None

    def _tell_room(self, now: float, agent: _Agent) -> None:
        for candidate in self._candidates:
            candidate.capacity(now, agent.id, *agent.room)


def _at(steps: Steps, at: float) -> float:
    """What holds at a time."""
    for (_, value), (until, _) in pairwise(steps):
        if at < until:
            return value
    return steps[-1][1]


def _places(team: Team, channel: Channel) -> int:
    return 1 if channel == "voice" else team.chats
