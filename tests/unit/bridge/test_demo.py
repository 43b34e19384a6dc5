"""What the simulated agents of the demonstration say, and what its settings promise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.app import running
from bridge.demo import PEOPLE, SPOKEN, answer_to, introduce, packaged_settings
from bridge.events import AgentId, SessionId
from bridge.settings import load_settings
from bridge.web.ports import Line, SessionView
from sms.segments import segment

BEN = AgentId("ben")
Told = tuple[str, Mapping[str, Any]]
WROTE: Told = ("text.received", {"body": "hello", "keyword": None})
CHOSE: Told = ("menu.answered", {"body": "2"})


def chat(*lines: Told, note_by: str = "", language: str = "en") -> SessionView:
    """A chat that Ben has, with these lines."""
    return SessionView(
        id=SessionId("s-1"),
        customer="+15550100123",
        our_number="+15550100201",
        language=language,
        queue="support_sms",
        opened_at=0.0,
        closed_at=None,
        agent=BEN,
        call_state="none",
        text_state="chatting",
        composer_open=True,
        composer_why="",
        card={},
        answers={},
        timeline=tuple(Line(n, float(n), kind, data) for n, (kind, data) in enumerate(lines)),
        ticks={},
        note_by=note_by,
    )


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (chat(WROTE, WROTE, CHOSE), "hello"),
        (chat(WROTE, CHOSE), "hello"),
        (chat(WROTE, WROTE, CHOSE, WROTE), "noted"),
        (chat(WROTE), "noted"),
        (chat(WROTE, note_by="Dana"), "taken over"),
        (chat(WROTE, ("text.sent", {"author": "agent:agent"}), ("transfer.completed", {})), "taken over"),
        (chat(WROTE, ("text.sent", {"author": "agent:ben"}), WROTE), "again"),
    ],
)
def test_an_agent_answers_what_was_written(view: SessionView, words: str) -> None:
    """Choices in a menu are no words of the customer's; who takes over says so; the second answer is not the first again."""
    assert answer_to(view, BEN) == SPOKEN["en"][words]


def test_an_agent_answers_in_the_customers_language() -> None:
    """In English to whoever speaks none of ours."""
    assert answer_to(chat(WROTE, language="fr"), BEN) == SPOKEN["fr"]["noted"]
    assert answer_to(chat(WROTE, language="nl"), BEN) == SPOKEN["en"]["noted"]


@pytest.mark.parametrize("words", [words for spoken in SPOKEN.values() for words in spoken.values()])
def test_what_agents_say_is_one_cheap_text(words: str) -> None:
    """One segment of the small alphabet."""
    counted = segment(words)

    assert (counted.encoding, counted.segments) == ("gsm7", 1)


def test_the_person_at_the_desk_comes_first() -> None:
    """Work rings at `agent` before it rings at the simulated agents, and a number of the demonstration has a menu."""
    settings = load_settings(packaged_settings())

    assert settings.agents[0].id == "agent"
    assert {queue.strategy for queue in settings.queues} == {"in_order"}
    assert any(number.menu is not None for number in settings.numbers)


async def test_who_calls_in_the_demonstration_has_a_name(tmp_path: Path) -> None:
    """The phone page's own number is somebody's, two people share a line, and a second start makes nobody twice."""
    demo = load_settings(packaged_settings())
    web, sip = demo.web.model_copy(update={"port": 0}), demo.sip.model_copy(update={"enabled": False})
    settings = demo.model_copy(update={"data": tmp_path, "web": web, "sip": sip})
    for _ in range(2):
        async with running(settings) as server:
            await introduce(server)
            known = await server.runner.journal.contact("+15550100123")
            assert known is not None
            assert known.name == "Maria Silva"
            assert len(await server.runner.journal.contacts_with("+15550100124")) == 2
            assert await server.runner.journal.count_contacts() == len(PEOPLE)
