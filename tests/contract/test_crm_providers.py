"""What every CRM promises, whoever keeps the customers."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.crm import ContactFields, CrmContact, CrmProvider, CrmRefusedError, CrmUnavailableError, SessionRecord
from bridge.crm.local import LocalCrm
from bridge.crm.webhook import WebhookCrm
from bridge.events import SessionId
from bridge.journal import Journal, SessionRow, Unit
from scripts import crm_schemas
from tests.crm_server import SECRET, TinyCrm, tiny_crm

NUMBER, OTHER = "+15550100123", "+15550100124"
SESSION = SessionId("c1")
RECORD = SessionRecord(
    session=SESSION,
    customer=NUMBER,
    our_number="+15550100200",
    language="en",
    queue="support",
    queue_title="Support",
    service="call",
    opened_at=100.0,
    closed_at=200.0,
    ended_reason="call over",
    handled=60.0,
    transcript="14:00  Hello",
)


@pytest.fixture(params=["local", "webhook"])
async def crm(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CrmProvider]:
    """Each CRM in turn, empty; one session stands in the journal."""
    async with AsyncExitStack() as stack:
        if request.param == "webhook":
            behind = await stack.enter_async_context(tiny_crm(time.time))
            yield await stack.enter_async_context(WebhookCrm(behind.url, SECRET, name="crm", timeout=10.0, clock=time.time))
            return
        journal = await stack.enter_async_context(Journal.open(f"sqlite:///{tmp_path}/journal.db"))
        row = SessionRow(state="closed", customer=NUMBER, our_number="+15550100200", language="en", opened_at=100.0)
        await journal.commit(Unit(session=SESSION, events=[(100.0, b"{}")], snapshot=b"{}", row=row))
        yield LocalCrm(journal, clock=time.time)


@pytest.fixture
async def answering() -> AsyncIterator[tuple[WebhookCrm, TinyCrm]]:
    """A CRM behind an address, and the end that answers."""
    async with tiny_crm(time.time) as behind, WebhookCrm(behind.url, SECRET, name="crm", timeout=10.0, clock=time.time) as asking:
        yield asking, behind


async def test_nobody_has_a_number_that_nobody_has(crm: CrmProvider) -> None:
    """Nothing found is an answer and no error."""
    assert await crm.find(NUMBER) == ()


async def test_a_contact_is_found_by_each_of_its_phones(crm: CrmProvider) -> None:
    """With everything that was said of it."""
    fields = ContactFields(
        name="Maria Silva",
        company="Example",
        language="es",
        phones=(NUMBER, OTHER),
        mails=("maria@example.com",),
        external={"shop": "77"},
        tags=("gold",),
        custom={"since": 2019, "vip": True},
    )
    made = await crm.create(fields, key="k1")
    for number in (NUMBER, OTHER):
        assert [contact.id for contact in await crm.find(number)] == [made.id]
    (found,) = await crm.find(OTHER)
    assert msgspec.convert(found, ContactFields, from_attributes=True) == fields
    assert found.created_at is not None


async def test_a_number_may_be_several_peoples(crm: CrmProvider) -> None:
    """All of them are found."""
    one, two = [await crm.create(ContactFields(name=name, phones=(NUMBER,)), key=name) for name in ("Ann", "Bob")]
    assert {contact.id for contact in await crm.find(NUMBER)} == {one.id, two.id}


async def test_a_repeated_request_makes_one_contact(crm: CrmProvider) -> None:
    """The same key gives the same contact."""
    fields = ContactFields(phones=(NUMBER,))
    once, twice = [await crm.create(fields, key="k1") for _ in range(2)]
    assert once.id == twice.id
    assert len(await crm.find(NUMBER)) == 1


async def test_an_update_adds_and_forgets_nothing(crm: CrmProvider) -> None:
    """What is empty stays as it was, lists and tables grow, and a repeat changes nothing more."""
    made = await crm.create(ContactFields(name="Ann", phones=(NUMBER,), tags=("gold",), custom={"plan": "a"}), key="k1")
    more = ContactFields(language="fr", phones=(OTHER,), custom={"seat": 3})
    once, twice = [await crm.update(made.id, more, key="k2") for _ in range(2)]
    assert (once.name, once.language, once.phones, once.tags) == ("Ann", "fr", (NUMBER, OTHER), ("gold",))
    assert once.custom == {"plan": "a", "seat": 3}
    assert (once.phones, once.custom) == (twice.phones, twice.custom)
    assert [contact.id for contact in await crm.find(OTHER)] == [made.id]


async def test_a_session_is_recorded_once(crm: CrmProvider) -> None:
    """A repeat is answered with the same reference."""
    made = await crm.create(ContactFields(phones=(NUMBER,)), key="k1")
    record = msgspec.structs.replace(RECORD, contact=made.id)
    once, twice = [await crm.record(record, key="record:c1") for _ in range(2)]
    assert once == twice
    assert once.failed == ()


async def test_a_session_of_nobody_known_is_recorded(crm: CrmProvider) -> None:
    """A withheld number, or a customer nobody would make a contact of."""
    assert (await crm.record(RECORD, key="record:c1")).id


@pytest.mark.parametrize(
    "ask",
    [
        lambda crm: crm.update("nobody", ContactFields(name="Ann"), key="k"),
        lambda crm: crm.record(msgspec.structs.replace(RECORD, contact="nobody"), key="k"),
    ],
)
async def test_what_is_not_there_is_refused_for_good(crm: CrmProvider, ask: Callable[[CrmProvider], Awaitable[object]]) -> None:
    """With the field that is wrong, and nothing is kept."""
    with pytest.raises(CrmRefusedError) as refused:
        await ask(crm)
    assert refused.value.permanent
    assert refused.value.fields == {"contact": "not found"}


# --- over the wire


def test_the_schemas_in_the_docs_are_those_of_the_code() -> None:
    """Whoever writes the other end finds what is really sent; `make docs` writes them anew."""
    assert {path.name: path.read_text(encoding="utf-8") for path in crm_schemas.FOLDER.glob("*")} == crm_schemas.pages()


@pytest.mark.parametrize(
    ("status", "headers", "retry_after"),
    [(429, {"Retry-After": "30"}, 30.0), (503, {"Retry-After": "5"}, 5.0), (500, {}, None), (408, {}, None)],
)
async def test_a_crm_that_is_busy_or_broken_is_asked_again(
    answering: tuple[WebhookCrm, TinyCrm], status: int, headers: dict[str, str], retry_after: float | None
) -> None:
    """Not now is told from never, with the time the CRM asked for."""
    asking, behind = answering
    behind.answers.append((status, {"detail": "busy"}, headers))
    with pytest.raises(CrmUnavailableError, match=f"HTTP {status}: busy") as refused:
        await asking.find(NUMBER)
    assert refused.value.retry_after == retry_after


@pytest.mark.parametrize(
    ("status", "permanent"), [(400, True), (404, True), (409, True), (401, False), (403, False), (302, False)]
)
async def test_a_refusal_is_for_good_unless_somebody_has_to_mend_a_right(
    answering: tuple[WebhookCrm, TinyCrm], status: int, permanent: bool
) -> None:
    """A wrong request stays wrong; a wrong password does not."""
    asking, behind = answering
    behind.answers.append((status, {"errors": [{"field": "name", "detail": "too long"}]}, {"Location": "http://127.0.0.1:1/"}))
    with pytest.raises(CrmRefusedError) as refused:
        await asking.create(ContactFields(name="x"), key="k")
    assert (refused.value.permanent, refused.value.fields) == (permanent, {"name": "too long"})


@pytest.mark.parametrize("answer", [{}, {"contacts": [{"name": "no id"}]}, {"contacts": 3}])
async def test_an_answer_that_is_not_as_agreed_is_refused(answering: tuple[WebhookCrm, TinyCrm], answer: dict[str, Any]) -> None:
    """Nothing is guessed."""
    asking, behind = answering
    behind.answers.append((200, answer, {}))
    with pytest.raises(CrmRefusedError, match="not as agreed"):
        await asking.find(NUMBER)


async def test_what_no_desk_shows_is_left_out(answering: tuple[WebhookCrm, TinyCrm]) -> None:
    """Control characters of a CRM end nowhere in our database."""
    asking, behind = answering
    behind.answers.append((200, {"contacts": [{"id": "1", "name": "A\x00nn"}]}, {}))
    assert await asking.find(NUMBER) == (CrmContact(id="1", name="Ann"),)


async def test_a_wrong_secret_is_no_dead_end(answering: tuple[WebhookCrm, TinyCrm]) -> None:
    """The CRM refuses the signature; it is tried again when somebody has mended the secret."""
    _, behind = answering
    async with WebhookCrm(behind.url, "another", name="crm", timeout=10.0, clock=time.time) as asking:
        with pytest.raises(CrmRefusedError, match="wrong signature") as refused:
            await asking.find(NUMBER)
    assert not refused.value.permanent
    assert behind.asked == []


async def test_a_crm_that_does_not_answer_is_not_waited_for(answering: tuple[WebhookCrm, TinyCrm]) -> None:
    """After its time a request is given up, and so is one to nobody."""
    _, behind = answering
    behind.gate.clear()
    async with WebhookCrm(behind.url, SECRET, name="crm", timeout=0.2, clock=time.time) as asking:
        with pytest.raises(CrmUnavailableError, match="no answer within"):
            await asking.find(NUMBER)
    async with WebhookCrm("http://127.0.0.1:1/", SECRET, name="crm", timeout=5.0, clock=time.time) as asking:
        with pytest.raises(CrmUnavailableError):
            await asking.find(NUMBER)
