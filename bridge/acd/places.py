"""A place in line that can be carried from one leg to another."""

import base64

import msgspec

from bridge.events import QueueId

_MARK = "p1."
"""What a token begins with; another form gets another mark."""


class PlaceInLine(msgspec.Struct, frozen=True, array_like=True):
    """What of a place in line is worth keeping: a transfer, a callback, a deflection and a redial take it along.

    The place is the time the waiting began, so whoever joins with it stands where they would stand had they never left.
    """

    queue: QueueId
    since: float
    priority: int = 1
    skills: tuple[str, ...] = ()

    def token(self) -> str:
        """The place as text that is safe in a URL. It is not signed: who hands it out to customers must see to that."""
        return _MARK + base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> "PlaceInLine":
        """The place that a token stands for.

        Raises:
            ValueError: It is no token.
        """
        text = token.removeprefix(_MARK)
        if text == token:
            raise ValueError(f"{token[:80]!r} is no place in line")
        try:
            return msgspec.json.decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), type=cls)
        except (ValueError, msgspec.DecodeError) as error:
            raise ValueError(f"{token[:80]!r} is no place in line") from error
