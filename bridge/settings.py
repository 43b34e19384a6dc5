"""Every setting with its default, unit and meaning.

One YAML file, every key overridable by `SIDETONE_SECTION__KEY` in the environment (JSON for lists and tables);
unknown keys are errors. A secret may stand in a file of its own: give `{file: PATH}` in its place.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from socket import gethostname
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableEnvironmentError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bridge.alerts import Rule


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


def _own_secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < SHORTEST_SECRET:
        raise ValueError(f"it needs at least {SHORTEST_SECRET} characters; `openssl rand -hex 32` makes a good one")
    return secret


def _redis(url: SecretStr) -> SecretStr:
    """What `bridge.cluster.redis.connect` takes. The words never show the URL: there may be a password in it."""
    scheme, _, rest = url.get_secret_value().partition("://")
    form = "unix" if scheme == "unix" else scheme.replace("rediss", "redis", 1)
    if form not in _REDIS_FORMS:
        forms = [known for known in _REDIS_FORMS if known != "unix"]
        raise ValueError(
            f"write it as {' or '.join(_REDIS_FORMS[known][1] for known in forms)}; with rediss in place of redis for TLS"
        )
    pattern, words = _REDIS_FORMS[form]
    found = re.fullmatch(pattern, rest)
    if found is None:
        raise ValueError(f"write it as {words}; in USER and PASSWORD / as %2F, ? as %3F, # as %23, @ as %40, % as %25")
    if not {name for name, _ in parse_qsl(found["options"] or "", keep_blank_values=True)} <= REDIS_OPTIONS:
        raise ValueError(f"after the question mark may stand {', '.join(sorted(REDIS_OPTIONS))}, each as NAME=VALUE")
    return url


def _network(text: str) -> str:
    ip_network(text)
    return text


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"there is no time zone {name!r}; write it like Europe/Paris")
    return name


def _own_skill(skill: str) -> str:
    if skill.startswith("agent:"):
        raise ValueError("agent:NAME is every agent's own, by which one alone can be asked for")
    return skill


def _encrypted(url: str) -> str:
    parts = urlsplit(url)
    if not parts.netloc or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))):
        raise ValueError("credentials travel there: it must begin with https://, or lead to this machine")
    return url


SCREEN_POP_VALUES = frozenset({"id", "session", "number", "name", "queue", "agent", "language"})
"""What the address of a contact may be filled with."""
MOST_DIRECT_NUMBERS = 5
"""Of one agent."""
_HOST = r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
_WHO = r"(?:[^/?#@]*@)?"
_OPTIONS = r"(?:\?(?P<options>[^#]*))?"
_REDIS_FORMS = {
    "redis": (rf"{_WHO}{_HOST}(?:/\d*)?{_OPTIONS}", "redis://USER:PASSWORD@HOST:PORT/DB"),
    "redis+sentinel": (
        rf"{_WHO}{_HOST}(?:,{_HOST})*/[^/?#]+(?:/\d*)?{_OPTIONS}",
        "redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB (NAME is what the sentinels call the master)",
    ),
    "redis+cluster": (rf"{_WHO}{_HOST}(?:,{_HOST})*(?:/0?)?{_OPTIONS}", "redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT"),
    "unix": (rf"{_WHO}/[^?#]+{_OPTIONS}", "unix:///PATH"),
}
"""By scheme without its s for TLS: what comes after it, and how to write it."""
REDIS_OPTIONS = frozenset(
    {
        *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs"),
        *("sentinel_username", "sentinel_password", "client_name", "db"),
    }
)
"""What may be said in the address of Redis after a question mark."""
SHORTEST_TOKEN = 16
"""Characters. Nothing slows down whoever guesses tokens."""
SHORTEST_SECRET = 32
"""Characters. Everything that we sign is as safe as this."""
Secret: TypeAlias = Annotated[SecretStr, BeforeValidator(_from_file), AfterValidator(_filled)]
OwnSecret: TypeAlias = Annotated[Secret, AfterValidator(_own_secret)]
RedisUrl: TypeAlias = Annotated[Secret, AfterValidator(_redis)]
Token: TypeAlias = Annotated[Secret, AfterValidator(_unguessable)]
Network: TypeAlias = Annotated[str, AfterValidator(_network)]
Span: TypeAlias = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
E164: TypeAlias = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")]
Skill: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_own_skill)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Seconds: TypeAlias = Annotated[float, Field(ge=0)]
Zone: TypeAlias = Annotated[str, AfterValidator(_zone)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JournalSettings(_Section):
    """Where everything is kept that must never be lost."""

    url: Annotated[str, BeforeValidator(_from_file)] = Field(
        default="sqlite:///{data}/sidetone.db",
        description="SQLAlchemy URL; {data} is the data folder; with a password in it, better in a file",
    )


class ClusterSettings(_Section):
    """Several nodes that are one service."""

    url: RedisUrl | None = Field(
        default=None,
        description="Redis of all nodes: redis://, redis+sentinel://, redis+cluster://, rediss for TLS; none: one node alone",
    )
    node: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
        description="name of this node, another one on each; default: the host's name",
    )
    lease: Annotated[float, Field(ge=2, le=60)] = Field(
        default=10.0, description="a node that is silent for so long counts as gone, and others go on with its conversations"
    )
    namespace: str = Field(
        default="sidetone",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$",
        description="before every key in Redis; another one for each service that uses the same Redis",
    )

    @property
    def node_name(self) -> str:
        """What this node is called among the others."""
        return self.node or gethostname()


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
        default=(), description="bearer tokens of /api/v1 that may do everything; none here nor in api.keys: it refuses everybody"
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
    fronts: tuple[Network, ...] = Field(
        default=(), description="the front before several nodes: phones that register through it are called at their own address"
    )
    users: Mapping[str, Secret | None] = Field(
        default_factory=dict, description="who may register: user to password, null for none"
    )
    ring_timeout: Seconds = Field(default=20.0, description="how long an agent's phone rings")
    max_calls: Annotated[int, Field(ge=1)] = Field(default=1000, description="calls at one time; one more hears 503")
    country_code: str | None = Field(
        default=None, pattern=r"^[1-9][0-9]{0,2}$", description="put before callers' numbers that a trunk sends without plus"
    )
    outbound: str | None = Field(
        default=None,
        pattern=r"^sips?:[^\s]*\{number\}[^\s]*$",
        description="trunk for calls to numbers, as sip:{number}@trunk.example:5060; not given: no such calls",
    )
    outbound_user: str | None = Field(default=None, description="for a trunk that asks who we are")
    outbound_password: Secret | None = Field(default=None, description="of that user")
    may_call: tuple[Annotated[str, Field(pattern=r"^\+[1-9][0-9]*$")], ...] | None = Field(
        default=None,
        description="beginnings of the numbers that may be called, as +1555; not given: those of `country`; "
        "never emergency and premium numbers",
    )
    media_timeout: Seconds = Field(default=60.0, description="a call without any audio packet for so long is over; 0: never")


class CallbackSettings(_Section):
    """Customers who are called back instead of waiting on the line."""

    tries: Annotated[int, Field(ge=1, le=10)] = Field(default=3, description="calls to one customer until it is given up")
    retry_after: Annotated[float, Field(ge=10)] = Field(default=600.0, description="between two of them")
    expire: Annotated[float, Field(ge=60)] = Field(
        default=86_400.0, description="a callback that has not come about so long after it was due is given up"
    )


class CallSettings(_Section):
    """Calls at the desk."""

    hold_music: str = Field(default="calm", description="what callers hear while an agent lets them wait")
    transfer_ring: Seconds = Field(
        default=30.0, description="a colleague who has not taken a call by then is not waited for; 0: for ever"
    )
    max_transfers: Annotated[int, Field(ge=0)] = Field(default=5, description="of one call")
    ring: Annotated[float, Field(gt=0)] = Field(default=45.0, description="how long a number that we call rings")
    callback: CallbackSettings = CallbackSettings()


class TwilioFallbackSettings(_Section):
    """A second account or messaging service for texts that the first refuses."""

    account_sid: str = Field(description="may be the same account, with another service")
    auth_tokens: tuple[Secret, ...] = Field(min_length=1, description="as twilio.auth_tokens")
    messaging_service_sid: str | None = Field(default=None, description="sends from the pool of this service")
    when: tuple[Literal["sender", "not_allowed", "compliance", "account", "temporary"], ...] = Field(
        default=("sender", "not_allowed", "compliance", "account"), description="classes of refusal after which it is tried"
    )


class TwilioSettings(_Section):
    """One Twilio account."""

    account_sid: str = Field(description="whose webhooks are believed, and who pays")
    auth_tokens: tuple[Secret, ...] = Field(min_length=1, description="the first signs requests, all verify webhooks")
    api_base_url: Annotated[str, AfterValidator(_encrypted)] = Field(
        default="https://api.twilio.com", description="where every request goes"
    )
    timeout: Seconds = Field(default=10.0, description="for one request; after it the outcome is unknown")
    messaging_service_sid: str | None = Field(default=None, description="sends from the pool of this service")
    fallback: TwilioFallbackSettings | None = Field(default=None, description="a second account or service")


class UnassignedSettings(_Section):
    """What becomes of a text to a number of ours that nobody has been put in charge of."""

    action: Literal["ignore", "reply", "queue"] = Field(default="ignore", description="it is kept in the journal in any case")
    queue: Name | None = Field(default=None, description="with action queue: the desk")
    text: str = Field(default="", description="with action reply: the answer, once a day to each number")


class SmsSettings(_Section):
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


class ApiKeySettings(_Section):
    """One program that may use `/api/v1`."""

    name: Name = Field(description="what stands with everything it does; `admin` is the name of web.api_tokens")
    token: Token = Field(description="its bearer token, 16 characters and more")
    scopes: tuple[Scope, ...] = Field(description="what it may do")
    per_second: Annotated[float, Field(gt=0)] = Field(
        default=10.0, description="requests a second, over a burst of ten seconds' worth"
    )
    numbers: tuple[str, ...] = Field(default=(), description="numbers of ours it may send from; none: all")


class ApiSettings(_Section):
    """The API for programs."""

    keys: tuple[ApiKeySettings, ...] = ()


class HookSettings(_Section):
    """An endpoint that is told what happens, by signed POST, at least once each."""

    name: Name = Field(description="what stands in logs and in the list of dead letters")
    url: Annotated[str, AfterValidator(_encrypted)] = Field(description="https://, or on this machine")
    secret: Secret = Field(description="signs every request")
    events: tuple[str, ...] = Field(
        default=("session.*", "sms.*", "offer.*"), description="which, with * at the end for a family"
    )
    give_up_after: Seconds = Field(default=86_400.0, description="then it is a dead letter")
    timeout: Seconds = Field(default=10.0, description="for one request")


class MediaSettings(_Section):
    """Pictures, videos and documents, in and out."""

    backend: Literal["disk", "s3"] = Field(default="disk", description="disk: in the data folder")
    url: str | None = Field(default=None, description="s3: the service")
    bucket: str | None = Field(default=None, description="s3: must exist")
    region: str = Field(default="us-east-1", description="s3: region")
    access_key: Secret | None = Field(default=None, description="s3: access key")
    secret_key: Secret | None = Field(default=None, description="s3: secret key")
    max_bytes: Annotated[int, Field(gt=0)] = Field(default=20 * 1024 * 1024, description="of one file")
    keep_days: Annotated[int, Field(ge=0)] = Field(default=0, description="older files are removed; 0: never")
    link_valid: Annotated[float, Field(ge=60)] = Field(default=604_800.0, description="how long a link to a file in a text works")
    upload_valid: Annotated[float, Field(ge=60)] = Field(default=1_800.0, description="how long a link for uploading works")
    scan: tuple[str, ...] = Field(
        default=(), description="command that is given each file: status 0 clean, 1 infected, else asked again; none: not scanned"
    )


class MailAllowSettings(_Section):
    """Who may send texts by mail."""

    sender: str = Field(description="address, or @domain")
    numbers: tuple[Annotated[str, Field(pattern=r"^\+[1-9][0-9]*$")], ...] = Field(
        description="beginnings of the numbers they may text, as +1555"
    )
    per_day: Annotated[int, Field(gt=0)] = Field(default=100, description="texts a day")
    ours: E164 = Field(description="number of ours the texts come from")


class SmarthostSettings(_Section):
    """Who takes our mail."""

    host: str = Field(default="127.0.0.1", description="its name or address")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=25, description="TCP port")
    user: str | None = Field(default=None, description="to sign in there; null: without")
    password: Secret | None = Field(default=None, description="of that user")
    tls: Literal["none", "starttls", "tls"] = Field(default="none", description="none is for a smarthost on this machine")


class MailSettings(_Section):
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


class CrmWebhookSettings(_Section):
    """A program of yours that keeps the customers."""

    url: Annotated[str, AfterValidator(_encrypted)] = Field(description="https://, or on this machine")
    secret: Secret = Field(description="signs every request")
    timeout: Annotated[float, Field(gt=0, le=60)] = Field(default=5.0, description="for one request")


class CrmSettings(_Section):
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


class OfferSettings(_Section):
    """When callers of a queue are offered to text instead or meanwhile (docs/ewt.md)."""

    mode: Literal["above_threshold", "always", "never"] = "above_threshold"
    threshold: Seconds = Field(default=120.0, description="T: the wait that is worth an offer")
    probability: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.4, description="pi: offer when P(wait >= T) >= pi")
    margin: Seconds = Field(default=30.0, description="SMS must be faster than the call by so much")
    surely: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.7, description="the probability with which SMS must be faster by the margin"
    )
    sms_max: Seconds = Field(default=600.0, description="no offer when one in ten texters would wait longer than this")
    per_minute: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="callers offered a chat instead of waiting within a minute, at most"
    )
    hold_out: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0, description="share of calls that are never offered a chat instead, to measure what offering is worth"
    )
    callback: Seconds | Literal["always", "never"] = Field(
        default="always", description="the wait left that is worth offering to be called back, where the flow offers it"
    )


class ChatSettings(_Section):
    """What a queue has otherwise than `sms`."""

    expire: Seconds | None = Field(default=None, description="as sms.expire; null: the same, also below")
    chat_idle_timeout: Seconds | None = Field(default=None, description="as sms.chat_idle_timeout")
    warn_before: Seconds | None = Field(default=None, description="as sms.warn_before")
    dismiss_after: Annotated[float, Field(ge=0, le=604_800)] | None = Field(default=None, description="as sms.dismiss_after")
    reopen_window: Seconds | None = Field(default=None, description="as sms.reopen_window")
    prefer_for: Seconds | None = Field(default=None, description="as sms.prefer_for")
    transfer_ring: Seconds | None = Field(default=None, description="as sms.transfer_ring")
    max_transfers: Annotated[int, Field(ge=0)] | None = Field(default=None, description="as sms.max_transfers")


class CascadeSettings(_Section):
    """A step: from some time on more agents are asked."""

    after: Annotated[float, Field(gt=0)] = Field(description="seconds of waiting")
    teams: tuple[Name, ...] = Field(default=(), description="agents of these teams are asked from now on, and not before")
    level: Annotated[int, Field(ge=1, le=9)] | None = Field(default=None, description="this level is enough of any skill")


class RedirectSettings(_Section):
    """Who is not answered moves to another queue, at the same place; never while it rings or to where nobody works."""

    to: Name = Field(description="a queue of the same channel")
    rings: Annotated[int, Field(ge=0)] = Field(default=0, description="after so many offers rang out or were declined; 0: never")
    after: Annotated[float, Field(gt=0)] | None = Field(default=None, description="after so many seconds; not given: never")


class TargetSettings(_Section):
    """What reports measure against. What is not given is taken from the queue's parent, in the end from the general target."""

    answer_within: Seconds | None = Field(default=None, description="waiting that counts as in time")
    share: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, description="part of customers answered in time")
    short_abandon: Seconds | None = Field(default=None, description="who hangs up sooner is not counted as lost")
    concurrency: Annotated[float, Field(gt=0)] | None = Field(default=None, description="chats at once per agent, on average")


class DeskSettings(_Section):
    """The agents' desk."""

    slow: Seconds = Field(default=60.0, description="a customer who has waited so long for an answer by text stands out")
    late: Seconds = Field(default=180.0, description="and stands out more")


class RoutingSettings(_Section):
    """What holds for all queues."""

    ageing: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="seconds of waiting that outweigh one step of priority; not given: the urgent always go first"
    )


class QueueSettings(_Section):
    """One line of waiting customers."""

    id: Name = Field(description="how flows, numbers and agents name it")
    hours: Name | None = Field(default=None, description="sms: opening hours, for what customers are told")
    capacity: Annotated[int, Field(ge=0)] = Field(default=0, description="sms: more waiting than this is told; 0: no limit")
    chat: ChatSettings = ChatSettings()
    transfers: bool = Field(default=True, description="sms: agents may hand chats to this queue")
    numbers: tuple[E164, ...] = Field(
        default=(), description="sms: numbers its agents may write from; none: those with this desk"
    )
    channel: Literal["voice", "sms"] = "voice"
    title: str = Field(default="", description="what agents read")
    desk: Name | None = Field(default=None, description="voice: the SMS queue that takes its deflected callers")
    ring_timeout: Annotated[float, Field(ge=1)] = Field(default=20.0, description="how long work rings at one desk")
    wrap_up: Seconds = Field(default=30.0, description="time for the note after each piece of work; 0: none")
    wrap_up_requires: tuple[Literal["note", "disposition"], ...] = Field(
        default=(), description="what an agent has to write before the work is finished"
    )
    teams: tuple[Name, ...] = Field(default=(), description="teams that work on it, beside the agents who name it")
    strategy: Literal["longest_idle", "fewest_active", "in_order", "ring_all"] = Field(
        default="longest_idle", description="who of several is asked; ring_all: everybody, the first to accept has it"
    )
    skills: tuple[str, ...] = Field(default=(), description="asked of every agent: `billing`, or `billing>=4`")
    best_first: bool = Field(default=False, description="who is best at the skills asked for comes first")
    cascade: tuple[CascadeSettings, ...] = ()
    redirect: RedirectSettings | None = None
    decline_hold: Seconds = Field(default=60.0, description="before work is offered again to who declined it or let it ring")
    missed_after: Annotated[int, Field(ge=0)] = Field(
        default=1, description="so many offers in a row that ring out make an agent not ready; 0: never"
    )
    auto_answer: bool = Field(default=False, description="work is assigned without ringing")
    parent: Name | None = Field(default=None, description="queue whose target holds where this one's says nothing")
    target: TargetSettings = TargetSettings()
    aht: Seconds | None = Field(default=None, description="first guess of the average handling time; guess low")
    offers: OfferSettings = OfferSettings()


class SenderSettings(_Section):
    """What a number is to the carriers: facts of its registration, and the limits they bring."""

    kind: Literal["long_code", "toll_free", "short_code", "alphanumeric"] = Field(
        default="long_code", description="class of sender"
    )
    brand: str | None = Field(default=None, description="10DLC: registered brand")
    campaign: str | None = Field(default=None, description="10DLC: registered campaign")
    registered: bool = Field(default=True, description="false: carriers in the US refuse its texts, so none are sent there")
    per_second: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="segments a second; not given: 1 long_code, 3 toll_free, 100 short_code"
    )
    per_day: Annotated[int, Field(gt=0)] | None = Field(default=None, description="segments a day, for the whole brand")


class NumberSettings(_Section):
    """One number of ours. It may carry calls, in-call texts and chats at once."""

    number: Annotated[str, Field(pattern=r"^(\+[1-9][0-9]{6,14}|[0-9]{3,8})$")] = Field(
        description="E.164, as +15550100200, or a short code"
    )
    menu: Name | None = Field(default=None, description="the text menu that texts to it meet")
    agent: Name | None = Field(default=None, description="a direct number: texts to it are for this agent")
    language: str | None = Field(default=None, description="of who texts it first; not given: the menu's or flow's")
    sender: SenderSettings = SenderSettings()
    flow: Name | None = Field(default=None, description="what calls to it meet")
    desk: Name | None = Field(default=None, description="the SMS queue that texts to it go to")


class AgentSettings(_Section):
    """Somebody who signs in: an agent, or who looks after agents, flows or the house."""

    id: Name = Field(description="what they sign in with")
    roles: tuple[Literal["agent", "supervisor", "engineer", "admin"], ...] = Field(
        default=("agent",), description="what they may do; without agent no work is offered"
    )
    name: str = Field(description="what customers and colleagues read")
    password_hash: Secret | None = Field(default=None, description="argon2id, made by `sidetone password`")
    queues: tuple[Name, ...] = Field(default=(), description="whose work is offered, beside that of the agent's teams")
    teams: tuple[Name, ...] = Field(default=(), description="what queues and cascades name")
    skills: tuple[Skill, ...] = Field(
        default=(), description="what flows may ask for: `lang:fr`, `billing`, `billing=7` with a level from 1 to 9 (without: 5)"
    )
    max_chats: Annotated[int, Field(ge=0, le=50)] = Field(default=3, description="chats at once")
    chats_during_call: Annotated[int, Field(ge=0, le=50)] = Field(
        default=0, description="during a call a chat is offered only while fewer are open"
    )
    max_chats_for_call: Annotated[int, Field(ge=0, le=50)] | None = Field(
        default=None, description="a call is offered only with at most so many chats open; not given: with any number"
    )
    auto_answer: bool = Field(default=False, description="work is assigned without ringing")
    phone: str | None = Field(default=None, description="sip: URI, registered user, or loopback:NAME")
    mail: str | None = Field(default=None, description="address for notices of texts, which can be answered from there")
    mail_when: Literal["away", "always", "never"] = Field(default="away", description="away: while no desk is open")


class PresetSettings(_Section):
    """A text that agents have ready, beside those of the flows."""

    id: Name = Field(description="how records name it; one of a flow with the same id gives way")
    title: Mapping[str, str] = Field(min_length=1, description="what agents read, by language, as {en: Your parcel}")
    text: Mapping[str, str] = Field(min_length=1, description="what the customer gets, by language; English where one is missing")


class AuditSettings(_Section):
    """The book of who changed what."""

    keep_days: Annotated[int, Field(ge=1)] = Field(default=400, description="older entries are removed")


class PriceSettings(_Section):
    """What a segment of a text costs, for reports."""

    direction: Literal["in", "out"] = Field(description="to us, or from us")
    kind: Literal["sms", "mms"] = Field(default="sms", description="mms: with a picture, counted as its provider counts segments")
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = Field(
        default=None, description="ISO country of the customer's number; not given: every country without a price of its own"
    )
    price: Annotated[float, Field(ge=0)] = Field(description="of one segment, in reports.currency")


class ReportMailSettings(_Section):
    """A report that comes by mail when its time is over."""

    name: Name = Field(description="tells one from another; a mail that is renamed begins anew")
    report: Literal["overview", "queues", "agents", "messages", "offers", "waits", "agreements"] = Field(description="which")
    every: Literal["day", "week", "month"] = Field(description="of the day, week or month that has just ended")
    at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = Field(default="07:00", description="local time")
    to: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = Field(min_length=1, description="addresses")
    zone: Zone | None = Field(default=None, description="IANA time zone; not given: reports.zone")


class ReportsSettings(_Section):
    """Reports (docs/reports.md)."""

    zone: Zone | None = Field(default=None, description="IANA time zone of days and hours; not given: that of the first of hours")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(default="USD", description="of the prices")
    prices: tuple[PriceSettings, ...] = Field(default=(), description="what texts cost; not given: nothing")
    mail: tuple[ReportMailSettings, ...] = Field(default=(), description="reports that come by mail; needs mail.smarthost")


class AlertSettings(_Section):
    """Says when a figure is not as it should be (docs/supervisor.md)."""

    name: str = Field(description="what people read")
    on: Literal["queue", "agent", "service"] = Field(
        description="what is measured: each queue, each agent, or everything together"
    )
    measure: str = Field(
        description="of a queue: waiting, longest_wait, service_level, ewt_p90, abandoned, agents_ready, open_slots; of an "
        "agent: state_for, missed, unanswered; of everything: texts_failed, calls, sessions, waiting, dead_letters, calibration"
    )
    above: float | None = Field(default=None, description="it is raised while the figure is greater")
    below: float | None = Field(default=None, description="it is raised while the figure is smaller")
    lasting: Seconds = Field(default=60.0, description="it must be so for so long, and well inside for as long until it is over")
    window: Annotated[float, Field(ge=60, le=14_400)] = Field(
        default=900.0, description="seconds over which counts and the service level are taken"
    )
    of: tuple[str, ...] = Field(default=(), description="queues or agents; none: all")
    to: tuple[Literal["board", "mail", "hook"], ...] = Field(default=("board",), description="who is told, once each time")
    mail: tuple[str, ...] = Field(default=(), description="addresses")

    @property
    def rule(self) -> Rule:
        """The same for `bridge.alerts`.

        Raises:
            ValueError: It means nothing.
        """
        return Rule(**self.model_dump())

    @model_validator(mode="after")
    def _means_something(self) -> "AlertSettings":
        _ = self.rule
        if ("mail" in self.to) != bool(self.mail):
            raise ValueError("to: mail and the addresses in mail belong together")
        return self


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
    secret: OwnSecret | None = Field(
        default=None,
        description="32 characters or more that sign links and addresses of mails, the same on every node; "
        "not given: the file `secret` in the data folder, made at the first start",
    )
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
    cluster: ClusterSettings = ClusterSettings()
    web: WebSettings = WebSettings()
    sip: SipSettings = SipSettings()
    calls: CallSettings = CallSettings()
    sms: SmsSettings = SmsSettings()
    twilio: TwilioSettings | None = None
    api: ApiSettings = ApiSettings()
    hooks: tuple[HookSettings, ...] = ()
    media: MediaSettings = MediaSettings()
    mail: MailSettings | None = None
    crm: CrmSettings = CrmSettings()
    numbers: tuple[NumberSettings, ...] = ()
    queues: tuple[QueueSettings, ...] = ()
    agents: tuple[AgentSettings, ...] = ()
    routing: RoutingSettings = RoutingSettings()
    desk: DeskSettings = DeskSettings()
    target: TargetSettings = TargetSettings(answer_within=20.0, share=0.8, short_abandon=5.0)
    hours: Mapping[Name, HoursSettings] = Field(default_factory=dict)
    presets: tuple[PresetSettings, ...] = ()
    alerts: tuple[AlertSettings, ...] = ()
    audit: AuditSettings = AuditSettings()
    reports: ReportsSettings = ReportsSettings()

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
    def _teams_work_on_queues(self) -> "Settings":
        """An agent's queues are their own and those of their teams, for everybody who asks."""
        agents = []
        for agent in self.agents:
            by_team = [queue.id for queue in self.queues if not set(queue.teams).isdisjoint(agent.teams)]
            agents.append(agent.model_copy(update={"queues": tuple(dict.fromkeys((*agent.queues, *by_team)))}))
        object.__setattr__(self, "agents", tuple(agents))  # before anybody has seen it
        return self

    @model_validator(mode="after")
    def _names_resolve(self) -> "Settings":
        problems = []
        queues = {queue.id: queue for queue in self.queues}
        for kind, names in (
            ("number", [n.number for n in self.numbers]),
            ("queue", [q.id for q in self.queues]),
            ("agent", [a.id for a in self.agents]),
            ("API key", [*(["admin"] if self.web.api_tokens else []), *(k.name for k in self.api.keys)]),
            ("hook", [h.name for h in self.hooks]),
            ("preset", [p.id for p in self.presets]),
            ("alert", [a.name for a in self.alerts]),
        ):
            problems += [f"{kind} {name} stands twice" for name in sorted({n for n in names if names.count(n) > 1})]
        desks = [(f"number {n.number}", n.desk) for n in self.numbers] + [(f"queue {q.id}", q.desk) for q in self.queues]
        for owner, desk in desks:
            if desk is not None and (desk not in queues or queues[desk].channel != "sms"):
                problems.append(f"{owner}: desk {desk!r} is not a queue of channel sms")
        for agent in self.agents:
            problems += [f"agent {agent.id}: there is no queue {queue!r}" for queue in agent.queues if queue not in queues]
        problems += self._alert_names_resolve(queues)
        problems += self._routing_names_resolve(queues)
        problems += self._text_names_resolve(queues)
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

    @model_validator(mode="after")
    def _nodes_share_a_journal(self) -> "Settings":
        if self.cluster.url is not None and not self.journal.url.startswith("postgresql"):
            raise ValueError("cluster.url: nodes share one journal, and this one is a file: set journal.url to postgresql://...")
        return self

    def _alert_names_resolve(self, queues: Collection[str]) -> list[str]:
        problems = []
        for alert in self.alerts:
            known = {"queue": set(queues), "agent": {agent.id for agent in self.agents}, "service": set[str]()}[alert.on]
            problems += [f"alert {alert.name}: there is no {alert.on} {name!r}" for name in sorted(set(alert.of) - known)]
            if "mail" in alert.to and (self.mail is None or self.mail.smarthost is None):
                problems.append(f"alert {alert.name}: mail needs mail.smarthost")
        return problems

    def _routing_names_resolve(self, queues: Mapping[str, QueueSettings]) -> list[str]:
        problems = []
        teams = {team for agent in self.agents for team in agent.teams}
        for queue in self.queues:
            named = {*queue.teams, *(team for step in queue.cascade for team in step.teams)}
            problems += [f"queue {queue.id}: no agent is in team {team!r}" for team in sorted(named - teams)]
            to = queue.redirect.to if queue.redirect is not None else None
            if to is not None and (to == queue.id or to not in queues or queues[to].channel != queue.channel):
                problems.append(f"queue {queue.id}: redirect.to {to!r} is no other queue of channel {queue.channel}")
            if queue.redirect is not None and queue.redirect.rings == 0 and queue.redirect.after is None:
                problems.append(f"queue {queue.id}: redirect says neither after how many rings nor after what time")
            if any(not step.teams and step.level is None for step in queue.cascade):
                problems.append(f"queue {queue.id}: a step of cascade names neither teams nor a level")
            above: list[str | None] = [queue.parent]
            while above[-1] is not None and above[-1] in queues and above[-1] not in above[:-1]:
                above.append(queues[above[-1]].parent)
            if queue.id in above:
                problems.append(f"queue {queue.id}: it is its own parent")
            if queue.parent is not None and queue.parent not in queues:
                problems.append(f"queue {queue.id}: there is no queue {queue.parent!r} to be its parent")
        return problems

    def _text_names_resolve(self, queues: Mapping[str, QueueSettings]) -> list[str]:
        problems = []
        agents = {agent.id: agent for agent in self.agents}
        numbers = {number.number for number in self.numbers}
        direct = [number.agent for number in self.numbers if number.agent is not None]
        for number in self.numbers:
            if number.agent is not None and number.agent not in agents:
                problems.append(f"number {number.number}: there is no agent {number.agent!r}")
            elif number.agent is not None and self.chat_queue_of(agents[number.agent]) is None:
                problems.append(f"number {number.number}: agent {number.agent!r} has no queue of channel sms")
        problems += [
            f"agent {agent}: more than {MOST_DIRECT_NUMBERS} direct numbers"
            for agent in sorted(set(direct))
            if direct.count(agent) > MOST_DIRECT_NUMBERS
        ]
        for queue in queues.values():
            problems += [f"queue {queue.id}: {n} is none of numbers" for n in queue.numbers if n not in numbers]
            if queue.hours is not None and queue.hours not in self.hours:
                problems.append(f"queue {queue.id}: there are no hours {queue.hours!r}")
        if self.sms.unassigned.action == "queue" and self.sms.unassigned.queue not in queues:
            problems.append("sms.unassigned: action queue needs a queue that exists")
        if self.mail is not None:
            problems += self._mail_problems(self.mail, numbers)
        if self.media.backend == "s3" and None in {
            self.media.url,
            self.media.bucket,
            self.media.access_key,
            self.media.secret_key,
        }:
            problems.append("media: backend s3 needs url, bucket, access_key and secret_key")
        return problems

    @staticmethod
    def _mail_problems(mail: MailSettings, numbers: Collection[str]) -> list[str]:
        problems = [f"mail.allow: {rule.ours} is none of numbers" for rule in mail.allow if rule.ours not in numbers]
        if (mail.certificate is None) != (mail.key is None) or (mail.users and mail.certificate is None):
            problems.append("mail: users sign in by STARTTLS, which needs certificate and key")
        host = mail.smarthost
        if host is not None and host.password is not None and host.tls == "none" and not is_loopback(host.host):
            problems.append("mail.smarthost: a password must not travel unencrypted; set tls")
        return problems

    def chat_queue_of(self, agent: AgentSettings) -> str | None:
        """The first queue for texts that an agent works on."""
        texts = {queue.id for queue in self.queues if queue.channel == "sms"}
        return next((queue for queue in agent.queues if queue in texts), None)

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


class Problem(NamedTuple):
    """What is wrong with a document, and where."""

    line: int
    """From 1; also `column`."""
    column: int
    key: str
    """As `queues.0.ring_timeout`; empty for the whole."""
    what: str

    def at(self, document: object) -> str:
        """In one line, beginning with where *document* is, as compilers write it."""
        return f"{document}:{self.line}:{self.column}: {self.key + ': ' if self.key else ''}{self.what}"


class DocumentError(Exception):
    """A document of settings cannot be used.

    Args:
        problems: All of them.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(problem.at("settings") for problem in problems))
        self.problems = tuple(problems)


def load_settings(path: Path) -> Settings:
    """Read *path* (YAML 1.2) and the environment.

    Raises:
        SettingsError: With every problem, its line and what is allowed there.
    """
    try:
        document = read_document(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: no YAML in UTF-8 without control characters") from error
    except DocumentError as error:
        raise SettingsError("\n".join(problem.at(path) for problem in error.problems)) from error
    try:
        return Settings(**document)
    except UnreadableEnvironmentError as error:
        raise SettingsError(f"environment: {error}") from error
    except ValidationError as error:
        raise SettingsError("\n".join(problem.at(path) for problem in explain(document, error))) from error


def read_document(text: str) -> Any:
    """A YAML table that knows its lines and comments; an empty text is an empty table.

    Raises:
        DocumentError: It is none.
    """
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    try:
        document = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise DocumentError([Problem(line, column, "", str(error.problem))]) from error
    except YAMLError as error:
        raise DocumentError([Problem(1, 1, "", "no YAML in UTF-8 without control characters")]) from error
    if document is None:
        return CommentedMap()
    if not isinstance(document, Mapping):
        raise DocumentError([Problem(1, 1, "", "the file must be a table of sections")])
    return document


_NAMED = re.compile(r"(queue|agent|number) ([^\s:]+)")
"""How what `Settings` says of the whole begins when it is about one entry."""
_LISTS = {"queue": ("queues", "id"), "agent": ("agents", "id"), "number": ("numbers", "number")}


def explain(document: Any, error: ValidationError) -> list[Problem]:
    """Everything that is wrong with *document*, at its line and column."""
    found = []
    for problem in error.errors():
        what = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            what = "there is no such setting; check its spelling and its section"
        keys = problem["loc"]
        if keys:
            found.append(Problem(*_place_of(document, keys), ".".join(str(key) for key in keys), what))
            continue
        for part in what.split("; "):  # what is wrong between sections; the entry it begins with is where to look
            keys = _entry_of(document, part)
            found.append(Problem(*_place_of(document, keys), "", part))
    return found


def _entry_of(document: Any, what: str) -> tuple[str | int, ...]:
    named = _NAMED.match(what)
    if named is None:
        return ()
    section, key = _LISTS[named[1]]
    entries = document.get(section)
    for number, entry in enumerate(entries if isinstance(entries, Sequence) else ()):
        if isinstance(entry, Mapping) and str(entry.get(key)) == named[2]:
            return section, number, key
    return ()


def _place_of(document: Any, keys: Sequence[str | int]) -> tuple[int, int]:
    """Line and column of what stands under *keys*, as far as they lead."""
    node: Any = document
    line, column = 1, 1
    for key in keys:
        try:
            where: Any = node.lc
            row, col = where.value(key) if isinstance(node, Mapping) else where.item(key)
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
        line, column = row + 1, col + 1
    return line, column
