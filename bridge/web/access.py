"""Who may do what: roles, and the rights that come with them. Pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType


class Role(StrEnum):
    """What somebody is here for (`agents[].roles`)."""

    AGENT = "agent"
    SUPERVISOR = "supervisor"
    ENGINEER = "engineer"
    ADMIN = "admin"


class Right(StrEnum):
    """What a page or an action asks for."""

    WORK = "work"
    """Take work at the desk, and see what belongs to it."""
    BOARD = "board"
    """See all agents, queues and sessions."""
    MANAGE = "manage"
    """Move, take over and end others' work, and change agents' states."""
    REPORTS = "reports"
    CONTACTS = "contacts"
    """See and change everything that is kept of a customer."""
    EXPLAIN = "explain"
    """Read the decision trail of any session."""
    CALIBRATION = "calibration"
    """See how good the estimates are."""
    PEOPLE = "people"
    """Make, change and bar users."""
    SETTINGS = "settings"
    """Draft, publish and roll back settings."""
    AUDIT = "audit"


RIGHTS: Mapping[Role, frozenset[Right]] = MappingProxyType(
    {
        Role.AGENT: frozenset({Right.WORK}),
        Role.SUPERVISOR: frozenset({Right.BOARD, Right.MANAGE, Right.REPORTS, Right.CONTACTS, Right.EXPLAIN}),
        # No customer's name or number is needed to mend a flow, and no right to act on anybody's work.
        Role.ENGINEER: frozenset({Right.BOARD, Right.REPORTS, Right.EXPLAIN, Right.CALIBRATION, Right.SETTINGS}),
        # Who runs the house does not read its customers' conversations for that.
        Role.ADMIN: frozenset({Right.PEOPLE, Right.SETTINGS, Right.AUDIT, Right.REPORTS, Right.CALIBRATION}),
    }
)


def rights_of(roles: Iterable[str]) -> frozenset[Right]:
    """Everything that the *roles* together allow. A role that does not exist allows nothing."""
    return frozenset(right for role in roles if role in RIGHTS for right in RIGHTS[Role(role)])
