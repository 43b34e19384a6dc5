"""Links by which customers send files: bound to a session, used once, over after a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import uploads as module
from bridge.events import SessionId
from bridge.journal import Journal, SessionRow, Unit, UploadRow
from bridge.media_store import BlobsUnavailableError, MediaStore
from bridge.uploads import MOST_FILES, LinkRefusedError, NotTaken, Outcome, Problem, Uploads
from tests.unit.web.upload_fakes import DAMAGED, PDF, START, Place, photo


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1000):
        yield data[at : at + 1000]


async def send(place: Place, name: str, *files: tuple[str, bytes]) -> Outcome:
    link = await place.uploads.look(name, now=place.now)
    async with place.uploads.submission(link) as submission:
        for file, data in files:
            await submission.add(file, chunks(data))
        return await submission.finish()


async def refusal(place: Place, name: str) -> Problem | None:
    try:
        await place.uploads.look(name, now=place.now)
    except LinkRefusedError as error:
        return error.problem
    return None


async def test_files_come_to_the_session_and_the_link_is_used(place: Place) -> None:
    """All at once, cleaned and kept, each once; what lay in between is gone."""
    name = place.link()

    outcome = await send(place, name, ("a.jpg", photo()), ("b.pdf", PDF), ("again.jpg", photo()))

    ((session, token, media, refused),) = place.told
    assert (session, refused, outcome.refused) == ("s-1", 0, ())
    assert [item.content_type for item in media] == ["image/jpeg", "application/pdf"]
    assert outcome.taken == media
    assert place.journal.rows[token].used_at == START
    assert not isinstance(await place.store.find(media[0].digest), str)
    assert await refusal(place, name) == "used"
    assert list((place.folder / "spool").iterdir()) == []


async def test_a_link_keeps_its_secret(place: Place) -> None:
    """The journal has only a hash; the address is short; two links differ."""
    one, two = place.uploads.link("fr", now=START), place.uploads.link("fr", now=START)

    assert one.url != two.url
    assert one.token not in one.url
    assert len(one.url.rpartition("/")[2]) == 24
    assert one.expires_at == START + 600


@pytest.mark.parametrize(("language", "ending"), [("fr", "fr"), ("es-MX", "es"), ("", "en"), ("X!", "en")])
async def test_a_link_tells_the_language(place: Place, language: str, ending: str) -> None:
    """The page has the conversation's language; what is none becomes English."""
    assert (await place.uploads.look(place.link(language), now=START)).language == ending


async def test_looking_uses_nothing_up_and_time_does(place: Place) -> None:
    """Programs look at links in texts; ten minutes later the link is over."""
    name = place.link()

    for _ in range(3):
        assert await refusal(place, name) is None
    place.now += 599
    assert await refusal(place, name) is None
    place.now += 1
    assert await refusal(place, name) == "expired"


@given(name=st.text(max_size=30) | st.from_regex(r"[A-Za-z0-9_-]{22}en", fullmatch=True))
async def test_what_is_no_link_opens_nothing(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """A guessed or broken address."""
    assert await refusal(Place(tmp_path_factory.getbasetemp()), name) == "unknown"


async def test_a_submission_that_began_in_time_is_taken(place: Place) -> None:
    """A slow connection is no reason to throw away what somebody began to send while the link worked."""
    name = place.link()
    link = await place.uploads.look(name, now=place.now)
    place.now += 3600

    async with place.uploads.submission(link) as submission:
        await submission.add("a.jpg", chunks(photo()))
        await submission.finish()

    assert await refusal(place, name) == "used"


async def test_what_is_not_fit_is_told_by_name(place: Place) -> None:
    """The good ones are taken, the others named with the reason; the session hears how many there were."""
    outcome = await send(
        place,
        place.link(),
        ("virus\x00.exe", b"MZ" * 50),
        ("a.jpg", photo()),
        ("torn.jpg", DAMAGED),
        ("film.mp4", bytes(1_000_001)),
    )

    assert outcome.refused == (NotTaken("film.mp4", "too_large"), NotTaken("virus.exe", "type"), NotTaken("torn.jpg", "broken"))
    assert [(len(media), refused) for _, _, media, refused in place.told] == [(1, 3)]


async def test_with_nothing_fit_the_link_goes_on_working(place: Place) -> None:
    """Whoever chose the wrong file, or none, may choose again."""
    name = place.link()

    assert (await send(place, name, ("torn.jpg", DAMAGED))).refused == (NotTaken("torn.jpg", "broken"),)
    assert await send(place, name, ("", b"")) == Outcome((), ())
    assert place.told == []
    assert (await send(place, name, ("a.jpg", photo()))).taken


async def test_too_many_files_are_told(place: Place) -> None:
    """The first ten are taken; an empty field of the form counts as none."""
    files = [(f"{n}.pdf", PDF + str(n).encode()) for n in range(MOST_FILES + 1)]

    outcome = await send(place, place.link(), *files, ("", b""))

    assert (len(outcome.taken), outcome.refused) == (MOST_FILES, (NotTaken("10.pdf", "too_many"),))
    assert place.told[0][3] == 1


async def test_a_session_that_cannot_be_told_uses_nothing_up(place: Place) -> None:
    """The customer tries again, and then it works."""
    name = place.link()
    place.fault = RuntimeError("the journal is away")
    with pytest.raises(RuntimeError):
        await send(place, name, ("a.jpg", photo()))

    place.fault = None
    assert (await send(place, name, ("a.jpg", photo()))).taken
    assert len(place.told) == 1


async def test_storage_that_is_away_uses_nothing_up(tmp_path: Path) -> None:
    """As above, when the files cannot be kept."""
    (tmp_path / "media").write_bytes(b"")
    place = Place(tmp_path)
    name = place.link()

    with pytest.raises(BlobsUnavailableError):
        await send(place, name, ("a.jpg", photo()))

    assert await refusal(place, name) is None


async def test_two_at_once_are_one(place: Place) -> None:
    """Of two submissions that finish together one is taken; the other hears to come again, or that it is done."""
    name = place.link()

    results = await asyncio.gather(*(send(place, name, ("a.jpg", photo())) for _ in range(4)), return_exceptions=True)

    assert len(place.told) == 1
    assert sum(isinstance(result, Outcome) for result in results) == 1
    assert {result.problem for result in results if isinstance(result, LinkRefusedError)} <= {"busy", "used"}


async def test_a_connection_that_breaks_off_leaves_nothing(place: Place) -> None:
    """Half a file is no file."""

    async def torn() -> AsyncIterator[bytes]:
        yield photo()[:100]
        raise ConnectionResetError

    name = place.link()
    with pytest.raises(ConnectionResetError):
        async with place.uploads.submission(await place.uploads.look(name, now=place.now)) as submission:
            await submission.add("a.jpg", torn())

    assert place.told == []
    assert await refusal(place, name) is None


async def test_a_link_is_tried_so_often(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who hammers one link is stopped; other links go on; counts do not fill the memory."""
    monkeypatch.setattr(module, "MOST_ATTEMPTS", 3)
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    name = place.link()
    for _ in range(3):
        await send(place, name)
    with pytest.raises(LinkRefusedError) as refused:
        await send(place, name)
    assert refused.value.problem == "too_often"

    for _ in range(5):
        assert (await send(place, place.link(), ("a.jpg", photo()))).taken
    assert len(place.uploads._attempts) == 2


async def test_only_so_many_submissions_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has an end. One more is asked to wait, and finds room afterwards."""
    monkeypatch.setattr(module, "MOST_AT_ONCE", 1)
    first, second = [await place.uploads.look(place.link(), now=START) for _ in range(2)]
    async with place.uploads.submission(first):
        with pytest.raises(LinkRefusedError) as refused:
            async with place.uploads.submission(second):
                pass
        assert refused.value.problem == "busy"
    async with place.uploads.submission(second):
        pass


async def test_one_customer_does_not_keep_the_others_waiting(place: Place) -> None:
    """Who opens one connection after the other with one link leaves room for other links."""
    first, second = [await place.uploads.look(place.link(), now=START) for _ in range(2)]
    async with AsyncExitStack() as stack:
        for _ in range(module.MOST_OF_ONE_LINK):
            await stack.enter_async_context(place.uploads.submission(first))
        with pytest.raises(LinkRefusedError) as refused:
            await stack.enter_async_context(place.uploads.submission(first))
        await stack.enter_async_context(place.uploads.submission(second))

    assert refused.value.problem == "busy"
    async with place.uploads.submission(first):
        pass


async def test_it_works_on_the_journal(tmp_path: Path) -> None:
    """The same with a real table: one use, and none after it."""
    told = []

    async def take(*what: object) -> None:
        told.append(what)

    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        uploads = Uploads(
            journal, MediaStore(tmp_path / "media"), take, public_url="https://sms.example.com", spool=tmp_path / "spool"
        )
        link = uploads.link("en", now=START)
        row = UploadRow(token_hash=link.token, session=SessionId("s-1"), created_at=START, expires_at=link.expires_at)
        session = SessionRow(state="open", customer="+15550100123", our_number="+15550100200", language="en", opened_at=START)
        await journal.commit(Unit(session=row.session, expected_seq=0, snapshot=b"{}", row=session, uploads=[row]))
        name = link.url.rpartition("/")[2]
        async with uploads.submission(await uploads.look(name, now=START + 1)) as submission:
            await submission.add("a.jpg", chunks(photo()))
            await submission.finish()
        with pytest.raises(LinkRefusedError):
            await uploads.look(name, now=START + 2)
    assert len(told) == 1
