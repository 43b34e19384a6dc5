"""Two accounts or services of one provider as one: what the first certainly refuses, the second may send."""

import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import msgspec
import structlog

from sms.message import DeliveryReport, OutboundText, RemoteMedia
from sms.pacing import Breaker
from sms.provider import Accepted, Capabilities, ErrorClass, NotSent, Rejected, SmsProvider, Unknown

log = structlog.get_logger(__name__)

MARK = "2:"
"""Before every ref and every address of a picture that is the second one's."""
BLAME: frozenset[ErrorClass] = frozenset({"sender", "account", "temporary"})
"""Classes of refusal after which the next text would fare alike, so that the first is left out for a while."""


class FailoverSms:
    """An `SmsProvider` under the name of *primary*.

    The second is asked only after a *certain* refusal. Where nobody knows whether a text left, it stays with whoever was
    asked; sending it by the other could send it twice. After a few refusals of a sender in a row the first is not asked any
    more for it, until a probe now and then says that it is well again.

    Args:
        primary: Sends everything it can.
        secondary: Sends what the first refuses. Opened and closed with it.
        when: The classes of refusal after which the second is tried. What is wrong with the text or its recipient is wrong
            with the second as well.
        sender: What the second sends from: its number, or a service's id. None: the sender of the text.
        clock: Seconds since the Unix epoch.
    """

    def __init__(
        self,
        primary: SmsProvider,
        secondary: SmsProvider,
        when: frozenset[ErrorClass],
        *,
        sender: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._primary = primary
        self._secondary = secondary
        self._when = when
        self._sender = sender
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._opened = AsyncExitStack()

    @property
    def name(self) -> str:
        """That of the first."""
        return self._primary.name

    @property
    def capabilities(self) -> Capabilities:
        """What both can do."""
        one, other = self._primary.capabilities, self._secondary.capabilities
        return Capabilities(**{field: min(getattr(one, field), getattr(other, field)) for field in one.__struct_fields__})

    async def __aenter__(self) -> Self:
        """Open both, or none."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._primary)
            await stack.enter_async_context(self._secondary)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close both."""
        await self._opened.__aexit__(kind, error, trace)

    async def send(self, text: OutboundText) -> Accepted | Rejected | Unknown:
        """Send by the first; by the second when the first refuses for one of the reasons agreed on."""
        breaker, now = self._breakers.setdefault(text.sender, Breaker()), self._clock()
        refusal: Rejected | None = None
        if breaker.next_at(now) <= now:
            breaker.take(now)
            result = await self._primary.send(text)
            if not isinstance(result, Rejected):
                breaker.taken()
                return result
            if result.error_class in BLAME & self._when:
                breaker.refused(result.explanation, self._clock(), late=False)
            if result.error_class not in self._when:
                return result
            refusal = result
            log.warning("text.failed_over", message=text.message, code=result.code, error_class=result.error_class)
        other = await self._secondary.send(self._theirs(text))
        match other:
            case Accepted():
                return msgspec.structs.replace(other, ref=MARK + other.ref)
            case Rejected() if refusal is not None and not other.retriable:
                return refusal
            case _:
                return other

    async def reconcile(
        self, text: OutboundText, *, attempted_at: float, known_refs: Collection[str]
    ) -> Accepted | NotSent | Unknown:
        """Ask both: which of them was asked to send may be forgotten since."""
        ours = [ref for ref in known_refs if not ref.startswith(MARK)]
        theirs = [ref.removeprefix(MARK) for ref in known_refs if ref.startswith(MARK)]
        first = await self._primary.reconcile(text, attempted_at=attempted_at, known_refs=ours)
        if isinstance(first, Accepted):
            return first
        second = await self._secondary.reconcile(self._theirs(text), attempted_at=attempted_at, known_refs=theirs)
        if isinstance(second, Accepted):
            return msgspec.structs.replace(second, ref=MARK + second.ref)
        return first if isinstance(first, Unknown) else second

    async def look_up(self, ref: str) -> DeliveryReport | None:
        """Ask whoever took the text."""
        if not ref.startswith(MARK):
            return await self._primary.look_up(ref)
        report = await self._secondary.look_up(ref.removeprefix(MARK))
        return None if report is None else msgspec.structs.replace(report, provider=self.name, ref=ref)

    async def fetch_media(self, media: RemoteMedia, *, max_bytes: int) -> bytes:
        """Fetch from whoever was given the picture."""
        if not media.url.startswith(MARK):
            return await self._primary.fetch_media(media, max_bytes=max_bytes)
        theirs = msgspec.structs.replace(media, url=media.url.removeprefix(MARK))
        return await self._secondary.fetch_media(theirs, max_bytes=max_bytes)

    def _theirs(self, text: OutboundText) -> OutboundText:
        return text if self._sender is None else msgspec.structs.replace(text, sender=self._sender)
