"""What the loopback network does beyond the contract of all providers."""

import asyncio
import time

import pytest

from sms.message import DeliveryReport, InboundText, OutboundText
from sms.provider import Accepted
from sms.providers.loopback import TRIES, Behaviour, LoopbackNetwork, LoopbackSms


async def ignore(_: InboundText | DeliveryReport) -> None:
    """Take anything."""


def text(recipient: str, message: str = "m1") -> OutboundText:
    return OutboundText(message=message, recipient=recipient, sender="+15550100200", body="hi", created_at=time.time())


async def test_a_handset_can_be_watched() -> None:
    """Who watches a handset sees what is there and then each new text, both ways, in order."""
    network = LoopbackNetwork(delay=0.0)
    handset = network.handset("+15550100123")
    seen = []
    async with LoopbackSms(network, on_text=ignore, on_report=ignore) as provider:
        await handset.text("+15550100200", "one")
        await provider.send(text(handset.number))
        async with asyncio.timeout(2):
            async for bubble in handset.watch():
                seen.append((bubble.direction, bubble.body))
                if len(seen) == 2:
                    await handset.text("+15550100200", "three")
                if len(seen) == 3:
                    break
    assert seen == [("written", "one"), ("received", "hi"), ("written", "three")]
    assert [bubble.body for bubble in handset.received] == ["hi"]


async def test_two_watchers_see_the_same() -> None:
    """Each watcher has its own place in the thread."""
    network = LoopbackNetwork()
    handset = network.handset("+15550100123")

    async def watch() -> list[str]:
        bodies = []
        async for bubble in handset.watch():
            bodies.append(bubble.body)
            if len(bodies) == 3:
                break
        return bodies

    async with LoopbackSms(network, on_text=ignore, on_report=ignore):
        watchers = [asyncio.create_task(watch()) for _ in range(2)]
        for body in "abc":
            await handset.text("+15550100200", body)
        assert await asyncio.gather(*watchers) == [["a", "b", "c"]] * 2


async def test_a_handset_behaves_as_told() -> None:
    """How a handset behaves can be set, with its own code, and taken back."""
    reports: list[DeliveryReport] = []
    settled = asyncio.Event()

    async def on_report(report: DeliveryReport) -> None:
        reports.append(report)
        if report.state in {"delivered", "undelivered"}:
            settled.set()

    network = LoopbackNetwork(delay=60.0)
    number = "+15550100199"
    async with LoopbackSms(network, on_text=ignore, on_report=on_report) as provider:
        network.behave(number, Behaviour(outcome="undelivered", delay=0.0, code="full"))
        assert isinstance(await provider.send(text(number)), Accepted)
        await asyncio.wait_for(settled.wait(), 2)
        assert [(report.state, report.code) for report in reports] == [("sent", None), ("undelivered", "full")]
        network.behave(number, None)
        assert network.behaviour(number) == Behaviour(outcome="undelivered")


async def test_nobody_listens() -> None:
    """A text to a server that is not there, or can not keep it, fails for the handset."""
    network = LoopbackNetwork()
    handset = network.handset("+15550100123")
    with pytest.raises(ConnectionError):
        await handset.text("+15550100200", "anybody?")
    tries = 0

    async def never(_: InboundText) -> None:
        nonlocal tries
        tries += 1
        raise RuntimeError("the journal is full")

    async with LoopbackSms(network, on_text=never, on_report=ignore):
        with pytest.raises(ConnectionError):
            await handset.text("+15550100200", "anybody?")
    assert tries == TRIES


async def test_closing_stops_deliveries() -> None:
    """When the provider closes nothing is delivered or reported any more."""
    network = LoopbackNetwork(delay=0.05)
    reports: list[DeliveryReport] = []

    async def on_report(report: DeliveryReport) -> None:
        reports.append(report)

    async with LoopbackSms(network, on_text=ignore, on_report=on_report) as provider:
        await provider.send(text("+15550100123"))
    await asyncio.sleep(0.06)
    assert reports == []
    assert network.handset("+15550100123").texts == []
