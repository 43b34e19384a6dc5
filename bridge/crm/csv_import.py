"""A CSV file becomes contacts: looked at, tried out, then brought in a portion at a time while everything else goes on.

Files and error reports lie in a folder of their own and are gone with the process; an import that was cut off is begun again,
and rows that are in already change nothing. Several processes may have their folders in the same place.
"""

import asyncio
import contextlib
import csv
import fcntl
import io
import os
import secrets
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import structlog

from bridge.crm.csv_rows import BadRowError, Fault, check, contact_of, guess, harmless
from bridge.journal import Journal, JournalError
from bridge.journal.crm_rows import ContactFields

log = structlog.get_logger()

PORTION = 100
"""Rows in one transaction: calls and texts never wait for more."""
BREATH = 0.005
"""Seconds between two portions, in which others use processor and disk."""
LARGEST = 64 * 1024 * 1024
"""Bytes of a file."""
MOST_COLUMNS, SAMPLE, KEPT = 100, 5, 20
"""Columns of a file; rows that are shown of it; imports that are remembered."""
_DELIMITERS = ",;\t|"
_CHUNK = 64 * 1024


class ImportRefusedError(Exception):
    """The file or the mapping cannot be used; the message is fit to show."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import has come."""

    id: str
    file: str
    """As it was called by whoever uploaded it."""
    columns: tuple[str, ...]
    mapping: Mapping[str, str]
    """Column to field; columns that are not kept are missing."""
    sample: tuple[tuple[str, ...], ...]
    """The first rows."""
    state: Literal["ready", "running", "done", "failed"] = "ready"
    dry_run: bool = False
    rows: int
    done: int = 0
    created: int = 0
    changed: int = 0
    same: int = 0
    wrong: int = 0
    problem: str = ""
    """Why it could not be finished."""


class _Writer(Protocol):
    """Of CSV files."""

    def writerows(self, rows: Iterable[Iterable[object]], /) -> object: ...


class _Job:
    """One file."""

    def __init__(self, path: Path, encoding: str, dialect: str, progress: Progress) -> None:
        self.path = path
        self.encoding = encoding
        self.delimiter = dialect
        self.progress = progress
        self.task: asyncio.Task[None] | None = None

    @property
    def report(self) -> Path:
        return self.path.with_suffix(".errors.csv")

    def rows(self) -> Generator[tuple[int, list[str]], None, None]:
        """Number of the line on which each row ends, and its values; empty rows are left out."""
        with self.path.open(encoding=self.encoding, errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            next(reader, None)
            for row in reader:
                if any(value.strip() for value in row):
                    yield reader.line_num, row


class CsvImports:
    """Every import of this process.

    Args:
        journal: Where contacts are.
        folder: For files that are being imported; what processes that are gone have left there is removed.
        clock: Seconds since the epoch.
        region: ISO 3166 alpha-2 country in which numbers without `+` are read.
        system: Under which ids of the file are kept.
    """

    def __init__(
        self, journal: Journal, folder: Path, *, clock: Callable[[], float], region: str | None, system: str = "import"
    ) -> None:
        self._journal = journal
        self._folder, self._lock = _own_folder(folder)
        self._clock = clock
        self._region = region
        self._system = system
        self._jobs: OrderedDict[str, _Job] = OrderedDict()

    @property
    def folder(self) -> Path:
        """Where uploads are put."""
        return self._folder

    async def take(self, file: str, path: Path) -> Progress:
        """Look at an uploaded file, which is ours from now on.

        Raises:
            ImportRefusedError: It is no CSV file with titles; it has been removed.
        """
        try:
            job = await asyncio.to_thread(_look_at, file, path)
        except ImportRefusedError:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise
        self._jobs[job.progress.id] = job
        while len(self._jobs) > KEPT:
            old = next((each for each in self._jobs.values() if each.progress.state != "running"), None)
            if old is None:
                break
            self._remove(old)
        return job.progress

    def start(self, job: str, mapping: Mapping[str, str], actor: str, *, dry_run: bool) -> Progress:
        """Begin; or begin again, after a dry run or an import that failed.

        Raises:
            ImportRefusedError: There is no such import, it is running, or the mapping cannot be used.
        """
        known = self._jobs.get(job)
        if known is None:
            raise ImportRefusedError("There is no such import (any more). Please upload the file again.")
        if known.progress.state == "running":
            raise ImportRefusedError("It is running already.")
        wrong = check(known.progress.columns, mapping)
        if wrong is not None:
            raise ImportRefusedError(wrong)
        known.progress = msgspec.structs.replace(
            known.progress, state="running", dry_run=dry_run, mapping=dict(mapping),
            done=0, created=0, changed=0, same=0, wrong=0, problem="",
        )  # fmt: skip
        known.task = asyncio.create_task(self._run(known, actor), name=f"import {job}")
        return known.progress

    def state(self, job: str) -> Progress | None:
        """None: there is no such import (any more)."""
        known = self._jobs.get(job)
        return None if known is None else known.progress

    async def finished(self, job: str) -> Progress:
        """Wait for the end of an import that has been started."""
        known = self._jobs[job]
        if known.task is not None:
            await asyncio.wait([known.task])
        return known.progress

    async def errors(self, job: str) -> AsyncIterator[bytes]:
        """The error report as CSV: line, column, value, why; nothing when there is none."""
        known = self._jobs.get(job)
        if known is None or not known.report.exists():
            return
        with await asyncio.to_thread(known.report.open, "rb") as report:
            while chunk := await asyncio.to_thread(report.read, _CHUNK):
                yield chunk

    async def close(self) -> None:
        """Stop what is running, and leave nothing behind."""
        for job in list(self._jobs.values()):
            if job.task is not None:
                job.task.cancel()
                await asyncio.wait([job.task])
            self._remove(job)
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def _remove(self, job: _Job) -> None:
        self._jobs.pop(job.progress.id, None)
        job.path.unlink(missing_ok=True)
        job.report.unlink(missing_ok=True)

    async def _run(self, job: _Job, actor: str) -> None:
        try:
            with contextlib.closing(job.rows()) as rows, job.report.open("w", encoding="utf-8", newline="") as report:
                job.report.chmod(0o600)
                errors = csv.writer(report)
                errors.writerow(("line", "column", "value", "why"))
                while portion := await asyncio.to_thread(self._read, job, rows):
                    await self._bring(job, portion, errors, actor)
                    await asyncio.sleep(BREATH)
        except (JournalError, OSError, csv.Error) as error:
            job.progress = msgspec.structs.replace(job.progress, state="failed", problem=str(error))
            log.warning("contacts.import_failed", why=str(error))
        else:
            job.progress = msgspec.structs.replace(job.progress, state="done")
            log.info("contacts.imported", rows=job.progress.done, wrong=job.progress.wrong, dry_run=job.progress.dry_run)

    def _read(self, job: _Job, rows: Iterator[tuple[int, list[str]]]) -> list[tuple[int, ContactFields | Sequence[Fault]]]:
        """The next rows, as contacts or with what is wrong with them."""
        columns, mapping = job.progress.columns, job.progress.mapping
        portion: list[tuple[int, ContactFields | Sequence[Fault]]] = []
        for line, row in islice(rows, PORTION):
            try:
                portion.append((line, contact_of(row, columns, mapping, system=self._system, region=self._region)))
            except BadRowError as error:
                portion.append((line, error.faults))
        return portion

    async def _bring(
        self, job: _Job, portion: list[tuple[int, ContactFields | Sequence[Fault]]], errors: _Writer, actor: str
    ) -> None:
        good = [row for _, row in portion if isinstance(row, ContactFields)]
        for line, row in portion:
            if not isinstance(row, ContactFields):
                errors.writerows((line, harmless(fault.column), harmless(fault.value), fault.why) for fault in row)
        outcomes = await self._journal.import_contacts(
            good, system=self._system, actor=actor, at=self._clock(), dry_run=job.progress.dry_run
        )
        so_far = job.progress
        job.progress = msgspec.structs.replace(
            so_far,
            done=so_far.done + len(portion),
            wrong=so_far.wrong + len(portion) - len(good),
            created=so_far.created + outcomes.count("created"),
            changed=so_far.changed + outcomes.count("changed"),
            same=so_far.same + outcomes.count("same"),
        )


def _own_folder(place: Path) -> tuple[Path, int]:
    """A folder for this process alone in *place*, and what it has locked as long as that is open (flock(2))."""
    place.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds names and numbers
    for left in place.iterdir():
        lock = _locked(left)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    while True:
        own = Path(tempfile.mkdtemp(dir=place))
        lock = _locked(own)
        if lock is not None:  # else another process has just begun, and taken it for a left one
            return own, lock


def _locked(folder: Path) -> int | None:
    """A descriptor that keeps others from locking *folder*; None: it is gone, or another process has it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.exists():
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _look_at(file: str, path: Path) -> _Job:
    encoding = _encoding(path)
    with path.open(encoding=encoding, errors="replace", newline="") as opened:
        head = opened.read(_CHUNK)
        first = head.partition("\n")[0]
        delimiter = max(_DELIMITERS, key=first.count)
    try:
        titles = next(csv.reader(io.StringIO(head), delimiter=delimiter), [])
        columns = tuple(title.strip() for title in titles)
        if not any(columns) or "\0" in head:
            raise ImportRefusedError("This is no CSV file: its first line has to name the columns.")
        if len(columns) > MOST_COLUMNS or len(set(columns)) != len(columns) or not all(columns):
            raise ImportRefusedError(f"Each column needs a title of its own, and at most {MOST_COLUMNS} columns are taken.")
        progress = Progress(id=secrets.token_hex(8), file=file, columns=columns, mapping=guess(columns), sample=(), rows=0)
        job = _Job(path, encoding, delimiter, progress)
        sample = tuple(tuple(row) for _, row in islice(job.rows(), SAMPLE))
        job.progress = msgspec.structs.replace(progress, sample=sample, rows=sum(1 for _ in job.rows()))
    except csv.Error as error:
        raise ImportRefusedError(f"This file cannot be read as CSV: {error}.") from error
    if not job.progress.rows:
        raise ImportRefusedError("The file has titles and no rows.")
    return job


def _encoding(path: Path) -> str:
    """UTF-8, also with a byte order mark; what is not is taken for what spreadsheets in Western Europe write."""
    with path.open("rb") as file:
        if file.read(2) in {b"\xff\xfe", b"\xfe\xff"}:
            return "utf-16"
    try:
        with path.open(encoding="utf-8", newline="") as opened:
            while opened.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"
