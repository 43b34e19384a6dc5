"""A process that writes notices and tells them, until it is killed: `hooks_worker.py DATABASE URL SECRET RUN`."""

import asyncio
import random
import sys
import time
from itertools import count

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from bridge.events import SessionId
from bridge.hooks import Hooks
from bridge.journal import Journal, NoticeRow, SessionRow, Unit
from bridge.metrics import Metrics
from bridge.settings import HookSettings

SESSIONS = 12


async def work(database: str, url: str, secret: str, run: int) -> None:
    """Write and tell. RUN 0 only tells."""
    chance = random.Random(run)
    endpoint = HookSettings(name="crm", url=url, secret=SecretStr(secret), timeout=0.5)
    async with Journal.open(database) as journal, asyncio.TaskGroup() as tasks:
        hooks = Hooks(journal, [endpoint], clock=time.time, chance=chance.random, metrics=Metrics(CollectorRegistry()))
        tasks.create_task(hooks.run(asyncio.Event()))
        for n in count() if run else ():
            session = SessionId(f"t{chance.randrange(SESSIONS)}")
            row = SessionRow(state="open", customer=None, our_number="+15550100200", language="en", opened_at=0.0)
            name = f"{session}:{run}:{n}"
            notice = NoticeRow(
                id=name,
                type="sms.sent",
                session=session,
                at=time.time(),
                body=name.encode().join([b'"', b'"']),
                endpoints=("crm",),
            )
            await journal.commit(Unit(session=session, row=row, snapshot=b"{}", notices=[notice]))
            hooks.kick()
            await asyncio.sleep(chance.uniform(0.0, 0.03))


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
