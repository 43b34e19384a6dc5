"""Texts through Twilio: the real client over a transport of ours, and the webhooks as pure functions.

The client's own asynchronous transport ignores its timeout and repeats a POST after a 5xx, which would text a customer
three times; so it gets ours, through the extension point that its documentation names (a custom HTTP client).
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
from yarl import URL

from sms.errors import diagnose
from sms.message import DeliveryReport, InboundText, Keyword, OutboundText, RemoteMedia, TextState, as_state, readable
from sms.provider import Accepted, Capabilities, MediaUnavailable, NotSent, Rejected, Unknown, unsendable
from sms.segments import segment

if TYPE_CHECKING:
    from twilio.rest import Client  # type: ignore[import-untyped]

API = "https://api.twilio.com"
EMPTY_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
"""The answer to an inbound text: replies go through the outbox, which has one status path and one consent check."""
MAX_VALIDITY = 36_000
"""Seconds; the longest `ValidityPeriod`, and the default."""
MESSAGE_PARAMETER = "message"
"""The query parameter of the status callback that carries our own id."""

TRIES = 3
"""How often one request is made, when it may be made again at all."""
LISTED_WITHIN = 30.0
"""Seconds after an attempt in which a text it created shows in the list of texts. More than the longest request."""
CLOCK_SKEW = 120.0
"""Seconds by which our clock and the provider's may differ."""
CREATED_WITHIN = 900.0
"""Seconds after an attempt in which it can have created a text; one created later is somebody else's."""

Form = Sequence[tuple[str, str]]


# --- the transport ----------------------------------------------------------------------------------------------------


class NothingHappened(Exception):  # noqa: N818  # named by what happened
    """The request never reached the provider, or was turned away before anything was done."""

    def __init__(self, reason: str, *, code: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.retry_after = retry_after


class OutcomeUnknown(Exception):  # noqa: N818  # named by what happened
    """The request may or may not have been carried out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Answer:
    """A response in the form the client reads."""

    def __init__(self, status_code: int, text: str, headers: Mapping[str, str]) -> None:
        self.status_code = status_code
        self.text = self.content = text
        self.headers = headers
        self.ok = status_code < 400


class Transport:
    """What the client sends its requests through.

    429 and failed connections are tried again for every method, because nothing has happened yet; a 5xx or a timeout only
    for GET and DELETE.

    Args:
        session: Opened and closed by somebody else.
        api_base_url: Where every request of the client goes, whatever host it names.
        request_timeout: Seconds for one request, all in all; the longest pause a `Retry-After` may ask for, too.
        connect_timeout: Seconds until the connection stands.
        parallel: Requests at once.
        pause: Seconds before the second try, doubled for each further one, when the provider does not say.
    """

    is_async = True

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        api_base_url: str = API,
        request_timeout: float = 10.0,
        connect_timeout: float = 3.0,
        parallel: int = 100,
        pause: float = 0.5,
    ) -> None:
        self._session = session
        self._base = api_base_url.rstrip("/")
        self._request_timeout = request_timeout
        self._connect_timeout = connect_timeout
        self._slots = asyncio.Semaphore(parallel)
        self._pause = pause

    async def request(
        self,
        method: str,
        uri: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # the client passes it by this name
        allow_redirects: bool = False,
    ) -> Answer:
        """Make one request of the client.

        Raises:
            NothingHappened: nothing was done, in several tries.
            OutcomeUnknown: it broke on the way, or the provider answered 5xx to something that must not be repeated.
        """
        method = method.upper()
        sent = dict(headers or {}) if auth is None else {**(headers or {}), "Authorization": basic(*auth)}
        is_json = sent.get("Content-Type", "").startswith("application/json")
        body = None if not data else json.dumps(data) if is_json else urlencode(data, doseq=True)
        limits = aiohttp.ClientTimeout(total=timeout or self._request_timeout, sock_connect=self._connect_timeout)
        url = self._url(uri, params)

        for attempt in count(1):
            pause = None
            try:
                async with (
                    self._slots,
                    self._session.request(
                        method, url, data=body, headers=sent, timeout=limits, allow_redirects=allow_redirects
                    ) as response,
                ):
                    answer = Answer(response.status, await response.text("utf-8", "replace"), dict(response.headers))
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                trouble: Exception = NothingHappened(f"no connection: {error}", code="unreachable")
            except (aiohttp.ClientError, TimeoutError) as error:
                trouble = OutcomeUnknown(f"no answer: {type(error).__name__}")
            else:
                if answer.status_code == 429:
                    pause = seconds(answer.headers.get("Retry-After"))
                    trouble = NothingHappened("HTTP 429: too many requests", code="20429", retry_after=pause)
                elif answer.status_code >= 500:
                    trouble = OutcomeUnknown(f"HTTP {answer.status_code}")
                else:
                    return answer
            if attempt == TRIES or (pause or 0.0) > self._request_timeout:
                raise trouble
            if isinstance(trouble, OutcomeUnknown) and method not in {"GET", "DELETE"}:
                raise trouble
            await asyncio.sleep(self._pause * 2 ** (attempt - 1) if pause is None else pause)
        raise AssertionError  # pragma: no cover  # count() has no end

    def _url(self, uri: str, params: Mapping[str, Any] | None) -> URL:
        """*uri* at our base address, with *params* in its query."""
        parts = urlsplit(uri)
        query = "&".join(part for part in (parts.query, urlencode(params or {}, doseq=True)) if part)
        return URL(self._base + parts.path + (f"?{query}" if query else ""), encoded=True)


def basic(username: str, password: str) -> str:
    """An `Authorization` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def seconds(retry_after: str | None) -> float | None:
    """A `Retry-After` header in seconds (RFC 9110 section 10.2.3); None when there is none, or a date, or rubbish."""
    return float(retry_after) if retry_after is not None and retry_after.isascii() and retry_after.isdecimal() else None


# --- the provider -----------------------------------------------------------------------------------------------------


class TwilioSms:
    """An `SmsProvider`.

    Args:
        account_sid: `AC...`.
        auth_token: The account's, or the secret of *api_key*.
        status_url: Where delivery reports go: the public address of `/twilio/sms/status`. None: nobody wants them.
        api_key: `SK...`, when *auth_token* is an API key's secret.
        messaging_service_sid: `MG...`: a service whose pool the senders are in; texts go by it, still from the sender they
            name, so that an answer comes to the same number. None: without a service. A text whose sender is a service's id
            leaves the choice of the number to that service.
        api_base_url: Where the API is.
        session: A session to share; None: an own one, opened and closed with the provider.
        request_timeout: Seconds for one request.
        clock: Seconds since the Unix epoch.
        listed_within: Seconds after an attempt during which a text that is not listed may still come to be.
        pause: Seconds before the second try of a request, doubled for each further one.
    """

    def __init__(
        self,
        *,
        account_sid: str,
        auth_token: str,
        status_url: str | None,
        api_key: str | None = None,
        messaging_service_sid: str | None = None,
        api_base_url: str = API,
        session: aiohttp.ClientSession | None = None,
        request_timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        listed_within: float = LISTED_WITHIN,
        pause: float = 0.5,
    ) -> None:
        self._account_sid = account_sid
        self._credentials = (api_key or account_sid, auth_token)
        self._status_url = status_url
        self._service = messaging_service_sid
        self._base = api_base_url.rstrip("/")
        self._shared = session
        self._session = session
        self._request_timeout = request_timeout
        self._clock = clock
        self._listed_within = listed_within
        self._pause = pause
        self._reconciling = asyncio.Lock()
        self._claimed: dict[str, str] = {}
        self._client: Client | None = None

    @property
    def name(self) -> str:
        """Always `twilio`."""
        return "twilio"

    @property
    def capabilities(self) -> Capabilities:
        """Twilio's limits; what a sender's country allows is for Twilio to say."""
        return Capabilities(
            media=True,
            two_way=True,
            delivery_reports=True,
            alphanumeric_sender=True,
            obeys_opt_out=True,
            max_characters=1600,
            max_media=10,
        )

    async def __aenter__(self) -> Self:
        """Open a session unless one is shared, and load the client."""
        from twilio.rest import Client  # noqa: PLC0415  # 14 MB that others need not carry

        # The client logs whole requests, telephone numbers and all.
        logging.getLogger("twilio").setLevel(logging.WARNING)
        if self._session is None:
            self._session = aiohttp.ClientSession()
        self._client = Client(
            *self._credentials,
            account_sid=self._account_sid,
            http_client=Transport(
                self._session, api_base_url=self._base, request_timeout=self._request_timeout, pause=self._pause
            ),
            # Not empty, or it would read TWILIO_EDGE and TWILIO_REGION of the process and go somewhere else.
            environment={"TWILIO_REGION": ""},
        )
        # The client loads most of itself on first use: half a second in which calls would hear nothing.
        _ = self._client.messages
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the session, if it is ours."""
        if self._session is not None and self._shared is None:
            await self._session.close()
        self._session, self._client = self._shared, None

    async def send(self, text: OutboundText) -> Accepted | Rejected | Unknown:
        """Create a message. A `ValidityPeriod` makes Twilio drop it when `expires_at` has passed."""
        from twilio.base.exceptions import (  # type: ignore[import-untyped]  # noqa: PLC0415  # see __aenter__
            TwilioRestException,
            TwilioServiceException,
        )

        refusal = unsendable(text, self.capabilities, now=self._clock())
        if refusal is not None:
            return refusal
        try:
            message = await self._opened().messages.create_async(**self._fields(text))
            return Accepted(
                ref=str(message.sid or _unreadable()),
                # A pool of senders counts only once it has chosen one.
                segments=int(message.num_segments or 0) or segment(text.body).segments,
                state=text_state(str(message.status)) or "accepted",
            )
        except NothingHappened as error:
            return Rejected(
                error_class="temporary",
                code=error.code,
                explanation=error.reason,
                retriable=True,
                retry_after=error.retry_after,
            )
        except OutcomeUnknown as error:
            return Unknown(error.reason)
        except TwilioRestException as error:
            return _rejected(error.code or error.status, str(error.msg))
        except TwilioServiceException as error:
            return _rejected(error.code, str(error.detail or error.title))
        except (ValueError, TypeError, AttributeError) as error:
            return Unknown(f"the answer makes no sense: {error!r}")

    def _fields(self, text: OutboundText) -> dict[str, Any]:
        """*text* as arguments of the client."""
        fields: dict[str, Any] = {"to": text.recipient}
        if text.body:
            fields["body"] = text.body
        fields["messaging_service_sid" if _is_service(text.sender) else "from_"] = text.sender
        if self._service is not None:
            fields.setdefault("messaging_service_sid", self._service)
        if text.media_urls:
            fields["media_url"] = list(text.media_urls)
        if self._status_url is not None:
            fields["status_callback"] = webhook_url(self._status_url, {MESSAGE_PARAMETER: text.message})
        if text.expires_at is not None:
            fields["validity_period"] = min(max(1, int(text.expires_at - self._clock())), MAX_VALIDITY)
        return fields

    async def reconcile(
        self, text: OutboundText, *, attempted_at: float, known_refs: Collection[str]
    ) -> Accepted | NotSent | Unknown:
        """Look for *text* in the list of texts to its recipient.

        By recipient and not by `DateSent`, which a text that is still queued does not have. Two texts of the same words
        are told apart by *known_refs* and by remembering which one was given away before.
        """
        from twilio.base.exceptions import TwilioException  # noqa: PLC0415  # see __aenter__

        async with self._reconciling:
            try:
                found = await self._find(text, attempted_at, set(known_refs))
            except (NothingHappened, OutcomeUnknown) as error:
                return Unknown(error.reason)
            except TwilioException as error:
                return Unknown(f"cannot list texts: {error}")
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                return Unknown(f"the list makes no sense: {error!r}")
            if found is not None:
                self._claimed[found.ref] = text.message
                return found
        wait = attempted_at + self._listed_within - self._clock()
        return NotSent() if wait <= 0 else Unknown("not listed yet", retry_after=wait)

    async def _find(self, text: OutboundText, attempted_at: float, known_refs: set[str]) -> Accepted | None:
        """The listed text nearest in time to *attempted_at* that can be *text* and is nobody else's."""
        best: tuple[float, Any] | None = None
        fields = {"to": text.recipient} if _is_service(text.sender) else {"to": text.recipient, "from_": text.sender}
        page = await self._opened().messages.page_async(**fields, page_size=200)
        while page is not None:
            created = 0.0
            for message in page:
                created = message.date_created.timestamp()
                distance = abs(created - attempted_at)
                if (
                    attempted_at - CLOCK_SKEW <= created <= attempted_at + CREATED_WITHIN
                    and str(message.direction).startswith("outbound")
                    and text.sender in {message.from_, message.messaging_service_sid}
                    and (message.body or "").strip() == text.body.strip()
                    and int(message.num_media or 0) == len(text.media_urls)
                    and message.sid not in known_refs
                    and self._claimed.get(message.sid, text.message) == text.message
                    and (best is None or distance < best[0])
                ):
                    best = (distance, message)
            # Newest first: behind this page everything is older than the attempt.
            page = None if created < attempted_at - CLOCK_SKEW else await page.next_page_async()
        if best is None:
            return None
        message = best[1]
        return Accepted(
            ref=str(message.sid),
            segments=int(message.num_segments or 0) or segment(text.body).segments,
            state=text_state(str(message.status)) or "accepted",
        )

    async def look_up(self, ref: str) -> DeliveryReport | None:
        """Fetch the message. Unlike a report it does not carry our own id."""
        from twilio.base.exceptions import TwilioException  # noqa: PLC0415  # see __aenter__

        try:
            message = await self._opened().messages(ref).fetch_async()
            word = str(message.status)
            code = None if message.error_code is None else str(message.error_code)
            return DeliveryReport(
                provider=self.name, ref=ref, message=None, state=text_state(word), reported=word, at=self._clock(), code=code
            )
        except (NothingHappened, OutcomeUnknown, TwilioException, ValueError, TypeError, AttributeError):
            return None

    async def fetch_media(self, media: RemoteMedia, *, max_bytes: int) -> bytes:
        """Fetch a picture with the account's credentials, which leave for nobody but Twilio.

        A picture may be announced a moment before it can be fetched, so a 404 is tried again.
        """
        if not self._is_ours(media.url):
            raise MediaUnavailable("the address is not the provider's", retriable=False)
        for attempt in count(1):
            try:
                return await self._fetch(media.url, max_bytes)
            except MediaUnavailable as error:
                if attempt == TRIES or not error.retriable:
                    raise
            await asyncio.sleep(self._pause * 2 ** (attempt - 1))
        raise AssertionError  # pragma: no cover  # count() has no end

    async def _fetch(self, url: str, max_bytes: int) -> bytes:
        assert self._session is not None, "the provider is not open"
        data = bytearray()
        limits = aiohttp.ClientTimeout(total=self._request_timeout, sock_connect=3.0)
        try:
            # aiohttp drops the header when a redirect leads to another origin: the store of pictures gets no credentials.
            async with self._session.get(
                url, headers={"Authorization": basic(*self._credentials)}, timeout=limits, max_redirects=3
            ) as response:
                if response.status != 200:
                    retriable = response.status in {404, 408, 429} or response.status >= 500
                    raise MediaUnavailable(f"HTTP {response.status}", retriable=retriable)
                async for chunk in response.content.iter_chunked(65_536):
                    data += chunk
                    if len(data) > max_bytes:
                        raise MediaUnavailable(f"larger than {max_bytes} bytes", retriable=False)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise MediaUnavailable(f"no answer: {type(error).__name__}", retriable=True) from error
        return bytes(data)

    def _is_ours(self, url: str) -> bool:
        try:
            parts, base = urlsplit(url), urlsplit(self._base)
        except ValueError:
            return False
        if (parts.scheme, parts.netloc) == (base.scheme, base.netloc):
            return True
        return self._base == API and parts.scheme == "https" and (parts.hostname or "").endswith(".twilio.com")

    def _opened(self) -> "Client":
        assert self._client is not None, "the provider is not open"
        return self._client


def _is_service(sender: str) -> bool:
    return sender.startswith("MG") and len(sender) == 34


def _rejected(code: int, explanation: str) -> Rejected:
    found = diagnose("twilio", code)
    return Rejected(
        error_class=found.error_class,
        code=str(code),
        explanation=explanation.removeprefix("Unable to create record: "),
        retriable=found.retry != "never",
    )


def _unreadable() -> str:
    raise ValueError("a text without an id")


def text_state(word: str) -> TextState | None:
    """Our name for Twilio's *word*; None for a word that is new to us or is about inbound texts."""
    return {"scheduled": "accepted", "partially_delivered": "sent"}.get(word) or as_state(word)  # type: ignore[return-value]


# --- webhooks ---------------------------------------------------------------------------------------------------------

OVERRIDES = {"rc": "2", "rp": "ct,rt,5xx", "ct": "2000", "rt": "4000", "tt": "14000"}
"""Connection overrides (times in ms): without them Twilio repeats a webhook only when it could not connect at all."""
MAX_FIELDS = 1000


def webhook_url(url: str, query: Mapping[str, str] | None = None, *, overrides: Mapping[str, str] | None = None) -> str:
    """The address to give to Twilio for one of our webhooks.

    Args:
        url: Its public address.
        query: Added to the address; it comes back with the webhook, and is signed.
        overrides: How Twilio should try, in the fragment, which is neither sent nor signed. None: `OVERRIDES`.
    """
    parts = urlsplit(url)
    joined = "&".join(part for part in (parts.query, urlencode(query or {})) if part)
    fragment = urlencode(OVERRIDES if overrides is None else overrides, safe=",")
    return urlunsplit((parts.scheme, parts.netloc, parts.path, joined, fragment))


def parse_form(raw_body: bytes) -> tuple[tuple[str, str], ...]:
    """The fields of a webhook, blanks and repetitions included, because both are signed.

    Raises:
        ValueError: it has more than `MAX_FIELDS` fields, and so is not Twilio's.
    """
    fields = parse_qsl(raw_body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS)
    return tuple(fields)


NO_MARKS: Mapping[str, str] = MappingProxyType({})


def parse_inbound(form: Form, *, now: float, marks: Mapping[str, str] = NO_MARKS) -> InboundText:
    """A customer's text.

    Args:
        form: The fields of the webhook.
        now: Seconds since the Unix epoch.
        marks: By AccountSid, what to put before the ref and the addresses of pictures, so that later requests find their way
            to that account (`sms.providers.failover.MARK`).

    Raises:
        ValueError: a field that every inbound text has is missing.
    """
    fields = {name: readable(value) for name, value in form}
    mark = marks.get(fields.get("AccountSid", ""), "")
    keyword: Keyword | None
    match fields.get("OptOutType", "").upper():
        case "STOP":
            keyword = "stop"
        case "START":
            keyword = "start"
        case "HELP":
            keyword = "help"
        case _:
            keyword = None
    media = int(fields["NumMedia"]) if fields.get("NumMedia", "").isdecimal() else 0
    return InboundText(
        provider="twilio",
        ref=mark + _required(fields, "MessageSid"),
        sender=_required(fields, "From"),
        recipient=_required(fields, "To"),
        body=fields.get("Body", ""),
        received_at=now,
        media=tuple(
            RemoteMedia(url=mark + fields[f"MediaUrl{index}"], content_type=fields.get(f"MediaContentType{index}", ""))
            for index in range(min(media, 10))
            if fields.get(f"MediaUrl{index}")
        ),
        opt_out_handled=keyword,
        raw=tuple(form),
    )


def parse_status(form: Form, query: Form, *, now: float, marks: Mapping[str, str] = NO_MARKS) -> DeliveryReport:
    """A delivery report; *query* is that of the webhook's own address, where our id is; *marks* as in `parse_inbound`.

    Raises:
        ValueError: a field that every report has is missing.
    """
    fields = dict(form)
    word = _required(fields, "MessageStatus")
    return DeliveryReport(
        provider="twilio",
        ref=marks.get(fields.get("AccountSid", ""), "") + _required(fields, "MessageSid"),
        message=dict(query).get(MESSAGE_PARAMETER) or None,
        state=text_state(word),
        reported=word,
        at=now,
        code=fields.get("ErrorCode") or None,
    )


def _required(fields: Mapping[str, str], name: str) -> str:
    if not fields.get(name):
        raise ValueError(f"the webhook has no {name}")
    return fields[name]


class SignatureVerifier:
    """Tells Twilio's webhooks from everybody else's.

    Args:
        auth_tokens: Each one that may sign: the account's, and while it is being changed the old one too.
        public_url: How Twilio sees us, scheme, host and path prefix; never taken from the request, where a stranger
            would choose it.
    """

    def __init__(self, auth_tokens: Sequence[str], public_url: str) -> None:
        self._tokens = [token.encode() for token in auth_tokens if token]
        self._origins = _origins(public_url)

    def verify(self, raw_path_qs: str, form: Form, raw_body: bytes, signature: str | None, content_type: str) -> bool:
        """Whether one of the tokens signed this request. Never raises.

        Args:
            raw_path_qs: Path and query exactly as they came, percent signs and all.
            form: The fields of a form; not looked at for JSON.
            raw_body: The bytes of the body; looked at for JSON only.
            signature: The `X-Twilio-Signature` header; None when it is missing.
            content_type: The `Content-Type` header.
        """
        if signature is None:
            return False
        fields: Form = form
        if content_type.partition(";")[0].strip().lower() == "application/json":
            # The address alone is signed, and names the hash of the body.
            fields = ()
            claimed = parse_qs(raw_path_qs.partition("?")[2]).get("bodySHA256", [""])[0]
            if not _same(hashlib.sha256(raw_body).hexdigest(), claimed.lower()):
                return False
        # Every combination is tried, so that the time taken tells nothing.
        matches = [
            _same(sign(token, origin + raw_path_qs, fields), signature) for token in self._tokens for origin in self._origins
        ]
        return any(matches)


def sign(token: bytes, url: str, form: Form) -> str:
    """Twilio's signature: HMAC-SHA1 over the address and each distinct name and value, sorted; in base64."""
    signed = url.partition("#")[0] + "".join(name + value for name, value in sorted(set(form)))
    return base64.b64encode(hmac.digest(token, signed.encode("utf-8", "replace"), "sha1")).decode()


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode("utf-8", "replace"), theirs.encode("utf-8", "replace"))


def _origins(public_url: str) -> list[str]:
    """*public_url* without and with the port that goes without saying: Twilio signs the one or the other."""
    parts = urlsplit(public_url)
    host, path = parts.hostname or "", parts.path.rstrip("/")
    host = f"[{host}]" if ":" in host else host
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return [f"{parts.scheme}://{host}{path}", f"{parts.scheme}://{host}:{port}{path}"]
