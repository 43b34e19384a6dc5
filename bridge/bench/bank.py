"""A log of calls, lived through again: the candidates hear what happened as it happened, and are asked before every call.

A log has a header and one line for each call, in any order:

| column | what |
| --- | --- |
| `month`, `day` | which day; days are taken in the order of the file |
| `join` | second of the day when the call came into the line |
| `type` | the line; the types of `SAME_LINE` stand in one |
| `priority` | `2` goes first |
| `wait` | seconds in the line |
| `outcome` | `S`: served, `A`: hung up |
| `svc` | seconds with the agent |
| `server` | the agent; `-` for nobody |

When agents were there is not in it: one who has had no call for ten minutes had gone. Nor is how long those would have waited
who hung up: until an agent took somebody of the same line who came later, or was free with nobody left in line.
"""

import csv
import gzip
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

from bridge.bench.rivals import Candidate
from bridge.events import Channel
from bridge.hindsight import Told

GONE_AFTER = 600.0
"""Seconds without a call."""
LEAST_SHARE = 0.03
"""Of an agent's calls: lines that they took less often they do not work."""
DAY = 86_400.0
SAME_LINE = {"PE": "PS", "TT": "PS"}
"""Types of the log of the Technion that wait together."""
COLUMNS = ("month", "day", "join", "type", "priority", "wait", "outcome", "svc", "server")
_Kind: TypeAlias = Literal["in", "ends", "hangs_up", "comes", "taken", "out"]
_ORDER: dict[_Kind, int] = {"in": 0, "ends": 1, "hangs_up": 2, "comes": 3, "taken": 4, "out": 5}
"""What comes first of what happens in the same second."""


class CallLogError(ValueError):
    """The file is no log of calls; the message says what is wrong where."""


@dataclass(slots=True, eq=False)
class Call:
    """One call of a log."""

    id: str
    queue: str
    priority: int
    at: float
    waited: float
    served: bool
    handle: float
    agent: str | None
    told: dict[str, Told] = field(default_factory=dict)
    """By candidate; empty for a call that did not wait."""
    wait: float | None = None
    """Until an agent had it, or would have; None: not known."""


@dataclass(frozen=True, slots=True)
class _Event:
    at: float
    kind: _Kind
    call: Call | None = None
    agent: str = ""
    leaves: bool = False
    """After this the agent has gone."""


def read_log(path: Path) -> list[Call]:
    """Every call of a log, plain or gzipped.

    Raises:
        CallLogError: It is none.
        OSError: It cannot be read.
    """
    days: dict[tuple[str, str], int] = {}
    calls = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            rows = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise CallLogError(f"{path}: there is no column {', '.join(missing)}")
            for number, row in enumerate(rows, 2):
                try:
                    day = days.setdefault((row["month"], row["day"]), len(days))
                    calls.append(_call(str(number), day, row))
                except (ValueError, TypeError, AttributeError) as error:
                    raise CallLogError(f"{path}, line {number}: {error}") from error
    except (UnicodeDecodeError, gzip.BadGzipFile, csv.Error) as error:
        raise CallLogError(f"{path}: {error}") from error
    return calls


def _call(name: str, day: int, row: dict[str, str]) -> Call:
    if row["outcome"] not in {"S", "A"}:
        raise ValueError(f"outcome is {row['outcome']!r}, and may be S or A")
    served, agent = row["outcome"] == "S", row["server"].strip()
    return Call(
        id=name,
        queue=SAME_LINE.get(row["type"], row["type"]),
        priority=0 if row["priority"].strip() == "2" else 1,
        at=day * DAY + float(row["join"]),
        waited=float(row["wait"]),
        served=served,
        handle=max(1.0, float(row["svc"])),
        agent=agent if served and agent not in {"", "-"} else None,
    )


def channels_of(calls: Iterable[Call]) -> dict[str, Channel]:
    """Every line of a log."""
    return dict.fromkeys(sorted({call.queue for call in calls}), "voice")


def replay(calls: Sequence[Call], candidates: Sequence[Candidate], progress: Callable[[], None] = lambda: None) -> None:
    """Let the candidates live through it; every call that waited then has what it was told and, if known, its wait.

    Args:
        calls: Of a log.
        candidates: Who forecasts.
        progress: Called after every day.
    """
    skills = _skills(calls)
    by_day: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        by_day[int(call.at // DAY)].append(call)
    for day in sorted(by_day):
        _Day(candidates, skills).live(sorted(_events(by_day[day]), key=lambda event: (event.at, _ORDER[event.kind])))
        progress()


def _skills(calls: Iterable[Call]) -> dict[str, tuple[str, ...]]:
    taken: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for call in calls:
        if call.agent is not None:
            taken[call.agent][call.queue] += 1
    return {
        agent: tuple(queue for queue, n in sorted(queues.items()) if n >= LEAST_SHARE * sum(queues.values()))
        for agent, queues in taken.items()
    }


def _events(calls: Sequence[Call]) -> Iterator[_Event]:
    """What happened on one day."""
    by_agent: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        yield _Event(call.at, "comes", call)
        if not call.served:
            yield _Event(call.at + call.waited, "hangs_up", call)
        elif call.agent is None:
            yield _Event(call.at + call.waited, "taken", call)
            yield _Event(call.at + call.waited + call.handle, "ends", call, leaves=True)
        else:
            by_agent[call.agent].append(call)
    for agent, taken in by_agent.items():
        yield from _shifts(agent, sorted(taken, key=lambda call: call.at + call.waited))


def _shifts(agent: str, calls: Sequence[Call]) -> Iterator[_Event]:
    """An agent's calls, and the times of being there that they tell of."""
    begins = [call.at + call.waited for call in calls]
    ends = [begin + call.handle for begin, call in zip(begins, calls, strict=True)]
    gaps = [after - before > GONE_AFTER for before, after in zip(ends, begins[1:], strict=False)]
    yield _Event(begins[0], "in", agent=agent)
    for call, begin, end, leaves in zip(calls, begins, ends, [*gaps, True], strict=True):
        yield _Event(begin, "taken", call, agent)
        yield _Event(end, "ends", call, agent, leaves)
        if leaves:
            yield _Event(end, "out", agent=agent)
    for (_, following), gap in zip(pairwise(begins), gaps, strict=True):
        if gap:
            yield _Event(following, "in", agent=agent)


class _Day:
    """One day, as the candidates hear it."""

    def __init__(self, candidates: Sequence[Candidate], skills: dict[str, tuple[str, ...]]) -> None:
        self._candidates = candidates
        self._skills = skills
        self._there: set[str] = set()
        self._waiting: dict[str, int] = defaultdict(int)
        self._ghosts: dict[str, list[Call]] = defaultdict(list)

    def live(self, events: Iterable[_Event]) -> None:
        for event in events:
            match event.kind:
                case "in":
                    self._comes_in(event)
                case "out":
                    self._goes(event)
                case "comes":
                    self._comes(event)
                case "hangs_up":
                    self._hangs_up(event)
                case "taken":
                    self._taken(event)
                case "ends":
                    self._ends(event)

    def _comes_in(self, event: _Event) -> None:
        self._there.add(event.agent)
        for candidate in self._candidates:
            candidate.login(event.at, event.agent, self._skills[event.agent], 0)

    def _goes(self, event: _Event) -> None:
        self._there.discard(event.agent)
        for candidate in self._candidates:
            candidate.logout(event.at, event.agent)

    def _comes(self, event: _Event) -> None:
        call = _the(event)
        if call.waited > 0 and any(call.queue in self._skills[agent] for agent in self._there):
            call.told = {candidate.name: candidate.told(event.at, call.queue, call.priority) for candidate in self._candidates}
        self._waiting[call.queue] += 1
        for candidate in self._candidates:
            candidate.joined(event.at, call.id, call.queue, call.priority)

    def _hangs_up(self, event: _Event) -> None:
        call = _the(event)
        self._waiting[call.queue] -= 1
        self._ghosts[call.queue].append(call)
        for candidate in self._candidates:
            candidate.abandoned(event.at, call.id)

    def _taken(self, event: _Event) -> None:
        call = _the(event)
        self._waiting[call.queue] -= 1
        call.wait = call.waited
        for candidate in self._candidates:
            candidate.started(event.at, call.id, event.agent)
        due = [ghost for ghost in self._ghosts[call.queue] if ghost.priority <= call.priority and ghost.at < call.at]
        self._settle(call.queue, due, event.at)

    def _ends(self, event: _Event) -> None:
        call = _the(event)
        for candidate in self._candidates:
            candidate.ended(event.at, call.id, event.agent)
        if event.leaves or event.agent not in self._there:
            return
        # For a moment the agent is free. For how long nobody wrote down: a call that waits says that nobody is.
        for room in (1, 0):
            for candidate in self._candidates:
                candidate.capacity(event.at, event.agent, room, 0)
        for queue in self._skills[event.agent]:
            if not self._waiting[queue]:
                self._settle(queue, list(self._ghosts[queue]), event.at)

    def _settle(self, queue: str, due: Sequence[Call], now: float) -> None:
        for ghost in due:
            ghost.wait = now - ghost.at
            self._ghosts[queue].remove(ghost)


def _the(event: _Event) -> Call:
    assert event.call is not None
    return event.call
