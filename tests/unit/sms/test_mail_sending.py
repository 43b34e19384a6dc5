"""Mails of ours: how they are written, and that each waits on disk until it has been taken."""

import asyncio
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

import pytest
import structlog

from sms.mail.reading import open_mail
from sms.mail.sending import FIRST_PAUSE, GIVE_UP_AFTER, LONGEST_PAUSE, Smarthost, Spool, Spooled, Undelivered, forget
from sms.mail.words import WRITE_ABOVE
from sms.mail.writing import Sheet, bounce_address, written

NOW = 1_700_000_000.0
BUSY = Undelivered(forever=False, why="421 busy")


def sheet(**changes: object) -> Sheet:
    """A plain one."""
    spec: dict[str, object] = {"id": "00ff", "to": "ann@example.com", "subject": "Text", "words": "hello", "at": NOW, **changes}
    return Sheet(**spec)  # type: ignore[arg-type]


def read(page: Sheet, name: str = "Example") -> EmailMessage:
    """The mail as its reader gets it."""
    body = written(page, sender="desk@example.com", name=name, domain="sms.example")
    assert b"\n" not in body.replace(b"\r\n", b"")
    return BytesParser(_class=EmailMessage, policy=default).parsebytes(body)


def test_a_mail_of_ours_says_that_a_machine_wrote_it() -> None:
    """And is recognised when it comes back."""
    body = written(sheet(), sender="desk@example.com", name="Example", domain="sms.example")
    mail = read(sheet())
    assert (mail["Auto-Submitted"], mail["X-Loop"], mail["Message-ID"]) == ("auto-generated", "sms.example", "<00ff@sms.example>")
    assert mail["Date"].datetime.timestamp() == NOW
    assert open_mail(body, mail_from="desk@example.com", instance="sms.example", authserv_id=None).kind == "loop"
    assert bounce_address("00ff", domain="sms.example") == "b+00ff@sms.example"


def test_a_mail_that_can_be_answered_says_where_to_write() -> None:
    """Above our line; the answer goes to its own address."""
    mail = read(sheet(reply_to="c+x@sms.example", thread="t01"))
    assert mail["Reply-To"] == "c+x@sms.example"
    assert mail["References"] == "<t01@sms.example>"
    assert mail.get_content().startswith(WRITE_ABOVE)
    assert "Reply-To" not in read(sheet())


@pytest.mark.parametrize("odd", ["a\r\nBcc: evil@example.com", 'say "hi" \\', "Été", "x" * 500, "\x00\x1b", ""])
def test_odd_words_stay_words(odd: str) -> None:
    """No name, subject or text of a customer becomes a header."""
    mail = read(sheet(subject=odd, words=odd, attachments={"a.txt": odd}), name=odd)
    assert mail["Bcc"] is None
    assert mail["From"].addresses[0].addr_spec == "desk@example.com"
    assert len(mail["Subject"]) <= 150
    assert [part.get_filename() for part in mail.iter_attachments()] == ["a.txt"]


class Carrier:
    """Takes what it is not told to refuse."""

    def __init__(self, *outcomes: Undelivered) -> None:
        self.outcomes = list(outcomes)
        self.taken: list[tuple[str, str, bytes]] = []
        self.slow = False

    async def hand_over(self, body: bytes, *, mail_from: str, to: str) -> Undelivered | None:
        """Take it."""
        if self.slow:
            await asyncio.sleep(0.05)
        if self.outcomes:
            return self.outcomes.pop(0)
        self.taken.append((mail_from, to, body))
        return None


class Clock:
    """Stands still unless told."""

    now = NOW

    def __call__(self) -> float:
        return self.now


def mail(name: str = "01") -> Spooled:
    """A mail that is due."""
    return Spooled(id=name, kind="notice", mail_from=f"b+{name}@sms.example", to="ann@example.com", created_at=NOW, due_at=NOW)


async def test_a_mail_is_on_disk_until_it_is_taken(tmp_path: Path) -> None:
    """A process that ends before leaves it to the next one; put twice, it is one mail."""
    spool = Spool(tmp_path / "mail", Carrier(), clock=Clock())
    await spool.put(mail(), b"A: b\n\nfirst")
    await spool.put(mail(), b"second")
    carrier = Carrier()
    again = Spool(tmp_path / "mail", carrier, clock=Clock())
    await again.open()
    assert again.waiting() == (mail(),)
    assert await again.pass_on() is None
    assert carrier.taken == [("b+01@sms.example", "ann@example.com", b"A: b\n\nfirst")]
    assert list((tmp_path / "mail").iterdir()) == []
    assert (tmp_path / "mail").stat().st_mode & 0o077 == 0


async def test_what_is_put_off_is_tried_less_and_less_often_and_in_the_end_set_aside(tmp_path: Path) -> None:
    """Each time it is in the log, and what was set aside can still be read."""
    clock, pauses = Clock(), []
    carrier = Carrier(*[BUSY] * 200)
    spool = Spool(tmp_path, carrier, clock=clock)
    await spool.put(mail(), b"body")
    with structlog.testing.capture_logs() as logs:
        while (due := await spool.pass_on()) is not None:
            pauses.append(due - clock.now)
            clock.now = due
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert max(pauses) == LONGEST_PAUSE
    assert clock.now - NOW > GIVE_UP_AFTER
    assert {entry["event"] for entry in logs} == {"mail.waits", "mail.given_up"}
    assert (tmp_path / "failed" / "01.mail").read_bytes().endswith(b"\nbody")


async def test_one_bad_mail_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Neither one that is refused for good nor one whose file is broken."""
    carrier = Carrier(Undelivered(forever=True, why="550 no"))
    spool = Spool(tmp_path, carrier, clock=Clock())
    for name in ("01", "02", "03"):
        await spool.put(mail(name), b"body")
    (tmp_path / "02.mail").write_bytes(b"{}")
    with structlog.testing.capture_logs() as logs:
        assert await spool.pass_on() == NOW + LONGEST_PAUSE
        await Spool(tmp_path, carrier, clock=Clock()).open()
    assert [mail_from for mail_from, _, _ in carrier.taken] == ["b+03@sms.example"]
    assert [entry["event"] for entry in logs] == ["mail.given_up", "mail.file_broken", "mail.sent", "mail.file_broken"]


async def test_a_stop_waits_for_the_mail_that_is_being_taken(tmp_path: Path) -> None:
    """Otherwise it would be handed over again after the restart."""
    carrier = Carrier()
    carrier.slow = True
    spool = Spool(tmp_path, carrier, clock=Clock())
    await spool.put(mail(), b"body")
    task = asyncio.create_task(spool.run())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(carrier.taken) == 1
    assert spool.waiting() == ()


async def test_of_two_processes_with_one_folder_one_hands_a_mail_over(tmp_path: Path) -> None:
    """Also when both know of it and try in the same moment; whoever did not have it finds it gone."""
    carriers = Carrier(), Carrier()
    spools = [Spool(tmp_path, carrier, clock=Clock()) for carrier in carriers]
    for n in range(20):
        await spools[n % 2].put(mail(f"{n:02}"), b"body")
    for carrier, spool in zip(carriers, spools, strict=True):
        carrier.slow = True
        await spool.open()
    await asyncio.gather(*(spool.pass_on() for spool in spools))
    taken = [mail_from for carrier in carriers for mail_from, _, _ in carrier.taken]
    assert sorted(taken) == [f"b+{n:02}@sms.example" for n in range(20)]


async def test_what_a_process_leaves_behind_another_finds(tmp_path: Path) -> None:
    """Not only when it starts; and a mail that was put off there waits as long here."""
    clock, carrier = Clock(), Carrier()
    there, here = Spool(tmp_path, Carrier(BUSY), clock=clock), Spool(tmp_path, carrier, clock=clock)
    await here.open()
    await there.put(mail("01"), b"body")
    await here._look()
    assert await there.pass_on() == NOW + FIRST_PAUSE
    assert await here.pass_on() == NOW + FIRST_PAUSE
    assert carrier.taken == []
    clock.now = NOW + FIRST_PAUSE
    assert await here.pass_on() is None
    assert len(carrier.taken) == 1
    assert await there.pass_on() is None


async def test_the_same_mail_of_two_processes_is_one(tmp_path: Path) -> None:
    """A report that both want to send."""
    carrier = Carrier()
    spools = [Spool(tmp_path, carrier, clock=Clock()) for _ in range(2)]
    for spool in spools:
        await spool.put(mail(), b"body")
    for spool in spools:
        await spool.pass_on()
    assert len(carrier.taken) == 1


def files(folder: Path) -> list[Path]:
    """Mails that are on disk."""
    return list(folder.rglob("*.mail"))


async def test_what_is_to_be_forgotten_is_not_sent_any_more(tmp_path: Path) -> None:
    """Neither what waits nor what could not be delivered is left, and the spool goes on with the others."""
    carrier = Carrier(Undelivered(forever=True, why="550 no"))
    spool = Spool(tmp_path, carrier, clock=Clock())
    for name in ("01", "02", "03"):
        await spool.put(
            mail(name), written(sheet(id=name, thread="t03" if name == "03" else "t12"), sender="a@b.c", name="x", domain="d")
        )
        await spool.pass_on() if name == "01" else None

    assert forget(tmp_path, ["t12", "t99"]) == 2
    assert await spool.pass_on() is None

    assert [mail_from for mail_from, _, _ in carrier.taken] == ["b+03@sms.example"]
    assert files(tmp_path) == []


async def test_a_mail_that_is_forgotten_while_it_is_put_off_does_not_come_back(tmp_path: Path) -> None:
    """The smarthost says "later" about what is not ours to keep any more."""

    class Forgetting(Carrier):
        async def hand_over(self, body: bytes, *, mail_from: str, to: str) -> Undelivered | None:
            forget(tmp_path, ["t12"])
            return await super().hand_over(body, mail_from=mail_from, to=to)

    spool = Spool(tmp_path, Forgetting(BUSY), clock=Clock())
    await spool.put(mail(), written(sheet(thread="t12"), sender="a@b.c", name="x", domain="d"))

    assert await spool.pass_on() is None
    assert (spool.waiting(), files(tmp_path)) == ((), [])


async def test_a_smarthost_that_is_not_there_is_no_reason_to_give_up() -> None:
    """Nothing is raised; the mail waits."""
    outcome = await Smarthost(host="127.0.0.1", port=1, tls="none").hand_over(b"x", mail_from="a@b.example", to="c@d.example")
    assert outcome is not None
    assert not outcome.forever
