"""The list of work by people: whoever has several conversations with us at once is one row. Pure."""

from collections.abc import Iterable

import msgspec

from bridge.web.ports import Work


class Person(msgspec.Struct, frozen=True):
    """One customer in the list."""

    lead: Work
    """The conversation that the row opens: the one that most wants an answer."""
    others: tuple[Work, ...]
    """Further open conversations with the same customer."""

    @property
    def rows(self) -> tuple[Work, ...]:
        """All of them, the lead first."""
        return (self.lead, *self.others)

    @property
    def unread(self) -> int:
        """Texts nobody has looked at yet."""
        return sum(row.unread for row in self.rows)

    @property
    def unanswered_since(self) -> float | None:
        """Since when the customer has waited for an answer; None: they do not."""
        return min((row.unanswered_since for row in self.rows if row.unanswered_since is not None), default=None)

    @property
    def set_aside(self) -> bool:
        """Everything with them waits for the customer."""
        return all(row.set_aside_at is not None for row in self.rows)


def by_person(work: Iterable[Work]) -> tuple[Person, ...]:
    """The rows of *work* put together by customer, in the order in which each comes first. Who withheld the number is alone."""
    together: dict[str, list[Work]] = {}
    for row in work:
        together.setdefault(row.customer or f"session {row.session}", []).append(row)
    return tuple(_person(rows) for rows in together.values())


def _person(rows: list[Work]) -> Person:
    lead = min(rows, key=_urgency)
    return Person(lead, tuple(row for row in rows if row is not lead))


def _urgency(row: Work) -> tuple[bool, bool, float, bool]:
    """What comes first: a call in progress, the longest unanswered text; what was set aside comes last."""
    waited_since = row.unanswered_since
    return (
        row.set_aside_at is not None,
        row.call_state != "connected",
        float("inf") if waited_since is None else waited_since,
        not row.unread,
    )
