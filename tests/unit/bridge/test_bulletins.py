"""Messages to agents stay until they are read, and no longer than they are of use."""

import msgspec

from bridge.bulletins import LIVES, MOST, Bulletin, Bulletins, Scope
from bridge.events import AgentId

ANN, BEN, SUE = AgentId("ann"), AgentId("ben"), AgentId("sue")
TEAMS = {ANN: ("day",), BEN: ("night",)}


def bulletin(name: str, scope: Scope = "everybody", to: str = "", *, at: float = 0.0, pinned: bool = False) -> Bulletin:
    return Bulletin(
        id=name, at=at, by=SUE, by_name="Sue", scope=scope, to=to, words=f"Words of {name}", until=at + LIVES, pinned=pinned
    )


def shown(board: Bulletins, agent: AgentId, now: float = 10.0) -> list[str]:
    return [each.id for each in board.at_desk(agent, TEAMS[agent], now)]


def test_each_is_shown_what_is_for_them() -> None:
    """One agent's, one team's and everybody's messages, the newest first and the pinned before all."""
    board = Bulletins()
    for each in (
        bulletin("pinned", pinned=True),
        bulletin("all", at=1.0),
        bulletin("day", "team", "day", at=2.0),
        bulletin("ben", "agent", "ben", at=3.0),
    ):
        board.post(each)
    assert shown(board, ANN) == ["pinned", "day", "all"]
    assert shown(board, BEN) == ["pinned", "ben", "all"]
    assert [each.id for each in board.all] == ["ben", "day", "all", "pinned"]


def test_what_is_read_is_gone_for_who_read_it() -> None:
    """Reading removes a message from that desk only; once; a pinned one stays, and one agent's own is forgotten."""
    board = Bulletins()
    for each in (bulletin("all"), bulletin("pinned", pinned=True), bulletin("ann", "agent", "ann")):
        board.post(each)
    assert board.read("all", ANN)
    assert not board.read("all", ANN)
    assert not board.read("pinned", ANN)
    assert not board.read("nothing", ANN)
    assert board.read("ann", ANN)
    assert shown(board, ANN) == ["pinned"]
    assert shown(board, BEN) == ["pinned", "all"]
    assert "ann" not in [each.id for each in board.all]


def test_nothing_stays_for_ever() -> None:
    """What has expired is not shown and is removed; what is taken down is gone at once; the oldest make room."""
    board = Bulletins()
    board.post(bulletin("old"))
    board.post(bulletin("new", at=100.0))
    assert shown(board, ANN, LIVES + 1) == ["new"]
    assert [each.id for each in board.expire(LIVES + 1)] == ["old"]
    assert board.take_down("new") is not None
    assert board.take_down("new") is None
    for n in range(MOST + 3):
        board.post(bulletin(str(n), at=float(n)))
    assert len(board.all) == MOST


def test_a_restart_loses_none() -> None:
    """Through JSON and back, with who has read it."""
    board = Bulletins()
    board.post(bulletin("all"))
    board.read("all", ANN)
    again = Bulletins()
    again.restore(msgspec.json.decode(msgspec.json.encode(board.save())))
    assert again.all == board.all
    assert shown(again, ANN) == []
