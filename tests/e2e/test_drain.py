"""SIGTERM: calls in progress may end, nobody new is let in, what is written is handed over, and then the process is gone."""

import asyncio
import contextlib
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bridge.telephony.softphone import CallFailedError, PhoneCall, PhoneConfig, Softphone
from sms.testing.twilio_server import TwilioServer
from tests.e2e.server import NUMBER, DeskClient, ServerProcess, agent, settings

pytestmark = pytest.mark.e2e
CALLER = "+15550100141"


class SlowProvider(TwilioServer):
    """Takes its time before it answers."""

    async def _create(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return await super()._create(request)


@asynccontextmanager
async def stage(tmp_path: Path, *, drain_timeout: float) -> AsyncIterator[tuple[ServerProcess, TwilioServer]]:
    """A server that drains for so many seconds."""
    async with SlowProvider(opt_out="off") as twilio:
        config = settings(tmp_path, twilio.url, [agent("ben", "support_sms")], drain_timeout=drain_timeout)
        server = ServerProcess(tmp_path, config)
        twilio.inbound_url = f"{server.url}/twilio/sms"
        async with server:
            yield server, twilio


@asynccontextmanager
async def caller(server: ServerProcess) -> AsyncIterator[tuple[Softphone, PhoneCall]]:
    """A phone with a call that has been answered and hears something."""
    async with Softphone(PhoneConfig(user=CALLER)) as phone:
        call = await phone.call(f"sip:{NUMBER}@{server.sip}")
        await asyncio.sleep(0.5)
        assert call.packets_heard > 10
        yield phone, call


async def ready(server: ServerProcess) -> int:
    """The status of `/readyz`."""
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/readyz") as answer:
        return answer.status


async def until_draining(server: ServerProcess) -> None:
    """Until `/readyz` says that no traffic may come."""
    async with asyncio.timeout(5.0):
        while await ready(server) != 503:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_call_in_progress_may_end_and_nobody_new_comes_in(tmp_path: Path, number: signal.Signals) -> None:
    """`/readyz` says 503 and so does SIP to a new caller; the old one goes on, and when it ends so does the process."""
    async with stage(tmp_path, drain_timeout=60.0) as (server, _), caller(server) as (phone, call):
        server.send(number)
        await until_draining(server)

        with pytest.raises(CallFailedError) as refused:
            await phone.call(f"sip:{NUMBER}@{server.sip}")
        assert refused.value.status == 503
        heard = call.packets_heard
        await asyncio.sleep(1.0)
        assert server.alive
        assert call.packets_heard - heard > 40
        assert not call.ended.is_set()

        await call.hang_up()
        assert await server.ended(within=10.0) == 0


async def test_a_call_that_does_not_end_is_ended_after_the_limit(tmp_path: Path) -> None:
    """The caller gets a BYE, not silence."""
    async with stage(tmp_path, drain_timeout=1.5) as (server, _), caller(server) as (_phone, call):
        server.send(signal.SIGTERM)
        began = time.monotonic()

        await asyncio.wait_for(call.ended.wait(), 10.0)
        assert time.monotonic() - began > 1.3
        assert call.cause == "bye"
        assert await server.ended(within=10.0) == 0


async def test_who_asks_twice_does_not_want_to_wait(tmp_path: Path) -> None:
    """A second signal ends the calls at once, properly and with exit status 0."""
    async with stage(tmp_path, drain_timeout=60.0) as (server, _), caller(server) as (_phone, call):
        server.send(signal.SIGTERM)
        await until_draining(server)
        server.send(signal.SIGTERM)

        assert await server.ended(within=10.0) == 0
        await asyncio.wait_for(call.ended.wait(), 2.0)
        assert call.cause == "bye"


async def test_what_is_written_is_handed_over_before_the_end(tmp_path: Path) -> None:
    """Texts to one handset go one after the other; all of them go, once, before the process ends."""
    words = [f"line {n}" for n in range(6)]
    async with stage(tmp_path, drain_timeout=60.0) as (server, twilio):
        handset = twilio.handset(CALLER)
        async with DeskClient(server.url, "ben") as ben:
            await ben.sign_in()
            await ben.go("ready")
            await handset.text(NUMBER, "Hello?")
            await handset.wait(1)
            await ben.read()
            ((session, channel),) = ben.offers
            assert await ben.accept(session, channel) == 200
            for line in words:
                assert await ben.say(session, line) == 204
        server.send(signal.SIGTERM)
        assert await server.ended(within=20.0) == 0

        assert [text.body for text in (await handset.wait(7))[1:]] == words
    with contextlib.closing(sqlite3.connect(server.database)) as file:
        states = file.execute("select state, outcome, count(*) from outbox group by 1, 2").fetchall()
    assert states == [("done", "accepted", 7)]
    assert twilio.accepted_bodies.total() == 7
