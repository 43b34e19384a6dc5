"""What programs send and get. The OpenAPI description is made of these; times are seconds since the Unix epoch."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from bridge.channel import LONGEST_TEXT
from sms.message import readable

MOST = 200
"""Rows of a page."""
MOST_FILES = 10
"""Of one text."""
LONGEST_VALIDITY = 7 * 86_400.0
"""Seconds."""
MOST_DATA = 50
"""Values that a program may keep with a contact."""


def _moment(value: Any) -> Any:
    """Seconds since the epoch, from a number or from RFC 3339 with an offset."""
    if isinstance(value, bool):
        raise ValueError("A time is no yes or no")  # noqa: TRY004  # pydantic makes a refusal of a ValueError only
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("Write a time as 2030-01-31T09:00:00Z, or in seconds since 1970") from None
    if at.tzinfo is None:
        raise ValueError("A time needs its offset: 2030-01-31T09:00:00-05:00, or Z for UTC")
    return at.timestamp()


def _clean(value: Any) -> Any:
    match value:
        case str():
            return readable(value)
        case list():
            return [_clean(item) for item in value]
        case dict():
            return {_clean(name): _clean(item) for name, item in value.items()}
        case _:
            return value


_MOMENT: dict[str, Any] = {"anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}]}
Moment: TypeAlias = Annotated[float, BeforeValidator(_moment), WithJsonSchema(_MOMENT)]
"""A time in a request: seconds since the epoch, or RFC 3339."""
Number: TypeAlias = Annotated[str, Field(min_length=3, max_length=32, description="E.164, as +15550100123")]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]
Words: TypeAlias = Annotated[str, Field(min_length=1, max_length=4000)]
Purpose: TypeAlias = Literal["care", "marketing", "session"]
TextState: TypeAlias = Literal[
    "pending", "accepted", "queued", "sending", "sent", "delivered", "read", "undelivered", "failed", "canceled", "received"
]  # fmt: skip
Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="of a file that POST /media has taken")]


class Request(BaseModel):
    """What a program sends. A field that is not here is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_control_characters(cls, given: Any) -> Any:
        """No telephone shows them, and PostgreSQL refuses some."""
        return _clean(given)


class Answer(BaseModel):
    """What a program gets. New fields may be added."""

    model_config = ConfigDict(frozen=True)


# --- texts


class Sessionless(Request):
    """A text without a conversation."""

    to: Number
    sender: Number = Field(alias="from", description="a number of ours")
    text: str = Field(default="", max_length=LONGEST_TEXT)
    media: tuple[Digest, ...] = Field(default=(), max_length=MOST_FILES)
    purpose: Purpose = Field(
        default="care",
        description="care: the customer expects it, which the program vouches for; marketing: needs a recorded consent; "
        "session: part of a contact that the customer is in right now, so it knows no quiet hours; planned for later it is care",
    )
    send_at: Moment | None = Field(default=None, description="not before; null: now. 30 days ahead at most")
    valid_for: Annotated[float, Field(gt=0, le=LONGEST_VALIDITY)] | None = Field(
        default=None, description="seconds from send_at after which it is dropped; null: never too late"
    )


class Text(Sessionless):
    """A text that opens a conversation, or goes into the one that is open."""

    queue: Name | None = Field(default=None, description="the queue for texts that has the answer; null: the number's")
    ticket: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="yours; agents see it on the card")
    agent: Name | None = Field(default=None, description="who should have the answer; null: whoever takes the queue's chats")


class Taken(Answer):
    """A text that is on its way, or waits for its time."""

    id: str
    session: str | None = Field(description="the conversation; null: sessionless")
    state: TextState
    send_at: float = Field(description="not before; later than asked when it is night where the customer is")
    missing: tuple[str, ...] = Field(
        default=(),
        description="what the first text to a number has to say and this one does not: brand, recurring, rates, stop. "
        "Only for sessionless texts; a conversation begins with such a text by itself",
    )


class File(Answer):
    """A picture, video or document."""

    digest: str
    content_type: str
    size: int = Field(description="bytes, as it is kept: without places, names and other things that were hidden in it")


class TextRow(Answer):
    """A text, and how far it has come."""

    id: str
    session: str | None
    direction: Literal["in", "out"]
    sender: str = Field(serialization_alias="from")
    to: str
    text: str
    media: tuple[File, ...]
    state: TextState
    code: str | None = Field(description="the provider's error code, or a word of ours")
    explanation: str | None = Field(description="what the code means")
    segments: int | None = Field(description="null until the provider has counted")
    purpose: Purpose | None
    author: str = Field(description="customer, agent:ID, flow, system or api:KEY")
    created_at: float
    updated_at: float | None


class Step(Answer):
    """One step of a text's life."""

    state: TextState
    at: float
    code: str | None


class TextDetail(TextRow):
    """A text with everything that happened to it."""

    advice: str | None = Field(description="what is left to do about the code")
    send_at: float | None = Field(description="not before; null for a text of the customer's")
    valid_until: float | None
    attempts: int
    steps: tuple[Step, ...]


class TextPage(Answer):
    """Texts, the newest first."""

    texts: tuple[TextRow, ...]
    next: str | None = Field(description="give it as `after` for the next page; null: this is the last one")


class Draft(Request):
    """A text that is not sent."""

    text: str = Field(max_length=LONGEST_TEXT)
    to: Number | None = Field(default=None, description="with from: whether it would be taken")
    sender: Number | None = Field(default=None, alias="from")
    purpose: Purpose = "care"


class Preview(Answer):
    """What a text would cost and lack."""

    encoding: Literal["gsm7", "ucs2"]
    units: int = Field(description="septets of GSM-7, code units of UCS-2")
    segments: int
    remaining: int = Field(description="units that still fit without another segment")
    forced_by: tuple[str, ...] = Field(description="the characters that make it UCS-2")
    missing: tuple[str, ...] = Field(description="what it would have to say as the first text to a number")
    allowed: bool | None = Field(description="whether it may go now; null: to or from was not given")
    rule: str | None = Field(description="which rule is against it")


# --- sessions


class SessionRow(Answer):
    """A session as a row."""

    id: str
    state: str
    customer: str | None
    our_number: str
    language: str
    queue: str | None
    agent: str | None
    opened_at: float
    closed_at: float | None
    text_state: str
    call_state: str
    service: str = Field(description="how it began: inbound, outbound, api, call, deflected, direct")
    ended_reason: str | None
    handled: float = Field(description="seconds in which agents worked on it")
    first_agent_at: float | None


class SessionPage(Answer):
    """Sessions, the newest first."""

    sessions: tuple[SessionRow, ...]
    next: str | None = Field(description="give it as `after` for the next page; null: this is the last one")


class Line(Answer):
    """One line of a transcript."""

    at: float
    kind: str
    data: Mapping[str, Any]


class Transcript(Answer):
    """What was said, and what else happened, in order."""

    session: SessionRow
    lines: tuple[Line, ...]
    text: str = Field(description="the same for people to read")


class Document(Answer):
    """An object whose fields the docs explain."""

    model_config = ConfigDict(extra="allow", frozen=True)


# --- people


class ContactNow(Request):
    """What a program knows of a number; it replaces what was known."""

    name: Annotated[str, Field(max_length=80)] | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")] | None = Field(default=None, description="as en or fr")
    data: Annotated[dict[Name, Annotated[str, Field(max_length=1000)] | float | bool | None], Field(max_length=MOST_DATA)] = {}


class Contact(Answer):
    """What is known of a number."""

    number: str
    name: str | None
    language: str | None
    data: Mapping[str, Any]
    updated_at: float


class NewConsent(Request):
    """An agreement, or its end, that was given somewhere else."""

    number: Number
    purpose: Purpose
    granted: bool = True
    words: Words = Field(description="exactly what the customer heard or read, and agreed to")
    language: Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")] = Field(description="of the words, as en")
    evidence: Words = Field(description="what proves it: which form, order or recording, and when")
    sender: Number | None = Field(default=None, alias="from", description="the number of ours it was said to; null: all")
    at: Moment | None = Field(default=None, description="when; null: now")


class Consent(Answer):
    """One entry of the consent ledger."""

    number: str
    purpose: str
    granted: bool
    words: str
    language: str
    evidence: str
    actor: str
    at: float
    session: str | None
    sender: str | None = Field(serialization_alias="from")
    prompt: str | None
    version: str | None


class OptOutRow(Answer):
    """One entry of the ledger of opt-outs."""

    sender: str = Field(serialization_alias="from", description="a number of ours, or * for all")
    suppressed: bool = Field(description="false: this entry ended it")
    provisional: bool = Field(description="it only sounded like it, and no agent has judged yet; it counts all the same")
    evidence: str
    reason: str | None
    at: float


class Consents(Answer):
    """Everything a number agreed to and refused, oldest first."""

    number: str
    consents: tuple[Consent, ...]
    opt_outs: tuple[OptOutRow, ...]


class NewOptOut(Request):
    """Somebody wants no more texts."""

    number: Number
    sender: Number | None = Field(default=None, alias="from", description="texts of this number of ours; null: of all")
    evidence: Words = Field(description="how we know: the words, where and when")


class OptOut(Answer):
    """An opt-out, or its end."""

    number: str
    sender: str = Field(serialization_alias="from", description="a number of ours, or * for all")
    opted_out: bool
    at: float


class Lifting(Request):
    """Why somebody may be texted again."""

    proof: Literal["start", "written"] = Field(description="start: the customer's own START text; written: signed or mailed")
    message: Name | None = Field(default=None, description="with start: the id of that text")
    evidence: Words | None = Field(default=None, description="with written: what, from when, and where it is kept")
    sender: Number | None = Field(default=None, alias="from", description="for this number of ours; null: for all")


class Block(Request):
    """A number whose calls and texts are not to be taken."""

    number: Number
    reason: Words


class Blocked(Answer):
    """A number whose calls and texts are not taken."""

    number: str
    reason: str
    actor: str
    at: float | None = Field(description="null: it stands in the settings")


class Blocklist(Answer):
    """Blocked numbers in order; on the first page first those of the settings."""

    numbers: tuple[Blocked, ...]
    next: str | None = Field(description="give it as `after` for the next page; null: this is the last one")


class Erased(Answer):
    """What is gone."""

    number: str
    rows: Mapping[str, int] = Field(description="removed or blanked, by kind")
    files: int = Field(description="pictures, videos and documents removed")
    left: tuple[str, ...] = Field(description="digests of files that the storage did not remove just now; remove them by hand")
    mails: int = Field(description="mails about their conversations removed that had not gone out")


# --- the house


class OurNumber(Answer):
    """A number of ours, and what the carriers think of it."""

    number: str
    kind: Literal["long_code", "toll_free", "short_code", "alphanumeric"]
    brand: str | None = Field(description="10DLC")
    campaign: str | None = Field(description="10DLC")
    registered: bool = Field(description="false: carriers in the US refuse its texts, so none are sent there")
    per_second: float | None = Field(description="segments; null: what its kind may")
    per_day: int | None = Field(description="segments, for the whole brand; null: no limit")
    left_today: int | None = Field(description="segments; null: no limit")
    queue: str | None = Field(description="the desk for its texts")
    agent: str | None = Field(description="whose own number it is")
    menu: str | None
    calls: bool = Field(description="it takes calls too")


class OurNumbers(Answer):
    """Every number of ours."""

    numbers: tuple[OurNumber, ...]


class Count(Answer):
    """Texts of one kind in one span of time."""

    at: float = Field(description="when the span begins")
    direction: Literal["in", "out"]
    state: str
    queue: str | None
    texts: int
    segments: int


class TextReport(Answer):
    """Counts of texts over time."""

    since: float
    until: float
    bucket: float = Field(description="seconds of a span")
    counts: tuple[Count, ...]


class DeadLetter(Answer):
    """A notice that an endpoint did not take."""

    n: int
    id: str
    type: str
    session: str | None
    endpoint: str
    at: float
    attempts: int
    last_error: str | None
    body: Any


class DeadLetters(Answer):
    """Notices that were given up, oldest first."""

    deliveries: tuple[DeadLetter, ...]
    next: int | None = Field(description="give it as `after` for the next page; null: this is the last one")


class Redelivered(Answer):
    """A dead letter that is tried again."""

    n: int


# --- parameters


class Page(Request):
    """A page of a list."""

    limit: Annotated[int, Field(ge=1, le=MOST, description=f"how many, from 1 to {MOST}")] = 50
    after: Name | None = Field(default=None, description="`next` of the page before")


class TextQuery(Page):
    """Which texts."""

    number: Number | None = Field(default=None, description="from or to this customer")
    session: Name | None = None
    direction: Literal["in", "out"] | None = None
    state: TextState | None = None
    since: Moment | None = Field(default=None, description="made then or later")
    until: Moment | None = Field(default=None, description="made before then")


class SessionQuery(Page):
    """Which sessions."""

    customer: Number | None = None
    number: Number | None = Field(default=None, description="of ours")
    queue: Name | None = None
    agent: Name | None = None
    state: Literal["open", "closed"] | None = None
    service: Literal["inbound", "outbound", "api", "call", "deflected", "direct"] | None = None
    since: Moment | None = Field(default=None, description="opened then or later")
    until: Moment | None = Field(default=None, description="opened before then")


class TranscriptQuery(Request):
    """How it is to be written."""

    zone: Name = Field(default="UTC", description="IANA time zone of what people read")


class ReportQuery(Request):
    """Of which time."""

    since: Moment | None = Field(default=None, description="not given: a day before until")
    until: Moment | None = Field(default=None, description="not given: now")
    bucket: Annotated[float, Field(ge=60, le=31 * 86_400)] = Field(default=3600.0, description="seconds of a span")


class DeadQuery(Request):
    """A page of dead letters."""

    limit: Annotated[int, Field(ge=1, le=MOST, description=f"how many, from 1 to {MOST}")] = 50
    after: Annotated[int, Field(ge=0, lt=2**63, description="`next` of the page before")] = 0
