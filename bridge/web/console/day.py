"""An agent's own figures of the day as the desk shows them: mine, and beside it the team's. Pure."""

import msgspec

from bridge.web.console.timeline import duration
from bridge.web.console.words import gettext as _
from bridge.web.console.words import number_words
from bridge.web.ports_reports import MyDay


class Figure(msgspec.Struct, frozen=True):
    """One tile."""

    title: str
    mine: str
    team: str
    share: float | None
    """Mine as a multiple of the team's, from 0 to 2; None: one of them is not known."""


def figures(day: MyDay) -> tuple[Figure, ...]:
    """The tiles of a day. What nothing is known of is a dash."""
    return (
        _counted(_("Calls answered"), day.calls, day.team_calls),
        _counted(_("Chats answered"), day.chats, day.team_chats),
        _timed(_("Average handling of calls"), day.aht, day.team_aht),
        _timed(_("Average handling of chats"), day.chat_aht, day.team_chat_aht),
        _timed(_("First answer by text"), day.first_response, day.team_first_response),
    )


def _counted(title: str, mine: float, team: float) -> Figure:
    return Figure(title, number_words(mine), number_words(round(team, 1)), _share(mine, team))


def _timed(title: str, mine: float | None, team: float | None) -> Figure:
    return Figure(title, duration(mine) or "–", duration(team) or "–", _share(mine, team))  # noqa: RUF001  # a dash for people


def _share(mine: float | None, team: float | None) -> float | None:
    return None if mine is None or not team else min(2.0, mine / team)
