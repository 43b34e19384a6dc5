"""Redis as people run it: with TLS and users, watched by sentinels, as a Redis Cluster. On free ports of this machine."""

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from tests.redis_server import MISSING

OPERATIONS = Path(__file__).parents[1] / "docs" / "operations.md"
SLOTS = 16384
USER = "sidetone"
PASSWORD = "p@ss/w:rd #1?"
"""With everything in it that means something in a URL."""
ADMINISTRATOR = "administrator"
"""Password of who may do everything."""


def minimal_acl(namespace: str = "sidetone") -> list[str]:
    """What a user of ours may do at least, as docs/operations.md says."""
    (line,) = re.findall(r"^user sidetone on >PASSWORD (.+)$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    return str(line).replace("sidetone:*", f"{namespace}:*").split()


def free_port() -> int:
    """A TCP port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], Any], what: str) -> None:
    """Wait for a server.

    Raises:
        RuntimeError: It takes too long.
    """
    deadline = time.monotonic() + 30
    while True:
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(what)
        time.sleep(0.02)


class Server:
    """One process of `redis-server`; it keeps nothing.

    Args:
        folder: Of its own.
        settings: Lines of its configuration.
        port: TCP.
        sentinel: It is one.
    """

    def __init__(self, folder: Path, settings: Sequence[str] = (), *, port: int | None = None, sentinel: bool = False) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError(MISSING)
        self.port = port or free_port()
        self._socket, self._log, configuration = folder / "socket", folder / "log", folder / "redis.conf"
        lines = [f"port {self.port}", "bind 127.0.0.1", f"unixsocket {self._socket}", f"dir {folder}"]
        lines += [f"requirepass {ADMINISTRATOR}"]
        if not sentinel:
            lines += [f"masterauth {ADMINISTRATOR}"]
            lines += ['save ""', "appendonly no", "repl-diskless-sync-delay 0"]
        configuration.write_text("\n".join([*lines, *settings, ""]))
        self._command = [program, str(configuration), *(["--sentinel"] if sentinel else [])]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty.

        Raises:
            RuntimeError: It does not start.
        """
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(self._answers, f"Redis does not start: {self._log}")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"Redis does not start: {self._log.read_text(errors='replace')}")
        with self.client() as client:
            return bool(client.ping())

    @property
    def inside(self) -> str:
        """The address by which its administrator asks it."""
        return f"unix://:{ADMINISTRATOR}@{self._socket}"

    def client(self) -> "redis.Redis":
        """Ask it as its administrator, past TLS."""
        return redis.Redis(unix_socket_path=str(self._socket), password=ADMINISTRATOR, decode_responses=True)

    def wait(self, holds: Callable[[Any], Any], what: str) -> None:
        """Wait until what it says, to its administrator, is true."""
        with self.client() as client:
            wait_until(partial(holds, client), what)

    def admit(self, rules: Sequence[str], password: str = PASSWORD) -> None:
        """Give `USER` these rules and no others."""
        with self.client() as client:
            client.execute_command("ACL", "SETUSER", USER, "reset", "on", f">{password}", *rules)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing when it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by this signal; nothing when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None


@contextmanager
def folder() -> Iterator[Path]:
    """Short enough for sockets; gone in the end."""
    made = Path(tempfile.mkdtemp(prefix="sidetone-redis-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def linked(replica: Any) -> bool:
    """Whether it follows its master."""
    return bool(replica.info("replication").get("master_link_status") == "up")


# --- TLS and users


class Certificates:
    """An authority, what it has signed for 127.0.0.1, and another authority that has signed nothing here."""

    def __init__(self, where: Path) -> None:
        self.ca, self.other_ca, self.certificate, self.key = (
            where / name for name in ("ca.crt", "other.crt", "it.crt", "it.key")
        )
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        for authority in (self.ca, self.other_ca):
            run([*new, "-subj", f"/CN={authority.stem}", "-keyout", f"{authority}.key", "-out", str(authority)])
        signed = ["-CA", str(self.ca), "-CAkey", f"{self.ca}.key", "-addext", "basicConstraints=critical,CA:FALSE"]
        signed += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "authorityKeyIdentifier=keyid"]
        run([*new, "-subj", "/CN=redis", *signed, "-keyout", str(self.key), "-out", str(self.certificate)])


def run(command: list[str]) -> None:
    """Run it to its end.

    Raises:
        RuntimeError: It fails.
    """
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))


class TlsServer(Server):
    """With TLS, and a user who may do the least.

    Args:
        where: As for `Server`.
        certificates: Of it and its clients.
        settings: More lines of its configuration.
        clients: Whether it wants their certificates: `yes` or `no`.
    """

    def __init__(self, where: Path, certificates: Certificates, settings: Sequence[str] = (), *, clients: str = "no") -> None:
        self.certificates = certificates
        self.tls_port = free_port()
        tls = [f"tls-port {self.tls_port}", f"tls-ca-cert-file {certificates.ca}", f"tls-auth-clients {clients}"]
        tls += [f"tls-cert-file {certificates.certificate}", f"tls-key-file {certificates.key}"]
        super().__init__(where, [*tls, *settings])

    def start(self) -> None:
        """Start it, with its user."""
        super().start()
        self.admit(minimal_acl())

    @property
    def url(self) -> str:
        """Its address, with user, password and the authority to trust."""
        return self.address()

    def address(self, *, ca: Path | None = None, password: str = PASSWORD, more: str = "") -> str:
        """As `url`, with other parts."""
        trusted = quote(str(ca or self.certificates.ca))
        return f"rediss://{USER}:{quote(password, safe='')}@127.0.0.1:{self.tls_port}/0?ssl_ca_certs={trusted}{more}"


@contextmanager
def tls_server(settings: Sequence[str] = (), *, clients: str = "no") -> Iterator[TlsServer]:
    """Start one, and stop it in the end."""
    with folder() as where:
        server = TlsServer(where, Certificates(where), settings, clients=clients)
        try:
            server.start()
            yield server
        finally:
            server.stop()


# --- Sentinel

MASTER = "main"
SENTINEL_PASSWORD = "the guards' word"


class Guarded:
    """A master, its replica, and three sentinels that have a password of their own."""

    def __init__(self, where: Path) -> None:
        self.servers, self.sentinels = list[Server](), list[Server]()
        for name in ("a", "b"):
            (where / name).mkdir()
            of = [f"replicaof 127.0.0.1 {self.servers[0].port}"] if self.servers else []
            self.servers.append(Server(where / name, [*of, "repl-ping-replica-period 1", "repl-timeout 5"]))
        watching = [
            f"sentinel monitor {MASTER} 127.0.0.1 {self.servers[0].port} 2",
            f"sentinel auth-pass {MASTER} {ADMINISTRATOR}",
            f"sentinel down-after-milliseconds {MASTER} 1500",
            f"sentinel failover-timeout {MASTER} 6000",
        ]
        for number in range(3):
            (where / str(number)).mkdir()
            self.sentinels.append(Server(where / str(number), watching, sentinel=True))
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        user = f"{USER}:{quote(PASSWORD, safe='')}"
        self.url = f"redis+sentinel://{user}@{hosts}/{MASTER}/0?sentinel_password={ADMINISTRATOR}"

    def start(self) -> None:
        """Start all; returns when they know of each other and the replica is up to date."""
        for server in (*self.servers, *self.sentinels):
            server.start()
        for server in self.servers:
            server.admit(minimal_acl())
        self.servers[1].wait(linked, "the replica has no master")
        for sentinel in self.sentinels:
            sentinel.wait(self._complete, "the sentinels do not find each other")

    @staticmethod
    def _complete(sentinel: Any) -> bool:
        state = sentinel.sentinel_masters()[MASTER]
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)

    def part(self) -> None:
        """From now on the replica learns nothing more."""
        master, replica = self.servers
        with replica.client() as client:
            client.config_set("masterauth", "wrong")
        with master.client() as client:
            client.client_kill_filter(_type="replica")
        replica.wait(lambda client: not linked(client), "the replica still has its master")

    def stop(self) -> None:
        """Stop all."""
        for server in (*self.sentinels, *self.servers):
            server.stop()


@contextmanager
def guarded() -> Iterator[Guarded]:
    """Start them, and stop them in the end."""
    with folder() as where:
        made = Guarded(where)
        try:
            made.start()
            yield made
        finally:
            made.stop()


# --- Redis Cluster


class Sharded:
    """Three masters, each with so many replicas.

    Args:
        where: A folder.
        replicas: Of each master.
        timeout: Milliseconds after which a silent server counts as gone.
        rules: What our user may do; none: the least.
    """

    def __init__(self, where: Path, *, replicas: int = 0, timeout: int = 15_000, rules: Sequence[str] = ()) -> None:
        self._rules = rules or minimal_acl()
        self.servers, self.buses = list[Server](), list[int]()
        for number in range(3 + 3 * replicas):
            (where / str(number)).mkdir()
            self.buses.append(free_port())
            cluster = ["cluster-enabled yes", f"cluster-port {self.buses[-1]}", f"cluster-node-timeout {timeout}"]
            self.servers.append(Server(where / str(number), [*cluster, "repl-ping-replica-period 1"]))
        self.masters, self.replicas = self.servers[:3], self.servers[3:]
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.masters)
        self.url = f"redis+cluster://{USER}:{quote(PASSWORD, safe='')}@{hosts}"

    def start(self) -> None:
        """Start all; returns when every slot is served, and by replicas as well where there are some."""
        for number, server in enumerate(self.servers):
            server.start()
            server.admit(self._rules)
            with server.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        per, first = SLOTS // 3, self.masters[0]
        for number, server in enumerate(self.servers):
            with server.client() as client:
                if number < 3:
                    last = SLOTS - 1 if number == 2 else (number + 1) * per - 1
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * per, last)
                if server is not first:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, self.buses[0])
        for server in self.servers:
            server.wait(self._knows_all, "the servers do not meet")
        for number, server in enumerate(self.replicas):
            with self.masters[number % 3].client() as master:
                follow = ("CLUSTER", "REPLICATE", master.execute_command("CLUSTER", "MYID"))
            server.wait(lambda client, follow=follow: client.execute_command(*follow), "there is no replica")  # type: ignore[misc]
            server.wait(linked, "a replica has no master")
        for server in self.servers:
            server.wait(lambda client: "cluster_state:ok" in _text(client, "INFO"), "the cluster is not complete")

    def _knows_all(self, client: Any) -> bool:
        return f"cluster_known_nodes:{len(self.servers)}" in _text(client, "INFO") and "handshake" not in _text(client, "NODES")

    def stop(self) -> None:
        """Stop all."""
        for server in self.servers:
            server.stop()


def _text(client: Any, what: str) -> str:
    return str(client.execute_command("CLUSTER", what))


@contextmanager
def sharded(**options: Any) -> Iterator[Sharded]:
    """Start one, and stop it in the end."""
    with folder() as where:
        made = Sharded(where, **options)
        try:
            made.start()
            yield made
        finally:
            made.stop()
