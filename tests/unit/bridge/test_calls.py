"""What agents do with calls, from the desk through the session to the phones and back."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge import events as e
from bridge.journal import Unit
from bridge.journal.rows import BlockRow
from bridge.legs import CallState
from bridge.telephony.loopback import AgentPhone, CustomerPhone, Hears, Music
from bridge.web.api.callbacks import CannotCallError
from bridge.web.ports import DeskRefusedError
from tests.unit.bridge.house import ANN, BEN, CALLER, House
from tests.unit.bridge.story import OURS

CUSTOMER = "+15550100150"
QUEUES = [
    {"id": "support", "desk": "support_sms", "offers": {"mode": "never"}},
    {"id": "billing", "title": "Billing"},
    {"id": "support_sms", "channel": "sms"},
]
SKILLS = ["lang:en", "billing", "technical"]
AGENTS = [
    {"id": "ann", "name": "Ann", "queues": ["support", "support_sms"], "phone": "loopback:ann", "skills": SKILLS},
    {"id": "ben", "name": "Ben", "queues": ["support", "billing"], "phone": "loopback:ben", "skills": SKILLS},
    {"id": "cat", "name": "Cat", "queues": ["support_sms"]},
]
CAT = e.AgentId("cat")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    changes: dict[str, Any] = {"queues": QUEUES, "agents": AGENTS, "calls": {"callback": {"retry_after": 60.0}}}
    house = House(tmp_path, **changes)
    async with house.open():
        for name in ("ann", "ben"):
            house.calls.set_agent_phone(f"loopback:{name}", AgentPhone(answer_after=0.01))
        house.calls.set_customer_phone(CUSTOMER, CustomerPhone(answer_after=0.01))
        yield house


async def talking(house: House) -> e.LegId:
    """A caller who talks to Ann; Ben is there too."""
    await house.ready(ANN)
    leg = await house.to_the_line()
    await house.accept(ANN)
    await house.until(lambda: house.state.call is CallState.CONNECTED)
    await house.ready(BEN)
    return leg


async def heard(house: House, leg: e.LegId) -> Hears:
    """What the caller hears at this moment."""
    async with house.calls.listen(leg, from_start=False) as hears:
        return await anext(hears)


async def test_a_caller_on_hold_hears_music_and_then_the_agent_again(house: House) -> None:
    """The button on the desk parts and joins the phones; the timeline says for how long."""
    leg = await talking(house)
    calls, session = house.desk.calls, house.session

    await calls.hold(ANN, session)
    view = calls.view(ANN, session)
    assert view is not None
    assert (view.state, view.mine, view.held_since) == ("held", True, house.now)
    assert isinstance(await heard(house, leg), Music)
    house.now += 30.0
    await calls.resume(ANN, session)

    assert (await house.line("call.resumed")).data == {"name": "Ann", "seconds": 30.0}
    assert house.state.call is CallState.CONNECTED


async def test_a_phone_that_holds_has_to_resume(house: House) -> None:
    """What was put on hold at the phone is taken off hold there."""
    leg = await talking(house)
    await house.calls.agent_hold(leg)
    await house.until(lambda: house.state.call is CallState.HELD)

    with pytest.raises(DeskRefusedError, match="at your phone"):
        await house.desk.calls.resume(ANN, house.session)
    await house.calls.agent_hold(leg, on=False)

    await house.until(lambda: house.state.call is CallState.CONNECTED)


async def test_a_colleague_is_asked_told_and_given_the_call(house: House) -> None:
    """While Ben is asked he is busy and reads the note; then the call is his and Ann writes it up."""
    await talking(house)
    calls, session = house.desk.calls, house.session

    await calls.ask(ANN, session, to=BEN, number=None, note="An old friend")
    await house.line("transfer.answered")
    asked = calls.view(BEN, session)
    assert asked is not None
    assert asked.asks_me == "Ann"
    assert (await house.desk.session(BEN, session)).note == "An old friend"
    assert house.desk.presence(BEN).on_call is not None
    await calls.swap(ANN, session)
    await calls.swap(ANN, session)
    await calls.complete(ANN, session)

    assert (house.state.agent, house.state.call) == (BEN, CallState.CONNECTED)
    assert (await house.line("transfer.completed")).data["to"] == "Ben"
    assert house.floor.acd.agent_view(ANN).call is None
    assert house.floor.acd.agent_view(BEN).call == session
    assert ANN in house.state.wrapping


async def test_a_colleague_who_is_busy_leaves_the_caller_with_the_agent(house: House) -> None:
    """The caller hears the first agent again, and the colleague is free."""
    await talking(house)
    house.calls.set_agent_phone("loopback:ben", AgentPhone(busy=True))

    await house.desk.calls.ask(ANN, house.session, to=BEN, number=None, note="")
    failed = await house.line("transfer.failed")

    assert failed.data["reason"] == "busy"
    assert (house.state.agent, house.state.call) == (ANN, CallState.CONNECTED)
    assert house.floor.acd.agent_view(BEN).call is None


async def test_a_call_is_handed_on_and_comes_back_when_it_is_declined(house: House) -> None:
    """Ben is offered the call with Ann's words, at the place the caller had; declined, it is offered to Ann again."""
    await talking(house)
    calls, session = house.desk.calls, house.session
    since = house.state.since

    await calls.hand_on(ANN, session, to=BEN, queue=None, number=None, note="About the bill")
    await house.until(lambda: bool(house.desk.offers(BEN)))
    [offer] = house.desk.offers(BEN)
    assert offer.summary == "Ann hands it over: About the bill"
    assert house.state.since == since
    view = calls.view(ANN, session)
    assert view is not None
    assert view.handed_to == "Ben"
    await house.desk.decline(BEN, session, "voice")
    await house.line("transfer.failed")
    await house.desk.wrap_up(ANN, session, "", None)

    await house.accept(ANN)
    await house.until(lambda: house.state.call is CallState.CONNECTED)
    assert house.state.agent == ANN


async def test_a_call_goes_to_a_queue(house: House) -> None:
    """Whoever works there is asked, and the transfer is complete when they have picked up."""
    await talking(house)
    await house.desk.calls.hand_on(ANN, house.session, to=None, queue="billing", number=None, note="")

    await house.accept(BEN)

    assert (await house.line("transfer.completed")).data["to"] == "Ben"
    assert house.state.queue == "billing"


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ("+15550100177", "no trunk"),
        ("911", "emergency"),
        ("+19002345678", "cost extra"),
        ("+442079460018", "may_call"),
        ("x", "not a"),
    ],
)
async def test_only_numbers_that_may_be_called_are_called(house: House, number: str, why: str) -> None:
    """No trunk, no help, no premium rate, no other country: each is refused in words, and the call goes on."""
    await talking(house)

    with pytest.raises(DeskRefusedError, match=why):
        await house.desk.calls.ask(ANN, house.session, to=None, number=number, note="")

    assert house.state.call is CallState.CONNECTED


async def test_who_can_take_a_call_is_listed(house: House) -> None:
    """Colleagues who work on calls, with what keeps them; queues with who is there."""
    await talking(house)
    await house.desk.set_state(BEN, "not_ready", "Lunch")
    targets = house.desk.calls.targets(ANN, house.session)

    assert [(one.name, one.why_not) for one in targets.colleagues] == [("Ben", "Not ready: Lunch")]
    assert [(one.id, one.title) for one in targets.queues] == [("support", "Support"), ("billing", "Billing")]
    with pytest.raises(DeskRefusedError, match="Ben cannot take it now"):
        await house.desk.calls.ask(ANN, house.session, to=BEN, number=None, note="")
    with pytest.raises(DeskRefusedError, match="signed in"):
        await house.desk.calls.hand_on(ANN, house.session, to=CAT, queue=None, number=None, note="")
    with pytest.raises(DeskRefusedError, match="that queue"):
        await house.desk.calls.hand_on(ANN, house.session, to=None, queue="support_sms", number=None, note="")
    with pytest.raises(DeskRefusedError, match="not yours"):
        house.desk.calls.targets(BEN, house.session)


async def test_an_agent_calls_a_customer(house: House) -> None:
    """Ann's phone first, then the customer's; she is busy meanwhile, and may text as in every call."""
    await house.ready(ANN)
    calls = house.desk.calls
    assert calls.senders(ANN) == (OURS,)
    assert (await calls.callee(ANN, CUSTOMER, OURS)).number == CUSTOMER

    session = await calls.call(ANN, "(555) 010-0150", OURS)
    await house.until(lambda: house.state.call is CallState.CONNECTED)

    assert house.state.service == "outbound"
    assert (await house.line("call.placed")).data == {"name": "Ann", "number": CUSTOMER, "sender": OURS}
    assert house.floor.acd.agent_view(ANN).call == session
    await house.desk.say(ANN, session, "The form")
    await house.desk.hang_up(ANN, session)
    await house.until(lambda: house.state.call is CallState.ENDED)
    assert house.state.wrapping == [ANN]


@pytest.mark.parametrize(
    ("phone", "outcome"), [(CustomerPhone(refuse_with=486), "busy"), (CustomerPhone(refuse_with=603), "refused")]
)
async def test_a_customer_who_is_not_reached_is_put_down_in_words(house: House, phone: CustomerPhone, outcome: str) -> None:
    """The session is over with the outcome, and the agent is free at once."""
    house.calls.set_customer_phone(CUSTOMER, phone)
    await house.ready(ANN)
    session = await house.desk.calls.call(ANN, CUSTOMER, OURS)
    await house.until(lambda: session not in house.runner.sessions)

    assert (await house.stored(session)).reason == outcome
    assert house.floor.acd.agent_view(ANN).call is None


async def test_an_agent_whose_phone_does_not_answer_calls_nobody(house: House) -> None:
    """No customer picks up and hears nobody."""
    house.calls.set_agent_phone("loopback:ann", AgentPhone(busy=True))
    await house.ready(ANN)
    session = await house.desk.calls.call(ANN, CUSTOMER, OURS)
    await house.until(lambda: session not in house.runner.sessions)

    assert (await house.stored(session)).reason == "agent not reached"
    assert not await house.lines("call.placed", session)


async def test_who_is_not_to_be_called_is_not(house: House) -> None:
    """Blocked numbers, our own, customers somebody has in hand, and numbers nobody reaches."""
    calls = house.desk.calls
    await house.ready(ANN)
    await house.journal.commit(
        Unit(block=[BlockRow(number="+15550100151", reason="asked us not to", actor="system", at=house.now)])
    )
    for number, why in {
        "+15550100151": "asked us not to", OURS: "our own", "+15550100152": "no trunk",
        "123": "Short numbers", "+1": "not a telephone",
    }.items():  # fmt: skip
        with pytest.raises(DeskRefusedError, match=why):
            await calls.call(ANN, number, OURS)
    with pytest.raises(DeskRefusedError, match="from that number"):
        await calls.call(CAT, CUSTOMER, OURS)
    assert (await calls.callee(ANN, "+1555", OURS)).number is None
    assert "our own" in (await calls.callee(ANN, OURS, OURS)).problem
    await house.to_the_line()
    with pytest.raises(DeskRefusedError, match="on the phone"):
        await calls.call(ANN, CALLER, OURS)


async def test_a_program_has_a_customer_called(house: House) -> None:
    """In the order of the line: an agent is offered the callback and sees it in the list, the customer's phone rings last."""
    calls = house.desk.calls
    session = await calls.ask_callback("api:shop", CUSTOMER, OURS, None, None, "the bill")
    await house.until(lambda: house.floor.acd.position(session, "voice") == 1)
    [due] = calls.callbacks(ANN)
    assert (due.number, due.position, due.summary) == (CUSTOMER, 1, "the bill")
    assert calls.callbacks(CAT) == ()
    with pytest.raises(CannotCallError, match="to be called already"):
        await calls.ask_callback("api:shop", CUSTOMER, OURS, "support", None, "")
    with pytest.raises(DeskRefusedError, match="list of callbacks"):
        await calls.call(ANN, CUSTOMER, OURS)

    await house.ready(ANN)
    await house.until(lambda: bool(house.desk.offers(ANN)))
    [offer] = house.desk.offers(ANN)
    assert offer.summary == "To be called back. the bill"
    await house.accept(ANN)
    await house.until(lambda: house.state.call is CallState.CONNECTED)

    assert calls.callbacks(ANN) == ()
    assert (await house.line("callback.done")).n > 0


@pytest.mark.parametrize(
    ("number", "queue", "kind"),
    [(CUSTOMER, "nowhere", "unknown_queue"), ("+15550100152", None, "cannot_call"), ("+19002345678", None, "cannot_call")],
)
async def test_a_program_hears_why_a_customer_is_not_called(house: House, number: str, queue: str | None, kind: str) -> None:
    """Each reason has a name that programs can go by."""
    with pytest.raises(CannotCallError) as refusal:
        await house.desk.calls.ask_callback("api:shop", number, OURS, queue, None, "")
    assert refusal.value.kind == kind


async def test_a_program_is_told_of_a_blocked_number(house: House) -> None:
    """As agents are."""
    await house.journal.commit(Unit(block=[BlockRow(number=CUSTOMER, reason="asked us not to", actor="system", at=house.now)]))
    with pytest.raises(CannotCallError, match="asked us not to"):
        await house.desk.calls.ask_callback("api:shop", CUSTOMER, OURS, None, None, "")


async def test_an_agent_makes_or_drops_a_callback_out_of_turn(house: House) -> None:
    """Also one that waits for its time; nobody makes one that is over, or of a queue they do not work on."""
    calls = house.desk.calls
    first = await calls.ask_callback("api:shop", CUSTOMER, OURS, None, house.now + 600.0, "")
    await house.ready(ANN)
    assert calls.callbacks(ANN)[0].due_at == house.now + 600.0
    with pytest.raises(DeskRefusedError, match="no callback"):
        await calls.start_callback(CAT, first)
    await calls.start_callback(ANN, first)
    await house.until(lambda: house.state.call is CallState.CONNECTED)
    house.calls.set_customer_phone("+15550100151", CustomerPhone())
    with pytest.raises(DeskRefusedError, match="on a call already"):
        await calls.call(ANN, "+15550100151", OURS)
    house.calls.set_customer_phone("+15550100153", CustomerPhone())
    second = await calls.ask_callback("api:shop", "+15550100153", OURS, None, house.now + 600.0, "")
    await calls.cancel_callback(ANN, second)
    await house.until(lambda: second not in house.runner.sessions)
    with pytest.raises(DeskRefusedError, match="no callback"):
        await calls.cancel_callback(ANN, second)


async def test_who_calls_before_they_are_called_goes_on_in_the_same_session(house: House) -> None:
    """The callback and the call are one conversation, at the old place."""
    house.calls.set_customer_phone(CALLER, CustomerPhone(answer_after=0.01))
    session = await house.desk.calls.ask_callback("api:shop", CALLER, OURS, None, None, "")
    await house.until(lambda: house.state.call is CallState.CALLBACK)

    leg = await house.calls.dial(CALLER, OURS)

    await house.line("callback.merged")
    assert list(house.runner.sessions) == [session]
    await house.calls.hang_up(leg)
    await house.until(lambda: house.state.call is CallState.CALLBACK)
