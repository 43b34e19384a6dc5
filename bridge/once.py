"""What happens once, however many nodes there are."""

from collections.abc import Callable, Coroutine
from typing import Any

from bridge.cluster.roles import Roles, Tenure


async def once(roles: Roles | None, role: str, work: Callable[[Tenure], Coroutine[Any, Any, None]]) -> None:
    """Do *work* on one node only (`Roles.hold`), until it returns or this is cancelled; None: there is no other node."""
    if roles is None:
        await work(Tenure(role, lambda: True))
    else:
        await roles.hold(role, work)
