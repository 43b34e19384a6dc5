"""What a forecast does when something happens, and that nothing that happens can hurt it."""

import json
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ewt.estimator import Estimator, QueueSpec
from ewt.forecast import Forecast


class Centre:
    """A small call centre with a clock of its own."""

    def __init__(self, agents: int = 4, *, queues: tuple[str, ...] = ("a", "b"), works: tuple[str, ...] = ("a",)) -> None:
        self.est = Estimator(QueueSpec(queue, aht_guess=200.0) for queue in queues)
        self.now, self.count = 0.0, 0
        self.agents = [f"x{n}" for n in range(agents)]
        for agent in self.agents:
            self.login(agent, works)

    def login(self, agent: str, works: tuple[str, ...] = ("a",), *, free: int = 1) -> None:
        self.est.login(self.now, agent, works, 3)
        self.est.capacity(self.now, agent, free, 0)

    def join(self, queue: str = "a", priority: int = 1, since: float | None = None) -> str:
        self.count += 1
        self.est.joined(self.now, f"c{self.count}", queue, priority, since)
        return f"c{self.count}"

    def start(self, contact: str, agent: str) -> None:
        self.est.started(self.now, contact, agent)
        self.est.capacity(self.now, agent, 0, 0)

    def occupy(self) -> list[str]:
        """Give everybody a call."""
        calls = []
        for agent in self.agents:
            calls.append(self.join())
            self.start(calls[-1], agent)
        return calls

    def next(self, call: str, agent: str, contact: str, *, after: float) -> None:
        """*after* seconds the agent ends the call and takes the contact."""
        self.now += after
        self.est.ended(self.now, call, agent)
        self.est.capacity(self.now, agent, 1, 0)
        self.start(contact, agent)

    def mean(self, queue: str = "a", priority: int = 1, extra: float = 0.0) -> float:
        mean = self.est.forecast(self.now, queue, priority, extra).mean
        assert mean is not None
        return mean

    def left(self, contact: str) -> float:
        mean = self.est.forecast_waiting(self.now, contact).mean
        assert mean is not None
        return mean


def busy(line: int = 0, agents: int = 4) -> tuple[Centre, list[str]]:
    centre = Centre(agents)
    centre.occupy()
    return centre, [centre.join() for _ in range(line)]


def steady(calls: int = 200) -> Centre:
    """One agent, 50 seconds for each call, three in line."""
    centre = Centre(1)
    (call,) = centre.occupy()
    line = [centre.join() for _ in range(3)]
    for _ in range(calls):
        contact = line.pop(0)
        centre.next(call, "x0", contact, after=50.0)
        call = contact
        line.append(centre.join())
    return centre


def test_with_a_free_agent_the_wait_is_0() -> None:
    forecast = Centre().est.forecast(0.0, "a")
    assert (forecast.status, forecast.mean, forecast.p90) == ("free_agent", 0.0, 0.0)


def test_a_forecast_changes_nothing() -> None:
    centre, (first, *_) = busy(5)
    before = json.dumps(centre.est.save())
    forecasts = [(centre.est.forecast(50.0, "a"), centre.est.forecast_waiting(50.0, first)) for _ in range(2)]
    assert forecasts[0] == forecasts[1]
    assert json.dumps(centre.est.save()) == before


def test_a_newcomer_waits_longer_than_those_in_line_and_more_with_every_one() -> None:
    centre, line = busy(6)
    left = [centre.left(contact) for contact in line]
    assert left == sorted(left)
    assert centre.mean() > left[-1]


def test_contacts_who_are_promised_count_as_if_they_stood_in_line() -> None:
    centre, _ = busy(2)
    promised = centre.mean(extra=2.0)
    assert promised > centre.mean(extra=0.5) > centre.mean()
    centre.join()
    centre.join()
    assert centre.mean() == pytest.approx(promised, rel=0.01)


def test_promised_contacts_take_the_free_agents_first() -> None:
    centre = Centre(2)
    assert centre.est.forecast(0.0, "a", extra=1.5).status == "free_agent"
    assert centre.est.forecast(0.0, "a", extra=2.0).status == "ok"


def test_while_nobody_is_taken_the_wait_grows_without_any_event() -> None:
    centre, _ = busy(4)
    before = centre.mean()
    centre.now += 300.0
    assert centre.mean() > 1.05 * before


def test_one_more_agent_shortens_the_wait_at_once_and_back() -> None:
    centre, _ = busy(6)
    before = centre.mean()
    centre.login("new", free=0)
    assert centre.mean() < before
    centre.est.logout(centre.now, "new")
    assert centre.mean() == pytest.approx(before)


def test_a_hang_up_ahead_shortens_the_wait_of_those_behind_only() -> None:
    centre, line = busy(3)
    before = [centre.left(contact) for contact in line]
    centre.est.abandoned(centre.now, line[1])
    assert centre.left(line[2]) < before[2]
    assert centre.left(line[0]) == pytest.approx(before[0], rel=0.25)


def test_the_more_urgent_are_not_delayed_by_the_others_but_delay_them() -> None:
    centre, _ = busy()
    alone = centre.mean(priority=0)
    for _ in range(8):
        centre.join(priority=1)
    assert centre.mean(priority=0) == pytest.approx(alone, rel=0.02)
    for _ in range(3):
        centre.join(priority=0)
    assert centre.mean(priority=1) > centre.mean(priority=0)


def test_those_who_keep_coming_with_more_urgency_slow_the_others() -> None:
    calm, rushed = Centre(4), Centre(4)
    for centre, priority in ((calm, 1), (rushed, 0)):
        calls = centre.occupy()
        for n in range(40):
            contact = centre.join(priority=priority)
            centre.next(calls[n % 4], f"x{n % 4}", contact, after=20.0)
            calls[n % 4] = contact
    assert rushed.mean(priority=1) > calm.mean(priority=1)


def test_who_brings_waiting_time_along_goes_before_those_who_came_meanwhile() -> None:
    centre, (first, second) = busy(2)
    centre.now += 60.0
    returned = centre.join(since=-10.0)
    assert centre.left(returned) < centre.left(first) < centre.left(second)


def test_a_line_that_shares_agents_delays_the_other() -> None:
    centre = Centre(4, works=("a", "b"))
    centre.occupy()
    waiting = centre.join()
    before, before_waiting = centre.mean(), centre.left(waiting)
    centre.now += 1.0
    later = [centre.join("b") for _ in range(8)]
    assert centre.mean() > before
    assert centre.left(waiting) == pytest.approx(before_waiting, rel=0.05), "those who came later do not delay"
    for contact in later:
        centre.est.abandoned(centre.now, contact)
    centre.est.logout(centre.now, "x0")


def test_a_queue_of_the_other_channel_does_not_compete() -> None:
    est = Estimator([QueueSpec("calls"), QueueSpec("texts", "sms")])
    est.login(0.0, "x", ("calls", "texts"), 2)
    before = est.forecast(0.0, "calls").mean
    for n in range(5):
        est.joined(0.0, f"t{n}", "texts", 1)
    assert est.forecast(0.0, "calls").mean == before
    assert (est.forecast(0.0, "calls").capacity, est.forecast(0.0, "texts").capacity) == (1, 2)


def test_without_agents_it_says_so_and_the_outage_counts() -> None:
    centre, line = busy(3)
    before = centre.mean()
    centre.now += 1000.0
    for agent in centre.agents:
        centre.est.logout(centre.now, agent)
    forecast = centre.est.forecast(centre.now, "a")
    assert forecast.status == centre.est.forecast_waiting(centre.now, line[0]).status == "no_agents"
    assert forecast.mean is not None
    assert forecast.mean > before + 200
    assert centre.est.forecast(centre.now + 1000.0, "a").mean > forecast.mean  # type: ignore[operator]
    assert forecast.band().silence == "no_agents"
    centre.login("y", free=0)
    assert centre.est.forecast(centre.now, "a").status == "ok"


def test_a_queue_that_never_had_agents_has_none() -> None:
    assert Estimator([QueueSpec("a")]).forecast(1e9, "a").status == "no_agents"


def test_it_learns_a_steady_drain() -> None:
    forecast = steady().est.forecast(10_000.0, "a")
    assert forecast.mean is not None
    assert 110 < forecast.mean < 260
    assert (forecast.basis, forecast.ahead, forecast.capacity) == ("learned", 3, 1)
    assert forecast.outcomes > 100


def test_until_six_queued_contacts_were_taken_it_rests_on_guesses() -> None:
    assert steady(5).est.forecast(250.0, "a").basis == "prior"
    assert steady(6).est.forecast(300.0, "a").basis == "learned"


def test_with_a_plan_the_break_is_in_the_forecast() -> None:
    centre = steady()
    before = centre.mean()
    centre.est.plan("a", [(centre.now + 30.0, 0), (centre.now + 900.0, 1)])
    assert centre.est.forecast(centre.now, "a").basis == "plan"
    assert centre.mean() > before + 400
    centre.est.logout(centre.now + 40.0, "x0")
    assert centre.est.forecast(centre.now + 40.0, "a").status == "no_agents"
    centre.est.plan("nowhere", [])


def test_one_who_hung_up_teaches_when_their_turn_would_have_come() -> None:
    centre, (gone, waiting) = busy(2, agents=1)
    centre.now = 10.0
    centre.est.abandoned(10.0, gone)
    centre.next("c1", "x0", waiting, after=90.0)
    assert centre.est.forecast(100.0, "a").outcomes == 2


def test_one_who_hung_up_teaches_when_an_agent_has_nobody_else() -> None:
    centre, (gone,) = busy(1, agents=1)
    centre.est.abandoned(10.0, gone)
    centre.est.ended(60.0, "c1", "x0")
    centre.est.capacity(60.0, "x0", 1, 0)
    assert centre.est.forecast(60.0, "a").outcomes == 1


def test_of_those_who_hung_up_only_the_ones_before_are_passed_by_one_who_is_taken() -> None:
    centre, (before, taken, after) = busy(3, agents=1)
    less_urgent = centre.join(priority=2)
    more_urgent = centre.join(priority=0)
    for contact in (before, after, less_urgent, more_urgent):
        centre.est.abandoned(10.0, contact)
    centre.next("c1", "x0", taken, after=50.0)
    assert [centre.est.forecast(50.0, "a", priority).outcomes for priority in (0, 1, 2)] == [1, 2, 0]


def test_one_who_hung_up_long_ago_or_was_sent_away_teaches_nothing() -> None:
    centre, (gone, sent_away) = busy(2, agents=1)
    centre.est.abandoned(10.0, gone)
    centre.est.abandoned(10.0, sent_away, ghost=False)
    centre.est.joined(8000.0, "late", "a", 1)
    centre.est.abandoned(8000.0, "late")
    centre.est.ended(8001.0, "c1", "x0")
    centre.est.capacity(8001.0, "x0", 1, 0)
    assert centre.est.forecast(8001.0, "a").outcomes == 1, "only the late one"


def test_a_ghost_that_outlived_its_life_is_dropped_when_its_turn_comes() -> None:
    centre, (gone,) = busy(1, agents=1)
    centre.est.abandoned(10.0, gone)
    centre.est.ended(9000.0, "c1", "x0")
    centre.est.capacity(9000.0, "x0", 1, 0)
    assert centre.est.forecast(9000.0, "a").outcomes == 0


def test_who_is_connected_at_once_teaches_nothing_however_long_it_rang() -> None:
    centre = Centre(1)
    contact = centre.join()
    centre.est.capacity(0.0, "x0", 0, 0)
    centre.now = 15.0
    centre.start(contact, "x0")
    assert centre.est.forecast(15.0, "a").outcomes == 0


def test_a_restored_chat_counts_as_served_and_not_as_a_wait() -> None:
    est = Estimator([QueueSpec("texts", "sms")])
    est.started(5.0, "old", "x", "texts")
    est.started(5.0, "old", "x", "texts")
    est.started(5.0, "stranger", "x")
    est.abandoned(6.0, "old")
    est.ended(10.0, "old", "x")
    assert est.forecast(10.0, "texts").outcomes == 0


def test_what_is_unknown_or_told_twice_changes_nothing() -> None:
    centre, (first, *_) = busy(2)
    before = centre.est.forecast(0.0, "a")
    centre.est.joined(0.0, first, "a", 1)
    centre.est.joined(0.0, "n", "nowhere", 1)
    centre.est.started(0.0, "nobody", "x0")
    centre.est.started(0.0, "c1", "x0")
    centre.est.abandoned(0.0, "nobody")
    centre.est.abandoned(0.0, "c1")
    centre.est.ended(0.0, "nobody", "x0")
    centre.est.ended(0.0, first, "x0")
    centre.est.logout(0.0, "nobody")
    centre.est.capacity(0.0, "nobody", 1, 1)
    centre.login("x0", free=0)
    assert centre.est.forecast(0.0, "a") == before


def test_of_an_unknown_queue_or_contact_nothing_is_known() -> None:
    centre, _ = busy(1)
    assert centre.est.forecast(0.0, "nowhere") == Forecast("degraded", "prior")
    assert centre.est.forecast_waiting(0.0, "nobody") == centre.est.forecast_waiting(0.0, "c1") == Forecast("degraded", "prior")


def test_adding_a_queue_again_keeps_what_it_learned() -> None:
    centre = steady()
    centre.est.add_queue(QueueSpec("a", aht_guess=99.0))
    assert centre.est.forecast(centre.now, "a").basis == "learned"


def test_after_a_restart_the_saved_state_gives_the_same_numbers() -> None:
    centre = steady()
    saved: dict[str, Any] = json.loads(json.dumps(centre.est.save()))
    fresh = Centre(0)
    fresh.est.restore(saved, centre.now)
    fresh.now = centre.now
    fresh.login("x0", free=0)
    for _ in range(3):
        fresh.join()
    assert fresh.mean() == pytest.approx(centre.mean(), abs=1.0)


def test_state_saved_long_ago_gives_way_sooner() -> None:
    saved = steady().est.save()
    young, old = Centre(0), Centre(0)
    for centre, later in ((young, 10.0), (old, 90_000.0)):
        centre.now = saved["at"] + later
        centre.est.restore(saved, centre.now)
        centre.login("x0", free=0)
        centre.join()
        assert centre.mean() == pytest.approx(100.0, rel=0.4)
        centre.now += 600.0
    assert old.mean() > young.mean()


def test_what_is_saved_counts_until_the_last_observation_in_whichever_queue() -> None:
    """Nothing was told of the one queue for twenty minutes; then somebody came to another."""
    before, _ = busy(6)
    before.now += 1200.0
    before.join("b")
    after = Centre(0)
    after.est.restore(json.loads(json.dumps(before.est.save())), before.now)
    after.est.resync(before.now, before.est.snapshot())
    after.now = before.now
    assert after.mean() == pytest.approx(before.mean())


def test_staff_that_is_usual_is_so_after_a_restart_and_the_time_in_between_does_not_count() -> None:
    centre = settled(8)
    saved = json.loads(json.dumps(centre.est.save()))
    for later in (0.0, 5000.0):
        fresh = Centre(0)
        fresh.now = centre.now + later
        fresh.est.restore(saved, fresh.now)
        fresh.login("x0", free=0)
        assert fresh.est._queues["a"].enough(fresh.now) == pytest.approx(0.9 * 8)


def test_chats_that_hold_up_calls_are_usual_after_a_restart_too() -> None:
    est = blended()
    est.ended(1000.0, "call0", "x0")
    est.started(1000.0, "chat", "x0", "texts")
    est.capacity(5000.0, "x0", 0, 1)
    usual = est._queues["calls"].share(5000.0)
    assert usual < 0.9
    other = Estimator([QueueSpec("calls", aht_guess=200.0), QueueSpec("texts", "sms")])
    other.restore(json.loads(json.dumps(est.save())), 6000.0)
    for _ in range(2):
        other.resync(6000.0, est.snapshot())
        assert other._queues["calls"].share(6000.0) == pytest.approx(usual)


def test_what_was_learned_does_not_grow_old_by_being_saved_while_nothing_happens() -> None:
    saved = steady().est.save()
    idle = Centre(0)
    idle.est.restore(saved, saved["at"] + 10.0)
    assert idle.est.save() == saved


def test_of_a_clock_that_was_set_back_far_the_time_counts_from_now() -> None:
    centre = Centre(0)
    centre.est.restore(steady().est.save(), 0.0)
    centre.login("x0", free=0)
    centre.join()
    before = centre.mean()
    centre.now = 600.0
    assert centre.mean() > 1.05 * before
    assert centre.est.save()["at"] == 0.0


def test_state_of_a_queue_that_is_gone_is_left_out_and_of_another_version_refused() -> None:
    saved = steady(3).est.save()
    Estimator([QueueSpec("other")]).restore(saved, 0.0)
    with pytest.raises(ValueError, match="version 7"):
        Estimator().restore({**saved, "version": 7}, 0.0)


def test_seven_hundred_random_calls_are_forecast_within_their_band_four_times_out_of_five() -> None:
    """Five agents, lognormal calls, callers who hang up: the p10-p90 interval of those who queued."""
    rng = random.Random(11)
    centre = Centre(5)
    free, hands, line = list(centre.agents), dict[str, tuple[float, str]](), list[tuple[str, float, Forecast]]()
    inside = total = 0
    arrival = 0.0

    def take(contact: str, agent: str) -> None:
        centre.start(contact, agent)
        hands[agent] = (centre.now + rng.lognormvariate(5.1, 0.8), contact)

    for _ in range(1500):
        arrival += rng.expovariate(1 / 46)
        while hands and min(hands.values())[0] <= arrival:
            agent = min(hands, key=lambda who: hands[who][0])
            centre.now, contact = hands.pop(agent)
            centre.est.ended(centre.now, contact, agent)
            centre.est.capacity(centre.now, agent, 1, 0)
            if line:
                waiting, since, promised = line.pop(0)
                take(waiting, agent)
                quantiles = promised.quantiles
                assert quantiles is not None
                total += 1
                inside += quantiles[0] <= centre.now - since <= quantiles[-1]
            else:
                free.append(agent)
        centre.now = arrival
        promised = centre.est.forecast(arrival, "a")
        contact = centre.join()
        if free:
            take(contact, free.pop(0))
        else:
            line.append((contact, arrival, promised))
    assert total > 500
    assert 0.7 < inside / total < 0.9


def tell(est: Estimator, now: float, what: str, n: int, queue: str, priority: int) -> None:
    calls = {
        "login": lambda: est.login(now, f"x{n}", (queue, "a"), priority),
        "logout": lambda: est.logout(now, f"x{n}"),
        "free": lambda: est.capacity(now, f"x{n}", 1, priority),
        "taken": lambda: est.capacity(now, f"x{n}", 0, 0),
        "joined": lambda: est.joined(now, f"c{n}", queue, priority, now - 50.0 if priority else None),
        "started": lambda: est.started(now, f"c{n}", f"x{priority}"),
        "abandoned": lambda: est.abandoned(now, f"c{n}", ghost=bool(priority)),
        "ended": lambda: est.ended(now, f"c{n}", f"x{priority}"),
        "restored": lambda: est.started(now, f"c{n}", f"x{priority}", queue),
    }
    calls[what]()


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["login", "logout", "free", "taken", "joined", "started", "abandoned", "ended", "restored"]),
        st.integers(0, 5),
        st.sampled_from(["a", "b", "t", "nowhere"]),
        st.integers(0, 2),
        st.floats(-2.0, 90.0),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(EVENTS)
def test_nothing_that_can_be_told_in_any_order_makes_a_forecast_absurd(events: list[tuple[str, int, str, int, float]]) -> None:
    """Numbers are finite, in order and not negative, and counters come back to 0 when everybody has gone."""
    est = Estimator([QueueSpec("a"), QueueSpec("b"), QueueSpec("t", "sms")])
    now = 1000.0
    for what, n, queue, priority, step in events:
        now += step
        tell(est, now, what, n, queue, priority)
        for forecast in (est.forecast(now, queue, priority, float(n)), est.forecast_waiting(now, f"c{n}")):
            if forecast.quantiles is not None:
                assert list(forecast.quantiles) == sorted(forecast.quantiles)
                assert 0.0 <= forecast.quantiles[0] <= forecast.quantiles[-1] < 1e6
            else:
                assert forecast.status == "degraded"
    for n in range(6):
        est.logout(now, f"x{n}")
        est.abandoned(now, f"c{n}")
        est.ended(now, f"c{n}", "x0")
    for name in ("a", "b", "t"):
        internal = est._queues[name]
        assert (internal.waiting, internal.backlog, internal.busy, internal.free) == (0, 0, 0, 0)
        assert (internal.agents, internal.capacity, sum(internal.shared.values())) == (0, 0, 0)


def test_calls_that_never_came_about_say_nothing_of_the_pace() -> None:
    """An agent's phone that is dead sends everybody back to the line: that is no fast service."""
    centre = steady()
    before = centre.mean()
    for _ in range(150):
        call = centre.join(priority=0)
        centre.now += 1.0
        centre.start(call, "x0")
        centre.est.ended(centre.now, call, "x0", served=False)
        centre.est.capacity(centre.now, "x0", 0, 0)
    assert centre.mean() > 0.6 * before


# --- staff that went and comes back


def settled(agents: int, line: int = 10) -> Centre:
    """So many have been there for hours; now all are on calls, and some stand in line."""
    centre = Centre(agents)
    centre.now = 7200.0
    centre.occupy()
    for _ in range(line):
        centre.join()
    return centre


def went(centre: Centre, agents: int, after: float = 0.0) -> None:
    """So many of those who are there leave."""
    centre.now += after
    for _ in range(agents):
        centre.est.logout(centre.now, centre.agents.pop())


def test_agents_who_went_are_expected_back() -> None:
    """With ten in line and one of eight agents left, nobody believes that the one will take all of them."""
    centre, alone = settled(8), settled(1)
    went(centre, 7)
    assert centre.mean() < 0.75 * alone.mean()


def test_who_has_been_away_for_long_is_expected_later() -> None:
    lately, long_ago = Centre(8), Centre(8)
    went(long_ago, 7, after=5700.0)
    for centre in (lately, long_ago):
        centre.now = 7200.0
        centre.occupy()
        for _ in range(10):
            centre.join()
    went(lately, 7)
    assert long_ago.mean() > 1.2 * lately.mean()


def test_one_who_comes_back_is_expected_no_more() -> None:
    centre = settled(8)
    went(centre, 4)
    short = centre.mean()
    for agent in ("y1", "y2"):
        centre.login(agent, free=0)
    fewer = centre.mean()
    for agent in ("y3", "y4", "y5"):
        centre.login(agent, free=0)
    assert short > fewer > centre.mean()
    assert centre.est._queues["a"].returning(centre.now) == []


def test_absences_that_end_at_about_the_same_time_are_taken_together() -> None:
    centre = settled(10)
    went(centre, 3)
    went(centre, 1, after=400.0)
    went(centre, 2, after=100.0)
    (soon, few), (later, rest) = centre.est._queues["a"].returning(centre.now + 500.0)
    assert (soon, later) == (500.0, 1000.0)
    assert few == 3.0
    assert rest == pytest.approx(1.0, abs=0.5), "no more than would be enough"


def test_of_staff_that_comes_and_goes_in_parts_the_rest_is_still_missing() -> None:
    est = Estimator([QueueSpec("texts", "sms")])
    est.login(0.0, "x", ("texts",), 6)
    est.logout(3600.0, "x")
    est.login(3700.0, "y", ("texts",), 2)
    assert est._queues["texts"].left == [(3600.0, 4)]


@pytest.mark.parametrize("ahead", [0, 3, 12, 40])
def test_with_every_agent_who_leaves_the_wait_grows_and_with_every_one_who_comes_it_shrinks(ahead: int) -> None:
    centre = settled(12, ahead)
    waits = [centre.mean()]
    for _ in range(12):
        went(centre, 1, after=1.0)
        waits.append(centre.mean())
    assert waits == sorted(waits)
    for n in range(12):
        centre.now += 1.0
        centre.login(f"y{n}", free=0)
        waits.append(centre.mean())
    assert waits[12:] == sorted(waits[12:], reverse=True)


def test_a_queue_for_texts_counts_chat_slots_that_went() -> None:
    est = Estimator([QueueSpec("texts", "sms")])
    for agent in ("x", "y"):
        est.login(0.0, agent, ("texts",), 4)
    est.joined(0.0, "c", "texts", 1)
    est.logout(1000.0, "x")
    ((_, slots),) = est._queues["texts"].returning(1000.0)
    assert slots == pytest.approx(0.9 * 8 - 4)


# --- agents who have too many chats for a call


def blended() -> Estimator:
    """Four agents for calls and texts, all on a call, two calls in line."""
    est = Estimator([QueueSpec("calls", aht_guess=200.0), QueueSpec("texts", "sms")])
    for n in range(4):
        est.login(0.0, f"x{n}", ("calls", "texts"), 3)
        est.started(0.0, f"call{n}", f"x{n}", "calls")
    for n in range(2):
        est.joined(0.0, f"c{n}", "calls", 1)
    return est


def test_agents_held_up_by_chats_slow_the_calls_and_both_now_and_usual_count() -> None:
    est = blended()
    for n in range(2):
        est.ended(1000.0, f"call{n}", f"x{n}")
        for chat in range(2):
            est.started(1000.0, f"chat{n}{chat}", f"x{n}", "texts")
        est.capacity(1000.0, f"x{n}", 0, 1)
    assert est._queues["calls"].strength(1000.0) == pytest.approx(0.5 * 2 + 0.5 * 4)
    assert est._queues["calls"].strength(1e6) == pytest.approx(2.0)
    assert est._queues["texts"].strength(1000.0) == 12
    for n in range(2):
        est.ended(1600.0, f"chat{n}0", f"x{n}")
        est.capacity(1600.0, f"x{n}", 1, 2)
    assert est._queues["calls"].blocked == 0
    assert 3.0 < est._queues["calls"].strength(1600.0) < 4.0


def test_an_agent_who_leaves_in_the_middle_of_chats_holds_up_nothing_more() -> None:
    est = blended()
    est.ended(10.0, "call0", "x0")
    est.started(10.0, "chat", "x0", "texts")
    assert est._queues["calls"].blocked == 1
    est.logout(20.0, "x0")
    assert est._queues["calls"].blocked == 0
    est.login(30.0, "x0", ("calls", "texts"), 3)
    assert est._queues["calls"].blocked == 1, "the chat is still in hand"
    est.ended(40.0, "chat", "x0")
    assert est._queues["calls"].blocked == 0


def test_what_was_learned_of_chats_is_saved_too() -> None:
    est = blended()
    est.ended(1000.0, "call0", "x0")
    est.started(1000.0, "chat", "x0", "texts")
    est.capacity(3000.0, "x1", 0, 0)
    est.joined(3000.0, "c9", "calls", 1)
    est.ended(3000.0, "chat", "x0")
    saved = json.loads(json.dumps(est.save()))
    other = Estimator([QueueSpec("calls"), QueueSpec("texts", "sms")])
    other.restore(saved, 3000.0)
    assert other._queues["calls"].unblocked.total == est._queues["calls"].unblocked.total > 0.0


# --- queues that come, are renamed and go


def test_a_new_queue_begins_with_what_others_of_its_channel_have_learned() -> None:
    centre = steady()
    centre.est.add_queue(QueueSpec("new"))
    centre.est.add_queue(QueueSpec("guessed", aht_guess=700.0))
    centre.est.add_queue(QueueSpec("texts", "sms"))
    rates = {name: 1.0 / centre.est._queues[name].service_rate() for name in ("a", "new", "guessed", "texts")}
    assert rates["new"] == pytest.approx(rates["a"])
    assert rates["guessed"] == pytest.approx(700.0)
    assert rates["texts"] == pytest.approx(720.0)
    assert centre.est.forecast(centre.now, "new").basis == "prior"


def test_a_renamed_queue_goes_on_under_its_new_name() -> None:
    centre = Centre(4, works=("a", "b"))
    centre.occupy()
    for queue in ("a", "b", "b"):
        centre.join(queue)
    before = {queue: centre.est.forecast(5.0, queue) for queue in ("a", "b")}
    centre.est.rename_queue("b", "sales")
    centre.est.rename_queue("nowhere", "somewhere")
    centre.est.rename_queue("a", "sales")
    assert centre.est.forecast(5.0, "sales") == before["b"]
    assert centre.est.forecast(5.0, "a") == before["a"]
    assert centre.est.forecast(5.0, "b").status == "degraded"
    centre.est.logout(6.0, "x0")
    assert centre.est.forecast(6.0, "sales").capacity == 3


def test_a_removed_queue_takes_everybody_in_it_along_and_the_others_go_on() -> None:
    centre = Centre(3, works=("a", "b"))
    in_hand, *_ = centre.occupy()
    others = Centre(3)
    others.occupy()
    waiting = [centre.join("b") for _ in range(4)]
    centre.est.started(1.0, waiting[0], "x1")
    centre.est.remove_queue(2.0, "b")
    centre.est.remove_queue(2.0, "b")
    assert centre.est.forecast(2.0, "b").status == centre.est.forecast_waiting(2.0, waiting[1]).status == "degraded"
    assert centre.est.forecast(2.0, "a").mean == pytest.approx(others.est.forecast(2.0, "a").mean)
    centre.est.ended(3.0, in_hand, "x0")
    centre.est.capacity(3.0, "x0", 1, 0)
    centre.est.logout(4.0, "x1")
    assert [agent.queues for agent in centre.est.snapshot().agents] == [("a",), ("a",)]
    assert centre.est.forecast(4.0, "a").status == "free_agent"


def test_who_is_deflected_before_standing_in_line_teaches_when_their_turn_would_have_come() -> None:
    centre, (waiting,) = busy(1, agents=1)
    centre.est.deflected(10.0, "texter", "a")
    assert centre.est.forecast(10.0, "a").ahead == 1
    centre.next("c1", "x0", waiting, after=60.0)
    assert centre.est.forecast(60.0, "a").outcomes == 1
    centre.est.ended(120.0, waiting, "x0")
    centre.est.capacity(120.0, "x0", 1, 0)
    assert centre.est.forecast(120.0, "a").outcomes == 2


def test_a_deflection_while_somebody_is_free_or_to_nowhere_teaches_nothing() -> None:
    centre = Centre(1)
    centre.est.deflected(5.0, "texter", "a")
    centre.est.deflected(5.0, "texter", "nowhere")
    centre.est.capacity(6.0, "x0", 1, 0)
    forecast = centre.est.forecast(6.0, "a")
    assert (forecast.ahead, forecast.outcomes) == (0, 0)


def test_who_is_deflected_is_not_counted_as_hanging_up() -> None:
    centre, _ = busy(3)
    centre.now = 100.0
    centre.join()
    before = centre.est._queues["a"].hangups.events
    centre.est.deflected(100.0, "texter", "a")
    assert centre.est._queues["a"].hangups.events == before
    assert centre.est.forecast(100.0, "a").ahead == 4


def test_state_of_the_version_before_is_taken_over() -> None:
    """Then rates had one memory, and both views weighed the same."""
    rates = {
        "own": [40.0, 2000.0, None],
        "pool": [40.0, 2000.0, None],
        "hangups": [2.0, 900.0, 0.01],
        "service": [50.0, 2500.0, None],
    }
    learned = {
        "rates": rates,
        "queued_starts": 99,
        "starts": {"0": [0.001, 50.0]},
        "offsets": {"1": [-1.0, -0.5, 0.1, 0.7, 1.3, 200]},
    }
    centre, _ = busy(4)
    before = centre.mean()
    centre.est.restore({"version": 1, "at": 0.0, "queues": {"a": learned, "gone": learned}}, 10.0)
    forecast = centre.est.forecast(0.0, "a")
    assert (forecast.basis, forecast.outcomes) == ("learned", 200)
    assert forecast.mean is not None
    assert forecast.mean < 0.6 * before, "one start in 50 agent-seconds, not in 200"
    assert centre.est.save()["version"] == 2


# --- the whole, whatever happens


def lived(events: list[tuple[str, int, str, int, float]]) -> tuple[Estimator, float]:
    est, now = Estimator([QueueSpec("a"), QueueSpec("b"), QueueSpec("t", "sms")]), 1000.0
    for what, n, queue, priority, step in events:
        now += step
        tell(est, now, what, n, queue, priority)
    return est, now


@settings(deadline=None)
@given(EVENTS, st.sampled_from("abt"), st.integers(0, 2))
def test_the_probability_falls_with_the_time_and_the_wait_rises_with_every_contact_ahead(
    events: list[tuple[str, int, str, int, float]], queue: str, priority: int
) -> None:
    est, now = lived(events)
    forecast = est.forecast(now, queue, priority)
    chances = [forecast.prob(float(seconds)) for seconds in range(0, 4000, 50)]
    assert chances == sorted(chances, key=lambda chance: -(chance or 0.0))
    assert all(chance is not None and 0.0 <= chance <= 1.0 for chance in chances)
    waits = [est.forecast(now, queue, priority, extra).mean for extra in (0.0, 0.4, 1.0, 2.0, 5.0, 30.0)]
    assert waits == sorted(waits, key=lambda wait: wait or 0.0)


@settings(deadline=None)
@given(EVENTS, st.sampled_from("abt"), st.integers(0, 2))
def test_forecasts_change_nothing_and_the_same_observations_give_the_same_numbers(
    events: list[tuple[str, int, str, int, float]], queue: str, priority: int
) -> None:
    (one, now), (other, _) = lived(events), lived(events)
    for seconds in (0.0, 50.0, 5000.0):
        one.forecast(now + seconds, queue, priority, 1.0)
        one.forecast_waiting(now + seconds, "c1")
    assert (one.save(), one.snapshot()) == (other.save(), other.snapshot())


@settings(deadline=None)
@given(EVENTS, st.sampled_from("abt"), st.integers(0, 2))
@example([("login", 0, "a", 0, 0.0), ("restored", 0, "t", 0, 0.0), ("login", 0, "a", 0, 8.0)], "a", 0).via("usual staff")
@example(
    [("login", n, "a", 1, 0.0) for n in range(6)]
    + [("joined", n, "a", 1, 0.0) for n in range(6)]
    + [("free", 9, "a", 1, -2.0)] * 30,
    "a",
    1,
).via("clock set back")
def test_saved_and_restored_it_goes_on_as_if_it_had_never_stopped(
    events: list[tuple[str, int, str, int, float]], queue: str, priority: int
) -> None:
    """What was learned comes from the saved state, who is there from a snapshot; the numbers agree within a second."""
    before, now = lived(events)
    after = Estimator([QueueSpec("a"), QueueSpec("b"), QueueSpec("t", "sms")])
    for name in ("a", "b", "t"):
        before._tick(before._queues[name], now)
    after.restore(json.loads(json.dumps(before.save())), now)
    after.resync(now, before.snapshot())
    assert after.snapshot() == before.snapshot()
    if not before._queues[queue].left:  # who went before the restart is not known to come back
        one, other = before.forecast(now + 20.0, queue, priority), after.forecast(now + 20.0, queue, priority)
        assert (one.status, one.ahead, one.capacity) == (other.status, other.ahead, other.capacity)
        assert other.mean == pytest.approx(one.mean, abs=1.0)
