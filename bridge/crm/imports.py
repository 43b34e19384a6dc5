"""Imports at any node: the file lies where it came in, and a request that comes to another node is passed on."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from bridge.crm.csv_import import CsvImports, ImportRefusedError, Progress
from bridge.news import News

TOPIC = "imports"
"""What the node of an import is asked."""
PATIENCE = 2.0
"""Seconds in which it has to answer."""
MOST_PASSED_ON = 512 * 1024
"""Bytes of an error report that are passed on to another node; what is beyond is cut off after a whole line."""


class _Question(msgspec.Struct, frozen=True):
    what: Literal["state", "start", "errors"]
    job: str
    mapping: dict[str, str] = {}
    actor: str = ""
    dry_run: bool = False


class _Answer(msgspec.Struct, frozen=True):
    progress: Progress | None = None
    refused: str | None = None
    errors: str = ""


class NodesImports:
    """Implements `bridge.web.ports_contacts.Imports`.

    Args:
        here: The imports of this node.
        news: How other nodes are asked, and ask; None: there are none.
    """

    def __init__(self, here: CsvImports, news: News | None = None) -> None:
        self._here = here
        self._news = news
        if news is not None:
            news.answer(TOPIC, self._answer)

    @property
    def folder(self) -> Path:
        """Where uploads are put."""
        return self._here.folder

    async def take(self, file: str, path: Path) -> Progress:
        """See `CsvImports.take`."""
        return await self._here.take(file, path)

    async def start(self, job: str, mapping: Mapping[str, str], actor: str, *, dry_run: bool) -> Progress:
        """See `CsvImports.start`."""
        if self._here.state(job) is None:
            answer = await self._ask(_Question("start", job, dict(mapping), actor, dry_run))
            if answer is not None and answer.refused is not None:
                raise ImportRefusedError(answer.refused)
            if answer is not None and answer.progress is not None:
                return answer.progress
        return self._here.start(job, mapping, actor, dry_run=dry_run)

    async def state(self, job: str) -> Progress | None:
        """None: there is no such import (any more), or its node does not answer."""
        known = self._here.state(job)
        if known is not None:
            return known
        answer = await self._ask(_Question("state", job))
        return None if answer is None else answer.progress

    async def errors(self, job: str) -> AsyncIterator[bytes]:
        """See `CsvImports.errors`; of another node at most `MOST_PASSED_ON` bytes."""
        if self._here.state(job) is None:
            answer = await self._ask(_Question("errors", job))
            if answer is not None:
                yield answer.errors.encode()
            return
        async for chunk in self._here.errors(job):
            yield chunk

    async def close(self) -> None:
        """Stop what is running here, and leave nothing behind."""
        await self._here.close()

    async def _ask(self, question: _Question) -> _Answer | None:
        """What the node of an import says; None: it is nowhere."""
        if self._news is None:
            return None
        body = await self._news.ask(TOPIC, msgspec.json.encode(question).decode(), timeout=PATIENCE)
        return None if body is None else msgspec.json.decode(body, type=_Answer)

    async def _answer(self, body: str) -> str | None:
        question = msgspec.json.decode(body, type=_Question)
        if self._here.state(question.job) is None:
            return None
        return msgspec.json.encode(await self._do(question)).decode()

    async def _do(self, question: _Question) -> _Answer:
        match question.what:
            case "state":
                return _Answer(self._here.state(question.job))
            case "start":
                try:
                    done = self._here.start(question.job, question.mapping, question.actor, dry_run=question.dry_run)
                except ImportRefusedError as refusal:
                    return _Answer(refused=str(refusal))
                return _Answer(done)
            case "errors":
                report = bytearray()
                async for chunk in self._here.errors(question.job):
                    report += chunk
                    if len(report) > MOST_PASSED_ON:
                        del report[report.rfind(b"\n", 0, MOST_PASSED_ON) + 1 :]
                        break
                return _Answer(errors=report.decode("utf-8", "replace"))
