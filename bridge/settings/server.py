"""The server itself: what it keeps, where it listens, with whom it is one service."""

from socket import gethostname
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from bridge.settings.values import RedisUrl, Secret, Section, Token, from_file


class JournalSettings(Section):
    """Where everything is kept that must never be lost."""

    url: Annotated[str, BeforeValidator(from_file)] = Field(
        default="sqlite:///{data}/sidetone.db",
        description="SQLAlchemy URL; {data} is the data folder; with a password in it, better in a file",
    )


class ClusterSettings(Section):
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


class WebSettings(Section):
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


class MediaSettings(Section):
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


class AuditSettings(Section):
    """The book of who changed what."""

    keep_days: Annotated[int, Field(ge=1)] = Field(default=400, description="older entries are removed")
