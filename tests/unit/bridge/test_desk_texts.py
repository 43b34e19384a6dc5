"""The desk and the whole text channel: handing over, setting aside, judging, files, links, new and other conversations."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge import events as e
from bridge.channel import Channel
from bridge.desk import Desk
from bridge.uploads import Uploads
from bridge.web.ports import DeskRefusedError, Earlier, HandoverQueue, OptedOut, Related
from tests.unit.bridge.house import ANN, BEN, CALLER, House, picture
from tests.unit.bridge.story import OURS

CYD = e.AgentId("cyd")
SECOND = "+15550100201"
SPEC: dict[str, Any] = {
    "numbers": [
        {"number": OURS, "flow": "support", "desk": "support_sms"},
        {"number": SECOND, "desk": "billing_sms", "sender": {"per_day": 500, "brand": "B1", "campaign": "C1"}},
    ],
    "queues": [
        {"id": "support", "desk": "support_sms", "offers": {"mode": "always"}},
        {"id": "support_sms", "channel": "sms", "wrap_up": 0},
        {"id": "billing_sms", "channel": "sms", "title": "Billing by text", "wrap_up": 0},
        {"id": "vip_sms", "channel": "sms", "transfers": False},
    ],
    "agents": [
        {"id": "ann", "name": "Ann", "queues": ["support"]},
        {"id": "ben", "name": "Ben", "queues": ["support_sms"]},
        {"id": "cyd", "name": "Cyd", "queues": ["billing_sms", "support_sms"], "max_chats": 2},
    ],
}


class TextHouse(House):
    """A house whose desk can send links."""

    def furnish(self) -> None:
        async def taken(session: e.SessionId, token: str, media: tuple[e.Media, ...], refused: int) -> None:
            await self.runner.tell(session, e.MediaUploaded(token, media, refused))

        folder = self.settings.data
        self.uploads = Uploads(self.journal, self.runner.media, taken, public_url="https://texts.example", spool=folder)
        self.desk = Desk(self.runner, presets=lambda _: (), channel=Channel(self.runner), uploads=self.uploads)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[TextHouse]:
    """Two desks for texts with an agent each, Cyd works on both; Ann has a phone only."""
    async with TextHouse(tmp_path, **SPEC).open() as opened:
        assert isinstance(opened, TextHouse)
        opened.furnish()
        yield opened


async def chatting(house: TextHouse) -> e.SessionId:
    """Ben chats with the customer."""
    await house.ready(BEN)
    await house.caller.text(OURS, "my router blinks")
    await house.accept(BEN)
    return house.session


# --- handing over


async def test_only_who_is_there_and_takes_texts_can_be_asked(house: TextHouse) -> None:
    """Colleagues with what they could take and why not; queues that take transfers, with who waits and who is there."""
    session = await chatting(house)
    nobody = await house.desk.targets(BEN, session)
    assert (nobody.colleagues, nobody.why_not) == ((), "")
    assert nobody.queues == (
        HandoverQueue("support_sms", "Support sms", 0, 1),
        HandoverQueue("billing_sms", "Billing by text", 0, 0),
    )
    await house.desk.set_state(CYD, "not_ready", "Lunch")
    await house.ready(ANN)
    [cyd] = (await house.desk.targets(BEN, session)).colleagues
    assert (cyd.name, cyd.free, cyd.why_not) == ("Cyd", 2, "Not ready: Lunch")
    with pytest.raises(DeskRefusedError, match="Cyd cannot take it now: Not ready: Lunch"):
        await house.desk.transfer(BEN, session, to=CYD, queue=None, note="")
    with pytest.raises(DeskRefusedError, match="Ann is not signed in"):
        await house.desk.transfer(BEN, session, to=ANN, queue=None, note="")
    with pytest.raises(DeskRefusedError, match="to that queue"):
        await house.desk.transfer(BEN, session, to=None, queue="vip_sms", note="")
    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.targets(CYD, session)


async def test_a_colleague_takes_over_and_reads_the_note_first(house: TextHouse) -> None:
    """It rings there with the note, the old desk sees it pending, and the note stands until the new agent writes."""
    session = await chatting(house)
    await house.ready(CYD)
    await house.desk.transfer(BEN, session, to=CYD, queue=None, note="knows routers")
    pending = await house.desk.session(BEN, session)
    assert pending.handover is not None
    assert (pending.handover.to, pending.handover.note, pending.handover.until) == ("Cyd", "knows routers", house.now + 30.0)
    assert pending.composer_why.startswith("You have handed this chat over.")
    [row] = await house.desk.work(BEN)
    assert (row.handing_over, row.text_state) == ("Cyd", "queued")
    await house.until(lambda: bool(house.desk.offers(CYD)))
    assert house.desk.offers(CYD)[0].summary == "Ben hands it over: knows routers"
    assert (await house.desk.session(CYD, session)).note == "knows routers"

    await house.accept(CYD)
    view = await house.desk.session(CYD, session)
    assert (view.note, view.note_by, view.handover, view.chat_agent) == ("knows routers", "Ben", None, CYD)
    assert await house.desk.work(BEN) == ()
    await house.desk.say(CYD, session, "Cyd here.")
    assert (await house.desk.session(CYD, session)).note == ""


async def test_a_transfer_that_nobody_takes_comes_back_with_a_reason(house: TextHouse) -> None:
    """It rings at the desk it came from, the list says what happened, and looking at it takes the alert away."""
    session = await chatting(house)
    await house.ready(CYD)
    await house.desk.transfer(BEN, session, to=CYD, queue=None, note="")
    await house.until(lambda: bool(house.desk.offers(CYD)))
    await house.desk.decline(CYD, session, "sms")
    await house.line("transfer.failed")
    await house.runner.settled(session)
    [row] = await house.desk.work(BEN)
    assert (row.alert, row.handing_over) == ("Cyd: declined", "")
    await house.until(lambda: bool(house.desk.offers(BEN)))
    await house.desk.session(BEN, session)
    assert (await house.desk.work(BEN))[0].alert == ""
    await house.accept(BEN)
    assert (await house.desk.session(BEN, session)).composer_open


async def test_a_chat_goes_to_a_queue_so_often_and_no_oftener(tmp_path: Path) -> None:
    """The panel says that the limit is reached before anybody tries."""
    async with TextHouse(tmp_path, **(SPEC | {"sms": {"max_transfers": 1, "reopen_window": 0}})).open() as house:
        assert isinstance(house, TextHouse)
        house.furnish()
        session = await chatting(house)
        await house.desk.transfer(BEN, session, to=None, queue="billing_sms", note="a bill")
        view = await house.desk.session(BEN, session)
        assert view.handover is not None
        assert (view.handover.to, view.handover.until) == ("Billing by text", None)
        await house.ready(CYD)
        await house.accept(CYD)
        why = "This chat has been handed on 1 times already. Please keep it."
        assert (await house.desk.targets(CYD, session)).why_not == why
        assert (await house.desk.session(CYD, session)).transfer_why == why


# --- setting aside, judging


async def test_a_chat_is_set_aside_and_returns(house: TextHouse) -> None:
    """Only once both have written and the agent last; then it is listed apart, and marked when the customer writes."""
    session = await chatting(house)
    assert "both of you have written" in (await house.desk.session(BEN, session)).set_aside_why
    with pytest.raises(DeskRefusedError, match="both of you have written"):
        await house.desk.set_aside(BEN, session)
    await house.desk.say(BEN, session, "I look into it.")
    assert (await house.desk.session(BEN, session)).set_aside_why == ""
    await house.desk.set_aside(BEN, session)
    assert (await house.desk.session(BEN, session)).composer_why == "Set aside until the customer writes."
    [row] = await house.desk.work(BEN)
    assert (row.set_aside_at, row.returned, row.unanswered_since) == (house.now, False, None)
    house.now += 100.0
    await house.caller.text(OURS, "it works now")
    await house.line("chat.returned")
    await house.runner.settled(session)
    [row] = await house.desk.work(BEN)
    assert (row.set_aside_at, row.returned) == (None, True)
    await house.accept(BEN)
    assert (await house.desk.work(BEN))[0].unanswered_since == house.now
    await house.desk.session(BEN, session)
    assert not (await house.desk.work(BEN))[0].returned


async def test_words_that_may_mean_stop_are_judged(house: TextHouse) -> None:
    """The composer is closed until the agent says; yes opts the customer out, in these words."""
    session = await chatting(house)
    await house.caller.text(OURS, "please stop texting me")
    await house.line("stop.suspected")
    await house.runner.settled(session)
    view = await house.desk.session(BEN, session)
    assert view.suspicion is not None
    assert (view.suspicion.body, view.composer_open) == ("please stop texting me", False)
    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.judge(CYD, session, meant=True)
    await house.desk.judge(BEN, session, meant=True)
    over = await house.desk.session(BEN, session)
    assert (over.suspicion, over.text_state, over.opted_out) == (None, "opted_out", OptedOut(house.now, "please stop texting me"))


async def test_a_judgement_of_no_opens_the_composer(house: TextHouse) -> None:
    """And nobody is opted out."""
    session = await chatting(house)
    await house.caller.text(OURS, "please stop texting me")
    await house.line("stop.suspected")
    await house.runner.settled(session)
    await house.desk.judge(BEN, session, meant=False)
    view = await house.desk.session(BEN, session)
    assert (view.composer_open, view.suspicion, view.opted_out) == (True, None, None)


# --- files and links


async def test_files_go_out_with_a_text_and_are_seen_by_whom_they_concern(house: TextHouse) -> None:
    """Kept, sent, and readable in this session only, by its agents only."""
    session = await chatting(house)
    media = await house.desk.keep_media(BEN, picture())
    assert not await house.desk.may_see_media(BEN, session, media.digest)
    await house.desk.say(BEN, session, "", media=(media.digest,))
    line = await house.line("text.sent")
    assert [item["digest"] for item in line.data["media"]] == [media.digest]
    assert await house.desk.may_see_media(BEN, session, media.digest)
    assert not await house.desk.may_see_media(CYD, session, media.digest)
    assert not await house.desk.may_see_media(BEN, e.SessionId("nobody"), media.digest)


async def test_a_file_that_is_not_the_agents_cannot_be_sent(house: TextHouse) -> None:
    """A digest alone gives nobody a picture; what is no picture is refused in words; so is a text of nothing."""
    session = await chatting(house)
    media = await house.desk.keep_media(CYD, picture())
    with pytest.raises(DeskRefusedError, match="attach the files again"):
        await house.desk.say(BEN, session, "look", media=(media.digest,))
    with pytest.raises(DeskRefusedError, match="not taken"):
        await house.desk.keep_media(BEN, b"hello")
    with pytest.raises(DeskRefusedError, match="nothing to send"):
        await house.desk.say(BEN, session, " ")


async def test_a_link_for_photos_goes_out_and_comes_back_used(house: TextHouse) -> None:
    """The customer gets the address; the desk sees whether it was used, and how many files came."""
    session = await chatting(house)
    await house.desk.ask_for_photos(BEN, session)
    await house.until(lambda: any("https://texts.example/u/" in text for text in house.received))
    view = await house.desk.session(BEN, session)
    assert view.link is not None
    assert (view.link.used_at, view.link.expires_at, view.takes_files) == (None, house.now + 1800.0, True)
    media = await house.runner.media.put(picture())
    token = (await house.line("upload.asked")).data["token"]
    await house.runner.tell(session, e.MediaUploaded(token, (media,)))
    view = await house.desk.session(BEN, session)
    assert view.link is not None
    assert (view.link.used_at, view.link.files, view.unanswered_since) == (house.now, 1, house.now)
    with pytest.raises(DeskRefusedError, match="over"):
        await house.desk.ask_for_photos(BEN, e.SessionId("nobody"))


async def test_without_an_address_there_are_no_links(tmp_path: Path) -> None:
    """The desk does not offer what could not be opened."""
    async with TextHouse(tmp_path, **SPEC).open() as house:
        assert isinstance(house, TextHouse)
        session = await chatting(house)
        assert not (await house.desk.session(BEN, session)).takes_files
        with pytest.raises(DeskRefusedError, match="public_url"):
            await house.desk.ask_for_photos(BEN, session)


# --- the customer


async def test_a_name_is_kept_with_the_number(house: TextHouse) -> None:
    """It stands in the head, in the list, and in the next conversation; nobody else changes it."""
    session = await chatting(house)
    await house.desk.rename(BEN, session, "Maria Silva")
    assert (await house.desk.session(BEN, session)).name == "Maria Silva"
    assert (await house.desk.work(BEN))[0].name == "Maria Silva"
    contact = await house.journal.contact(CALLER)
    assert contact is not None
    assert contact.name == "Maria Silva"
    await house.desk.rename(BEN, session, "")
    assert (await house.desk.session(BEN, session)).name is None
    with pytest.raises(DeskRefusedError, match="while you work"):
        await house.desk.rename(CYD, session, "Nobody")


async def test_other_conversations_of_the_customer_can_be_read(house: TextHouse) -> None:
    """Ended ones and those with colleagues, by who has to do with the customer now, and only as long; none can be written in."""
    session = await chatting(house)
    await house.desk.end_chat(BEN, session)
    await house.desk.wrap_up(BEN, session, "done", None)
    await house.until(lambda: not house.runner.sessions)
    house.now += 60.0
    await house.ready(CYD)
    await house.caller.text(SECOND, "and my bill?")
    await house.accept(CYD)
    second = house.session
    view = await house.desk.session(CYD, second)
    assert view.earlier == (Earlier(session, house.now - 60.0, True, "inbound", "support_sms", "Ben"),)
    assert view.reply_code == house.state.code
    agreement = view.agreements[0]
    assert (agreement.granted, agreement.language, "Reply STOP" in agreement.words) == (True, "en", True)
    past = await house.desk.session(CYD, session)
    assert (past.composer_open, past.composer_why) == (False, "This conversation is over.")

    await house.caller.text(OURS, "it blinks again")
    await house.accept(BEN)
    third = house.session
    view = await house.desk.session(BEN, third)
    assert view.related == Related(second, CALLER, SECOND)
    other = await house.desk.session(BEN, second)
    assert (other.composer_open, other.composer_why) == (
        False,
        "This is another conversation of this customer; you can read it here.",
    )
    assert house.runner.sessions[second].unread == 0
    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.session(ANN, second)
    await house.desk.end_chat(CYD, second)
    await house.desk.wrap_up(CYD, second, "done", None)
    assert (await house.desk.session(BEN, third)).related is None


# --- beginning a conversation


async def test_an_agent_begins_a_conversation(house: TextHouse) -> None:
    """National numbers are understood, the opt-in text goes first and is shown before, and the chat is the agent's at once."""
    await house.ready(CYD)
    [first, second] = house.desk.senders(CYD)
    assert (first.number, first.left_today) == (OURS, None)
    assert (second.number, second.brand, second.registered, second.left_today) == (SECOND, "B1", True, 500)
    assert house.desk.senders(ANN) == ()
    assert (await house.desk.recipient(CYD, "2025", OURS)).problem == ""
    assert (await house.desk.recipient(CYD, "1234567890123456", OURS)).problem.startswith("Numbers are written with +")
    known = await house.desk.recipient(CYD, "(202) 555-0123", OURS)
    assert (known.number, known.problem, known.name) == ("+12025550123", "", None)
    assert "STOP" in known.first
    session = await house.desk.open(CYD, "+12025550123", OURS, "About your order: it is here.")
    view = await house.desk.session(CYD, session)
    assert (view.chat_agent, view.text_state, view.composer_open) == (CYD, "chatting", True)
    handset = house.network.handset("+12025550123")
    await house.until(lambda: len(handset.received) == 2)
    assert [text.body for text in handset.received] == [known.first, "About your order: it is here."]


async def test_who_cannot_be_written_to_is_said_in_words(house: TextHouse) -> None:
    """An opt-out, and a colleague who is in conversation, are told before anything is typed, and again when it is tried."""
    session = await chatting(house)
    await house.ready(CYD)
    taken = await house.desk.recipient(CYD, CALLER, OURS)
    assert taken.problem == f"Ben is in conversation with {CALLER} now."
    await house.caller.text(OURS, "STOP")
    await house.line("opted_out")
    await house.runner.settled(session)
    assert "asked us to stop" in (await house.desk.recipient(CYD, CALLER, OURS)).problem
    with pytest.raises(DeskRefusedError, match="asked us to stop"):
        await house.desk.open(CYD, CALLER, OURS, "Hello?")


# --- after a restart


async def test_after_a_restart_the_desk_knows_who_waits(house: TextHouse) -> None:
    """A desk that was not there when the customer wrote reads it up, and goes on from there."""
    session = await chatting(house)
    house.desk = Desk(house.runner, presets=lambda _: ())
    [row] = await house.desk.work(BEN)
    assert row.unanswered_since == house.now
    await house.desk.say(BEN, session, "Hello.")
    assert (await house.desk.work(BEN))[0].unanswered_since is None
    await house.desk.end_chat(BEN, session)
    await house.desk.wrap_up(BEN, session, "", None)
    await house.until(lambda: not house.runner.sessions)
    assert await house.desk.work(BEN) == ()
