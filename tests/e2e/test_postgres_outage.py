"""PostgreSQL is stopped under load and comes back: nothing acknowledged is lost or doubled, and nobody has to start anything.

With OUTAGE=45 in the environment it is away for so many seconds, which is longer than a session tries to save a step.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from sms.testing.twilio_server import TwilioServer
from tests.e2e import journal_checker as checker
from tests.e2e.server import NUMBER, Api, DeskClient, ServerProcess, agent, settings
from tests.postgres import Postgres, postgres

pytestmark = pytest.mark.e2e
HANDSETS = tuple(f"+1555010011{n}" for n in range(4))
OUTAGE = float(os.environ.get("OUTAGE", "2"))
WITHIN = 60.0 + OUTAGE


class Story:
    """A server, its database, its provider, an agent who answers everything, and customers who go on writing."""

    def __init__(self, database: Postgres, url: str, server: ServerProcess, twilio: TwilioServer) -> None:
        self.database = database
        self.url = url
        self.server = server
        self.twilio = twilio
        self.kept: dict[str, str] = {}
        self.writing = True

    async def write(self, handset: str) -> None:
        """Write until told to stop; each text is brought again until it is acknowledged."""
        number = 0
        while self.writing:
            number += 1
            body = f"{handset} {number}"
            self.kept[await self.twilio.text(handset, NUMBER, body, within=WITHIN)] = body
            await asyncio.sleep(0.15)

    async def answer(self) -> None:
        """Work as an agent; what the server cannot do just now is tried again, as a person would."""
        async with DeskClient(self.server.url, "ben") as desk, Api.open(self.server.url) as api:
            await desk.sign_in()
            await desk.go("ready")
            async with desk.watching():
                while True:
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        await self._look(desk, api)
                    await asyncio.sleep(0.1)

    async def _look(self, desk: DeskClient, api: Api) -> None:
        for session, channel in desk.offers:
            await desk.accept(session, channel)
        for session in desk.rows:
            view = await api.session(session)
            said = {line["data"]["body"] for line in view["timeline"] if line["kind"] == "text.sent"}
            for line in view["timeline"]:
                if line["kind"] == "text.received" and f"re: {line['data']['body']}" not in said:
                    await desk.say(session, f"re: {line['data']['body']}")

    def evidence(self) -> checker.Evidence:
        """Everything that the checker looks at."""
        evidence = checker.read_journal(self.url)
        evidence.kept = dict(self.kept)
        evidence.given = checker.taken_by(self.twilio)
        return evidence

    async def until(self, holds: Callable[[], Awaitable[object]], what: str) -> None:
        """Wait until *holds* gives something true."""
        deadline = time.monotonic() + WITHIN
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                if await holds():
                    return
            assert time.monotonic() < deadline, f"not within {WITHIN} s: {what}\n{self.server.said()}"
            await asyncio.sleep(0.05)

    async def settled(self) -> None:
        """Wait until every text has its answer and nothing is wrong any more."""

        async def wrong() -> list[str]:
            evidence = await asyncio.to_thread(self.evidence)
            answered = {row["body"] for row in evidence.messages if row["direction"] == "out"}
            return [
                *checker.problems(evidence),
                *(f"{body!r} has no answer" for body in self.kept.values() if f"re: {body}" not in answered),
            ]

        deadline = time.monotonic() + WITHIN
        while found := await wrong():
            assert time.monotonic() < deadline, "\n".join([*found, self.server.said()])
            await asyncio.sleep(0.3)
        assert self.twilio.problems == []


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    with postgres() as database:
        url = database.database()
        async with TwilioServer() as twilio:
            config = settings(tmp_path, twilio.url, [agent("ben", "support_sms")], journal={"url": url})
            async with ServerProcess(tmp_path, config) as server:
                twilio.inbound_url = f"{server.url}/twilio/sms"
                yield Story(database, url, server, twilio)


async def test_the_database_is_stopped_and_started_under_load(story: Story) -> None:
    """Texts are taken again as soon as it is back, conversations go on, every one of them is answered once."""
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        working = tasks.create_task(story.answer())
        writers = [tasks.create_task(story.write(handset)) for handset in HANDSETS]

        async def ready() -> tuple[int, str]:
            async with http.get(f"{story.server.url}/readyz") as answer:
                return answer.status, (await answer.json()).get("reason", "")

        for turn in range(1, 3):

            async def enough(turn: int = turn) -> bool:
                return len(story.kept) >= 25 * turn and len(story.twilio.accepted_bodies) >= 10 * turn

            await story.until(enough, "texts go to and fro")
            before = len(story.kept)
            await asyncio.to_thread(story.database.stop)

            async def not_ready() -> bool:
                return (await ready())[0] == 503

            await story.until(not_ready, "readyz says that it is not")
            assert (await ready())[1] in {"the database cannot be reached", "the database does not answer"}
            for path, expected in (
                ("/healthz", {200}),
                ("/sign-in", {200}),
                ("/api/v1/sessions", {503, 401}),
                ("/metrics", {200}),
            ):
                async with http.get(f"{story.server.url}{path}") as answer:
                    assert answer.status in expected, path
            async with Api.open(story.server.url) as api, api._http.get(f"{story.server.url}/api/v1/sessions") as answer:
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) >= 1

            await asyncio.sleep(OUTAGE)
            acknowledged = len(story.kept)
            assert acknowledged - before <= len(HANDSETS), "at most what was on disk and not yet answered"
            await asyncio.to_thread(story.database.start)

            async def is_ready() -> bool:
                return (await ready())[0] == 200

            began = time.monotonic()
            await story.until(is_ready, "readyz says that it is again")

            async def goes_on(acknowledged: int = acknowledged) -> bool:
                return len(story.kept) > acknowledged + len(HANDSETS)

            await story.until(goes_on, "texts are taken again")
            print(f"texts are taken again {time.monotonic() - began:.1f} s after the database is back")
        story.writing = False
        await asyncio.wait(writers)
        await story.settled()
        working.cancel()


async def test_nobody_is_blamed_for_a_database_that_is_away(story: Story) -> None:
    """A text that is not on disk is not acknowledged, and kept once when it is brought again; who cannot sign in can later."""
    refused: list[int] = []
    post = story.twilio._post

    async def noted(url: str, fields: list[tuple[str, str]], read_timeout: float) -> int:
        status = await post(url, fields, read_timeout)
        refused.append(status)
        return status

    story.twilio._post = noted  # type: ignore[method-assign, assignment]
    await asyncio.to_thread(story.database.stop)
    bringing = asyncio.create_task(story.twilio.text(HANDSETS[0], NUMBER, "is anybody there?", within=WITHIN))

    async def was_refused() -> bool:
        return bool(refused)

    await story.until(was_refused, "the webhook is refused")
    assert set(refused) == {503}
    for _ in range(8):
        async with DeskClient(story.server.url, "ben") as desk:
            with pytest.raises(AssertionError, match="503"):
                await desk.sign_in()
    await asyncio.to_thread(story.database.start)
    story.kept[await bringing] = "is anybody there?"
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(story.answer())
        await story.settled()
        working.cancel()


async def test_a_server_ends_in_peace_while_the_database_is_away(story: Story) -> None:
    """Told to stop, it stops as at any other time; the next start answers what is left."""
    for handset in HANDSETS:
        body = f"{handset} is anybody there?"
        story.kept[await story.twilio.text(handset, NUMBER, body, within=WITHIN)] = body
    await asyncio.to_thread(story.database.stop)
    story.server.send(signal.SIGTERM)
    assert await story.server.ended() == 0, story.server.said()
    assert "Traceback" not in story.server.said()
    await asyncio.to_thread(story.database.start)
    await story.server.start()
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(story.answer())
        await story.settled()
        working.cancel()
