"""Two accounts as one: the second only after a certain refusal, and nothing is ever sent by both."""

from collections.abc import Collection
from types import TracebackType
from typing import Self, TypeAlias

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.message import DeliveryReport, OutboundText, RemoteMedia
from sms.pacing import FIRST_PAUSE, REFUSALS
from sms.provider import Accepted, Capabilities, NotSent, Rejected, Unknown
from sms.providers.failover import MARK, FailoverSms

Answer: TypeAlias = Accepted | Rejected | Unknown
Found: TypeAlias = Accepted | NotSent | Unknown
TEXT = OutboundText(message="m1", recipient="+15550100123", sender="+15550100200", body="Hello", created_at=0.0)
TAKEN = Accepted(ref="SM1", segments=1, state="queued")
UNREGISTERED = Rejected("sender", "30034", "not registered")
BUSY = Rejected("temporary", "20429", "too many", retriable=True)
OPTED_OUT = Rejected("opted_out", "21610", "opted out")
WHEN = frozenset({"sender", "compliance", "account"})


class Account:
    """Answers what it is told to."""

    capabilities = Capabilities(
        media=True,
        two_way=True,
        delivery_reports=True,
        alphanumeric_sender=True,
        obeys_opt_out=True,
        max_characters=1600,
        max_media=10,
    )

    def __init__(self, name: str, answer: Answer = TAKEN, found: Found | None = None) -> None:
        self.name, self.answer, self.found = name, answer, found or NotSent()
        self.sent: list[OutboundText] = []
        self.known: list[frozenset[str]] = []
        self.opened = False

    async def send(self, text: OutboundText) -> Answer:
        self.sent.append(text)
        return self.answer

    async def reconcile(self, text: OutboundText, *, attempted_at: float, known_refs: Collection[str]) -> Found:  # noqa: ARG002
        self.known.append(frozenset(known_refs))
        return self.found

    async def look_up(self, ref: str) -> DeliveryReport | None:
        return None if ref == "?" else DeliveryReport(self.name, ref, None, "delivered", "delivered", 0.0)

    async def fetch_media(self, media: RemoteMedia, *, max_bytes: int) -> bytes:
        return f"{self.name} {media.url} {max_bytes}".encode()

    async def __aenter__(self) -> Self:
        self.opened = True
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.opened = False


class Unopenable(Account):
    """Cannot be opened."""

    async def __aenter__(self) -> Self:
        raise OSError


def both(one: Account, other: Account, *, now: list[float] | None = None, sender: str | None = None) -> FailoverSms:
    clock = [0.0] if now is None else now
    return FailoverSms(one, other, WHEN, sender=sender, clock=lambda: clock[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second", "result", "asked"),
    [
        (TAKEN, TAKEN, TAKEN, 0),
        (UNREGISTERED, TAKEN, Accepted(ref="2:SM1", segments=1, state="queued"), 1),
        (Unknown("timeout"), TAKEN, Unknown("timeout"), 0),
        (OPTED_OUT, TAKEN, OPTED_OUT, 0),
        (BUSY, TAKEN, BUSY, 0),
        (UNREGISTERED, OPTED_OUT, UNREGISTERED, 1),
        (UNREGISTERED, BUSY, BUSY, 1),
        (UNREGISTERED, Unknown("timeout"), Unknown("timeout"), 1),
    ],
)
async def test_when_the_second_is_asked(first: Answer, second: Answer, result: Answer, asked: int) -> None:
    """Only after a certain refusal for a reason agreed on; when both refuse the first one's reason counts."""
    one, other = Account("twilio", first), Account("twilio", second)
    assert await both(one, other).send(TEXT) == result
    assert (len(one.sent), len(other.sent)) == (1, asked)


@given(st.lists(st.sampled_from([TAKEN, UNREGISTERED, Unknown("x"), OPTED_OUT, BUSY]), min_size=1, max_size=12))
async def test_a_text_is_never_with_both(answers: list[Answer]) -> None:
    """Whatever the first answers, in any order: what it took or may have taken the second never gets."""
    one, other = Account("twilio"), Account("twilio")
    provider = both(one, other)
    for number, answer in enumerate(answers):
        one.answer = answer
        await provider.send(msgspec.structs.replace(TEXT, message=str(number)))
        maybe = isinstance(answer, Accepted | Unknown) and any(text.message == str(number) for text in one.sent)
        assert not (maybe and any(text.message == str(number) for text in other.sent))


async def test_a_first_that_keeps_refusing_is_left_out_for_a_while() -> None:
    """Then one text is a probe; when it is taken the first is used again."""
    now = [0.0]
    one, other = Account("twilio", UNREGISTERED), Account("twilio")
    provider = both(one, other, now=now, sender="MG2")
    for _ in range(REFUSALS + 2):
        assert isinstance(await provider.send(TEXT), Accepted)
    assert (len(one.sent), len(other.sent)) == (REFUSALS, REFUSALS + 2)
    assert {text.sender for text in one.sent} == {TEXT.sender}
    assert {text.sender for text in other.sent} == {"MG2"}
    now[0] += FIRST_PAUSE
    one.answer = TAKEN
    assert await provider.send(TEXT) == TAKEN
    assert await provider.send(TEXT) == TAKEN
    other.answer = OPTED_OUT
    one.answer = UNREGISTERED
    for _ in range(REFUSALS):
        await provider.send(TEXT)
    assert await provider.send(TEXT) == OPTED_OUT  # the first was not asked, so this is all there is to say


async def test_a_refused_recipient_says_nothing_about_the_account() -> None:
    """Texts that carriers block one by one do not lead to the first being left out."""
    one, other = Account("twilio", Rejected("compliance", "30004", "blocked")), Account("twilio")
    provider = both(one, other)
    for _ in range(2 * REFUSALS):
        await provider.send(TEXT)
    assert len(one.sent) == 2 * REFUSALS


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (TAKEN, NotSent(), TAKEN),
        (NotSent(), TAKEN, Accepted(ref="2:SM1", segments=1, state="queued")),
        (NotSent(), NotSent(), NotSent()),
        (Unknown("no list"), NotSent(), Unknown("no list")),
        (NotSent(), Unknown("no list"), Unknown("no list")),
        (Unknown("no list"), TAKEN, Accepted(ref="2:SM1", segments=1, state="queued")),
    ],
)
async def test_reconciling_asks_both(first: Found, second: Found, found: Found) -> None:
    """A text is called not sent only when neither has it; each is told only of refs that are its own."""
    one, other = Account("twilio", found=first), Account("twilio", found=second)
    assert await both(one, other).reconcile(TEXT, attempted_at=0.0, known_refs={"SM8", "2:SM9"}) == found
    assert one.known == [{"SM8"}]
    assert other.known in ([], [{"SM9"}])


async def test_refs_and_pictures_find_their_account() -> None:
    """By the mark before them; to the outside there is one provider, with one name."""
    one, other = Account("twilio"), Account("spare")
    provider = both(one, other)
    assert provider.name == "twilio"
    assert provider.capabilities == one.capabilities
    reports = [await provider.look_up(ref) for ref in ("SM1", MARK + "SM1")]
    assert [(report.provider, report.ref) for report in reports if report is not None] == [("twilio", "SM1"), ("twilio", "2:SM1")]
    assert await provider.look_up(MARK + "?") is None
    fetched = [
        await provider.fetch_media(RemoteMedia(url, "image/png"), max_bytes=9)
        for url in ("https://x.example", MARK + "https://x.example")
    ]
    assert fetched == [b"twilio https://x.example 9", b"spare https://x.example 9"]


async def test_both_are_opened_or_none() -> None:
    """They live and end together; when the second cannot be opened the first does not stay open."""
    one, other = Account("twilio"), Account("twilio")
    async with both(one, other):
        assert (one.opened, other.opened) == (True, True)
    assert (one.opened, other.opened) == (False, False)
    with pytest.raises(OSError):  # noqa: PT011
        await both(one, Unopenable("twilio")).__aenter__()
    assert not one.opened
