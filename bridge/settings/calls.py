"""Calls: SIP, the desk's part in them, callbacks."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from bridge.settings.values import Network, Seconds, Secret, Section


class SipSettings(Section):
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


class CallbackSettings(Section):
    """Customers who are called back instead of waiting on the line."""

    tries: Annotated[int, Field(ge=1, le=10)] = Field(default=3, description="calls to one customer until it is given up")
    retry_after: Annotated[float, Field(ge=10)] = Field(default=600.0, description="between two of them")
    expire: Annotated[float, Field(ge=60)] = Field(
        default=86_400.0, description="a callback that has not come about so long after it was due is given up"
    )


class CallSettings(Section):
    """Calls at the desk."""

    hold_music: str = Field(default="calm", description="what callers hear while an agent lets them wait")
    transfer_ring: Seconds = Field(
        default=30.0, description="a colleague who has not taken a call by then is not waited for; 0: for ever"
    )
    max_transfers: Annotated[int, Field(ge=0)] = Field(default=5, description="of one call")
    ring: Annotated[float, Field(gt=0)] = Field(default=45.0, description="how long a number that we call rings")
    callback: CallbackSettings = CallbackSettings()
