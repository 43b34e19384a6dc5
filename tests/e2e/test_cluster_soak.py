"""Two and three nodes, and one fault after the other under load: everything is done once, and everybody agrees in the end.

CHAOS=600 CHAOS_SEED=7 pytest tests/e2e/test_cluster_soak.py -s -k two      # ten minutes
"""

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from bridge.telephony.softphone import PhoneConfig, Softphone
from tests.e2e.chaos import Chaos, Crowd, Orphans, by_name, logged, memory, metrics
from tests.e2e.cluster import Service, beside, service
from tests.e2e.server import agent
from tests.postgres import Postgres

pytestmark = pytest.mark.e2e
CHAOS = float(os.environ.get("CHAOS", "40"))
"""Seconds of faults."""
SEED = int(os.environ.get("CHAOS_SEED", "7"))
"""The same by default, so that what fails here fails elsewhere, too; others find more."""
CUSTOMERS = [f"+155501004{n:02}" for n in range(12)]
CALLERS = [f"+155501005{n:02}" for n in range(3)]
PROGRAM = [f"+155501006{n:02}" for n in range(4)]
"""Handsets that only programs text."""
NAMES = ("ana", "ben", "cleo")


@pytest.mark.timeout(900 + 2 * CHAOS)
@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")], ids=["two", "three"])
async def test_a_soak_with_every_fault_loses_and_doubles_nothing(
    tmp_path: Path, postgres_server: Postgres, names: tuple[str, ...]
) -> None:
    """Whatever fails: each text is in one session, each session in one pair of hands, and all nodes show the same."""
    print(f"\nCHAOS_SEED={SEED} CHAOS={CHAOS:g}, {len(names)} nodes")
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}  [{time.strftime('%H:%M:%S')}]", flush=True)

    async with AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(Softphone(PhoneConfig(user=name, answer_after=0.2))) for name in NAMES]
        callers = [await stack.enter_async_context(Softphone(PhoneConfig(user=number))) for number in CALLERS]
        agents = [
            agent(name, "support", "support_sms", max_chats=4, phone=phone.uri) for name, phone in zip(NAMES, phones, strict=True)
        ]
        it = await stack.enter_async_context(service(tmp_path, postgres_server, *agents, names=names, drain_timeout=15))
        say("all nodes run")
        crowd, chaos, orphans = Crowd(it, random.Random(SEED)), Chaos(it, random.Random(SEED), say), Orphans(it)
        first = {name: memory(it[name]) for name in names}
        people = [
            crowd.serve(name, [other for other in NAMES if other != name], phone)
            for name, phone in zip(NAMES, phones, strict=True)
        ]
        async with beside(*people, orphans.watch()):
            async with asyncio.TaskGroup() as load:
                load.create_task(crowd.write(CUSTOMERS, pause=0.2))
                load.create_task(crowd.program("bills", PROGRAM, pause=1.0))
                for caller in callers:
                    load.create_task(crowd.call(caller))
                await chaos.rage(CHAOS)
                say("the last fault is over")
                crowd.busy = False
            say("nobody writes or calls any more")
            try:
                await it.until(partial(chats_answered, it), "every text in a chat is answered")
                say("every text in a chat is answered")
                await it.check()
                say("everything is right while conversations are open")
                await agree(it, at_rest=False)
                crowd.closing = True
                await it.until(partial(nobody_waits, it), "every conversation is over", within=120.0)
                say("every conversation is over")
                await it.check()
                await agree(it, at_rest=True)
                await it.until(partial(standing, it), "every node knows of all and one has each role")
                say("everything is right")
            finally:
                await tell(it, crowd, chaos, orphans, first)
        words = Counter(row["body"] for row in it.rows("select body from message where author like 'api:%'"))
        assert {body: times for body, times in words.items() if times > 1} == {}, "texts of the program that are there twice"
        assert crowd.taken - set(words) == set(), "texts of the program that were lost"
        assert [line for node in it.nodes.values() for line in logged(node.log)[1]] == []


async def tell(it: Service, crowd: Crowd, chaos: Chaos, orphans: Orphans, first: dict[str, float]) -> None:
    """Print what was done and what came of it."""
    print(f"faults: {dict(sorted(chaos.did.items()))}")
    print(f"people: {dict(sorted(crowd.did.items()))}")
    print(f"longest time for which an open session was nobody's: {orphans.longest:.1f} s")
    for name, node in it.nodes.items():
        now = f"{memory(node):.0f}" if node.alive else "?"
        tasks = f"{(await metrics(node))['sidetone_tasks']:.0f}" if node.alive else "?"
        print(f"{name}: {first[name]:.0f} MB in memory at the start, {now} MB and {tasks} tasks now")
        print(f"   it said {dict(logged(node.log)[0])}")


async def chats_answered(it: Service) -> bool:
    """Whether the agents have answered every text of the chats they have, and nobody is being offered."""
    waiting = it.one(
        """select count(*) from message as asked join session on session.id = asked.session
           where asked.direction = 'in' and session.closed_at is null and session.text_state = 'chatting' and not exists (
           select * from message as said where said.direction = 'out' and said.body = 're: ' || asked.body)"""
    )
    return bool(waiting == 0)


async def nobody_waits(it: Service) -> bool:
    """Whether no session has a customer in a call, in line or in a chat."""
    still = it.one(
        """select count(*) from session where closed_at is null
           and (text_state in ('queued', 'chatting') or call_state not in ('none', 'ended'))"""
    )
    return bool(still == 0)


async def standing(it: Service) -> bool:
    """Whether every node sees all nodes and all open sessions, has applied the same, and one of them has each role."""
    seen = [await metrics(node) for node in it.nodes.values()]
    still_open = it.one("select count(*) from session where closed_at is null")
    alike = {
        tuple(
            numbers[f"sidetone_{name}"] for name in ("nodes", "sessions_known", "cluster_reachable", "log_applied", "log_behind")
        )
        for numbers in seen
    }
    roles: Counter[str] = Counter()
    for numbers in seen:
        roles.update(by_name(numbers, "sidetone_role"))
    (applied,) = {numbers[3] for numbers in alike} if len(alike) == 1 else (0,)
    return alike == {(len(seen), still_open, 1, applied, 0)} and set(roles.values()) == {1}


OF_THE_MOMENT = {"as_of", "decision", "longest_wait"}
"""What each node says by its own clock."""
LASTING = {"status", "capacity", "waiting", "agents_ready", "agents_busy", "open_slots", "outcomes_seen"}
"""What is said of a queue that does not change while time goes by."""


async def agree(it: Service, *, at_rest: bool) -> None:
    """Wait until every node says the same of every queue (when nobody is being served, to the digit), agent and session.

    Raises:
        AssertionError: They do not.
    """
    said: list[dict[str, object]] = []

    async def same() -> bool:
        said.clear()
        for name in it.nodes:
            async with it.api(name) as api:
                queues = (await api.get("/wait_times"))["queues"]
            known: dict[str, object] = {
                queue: {key: value for key, value in view.items() if key not in OF_THE_MOMENT and (at_rest or key in LASTING)}
                for queue, view in queues.items()
            }
            said.append(known | await it.shown(name, "agents") | await it.shown(name, "sessions"))
        return all(one == said[0] for one in said)

    try:
        await it.until(same, "every node says the same of every queue", within=20.0)
    except AssertionError as error:
        keys = sorted({key for one in said for key in one if any(other.get(key) != one[key] for other in said)})
        raise AssertionError("\n".join(f"{key}: {[one.get(key) for one in said]}" for key in keys)) from error
