"""A line to PostgreSQL that breaks at the worst moment: while a transaction is being committed."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

_COMMIT = b"COMMIT"


class LossyLine:
    """Stands between a journal and its server. Its address is `url`."""

    def __init__(self, server: Path, url: str) -> None:
        self._server = server
        self.url = url
        self.cut: Literal["before", "after", "never"] = "never"
        """Break at the next commit: before the server gets it, or after it has done it and before anybody hears of that."""
        self.down = False
        """Nobody can be reached."""
        self.silent = False
        """What is asked never arrives."""
        self.breaks = 0
        """How often it broke."""
        self._open: set[asyncio.StreamWriter] = set()
        self._ended = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        if self.down:
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_unix_connection(self._server / ".s.PGSQL.5432")
        self._open |= {writer, up_writer}
        with contextlib.suppress(OSError):
            async with asyncio.TaskGroup() as tasks:
                answers = tasks.create_task(self._answers(up_reader, writer))
                await self._questions(reader, up_writer, up_reader, answers)
        for each in (writer, up_writer):
            self._open.discard(each)
            each.close()
        async with self._ended:
            self._ended.notify_all()

    async def _questions(
        self,
        reader: asyncio.StreamReader,
        up: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        carrying: "asyncio.Task[None]",
    ) -> None:
        while data := await reader.read(65536):
            if self.cut != "never" and _COMMIT in data:
                cut, self.cut = self.cut, "never"
                self.breaks += 1
                carrying.cancel()
                await asyncio.wait([carrying])
                if cut == "after":
                    up.write(data)
                    await answers.read(1)  # the server has done it
                return
            if not self.silent:
                up.write(data)
                await up.drain()
        carrying.cancel()

    async def _answers(self, up: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await up.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def close(self) -> None:
        """Break every connection, and wait until that is over."""
        self.hang_up()
        async with self._ended:
            await self._ended.wait_for(lambda: not self._open)

    def hang_up(self) -> None:
        """Break every connection."""
        for writer in self._open:
            writer.close()


@asynccontextmanager
async def lossy_line(url: str) -> AsyncIterator[LossyLine]:
    """A line to the PostgreSQL server of *url*, which has to be on a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="sidetone-line-") as folder:
        before, _, place = url.partition("?host=")
        line = LossyLine(Path(place), f"{before}?host={folder}")
        server = await asyncio.start_unix_server(line.serve, Path(folder) / ".s.PGSQL.5432")
        try:
            yield line
        finally:
            server.close()
            await line.close()
