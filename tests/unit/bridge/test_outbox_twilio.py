"""The outbox and the Twilio provider against a server that breaks in every way, with crashes: none lost, none doubled."""

import asyncio
import random
import time
from collections import defaultdict
from pathlib import Path

import pytest

from bridge.events import MessageId, ProviderRef
from bridge.journal import Journal
from bridge.outbox import Outbox
from sms.provider import ErrorClass, SmsProvider
from sms.providers.failover import MARK, FailoverSms
from sms.providers.twilio import TwilioSms
from sms.testing.twilio_server import AUTH_TOKEN, Fault, TwilioServer
from tests.unit.bridge.post_office import PostOffice

WELL = [f"+1555012{n:04}" for n in range(20)]
ODD = {
    "+15550190429": "accepted",  # 429 once
    "+15550190501": "accepted",  # 500, yet taken
    "+15550190502": "accepted",  # 503 once
    "+15550190503": "accepted",  # 500 once, yet taken
    "+15550190504": "accepted",  # no answer, yet taken
    "+15550190600": "accepted",  # the connection breaks, yet taken
    "+15550190510": "accepted",  # slow
    "+15550191211": "rejected",
    "+15550191610": "rejected",
}
EACH = 4


class RealOffice(PostOffice):
    """A post office on the wire and in real time."""

    provider: SmsProvider

    def new_outbox(self) -> Outbox:
        if not hasattr(self, "provider"):
            return super().new_outbox()
        return Outbox(self.journal, {"twilio": self.provider}, self.settle, clock=time.time, reconcile_after=1.0, pace=self.pace)


def account(server: TwilioServer) -> TwilioSms:
    return TwilioSms(
        account_sid=server.account_sid,
        auth_token=server.auth_token,
        status_url=None,
        api_base_url=server.url,
        request_timeout=1.0,
        listed_within=1.5,
        pause=0.01,
    )


async def done(journal: Journal, name: str) -> str | None:
    """How a text ended, once it has."""
    while (row := await journal.outbox(MessageId(name))) is None or row.state != "done":  # noqa: ASYNC110  # it knows no events
        await asyncio.sleep(0.05)
    return row.outcome


@pytest.mark.parametrize("two_accounts", [False, True])
async def test_faults_and_crashes_neither_lose_nor_double(tmp_path: Path, two_accounts: bool) -> None:
    """Every text ends where its number says, is taken once at most, and none overtakes another to the same person."""
    chance = random.Random(7)
    names: dict[str, list[str]] = defaultdict(list)
    async with (
        Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal,
        TwilioServer(latency=0.0, slow_seconds=0.2) as server,
        TwilioServer(latency=0.0, slow_seconds=0.2, account_sid="AC" + "6" * 32, auth_token=AUTH_TOKEN) as second,
        FailoverSms(account(server), account(second), frozenset[ErrorClass]({"sender"})) as provider,
    ):
        if two_accounts:  # some people cannot be reached by the first
            server.faults |= dict.fromkeys(WELL[:5], Fault(status=400, code=21606))
        office = RealOffice(journal)
        office.provider = provider
        office.clock.now = time.time()
        for number in range(EACH):
            for recipient in [*WELL, *ODD]:
                name = f"{recipient} {number}"
                names[recipient].append(name)
                office.clock.now += 0.0001
                await office.put(name, recipient=recipient)
        office.clock.now = time.time()
        for _ in range(6):
            await office.crash()
            async with office.open():
                await asyncio.sleep(chance.uniform(0.02, 0.4))
        await office.crash()
        async with office.open(), asyncio.timeout(60.0):
            for name in [name for sent in names.values() for name in sent]:
                await done(journal, name)

        taken = [*server.messages.values(), *second.messages.values()]
        assert not server.problems + second.problems
        for recipient, sent in names.items():
            expected = sent if ODD.get(recipient, "accepted") == "accepted" else []
            assert [message.body for message in sorted(taken, key=lambda m: m.created) if message.to == recipient] == expected
            assert {await done(journal, name) for name in sent} == {ODD.get(recipient, "accepted")}
        with_second = {message.to for message in second.messages.values()}
        # After a few refusals the first is left out for a while, so others may have gone by the second as well.
        assert with_second >= set(WELL[:5]) if two_accounts else not with_second
        for message in second.messages.values():
            assert await journal.message_by_ref("twilio", ProviderRef(MARK + message.sid)) is not None
