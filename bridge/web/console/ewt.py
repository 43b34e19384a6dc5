"""The page of waiting times: what is forecast now and why, and how good the forecasts have been."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from babel.dates import format_datetime
from babel.numbers import format_decimal

from bridge.hindsight import THRESHOLDS, Alarm, HalfHour, Report
from bridge.web.access import Right
from bridge.web.console.guard import Guard, Who, shell_page
from bridge.web.console.signin import SignInPages
from bridge.web.console.supervisor_words import reason_words
from bridge.web.console.timeline import duration
from bridge.web.console.views import page
from bridge.web.console.words import gettext as _
from bridge.web.console.words import locale, ngettext
from bridge.web.ports_ewt import Calibration, QueueWait, UnknownLineError, Waits

DAY = 86_400.0
RANGES = (1, 7, 28)
"""Days that can be looked at."""
LEAST_WORTH_SHOWING = 20
"""Outcomes of half an hour with fewer of which nothing can be said."""


class Bar(msgspec.Struct, frozen=True):
    """p10 to p90 as a picture: per cent of its width."""

    low: float
    high: float
    middle: float
    longest: str
    """What the right edge stands for."""


class Card(msgspec.Struct, frozen=True):
    """One queue, in words."""

    wait: QueueWait
    figure: str
    """p50 to p90, or why there is none."""
    status: str
    basis: str
    bar: Bar | None
    why: tuple[str, ...]
    chances: tuple[tuple[str, str], ...]
    """(how long, how probable)."""
    decision: str
    """Whether texting would be offered; empty for a queue of chats."""
    reason: str
    texting: str
    """The queue for chats that would take them; empty without one."""
    said: str
    """What callers are told."""
    alarm: str
    planned: str
    """Until when staff is planned; empty without a plan."""


class EwtPages:
    """`/ewt`, for who looks after the estimates.

    Args:
        waits: What is shown.
        sign_in: Knows who is signed in.
        now: Seconds since the epoch.
    """

    def __init__(self, waits: Waits, sign_in: SignInPages, now: Callable[[], float]) -> None:
        self._waits = waits
        self._guard = Guard(sign_in)
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        """The page, and the part of it that is renewed by itself."""
        return [
            web.get("/ewt", self._guard.reads(Right.CALIBRATION, self._page)),
            web.get("/ewt/now", self._guard.reads(Right.CALIBRATION, self._present)),
        ]

    async def _page(self, request: web.Request, who: Who) -> web.Response:
        written = request.query.get("days", "")
        days = int(written) if written in {str(days) for days in RANGES} else 7
        queue = request.query.get("queue") or None
        now = self._now()
        try:
            calibration = await self._waits.calibration(now - days * DAY, now, queue)
        except UnknownLineError:
            raise web.HTTPFound("/ewt") from None
        waits = await self._waits.queues()
        return shell_page(
            "ewt.html",
            request,
            who,
            here="ewt",
            cards=_cards(waits),
            queues=[(wait.queue, wait.title) for wait in waits],
            titles={wait.queue: wait.title for wait in waits},
            queue=queue or "",
            days=days,
            ranges=[(each, ngettext("%(n)s day", "%(n)s days", each)) for each in RANGES],
            calibration=calibration,
            tiles=_tiles(calibration.report),
            alarms={name: alarm_words(alarm) for name, alarm in calibration.alarms.items()},
            rows=_rows(calibration, {wait.queue: wait.title for wait in waits}),
            half_hours=[_half_hour(each) for each in calibration.report.half_hours],
            steps=[
                (
                    limit,
                    [(_share(step.forecast), _share(step.observed), step.n) for step in calibration.report.reliability[limit]],
                )
                for limit in THRESHOLDS
            ],
            data=_chart_data(calibration.report),
        )

    async def _present(self, request: web.Request, who: Who) -> web.Response:
        del who
        return page("ewt_now.html", request, cards=_cards(await self._waits.queues()))


# --- now


def _cards(waits: Sequence[QueueWait]) -> list[Card]:
    longest = max((wait.p90 for wait in waits if wait.p90 is not None), default=0.0)
    return [_card(wait, longest) for wait in waits]


def _card(wait: QueueWait, longest: float) -> Card:
    quantiles = None if wait.status == "free_agent" else (wait.p10, wait.p50, wait.p90)
    decision, reason = "", ""
    if wait.decision is not None:
        decision = _("Texting is offered") if wait.decision.offer_sms else _("Texting is not offered")
        reason = reason_words(wait.decision.reason)
    return Card(
        wait=wait,
        figure=_figure(wait),
        status=_status(wait.status),
        basis=_basis(wait),
        bar=_bar(quantiles, longest),
        why=tuple(_why(wait)),
        chances=tuple(
            (_about(float(seconds)), _share(p)) for seconds, p in wait.prob_ge.items() if p is not None and quantiles is not None
        ),
        decision=decision,
        reason=reason,
        texting=_texting(wait),
        said=_said(wait),
        alarm="" if wait.alarm is None else alarm_words(wait.alarm),
        planned="" if wait.plan_until is None else _until(wait.plan_until),
    )


def _figure(wait: QueueWait) -> str:
    if wait.status == "free_agent":
        return _("no wait")
    if wait.p50 is None or wait.p90 is None:
        return _("not known")
    return _("%(low)s to %(high)s", low=_about(wait.p50), high=_about(wait.p90))


def _about(seconds: float) -> str:
    """Seconds below a minute, else minutes, as precise as it is worth."""
    if seconds < 60:
        return _("%(n)s s", n=round(seconds))
    minutes = round(seconds / 60, 1) if seconds < 600 else round(seconds / 60)
    return _("%(n)s min", n=format_decimal(minutes, locale=locale()))


def _until(at: float) -> str:
    """Day and time in UTC."""
    return str(format_datetime(datetime.fromtimestamp(at, UTC), "short", locale=locale()))


def _status(status: str) -> str:
    return {
        "ok": _("Waiting"),
        "free_agent": _("Somebody is free"),
        "no_agents": _("Nobody works it"),
        "closed": _("Closed"),
        "degraded": _("Not known"),
    }.get(status, status)


def _basis(wait: QueueWait) -> str:
    return {
        "learned": ngettext("learned from %(n)s wait", "learned from %(n)s waits", wait.outcomes_seen),
        "prior": _("a first guess"),
        "plan": _("with the planned staff"),
    }.get(wait.basis, wait.basis)


def _why(wait: QueueWait) -> list[str]:
    """What the forecast is made of."""
    told = []
    if wait.ahead is not None:
        told.append(_("%(n)s ahead", n=_number(wait.ahead)))
    if wait.capacity is not None:
        told.append(
            ngettext("%(n)s agent", "%(n)s agents", wait.capacity)
            if wait.channel == "voice"
            else ngettext("%(n)s place for chats", "%(n)s places for chats", wait.capacity)
        )
    if wait.drain_per_min is not None:
        told.append(_("%(n)s taken a minute", n=_number(wait.drain_per_min)))
    if wait.abandon_per_min is not None:
        told.append(_("%(n)s give up a minute", n=_number(wait.abandon_per_min)))
    if wait.longest_wait is not None:
        told.append(_("the first has waited %(time)s", time=duration(round(wait.longest_wait))))
    return told


def _texting(wait: QueueWait) -> str:
    if wait.sms is None:
        return ""
    places = ngettext("%(n)s place for a chat is open", "%(n)s places for chats are open", wait.sms.open_slots)
    if wait.sms.p50 is None or wait.sms.p90 is None:
        return places
    if wait.sms.p90 < 1:
        return _("a text is answered at once; %(places)s", places=places)
    spell = _("%(low)s to %(high)s", low=_about(wait.sms.p50), high=_about(wait.sms.p90))
    return _("a text waits %(time)s; %(places)s", time=spell, places=places)


def _said(wait: QueueWait) -> str:
    told = wait.announce
    if told.high_min is None or told.low_min is None:
        return {
            "prior": _("No number is told: too little has been seen."),
            "no_agents": _("No number is told: nobody works the queue."),
            "wide": _("No number is told: it could be anything."),
        }.get(told.silence or "", _("No number is told."))
    if told.high_min <= 1:
        return _("Told: less than a minute")
    if told.low_min == told.high_min:
        return _("Told: about %(n)s minutes", n=told.high_min)
    return _("Told: %(low)s to %(high)s minutes", low=told.low_min, high=told.high_min)


def _bar(quantiles: tuple[float | None, float | None, float | None] | None, longest: float) -> Bar | None:
    if quantiles is None or longest <= 0:
        return None
    low, middle, high = quantiles
    if low is None or middle is None or high is None:
        return None
    low, middle, high = (round(100.0 * each / longest, 1) for each in (low, middle, high))
    return Bar(low, high, middle, _about(longest))


def alarm_words(alarm: Alarm) -> str:
    """What is wrong with the forecasts of a queue."""
    return {
        "too_narrow": _("Forecasts are surer than they should be: waits lie outside p10 to p90 too often."),
        "too_wide": _("Forecasts are less sure than they could be: nearly all waits lie within p10 to p90."),
        "too_short": _("Waits are longer than forecast, by more than a quarter."),
        "too_long": _("Waits are shorter than forecast, by more than a quarter."),
    }[alarm]


# --- how good they were


class Tile(msgspec.Struct, frozen=True):
    """A figure with its meaning."""

    title: str
    figure: str
    beside: str
    tone: str = ""
    meaning: str = ""


def _tiles(report: Report) -> list[Tile]:
    if report.total is None:
        return []
    scores, ghosts = report.total.scores, report.total.ghosts
    assert scores.coverage is not None
    off = abs(scores.bias) / scores.mean_wait if scores.mean_wait > 0 else 0.0
    return [
        Tile(
            _("Waits"),
            _number(scores.n),
            ngettext("%(n)s of them gave up before", "%(n)s of them gave up before", ghosts),
            meaning=_("Everybody who found nobody free. Who gave up is followed until their turn would have come."),
        ),
        Tile(
            _("Within p10 to p90"),
            _share(scores.coverage),
            _("should be 80 %"),
            tone="good" if 0.7 <= scores.coverage <= 0.9 else "warn" if 0.65 <= scores.coverage <= 0.92 else "bad",
            meaning=_("Share of the waits that lay between the two."),
        ),
        Tile(
            _("Bias"),
            _signed(scores.bias),
            _("of %(time)s on average", time=_about(scores.mean_wait)),
            tone="good" if off <= 0.1 else "warn" if off <= 0.25 else "bad",
            meaning=_("Forecast less wait, on average: positive when too long was forecast."),
        ),
        Tile(
            _("Off by"),
            _about(scores.mae),
            _("on average"),
            meaning=_("Mean absolute error of the median (p50)."),
        ),
        Tile(
            _("Regret at 2 minutes"),
            _("%(n)s s", n=_number(scores.regret[120])),
            _("a contact"),
            meaning=_("Seconds lost by deciding wrongly whether the wait will reach two minutes."),
        ),
    ]


def _rows(calibration: Calibration, titles: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "queue": each.queue,
            "title": titles.get(each.queue, each.queue),
            "n": each.scores.n,
            "ghosts": each.ghosts,
            "wait": _about(each.scores.mean_wait),
            "coverage": _share(each.scores.coverage or 0.0),
            "bias": _signed(each.scores.bias),
            "off": _about(each.scores.mae),
            "brier": f"{each.scores.brier[120]:.3f}",
            "regret": f"{each.scores.regret[120]:.1f}",
        }
        for each in calibration.report.queues
    ]


def _half_hour(each: HalfHour) -> dict[str, Any]:
    return {
        "begins": each.begins,
        "n": each.n,
        "wait": _about(each.mean_wait),
        "forecast": _about(each.mean_forecast),
        "coverage": _share(each.coverage) if each.n >= LEAST_WORTH_SHOWING else "",
        "bias": _signed(each.bias),
    }


def _chart_data(report: Report) -> dict[str, Any]:
    """What the charts are drawn of, with their words."""
    return {
        "reliability": [
            {
                "name": _("%(time)s and more", time=_about(limit)),
                "points": [[round(step.forecast, 4), round(step.observed, 4), step.n] for step in report.reliability[limit]],
            }
            for limit in THRESHOLDS
        ],
        "half_hours": [
            [each.begins, round(each.mean_wait, 1), round(each.mean_forecast, 1), round(each.coverage, 3), each.n]
            for each in report.half_hours
        ],
        "least": LEAST_WORTH_SHOWING,
        "words": {
            "forecast": _("Forecast probability"),
            "observed": _("Share that waited as long"),
            "ideal": _("as it should be"),
            "waited": _("Wait of"),
            "wait": _("Wait"),
            "foretold": _("Forecast"),
            "coverage": _("Within p10 to p90"),
            "aim": _("80 %"),
            "waits": _("waits"),
            "minutes": _("minutes"),
        },
    }


def _share(share: float) -> str:
    return _("%(n)s %%", n=round(100 * share))


def _signed(seconds: float) -> str:
    return f"{'+' if seconds >= 0 else '-'}{_about(abs(seconds))}"


def _number(value: float) -> str:
    return format_decimal(round(value, 1) if value < 10 else round(value), locale=locale())
