"""Every setting with its default, unit and meaning.

One YAML file, every key overridable by `SIDETONE_SECTION__KEY` in the environment (JSON for lists and tables);
unknown keys are errors. A secret may stand in a file of its own: give `{file: PATH}` in its place.
"""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableEnvironmentError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError


class SettingsError(Exception):
    """The settings cannot be used. The message names file, line, key and remedy, one problem a line."""


def _from_file(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"file"}:
        try:
            return Path(str(value["file"])).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot read the secret from {value['file']}: {error.strerror}") from error
    return value


def is_loopback(host: str) -> bool:
    """Whether *host* is a numeric address that only this machine can reach, or `localhost`."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _filled(secret: SecretStr) -> SecretStr:
    """An empty file would otherwise be a password that everybody knows."""
    if not secret.get_secret_value():
        raise ValueError("the secret is empty")
    return secret


def _unguessable(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < SHORTEST_TOKEN:
        raise ValueError(f"a token needs at least {SHORTEST_TOKEN} characters; `openssl rand -hex 32` makes a good one")
    return token


def _network(text: str) -> str:
    ip_network(text)
    return text


def _encrypted(url: str) -> str:
    parts = urlsplit(url)
    if not parts.netloc or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))):
        raise ValueError("credentials travel there: it must begin with https://, or lead to this machine")
    return url


SHORTEST_TOKEN = 16
"""Characters. Nothing slows down whoever guesses tokens."""
Secret: TypeAlias = Annotated[SecretStr, BeforeValidator(_from_file), AfterValidator(_filled)]
Token: TypeAlias = Annotated[Secret, AfterValidator(_unguessable)]
Network: TypeAlias = Annotated[str, AfterValidator(_network)]
Span: TypeAlias = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
E164: TypeAlias = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Seconds: TypeAlias = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JournalSettings(_Section):
    """Where everything is kept that must never be lost."""

    url: str = Field(default="sqlite:///{data}/sidetone.db", description="SQLAlchemy URL; {data} is the data folder")


class WebSettings(_Section):
    """The HTTP side: desk, phone page, webhooks, API."""

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0: all")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8080, description="TCP port; 0: any free one")
    secure_cookies: bool | None = Field(
        default=None, description="set the Secure flag; not given: when public_url begins with https"
    )
    phone_page: bool | None = Field(
        default=None,
        description="serve /phone, the engineer's phone, which asks for no password; true: to everybody who gets here; "
        "not given: to this machine only, and not when there is a public_url or another address to listen on",
    )
    api_tokens: tuple[Token, ...] = Field(
        default=(), description="bearer tokens of /api/v1, 16 characters and more; none: it refuses everybody"
    )


class SipSettings(_Section):
    """The SIP side of calls."""

    enabled: bool = Field(default=True, description="take calls over SIP")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=5060, description="UDP port; 0: any free one")
    advertised_host: str | None = Field(default=None, description="address peers should use, when it is not `host`")
    rtp_ports: tuple[int, int] = Field(default=(20000, 29999), description="first and last UDP port for audio")
    allowed_networks: tuple[Network, ...] = Field(
        default=("127.0.0.0/8",), description="trunks and phones; everybody else gets silence"
    )
    users: Mapping[str, Secret | None] = Field(
        default_factory=dict, description="who may register: user to password, null for none"
    )
    ring_timeout: Seconds = Field(default=20.0, description="how long an agent's phone rings")
    max_calls: Annotated[int, Field(ge=1)] = Field(default=1000, description="calls at one time; one more hears 503")
    country_code: str | None = Field(
        default=None, pattern=r"^[1-9][0-9]{0,2}$", description="put before callers' numbers that a trunk sends without plus"
    )
    media_timeout: Seconds = Field(default=60.0, description="a call without any audio packet for so long is over; 0: never")


class TwilioSettings(_Section):
    """One Twilio account."""

    account_sid: str = Field(description="whose webhooks are believed, and who pays")
    auth_tokens: tuple[Secret, ...] = Field(min_length=1, description="the first signs requests, all verify webhooks")
    api_base_url: Annotated[str, AfterValidator(_encrypted)] = Field(
        default="https://api.twilio.com", description="where every request goes"
    )
    timeout: Seconds = Field(default=10.0, description="for one request; after it the outcome is unknown")


class SmsSettings(_Section):
    """Texts."""

    provider: Literal["loopback", "twilio"] = "loopback"
    reply_window: Seconds = Field(default=86_400.0, description="how long an invitation to text waits for the first reply")
    open_window: Seconds = Field(default=1_800.0, description="after a call, how long its text leg still takes texts")
    chat_idle_timeout: Seconds = Field(default=86_400.0, description="a chat in which nobody writes for so long is closed")
    reconcile_after: Seconds = Field(
        default=15.0, description="a send of unknown outcome that the provider does not list by then was not sent"
    )
    delivery_delay: Seconds = Field(default=0.8, description="loopback only: seconds from sending to delivery")


class OfferSettings(_Section):
    """When callers of a queue are offered to text instead or meanwhile (docs/ewt.md)."""

    mode: Literal["above_threshold", "always", "never"] = "above_threshold"
    threshold: Seconds = Field(default=120.0, description="T: the wait that is worth an offer")
    probability: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.4, description="pi: offer when P(wait >= T) >= pi")
    margin: Seconds = Field(default=30.0, description="SMS must be faster than the call by so much")
    sms_max: Seconds = Field(default=600.0, description="no offer when one in ten texters would wait longer than this")


class QueueSettings(_Section):
    """One line of waiting customers."""

    id: Name = Field(description="how flows, numbers and agents name it")
    channel: Literal["voice", "sms"] = "voice"
    title: str = Field(default="", description="what agents read")
    desk: Name | None = Field(default=None, description="voice: the SMS queue that takes its deflected callers")
    ring_timeout: Seconds = Field(default=20.0, description="how long work rings at one desk")
    wrap_up: Seconds = Field(default=30.0, description="time for the note after each piece of work; 0: none")
    aht: Seconds | None = Field(default=None, description="first guess of the average handling time; guess low")
    offers: OfferSettings = OfferSettings()


class NumberSettings(_Section):
    """One number of ours. It may carry calls, in-call texts and chats at once."""

    number: E164 = Field(description="E.164, as +15550100200")
    flow: Name | None = Field(default=None, description="what calls to it meet")
    desk: Name | None = Field(default=None, description="the SMS queue that texts to it go to")


class AgentSettings(_Section):
    """One agent."""

    id: Name = Field(description="what the agent signs in with")
    name: str = Field(description="what customers and colleagues read")
    password_hash: Secret | None = Field(default=None, description="argon2id, made by `sidetone password`")
    queues: tuple[Name, ...] = Field(description="whose work is offered")
    skills: tuple[str, ...] = Field(default=(), description="what flows may ask for: `lang:fr`, `billing`, ...")
    max_chats: Annotated[int, Field(ge=0, le=50)] = Field(default=3, description="chats at once")
    phone: str | None = Field(default=None, description="sip: URI, registered user, or loopback:NAME")


class HoursSettings(_Section):
    """Opening hours. An empty week means always open."""

    zone: str = Field(default="UTC", description="IANA time zone of the spans")
    week: Mapping[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], tuple[Span, ...]] = Field(
        default_factory=dict, description='spans like "09:00-17:30" for each day'
    )
    closed_days: tuple[str, ...] = Field(default=(), description="ISO dates of holidays and closures")
    country: str | None = Field(default=None, description="ISO country whose public holidays count as closed")


class Settings(BaseSettings):
    """The whole file."""

    model_config = SettingsConfigDict(
        env_prefix="SIDETONE_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    brand: str = Field(default="Sidetone", description="named in the first text to every customer")
    data: Path = Field(default=Path("var"), description="folder for the journal, media and keys")
    flows: Path | None = Field(default=None, description="folder of flows; default: the packaged ones")
    prompts: Path | None = Field(default=None, description="folder of prompt catalogues; default: the packaged ones")
    public_url: str | None = Field(
        default=None, pattern=r"^https?://[^/?#\s]+[^?#\s]*$", description="how the outside reaches the web side; Twilio needs it"
    )
    log: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_timeout: Seconds = Field(default=30.0, description="after SIGTERM, how long calls in progress may go on")
    desk_grace: Seconds = Field(default=45.0, description="how long a desk may be disconnected before its agent counts as gone")
    country: str = Field(default="US", description="region for numbers written without a plus")
    not_ready_reasons: tuple[str, ...] = Field(
        default=("Break", "Lunch", "Meeting", "Training"), description="what an agent who is not ready can choose from"
    )
    dispositions: tuple[str, ...] = Field(
        default=("Solved", "Follow-up needed", "Wrong department", "No contact"), description="how finished work can be filed"
    )
    journal: JournalSettings = JournalSettings()
    web: WebSettings = WebSettings()
    sip: SipSettings = SipSettings()
    sms: SmsSettings = SmsSettings()
    twilio: TwilioSettings | None = None
    numbers: tuple[NumberSettings, ...] = ()
    queues: tuple[QueueSettings, ...] = ()
    agents: tuple[AgentSettings, ...] = ()
    hours: Mapping[Name, HoursSettings] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the base class fixes the names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file (which comes in as arguments)."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _names_resolve(self) -> "Settings":
        problems = []
        queues = {queue.id: queue for queue in self.queues}
        for kind, names in (
            ("number", [n.number for n in self.numbers]),
            ("queue", [q.id for q in self.queues]),
            ("agent", [a.id for a in self.agents]),
        ):
            problems += [f"{kind} {name} stands twice" for name in sorted({n for n in names if names.count(n) > 1})]
        desks = [(f"number {n.number}", n.desk) for n in self.numbers] + [(f"queue {q.id}", q.desk) for q in self.queues]
        for owner, desk in desks:
            if desk is not None and (desk not in queues or queues[desk].channel != "sms"):
                problems.append(f"{owner}: desk {desk!r} is not a queue of channel sms")
        for agent in self.agents:
            problems += [f"agent {agent.id}: there is no queue {queue!r}" for queue in agent.queues if queue not in queues]
        if self.sms.provider == "twilio":
            if self.twilio is None:
                problems.append("sms.provider is twilio: the section twilio is missing")
            if self.public_url is None:
                problems.append("sms.provider is twilio: public_url is missing (webhook signatures are made over it)")
        if self.sip.enabled and self.sip.host in {"0.0.0.0", "::"} and self.sip.advertised_host is None:  # noqa: S104  # a check
            problems.append("sip.host listens everywhere: sip.advertised_host must say where the audio is to be sent")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def phone_for(self) -> Literal["everybody", "this machine", "nobody"]:
        """Who may use the engineer's phone. Behind a proxy everybody seems to be on this machine, so it has to be asked for."""
        if self.web.phone_page is not None:
            return "everybody" if self.web.phone_page else "nobody"
        return "this machine" if self.public_url is None and is_loopback(self.web.host) else "nobody"

    @property
    def secure_cookies(self) -> bool:
        """Whether cookies travel by HTTPS only."""
        if self.web.secure_cookies is not None:
            return self.web.secure_cookies
        return (self.public_url or "").startswith("https:")

    @property
    def journal_url(self) -> str:
        """The journal's URL with the data folder filled in."""
        return self.journal.url.replace("{data}", self.data.absolute().as_posix())


def load_settings(path: Path) -> Settings:
    """Read *path* (YAML 1.2) and the environment.

    Raises:
        SettingsError: With every problem, its line and what is allowed there.
    """
    yaml = YAML(typ="rt")
    try:
        document = yaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise SettingsError(f"{where}: {error.problem}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: no YAML in UTF-8 without control characters") from error
    if document is None:
        document = {}
    if not isinstance(document, Mapping):
        raise SettingsError(f"{path}:1:1: the file must be a table of sections")
    try:
        return Settings(**document)
    except UnreadableEnvironmentError as error:
        raise SettingsError(f"environment: {error}") from error
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(path, document, problem) for problem in error.errors())) from error


def _explain(path: Path, document: Any, problem: Any) -> str:
    """One pydantic problem as `file:line:column: key: what is wrong`."""
    node: Any = document
    line, column = 1, 1
    for key in problem["loc"]:
        try:
            where: Any = node.lc
            row, col = where.value(key) if isinstance(node, Mapping) else where.item(key)
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
        line, column = row + 1, col + 1
    key = ".".join(str(part) for part in problem["loc"])
    what = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        what = "there is no such setting; check its spelling and its section"
    return f"{path}:{line}:{column}: {key + ': ' if key else ''}{what}"
