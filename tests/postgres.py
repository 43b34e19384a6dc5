"""A PostgreSQL server of our own for tests and benchmarks: in a temporary folder, on a socket nobody else knows."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
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

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = count()

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
    owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if owner is not None:
        shutil.chown(folder, owner)
    data = folder / "data"
    log = (folder / "log").open("w+b")
    try:
        subprocess.run(
            [place / "initdb", "-D", data, "-U", "sidetone", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync"],
            check=True, stdout=log, stderr=log, user=owner, cwd=folder,
        )  # fmt: skip
        options = ["-c", "listen_addresses="] if durable else ["-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen(
            [place / "postgres", "-D", data, "-k", folder, *options], stdout=log, stderr=log, user=owner, cwd=folder
        )
        try:
            _wait(server, folder, log.name)
            yield Postgres(folder)
        finally:
            server.send_signal(signal.SIGINT)  # does not wait for clients, as SIGTERM would
            server.wait(20)
    finally:
        log.close()
        shutil.rmtree(folder)


def _wait(server: subprocess.Popen[bytes], folder: Path, log: str) -> None:
    until = time.monotonic() + 30
    while not (folder / ".s.PGSQL.5432").exists() or "ready to accept" not in Path(log).read_text(errors="replace"):
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"PostgreSQL does not start: {Path(log).read_text(errors='replace')}")
        time.sleep(0.05)
