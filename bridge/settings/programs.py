"""Programs of others: who may use the API, who is told what happens, who keeps the customers."""

import re
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from bridge.settings.values import Name, Seconds, Secret, Section, Token, encrypted

Scope: TypeAlias = Literal[
    "sms.send",
    "sms.read",
    "sessions.read",
    "contacts",
    "consents",
    "erase",
    "ewt.read",
    "ewt.write",
    "reports.read",
    "hooks",
    "calls",
]


class ApiKeySettings(Section):
    """One program that may use `/api/v1`."""

    name: Name = Field(description="what stands with everything it does; `admin` is the name of web.api_tokens")
    token: Token = Field(description="its bearer token, 16 characters and more")
    scopes: tuple[Scope, ...] = Field(description="what it may do")
    per_second: Annotated[float, Field(gt=0)] = Field(
        default=10.0, description="requests a second, over a burst of ten seconds' worth"
    )
    numbers: tuple[str, ...] = Field(default=(), description="numbers of ours it may send from; none: all")


class ApiSettings(Section):
    """The API for programs."""

    keys: tuple[ApiKeySettings, ...] = ()


class HookSettings(Section):
    """An endpoint that is told what happens, by signed POST, at least once each."""

    name: Name = Field(description="what stands in logs and in the list of dead letters")
    url: Annotated[str, AfterValidator(encrypted)] = Field(description="https://, or on this machine")
    secret: Secret = Field(description="signs every request")
    events: tuple[str, ...] = Field(
        default=("session.*", "sms.*", "offer.*"), description="which, with * at the end for a family"
    )
    give_up_after: Seconds = Field(default=86_400.0, description="then it is a dead letter")
    timeout: Seconds = Field(default=10.0, description="for one request")


SCREEN_POP_VALUES = frozenset({"id", "session", "number", "name", "queue", "agent", "language"})
"""What the address of a contact may be filled with."""


class CrmWebhookSettings(Section):
    """A program of yours that keeps the customers."""

    url: Annotated[str, AfterValidator(encrypted)] = Field(description="https://, or on this machine")
    secret: Secret = Field(description="signs every request")
    timeout: Annotated[float, Field(gt=0, le=60)] = Field(default=5.0, description="for one request")


class CrmSettings(Section):
    """Who the customers are (docs/crm.md)."""

    provider: Literal["local", "webhook"] = Field(default="local", description="local: contacts are kept in the journal only")
    name: Name = Field(default="crm", description="webhook: ids of contacts there are kept under this name")
    webhook: CrmWebhookSettings | None = Field(default=None, description="for provider webhook")
    create: bool = Field(default=True, description="a number that nobody has becomes a new contact")
    cache: Seconds = Field(default=300.0, description="how long an answer of the CRM counts for the next conversation")
    give_up_after: Seconds = Field(default=259_200.0, description="what the CRM has not taken by then is a dead letter")
    screen_pop: str | None = Field(
        default=None,
        description="address of a contact for the agent's button; {id}, {session}, {number}, {name}, {queue}, {agent} and "
        "{language} are filled in",
    )
    screen_pop_hosts: tuple[str, ...] = Field(default=(), description="hosts that screen_pop and links of the CRM may lead to")
    screen_pop_open: bool = Field(default=False, description="open it by itself when an agent has taken the conversation")

    @model_validator(mode="after")
    def _fits(self) -> "CrmSettings":
        if self.provider == "webhook" and self.webhook is None:
            raise ValueError("provider webhook needs the section crm.webhook")
        if self.provider == "webhook" and self.name == "local":
            raise ValueError("name: local is the built-in CRM's; name this one otherwise")
        if self.screen_pop is not None:
            parts = urlsplit(self.screen_pop)
            if parts.scheme != "https" or (parts.hostname or "") not in self.screen_pop_hosts:
                raise ValueError("screen_pop must begin with https:// and a host of crm.screen_pop_hosts")
            unknown = set(re.findall(r"\{([^{}]*)\}", self.screen_pop)) - SCREEN_POP_VALUES
            if unknown:
                raise ValueError(f"screen_pop: {', '.join(sorted(unknown))} cannot be filled in")
        return self
