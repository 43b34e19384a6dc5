"""A whole server whose customers come and go, until it is killed: `crm_worker.py FOLDER URL SECRET RUN`."""

import asyncio
import random
import sys
from itertools import count
from pathlib import Path
from typing import Any

from bridge.app import running
from bridge.settings import Settings

OURS = "+15550100200"


async def work(folder: str, url: str, secret: str, run: int) -> None:
    """Serve. RUN 0 has no customers of its own."""
    chance = random.Random(run)
    spec: dict[str, Any] = {
        "data": Path(folder),
        "log_level": "error",
        "web": {"port": 0},
        "sip": {"enabled": False},
        "hours": {"support_hours": {}},
        "numbers": [{"number": OURS, "flow": "support", "desk": "support_sms"}],
        "queues": [{"id": "support", "desk": "support_sms"}, {"id": "support_sms", "channel": "sms"}],
        "crm": {"provider": "webhook", "webhook": {"url": url, "secret": secret, "timeout": 3}, "cache": 0},
    }
    async with running(Settings(**spec)) as server:
        for _ in count() if run else ():
            # Who asks to be left alone has a conversation that is over at once.
            await server.network.handset(f"+1555{chance.randrange(10_000_000):07}").text(OURS, "STOP")
            await asyncio.sleep(chance.uniform(0.0, 0.1))
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
