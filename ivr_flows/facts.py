"""What a flow may know of the world at one instant. The server fills it in; a flow never looks for itself."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct, field

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return _NOTHING


class Ewt(Struct, frozen=True):
    """An expected wait: a distribution, or the reason why there is none. Seconds; None is "not known", never zero."""

    status: Literal["ok", "free_agent", "no_agents", "degraded"]
    basis: Literal["learned", "prior", "plan"] = "learned"
    mean: float | None = None
    p10: float | None = None
    p50: float | None = None
    p75: float | None = None
    p90: float | None = None


class Desk(Struct, frozen=True):
    """Who answers a queue, by voice or by text."""

    staffed: bool
    unstaffed_since: float | None = None
    """None while staffed, or when it is not known since when."""
    waiting: int = 0
    open_slots: int = 0
    """Conversations its agents could take on at once, from now."""


class Hours(Struct, frozen=True):
    """An opening-hours table, read at one instant."""

    state: Literal["open", "closed", "holiday"]
    reopens_at: float | None = None
    """None while open, or when it never opens again."""


def _nobody(_number: str) -> str | None:
    return None


class Facts(Struct, frozen=True):
    """Everything a flow may read."""

    called: str
    """The number dialled or texted, E.164."""
    caller: str | None = None
    """E.164; None when withheld."""
    can_text: bool = False
    country: str | None = None
    """ISO 3166 code of the caller's number."""
    contact_language: str | None = None
    contact_name: str | None = None
    brand: str = ""
    ewt: Mapping[str, Ewt] = field(default_factory=_nothing)
    """Of somebody who would join that queue now."""
    desks: Mapping[str, Desk] = field(default_factory=_nothing)
    hours: Mapping[str, Hours] = field(default_factory=_nothing)
    consent: frozenset[str] = frozenset()
    """The purposes granted at present."""
    opted_out: bool = False
    position: int | None = None
    """Of this caller in line, 1 is next; None when not in line."""
    waited: float = 0.0
    """Seconds since the place in line began."""
    remaining: Ewt | None = None
    """What is left for this caller in line."""
    to_call: Callable[[str], str | None] = _nobody
    """The E.164 number that a number or keys mean to somebody who may call it; None: it is not to be called from here."""

    @property
    def can_call(self) -> bool:
        """Whether the caller can be called back."""
        return self.caller is not None and self.to_call(self.caller) is not None
