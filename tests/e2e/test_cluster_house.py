"""Two nodes, one service: who signs in, signs out or says something at one node has done it at both."""

import time
from pathlib import Path

import pytest

from tests.e2e.cluster import ring, service
from tests.e2e.server import DeskClient, agent
from tests.postgres import Postgres

pytestmark = pytest.mark.e2e
CUSTOMER = "+15550100121"


async def seen(desk: DeskClient, url: str) -> bool:
    """Whether the browser is signed in there: else it is sent to the form."""
    async with desk.http.get(f"{url}/", allow_redirects=False) as answer:
        return answer.status == 200


async def test_a_cookie_of_one_node_is_good_at_the_other_until_either_is_left(tmp_path: Path, postgres_server: Postgres) -> None:
    """At once after the sign-in; a button of a page of one works at the other; and a sign-out there ends it here."""
    async with service(tmp_path, postgres_server, agent("ana", "support_sms")) as it:
        a, b = it["a"].url, it["b"].url
        async with DeskClient(a, "ana") as ana:
            await ana.sign_in()
            assert await seen(ana, b)
            cookies = {cookie.key: cookie.value for cookie in ana.http.cookie_jar}  # the browser forgets it with the answer
            ana._url = b
            await ana.go("not_ready", "Lunch")
            async with ana.http.post(f"{b}/sign-out", data={"csrf": ana._csrf}) as answer:
                assert answer.status == 200

            async def out() -> bool:
                async with ana.http.get(f"{a}/", allow_redirects=False, cookies=cookies) as answer:
                    return answer.status == 303

            await it.until(out, "node a knows that she has signed out at node b")


async def test_an_agent_whose_node_dies_goes_on_at_the_other(tmp_path: Path, postgres_server: Postgres) -> None:
    """The browser connects to the one that is left, with the cookie it has: still ready, and what comes in rings there."""
    async with service(tmp_path, postgres_server, agent("ana", "support_sms")) as it, DeskClient(it["a"].url, "ana") as ana:
        await ana.sign_in()
        async with ana.watching():
            await ana.go("ready")
            await it.kill("a")
        ana._url = it["b"].url
        await ana.read()
        async with ana.watching():
            await it.text(CUSTOMER, "Hello?", at="b")
            session, channel = await it.until(lambda: ring(ana), "it rings at the desk")
            assert await ana.accept(session, channel) == 200
            assert await ana.say(session, "What can I do?") == 204


async def test_a_plan_that_a_program_makes_at_one_node_is_that_of_both(tmp_path: Path, postgres_server: Postgres) -> None:
    """Nobody waits for the next look: it is told."""
    async with service(tmp_path, postgres_server) as it, it.api("a") as a, it.api("b") as b:
        steps = [{"at": time.time() + 3600.0, "capacity": 3}]
        async with a._http.post(f"{it['a'].url}/api/v1/queues/support_sms/ewt/plan", json={"steps": steps}) as answer:
            assert answer.status == 200, await answer.text()

        async def known() -> bool:
            return [step["capacity"] for step in (await b.get("/queues/support_sms/ewt/plan"))["steps"]] == [3]

        await it.until(known, "node b knows the plan")
