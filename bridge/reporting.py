"""Reports: brings the facts up to date, answers questions about them, and mails what was asked for regularly.

Of several nodes one keeps the facts up to date and mails (the role `reports`). Any node brings them up to date before it answers:
that may be done twice at the same time.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from zoneinfo import ZoneInfo

import msgspec
import structlog

from bridge.acd import Target
from bridge.cluster.roles import Roles, Tenure
from bridge.events import AgentId
from bridge.journal import Journal, Unit
from bridge.journal.fact_queries import Ask, Behind, Counts, Key, Limits, Price
from bridge.once import once
from bridge.reports.definitions import MEASURES, REPORTS, Dimension
from bridge.reports.measures import Tally, figures, needed
from bridge.reports.spans import Range, before, last_over, midnight, period
from bridge.settings import ReportMailSettings, Settings
from bridge.web.ports_reports import Choices, MyDay, Question, Row, Sheet
from bridge.web.report_files import as_csv, shown

log = structlog.get_logger()

CATCH_UP_EVERY = 20.0
"""Seconds between two looks at what has happened, so that nobody who asks has to wait for a long one."""
MAIL_EVERY = 30.0
"""Seconds between two looks at whether a report is to be mailed."""
FRESH_FOR = 2.0
"""Seconds for which the facts are taken for the newest."""
USUAL = Limits(20.0, 5.0)
NOBODY = "-"
"""Stands for an agent who cannot be: what is narrowed to a team without agents counts nothing."""
_MINE = ("handled_calls", "handled_chats", "aht", "chat_aht", "first_response_p50")


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A report as a mail."""

    id: str
    """Hex; the same for the same period."""
    to: str
    subject: str
    words: str
    html: str
    at: float
    attachments: Mapping[str, str]


Post = Callable[[Letter], Awaitable[None]]
"""Puts a mail where it waits to be sent; one with an id that waits already is that mail."""


class Reports:
    """Implements `bridge.web.ports_reports.Reporting`.

    Args:
        journal: Keeps the facts.
        settings: Those that hold now.
        targets: Of every queue, now.
        clock: Seconds since the epoch.
        post: Who takes reports that come by mail; None: nobody.
        roles: Whether it is this node that keeps up and mails; None: there is no other.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Callable[[], Settings],
        targets: Callable[[], Mapping[str, Target]],
        *,
        clock: Callable[[], float],
        post: Post | None = None,
        roles: Roles | None = None,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._targets = targets
        self._clock = clock
        self.post = post
        self._roles = roles
        self._fresh_at = 0.0
        self._catching_up = asyncio.Lock()

    async def run(self, started: asyncio.Event) -> None:
        """Keep the facts up to date and mail what is due, until cancelled."""
        started.set()
        await once(self._roles, "reports", self._keep_going)

    async def _keep_going(self, tenure: Tenure) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_up())
            tasks.create_task(self._keep_mailing(tenure))

    async def _keep_up(self) -> None:
        while True:
            try:
                await self.catch_up()
            except Exception:  # calls in progress need not end with it
                log.exception("reports.behind")
            await asyncio.sleep(CATCH_UP_EVERY)

    async def _keep_mailing(self, tenure: Tenure) -> None:
        while True:
            try:
                if tenure.mine():
                    await self.mail_due()
            except Exception:  # as above
                log.exception("reports.not_mailed")
            await asyncio.sleep(MAIL_EVERY)

    async def catch_up(self) -> None:
        """Have the facts of everything that has happened."""
        async with self._catching_up:  # who comes second has it done
            loop = asyncio.get_running_loop()
            if loop.time() - self._fresh_at >= FRESH_FOR:
                await self._journal.catch_up()
                self._fresh_at = loop.time()

    # --- what is asked

    def choices(self) -> Choices:
        """What there is to choose from."""
        settings = self._settings()
        return Choices(
            queues={queue.id: queue.title or queue.id for queue in settings.queues},
            agents={agent.id: agent.name for agent in settings.agents if "agent" in agent.roles},
            teams=tuple(sorted({team for agent in settings.agents for team in agent.teams})),
            zone=self.zone,
        )

    @property
    def zone(self) -> str:
        """The time zone of days and hours."""
        settings = self._settings()
        return settings.reports.zone or next((hours.zone for hours in settings.hours.values()), "UTC")

    async def sheet(self, question: Question) -> Sheet:
        """Make a report.

        Raises:
            KeyError: There is no report of this name.
        """
        report = REPORTS[question.report]
        await self.catch_up()
        now, ids = self._clock(), tuple(dict.fromkeys([*report.tiles, *report.columns, *(i for c in report.charts for i in c)]))
        ask = self._ask(question, now, needed(ids))
        earlier = msgspec.structs.replace(ask, by=(), range=before(question.range, now))
        over_time = msgspec.structs.replace(ask, by=("interval",))
        counts = await self._journal.count(ask)
        past = (await self._journal.count(earlier)).total
        along = counts if ask.by == ("interval",) else await self._journal.count(over_time)
        return Sheet(
            question=question,
            rows=self._rows(counts, question, ids),
            total=figures(ids, counts.total),
            before=figures(ids, past),
            spans=self._spans(along, question, ids),
            made_at=now,
            currency=self._settings().reports.currency,
        )

    async def behind(self, question: Question, measure: str, limit: int) -> list[Behind]:
        """The newest sessions behind a figure, by the id of its measure."""
        await self.catch_up()
        name = MEASURES[measure].top[0]
        return await self._journal.behind(self._ask(question, self._clock(), frozenset({name})), name, limit)

    async def mine(self, agent: AgentId) -> MyDay:
        """How the agent's day goes."""
        await self.catch_up()
        now, teams = self._clock(), self._teams()
        mine = set(teams.get(agent, ()))
        colleagues = tuple(each for each, theirs in teams.items() if mine & set(theirs)) if mine else tuple(teams)
        question = Question(report="agents", range=period("today", now, self.zone), by=("agent",), agents=colleagues or (agent,))
        counts = await self._journal.count(self._ask(question, now, needed(_MINE)))
        own = figures(_MINE, counts.groups.get((str(agent),), Tally()))
        all_ = figures(_MINE, counts.total)
        worked = [each for each in counts.groups.values() if each.sums.get("handled_calls") or each.sums.get("handled_chats")]
        busy = max(1, len(worked))
        return MyDay(
            calls=round(own["handled_calls"] or 0),
            chats=round(own["handled_chats"] or 0),
            aht=own["aht"],
            chat_aht=own["chat_aht"],
            first_response=own["first_response_p50"],
            team_calls=(all_["handled_calls"] or 0) / busy,
            team_chats=(all_["handled_chats"] or 0) / busy,
            team_aht=all_["aht"],
            team_chat_aht=all_["chat_aht"],
            team_first_response=all_["first_response_p50"],
        )

    def _teams(self) -> dict[str, tuple[str, ...]]:
        return {agent.id: agent.teams for agent in self._settings().agents if "agent" in agent.roles}

    def _ask(self, question: Question, now: float, names: frozenset[str]) -> Ask:
        settings, teams = self._settings(), self._teams()
        agents = question.agents
        if question.teams:
            there = {agent for agent, theirs in teams.items() if set(theirs) & set(question.teams)}
            agents = tuple(sorted(there & set(agents) if agents else there)) or (NOBODY,)
        limits = {
            queue: Limits(
                USUAL.answer_within if target.answer_within is None else target.answer_within,
                USUAL.short_abandon if target.short_abandon is None else target.short_abandon,
            )
            for queue, target in self._targets().items()
        }
        everywhere = settings.target
        return Ask(
            range=question.range,
            every=question.every,
            by=question.by,
            names=names,
            now=now,
            queues=question.queues,
            agents=agents,
            channels=question.channels,
            types=question.types,
            teams=teams,
            limits=limits,
            usual=Limits(
                USUAL.answer_within if everywhere.answer_within is None else everywhere.answer_within,
                USUAL.short_abandon if everywhere.short_abandon is None else everywhere.short_abandon,
            ),
            prices=tuple(Price(each.direction, each.kind, each.country, each.price) for each in settings.reports.prices),
        )

    def _rows(self, counts: Counts, question: Question, ids: Sequence[str]) -> tuple[Row, ...]:
        rows = [
            self._row(key, tally, counts, question, question.by, ids)
            for key, tally in counts.groups.items()
            if any(tally.sums.values()) or tally.values
        ]
        if not question.by:
            return ()
        if question.by[0] == "interval":
            return tuple(sorted(rows, key=lambda row: tuple(value or "" for value in row.key)))
        return tuple(sorted(rows, key=lambda row: (row.key[0] is None, row.titles)))

    def _spans(self, counts: Counts, question: Question, ids: Sequence[str]) -> tuple[Row, ...]:
        return tuple(
            self._row((n,), counts.groups.get((n,), Tally()), counts, question, ("interval",), ids)
            for n in range(len(counts.beginnings))
        )

    def _row(
        self, key: Key, tally: Tally, counts: Counts, question: Question, by: tuple[Dimension, ...], ids: Sequence[str]
    ) -> Row:
        choices, zone = self.choices(), ZoneInfo(question.range.zone)
        values: list[str | None] = []
        titles: list[str] = []
        for dimension, value in zip(by, key, strict=True):
            if dimension == "interval":
                assert isinstance(value, int)
                begins = datetime.fromtimestamp(counts.beginnings[value], zone).isoformat(timespec="minutes")
                values.append(begins)
                titles.append(begins)
                continue
            text = None if value is None else str(value)
            known = {"queue": choices.queues, "agent": choices.agents}.get(dimension, {})
            values.append(text)
            titles.append("" if text is None else known.get(text, text))
        return Row(tuple(values), tuple(titles), figures(ids, tally))

    # --- what is mailed

    async def mail_due(self) -> None:
        """Mail every report whose time has come and that has not been mailed, once for each period."""
        if self.post is None:
            return
        now = self._clock()
        for mail in self._settings().reports.mail:
            zone = mail.zone or self.zone
            over = last_over(mail.every, now, zone)
            hour, minute = (int(part) for part in mail.at.split(":"))
            due = midnight(datetime.fromtimestamp(over.until, ZoneInfo(zone)).date(), zone) + 3600.0 * hour + 60.0 * minute
            key = f"report_mail:{mail.name}"
            kept = await self._journal.value(key)
            if now < due or (kept is not None and float(kept) >= over.until):
                continue
            await self._mail(mail, over)
            await self._journal.commit(Unit(kv={key: repr(over.until).encode()}))

    async def _mail(self, mail: ReportMailSettings, over: Range) -> None:
        assert self.post is not None
        report = REPORTS[mail.report]
        question = Question(report=mail.report, range=over, by=report.by[:1], every="day" if mail.every != "day" else "hour")
        sheet = await self.sheet(question)
        first = datetime.fromtimestamp(over.since, ZoneInfo(over.zone)).date()
        last = datetime.fromtimestamp(over.until - 1, ZoneInfo(over.zone)).date()
        when = first.isoformat() if first == last else f"{first.isoformat()} to {last.isoformat()}"
        for to in mail.to:
            parts = ("report", mail.name, to, repr(over.since), repr(over.until))
            name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
            await self.post(
                Letter(
                    id=name,
                    to=to,
                    subject=f"{self._settings().brand}: {report.title}, {when}",
                    words=summary(sheet, when),
                    html=summary_html(sheet, when),
                    at=sheet.made_at,
                    attachments={f"{mail.report}-{first.isoformat()}.csv": as_csv(sheet)},
                )
            )
        log.info("report.mailed", name=mail.name, report=mail.report, recipients=len(mail.to))


def summary(sheet: Sheet, when: str) -> str:
    """The tiles of a report as plain text."""
    report = REPORTS[sheet.question.report]
    lines = [f"{report.title}, {when} ({sheet.question.range.zone})", "", report.words, ""]
    for ident in report.tiles:
        measure = MEASURES[ident]
        now, then = (shown(figures_[ident], measure.unit, sheet.currency) for figures_ in (sheet.total, sheet.before))
        lines.append(f"{measure.title}: {now} (before: {then})")
    return "\n".join([*lines, "", "The table is attached."])


def summary_html(sheet: Sheet, when: str) -> str:
    """The same as a small page."""
    report = REPORTS[sheet.question.report]
    cells = []
    for ident in report.tiles:
        measure = MEASURES[ident]
        now, then = (shown(figures_[ident], measure.unit, sheet.currency) for figures_ in (sheet.total, sheet.before))
        cells.append(
            f"<tr><th align='left' title='{escape(measure.words)}'>{escape(measure.title)}</th>"
            f"<td align='right'><b>{escape(now)}</b></td><td align='right'>{escape(then)}</td></tr>"
        )
    return (
        f"<h1 style='font-size:18px'>{escape(report.title)}, {escape(when)}</h1><p>{escape(report.words)}</p>"
        "<table cellpadding='6'><tr><th></th><th align='right'>now</th><th align='right'>before</th></tr>"
        f"{''.join(cells)}</table>"
        f"<p>The table is attached. Times are those of {escape(sheet.question.range.zone)}.</p>"
    )
