"""Two nodes, one service: whatever arrives at either, customers, agents and programs notice nothing."""

import asyncio
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from bridge.telephony.softphone import PhoneConfig, Softphone
from tests.e2e.cluster import Service, Worker, beside, load, ring, service
from tests.e2e.server import NUMBER, agent
from tests.postgres import Postgres
from tests.redis_kinds import PASSWORD, tls_server

pytestmark = pytest.mark.e2e
CUSTOMER = "+15550100121"


async def sessions(it: Service, node: str) -> list[str]:
    """The ids of all sessions that *node* knows."""
    async with it.api(node) as api:
        return [row["id"] for row in await api.sessions()]


async def both_show(it: Service, session: str, words: list[str]) -> bool:
    """Whether every node shows that the customer wrote just these texts, in this order."""
    shown = [await it.lines(node, session, "text.received") for node in it.nodes]
    return [[line["body"] for line in lines] for lines in shown] == [words] * len(shown)


async def test_texts_by_turns_to_both_nodes_are_one_conversation(tmp_path: Path, postgres_server: Postgres) -> None:
    """They reach one session, which both nodes show; who writes on when a text is there has their texts in that order."""
    words = []
    async with service(tmp_path, postgres_server) as it:
        for n, node in enumerate(["a", "b"] * 4):
            words.append(f"line {n}")
            await it.text(CUSTOMER, words[-1], at=node)
            (session,) = await it.until(partial(sessions, it, "b"), "a session")
            await it.until(partial(both_show, it, session, words), "both nodes show what was written")
        await it.check()


async def test_nodes_share_a_redis_with_tls_and_a_user_who_may_do_the_least(tmp_path: Path, postgres_server: Postgres) -> None:
    """Texts by turns are one conversation, no node logs the password, and none is told that it may not do something."""
    words = []
    with tls_server() as redis:
        async with service(tmp_path, postgres_server, redis=redis) as it:
            for n, node in enumerate("abab"):
                words.append(f"line {n}")
                await it.text(CUSTOMER, words[-1], at=node)
                (session,) = await it.until(partial(sessions, it, "b"), "a session")
                await it.until(partial(both_show, it, session, words), "both nodes show what was written")
            await it.check()
            logs = "".join(node.said(10_000_000) for node in it.nodes.values())
        with redis.client() as client:
            refused = {entry["object"] for entry in client.acl_log()}
    assert not {what for what in refused if not what.startswith("client|")}, "only what the client says of itself"
    assert PASSWORD not in logs
    assert quote(PASSWORD, safe="") not in logs
    assert "may not do what is needed" not in logs


async def test_texts_at_once_to_both_nodes_are_one_conversation(tmp_path: Path, postgres_server: Postgres) -> None:
    """Nobody waits for anything: there is one session all the same, with every text once."""
    async with service(tmp_path, postgres_server) as it:
        async with asyncio.TaskGroup() as texts:
            for n, node in enumerate(["a", "b"] * 4):
                texts.create_task(it.text(CUSTOMER, f"line {n}", at=node))
        await it.check()
        assert it.one("select count(*) from session") == 1
        assert it.one("select count(*) from timeline where kind = 'text.received'") == 8


async def test_a_desk_at_one_node_takes_a_chat_whose_texts_come_in_at_the_other(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    """It rings at the desk, is accepted, both write, it is ended and filed; the session stays with the node it began at."""
    async with service(tmp_path, postgres_server, agent("ana", "support_sms")) as it, it.desk("b", "ana") as ana:
        await ana.go("ready")
        await it.text(CUSTOMER, "Hello?", at="a")
        session, channel = await it.until(lambda: ring(ana), "it rings at the desk")
        assert channel == "sms"
        assert await it.owner(session) == "a"
        assert await ana.accept(session, channel) == 200

        assert await ana.say(session, "What can I do?") == 204
        await it.twilio.handset(CUSTOMER).wait(2)
        await it.text(CUSTOMER, "Nothing, thanks", at="a")
        await it.until(partial(both_show, it, session, ["Hello?", "Nothing, thanks"]), "what the customer wrote is at the desk")
        assert await ana.post(f"/desk/{session}/end-chat") == 204
        assert await ana.post(f"/desk/{session}/wrap-up", note="Done", disposition="Solved") == 204
        await it.until(lambda: it.closed(session), "the session is over")
        await it.check()


async def test_many_customers_and_agents_on_both_nodes(tmp_path: Path, postgres_server: Postgres) -> None:
    """Texts come in at both nodes twenty times a second, agents sit at both, and everything is answered once."""
    customers = [f"+155501002{n:02}" for n in range(10)]
    agents = [agent("ana", "support_sms"), agent("ben", "support_sms")]
    async with service(tmp_path, postgres_server, *agents) as it:
        async with beside(Worker(it, "ana", "a").work(), Worker(it, "ben", "b").work()):
            async with beside(load(it, customers)):
                await asyncio.sleep(5.0)
            await it.until(it.all_answered, "every text is answered")
        await it.check()
        assert {await it.owner(row["id"]) for row in it.rows("select id from session where closed_at is null")} == {"a", "b"}


async def test_a_program_asks_one_node_about_a_session_of_the_other(tmp_path: Path, postgres_server: Postgres) -> None:
    """A session is read, texted into and found at both nodes alike."""
    async with service(tmp_path, postgres_server) as it:
        await it.text(CUSTOMER, "Hello?", at="a")
        async with it.api("a") as api_a, it.api("b") as api_b:
            (row,) = await it.until(lambda: api_b.sessions(CUSTOMER), "node b knows the session")
            assert await it.owner(row["id"]) == "a"
            assert (await api_b.session(row["id"]))["timeline"] == (await api_a.session(row["id"]))["timeline"]

            async def same() -> bool:
                waits = [(await api.get("/queues/support_sms/ewt"))["waiting"] for api in (api_a, api_b)]
                return waits == [1, 1]

            await it.until(same, "both say that one waits")
        await it.check()


async def test_an_agent_whose_desk_is_at_one_node_takes_a_call_of_the_other(tmp_path: Path, postgres_server: Postgres) -> None:
    """The caller is on node a, the desk on node b; the agent's phone is rung by node a, and both hear each other."""
    async with Softphone(PhoneConfig(user="ana", answer_after=0.2)) as desk_phone, Softphone(PhoneConfig(user=CUSTOMER)) as phone:
        ana = agent("ana", "support", phone=desk_phone.uri)
        async with service(tmp_path, postgres_server, ana) as it, it.desk("b", "ana") as desk:
            await desk.go("ready")
            call = await phone.call(f"sip:{NUMBER}@{it['a'].sip}")
            for key in "12":
                await asyncio.sleep(1.5)
                await call.press(key)
            session, channel = await it.until(lambda: ring(desk), "the call rings at the desk")
            assert channel == "voice"
            assert await it.owner(session) == "a"
            assert await desk.accept(session, channel) == 200

            answered = await asyncio.wait_for(desk_phone.arrived.get(), 10.0)
            await it.until(lambda: it.lines("a", session, "audio.connected"), "both hear each other")
            assert answered.packets_heard > 0
            await it.until(lambda: it.lines("b", session, "audio.connected"), "node b says that they talk")
            await call.hang_up()
            await it.until(lambda: it.lines("b", session, "call.ended"), "node b says that the call is over")
            assert await desk.post(f"/desk/{session}/wrap-up", note="Done", disposition="Solved") == 204
            await it.until(lambda: it.closed(session), "the session is over")
            await it.check()
