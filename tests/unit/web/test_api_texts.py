"""Texts by the API."""

import io
from typing import Any

import pytest
from PIL import Image

from bridge.channel import ChannelRefusedError
from bridge.events import MessageId, ProviderRef, SessionId
from bridge.journal import MessageUpdate, OutboxRow, Unit
from bridge.web.api.texts import TAKING
from sms.consent import Verdict
from tests.unit.web.programs import NOW, OURS, THEIRS, Programs, received, session, text

HELLO = {"to": THEIRS, "from": OURS, "text": "Your parcel is here"}


async def test_a_text_is_taken(api: Programs) -> None:
    """202 with its id and conversation; the channel is told who wants what."""
    wishes = {"queue": "support_sms", "agent": "ana", "purpose": "session", "send_at": NOW + 60, "valid_for": 600}
    answer = await api.ask("POST", "/sms", HELLO | wishes)

    assert answer.status == 202
    assert await answer.json() == {"id": "api-1", "session": "s-1", "state": "pending", "send_at": NOW + 60, "missing": []}
    [(what, asked)] = api.channel.asked
    assert (what, asked["author"], asked["to"], asked["from"]) == ("send", "api:shop", THEIRS, OURS)
    assert (asked["queue"], asked["agent"], asked["purpose"], asked["due_at"]) == ("support_sms", "ana", "session", NOW + 60)
    assert asked["expires_at"] == NOW + 660
    assert asked["once"] is None


async def test_a_text_is_valid_from_when_it_is_due(api: Programs) -> None:
    """Without send_at the time runs from now; a send_at that is over counts as now."""
    for wish in ({}, {"send_at": NOW - 3600}):
        await api.ask("POST", "/sms", HELLO | {"valid_for": 60} | wish)

    assert [asked["expires_at"] for _, asked in api.channel.asked] == [NOW + 60, NOW + 60]


@pytest.mark.parametrize(
    "written", [NOW, str(NOW), "2027-01-15T08:00:00Z", "2027-01-15T03:00:00-05:00", "2027-01-15 08:00:00+00:00"]
)
async def test_a_time_is_seconds_or_a_date_with_its_offset(api: Programs, written: object) -> None:
    """Both mean the same instant."""
    await api.ask("POST", "/sms", HELLO | {"send_at": written})

    assert api.channel.asked[0][1]["due_at"] == NOW


@pytest.mark.parametrize("written", ["2027-01-15T08:00:00", "tomorrow", "", [], True, "inf"])
async def test_a_time_that_could_mean_several_is_refused(api: Programs, written: object) -> None:
    """A date without an offset is nobody's time."""
    problem = await api.problem(await api.ask("POST", "/sms", HELLO | {"send_at": written}))

    assert [error["pointer"] for error in problem["errors"]] == ["/send_at"]


async def test_a_sessionless_text_says_what_it_lacks(api: Programs) -> None:
    """It has no conversation; what the law wants in a first text is the program's business."""
    answer = await (await api.ask("POST", "/sms/sessionless", HELLO)).json()

    assert (answer["session"], answer["missing"]) == (None, ["brand", "stop"])
    assert api.channel.asked[0][0] == "sessionless"


@pytest.mark.parametrize("field", ["queue", "agent"])
async def test_a_sessionless_text_reaches_nobody(api: Programs, field: str) -> None:
    """So it has no queue and no agent."""
    problem = await api.problem(await api.ask("POST", "/sms/sessionless", HELLO | {field: "ana"}))

    assert [error["pointer"] for error in problem["errors"]] == [f"/{field}"]


async def test_a_key_sends_from_its_own_numbers(api: Programs) -> None:
    """403 for another of ours; however the own one is written."""
    other = await api.ask("POST", "/sms", HELLO | {"from": "+15550100201"}, key="branch")
    own = await api.ask("POST", "/sms", HELLO | {"from": "+1 (555) 010-0200"}, key="branch")

    assert (await api.problem(other))["kind"] == "sender_not_allowed"
    assert own.status == 202
    assert api.channel.asked[0][1]["from"] == OURS


@pytest.mark.parametrize(
    "rule", [*set(TAKING) - {"sender_not_allowed", "unknown_media"}, "unknown_queue", "unknown_agent", "held"]
)
async def test_a_refusal_says_which_rule_and_what_to_do(api: Programs, rule: Any) -> None:
    """Each rule of the channel is a problem of its own, with the channel's words."""
    api.channel.refusal = ChannelRefusedError(rule, "Because of that.")
    problem = await api.problem(await api.ask("POST", "/sms", HELLO))

    assert (problem["kind"], problem["detail"]) == (rule, "Because of that.")
    assert problem["status"] in {409, 422}


async def test_a_refusal_that_time_heals_says_when(api: Programs) -> None:
    """Retry-After tells until when it is night there."""
    api.channel.refusal = ChannelRefusedError("quiet_hours", "It is 23:00 there.", until=NOW + 3600)
    answer = await api.ask("POST", "/sms", HELLO)

    assert 3600 <= int(answer.headers["Retry-After"]) <= 3602


# --- pictures


async def test_a_picture_is_kept_and_goes_with_a_text(api: Programs) -> None:
    """POST /media gives a digest; a text names it, and the channel gets what is kept under it."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    kept = await api.ask("POST", "/media", data.getvalue(), Content_Type="image/png")
    file = await kept.json()

    assert (kept.status, file["content_type"]) == (201, "image/png")
    answer = await api.ask("POST", "/sms", HELLO | {"text": "", "media": [file["digest"]]})
    assert answer.status == 202
    [media] = api.channel.asked[0][1]["media"]
    assert (media.digest, media.content_type, media.size) == (file["digest"], "image/png", file["size"])


async def test_a_file_that_telephones_do_not_show_is_refused(api: Programs) -> None:
    """It is looked at, not believed."""
    problem = await api.problem(await api.ask("POST", "/media", b"MZ\x90\x00" * 100, Content_Type="image/png"))

    assert problem["kind"] == "media"


async def test_a_file_that_is_not_here_can_not_be_sent(api: Programs) -> None:
    """A digest has to be of something that was uploaded."""
    problem = await api.problem(await api.ask("POST", "/sms", HELLO | {"media": ["0" * 64]}))

    assert problem["kind"] == "unknown_media"
    assert api.channel.asked == []


async def test_what_no_telephone_shows_is_left_out(api: Programs) -> None:
    """Control characters, in names as well as in words, so that every database takes them."""
    await api.ask("POST", "/sms", HELLO | {"text": "a\x00b\nc", "agent": "an\x00a"})

    assert (api.channel.asked[0][1]["body"], api.channel.asked[0][1]["agent"]) == ("ab\nc", "ana")
    assert (await api.problem(await api.ask("GET", "/sms/%00")))["kind"] == "not_found"


# --- looking at them


async def test_a_text_tells_its_life(api: Programs) -> None:
    """Every step with its time; the provider's code in words, with what is left to do."""
    await api.journal.commit(
        Unit(messages=[text("api-9")], outbox=[OutboxRow(message=MessageId("api-9"), priority=3, created_at=NOW, due_at=NOW + 5)])
    )
    steps = [
        MessageUpdate(id=MessageId("api-9"), state="accepted", at=NOW + 6, provider_ref=ProviderRef("r"), segments=2),
        MessageUpdate(id=MessageId("api-9"), state="undelivered", at=NOW + 7, error_code="30003"),
    ]
    await api.journal.commit(Unit(message_updates=steps))
    detail = await (await api.ask("GET", "/sms/api-9")).json()

    assert (detail["state"], detail["code"], detail["segments"], detail["send_at"]) == ("undelivered", "30003", 2, NOW + 5)
    assert detail["explanation"]
    assert detail["advice"]
    assert [(step["state"], step["at"], step["code"]) for step in detail["steps"]] == [
        ("pending", NOW, None),
        ("accepted", NOW + 6, None),
        ("undelivered", NOW + 7, "30003"),
    ]
    assert (detail["from"], detail["to"], detail["direction"], detail["author"]) == (OURS, THEIRS, "out", "api:shop")


async def test_what_we_did_not_send_ourselves_is_explained(api: Programs) -> None:
    """Codes of ours mean something as well."""
    await api.journal.commit(Unit(messages=[text("api-9")]))
    await api.journal.commit(
        Unit(message_updates=[MessageUpdate(id=MessageId("api-9"), state="failed", at=NOW, error_code="suppressed")])
    )
    detail = await (await api.ask("GET", "/sms/api-9")).json()

    assert "stop" in detail["explanation"]
    assert "START" in detail["advice"]


async def test_an_unknown_text_is_not_found(api: Programs) -> None:
    """404, for reading and for canceling."""
    for method in ("GET", "DELETE"):
        assert (await api.problem(await api.ask(method, "/sms/nothing")))["kind"] == "not_found"


async def test_texts_come_page_by_page(api: Programs) -> None:
    """The newest first; the next page goes on after the last row, also when new texts came in between."""
    await api.journal.commit(session("s-1"))
    for n in range(5):
        await api.journal.commit(Unit(messages=[text(f"m-{n}", created_at=NOW + n)]))
    first = await (await api.ask("GET", "/sms?limit=2")).json()
    await api.journal.commit(Unit(messages=[text("m-9")]))
    second = await (await api.ask("GET", f"/sms?limit=2&after={first['next']}")).json()
    third = await (await api.ask("GET", f"/sms?limit=2&after={second['next']}")).json()

    seen = [row["id"] for page in (first, second, third) for row in page["texts"]]
    assert seen == ["m-4", "m-3", "m-2", "m-1", "m-0"]
    assert third["next"] is None


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["in-1", "m-1", "m-0"]),
        ("direction=in", ["in-1"]),
        ("direction=out&state=pending", ["m-1", "m-0"]),
        (f"number=%2B{THEIRS[1:]}", ["in-1", "m-0"]),
        (f"number={THEIRS}", ["in-1", "m-0"]),
        (f"number={THEIRS[1:]}", ["in-1", "m-0"]),
        ("session=s-1", ["in-1"]),
        (f"since={NOW + 1}", ["m-1"]),
        ("until=2027-01-15T08:00:01Z", ["in-1", "m-0"]),
    ],
)
async def test_texts_are_filtered(api: Programs, query: str, ids: list[str]) -> None:
    """By customer (however the plus came), conversation, direction, state and time."""
    await api.journal.commit(session("s-1"))
    await api.journal.commit(Unit(messages=[text("m-0")]))
    await api.journal.commit(Unit(messages=[text("m-1", recipient="+15550100124", created_at=NOW + 1)]))
    await api.journal.commit(Unit(messages=[received("in-1", "Hi", session=SessionId("s-1"))]))
    page = await (await api.ask("GET", f"/sms?{query}")).json()

    assert [row["id"] for row in page["texts"]] == ids


async def test_a_text_that_waits_can_be_taken_back(api: Programs) -> None:
    """204 once; afterwards it is canceled, and that is final."""
    await api.ask("POST", "/sms", HELLO | {"send_at": NOW + 3600})

    assert (await api.ask("DELETE", "/sms/api-1")).status == 204
    assert (await (await api.ask("GET", "/sms/api-1")).json())["state"] == "canceled"
    problem = await api.problem(await api.ask("DELETE", "/sms/api-1"))
    assert (problem["kind"], problem["status"]) == ("not_waiting", 409)
    assert "canceled" in problem["detail"]


@pytest.mark.parametrize("author", ["api:branch", "agent:ana", "owed"])
async def test_a_text_of_others_is_not_taken_back(api: Programs, author: str) -> None:
    """Neither another program's nor an agent's, and least of all what is owed to a STOP; a token that may do everything can."""
    line = OutboxRow(message=MessageId("m-1"), priority=0, created_at=NOW, due_at=NOW)
    await api.journal.commit(Unit(messages=[text("m-1", author=author)], outbox=[line]))

    assert (await api.problem(await api.ask("DELETE", "/sms/m-1")))["kind"] == "not_yours"
    assert (await (await api.ask("GET", "/sms/m-1")).json())["state"] == "pending"
    assert (await api.ask("DELETE", "/sms/m-1", key="admin")).status == 204


# --- before sending


async def test_a_preview_counts(api: Programs) -> None:
    """Encoding, segments, what forces the expensive alphabet, and what a first text would have to say."""
    preview = await (await api.ask("POST", "/sms/preview", {"text": "Olá, it is ready"})).json()

    assert preview == {
        "encoding": "ucs2",
        "units": 16,
        "segments": 1,
        "remaining": 54,
        "forced_by": ["á"],
        "missing": ["brand", "recurring", "rates", "stop"],
        "allowed": None,
        "rule": None,
    }
    assert api.channel.asked == []


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict(allowed=True, reason="allowed"), (True, None)),
        (Verdict(allowed=False, reason="opted_out"), (False, "opted_out")),
    ],
)
async def test_a_preview_says_whether_it_may_go(api: Programs, verdict: Verdict, expected: tuple[bool, str | None]) -> None:
    """With both numbers; nothing is sent."""
    api.channel.verdict = verdict
    preview = await (await api.ask("POST", "/sms/preview", HELLO)).json()

    assert (preview["allowed"], preview["rule"]) == expected
