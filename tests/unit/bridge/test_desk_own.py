"""What the real desk lists, finds, keeps and asks for: who waits, own conversations, own texts, required notes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge import events as e
from bridge.desk import Desk
from bridge.glance import at_a_glance
from bridge.journal import TimelineLine
from bridge.web.console.words import speaking
from bridge.web.ports import DeskRefusedError, Preset
from bridge.web.ports_desk import OwnText, Told
from tests.unit.bridge.house import BEN, CALLER, House
from tests.unit.bridge.story import OURS
from tests.unit.bridge.test_desk_texts import CYD, SPEC

SHARED = (Preset("bye", "Bye", "Goodbye."), Preset("hello", "Hello", "Hello {customer}, {agent} of {company}: {ewt}, {code}."))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Ben and Cyd take texts; the queue asks for a note and how it ended."""
    queues = [dict(queue) for queue in SPEC["queues"]]
    queues[1] |= {"wrap_up": 60, "wrap_up_requires": ["note", "disposition"]}
    spec: dict[str, Any] = {**SPEC, "queues": queues, "brand": "Northwind"}
    async with House(tmp_path, **spec).open() as opened:
        opened.desk = Desk(opened.runner, presets=lambda language: SHARED if language == "en" else ())
        yield opened


async def chatting(house: House, words: str = "my router blinks") -> e.SessionId:
    await house.ready(BEN)
    await house.caller.text(OURS, words)
    await house.accept(BEN)
    return house.session


async def test_who_waits_is_seen_by_who_works_on_the_queue(house: House) -> None:
    """With the channel, since when, and what they said; it is gone once somebody has taken it."""
    await house.caller.text(OURS, "my router blinks")
    await house.until(lambda: bool(house.desk.waiting(BEN)))
    [waiter] = house.desk.waiting(BEN)
    assert (waiter.customer, waiter.queue, waiter.channel) == (CALLER, "support_sms", "sms")
    assert waiter.since <= house.now
    assert house.desk.waiting(e.AgentId("ann")) == ()
    await house.ready(BEN)
    await house.accept(BEN)
    assert house.desk.waiting(BEN) == ()


async def test_texts_are_filled_with_what_is_known(house: House) -> None:
    """Names and code go in, the wait only when it may be promised; what is missing is named, and such a text is not sent."""
    session = await chatting(house)
    bye, hello = await house.desk.ready_texts(BEN, session, "en")
    assert (bye.text, bye.missing) == ("Goodbye.", ())
    code = house.state.code
    assert "Ben of Northwind" in hello.text
    assert code in hello.text
    assert "{customer}" in hello.missing
    with pytest.raises(DeskRefusedError, match=r"Fill this in first: \{customer\}"):
        await house.desk.say(BEN, session, "Hello {customer}")
    await house.desk.rename(BEN, session, "Maria")
    [_, hello] = await house.desk.ready_texts(BEN, session, "en")
    assert hello.text.startswith("Hello Maria, Ben")
    assert await house.desk.ready_texts(BEN, None, "fr") == ()


async def test_the_most_used_text_comes_first(house: House) -> None:
    """Counted for each agent by what was sent."""
    session = await chatting(house)
    await house.desk.say(BEN, session, "Hello Maria", "hello")
    assert [text.id for text in await house.desk.ready_texts(BEN, session, "en")] == ["hello", "bye"]
    assert [text.id for text in await house.desk.ready_texts(CYD, None, "en")] == ["bye", "hello"]


async def test_own_texts_are_checked_and_kept(house: House) -> None:
    """They need title, words, a language and gaps that exist; only their owner has and changes them."""
    for text, why in (
        (OwnText("", "en", " ", "words"), "needs a title"),
        (OwnText("", "en", "x" * 41, "words"), "at most 40"),
        (OwnText("", "en", "Long", "x" * 1601), "Too long"),
        (OwnText("", "xx", "Hi", "words"), "language"),
        (OwnText("", "en", "Hi", "Dear {costumer}"), r"\{costumer\}"),
    ):
        with pytest.raises(DeskRefusedError, match=why):
            await house.desk.keep_own_text(BEN, text)
    await house.desk.keep_own_text(BEN, OwnText("", "en", "  My   hello ", " Hi {agent} "))
    [kept] = await house.desk.own_texts(BEN)
    assert (kept.title, kept.text) == ("My hello", "Hi {agent}")
    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.keep_own_text(CYD, kept)
    own = [text for text in await house.desk.ready_texts(BEN, None, "en") if text.own]
    assert [text.text for text in own] == ["Hi Ben"]
    await house.desk.drop_own_text(CYD, kept.id)
    await house.desk.drop_own_text(BEN, kept.id)
    assert await house.desk.own_texts(BEN) == ()


async def test_the_note_is_asked_for_where_the_queue_says_so(house: House) -> None:
    """Without note or disposition the work is not finished; with both it is."""
    session = await chatting(house)
    await house.desk.say(BEN, session, "Solved!")
    await house.desk.end_chat(BEN, session)
    assert (await house.desk.session(BEN, session)).wrap_up_requires == ("note", "disposition")
    with pytest.raises(DeskRefusedError, match="A note is required here"):
        await house.desk.wrap_up(BEN, session, " ", "Solved")
    with pytest.raises(DeskRefusedError, match="Choose first how it ended"):
        await house.desk.wrap_up(BEN, session, "new cable", None)
    await house.desk.wrap_up(BEN, session, "new cable", "Solved")
    assert not (await house.desk.session(BEN, session)).wrapping_up


async def test_own_conversations_are_found_and_nobody_elses(house: House) -> None:
    """By words and by number, with the newest text that has them."""
    session = await chatting(house, "The light BLINKS red")
    [found] = await house.desk.search(BEN, "blinks")
    assert (found.session, found.words, found.closed) == (session, "The light BLINKS red", False)
    assert [each.session for each in await house.desk.search(BEN, CALLER[-6:])] == [session]
    assert await house.desk.search(CYD, "blinks") == ()


async def test_earlier_conversations_are_for_who_may_see_the_open_one(house: House) -> None:
    """The conversation before this one is folded in with how it ended; a stranger learns nothing."""
    first = await chatting(house)
    await house.desk.say(BEN, first, "Done.")
    await house.desk.end_chat(BEN, first)
    await house.desk.wrap_up(BEN, first, "note", "Solved")
    await house.later(3 * 86_400)
    await house.caller.text(OURS, "It blinks again")
    await house.accept(BEN)
    second = next(live.state.id for live in house.runner.sessions.values() if live.state.id != first)
    folded, more = await house.desk.before(BEN, second, None)
    assert [(each.session, each.closed, each.agent, each.ended) for each in folded] == [(first, True, "Ben", "ended by agent")]
    assert not more
    assert await house.desk.before(BEN, second, first) == ((), False)
    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.before(CYD, second, None)


async def test_refusals_are_in_the_agents_language(house: House) -> None:
    """Of the desk, of the session, and of the channel."""
    session = await chatting(house)
    with speaking("fr"), pytest.raises(DeskRefusedError, match="rien à envoyer"):
        await house.desk.say(BEN, session, " ")
    with speaking("es"), pytest.raises(DeskRefusedError, match="No está conectado con este cliente"):
        await house.desk.say(CYD, session, "Hola")
    await house.desk.end_chat(BEN, session)
    await house.desk.wrap_up(BEN, session, "x", "Solved")
    await house.until(lambda: not house.runner.sessions or house.state.chat_agent is None)
    with speaking("fr"):
        assert (await house.desk.recipient(BEN, "12345678", OURS)).problem.startswith("Les numéros")


def test_what_was_told_is_kept_in_mind() -> None:
    """The first announcement counts, the wait runs from the first minute in line, and promises add up."""
    told: list[tuple[float, str, dict[str, Any]]] = [
        (1.0, "prompt.played", {"words": "Welcome."}),
        (2.0, "queue.joined", {"queue": "support", "waited": 1.0}),
        (3.0, "ewt.told", {"low": 2, "high": 3}),
        (4.0, "ewt.told", {"low": 1, "high": 1}),
        (5.0, "promise.made", {"what": "place kept"}),
        (6.0, "promise.made", {"words": "We call you back."}),
        (7.0, "queue.joined", {"queue": "other", "waited": 6.0}),
        (9.0, "agent.joined", {"name": "Ben"}),
        (20.0, "agent.joined", {"name": "Cyd"}),
        (21.0, "prompt.played", {"words": ""}),
    ]
    lines = [TimelineLine(at=at, kind=kind, data=data, n=n) for n, (at, kind, data) in enumerate(told, start=1)]
    assert at_a_glance(lines).told == Told(2, 3, 8.0, ("place kept", "We call you back."), "Welcome.")
