"""What reports cost when much has happened: reading the journal once, and asking afterwards.

    python tests/perf/bench_reports.py [--sessions 100000] [--days 30]

A few hundred conversations are told by the session machine and copied over the days, with 100 agents who change their state
every few minutes. The ratio is how many times longer a report takes than the same range counted without groups.
"""

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bridge.journal import Journal, upgrade  # noqa: E402
from bridge.journal.fact_queries import Ask  # noqa: E402
from bridge.reports.definitions import COUNTED, REPORTS, Dimension  # noqa: E402
from bridge.reports.measures import figures, needed  # noqa: E402
from bridge.reports.spans import Every, Range  # noqa: E402
from tests.unit.reports.busy import Told_, conversation  # noqa: E402

DAY = 86_400.0
NOW = 1_780_000_000.0
AGENTS = 100
PATTERNS = 300
ASKS: tuple[tuple[str, tuple[Dimension, ...], Every], ...] = (
    ("overview", (), "all"),
    ("overview", ("interval",), "day"),
    ("overview", ("interval",), "quarter"),
    ("queues", ("queue",), "all"),
    ("agents", ("agent",), "all"),
    ("agents", ("interval",), "day"),
    ("messages", ("type",), "all"),
    ("offers", ("interval",), "day"),
    ("waits", ("queue",), "all"),
)


def fill(path: Path, sessions: int, days: float) -> None:
    """Conversations over so many days, and what agents did."""
    chance = random.Random(1)
    patterns = [conversation(f"p{n}", NOW, random.Random(n)) for n in range(PATTERNS)]
    patterns = [story for story in patterns if story.units and story.state.closed_at is not None]
    database = sqlite3.connect(path)
    database.execute("pragma synchronous = off")
    for n in range(sessions):
        story = chance.choice(patterns)
        shift = -days * DAY * chance.random() - 3_600.0
        _copy(database, story, f"s{n}", shift, chance.randrange(AGENTS // 2) * 2)
    for agent in range(AGENTS):
        at = NOW - days * DAY
        while at < NOW:
            state = chance.choice(["ready", "ready", "wrap_up", "not_ready", "offline"])
            database.execute("insert into agent_span (agent, state, since) values (?, ?, ?)", (f"a{agent}", state, at))
            at += 2_400.0 * chance.random()
        database.execute("insert into agent_state (agent, state, since, data) values (?, 'ready', ?, '{}')", (f"a{agent}", at))
    database.commit()
    database.close()


def _copy(database: sqlite3.Connection, story: Told_, ident: str, shift: float, agent: int) -> None:
    state, who = story.state, {"ann": f"a{agent}", "ben": f"a{agent + 1}"}
    names = {who[str(each)]: name for each, name in state.names.items()}
    lines = story.lines_so_far
    row: dict[str, Any] = {
        "id": ident, "seq": 1, "lines": len(lines), "snapshot": json.dumps({"names": names}), "state": "closed",
        "customer": f"+1555{hash(ident) % 10_000_000:07}", "our_number": state.our_number, "language": "en",
        "opened_at": state.opened_at + shift, "closed_at": (state.closed_at or 0) + shift, "text_state": "closed",
        "call_state": "ended", "service": state.service, "handled": 0.0,
    }  # fmt: skip
    _insert(database, "session", [row])
    _insert(database, "timeline", list(_lines(story, ident, shift, who)))
    texts = [
        {
            "id": f"{ident}-{line.data['message']}", "session": ident, "direction": "out" if line.kind == "text.sent" else "in",
            "provider": "loopback", "sender": "+15550100200", "recipient": "+15550100200", "body": "", "media": "[]",
            "state": "delivered" if line.kind == "text.sent" else "received", "segments": 1, "author": "system",
            "created_at": line.at + shift,
        }
        for line in lines
        if line.kind in {"text.sent", "text.received"}
    ]  # fmt: skip
    if texts:
        _insert(database, "message", texts)


def _lines(story: Told_, ident: str, shift: float, who: dict[str, str]) -> Iterator[dict[str, Any]]:
    for line in story.lines_so_far:
        data = dict(line.data)
        if data.get("agent") in who:
            data["agent"] = who[data["agent"]]
        if "message" in data and line.kind.startswith("text."):
            data["message"] = f"{ident}-{data['message']}"
        yield {"session": ident, "n": line.n, "at": line.at + shift, "kind": line.kind, "data": json.dumps(data)}


def _insert(database: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    names = ", ".join(rows[0])
    marks = ", ".join("?" * len(rows[0]))
    database.executemany(f"insert or ignore into {table} ({names}) values ({marks})", [tuple(row.values()) for row in rows])


async def run(sessions: int, days: float) -> None:
    """Fill, read once, ask."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        await upgrade(f"sqlite:///{path}")
        fill(path, sessions, days)
        async with Journal.open(f"sqlite:///{path}") as journal:
            began = time.perf_counter()
            read = await journal.catch_up()
            took = time.perf_counter() - began
            print(f"read {read} sessions in {took:.1f} s: {read / took:.0f} a second")
            began = time.perf_counter()
            await journal.catch_up()
            print(f"nothing new: {1000 * (time.perf_counter() - began):.0f} ms")
            range_ = Range(NOW - days * DAY, NOW, "Europe/Berlin")
            print(f"{'report':10} {'by':10} {'every':8} {'groups':>7} {'ms':>7} {'ratio':>6}")
            plain = 0.0
            for name, by, every in ASKS:
                names = needed(REPORTS[name].columns)
                assert names <= set(COUNTED)
                began = time.perf_counter()
                counts = await journal.count(Ask(range=range_, by=by, every=every, names=names, now=NOW))
                for tally in counts.groups.values():
                    figures(REPORTS[name].columns, tally)
                ms = 1000 * (time.perf_counter() - began)
                plain = plain or ms
                print(f"{name:10} {' '.join(by):10} {every:8} {len(counts.groups):7} {ms:7.0f} {ms / plain:6.2f}")


def main() -> None:
    """Read the arguments and run."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sessions", type=int, default=20_000)
    arguments.add_argument("--days", type=float, default=30.0)
    asked = arguments.parse_args()
    asyncio.run(run(asked.sessions, asked.days))


if __name__ == "__main__":
    main()
