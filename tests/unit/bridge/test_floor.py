"""What a flow may know, and what an offer is decided from: only what is so at that instant."""

from pathlib import Path

import pytest

from bridge import events as e
from bridge.acd import AnyAcdOutput, QueueChanged, QueueInUse
from bridge.floor import Customer, Floor, floor_plan, seen_in
from bridge.floor_ops import ReconfigureFloor
from bridge.legs import CallState, TextLeg
from bridge.session import State
from bridge.settings import Settings
from sms.numbers import look_up
from tests.unit.bridge.house import ANN, BEN, CALLER, settings
from tests.unit.bridge.story import OURS, START

SUPPORT = e.QueueId("support")


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    """A floor on which nobody works yet."""
    return Floor(settings(tmp_path), now=START)


def state(**changes: object) -> State:
    """A caller who hears us."""
    fields: dict[str, object] = {
        "id": "s",
        "opened_at": START,
        "customer": CALLER,
        "our_number": OURS,
        "desk": "support_sms",
        "language": "en",
        "introduced": False,
        "call": CallState.IN_FLOW,
    }
    return State(**(fields | changes))  # type: ignore[arg-type]


def customer(number: str | None = CALLER) -> Customer:
    """What is known of the number."""
    return Customer(look_up(number, region="US"))


def ask(kind: e.OfferKind = "deflect") -> e.DecideOffer:
    """The question a flow asks."""
    return e.DecideOffer(1, kind, SUPPORT, e.QueueId("support_sms"))


def decide(floor: Floor, command: e.DecideOffer, about: State, who: Customer, asked: bool) -> e.OfferDecided:
    """Put it before the policy."""
    decided: e.OfferDecided = floor.apply(floor.offer_op(command, about, who, asked, START), START).answer
    return decided


def reconfigure(floor: Floor, to: Settings) -> list[AnyAcdOutput]:
    """Go by other settings."""
    outputs = floor.apply(ReconfigureFloor(floor_plan(to)), START).outputs
    floor.go_by(to)
    return outputs


def test_a_flow_knows_who_is_there_and_who_is_not(floor: Floor) -> None:
    """Desks with and without staff, the time since nobody is there, opening hours, and no guess at a wait."""
    floor.acd.set_state(BEN, "ready", None, START)
    facts = floor.facts(state(), customer(), START + 10.0)
    assert (facts.desks["support_sms"].staffed, facts.desks["support_sms"].open_slots) == (True, 3)
    assert (facts.desks["support"].staffed, facts.desks["support"].unstaffed_since) == (False, START)
    assert facts.ewt["support"].status == "no_agents"
    assert facts.hours["support_hours"].state == "open"
    assert (facts.called, facts.caller, facts.can_text, facts.position, facts.remaining) == (OURS, CALLER, True, None, None)


def test_a_caller_in_line_knows_place_and_wait(floor: Floor) -> None:
    """The position is that of the line now; what is left is asked of the estimator for this caller."""
    floor.acd.join(e.SessionId("other"), SUPPORT, "voice", START - 60.0, 1, (), START)
    floor.acd.join(e.SessionId("s"), SUPPORT, "voice", START - 5.0, 1, (), START)
    facts = floor.facts(state(since=START - 5.0, call=CallState.QUEUED), customer(), START + 10.0)
    assert (facts.position, facts.waited) == (2, 15.0)
    assert facts.remaining is not None


def test_after_the_call_a_flow_knows_the_customer_and_no_queues(floor: Floor) -> None:
    """What is done by text then needs no wait and no hours, and they cost time."""
    facts = floor.facts(state(call=CallState.ENDED, since=START - 90.0), customer(), START)
    assert (facts.ewt, facts.desks, facts.hours) == ({}, {}, {})
    assert (facts.waited, facts.can_text) == (90.0, True)


@pytest.mark.parametrize(
    ("changes", "number", "why"),
    [
        ({}, CALLER, None),
        ({"customer": None}, None, "the number is withheld"),
        ({"text": TextLeg.OPTED_OUT}, CALLER, "the number has opted out"),
        ({"customer": "+442079460000"}, "+442079460000", "the number cannot take texts (fixed)"),
        ({"why_not_text": "This number cannot take texts."}, CALLER, "This number cannot take texts."),
    ],
)
def test_who_cannot_be_texted_and_why(floor: Floor, changes: dict[str, object], number: str | None, why: str | None) -> None:
    """The reason is in words, and the flow is told the same."""
    caller = state(**changes)
    assert floor.why_not_text(caller, customer(number)) == why
    assert floor.facts(caller, customer(number), START).can_text is (why is None)


def test_an_offer_needs_somebody_to_answer_it(floor: Floor) -> None:
    """Nobody at the text desk: no offer; somebody: an offer, with what it was decided from."""
    decided = decide(floor, ask(), state(), customer(), False)
    assert (decided.request, decided.kind, decided.offer, decided.reason) == (1, "deflect", False, "sms_unstaffed")
    floor.acd.set_state(BEN, "ready", None, START)
    decided = decide(floor, ask(), state(), customer(), False)
    assert (decided.offer, decided.reason) == (True, "always")
    assert (decided.inputs["sms_staffed"], decided.inputs["open_slots"]) == (True, 3)


@pytest.mark.parametrize(
    ("changes", "number", "asked", "reason"),
    [
        ({}, CALLER, True, "asked_before"),
        ({"customer": None}, None, False, "number_withheld"),
        ({"text": TextLeg.OPTED_OUT}, CALLER, False, "opted_out"),
        ({"customer": "+442079460000"}, "+442079460000", False, "cannot_text"),
    ],
)
def test_who_is_not_asked(floor: Floor, changes: dict[str, object], number: str | None, asked: bool, reason: str) -> None:
    """Whatever the wait is."""
    floor.acd.set_state(BEN, "ready", None, START)
    assert decide(floor, ask(), state(**changes), customer(number), asked).reason == reason


def test_a_caller_whose_call_rings_at_an_agent_is_not_asked(floor: Floor) -> None:
    """Help is a moment away."""
    floor.acd.set_state(ANN, "ready", None, START)
    floor.acd.join(e.SessionId("s"), SUPPORT, "voice", START, 1, (), START)
    assert decide(floor, ask("hold"), state(call=CallState.QUEUED), customer(), False).reason == "agent_coming"


def test_a_callback_is_offered_again_and_again_unless_the_settings_say_never(floor: Floor, tmp_path: Path) -> None:
    """Whether texting was offered, or can be, is another matter."""
    assert decide(floor, ask("callback"), state(), customer("+442079460000"), True).reason == "always"
    plain = settings(tmp_path)
    queues = [
        queue.model_copy(update={"offers": queue.offers.model_copy(update={"callback": "never"})}) for queue in plain.queues
    ]
    reconfigure(floor, plain.model_copy(update={"queues": queues}))
    assert decide(floor, ask("callback"), state(), customer(), False).reason == "disabled"


def test_the_desk_of_the_queue_counts_when_the_flow_names_none(floor: Floor) -> None:
    """As the settings have it."""
    floor.acd.set_state(BEN, "ready", None, START)
    decided = decide(floor, e.DecideOffer(1, "deflect", SUPPORT, None), state(), customer(), False)
    assert decided.inputs["sms"] is not None


def test_other_settings_hold_for_everything_at_once(floor: Floor, tmp_path: Path) -> None:
    """Lines, estimates, targets, offers and hours; a queue with somebody in it refuses all of it."""
    floor.acd.set_state(ANN, "ready", None, START)
    queues = [
        {"id": "support", "desk": "help", "offers": {"mode": "never"}, "target": {"answer_within": 7}},
        {"id": "support_sms"},
        {"id": "help", "channel": "sms", "hours": "office"},
    ]
    agents = [
        {"id": "ann", "name": "Ann", "queues": ["support", "support_sms"]},
        {"id": "ben", "name": "Ben", "queues": ["help"]},
    ]
    hours = {"support_hours": {}, "office": {"week": {"mon": ["09:00-09:01"]}}}
    numbers = [{"number": OURS, "flow": "support", "desk": "help"}]
    other = settings(tmp_path, queues=queues, agents=agents, hours=hours, numbers=numbers)
    floor.acd.join(e.SessionId("s"), e.QueueId("support_sms"), "sms", START, 1, (), START)
    assert floor.in_use(other) == {"support_sms": (1, 0)}
    with pytest.raises(QueueInUse):
        reconfigure(floor, other)
    assert list(floor.queues) == ["support", "support_sms"]
    floor.acd.leave(e.SessionId("s"), "sms", "abandoned", START)
    outputs = reconfigure(floor, other)
    assert {output.queue for output in outputs if isinstance(output, QueueChanged)} == set(floor.queues)
    assert list(floor.queues) == ["support", "support_sms", "help"]
    assert floor.targets["support"].answer_within == 7.0
    assert floor.estimator.forecast(START, "support_sms").status == "free_agent"
    assert floor.estimator.forecast(START, "help").status == "no_agents"
    assert not floor.queue_now("help", "en", START).open
    floor.acd.set_state(BEN, "ready", None, START)
    assert floor.estimator.forecast(START, "help").status == "free_agent"
    reconfigure(floor, settings(tmp_path))
    assert floor.estimator.forecast(START, "help").status == "degraded"


def test_settings_that_are_not_in_force_yet_are_not_read(floor: Floor, tmp_path: Path) -> None:
    """They come to the nodes at different times: a queue is there when both its settings and its line are."""
    queues = [{"id": "support"}, {"id": "new"}, {"id": "support_sms", "channel": "sms"}]
    other = settings(tmp_path, queues=queues)
    floor.go_by(other)
    assert list(floor.queues) == ["support", "support_sms"]
    assert "new" not in floor.facts(state(), customer(), START).desks
    floor.apply(ReconfigureFloor(floor_plan(other)), START)
    assert list(floor.queues) == ["support", "new", "support_sms"]


def test_a_session_agrees_with_the_floor_or_not(floor: Floor) -> None:
    """Whether it stands in line, and who has it."""
    waits = state(call=CallState.QUEUED, queue=SUPPORT, since=START)
    assert not floor.agrees(waits)
    floor.acd.join(waits.id, SUPPORT, "voice", START, 1, (), START)
    assert floor.agrees(waits)
    assert not floor.agrees(state())
    assert not floor.agrees(state(text=TextLeg.CHATTING, chat_agent=BEN, chat_queue=e.QueueId("support_sms")))


def test_a_session_speaks_only_of_where_it_waits_and_who_has_it() -> None:
    """Most sessions do neither most of the time, and what they all say goes to every node."""
    assert seen_in(state()) == ()
    [chat] = seen_in(state(text=TextLeg.CHATTING, chat_agent=BEN, chat_queue=e.QueueId("support_sms")))
    assert (chat.channel, chat.agent, chat.place) == ("sms", BEN, None)
    [call] = seen_in(state(call=CallState.QUEUED, queue=SUPPORT, since=START))
    assert call.place is not None
    assert call.place.queue == SUPPORT
