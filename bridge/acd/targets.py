"""What a queue is meant to achieve. Data for reports: nothing is routed by it."""

from collections.abc import Mapping

import msgspec


class Target(msgspec.Struct, frozen=True):
    """None means: as the parent queue, and in the end as everywhere."""

    answer_within: float | None = None
    """Seconds of waiting that count as in time."""
    share: float | None = None
    """The part of customers who should be answered in time, from 0 to 1."""
    short_abandon: float | None = None
    """Seconds; who hangs up sooner is not counted as lost."""
    concurrency: float | None = None
    """Chats that an agent should have at once, on average."""


def inherited(own: Mapping[str, Target], parents: Mapping[str, str], everywhere: Target) -> dict[str, Target]:
    """The targets of every queue: its own, else its parent's, else that of everywhere; each figure for itself.

    Args:
        own: By queue; every queue is in it.
        parents: By queue; who has no parent is not in it.
        everywhere: What holds where nothing is said.

    Raises:
        ValueError: A queue is its own ancestor.
    """
    result: dict[str, Target] = {}
    for queue in own:
        line, above = [own[queue]], queue
        while above in parents:
            above = parents[above]
            if above == queue or len(line) > len(own):
                raise ValueError(f"queue {queue} has itself above it")
            line.append(own[above])
        figures = {
            name: next((getattr(one, name) for one in (*line, everywhere) if getattr(one, name) is not None), None)
            for name in Target.__struct_fields__
        }
        result[queue] = Target(**figures)
    return result
