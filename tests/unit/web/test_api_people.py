"""Contacts, consents, opt-outs, the blocklist, export and erasure by the API."""

import io
from pathlib import Path

import pytest
from PIL import Image

from bridge.events import Media, SessionId
from bridge.journal import Suppression, Unit
from bridge.media_store import BlobsUnavailableError
from tests.unit.web.programs import NOW, OURS, THEIRS, Programs, received, session, text

AGREED = {
    "number": THEIRS,
    "purpose": "marketing",
    "words": "Yes, text me offers",
    "language": "en",
    "evidence": "Form 12, 3 May",
}


async def test_a_contact_is_put_read_and_forgotten(api: Programs) -> None:
    """PUT replaces, DELETE forgets, and what is not known is not found."""
    path = "/contacts/+15550100123"
    first = await (await api.ask("PUT", path, {"name": "Lee", "language": "fr", "data": {"tier": "gold", "since": 2019}})).json()
    await api.ask("PUT", path, {"name": "Leigh"})
    read = await (await api.ask("GET", "/contacts/5550100123")).json()

    assert first["data"] == {"tier": "gold", "since": 2019}
    assert read == {"number": THEIRS, "name": "Leigh", "language": None, "data": {}, "updated_at": NOW}
    assert (await api.ask("DELETE", path)).status == 204
    for method in ("GET", "DELETE"):
        assert (await api.problem(await api.ask(method, path)))["kind"] == "not_found"


@pytest.mark.parametrize(
    "wrong",
    [{"nme": "x"}, {"language": "French"}, {"name": "x" * 81}, {"data": {"a": [1]}}, {"data": {str(n): 1 for n in range(51)}}],
)
async def test_a_contact_has_a_sane_shape(api: Programs, wrong: dict[str, object]) -> None:
    """422."""
    assert (await api.problem(await api.ask("PUT", "/contacts/+15550100123", wrong)))["kind"] == "fields"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/contacts/12", None),
        ("GET", "/consents/nobody", None),
        ("POST", "/consents", AGREED | {"number": "+000000"}),
        ("POST", "/opt-outs", {"number": "anonymous", "evidence": "x"}),
        ("GET", "/customers/+1/export", None),
    ],
)
async def test_what_is_no_number_is_said_to_be_none(api: Programs, method: str, path: str, body: object) -> None:
    """422 with how to write one."""
    problem = await api.problem(await api.ask(method, path, body))

    assert (problem["kind"], problem["status"]) == ("invalid_number", 422)


async def test_a_consent_is_recorded_with_its_words(api: Programs) -> None:
    """Who, when, for what, in which words, how we know, and which program says so."""
    answer = await api.ask("POST", "/consents", AGREED | {"from": OURS, "at": NOW - 100})
    consents = await (await api.ask("GET", "/consents/+15550100123")).json()

    assert answer.status == 201
    [row] = consents["consents"]
    assert row == await answer.json()
    assert (row["words"], row["evidence"], row["actor"], row["at"]) == (
        "Yes, text me offers",
        "Form 12, 3 May",
        "api:shop",
        NOW - 100,
    )
    assert (row["from"], row["granted"], row["purpose"]) == (OURS, True, "marketing")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"at": NOW + 1}, "fields"), ({"from": "+15550100299"}, "unknown_sender"), ({"words": "\x00"}, "fields")],
)
async def test_a_consent_that_cannot_be_is_refused(api: Programs, changes: dict[str, object], kind: str) -> None:
    """Not from the future, not to somebody else's number, not in words that nobody can read."""
    assert (await api.problem(await api.ask("POST", "/consents", AGREED | changes)))["kind"] == kind


@pytest.mark.parametrize(("method", "path"), [("POST", "/opt-outs"), ("DELETE", "/opt-outs/+15550100123")])
async def test_an_opt_out_is_of_a_number_of_ours(api: Programs, method: str, path: str) -> None:
    """Of another it would mean nothing; of ours it may be written as people write it."""
    body = {"evidence": "Letter"} | ({"number": THEIRS} if method == "POST" else {"proof": "written"})
    wrong = await api.ask(method, path, body | {"from": "+15550100299"})
    right = await api.ask(method, path, body | {"from": "(555) 010-0200"})

    assert (await api.problem(wrong))["kind"] == "unknown_sender"
    assert (await right.json())["from"] == OURS


async def test_a_consent_needs_words_and_evidence(api: Programs) -> None:
    """An agreement nobody can show is none."""
    problem = await api.problem(await api.ask("POST", "/consents", {"number": THEIRS, "purpose": "care"}))

    assert {error["pointer"] for error in problem["errors"]} == {"/words", "/language", "/evidence"}


async def test_the_ledger_shows_opt_outs(api: Programs) -> None:
    """In order, also those that only sounded like it and those that are over."""
    await api.journal.commit(
        Unit(
            suppress=[
                Suppression(number=THEIRS, sender=OURS, evidence="message in-1", at=NOW, provisional=True, reason="no more")
            ]
        )
    )
    await api.journal.commit(Unit(unsuppress=[Suppression(number=THEIRS, sender=OURS, evidence="agent ana", at=NOW + 1)]))
    consents = await (await api.ask("GET", "/consents/+15550100123")).json()

    assert [(row["suppressed"], row["provisional"], row["evidence"]) for row in consents["opt_outs"]] == [
        (True, True, "message in-1"),
        (False, False, "agent ana"),
    ]


async def test_an_opt_out_goes_to_the_channel(api: Programs) -> None:
    """For one number of ours or all of them, with the program's name in the evidence."""
    one = await api.ask("POST", "/opt-outs", {"number": THEIRS, "from": OURS, "evidence": "By telephone"})
    every = await api.ask("POST", "/opt-outs", {"number": THEIRS, "evidence": "By letter"})

    assert await one.json() == {"number": THEIRS, "from": OURS, "opted_out": True, "at": NOW}
    assert (await every.json())["from"] == "*"
    assert api.channel.asked == [
        ("opt_out", {"number": THEIRS, "sender": OURS, "evidence": "api:shop: By telephone"}),
        ("opt_out", {"number": THEIRS, "sender": None, "evidence": "api:shop: By letter"}),
    ]


async def test_an_opt_out_is_lifted_by_the_customers_own_word(api: Programs) -> None:
    """The text has to be theirs and to say START."""
    await api.journal.commit(Unit(messages=[received("in-1", "START"), received("in-2", "hello"), text("out-1", body="START")]))
    await api.journal.commit(Unit(messages=[received("in-3", "START", sender="+15550100124")]))

    for message in ("in-2", "out-1", "in-3", "in-9", None):
        body = {"proof": "start", "message": message}
        assert (await api.problem(await api.ask("DELETE", "/opt-outs/+15550100123", body)))["kind"] == "proof"
    assert api.channel.asked == []
    lifted = await api.ask("DELETE", "/opt-outs/+15550100123", {"proof": "start", "message": "in-1", "from": OURS})
    assert (await lifted.json())["opted_out"] is False
    assert api.channel.asked == [("opt_in", {"number": THEIRS, "sender": OURS, "evidence": "api:shop: message in-1"})]


@pytest.mark.parametrize("opt_out", [OURS, "*"])
async def test_an_old_start_lifts_nothing(api: Programs, opt_out: str) -> None:
    """Who said START once and STOP afterwards is not texted again for the START."""
    stop = Suppression(number=THEIRS, sender=opt_out, evidence="message in-2", at=NOW + 1)
    await api.journal.commit(Unit(messages=[received("in-1", "START")], suppress=[stop]))

    answer = await api.ask("DELETE", "/opt-outs/+15550100123", {"proof": "start", "message": "in-1"})

    assert (await api.problem(answer))["kind"] == "proof"
    assert api.channel.asked == []


async def test_a_start_opens_the_number_it_was_sent_to(api: Programs) -> None:
    """And no other, asked for by name or by asking for all."""
    await api.journal.commit(Unit(messages=[received("in-1", "START")]))
    body = {"proof": "start", "message": "in-1"}

    other = await api.ask("DELETE", "/opt-outs/+15550100123", body | {"from": "+15550100201"})
    every = await api.ask("DELETE", "/opt-outs/+15550100123", body)

    assert (await api.problem(other))["kind"] == "proof"
    assert (await every.json())["from"] == OURS
    assert [wish["sender"] for _, wish in api.channel.asked] == [OURS]


async def test_an_opt_out_is_lifted_by_written_proof(api: Programs) -> None:
    """Which has to be described."""
    without = await api.ask("DELETE", "/opt-outs/+15550100123", {"proof": "written"})
    described = await api.ask("DELETE", "/opt-outs/+15550100123", {"proof": "written", "evidence": "Letter of 3 May"})

    assert (await api.problem(without))["kind"] == "proof"
    assert described.status == 200
    assert api.channel.asked[0][1]["evidence"] == "api:shop: Letter of 3 May"


async def test_numbers_are_blocked_and_unblocked(api: Programs) -> None:
    """The list shows who blocked what and why; those of the settings stand first and can not be taken off."""
    for number in ("+15550100125", "+15550100124", "+15550100126"):
        assert (await api.ask("POST", "/blocklist", {"number": number, "reason": "Pranks"})).status == 201
    first = await (await api.ask("GET", "/blocklist?limit=2")).json()
    second = await (await api.ask("GET", f"/blocklist?limit=2&after=%2B{first['next'][1:]}")).json()

    assert [row["number"] for row in first["numbers"]] == ["+15550100666", "+15550100124", "+15550100125"]
    assert [row["actor"] for row in first["numbers"]] == ["settings", "api:shop", "api:shop"]
    assert [row["number"] for row in second["numbers"]] == ["+15550100126"]
    assert second["next"] is None
    assert (await api.ask("DELETE", "/blocklist/+15550100124")).status == 204
    assert (await api.problem(await api.ask("DELETE", "/blocklist/+15550100124")))["kind"] == "not_found"
    assert (await api.problem(await api.ask("DELETE", "/blocklist/+15550100666")))["kind"] == "fixed"


async def test_everything_about_a_person_is_given_out(api: Programs) -> None:
    """Sessions, texts, consents, opt-outs and the contact in one document."""
    await api.ask("PUT", "/contacts/+15550100123", {"name": "Lee"})
    await api.ask("POST", "/consents", AGREED)
    await api.journal.commit(session("s-1"))
    await api.journal.commit(Unit(messages=[received("in-1", "Hi", session=SessionId("s-1"))]))
    document = await (await api.ask("GET", "/customers/+15550100123/export")).json()

    assert document["number"] == THEIRS
    assert document["contact"]["name"] == "Lee"
    assert [row["id"] for row in document["sessions"]] == ["s-1"]
    assert [row["body"] for row in document["messages"]] == ["Hi"]
    assert [row["words"] for row in document["consents"]] == ["Yes, text me offers"]


async def test_a_person_is_erased_with_their_pictures(api: Programs, tmp_path: Path) -> None:
    """Words, name and pictures are gone; the answer counts them."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    file = await (await api.ask("POST", "/media", data.getvalue())).json()
    media = Media(file["digest"], file["content_type"], file["size"])
    await api.ask("PUT", "/contacts/+15550100123", {"name": "Lee"})
    await api.journal.commit(session("s-1"))
    await api.journal.commit(Unit(messages=[received("in-1", "My secret", session=SessionId("s-1"), media=(media,))]))
    answer = await (await api.ask("POST", "/customers/+15550100123/erase")).json()

    assert (answer["number"], answer["files"], answer["mails"]) == (THEIRS, 1, 1)
    assert api.forgotten == ["s-1"]
    assert answer["rows"]["message"] == 1
    assert not [path for path in (tmp_path / "media").rglob("*") if file["digest"] in path.name]
    left = await (await api.ask("GET", "/customers/+15550100123/export")).text()
    assert "My secret" not in left
    assert "Lee" not in left


async def test_a_picture_that_cannot_be_removed_now_is_named(api: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage is away: the words are gone, and somebody has to see to the file."""

    async def away(_digest: str) -> None:
        raise BlobsUnavailableError("away")

    media = Media("a" * 64, "image/png", 10)
    await api.journal.commit(session("s-1"))
    await api.journal.commit(Unit(messages=[received("in-1", "Hi", session=SessionId("s-1"), media=(media,))]))
    monkeypatch.setattr(api.media, "delete", away)
    answer = await (await api.ask("POST", "/customers/+15550100123/erase")).json()

    assert (answer["files"], answer["left"]) == (0, ["a" * 64])


async def test_nobody_is_erased_in_the_middle_of_a_conversation(api: Programs) -> None:
    """409; nothing has changed."""
    await api.journal.commit(session("s-1", state="open", closed_at=None, ended_reason=None))
    answer = await api.ask("POST", "/customers/+15550100123/erase")

    assert (await api.problem(answer))["kind"] == "still_open"
