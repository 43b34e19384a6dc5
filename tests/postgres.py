"""A PostgreSQL server of our own for tests and benchmarks: in a temporary folder, on a socket nobody else knows."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

MISSING = "PostgreSQL is not on this machine (Debian: apt-get install postgresql; `scripts/set-up debian` does it)"


def programs() -> Path | None:
    """The folder with `initdb` and `postgres`; None when they are not installed. Debian keeps them off the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    if (found := shutil.which("initdb")) is not None:
        folders.append(Path(found).parent)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


class Postgres:
    """A running server."""

    def __init__(self, folder: Path, place: Path, options: Sequence[str]) -> None:
        self._folder = folder
        self._owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        self._log = folder / "log"
        self._command: list[str | Path] = [place / "postgres", "-D", folder / "data", "-k", folder, *options]
        self._names = count()
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with everything that it had when it was stopped.

        Raises:
            RuntimeError: it does not start.
        """
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(self._command, stdout=log, stderr=log, user=self._owner, cwd=self._folder)
        until = time.monotonic() + 30
        while not (self._folder / ".s.PGSQL.5432").exists() or "ready to accept" not in self._log.read_text(errors="replace"):
            if self._server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not start: {self._log.read_text(errors='replace')}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it, whoever is connected; nothing when it is stopped."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # does not wait for clients, as SIGTERM would
            self._server.wait(20)
            self._server = None

    def database(self) -> str:
        """Make an empty database and return its address."""
        name = f"journal{next(self._names)}"
        self._run(f"create database {name}")
        return f"postgresql+psycopg://sidetone@/{name}?host={self._folder}"

    def cut_off(self, url: str) -> None:
        """End every connection to a database, as a restart of the server would."""
        name = url.partition("@/")[2].partition("?")[0]
        self._run(f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'")

    def _run(self, statement: str) -> None:
        with psycopg.connect(host=str(self._folder), user="sidetone", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """Start a server, and stop it in the end.

    Args:
        durable: Commits wait for the disk, as they should; without it tests are faster.

    Raises:
        RuntimeError: it does not start, or is not installed.
    """
    place = programs()
    if place is None:
        raise RuntimeError(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="sidetone-pg-"))
    owner = "postgres" if os.geteuid() == 0 else None
    if owner is not None:
        shutil.chown(folder, owner)
    options = ["-c", "listen_addresses="] if durable else ["-c", "listen_addresses=", "-c", "fsync=off"]
    server = Postgres(folder, place, options)
    try:
        subprocess.run(
            [place / "initdb", "-D", folder / "data", "-U", "sidetone", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, user=owner, cwd=folder,
        )  # fmt: skip
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
