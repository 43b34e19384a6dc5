"""The door to the database: addresses, connections, threads, migrations; all that SQLite and PostgreSQL do differently.

SQLAlchemy is used in its synchronous form, in threads of our own. Its asynchronous form crosses threads several times for
every statement on SQLite; this way a whole transaction crosses once, which made a lone commit about three times as fast.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.pool import ConnectionPoolEntry

from bridge.journal.rows import JournalError, JournalUnavailableError, SchemaTooNewError

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent.parent / "migrations"
BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that writes to the same SQLite file (a backup, a migration)."""
READERS = 4
"""Connections for reading. SQLite reads a snapshot beside the writer, so they never wait for it."""
MIGRATION_LOCK = 0x51DE7043
"""Any number, as long as nobody else uses it as an advisory lock in our database."""
TURN_LOCK = 0x51DE7044
"""As above, for what is looked at before it is changed."""
CONNECT_WITHIN = 5
"""Seconds, for the driver; a server that is switched off does not even refuse."""
IDLE_WITHIN = 5.0
"""Seconds for which PostgreSQL lets a transaction of ours do nothing. A node that was stopped in the middle of one would hold
its rows for ever, and those who take its sessions over would wait for them."""
SILENT_FOR = 10.0
"""Seconds after which a connection without a sign of the server is given up."""
UNDECIDED_FOR = 5.0
"""Seconds to wait for the end of a transaction whose connection was lost while it was being committed."""
DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}


def address(url: str) -> URL:
    """The address with our driver in it: `sqlite:///var/sidetone.db` or `postgresql://user@host/name`.

    Raises:
        JournalError: not one of the two, or SQLite in memory, which cannot keep anything.
    """
    parsed = make_url(url)
    driver = DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        raise JournalError(f"a journal is kept in sqlite or postgresql, not in {parsed.get_backend_name()}")
    if driver == DRIVERS["sqlite"] and (parsed.database or ":memory:") == ":memory:":
        raise JournalError("a journal needs a file: sqlite:///path/to/sidetone.db")
    return parsed.set(drivername=driver)


class InDoubtError(JournalUnavailableError):
    """The connection was lost while a transaction was being committed, and nobody could be asked yet what became of it.

    Attributes:
        transaction: For `Threads.settled`.
        result: What the work has returned; true if the transaction was committed.
    """

    def __init__(self, transaction: str, result: Any) -> None:
        super().__init__("the connection was lost while this was being saved")
        self.transaction = transaction
        self.result = result


def is_away(error: BaseException) -> bool:
    """Whether *error* speaks of the database, which does not work just now, and not of what was asked of it."""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or isinstance(error, OperationalError | InterfaceError)


class Threads:
    """A few threads with a connection each, opened and closed with `with`. Each `run` is one transaction in one of them.

    A connection that turns out to be dead (the server was restarted) is made again, and the work is done from its beginning:
    what a transaction did whose end was never asked for is undone by the server. When the end was asked for and the answer did
    not come, the transaction is looked up by its number, which PostgreSQL keeps.
    """

    def __init__(self, url: str, *, count: int, writer: bool) -> None:
        self._engine = _make_engine(address(url), count=count, writer=writer, patient=False)
        self.remote = self._engine.dialect.name == "postgresql"
        """There is a server, which may go away."""
        self._numbered = writer and self.remote
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="journal-writer" if writer else "journal-reader")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._executor.shutdown()  # waits for transactions whose callers were cancelled
        self._engine.dispose()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do *work* in a transaction that ends with it. It goes on to its end if the caller is cancelled.

        Args:
            work: May be done twice, the first time in vain.

        Raises:
            InDoubtError: See there; nobody else may be told that nothing has been saved.
            JournalUnavailableError: The database does not work just now, and nothing has changed.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._transact, work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        try:
            try:
                return self._once(work)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._once(work)  # it was dead before we came
        except DBAPIError as error:
            if is_away(error):
                raise JournalUnavailableError(f"{type(error).__name__}: {str(error.orig).strip()}") from error
            raise

    def _once(self, work: Callable[[Connection], T]) -> T:
        number: str | None = None
        result: Any = None
        try:
            with self._engine.begin() as connection:
                result = work(connection)
                if self._numbered:  # none: nothing was written
                    number = connection.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()::text").scalar()
        except DBAPIError as error:
            if number is None or not is_away(error):
                raise
            try:
                committed = self._look_up(number)
            except DBAPIError:
                raise InDoubtError(number, result) from error
            if not committed:
                raise
        return cast("T", result)

    async def settled(self, transaction: str) -> bool:
        """Whether the *transaction* of an InDoubtError was committed.

        Raises:
            JournalUnavailableError: Still nobody can be asked.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._look_up, transaction)
        except DBAPIError as error:
            raise JournalUnavailableError(f"{type(error).__name__}: {str(error.orig).strip()}") from error

    def _look_up(self, number: str) -> bool:
        until = time.monotonic() + UNDECIDED_FOR
        while True:
            with self._engine.begin() as connection:
                state = connection.exec_driver_sql("SELECT pg_xact_status(%s::xid8)", (number,)).scalar()
            if state != "in progress":
                return bool(state == "committed")
            if time.monotonic() > until:  # the server has not noticed yet that we are gone
                raise OperationalError("SELECT pg_xact_status", None, TimeoutError("the transaction is still open"))
            time.sleep(0.05)


def _make_engine(url: URL, *, count: int, writer: bool, patient: bool = True) -> Engine:
    """An engine; not *patient*: PostgreSQL may end what a stopped node has begun, and we what comes of a silent server."""
    # What people wrote and their numbers must not end up in the text of an error.
    options: dict[str, Any] = {"pool_size": count, "max_overflow": 0, "hide_parameters": True}
    if url.get_backend_name() == "postgresql":
        said = [] if patient else [f"-c idle_in_transaction_session_timeout={round(IDLE_WITHIN * 1000)}"]
        if not writer:
            # What is read together is read at one instant; SQLite does that by itself.
            options["isolation_level"] = "REPEATABLE READ"
            said.append("-c default_transaction_read_only=on")
        given = {
            "connect_timeout": CONNECT_WITHIN,
            "keepalives_idle": round(SILENT_FOR / 2),
            "keepalives_interval": 1,
            "keepalives_count": round(SILENT_FOR / 2),
            "tcp_user_timeout": round(SILENT_FOR * 1000),
        }
        # What stands in the address is meant.
        options["connect_args"] = {"options": " ".join(said)} | {
            name: value for name, value in given.items() if name not in url.query
        }
    engine = create_engine(url, **options)
    if engine.dialect.name == "sqlite":
        _create_file(url)

        @event.listens_for(engine, "connect")
        def _connected(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
            _set_up_sqlite(connection, writer=writer)

        @event.listens_for(engine, "begin")
        def _begun(connection: Connection) -> None:
            # A writer takes the write lock at once: a lock upgraded half-way can fail without waiting.
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


def _create_file(url: URL) -> None:
    """Make the file, readable by its owner only: it holds phone numbers and what people wrote."""
    assert url.database is not None
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _set_up_sqlite(connection: Any, *, writer: bool) -> None:
    # Transactions are begun by us: the driver's own way begins them late and not for reads.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # in WAL mode NORMAL may lose the last commits with the power
    cursor.execute("PRAGMA wal_autocheckpoint = 4000")  # 16 MB: a checkpoint holds up a commit, so not several in a second
    cursor.execute("PRAGMA foreign_keys = ON")
    if not writer:
        cursor.execute("PRAGMA query_only = ON")
    cursor.close()


@cache
def insert(table: Table, dialect: str) -> Any:
    """An INSERT that knows ON CONFLICT, which both databases write alike and SQLAlchemy keeps in two places."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@cache
def upsert(table: Table, dialect: str) -> Any:
    """An INSERT that replaces the row with the same primary key; of an upload link only what may change."""
    statement = insert(table, dialect)
    keys = [column.name for column in table.primary_key]
    kept = {"session", "created_at", "expires_at", "used_at"} if table.name == "upload" else set()
    rest = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in {*keys, *kept}}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)


def take_turn(connection: Connection) -> None:
    """From here to the end of the transaction, be the only node that writes what depends on what it has read.

    Of one node there is one writer anyway, and in SQLite one in all.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"select pg_advisory_xact_lock({TURN_LOCK})")


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """One transaction on a connection of its own, for tools that need no event loop. On SQLite nobody else writes meanwhile."""
    engine = _make_engine(address(url), count=1, writer=True)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def peek(url: str, read: Callable[[Connection], T]) -> T | None:
    """What *read* finds in a journal that is left as it is; None when there is none, or none with these tables."""
    where = address(url)
    if where.get_backend_name() == "sqlite" and not Path(where.database or "").is_file():
        return None
    engine = _make_engine(where, count=1, writer=False)
    try:
        with engine.begin() as connection:
            return read(connection)
    except (OperationalError, ProgrammingError):
        return None
    finally:
        engine.dispose()


def clock_of(url: str) -> float | None:
    """What time it is where the journal is kept, in seconds since the epoch; None: it is a file.

    Raises:
        JournalError: it cannot be reached.
    """
    where = address(url)
    if where.get_backend_name() == "sqlite":
        return None
    engine = _make_engine(where, count=1, writer=False)
    try:
        with engine.begin() as connection:
            return float(connection.exec_driver_sql("select extract(epoch from clock_timestamp())").scalar_one())
    except OperationalError as error:
        raise JournalError(str(error.orig)) from error
    finally:
        engine.dispose()


async def upgrade(url: str) -> str:
    """Bring the schema to the newest revision, in one transaction, and return that revision.

    Raises:
        SchemaTooNewError: the database has a revision this version does not know. Nothing has changed.
    """
    with Threads(url, count=1, writer=True) as database:
        return await database.run(upgrade_on)


def upgrade_on(connection: Connection) -> str:
    """As `upgrade`, on a connection that is there."""
    if connection.dialect.name == "postgresql":  # two nodes that start together: the second waits, and finds nothing to do
        connection.exec_driver_sql(f"select pg_advisory_xact_lock({MIGRATION_LOCK})")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_current_head()
    assert newest is not None
    present = MigrationContext.configure(connection).get_current_revision()
    if present == newest:
        return newest
    if present is not None and present not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNewError(
            f"the journal has schema {present} and this version knows schemas up to {newest}: "
            "run the version that wrote it, or a newer one"
        )
    command.upgrade(config, "head")
    return newest
