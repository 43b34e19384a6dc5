"""Sessions of agents' browsers, and the brake on guessing."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from bridge.events import AgentId
from bridge.web.console import agents
from bridge.web.console.agents import Brake, SignIns, same

ANA = AgentId("ana")


def sign_ins(lifetime: float = 100.0) -> SignIns:
    numbers = count()
    return SignIns(lifetime, lambda: f"secret-{next(numbers)}")


def test_a_cookie_stands_for_its_agent_until_it_is_old() -> None:
    """A session ends by itself."""
    kept = sign_ins()
    cookie, signed_in = kept.open(ANA, now=0.0)

    assert kept.find(cookie, now=99.0) == signed_in
    assert kept.find(cookie, now=100.0) is None


def test_a_closed_session_is_gone() -> None:
    """Signing out ends it at once; closing nothing is harmless."""
    kept = sign_ins()
    cookie, _ = kept.open(ANA, now=0.0)

    kept.close(cookie)
    kept.close(cookie)
    kept.close(None)

    assert kept.find(cookie, now=1.0) is None


def test_cookies_themselves_are_not_kept() -> None:
    """What is in memory signs nobody in."""
    kept = sign_ins()
    cookie, _ = kept.open(ANA, now=0.0)

    assert cookie not in repr(vars(kept))


def test_there_is_a_most() -> None:
    """Endless sign-ins do not fill the memory; the oldest session goes first."""
    kept = sign_ins(lifetime=1e9)
    cookies = [kept.open(ANA, now=0.0)[0] for _ in range(2)]
    kept._by_hash.update({f"{n}": kept._by_hash[next(iter(kept._by_hash))] for n in range(agents.MOST_SIGN_INS - 2)})

    kept.open(ANA, now=0.0)

    assert kept.find(cookies[0], now=1.0) is None
    assert kept.find(cookies[1], now=1.0) is not None


@given(failures=st.lists(st.floats(0, 50), max_size=20), later=st.floats(0, 50))
def test_the_brake_holds_exactly_after_the_most(failures: list[float], later: float) -> None:
    """It holds when, and only when, so many failures lie within the time."""
    brake = Brake(most=3, seconds=10.0)
    times = sorted(failures)
    for at in times:
        brake.failed("ana", now=at)
    now = (times[-1] if times else 0.0) + later

    assert brake.holds("ana", now=now) == (len([at for at in times if at > now - 10.0]) >= 3)
    assert not brake.holds("ben", now=now)


def test_the_brake_forgets() -> None:
    """Keys that failed long ago take no room."""
    brake = Brake(most=3, seconds=10.0)
    for number in range(agents.MOST_SIGN_INS + 1):
        brake.failed(str(number), now=0.0)

    brake.failed("last", now=100.0)

    assert len(brake._failures) == 1


@given(a=st.text(), b=st.text())
def test_secrets_are_compared_whole(a: str, b: str) -> None:
    """Equal means equal, for any text."""
    assert same(a, b) == (a == b)
