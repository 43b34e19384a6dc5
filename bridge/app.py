"""The composition root: the one module that names concrete adapters; it starts everything and stops it in order."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

import ivr_flows
from bridge import adapters
from bridge import events as e
from bridge.administration.blocklist import Blocklist
from bridge.administration.people import People
from bridge.administration.publishing import Publishing, settings_in_force, with_revision
from bridge.administration.tokens import Book as AuditBook
from bridge.administration.tokens import Tokens
from bridge.calls import Calls
from bridge.channel import Channel
from bridge.cluster import Cluster
from bridge.cluster.clocks import clock_problem
from bridge.contacts import Contacts
from bridge.crm.book import Book
from bridge.crm.csv_import import CsvImports
from bridge.crm.imports import NodesImports
from bridge.desk import Desk
from bridge.floor import Floor, floor_plan
from bridge.floor_ops import FloorPlan
from bridge.journal import Journal, JournalError, clock_of
from bridge.journal.house import newest_revision_of
from bridge.live import SessionAwayError
from bridge.mail import Mail
from bridge.media_links import MediaLinks
from bridge.media_store import BlobsUnavailableError, MediaStore
from bridge.media_store.marks import without_mark
from bridge.metrics import Metrics
from bridge.news import News
from bridge.records import Records
from bridge.registrations import Registrations
from bridge.reporting import Letter, Reports
from bridge.runner import Runner
from bridge.secret import fingerprint, has_secret, key_for, load_secret
from bridge.session import UnexpectedEvent
from bridge.settings import MailSettings, Settings, SettingsError
from bridge.supervisor import Supervisor
from bridge.telephony.loopback import LoopbackCallProvider
from bridge.telephony.provider import CallProvider
from bridge.telephony.sip import SipCallProvider
from bridge.transcript import Names, as_text
from bridge.uploads import LinkRefusedError, Uploads
from bridge.waiting import Waiting
from bridge.web.api import Api, Behind
from bridge.web.console.phone import PhoneLine
from bridge.web.ports import Preset
from bridge.web.ports_admin import Administration, By
from bridge.web.ports_contacts import ContactParts
from bridge.web.server import SESSION_LIFETIME, WebConfig, make_app, serving
from ivr_flows.loader import FlowErrors, load_flow
from ivr_flows.model import LARGEST, Flow, fragments
from sms.mail.sending import forget
from sms.mail.writing import Sheet
from sms.menu import Menu
from sms.menu_loader import MENUS, MenuErrors, load_menu
from sms.message import DeliveryReport, InboundText
from sms.providers.loopback import LoopbackNetwork

log = structlog.get_logger()

PACKAGED = Path(ivr_flows.__file__).parent
MAILS = "mail"
"""Where mails of ours wait, in the data folder."""
FORGOTTEN = "mails"
"""What other nodes are told of: sessions whose mails nobody may keep any more."""
LOOK_AFTER_MEDIA = 60.0
"""Seconds between two looks at files that could not be checked, and at those that are old."""
LAST_WORDS = 3.0
"""Seconds for texts to callers whose calls ended with the server."""


class Running(msgspec.Struct, frozen=True):
    """A server that takes traffic."""

    settings: Settings
    runner: Runner
    desk: Desk
    records: Records
    registry: CollectorRegistry
    loopback_calls: LoopbackCallProvider
    network: LoopbackNetwork
    sip: SipCallProvider | None
    web_port: int
    web_app: web.Application
    """Its routes are what anybody can reach."""
    drain: Callable[[], Coroutine[Any, Any, None]]
    """Take no new calls, let those in progress end (within `drain_timeout`), hand over what is being sent."""

    @property
    def web_url(self) -> str:
        """Where the pages are."""
        return f"http://{self.settings.web.host}:{self.web_port}"

    @property
    def sip_address(self) -> str | None:
        """What to dial, without the number; None without SIP."""
        if self.sip is None:
            return None
        host, port = self.sip.address
        return f"{host}:{port}"


def load_flows(settings: Settings, known: Mapping[str, Flow] = MappingProxyType({})) -> dict[str, Flow]:
    """Every flow that a number uses; those that are *known* are not read again.

    Raises:
        SettingsError: A number names a flow that does not exist.
        FlowErrors: A flow cannot be used.
    """
    flows_folder = settings.flows or PACKAGED / "flows"
    names = {number.flow for number in settings.numbers if number.flow is not None}
    flows = {}
    for name in sorted(names):
        if name in known:
            flows[name] = known[name]
            continue
        path = flows_folder / f"{name}.yaml"
        if not path.is_file():
            users = ", ".join(number.number for number in settings.numbers if number.flow == name)
            raise SettingsError(f"numbers: the flow {name!r} of {users}: there is no file {path}; name another, or set flows")
        flows[name] = load_flow(path, prompts=settings.prompts)
    if not flows:
        raise SettingsError("numbers: at least one number needs a flow (its texts answer STOP and HELP for all)")
    if all(flow.texts is None for flow in flows.values()):
        raise SettingsError("flows: at least one flow needs the section texts")
    return flows


def load_menus(settings: Settings) -> dict[str, Menu]:
    """Every text menu that a number uses, and `default`.

    Raises:
        SettingsError: A number names a menu that does not exist.
        MenuErrors: A menu cannot be used.
    """
    folder = settings.sms.menus or MENUS
    menus = {"default": load_menu(MENUS / "default.yaml")}
    queues = {queue.id for queue in settings.queues if queue.channel == "sms"}
    for name in sorted({number.menu for number in settings.numbers if number.menu is not None}):
        path = folder / f"{name}.yaml"
        if not path.is_file():
            users = ", ".join(number.number for number in settings.numbers if number.menu == name)
            raise SettingsError(f"numbers: the menu {name!r} of {users}: there is no file {path}; name another, or set sms.menus")
        menus[name] = load_menu(path, queues=queues, hours=set(settings.hours), brand=settings.brand)
    return menus


@asynccontextmanager
async def running(  # noqa: PLR0915  # one thing after the other, in the order in which they are stopped again
    settings: Settings, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[Running]:
    """Everything, started; stopped in reverse when the block ends.

    Raises:
        SettingsError: The settings contradict each other.
        FlowErrors: A flow cannot be used.
        MenuErrors: A text menu cannot be used.
        OSError: A port is taken, a folder cannot be written.
    """
    file = settings
    prompts = settings.prompts or PACKAGED / "prompts"
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)  # numbers, words and pictures of other people
    registry = CollectorRegistry()
    network = LoopbackNetwork(delay=settings.sms.delivery_delay, clock=clock)
    state = {"draining": False}
    runner: Runner

    async def on_call(event: e.CallEvent) -> None:
        await runner.call_event(event)

    async def on_text(text: InboundText) -> None:
        await runner.intake.text_arrived(text)

    async def on_report(report: DeliveryReport) -> None:
        await runner.intake.text_reported(report)

    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(Journal.open(settings.journal_url))
        settings, begun = await settings_in_force(journal, file)
        flows, menus = load(settings, {})
        secret = _secret(settings)
        cluster = await stack.enter_async_context(adapters.cluster_of(settings, secret))
        news = News(cluster)
        loopback_calls = LoopbackCallProvider(
            on_call,
            prompts,
            captions=_captions(flows),
            greetings={clip.stem.removeprefix("agent_"): f"demo/{clip.name}" for clip in (prompts / "demo").glob("agent_*.wav")},
        )
        call_providers: dict[str, CallProvider] = {"loopback": loopback_calls}
        sip = adapters.sip_provider(settings, on_call, prompts) if settings.sip.enabled else None
        if sip is not None:
            call_providers["sip"] = sip
            sip.refuse_while(lambda: not runner.takes_calls)
        sms = adapters.sms_provider(settings, network, on_text, on_report, clock)
        pace = adapters.pace_of(settings)
        port = settings.web.port or _free_port(settings.web.host)
        base = settings.public_url or f"http://{settings.web.host}:{port}"
        links = MediaLinks(key_for(secret, "media links"), base)
        blobs = await stack.enter_async_context(adapters.blobs_of(settings.media, settings.data / "media"))
        await stack.enter_async_context(adapters.marked(settings.media, settings.data / "media", cluster))
        scanner = adapters.scanner_of(settings.media, settings.data / "spool")
        media = MediaStore(blobs, max_bytes=settings.media.max_bytes, scan=scanner)
        floor = Floor(settings, now=clock(), hours=hours_of(menus), revision=0 if begun is None else begun.n)
        runner = Runner(
            settings,
            journal=journal,
            floor=floor,
            flows=flows,
            menus=menus,
            call_providers=call_providers,
            sms_provider=sms,
            cluster=cluster,
            media=media,
            metrics=Metrics(registry),
            clock=clock,
            pace=pace,
            dress=adapters.dress_of(settings, sms, links),
            hook_rules=adapters.hook_rules_of(settings),
            new_link=None if settings.sms.provider == "loopback" else lambda language, now: uploads.link(language, now=now),
            lease=settings.cluster.lease,
        )
        uploads = Uploads(
            journal, media, _take(runner), public_url=base, spool=settings.data / "spool", lifetime=settings.media.upload_valid
        )
        channel = Channel(runner, pace=pace)
        desk = Desk(runner, presets=partial(_presets, runner), channel=channel, uploads=uploads, news=news)
        records = Records(runner, draining=lambda: state["draining"])
        crm = await stack.enter_async_context(adapters.crm_of(settings, journal, clock))
        book = Book(journal, clock=clock, region=settings.country)
        valid = settings.media.link_valid
        contacts = Contacts(
            runner, crm, book, chance=random.random, link=lambda media: links.url(media, expires_at=clock() + valid), news=news
        )
        imports = NodesImports(CsvImports(journal, settings.data / "imports", clock=clock, region=settings.country), news)
        stack.push_async_callback(imports.close)
        book.watch(contacts.contact_changed)
        contacts.watch(desk.session_changed)
        runner.listen(contacts, own=True)
        audit = AuditBook(journal, clock=clock)
        supervisor = Supervisor(runner, desk, records, audit=partial(_note_down, audit), news=news)
        _watch(runner)
        runner.follow_settings(partial(_watch, runner))
        # Open before the runner starts: it begins with what was left to be sent and fetched.
        await stack.enter_async_context(sms)
        await stack.enter_async_context(_task(runner.run))
        runner.spawn(adapters.look_for_marks(settings.media, settings.data / "media", cluster))
        stack.push_async_callback(_last_words, runner)
        await stack.enter_async_context(_task(news.run))
        await supervisor.load()
        waiting = Waiting(
            floor, journal, registry, do=runner.do, zone=_zone(settings), clock=clock, roles=runner.roles, news=news
        )
        await stack.enter_async_context(_task(waiting.run))
        supervisor.alerting.calibration = lambda: waiting.alarms
        reports = Reports(journal, lambda: runner.settings, lambda: runner.floor.targets, clock=clock, roles=runner.roles)
        await stack.enter_async_context(_task(reports.run))
        await stack.enter_async_context(_task(contacts.run))
        await stack.enter_async_context(_task(supervisor.run))
        await stack.enter_async_context(_task(desk.run))
        await _expect_desks(desk, cluster)
        await stack.enter_async_context(loopback_calls)
        if sip is not None:
            await stack.enter_async_context(_with_phones(sip, runner, news))
        api = _api(runner, records, channel, waiting, ContactParts(book, contacts, imports), reports, desk.calls, news)
        publishing = Publishing(
            journal,
            file,
            runner,
            load=load,
            swap=partial(_swap, runner),
            clock=clock,
            begun=begun,
            behind=_behind(runner),
            news=news,
        )
        people = People(
            journal,
            lambda: runner.settings,
            clock=clock,
            spawn=runner.spawn,
            session_lifetime=SESSION_LIFETIME,
            left=desk.desk_changed,
            news=news,
        )
        await people.load()
        tokens = Tokens(journal, lambda: runner.settings, clock=clock, let_in=api.door.let_in, used=api.door.used, news=news)
        await tokens.load()
        blocklist = Blocklist(journal, lambda: runner.settings, clock=clock)
        runner.follow_settings(lambda: api.take(runner.settings))
        app = make_app(
            desk,
            runner.intake,
            records,
            _phone_line(settings, loopback_calls, network),
            _web(settings, prompts),
            registry=registry,
            api=api,
            uploads=uploads,
            shared=(links, media),
            supervising=supervisor,
            waits=waiting,
            contacts=ContactParts(book, contacts, imports),
            calls=desk.calls,
            reporting=reports,
            administration=Administration(publishing, people, tokens, audit, blocklist),
        )
        web_port = await stack.enter_async_context(serving(app, settings.web.host, port))
        if settings.mail is not None:
            mail = _mail(settings.mail, runner, desk, channel, key_for(secret, "mail"))
            runner.listen(mail, own=True)
            runner.follow_settings(lambda: mail.know(runner.settings.agents, brand=runner.settings.brand))
            await stack.enter_async_context(_task(mail.run))
            reports.post = None if mail.spool is None else partial(_post, mail)
            supervisor.alerting.letters = mail
        await stack.enter_async_context(_task(publishing.run))
        await stack.enter_async_context(_task(tokens.run))
        await stack.enter_async_context(_task(people.run))
        runner.spawn(_look_after_media(settings, media, clock))
        runner.spawn(runner.outbox.catch_up(runner.intake.text_reported))

        async def drain() -> None:
            state["draining"] = True
            for provider in call_providers.values():
                await provider.drain()
            deadline = clock() + settings.drain_timeout
            while (await runner.give_away() or runner.calls or await _sending(runner)) and clock() < deadline:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.1)
            await _save_estimates(runner)
            log.info("drained", calls_left=runner.calls)

        log.info("serving", web=web_port, sip=None if sip is None else sip.address[1], sms=sms.name)
        yield Running(
            settings,
            runner,
            desk,
            records,
            registry,
            loopback_calls,
            network,
            sip,
            web_port,
            app,
            drain,
        )


async def _post(mail: Mail, letter: Letter) -> None:
    """A report as a mail of ours."""
    await mail.send_report(
        Sheet(
            id=letter.id,
            to=letter.to,
            subject=letter.subject,
            words=letter.words,
            html=letter.html,
            at=letter.at,
            attachments=letter.attachments,
        )
    )


async def _last_words(runner: Runner) -> None:
    """The calls have just been ended: who agreed to be texted is told so now, and not when somebody starts us again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORDS):
            for live in runner.own_sessions:
                await runner.settled(live.state.id)
            while await _sending(runner):  # noqa: ASYNC110  what ends by itself
                await asyncio.sleep(0.05)


async def _save_estimates(runner: Runner) -> None:
    """A minute of learning is not worth an end with an error."""
    try:
        await runner.save_estimates()
    except JournalError:
        log.warning("journal.lost_estimates")


async def _sending(runner: Runner) -> bool:
    """Whether there are texts to send, and nobody else does it."""
    try:
        return runner.sends and await runner.outbox.has_work()
    except JournalError:
        return False  # they are on disk, and nothing can be sent without it: whoever works next with the journal does it


@asynccontextmanager
async def _task(run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run beside the block, cancelled at its end. When it breaks, the block is cancelled and the error raised."""
    started = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(started))
        await started.wait()
        try:
            yield
        finally:
            task.cancel()


@asynccontextmanager
async def _with_phones(sip: SipCallProvider, runner: Runner, news: News) -> AsyncIterator[None]:
    """Calls over SIP, to the phones of all nodes."""
    async with AsyncExitStack() as stack:
        if not runner.cluster.alone:
            registrations = Registrations(sip, runner.cluster, news, spawn=runner.spawn, clock=runner.clock)
            await stack.enter_async_context(_task(registrations.run))
        await stack.enter_async_context(sip)
        yield


async def _expect_desks(desk: Desk, cluster: Cluster) -> None:
    """Nobody else is there who would know whose desks were open."""
    if len(await cluster.nodes()) <= 1:
        desk.expect_desks()


def _watch(runner: Runner) -> None:
    """Let the gauges read what is there when somebody asks."""
    metrics = runner.metrics
    metrics.sessions.set_function(lambda: len(runner.own_sessions))
    metrics.live_calls.set_function(lambda: runner.calls)
    metrics.known.set_function(lambda: len(runner.sessions))
    metrics.nodes.set_function(lambda: len(runner.ownership.alive))
    metrics.reachable.set_function(lambda: runner.cluster.standing().reachable)
    metrics.applied.set_function(lambda: runner.cluster.standing().applied)
    metrics.behind.set_function(lambda: runner.cluster.standing().behind)
    metrics.tasks.set_function(lambda: len(asyncio.all_tasks()))
    for gauge in (metrics.waiting, metrics.ewt):
        gauge.clear()  # of queues that are gone
    for queue in runner.floor.queues:
        metrics.waiting.labels(queue).set_function(partial(_waiting, runner, e.QueueId(queue)))
        metrics.ewt.labels(queue).set_function(partial(_p50, runner, queue))


def _waiting(runner: Runner, queue: e.QueueId) -> int:
    return runner.floor.acd.queue_view(queue, runner.clock()).waiting


def _p50(runner: Runner, queue: str) -> float:
    forecast = runner.floor.estimator.forecast(runner.clock(), queue)
    return float("nan") if forecast.p50 is None else forecast.p50


def _phone_line(settings: Settings, calls: LoopbackCallProvider, network: LoopbackNetwork) -> PhoneLine | None:
    if settings.phone_for == "nobody":
        return None
    return PhoneLine(
        calls=calls,
        texts=network if settings.sms.provider == "loopback" else None,
        sms_provider=settings.sms.provider,
        my_number="+15550100123",
        our_numbers=tuple(number.number for number in settings.numbers),
    )


def _web(settings: Settings, prompts: Path) -> WebConfig:
    return WebConfig(
        prompts=prompts,
        public_url=settings.public_url,
        twilio=adapters.twilio_webhooks(settings),
        secure_cookies=settings.secure_cookies,
        phone_for_everybody=settings.phone_for == "everybody",
        brand=settings.brand,
    )


def _free_port(host: str) -> int:
    """A port that was free a moment ago: links have to name it before the server listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def _note_down(audit: AuditBook, by: e.AgentId, what: str, to: str, data: Mapping[str, Any]) -> None:
    """What a supervisor did, in the audit book."""
    after = {name: value for name, value in data.items() if name != "before" and value not in (None, "")}
    await audit.note(By(by, "/supervisor"), what, to, before=data.get("before"), after=after or None)


def _take(runner: Runner) -> Callable[[e.SessionId, str, tuple[e.Media, ...], int], Coroutine[Any, Any, None]]:
    """Where files go that came by a link."""

    async def take(session: e.SessionId, token: str, media: tuple[e.Media, ...], refused: int) -> None:
        try:
            await runner.tell(session, e.MediaUploaded(token, media, refused))
        except UnexpectedEvent as refusal:
            raise LinkRefusedError("expired") from refusal
        except SessionAwayError as error:
            raise LinkRefusedError("busy") from error

    return take


async def _look_after_media(settings: Settings, media: MediaStore, clock: Callable[[], float]) -> None:
    """Ask again about files that could not be checked, and remove what is older than it may be."""
    while True:
        await asyncio.sleep(LOOK_AFTER_MEDIA)
        try:
            await media.recheck()
            if settings.media.keep_days:
                await media.expire(clock() - settings.media.keep_days * 86_400.0)
        except BlobsUnavailableError as error:
            log.warning("media.unavailable", reason=str(error), retriable=True)


def _mail(mail: MailSettings, runner: Runner, desk: Desk, channel: Channel, key: bytes) -> Mail:
    settings = runner.settings
    return Mail(
        mail,
        settings.agents,
        brand=settings.brand,
        key=key,
        folder=settings.data / MAILS,
        journal=runner.journal,
        chats=_MailedChats(runner, desk),
        texts=channel,
        media=runner.media,
        clock=runner.clock,
        in_front=mail.in_front,
    )


class _MailedChats:
    """The agents' conversations, for mail."""

    def __init__(self, runner: Runner, desk: Desk) -> None:
        self._runner = runner
        self._desk = desk

    def chat_agent(self, session: e.SessionId) -> e.AgentId | None:
        live = self._runner.sessions.get(session)
        return None if live is None else live.state.chat_agent

    def watched(self, agent: e.AgentId) -> bool:
        return self._desk.watched(agent)

    async def say(self, agent: e.AgentId, session: e.SessionId, body: str, *, once: str, media: tuple[e.Media, ...]) -> None:
        await self._desk.send(agent, session, body, once=once, media=media)

    async def transcript(self, session: e.SessionId) -> str | None:
        journal, settings = self._runner.journal, self._runner.settings
        stored = await journal.session(session)
        if stored is None:
            return None
        names = Names(
            brand=settings.brand,
            agents={agent.id: agent.name for agent in settings.agents},
            queues={queue.id: queue.title or queue.id for queue in settings.queues},
        )
        zone = ZoneInfo(_zone(settings))
        return as_text(stored, await journal.timeline(session), await journal.messages(session), zone=zone, names=names)


def _zone(settings: Settings) -> str:
    """The IANA time zone of the house."""
    return next((hours.zone for hours in settings.hours.values()), "UTC")


def _api(
    runner: Runner,
    records: Records,
    channel: Channel,
    waiting: Waiting,
    contacts: ContactParts,
    reports: Reports,
    calls: Calls,
    news: News,
) -> Api:
    mails = runner.settings.data / MAILS

    async def forget_mails(sessions: Collection[str]) -> int:
        await news.tell(FORGOTTEN, msgspec.json.encode(list(sessions)).decode())
        return await asyncio.to_thread(forget, mails, sessions)

    async def forgotten(about: str) -> None:
        await asyncio.to_thread(forget, mails, msgspec.json.decode(about or "[]", type=list[str]))

    news.hear(FORGOTTEN, forgotten)
    return Api(
        Behind(
            settings=runner.settings,
            records=records,
            journal=runner.journal,
            channel=channel,
            media=runner.media,
            waits=waiting,
            redeliver=runner.hooks.redeliver,
            forget_mails=forget_mails,
            now=runner.clock,
            contacts=contacts,
            reporting=reports,
        ),
        calls,
    )


def _captions(flows: Mapping[str, Flow]) -> Callable[[str], str]:
    """What a recording says, as far as a catalogue tells: for people who look at a call instead of hearing it."""
    words: dict[str, str] = {}
    for flow in flows.values():
        for catalogue in flow.catalogues.values():
            for prompt in catalogue.prompts.values():
                words.update(zip(prompt.audio, fragments(prompt.say or ""), strict=False))
            for n in range(LARGEST + 1):
                words[catalogue.number_audio.replace("{n}", str(n))] = str(n)
                minutes = catalogue.minute if n == 1 else catalogue.minutes.replace("{n}", str(n))
                words[catalogue.minutes_audio.replace("{n}", str(n))] = minutes
    return lambda path: words.get(path, "")


def _presets(runner: Runner, language: str) -> tuple[Preset, ...]:
    """Those of the house, then those of the flows that the house does not have."""
    own = {
        preset.id: Preset(preset.id, _in(preset.title, language, "en"), _in(preset.text, language, "en"))
        for preset in runner.settings.presets
    }
    return (
        *own.values(),
        *(
            Preset(
                preset.id,
                _in(preset.title, language, flow.default_language),
                _in(preset.text, language, flow.default_language),
            )
            for flow in runner.flows.values()
            for preset in flow.presets
            if preset.id not in own
        ),
    )


def _in(texts: Mapping[str, str], language: str, otherwise: str) -> str:
    return texts.get(language) or texts.get(otherwise) or next(iter(texts.values()))


def load(settings: Settings, known: Mapping[str, Flow]) -> tuple[dict[str, Flow], dict[str, Menu]]:
    """Every flow and text menu that numbers use; flows that are *known* are not read again.

    Raises:
        SettingsError, FlowErrors, MenuErrors: As `load_flows` and `load_menus`.
    """
    return load_flows(settings, known), load_menus(settings)


def hours_of(menus: Mapping[str, Menu]) -> dict[str, str | None]:
    """By queue, the opening hours that a text menu names."""
    return {queue: hours for menu in menus.values() for queue, hours in menu.queues().items()}


async def _swap(runner: Runner, settings: Settings, flows: Mapping[str, Flow], menus: Mapping[str, Menu], revision: int) -> None:
    """Put settings into force, or raise QueueInUse."""
    await runner.reconfigure(settings, flows=flows, menus=menus, senders=adapters.senders_of(settings), revision=revision)


def _behind(runner: Runner) -> Callable[[], bool]:
    """Whether lines and agents go by other settings than the rest; compared again only when one of the two is another."""
    seen: tuple[Settings, FloorPlan, bool] | None = None

    def behind() -> bool:
        nonlocal seen
        if seen is None or seen[0] is not runner.settings or seen[1] is not runner.floor.plan:
            seen = runner.settings, runner.floor.plan, runner.floor.plan != floor_plan(runner.settings)
        return seen[2]

    return behind


def origin_of(settings: Settings) -> tuple[str, Settings | str]:
    """Which settings of the house hold, in words, and with them all settings; or what is wrong with those that were published."""
    revision = newest_revision_of(settings.journal_url)
    if revision is None:
        return "settings of the house: the file's", settings
    words = f"settings of the house: revision {revision.n}, which was published"
    try:
        return words, with_revision(settings, revision)
    except SettingsError as error:
        return words, str(error)


def _examine_shared(settings: Settings) -> list[tuple[str, str | None]]:
    """The journal's database, and what several nodes share."""
    checks: list[tuple[str, str | None]] = []
    try:
        before = time.time()
        clock = clock_of(settings.journal_url)
        if clock is not None:
            checks += [("journal", None), ("clock of the journal", clock_problem(clock - min(max(clock, before), time.time())))]
    except JournalError as error:
        checks.append(("journal", f"{error}. Check journal.url, and that PostgreSQL runs"))
    if settings.cluster.url is not None:
        from bridge.cluster.checks import examine as examine_redis  # noqa: PLC0415  an extra
        from bridge.cluster.checks import nodes_at  # noqa: PLC0415

        own = fingerprint(_secret(settings)) if settings.secret or has_secret(settings.data) else None
        url = settings.cluster.url.get_secret_value()
        checks += asyncio.run(examine_redis(url, settings.cluster.namespace, own))
        if settings.media.backend == "disk":
            checks.append(_examine_media(settings.data / "media", asyncio.run(nodes_at(url, settings.cluster.namespace))))
    return checks


def _examine_media(folder: Path, nodes: Collection[str]) -> tuple[str, str | None]:
    """Whether the nodes that run keep their files in this folder."""
    name = f"media folder {folder}" if nodes else f"media folder {folder}: no node runs that could share it"
    try:
        elsewhere = without_mark(folder, nodes)
    except OSError as error:
        return name, str(error)
    return name, f"not that of {', '.join(elsewhere)}: {adapters.SHARE_MEDIA}" if elsewhere else None


def _secret(settings: Settings) -> bytes:
    return load_secret(settings.data, settings.secret.get_secret_value() if settings.secret is not None else None)


def examine(settings: Settings) -> list[tuple[str, str | None]]:
    """Check what can be checked without starting: flows, folders, ports. Each with what is wrong, None when nothing is."""
    words, house = origin_of(settings)
    checks: list[tuple[str, str | None]] = [(words, house if isinstance(house, str) else None)]
    if not isinstance(house, str):
        settings = house
    try:
        load_flows(settings)
        checks.append(("flows", None))
    except (SettingsError, FlowErrors) as error:
        checks.append(("flows", str(error)))
    try:
        load_menus(settings)
        checks.append(("text menus", None))
    except (SettingsError, MenuErrors) as error:
        checks.append(("text menus", str(error)))
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        (settings.data / ".writable").touch()
        (settings.data / ".writable").unlink()
        checks.append((f"data folder {settings.data}", None))
    except OSError as error:
        checks.append((f"data folder {settings.data}", str(error)))
    try:
        adapters.hook_rules_of(settings)
        checks.append(("hooks", None))
    except SettingsError as error:
        checks.append(("hooks", str(error)))
    checks += _examine_shared(settings)
    ports = [("web", socket.SOCK_STREAM, settings.web.host, settings.web.port)]
    if settings.sip.enabled:
        ports.append(("SIP", socket.SOCK_DGRAM, settings.sip.host, settings.sip.port))
    for name, kind, host, port in ports:
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                checks.append((f"{name} port {host}:{port}", None))
            except OSError as error:
                checks.append((f"{name} port {host}:{port}", error.strerror))
    return checks
