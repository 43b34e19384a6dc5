"""Alerts: when a measure stays beyond its threshold somebody is told once, and once more when it is over.

Pure: the time and what is measured come in, changes go out. A short peak raises nothing (`lasting`), and a measure that
wavers about its threshold does not raise the same alert again and again: it is over only when the measure has been well
inside for as long as it took to raise it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec

Subject: TypeAlias = Literal["queue", "agent", "service"]
"""What is measured: each queue, each agent, or the service as a whole."""
Recipient: TypeAlias = Literal["board", "mail", "hook"]

MEASURES: Mapping[Subject, tuple[str, ...]] = MappingProxyType(
    {
        "queue": ("waiting", "longest_wait", "service_level", "ewt_p90", "abandoned", "agents_ready", "open_slots"),
        "agent": ("state_for", "missed", "unanswered"),
        "service": ("texts_failed", "calls", "sessions", "waiting", "dead_letters", "calibration"),
    }
)
"""What can be measured of each kind of subject."""
MARGIN = 0.1
"""Part of the threshold by which a measure has to be inside before the alert is over."""
KEPT = 500
"""Alerts that are over and still remembered."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When to raise an alert.

    Raises:
        ValueError: It names a measure that its subject does not have, or not exactly one of *above* and *below*.
    """

    name: str
    on: Subject
    measure: str
    above: float | None = None
    """Raised while the measure is greater."""
    below: float | None = None
    """Raised while the measure is smaller."""
    lasting: float = 60.0
    """Seconds for which it must be so without a break; the same for the way back."""
    window: float = 900.0
    """Seconds over which counts and shares are taken."""
    of: tuple[str, ...] = ()
    """Queues or agents; none: all."""
    to: tuple[Recipient, ...] = ("board",)
    mail: tuple[str, ...] = ()
    """Addresses."""

    def __post_init__(self) -> None:
        if self.measure not in MEASURES[self.on]:
            raise ValueError(f"{self.on} has no measure {self.measure!r}; there are {', '.join(MEASURES[self.on])}")
        if (self.above is None) == (self.below is None):
            raise ValueError("say either above or below")

    @property
    def threshold(self) -> float:
        """The limit, whichever side it is for."""
        limit = self.above if self.above is not None else self.below
        assert limit is not None
        return limit

    def beyond(self, value: float | None) -> bool:
        """Whether *value* is on the wrong side; what is not known is not."""
        if value is None:
            return False
        return value > self.above if self.above is not None else value < self.threshold

    def inside(self, value: float | None) -> bool:
        """Whether *value* is well on the right side again. What is not known counts as such: nothing is left to look at."""
        if value is None:
            return True
        slack = abs(self.threshold) * MARGIN
        if self.above is not None:
            return value <= self.above - slack
        # Of a share no more than all can be asked.
        return value >= (min(1.0, self.threshold + slack) if self.measure == "service_level" else self.threshold + slack)


class Alert(msgspec.Struct, frozen=True):
    """One event: from the moment it was raised until it was over."""

    id: str
    """Name of the rule, subject and time: the same event has the same id everywhere."""
    rule: str
    on: Subject
    subject: str
    """Queue or agent; empty for the service."""
    measure: str
    threshold: float
    since: float
    """When the measure went beyond the threshold."""
    raised_at: float
    value: float
    """The newest measure; of an alert that is over the last one beyond."""
    worst: float
    acknowledged_by: str | None = None
    acknowledged_at: float | None = None
    cleared_at: float | None = None


class Change(msgspec.Struct, frozen=True):
    """An alert was raised, or is over."""

    kind: Literal["raised", "cleared"]
    alert: Alert


class _Watch(msgspec.Struct):
    """One rule on one subject."""

    beyond_since: float | None = None
    inside_since: float | None = None
    alert: Alert | None = None


class Alarms:
    """Every rule on every subject.

    Args:
        rules: What to watch.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._over: deque[Alert] = deque(maxlen=KEPT)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What is watched."""
        return tuple(self._rules.values())

    @property
    def active(self) -> tuple[Alert, ...]:
        """Alerts that are raised now, the newest first."""
        raised = [watch.alert for watch in self._watches.values() if watch.alert is not None]
        return tuple(sorted(raised, key=lambda alert: -alert.raised_at))

    @property
    def over(self) -> tuple[Alert, ...]:
        """Alerts that are over, the newest first."""
        return tuple(reversed(self._over))

    def watch(self, rules: Iterable[Rule], now: float) -> list[Change]:
        """Go by other rules from now on. Alerts of rules that are gone are over."""
        self._rules = {rule.name: rule for rule in rules}
        return self._forget(lambda name, _: name not in self._rules, now)

    def look(
        self, subjects: Mapping[Subject, Iterable[str]], measure: Callable[[Rule, str], float | None], now: float
    ) -> list[Change]:
        """Measure everything once.

        Args:
            subjects: Every queue and every agent there is; `service` needs none.
            measure: The measure of a rule on a subject; None: not known, or nothing to measure.
            now: Seconds since the epoch, never before the look before.
        """
        changes, seen = [], set()
        for rule in self._rules.values():
            there = ("",) if rule.on == "service" else subjects.get(rule.on, ())
            for subject in there:
                if rule.of and subject not in rule.of:
                    continue
                seen.add((rule.name, subject))
                watch = self._watches.setdefault((rule.name, subject), _Watch())
                change = self._step(rule, subject, watch, measure(rule, subject), now)
                if change is not None:
                    changes.append(change)
        return changes + self._forget(lambda name, subject: (name, subject) not in seen, now)

    def acknowledge(self, alert: str, by: str, now: float) -> bool:
        """Somebody looks after it. False: it is not raised (any more), or somebody does already."""
        for watch in self._watches.values():
            raised = watch.alert
            if raised is not None and raised.id == alert and raised.acknowledged_at is None:
                watch.alert = msgspec.structs.replace(raised, acknowledged_by=by, acknowledged_at=now)
                return True
        return False

    # --- over a restart

    def save(self) -> dict[str, Any]:
        """What must not be forgotten, as JSON: what has been raised is not raised again."""
        return {
            "active": [msgspec.to_builtins(alert) for alert in self.active],
            "over": [msgspec.to_builtins(alert) for alert in self._over],
        }

    def restore(self, saved: Mapping[str, Any], now: float) -> list[Change]:
        """Go on from what `save` gave; alerts of rules that are gone meanwhile are over."""
        self._over.extend(msgspec.convert(saved.get("over", []), list[Alert]))
        for alert in msgspec.convert(saved.get("active", []), list[Alert]):
            self._watches[alert.rule, alert.subject] = _Watch(beyond_since=alert.since, alert=alert)
        return self._forget(lambda name, _: name not in self._rules, now)

    # --- how it is done

    def _step(self, rule: Rule, subject: str, watch: _Watch, value: float | None, now: float) -> Change | None:
        if rule.beyond(value):
            assert value is not None
            watch.inside_since = None
            if watch.beyond_since is None:
                watch.beyond_since = now
            if watch.alert is not None:
                worst = max(watch.alert.worst, value) if rule.above is not None else min(watch.alert.worst, value)
                watch.alert = msgspec.structs.replace(watch.alert, value=value, worst=worst)
            elif now - watch.beyond_since >= rule.lasting:
                return self._raise(rule, subject, watch, value, now)
            return None
        if watch.alert is None:
            watch.beyond_since = None
            return None
        if not rule.inside(value):
            watch.inside_since = None
            return None
        if watch.inside_since is None:
            watch.inside_since = now
        return self._clear(watch, now) if now - watch.inside_since >= rule.lasting else None

    @staticmethod
    def _raise(rule: Rule, subject: str, watch: _Watch, value: float, now: float) -> Change:
        assert watch.beyond_since is not None
        watch.alert = Alert(
            f"{rule.name}:{subject}:{int(now)}",
            rule.name,
            rule.on,
            subject,
            rule.measure,
            rule.threshold,
            watch.beyond_since,
            now,
            value,
            value,
        )
        return Change("raised", watch.alert)

    def _clear(self, watch: _Watch, now: float) -> Change:
        assert watch.alert is not None
        over = msgspec.structs.replace(watch.alert, cleared_at=now)
        watch.alert = watch.beyond_since = watch.inside_since = None
        self._over.append(over)
        return Change("cleared", over)

    def _forget(self, gone: Callable[[str, str], bool], now: float) -> list[Change]:
        """Rules or subjects that are no more."""
        changes = []
        for key in [key for key in self._watches if gone(*key)]:
            if self._watches[key].alert is not None:
                changes.append(self._clear(self._watches[key], now))
            del self._watches[key]
        return changes
