"""Measures what alerts watch, and tells who wants to know: the boards, by mail, and as a hook.

Of several nodes one measures and tells; the others show what it has raised.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import structlog

from bridge import events as e
from bridge.alerts import Alarms, Alert, Change, Rule
from bridge.journal import Unit
from bridge.legs import LIVE
from bridge.news import News
from bridge.notices import notices_of_alert
from bridge.runner import Runner
from bridge.supervisor.boards import Boards

log = structlog.get_logger()

KEY = "alerts"
"""Under which the journal keeps what has been raised."""
SEEN = "alerts.seen"
"""The same of who looks after them: any node may write that."""
MOST_SEEN = 500
"""Of these the newest are kept."""
TOPIC = "alerts"
"""What other nodes are told of: something has been raised, is over, or is being looked after."""
Calibration = Callable[[], int]
"""How many queues' estimates are off just now."""


class Letters(Protocol):
    """Who sends a mail."""

    async def send_alert(self, mail: str, to: str, subject: str, words: str) -> None:
        """Put a mail into the spool; *mail* is its id: the same one again is the same mail."""


class Alerting:
    """Looks every few seconds, and tells each event once.

    Args:
        runner: Whose settings, floor and journal these are.
        boards: What has been counted.
        title: What people call a queue.
        news: How other nodes are told, and tell; None: there are none.
    """

    def __init__(
        self,
        runner: Runner,
        boards: Boards,
        *,
        title: Callable[[str], str],
        news: News | None = None,
    ) -> None:
        self._runner = runner
        self._boards = boards
        self.letters: Letters | None = None
        """Who sends mails; None: nobody does."""
        self.calibration: Calibration | None = None
        """Measures `calibration`; None: it is not known."""
        self._title = title
        self._settings = runner.settings
        self._news = news
        self._turn = asyncio.Lock()
        """Held while `alarms` are changed or made anew."""
        self._dead_letters = 0
        self._kept: tuple[bytes | None, bytes | None] = (None, None)
        """What the journal had at the last look."""
        self.alarms = Alarms(_rules(runner))

    async def load(self) -> None:
        """Show what has been raised, by the process before this one or by the node that measures."""
        async with self._turn:
            await self._restore()

    async def take_over(self) -> None:
        """Measure from now on, and go on from what has been raised."""
        async with self._turn:
            await self._tell(await self._restore())

    async def _restore(self) -> list[Change]:
        """What is in the journal, in place of what was known here."""
        journal, now = self._runner.journal, self._runner.clock()
        saved, seen = self._kept = await journal.value(KEY), await journal.value(SEEN)
        self._settings = self._runner.settings
        self.alarms = Alarms(_rules(self._runner))
        changes = [] if saved is None else self.alarms.restore(msgspec.json.decode(saved), now)
        self._see(seen)
        return changes

    def _see(self, seen: bytes | None) -> None:
        """Know who looks after what."""
        for alert, (by, at) in _seen(seen).items():
            self.alarms.acknowledge(alert, by, at)

    async def refresh(self, *, measures: bool) -> None:
        """See what another node has done since; *measures*: what has been raised is known here best."""
        async with self._turn:
            journal, before = self._runner.journal, self._kept
            self._kept = (before[0] if measures else await journal.value(KEY)), await journal.value(SEEN)
            if self._kept == before:
                return
            if measures:
                self._see(self._kept[1])
            else:
                await self._restore()
        self._boards.changed()

    async def look(self) -> None:
        """Measure everything, and tell what has changed."""
        async with self._turn:
            await self._look()

    async def _look(self) -> None:
        now, floor = self._runner.clock(), self._runner.floor
        changes: list[Change] = []
        if self._settings is not self._runner.settings:
            self._settings = self._runner.settings
            changes += self.alarms.watch(_rules(self._runner), now)
        if any(rule.measure == "dead_letters" for rule in self.alarms.rules):
            self._dead_letters = sum((await self._runner.journal.dead_letters_by_endpoint()).values())
        subjects: dict[Any, Sequence[str]] = {"queue": tuple(floor.queues), "agent": floor.acd.agents}
        changes += self.alarms.look(subjects, lambda rule, subject: self._measure(rule, subject, now), now)
        await self._tell(changes)

    async def acknowledge(self, alert: str, by: str) -> bool:
        """As `Alarms.acknowledge`, and kept."""
        now = self._runner.clock()
        if not any(raised.id == alert and raised.acknowledged_at is None for raised in self.alarms.active):
            return False

        def note(kept: bytes | None) -> bytes:
            seen = {alert: (by, now), **_seen(kept)}  # whoever was first does
            newest = sorted(seen.items(), key=lambda each: each[1][1])[-MOST_SEEN:]
            return msgspec.json.encode(dict(newest))

        seen = await self._runner.journal.change_value(SEEN, note)
        self._see(seen)
        await self._spread()
        return _seen(seen).get(alert) == (by, now)

    # --- telling

    async def _tell(self, changes: list[Change]) -> None:
        if not changes:
            return
        rules = {rule.name: rule for rule in self.alarms.rules}
        unit = Unit()
        for change in changes:
            alert, rule = change.alert, rules.get(change.alert.rule)
            about = {"rule": alert.rule, "subject": alert.subject, "measure": alert.measure, "value": alert.value}
            if change.kind == "raised":
                log.warning("alert.raised", **about)
            else:
                log.info("alert.cleared", **about)
            if rule is not None and "hook" in rule.to:
                unit.notices.extend(notices_of_alert(change, endpoints=self._runner.hook_rules))
        await self._keep(unit)
        self._boards.changed()
        for change in changes:
            changed = rules.get(change.alert.rule)
            if changed is not None and "mail" in changed.to and self.letters is not None:
                await self._write(changed, change, self.letters)

    async def _keep(self, unit: Unit) -> None:
        unit.kv[KEY] = msgspec.json.encode(self.alarms.save())
        await self._runner.commit(unit)
        await self._spread()

    async def _spread(self) -> None:
        if self._news is not None:
            await self._news.tell(TOPIC)

    async def _write(self, rule: Rule, change: Change, letters: Letters) -> None:
        subject, words = self._words(change)
        for to in rule.mail:
            name = hashlib.sha256(f"{change.kind} {change.alert.id} {to}".encode()).hexdigest()[:32]
            await letters.send_alert(name, to, subject, words)

    def _words(self, change: Change) -> tuple[str, str]:
        """Subject and text of a mail, in English: its readers are not known."""
        alert = change.alert
        about = self._about(alert)
        state = "over" if change.kind == "cleared" else "alert"
        lines = [
            f"{alert.rule}{about}",
            "",
            f"Measured: {alert.measure} {alert.value:g}, threshold {alert.threshold:g}, worst {alert.worst:g}",
            f"Beyond it since {_moment(alert.since)}",
        ]
        if alert.cleared_at is not None:
            lines.append(f"Over at {_moment(alert.cleared_at)}")
        if alert.acknowledged_by is not None:
            lines.append(f"Seen to by {alert.acknowledged_by}")
        return f"{state}: {alert.rule}{about}", "\n".join(lines)

    def _about(self, alert: Alert) -> str:
        if alert.on == "queue":
            return f", {self._title(alert.subject)}"
        acd = self._runner.floor.acd
        known = alert.on == "agent" and alert.subject in acd.agents
        return f", {acd.agent_spec(e.AgentId(alert.subject)).name}" if known else ""

    # --- measuring

    def _measure(self, rule: Rule, subject: str, now: float) -> float | None:
        match rule.on:
            case "queue":
                return self._of_queue(rule, subject, now)
            case "agent":
                return self._of_agent(rule, e.AgentId(subject), now)
            case "service":
                return self._of_everything(rule, now)

    def _of_queue(self, rule: Rule, queue: str, now: float) -> float | None:
        floor = self._runner.floor
        view = floor.acd.queue_view(e.QueueId(queue), now)
        match rule.measure:
            case "service_level":
                return self._boards.day.recently(queue, rule.window, now).service_level
            case "abandoned":
                return float(self._boards.day.recently(queue, rule.window, now).abandoned)
            case "ewt_p90":
                return floor.estimator.forecast(now, queue).p90
            case "longest_wait":
                return view.longest_wait
            case measure:
                return float(getattr(view, measure))

    def _of_agent(self, rule: Rule, agent: e.AgentId, now: float) -> float | None:
        view = self._runner.floor.acd.agent_view(agent)
        match rule.measure:
            case "state_for":
                # Who is off duty is in no state that anybody has to look after.
                return None if view.state == "offline" else now - view.since
            case "missed":
                return float(self._boards.day.missed(agent, rule.window, now))
            case _:
                since = self._boards.unanswered_since(agent)
                return 0.0 if since is None else now - since

    def _of_everything(self, rule: Rule, now: float) -> float | None:
        runner = self._runner
        match rule.measure:
            case "texts_failed":
                return float(self._boards.day.failed_texts(rule.window, now))
            case "calls":
                return float(sum(live.state.call in LIVE for live in runner.sessions.values()))
            case "sessions":
                return float(len(runner.sessions))
            case "waiting":
                return float(sum(runner.floor.acd.queue_view(e.QueueId(queue), now).waiting for queue in runner.floor.queues))
            case "dead_letters":
                return float(self._dead_letters)
            case _:
                return None if self.calibration is None else float(self.calibration())


def _seen(kept: bytes | None) -> Mapping[str, tuple[str, float]]:
    """By alert, who looks after it and since when."""
    return {} if kept is None else msgspec.json.decode(kept, type=dict[str, tuple[str, float]])


def _rules(runner: Runner) -> list[Rule]:
    return [alert.rule for alert in runner.settings.alerts]


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
