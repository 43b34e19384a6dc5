"""What the pages and the API need of the reports. Implemented by `bridge.reporting`, and by fakes in tests."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from bridge.events import AgentId
from bridge.journal.fact_queries import Behind
from bridge.reports.definitions import Dimension
from bridge.reports.spans import Every, Range


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to know."""

    report: str
    """A name of `definitions.REPORTS`."""
    range: Range
    by: tuple[Dimension, ...] = ()
    """How the table is grouped; none: the total alone."""
    every: Every = "day"
    """How long the spans of `interval` are."""
    queues: tuple[str, ...] = ()
    """Only these; none: all. The same below."""
    agents: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One group."""

    key: tuple[str | None, ...]
    """Its values, in the order of `Question.by`; of an interval when it begins, in ISO 8601."""
    titles: tuple[str, ...]
    """The same for people."""
    figures: Mapping[str, float | None]
    """By the id of the measure; None where there is nothing to say."""


class Sheet(msgspec.Struct, frozen=True):
    """A report."""

    question: Question
    rows: tuple[Row, ...]
    total: Mapping[str, float | None]
    before: Mapping[str, float | None]
    """The total of the same number of days before."""
    spans: tuple[Row, ...]
    """Every span of the range, also those in which nothing happened: for charts."""
    made_at: float
    currency: str


class MyDay(msgspec.Struct, frozen=True):
    """An agent's own figures of today, beside those of everybody in their teams (without a team: of everybody)."""

    calls: int
    """Handled, and over."""
    chats: int
    aht: float | None
    """Seconds; None: nothing was handled."""
    chat_aht: float | None
    first_response: float | None
    """Median, in seconds."""
    team_calls: float
    """Per agent who handled anything."""
    team_chats: float
    team_aht: float | None
    team_chat_aht: float | None
    team_first_response: float | None


class Choices(msgspec.Struct, frozen=True):
    """What a report can be narrowed to."""

    queues: Mapping[str, str]
    """Id to title; the same below."""
    agents: Mapping[str, str]
    teams: tuple[str, ...]
    zone: str
    """Of days and hours, when nobody asks for another."""


class Reporting(Protocol):
    """Reports over everything that has happened, up to this moment."""

    def choices(self) -> Choices:
        """What there is to choose from."""

    async def sheet(self, question: Question) -> Sheet:
        """Make a report.

        Raises:
            KeyError: There is no report of this name.
        """

    async def behind(self, question: Question, measure: str, limit: int) -> list[Behind]:
        """The newest sessions behind a figure, by the id of its measure."""

    async def mine(self, agent: AgentId) -> MyDay:
        """How the agent's day goes."""
