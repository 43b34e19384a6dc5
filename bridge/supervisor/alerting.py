"""Measures what alerts watch, and tells who wants to know: the boards, by mail, and as a hook."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import structlog

from bridge import events as e
from bridge.alerts import Alarms, Alert, Change, Rule
from bridge.journal import Unit
from bridge.notices import notices_of_alert
from bridge.runner import Runner
from bridge.supervisor.boards import Boards

log = structlog.get_logger()

KEY = "alerts"
"""Under which the journal keeps what has been raised."""
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
    """

    def __init__(
        self,
        runner: Runner,
        boards: Boards,
        *,
        title: Callable[[str], str],
    ) -> None:
        self._runner = runner
        self._boards = boards
        self.letters: Letters | None = None
        """Who sends mails; None: nobody does."""
        self.calibration: Calibration | None = None
        """Measures `calibration`; None: it is not known."""
        self._title = title
        self._settings = runner.settings
        self.alarms = Alarms(_rules(runner))

    async def load(self) -> None:
        """Go on from what the process before this one had raised."""
        saved = await self._runner.journal.value(KEY)
        if saved is not None:
            await self._tell(self.alarms.restore(msgspec.json.decode(saved), self._runner.clock()))

    async def look(self) -> None:
        """Measure everything, and tell what has changed."""
        now, floor = self._runner.clock(), self._runner.floor
        changes: list[Change] = []
        if self._settings is not self._runner.settings:
            self._settings = self._runner.settings
            changes += self.alarms.watch(_rules(self._runner), now)
        subjects: dict[Any, Sequence[str]] = {"queue": tuple(floor.queues), "agent": floor.acd.agents}
        changes += self.alarms.look(subjects, lambda rule, subject: self._measure(rule, subject, now), now)
        await self._tell(changes)

    async def acknowledge(self, alert: str, by: str) -> bool:
        """As `Alarms.acknowledge`, and kept."""
        done = self.alarms.acknowledge(alert, by, self._runner.clock())
        if done:
            await self._keep(Unit())
        return done

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
                return float(runner.calls)
            case "sessions":
                return float(len(runner.sessions))
            case "waiting":
                return float(sum(runner.floor.acd.queue_view(e.QueueId(queue), now).waiting for queue in runner.floor.queues))
            case "dead_letters":
                return sum(sample.value for family in runner.metrics.dead_letters.collect() for sample in family.samples)
            case _:
                return None if self.calibration is None else float(self.calibration())


def _rules(runner: Runner) -> list[Rule]:
    return [alert.rule for alert in runner.settings.alerts]


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
