"""Who asked to be left alone is left alone: whatever way they said it, whoever wants to write, on every path."""

import ast
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

import pytest

import bridge
from bridge.channel import Channel, ChannelRefusedError
from bridge.desk import Desk
from bridge.journal import BlockRow, ConsentRow, Journal, Suppression, Unit
from bridge.outbox import OWED
from bridge.uploads import Uploads
from bridge.web.ports import DeskRefusedError
from sms.message import Purpose
from sms.provider import Rejected
from tests.unit.bridge.house import BEN, CALLER, House
from tests.unit.bridge.post_office import ANNA, PostOffice
from tests.unit.bridge.story import OURS

OTHER = "+15550100201"
NOON = datetime(2027, 1, 15, 12, tzinfo=ZoneInfo("America/Chicago")).timestamp()
"""Day in all of North America."""
Act: TypeAlias = Callable[[House, Channel], Awaitable[object]]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Two numbers with one desk, links for files, and Ben at work."""
    numbers = [{"number": OURS, "flow": "support", "desk": "support_sms"}, {"number": OTHER, "desk": "support_sms"}]
    house = House(tmp_path, numbers=numbers)
    house.now = NOON
    async with house.open() as opened:
        opened.desk = Desk(opened.runner, presets=lambda _: (), uploads=_links(opened))
        await opened.ready(BEN)
        yield opened


def _links(house: House) -> Uploads:
    async def nobody(*_: object) -> None:
        """Takes no files."""

    url, spool = "https://sms.example.com", house.settings.data / "spool"
    return Uploads(house.journal, house.runner.media, nobody, public_url=url, spool=spool)


# --- every way to say it, everybody who might write


async def _wrote(house: House, body: str) -> None:
    before = len(house.caller.texts) - len(house.received)
    await house.caller.text(OURS, body)
    await house.until(lambda: len(house.caller.texts) - len(house.received) > before)
    while await house.journal.unhandled_inbound():  # noqa: ASYNC110  # the journal has no event to wait for
        await asyncio.sleep(0.005)


WAYS: dict[str, Act] = {
    "a stop word": lambda house, _: _wrote(house, "STOP"),
    "a stop word in French": lambda house, _: _wrote(house, "Arrêt !"),
    "free words": lambda house, _: _wrote(house, "please stop texting me"),
    "by letter, for one number": lambda _, channel: channel.opt_out(CALLER, OURS, "Letter"),
    "by letter, for all numbers": lambda _, channel: channel.opt_out(CALLER, None, "Letter"),
}


async def _agent_says(house: House, _: Channel) -> None:
    await house.desk.say(BEN, house.session, "Are you there?")


async def _agent_asks_for_files(house: House, _: Channel) -> None:
    await house.desk.ask_for_photos(BEN, house.session)


async def _agent_begins(house: House, _: Channel) -> None:
    await house.desk.open(BEN, CALLER, OURS, "Hello again")


async def _agent_ends(house: House, _: Channel) -> None:
    await house.desk.end_chat(BEN, house.session)


async def _agent_mails(house: House, _: Channel) -> None:
    await house.desk.send(BEN, house.session, "By mail", once="mail-1")


def _program(purpose: Purpose) -> Act:
    return lambda _, channel: channel.send("api:shop", CALLER, OURS, "An offer", purpose=purpose)


def _sessionless(purpose: Purpose) -> Act:
    return lambda _, channel: channel.send_sessionless("api:shop", CALLER, OURS, "An offer", purpose=purpose)


WRITERS: dict[str, Act] = {
    "an agent in the chat": _agent_says,
    "an agent who asks for files": _agent_asks_for_files,
    "an agent by mail": _agent_mails,
    "an agent who begins": _agent_begins,
    "an agent who says goodbye": _agent_ends,
    **{f"a program ({purpose})": _program(purpose) for purpose in ("session", "care", "marketing")},
    **{f"a program without a conversation ({purpose})": _sessionless(purpose) for purpose in ("session", "care", "marketing")},
    "nobody for a day": lambda house, _: house.later(86_400),
}


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_texts_who_asked_to_be_left_alone(house: House, way: str) -> None:
    """After the one confirmation nothing arrives: not from agents, programs, mails or clocks, nor what was planned before."""
    channel = Channel(house.runner)
    given = ConsentRow(number=CALLER, purpose="marketing", granted=True, words="Yes", language="en", evidence="form", at=NOON)
    await house.journal.commit(Unit(consents=[given]))
    await house.caller.text(OURS, "hello")
    await house.accept(BEN)
    await channel.send("api:shop", CALLER, OURS, "planned", due_at=NOON + 3600, purpose="session")
    await channel.send_sessionless("api:shop", CALLER, OURS, "planned", due_at=NOON + 3600, purpose="session")
    await quiet(house)

    await WAYS[way](house, channel)
    await quiet(house)
    before = len(house.received)
    tried = 0
    for writer in WRITERS.values():
        with suppress(ChannelRefusedError, DeskRefusedError):
            await writer(house, channel)
            tried += 1
        await quiet(house)

    assert house.received[before:] == []
    assert sum("no more" in text.lower() or "opted out" in text.lower() for text in house.received[:before]) <= 1
    assert not any("planned" in text for text in house.received)
    assert tried < len(WRITERS) // 2, "most are told at once"


async def quiet(house: House) -> None:
    """Wait until everything that can go has gone."""
    async with asyncio.timeout(5):
        for session in list(house.runner.sessions):
            await house.runner.settled(session)
        while await house.runner.outbox.has_work():  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)  # the loopback network's own delay


async def test_a_second_stop_is_not_answered_again(house: House) -> None:
    """One confirmation, however often it is said; HELP is answered all the same."""
    for body in ("hello", "STOP", "stop", "Arrêt", "UNSUBSCRIBE"):
        await _wrote(house, body)
        await quiet(house)
    owed = [text for text in await house.journal.messages_page(99, number=CALLER, direction="out") if text.author == OWED]
    await _wrote(house, "HELP")
    await quiet(house)

    assert [text.preset for text in owed] == ["stop"]
    assert len(house.received) == 3


async def test_who_is_blocked_in_the_settings_gets_nothing_in_an_open_conversation(tmp_path: Path) -> None:
    """The conversation is older than the line in the settings; the outbox looks at both lists."""
    house = House(tmp_path)
    async with house.open():
        await house.ready(BEN)
        await house.caller.text(OURS, "hello")
        await house.accept(BEN)
        await quiet(house)
        before = len(house.received)
    house.settings = house.settings.model_copy(update={"sms": house.settings.sms.model_copy(update={"blocked": (CALLER,)})})
    async with house.open():
        await house.desk.say(BEN, house.session, "Are you there?")
        failed = await house.line("text.failed")

    assert failed.data["code"] == "blocked"
    assert house.received[before:] == []


async def test_a_consent_for_one_number_is_none_for_another(house: House) -> None:
    """Whoever asks hears it at once; and who refused care texts is not sent any on a program's word."""
    channel = Channel(house.runner)
    given = ConsentRow(
        number=CALLER, purpose="marketing", granted=True, words="Yes", language="en", evidence="form", at=NOON, sender=OTHER
    )
    refused = ConsentRow(number=CALLER, purpose="care", granted=False, words="No", language="en", evidence="form", at=NOON)
    await house.journal.commit(Unit(consents=[given, refused]))

    assert (await channel.may_text(CALLER, OTHER, "marketing")).allowed
    assert (await channel.may_text(CALLER, OURS, "marketing")).reason == "no_consent"
    assert (await channel.may_text(CALLER, OURS, "care")).reason == "no_consent"


# --- the last gate


GATES: dict[str, Unit] = {
    "opted out": Unit(suppress=[Suppression(number=ANNA, sender=OURS, evidence="x", at=1.0)]),
    "opted out of everything": Unit(suppress=[Suppression(number=ANNA, sender="*", evidence="x", at=1.0)]),
    "perhaps opted out": Unit(suppress=[Suppression(number=ANNA, sender=OURS, evidence="x", at=1.0, provisional=True)]),
    "blocked": Unit(block=[BlockRow(number=ANNA, reason="x", actor="x", at=1.0)]),
}


@pytest.mark.parametrize("gate", GATES)
async def test_only_the_owed_answer_passes_the_outbox(tmp_path: Path, gate: str) -> None:
    """Whoever wrote a text into it, for whatever purpose, however urgent; and also when it was refused for now before."""
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        office = PostOffice(journal)
        office.carrier.answers = [Rejected("temporary", "20429", "busy", retriable=True)]
        async with office.open():
            await office.put("tried", author="agent:ben", purpose="session")
            await office.quiet()
            await journal.commit(GATES[gate])
            purposes: tuple[Purpose | None, ...] = ("session", "care", None)
            for author in ("agent:ben", "api:shop", "mail:a@b.example", "owed:"):
                for purpose in purposes:
                    await office.put(f"{author} {purpose}", author=author, purpose=purpose, priority=0)
            await office.put("the answer", author=OWED, purpose="session")
            await office.later_until(lambda: len(office.outcomes) == 14)

    assert office.carrier.bodies == ["tried", "the answer"]


def test_three_places_write_into_the_outbox() -> None:
    """A session's step, the channel and the intake: whoever adds another adds it to the tests of this file."""
    written = set()
    for path in Path(bridge.__file__).parent.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if any(isinstance(func, ast.Name) and func.id == "OutboxRow" for func in calls):
            written.add(path.name)

    assert written == {"ledger.py", "channel.py", "intake.py"}
