"""Texts: who carries them, how long a chat lives, texts by mail."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bridge.settings.values import E164, Name, Network, Seconds, Secret, Section, encrypted


class TwilioFallbackSettings(Section):
    """A second account or messaging service for texts that the first refuses."""

    account_sid: str = Field(description="may be the same account, with another service")
    auth_tokens: tuple[Secret, ...] = Field(min_length=1, description="as twilio.auth_tokens")
    messaging_service_sid: str | None = Field(default=None, description="sends from the pool of this service")
    when: tuple[Literal["sender", "not_allowed", "compliance", "account", "temporary"], ...] = Field(
        default=("sender", "not_allowed", "compliance", "account"), description="classes of refusal after which it is tried"
    )


class TwilioSettings(Section):
    """One Twilio account."""

    account_sid: str = Field(description="whose webhooks are believed, and who pays")
    auth_tokens: tuple[Secret, ...] = Field(min_length=1, description="the first signs requests, all verify webhooks")
    api_base_url: Annotated[str, AfterValidator(encrypted)] = Field(
        default="https://api.twilio.com", description="where every request goes"
    )
    timeout: Seconds = Field(default=10.0, description="for one request; after it the outcome is unknown")
    messaging_service_sid: str | None = Field(default=None, description="sends from the pool of this service")
    fallback: TwilioFallbackSettings | None = Field(default=None, description="a second account or service")


class UnassignedSettings(Section):
    """What becomes of a text to a number of ours that nobody has been put in charge of."""

    action: Literal["ignore", "reply", "queue"] = Field(default="ignore", description="it is kept in the journal in any case")
    queue: Name | None = Field(default=None, description="with action queue: the desk")
    text: str = Field(default="", description="with action reply: the answer, once a day to each number")


class SmsSettings(Section):
    """Texts."""

    provider: Literal["loopback", "twilio"] = "loopback"
    menus: Path | None = Field(default=None, description="folder of text menus; default: the packaged ones")
    menu_timeout: Seconds = Field(default=3_600.0, description="how long a text menu waits for an answer")
    expire: Seconds = Field(default=0.0, description="a chat nobody has taken for so long is closed with a text; 0: never")
    warn_before: Seconds = Field(default=0.0, description="the customer is told so long before a silent chat is closed; 0: not")
    dismiss_after: Annotated[float, Field(ge=0, le=604_800)] = Field(
        default=0.0, description="a chat in which the customer has not answered for so long is put aside; 0: by hand only"
    )
    reopen_window: Seconds = Field(
        default=900.0,
        description="a text so soon after the end of a chat goes on in the same session, with the same agent if free",
    )
    prefer_for: Seconds = Field(default=60.0, description="how long a returning customer waits for the same agent alone")
    transfer_ring: Seconds = Field(
        default=30.0, description="a transfer to an agent who has not taken it by then goes back; 0: never"
    )
    max_transfers: Annotated[int, Field(ge=0)] = Field(default=5, description="of one chat")
    unassigned: UnassignedSettings = UnassignedSettings()
    sessionless_reply: str = Field(
        default="", description="answer to who replies to a sessionless text, at most once a day; empty: none"
    )
    blocked: tuple[E164, ...] = Field(
        default=(), description="numbers whose calls and texts are refused, beside those of the API"
    )
    limiter: bool = Field(default=True, description="keep to the senders' rates (numbers[].sender)")
    reply_window: Seconds = Field(default=86_400.0, description="how long an invitation to text waits for the first reply")
    open_window: Seconds = Field(default=1_800.0, description="after a call, how long its text leg still takes texts")
    chat_idle_timeout: Seconds = Field(
        default=86_400.0, description="a chat in which nobody writes for so long is closed; 0: never"
    )
    reconcile_after: Seconds = Field(
        default=15.0, description="a send of unknown outcome that the provider does not list by then was not sent"
    )
    delivery_delay: Seconds = Field(default=0.8, description="loopback only: seconds from sending to delivery")


class MailAllowSettings(Section):
    """Who may send texts by mail."""

    sender: str = Field(description="address, or @domain")
    numbers: tuple[Annotated[str, Field(pattern=r"^\+[1-9][0-9]*$")], ...] = Field(
        description="beginnings of the numbers they may text, as +1555"
    )
    per_day: Annotated[int, Field(gt=0)] = Field(default=100, description="texts a day")
    ours: E164 = Field(description="number of ours the texts come from")


class SmarthostSettings(Section):
    """Who takes our mail."""

    host: str = Field(default="127.0.0.1", description="its name or address")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=25, description="TCP port")
    user: str | None = Field(default=None, description="to sign in there; null: without")
    password: Secret | None = Field(default=None, description="of that user")
    tls: Literal["none", "starttls", "tls"] = Field(default="none", description="none is for a smarthost on this machine")


class MailSettings(Section):
    """Chats by mail (docs/mail.md)."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8025, description="TCP port; 0: any free one")
    protocol: Literal["smtp", "lmtp"] = Field(default="lmtp", description="lmtp: behind Postfix")
    domain: str = Field(description="of our addresses: c+TOKEN@domain, +NUMBER@domain")
    trusted_authserv_id: str | None = Field(default=None, description="whose Authentication-Results are believed")
    users: Mapping[str, Secret] = Field(default_factory=dict, description="who may sign in to send: address to password")
    certificate: Path | None = Field(default=None, description="PEM chain, for STARTTLS")
    key: Path | None = Field(default=None, description="PEM key")
    from_address: str = Field(description="sender of our own mails")
    smarthost: SmarthostSettings | None = Field(default=None, description="none: no mail is sent")
    in_front: tuple[Network, ...] = Field(
        default=("127.0.0.0/8", "::1/128"), description="where the mail system is whose word is taken"
    )
    transcripts_to: str | None = Field(default=None, description="address that gets the transcript of every finished session")
    allow: tuple[MailAllowSettings, ...] = ()
