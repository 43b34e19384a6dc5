"""Texts through the whole house: which get an agent, which get one answer, which get none; and what is written down of each."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge import events as e
from bridge.channel import Channel
from bridge.journal import BlockRow, Suppression, TimelineLine, Unit
from bridge.legs import TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.house import ANN, BEN, CALLER, House, picture
from tests.unit.bridge.story import OURS

NOBODYS, SHORT, MENU = "+15550100201", "72345", "+15550100203"
DAY = 86_400.0


def changed(folder: Path, sms: dict[str, Any] | None = None, **changes: Any) -> House:
    """One number for everything, one that nobody answers, a short code, and one with a menu."""
    numbers = [
        {"number": OURS, "flow": "support", "desk": "support_sms"},
        {"number": NOBODYS},
        {"number": SHORT, "desk": "support_sms"},
        {"number": MENU, "menu": "support"},
    ]
    return House(folder, numbers=numbers, sms={"reopen_window": 0} | (sms or {}), **changes)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A server that takes traffic."""
    async with changed(tmp_path).open() as house:
        yield house


async def handled(house: House, texts: int) -> None:
    """Wait until so many texts of the caller have found where they belong."""
    await house.until(lambda: len(house.caller.texts) - len(house.received) >= texts)
    while await house.journal.unhandled_inbound():
        await house.later(0.0)


async def line(house: House, kind: str) -> TimelineLine:
    """The newest line of this kind, once there is a session that has one."""
    await house.until(lambda: bool(house.runner.sessions))
    return await house.line(kind)


async def sessionless(house: House, body: str = "Your code is 1234", recipient: str = CALLER) -> None:
    """A program texts the caller without a conversation."""
    before = len(house.received)
    await Channel(house.runner).send_sessionless("api:shop", recipient, OURS, body, purpose="session")
    await house.until(lambda: len(house.received) > before)


# --- blocked


async def test_a_blocked_number_is_not_answered_on_any_leg(house: House) -> None:
    """The call is refused, the text is kept, and nobody is told anything."""
    await house.journal.commit(Unit(block=[BlockRow(number=CALLER, reason="insults", actor="agent:ann", at=house.now)]))
    await house.calls.dial(CALLER, OURS)
    await house.until(lambda: house.calls.calls == 0)
    await house.caller.text(OURS, "hello")
    await handled(house, 1)
    assert not house.received
    assert not house.runner.sessions
    (kept,) = await house.journal.messages_page(9, number=CALLER)
    assert (kept.direction, kept.body, kept.session) == ("in", "hello", None)


async def test_who_is_blocked_in_the_middle_of_a_chat_is_not_heard_in_it(house: House) -> None:
    """Further texts are kept and nobody reads them; STOP still ends the chat, for the agent as well."""
    await house.ready(BEN)
    await house.caller.text(OURS, "hello")
    await house.accept(BEN)
    session = house.session
    await house.until(lambda: len(house.received) == 1)
    block = BlockRow(number=CALLER, reason="insults", actor="agent:ben", at=house.now)
    await house.journal.commit(Unit(block=[block]))
    await house.caller.text(OURS, "and another insult")
    await handled(house, 2)
    assert len(await house.lines("text.received", session)) == 1
    await house.caller.text(OURS, "STOP")
    await house.line("opted_out")
    assert house.runner.sessions[session].state.text is TextLeg.OPTED_OUT
    assert len(house.received) == 1


async def test_a_number_blocked_in_the_settings_may_still_say_stop(tmp_path: Path) -> None:
    """It is obeyed, and not answered."""
    async with changed(tmp_path, {"blocked": [CALLER]}).open() as house:
        await house.caller.text(OURS, "STOP")
        await handled(house, 1)
        assert await house.journal.suppressed(CALLER, OURS)
        assert not house.received


# --- numbers nobody answers


async def test_a_text_to_a_number_nobody_answers_is_kept_and_not_answered(house: House) -> None:
    """The default; no session begins."""
    await house.caller.text(NOBODYS, "hello")
    await handled(house, 1)
    (kept,) = await house.journal.messages_page(9, number=CALLER)
    assert (kept.direction, kept.recipient) == ("in", NOBODYS)
    assert not house.received
    assert not house.runner.sessions


async def test_it_may_be_answered_once_a_day(tmp_path: Path) -> None:
    """Two machines do not talk to each other for ever."""
    sms = {"unassigned": {"action": "reply", "text": "Nobody reads texts here. Call us."}}
    async with changed(tmp_path, sms).open() as house:
        await house.caller.text(NOBODYS, "hello")
        await house.until(lambda: len(house.received) == 1)
        await house.caller.text(NOBODYS, "hello?")
        await handled(house, 2)
        assert house.received == ["Nobody reads texts here. Call us."]
        house.now += DAY + 1.0
        await house.caller.text(NOBODYS, "and today?")
        await house.until(lambda: len(house.received) == 2)


async def test_it_may_have_a_desk_after_all(tmp_path: Path) -> None:
    """Every text finds somebody."""
    async with changed(tmp_path, {"unassigned": {"action": "queue", "queue": "support_sms"}}).open() as house:
        await house.ready(BEN)
        await house.caller.text(NOBODYS, "hello")
        await house.accept(BEN)
        assert house.state.our_number == NOBODYS


@pytest.mark.parametrize("action", ["ignore", "reply"])
async def test_command_words_are_obeyed_and_answered_there_too(tmp_path: Path, action: str) -> None:
    """STOP once, HELP, START; and STOP holds: no canned answer to who wants none."""
    sms = {"unassigned": {"action": action, "text": "Nobody reads texts here."}}
    async with changed(tmp_path, sms).open() as house:
        await house.caller.text(NOBODYS, "HELP")
        await house.until(lambda: len(house.received) == 1)
        assert "customer support" in house.received[0]
        await house.caller.text(NOBODYS, "Stop.")
        await house.until(lambda: len(house.received) == 2)
        assert "no more texts from us" in house.received[1]
        assert await house.journal.suppressed(CALLER, NOBODYS)
        for body in ("STOP", "hello", "please stop texting me"):
            await house.caller.text(NOBODYS, body)
        await handled(house, 5)
        assert len(house.received) == 2
        opt_out = await house.journal.suppression(CALLER, NOBODYS)
        assert opt_out is not None
        assert not opt_out.provisional
        await house.caller.text(NOBODYS, "yes")
        await house.until(lambda: len(house.received) == 3)
        assert not await house.journal.suppressed(CALLER, NOBODYS)


async def test_a_free_wish_to_be_left_alone_is_obeyed_there_without_a_judge(tmp_path: Path) -> None:
    """Nobody reads there, so it holds until START; and it gets no canned answer."""
    async with changed(tmp_path, {"unassigned": {"action": "reply", "text": "Nobody reads texts here."}}).open() as house:
        await house.caller.text(NOBODYS, "please leave me alone")
        await handled(house, 1)
        opt_out = await house.journal.suppression(CALLER, NOBODYS)
        assert opt_out is not None
        assert opt_out.provisional
        assert not house.received


# --- answers to sessionless texts


async def test_an_answer_to_a_sessionless_text_gets_one_canned_reply_a_day(tmp_path: Path) -> None:
    """And reaches no agent."""
    async with changed(tmp_path, {"sessionless_reply": "Nobody reads this number."}).open() as house:
        await sessionless(house)
        for body in ("thanks", "YES", "who are you?"):
            await house.caller.text(OURS, body)
        await handled(house, 3)
        await house.until(lambda: len(house.received) == 2)
        assert house.received[1] == "Nobody reads this number."
        assert not house.runner.sessions
        assert not await house.journal.suppressions(CALLER), "YES answers what was asked and is no START"


async def test_stop_to_a_sessionless_text_is_obeyed_and_confirmed(house: House) -> None:
    """And the next one is not sent."""
    await sessionless(house)
    await house.caller.text(OURS, "STOP")
    await house.until(lambda: len(house.received) == 2)
    assert "no more texts from us" in house.received[1]
    assert await house.journal.suppressed(CALLER, OURS)


async def test_a_wish_to_be_left_alone_after_a_sessionless_text_is_read_by_an_agent(tmp_path: Path) -> None:
    """No canned reply: somebody has to judge it."""
    async with changed(tmp_path, {"sessionless_reply": "Nobody reads this number."}).open() as house:
        await house.ready(BEN)
        await sessionless(house)
        await house.caller.text(OURS, "please stop texting me")
        await house.accept(BEN)
        await house.desk.judge(BEN, house.session, meant=True)
        await house.until(lambda: len(house.received) == 2)
        assert "no more texts from us" in house.received[1]


async def test_a_question_in_an_open_conversation_goes_there(house: House) -> None:
    """Whatever a program has sent beside it."""
    await house.ready(BEN)
    await house.caller.text(OURS, "my router blinks")
    await house.accept(BEN)
    await sessionless(house)
    await house.caller.text(OURS, "what is that code for?")
    await house.line("text.received", 2)
    assert len(house.runner.sessions) == 1


async def test_days_later_a_text_is_a_question_of_its_own(house: House) -> None:
    """Nobody answers a code of last week."""
    await sessionless(house)
    house.now += 4 * DAY
    await house.caller.text(OURS, "my router blinks")
    await line(house, "queue.joined")


# --- sessions


async def test_a_new_acquaintance_is_introduced_although_help_was_answered_before(house: House) -> None:
    """The answer to HELP does not say all that has to be said first; a second conversation does not say it again."""
    await house.caller.text(MENU, "HELP")
    await house.until(lambda: len(house.received) == 1)
    await house.later(3_600.0)
    await house.until(lambda: not house.runner.sessions)
    await house.caller.text(MENU, "hello")
    await house.until(lambda: len(house.received) == 2)
    assert "recurring messages" in house.received[1]
    await house.caller.text(MENU, "exit")
    await house.until(lambda: not house.runner.sessions)
    await house.caller.text(MENU, "hello again")
    await house.until(lambda: len(house.received) == 4)
    assert "recurring messages" not in house.received[3]


async def test_after_a_restart_a_text_still_goes_to_what_was_touched_last(tmp_path: Path) -> None:
    """When a conversation was touched is kept with it."""
    before = changed(tmp_path)
    async with before.open() as house:
        for number in (OURS, SHORT):
            await house.caller.text(number, "hello")
        await house.until(lambda: len(house.received) == 2)
        first, second = house.runner.sessions
        for session in (second, first):
            house.now += 10.0
            await house.runner.tell(session, e.OptOutChanged(opted_out=False))
    async with before.open() as house:
        touched = {session: live.as_open().touched_at for session, live in house.runner.sessions.items()}
        assert touched[first] > touched[second]


async def test_a_text_to_a_short_code_is_served_like_any_other(house: House) -> None:
    """And answered from it."""
    await house.ready(BEN)
    await house.caller.text(SHORT, "hello")
    await house.accept(BEN)
    await house.desk.say(BEN, house.session, "Good morning")
    await house.until(lambda: len(house.received) == 2)
    assert {text.sender for text in house.caller.received} == {SHORT}


async def test_a_text_after_the_end_opens_a_conversation_of_its_own(house: House) -> None:
    """The old one stays closed; nobody is introduced twice."""
    await house.ready(BEN)
    await house.caller.text(OURS, "my router blinks")
    await house.accept(BEN)
    first = house.session
    await house.desk.end_chat(BEN, first)
    await house.desk.wrap_up(BEN, first, "", None)
    await house.until(lambda: not house.runner.sessions)
    await house.caller.text(OURS, "it does again")
    await line(house, "queue.joined")
    assert house.session != first
    assert (await line(house, "text.received")).data["why"] == "nothing is open with this number"


async def test_stop_to_one_number_of_ours_is_not_stop_to_the_others(house: House) -> None:
    """The ledger is kept for each pair; a conversation with another number goes on."""
    await house.caller.text(OURS, "hello")
    await line(house, "queue.joined")
    first = house.session
    await house.caller.text(SHORT, "STOP")
    await house.until(lambda: "no more texts" in "".join(house.received))
    assert not await house.journal.suppressed(CALLER, OURS)
    assert house.runner.sessions[first].state.text is TextLeg.QUEUED


async def test_words_nobody_judged_are_judged_in_the_next_conversation(house: House) -> None:
    """The customer's next text is not swallowed and nothing is sent: an agent has both before them."""
    await house.caller.text(OURS, "stop sending me the wrong bill")
    await line(house, "stop.suspected")
    first = house.session
    await house.ready(BEN)
    await house.accept(BEN)
    await house.desk.end_chat(BEN, first)
    await house.desk.wrap_up(BEN, first, "", None)
    await house.until(lambda: not house.runner.sessions)
    await house.caller.text(OURS, "where is my parcel?")
    await house.accept(BEN)
    view = await house.desk.session(BEN, house.session)
    assert view.suspicion is not None
    assert view.suspicion.body == "stop sending me the wrong bill"
    assert not view.composer_open
    assert not house.received
    await house.desk.judge(BEN, house.session, meant=False)
    await house.desk.say(BEN, house.session, "On its way")
    await house.until(lambda: bool(house.received) and house.received[-1] == "On its way")
    assert not await house.journal.suppressed(CALLER, OURS)


async def test_nobody_of_whom_it_is_not_known_is_offered_texts_on_the_phone(house: House) -> None:
    """The call is served; the words stand in its timeline for whoever answers it."""
    await house.ready(BEN)
    await house.journal.commit(
        Unit(suppress=[Suppression(number=CALLER, sender=OURS, evidence="message in-old", at=house.now, provisional=True)])
    )
    await house.dial()
    await line(house, "queue.joined")
    assert (await house.line("stop.suspected")).data["message"] == "in-old"
    assert not await house.lines("offer.made")


async def test_a_session_that_could_not_begin_is_none(house: House) -> None:
    """A refused first event leaves nothing behind that later texts could fall into."""
    await house.caller.text(OURS, "STOP")
    await house.until(lambda: not house.runner.sessions and bool(house.received))
    opened = await house.runner.open_text_session(CALLER, OURS, "api")
    with pytest.raises(UnexpectedEvent, match="The customer sent STOP"):
        await house.runner.tell(opened.state.id, e.ApiSaid(e.MessageId("api-1"), "api:shop", "Your parcel is here"))
    await house.until(lambda: not house.runner.sessions)
    assert await house.journal.session(opened.state.id) is None


async def test_a_menu_that_is_gone_after_a_restart_leaves_its_customer_to_a_desk(tmp_path: Path) -> None:
    """Also when the queue has another name now: the text finds an agent."""
    before = changed(tmp_path)
    async with before.open() as house:
        await house.caller.text(MENU, "hello")
        await house.until(lambda: len(house.received) == 1)
        assert house.state.text is TextLeg.CHOOSING
    queues = [{"id": "support", "desk": "texts"}, {"id": "texts", "channel": "sms"}]
    agents = [{"id": "ben", "name": "Ben", "queues": ["texts"]}]
    after = House(tmp_path, numbers=[{"number": MENU, "desk": "texts"}], queues=queues, agents=agents)
    after.network, after.caller = before.network, before.caller
    async with after.open() as house:
        await house.ready(BEN)
        await house.caller.text(MENU, "2")
        await house.accept(BEN)
        assert house.state.chat_queue == "texts"


# --- what is written down


async def test_consent_by_key_and_by_writing_stand_in_the_ledger_with_words_and_version(house: House) -> None:
    """Who, when, with which number of ours, exact words, language, key of the words, revision of the flow or menu, evidence."""
    await house.caller.text(MENU, "hello")
    await house.until(lambda: bool(house.received))
    [written] = await house.journal.consents(CALLER)
    assert (written.purpose, written.granted, written.sender, written.prompt) == ("session", True, MENU, "opt_in")
    assert written.version
    assert house.received[0].startswith(written.words)
    assert written.evidence.startswith("message in-")
    await house.ready(BEN)
    leg = await house.dial()
    await house.line("offer.made")
    await house.calls.press(leg, "1")
    await house.line("consent.given")
    [_, *pressed] = await house.journal.consents(CALLER)
    assert [(one.evidence, one.sender, one.language) for one in pressed] == [(f"digit 1 on {leg}", OURS, "en")]
    assert pressed[0].prompt == (await house.lines("offer.made"))[0].data["prompt"]
    assert pressed[0].version == house.state.flow_revision


async def test_what_happens_to_a_text_is_told_to_who_asked_for_it(tmp_path: Path) -> None:
    """Notices of texts with a session and without one wait for the endpoint, in the order in which things happened."""
    hooks = [{"name": "crm", "url": "http://127.0.0.1:9/", "secret": "s3cret", "events": ["*"]}]
    async with changed(tmp_path, hooks=hooks).open() as house:
        await house.caller.text(NOBODYS, "hello")
        await handled(house, 1)
        await house.caller.text(OURS, "hello", [("router.png", picture(), "image/png")])
        await line(house, "queue.joined")
        await house.caller.text(OURS, "STOP")
        await house.until(lambda: not house.runner.sessions)
        kinds = [notice["type"] for notice in (await house.journal.export(CALLER))["notices"]]
        for kind in ("sms.received", "session.opened", "media.received", "opt_out.changed", "session.closed"):
            assert kind in kinds
        assert kinds.count("sms.received") == 3
        assert kinds.index("session.opened") < kinds.index("session.closed")


async def test_a_call_beside_a_chat_shares_the_number_and_not_the_conversation(house: House) -> None:
    """What the caller texts while talking to Ann is Ann's; what comes afterwards goes on with Ben."""
    await house.ready(BEN)
    await house.caller.text(OURS, "my router blinks")
    await house.accept(BEN)
    chat = house.session
    leg = await house.to_the_line()
    call = house.session
    await house.ready(ANN)
    await house.accept(ANN)
    await house.line("audio.connected")
    await house.caller.text(OURS, "here is the serial number")
    await house.line("text.received")
    assert [line.data["why"] for line in await house.lines("text.received", call)] == ["texts belong to the call in progress"]
    await house.calls.hang_up(leg)
    await house.line("call.ended")
    await house.caller.text(OURS, "and my router still blinks")
    await house.until(lambda: house.runner.sessions[chat].unread == 2)


async def test_codes_cannot_be_guessed(house: House) -> None:
    """Who names five codes that nobody has is told of none any more: the right one opens a conversation of their own."""
    await house.caller.text(OURS, "my router blinks")
    await line(house, "text.received")
    theirs = house.session
    code = house.runner.sessions[theirs].state.code
    wrong = [each for each in ("BCDF", "GHJK", "LMNP", "QRST", "VWXZ", "ZXWV") if each != code][:5]
    guesser, other = house.network.handset("+12025550177"), house.network.handset("+12025550178")
    for body in (*wrong, code):
        await guesser.text(OURS, body)
    await house.until(lambda: len(house.runner.sessions) == 2)
    while await house.journal.unhandled_inbound():
        await house.later(0.0)
    assert house.runner.sessions[theirs].state.aliases == []
    await other.text(OURS, code)
    await house.until(lambda: house.runner.sessions[theirs].state.aliases == ["+12025550178"])


async def test_help_is_answered_once_in_a_while(house: House) -> None:
    """Two machines that answer each other would go on for ever."""
    for _ in range(3):
        await house.caller.text(OURS, "HELP")
    await house.until(lambda: bool(house.runner.sessions))
    await house.line("text.received", 3)
    await house.until(lambda: len(house.received) == 1)
    house.now += 61.0
    await house.caller.text(OURS, "HELP")
    await house.until(lambda: len(house.received) == 2)
