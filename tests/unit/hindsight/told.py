"""Outcomes for tests."""

from typing import Any

import msgspec

from bridge.hindsight import Outcome

START = 1_800_000_000.0


def outcome(wait: float = 120.0, **changes: Any) -> Outcome:
    """Two minutes were forecast, from one to four."""
    whole = Outcome(
        at=START,
        session="s-1",
        queue="support",
        priority=1,
        status="ok",
        basis="learned",
        ahead=3.0,
        capacity=4,
        mean=130.0,
        p10=60.0,
        p25=90.0,
        p50=120.0,
        p75=170.0,
        p90=240.0,
        wait=wait,
        ghost=False,
    )
    return msgspec.structs.replace(whole, **changes)
