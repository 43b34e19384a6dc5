"""A telephone network inside the process: handsets that get texts, answer, send pictures, and sometimes fail.

It ships with the server: the demonstration, the engineer's phone page and the tests run on it, held to the same contract
as a real provider. How a handset behaves is set with `LoopbackNetwork.behave`, or follows from its number:

- a number that ends in `0199` can not be delivered to: its texts end as `undelivered`, code `unreachable`;
- a number that ends in `0198` swallows texts: they stay `sent` for ever;
- every other number gets them after `delay` seconds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from types import TracebackType
from typing import Literal, Self, TypeVar
from uuid import uuid4

import msgspec
import structlog

from sms.message import DeliveryReport, InboundText, OutboundText, RemoteMedia, TextState, readable
from sms.provider import (
    Accepted,
    Capabilities,
    MediaUnavailable,
    NotSent,
    Rejected,
    ReportSink,
    TextSink,
    Unknown,
    unsendable,
)
from sms.segments import segment

log = structlog.get_logger(__name__)
T = TypeVar("T", InboundText, DeliveryReport)

TRIES = 4
"""How often something is brought to a sink that raises."""


class Behaviour(msgspec.Struct, frozen=True):
    """How texts to one handset fare."""

    outcome: Literal["delivered", "undelivered", "silent"] = "delivered"
    delay: float | None = None
    """Seconds from acceptance to the last report; None: as the network has it."""
    code: str = "unreachable"
    """The error code of `undelivered`."""


class HandsetText(msgspec.Struct, frozen=True):
    """One bubble in a handset's thread."""

    ref: str
    direction: Literal["received", "written"]
    """As the owner of the handset sees it."""
    sender: str
    recipient: str
    body: str
    at: float
    media: tuple[RemoteMedia, ...] = ()


class Handset:
    """A telephone that can text. Made by `LoopbackNetwork.handset`."""

    def __init__(self, number: str, network: "LoopbackNetwork") -> None:
        self.number = number
        self.texts: list[HandsetText] = []
        """Everything received and written, oldest first."""
        self._network = network
        self._news = asyncio.Event()

    @property
    def received(self) -> list[HandsetText]:
        """The texts this handset got."""
        return [text for text in self.texts if text.direction == "received"]

    async def text(self, to: str, body: str, media: Sequence[tuple[str, bytes, str]] = ()) -> InboundText:
        """Write to *to* and return when the server has it safe.

        Args:
            to: The number written to, E.164.
            body: May be empty when there is *media*.
            media: `(file name, bytes, content type)` of each picture.

        Raises:
            ConnectionError: nobody listens, or the server could not keep the text although it was brought several times.
        """
        return await self._network.carry(self, to, body, media)

    async def watch(self, after: int = 0) -> AsyncIterator[HandsetText]:
        """Every text from number *after* on: first those there are, then each new one, for ever."""
        while True:
            news = self._news
            for text in self.texts[after:]:
                after += 1
                yield text
            if after == len(self.texts):
                await news.wait()

    def add(self, text: HandsetText) -> None:
        """Put *text* into the thread and wake those who watch."""
        self.texts.append(text)
        news, self._news = self._news, asyncio.Event()
        news.set()


class LoopbackNetwork:
    """The handsets, and what happens between them and the server.

    Args:
        delay: Seconds from acceptance to delivery, unless a handset behaves otherwise.
        clock: Seconds since the Unix epoch.
    """

    def __init__(self, *, delay: float = 0.3, clock: Callable[[], float] = time.time) -> None:
        self.delay = delay
        self.clock = clock
        self.handsets: dict[str, Handset] = {}
        self.accepted: dict[str, OutboundText] = {}
        """Every text the network took, by its ref."""
        self._behaviours: dict[str, Behaviour] = {}
        self._media: dict[str, bytes] = {}
        self._sink: TextSink | None = None

    def handset(self, number: str) -> Handset:
        """The handset with *number*; there is always one."""
        return self.handsets.setdefault(number, Handset(number, self))

    def behave(self, number: str, behaviour: Behaviour | None) -> None:
        """From now on texts to *number* fare as *behaviour* says; None: as its number says."""
        if behaviour is None:
            self._behaviours.pop(number, None)
        else:
            self._behaviours[number] = behaviour

    def behaviour(self, number: str) -> Behaviour:
        """How texts to *number* fare."""
        if number in self._behaviours:
            return self._behaviours[number]
        if number.endswith("0199"):
            return Behaviour(outcome="undelivered")
        if number.endswith("0198"):
            return Behaviour(outcome="silent")
        return Behaviour()

    def attach(self, sink: TextSink | None) -> None:
        """Bring what handsets write to *sink*; None: to nobody."""
        self._sink = sink

    def media(self, url: str) -> bytes | None:
        """The bytes behind a `loopback:` address; None when there are none."""
        return self._media.get(url)

    async def carry(self, handset: Handset, to: str, body: str, media: Sequence[tuple[str, bytes, str]]) -> InboundText:
        """Bring a handset's text to the server. See `Handset.text`."""
        if self._sink is None:
            raise ConnectionError("nobody listens: the loopback provider is not open")
        pictures = []
        for name, data, content_type in media:
            url = f"loopback:{uuid4().hex}/{name}"
            self._media[url] = data
            pictures.append(RemoteMedia(url=url, content_type=content_type))
        text = InboundText(
            provider="loopback",
            ref=f"LB{uuid4().hex}",
            sender=handset.number,
            recipient=to,
            body=readable(body),
            received_at=self.clock(),
            media=tuple(pictures),
        )
        handset.add(
            HandsetText(
                ref=text.ref,
                direction="written",
                sender=text.sender,
                recipient=to,
                body=body,
                at=text.received_at,
                media=text.media,
            )
        )
        if not await _bring(self._sink, text):
            raise ConnectionError("the server did not keep the text")
        return text


class LoopbackSms:
    """An `SmsProvider` on a `LoopbackNetwork`.

    Args:
        network: Where the handsets are.
        on_text: Gets each text a handset writes. When it raises, it gets it again.
        on_report: Gets each delivery report, in order for one text. When it raises, it gets it again.
    """

    def __init__(self, network: LoopbackNetwork, *, on_text: TextSink, on_report: ReportSink) -> None:
        self._network = network
        self._on_text = on_text
        self._on_report = on_report
        self._deliveries: set[asyncio.Task[None]] = set()
        self._reported: dict[str, DeliveryReport] = {}

    @property
    def name(self) -> str:
        """Always `loopback`."""
        return "loopback"

    @property
    def capabilities(self) -> Capabilities:
        """Everything but an opt-out list of its own."""
        return Capabilities(
            media=True,
            two_way=True,
            delivery_reports=True,
            alphanumeric_sender=True,
            obeys_opt_out=False,
            max_characters=1600,
            max_media=10,
        )

    async def __aenter__(self) -> Self:
        """Listen to the handsets."""
        self._network.attach(self._on_text)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening; what has not been delivered is lost, as in a network that falls silent."""
        self._network.attach(None)
        for delivery in self._deliveries:
            delivery.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)

    async def send(self, text: OutboundText) -> Accepted | Rejected | Unknown:
        """Hand *text* to the network; the reports follow."""
        refusal = unsendable(text, self.capabilities, now=self._network.clock())
        if refusal is not None:
            return refusal
        ref = f"LB{uuid4().hex}"
        self._network.accepted[ref] = text
        delivery = asyncio.create_task(self._deliver(ref, text), name=f"loopback delivery {ref}")
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)
        return Accepted(ref=ref, segments=segment(text.body).segments, state="queued")

    async def reconcile(
        self, text: OutboundText, *, attempted_at: float, known_refs: Collection[str]
    ) -> Accepted | NotSent | Unknown:
        """Look *text* up by our own id, which this network keeps."""
        del attempted_at
        for ref, accepted in self._network.accepted.items():
            if accepted.message == text.message and ref not in known_refs:
                return Accepted(ref=ref, segments=segment(text.body).segments, state="queued")
        return NotSent()

    async def look_up(self, ref: str) -> DeliveryReport | None:
        """The newest report, while this network remembers the text."""
        return self._reported.get(ref)

    async def fetch_media(self, media: RemoteMedia, *, max_bytes: int) -> bytes:
        """The bytes a handset attached."""
        data = self._network.media(media.url)
        if data is None:
            raise MediaUnavailable("no such picture", retriable=False)
        if len(data) > max_bytes:
            raise MediaUnavailable(f"larger than {max_bytes} bytes", retriable=False)
        return data

    async def _deliver(self, ref: str, text: OutboundText) -> None:
        """Let *text* fare as its recipient's handset behaves."""
        behaviour = self._network.behaviour(text.recipient)
        delay = self._network.delay if behaviour.delay is None else behaviour.delay
        await asyncio.sleep(delay / 2)
        await self._report(ref, text, "sent")
        if behaviour.outcome == "silent":
            return
        await asyncio.sleep(delay / 2)
        if behaviour.outcome == "undelivered":
            await self._report(ref, text, "undelivered", behaviour.code)
            return
        self._network.handset(text.recipient).add(
            HandsetText(
                ref=ref,
                direction="received",
                sender=text.sender,
                recipient=text.recipient,
                body=text.body,
                at=self._network.clock(),
                media=tuple(RemoteMedia(url=url, content_type="") for url in text.media_urls),
            )
        )
        await self._report(ref, text, "delivered")

    async def _report(self, ref: str, text: OutboundText, state: TextState, code: str | None = None) -> None:
        report = DeliveryReport(
            provider=self.name,
            ref=ref,
            message=text.message,
            state=state,
            reported=state,
            at=self._network.clock(),
            code=code,
        )
        self._reported[ref] = report
        await _bring(self._on_report, report)


async def _bring(sink: Callable[[T], Awaitable[None]], thing: T) -> bool:
    """Bring *thing* to *sink*, again after a failure; False when it never took it."""
    for attempt in range(TRIES):
        try:
            await sink(thing)
        except Exception:  # the sink is the server: whatever went wrong there, a network only sees that it must come again
            log.warning("loopback.refused", ref=thing.ref, attempt=attempt + 1, exc_info=True)
            await asyncio.sleep(0.05 * 2**attempt)
        else:
            return True
    return False
