"""Nodes tell each other that something has changed, and nothing depends on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from bridge import news as module
from bridge.cluster import ClusterUnavailableError, NodeId
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.news import TOPIC, News
from tests.unit.bridge.two_nodes import two_nodes, until


async def test_the_other_node_hears_what_one_tells(tmp_path: Path) -> None:
    """Of the topics it wants to hear of; who tells is not told."""
    async with two_nodes(tmp_path) as (one, two):
        heard: list[tuple[str, str]] = []

        async def hears(name: str, about: str) -> None:
            heard.append((name, about))

        one.news.hear("tea", lambda about: hears("one", about))
        two.news.hear("tea", lambda about: hears("two", about))
        await one.news.tell("coffee", "black")
        await one.news.tell("tea", "green")
        await until(lambda: heard)
        await two.news.tell("tea", "mint")
        await until(lambda: len(heard) == 2)
        assert heard == [("two", "green"), ("one", "mint")]


async def test_a_callback_that_fails_and_a_word_of_another_version_harm_nobody(tmp_path: Path) -> None:
    """The next word is heard."""
    async with two_nodes(tmp_path) as (one, two):
        heard: list[str] = []

        async def hears(about: str) -> None:
            if about == "spilt":
                raise RuntimeError(about)
            heard.append(about)

        two.news.hear("tea", hears)
        await one.news.tell("tea", "spilt")
        await one.cluster.publish(TOPIC, b"?")
        await one.news.tell("tea", "green")
        await until(lambda: heard)
        assert heard == ["green"]


class Unwell(MemoryCluster):
    """Cannot be reached at first, and now and then."""

    def __init__(self, node: NodeId, hub: Hub) -> None:
        super().__init__(node, hub)
        self.well = asyncio.Event()
        self.cut = asyncio.Event()

    async def publish(self, topic: str, update: bytes) -> None:
        if not self.well.is_set():
            raise ClusterUnavailableError("not now")
        await super().publish(topic, update)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
        if not self.well.is_set():
            raise ClusterUnavailableError("not now")
        async with super().subscribe(topic):
            yield self._until_cut()

    async def _until_cut(self) -> AsyncIterator[bytes]:
        while True:
            await self.cut.wait()
            if self.cut.is_set():
                self.cut.clear()
                raise ClusterUnavailableError("gone")
            yield b""


async def test_a_node_that_could_not_hear_looks_at_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins although nobody can be reached, and telling does not fail."""
    monkeypatch.setattr(module, "AGAIN_AFTER", 0.01)
    async with Unwell(NodeId("one"), Hub(shared=True)) as cluster:
        news, heard, started = News(cluster), [], asyncio.Event()

        async def hears(about: str) -> None:
            heard.append(about)

        news.hear("tea", hears)
        running = asyncio.create_task(news.run(started))
        await started.wait()
        await news.tell("tea", "green")
        assert heard == []
        cluster.well.set()
        await until(lambda: heard == [""])
        cluster.cut.set()
        await until(lambda: heard == ["", ""])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_whoever_has_it_answers_a_question(tmp_path: Path) -> None:
    """Who has it not says nothing; an answer that nobody gives, or that comes too late, is none."""
    async with two_nodes(tmp_path) as (one, two):

        async def knows(about: str) -> str | None:
            return f"{about} it is" if about == "tea" else None

        two.news.answer("drinks", knows)
        assert await one.news.ask("drinks", "tea", timeout=20.0) == "tea it is"
        assert await one.news.ask("drinks", "coffee", timeout=0.05) is None
        assert await one.news.ask("cakes", "tea", timeout=0.05) is None
        assert await two.news.ask("drinks", "tea", timeout=0.05) is None
        answer = {"node": "two", "topic": "drinks", "about": "late", "answers": "nothing that was asked"}
        await two.cluster.publish(TOPIC, msgspec.json.encode(answer))
        assert await one.news.ask("drinks", "tea", timeout=20.0) == "tea it is"


async def test_a_node_that_is_alone_asks_nobody() -> None:
    """And does not wait for an answer."""
    async with MemoryCluster(NodeId("main"), Hub()) as cluster:
        assert await News(cluster).ask("drinks", "tea", timeout=1e9) is None
