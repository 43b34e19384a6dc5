"""Grouped commits: whatever waits while the disk is busy goes into the next transaction together.

One fsync costs a thousand times what one row costs, so the way to save many small things is to save them at once. Nobody
waits on purpose: a lone request is written immediately, a crowd shares.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, OperationalError

from bridge.journal.database import Threads
from bridge.journal.rows import JournalClosedError, JournalError, JournalUnavailableError, UnitRefusedError

Request = TypeVar("Request")
Result = TypeVar("Result")
Apply = Callable[[Connection, list[Request]], list[Result | JournalError]]
"""Writes several requests in one transaction that it neither begins nor ends. A request it declines gets an error as its
result and leaves nothing behind; anything raised means that the whole transaction has to be given up."""

GROUP_LIMIT = 256
"""Requests in one transaction; bounds how long the first of them waits for the last."""

log = structlog.get_logger(__name__)


class GroupWriter(Generic[Request, Result]):
    """The one writer of a journal. `run` is its task; `submit` is what everybody else calls."""

    def __init__(self, database: Threads, apply: Apply[Request, Result]) -> None:
        self._database = database
        self._apply = apply
        self._queue: asyncio.Queue[tuple[Request, asyncio.Future[Result]] | None] = asyncio.Queue()
        self._closing = False
        self.groups = 0
        """Transactions committed."""
        self.written = 0
        """Requests committed in them."""

    async def submit(self, request: Request) -> Result:
        """Save *request* and return once it is on disk.

        A caller cancelled while it waits no longer learns the outcome; the request is saved or refused all the same.

        Raises:
            JournalError: nothing of the request has been saved.
        """
        if self._closing:
            raise JournalClosedError("the journal is closed")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((request, future))
        return await future

    def close(self) -> None:
        """Refuse new requests; `run` ends when those already here are saved."""
        if not self._closing:
            self._closing = True
            self._queue.put_nowait(None)

    async def run(self) -> None:
        """Write until closed."""
        waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        try:
            while (item := await self._queue.get()) is not None:
                waiting.append(item)
                while len(waiting) < GROUP_LIMIT and not self._queue.empty():
                    more = self._queue.get_nowait()
                    if more is None:
                        self._queue.put_nowait(None)  # closing: this group first, nothing can have come after it
                        break
                    waiting.append(more)
                await self._save(waiting)
                waiting.clear()
        finally:
            self._closing = True
            self._abandon(waiting)

    def _abandon(self, waiting: list[tuple[Request, asyncio.Future[Result]]]) -> None:
        """Tell everybody who still waits that nothing will come; only after a cancelled `run`."""
        while not self._queue.empty():
            if (item := self._queue.get_nowait()) is not None:
                waiting.append(item)
        for _, future in waiting:
            if not future.done():
                future.set_exception(JournalClosedError("the journal was cut off while this was being saved"))

    async def _save(self, group: list[tuple[Request, asyncio.Future[Result]]]) -> None:
        requests = [request for request, _ in group]
        try:
            results = await self._together(requests)
        except (OperationalError, InterfaceError) as error:
            log.warning("journal.unavailable", requests=len(requests), error=str(error.orig))
            results = [_unavailable(error) for _ in requests]
        except Exception as error:
            log.exception("journal.failed", requests=len(requests))
            results = [UnitRefusedError(f"{type(error).__name__}: {error}") for _ in requests]
        self.groups += 1
        for (_, future), result in zip(group, results, strict=True):
            if isinstance(result, JournalError):
                if not future.done():
                    future.set_exception(result)
                continue
            self.written += 1
            if not future.done():  # done already when its caller was cancelled
                future.set_result(result)

    async def _together(self, requests: list[Request]) -> list[Result | JournalError]:
        """All in one go; if the database objects to anything, once more with each behind its own savepoint."""
        try:
            return await self._database.run(lambda connection: self._apply(connection, requests))
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to the callers it concerns
            if len(requests) == 1:
                return [_refused(error)]
        return await self._database.run(lambda connection: [self._alone(connection, request) for request in requests])

    def _alone(self, connection: Connection, request: Request) -> Result | JournalError:
        try:
            with connection.begin_nested():
                (result,) = self._apply(connection, [request])
                return result
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - as above
            return _refused(error)


def _refused(error: Exception) -> JournalError:
    refused = error if isinstance(error, JournalError) else UnitRefusedError(f"{type(error).__name__}: {error}")
    log.warning("journal.refused", error=type(error).__name__)
    return refused


def _unavailable(error: Exception) -> JournalError:
    return JournalUnavailableError(f"{type(error).__name__}: {error}")
