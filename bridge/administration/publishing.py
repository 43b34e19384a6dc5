"""Settings that change while the server runs: draft, check, publish, roll back; and whatever was published comes into force.

What is in the journal is what counts. A server looks there every few seconds, so a revision that the command line, or another
server on the same journal, has published comes into force as if it had been published here. Nodes of one service tell each other,
so that there it takes no more than a moment; lines and agents change on all of them in the same instant, by whoever is first.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec
import structlog

from bridge.acd import QueueInUse
from bridge.cluster import ClusterUnavailableError
from bridge.events import QueueId
from bridge.journal import Journal, JournalError
from bridge.journal.house import Draft, DraftMovedError, Entry, Revision
from bridge.news import News
from bridge.published import MOST, Change, check, differences, written
from bridge.settings import DocumentError, Problem, Settings, SettingsError
from bridge.web.ports_admin import AdminRefusedError, By, Checked, InvalidError, Standing
from ivr_flows.loader import FlowErrors
from ivr_flows.model import Flow
from sms.menu import Menu
from sms.menu_loader import MenuErrors

log = structlog.get_logger()

LOOK_EVERY = 2.0
"""Seconds between two looks whether somebody else has published."""
TOPIC = "settings"
"""What other nodes are told of: something has been published."""
FORGET_EVERY = 3600.0
"""Seconds between two looks at what is too old to be kept."""
MOST_CHANGES = 200
"""Changes of one revision that the audit book has in full."""
LONGEST_NOTE = 500

Prepared: TypeAlias = tuple[Settings, Mapping[str, Flow], Mapping[str, Menu]]
"""Settings with the flows and menus that they need."""
Load = Callable[[Settings, Mapping[str, Flow]], tuple[Mapping[str, Flow], Mapping[str, Menu]]]
"""Flows and menus that settings need; flows that are known already are not read again."""


class Running(Protocol):
    """What goes by the settings: `bridge.runner.Runner` and what follows it."""

    settings: Settings

    @property
    def flows(self) -> Mapping[str, Flow]:
        """The flows in use."""

    def in_use(self, settings: Settings) -> Mapping[QueueId, tuple[int, int]]:
        """Queues that would have to go and have people in them."""


Swap = Callable[[Settings, Mapping[str, Flow], Mapping[str, Menu], int], Coroutine[Any, Any, None]]
"""Puts settings of a revision into force, or raises QueueInUse."""


async def settings_in_force(journal: Journal, base: Settings) -> tuple[Settings, Revision | None]:
    """What a server begins with: the file's settings, with what was published last.

    Raises:
        SettingsError: What was published does not go with this file or this version of the server.
    """
    revision = await journal.newest_revision()
    return with_revision(base, revision), revision


def with_revision(base: Settings, revision: Revision | None) -> Settings:
    """The file's settings with what was published.

    Raises:
        SettingsError: As `settings_in_force`.
    """
    if revision is None:
        return base
    try:
        return check(revision.text, base)
    except DocumentError as error:
        lines = [problem.at(f"published settings, revision {revision.n}") for problem in error.problems]
        lines.append("`sidetone settings list` and `sidetone settings rollback` go back to an older revision")
        raise SettingsError("\n".join(lines)) from error


class Publishing:
    """Implements `bridge.web.ports_admin.Publishing`.

    Args:
        journal: Keeps revisions and the draft.
        base: The settings of the file.
        running: What goes by them.
        load: Reads flows and menus.
        swap: Puts other settings into force.
        clock: Seconds since the epoch.
        begun: The revision that the server began with; None: the file's settings.
        behind: Whether lines and agents go by other settings than the rest of this node. That is so when it began with a revision
            that could not come into force yet at the nodes that were there.
        news: How other nodes are told, and tell; None: there are none.
    """

    def __init__(
        self,
        journal: Journal,
        base: Settings,
        running: Running,
        *,
        load: Load,
        swap: Swap,
        clock: Callable[[], float],
        begun: Revision | None = None,
        behind: Callable[[], bool] = lambda: False,
        news: News | None = None,
    ) -> None:
        self._journal = journal
        self._base = base
        self._running = running
        self._load = load
        self._swap = swap
        self._clock = clock
        text = written(base) if begun is None else begun.text
        self._standing = Standing(0 if begun is None else begun.n, text, 0 if begun is None else begun.n)
        self._adopting = asyncio.Lock()
        self._forgot_at = 0.0
        self._behind = behind
        self._caught_up = -1
        """The revision that was put into force again because the lines were behind: once is enough, where files differ."""
        self._news = news
        if news is not None:
            news.hear(TOPIC, self._told)

    @property
    def settings(self) -> Settings:
        """Those that hold."""
        return self._running.settings

    @property
    def standing(self) -> Standing:
        """Which those are."""
        return self._standing

    # --- the draft

    async def draft(self) -> Draft | None:
        """What is worked on."""
        return await self._journal.draft()

    async def check(self, text: str) -> Checked:
        """What a document would do."""
        try:
            settings, _, _ = await self._prepared(text)
        except InvalidError as error:
            return Checked(error.problems, ())
        return Checked((), differences(self.settings, settings))

    async def save_draft(self, text: str, over: int | None, by: By) -> Draft:
        """Keep a draft, sound or not."""
        if len(text) > MOST:
            raise AdminRefusedError(f"A document has {MOST} characters at most.")
        text = text.replace("\r\n", "\n")
        draft = Draft((over or 0) + 1, self._standing.newest, by.who, self._clock(), text)
        there = await self._journal.draft()
        if there is not None and there.version == over:
            draft = msgspec.structs.replace(draft, based_on=there.based_on)
        try:
            await self._journal.save_draft(draft, over=over)
        except DraftMovedError as error:
            raise AdminRefusedError("Somebody else has changed the draft meanwhile. Look at it again.") from error
        return draft

    async def edit(self, change: Callable[[str], str], by: By) -> None:
        """Change the draft, or begin one."""
        there = await self._journal.draft()
        before = self._standing.text if there is None else there.text
        try:
            text = change(before)
        except DocumentError as error:
            raise InvalidError(error.problems) from error
        except LookupError as error:
            raise AdminRefusedError("It is not in the draft any more.") from error
        found = await self.check(text)
        if found.problems:
            raise InvalidError(found.problems)
        await self.save_draft(text, None if there is None else there.version, by)

    async def drop_draft(self, by: By) -> None:
        """Forget the draft."""
        await self._journal.drop_draft(self._entry(by, "settings.draft_dropped"))

    # --- publishing

    async def publish(self, version: int, note: str, by: By) -> int:
        """Let the draft hold from now on."""
        draft = await self._journal.draft()
        if draft is None or draft.version != version:
            raise AdminRefusedError("Somebody else has changed the draft meanwhile. Look at it again.")
        if draft.based_on != self._standing.newest:
            raise AdminRefusedError(
                f"Revision {self._standing.newest} was published after this draft was begun from {draft.based_on}. "
                "Begin a new draft, so that what it changed is not undone unseen."
            )
        return await self._publish(Revision(self._clock(), by.who, note.strip()[:LONGEST_NOTE], draft.text), by, version)

    async def roll_back(self, to: int, note: str, by: By) -> int:
        """Let an older revision hold again."""
        revision = await self._journal.revision(to) if to else None
        if to and revision is None:
            raise AdminRefusedError(f"There is no revision {to}.")
        text = written(self._base) if revision is None else revision.text
        return await self._publish(Revision(self._clock(), by.who, note.strip()[:LONGEST_NOTE], text, back_to=to), by, None)

    async def _publish(self, revision: Revision, by: By, version: int | None) -> int:
        async with self._adopting:
            settings, _, _ = await self._prepared(revision.text)
            changes = differences(self.settings, settings)
            entry = self._entry(
                by,
                "settings.published" if revision.back_to is None else "settings.rolled_back",
                before={"revision": self._standing.revision},
                after={"note": revision.note, "back_to": revision.back_to, "changes": shown(changes)},
            )
            try:
                n = await self._journal.publish(revision, entry, after=self._standing.newest, version=version)
            except DraftMovedError as error:
                raise AdminRefusedError("Somebody else has published meanwhile. Look at it again.") from error
            log.info("settings.published", revision=n, who=by.who, changes=len(changes))
        if self._news is not None:
            await self._news.tell(TOPIC)  # first, so that the others get ready while we do
        await self.look()
        return n

    async def revisions(self, limit: int, before: int | None = None) -> list[Revision]:
        """The newest first."""
        return await self._journal.revisions(limit, before)

    async def revision(self, n: int) -> Revision | None:
        """One of them."""
        return await self._journal.revision(n)

    async def changes_of(self, n: int) -> tuple[Change, ...]:
        """What a revision changed."""
        revision, earlier = await self._journal.revision(n), await self._journal.revision(n - 1)
        if revision is None:
            return ()
        try:
            before = self._base if earlier is None else check(earlier.text, self._base)
            return differences(before, check(revision.text, self._base))
        except DocumentError:
            return ()

    # --- coming into force

    async def run(self, started: asyncio.Event) -> None:
        """Look now and then, until cancelled."""
        started.set()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.look()
                await self._forget()
            except JournalError:
                log.warning("settings.unknown", retriable=True)

    async def _forget(self) -> None:
        now = self._clock()
        if now - self._forgot_at >= FORGET_EVERY:
            self._forgot_at = now
            await self._journal.forget_audit(now - self._base.audit.keep_days * 86_400.0)
            await self._journal.drop_browsers(until=now)

    async def _told(self, _about: str) -> None:
        await self.look()

    async def look(self) -> None:
        """Put the newest revision into force, if it is not yet and can be."""
        async with self._adopting:
            newest = await self._journal.newest_number()
            behind = self._behind() and self._caught_up != newest
            if newest == self._standing.revision and not behind:
                return
            revision = await self._journal.newest_revision()
            if revision is None:
                return
            try:
                await self._swap(*await self._prepared(revision.text), revision.n)
            except ClusterUnavailableError as error:
                log.warning("settings.not_in_force", revision=revision.n, why=str(error))
                return
            except (InvalidError, QueueInUse) as error:
                why = _in_use(error.uses) if isinstance(error, QueueInUse) else str(error)
                if (self._standing.newest, self._standing.waits_for) != (revision.n, why):
                    log.warning("settings.not_in_force", revision=revision.n, why=why)
                self._standing = msgspec.structs.replace(self._standing, newest=revision.n, waits_for=why)
                return
            self._standing, self._caught_up = Standing(revision.n, revision.text, revision.n), revision.n
            log.info("settings.in_force", revision=revision.n)

    async def _prepared(self, text: str) -> Prepared:
        """Everything that *text* needs to come into force.

        Raises:
            InvalidError: It cannot.
        """
        prepared = settings, flows, _ = await asyncio.to_thread(self._read, text, dict(self._running.flows))
        problems = [*_missing("queue", self._gone(settings), flows, Flow.queues_named)]
        problems += _missing("hours", set(self.settings.hours) - set(settings.hours), flows, Flow.hours_named)
        if uses := self._running.in_use(settings):
            problems.append(_in_use(uses))
        if problems:
            raise InvalidError([Problem(1, 1, "", problem) for problem in problems])
        return prepared

    def _read(self, text: str, known: Mapping[str, Flow]) -> Prepared:
        """Settings, and the files they need; in a thread, so nothing that moves is looked at."""
        try:
            settings = check(text, self._base)
            return settings, *self._load(settings, known)
        except DocumentError as error:
            raise InvalidError(error.problems) from error
        except (SettingsError, FlowErrors, MenuErrors) as error:
            raise InvalidError([Problem(1, 1, "", line) for line in str(error).splitlines()]) from error

    def _gone(self, settings: Settings) -> set[str]:
        return {queue.id for queue in self.settings.queues} - {queue.id for queue in settings.queues}

    def _entry(self, by: By, action: str, *, before: object = None, after: object = None) -> Entry:
        return Entry(self._clock(), by.who, action, "settings", by.origin, before, after)


def shown(changes: Sequence[Change]) -> list[str]:
    """Changes for the audit book, a line each."""
    lines = [in_words(change) for change in changes[:MOST_CHANGES]]
    return [*lines, f"and {len(changes) - MOST_CHANGES} more"] if len(changes) > MOST_CHANGES else lines


def in_words(change: Change) -> str:
    """A change as one line of English, for logs and the command line."""
    what = " ".join(part for part in (change.section, change.entry, change.key) if part)
    match change.kind:
        case "added" | "removed":
            return f"{what}: {change.kind}"
        case _:
            return f"{what}: {msgspec.json.encode(change.before).decode()} -> {msgspec.json.encode(change.after).decode()}"


def _missing(
    kind: str, gone: Collection[str], flows: Mapping[str, Flow], named: Callable[[Flow], frozenset[str]]
) -> Iterator[str]:
    for name in sorted(gone):
        users = [flow for flow in flows if name in named(flows[flow])]
        if users:
            yield f"{kind} {name}: named by the flow {', '.join(users)}, so it has to stay"


def _in_use(uses: Mapping[QueueId, tuple[int, int]]) -> str:
    return "; ".join(
        f"queue {queue}: {waiting} wait there and {served} are being served; it can go when nobody is left"
        for queue, (waiting, served) in uses.items()
    )
