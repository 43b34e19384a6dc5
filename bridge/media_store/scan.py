"""Whether a file is harmless: asked of a program that knows, such as a virus scanner."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal, Protocol, TypeAlias

import structlog

from bridge.media_store.blobs import FORGOTTEN_AFTER

log = structlog.get_logger(__name__)

_PREFIX = ".scan-"
Verdict: TypeAlias = Literal["clean", "infected", "unknown"]
"""`unknown`: it could not be found out now. Ask again."""


class Scanner(Protocol):
    """Looks at the bytes of one file."""

    async def __call__(self, data: bytes) -> Verdict:
        """Does not raise: whatever goes wrong is `unknown`."""


class CommandScanner:
    """Runs a command with the path of the file as its last argument. Exit code 0: clean, 1: infected, anything else: unknown.

    That is how `clamscan` and `clamdscan` answer. The file can be read by this server's user alone: a scanner that runs as
    somebody else has to be handed the open file (`clamdscan --fdpass`).

    Args:
        command: Program and arguments.
        folder: Where the file lies meanwhile; None: the system's folder for such files.
        patience: Seconds after which the program is ended and the answer is unknown.
        at_once: How many files are looked at at the same time.
    """

    def __init__(self, command: Sequence[str], *, folder: Path | None = None, patience: float = 60.0, at_once: int = 2) -> None:
        self._command = tuple(command)
        self._folder = folder
        self._patience = patience
        self._turn = asyncio.Semaphore(at_once)

    async def __call__(self, data: bytes) -> Verdict:
        """As `Scanner.__call__`."""
        async with self._turn:
            try:
                file = await asyncio.to_thread(self._lay_down, data)
            except OSError as error:
                log.warning("scan.failed", program=self._command[0], reason=str(error))
                return "unknown"
            try:
                return await self._ask(file)
            finally:
                file.unlink(missing_ok=True)

    def _lay_down(self, data: bytes) -> Path:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for left in self._folder.glob(f"{_PREFIX}*"):  # by a process that died
                with suppress(FileNotFoundError):
                    if left.stat().st_mtime < time.time() - FORGOTTEN_AFTER:
                        left.unlink()
        with NamedTemporaryFile(dir=self._folder, prefix=_PREFIX, delete=False) as file:
            file.write(data)
        return Path(file.name)

    async def _ask(self, file: Path) -> Verdict:
        quiet = asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(*self._command, file, stdin=quiet, stdout=quiet, stderr=quiet)
        except OSError as error:
            log.warning("scan.failed", program=self._command[0], reason=str(error))
            return "unknown"
        try:
            async with asyncio.timeout(self._patience):
                code = await process.wait()
        except TimeoutError:
            log.warning("scan.failed", program=self._command[0], reason=f"no answer within {self._patience} s")
            return "unknown"
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if code not in {0, 1}:
            log.warning("scan.failed", program=self._command[0], reason=f"exit code {code}")
            return "unknown"
        return "clean" if code == 0 else "infected"
