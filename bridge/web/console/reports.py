"""The pages of reports: figures of a time, compared with the time before, drawn, as a table, and the sessions behind them."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, get_args
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from aiohttp import web
from babel.dates import format_datetime, format_skeleton
from babel.numbers import format_currency, format_decimal, format_percent

from bridge.reports.definitions import COUNTED, MEASURES, REPORTS, Dimension, Measure, Report, Unit
from bridge.reports.facts import Kind
from bridge.reports.spans import EVERY, PERIODS, Every, Period, Range, days, period
from bridge.web.access import Right
from bridge.web.console.guard import Guard, Who, shell_page
from bridge.web.console.signin import SignInPages
from bridge.web.console.words import gettext as _
from bridge.web.console.words import locale, marked
from bridge.web.ports_reports import Question, Reporting, Row, Sheet
from bridge.web.report_files import NOTHING, as_csv, as_values, shown

MOST_DAYS = 400
"""Of one report."""
MOST_SPANS = 3_000
"""Rows of a table over time: a month of quarters of an hour."""
MOST_SESSIONS = 200
"""Shown behind one figure."""
TYPES: tuple[str, ...] = get_args(Kind)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_PERIODS: Mapping[Period, str] = {
    "today": marked("Today"),
    "yesterday": marked("Yesterday"),
    "7_days": marked("7 days"),
    "28_days": marked("28 days"),
    "this_week": marked("This week"),
    "this_month": marked("This month"),
    "last_month": marked("Last month"),
    "custom": marked("From … to …"),
}
_EVERY: Mapping[Every, str] = {
    "quarter": marked("15 minutes"),
    "half_hour": marked("30 minutes"),
    "hour": marked("Hour"),
    "day": marked("Day"),
    "week": marked("Week"),
    "month": marked("Month"),
    "all": marked("Whole time"),
}
_BY: Mapping[Dimension, str] = {
    "interval": marked("Time"),
    "queue": marked("Queue"),
    "agent": marked("Agent"),
    "team": marked("Team"),
    "channel": marked("Channel"),
    "type": marked("Type"),
}
_VALUES: Mapping[str, str] = {
    "voice": marked("Calls"),
    "sms": marked("Texts"),
    "inbound_call": marked("Inbound call"),
    "outbound_call": marked("Outbound call"),
    "callback": marked("Callback"),
    "sms_in": marked("SMS in"),
    "sms_out": marked("SMS out"),
    "api": marked("By a program"),
    "direct": marked("Direct number"),
    "deflected": marked("Deflected"),
    "hold_time": marked("While waiting on the line"),
    "in_call": marked("During a call"),
    "answered": marked("Answered"),
    "abandoned": marked("Hung up"),
    "timed_out": marked("Timed out"),
    "no_agents": marked("No agents"),
    "key": marked("Chose something else"),
    "opted_out": marked("Opted out"),
    "left": marked("Left"),
    "moved": marked("Moved to another line"),
    "lost": marked("Lost with the server"),
    "transfer_failed": marked("Transfer failed"),
    "not_reached": marked("Not reached"),
    "agent": marked("Ended by the agent"),
    "caller": marked("Ended by the caller"),
    "customer": marked("Ended by the customer"),
    "platform": marked("Ended by us"),
    "network": marked("Connection lost"),
    "timeout": marked("Silence"),
    "transfer": marked("Handed on"),
    "set_aside": marked("Put aside"),
    "restart": marked("Lost with the server"),
}


class Tile(msgspec.Struct, frozen=True):
    """A figure at the top."""

    measure: Measure
    figure: str
    before: str
    change: str
    """In per cent or points, with its sign; empty where nothing can be compared."""
    tone: str
    """`good`, `bad` or empty."""


class ReportPages:
    """`/reports`, for who has the right to them.

    Args:
        reports: Who makes them.
        sign_in: Knows who is signed in.
        now: Seconds since the epoch.
    """

    def __init__(self, reports: Reporting, sign_in: SignInPages, now: Callable[[], float]) -> None:
        self._reports = reports
        self._guard = Guard(sign_in)
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        """The report, its files, what is behind a figure, and what figures mean."""
        return [
            web.get("/reports", self._guard.reads(Right.REPORTS, self._page)),
            web.get("/reports/file", self._guard.reads(Right.REPORTS, self._file)),
            web.get("/reports/sessions", self._guard.reads(Right.REPORTS, self._sessions)),
            web.get("/reports/definitions", self._guard.reads(Right.REPORTS, self._definitions)),
        ]

    async def _page(self, request: web.Request, who: Who) -> web.StreamResponse:
        asked = self._asked(request)
        sheet = await self._reports.sheet(asked.question)
        report = REPORTS[sheet.question.report]
        heat = await self._heat(asked.question) if report.name in {"overview", "queues"} else None
        choices = self._reports.choices()
        return shell_page(
            "reports.html",
            request,
            who,
            here="reports",
            reports=[(each.name, _(each.title)) for each in REPORTS.values()],
            report=report,
            asked=asked,
            question=sheet.question,
            choices=choices,
            periods=[(name, _(words)) for name, words in _PERIODS.items()],
            everies=[(name, _(words)) for name, words in _EVERY.items() if name != "all"],
            groups=[(name, _(_BY[name])) for name in report.by],
            teams=[(team, team) for team in choices.teams],
            channels=[(name, _(_VALUES[name])) for name in ("voice", "sms")],
            types=[(name, _(_VALUES[name])) for name in TYPES],
            tiles=[_tile(MEASURES[ident], sheet) for ident in report.tiles],
            columns=[MEASURES[ident] for ident in report.columns],
            rows=[self._shown_row(row, sheet, asked) for row in sheet.rows],
            total=[_figure(sheet.total[ident], MEASURES[ident].unit, sheet.currency) for ident in report.columns],
            measures=[MEASURES[ident] for ident in dict.fromkeys([*report.tiles, *report.columns])],
            counted=COUNTED,
            heading=", ".join(_(_BY[each]) for each in sheet.question.by),
            when=_when(sheet.question.range),
            data=_chart_data(report, sheet, heat),
            query=asked.query,
        )

    async def _heat(self, question: Question) -> Sheet | None:
        """The week by hours, where there is a week."""
        if question.range.until - question.range.since < 6.5 * 86_400.0:
            return None
        return await self._reports.sheet(msgspec.structs.replace(question, report="overview", by=("interval",), every="hour"))

    async def _file(self, request: web.Request, who: Who) -> web.StreamResponse:
        del who
        asked = self._asked(request)
        sheet = await self._reports.sheet(asked.question)
        first = datetime.fromtimestamp(asked.question.range.since, ZoneInfo(asked.question.range.zone)).date()
        name = f"{asked.question.report}-{first.isoformat()}"
        if request.query.get("format") == "json":
            body, kind, file = msgspec.json.encode(as_values(sheet)), "application/json", f"{name}.json"
        else:
            body, kind, file = as_csv(sheet).encode(), "text/csv", f"{name}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"}
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    async def _sessions(self, request: web.Request, who: Who) -> web.StreamResponse:
        asked = self._asked(request)
        measure = MEASURES.get(request.query.get("measure", ""), MEASURES["offered"])
        found = await self._reports.behind(asked.question, measure.id, MOST_SESSIONS)
        choices, zone = self._reports.choices(), ZoneInfo(asked.question.range.zone)
        rows = [
            {
                "session": each.session,
                "at": format_datetime(datetime.fromtimestamp(each.at, zone), "short", locale=locale()),
                "queue": choices.queues.get(each.queue or "", each.queue or ""),
                "type": _value(each.type),
                "agent": choices.agents.get(each.agent or "", each.agent or ""),
                "took": shown(None if each.until is None else each.until - each.at, "seconds"),
                "how": _value(each.outcome or ""),
            }
            for each in found
        ]
        return shell_page(
            "reports_sessions.html",
            request,
            who,
            here="reports",
            measure=measure,
            rows=rows,
            more=len(found) == MOST_SESSIONS,
            most=MOST_SESSIONS,
            when=_when(asked.question.range),
            back=asked.query,
            explains=Right.EXPLAIN in who.rights,
        )

    async def _definitions(self, request: web.Request, who: Who) -> web.StreamResponse:
        return shell_page(
            "reports_definitions.html", request, who, here="reports", measures=list(MEASURES.values()), counted=COUNTED
        )

    # --- reading what is asked

    def _asked(self, request: web.Request) -> "Asked":
        query, choices = request.query, self._reports.choices()
        report = REPORTS.get(query.get("report", ""), REPORTS["overview"])
        zone = query.get("zone", "")
        if zone not in available_timezones():
            zone = choices.zone
        range_, chosen = self._range(query, zone)
        by = _one(query.get("by", ""), report.by, report.by[0])
        every = _one(query.get("every", ""), EVERY, _usual(range_))
        if (range_.until - range_.since) / _SECONDS[every] > MOST_SPANS:
            every = "day"
        question = Question(
            report=report.name,
            range=range_,
            by=(by,),
            every=every,
            queues=_some(query, "queue", choices.queues),
            agents=_some(query, "agent", choices.agents),
            teams=_some(query, "team", choices.teams),
            channels=_some(query, "channel", ("voice", "sms")),
            types=_some(query, "type", TYPES),
        )
        return Asked(question, chosen, zone)

    def _range(self, query: Mapping[str, str], zone: str) -> tuple[Range, Period]:
        chosen = _one(query.get("period", ""), PERIODS, "7_days")
        first, last = _day(query.get("first", "")), _day(query.get("last", ""))
        if chosen != "custom" or first is None:
            return period(
                "7_days" if chosen == "custom" else chosen, self._now(), zone
            ), "7_days" if chosen == "custom" else chosen
        last = first if last is None or last < first else last
        last = min(last, date.fromordinal(first.toordinal() + MOST_DAYS - 1))
        return days(first, last, zone), "custom"

    def _shown_row(self, row: Row, sheet: Sheet, asked: "Asked") -> dict[str, Any]:
        dimension, value = sheet.question.by[0], row.key[0]
        title = _title(dimension, row, sheet)
        cells = []
        for ident in REPORTS[sheet.question.report].columns:
            measure, amount = MEASURES[ident], row.figures[ident]
            link = None
            if measure.unit == "count" and amount and value is not None:
                link = f"/reports/sessions?{asked.with_(dimension, value, ident, sheet.question)}"
            cells.append({"figure": _figure(amount, measure.unit, sheet.currency), "link": link})
        return {"title": title, "cells": cells}


class Asked(msgspec.Struct, frozen=True):
    """What stands in the address."""

    question: Question
    period: Period
    zone: str

    @property
    def first(self) -> str:
        """The first day."""
        return datetime.fromtimestamp(self.question.range.since, ZoneInfo(self.zone)).date().isoformat()

    @property
    def last(self) -> str:
        """The last day."""
        return datetime.fromtimestamp(self.question.range.until - 1.0, ZoneInfo(self.zone)).date().isoformat()

    @property
    def query(self) -> str:
        """As the part of an address after the question mark."""
        return urlencode(self._pairs())

    def with_(self, dimension: Dimension, value: str, measure: str, question: Question) -> str:
        """The same, narrowed to one row of the table."""
        pairs = dict(self._pairs())
        if dimension == "interval":
            day = value[:10]
            if question.every in {"day", "quarter", "half_hour", "hour"}:
                pairs |= {"period": "custom", "first": day, "last": day}
        elif dimension in {"queue", "agent", "team", "channel", "type"}:
            pairs[dimension] = value
        return urlencode({**pairs, "measure": measure})

    def _pairs(self) -> list[tuple[str, str]]:
        question = self.question
        several = {
            "queue": question.queues,
            "agent": question.agents,
            "team": question.teams,
            "channel": question.channels,
            "type": question.types,
        }
        pairs = [("report", question.report), ("period", self.period), ("by", question.by[0]), ("every", question.every)]
        if self.period == "custom":
            pairs += [("first", self.first), ("last", self.last)]
        return [*pairs, ("zone", self.zone), *((name, values[0]) for name, values in several.items() if values)]


_SECONDS: Mapping[Every, float] = {
    "quarter": 900.0,
    "half_hour": 1_800.0,
    "hour": 3_600.0,
    "day": 86_400.0,
    "week": 604_800.0,
    "month": 2_592_000.0,
    "all": float("inf"),
}


def _usual(range_: Range) -> Every:
    """How long the spans of a range are when nobody says."""
    length = (range_.until - range_.since) / 86_400.0
    return "hour" if length < 2.5 else "day" if length < 63 else "week" if length < 190 else "month"


def _one(value: str, allowed: Any, usual: Any) -> Any:
    return value if value in allowed else usual


def _some(query: Any, name: str, allowed: Any) -> tuple[str, ...]:
    return tuple(value for value in query.getall(name, []) if value in allowed)


def _day(text: str) -> date | None:
    if not _DAY.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _when(range_: Range) -> str:
    first, last = (datetime.fromtimestamp(at, ZoneInfo(range_.zone)) for at in (range_.since, range_.until - 1.0))
    words = [format_skeleton("yMMMd", each, locale=locale()) for each in (first, last)]
    return words[0] if first.date() == last.date() else f"{words[0]} {NOTHING} {words[1]}"


def _value(value: str) -> str:
    return _(_VALUES[value]) if value in _VALUES else value


def _title(dimension: Dimension, row: Row, sheet: Sheet) -> str:
    value = row.key[0]
    if value is None:
        return _("None")
    if dimension == "interval":
        return _span_title(value, sheet.question.every)
    if dimension in {"channel", "type"}:
        return _value(value)
    return row.titles[0]


def _span_title(begins: str, every: Every) -> str:
    at = datetime.fromisoformat(begins)
    skeleton = {"month": "yMMMM", "week": "yMMMd", "day": "yMMMEd"}.get(every)
    if skeleton is not None:
        return format_skeleton(skeleton, at, locale=locale())
    return f"{format_skeleton('MMMEd', at, locale=locale())} {at.strftime('%H:%M')}"


def _short_title(begins: str, every: Every) -> str:
    """As it fits below a chart."""
    at = datetime.fromisoformat(begins)
    day = format_skeleton("yMMM" if every == "month" else "MMMd", at, locale=locale())
    return f"{day} {at.strftime('%H:%M')}" if every in {"quarter", "half_hour", "hour"} else str(day)


def _figure(value: float | None, unit: Unit, currency: str) -> str:
    """A figure in the reader's language."""
    if value is None:
        return NOTHING
    match unit:
        case "share":
            return str(format_percent(value, "#,##0.0 %", locale=locale()))
        case "money":
            return str(format_currency(value, currency, locale=locale()))
        case "number":
            return str(format_decimal(round(value, 2), locale=locale()))
        case "count":
            return str(format_decimal(round(value), locale=locale()))
        case "seconds":
            return shown(value, "seconds")


def _tile(measure: Measure, sheet: Sheet) -> Tile:
    now, then = sheet.total[measure.id], sheet.before[measure.id]
    change, tone = "", ""
    if now is not None and then is not None and now != then:
        more = now > then
        if measure.unit == "share":
            change = _("%(points)s points", points=f"{100 * (now - then):+.1f}")
        elif then:
            change = f"{100 * (now - then) / abs(then):+.0f} %"
        if measure.better:
            tone = "good" if more == (measure.better == "more") else "bad"
    return Tile(
        measure,
        _figure(now, measure.unit, sheet.currency),
        _figure(then, measure.unit, sheet.currency),
        change,
        tone if change else "",
    )


def _chart_data(report: Report, sheet: Sheet, heat: Sheet | None) -> dict[str, Any]:
    """What the charts are drawn of, with their words."""
    charts = []
    for group in report.charts:
        measures = [MEASURES[ident] for ident in group]
        charts.append(
            {
                "stacked": measures[0].unit == "count" and len(group) > 1 and report.name != "offers",
                "bars": measures[0].unit in {"count", "money"},
                "unit": measures[0].unit,
                "title": ", ".join(_(measure.title) for measure in measures) if len(measures) < 3 else _(report.title),
                "series": [
                    {"name": _(measure.title), "data": [row.figures[measure.id] for row in sheet.spans]} for measure in measures
                ],
            }
        )
    return {
        "charts": charts,
        "labels": [_short_title(str(row.key[0]), sheet.question.every) for row in sheet.spans],
        "heat": None if heat is None else _heat_data(heat),
        "currency": sheet.currency,
        "words": {"heat": _("When they come: offered by weekday and hour, on average")},
    }


def _heat_data(sheet: Sheet) -> dict[str, Any]:
    sums: dict[tuple[int, int], list[float]] = {}
    for row in sheet.spans:
        at = datetime.fromisoformat(str(row.key[0]))
        if at.timestamp() <= sheet.made_at:
            sums.setdefault((at.weekday(), at.hour), []).append(row.figures["offered"] or 0.0)
    return {
        "days": [str(locale().days["format"]["abbreviated"][day]) for day in range(7)],
        "cells": [[hour, day, round(sum(values) / len(values), 2)] for (day, hour), values in sorted(sums.items())],
    }
