"""Who every session is with: looked up when it begins, chosen by its agent where that is needed, recorded when it is over.

All of it goes by a queue in the journal and happens beside the conversation, which never waits for it: a CRM that is slow,
down or wrong is asked again, at least once and within a session in order, until it has answered or `crm.give_up_after` is over.
Of several nodes one works the queue off (the role `crm`); each of them puts in what its own sessions need.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
import structlog

from bridge import events as e
from bridge.cluster.roles import Tenure
from bridge.crm import (
    ContactFields,
    CrmContact,
    CrmError,
    CrmProvider,
    CrmRef,
    CrmRefusedError,
    CrmUnavailableError,
)
from bridge.crm.book import Book
from bridge.crm.fields import tidy
from bridge.crm.local import crm_contact
from bridge.crm.matching import fields_of, in_order, learned, newest, screen_pop, verdict
from bridge.crm.record import found_out, record_of
from bridge.journal import ERASED, JournalError, TimelineLine, Unit
from bridge.journal.crm import new_contact_id
from bridge.journal.crm_queue import RECORD
from bridge.journal.crm_rows import (
    ChangeKind,
    ContactChange,
    ContactWrite,
    CrmEntry,
    CrmMatch,
    StaleContactError,
    StoredContact,
    changed,
    differences,
)
from bridge.news import News
from bridge.runner import Runner
from bridge.transcript import Names, as_text
from bridge.web.ports import DeskRefusedError
from bridge.web.ports_contacts import ContactCard
from sms.numbers import normalise

log = structlog.get_logger()

MOST_AT_ONCE = 4
"""Requests to the CRM."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 3600.0
"""Seconds before something is tried the second time, doubled each time, up to the longest."""
TROUBLED_AFTER = 5
"""Failures in a row after which the CRM itself counts as out of order: it is asked for one thing at a time, more and more
rarely, until it answers again."""
LONGEST_HOLD = 60.0
"""Seconds between two questions to such a CRM."""
LOOK_AGAIN, SWEEP_EVERY, COUNT_EVERY, TIDY_EVERY = 60.0, 60.0, 15.0, 3600.0
"""Seconds after which the queue is looked at without anybody having called; between two looks for sessions that ended
unheard; between two counts for the monitor; between two tidyings."""
SWEEP_BACK = 3600.0
"""Seconds before the last look that are looked at again."""
KEPT = 30 * 86_400.0
"""Seconds for which look-ups are kept after they were done."""
PORTION = 200
"""Sessions and entries that are looked at together."""
SINCE = "crm.since"
"""Where the journal keeps since when sessions are recorded: those before it were another version's."""
MOST_CACHED = 10_000
MOST_FOUND = 8
"""Contacts that an agent's search shows."""
TRIES = 5
TOPIC = "crm"
"""What other nodes are told of: see `_Word`."""


class _Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the other nodes are to know."""

    session: e.SessionId | None = None
    """It may be with somebody else now."""
    phones: tuple[str, ...] = ()
    """What was found for them holds no more."""
    kick: bool = False
    """There is something in the queue."""


class Contacts:
    """Asks and tells the CRM, until cancelled; listens to the runner; implements `bridge.web.ports_contacts.ContactCards`.

    Args:
        runner: Where the sessions are.
        provider: The CRM.
        book: The contacts in the journal.
        chance: Evenly between 0 and 1; spreads what failed together.
        link: Where a picture can be looked at for a while; None: nowhere.
        news: How other nodes are told, and tell; None: there are none.
    """

    def __init__(
        self,
        runner: Runner,
        provider: CrmProvider,
        book: Book,
        *,
        chance: Callable[[], float],
        link: Callable[[e.Media], str | None] = lambda _: None,
        news: News | None = None,
    ) -> None:
        self._runner = runner
        self._journal = runner.journal
        self._crm = provider
        self._book = book
        self._chance = chance
        self._link = link
        self._settings = runner.settings.crm
        self._known: set[e.SessionId] = set()
        """Open sessions that have been begun with."""
        self._cache: dict[str, tuple[float, tuple[CrmContact, ...]]] = {}
        """By number: when it was looked up, and what was found."""
        self._heard: asyncio.Queue[tuple[e.SessionId, bool]] = asyncio.Queue()
        """Sessions that have begun, or (True) are over."""
        self._kicked = asyncio.Event()
        self._busy: set[int] = set()
        self._failures = 0
        self._held_until = 0.0
        self._swept: float | None = None
        """Until when it has been looked for sessions that ended unheard; None: it is in the journal."""
        self._delivers = False
        """The queue is worked off here."""
        self._watchers: list[Callable[[e.SessionId], None]] = []
        self._news = news
        if news is not None:
            news.hear(TOPIC, self._told)

    @property
    def provider(self) -> str:
        """Name of the CRM; `local`: the built-in one."""
        return self._crm.name

    @property
    def _local(self) -> bool:
        return self._crm.name == "local"

    def watch(self, watcher: Callable[[e.SessionId], None]) -> None:
        """Call *watcher* whenever it may have changed who a session is with."""
        self._watchers.append(watcher)

    # --- what the runner tells

    def line_added(self, session: e.SessionId, line: TimelineLine) -> None:
        """The first line of a session has its customer looked up, the last one has it recorded."""
        if line.kind == "session.closed":
            self._known.discard(session)
            self._heard.put_nowait((session, True))
        elif session not in self._known:
            self._known.add(session)
            self._heard.put_nowait((session, False))

    def text_moved(self, session: e.SessionId, message: e.MessageId, state: e.TextState, code: str | None) -> None:
        """Nothing to do."""

    def session_changed(self, session: e.SessionId) -> None:
        """Nothing to do."""

    def desk_changed(self, agent: e.AgentId) -> None:
        """Nothing to do."""

    async def _follow(self) -> None:
        while True:
            session, over = await self._heard.get()
            try:
                await (self._over(session) if over else self._begin(session))
            except Exception:
                # The database does not work just now. The session's next line asks again, and its end is found by looking.
                log.exception("crm.unreadable")
                self._known.discard(session)

    async def _begin(self, session: e.SessionId) -> None:
        """Have the customer of a session looked up, unless that was begun before a restart."""
        stored = None if await self._journal.crm_match(session) is not None else await self._journal.session(session)
        if stored is not None:
            await self._ask_for(session, stored.row.customer)
            self.kick()

    async def _over(self, session: e.SessionId) -> None:
        """Have a session recorded that is over."""
        stored = await self._journal.session(session)
        if stored is not None:
            await self._have_recorded(session, stored.row.customer)
        self.kick()

    async def _have_recorded(self, session: e.SessionId, number: str | None) -> None:
        now = self._runner.clock()
        record = CrmEntry(id=f"{RECORD}{session}", session=session, number=number, action="record", at=now, due_at=now)
        if await self._journal.crm_match(session) is not None or not await self._ask_for(session, number, record):
            await self._journal.crm_enqueue(record)

    async def _ask_for(self, session: e.SessionId, number: str | None, *more: CrmEntry) -> bool:
        """A withheld number cannot be looked up: then the agent may say who it is. False: somebody was faster."""
        now = self._runner.clock()
        if number is None:
            choose = CrmMatch(session=session, number=None, state="choose", at=now)
            return await self._journal.put_crm_match(choose, *more, over=None)
        match = CrmMatch(session=session, number=number, state="waiting", at=now)
        look_up = CrmEntry(id=f"look_up:{session}", session=session, number=number, action="look_up", at=now, due_at=now)
        return await self._journal.put_crm_match(match, look_up, *more, over=None)

    # --- the queue

    def kick(self) -> None:
        """There may be something to do."""
        self._kicked.set()
        if not self._delivers:
            self._tell(_Word(kick=True))

    def _tell(self, word: _Word) -> None:
        if self._news is not None:
            self._runner.spawn(self._news.tell(TOPIC, msgspec.json.encode(word).decode()))

    async def _told(self, about: str) -> None:
        """Another node has done something."""
        if not about:
            self._cache.clear()
        word = _Word(kick=True) if not about else msgspec.json.decode(about, type=_Word)
        self._forget(word.phones)
        if word.kick:
            self._kicked.set()
        if word.session is not None:
            self._show(word.session)

    async def run(self, started: asyncio.Event) -> None:
        """Work until cancelled; what is under way then is done again at the next start, or by another node."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._runner.roles.hold("crm", self._deliver))
            started.set()

    async def _deliver(self, tenure: Tenure) -> None:
        """Work the queue off."""
        self._delivers = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look_after())
                while True:
                    self._kicked.clear()
                    try:
                        wait = await self._start_due(tasks, tenure)
                    except Exception:
                        # The database does not work just now. What has to be done is in it and waits.
                        log.exception("crm.unreadable")
                        wait = 1.0
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._kicked.wait()
        finally:
            self._delivers, self._swept = False, None
            self._runner.metrics.crm_waiting.clear()  # the node that does it now says how many wait

    async def _since(self) -> float:
        """Since when sessions are recorded; from now on when that was never said."""
        now = msgspec.json.encode(self._runner.clock())
        return float(await self._journal.change_value(SINCE, lambda kept: kept or now))

    async def _look_after(self) -> None:
        """Find what nobody has heard of, forget what is long done, count the rest."""
        swept = forgot = float("-inf")
        time = asyncio.get_running_loop().time
        while True:
            try:
                if time() - swept >= SWEEP_EVERY:
                    await self._sweep()
                    swept = time()
                if time() - forgot >= TIDY_EVERY:
                    await self._journal.crm_forget(self._runner.clock() - KEPT, PORTION)
                    if self._swept is not None:
                        await self._journal.commit(Unit(kv={SINCE: msgspec.json.encode(self._swept - SWEEP_BACK)}))
                    forgot = time()
                counts = await self._journal.crm_counts()
                for state in ("pending", "dead"):
                    self._runner.metrics.crm_waiting.labels(state).set(counts.get(state, 0))
            except Exception:
                # Figures and tidying; what has to be done is in the journal and waits.
                log.exception("crm.unreadable")
            await asyncio.sleep(COUNT_EVERY)

    async def _sweep(self) -> None:
        """Have every session recorded that is over and is not yet: also one whose end nobody lived to tell."""
        now = self._runner.clock()
        swept = await self._since() + SWEEP_BACK if self._swept is None else self._swept
        while True:
            over = await self._journal.crm_unrecorded(swept - SWEEP_BACK, PORTION)
            for session, number in over:
                await self._have_recorded(session, number)
            if over:
                self.kick()
            if len(over) < PORTION:
                break
        self._swept = max(swept, now)

    async def _start_due(self, tasks: asyncio.TaskGroup, tenure: Tenure) -> float:
        """Start what can be started; returns the seconds until there may be more, unless kicked."""
        now = self._runner.clock()
        room = (1 if self._failures >= TROUBLED_AFTER else MOST_AT_ONCE) - len(self._busy)
        if room <= 0:
            return LOOK_AGAIN  # whatever ends kicks
        if now < self._held_until:
            return self._held_until - now
        under_way = set(self._busy)  # what is settled while we read would seem to be due still
        due = await self._journal.crm_due(now, MOST_AT_ONCE + len(under_way))
        for entry in [entry for entry in due if entry.n not in under_way][:room]:
            self._busy.add(entry.n)
            tasks.create_task(self._run_one(entry, tenure))
        soonest = await self._journal.crm_next(now)
        return LOOK_AGAIN if soonest is None else min(LOOK_AGAIN, max(0.05, soonest - now))

    async def _run_one(self, entry: CrmEntry, tenure: Tenure) -> None:
        try:
            if not tenure.mine():
                return  # another node does it
            try:
                result = await self._do(entry)
            except CrmError as error:
                await self._not_done(entry, error)
            else:
                self._failures = 0
                await self._journal.crm_done(entry.n, result, self._runner.clock())
                self._runner.metrics.crm.labels(entry.action, "done").inc()
            self._changed(entry.session)
        except Exception:
            # The entry is as it was: it is done again.
            log.exception("crm.broken", action=entry.action, session=entry.session)
            await asyncio.sleep(1.0)
        finally:
            self._busy.discard(entry.n)
            self.kick()

    async def _not_done(self, entry: CrmEntry, error: CrmError) -> None:
        now = self._runner.clock()
        told = {"action": entry.action, "session": entry.session, "attempts": entry.attempts + 1, "why": str(error)}
        faults = error.fields if isinstance(error, CrmRefusedError) else {}
        if (isinstance(error, CrmRefusedError) and error.permanent) or now - entry.at >= self._settings.give_up_after:
            await self._journal.crm_failed(entry.n, str(error), faults, None)
            self._runner.metrics.crm.labels(entry.action, "dead").inc()
            log.error("crm.dead_letter", **told)
            return
        pause = self._spread(FIRST_PAUSE, LONGEST_PAUSE, entry.attempts)
        hold = 0.0
        if isinstance(error, CrmUnavailableError):
            hold = error.retry_after or 0.0
            self._failures += 1
            if self._failures >= TROUBLED_AFTER:
                hold = max(hold, self._spread(FIRST_PAUSE, LONGEST_HOLD, self._failures - TROUBLED_AFTER))
            self._held_until = max(self._held_until, now + hold)
        pause = max(pause, hold)
        await self._journal.crm_failed(entry.n, str(error), faults, now + pause)
        self._runner.metrics.crm.labels(entry.action, "failed").inc()
        log.warning("crm.not_done", pause=round(pause, 1), **told)

    def _spread(self, first: float, longest: float, failures: int) -> float:
        """A pause that doubles with each failure, so that what failed together does not come back together."""
        return float(min(longest, first * 2.0 ** min(failures, 32)) * (0.75 + 0.5 * self._chance()))

    async def _do(self, entry: CrmEntry) -> Mapping[str, Any]:
        match entry.action:
            case "look_up":
                return await self._look_up(entry)
            case "create":
                return await self._create(entry)
            case "record":
                return await self._record(entry)

    # --- who it is

    async def _find(self, number: str) -> tuple[CrmContact, ...]:
        """Who has a number; the built-in CRM is quick and is always asked."""
        if self._local:
            return in_order(await self._crm.find(number))
        now = asyncio.get_running_loop().time()
        at, found = self._cache.get(number, (float("-inf"), ()))
        if now - at >= self._settings.cache:
            found = in_order(await self._crm.find(number))
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            self._cache[number] = (now, found)
        return found

    async def _look_up(self, entry: CrmEntry) -> Mapping[str, Any]:
        assert entry.number is not None, "only known numbers are looked up"
        found = await self._find(entry.number)
        match = await self._journal.crm_match(entry.session)
        if match is None or match.state != "waiting":
            return {"found": len(found)}  # the agent was faster
        candidates = tuple(msgspec.to_builtins(contact) for contact in found)
        after = msgspec.structs.replace(match, candidates=candidates, at=self._runner.clock())
        create: list[CrmEntry] = []
        shown = verdict(found)
        if shown == "one":
            after = msgspec.structs.replace(after, state="assigned", contact=found[0].id, by="server")
        elif shown == "several":
            after = msgspec.structs.replace(after, state="choose")
        elif self._settings.create:
            fields = ContactFields(phones=(entry.number,))
            create = [self._creating(entry.session, entry.number, fields, "server", f"create:{entry.session}")]
            after = msgspec.structs.replace(after, state="creating", by="server")
        else:
            after = msgspec.structs.replace(after, state="nobody")
        if await self._journal.put_crm_match(after, *create, over=match):  # else the agent was faster after all
            await self._assigned(after)
        return {"found": len(found)}

    def _creating(self, session: e.SessionId, number: str | None, fields: ContactFields, by: str, name: str) -> CrmEntry:
        now = self._runner.clock()
        body = {"fields": msgspec.to_builtins(fields), "by": by}
        return CrmEntry(id=name, session=session, number=number, action="create", body=body, at=now, due_at=now)

    async def _create(self, entry: CrmEntry) -> Mapping[str, Any]:
        contact = await self._crm.create(msgspec.convert(entry.body["fields"], ContactFields), key=entry.id)
        self._forget(contact.phones)
        await self._assign(entry.session, contact, str(entry.body["by"]), unless={"assigned"})
        return {"contact": contact.id}

    async def _assign(self, session: e.SessionId, contact: CrmContact, by: str, *, unless: set[str]) -> CrmMatch | None:
        """The session is with *contact*; not when its match is in one of the states *unless*."""
        for _ in range(TRIES):
            match = await self._journal.crm_match(session)
            if match is None or match.state in unless:
                return match
            others = tuple(each for each in match.candidates if each["id"] != contact.id)
            after = msgspec.structs.replace(
                match,
                state="assigned",
                contact=contact.id,
                by=by,
                candidates=(msgspec.to_builtins(contact), *others),
                at=self._runner.clock(),
            )
            if await self._journal.put_crm_match(after, over=match):
                await self._assigned(after)
                return after
        raise CrmUnavailableError("Who the customer is is being changed by others all the time.")

    async def _assigned(self, match: CrmMatch) -> None:
        """Everybody who shows the customer's name knows it now."""
        if match.state != "assigned":
            return
        contact = msgspec.convert(match.candidates[0], CrmContact)
        if not self._local:
            await self._mirror(contact)
        if contact.name is not None and match.session in self._runner.sessions:
            await self._runner.call_customer(match.number, contact.name, session=match.session)

    async def _mirror(self, contact: CrmContact) -> StoredContact:
        """What an outside CRM says of a person, written into our own contacts, so that the next call is greeted by it."""
        for _ in range(TRIES):
            ours = await self._journal.contact_of_external(self._crm.name, contact.id)
            if ours is None:
                same = [each for phone in contact.phones for each in await self._journal.contacts_with(phone)]
                ours = next((each for each in same if self._crm.name not in each.fields.external), None)
            now = self._runner.clock()
            kind: ChangeKind = "changed" if ours is not None else "created"
            if ours is None:
                ours = StoredContact(id=new_contact_id(), revision=0, fields=ContactFields(), created_at=now, updated_at=now)
            theirs = fields_of(contact)
            by = msgspec.structs.replace(theirs, external={**theirs.external, self._crm.name: contact.id})
            fields = changed(ours.fields, by)
            if fields == ours.fields:
                return ours
            what = ContactChange(at=now, actor=f"crm:{self._crm.name}", kind=kind, data=differences(ours.fields, fields))
            after = msgspec.structs.replace(ours, fields=fields, updated_at=now)
            try:
                (saved,) = await self._journal.write_contacts(ContactWrite(contact=after, changes=(what,)))
            except StaleContactError:
                continue
            return saved
        raise CrmUnavailableError("The contact is being changed by others all the time.")

    def contact_changed(self, contact: StoredContact) -> None:
        """Somebody has changed a contact of ours: whoever looks at a session with one of its phones sees it."""
        self._forget(contact.fields.phones)
        self._tell(_Word(phones=contact.fields.phones))
        for phone in contact.fields.phones:
            for live in self._runner.sessions_of(phone):
                self._runner.spawn(self._refresh(live.state.id, contact))

    async def _refresh(self, session: e.SessionId, contact: StoredContact) -> None:
        match = await self._journal.crm_match(session)
        if self._local and match is not None and match.contact == contact.id:
            await self._assign(session, crm_contact(contact), match.by, unless=set())
        self._changed(session)

    def _forget(self, phones: Sequence[str]) -> None:
        for phone in phones:
            self._cache.pop(phone, None)

    def _changed(self, session: e.SessionId) -> None:
        self._show(session)
        self._tell(_Word(session=session))

    def _show(self, session: e.SessionId) -> None:
        for watcher in self._watchers:
            watcher(session)

    # --- when it is over

    async def _record(self, entry: CrmEntry) -> Mapping[str, Any]:
        stored = await self._journal.session(entry.session)
        if stored is None or stored.snapshot == ERASED:
            return {}
        match = await self._decide(entry.session)
        contact = None if match is None or match.contact is None else match.contact
        lines, messages = await self._journal.timeline(entry.session), await self._journal.messages(entry.session)
        failed = []
        name = None
        if match is not None and contact is not None:
            known = msgspec.convert(match.candidates[0], CrmContact)
            name = known.name
            new = learned(fields_of(known), found_out(stored, lines))
            if new is not None:
                try:
                    await self._crm.update(contact, new, key=f"update:{entry.session}")
                except CrmRefusedError as error:
                    if not error.permanent:
                        raise
                    failed.append("update")  # the record is worth having all the same
                self._forget(known.phones)
        record = record_of(stored, lines, messages, names=self._names(name), zone=self._zone(), link=self._link, contact=contact)
        try:
            ref = await self._crm.record(record, key=entry.id)
        except CrmRefusedError as error:
            if contact is None or not error.permanent or "contact" not in error.fields:
                raise
            # The contact has been deleted meanwhile. What was said is worth keeping all the same.
            ref = await self._crm.record(msgspec.structs.replace(record, contact=None), key=f"{entry.id}:alone")
            failed, contact = ["contact"], None
        if contact is not None and not self._local:
            assert match is not None
            ours = await self._mirror(msgspec.convert(match.candidates[0], CrmContact))
            await self._journal.assign_session(entry.session, ours.id, self._runner.clock())
        result: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(ref, failed=(*failed, *ref.failed)))
        return result

    async def _decide(self, session: e.SessionId) -> CrmMatch | None:
        """Nobody has chosen: of several contacts it is the newest."""
        match = await self._journal.crm_match(session)
        if match is None or match.state != "choose" or not match.candidates:
            return match
        contact = newest([msgspec.convert(each, CrmContact) for each in match.candidates])
        return await self._assign(session, contact, "newest", unless={"assigned", "creating"})

    async def transcript(self, session: e.SessionId) -> str | None:
        """A conversation as plain text; None: there is no such session, or it has been erased."""
        stored = await self._journal.session(session)
        if stored is None or stored.snapshot == ERASED:
            return None
        lines, messages = await self._journal.timeline(session), await self._journal.messages(session)
        contact = None if stored.row.customer is None else await self._journal.contact(stored.row.customer)
        names = self._names(None if contact is None else contact.name)
        return as_text(stored, lines, messages, zone=self._zone(), names=names, link=self._link)

    def _names(self, customer: str | None) -> Names:
        settings = self._runner.settings
        return Names(
            brand=settings.brand,
            agents={agent.id: agent.name for agent in settings.agents},
            queues={queue.id: queue.title or queue.id for queue in settings.queues},
            customer=customer,
        )

    def _zone(self) -> ZoneInfo:
        return ZoneInfo(next((hours.zone for hours in self._runner.settings.hours.values()), "UTC"))

    # --- at the desk

    async def card(self, agent: e.AgentId, session: e.SessionId) -> ContactCard | None:
        """None: nobody has begun to look."""
        match = await self._journal.crm_match(session)
        if match is None:
            return None
        candidates = tuple(msgspec.convert(each, CrmContact) for each in match.candidates)
        contact = candidates[0] if match.state == "assigned" else None
        entries = await self._journal.crm_entries(session=session)
        troubled = next((entry for entry in entries if entry.state != "done" and entry.last_error), None)
        record = next((entry for entry in entries if entry.action == "record" and entry.state == "done"), None)
        return ContactCard(
            session=session,
            number=match.number,
            state=match.state,
            contact=contact,
            candidates=candidates,
            by=self._names(None).agent(match.by.removeprefix("agent:")) if match.by.startswith("agent:") else "",
            problem="" if troubled is None else troubled.last_error or "",
            pop=None if contact is None else await self._pop(agent, match, contact),
            pop_open=self._settings.screen_pop_open,
            recorded=None if record is None or not record.result else self._shown(msgspec.convert(record.result, CrmRef)),
            over=session not in self._runner.sessions,
            fixed=self._why_fixed(agent, match) is not None,
        )

    def _shown(self, ref: CrmRef) -> CrmRef:
        return msgspec.structs.replace(ref, url=self._leading_where_it_may(ref.url))

    async def _pop(self, agent: e.AgentId, match: CrmMatch, contact: CrmContact) -> str | None:
        """By our template, else as the CRM says, if that is a place where links may lead."""
        template = self._settings.screen_pop
        if template is None:
            return self._leading_where_it_may(contact.url)
        stored = await self._journal.session(match.session)
        row = None if stored is None else stored.row
        return screen_pop(
            template,
            {
                "id": contact.id,
                "session": match.session,
                "number": match.number,
                "name": contact.name,
                "queue": None if row is None else row.queue,
                "agent": agent,
                "language": None if row is None else row.language,
            },
        )

    def _leading_where_it_may(self, url: str | None) -> str | None:
        """A link of the CRM's, if it leads to a host that the settings name."""
        if url is None:
            return None
        parts = urlsplit(url)
        return url if parts.scheme == "https" and parts.hostname in self._settings.screen_pop_hosts else None

    def _why_fixed(self, agent: e.AgentId, match: CrmMatch) -> str | None:
        """Why the agent cannot say who it is; None: they can."""
        live = self._runner.sessions.get(match.session)
        if live is None:
            return "This conversation is over."
        if agent not in {live.state.agent, live.state.chat_agent} and agent not in live.state.wrapping:
            return "This can be said while you work on the conversation."
        if match.by.startswith("agent:") and match.by != f"agent:{agent}":
            return "Another agent has already said who it is."
        return None

    async def _mine(self, agent: e.AgentId, session: e.SessionId) -> CrmMatch:
        match = await self._journal.crm_match(session)
        if match is None:
            raise DeskRefusedError("This conversation is still being looked up.")
        why = self._why_fixed(agent, match)
        if why is not None:
            raise DeskRefusedError(why)
        return match

    async def search(self, agent: e.AgentId, session: e.SessionId, typed: str) -> Sequence[CrmContact]:
        """Contacts that an agent may assign: by number, or by words."""
        await self._mine(agent, session)
        number = normalise(typed, region=self._runner.settings.country) if sum(map(str.isdigit, typed)) >= 7 else None
        try:
            if number is not None:
                return (await self._find(number))[:MOST_FOUND]
        except CrmError as error:
            raise DeskRefusedError(f"The CRM does not answer: {error}") from error
        if len(typed.strip()) < 2:
            return ()
        found = await self._book.find(typed, MOST_FOUND)
        if self._local:
            return [crm_contact(one) for one in found]
        return [
            msgspec.structs.replace(crm_contact(one), id=one.fields.external[self._crm.name])
            for one in found
            if self._crm.name in one.fields.external
        ]

    async def choose(self, agent: e.AgentId, session: e.SessionId, contact: str) -> None:
        """The session is with this contact."""
        match = await self._mine(agent, session)
        known = next((msgspec.convert(each, CrmContact) for each in match.candidates if each["id"] == contact), None)
        if known is None:
            ours = (
                await self._journal.contact_by_id(contact)
                if self._local
                else await self._journal.contact_of_external(self._crm.name, contact)
            )
            if ours is None or ours.deleted_at is not None:
                raise DeskRefusedError("There is no such contact (any more).")
            known = crm_contact(ours) if self._local else msgspec.structs.replace(crm_contact(ours), id=contact)
        await self._assign(session, known, f"agent:{agent}", unless=set())
        self._changed(session)

    async def create(self, agent: e.AgentId, session: e.SessionId, given: Mapping[str, Any]) -> None:
        """The session is with somebody new; raises `FieldsError`."""
        match = await self._mine(agent, session)
        phones = [match.number] if match.number else list(given.get("phones") or [])
        fields = tidy({**given, "phones": phones}, region=self._runner.settings.country)
        if match.state == "creating":
            raise DeskRefusedError("A contact is being made just now.")
        now = self._runner.clock()
        entry = self._creating(session, match.number, fields, f"agent:{agent}", f"create:{session}:{agent}:{now:.3f}")
        creating = msgspec.structs.replace(match, state="creating", contact=None, by=f"agent:{agent}", at=now)
        if not await self._journal.put_crm_match(creating, entry, over=match):
            raise DeskRefusedError("This conversation is still being looked up.")
        self.kick()
        self._changed(session)

    async def rename(self, agent: e.AgentId, session: e.SessionId, name: str) -> None:
        """Whom the session is with is called so; raises `FieldsError`."""
        match = await self._mine(agent, session)
        if match.state != "assigned" or match.contact is None:
            raise DeskRefusedError("Say first who it is.")
        fields = tidy({"name": name}, region=self._runner.settings.country)
        if fields.name is None:
            raise DeskRefusedError("Write a name.")
        try:
            if self._local:
                there = await self._book.contact(match.contact)
                contact = crm_contact(await self._book.rename(there, fields.name, f"agent:{agent}"))
            else:
                key = f"rename:{session}:{agent}:{self._runner.clock():.3f}"
                contact = await self._crm.update(match.contact, fields, key=key)
        except (CrmError, JournalError) as error:
            raise DeskRefusedError(str(error)) from error
        await self._assign(session, contact, match.by, unless=set())
        self._changed(session)

    # --- what has not arrived

    async def entries(self, *, state: str | None = None, limit: int = 100, after: int | None = None) -> list[CrmEntry]:
        """What the CRM is or was to be told, newest first."""
        return await self._journal.crm_entries(state=state, limit=limit, after=after)

    async def counts(self) -> Mapping[str, int]:
        """Entries by state."""
        return await self._journal.crm_counts()

    async def redeliver(self, n: int) -> bool:
        """Try a dead letter again. False: it is none."""
        done = await self._journal.crm_redeliver(n, self._runner.clock())
        self.kick()
        return done
