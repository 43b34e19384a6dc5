"""An agent's own figures as the desk shows them."""

from bridge.web.console.day import figures
from bridge.web.console.words import speaking
from bridge.web.ports_reports import MyDay


def test_figures_stand_beside_the_teams() -> None:
    """Counts and times in words, with how mine is to theirs; what nothing is known of is a dash and no comparison."""
    day = MyDay(12, 0, 184.0, None, 31.0, 8.0, 2.5, 200.0, 410.0, None)
    calls, chats, aht, chat_aht, first = figures(day)
    assert (calls.mine, calls.team, calls.share) == ("12", "8", 1.5)
    assert (chats.mine, chats.team, chats.share) == ("0", "2.5", 0.0)
    assert (aht.mine, aht.team, aht.share) == ("3 min 04 s", "3 min 20 s", 0.92)
    assert (chat_aht.mine, chat_aht.share) == ("\N{EN DASH}", None)
    assert (first.team, first.share) == ("\N{EN DASH}", None)


def test_figures_are_in_the_readers_language() -> None:
    """Title and decimal sign."""
    with speaking("fr"):
        assert figures(MyDay(1, 1, None, None, None, 0, 2.5, None, None, None))[1].team == "2,5"
