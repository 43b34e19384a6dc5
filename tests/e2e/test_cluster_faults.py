"""Two nodes under load, and one of them, Redis or PostgreSQL fails: everything goes on, and everything is done once.

Each test ends with the checker (`tests/e2e/journal_checker.py`) and says how long it took until the conversations went on.
"""

import asyncio
import signal
import statistics
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from bridge.telephony.softphone import CallFailedError, PhoneCall, PhoneConfig, Softphone
from tests.e2e import journal_checker as checker
from tests.e2e.cluster import LEASE, Service, Worker, beside, load, ring, service
from tests.e2e.server import NUMBER, agent
from tests.postgres import Postgres

pytestmark = pytest.mark.e2e
CALLER = "+15550100151"
CUSTOMERS = [f"+155501003{n:02}" for n in range(12)]
AGENTS = (agent("ana", "support_sms"), agent("ben", "support_sms"))


@asynccontextmanager
async def busy(it: Service) -> AsyncIterator[None]:
    """Twelve customers write twenty texts a second to both nodes, an agent at each answers them; in the end all are answered."""
    async with beside(Worker(it, "ana", "a", "b").work(), Worker(it, "ben", "b", "a").work()):
        async with beside(load(it, CUSTOMERS)):
            await it.until(partial(opened, it, len(CUSTOMERS)), "every customer has a conversation")
            yield
        await it.until(it.all_answered, "every text is answered")


async def opened(it: Service, many: int) -> bool:
    """Whether there are so many sessions, and each is known to be somebody's."""
    return len(await it.owners_of_open()) >= many


async def moved(it: Service, sessions: Collection[str], to: str) -> bool:
    """Whether all of *sessions* that are open belong to the node *to*."""
    return {node for session, node in (await it.owners_of_open()).items() if session in sessions} <= {to}


def report(what: str, evidence: checker.Evidence, sessions: Collection[str], since: float) -> None:
    """Print how long it took until sessions went on; each did."""
    took = checker.recovery(evidence, sessions, since)
    assert None not in took.values(), f"never went on: {took}"
    seconds = sorted(each for each in took.values() if each is not None)
    print(f"\n{what}: {len(seconds)} sessions, median {statistics.median(seconds):.2f} s, longest {seconds[-1]:.2f} s")


async def test_a_node_that_is_killed_under_load(tmp_path: Path, postgres_server: Postgres) -> None:
    """Its conversations go on at the other within the lease time and a little; it comes back and takes part again."""
    async with service(tmp_path, postgres_server, *AGENTS) as it:
        async with busy(it):
            its = [session for session, node in (await it.owners_of_open()).items() if node == "a"]
            assert its
            at = await it.kill("a")
            await it.until(partial(moved, it, its, "b"), "the other node has its sessions", within=20 * LEASE)
            await asyncio.sleep(2.0)
            await it.restart("a")
            await asyncio.sleep(2.0)
        evidence = await it.check()
        report("killed", evidence, its, at)


async def test_a_node_that_sleeps_past_its_lease(tmp_path: Path, postgres_server: Postgres) -> None:
    """SIGSTOP: the other takes its sessions. SIGCONT: it does nothing twice, and is a node like any other again."""
    async with service(tmp_path, postgres_server, *AGENTS) as it:
        async with busy(it):
            its = [session for session, node in (await it.owners_of_open()).items() if node == "a"]
            at = it.stop("a")
            await it.until(partial(moved, it, its, "b"), "the other node has its sessions", within=20 * LEASE)
            await asyncio.sleep(1.0)
            it.cont("a")
            await asyncio.sleep(3.0)
        evidence = await it.check()
        report("stopped", evidence, its, at)


async def test_redis_is_killed_and_comes_back_empty(tmp_path: Path, postgres_server: Postgres) -> None:
    """Lines, claims and leases are as they were; no customer has two agents and no text is sent twice."""
    async with service(tmp_path, postgres_server, *AGENTS) as it:
        async with busy(it):
            at = it.lose_redis()
            await asyncio.sleep(2.0)
            it.redis.start()
            await asyncio.sleep(3 * LEASE)
        evidence = await it.check()
        report("Redis lost", evidence, [row["id"] for row in evidence.sessions if row["opened_at"] < at], at)


async def test_postgresql_is_stopped_and_comes_back(tmp_path: Path, postgres_server: Postgres) -> None:
    """What cannot be kept is not acknowledged, and nothing that was is missing."""
    async with service(tmp_path, postgres_server, *AGENTS) as it:
        async with busy(it):
            at = it.lose_journal()
            try:
                await asyncio.sleep(3.0)
            finally:
                postgres_server.start()
            await asyncio.sleep(3.0)
        evidence = await it.check()
        report("PostgreSQL lost", evidence, [row["id"] for row in evidence.sessions if row["opened_at"] < at], at)


async def talking(it: Service, phone: Softphone, desk_phone: Softphone, node: str) -> tuple[PhoneCall, str]:
    """A caller at *node* who talks to ana, whose desk is at b; the call and its session."""
    async with it.desk("b", "ana") as desk:
        await desk.go("ready")
        call = await phone.call(f"sip:{NUMBER}@{it[node].sip}")
        for key in "12":
            await asyncio.sleep(1.5)
            await call.press(key)
        session, channel = await it.until(partial(ring, desk), "the call rings at the desk")
        assert await desk.accept(session, channel) == 200
        await asyncio.wait_for(desk_phone.arrived.get(), 10.0)
        await it.until(partial(it.lines, "b", session, "audio.connected"), "both hear each other")
        assert await desk.say(session, "I am sending you the form") == 204
        await it.twilio.handset(CALLER).wait(2)
    return call, session


async def test_a_caller_whose_call_dies_with_the_node_is_texted(tmp_path: Path, postgres_server: Postgres) -> None:
    """Who was texting in the call is told that it was us; the answer reaches an agent in the same session."""
    async with Softphone(PhoneConfig(user="ana", answer_after=0.2)) as theirs, Softphone(PhoneConfig(user=CALLER)) as phone:
        agents = [agent("ana", "support", phone=theirs.uri), agent("ben", "support_sms")]
        async with service(tmp_path, postgres_server, *agents) as it:
            _, session = await talking(it, phone, theirs, "a")
            handset = it.twilio.handset(CALLER)
            before = len(handset.received)

            at = await it.kill("a")
            *_, rescue = await handset.wait(before + 1, within=30.0)
            assert "cut off" in rescue.body
            await it.text(CALLER, "Where were we?")
            async with it.desk("b", "ben") as ben:
                await ben.go("ready")
                rung, channel = await it.until(partial(ring, ben), "it rings at a desk for texts")
                assert (rung, channel) == (session, "sms")
                assert await ben.accept(session, channel) == 200
            async with it.desk("b", "ana") as ana:
                assert await ana.post(f"/desk/{session}/wrap-up", note="", disposition="") in {204, 409}
            evidence = await it.check()
            report("call lost", evidence, [session], at)


async def test_a_node_that_drains_hands_its_conversations_over(tmp_path: Path, postgres_server: Postgres) -> None:
    """SIGTERM under load: the sessions go to the other node at once and not after a lease time, and it ends with status 0."""
    async with service(tmp_path, postgres_server, *AGENTS) as it:
        async with busy(it):
            its = [session for session, node in (await it.owners_of_open()).items() if node == "a"]
            assert await it.terminate("a") == 0
            assert await moved(it, its, "b")
            assert set(its) <= {*await it.owners_of_open(), *await it.closed_ones()}
        await it.check()


async def test_a_rolling_restart_drops_no_call_and_no_text(tmp_path: Path, postgres_server: Postgres) -> None:
    """Both nodes are drained and started again, one after the other, while texts come in and a caller talks to an agent."""
    async with Softphone(PhoneConfig(user="ann", answer_after=0.2)) as theirs, Softphone(PhoneConfig(user=CALLER)) as phone:
        caller_desk = agent("ana", "support", phone=theirs.uri)
        texts = (agent("ben", "support_sms"), agent("cleo", "support_sms"))
        async with service(tmp_path, postgres_server, caller_desk, *texts, drain_timeout=60) as it:
            call, session = await talking(it, phone, theirs, "a")
            async with beside(Worker(it, "ben", "a", "b").work(), Worker(it, "cleo", "b", "a").work()):
                async with beside(load(it, CUSTOMERS, pause=0.1)):
                    await it.until(partial(opened, it, len(CUSTOMERS)), "every customer has a conversation")
                    it["a"].send(signal.SIGTERM)
                    await it.until(partial(refuses, phone, it["a"].sip), "a draining node takes no new call")
                    heard = call.packets_heard
                    await asyncio.sleep(2.0)
                    assert it["a"].alive
                    assert call.packets_heard - heard > 80, "the call in progress goes on"
                    await call.hang_up()
                    assert await it["a"].ended(within=30.0) == 0
                    await it.restart("a")
                    assert await it.terminate("b") == 0
                    await it.restart("b")
                    await asyncio.sleep(1.0)
                await it.until(it.all_answered, "every text is answered")
            async with it.desk("b", "ana") as ana:
                assert await ana.post(f"/desk/{session}/wrap-up", note="", disposition="") in {204, 409}
            await it.check()


async def refuses(phone: Softphone, address: str) -> bool:
    """Whether whoever is there takes no new calls."""
    try:
        call = await phone.call(f"sip:{NUMBER}@{address}", patience=5.0)
    except CallFailedError as refusal:
        return refusal.status == 503
    await call.hang_up()
    return False
