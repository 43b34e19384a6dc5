"""Values that settings have: secrets, addresses, names, times."""

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr


def from_file(value: Any) -> Any:
    """What stands in the file, for `{file: PATH}`; anything else as it is."""
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


def encrypted(url: str) -> str:
    """A URL to which credentials may be sent."""
    parts = urlsplit(url)
    if not parts.netloc or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))):
        raise ValueError("credentials travel there: it must begin with https://, or lead to this machine")
    return url


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
Secret: TypeAlias = Annotated[SecretStr, BeforeValidator(from_file), AfterValidator(_filled)]
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


class Section(BaseModel):
    """A part of the file. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
