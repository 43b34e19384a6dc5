"""Redis is gone for longer than a moment: who calls is sent to the trunk's next route, and who writes is answered later."""

import asyncio
import secrets
import socket
from pathlib import Path

import aiohttp
import pytest

from bridge.runner import CALL_WAITS
from bridge.telephony.softphone import CallFailedError, PhoneConfig, Softphone
from tests.e2e.cluster import Service, Worker, beside, service
from tests.e2e.server import NUMBER, agent
from tests.postgres import Postgres

pytestmark = pytest.mark.e2e
EARLIER, CALLER, TEXTER = "+15550100170", "+15550100171", "+15550100172"
PATIENCE = 30.0
"""Seconds for which these callers wait before they give up."""


async def metric(it: Service, node: str, name: str) -> float:
    """A figure of `/metrics`; 0.0 when it is not there yet."""
    async with aiohttp.ClientSession() as http, http.get(f"{it[node].url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)


async def ready(it: Service, node: str, of: str = "/readyz") -> tuple[int, str]:
    """What the node says of itself: status, and why."""
    async with aiohttp.ClientSession() as http, http.get(it[node].url + of) as answer:
        return answer.status, (await answer.json()).get("reason", "")


async def takes_calls(it: Service, node: str) -> bool:
    """Whether the node says that calls may come."""
    return (await ready(it, node))[0] == 200


async def answer_of(it: Service, node: str, method: str = "INVITE") -> str:
    """The final response to an INVITE or OPTIONS (RFC 3261), as it stands on the wire."""
    host, _, port = it[node].sip.rpartition(":")
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ours:
        ours.setblocking(False)
        ours.bind(("127.0.0.1", 0))
        me = f"127.0.0.1:{ours.getsockname()[1]}"
        sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 39998 RTP/AVP 0\r\n"
        lines = [
            f"{method} sip:{NUMBER}@{it[node].sip} SIP/2.0", f"Via: SIP/2.0/UDP {me};branch=z9hG4bK{secrets.token_hex(4)}",
            f"From: <sip:{CALLER}@{me}>;tag=one", f"To: <sip:{NUMBER}@{it[node].sip}>", f"Call-ID: {secrets.token_hex(8)}",
            f"CSeq: 1 {method}", f"Contact: <sip:{CALLER}@{me}>", "Max-Forwards: 70", "Content-Type: application/sdp",
            f"Content-Length: {len(sdp)}", "", sdp,
        ]  # fmt: skip
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(ours, "\r\n".join(lines).encode(), (host, int(port)))
        async with asyncio.timeout(PATIENCE):
            while (response := (await loop.sock_recv(ours, 4096)).decode()).startswith("SIP/2.0 1"):
                pass
    return response


async def takes_no_calls(it: Service, node: str) -> bool:
    """Whether the node says that none may come."""
    return (await ready(it, node))[0] == 503


async def refused(it: Service, phone: Softphone, node: str) -> int:
    """With which status a call is refused."""
    with pytest.raises(CallFailedError) as refusal:
        await phone.call(f"sip:{NUMBER}@{it[node].sip}", patience=PATIENCE)
    return refusal.value.status


async def test_a_new_call_is_refused_and_a_call_in_progress_goes_on(tmp_path: Path, postgres_server: Postgres) -> None:
    """503 with Retry-After, and nothing of it is left; readiness says why; when Redis is back calls are taken again."""
    async with (
        Softphone(PhoneConfig(user=EARLIER)) as first,
        Softphone(PhoneConfig(user=CALLER)) as second,
        service(tmp_path, postgres_server, agent("ana", "support"), names=("a",)) as it,
    ):
        call = await first.call(f"sip:{NUMBER}@{it['a'].sip}")
        counted = await metric(it, "a", "sidetone_calls_total")

        it.lose_redis()
        assert await refused(it, second, "a") == 503  # within the first moment it waits for it
        await it.until(lambda: takes_no_calls(it, "a"), "readiness says that no calls are taken")
        assert "Redis" in (await ready(it, "a"))[1]
        assert (await ready(it, "a", "/readyz?for=texts"))[0] == 200
        for method in ("INVITE", "OPTIONS"):
            response = await answer_of(it, "a", method)
            assert response.startswith("SIP/2.0 503")
            assert "retry-after: " in response.lower()

        assert await metric(it, "a", "sidetone_calls_total") == counted
        assert await metric(it, "a", "sidetone_calls_refused_total") == 2.0
        assert await metric(it, "a", "sidetone_calls_live") == 1.0
        assert await metric(it, "a", "sidetone_sessions_open") == 1.0
        assert it.one(f"select count(*) from session where customer = '{CALLER}'") == 0
        assert "call.refused" in it["a"].said()
        assert not call.ended.is_set()
        await call.press("1")

        it.redis.start()
        await it.until(lambda: takes_calls(it, "a"), "calls are taken again")
        assert (await answer_of(it, "a", "OPTIONS")).startswith("SIP/2.0 200")
        again = await second.call(f"sip:{NUMBER}@{it['a'].sip}")
        await again.hang_up()
        await call.hang_up()
        await it.until(lambda: nobody_calls(it), "both calls are over")


async def nobody_calls(it: Service) -> bool:
    """Whether no call is in progress."""
    return await metric(it, "a", "sidetone_calls_live") == 0.0


async def test_a_call_of_the_first_moment_is_answered_when_redis_is_back(tmp_path: Path, postgres_server: Postgres) -> None:
    """The caller hears nothing of it but a longer ring."""
    async with (
        Softphone(PhoneConfig(user=CALLER)) as phone,
        service(tmp_path, postgres_server, agent("ana", "support"), names=("a",)) as it,
    ):
        it.lose_redis()
        dialled = asyncio.create_task(phone.call(f"sip:{NUMBER}@{it['a'].sip}", patience=PATIENCE))
        await it.until(lambda: arrived(phone), "the call is on its way")
        it.redis.start()
        call = await dialled
        await call.hang_up()


async def arrived(phone: Softphone) -> bool:
    """Whether the phone has dialled."""
    return bool(phone.calls)


async def given(it: Service) -> bool:
    """Whether no text waits for a session any more."""
    return bool(it.one("select count(*) from inbound where not handled") == 0)


async def test_a_text_that_comes_in_meanwhile_is_kept_and_answered_later(tmp_path: Path, postgres_server: Postgres) -> None:
    """The webhook gets its 2xx while Redis is away, the text is in the journal, and an agent answers when it is back."""
    async with service(tmp_path, postgres_server, agent("ben", "support_sms"), names=("a",)) as it:
        it.lose_redis()
        await asyncio.sleep(CALL_WAITS)
        await it.text(TEXTER, "Is anybody there?", within=10.0)
        assert it.one("select count(*) from inbound where not handled") == 1

        it.redis.start()
        async with beside(Worker(it, "ben", "a").work()):
            await it.until(lambda: given(it), "the text is given to a session")
            await it.until(it.all_answered, "the text is answered")
        await it.check()
