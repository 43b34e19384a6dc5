"""The checker of the journal can fail: a sound journal passes, and whatever is broken in it is found and named."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Insert, create_engine

from bridge.journal import tables as t
from bridge.journal import upgrade
from bridge.journal.database import address
from tests.e2e import journal_checker as checker

ONE, TWO, OVER = "s-one", "s-two", "s-over"


def sound() -> Iterator[Insert]:
    """Ana chats with one customer, a second waits, and a conversation is over; each has written once and was answered once."""
    for session, agent, closed, state in (
        (ONE, "ana", None, "chatting"),
        (TWO, None, None, "queued"),
        (OVER, "ana", 9.0, "closed"),
    ):
        yield t.session.insert().values(
            id=session, seq=2, lines=2, snapshot=b"{}", state="open", our_number="+15550100200", language="en", queue="desk",
            agent=agent, opened_at=1, closed_at=closed, text_state=state, call_state="none", service="chat", handled=0, fence=7,
        )  # fmt: skip
        for n, event, kind, way in ((1, "TextArrived", "text.received", "in"), (2, "AgentSaid", "text.sent", "out")):
            ref = f"{'SM' if way == 'in' else 'XX'}-{session}"
            yield t.event.insert().values(session=session, seq=n, at=n, body=msgspec.json.encode({"event": event, "ref": ref}))
            yield t.timeline.insert().values(session=session, n=n, at=n, kind=kind, data={"message": f"{way}-{session}"})
            yield t.message.insert().values(
                id=f"{way}-{session}", session=session, direction=way, provider="twilio", provider_ref=ref, sender="+15550100123",
                recipient="+15550100200", body="Hello", media=[], state="received", author="x", created_at=1,
            )  # fmt: skip
        yield t.inbound.insert().values(
            provider="twilio", ref=f"SM-{session}", raw=b"{}", received_at=1, message=f"in-{session}", handled=True
        )
        yield t.outbox.insert().values(
            message=f"out-{session}", priority=1, created_at=1, due_at=1, state="done", attempts=1, outcome="accepted"
        )


async def evidence(folder: Path, *broken: str, **more: Any) -> checker.Evidence:
    """What there is to see of the sound journal after the statements *broken*; *more* replaces what was seen elsewhere."""
    url = f"sqlite:///{folder}/journal.db"
    await upgrade(url)
    engine = create_engine(address(url))
    with engine.begin() as connection:
        for row in sound():
            connection.execute(row)
        for statement in broken:
            connection.exec_driver_sql(statement)
    engine.dispose()
    board = checker.Board(chats={"ana": 1}, work={"ana": frozenset({ONE})}, waiting={"desk": 1})
    it = checker.read_journal(url)
    it.kept = {f"SM-{session}": "Hello" for session in (ONE, TWO, OVER)}
    it.given = Counter(f"out-{session}" for session in (ONE, TWO, OVER))
    it.owners = {ONE: ["a"], TWO: ["b"]}
    it.fences = {ONE: [3, 7]}
    it.boards = {"a": board, "b": board}
    return msgspec.structs.replace(it, **more)


async def test_a_sound_journal_has_no_problems(tmp_path: Path) -> None:
    """Otherwise it would say nothing that what is broken is found."""
    assert checker.problems(await evidence(tmp_path)) == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (f"delete from inbound where ref = 'SM-{ONE}'", "was acknowledged and is kept 0 times"),
        (f"delete from message where id = 'in-{ONE}'", "was acknowledged and is no message"),
        (f"update inbound set handled = 0 where ref = 'SM-{TWO}'", "waits for a session"),
        (
            f"""insert into event (session, seq, at, body) values
                ('{TWO}', 3, 3, '{{"event":"TextArrived","ref":"SM-{ONE}"}}')""",
            f"was an event of sessions ['{ONE}', '{TWO}']",
        ),
        (f"""update event set body = '{{"event":"AgentSaid"}}' where session = '{ONE}'""", "was an event of sessions []"),
        (f"delete from timeline where session = '{ONE}' and n = 1", "in the timelines of []"),
        (f"delete from inbound where ref = 'SM-{ONE}'", "which nobody kept"),
        (f"update outbox set state = 'attempting', outcome = null where message = 'out-{ONE}'", "is not settled: attempting"),
        (f"update outbox set outcome = 'rejected' where message = 'out-{ONE}'", "was sent, and the outbox says done, rejected"),
        (f"delete from outbox where message = 'out-{ONE}'", "was never put into the outbox"),
        (f"delete from timeline where session = '{ONE}' and n = 2", "is 0 times in timelines"),
        (f"delete from event where session = '{TWO}' and seq = 2", "1 events and not 2; [2] are missing"),
        (f"delete from timeline where session = '{TWO}' and n = 2", "1 lines and not 2; [2] are missing"),
        (f"update session set closed_at = 9 where id = '{TWO}'", "is closed and owned by ['b']"),
        (f"update session set closed_at = 9 where id = '{ONE}'", f"shown busy with ['{ONE}'], which are over"),
        (f"update session set text_state = 'closed' where id = '{TWO}'", "1 are shown waiting in desk, and 0 do"),
        (f"update session set agent = 'ben' where id = '{ONE}'", "ana is shown with 1 chats and has 0"),
    ],
)
async def test_a_broken_journal_is_found(tmp_path: Path, broken: str, said: str) -> None:
    """Each thing that may be wrong with the rows is said in words."""
    found = checker.problems(await evidence(tmp_path, broken))

    assert [words for words in found if said in words], found


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"given": {f"out-{ONE}": 2, f"out-{TWO}": 1, f"out-{OVER}": 1}}, f"outbound text out-{ONE} was sent 2 times"),
        ({"given": {f"out-{ONE}": 1, f"out-{TWO}": 1}}, f"outbound text out-{OVER} is said to be sent, and nobody has it"),
        ({"given": Counter({"out-x": 1})}, "outbound text out-x was sent, and is not in the outbox"),
        ({"kept": {"SM-lost": "Lost"}}, "inbound text SM-lost ('Lost') was acknowledged and is kept 0 times"),
        ({"owners": {ONE: ["a", "b"], TWO: ["b"]}}, f"session {ONE} is open and owned by ['a', 'b']"),
        ({"owners": {ONE: ["a"]}}, f"session {TWO} is open and owned by nobody"),
        ({"fences": {ONE: [7, 3]}}, f"session {ONE}: its fence has fallen: [7, 3]"),
        (
            {
                "boards": {
                    "a": checker.Board({"ana": 1}, {}, {"desk": 1}),
                    "b": checker.Board({"ana": 1}, {"ana": frozenset()}, {"desk": 1}),
                }
            },
            "nodes a and b show different floors",
        ),
    ],
)
async def test_what_is_wrong_outside_the_journal_is_found(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    """What the provider was given, who owns what, and what nodes show."""
    assert said in checker.problems(await evidence(tmp_path, **more))


async def test_recovery_is_the_time_to_the_first_event_after_the_death(tmp_path: Path) -> None:
    """Seconds since then; None for a session that never went on."""
    it = await evidence(
        tmp_path, f"insert into event (session, seq, at, body) values ('{ONE}', 3, 12.5, '{{\"event\":\"AgentSaid\"}}')"
    )

    assert checker.recovery(it, [ONE, TWO], since=10.0) == {ONE: 2.5, TWO: None}
