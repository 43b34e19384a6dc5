"""Mails of ours on their way to the smarthost: kept in a folder until it has taken them.

A mail is a file, on disk before `put` returns, and gone only when the smarthost has taken it. What it will never take goes
to the folder `failed` and into the log, where somebody has to look. A process that ends between the smarthost's answer and
the end of the file hands the mail over twice, with the same Message-ID.

Several processes may share the folder: who hands a mail over holds a lock on its file (flock(2)), which ends with the process,
and what one of them leaves behind another finds.
"""

import asyncio
import fcntl
import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, Literal, Protocol

import aiosmtplib
import msgspec
import structlog

log = structlog.get_logger()

FIRST_PAUSE = 30.0
"""Seconds before the second attempt; doubled each time."""
LONGEST_PAUSE = 3600.0
GIVE_UP_AFTER = 3 * 86_400.0
"""Seconds for which a mail is tried (RFC 5321 section 4.5.4.1 suggests four to five days; nobody reads a notice that late)."""
TIMEOUT = 30.0
"""Seconds for each step with the smarthost."""
LOOK_EVERY = 30.0
"""Seconds between two looks for mails of other processes."""
LAST_PATIENCE = 10.0
"""Seconds that a mail being handed over has when the server stops."""
_NAME = re.compile(r"([0-9a-f]{1,32})\.mail")


class Undelivered(msgspec.Struct, frozen=True):
    """A mail that was not taken."""

    forever: bool
    """Trying again would be in vain (a 5xx reply)."""
    why: str


class Carrier(Protocol):
    """Who takes mails of ours."""

    async def hand_over(self, body: bytes, *, mail_from: str, to: str) -> Undelivered | None:
        """None: the mail is theirs now. Does not raise for anything the network does."""


class Smarthost(msgspec.Struct, frozen=True, kw_only=True):
    """The mail system that passes our mails on. Implements `Carrier`."""

    host: str
    port: int
    tls: Literal["none", "starttls", "tls"]
    user: str | None = None
    password: str | None = None
    """Goes nowhere without TLS, except to this machine."""
    helo: str = "localhost"
    cafile: str | None = None
    """PEM of whom to trust instead of the system's certificate authorities."""

    async def hand_over(self, body: bytes, *, mail_from: str, to: str) -> Undelivered | None:
        """Hand one mail over."""
        try:
            async with asyncio.timeout(4 * TIMEOUT):
                await aiosmtplib.send(
                    body,
                    sender=mail_from,
                    recipients=[to],
                    hostname=self.host,
                    port=self.port,
                    username=self.user,
                    password=self.password,
                    use_tls=self.tls == "tls",
                    start_tls=self.tls == "starttls",
                    local_hostname=self.helo,
                    cert_bundle=self.cafile,
                    timeout=TIMEOUT,
                )
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            first = refusal.recipients[0]
            return Undelivered(forever=first.code >= 500, why=f"{first.code} {first.message}")
        except aiosmtplib.SMTPAuthenticationError as refusal:
            # Somebody has to correct the password; the mail is not to blame.
            return Undelivered(forever=False, why=f"{refusal.code} {refusal.message}")
        except aiosmtplib.SMTPResponseException as refusal:
            return Undelivered(forever=refusal.code >= 500, why=f"{refusal.code} {refusal.message}")
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return Undelivered(forever=False, why=str(error) or type(error).__name__)
        return None


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that waits."""

    id: str
    kind: str
    """What it is about, for the log: `notice`, `transcript`, ..."""
    mail_from: str
    to: str
    created_at: float
    due_at: float
    attempts: int = 0


class Spool:
    """A folder of mails, and the one task that hands them over.

    Args:
        folder: Made when the first mail comes. Readable by its owner only.
        carrier: Who takes them.
        clock: Seconds since the epoch.
    """

    def __init__(self, folder: Path, carrier: Carrier, *, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._carrier = carrier
        self._clock = clock
        self._waiting: dict[str, Spooled] = {}
        self._more = asyncio.Event()

    async def open(self) -> None:
        """Read what an earlier process left."""
        await self._look()

    async def _look(self) -> None:
        """Know what other processes have put there."""
        for mail in await asyncio.to_thread(self._read, frozenset(self._waiting)):
            self._waiting.setdefault(mail.id, mail)

    def waiting(self) -> tuple[Spooled, ...]:
        """What has not been taken yet, in the order in which it is due."""
        return tuple(sorted(self._waiting.values(), key=lambda mail: (mail.due_at, mail.id)))

    async def put(self, mail: Spooled, body: bytes) -> None:
        """Keep a mail; on disk when this returns. A mail whose id is there already is that mail."""
        if mail.id not in self._waiting:
            if not await asyncio.to_thread(self._place(mail.id).exists):
                await asyncio.to_thread(self._write, mail, body)
            self._waiting[mail.id] = mail
            self._more.set()

    async def run(self) -> None:
        """Hand mails over as they become due, until cancelled."""
        while True:
            self._more.clear()
            due = await self.pass_on()
            pause = LOOK_EVERY if due is None else min(LOOK_EVERY, max(due - self._clock(), 0.0))
            try:
                async with asyncio.timeout(pause):
                    await self._more.wait()
            except TimeoutError:
                await self._look()

    async def pass_on(self) -> float | None:
        """Try each mail that is due once. When the next one is due; None when nothing waits."""
        for mail in self.waiting():
            if mail.due_at <= self._clock():
                attempt = asyncio.ensure_future(self._attempt(mail))
                try:
                    await asyncio.shield(attempt)
                except asyncio.CancelledError:
                    # What the smarthost is taking just now would be handed over again after a restart.
                    await asyncio.wait({attempt}, timeout=LAST_PATIENCE)
                    attempt.cancel()
                    raise
        return min((mail.due_at for mail in self._waiting.values()), default=None)

    async def _attempt(self, mail: Spooled) -> None:
        try:
            file = await asyncio.to_thread(self._claim, mail.id)
            if file is None:
                self._waiting[mail.id] = msgspec.structs.replace(mail, due_at=self._clock() + LOOK_EVERY)
                return
            with file:
                there, body = await asyncio.to_thread(self._parts, file)
                if there.due_at > self._clock():
                    self._waiting[mail.id] = there  # another process has tried meanwhile
                    return
                await self._settle(there, body, await self._carrier.hand_over(body, mail_from=there.mail_from, to=there.to))
        except FileNotFoundError:
            del self._waiting[mail.id]  # see `forget`; or another process has handed it over
        except (OSError, ValueError) as error:
            # The file cannot be read, written or taken away. What else is there goes on; this one has to wait.
            log.error("mail.file_broken", mail=mail.id, error=str(error))  # noqa: TRY400  it is all in the line
            self._waiting[mail.id] = msgspec.structs.replace(mail, due_at=self._clock() + LONGEST_PAUSE)

    async def _settle(self, mail: Spooled, body: bytes, outcome: Undelivered | None) -> None:
        now = self._clock()
        if outcome is None:
            log.info("mail.sent", mail=mail.id, kind=mail.kind, attempts=mail.attempts + 1)
            await asyncio.to_thread(self._place(mail.id).unlink, missing_ok=True)
            del self._waiting[mail.id]
        elif outcome.forever or now - mail.created_at > GIVE_UP_AFTER:
            log.error("mail.given_up", mail=mail.id, kind=mail.kind, attempts=mail.attempts + 1, why=outcome.why)
            await asyncio.to_thread(self._set_aside, mail.id)
            del self._waiting[mail.id]
        else:
            pause = min(FIRST_PAUSE * 2.0**mail.attempts, LONGEST_PAUSE)
            log.warning("mail.waits", mail=mail.id, kind=mail.kind, seconds=pause, why=outcome.why)
            if not await asyncio.to_thread(self._place(mail.id).exists):
                raise FileNotFoundError(mail.id)  # it was forgotten while the smarthost had a look at it
            later = msgspec.structs.replace(mail, due_at=now + pause, attempts=mail.attempts + 1)
            self._waiting[mail.id] = later
            await asyncio.to_thread(self._write, later, body)

    # --- files; called in threads

    def _place(self, mail: str) -> Path:
        return self._folder / f"{mail}.mail"

    def _read(self, known: Collection[str]) -> list[Spooled]:
        """Mails of the folder that are not *known*."""
        found = []
        for path in self._folder.glob("*.mail"):
            if _NAME.fullmatch(path.name) and path.stem not in known:
                try:
                    with path.open("rb") as file:
                        found.append(self._parts(file)[0])
                except FileNotFoundError:
                    continue  # it has just been handed over
                except (OSError, ValueError) as error:
                    log.error("mail.file_broken", mail=path.stem, error=str(error))  # noqa: TRY400  as above
        return found

    def _claim(self, mail: str) -> BinaryIO | None:
        """The file of a mail, which nobody else hands over as long as it is open; None: another process has it just now.

        Raises:
            OSError: it cannot be opened; FileNotFoundError: it is not there any more.
        """
        file = self._place(mail).open("rb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino == self._place(mail).stat().st_ino:
                return file
        except BlockingIOError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()  # it is being handed over, or was put there anew while we waited
        return None

    @staticmethod
    def _parts(file: BinaryIO) -> tuple[Spooled, bytes]:
        """The mail and its body.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not one of ours.
        """
        head, _, body = file.read().partition(b"\n")
        return msgspec.json.decode(head, type=Spooled), body

    def _write(self, mail: Spooled, body: bytes) -> None:
        """All or nothing, and on disk before it returns."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as file:
            try:
                file.write(msgspec.json.encode(mail) + b"\n" + body)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(self._place(mail.id))
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        descriptor = os.open(self._folder, os.O_RDONLY)  # a new name is on disk only when its folder is
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _set_aside(self, mail: str) -> None:
        failed = self._folder / "failed"
        failed.mkdir(exist_ok=True, mode=0o700)
        self._place(mail).replace(failed / f"{mail}.mail")


def forget(folder: Path, names: Collection[str]) -> int:
    """Take away the mails of a spool that name one of *names* (in a header); how many there were.

    A spool that is open notices when it gets to them. Those it could not deliver are taken away as well.
    """
    found = 0
    for path in (*folder.glob("*.mail"), *folder.glob("failed/*.mail")):
        with suppress(FileNotFoundError):  # it has just been delivered
            content = path.read_bytes()
            if any(name.encode() in content for name in names):
                path.unlink()
                found += 1
    return found
