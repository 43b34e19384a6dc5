"""Reports: every figure of the pages, for programs."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Literal, get_args
from zoneinfo import available_timezones

from pydantic import Field, PrivateAttr

from bridge.reports.definitions import REPORTS, Dimension
from bridge.reports.facts import Kind
from bridge.reports.spans import Every, Period, Range, days, period
from bridge.web.api.models import Answer, Request
from bridge.web.api.operation import Behind, Call, Operation
from bridge.web.api.problems import Fault, ProblemError
from bridge.web.ports_reports import Question, Reporting
from bridge.web.report_files import as_csv, as_values

MOST_DAYS = 400
"""Of one report."""
MOST_GROUPS = 3
"""Ways in which a report is grouped at once."""
MOST_SPANS = 10_000
_SECONDS: Mapping[str, float] = {"quarter": 900.0, "half_hour": 1_800.0, "hour": 3_600.0}
_DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
_TYPES: tuple[str, ...] = get_args(Kind)


class ReportSheetQuery(Request):
    """What the report is about."""

    period: Period = Field(default="today", description="custom: from first to last")
    first: date | None = Field(default=None, description="first day of a custom period")
    last: date | None = Field(default=None, description="last day; not given: first")
    zone: str | None = Field(default=None, description="IANA time zone of days and hours; not given: the server's")
    by: str = Field(default="", description="groups, with commas: interval, queue, agent, team, channel, type; not given: none")
    every: Every = Field(default="day", description="how long an interval is")
    queue: str = Field(default="", description="only these, with commas; the same below")
    agent: str = ""
    team: str = ""
    channel: str = ""
    type: str = ""
    format: Literal["json", "csv"] | None = Field(default=None, description="not given: as Accept says")


class ReportColumn(Answer):
    """What a figure means."""

    id: str
    title: str
    unit: Literal["count", "seconds", "share", "number", "money"]
    words: str
    formula: str
    variant: str = Field(description="which of several usual definitions it is; empty when there is one only")


Figures = Mapping[str, float | None]


class ReportGroup(Answer):
    """The figures of one group."""

    key: Mapping[str, str | None] = Field(description="by the names of `by`; of an interval when it begins, ISO 8601")
    figures: Annotated[Figures, Field(description="by the ids of the columns; null where there is nothing to say")]


class ReportSheet(Answer):
    """A report."""

    report: str
    since: str
    until: str
    zone: str
    by: tuple[str, ...]
    every: str
    made_at: str
    currency: str
    columns: tuple[ReportColumn, ...]
    rows: tuple[ReportGroup, ...]
    total: Figures
    before: Annotated[Figures, Field(description="the total of as many days before")]
    _csv: str = PrivateAttr(default="")

    @property
    def csv(self) -> str:
        """The table, for who asked for CSV."""
        return self._csv


class Reports:
    """The operation on reports.

    Args:
        behind: What all operations use.
        reporting: Who makes reports.
    """

    def __init__(self, behind: Behind, reporting: Reporting) -> None:
        self._reporting = reporting
        self._now = behind.now

    def operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        return (
            Operation(
                method="GET",
                path="/reports/{name}",
                name="report",
                summary=f"A report with its definitions, as JSON or CSV: {', '.join(REPORTS)}",
                scope="reports.read",
                handler=self._sheet,
                query=ReportSheetQuery,
                answer=ReportSheet,
                as_csv=True,
                problems=("not_found",),
            ),
        )

    async def _sheet(self, call: Call) -> ReportSheet:
        asked: ReportSheetQuery = call.query
        if call.path["name"] not in REPORTS:
            raise ProblemError("not_found", f"There is no such report; there are {', '.join(REPORTS)}, and texts.")
        zone = asked.zone or self._reporting.choices().zone
        if zone not in available_timezones():
            raise _wrong("zone", f"There is no time zone {zone!r}.")
        range_ = self._range(asked, zone)
        by = _some("by", asked.by, _DIMENSIONS)
        if len(by) > MOST_GROUPS or len(set(by)) < len(by):
            raise _wrong("by", f"At most {MOST_GROUPS}, each once.")
        if (range_.until - range_.since) / _SECONDS.get(asked.every, 86_400.0) > MOST_SPANS:
            raise _wrong("every", "That makes too many intervals; ask for longer ones, or for a shorter time.")
        question = Question(
            report=call.path["name"],
            range=range_,
            by=by,
            every=asked.every,
            queues=_words(asked.queue),
            agents=_words(asked.agent),
            teams=_words(asked.team),
            channels=_some("channel", asked.channel, ("voice", "sms")),
            types=_some("type", asked.type, _TYPES),
        )
        sheet = await self._reporting.sheet(question)
        answer = ReportSheet.model_validate(as_values(sheet))
        answer._csv = as_csv(sheet)  # noqa: SLF001  # its own model
        return answer

    def _range(self, asked: ReportSheetQuery, zone: str) -> Range:
        if asked.period != "custom" and asked.first is None:
            return period(asked.period, self._now(), zone)
        if asked.first is None:
            raise _wrong("first", "A custom period needs its first day, as 2026-01-31.")
        last = asked.last or asked.first
        if not asked.first <= last < asked.first + timedelta(days=MOST_DAYS):
            raise _wrong("last", f"It has to be from first to {MOST_DAYS} days later.")
        return days(asked.first, last, zone)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _some(name: str, text: str, allowed: tuple[Any, ...]) -> tuple[Any, ...]:
    words = _words(text)
    unknown = [word for word in words if word not in allowed]
    if unknown:
        raise _wrong(name, f"{unknown[0]!r} is none of {', '.join(allowed)}.")
    return words


def _wrong(name: str, why: str) -> ProblemError:
    return ProblemError("parameters", errors=(Fault(why, parameter=name),))
