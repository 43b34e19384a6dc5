"""Contacts in a whole server: looked up, chosen, made and recorded, whatever the CRM does meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge import events as e
from bridge.adapters import crm_of
from bridge.contacts import Contacts
from bridge.crm.book import Book
from bridge.crm.fields import FieldsError
from bridge.journal import ERASED
from bridge.journal.crm_rows import CrmEntry
from bridge.web.ports import DeskRefusedError
from bridge.web.ports_contacts import ContactCard
from tests.crm_server import SECRET, TinyCrm, tiny_crm
from tests.unit.bridge.house import ANN, BEN, CALLER, House, picture
from tests.unit.bridge.story import OURS

OTHER = "+15550100124"


class CrmHouse(House):
    """A house that knows its customers."""

    contacts: Contacts
    book: Book

    @asynccontextmanager
    async def known(self) -> AsyncIterator["CrmHouse"]:
        """The house, open, with its CRM."""
        async with self.open(), AsyncExitStack() as stack:
            crm = await stack.enter_async_context(crm_of(self.settings, self.journal, self.clock))
            self.book = Book(self.journal, clock=self.clock, region="US")
            self.contacts = Contacts(
                self.runner, crm, self.book, chance=lambda: 0.5, link=lambda media: f"https://x.example/{media.digest[:6]}"
            )
            self.book.watch(self.contacts.contact_changed)
            self.runner.listen(self.contacts)
            started = asyncio.Event()
            task = asyncio.create_task(self.contacts.run(started))
            try:
                await started.wait()
                yield self
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def card(self, session: e.SessionId, agent: e.AgentId = BEN) -> ContactCard:
        """What the agent sees of the customer."""
        card = await self.contacts.card(agent, session)
        assert card is not None
        return card

    async def until_card(self, session: e.SessionId, holds: Callable[[ContactCard], bool], agent: e.AgentId = BEN) -> ContactCard:
        """Wait for the card to be so."""
        async with asyncio.timeout(10.0):
            while True:
                card = await self.contacts.card(agent, session)
                if card is not None and holds(card):
                    return card
                await asyncio.sleep(0.01)

    async def chat(self) -> e.SessionId:
        """Ben chats with the customer."""
        await self.ready(BEN)
        await self.caller.text(OURS, "my router blinks")
        await self.accept(BEN)
        return self.session

    async def over(self, session: e.SessionId, *, note: str = "Restarted it", disposition: str | None = "Solved") -> None:
        """Ben ends it and writes his note."""
        await self.desk.end_chat(BEN, session)
        await self.desk.wrap_up(BEN, session, note, disposition)
        await self.until(lambda: session not in self.runner.sessions)

    async def recorded(self, session: e.SessionId) -> CrmEntry:
        """Wait until the session has been recorded."""
        async with asyncio.timeout(10.0):
            while True:
                entries = await self.journal.crm_entries(session=session)
                done = [entry for entry in entries if entry.action == "record" and entry.state == "done"]
                if done:
                    return done[0]
                await asyncio.sleep(0.01)


def webhook(crm: TinyCrm, **more: Any) -> dict[str, Any]:
    return {"provider": "webhook", "webhook": {"url": crm.url, "secret": SECRET, "timeout": 10}, **more}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[CrmHouse]:
    async with CrmHouse(tmp_path).known() as opened:
        yield opened


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[tuple[CrmHouse, TinyCrm]]:
    """A house whose customers are kept by somebody else."""
    house: list[CrmHouse] = []
    async with tiny_crm(lambda: house[0].now) as crm:
        house.append(CrmHouse(tmp_path, crm=webhook(crm)))
        async with house[0].known() as opened:
            yield opened, crm


# --- looking up


async def test_a_number_that_nobody_has_becomes_a_contact(house: CrmHouse) -> None:
    """And its session is recorded with it."""
    session = await house.chat()
    card = await house.until_card(session, lambda card: card.state == "assigned")
    assert card.contact is not None
    assert card.contact.phones == (CALLER,)
    await house.over(session)
    await house.recorded(session)
    (contact,) = await house.book.find("", 10)
    page = await house.book.page(contact.id)
    assert [stored.id for stored in page.sessions] == [session]


async def test_somebody_known_is_greeted_by_name(house: CrmHouse) -> None:
    """One contact with the number is it, and nothing is made."""
    await house.book.create({"name": "Maria Silva", "phones": [CALLER]}, "agent:ann")
    session = await house.chat()
    card = await house.until_card(session, lambda card: card.state == "assigned")
    assert card.contact is not None
    assert (card.contact.name, card.by) == ("Maria Silva", "")
    assert house.runner.sessions[session].customer.name == "Maria Silva"
    assert await house.book.count() == 1


async def test_of_several_the_agent_chooses(house: CrmHouse) -> None:
    """Made last first; the name is nobody's until then, and another agent cannot change it."""
    for name in ("Ann Older", "Bob Newer"):
        house.now += 1
        await house.book.create({"name": name, "phones": [CALLER]}, "agent:ann")
    session = await house.chat()
    assert house.runner.sessions[session].customer.name is None
    card = await house.until_card(session, lambda card: card.state == "choose")
    assert [each.name for each in card.candidates] == ["Bob Newer", "Ann Older"]
    await house.contacts.choose(BEN, session, card.candidates[1].id)
    card = await house.card(session)
    assert (card.contact and card.contact.name, card.by, card.fixed) == ("Ann Older", "Ben", False)
    assert (await house.card(session, ANN)).fixed
    with pytest.raises(DeskRefusedError, match="while you work"):
        await house.contacts.choose(ANN, session, card.candidates[1].id)
    house.runner.sessions[session].state.agent = ANN
    with pytest.raises(DeskRefusedError, match="Another agent"):
        await house.contacts.choose(ANN, session, card.candidates[1].id)


async def test_of_several_it_is_the_newest_when_nobody_chooses(house: CrmHouse) -> None:
    """The record has to go somewhere."""
    for name in ("Ann Older", "Bob Newer"):
        house.now += 1
        await house.book.create({"name": name, "phones": [CALLER]}, "agent:ann")
    session = await house.chat()
    await house.until_card(session, lambda card: card.state == "choose")
    await house.over(session)
    await house.recorded(session)
    card = await house.card(session)
    assert card.contact is not None
    assert (card.contact.name, card.fixed) == ("Bob Newer", True)
    with pytest.raises(DeskRefusedError, match="over"):
        await house.contacts.choose(BEN, session, card.contact.id)


async def test_an_agent_makes_a_new_contact_beside_those_there_are(house: CrmHouse) -> None:
    """With the number of the session."""
    for name in ("Ann", "Bob"):
        await house.book.create({"name": name, "phones": [CALLER]}, "agent:ann")
    session = await house.chat()
    await house.until_card(session, lambda card: card.state == "choose")
    with pytest.raises(FieldsError, match="mail address"):
        await house.contacts.create(BEN, session, {"name": "Cleo", "mails": "nonsense"})
    await house.contacts.create(BEN, session, {"name": "Cleo"})
    card = await house.until_card(session, lambda card: card.state == "assigned")
    assert card.contact is not None
    assert (card.contact.name, card.contact.phones, card.by) == ("Cleo", (CALLER,), "Ben")
    assert await house.book.count() == 3


async def test_who_withholds_the_number_can_be_named_by_the_agent(house: CrmHouse) -> None:
    """By searching for a name or a number; the session is then one of that contact's."""
    ann = await house.book.create({"name": "Ann Weber", "phones": [OTHER]}, "agent:ann")
    await house.ready(ANN)
    await house.dial(None)
    session = house.session
    await house.line("queue.joined")
    await house.accept(ANN)
    await house.until(lambda: house.state.agent == ANN)
    card = await house.until_card(session, lambda card: card.state == "choose", ANN)
    assert (card.number, card.candidates) == (None, ())
    assert [each.id for each in await house.contacts.search(ANN, session, "weber")] == [ann.id]
    assert [each.id for each in await house.contacts.search(ANN, session, OTHER)] == [ann.id]
    assert await house.contacts.search(ANN, session, "w") == ()
    with pytest.raises(DeskRefusedError, match="no such contact"):
        await house.contacts.choose(ANN, session, "k0")
    await house.contacts.choose(ANN, session, ann.id)
    assert (await house.card(session, ANN)).contact is not None


async def test_what_a_session_found_out_is_written_down(house: CrmHouse) -> None:
    """The language that was chosen and another phone of the customer's; a name that is known stays."""
    contact = await house.book.create({"name": "Maria", "phones": [CALLER]}, "agent:ann")
    session = await house.chat()
    await house.until_card(session, lambda card: card.state == "assigned")
    code = house.runner.sessions[session].state.code
    await house.network.handset(OTHER).text(OURS, f"{code} this is my other phone")
    await house.line("sender.added")
    await house.over(session)
    await house.recorded(session)
    assert (await house.book.contact(contact.id)).fields.phones == (CALLER, OTHER)


async def test_a_contact_that_is_changed_meanwhile_is_seen_at_the_desk(house: CrmHouse) -> None:
    """Whoever watches is told."""
    contact = await house.book.create({"name": "Maria", "phones": [CALLER]}, "agent:ann")
    session = await house.chat()
    await house.until_card(session, lambda card: card.state == "assigned")
    await house.book.change(contact.id, {"name": "Maria Silva", "phones": [CALLER]}, "agent:ann")
    await house.until_card(session, lambda card: card.contact is not None and card.contact.name == "Maria Silva")
    await house.until(lambda: house.runner.sessions[session].customer.name == "Maria Silva")


async def test_the_agent_names_whom_they_have_chosen(house: CrmHouse) -> None:
    """That very contact, and nobody else on the same line; the head of the conversation says it too."""
    older = await house.book.create({"name": "A.", "phones": [CALLER], "company": "Example"}, "agent:ann")
    house.now += 1
    newer = await house.book.create({"name": "Bob", "phones": [CALLER]}, "agent:ann")
    session = await house.chat()
    await house.until_card(session, lambda card: card.state == "choose")
    with pytest.raises(DeskRefusedError, match="who it is"):
        await house.contacts.rename(BEN, session, "Ann")
    await house.contacts.choose(BEN, session, older.id)
    with pytest.raises(DeskRefusedError, match="Write a name"):
        await house.contacts.rename(BEN, session, " ")
    await house.contacts.rename(BEN, session, "Ann Weber")
    assert (await house.book.contact(older.id)).fields.name == "Ann Weber"
    assert (await house.book.contact(older.id)).fields.company == "Example"
    assert (await house.book.contact(newer.id)).fields.name == "Bob"
    assert (await house.desk.session(BEN, session)).name == "Ann Weber"


async def test_an_outside_crm_hears_of_a_name(outside: tuple[CrmHouse, TinyCrm]) -> None:
    """At once; when it refuses, the agent is told."""
    house, crm = outside
    maria = crm.add(phones=[CALLER])
    session = await house.chat()
    await house.until_card(session, lambda card: card.state == "assigned")
    await house.contacts.rename(BEN, session, "Maria")
    assert crm.contacts[maria]["name"] == "Maria"
    crm.answers.append((503, {}, {}))
    with pytest.raises(DeskRefusedError, match="HTTP 503"):
        await house.contacts.rename(BEN, session, "Mary")


# --- an outside CRM


async def test_an_outside_crm_is_asked_and_told(outside: tuple[CrmHouse, TinyCrm]) -> None:
    """The whole record: who, where, how it ended, every text, the pictures, the note."""
    house, crm = outside
    maria = crm.add(name="Maria Silva", phones=[CALLER], language="en")
    session = await house.chat()
    await house.until_card(session, lambda card: card.state == "assigned")
    await house.caller.text(OURS, "look", media=[("a.png", picture(), "image/png")])
    await house.line("text.received", 2)
    await house.desk.say(BEN, session, "Thank you")
    await house.over(session)
    entry = await house.recorded(session)
    record = crm.records[session]
    assert (record["contact"], record["customer"], record["disposition"]) == (maria, CALLER, "Solved")
    assert record["notes"][0]["note"] == "Restarted it"
    assert record["media"][0]["url"].startswith("https://x.example/")
    assert record["agents"] == ["Ben"]
    for words in ("my router blinks", "Thank you", "Maria Silva", "Restarted it"):
        assert words in record["transcript"]
    assert entry.result["id"] == f"note-{session}"
    # Our own contacts know what the CRM says, so the next call is greeted by it.
    known = await house.journal.contact(CALLER)
    assert known is not None
    assert known.name == "Maria Silva"
    ours = await house.journal.contact_of_external("crm", maria)
    assert ours is not None
    assert [stored.id for stored in (await house.book.page(ours.id)).sessions] == [session]


async def test_a_crm_that_is_away_holds_nothing_up(outside: tuple[CrmHouse, TinyCrm]) -> None:
    """The chat goes on and ends; when the CRM is back it is asked and told, in order."""
    house, crm = outside
    crm.gate.clear()
    session = await house.chat()
    await house.desk.say(BEN, session, "Hello")
    await house.until(lambda: any("Hello" in text for text in house.received))
    assert (await house.card(session)).state == "waiting"
    await house.over(session)
    crm.gate.set()
    await house.recorded(session)
    assert [asked["action"] for asked in crm.asked] == ["lookup", "create", "record"]


async def test_a_crm_that_wants_to_be_left_alone_is_left_alone(outside: tuple[CrmHouse, TinyCrm]) -> None:
    """The agent sees why; the same request comes again under the same name when the time is over."""
    house, crm = outside
    crm.answers += [(429, {"detail": "slow down"}, {"Retry-After": "120"})]
    session = await house.chat()
    card = await house.until_card(session, lambda card: bool(card.problem))
    assert card.problem == "HTTP 429: slow down"
    house.now += 100
    house.contacts.kick()
    assert (await house.card(session)).state == "waiting"
    house.now += 60
    house.contacts.kick()
    await house.until_card(session, lambda card: card.state == "assigned")
    assert [asked["action"] for asked in crm.asked] == ["lookup", "lookup", "create"]


async def test_what_a_crm_refuses_for_good_is_a_dead_letter(outside: tuple[CrmHouse, TinyCrm]) -> None:
    """With what it said of which field; the record goes without a contact, and somebody can have it tried again."""
    house, crm = outside
    refusal: tuple[int, dict[str, Any], dict[str, str]] = (
        422,
        {"detail": "no", "errors": [{"field": "phones", "detail": "not one of ours"}]},
        {},
    )
    session = await house.chat()
    crm.answers.append(refusal)
    async with asyncio.timeout(10.0):
        while not (dead := await house.contacts.entries(state="dead")):  # noqa: ASYNC110  # the journal knows nothing of events
            await asyncio.sleep(0.01)
    assert dead[0].faults == {"phones": "not one of ours"}
    assert (await house.contacts.counts())["dead"] == 1
    await house.over(session)
    await house.recorded(session)
    assert await house.contacts.redeliver(dead[0].n)
    assert not await house.contacts.redeliver(dead[0].n + 100)


async def test_what_a_crm_does_not_take_for_days_is_given_up(outside: tuple[CrmHouse, TinyCrm]) -> None:
    """After `give_up_after` it is a dead letter."""
    house, crm = outside
    crm.answers.append((503, {}, {}))
    session = await house.chat()
    await house.until_card(session, lambda card: bool(card.problem))
    crm.answers.append((503, {}, {}))
    house.now += house.settings.crm.give_up_after
    house.contacts.kick()
    async with asyncio.timeout(10.0):
        while not await house.contacts.entries(state="dead"):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)


async def test_an_answer_counts_for_a_while(outside: tuple[CrmHouse, TinyCrm]) -> None:
    """The next conversation with the same person does not ask again."""
    house, crm = outside
    crm.add(name="Maria", phones=[CALLER])
    session = await house.chat()
    await house.until_card(session, lambda card: card.state == "assigned")
    await house.over(session)
    await house.recorded(session)
    await house.caller.text(OURS, "me again")
    await house.until(lambda: bool(house.runner.sessions))
    await house.until_card(house.session, lambda card: card.state == "assigned")
    assert [asked["action"] for asked in crm.asked] == ["lookup", "record"]


async def test_contacts_are_not_made_where_that_is_not_wanted(tmp_path: Path) -> None:
    """The record then names nobody."""
    async with CrmHouse(tmp_path, crm={"create": False}).known() as house:
        session = await house.chat()
        await house.until_card(session, lambda card: card.state == "nobody")
        await house.over(session)
        await house.recorded(session)
        assert await house.book.count() == 0


async def test_the_button_leads_where_the_settings_say(tmp_path: Path) -> None:
    """Values are encoded, so that a name cannot lead anywhere else."""
    pop = "https://crm.example/contact/{id}?call={session}&name={name}&by={agent}"
    crm = {"screen_pop": pop, "screen_pop_hosts": ["crm.example"]}
    async with CrmHouse(tmp_path, crm=crm).known() as house:
        contact = await house.book.create({"name": "A&B /?#", "phones": [CALLER]}, "agent:ann")
        session = await house.chat()
        card = await house.until_card(session, lambda card: card.state == "assigned")
    assert card.pop == f"https://crm.example/contact/{contact.id}?call={session}&name=A%26B%20%2F%3F%23&by=ben"


@pytest.mark.parametrize(
    ("crm", "why"),
    [
        ({"provider": "webhook"}, "needs the section crm.webhook"),
        ({"provider": "webhook", "name": "local", "webhook": {"url": "https://crm.example", "secret": "s"}}, "built-in"),
        ({"webhook": {"url": "http://crm.example", "secret": "s"}}, "https://"),
        ({"screen_pop": "https://crm.example/{id}"}, "screen_pop_hosts"),
        ({"screen_pop": "http://crm.example/{id}", "screen_pop_hosts": ["crm.example"]}, "https://"),
        ({"screen_pop": "https://{name}/x", "screen_pop_hosts": ["crm.example"]}, "screen_pop_hosts"),
        ({"screen_pop": "https://crm.example/{password}", "screen_pop_hosts": ["crm.example"]}, "password cannot be filled"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, crm: dict[str, Any], why: str) -> None:
    """Before the server starts."""
    with pytest.raises(ValueError, match=why):
        CrmHouse(tmp_path, crm=crm)


async def test_links_of_a_crm_lead_where_the_settings_allow(tmp_path: Path) -> None:
    """A CRM cannot send agents anywhere it likes."""
    house: list[CrmHouse] = []
    async with tiny_crm(lambda: house[0].now) as crm:
        house.append(CrmHouse(tmp_path, crm=webhook(crm, screen_pop_hosts=["crm.example"], cache=0)))
        maria = crm.add(phones=[CALLER], url="https://crm.example/maria")
        async with house[0].known() as opened:
            session = await opened.chat()
            card = await opened.until_card(session, lambda card: card.state == "assigned")
            assert card.pop == "https://crm.example/maria"
            await opened.over(session)
            await opened.recorded(session)
            card = await opened.card(session)
            assert card.recorded is not None
            assert card.recorded.url == f"https://crm.example/notes/{session}"
            for url in ("https://evil.example/x", "javascript:alert(1)", "http://crm.example/"):
                crm.contacts[maria]["url"] = url
                await opened.caller.text(OURS, "again")
                await opened.until(lambda: bool(opened.runner.sessions))
                card = await opened.until_card(opened.session, lambda card: card.state == "assigned")
                assert card.pop is None
                await opened.accept(BEN)
                await opened.over(opened.session)


@pytest.mark.parametrize("provider", ["local", "webhook"])
async def test_a_contact_that_is_gone_takes_no_record_with_it(tmp_path: Path, provider: str) -> None:
    """The session is recorded without it, and says so."""
    house: list[CrmHouse] = []
    async with tiny_crm(lambda: house[0].now) as crm:
        house.append(CrmHouse(tmp_path, crm=webhook(crm) if provider == "webhook" else {}))
        async with house[0].known() as opened:
            session = await opened.chat()
            card = await opened.until_card(session, lambda card: card.state == "assigned")
            assert card.contact is not None
            if provider == "local":
                await opened.book.delete(card.contact.id, "agent:ann")
            else:
                crm.contacts.clear()
            await opened.over(session)
            entry = await opened.recorded(session)
            assert entry.result["failed"] == ["contact"]


# --- after a crash


async def test_what_was_under_way_is_done_after_a_restart(tmp_path: Path) -> None:
    """A session that ended while nobody was there to hear it is recorded at the next start, once."""
    house: list[CrmHouse] = []
    async with tiny_crm(lambda: house[0].now) as crm:
        house.append(CrmHouse(tmp_path, crm=webhook(crm)))
        async with house[0].known() as first:
            crm.gate.clear()
            session = await first.chat()
        async with house[0].open():  # a server without a CRM: nobody hears of the end
            await house[0].ready(BEN)
            await house[0].over(session)
        crm.gate.set()
        async with house[0].known() as second:
            await second.recorded(session)
            assert list(crm.records) == [session]
        async with house[0].known() as third:
            await third.contacts._sweep()
            assert len(await third.journal.crm_entries(session=session)) == 3
        assert [asked["action"] for asked in crm.asked if asked["action"] != "lookup"] == ["create", "record"]
        assert crm.records[session]["contact"] == "crm-1"


async def test_what_was_before_the_first_start_is_nobodys_business(tmp_path: Path) -> None:
    """Sessions of an older version are not recorded all at once."""
    house = CrmHouse(tmp_path)
    async with house.open():
        await house.ready(BEN)
        session = await house.chat()
        await house.over(session)
    house.now += 1
    async with house.known():
        await house.contacts._sweep()
        assert await house.journal.crm_entries(session=session) == []


async def test_who_was_erased_is_not_recorded_again(house: CrmHouse) -> None:
    """Contact, matches and what the CRM was to be told are gone, and nothing makes them anew."""
    session = await house.chat()
    await house.until_card(session, lambda card: card.state == "assigned")
    await house.over(session)
    await house.recorded(session)
    await house.journal.erase(CALLER, at=house.now)
    stored = await house.journal.session(session)
    assert stored is not None
    assert stored.snapshot == ERASED
    await house.contacts._sweep()
    assert await house.journal.crm_entries() == []
    assert await house.contacts.card(BEN, session) is None
    assert await house.book.count() == 0
    assert CALLER not in msgspec.json.encode({**await house.journal.export(CALLER), "number": ""}).decode()
