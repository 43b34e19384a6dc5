"""The three stories with everything but sockets: runner, desk, journal, outbox, and handsets at the other end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from bridge import events as e
from bridge.journal import MessageRow, Suppression, Unit
from bridge.legs import CallState, TextLeg
from bridge.telephony.loopback import AgentPhone
from bridge.web.ports import DeskRefusedError
from sms.message import DeliveryReport, TextState
from tests.unit.bridge.house import ANN, BEN, CALLER, House, picture
from tests.unit.bridge.story import OURS, START


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A server that takes traffic."""
    async with House(tmp_path).open() as house:
        yield house


async def test_deflection(house: House) -> None:
    """Consent, text, delivery, only then the end of the call; the reply reaches an agent with all the call knew."""
    await house.ready(BEN)
    leg = await house.dial()
    offer = await house.line("offer.made")
    assert offer.data["kind"] == "deflect"
    house.now += 12.0
    await house.calls.press(leg, "1")
    await house.until(lambda: len(house.received) == 1)
    assert house.received[0].startswith("Example: we go on here by text")
    await house.until(lambda: house.state.call is CallState.ENDED)
    session = house.session
    assert [line.kind for line in await house.journal.timeline(session) if line.kind in {"text.sent", "call.hung_up"}] == [
        "text.sent",
        "call.hung_up",
    ]
    [consent] = await house.journal.consents(CALLER)
    assert (consent.granted, consent.session) == (True, session)
    await house.caller.text(OURS, "my router blinks")
    await house.until(lambda: bool(house.desk.offers(BEN)))
    [work] = house.desk.offers(BEN)
    assert (work.session, work.channel, work.waited) == (session, "sms", 12.0)
    await house.accept(BEN)
    view = await house.desk.session(BEN, session)
    assert (view.card["Menu"], view.card["Language"]) == ("technical", "English")
    assert (view.text_state, view.composer_open) == ("chatting", True)
    await house.desk.say(BEN, session, "Which one?")
    await house.until(lambda: house.received[-1] == "Which one?")
    await house.line("text.sent", 2)
    await house.desk.end_chat(BEN, session)
    assert (await house.desk.session(BEN, session)).wrapping_up
    await house.desk.wrap_up(BEN, session, "Told how", "Solved")
    await house.until(lambda: not house.runner.sessions)
    assert house.desk.presence(BEN).state == "ready"
    ticks = (await house.desk.session(BEN, session)).ticks
    assert {tick.state for tick in ticks.values()} == {"delivered"}
    assert len(house.received) == 2


async def test_deflection_to_a_phone_that_cannot_be_reached(tmp_path: Path) -> None:
    """The caller is told, stands in line with the place from before the offer, and is not offered a text again."""
    async with House(tmp_path).open() as house:
        await house.ready(BEN)
        leg = await house.dial("+15550100199")
        await house.line("offer.made")
        house.now += 5.0
        await house.calls.press(leg, "1")
        await house.line("text.failed")
        await house.line("queue.joined")
        promises = [line.data["what"] for line in await house.lines("promise.made")]
        assert promises == ["text_on_its_way", "place_kept"]
        assert house.state.since == START
        assert house.state.call is CallState.QUEUED
        assert house.calls.calls == 1


async def test_hold_time(house: House) -> None:
    """Consent by key, questions one by one, words and a photo; the agent has the answers when the call rings."""
    leg = await house.to_the_line()
    await house.later(16.0)
    assert (await house.line("offer.made")).data["kind"] == "hold"
    await house.calls.press(leg, "1")
    await house.until(lambda: len(house.received) == 1)
    await house.caller.text(OURS, "my router blinks")
    await house.until(lambda: len(house.received) == 2)
    await house.caller.text(OURS, "", [("router.png", picture(), "image/png")])
    await house.until(lambda: len(house.received) == 3)
    assert house.received[2].startswith("Thank you")
    await house.ready(ANN)
    await house.until(lambda: bool(house.desk.offers(ANN)))
    assert "my router blinks" in house.desk.offers(ANN)[0].summary
    view = await house.desk.session(ANN, house.session)
    assert view.answers == {"reason": "my router blinks", "photo": "1 photo"}
    [photo] = [line.data["media"][0] for line in view.timeline if line.kind == "text.received" and line.data["media"]]
    assert not isinstance(await house.runner.media.find(photo["digest"], "thumbnail"), str)
    await house.accept(ANN)
    await house.line("audio.connected")
    session = house.session
    await house.calls.hang_up(leg)
    await house.line("call.ended")
    await house.desk.wrap_up(ANN, session, "", None)
    assert house.state.text is TextLeg.OPEN


async def test_in_call(house: House) -> None:
    """Preset and own words, the caller's texts beside the call, STOP ends the text leg alone."""
    await house.ready(ANN)
    leg = await house.to_the_line()
    await house.accept(ANN)
    await house.line("audio.connected")
    session = house.session
    [preset] = house.desk.presets("en")
    await house.desk.say(ANN, session, preset.text, preset=preset.id)
    await house.desk.say(ANN, session, "It is two pages.")
    await house.until(lambda: len(house.received) == 3)
    assert house.received[0].startswith("Example: texts for this call only")
    assert house.received[1:] == [preset.text, "It is two pages."]
    await house.caller.text(OURS, "got it", [("form.png", picture(), "image/png")])
    line = await house.line("text.received")
    assert (line.data["body"], len(line.data["media"])) == ("got it", 1)
    assert line.data["why"] == "texts belong to the call in progress"
    await house.caller.text(OURS, "Stop")
    await house.until(lambda: len(house.received) == 4)
    assert house.received[3] == "Example: you will get no more texts from us. Reply START if you want them again."
    view = await house.desk.session(ANN, session)
    assert (view.call_state, view.text_state, view.composer_open) == ("connected", "opted_out", False)
    with pytest.raises(DeskRefusedError, match="STOP"):
        await house.desk.say(ANN, session, "One more thing")
    assert house.calls.calls == 1
    await house.caller.text(OURS, "start")
    await house.until(lambda: len(house.received) == 5)
    await house.desk.say(ANN, session, "Welcome back")
    await house.until(lambda: len(house.received) == 6)
    await house.calls.hang_up(leg)
    await house.line("call.ended")
    with pytest.raises(DeskRefusedError):
        await house.desk.hang_up(ANN, session)


async def test_yes_to_an_agent_is_an_answer_and_no_command(house: House) -> None:
    """YES means START only to those who have opted out: in a chat it is what the customer says."""
    await house.ready(BEN)
    await house.caller.text(OURS, "my router blinks")
    await house.accept(BEN)
    await house.until(lambda: len(house.received) == 1)
    await house.desk.say(BEN, house.session, "Is it the blue one?")
    await house.caller.text(OURS, "Yes")
    await house.line("text.received", 2)
    await house.until(lambda: len(house.received) == 2)
    assert not await house.lines("opted_in")
    assert house.state.text is TextLeg.CHATTING


async def test_help_says_what_number_to_call(house: House) -> None:
    """The owed answer is complete."""
    await house.caller.text(OURS, "help")
    await house.until(lambda: len(house.received) == 1)
    assert f"Call {OURS}" in house.received[0]


async def test_an_agent_who_does_not_pick_up_costs_the_caller_nothing(house: House) -> None:
    """Back in line at the same place with the same skills, and the agent is free at once."""
    house.calls.set_agent_phone("loopback:ann", AgentPhone(busy=True))
    leg = await house.to_the_line()
    await house.ready(ANN)
    await house.accept(ANN)
    await house.line("agent.unreachable")
    await house.until(lambda: house.floor.acd.position(house.session, "voice") == 1)
    assert house.state.call is CallState.QUEUED
    house.calls.set_agent_phone("loopback:ann", AgentPhone(answer_after=0.01))
    await house.accept(ANN)
    await house.line("audio.connected")
    await house.calls.hang_up(leg)


async def test_two_callers_and_a_texter_do_not_get_mixed_up(house: House) -> None:
    """Each number's texts go to its own session."""
    other = house.network.handset("+15550100124")
    await house.dial()
    first = house.session
    await other.text(OURS, "no call, only a text")
    await house.until(lambda: len(house.runner.sessions) == 2)
    second = house.session
    await house.caller.text(OURS, "about my call")
    await house.until(lambda: house.runner.sessions[first].last == "about my call")
    assert [line.data["body"] for line in await house.lines("text.received", first)] == ["about my call"]
    await house.line("queue.joined")
    assert [line.data["body"] for line in await house.lines("text.received", second)] == ["no call, only a text"]


async def test_a_text_told_twice_counts_once(house: House) -> None:
    """The provider repeats itself; the customer is greeted once."""
    text = await house.caller.text(OURS, "hello")
    assert not await house.runner.intake.text_arrived(text)
    await house.until(lambda: len(house.received) == 1)
    await house.line("text.received")
    assert len(await house.lines("text.received")) == 1


async def test_texts_of_one_sender_stay_in_order(house: House) -> None:
    """A photo takes longer to fetch than the words after it take to come."""
    await house.caller.text(OURS, "first", [("router.png", picture(), "image/png")])
    await house.caller.text(OURS, "second")
    await house.caller.text(OURS, "third")
    await house.until(lambda: bool(house.runner.sessions))
    await house.line("text.received", 3)
    assert [line.data["body"] for line in await house.lines("text.received")] == ["first", "second", "third"]
    assert len(house.runner.sessions) == 1


async def test_a_number_that_is_not_ours_is_not_answered(house: House) -> None:
    """A text to it is kept as dealt with; a call to it is refused."""
    await house.caller.text("+15550100299", "hello")
    leg = await house.calls.dial(CALLER, "+15550100299")
    async with house.calls.listen(leg) as heard:
        last = [hears async for hears in heard][-1]
    assert getattr(last, "cause", None) == "404"
    async with asyncio.timeout(5.0):
        while await house.journal.unhandled_inbound():  # noqa: ASYNC110  # what is waited for knows nothing of events
            await asyncio.sleep(0.005)
    assert not house.received


async def test_an_opt_out_learnt_after_the_session_is_kept(house: House) -> None:
    """The refusal comes when nobody is left to tell: our own list has it all the same."""
    await house.caller.text(OURS, "STOP")
    await house.until(lambda: len(house.received) == 1)
    await house.until(lambda: not house.runner.sessions)
    [stored] = await house.journal.sessions(1)
    [*_, answer] = await house.journal.messages(stored.id)
    again = Suppression(number=CALLER, sender=OURS, evidence="test", at=START)
    await house.journal.commit(Unit(unsuppress=[again]))
    assert not await house.journal.suppressed(CALLER, OURS)
    await house.runner.intake.settle(stored.id, e.TextRejected(answer.id, "opted_out", "21610", "The number has opted out."))
    assert await house.journal.suppressed(CALLER, OURS)


async def test_who_texts_after_hours_is_told_so(tmp_path: Path) -> None:
    """Nobody is promised an agent while everybody has gone home; the text waits at the desk."""
    async with House(tmp_path, hours={"support_hours": {"week": {"mon": ["09:00-09:01"]}}}).open() as house:
        await house.caller.text(OURS, "is anybody there?")
        await house.until(lambda: len(house.received) == 1)
        assert "we are closed" in house.received[0]
        await house.line("queue.joined")


async def test_a_report_that_comes_late_or_twice_says_nothing_new(house: House) -> None:
    """Delivered stays delivered: no failure is shown to the agent, and the ticks do not go back."""
    await house.ready(BEN)
    await house.caller.text(OURS, "hello")
    await house.accept(BEN)
    session = house.session
    await house.until(lambda: house.runner.sessions[session].ticks.get(e.MessageId(f"{session}-1")) == "delivered")
    [_, greeting] = await house.journal.messages(session)
    late: tuple[TextState, ...] = ("sent", "undelivered", "delivered")
    for state in late:
        await house.runner.intake.text_reported(report(greeting, state))
    assert not await house.lines("text.failed")
    assert (await house.desk.session(BEN, session)).ticks[greeting.id].state == "delivered"


async def test_a_report_that_overtakes_the_answer_of_the_provider_counts(house: House) -> None:
    """By our own id the text is known before the provider has answered; it is not sent again."""
    house.sms.gate.clear()
    await house.ready(BEN)
    leg = await house.dial()
    await house.line("offer.made")
    await house.calls.press(leg, "1")
    await house.line("text.sent")
    [text] = await house.journal.messages(house.session)
    await house.runner.intake.text_reported(report(text, "delivered"))
    await house.until(lambda: house.state.call is CallState.ENDED)
    house.sms.gate.set()
    await house.until(lambda: house.runner.outbox.idle)
    row = await house.journal.outbox(text.id)
    assert row is not None
    assert (row.state, row.outcome) == ("done", "accepted")


async def test_a_report_of_a_text_nobody_knows_is_left_alone(house: House) -> None:
    """Neither a strange id nor a strange word changes anything."""
    await house.caller.text(OURS, "hello")
    await house.until(lambda: bool(house.runner.sessions))
    await house.line("queue.joined")
    [_, greeting] = await house.journal.messages(house.session)
    before = await house.stored(house.session)
    await house.runner.intake.text_reported(msgspec.structs.replace(report(greeting, "failed"), message="nobody", ref="nobody"))
    await house.runner.intake.text_reported(msgspec.structs.replace(report(greeting, "failed"), state=None))
    assert await house.stored(house.session) == before


async def test_a_file_that_is_no_picture_is_not_kept_and_its_words_are(house: House) -> None:
    """What a stranger sends is looked at first; the text itself is not lost with it."""
    await house.caller.text(OURS, "see", [("virus.exe", b"MZ" * 100, "image/png")])
    await house.until(lambda: bool(house.runner.sessions))
    line = await house.line("text.received")
    assert (line.data["body"], line.data["media"]) == ("see", [])


def report(text: MessageRow, state: TextState) -> DeliveryReport:
    """What the provider says became of a text."""
    return DeliveryReport(
        provider=text.provider,
        ref=text.provider_ref or f"ref of {text.id}",
        message=text.id,
        state=state,
        reported=state,
        at=START,
        code="30003" if state == "undelivered" else None,
    )
