"""The counts of today add up, whatever happens in whatever order."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.acd import Target
from bridge.events import AgentId, MessageId, SessionId
from bridge.tally import LONGEST_WINDOW, TREND, Counts, Day, Trend

START = 1_000_000.0 * 60
ANN, BEN = AgentId("ann"), AgentId("ben")
ONE, TWO = SessionId("one"), SessionId("two")


def day(target: Target | None = None) -> Day:
    found = target or Target(answer_within=20.0, share=0.8, short_abandon=5.0)
    return Day(START, lambda _queue: found, {"Ann": ANN, "Ben": BEN})


def tell(today: Day, session: SessionId, *lines: tuple[float, str, dict[str, Any]]) -> None:
    for after, kind, data in lines:
        today.take(session, START + after, kind, data)


def joins(queue: str = "support", channel: str = "voice") -> dict[str, Any]:
    return {"queue": queue, "channel": channel, "waited": 0}


def test_a_call_that_is_answered() -> None:
    """Offered, answered in time, handled; its seconds count for the queue and for the agent."""
    today = day()
    tell(
        today,
        ONE,
        (0, "queue.joined", joins()),
        (2, "agent.offered", {"agent": "ben", "channel": "voice"}),
        (12, "offer.lapsed", {"agent": "ben", "channel": "voice", "reason": "ring_timeout"}),
        (13, "agent.offered", {"agent": "ann", "channel": "voice"}),
        (15, "agent.joined", {"name": "Ann", "channel": "voice"}),
        (75, "agent.left", {"name": "Ann", "channel": "voice", "by": "caller"}),
        (75, "session.closed", {"reason": "call over"}),
    )
    assert today.queue("support") == Counts(offered=1, answered=1, in_time=1, waited=15.0, handled=1, seconds=60.0)
    assert today.queue("support").average_wait == 15.0
    assert today.queue("support").average_handling == 60.0
    assert (today.agent(ANN).answered, today.agent(ANN).average_handling, today.agent(ANN).missed) == (1, 60.0, 0)
    assert (today.agent(BEN).answered, today.agent(BEN).average_handling, today.agent(BEN).missed) == (0, None, 1)
    assert (today.missed(BEN, 60.0, START + 60), today.missed(BEN, 60.0, START + 80)) == (1, 0)


def test_who_hangs_up() -> None:
    """At once is a short abandon, before the target's time is no fault, after it is; going on by a key is neither."""
    today = day()
    for session, after, outcome in (("a", 3, "abandoned"), ("b", 10, "abandoned"), ("c", 50, "abandoned"), ("d", 50, "key")):
        tell(
            today,
            SessionId(session),
            (0, "queue.joined", joins()),
            (after, "queue.left", {"outcome": outcome}),
            (after, "session.closed", {"reason": "call over"}),
        )
    counts = today.queue("support")
    assert (counts.offered, counts.short, counts.abandoned, counts.abandoned_in_time, counts.left) == (4, 1, 2, 2, 1)
    assert counts.service_level == 2 / 3


def test_without_a_target_everybody_is_in_time() -> None:
    """Where nothing is said about time there is nothing to be late for."""
    today = day(Target())
    tell(today, ONE, (0, "queue.joined", joins()), (500, "queue.left", {"outcome": "abandoned"}))
    assert today.queue("support").service_level == 1.0


def test_a_chat_that_nobody_takes() -> None:
    """It expired, or the customer left by EXIT, by STOP or by going back to the menu: nobody hung up, so it is no abandon."""
    today = day()
    for session, line in (
        ("a", ("chat.expired", {})),
        ("b", ("session.closed", {"reason": "left"})),
        ("c", ("opted_out", {"word": "STOP"})),
        ("d", ("menu.answered", {"body": "back", "titles": [], "why": ""})),
    ):
        tell(today, SessionId(session), (0, "queue.joined", joins("texts", "sms")), (90, *line))
    counts = today.queue("texts")
    assert (counts.offered, counts.abandoned, counts.left, counts.service_level) == (4, 0, 4, None)


def test_a_chat_that_is_handed_on() -> None:
    """It comes into the other line; nobody answers there, so it comes back; each agent's part is counted for itself."""
    today = day()
    tell(
        today,
        ONE,
        (0, "queue.joined", joins("texts", "sms")),
        (10, "agent.joined", {"name": "Ann", "channel": "sms"}),
        (40, "transfer.started", {"by": "Ann", "to": None, "queue": "billing", "note": ""}),
        (70, "transfer.failed", {"by": "Ann", "to": None, "reason": "no answer"}),
        (80, "agent.joined", {"name": "Ann", "channel": "sms"}),
        (100, "chat.dismissed", {"name": "Ann", "by": "agent"}),
        (200, "transfer.started", {"by": "Ann", "to": "Ben", "queue": None, "note": ""}),
        (210, "agent.joined", {"name": "Zed", "channel": "sms"}),
        (220, "chat.ended", {"by": "agent", "name": "Zed"}),
    )
    assert today.queue("billing") == Counts(offered=1, left=1)
    assert (today.queue("texts").answered, today.queue("texts").handled, today.queue("texts").seconds) == (1, 1, 30.0)
    assert (today.agent(ANN).answered, today.agent(ANN).handled, today.agent(ANN).seconds) == (2, 2, 50.0)


def test_a_call_that_is_handed_on() -> None:
    """Blind it stands in line again; while the agent asks a colleague they still have it."""
    today = day()
    tell(
        today,
        ONE,
        (0, "queue.joined", joins()),
        (5, "agent.joined", {"name": "Ann", "channel": "voice"}),
        (20, "transfer.started", {"by": "Ann", "to": "Ben", "queue": "sales", "note": "", "channel": "voice", "warm": True}),
        (30, "transfer.failed", {"by": "Ann", "to": "Ben", "reason": "no answer", "channel": "voice"}),
        (40, "transfer.started", {"by": "Ann", "to": None, "queue": "sales", "note": "", "channel": "voice"}),
        (40, "agent.left", {"name": "Ann", "channel": "voice", "by": "agent"}),
        (40, "queue.joined", joins("sales")),
        (60, "queue.joined", joins("support")),
        (65, "agent.joined", {"name": "Ann", "channel": "voice"}),
    )
    assert today.queue("sales") == Counts(offered=1, left=1)
    assert (today.queue("support").offered, today.queue("support").answered) == (2, 2)
    assert (today.agent(ANN).answered, today.agent(ANN).handled, today.agent(ANN).seconds) == (2, 1, 35.0)


def test_who_is_moved_while_waiting() -> None:
    """Out of one line and into the other; what a transfer has moved already, or an agent was given, is not counted again."""
    today = day()
    tell(
        today,
        ONE,
        (0, "queue.joined", joins()),
        (30, "supervisor.moved", {"by": "Sue", "to": None, "queue": "sales", "channel": "voice", "note": ""}),
        (31, "supervisor.moved", {"by": "Sue", "to": None, "queue": "sales", "channel": "voice", "note": ""}),
        (32, "supervisor.moved", {"by": "Sue", "to": "Ann", "queue": None, "channel": "voice", "note": ""}),
        (33, "supervisor.moved", {"by": "Sue", "to": None, "queue": "texts", "channel": "sms", "note": ""}),
    )
    assert (today.queue("support"), today.queue("sales")) == (Counts(offered=1, left=1), Counts(offered=1))


def test_an_offer_to_be_called_back_is_no_offer_to_text() -> None:
    """It is counted by its promise."""
    today = day()
    tell(
        today,
        ONE,
        (0, "offer.decided", {"kind": "callback", "inputs": {"queue": "support"}}),
        (1, "offer.made", {"kind": "callback"}),
        (2, "offer.answered", {"kind": "callback", "answer": "accepted"}),
    )
    assert today.queue("support") == Counts()


def test_who_says_so_themselves_is_moved_once() -> None:
    """A supervisor's move is in the timeline twice: as what the session says, and as what the supervisor did."""
    today = day()
    tell(
        today,
        ONE,
        (0, "queue.joined", joins()),
        (30, "queue.moved", {"queue": "support", "to": "sales", "channel": "voice"}),
        (30, "supervisor.moved", {"by": "Sue", "to": None, "queue": "sales", "channel": "voice", "note": ""}),
    )
    assert (today.queue("support"), today.queue("sales")) == (Counts(offered=1, left=1), Counts(offered=1))


def test_two_agents_of_one_name() -> None:
    """It is the one at whose desk it rang; one whom the settings do not know any more is still known by that."""
    today = Day(START, lambda _queue: Target(), {"Ann": ANN})
    tell(
        today,
        ONE,
        (0, "agent.offered", {"agent": "old", "channel": "sms"}),
        (1, "agent.joined", {"name": "Old", "channel": "sms"}),
    )
    assert today.agent(AgentId("old")).answered == 1
    today.know({"Old": BEN})
    tell(
        today,
        TWO,
        (0, "agent.offered", {"agent": "ann", "channel": "sms"}),
        (1, "agent.joined", {"name": "Old", "channel": "sms"}),
    )
    assert (today.agent(BEN).answered, today.agent(ANN).answered) == (1, 0)


def test_a_restart_cuts_off_the_call() -> None:
    """Who waited on the line then left it by no fault of theirs, and who talked is done talking."""
    today = day()
    tell(today, ONE, (0, "queue.joined", joins()), (30, "call.ended", {"by": "platform", "cause": "restart"}))
    tell(today, TWO, (0, "queue.joined", joins()), (9, "agent.joined", {"name": "Ann", "channel": "voice"}))
    tell(
        today,
        TWO,
        (30, "call.ended", {"by": "caller", "cause": "bye"}),
        (30, "call.ended", {"by": "platform", "cause": "restart"}),
    )
    counts = today.queue("support")
    assert (counts.left, counts.abandoned, counts.handled, counts.seconds) == (1, 0, 1, 21.0)


def test_an_offer_of_texting() -> None:
    """Made, accepted, and delivered once the text it promised has arrived; other texts and one that fails are not."""
    today = day()
    for session, message, state in (("a", "m1", "delivered"), ("b", "m2", "failed")):
        tell(
            today,
            SessionId(session),
            (0, "offer.decided", {"kind": "deflect", "offer": True, "reason": "offer", "inputs": {"queue": "support"}}),
            (1, "offer.made", {"kind": "deflect"}),
            (5, "offer.answered", {"kind": "deflect", "answer": "accepted"}),
            (5, "text.sent", {"message": "other", "author": "system"}),
            (6, "text.sent", {"message": message, "author": "flow"}),
            (7, "text.sent", {"message": "next", "author": "flow"}),
        )
        for moved in ("sent", state, state):
            today.text_moved(MessageId(message), moved, START + 9)  # type: ignore[arg-type]
    today.text_moved(MessageId("next"), "delivered", START + 9)
    counts = today.queue("support")
    assert (counts.offers_made, counts.offers_accepted, counts.offers_delivered) == (2, 2, 1)
    assert today.failed_texts(60.0, START + 10) == 2
    today.text_moved(MessageId("x"), "undelivered", START + LONGEST_WINDOW + 60)
    assert today.failed_texts(LONGEST_WINDOW, START + LONGEST_WINDOW + 60) == 1


def test_an_offer_of_no_queue_counts_nowhere() -> None:
    """A decision without its inputs, as of a customer who asked to be forgotten."""
    today = day()
    tell(today, ONE, (0, "offer.decided", {}), (1, "offer.made", {}), (2, "offer.answered", {"answer": "refused"}))
    tell(today, ONE, (3, "offer.answered", {"answer": "accepted"}), (4, "text.sent", {"message": "m", "author": "flow"}))
    assert today.queue("support") == Counts()


def test_yesterday_does_not_count() -> None:
    """Lines of before midnight only say who waits and talks; at midnight the counts begin anew."""
    today = day()
    tell(today, ONE, (-100, "queue.joined", joins()), (-95, "agent.joined", {"name": "Ann", "channel": "voice"}))
    tell(today, ONE, (20, "agent.left", {"name": "Ann", "channel": "voice"}), (20, "flow.trace", {}))
    assert (today.queue("support").offered, today.queue("support").handled, today.agent(ANN).answered) == (0, 1, 0)
    today.begin(START + 86_400)
    assert today.queue("support") == Counts()
    assert today.start == START + 86_400


def test_the_last_minutes() -> None:
    """A window counts whole minutes; what is older is forgotten in the end."""
    today = day()
    for minute in range(10):
        tell(today, SessionId(f"s{minute}"), (minute * 60, "queue.joined", joins()))
    now = START + 9 * 60 + 30
    assert [today.recently("support", window, now).offered for window in (60, 120, 3600)] == [2, 3, 10]
    assert today.recently("nobody", 60, now) == Counts()
    tell(today, SessionId("late"), (LONGEST_WINDOW + 120, "queue.joined", joins()))
    assert today.recently("support", 2 * LONGEST_WINDOW, START + LONGEST_WINDOW + 120).offered == 8


def test_missed_work_is_forgotten_in_the_end() -> None:
    """What rang out hours ago does not pile up."""
    today = day()
    for after in (0.0, 5.0, LONGEST_WINDOW + 6):
        tell(today, ONE, (after, "offer.lapsed", {"agent": "ann", "channel": "sms", "reason": "ring_timeout"}))
    assert today.missed(ANN, 2 * LONGEST_WINDOW, START + LONGEST_WINDOW + 6) == 1
    tell(today, ONE, (0, "offer.lapsed", {"agent": "ann", "channel": "sms", "reason": "declined"}))
    assert today.agent(ANN).missed == 3


KINDS = st.sampled_from(
    [
        ("queue.joined", joins()),
        ("queue.joined", joins("texts", "sms")),
        ("queue.left", {"outcome": "abandoned"}),
        ("queue.left", {"outcome": "timed_out"}),
        ("agent.joined", {"name": "Ann", "channel": "voice"}),
        ("agent.joined", {"name": "Ben", "channel": "sms"}),
        ("agent.left", {"name": "Ann", "channel": "voice"}),
        ("chat.ended", {"by": "agent", "name": "Ben"}),
        ("chat.expired", {}),
        ("transfer.started", {"by": "Ann", "to": None, "queue": "texts", "note": ""}),
        ("transfer.failed", {"by": "Ann", "to": None, "reason": "no answer"}),
        ("opted_out", {"word": "STOP"}),
        ("session.closed", {"reason": "left"}),
    ]
)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), KINDS, st.floats(0, 30)), max_size=60))
def test_every_visit_has_one_end(story: list[tuple[str, tuple[str, dict[str, Any]], float]]) -> None:
    """Nobody is counted twice or lost: who came was answered, gave up, left otherwise or waits still."""
    today, now = day(), START
    waiting: dict[tuple[str, str], str] = {}
    for session, (kind, data), later in story:
        now += later
        channel = data.get("channel", "sms")
        if kind in {"queue.joined", "transfer.started"}:
            waiting[session, channel] = data["queue"]
        elif kind == "session.closed":
            waiting.pop((session, "voice"), None)
            waiting.pop((session, "sms"), None)
        elif kind == "queue.left":
            waiting.pop((session, "voice"), None)
        elif kind in {"agent.joined", "chat.expired", "transfer.failed", "opted_out"}:
            waiting.pop((session, channel), None)
        today.take(SessionId(session), now, kind, data)
    total = Counts()
    for queue in ("support", "texts"):
        counts = today.queue(queue)
        assert counts.service_level is None or 0.0 <= counts.service_level <= 1.0
        assert counts == today.recently(queue, LONGEST_WINDOW, now)
        total.add(counts)
    assert total.offered == total.answered + total.abandoned + total.short + total.left + len(waiting)


def test_the_curve_has_the_most_of_each_minute() -> None:
    """Minutes that nobody noted are as those before; only the last hour is kept."""
    trend = Trend()
    for after, waiting in ((0, 2), (20, 5), (40, 1), (200, 3)):
        trend.note(waiting, START + after)
    assert trend.peaks == (5, 5, 5, 3)
    trend.note(7, START + 7200)
    assert len(trend.peaks) == TREND
    assert trend.peaks[-2:] == (3, 7)
