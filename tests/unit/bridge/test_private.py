"""What people write, and who they are, stays out of the logs; of who was erased nothing is left that could be looked at."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from bridge import events as e
from bridge.channel import Channel, ChannelRefusedError
from bridge.logs import mask_numbers
from bridge.web.ports import DeskRefusedError
from tests.unit.bridge.house import BEN, CALLER, House, picture
from tests.unit.bridge.story import OURS
from tests.unit.bridge.test_lawful import NOON, quiet

SECRET = "xylophone"
"""A word that nothing else says."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    house.now = NOON
    async with house.open() as opened:
        await opened.ready(BEN)
        yield opened


async def chat(house: House) -> e.SessionId:
    """A conversation with everything in it that people can write, and with things that go wrong."""
    channel = Channel(house.runner)
    await house.caller.text(OURS, f"{SECRET} hello", [("a.png", picture(), "image/png")])
    await house.accept(BEN)
    session = house.session
    await house.desk.say(BEN, session, f"{SECRET} reply")
    await house.desk.rename(BEN, session, f"{SECRET} Lee")
    await channel.send("api:shop", CALLER, OURS, f"{SECRET} parcel", ticket=f"{SECRET} 4711")
    with suppress(ChannelRefusedError):
        await channel.send("api:shop", CALLER, OURS, f"{SECRET} offer", purpose="marketing")
    with suppress(DeskRefusedError):
        await house.desk.transfer(BEN, session, to=None, queue="support", note=f"{SECRET} note")
    house.journal.broken = True
    with suppress(Exception):
        async with asyncio.timeout(0.3):
            await house.desk.say(BEN, session, f"{SECRET} lost")
    house.journal.broken = False
    await house.caller.text(OURS, f"please stop texting me {SECRET}")
    await house.line("stop.suspected")
    await house.desk.judge(BEN, session, meant=True)
    await house.desk.wrap_up(BEN, session, f"{SECRET} disposition", None)
    return session


async def test_nothing_people_write_is_in_the_logs(house: House) -> None:
    """Nor is a number that anybody could call; also not when the database is away."""
    with structlog.testing.capture_logs() as logs:
        session = await chat(house)
        await house.later(90_000)
        await house.until(lambda: session not in house.runner.sessions)

    assert logs
    lines = json.dumps([mask_numbers(None, "", dict(line)) for line in logs], default=repr)
    assert SECRET not in lines
    assert CALLER not in lines
    assert CALLER.removeprefix("+") not in lines


async def test_an_erased_conversation_is_an_empty_page(house: House) -> None:
    """The agent who had it and programs may still look at it; there is nothing to see, and the pictures are gone."""
    session = await chat(house)
    await house.later(90_000)
    await house.until(lambda: session not in house.runner.sessions)
    await quiet(house)
    erased = await house.journal.erase(CALLER, at=house.now)

    view = await house.desk.session(BEN, session)
    document, reasons = await house.records.session(session), await house.records.explain(session)

    assert (view.customer, len(erased.digests)) == (None, 1)
    for shown in (repr(view), repr(document), repr(reasons)):
        assert SECRET not in shown
        assert CALLER not in shown
    for digest in erased.digests:
        assert not await house.desk.may_see_media(BEN, session, digest)
