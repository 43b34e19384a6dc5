"""What is published, planned or revoked at one node holds at the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bridge import waiting
from bridge.administration.publishing import Publishing
from bridge.administration.tokens import Tokens
from bridge.app import load_menus
from bridge.events import QueueId, SessionId
from bridge.floor import floor_plan
from bridge.floor_ops import JoinLine, LeaveLine
from bridge.hindsight import ALARM_AFTER
from bridge.journal.house import Draft, Entry, Revision
from bridge.published import check, put_entry, take_entry
from bridge.waiting import Waiting
from bridge.web.api.keys import Key
from bridge.web.ports_admin import AdminRefusedError, By
from bridge.web.ports_ewt import PlanStep
from tests.unit.bridge.story import START, support
from tests.unit.bridge.two_houses import Branch, running, two_houses, until
from tests.unit.hindsight.told import outcome

BY = By("eve", "192.0.2.1")
QUEUES: list[dict[str, Any]] = [
    {"id": "support", "desk": "support_sms"},
    {"id": "support_sms", "channel": "sms"},
    {"id": "extra"},
]


def publishing(branch: Branch, begun: Revision | None = None) -> Publishing:
    runner = branch.runner
    return Publishing(
        branch.journal,
        branch.settings,
        runner,
        load=lambda settings, _known: ({"support": support()}, load_menus(settings)),
        swap=lambda settings, flows, menus, n: runner.reconfigure(settings, flows=flows, menus=menus, senders=(), revision=n),
        clock=branch.clock,
        begun=begun,
        behind=lambda: runner.floor.plan != floor_plan(runner.settings),
        news=branch.news,
    )


async def test_what_is_published_at_one_node_holds_at_both(tmp_path: Path) -> None:
    """Lines and agents with the same op, and everything else a moment later; nobody had to look by themselves."""
    async with two_houses(tmp_path, queues=QUEUES) as (one, two):
        here, there = publishing(one), publishing(two)
        new = {"id": "zoe", "name": "Zoe", "queues": ["support"]}
        await here.edit(lambda text: put_entry(text, "agents", None, new), BY)
        draft = await there.draft()
        assert draft is not None
        assert await there.publish(draft.version, "", BY) == 1
        await until(lambda: here.standing.revision == 1)
        for branch in (one, two):
            assert "zoe" in branch.floor.acd.agents
            assert "zoe" in {agent.id for agent in branch.runner.settings.agents}
        with pytest.raises(AdminRefusedError):
            await here.publish(draft.version, "", BY)


async def test_a_node_that_is_late_does_not_bring_an_older_revision_back(tmp_path: Path) -> None:
    """It was about to put one into force when the other published the next: lines and agents stay with that."""
    async with two_houses(tmp_path, queues=QUEUES) as (one, two):
        here = publishing(one)
        await here.edit(lambda text: put_entry(text, "agents", None, {"id": "zoe", "name": "Zoe", "queues": ["support"]}), BY)
        late = check((await drafted(here)).text, two.settings)
        assert await here.publish((await drafted(here)).version, "", BY) == 1
        await here.edit(lambda text: put_entry(text, "agents", None, {"id": "yan", "name": "Yan", "queues": ["support"]}), BY)
        assert await here.publish((await drafted(here)).version, "", BY) == 2

        await two.runner.reconfigure(late, flows={"support": support()}, menus=load_menus(late), senders=(), revision=1)
        for branch in (one, two):
            assert {"zoe", "yan"} <= set(branch.floor.acd.agents)
            assert branch.floor.revision == 2


async def drafted(publishing: Publishing) -> Draft:
    """What is worked on."""
    draft = await publishing.draft()
    assert draft is not None
    return draft


async def test_a_queue_with_people_in_it_goes_nowhere_until_it_is_empty_everywhere(tmp_path: Path) -> None:
    """Whichever node they are at: refused before it is published; what was published elsewhere waits at both."""
    async with two_houses(tmp_path, queues=QUEUES) as (one, two):
        here, there = publishing(one), publishing(two)
        await two.runner.do(JoinLine(SessionId("s1"), QueueId("extra"), "voice", START, 1))
        text = take_entry(here.standing.text, "queues", "extra")
        [problem] = (await here.check(text)).problems
        assert "extra: 1 wait there and 0 are being served" in str(problem)
        await one.journal.publish(Revision(1.0, "command line", "", text), Entry(1.0, "eve", "a", "b"), after=0)
        for each in (here, there):
            await each.look()
            assert (each.standing.revision, each.standing.newest) == (0, 1)
        await one.runner.do(LeaveLine(SessionId("s1"), "voice", "abandoned"))
        for each in (here, there):
            await each.look()
            assert (each.standing.revision, each.standing.waits_for) == (1, "")
        assert "extra" not in {**one.floor.queues, **two.floor.queues}


async def test_a_node_that_began_with_what_could_not_hold_yet_sees_to_it_that_it_does(tmp_path: Path) -> None:
    """The node that had published it is gone; lines and agents are brought up to date by the one that is left, once."""
    async with two_houses(tmp_path, queues=QUEUES) as (one, two):
        text = take_entry(publishing(one).standing.text, "queues", "extra")
        await one.journal.publish(Revision(1.0, "eve", "", text), Entry(1.0, "eve", "a", "b"), after=0)
        revision = await two.journal.newest_revision()
        two.runner.settings = type(two.settings)(
            **{name: getattr(two.settings, name) for name in ("brand", "data", "numbers", "agents", "hours", "sms")},
            queues=tuple(queue for queue in two.settings.queues if queue.id != "extra"),
        )
        late = publishing(two, begun=revision)
        assert late.standing.revision == 1
        await late.look()
        assert one.floor.plan == two.floor.plan == floor_plan(two.runner.settings)


async def test_a_token_that_is_made_or_revoked_at_one_node_is_at_the_other(tmp_path: Path) -> None:
    """And when it was used is the last time at any of them."""
    async with two_houses(tmp_path) as (one, two):
        keys: dict[str, tuple[Key, ...]] = {}

        def tokens(branch: Branch) -> Tokens:
            def let_in(known: tuple[Key, ...]) -> None:
                keys[branch.node] = known

            return Tokens(
                branch.journal,
                lambda: branch.settings,
                clock=branch.clock,
                let_in=let_in,
                used=dict,
                news=branch.news,
            )

        here, there = tokens(one), tokens(two)
        await here.make_token("shop", ["sms.send"], 5.0, [], BY)
        await until(lambda: [key.name for key in keys.get("two", ())] == ["shop"])
        await there.revoke_token("shop", BY)
        await until(lambda: keys["one"] == ())


def judged(waits: Waiting) -> int:
    """Over how many outcomes it says how good the forecasts were."""
    figures = waits._figures.get("support")
    return 0 if figures is None else figures.n


@asynccontextmanager
async def waits(branch: Branch) -> AsyncIterator[Waiting]:
    service = Waiting(
        branch.floor,
        branch.journal,
        CollectorRegistry(),
        do=branch.runner.do,
        zone="Europe/Madrid",
        clock=branch.clock,
        roles=branch.runner.roles,
        news=branch.news,
    )
    async with running(service.run):
        yield service


async def test_a_plan_of_one_node_is_that_of_both(tmp_path: Path) -> None:
    """For the pages; the estimator has it by the log. Plans of two queues that are made at once stand beside each other."""
    async with two_houses(tmp_path, queues=QUEUES) as (one, two), waits(one) as here, waits(two) as there:
        steps = [PlanStep(START + 3600.0, 2)]
        await here.set_plan("support", steps, "eve")
        await there.set_plan("extra", steps, "eve")
        await until(lambda: here.plan("extra") and there.plan("support"))
        await there.set_plan("support", [], "eve")
        await until(lambda: here.plan("support") is None)
        one.now = two.now = START + 3601.0
        assert (here.plan("extra"), there.plan("extra")) == (None, None)


async def test_what_became_of_forecasts_is_kept_once_and_known_everywhere(tmp_path: Path) -> None:
    """By the node that has the role; the other hears of it."""
    async with two_houses(tmp_path, queues=QUEUES) as (one, two), waits(one) as here, waits(two) as there:
        here._pending = [outcome()] * 3
        await here.keep()
        await until(lambda: judged(there) == judged(here) == 3)
        assert len(await two.journal.outcomes(10)) == 3
        here._pending = [outcome()] * 300
        await here.keep()
        await until(lambda: judged(there) == judged(here) == ALARM_AFTER)


async def test_what_became_of_forecasts_is_known_to_who_was_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the nodes share may be away in that moment: the other one looks by itself, and counts nothing twice."""
    monkeypatch.setattr(waiting, "LOOK_EVERY", 0.05)
    async with two_houses(tmp_path, queues=QUEUES) as (one, two), waits(one) as here, waits(two) as there:
        await two.journal.keep_outcomes([outcome()] * 2)
        await until(lambda: judged(there) == judged(here) == 2)
        here._pending = [outcome()]
        await here.keep()
        await here._outcomes_known("")
        await until(lambda: judged(there) == judged(here) == 3)
