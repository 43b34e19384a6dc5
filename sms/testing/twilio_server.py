"""A server shaped like Twilio's messaging API: it keeps what it is sent, reports on it and brings texts of handsets.

It answers on loopback only. What it is for: the demonstration without an account, and tests that count every text. Where
Twilio is lenient it is strict: a field it does not know is an error, because a misspelt field is ours.

How it behaves badly is chosen by the recipient's number; `TwilioServer.faults` takes further ones:

    number         what happens to a text to it
    +15550190429   429 once, with Retry-After; then it is taken
    +15550190430   429 always
    +15550190500   500, not taken
    +15550190501   500, and taken all the same
    +15550190502   503 once, not taken; then it is
    +15550190503   500 once, and taken; a second one is taken too
    +15550190504   no answer, and taken
    +15550190505   no answer, not taken
    +15550190510   the answer takes `slow_seconds`
    +15550190600   the connection breaks, and it is taken
    +15550190601   the connection breaks, not taken
    +15550191211   400, 21211: not a valid number
    +15550191606   400, 21606: the sender cannot send there
    +15550191610   400, 21610: opted out
    +15550191614   400, 21614: not a mobile number
    +15550192003   401, 20003: the account is wrong
    +15550190003   taken, then undelivered, 30003: out of reach
    +15550190005   taken, then undelivered, 30005: unknown handset
    +15550190006   taken, then undelivered, 30006: landline
    +15550190034   taken, then undelivered, 30034: the sender is not registered
    +15550190007   taken, then nothing more is heard than `sent`
    +15550190701   delivered, and all callbacks are lost
    +15550190702   delivered, and every callback comes twice
    +15550190703   delivered, and the callbacks come in reverse order
    ...0199        taken, then undelivered, 30005
    ...0198        taken, then nothing more is heard than `sent`

    python -m sms.testing.twilio_server --port 8090 --inbound-url http://127.0.0.1:8080/twilio/sms

Other processes steer it under `/control`: `GET /control/state`, `GET /control/handsets/NUMBER`,
`POST /control/handsets/NUMBER/texts` with `{"to", "body", "media": [{"name", "type", "base64"}]}`, and
`POST /control/settings` with any of `{"inbound_url", "latency", "opt_out", "disorder": {"duplicates", "loss", "shuffle"}}`.
"""

import argparse
import asyncio
import base64
import binascii
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import aiohttp
import msgspec
import structlog
from aiohttp import web
from multidict import MultiDict
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from sms.segments import segment
from sms.testing.twilio_openapi import Description

log = structlog.get_logger(__name__)

ACCOUNT_SID = "AC" + "5" * 32
AUTH_TOKEN = "70" * 16
API_VERSION = "2010-04-01"
OptOutMode: TypeAlias = Literal["off", "default", "advanced"]
Check: TypeAlias = Callable[[str, str, Sequence[tuple[str, str]]], list[str]]

CREATE_FIELDS = frozenset(
    {
        "To", "From", "MessagingServiceSid", "Body", "MediaUrl", "ContentSid", "ContentVariables", "StatusCallback",
        "ApplicationSid", "MaxPrice", "ProvideFeedback", "Attempt", "ValidityPeriod", "ForceDelivery", "ContentRetention",
        "AddressRetention", "SmartEncoded", "PersistentAction", "TrafficType", "ShortenUrls", "ScheduleType", "SendAt",
        "SendAsMms", "RiskCheck", "FallbackFrom", "MessageIntent",
    }
)  # fmt: skip
LIST_FIELDS = frozenset({"To", "From", "DateSent", "DateSent<", "DateSent>", "PageSize", "Page", "PageToken"})
# The filter on every long code; replies are Twilio's own words in substance.
STOP_WORDS = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"})
START_WORDS = frozenset({"start", "unstop", "yes"})
HELP_WORDS = frozenset({"help", "info"})
REPLIES = {
    "STOP": "You are unsubscribed and get no more messages from this number. Reply START to resubscribe.",
    "START": "You are subscribed again. Reply HELP for help, STOP to unsubscribe. Msg & data rates may apply.",
    "HELP": "Reply STOP to unsubscribe. Msg & data rates may apply.",
}


class Fault(msgspec.Struct, frozen=True):
    """How a text to one number goes wrong."""

    status: int | None = None
    """HTTP status to answer with instead of 201."""
    code: int | None = None
    """Error code of that answer, or of `undelivered`."""
    times: int | None = None
    """For the first so many requests only; None: for every one."""
    accept: bool = False
    """The text is taken although the answer says otherwise, or does not come."""
    hang: bool = False
    """No answer for `hang_seconds`."""
    drop: bool = False
    """The connection breaks instead of an answer."""
    slow: bool = False
    """The answer takes `slow_seconds`."""
    outcome: Literal["delivered", "undelivered", "silent"] = "delivered"
    callbacks: Literal["once", "lost", "twice", "reversed"] = "once"
    """How they come, besides what `Disorder` does."""


FAULTS: Mapping[str, Fault] = {
    "+15550190500": Fault(status=500),
    "+15550190501": Fault(status=500, accept=True),
    "+15550190502": Fault(status=503, times=1),
    "+15550190503": Fault(status=500, times=1, accept=True),
    "+15550190429": Fault(status=429, code=20429, times=1),
    "+15550190430": Fault(status=429, code=20429),
    "+15550191610": Fault(status=400, code=21610),
    "+15550190510": Fault(slow=True),
    "+15550191211": Fault(status=400, code=21211),
    "+15550191606": Fault(status=400, code=21606),
    "+15550191614": Fault(status=400, code=21614),
    "+15550192003": Fault(status=401, code=20003),
    "+15550190003": Fault(outcome="undelivered", code=30003),
    "+15550190005": Fault(outcome="undelivered", code=30005),
    "+15550190006": Fault(outcome="undelivered", code=30006),
    "+15550190034": Fault(outcome="undelivered", code=30034),
    "+15550190007": Fault(outcome="silent"),
    "+15550190701": Fault(callbacks="lost"),
    "+15550190702": Fault(callbacks="twice"),
    "+15550190703": Fault(callbacks="reversed"),
    "+15550190504": Fault(hang=True, accept=True),
    "+15550190505": Fault(hang=True),
    "+15550190600": Fault(drop=True, accept=True),
    "+15550190601": Fault(drop=True, accept=False),
}


class Disorder(msgspec.Struct, frozen=True):
    """What becomes of status callbacks on their way."""

    duplicates: float = 0.0
    """Share of callbacks that come twice."""
    loss: float = 0.0
    """Share of callbacks that never come."""
    shuffle: bool = False
    """The callbacks of one text come in any order, once its fate is settled."""


class ApiRequest(msgspec.Struct, frozen=True):
    """A request of the client, as it came."""

    method: str
    path: str
    fields: tuple[tuple[str, str], ...]
    """The form of a POST, the query of a GET."""


class Webhook(msgspec.Struct, frozen=True):
    """One webhook and how it was answered."""

    url: str
    fields: tuple[tuple[str, str], ...]
    answers: tuple[int, ...]
    """HTTP status of each try; 0 when there was no answer."""


class HandsetText(msgspec.Struct, frozen=True):
    """A text that reached a handset."""

    sid: str
    sender: str
    body: str
    media_urls: tuple[str, ...]
    at: float


class Message(msgspec.Struct):
    """A message resource."""

    sid: str
    direction: str
    to: str
    sender: str | None
    service: str | None
    body: str
    media_urls: tuple[str, ...]
    status: str
    created: float
    callback: str | None = None
    sent: float | None = None
    updated: float = 0.0
    error_code: int | None = None

    def resource(self, account_sid: str) -> dict[str, Any]:
        """As the API shows it."""
        uri = f"/{API_VERSION}/Accounts/{account_sid}/Messages/{self.sid}"
        return {
            "account_sid": account_sid,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": rfc2822(self.created),
            "date_sent": None if self.sent is None else rfc2822(self.sent),
            "date_updated": rfc2822(self.updated or self.created),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": None,
            "from": self.sender,
            "messaging_service_sid": self.service,
            "num_media": str(len(self.media_urls)),
            # A pool of senders counts only once it has chosen one.
            "num_segments": "0" if self.service else str(max(1, segment(self.body).segments)),
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }


class Handset:
    """A telephone at the other end. Made by `TwilioServer.handset`."""

    def __init__(self, number: str, server: "TwilioServer") -> None:
        self.number = number
        self.received: list[HandsetText] = []
        """Oldest first."""
        self._server = server
        self._news = asyncio.Event()

    async def text(self, to: str, body: str, media: Sequence[tuple[str, bytes, str]] = ()) -> str:
        """Write to *to*; see `TwilioServer.text`."""
        return await self._server.text(self.number, to, body, media)

    async def wait(self, count: int, *, within: float = 5.0) -> list[HandsetText]:
        """The texts received, once there are *count*.

        Raises:
            TimeoutError: there were fewer after *within* seconds.
        """
        async with asyncio.timeout(within):
            while len(self.received) < count:
                await self._news.wait()
        return self.received

    def add(self, text: HandsetText) -> None:
        """Receive *text*."""
        self.received.append(text)
        news, self._news = self._news, asyncio.Event()
        news.set()


class TwilioServer:
    """The API, the handsets and the webhooks.

    Args:
        inbound_url: Where the texts of handsets go; may be set later.
        account_sid: Of the one account.
        auth_token: Signs webhooks and opens the API.
        port: 0: a free one.
        latency: Seconds between the states of a text.
        hang_seconds: How long a request hangs that hangs.
        slow_seconds: How long a slow answer takes.
        retry_after: Seconds in the `Retry-After` of a 429.
        disorder: What becomes of status callbacks.
        opt_out: `default`: STOP and its like are answered and obeyed as on a long code; `advanced`: the webhook says so
            too; `off`: they are texts like any other.
        check: Gets method, path and fields of each request of the client and says what is wrong with it.
        seed: For the disorder.
        clock: Seconds since the Unix epoch.
    """

    def __init__(
        self,
        *,
        inbound_url: str | None = None,
        account_sid: str = ACCOUNT_SID,
        auth_token: str = AUTH_TOKEN,
        port: int = 0,
        latency: float = 0.02,
        hang_seconds: float = 60.0,
        slow_seconds: float = 1.0,
        retry_after: int = 0,
        disorder: Disorder | None = None,
        opt_out: OptOutMode = "default",
        check: Check | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.inbound_url = inbound_url
        self.account_sid = account_sid
        self.auth_token = auth_token
        self.latency = latency
        self.hang_seconds = hang_seconds
        self.slow_seconds = slow_seconds
        self.retry_after = retry_after
        self.disorder = disorder or Disorder()
        self.opt_out: OptOutMode = opt_out
        self.faults: dict[str, Fault] = dict(FAULTS)
        self.otherwise = Fault()
        """What happens to texts to numbers that are not among `faults`."""
        self.messages: dict[str, Message] = {}
        """Oldest first, both directions."""
        self.accepted_bodies: Counter[str] = Counter()
        """How often each body was taken: more than once is a text sent twice."""
        self.requests: list[ApiRequest] = []
        self.webhooks: list[Webhook] = []
        self.problems: list[str] = []
        """What was wrong with requests of the client, in words; empty when the client is sound."""
        self.opted_out: set[tuple[str, str]] = set()
        """`(handset, our number)`."""
        self.route: Callable[[str, Mapping[str, str]], str] = lambda url, _fields: url
        """Where a webhook to this address, with these fields, is really brought: what a front before several nodes does."""
        self._handsets: dict[str, Handset] = {}
        self._media: dict[str, tuple[bytes, str]] = {}
        self._fault_counts: Counter[str] = Counter()
        self._check = check
        self._random = random.Random(seed)  # noqa: S311  # disorder, not secrets
        self._clock = clock
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """The address to use as `api_base_url`."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        """Listen on 127.0.0.1."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        account = f"/{API_VERSION}/Accounts/{{account}}"
        app.router.add_post(f"{account}/Messages.json", self._guarded(self._create))
        app.router.add_get(f"{account}/Messages.json", self._guarded(self._list))
        app.router.add_get(f"{account}/Messages/{{sid}}.json", self._guarded(self._fetch))
        app.router.add_get(f"{account}/Messages/{{sid}}/Media/{{media}}", self._guarded(self._picture))
        app.router.add_get("/control/state", self._control_state)
        app.router.add_get("/control/handsets/{number}", self._control_handset)
        app.router.add_post("/control/handsets/{number}/texts", self._control_text)
        app.router.add_post("/control/settings", self._control_settings)
        self._session = aiohttp.ClientSession()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop reporting and close; whatever hangs is let go."""
        self._closing.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # --- the other end ------------------------------------------------------------------------------------------------

    def handset(self, number: str) -> Handset:
        """The handset with *number*; there is always one."""
        return self._handsets.setdefault(number, Handset(number, self))

    async def text(
        self, sender: str, to: str, body: str, media: Sequence[tuple[str, bytes, str]] = (), *, within: float = 30.0
    ) -> str:
        """Let a handset write to *to* and return the text's id when our server has answered 2xx.

        The webhook is brought again, with the same id, until then.

        Args:
            sender: The handset's number.
            to: The number written to.
            body: May be empty when there is *media*.
            media: `(file name, bytes, content type)` of each picture.
            within: Seconds after which it is given up.

        Raises:
            ConnectionError: it was given up.
        """
        if self.inbound_url is None:
            raise ConnectionError("no inbound_url is set")
        sid = ("MM" if media else "SM") + uuid4().hex
        urls = []
        for _, data, content_type in media:
            picture = "ME" + uuid4().hex
            self._media[picture] = (data, content_type)
            urls.append(f"{self.url}/{API_VERSION}/Accounts/{self.account_sid}/Messages/{sid}/Media/{picture}")
        self.messages[sid] = Message(
            sid=sid,
            direction="inbound",
            to=to,
            sender=sender,
            service=None,
            body=body,
            media_urls=tuple(urls),
            status="received",
            created=self._clock(),
        )
        fields = self._inbound_fields(self.messages[sid], [content_type for _, _, content_type in media])
        word = self._opt_out_word(body)
        if word is not None:
            self._obey(word, sender, to)
            if self.opt_out == "advanced":
                fields.append(("OptOutType", word))
        await self._bring(self.inbound_url, fields, within)
        return sid

    def _inbound_fields(self, message: Message, content_types: Sequence[str]) -> list[tuple[str, str]]:
        fields = [
            ("ToCountry", "US"), ("ToState", ""), ("ToCity", ""), ("ToZip", ""),
            ("FromCountry", "US"), ("FromState", ""), ("FromCity", ""), ("FromZip", ""),
            ("SmsMessageSid", message.sid), ("SmsSid", message.sid), ("MessageSid", message.sid),
            ("NumMedia", str(len(message.media_urls))), ("NumSegments", str(max(1, segment(message.body).segments))),
            ("SmsStatus", "received"), ("Body", message.body), ("To", message.to), ("From", message.sender or ""),
            ("AccountSid", self.account_sid), ("ApiVersion", API_VERSION),
        ]  # fmt: skip
        for index, (url, content_type) in enumerate(zip(message.media_urls, content_types, strict=True)):
            fields += [(f"MediaContentType{index}", content_type), (f"MediaUrl{index}", url)]
        return fields

    def _opt_out_word(self, body: str) -> str | None:
        word = body.strip().lower()
        if self.opt_out == "off":
            return None
        return "STOP" if word in STOP_WORDS else "START" if word in START_WORDS else "HELP" if word in HELP_WORDS else None

    def _obey(self, word: str, handset: str, ours: str) -> None:
        if word == "STOP":
            self.opted_out.add((handset, ours))
        elif word == "START":
            self.opted_out.discard((handset, ours))
        reply = HandsetText(sid="SM" + uuid4().hex, sender=ours, body=REPLIES[word], media_urls=(), at=self._clock())
        self.handset(handset).add(reply)

    # --- webhooks -----------------------------------------------------------------------------------------------------

    async def _bring(self, url: str, fields: Sequence[tuple[str, str]], within: float) -> None:
        """Post *fields* to *url* until the answer is 2xx."""
        pause, answers = 0.05, [0]
        try:
            async with asyncio.timeout(within):
                while True:
                    answers[0] = await self._post(url, fields, 15.0)
                    if 200 <= answers[0] < 300:
                        return
                    log.info("twilio_server.webhook_refused", status=answers[0])
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 2.0)
        except TimeoutError:
            raise ConnectionError(f"the webhook was not taken; last answer: HTTP {answers[0]}") from None

    async def _report(self, url: str, fields: Sequence[tuple[str, str]]) -> None:
        """Post a status callback, as often as the address's connection overrides say."""
        wish = dict(parse_qsl(urlsplit(url).fragment))
        policy = wish.get("rp", "ct").split(",")
        answers: list[int] = []
        for _ in range(1 + int(wish.get("rc", "1"))):
            status = await self._post(url, fields, int(wish.get("rt", "15000")) / 1000)
            answers.append(status)
            failure = "ct" if status == 0 else "5xx" if status >= 500 else "4xx" if status >= 400 else None
            if failure is None or (failure not in policy and "all" not in policy):
                break
            await asyncio.sleep(self.latency)
        self.webhooks.append(Webhook(url=url, fields=tuple(fields), answers=tuple(answers)))

    async def _post(self, url: str, fields: Sequence[tuple[str, str]], read_timeout: float) -> int:
        """One signed POST; 0 when there was no answer."""
        assert self._session is not None, "the server is not open"
        bare = url.partition("#")[0]
        headers = {
            "X-Twilio-Signature": RequestValidator(self.auth_token).compute_signature(bare, MultiDict(fields)),
            "I-Twilio-Idempotency-Token": str(uuid4()),
            "User-Agent": "TwilioProxy/1.1",
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        }
        limits = aiohttp.ClientTimeout(total=read_timeout)
        try:
            where = self.route(bare, dict(fields))
            async with self._session.post(where, data=urlencode(fields), headers=headers, timeout=limits) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    async def _live(self, message: Message) -> None:
        """Let an accepted text fare as its recipient's number says, and report."""
        fault = self.faults.get(message.to, _by_ending(message.to))
        steps: list[tuple[str, int | None]] = [("queued", None), ("sent", None)]
        if fault.outcome == "delivered":
            steps.append(("delivered", None))
        elif fault.outcome == "undelivered":
            steps.append(("undelivered", fault.code or 30005))
        reports: list[tuple[str, list[tuple[str, str]]]] = []
        for status, code in steps:
            await asyncio.sleep(self.latency)
            message.status, message.error_code, message.updated = status, code, self._clock()
            if status == "sent":
                message.sent = self._clock()
            if status == "delivered":
                text = HandsetText(
                    message.sid, message.sender or message.service or "", message.body, message.media_urls, message.updated
                )
                self.handset(message.to).add(text)
            reports += self._reports(message, fault)
            if not self.disorder.shuffle and fault.callbacks != "reversed":
                for url, fields in reports:
                    await self._report(url, fields)
                reports.clear()
        if self.disorder.shuffle:
            self._random.shuffle(reports)
        else:
            reports.reverse()
        for url, fields in reports:
            await self._report(url, fields)

    def _reports(self, message: Message, fault: Fault) -> list[tuple[str, list[tuple[str, str]]]]:
        """The callbacks about the state *message* is in now, address and fields of each."""
        if message.callback is None or fault.callbacks == "lost" or self._random.random() < self.disorder.loss:
            return []
        twice = fault.callbacks == "twice" or self._random.random() < self.disorder.duplicates
        return [(message.callback, self._status_fields(message))] * (2 if twice else 1)

    def _status_fields(self, message: Message) -> list[tuple[str, str]]:
        fields = [
            ("SmsSid", message.sid), ("SmsStatus", message.status), ("MessageSid", message.sid),
            ("MessageStatus", message.status), ("To", message.to), ("From", message.sender or ""),
            ("AccountSid", self.account_sid), ("ApiVersion", API_VERSION),
        ]  # fmt: skip
        if message.service is not None:
            fields.append(("MessagingServiceSid", message.service))
        if message.error_code is not None:
            fields.append(("ErrorCode", str(message.error_code)))
        if message.status in {"delivered", "undelivered"}:
            fields.append(("RawDlrDoneDate", time.strftime("%y%m%d%H%M", time.gmtime(message.updated))))
        return fields

    # --- the API ------------------------------------------------------------------------------------------------------

    def _guarded(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """*handler* behind Basic authentication."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
            try:
                user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                user = password = ""
            if scheme != "Basic" or (user != self.account_sid and not user.startswith("SK")) or password != self.auth_token:
                return _error(401, 20003, "Authenticate")
            if request.match_info["account"] != self.account_sid:
                return _error(404, 20404, "The requested resource was not found")
            return await handler(request)

        return guarded

    async def _create(self, request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/x-www-form-urlencoded":
            return self._problem(415, 20001, f"Content-Type {request.content_type}")
        fields = parse_qsl((await request.read()).decode(), keep_blank_values=True)
        self.requests.append(ApiRequest("POST", request.path, tuple(fields)))
        found = self._check("POST", request.path, fields) if self._check is not None else []
        if found:
            return self._problem(400, 20001, "; ".join(found))
        refusal = self._refusal(fields)
        if refusal is not None:
            return refusal
        values = dict(fields)
        fault = self.faults.get(values["To"], self.otherwise)
        self._fault_counts[values["To"]] += 1
        active = fault.times is None or self._fault_counts[values["To"]] <= fault.times
        fails = active and (fault.status is not None or fault.hang or fault.drop)
        message = None if fails and not fault.accept else self._accept(fields)
        if active and fault.hang:
            with_end = asyncio.create_task(self._closing.wait())
            await asyncio.wait({with_end}, timeout=self.hang_seconds)
            with_end.cancel()
        if active and fault.slow:
            await asyncio.sleep(self.slow_seconds)
        if active and (fault.drop or fault.hang):
            if request.transport is not None:  # the client has not given up by itself
                request.transport.abort()
            return web.Response(status=500)
        if active and fault.status is not None:
            return self._faulty(fault)
        assert message is not None
        return web.json_response(message.resource(self.account_sid), status=201)

    def _faulty(self, fault: Fault) -> web.StreamResponse:
        status = fault.status or 500
        if status >= 500:
            return web.Response(status=status, text="<html>Internal error</html>", content_type="text/html")
        response = _error(status, fault.code or 20001, f"Fault {fault.code}")
        if status == 429:
            response.headers["Retry-After"] = str(self.retry_after)
        return response

    def _refusal(self, fields: Sequence[tuple[str, str]]) -> web.StreamResponse | None:  # noqa: C901  # a list of rules
        """What Twilio refuses at once; None when there is nothing to refuse."""
        values = dict(fields)
        strangers = sorted({name for name, _ in fields} - CREATE_FIELDS)
        if strangers:
            return self._problem(400, 20001, f"unknown fields: {', '.join(strangers)}")
        repeated = [name for name, times in Counter(name for name, _ in fields).items() if times > 1]
        if set(repeated) - {"MediaUrl", "PersistentAction"}:
            return self._problem(400, 20001, f"repeated fields: {', '.join(repeated)}")
        to, period = values.get("To", ""), values.get("ValidityPeriod", "1")
        if not to:
            return self._problem(400, 21604, "A 'To' phone number is required.")
        if not (to.startswith("+") and to[1:].isdecimal() and 8 <= len(to) <= 16):
            return _error(400, 21211, f"Invalid 'To' Phone Number: {to}")
        if "From" not in values and "MessagingServiceSid" not in values:
            return self._problem(400, 21603, "A 'From' phone number is required.")
        if not (values.get("Body") or values.get("MediaUrl") or values.get("ContentSid")):
            return _error(400, 21602, "Message body is required.")
        if len(values.get("Body", "")) > 1600:
            return _error(400, 21617, "The concatenated message body exceeds the 1600 character limit.")
        if not period.isdecimal() or not 1 <= int(period) <= 36_000:
            return self._problem(400, 21604, "ValidityPeriod must be between 1 and 36000.")
        callback = urlsplit(values.get("StatusCallback", "http://x"))
        if callback.scheme not in {"http", "https"} or not callback.hostname or "_" in callback.hostname:
            return self._problem(400, 21609, "The 'StatusCallback' URL is not a valid URL.")
        if (to, values.get("From", values.get("MessagingServiceSid", ""))) in self.opted_out:
            return _error(400, 21610, "Attempt to send to unsubscribed recipient")
        return None

    def _accept(self, fields: Sequence[tuple[str, str]]) -> Message:
        values = dict(fields)
        pictures = tuple(value for name, value in fields if name == "MediaUrl")
        message = Message(
            sid=("MM" if pictures else "SM") + uuid4().hex,
            direction="outbound-api",
            to=values["To"],
            sender=values.get("From"),
            service=values.get("MessagingServiceSid"),
            body=values.get("Body", ""),
            media_urls=pictures,
            status="accepted" if "MessagingServiceSid" in values else "queued",
            created=self._clock(),
            callback=values.get("StatusCallback"),
        )
        self.messages[message.sid] = message
        self.accepted_bodies[message.body] += 1
        task = asyncio.create_task(self._live(message), name=f"twilio_server {message.sid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return message

    async def _list(self, request: web.Request) -> web.StreamResponse:
        query = [(name, value) for name, value in request.query.items()]  # a MultiDict: dict() loses repetitions
        self.requests.append(ApiRequest("GET", request.path, tuple(query)))
        found = self._check("GET", request.path, query) if self._check is not None else []
        strangers = sorted({name for name, _ in query} - LIST_FIELDS)
        if strangers or found:
            return self._problem(400, 20001, "; ".join([*found, *strangers]))
        page, size = int(request.query.get("Page", "0")), int(request.query.get("PageSize", "50"))
        listed = [message for message in reversed(self.messages.values()) if _matches(message, request.query)]
        shown = listed[page * size : (page + 1) * size]

        def uri(number: int) -> str:
            return f"{request.path}?" + urlencode([*((n, v) for n, v in query if n != "Page"), ("Page", number)])

        return web.json_response(
            {
                "messages": [message.resource(self.account_sid) for message in shown],
                "page": page,
                "page_size": size,
                "start": page * size,
                "end": page * size + max(0, len(shown) - 1),
                "uri": uri(page),
                "first_page_uri": uri(0),
                "next_page_uri": uri(page + 1) if len(listed) > (page + 1) * size else None,
                "previous_page_uri": uri(page - 1) if page else None,
            }
        )

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        message = self.messages.get(request.match_info["sid"])
        if message is None:
            return _error(404, 20404, "The requested resource was not found")
        return web.json_response(message.resource(self.account_sid))

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        found = self._media.get(request.match_info["media"])
        if found is None:
            return _error(404, 20404, "The requested resource was not found")
        return web.Response(body=found[0], content_type=found[1])

    def _problem(self, status: int, code: int, message: str) -> web.Response:
        """Refuse a request that a sound client does not make."""
        self.problems.append(message)
        return _error(status, code, message)

    # --- control ------------------------------------------------------------------------------------------------------

    async def _control_state(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                "accepted": sum(self.accepted_bodies.values()),
                "accepted_bodies": dict(self.accepted_bodies),
                "messages": [message.resource(self.account_sid) for message in self.messages.values()],
                "problems": self.problems,
                "webhooks": msgspec.to_builtins(self.webhooks),
            }
        )

    async def _control_handset(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(msgspec.to_builtins(self.handset(request.match_info["number"]).received))

    async def _control_text(self, request: web.Request) -> web.StreamResponse:
        wish = await request.json()
        media = [(item["name"], base64.b64decode(item["base64"]), item["type"]) for item in wish.get("media", ())]
        try:
            sid = await self.text(request.match_info["number"], wish["to"], wish.get("body", ""), media)
        except ConnectionError as error:
            return web.json_response({"error": str(error)}, status=502)
        return web.json_response({"sid": sid})

    async def _control_settings(self, request: web.Request) -> web.StreamResponse:
        wish = await request.json()
        self.inbound_url = wish.get("inbound_url", self.inbound_url)
        self.latency = wish.get("latency", self.latency)
        self.opt_out = wish.get("opt_out", self.opt_out)
        if "disorder" in wish:
            self.disorder = msgspec.convert(wish["disorder"], Disorder)
        return web.json_response({})


def _by_ending(number: str) -> Fault:
    if number.endswith("0199"):
        return Fault(outcome="undelivered", code=30005)
    if number.endswith("0198"):
        return Fault(outcome="silent")
    return Fault()


def _matches(message: Message, query: Mapping[str, str]) -> bool:
    """Whether a list with *query* shows *message*; a text that is still queued has no date and is in no list by date."""
    if query.get("To", message.to) != message.to or query.get("From", message.sender) != message.sender:
        return False
    day = None if message.sent is None else time.strftime("%Y-%m-%d", time.gmtime(message.sent))
    for name, holds in (("DateSent", str.__eq__), ("DateSent<", str.__le__), ("DateSent>", str.__ge__)):
        if name in query and (day is None or not holds(day, query[name][:10])):
            return False
    return True


def _error(status: int, code: int, message: str) -> web.Response:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return web.json_response({"code": code, "message": message, "more_info": more, "status": status}, status=status)


def rfc2822(at: float) -> str:
    """*at* as the API writes times."""
    return formatdate(at).replace("-0000", "+0000")


async def _serve(arguments: argparse.Namespace) -> None:
    async with TwilioServer(
        inbound_url=arguments.inbound_url,
        account_sid=arguments.account_sid,
        auth_token=arguments.auth_token,
        port=arguments.port,
        latency=arguments.latency,
        check=None
        if arguments.twilio_openapi is None
        else Description(json.loads(arguments.twilio_openapi.read_bytes())).problems,
    ) as server:
        print(server.url, flush=True)  # noqa: T201  # whoever started it reads the port here
        await asyncio.Event().wait()


def main(argv: Sequence[str] | None = None) -> None:
    """Run it until it is interrupted; the first line of output is its address."""
    parser = argparse.ArgumentParser(
        prog="python -m sms.testing.twilio_server", description="A Twilio-shaped server on loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--inbound-url", help="where the texts of handsets go, e.g. http://127.0.0.1:8080/twilio/sms")
    parser.add_argument("--account-sid", default=ACCOUNT_SID)
    parser.add_argument("--auth-token", default=AUTH_TOKEN)
    parser.add_argument(
        "--twilio-openapi", type=Path, metavar="PATH", help="Twilio's description of its API; requests against it are refused"
    )
    parser.add_argument("--latency", type=float, default=0.02, help="seconds between the states of a text")
    try:
        asyncio.run(_serve(parser.parse_args(argv)))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
