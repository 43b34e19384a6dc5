"""A Redis server of our own for tests: in a temporary folder, on a socket nobody else knows."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

MISSING = "Redis is not on this machine (Debian: apt-get install redis-server; `scripts/set-up debian` does it)"


class RedisServer:
    """A server that may be stopped and started; it keeps nothing.

    Raises:
        RuntimeError: Redis is not installed.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError(MISSING)
        self._socket = folder / "redis.sock"
        self._log = folder / "log"
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no", "--dir", str(folder)]
        self._command = [program, *options]
        self._server: subprocess.Popen[bytes] | None = None
        self.url = self.inside = f"unix://{self._socket}"

    def start(self) -> None:
        """Start it, empty.

        Raises:
            RuntimeError: It does not start.
        """
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(self._command, stdout=log, stderr=log)
        until = time.monotonic() + 30
        while True:
            try:
                with redis.Redis(unix_socket_path=str(self._socket)) as client:
                    client.ping()
            except redis.ConnectionError as error:
                if self._server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"Redis does not start: {self._log.read_text(errors='replace')}") from error
                time.sleep(0.05)
            else:
                return

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing when it has ended."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it by this signal; nothing when it has ended."""
        if self._server is not None:
            self._server.send_signal(number)
            self._server.wait(20)
            self._server = None


@contextmanager
def redis_server() -> Iterator[str]:
    """Start a server, give its address, and stop it in the end.

    Raises:
        RuntimeError: It does not start, or is not installed.
    """
    folder = Path(tempfile.mkdtemp(prefix="sidetone-redis-"))
    try:
        server = RedisServer(folder)
        server.start()
        try:
            yield server.url
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
