"""Hooks in a whole server: what customers, agents and programs do is told."""

from pathlib import Path

from bridge.channel import Channel
from tests.unit.bridge.house import BEN, CALLER, House
from tests.unit.bridge.story import OURS
from tests.unit.bridge.test_hooks import SECRET, Receiver, receiving

NOON = 1_800_036_000.0
"""2027-01-15 in daylight from New York to Los Angeles, so that programs may send."""


async def told(house: House, crm: Receiver, *types: str) -> list[str]:
    """Wait until all these have been told; everything that was, in order, repeats left out."""
    await house.until(lambda: set(types) <= {kind(name) for name in crm.ids})
    return list(dict.fromkeys(kind(name) for name in crm.ids))


def kind(name: str) -> str:
    return name.partition(":")[0]


def hooked(folder: Path, crm: Receiver, *events: str) -> House:
    house = House(folder, hooks=[{"name": "crm", "url": crm.url, "secret": SECRET, "events": list(events)}])
    house.now = NOON
    crm.clock = house.clock
    return house


async def test_a_chat_is_told_from_its_first_text_to_its_end(tmp_path: Path) -> None:
    """In the order in which it happened, signed."""
    async with receiving("crm") as receivers, hooked(tmp_path, receivers["crm"], "*").open() as house:
        crm = receivers["crm"]
        await house.caller.text(OURS, "Hello")
        await house.ready(BEN)
        await house.accept(BEN)
        await house.desk.say(BEN, house.session, "Good morning")
        await house.until(lambda: any("Good morning" in text for text in house.received))
        await house.desk.end_chat(BEN, house.session)
        await house.desk.wrap_up(BEN, house.session, "Done", None)
        await house.caller.text(OURS, "STOP")
        order = await told(house, crm, "session.opened", "session.assigned", "sms.delivered", "opt_out.changed", "session.closed")
    assert order[:3] == ["session.opened", "sms.received", "sms.sent"]
    assert order.index("session.queued") < order.index("session.assigned") < order.index("opt_out.changed")
    assert all(crm.genuine)


async def test_what_a_program_does_without_a_session_is_told(tmp_path: Path) -> None:
    """Sessionless texts and their fate, a text that is taken back, an opt-out in its name."""
    async with receiving("crm") as receivers, hooked(tmp_path, receivers["crm"], "sms.*", "opt_out.*").open() as house:
        crm, channel = receivers["crm"], Channel(house.runner)
        sent = await channel.send_sessionless("api:shop", CALLER, OURS, "Your parcel is here", purpose="session")
        planned = await channel.send_sessionless("api:shop", CALLER, OURS, "Later", purpose="session", due_at=NOON + 60)
        assert await channel.cancel(planned.message)
        await channel.opt_out(CALLER, OURS, "api:shop: by letter")
        await channel.opt_in(CALLER, None, "api:shop: by letter")
        await told(house, crm, "sms.sent", "sms.delivered", "sms.canceled", "opt_out.changed")
        await house.until(lambda: sum(kind(name) == "opt_out.changed" for name in crm.ids) == 2)
    assert {f"sms.sent:{sent.message}", f"sms.accepted:{sent.message}", f"sms.delivered:{sent.message}"} <= set(crm.ids)
    assert f"sms.canceled:{planned.message}" in crm.ids
