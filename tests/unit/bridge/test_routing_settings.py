"""Routing as it is written in the settings: what becomes of it on the floor, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from bridge.acd import Target
from bridge.events import AgentId, QueueId, SessionId
from bridge.floor import Floor
from bridge.settings import Settings

ANN, BEN, CLO = AgentId("ann"), AgentId("ben"), AgentId("clo")
CALLS, HELP = QueueId("calls"), QueueId("help")
S1 = SessionId("s1")


def settings(calls: dict[str, Any] | None = None, **more: Any) -> Settings:
    """Two agents, a queue of calls like this, one that can help out, and one of texts."""
    return Settings(
        **{
            "data": Path("unused"),
            "queues": [{"id": "calls", **(calls or {})}, {"id": "help"}, {"id": "texts", "channel": "sms"}],
            "agents": [
                {"id": "ann", "name": "Ann", "queues": ["calls", "texts"], "skills": ["billing=3"]},
                {"id": "ben", "name": "Ben", "teams": ["night", "b"], "skills": ["billing=8"]},
                {"id": "clo", "name": "Clo", "queues": ["help"]},
            ],
            **more,
        }
    )


def floor(calls: dict[str, Any] | None = None, **more: Any) -> Floor:
    """The floor with everybody at work."""
    it = Floor(settings(calls, **more), now=0.0)
    for agent in it.acd.agents:
        it.acd.set_state(agent, "ready", None, 0.0)
    return it


def test_a_team_brings_its_agents_to_the_queue() -> None:
    its = settings({"teams": ["night"]})
    assert [agent.queues for agent in its.agents] == [("calls", "texts"), ("calls",), ("help",)]
    assert floor({"teams": ["night"]}).acd.queue_view(CALLS, 0.0).agents_staffed == 2


def test_a_direct_number_may_be_that_of_an_agent_whose_team_takes_texts() -> None:
    its = settings(
        queues=[{"id": "texts", "channel": "sms", "teams": ["b"]}, {"id": "calls"}, {"id": "help"}],
        numbers=[{"number": "+15550100200", "agent": "ben"}],
    )
    assert its.chat_queue_of(its.agents[1]) == "texts"


def test_every_way_of_routing_can_be_set() -> None:
    it = floor(
        {
            "teams": ["night"],
            "skills": ["billing>=3"],
            "best_first": True,
            "decline_hold": 5,
            "missed_after": 0,
            "cascade": [{"after": 90, "level": 1}, {"after": 30, "teams": ["night"]}],
            "redirect": {"to": "help", "rings": 2},
        }
    )
    it.acd.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    assert it.acd.ringing(S1) == ANN
    it.acd.wake(20.0)
    assert it.acd.ringing(S1) == BEN
    it.acd.decline(BEN, S1, "voice", "declined", 22.0)
    assert it.acd.ringing(S1) == CLO
    assert it.acd.waiting(HELP) == (S1,)


def test_the_best_first_all_at_once_and_without_ringing_can_be_set() -> None:
    it = floor({"teams": ["night"], "best_first": True})
    it.acd.join(S1, CALLS, "voice", 0.0, 1, ("billing",), 0.0)
    assert it.acd.ringing(S1) == BEN
    it = floor({"teams": ["night"], "strategy": "ring_all"})
    it.acd.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    assert it.acd.queue_view(CALLS, 0.0).agents_ready == 0
    it = floor({"auto_answer": True})
    it.acd.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    assert it.acd.serving(S1, "voice") == ANN


def test_how_an_agent_mixes_calls_and_chats_can_be_set() -> None:
    agents = [
        {"id": "ann", "name": "Ann", "queues": ["calls", "texts"], "chats_during_call": 1, "max_chats_for_call": 0},
        {"id": "ben", "name": "Ben", "queues": ["help"], "auto_answer": True, "teams": ["night"]},
    ]
    it = floor(agents=agents)
    it.acd.assign(ANN, S1, "voice", CALLS, 1.0)
    assert it.acd.queue_view(QueueId("texts"), 1.0).open_slots == 1
    it.acd.join(S1, HELP, "voice", 0.0, 1, (), 0.0)
    assert it.acd.agent_spec(BEN).auto_accept


def test_priorities_age_when_they_are_told_to() -> None:
    it = floor(routing={"ageing": 60})
    it.acd.set_state(ANN, "offline", None, 0.0)
    later = SessionId("s2")
    it.acd.join(S1, CALLS, "voice", 0.0, 2, (), 0.0)
    it.acd.join(later, CALLS, "voice", 61.0, 1, (), 61.0)
    assert it.acd.waiting(CALLS) == (S1, later)


def test_targets_come_from_the_queue_its_parent_or_everywhere() -> None:
    it = floor({"target": {"share": 0.9}}, queues=[
        {"id": "calls", "target": {"share": 0.9}},
        {"id": "help", "parent": "calls", "target": {"answer_within": 60}},
        {"id": "texts", "channel": "sms"},
    ])  # fmt: skip
    assert it.targets == {
        "calls": Target(20.0, 0.9, 5.0, None),
        "help": Target(60.0, 0.9, 5.0, None),
        "texts": Target(20.0, 0.8, 5.0, None),
    }


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        ({"teams": ["nihgt"]}, "queue calls: no agent is in team 'nihgt'"),
        ({"cascade": [{"after": 1, "teams": ["x"]}]}, "queue calls: no agent is in team 'x'"),
        ({"redirect": {"to": "texts"}}, "redirect.to 'texts' is no other queue of channel voice"),
        ({"redirect": {"to": "calls"}}, "redirect.to 'calls' is no other queue of channel voice"),
        ({"redirect": {"to": "nowhere"}}, "redirect.to 'nowhere' is no other queue of channel voice"),
        ({"redirect": {"to": "help"}}, "redirect says neither after how many rings nor after what time"),
        ({"cascade": [{"after": 1}]}, "a step of cascade names neither teams nor a level"),
        ({"ring_timeout": 0}, "ring_timeout"),
        ({"parent": "calls"}, "queue calls: it is its own parent"),
        ({"parent": "nowhere"}, "there is no queue 'nowhere' to be its parent"),
        ({"strategy": "random"}, "strategy"),
        ({"cascade": [{"after": 0}]}, "cascade"),
    ],
)
def test_what_leads_nowhere_is_refused_in_words(calls: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(calls)


def test_a_circle_of_parents_is_refused() -> None:
    circle = [
        {"id": "calls", "parent": "help"},
        {"id": "help", "parent": "calls"},
        {"id": "texts", "channel": "sms", "parent": "help"},
    ]
    with pytest.raises(ValidationError, match="queue calls: it is its own parent; queue help: it is its own parent"):
        settings(queues=circle)


def test_nobody_can_be_given_the_skill_of_being_somebody_else() -> None:
    with pytest.raises(ValidationError, match="agent:NAME is every agent's own"):
        settings(agents=[{"id": "ann", "name": "Ann", "queues": ["calls"], "skills": ["agent:ben"]}])


def test_the_example_of_the_page_works_as_the_page_says() -> None:
    """`docs/routing.md`: Ana first, Ben after the second step, although he is not as good."""
    page = (Path(__file__).parents[3] / "docs" / "routing.md").read_text(encoding="utf-8")
    example = YAML(typ="safe").load(page.split("```yaml\n")[1].split("```")[0])
    it = Floor(Settings(data=Path("unused"), **example), now=0.0)
    ana, ben, billing = AgentId("ana"), AgentId("ben"), QueueId("billing")
    for agent in it.acd.agents:
        it.acd.set_state(agent, "ready", None, 0.0)
    it.acd.join(S1, billing, "voice", 0.0, 1, (), 0.0)
    assert it.acd.ringing(S1) == ana
    it.acd.accept(ana, S1, "voice", 1.0)
    later = SessionId("s2")
    it.acd.join(later, billing, "voice", 2.0, 1, (), 2.0)
    it.acd.wake(60.0)
    assert it.acd.ringing(later) is None
    it.acd.wake(122.0)
    assert it.acd.ringing(later) == ben
    assert it.targets["billing"].answer_within == 30.0
