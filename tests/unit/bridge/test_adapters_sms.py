"""Who carries texts, put together from the settings."""

import time
from pathlib import Path

from bridge.adapters import sms_provider, twilio_webhooks
from bridge.settings import Settings
from sms.message import DeliveryReport, InboundText, OutboundText
from sms.provider import Accepted
from sms.providers.loopback import LoopbackNetwork
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN, Fault, TwilioServer

OURS, CUSTOMER = "+15550100200", "+15550100123"
POOL, SECOND = "MG" + "6" * 32, "AC" + "6" * 32


async def nobody(_: InboundText | DeliveryReport) -> None:
    raise AssertionError


async def test_the_second_service_chooses_its_own_number(tmp_path: Path) -> None:
    """What the first refuses goes by the service of the second, without the first one's number."""
    async with TwilioServer() as server:
        server.faults[CUSTOMER] = Fault(status=400, code=21606, times=1)
        fallback = {"account_sid": ACCOUNT_SID, "auth_tokens": [AUTH_TOKEN], "messaging_service_sid": POOL}
        twilio = {"account_sid": ACCOUNT_SID, "auth_tokens": [AUTH_TOKEN], "api_base_url": server.url, "fallback": fallback}
        settings = Settings.model_validate(
            {"data": tmp_path, "sms": {"provider": "twilio"}, "public_url": "http://127.0.0.1:1", "twilio": twilio}
        )
        network = LoopbackNetwork(delay=0.0, clock=time.time)
        async with sms_provider(settings, network, nobody, nobody, time.time) as provider:
            text = OutboundText(message="m1", recipient=CUSTOMER, sender=OURS, body="Hi", created_at=time.time())
            accepted = await provider.send(text)
    assert isinstance(accepted, Accepted)
    senders = [[field for field in request.fields if field[0] in {"From", "MessagingServiceSid"}] for request in server.requests]
    assert senders == [[("From", OURS)], [("MessagingServiceSid", POOL)]]


def test_webhooks_of_both_accounts_are_believed(tmp_path: Path) -> None:
    """Every token of both may sign; refs of the second are marked, unless it is the same account."""
    for second, marks in ((SECOND, {SECOND: "2:"}), (ACCOUNT_SID, {})):
        fallback = {"account_sid": second, "auth_tokens": ["b" * 32]}
        settings = Settings.model_validate(
            {"data": tmp_path, "twilio": {"account_sid": ACCOUNT_SID, "auth_tokens": ["a" * 32, "old"], "fallback": fallback}}
        )
        config = twilio_webhooks(settings)
        assert config is not None
        assert config.auth_tokens == ("a" * 32, "old", "b" * 32)
        assert config.accounts == {ACCOUNT_SID, second}
        assert config.marks == marks
