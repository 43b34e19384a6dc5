"""A Redis server of our own for tests: in a temporary folder, on a socket nobody else knows."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

MISSING = "Redis is not on this machine (Debian: apt-get install redis-server; `scripts/set-up debian` does it)"


@contextmanager
def redis_server() -> Iterator[str]:
    """Start a server, give its address, and stop it in the end.

    Raises:
        RuntimeError: It does not start, or is not installed.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="sidetone-redis-"))
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with (folder / "log").open("w+b") as log:
        server = subprocess.Popen([program, *options], stdout=log, stderr=log, cwd=folder)
        try:
            _wait(server, socket, folder / "log")
            yield f"unix://{socket}"
        finally:
            server.terminate()
            server.wait(20)
            shutil.rmtree(folder)


def _wait(server: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            with redis.Redis(unix_socket_path=str(socket)) as client:
                client.ping()
        except redis.ConnectionError as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Redis does not start: {log.read_text(errors='replace')}") from error
            time.sleep(0.05)
        else:
            return
