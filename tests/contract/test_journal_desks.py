"""What agents keep for themselves, and what they find again, on either database."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from bridge.events import AgentId, SessionId
from bridge.journal import ContactRow, Journal, Unit
from bridge.journal.desks import OwnPreset
from tests.contract.test_journal import ANA, CUSTOMER, opened, text

KIM, LEE = AgentId("kim"), AgentId("lee")
MINE = OwnPreset("p-1", KIM, "en", "Hours", "We are here from 9 to 5.", 10.0)


@pytest.fixture
async def journal(journal_url: str) -> AsyncIterator[Journal]:
    async with Journal.open(journal_url) as journal:
        yield journal


async def test_own_texts_belong_to_one_agent(journal: Journal) -> None:
    """They are kept, changed in place and dropped by their owner, and by nobody else."""
    assert await journal.keep_own_preset(MINE)
    changed = msgspec.structs.replace(MINE, text="We are here till 6.", updated_at=11.0)
    assert await journal.keep_own_preset(changed)
    assert not await journal.keep_own_preset(msgspec.structs.replace(MINE, agent=LEE, text="Mine now"))
    await journal.drop_own_preset(LEE, "p-1")
    assert await journal.own_presets(KIM) == [changed]
    assert await journal.own_presets(LEE) == []
    await journal.drop_own_preset(KIM, "p-1")
    assert await journal.own_presets(KIM) == []


async def test_uses_are_counted_for_each_agent(journal: Journal) -> None:
    """Each use counts once, for who sent it."""
    for at in (1.0, 2.0):
        await journal.count_preset(KIM, "photo", at)
    await journal.count_preset(KIM, "link", 3.0)
    assert await journal.preset_uses(KIM) == {"photo": 2, "link": 1}
    assert await journal.preset_uses(LEE) == {}


async def test_agents_find_their_own_conversations(journal: Journal) -> None:
    """By words of a text, by part of the number, by the name; newest first, and nobody else's."""
    other = SessionId("s-other")
    await journal.commit(opened(agent=KIM, opened_at=100.0))
    await journal.commit(Unit(session=ANA, messages=[text("m1", body="Is it 100 % green?"), text("m2", body="Still GREEN")]))
    await journal.commit(opened(other, agent=KIM, opened_at=200.0, customer="+15550100177"))
    await journal.commit(opened(SessionId("s-lee"), agent=LEE, opened_at=300.0))
    await journal.commit(Unit(contacts=[ContactRow(number="+15550100177", name="Maria da Silva", updated_at=1.0)]))

    (found,) = await journal.find_own(KIM, "green", 10)
    assert (found.id, found.body, found.customer, found.name) == (ANA, "Still GREEN", CUSTOMER, None)
    assert [each.id for each in await journal.find_own(KIM, "100 %", 10)] == [ANA]
    assert [each.id for each in await journal.find_own(KIM, "da silva", 10)] == [other]
    assert [each.id for each in await journal.find_own(KIM, "555-0100", 10)] == [other, ANA]
    assert [each.id for each in await journal.find_own(KIM, "555-0100", 1)] == [other]
    assert await journal.find_own(KIM, "g_een", 10) == []
