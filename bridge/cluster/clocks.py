"""Clocks of several machines, which have to agree."""

MOST_CLOCK_DIFFERENCE = 1.0
"""Seconds. Waits, leases and promises are counted by clocks that have to agree."""


def clock_problem(ahead: float) -> str | None:
    """What to say of a clock that is so many seconds ahead of ours; None when that is little enough."""
    if abs(ahead) <= MOST_CLOCK_DIFFERENCE:
        return None
    return f"it is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the clock here: run NTP on both machines"
