"""Texts that begin on our side, in a whole server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from bridge import events as e
from bridge.channel import MOST_AHEAD, Channel, ChannelRefusedError, opens_at
from bridge.journal import BlockRow, ConsentRow, LineTypeRow, Suppression, Unit
from bridge.legs import TextLeg
from bridge.web.api import Api, Behind
from sms.numbers import local_hours, time_zones
from sms.pacing import Pace, SenderFacts
from tests.unit.bridge.house import ANN, BEN, CALLER, House
from tests.unit.bridge.story import OURS, START
from tests.unit.web.fake_waits import FakeWaits

OTHER, THIRD = "+15550100201", "+15550100202"
BERLIN = "+4915228817386"
"""A mobile number that the Bundesnetzagentur keeps for fiction; one time zone."""


def clock_in(zone: str, hour: int, minute: int = 0) -> float:
    """An instant at which the clocks of *zone* show this."""
    return datetime(2027, 1, 15, hour, minute, tzinfo=ZoneInfo(zone)).timestamp()


NOON = clock_in("America/Chicago", 12)
"""Day in all of North America."""


def changed(folder: Path, **changes: Any) -> House:
    """Three numbers: one for everything, one not registered, and one that is Ben's own."""
    spec: dict[str, Any] = {
        "numbers": [
            {"number": OURS, "flow": "support", "desk": "support_sms", "sender": {"brand": "BEXAMPLE", "per_day": 100}},
            {"number": OTHER, "flow": "support", "desk": "support_sms", "sender": {"registered": False}},
            {"number": THIRD, "flow": "support", "agent": "ben"},
        ],
        "agents": [
            {"id": "ann", "name": "Ann", "queues": ["support"], "phone": "loopback:ann"},
            {"id": "ben", "name": "Ben", "queues": ["support_sms"]},
            {"id": "cid", "name": "Cid", "queues": ["support_sms"]},
        ],
    }
    house = House(folder, **(spec | changes))
    house.now = NOON
    return house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with changed(tmp_path).open() as open_house:
        yield open_house


@pytest.fixture
def channel(house: House) -> Channel:
    return Channel(house.runner)


async def refused(work: Any) -> ChannelRefusedError:
    """The refusal that *work* ends with."""
    with pytest.raises(ChannelRefusedError) as caught:
        await work
    return caught.value


async def got(house: House, *words: str) -> None:
    """Wait until the caller's phone has texts with these words, in this order."""
    await house.until(lambda: len(house.received) >= len(words))
    for text, word in zip(house.received, words, strict=True):
        assert word in text


# --- programs


async def test_a_program_opens_a_conversation(house: House, channel: Channel) -> None:
    """Who has never heard from us reads first who we are; the answer reaches the desk."""
    sent = await channel.send("api:shop", CALLER, OURS, "Your parcel is here")

    await got(house, "STOP", "Your parcel is here")
    assert (sent.session, sent.due_at, sent.repeated) == (house.session, NOON, False)
    row = await house.journal.message(sent.message)
    assert row is not None
    assert (row.session, row.author, row.purpose) == (sent.session, "api:shop", "care")
    await house.ready(BEN)
    await house.caller.text(OURS, "Thank you")
    await house.until(lambda: bool(house.desk.offers(BEN)))
    assert house.desk.offers(BEN)[0].session == sent.session


async def test_several_texts_a_day_go_into_one_conversation(house: House, channel: Channel) -> None:
    """Also when they come at the same time; introduced is who has been introduced."""
    both = await asyncio.gather(
        channel.send("api:shop", CALLER, OURS, "One"), channel.send("api:shop", CALLER, OURS, "Two"), return_exceptions=False
    )
    third = await channel.send("api:shop", CALLER, OURS, "Three")

    assert len({sent.session for sent in (*both, third)}) == 1
    await got(house, "STOP", "One", "Two", "Three")


async def test_a_text_that_is_asked_for_twice_goes_once(house: House, channel: Channel) -> None:
    """The author's name for it decides, for a day; another author's name is another text."""
    first = await channel.send("api:shop", CALLER, OURS, "Hello", once="a")
    again = await channel.send("api:shop", CALLER, OURS, "Hello", once="a")
    bare = await channel.send_sessionless("api:shop", CALLER, OURS, "Hello", once="b")
    bare_again = await channel.send_sessionless("api:shop", CALLER, OURS, "Hello", once="b")
    other = await channel.send("api:bank", CALLER, OURS, "Hello", once="a")
    house.now += 86_400
    tomorrow = await channel.send("api:shop", CALLER, OURS, "Hello", once="a")

    assert (again.message, again.repeated, again.session) == (first.message, True, first.session)
    assert (bare_again.message, bare_again.repeated) == (bare.message, True)
    assert len({first.message, bare.message, other.message, tomorrow.message}) == 4


async def test_a_text_asked_for_again_after_a_crash_goes_once(tmp_path: Path) -> None:
    """The server died before it could say that it had taken the text; the program asks again."""
    house = changed(tmp_path)
    async with house.open():
        first = await Channel(house.runner).send("api:shop", CALLER, OURS, "Hello", once="a")
    async with house.open():
        again = await Channel(house.runner).send("api:shop", CALLER, OURS, "Hello", once="a")
        texts = await house.journal.messages_page(10)

    assert (first.message, again.repeated) == (again.message, True)
    assert texts[0].body == "Hello"
    assert len(texts) == 2, "the introduction and the text"


async def test_an_answer_goes_to_whom_the_program_names(house: House, channel: Channel) -> None:
    """The agent of the text is asked first."""
    await house.ready(BEN, e.AgentId("cid"))
    await channel.send("api:shop", CALLER, OURS, "Cid takes care of you", agent="cid", queue="support_sms")
    await got(house, "STOP", "Cid")
    await house.caller.text(OURS, "Good")
    await house.until(lambda: bool(house.desk.offers(e.AgentId("cid"))))

    assert house.desk.offers(BEN) == ()


async def test_a_text_into_a_chat_is_a_part_of_it(house: House, channel: Channel) -> None:
    """The agent sees what the program wrote; no second conversation is opened."""
    await house.ready(BEN)
    await house.caller.text(OURS, "Hello")
    await house.accept(BEN)
    sent = await channel.send("api:shop", CALLER, OURS, "Your invoice")

    assert sent.session == house.session
    assert house.state.text is TextLeg.CHATTING
    lines = await house.lines("text.sent")
    assert lines[-1].data["author"] == "api:shop"


@pytest.mark.parametrize("sessionless", [False, True])
async def test_a_text_waits_for_its_time_and_can_be_taken_back(house: House, channel: Channel, sessionless: bool) -> None:
    """Until then it is pending; canceled it never goes, and the conversation knows."""
    send = channel.send_sessionless if sessionless else channel.send
    kept = await send("api:shop", CALLER, OURS, "Kept", due_at=NOON + 60)
    dropped = await send("api:shop", CALLER, OURS, "Dropped", due_at=NOON + 60)
    assert (kept.due_at, kept.state) == (NOON + 60, "pending")
    assert await channel.cancel(dropped.message)
    await house.later(61)
    await house.until(lambda: any("Kept" in text for text in house.received))

    assert not any("Dropped" in text for text in house.received)
    assert not await channel.cancel(kept.message)
    assert not await channel.cancel(dropped.message)
    assert not await channel.cancel(e.MessageId("nothing"))
    row = await house.journal.message(dropped.message)
    assert row is not None
    assert row.state == "canceled"


async def test_a_stop_stops_what_waits(house: House, channel: Channel) -> None:
    """A planned text is looked at again when it is due."""
    sent = await channel.send("api:shop", CALLER, OURS, "Now")
    later = await channel.send("api:shop", CALLER, OURS, "Later", due_at=NOON + 3600)
    await got(house, "STOP", "Now")
    await house.caller.text(OURS, "STOP")
    await house.until(lambda: len(house.received) == 3)
    await house.later(3601)
    row = await house.journal.message(later.message)
    async with asyncio.timeout(5):
        while row is None or row.state == "pending":
            await asyncio.sleep(0.01)
            row = await house.journal.message(later.message)

    assert row.state == "failed"
    assert sent.session is not None
    assert len(house.received) == 3


async def test_an_answer_for_an_agent_waits_where_that_agent_works(tmp_path: Path) -> None:
    """In the number's desk if they work there, else in a queue of theirs; a queue that is named counts in any case."""
    queues = [
        {"id": "support", "desk": "support_sms"},
        {"id": "support_sms", "channel": "sms"},
        {"id": "other_sms", "channel": "sms"},
    ]
    agents = [
        {"id": "ben", "name": "Ben", "queues": ["other_sms", "support_sms"]},
        {"id": "cid", "name": "Cid", "queues": ["other_sms"]},
    ]
    async with changed(tmp_path, queues=queues, agents=agents).open() as house:
        channel = Channel(house.runner)
        for agent, named, queue in (("ben", None, "support_sms"), ("cid", None, "other_sms"), ("ben", "other_sms", "other_sms")):
            sent = await channel.send("api:shop", CALLER, OURS, "Hello", agent=agent, queue=named)
            assert sent.session is not None
            assert house.runner.sessions[sent.session].state.desk == queue


async def test_a_sessionless_text_opens_nothing(house: House, channel: Channel) -> None:
    """It goes as it is, and says what it lacks as long as no text has said all that has to be said first."""
    sent = await channel.send_sessionless("api:shop", CALLER, OURS, "Example: your code is 4711")

    await got(house, "4711")
    assert (sent.session, sent.missing) == (None, ("recurring", "rates", "stop"))
    assert not house.runner.sessions
    again = await channel.send_sessionless("api:shop", CALLER, OURS, "Your code is 4712")
    assert again.missing == ("brand", "recurring", "rates", "stop")
    words = "Example: recurring codes as you ask for them. Msg & data rates may apply. Reply STOP to opt out."
    assert (await channel.send_sessionless("api:shop", CALLER, OURS, words)).missing == ()
    await got(house, "4711", "4712", "recurring")
    assert (await channel.send_sessionless("api:shop", CALLER, OURS, "Your code is 4713")).missing == ()


# --- what is refused


@pytest.mark.parametrize("sessionless", [False, True])
@pytest.mark.parametrize(
    ("wishes", "rule"),
    [
        ({"recipient": "12"}, "invalid_number"),
        ({"recipient": ""}, "invalid_number"),
        ({"recipient": "+18005550100"}, "cannot_text"),
        ({"sender": "+15550100299"}, "unknown_sender"),
        ({"sender": OTHER}, "unregistered_sender"),
        ({"body": ""}, "empty"),
        ({"body": " \n\x00"}, "empty"),
        ({"body": "x" * 1601}, "too_long"),
        ({"due_at": NOON + MOST_AHEAD + 1}, "too_early"),
        ({"expires_at": NOON}, "too_late"),
        ({"due_at": NOON + 60, "expires_at": NOON + 60}, "too_late"),
        ({"purpose": "marketing"}, "no_consent"),
    ],
)
async def test_what_cannot_go_is_refused_at_once(
    house: House, channel: Channel, wishes: dict[str, Any], rule: str, sessionless: bool
) -> None:
    """With the rule and words; nothing is opened and nothing is in the journal."""
    asked: dict[str, Any] = {"recipient": CALLER, "sender": OURS, "body": "Hello"} | wishes
    send = channel.send_sessionless if sessionless else channel.send
    refusal = await refused(send("api:shop", asked.pop("recipient"), asked.pop("sender"), asked.pop("body"), **asked))

    assert refusal.rule == rule
    assert str(refusal)
    assert not house.runner.sessions
    assert await house.journal.messages_page(10) == []


@pytest.mark.parametrize(
    ("wishes", "rule"),
    [({"queue": "support"}, "unknown_queue"), ({"agent": "ann"}, "unknown_agent"), ({"agent": "eve"}, "unknown_agent")],
)
async def test_nobody_could_have_the_answer(channel: Channel, wishes: dict[str, Any], rule: str) -> None:
    """Only queues and agents who take texts can."""
    assert (await refused(channel.send("api:shop", CALLER, OURS, "Hello", **wishes))).rule == rule


async def test_a_number_is_written_as_people_write_it(house: House, channel: Channel) -> None:
    """Numbers of the country of the settings need no plus."""
    await channel.send("api:shop", "(555) 010-0123", OURS, "Hello")

    await got(house, "STOP", "Hello")


async def test_an_unregistered_number_may_text_abroad(channel: Channel) -> None:
    """Registration is a matter of carriers in the US."""
    sent = await channel.send_sessionless("api:shop", BERLIN, OTHER, "Guten Tag", purpose="session")

    assert sent.state == "pending"


@pytest.mark.parametrize(
    ("unit", "rule", "words"),
    [
        (Unit(suppress=[Suppression(number=CALLER, sender="*", evidence="x", at=NOON)]), "opted_out", "2027-01-15"),
        (
            Unit(suppress=[Suppression(number=CALLER, sender=OURS, evidence="x", at=NOON, provisional=True)]),
            "opted_out",
            "START",
        ),
        (Unit(block=[BlockRow(number=CALLER, reason="Pranks", actor="agent:ben", at=NOON)]), "blocked", "blocklist"),
    ],
)
async def test_who_must_not_be_texted_is_not(house: House, channel: Channel, unit: Unit, rule: str, words: str) -> None:
    """By programs and by agents alike; the words say why."""
    await house.journal.commit(unit)
    for work in (
        channel.send("api:shop", CALLER, OURS, "Hello"),
        channel.send_sessionless("api:shop", CALLER, OURS, "Hello", purpose="session"),
        channel.open_by_agent(BEN, CALLER, OURS, None, "Hello"),
    ):
        refusal = await refused(work)
        assert refusal.rule == rule
        assert words in str(refusal)
    assert not house.runner.sessions
    verdict = await channel.may_text(CALLER, OURS, "care")
    assert (verdict.allowed, verdict.reason) == (False, rule)


async def test_a_landline_that_was_found_out_is_not_texted(house: House, channel: Channel) -> None:
    """What a failed delivery taught counts more than the numbering plan."""
    await house.journal.put_line_type(LineTypeRow(number=CALLER, kind="landline", at=NOON))

    assert (await refused(channel.send("api:shop", CALLER, OURS, "Hello"))).rule == "cannot_text"


async def test_marketing_needs_its_own_consent(house: House, channel: Channel) -> None:
    """Recorded in the ledger; a withdrawal ends it."""
    agreed = ConsentRow(number=CALLER, purpose="marketing", granted=True, words="Offers", language="en", evidence="form", at=NOON)
    await house.journal.commit(Unit(consents=[agreed]))
    await channel.send("api:shop", CALLER, OURS, "Offer", purpose="marketing")
    await got(house, "STOP", "Offer")
    gone = ConsentRow(number=CALLER, purpose="marketing", granted=False, words="No", language="en", evidence="form", at=NOON)
    await house.journal.commit(Unit(consents=[gone]))

    assert (await refused(channel.send("api:shop", CALLER, OURS, "Offer", purpose="marketing"))).rule == "no_consent"


# --- the night


async def test_at_night_a_programs_text_waits_for_the_morning(house: House, channel: Channel) -> None:
    """It is taken, and says when it will go."""
    house.now = clock_in("Europe/Berlin", 22, 30)
    sent = await channel.send_sessionless("api:shop", BERLIN, OURS, "Guten Tag")
    planned = await channel.send_sessionless("api:shop", BERLIN, OURS, "Guten Tag", due_at=clock_in("Europe/Berlin", 23))

    assert sent.due_at == planned.due_at == clock_in("Europe/Berlin", 8) + 86_400


async def test_what_would_be_too_late_in_the_morning_is_refused_at_night(house: House, channel: Channel) -> None:
    """With the time it is there, and when it opens; a session text knows no night."""
    house.now = clock_in("Europe/Berlin", 22, 30)
    refusal = await refused(channel.send("api:shop", BERLIN, OURS, "Guten Tag", expires_at=house.now + 3600))
    sent = await channel.send("api:shop", BERLIN, OURS, "Guten Tag", expires_at=house.now + 3600, purpose="session")

    assert refusal.rule == "quiet_hours"
    assert refusal.until == clock_in("Europe/Berlin", 8) + 86_400
    assert "22:30" in str(refusal)
    assert "08:00" in str(refusal)
    assert sent.due_at == house.now


async def test_an_agent_is_told_that_it_is_night_there(house: House, channel: Channel) -> None:
    """Nobody begins a conversation at night."""
    house.now = clock_in("Europe/Berlin", 6)
    refusal = await refused(channel.open_by_agent(BEN, BERLIN, OURS, None, "Guten Tag"))

    assert refusal.rule == "quiet_hours"
    assert "06:00" in str(refusal)


@given(at=st.floats(START, START + 400 * 86_400), number=st.sampled_from([CALLER, BERLIN, "+12125550100", "+61491570006"]))
def test_what_opens_is_open_in_every_zone(at: float, number: str) -> None:
    """Whenever it is asked, in winter and summer: never in the past, and a quiet hour nowhere."""
    zones = time_zones(number)
    opens = opens_at(zones, at)

    assert opens is None or opens >= at
    assert opens is None or all(8 <= hour < 21 for hour in local_hours(zones, opens))
    assert opens is not None or len(zones) > 1


# --- agents


async def test_an_agent_begins_a_conversation(house: House, channel: Channel) -> None:
    """The chat is theirs at once; who has never heard from us reads first who we are."""
    await house.ready(BEN)
    session = await channel.open_by_agent(BEN, CALLER, OURS, e.QueueId("support_sms"), "Hello, this is Ben")

    await got(house, "STOP", "Hello, this is Ben")
    assert house.state.id == session
    assert (house.state.text, house.state.chat_agent, house.state.service) == (TextLeg.CHATTING, BEN, "outbound")
    again = await channel.open_by_agent(BEN, CALLER, OURS, None, "One more thing")
    assert again == session
    await house.until(lambda: "One more thing" in house.received)


async def test_nobody_writes_to_whom_a_colleague_talks(house: House, channel: Channel) -> None:
    """The refusal names the colleague; who waits in line is taken from there."""
    await house.caller.text(OURS, "Hello")
    await house.until(lambda: bool(house.runner.sessions) and house.state.text is TextLeg.QUEUED)
    waiting = await refused(channel.open_by_agent(BEN, CALLER, OURS, None, "Hello"))
    await house.ready(e.AgentId("cid"))
    await house.accept(e.AgentId("cid"))
    chatting = await refused(channel.open_by_agent(BEN, CALLER, OURS, None, "Hello"))

    assert (waiting.rule, chatting.rule) == ("in_conversation", "in_conversation")
    assert "waits" in str(waiting)
    assert "Cid" in str(chatting)
    assert len(house.runner.sessions) == 1


async def test_nobody_writes_to_whom_is_on_the_phone(house: House, channel: Channel) -> None:
    """Texts of a call belong to the conversation with that call."""
    await house.to_the_line()
    refusal = await refused(channel.open_by_agent(BEN, CALLER, OURS, None, "Hello"))

    assert refusal.rule == "in_conversation"
    assert "phone" in str(refusal)


async def test_an_agent_writes_from_the_numbers_of_their_queues(house: House) -> None:
    """With what the carriers think of them; a direct number is its agent's alone, and calls have none."""
    pace = Pace([SenderFacts(number=OURS, brand="BEXAMPLE", per_day=100)])
    pace.take(OURS, 30, house.now)
    channel = Channel(house.runner, pace=pace)
    ben, cid = channel.senders_for(BEN), channel.senders_for(e.AgentId("cid"))

    assert [(one.number, one.direct, one.registered, one.left_today) for one in ben] == [
        (OURS, False, True, 70),
        (OTHER, False, False, None),
        (THIRD, True, True, None),
    ]
    assert [one.number for one in cid] == [OURS, OTHER]
    assert {one.queues for one in ben} == {("support_sms",)}
    assert channel.senders_for(ANN) == channel.senders_for(e.AgentId("eve")) == ()


async def test_a_queue_names_its_numbers(tmp_path: Path) -> None:
    """Then only those are its agents' to choose from."""
    queues = [{"id": "support", "desk": "support_sms"}, {"id": "support_sms", "channel": "sms", "numbers": [OTHER]}]
    async with changed(tmp_path, queues=queues).open() as house:
        channel = Channel(house.runner)

        assert [one.number for one in channel.senders_for(e.AgentId("cid"))] == [OTHER]
        assert (await refused(channel.open_by_agent(e.AgentId("cid"), CALLER, OURS, None, "Hi"))).rule == "not_your_number"
        own = await refused(channel.open_by_agent(BEN, CALLER, THIRD, e.QueueId("support"), "Hi"))
        assert own.rule == "not_your_number"


# --- opt-outs by hand


@pytest.mark.parametrize("sender", [OURS, None])
async def test_an_opt_out_by_hand_holds_for_open_conversations(house: House, channel: Channel, sender: str | None) -> None:
    """And so does its end."""
    sent = await channel.send("api:shop", CALLER, OURS, "Hello")
    await got(house, "STOP", "Hello")
    await channel.opt_out(CALLER, sender, "By telephone")
    assert sent.session is not None
    await house.runner.settled(sent.session)

    assert (await house.stored(sent.session)).text is TextLeg.OPTED_OUT
    assert (await refused(channel.send("api:shop", CALLER, OURS, "Hello"))).rule == "opted_out"
    await channel.opt_in(CALLER, sender, "Letter of 3 May")
    await house.runner.settled(sent.session)
    assert (await channel.send("api:shop", CALLER, OURS, "Again")).state == "pending"


async def test_an_opt_in_for_all_numbers_lifts_every_opt_out(channel: Channel) -> None:
    """However the opt-outs came about."""
    await channel.opt_out(CALLER, OURS, "x")
    await channel.opt_out(CALLER, None, "x")
    await channel.opt_in(CALLER, None, "Letter")

    assert (await channel.may_text(CALLER, OURS, "care")).allowed
    assert (await channel.may_text(CALLER, THIRD, "care")).allowed


async def test_an_opt_in_for_one_number_leaves_the_others(channel: Channel) -> None:
    """Who asked all our numbers to stop, and one to start again, is texted by that one only."""
    await channel.opt_out(CALLER, None, "x")
    await channel.opt_in(CALLER, OURS, "Letter")

    assert (await channel.may_text(CALLER, OURS, "care")).allowed
    assert (await channel.may_text(CALLER, THIRD, "care")).reason == "opted_out"


async def test_an_opt_out_is_of_a_number_of_ours(channel: Channel) -> None:
    """Of another it would mean nothing."""
    for work in (channel.opt_out(CALLER, "+15550100299", "x"), channel.opt_in(CALLER, "+15550100299", "x")):
        assert (await refused(work)).rule == "unknown_sender"


async def test_others_are_told_of_texts_and_opt_outs_outside_sessions(tmp_path: Path) -> None:
    """A sessionless text that is taken and taken back, an opt-out and its end: a notice each."""
    hooks = [{"name": "crm", "url": "http://127.0.0.1:9/", "secret": "s3cret", "events": ["*"]}]
    async with changed(tmp_path, hooks=hooks).open() as house:
        channel = Channel(house.runner)
        sent = await channel.send_sessionless("api:shop", CALLER, OURS, "Hello", due_at=NOON + 60)
        await channel.cancel(sent.message)
        await channel.opt_out(CALLER, None, "Letter")
        await channel.opt_in(CALLER, None, "Letter")
        told = (await house.journal.export(CALLER))["notices"]

    assert [notice["type"] for notice in told] == ["sms.sent", "sms.canceled", "opt_out.changed", "opt_out.changed"]


async def test_what_is_planned_for_the_night_is_no_part_of_a_contact(house: House, channel: Channel) -> None:
    """Whatever a program calls it, nobody is woken by a text that was written the evening before."""
    night = clock_in("America/Chicago", 23)
    sent = [
        await channel.send("api:shop", BERLIN, OURS, "Hello", purpose="session", due_at=night + 86_400),
        await channel.send_sessionless("api:shop", BERLIN, OURS, "Hello", purpose="session", due_at=night + 86_400),
    ]

    assert {each.due_at for each in sent} == {clock_in("Europe/Berlin", 8) + 2 * 86_400}
    rows = [await house.journal.message(each.message) for each in sent]
    assert [row.purpose for row in rows if row is not None] == ["care", "care"]


# --- through the API


async def no_mails(_sessions: tuple[str, ...]) -> int:
    """Nobody mails here."""
    return 0


async def test_a_program_texts_through_the_whole_house(tmp_path: Path) -> None:
    """POST /sms, the customer's phone rings, the answer reaches an agent; everything can be read back by HTTP."""
    keys = [{"name": "shop", "token": "shop-token-0123456789", "scopes": ["sms.send", "sms.read", "sessions.read", "erase"]}]
    async with changed(tmp_path, api={"keys": keys}).open() as house:
        behind = Behind(
            settings=house.settings,
            records=house.records,
            journal=house.journal,
            channel=Channel(house.runner),
            media=house.runner.media,
            waits=FakeWaits(),
            redeliver=house.runner.hooks.redeliver,
            forget_mails=no_mails,
            now=house.clock,
        )
        app = web.Application()
        app.add_routes(Api(behind).routes())
        headers = {"Authorization": "Bearer shop-token-0123456789"}
        async with TestClient(TestServer(app), headers=headers) as client:
            asked = {"to": CALLER, "from": OURS, "text": "Your parcel is here"}
            answers = [await client.post("/api/v1/sms", json=asked, headers={"Idempotency-Key": "parcel-1"}) for _ in range(2)]
            [taken, again] = [await answer.json() for answer in answers]
            assert answers[0].status == 202
            assert taken == again
            await got(house, "STOP", "Your parcel is here")
            await house.ready(BEN)
            await house.caller.text(OURS, "Thank you")
            await house.accept(BEN)
            detail = await _until(client, f"/api/v1/sms/{taken['id']}", lambda text: text["state"] == "delivered")
            session = await (await client.get(f"/api/v1/sessions/{taken['session']}")).json()
            plain = await client.get(f"/api/v1/sessions/{taken['session']}/transcript", headers={"Accept": "text/plain"})
            words = await plain.text()
            page = await (await client.get(f"/api/v1/sessions?customer={CALLER}&service=api")).json()
            planned = await client.post("/api/v1/sms", json=asked | {"send_at": NOON + 600})
            path = f"/api/v1/sms/{(await planned.json())['id']}"
            gone = await client.delete(path)
            await house.runner.settled(e.SessionId(taken["session"]))
            canceled = await (await client.get(path)).json()
            erased = await client.post(f"/api/v1/customers/{CALLER}/erase")

        assert detail["steps"][0]["state"] == "pending"
        assert session["id"] == taken["session"]
        assert "Thank you" in words
        assert [row["id"] for row in page["sessions"]] == [taken["session"]]
        assert gone.status == 204
        assert [step["state"] for step in canceled["steps"]] == ["pending", "canceled"]
        assert "taken back" in canceled["explanation"]
        assert erased.status == 409


async def _until(client: TestClient[Any, Any], path: str, condition: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(5):
        while not condition(document := await (await client.get(path)).json()):  # noqa: ASYNC110  # HTTP tells nobody
            await asyncio.sleep(0.02)
    return document
