"""The mail side over a real socket: what becomes a text, what is refused and in which words, and what is mailed to agents."""

import asyncio
import smtplib
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge import events as e
from bridge.mail import A_WHILE, KNOWN_FOR, MOST_IN_A_WHILE, REPLY_FOR
from sms.mail.addresses import LONGEST_ADDRESS
from sms.mail.reading import MOST_CHARACTERS, MOST_TEXT_BYTES
from sms.mail.sending import FIRST_PAUSE, Undelivered
from tests.unit.bridge.mailhouse import (
    AGENTS,
    ANN,
    BEN,
    CUSTOMER,
    DOMAIN,
    FRONT,
    OURS,
    SESSION,
    START,
    MailHouse,
    mail_house,
    settings,
    text_line,
)

PASS = f"{FRONT}; dkim=pass header.d=example.com"
PNG = b"\x89PNG\r\n\x1a\n and so on"


def mail(
    to: str, words: str = "It ships on Monday.", *, sender: str = "ann@example.com", n: int = 1, **headers: str
) -> EmailMessage:
    """A mail as the system in front hands it on."""
    message = EmailMessage()
    message["Authentication-Results"] = PASS
    message["From"] = sender
    message["To"] = to
    message["Message-ID"] = f"<{n}@example.com>"
    for name, value in headers.items():
        key = name.replace("_", "-")
        del message[key]
        if value:
            message[key] = value
    message.set_content(words)
    return message


async def hand_in(
    house: MailHouse, message: EmailMessage | bytes, to: str, *, mail_from: str = "ann@example.com"
) -> tuple[int, str]:
    """Deliver over SMTP; the last reply that mattered."""
    content = message if isinstance(message, bytes) else message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def speak() -> tuple[int, str]:
        with smtplib.SMTP("127.0.0.1", house.mail.port, timeout=20) as client:
            client.ehlo("front.example")
            for code, words in (client.mail(mail_from), client.rcpt(to)):
                if code >= 300:
                    return code, words.decode()
            code, words = client.data(content)
            return code, words.decode()

    return await asyncio.to_thread(speak)


def read(body: bytes) -> EmailMessage:
    """A mail of ours."""
    return BytesParser(_class=EmailMessage, policy=default).parsebytes(body)


async def logged(logs: list[Any], event: str) -> None:
    """Wait until the log says so."""
    for _ in range(2000):
        if any(entry["event"] == event for entry in logs):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{event} is not in the log")


async def test_an_agents_answer_becomes_a_text_of_theirs(tmp_path: Path) -> None:
    """Quoted lines and the signature stay behind."""
    async with mail_house(tmp_path) as house:
        words = "It ships on Monday.\n\nOn Mon, 23 Nov 2026 at 10:00, Example wrote:\n> where is it\n-- \nAnn"
        assert await hand_in(house, mail(house.address(), words), house.address()) == (250, "2.0.0 On its way as a text")
        assert list(house.chats.said.values()) == [(ANN, SESSION, "It ships on Monday.", ())]


async def test_a_mail_that_comes_again_is_not_sent_again(tmp_path: Path) -> None:
    """The system in front repeats what it has no answer to; the repeat is taken and changes nothing."""
    async with mail_house(tmp_path) as house:
        await hand_in(house, mail(house.address()), house.address())
        code, words = await hand_in(house, mail(house.address()), house.address())
        assert (code, words) == (250, "2.0.0 Was here before, and was not sent again")
        house.chats.said.clear()
        house.now += KNOWN_FOR - 100_000
        await hand_in(house, mail(house.address()), house.address())
        assert house.chats.bodies == []


async def test_what_was_refused_may_come_again(tmp_path: Path) -> None:
    """A refusal is no delivery: the same mail is taken once the reason is gone."""
    async with mail_house(tmp_path) as house:
        house.chats.refusal = "The customer has opted out of texts."
        code, words = await hand_in(house, mail(house.address()), house.address())
        assert (code, words) == (554, "5.7.1 The customer has opted out of texts. Nothing was sent.")
        house.chats.refusal = None
        assert (await hand_in(house, mail(house.address()), house.address()))[0] == 250
        assert house.chats.bodies == ["It ships on Monday."]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sender": "ben@example.com"}, "does not take your mail"),
        ({"sender": "stranger@example.com"}, "does not take your mail"),
        ({"Authentication_Results": ""}, "not certain"),
        ({"Authentication_Results": "other.example; dkim=pass header.d=example.com"}, "not certain"),
        ({"Authentication_Results": f"{FRONT}; dkim=fail header.d=example.com"}, "not certain"),
        ({"Authentication_Results": f"{FRONT}; dkim=pass header.d=evil.example"}, "not certain"),
        ({"Authentication_Results": f"{FRONT}; spf=pass smtp.mailfrom=ann@evil.example"}, "not certain"),
        ({"From": "ann@example.com, ben@example.com"}, "exactly one plain From"),
        ({"From": ""}, "exactly one plain From"),
        ({"Message_ID": ""}, "exactly one Message-ID"),
        ({"words": ""}, "no words"),
        ({"words": "x" * (MOST_CHARACTERS + 1)}, "Too long: 1,001 characters"),
    ],
)
async def test_who_may_not_answer_is_told_why(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    """The words go back to the writer by the system in front, and nothing is sent."""
    async with mail_house(tmp_path) as house:
        code, words = await hand_in(house, mail(house.address(), **change), house.address())
        assert code in {550, 554}
        assert says in words
        assert house.chats.bodies == []


async def test_a_conversation_that_went_on_to_a_colleague_takes_no_more_of_ones_mails(tmp_path: Path) -> None:
    """The address was made for an agent and a conversation, and they have parted."""
    async with mail_house(tmp_path) as house:
        house.chats.agents[SESSION] = BEN
        code, words = await hand_in(house, mail(house.address()), house.address())
        assert (code, words) == (554, "5.7.1 This conversation is over, or no longer yours. Nothing was sent.")
        assert house.chats.said == {}


async def test_agents_may_share_a_mailbox(tmp_path: Path) -> None:
    """The address says which of them it was made for."""
    async with mail_house(tmp_path) as house:
        house.chats.agents[SESSION] = dan = e.AgentId("dan")
        await hand_in(house, mail(house.address(dan)), house.address(dan))
        assert [agent for agent, _, _, _ in house.chats.said.values()] == [dan]


async def test_an_address_ends(tmp_path: Path) -> None:
    """After its time an address takes nothing more, whoever writes."""
    async with mail_house(tmp_path) as house:
        old = house.address(until=START)
        house.now += 61
        assert (await hand_in(house, mail(old), old))[0] == 550


@pytest.mark.parametrize(
    ("headers", "mail_from"),
    [
        ({"Auto_Submitted": "auto-replied"}, "ann@example.com"),
        ({"Auto_Submitted": "auto-generated"}, "ann@example.com"),
        ({"Precedence": "bulk"}, "ann@example.com"),
        ({"X_Auto_Response_Suppress": "All"}, "ann@example.com"),
        ({"X_Loop": DOMAIN}, "ann@example.com"),
        ({"List_Id": "<all.example.com>"}, "ann@example.com"),
        ({"Return_Path": "<>"}, "ann@example.com"),
        ({}, ""),
        ({}, "MAILER-DAEMON@example.com"),
    ],
)
async def test_no_machine_texts_a_customer(tmp_path: Path, headers: dict[str, Any], mail_from: str) -> None:
    """Out-of-office notes, lists, bounces and our own mails are taken and forgotten: an error would make one more mail."""
    async with mail_house(tmp_path) as house:
        code, words = await hand_in(house, mail(house.address(), **headers), house.address(), mail_from=mail_from)
        assert (code, words) == (250, "2.0.0 Automatic mail is not passed on")
        assert house.chats.bodies == []


async def test_a_conversation_takes_only_so_many_mails_in_a_while(tmp_path: Path) -> None:
    """What is too much may come again later."""
    async with mail_house(tmp_path) as house:
        for n in range(MOST_IN_A_WHILE):
            assert (await hand_in(house, mail(house.address(), f"text {n}", n=n), house.address()))[0] == 250
        code, _ = await hand_in(house, mail(house.address(), "one more", n=99), house.address())
        assert code == 450
        house.now += A_WHILE + 1
        assert (await hand_in(house, mail(house.address(), "one more", n=99), house.address()))[0] == 250
        assert len(house.chats.bodies) == MOST_IN_A_WHILE + 1


async def test_pictures_that_are_attached_go_along_and_nothing_else(tmp_path: Path) -> None:
    """A picture alone will do; one of a signature is left out; another file is refused by name."""
    async with mail_house(tmp_path) as house:
        message = mail(house.address(), "")
        message.add_attachment(PNG, maintype="image", subtype="png", filename="a.png")
        assert (await hand_in(house, message, house.address()))[0] == 250
        (_, _, body, media) = house.chats.said.popitem()[1]
        assert (body, [item.size for item in media]) == ("", [len(PNG)])

        decorated = mail(house.address(), "Yes", n=2)
        decorated.add_alternative("<p>Yes</p><img src='cid:logo'>", subtype="html")
        page = list(decorated.iter_parts())[1]
        assert isinstance(page, EmailMessage)
        page.add_related(PNG, "image", "png", cid="<logo>")
        assert (await hand_in(house, decorated, house.address()))[0] == 250
        assert house.chats.said.popitem()[1] == (ANN, SESSION, "Yes", ())

        other = mail(house.address(), "See this", n=3)
        other.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
        code, words = await hand_in(house, other, house.address())
        assert (code, words) == (554, "5.6.1 Only pictures can be attached, not application/pdf. Nothing was sent.")

        fake = mail(house.address(), "See this", n=4)
        fake.add_attachment(b"MZ", maintype="image", subtype="png", filename="a.png")
        code, words = await hand_in(house, fake, house.address())
        assert (code, words) == (554, "5.6.1 The picture is not taken: this is no picture. Nothing was sent.")
        assert house.chats.bodies == []


async def test_a_mail_without_pictures_is_small(tmp_path: Path) -> None:
    """More than 256 KiB of words is no text."""
    async with mail_house(tmp_path) as house:
        code, _ = await hand_in(house, mail(house.address(), "word " * (MOST_TEXT_BYTES // 4)), house.address())
        assert code == 552


@pytest.mark.parametrize(
    "to",
    [
        "c+x@sms.example",
        "postmaster@sms.example",
        "ann@example.com",
        "+15550100123@other.example",
        "+015550100123@sms.example",
        "+15550100123%other.example@sms.example",
        '"+15550100123"@sms.example',
        "@other.example:+15550100123@sms.example",
        "+15550100123@sms.example@other.example",
        "+15550100123@[127.0.0.1]",
        "+15550100123@sms.example.",
        "a" * LONGEST_ADDRESS + "@sms.example",
    ],
)
async def test_nothing_is_passed_on(tmp_path: Path, to: str) -> None:
    """Whatever is not one of our addresses, to the letter, is refused before any of the mail is taken."""
    async with mail_house(tmp_path) as house:

        def speak() -> int:
            with smtplib.SMTP("127.0.0.1", house.mail.port, timeout=20) as client:
                client.ehlo("front.example")
                client.mail("crm@example.com")
                code, _ = client.docmd("RCPT", f"TO:<{to}>")
                assert client.docmd("DATA")[0] == 503
                return code

        assert await asyncio.to_thread(speak) in {500, 550, 553}
        assert house.texts.sent == {}


async def test_who_may_texts_a_number_by_mail(tmp_path: Path) -> None:
    """The words go to the number in the address, from the number the rule names, under the sender's name."""
    async with mail_house(tmp_path) as house:
        to = f"{CUSTOMER}@{DOMAIN}"
        message = mail(to, "The pump has stopped.", sender="CRM system <CRM@example.com>", Auto_Submitted="auto-generated")
        assert (await hand_in(house, message, to))[0] == 250
        assert list(house.texts.sent.values()) == [("mail:crm@example.com", CUSTOMER, OURS, "The pump has stopped.")]


async def test_a_rule_bounds_numbers_and_texts_a_day(tmp_path: Path) -> None:
    """What is outside it or above the quota is refused, also after a restart; the next day counts anew."""
    to = f"{CUSTOMER}@{DOMAIN}"
    async with mail_house(tmp_path) as house:
        assert "may not send" in (await hand_in(house, mail(to), to))[1]
        foreign = f"+447700900123@{DOMAIN}"
        assert "may not text this number" in (await hand_in(house, mail(foreign, sender="crm@example.com"), foreign))[1]
        for n in range(3):
            assert (await hand_in(house, mail(to, sender="crm@example.com", n=n), to))[0] == 250
    async with mail_house(tmp_path) as house:
        code, words = await hand_in(house, mail(to, sender="crm@example.com", n=9), to)
        assert (code, words) == (550, "5.7.1 Your 3 texts for today (UTC) have been sent. This one was not.")
        house.now += 86_400
        assert (await hand_in(house, mail(to, sender="crm@example.com", n=9), to))[0] == 250


async def test_what_the_channel_refuses_is_refused_in_its_words_and_costs_nothing(tmp_path: Path) -> None:
    """STOP holds for mail as for everything else."""
    async with mail_house(tmp_path) as house:
        to = f"+15550100999@{DOMAIN}"
        for n in range(5):
            code, words = await hand_in(house, mail(to, sender="crm@example.com", n=n), to)
            assert (code, words) == (554, "5.7.1 This number has opted out. Nothing was sent.")


async def test_a_whole_domain_may_have_a_rule(tmp_path: Path) -> None:
    """`@domain` stands for everybody there and for nobody in a part of it, each with a quota of their own."""
    rule = {"sender": "@example.com", "numbers": ["+1555"], "per_day": 1, "ours": OURS}
    to = f"{CUSTOMER}@{DOMAIN}"
    async with mail_house(tmp_path, settings(allow=[rule])) as house:
        assert (await hand_in(house, mail(to, sender="one@example.com", n=1), to))[0] == 250
        assert (await hand_in(house, mail(to, sender="two@example.com", n=2), to))[0] == 250
        assert (await hand_in(house, mail(to, sender="two@example.com", n=3), to))[0] == 550
        assert (await hand_in(house, mail(to, sender="two@sub.example.com", n=4), to))[0] == 550


async def test_a_text_for_an_agent_who_is_away_is_mailed_and_can_be_answered(tmp_path: Path) -> None:
    """The notice shows the words, not the whole number, says that a machine wrote it, and takes an answer for its time."""
    async with mail_house(tmp_path) as house:
        await house.have_session()
        house.mail.line_added(SESSION, text_line(3, "Where is my order?"))
        await house.carrier.came.wait()
        (mail_from, to, body), notice = house.carrier.taken[0], read(house.carrier.taken[0][2])
        assert to == "ann@example.com"
        assert mail_from.startswith("b+")
        assert "Where is my order?" in notice.get_content()
        assert CUSTOMER not in body.decode()
        assert (notice["Auto-Submitted"], notice["X-Loop"]) == ("auto-generated", DOMAIN)
        assert (await hand_in(house, mail(notice["Reply-To"], "On Monday."), notice["Reply-To"]))[0] == 250
        assert house.chats.bodies == ["On Monday."]
        house.now += REPLY_FOR + 61
        assert (await hand_in(house, mail(notice["Reply-To"], "Too late.", n=2), notice["Reply-To"]))[0] == 550


async def test_an_agent_is_written_to_also_after_the_settings_have_changed(tmp_path: Path) -> None:
    """New agents are known at once, and what waits for its notice goes on waiting."""
    async with mail_house(tmp_path) as house:
        await house.have_session()
        house.mail.know(AGENTS, brand="Other")
        house.mail.line_added(SESSION, text_line(3, "Where is my order?"))
        await house.carrier.came.wait()
        assert str(read(house.carrier.taken[0][2])["From"]).startswith("Other")


async def test_texts_of_two_nodes_count_towards_one_quota(tmp_path: Path) -> None:
    """And one that was refused does not count."""
    chosen = settings(allow=[{"sender": "crm@example.com", "numbers": ["+1555"], "per_day": 3, "ours": OURS}])
    to = f"+15550100200@{DOMAIN}"
    async with mail_house(tmp_path, chosen) as one, mail_house(tmp_path, chosen) as two:
        for n, house in enumerate((one, two, one)):
            assert (await hand_in(house, mail(to, sender="crm@example.com", n=n), to))[0] == 250
        for n, house in enumerate((one, two), 3):
            assert (await hand_in(house, mail(to, sender="crm@example.com", n=n), to))[0] == 550


async def test_texts_that_follow_come_together(tmp_path: Path) -> None:
    """A quick customer does not fill a mailbox; what still waits when the server stops is mailed."""
    async with mail_house(tmp_path) as house:
        await house.have_session()
        house.mail.line_added(SESSION, text_line(1, "one"))
        await house.carrier.came.wait()
        house.mail.line_added(SESSION, text_line(2, "two"))
        house.mail.line_added(SESSION, text_line(3, "three", media=[{"digest": "0"}]))
        spool = house.mail.spool
    assert spool is not None
    assert len(house.carrier.taken) == 1
    assert [waiting.kind for waiting in spool.waiting()] == ["notice"]
    await spool.pass_on()
    words = read(house.carrier.taken[1][2]).get_content().replace("\r\n", "\n")
    assert "two\n\nthree\n[1 picture or video: see your desk]" in words
    assert "one" not in words


@pytest.mark.parametrize(
    ("agent", "at_desk", "mailed"),
    [(ANN, False, True), (ANN, True, False), (BEN, True, True), (e.AgentId("cyd"), False, False), (None, False, False)],
)
async def test_who_is_mailed(tmp_path: Path, agent: e.AgentId | None, at_desk: bool, mailed: bool) -> None:
    """Whoever is away, or always wants it; nobody without an address, and nobody when nobody has the chat."""
    async with mail_house(tmp_path) as house:
        await house.have_session()
        house.chats.agents.clear()
        if agent is not None:
            house.chats.agents[SESSION] = agent
            if at_desk:
                house.chats.open_desks.add(agent)
        house.mail.line_added(SESSION, text_line(1, "hello"))
        assert house.mail.spool is not None
        if mailed:
            await house.carrier.came.wait()
        else:
            await asyncio.sleep(0)
            assert house.carrier.taken == []
            assert house.mail.spool.waiting() == ()


async def test_a_transcript_is_mailed_when_a_session_is_over(tmp_path: Path) -> None:
    """To the address in the settings, as words and as a file."""
    async with mail_house(tmp_path, settings(transcripts_to="archive@example.com")) as house:
        await house.have_session()
        line = text_line(1, "")
        house.mail.line_added(SESSION, type(line)(at=START, kind="session.closed", data={}, n=2))
        await house.carrier.came.wait()
        _, to, body = house.carrier.taken[0]
        sent = read(body)
        assert to == "archive@example.com"
        assert [part.get_filename() for part in sent.iter_attachments()] == [f"{SESSION}.txt"]
        assert not await house.mail.send_transcript(e.SessionId("t000000000000"), "archive@example.com")


async def test_what_the_smarthost_does_not_take_waits_and_is_seen(tmp_path: Path) -> None:
    """It is in the log and on disk, goes when its time comes, and a refusal for good is set aside."""
    async with mail_house(tmp_path) as house:
        await house.have_session()
        house.carrier.outcomes = [Undelivered(forever=False, why="421 busy")]
        with structlog.testing.capture_logs() as logs:
            await house.mail.send_transcript(SESSION, "archive@example.com")
            await logged(logs, "mail.waits")
    async with mail_house(tmp_path) as house:
        spool = house.mail.spool
        assert spool is not None
        assert [mail.attempts for mail in spool.waiting()] == [1]
        house.now += FIRST_PAUSE + 1
        await spool.pass_on()
        assert len(house.carrier.taken) == 1
        assert spool.waiting() == ()
        house.carrier.outcomes = [Undelivered(forever=True, why="550 no such user")]
        with structlog.testing.capture_logs() as logs:
            await house.mail.send_transcript(SESSION, "nobody@example.com")
            await logged(logs, "mail.given_up")
        assert len(list((tmp_path / "mail" / "failed").iterdir())) == 1


async def test_a_bounce_is_seen_and_never_answered(tmp_path: Path) -> None:
    """It names the mail that came back. Anything else to that address is refused."""
    async with mail_house(tmp_path) as house:
        to = f"b+0123456789abcdef@{DOMAIN}"
        report = mail(to, "no such user", sender="MAILER-DAEMON@example.com", Authentication_Results="", Message_ID="")
        with structlog.testing.capture_logs() as logs:
            assert (await hand_in(house, report, to, mail_from=""))[0] == 250
        assert [entry["mail"] for entry in logs if entry["event"] == "mail.bounced"] == ["0123456789abcdef"]
        assert (await hand_in(house, mail(to), to))[0] == 550


async def test_an_error_of_ours_leaves_the_mail_with_the_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """451, no details, and the mail is taken when it comes again."""

    async def broken(*_args: Any, **_more: Any) -> None:
        raise RuntimeError("secret detail")

    async with mail_house(tmp_path) as house:
        with monkeypatch.context() as patch:
            patch.setattr(house.chats, "say", broken)
            code, words = await hand_in(house, mail(house.address()), house.address())
        assert (code, words) == (451, "4.3.0 An error of ours; try again later")
        assert (await hand_in(house, mail(house.address()), house.address()))[0] == 250
