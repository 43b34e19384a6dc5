"""Grouped commits: whatever waits while the disk is busy goes into the next transaction together.

One fsync costs a thousand times what one row costs, so the way to save many small things is to save them at once. Nobody
waits on purpose: a lone request is written immediately, a crowd shares.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog
from sqlalchemy import Connection

from bridge.journal.database import InDoubtError, Threads, is_away
from bridge.journal.rows import JournalClosedError, JournalError, JournalUnavailableError, UnitRefusedError

Request = TypeVar("Request")
Result = TypeVar("Result")
Apply = Callable[[Connection, list[Request]], list[Result | JournalError]]
"""Writes several requests in one transaction that it neither begins nor ends. A request it declines gets an error as its
result and leaves nothing behind; anything raised means that the whole transaction has to be given up."""

GROUP_LIMIT = 256
"""Requests in one transaction; bounds how long the first of them waits for the last."""

KNOWN = 4 * GROUP_LIMIT
"""Requests whose outcome is remembered for whoever tries them again, after their callers had to be told that nobody knows it."""

log = structlog.get_logger(__name__)


class GroupWriter(Generic[Request, Result]):
    """The one writer of a journal. `run` is its task; `submit` is what everybody else calls."""

    def __init__(self, database: Threads, apply: Apply[Request, Result]) -> None:
        self._database = database
        self._apply = apply
        self._queue: asyncio.Queue[tuple[Request, asyncio.Future[Result]] | None] = asyncio.Queue()
        self._closing = False
        self._doubts: list[tuple[str, list[tuple[Request, Result | JournalError]]]] = []
        """Transactions of which nobody knows whether they were committed, and what their requests got if they were."""
        self._known: dict[int, tuple[Request, Result | JournalError]] = {}
        """By identity, requests of such transactions that turned out to be committed."""
        self._trouble = ""
        """Why the database did not work when something was last to be saved; empty: it did."""
        self.groups = 0
        """Transactions committed."""
        self.written = 0
        """Requests committed in them."""

    async def submit(self, request: Request) -> Result:
        """Save *request* and return once it is on disk.

        A caller cancelled while it waits no longer learns the outcome; the request is saved or refused all the same.

        Raises:
            JournalUnavailableError: the database does not work just now. Whoever tries the same object again, and no copy of
                it, saves it once: when a lost connection has left open whether it was saved, that is found out first.
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
            await self._clear_up()
            results = await self._with_known(requests)
        except JournalUnavailableError as error:
            doubtful = isinstance(error, InDoubtError)
            if doubtful or str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("journal.unavailable", requests=len(requests), error=self._trouble, in_doubt=doubtful)
            if isinstance(error, InDoubtError):
                left = [request for request in requests if id(request) not in self._known]
                self._doubts.append((error.transaction, list(zip(left, error.result, strict=True))))
            results = [JournalUnavailableError(str(error)) for _ in requests]
        except Exception as error:
            log.exception("journal.failed", requests=len(requests))
            results = [UnitRefusedError(f"{type(error).__name__}: {error}") for _ in requests]
        else:
            self._trouble = ""
        self.groups += 1
        for (_, future), result in zip(group, results, strict=True):
            if isinstance(result, JournalError):
                if not future.done():
                    future.set_exception(result)
                continue
            self.written += 1
            if not future.done():  # done already when its caller was cancelled
                future.set_result(result)

    async def _clear_up(self) -> None:
        """Find out what became of transactions whose connection was lost while they were being committed."""
        while self._doubts:
            transaction, outcomes = self._doubts[0]
            committed = await self._database.settled(transaction)
            log.info("journal.cleared_up", requests=len(outcomes), committed=committed)
            del self._doubts[0]
            if committed:
                self._known.update((id(request), (request, result)) for request, result in outcomes)
        while len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]

    async def _with_known(self, requests: list[Request]) -> list[Result | JournalError]:
        """As `_together`, but what is known to be saved is not saved again."""
        known = {id(request): self._known[id(request)][1] for request in requests if id(request) in self._known}
        if not known:
            return await self._together(requests)
        left = [request for request in requests if id(request) not in known]
        written = iter(await self._together(left) if left else [])
        results = [known[id(request)] if id(request) in known else next(written) for request in requests]
        for request in known:
            del self._known[request]
        return results

    async def _together(self, requests: list[Request]) -> list[Result | JournalError]:
        """All in one go; if the database objects to anything, once more with each behind its own savepoint."""
        try:
            return await self._database.run(lambda connection: self._apply(connection, requests))
        except JournalUnavailableError:
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
        except Exception as error:
            if is_away(error):
                raise
            return _refused(error)


def _refused(error: Exception) -> JournalError:
    refused = error if isinstance(error, JournalError) else UnitRefusedError(f"{type(error).__name__}: {error}")
    log.warning("journal.refused", error=type(error).__name__)
    return refused
