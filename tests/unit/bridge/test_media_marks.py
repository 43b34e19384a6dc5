"""Nodes that keep pictures on disk: whether they keep them in the same folder."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

from structlog.testing import capture_logs

from bridge.adapters import look_for_marks, marked
from bridge.cluster import Entry, NodeId
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.media_store import DiskBlobs
from bridge.media_store.marks import OLD, PREFIX, forget, mark_in, without_mark
from bridge.settings import MediaSettings

ON_DISK = MediaSettings()


class Nothing:
    """A copy of nothing."""

    def apply(self, entry: Entry) -> None:
        """Nothing changes."""

    def dump(self) -> bytes:
        """Nothing."""
        return b""

    def load(self, snapshot: bytes) -> None:
        """Nothing."""

    def refounded(self) -> None:
        """Nothing is lost."""


async def found() -> None:
    """Nothing to begin with."""


async def said(*folders: Path) -> list[list[str]]:
    """Start nodes one after the other, each with its folder; what each of them says of those that keep files elsewhere."""
    hub, heard = Hub(shared=True), []
    async with AsyncExitStack() as stack:
        for n, folder in enumerate(folders):
            node = await stack.enter_async_context(MemoryCluster(NodeId(f"node{n}"), hub))
            await stack.enter_async_context(marked(ON_DISK, folder, node))
            await stack.enter_async_context(node.joined(Nothing(), founder=found))
            with capture_logs() as logs:
                await look_for_marks(ON_DISK, folder, node, again=0.0)
            heard.append([name for line in logs if line["event"] == "media.not_shared" for name in line["nodes"]])
    return heard


def forgotten(folder: Path) -> bool:
    """Whether nothing is left there."""
    return not any(folder.iterdir())


async def test_nodes_with_one_folder_say_nothing(tmp_path: Path) -> None:
    """Each finds the marks of the others; they are gone when the nodes are."""
    assert await said(tmp_path, tmp_path, tmp_path) == [[], [], []]
    assert forgotten(tmp_path)


async def test_a_node_with_a_folder_of_its_own_says_whose_are_elsewhere(tmp_path: Path) -> None:
    """In the log, with what to do; it works all the same."""
    assert await said(tmp_path / "one", tmp_path / "one", tmp_path / "two") == [[], [], ["node0", "node1"]]


async def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """It is said, and nothing more."""
    (tmp_path / "file").write_text("not a folder")
    async with MemoryCluster(NodeId("one"), Hub(shared=True)) as node:
        with capture_logs() as logs:
            async with marked(ON_DISK, tmp_path / "file" / "media", node):
                pass
    assert [line["event"] for line in logs] == ["media.not_marked"]


async def test_one_node_alone_leaves_no_mark(tmp_path: Path) -> None:
    """There is nobody to look for it."""
    async with MemoryCluster(NodeId("one"), Hub()) as node, marked(ON_DISK, tmp_path, node):
        await look_for_marks(ON_DISK, tmp_path, node)
        assert forgotten(tmp_path)


async def test_marks_are_no_pictures_and_those_of_the_dead_go_in_time(tmp_path: Path) -> None:
    """Whoever looks through the folder leaves them alone; a newcomer removes what nobody needs."""
    with mark_in(tmp_path, "alive"):
        for name in ("dead", "new"):
            (tmp_path / f"{PREFIX}{name}").touch()
        for name in ("dead", "alive"):
            await asyncio.to_thread(os.utime, tmp_path / f"{PREFIX}{name}", (0.0, 0.0))
        assert await DiskBlobs(tmp_path).find() == []
        assert without_mark(tmp_path, ["alive", "dead", "other"]) == ["other"]
        forget(tmp_path, ["alive"])
        assert without_mark(tmp_path, ["alive", "dead", "new"]) == ["dead"]
    assert OLD > 0.0
