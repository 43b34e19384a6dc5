"""How long people wait for lists, look-ups and reports when the journal has grown for years.

    python tests/perf/bench_big_journal.py [--sessions 100000] [--texts 20] [--postgres] [--folder DIR]

Sessions of 200 days with so many texts each, ten of them open; every question is asked through the journal's own methods,
thirty times, with other customers, sessions and pages each time. The last column compares with one look-up of a text by its
id in the same run. Making the journal takes most of the time. Prints figures, never fails on them.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from sqlalchemy import Connection, create_engine

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bridge.events import AgentId, MessageId, QueueId, SessionId  # noqa: E402
from bridge.journal import Journal, upgrade  # noqa: E402
from tests.postgres import postgres  # noqa: E402

DAY = 86400.0
DAYS = 200
NOW = 1_800_000_000.0
US = "+15550100100"
TIMES = 30


def fill(connection: Connection, sessions: int, texts: int) -> None:
    """Make it with SQL alone; every fourth customer comes again. Indexes are made anew at the end, which is quicker."""
    numbers = "generate_series(0, {last})" if connection.dialect.name == "postgresql" else None

    def series(last: int) -> str:
        if numbers is not None:
            return f"(select n from {numbers.format(last=last)} as n) as series"
        return f"(with recursive up(n) as (select 0 union all select n + 1 from up where n < {last}) select n from up)"

    indexes = _drop_indexes(connection)
    began, step, lasting = NOW - DAYS * DAY, DAYS * DAY / sessions, 1800

    def run(statement: str) -> None:
        connection.exec_driver_sql(statement.replace("%", "%%") if numbers is not None else statement)

    snapshot = '{"id":"x","answers":"' + "y" * 1000 + '"}'
    run(
        "insert into session (id, seq, lines, snapshot, state, customer, our_number, language, queue, agent, opened_at,"
        " closed_at, text_state, call_state, service, handled) select 's' || n, 9, 0,"
        f" '{snapshot}', case when n >= {sessions - 10} then 'open' else 'closed' end,"
        f" '+1555' || (1000000 + n * 7 % {sessions * 3 // 4}),"
        f" '{US}', 'en', 'queue' || (n % 5), 'agent' || (n % 20), {began} + n * {step},"
        f" case when n < {sessions - 10} then {began} + n * {step} + {lasting} end, 'closed', 'none', 'inbound', 60.0"
        f" from {series(sessions - 1)}"
    )
    customer = f"'+1555' || (1000000 + n / {texts} * 7 % {sessions * 3 // 4})"
    run(
        "insert into message (id, session, direction, provider, provider_ref, sender, recipient, body, media, state, segments,"
        f" purpose, author, created_at) select 'm' || n, 's' || (n / {texts}), case n % 2 when 0 then 'in' else 'out' end,"
        f" 'twilio',"
        f" 'SM' || n, case n % 2 when 0 then {customer} else '{US}' end, case n % 2 when 0 then '{US}' else {customer} end,"
        " 'Thank you, the part will be with you on Thursday.', '[]',"
        " case when n % 2 = 0 then 'received' when n % 100 = 99 then 'undelivered' else 'delivered' end, 1, 'session', 'flow',"
        f" {began} + n / {texts} * {step} + n % {texts} * {lasting / texts} from {series(sessions * texts - 1)}"
    )
    run(
        "insert into outbox (message, priority, created_at, due_at, state, attempts, outcome, done_at)"
        " select id, 0, created_at, created_at, 'done', 1, 'accepted', created_at from message where direction = 'out'"
    )
    for index in indexes:
        run(index)
    if connection.dialect.name == "postgresql":
        run("analyze")


def _drop_indexes(connection: Connection) -> list[str]:
    run = connection.exec_driver_sql
    if connection.dialect.name == "postgresql":
        found = run(
            "select indexname, indexdef from pg_indexes"
            " where tablename in ('session', 'message', 'outbox') and indexname like 'ix%%'"
        )
    else:
        found = run("select name, sql from sqlite_master where type = 'index' and name like 'ix%' and sql is not null")
    indexes = [(str(name), str(sql)) for name, sql in found if name.startswith(("ix_session", "ix_message_", "ix_outbox"))]
    for name, _ in indexes:
        run(f"drop index {name}")
    return [sql for _, sql in indexes]


def questions(journal: Journal, sessions: int, texts: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What is asked, by the name it has in the table."""
    chance = random.Random(1)

    def customer() -> str:
        return f"+1555{1000000 + chance.randrange(sessions * 3 // 4)}"

    def some() -> SessionId:
        return SessionId(f"s{chance.randrange(sessions)}")

    def text() -> MessageId:
        return MessageId(f"m{chance.randrange(sessions * texts)}")

    def day(days: float) -> tuple[float, float]:
        since = NOW - DAY * chance.uniform(days, DAYS)
        return since, since + DAY * days

    return {
        "one text by its id": lambda: journal.message(text()),
        "newest sessions": lambda: journal.sessions(50),
        "a page of sessions": lambda: journal.sessions(50, after=some()),
        "sessions of a queue": lambda: journal.sessions(50, queue=QueueId(f"queue{chance.randrange(5)}"), after=some()),
        "sessions of an agent": lambda: journal.sessions(50, agent=AgentId(f"agent{chance.randrange(20)}"), after=some()),
        "sessions of a customer": lambda: journal.sessions(50, customer=customer()),
        "sessions of a day": lambda: journal.sessions(50, since=(span := day(1))[0], until=span[1]),
        "open sessions": journal.open_sessions,
        "texts of a session": lambda: journal.messages(some()),
        "a page of texts": lambda: journal.messages_page(50, after=text()),
        "texts of a customer": lambda: journal.messages_page(50, number=customer()),
        "failed texts of a day": lambda: journal.messages_page(50, state="undelivered", since=(span := day(1))[0], until=span[1]),
        "correlation: open": lambda: journal.find_open(customer()),
        "correlation: last sent": lambda: journal.recent_outbound(customer(), US),
        "may it be texted": lambda: journal.suppressed(customer(), US),
        "outbox": lambda: journal.outbox_now(NOW, 128),
        "reports not heard": lambda: journal.undecided("twilio", NOW - DAY / 4, 500),
        "report of a day": lambda: journal.report_texts(*day(1)),
        "report of a month": lambda: journal.report_texts(*day(30), DAY),
        "report of everything": lambda: journal.report_texts(NOW - DAYS * DAY, NOW, DAY),
        "everything of a customer": lambda: journal.export(customer()),
    }


async def measure(url: str, sessions: int, texts: int) -> None:
    """Make it, then ask."""
    await upgrade(url)
    began = time.perf_counter()
    engine = create_engine(url)
    with engine.begin() as connection:
        fill(connection, sessions, texts)
    engine.dispose()
    print(f"{sessions:,} sessions, {sessions * texts:,} texts, made in {time.perf_counter() - began:.0f} s")
    print(f"{'question':<28}{'median ms':>10}{'max ms':>10}{'ratio':>8}")
    async with Journal.open(url) as journal:
        base = 0.0
        for name, ask in questions(journal, sessions, texts).items():
            times = []
            for _ in range(TIMES):
                at = time.perf_counter()
                await ask()
                times.append(1000 * (time.perf_counter() - at))
            median = statistics.median(times)
            base = base or median
            print(f"{name:<28}{median:>10.2f}{max(times):>10.2f}{median / base:>8.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--texts", type=int, default=20, help="of each session")
    parser.add_argument("--postgres", action="store_true", help="in a PostgreSQL server, which is started")
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure (default: the temporary folder)")
    arguments = parser.parse_args()
    server = postgres(durable=True) if arguments.postgres else nullcontext()
    with TemporaryDirectory(dir=arguments.folder) as folder, server as database:
        url = f"sqlite:///{folder}/big.db" if database is None else database.database()
        uvloop.run(measure(url, arguments.sessions, arguments.texts))


if __name__ == "__main__":
    main()
