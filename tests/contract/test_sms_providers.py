"""What every SMS provider keeps, on each of them; then what goes over the wire, exactly, on Twilio.

Loopback runs on its own network of handsets. Twilio runs against the Twilio-shaped server over real HTTP, both ways: a
small web server here verifies and parses the webhooks as the product does. With `--twilio-openapi PATH` every request is
held against Twilio's own description.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, Self

import pytest
from aiohttp import ClientSession, web

from sms.message import RANK, DeliveryReport, InboundText, OutboundText, RemoteMedia, TextState, advance
from sms.provider import Accepted, MediaUnavailable, NotSent, Rejected, SmsProvider, Unknown
from sms.providers.failover import MARK, FailoverSms
from sms.providers.loopback import LoopbackNetwork, LoopbackSms
from sms.providers.twilio import (
    EMPTY_TWIML,
    OutcomeUnknown,
    SignatureVerifier,
    Transport,
    TwilioSms,
    parse_form,
    parse_inbound,
    parse_status,
)
from sms.testing.twilio_openapi import Description
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN, Disorder, Fault, TwilioServer

OURS = "+15550100200"
SECOND_ACCOUNT, SECOND_TOKEN, POOL = "AC" + "6" * 32, "71" * 16, "MG" + "6" * 32
CUSTOMER = "+15550100123"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


def text(message: str = "m1", recipient: str = CUSTOMER, body: str = "Hello", **more: object) -> OutboundText:
    """A text of ours."""
    base = OutboundText(message=message, recipient=recipient, sender=OURS, body=body, created_at=time.time())
    return OutboundText(**{**{name: getattr(base, name) for name in base.__struct_fields__}, **more})


class Heard:
    """What the server was told, and a way to wait for it."""

    def __init__(self) -> None:
        self.texts: list[InboundText] = []
        self.reports: list[DeliveryReport] = []
        self.refuse = 0
        """Refuse so many texts before taking one."""
        self._news = asyncio.Event()

    async def on_text(self, arrived: InboundText) -> None:
        self.texts.append(arrived)
        if self.refuse > 0:
            self.refuse -= 1
            raise RuntimeError("the journal is full")

    async def on_report(self, report: DeliveryReport) -> None:
        self.reports.append(report)
        self._news.set()

    def state(self, ref: str) -> TextState:
        """The state of a text after all its reports so far."""
        state: TextState = "pending"
        for report in self.reports:
            if report.ref == ref and report.state is not None:
                state = advance(state, report.state)
        return state

    async def until(self, holds: Callable[[], bool], within: float = 5.0) -> None:
        async with asyncio.timeout(within):
            while not holds():
                self._news.clear()
                await self._news.wait()


class Handset(Protocol):
    """What both networks' handsets can do."""

    def text(self, to: str, body: str, media: Sequence[tuple[str, bytes, str]] = ()) -> Awaitable[object]: ...


class Rig:
    """A provider, its network and what it told."""

    def __init__(
        self,
        provider: SmsProvider,
        heard: Heard,
        handset: Callable[[str], Handset],
        bodies: Callable[[str], list[str]],
        twilio: TwilioServer | None = None,
    ) -> None:
        self.provider, self.heard, self.handset, self.bodies, self.twilio = provider, heard, handset, bodies, twilio


class Webhooks:
    """The product's side of Twilio's webhooks, in small."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.verifier: SignatureVerifier | None = None
        self.marks = {SECOND_ACCOUNT: MARK}
        self.url = ""
        self.forged = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/twilio/sms", self.sms)
        app.router.add_post("/twilio/sms/status", self.status)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        self.verifier = SignatureVerifier(["an older token", AUTH_TOKEN, SECOND_TOKEN], self.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    async def form(self, request: web.Request) -> tuple[tuple[str, str], ...]:
        assert self.verifier is not None
        raw = await request.read()
        form = parse_form(raw)
        signature = request.headers.get("X-Twilio-Signature")
        if not self.verifier.verify(request.raw_path, form, raw, signature, request.content_type):
            self.forged += 1
            raise web.HTTPForbidden
        return form

    async def sms(self, request: web.Request) -> web.Response:
        arrived = parse_inbound(await self.form(request), now=time.time(), marks=self.marks)
        try:
            await self.heard.on_text(arrived)
        except RuntimeError:
            return web.Response(status=500)
        return web.Response(text=EMPTY_TWIML, content_type="text/xml")

    async def status(self, request: web.Request) -> web.Response:
        form, query = await self.form(request), list(request.query.items())
        await self.heard.on_report(parse_status(form, query, now=time.time(), marks=self.marks))
        return web.Response(status=204)


@pytest.fixture
def description(request: pytest.FixtureRequest) -> Description | None:
    path = request.config.getoption("--twilio-openapi")
    return None if path is None else Description(json.loads(Path(path).read_text("utf-8")))


@pytest.fixture
async def loopback() -> AsyncIterator[Rig]:
    heard, network = Heard(), LoopbackNetwork(delay=0.02)
    async with LoopbackSms(network, on_text=heard.on_text, on_report=heard.on_report) as provider:
        yield Rig(provider, heard, network.handset, lambda number: [got.body for got in network.handset(number).received])


@pytest.fixture
async def twilio(description: Description | None) -> AsyncIterator[Rig]:
    heard = Heard()
    async with Webhooks(heard) as webhooks:
        check = None if description is None else description.problems
        async with (
            TwilioServer(inbound_url=f"{webhooks.url}/twilio/sms", latency=0.01, check=check) as server,
            TwilioSms(
                account_sid=ACCOUNT_SID,
                auth_token=AUTH_TOKEN,
                status_url=f"{webhooks.url}/twilio/sms/status",
                api_base_url=server.url,
                request_timeout=0.3,
                listed_within=0.0,
                pause=0.01,
            ) as provider,
        ):
            yield Rig(
                provider, heard, server.handset, lambda number: [got.body for got in server.handset(number).received], server
            )
            assert not server.problems
    assert webhooks.forged == 0


@asynccontextmanager
async def two_accounts(description: Description | None, *, first_fails: bool) -> AsyncIterator[tuple[Rig, TwilioServer]]:
    """Two accounts as one provider; the rig is that of the account that sends, the other is beside it."""
    heard = Heard()
    check = None if description is None else description.problems
    async with Webhooks(heard) as webhooks, AsyncExitStack() as stack:
        servers, accounts = [], []
        for account, token in ((ACCOUNT_SID, AUTH_TOKEN), (SECOND_ACCOUNT, SECOND_TOKEN)):
            server = await stack.enter_async_context(
                TwilioServer(
                    inbound_url=f"{webhooks.url}/twilio/sms", account_sid=account, auth_token=token, latency=0.01, check=check
                )
            )
            servers.append(server)
            accounts.append(
                TwilioSms(
                    account_sid=account,
                    auth_token=token,
                    status_url=f"{webhooks.url}/twilio/sms/status",
                    api_base_url=server.url,
                    request_timeout=0.3,
                    listed_within=0.0,
                    pause=0.01,
                )
            )
        if first_fails:
            servers[0].faults.clear()
            servers[0].otherwise = Fault(status=400, code=21606)
        at_work, beside = reversed(servers) if first_fails else servers
        first, second = accounts
        provider = FailoverSms(first, second, frozenset({"sender", "compliance", "account"}), sender=POOL)
        async with provider:
            yield (
                Rig(provider, heard, at_work.handset, lambda number: [got.body for got in at_work.handset(number).received]),
                beside,
            )
            assert not [*at_work.problems, *beside.problems]


@pytest.fixture
async def failover(description: Description | None) -> AsyncIterator[Rig]:
    async with two_accounts(description, first_fails=False) as (rig, beside):
        yield rig
        assert not beside.messages


@pytest.fixture
async def failed_over(description: Description | None) -> AsyncIterator[Rig]:
    async with two_accounts(description, first_fails=True) as (rig, beside):
        yield rig
        assert not beside.messages


@pytest.fixture(params=["loopback", "twilio", "failover", "failed_over"])
def rig(request: pytest.FixtureRequest) -> Rig:
    found: Rig = request.getfixturevalue(request.param)
    return found


# --- every provider ---------------------------------------------------------------------------------------------------


async def test_a_text_is_accepted_and_delivered(rig: Rig) -> None:
    """An accepted text has a ref and its segments, reaches the handset, and is reported until delivered, with our id."""
    accepted = await rig.provider.send(text(body="Grüße 😀" * 12))
    assert isinstance(accepted, Accepted)
    assert accepted.segments == 2
    assert RANK[accepted.state] < RANK["delivered"]
    await rig.heard.until(lambda: rig.heard.state(accepted.ref) == "delivered")
    assert rig.bodies(CUSTOMER) == ["Grüße 😀" * 12]
    assert {(report.provider, report.message) for report in rig.heard.reports} == {(rig.provider.name, "m1")}


async def test_an_undeliverable_text_says_why(rig: Rig) -> None:
    """A text to a handset that cannot be reached is reported undelivered, with a code, and arrives nowhere."""
    accepted = await rig.provider.send(text(recipient="+15550100199"))
    assert isinstance(accepted, Accepted)
    await rig.heard.until(lambda: rig.heard.state(accepted.ref) == "undelivered")
    assert rig.heard.reports[-1].code
    assert rig.bodies("+15550100199") == []


async def test_a_swallowed_text_stays_sent(rig: Rig) -> None:
    """A text that the network swallows is reported sent and nothing more."""
    accepted = await rig.provider.send(text(recipient="+15550100198"))
    assert isinstance(accepted, Accepted)
    await rig.heard.until(lambda: rig.heard.state(accepted.ref) == "sent")
    await asyncio.sleep(0.05)
    assert rig.heard.state(accepted.ref) == "sent"


@pytest.mark.parametrize(
    ("bad", "error_class"),
    [
        (text(recipient="banana"), "bad_address"),
        (text(body=""), "content"),
        (text(body="x" * 1601), "content"),
        (text(expires_at=time.time() - 1), "too_late"),
        (text(media_urls=("https://example.com/1.png",) * 11), "content"),
    ],
)
async def test_a_refused_text_never_leaves(rig: Rig, bad: OutboundText, error_class: str) -> None:
    """What cannot be sent is refused with the class of the fault, no use in repeating it, and nothing leaves."""
    refused = await rig.provider.send(bad)
    assert isinstance(refused, Rejected)
    assert (refused.error_class, refused.retriable) == (error_class, False)
    assert refused.code
    assert refused.explanation
    assert rig.heard.reports == []


async def test_a_handset_writes(rig: Rig) -> None:
    """A customer's text comes with its numbers, words and pictures, and the pictures can be fetched."""
    await rig.handset(CUSTOMER).text(OURS, "look é 😀 & =", [("leak.png", PNG, "image/png")])
    (arrived,) = rig.heard.texts
    assert (arrived.provider, arrived.sender, arrived.recipient) == (rig.provider.name, CUSTOMER, OURS)
    assert arrived.body == "look é 😀 & ="
    assert [media.content_type for media in arrived.media] == ["image/png"]
    assert await rig.provider.fetch_media(arrived.media[0], max_bytes=len(PNG)) == PNG


async def test_a_text_that_was_not_kept_comes_again(rig: Rig) -> None:
    """Until the server says a text is safe it comes again, under the same ref, so that it can be told from a new one."""
    rig.heard.refuse = 2
    await rig.handset(CUSTOMER).text(OURS, "anybody there?")
    assert len(rig.heard.texts) == 3
    assert len({arrived.ref for arrived in rig.heard.texts}) == 1


async def test_two_equal_texts_are_two(rig: Rig) -> None:
    """The same words from the same handset are two texts with two refs; nothing is guessed to be a repetition."""
    await rig.handset(CUSTOMER).text(OURS, "yes")
    await rig.handset(CUSTOMER).text(OURS, "yes")
    assert len({arrived.ref for arrived in rig.heard.texts}) == 2


async def test_too_large_and_missing_pictures(rig: Rig) -> None:
    """A picture over the limit, gone, or at a stranger's address is unavailable, and says so by one exception."""
    await rig.handset(CUSTOMER).text(OURS, "", [("leak.png", PNG, "image/png")])
    (media,) = rig.heard.texts[0].media
    with pytest.raises(MediaUnavailable):
        await rig.provider.fetch_media(media, max_bytes=len(PNG) - 1)
    for url in (media.url[:-3] + "000", "http://127.0.0.1:9/secret", "http://[bad", "loopback:nothing"):
        with pytest.raises(MediaUnavailable):
            await rig.provider.fetch_media(RemoteMedia(url=url, content_type="image/png"), max_bytes=1000)


async def test_reconciling_finds_what_was_sent(rig: Rig) -> None:
    """Asked what became of a text that was sent, a provider finds it; of one that was not, it says so."""
    sent = text(body="Are you there?")
    began = time.time()
    accepted = await rig.provider.send(sent)
    assert isinstance(accepted, Accepted)
    found = await rig.provider.reconcile(sent, attempted_at=began, known_refs=())
    assert isinstance(found, Accepted)
    assert (found.ref, found.segments) == (accepted.ref, accepted.segments)
    never = text(message="m2", body="Never sent")
    assert await rig.provider.reconcile(never, attempted_at=began, known_refs=()) == NotSent()


def reached(heard: Heard, ref: str, state: str) -> bool:
    """Whether a text has come so far."""
    return heard.state(ref) == state


async def test_a_report_that_was_missed_can_be_asked_for(rig: Rig) -> None:
    """A provider says how far a text it took has come, with the reason when it failed; of a stranger it says nothing."""
    for recipient, state in ((CUSTOMER, "delivered"), ("+15550100199", "undelivered")):
        accepted = await rig.provider.send(text(recipient=recipient))
        assert isinstance(accepted, Accepted)
        await rig.heard.until(partial(reached, rig.heard, accepted.ref, state))
        report = await rig.provider.look_up(accepted.ref)
        assert report is not None
        assert (report.state, report.provider, report.ref, report.code is not None) == (
            state,
            rig.provider.name,
            accepted.ref,
            state == "undelivered",
        )
    assert await rig.provider.look_up("SM" + "0" * 32) is None


async def test_reconciling_twins_is_one_to_one(rig: Rig) -> None:
    """Of two texts with the same words each finds its own; what is known to be another's is never taken."""
    twins = [text(message="m1", body="Still there?"), text(message="m2", body="Still there?")]
    began = time.time()
    refs = []
    for twin in twins:
        accepted = await rig.provider.send(twin)
        assert isinstance(accepted, Accepted)
        refs.append(accepted.ref)
    found = [await rig.provider.reconcile(twin, attempted_at=began, known_refs=()) for twin in twins]
    assert sorted(each.ref for each in found if isinstance(each, Accepted)) == sorted(refs)
    third = text(message="m3", body="Still there?")
    assert await rig.provider.reconcile(third, attempted_at=began, known_refs=refs) == NotSent()


# --- Twilio: our command on the left, the exact request on the right -----------------------------------------------------


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (text(body="Hi"), [("To", CUSTOMER), ("From", OURS), ("Body", "Hi")]),
        (
            text(body="a=1&b=é 😀", sender="MG" + "a" * 32),
            [("To", CUSTOMER), ("MessagingServiceSid", "MG" + "a" * 32), ("Body", "a=1&b=é 😀")],
        ),
        (
            text(body="", media_urls=("https://example.com/1.png", "https://example.com/2.png")),
            [
                ("To", CUSTOMER),
                ("From", OURS),
                ("MediaUrl", "https://example.com/1.png"),
                ("MediaUrl", "https://example.com/2.png"),
            ],
        ),
        (
            text(body="soon", expires_at=time.time() + 100_000),
            [("To", CUSTOMER), ("From", OURS), ("Body", "soon"), ("ValidityPeriod", "36000")],
        ),
    ],
)
async def test_exact_request(twilio: Rig, command: OutboundText, fields: list[tuple[str, str]]) -> None:
    """Each command becomes exactly these form fields, and a status callback that carries our id and how to try."""
    assert isinstance(await twilio.provider.send(command), Accepted)
    assert twilio.twilio is not None
    (request,) = twilio.twilio.requests
    assert (request.method, request.path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json")
    callbacks = [value for name, value in request.fields if name == "StatusCallback"]
    assert sorted(field for field in request.fields if field[0] != "StatusCallback") == sorted(fields)
    (callback,) = callbacks
    assert callback.endswith("/twilio/sms/status?message=m1#rc=2&rp=ct,rt,5xx&ct=2000&rt=4000&tt=14000")


async def test_a_service_goes_beside_the_sender(twilio: Rig) -> None:
    """With a service texts go by it and still from the number they name; such a text is found again."""
    assert twilio.twilio is not None
    sent = text(body="Hi")
    async with TwilioSms(
        account_sid=ACCOUNT_SID,
        auth_token=AUTH_TOKEN,
        status_url=None,
        messaging_service_sid=POOL,
        api_base_url=twilio.twilio.url,
        listed_within=0.0,
    ) as provider:
        began = time.time()
        accepted = await provider.send(sent)
        assert isinstance(accepted, Accepted)
        found = await provider.reconcile(sent, attempted_at=began, known_refs=())
    assert twilio.twilio.requests[0].fields == (
        ("To", CUSTOMER),
        ("From", OURS),
        ("MessagingServiceSid", POOL),
        ("Body", "Hi"),
    )
    assert isinstance(found, Accepted)
    assert found.ref == accepted.ref


async def test_the_second_account_sends_from_its_own(failed_over: Rig) -> None:
    """What goes over the wire of the second account names its sender; the ref says whose it is."""
    accepted = await failed_over.provider.send(text(body="Hi"))
    assert isinstance(accepted, Accepted)
    assert accepted.ref.startswith(MARK)
    assert accepted.segments == 1
    await failed_over.heard.until(lambda: failed_over.heard.state(accepted.ref) == "delivered")


async def test_reconciling_tells_pictures_apart(twilio: Rig) -> None:
    """A text with a picture is not taken for the one without, though the words are the same."""
    began = time.time()
    accepted = await twilio.provider.send(text(body="look", media_urls=("https://example.com/1.png",)))
    assert isinstance(accepted, Accepted)
    assert await twilio.provider.reconcile(text(body="look"), attempted_at=began, known_refs=()) == NotSent()


@pytest.mark.parametrize(
    ("recipient", "states"),
    [
        ("+15550190701", []),
        ("+15550190702", ["queued", "queued", "sent", "sent", "delivered", "delivered"]),
        ("+15550190703", ["delivered", "sent", "queued"]),
        ("+15550190034", ["queued", "sent", "undelivered"]),
    ],
)
async def test_callbacks_by_number(twilio: Rig, recipient: str, states: list[str]) -> None:
    """Lost, doubled and reversed callbacks can be had for one text, and the truth can be asked for."""
    accepted = await twilio.provider.send(text(recipient=recipient))
    assert isinstance(accepted, Accepted)
    await twilio.heard.until(lambda: len(twilio.heard.reports) == len(states))
    async with asyncio.timeout(5.0):
        while (  # noqa: ASYNC110  # asking is what this is about
            report := await twilio.provider.look_up(accepted.ref)
        ) is None or report.reported in {"queued", "sent"}:
            await asyncio.sleep(0.01)
    assert [each.reported for each in twilio.heard.reports] == states
    assert report.reported == ("undelivered" if recipient.endswith("034") else "delivered")


async def test_a_slow_answer_is_waited_for(twilio: Rig) -> None:
    """Slow is not lost, as long as it comes within the time limit."""
    assert twilio.twilio is not None
    twilio.twilio.slow_seconds = 0.1
    assert isinstance(await twilio.provider.send(text(recipient="+15550190510")), Accepted)


async def test_expiry_becomes_a_validity_period(twilio: Rig) -> None:
    """A text that must not be late carries the seconds it has left."""
    await twilio.provider.send(text(expires_at=time.time() + 600))
    assert twilio.twilio is not None
    assert 595 <= int(dict(twilio.twilio.requests[0].fields)["ValidityPeriod"]) <= 600


@pytest.mark.parametrize(
    ("recipient", "requests", "taken"),
    [
        ("+15550190500", 1, 0),  # 500, not taken
        ("+15550190501", 1, 1),  # 500, yet taken
        ("+15550190504", 1, 1),  # hangs, yet taken
        ("+15550190505", 1, 0),  # hangs, not taken
        ("+15550190600", 1, 1),  # the connection breaks, yet taken
        ("+15550190601", 1, 0),  # the connection breaks, not taken
    ],
)
async def test_unknown_outcomes_are_never_repeated(twilio: Rig, recipient: str, requests: int, taken: int) -> None:
    """After a 5xx, a silence or a broken connection the text is not sent again; reconciling says what became of it."""
    lost = text(recipient=recipient, body=f"to {recipient}")
    began = time.time()
    assert isinstance(await twilio.provider.send(lost), Unknown)
    assert twilio.twilio is not None
    assert len(twilio.twilio.requests) == requests
    assert twilio.twilio.accepted_bodies[lost.body] == taken
    found = await twilio.provider.reconcile(lost, attempted_at=began, known_refs=())
    assert isinstance(found, Accepted if taken else NotSent)
    if isinstance(found, Accepted):
        await twilio.heard.until(lambda: twilio.heard.state(found.ref) == "delivered")


async def test_too_many_requests_are_tried_again(twilio: Rig) -> None:
    """429 means that nothing happened: it is tried again at once, and handed back with the wait asked for in the end."""
    assert isinstance(await twilio.provider.send(text(recipient="+15550190429")), Accepted)
    assert twilio.twilio is not None
    assert len(twilio.twilio.requests) == 2
    refused = await twilio.provider.send(text(recipient="+15550190430"))
    assert isinstance(refused, Rejected)
    assert (refused.error_class, refused.code, refused.retriable, refused.retry_after) == ("temporary", "20429", True, 0.0)
    assert len(twilio.twilio.requests) == 5
    twilio.twilio.retry_after = 120
    refused = await twilio.provider.send(text(recipient="+15550190430"))
    assert isinstance(refused, Rejected)
    assert refused.retry_after == 120.0
    assert len(twilio.twilio.requests) == 6


@pytest.mark.parametrize(
    ("recipient", "error_class", "code"),
    [
        ("+15550191610", "opted_out", "21610"),
        ("+15550191211", "bad_address", "21211"),
        ("+15550191606", "sender", "21606"),
        ("+15550191614", "bad_address", "21614"),
        ("+15550192003", "account", "20003"),
    ],
)
async def test_refusals_keep_their_code(twilio: Rig, recipient: str, error_class: str, code: str) -> None:
    """A refusal has Twilio's code and our class, and the explanation without the client's preamble."""
    refused = await twilio.provider.send(text(recipient=recipient))
    assert refused == Rejected(error_class=error_class, code=code, explanation=f"Fault {code}")  # type: ignore[arg-type]


async def test_no_connection_means_nothing_happened() -> None:
    """When nobody listens, nothing has happened: refused for now, may be sent later."""
    async with TwilioSms(
        account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, status_url=None, api_base_url="http://127.0.0.1:9", pause=0.0
    ) as provider:
        refused = await provider.send(text())
    assert isinstance(refused, Rejected)
    assert (refused.error_class, refused.code, refused.retriable) == ("temporary", "unreachable", True)


async def test_a_wrong_token_is_the_accounts_fault(twilio: Rig) -> None:
    """Credentials that are refused are a fault of the account."""
    assert twilio.twilio is not None
    async with TwilioSms(
        account_sid=ACCOUNT_SID, auth_token="wrong", status_url=None, api_base_url=twilio.twilio.url
    ) as provider:
        refused = await provider.send(text())
    assert isinstance(refused, Rejected)
    assert (refused.error_class, refused.code) == ("account", "20003")


async def test_a_young_attempt_may_still_be_listed(twilio: Rig) -> None:
    """Before a text certainly shows in the list, one that is not there is unknown still, and we are told when to ask."""
    assert twilio.twilio is not None
    async with TwilioSms(
        account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, status_url=None, api_base_url=twilio.twilio.url, listed_within=30.0
    ) as provider:
        asked = await provider.reconcile(text(), attempted_at=time.time(), known_refs=())
    assert isinstance(asked, Unknown)
    assert asked.retry_after is not None
    assert 29.0 < asked.retry_after <= 30.0


async def test_reconciling_reads_on_until_the_attempt(twilio: Rig) -> None:
    """The list is read page by page until it is older than the attempt."""
    assert twilio.twilio is not None
    sent = text(body="the first")
    accepted = await twilio.provider.send(sent)
    assert isinstance(accepted, Accepted)
    began = time.time()
    for number in range(250):
        await twilio.provider.send(text(message=f"n{number}", body="noise"))
    found = await twilio.provider.reconcile(sent, attempted_at=began, known_refs=())
    assert isinstance(found, Accepted)
    assert found.ref == accepted.ref
    assert [request.method for request in twilio.twilio.requests].count("GET") == 2


async def test_callbacks_in_any_order_twice_or_lost(twilio: Rig) -> None:
    """Whatever becomes of the callbacks on their way, the state ends where the network left it."""
    assert twilio.twilio is not None
    twilio.twilio.disorder = Disorder(duplicates=0.5, shuffle=True)
    refs = []
    for number in range(30):
        accepted = await twilio.provider.send(text(message=f"m{number}", recipient=f"+155501002{number:02}"))
        assert isinstance(accepted, Accepted)
        refs.append(accepted.ref)
    await twilio.heard.until(lambda: all(twilio.heard.state(ref) == "delivered" for ref in refs))
    assert len(twilio.heard.reports) > 90


async def test_parallel_sends_get_their_own_answers(twilio: Rig) -> None:
    """Of 200 texts at once each gets the answer that is its own."""
    assert twilio.twilio is not None
    texts = [text(message=f"m{number}", body=f"text {number}") for number in range(200)]
    answers = await asyncio.gather(*(twilio.provider.send(each) for each in texts))
    for each, answer in zip(texts, answers, strict=True):
        # A loaded machine may let one run into its time limit; then nobody claims to know.
        if isinstance(answer, Accepted):
            assert twilio.twilio.messages[answer.ref].body == each.body
    assert max(twilio.twilio.accepted_bodies.values()) == 1


async def test_a_stop_that_twilio_obeyed_blocks_the_sender(twilio: Rig) -> None:
    """After STOP Twilio answers, refuses our texts with 21610, and takes them again after START."""
    assert twilio.twilio is not None
    twilio.twilio.opt_out = "advanced"
    await twilio.handset(CUSTOMER).text(OURS, "Stop")
    handled = [twilio.heard.texts[-1].opt_out_handled]
    refused = await twilio.provider.send(text())
    assert isinstance(refused, Rejected)
    assert refused.error_class == "opted_out"
    await twilio.handset(CUSTOMER).text(OURS, "START")
    handled.append(twilio.heard.texts[-1].opt_out_handled)
    assert handled == ["stop", "start"]
    assert isinstance(await twilio.provider.send(text()), Accepted)


async def test_a_misspelt_field_is_noticed() -> None:
    """The stand-in refuses a field that does not exist, which Twilio itself would swallow."""
    async with (
        TwilioServer() as server,
        TwilioSms(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, status_url=None, api_base_url=server.url) as provider,
    ):
        transport = provider._opened().http_client
        answer = await transport.request(
            "POST",
            f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json",
            data={"To": CUSTOMER, "From": OURS, "Body": "x", "StatusCallBack": "http://x"},
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            auth=(ACCOUNT_SID, AUTH_TOKEN),
        )
        assert answer.status_code == 400
        assert server.problems == ["unknown fields: StatusCallBack"]


@asynccontextmanager
async def answering(*answers: tuple[int, str]) -> AsyncIterator[tuple[str, list[str]]]:
    """A web server that gives *answers*, the last of them for ever: its address, and the methods it saw."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.method)
        status, body = answers[min(len(seen), len(answers)) - 1]
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


def twilio_at(url: str, session: ClientSession | None = None) -> TwilioSms:
    return TwilioSms(
        account_sid=ACCOUNT_SID,
        auth_token=AUTH_TOKEN,
        status_url=None,
        api_base_url=url,
        session=session,
        request_timeout=0.5,
        listed_within=0.0,
        pause=0.0,
    )


@pytest.mark.parametrize(("method", "requests"), [("GET", 2), ("DELETE", 2), ("POST", 1)])
async def test_only_what_changes_nothing_is_repeated_after_a_5xx(method: str, requests: int) -> None:
    """After a 5xx a GET or DELETE is made again; a POST is not, because it may have been carried out."""
    async with answering((500, ""), (200, "{}")) as (url, seen), ClientSession() as session:
        transport = Transport(session, api_base_url=url, pause=0.0)
        if method == "POST":
            with pytest.raises(OutcomeUnknown):
                await transport.request(method, "https://api.twilio.com/x")
        else:
            assert (await transport.request(method, "https://api.twilio.com/x?a=1", params={"b": "2"})).ok
    assert seen == [method] * requests


@pytest.mark.parametrize("nonsense", [(200, "<html>login</html>"), (200, "{}"), (200, "[]"), (200, ""), (200, '{"sid": null}')])
async def test_an_answer_without_sense_is_an_unknown_outcome(nonsense: tuple[int, str]) -> None:
    """An answer that is not Twilio's proves nothing: neither sent nor listed nor absent."""
    async with answering(nonsense) as (url, _), twilio_at(url) as provider:
        assert isinstance(await provider.send(text()), Unknown)
        assert isinstance(await provider.reconcile(text(), attempted_at=0.0, known_refs=()), Unknown)


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_list_that_is_refused_proves_nothing(status: int) -> None:
    """A text is called not sent only after a list that could be read."""
    async with answering((status, '{"code": 20403, "message": "no"}')) as (url, _), twilio_at(url) as provider:
        assert isinstance(await provider.reconcile(text(), attempted_at=0.0, known_refs=()), Unknown)
    async with twilio_at("http://127.0.0.1:9") as provider:
        assert isinstance(await provider.reconcile(text(), attempted_at=0.0, known_refs=()), Unknown)


async def test_problem_details_are_read_too() -> None:
    """An error in the form of RFC 9457 has its code and detail read like the older form."""
    problem = {"type": "x", "title": "Bad", "status": 400, "code": 21610, "detail": "opted out"}
    async with answering((400, json.dumps(problem))) as (url, _), twilio_at(url) as provider:
        assert await provider.send(text()) == Rejected(error_class="opted_out", code="21610", explanation="opted out")


async def test_a_picture_may_come_a_moment_later() -> None:
    """A picture that is not there yet is asked for again; one that never comes, or a dead server, is unavailable for now."""
    async with answering((404, ""), (200, "picture")) as (url, _), twilio_at(url) as provider:
        assert await provider.fetch_media(RemoteMedia(url=f"{url}/x", content_type=""), max_bytes=10) == b"picture"
    dead = "http://127.0.0.1:9"
    async with twilio_at(dead) as provider:
        with pytest.raises(MediaUnavailable) as caught:
            await provider.fetch_media(RemoteMedia(url=f"{dead}/x", content_type=""), max_bytes=10)
    assert caught.value.retriable


async def test_a_shared_session_stays_open() -> None:
    """A session that was handed over is not ours to close."""
    async with answering((429, "")) as (url, seen), ClientSession() as session:
        async with twilio_at(url, session) as provider:
            assert isinstance(await provider.send(text()), Rejected)
        assert not session.closed
    assert len(seen) == 3
