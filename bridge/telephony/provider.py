"""The seam between a session and whatever carries its call."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from bridge.events import CallCommand, CallEvent

CallSink = Callable[[CallEvent], Awaitable[None]]
"""Where a provider reports. The first event of a leg is `CallArrived`, the last is `CallEnded`; after it none follows."""


class CallProvider(Protocol):
    """Carries call legs. Contract suite: `tests/contract/test_call_providers.py`.

    A provider reports through the `CallSink` given to its constructor, in order for one leg. It opens its sockets in
    `__aenter__` and closes them in `__aexit__`.
    """

    name: str

    def reaches(self, number: str) -> bool:
        """Whether this provider has a way to call *number* (E.164) for us; false when it only takes calls."""

    async def perform(self, command: CallCommand) -> None:
        """Do *command*. Failure comes back as an event; a command for a leg that is gone does nothing."""

    async def drain(self) -> None:
        """Take no new calls from now on (SIP: 503 with Retry-After); calls in progress go on."""
