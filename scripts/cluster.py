"""`make cluster`: two nodes that are one service, on this machine, with everything that they need and nothing from Docker.

A real PostgreSQL, a real Redis, nginx as the front, a server shaped like Twilio's for the texts, and `sidetone serve` twice with
the same settings. All of it listens on loopback addresses, keeps its files in a temporary folder, and is gone after Ctrl-C.
The terminal is the customer's phone: what is typed is texted, and what is texted back is printed.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from argon2 import PasswordHasher
from rich.console import Console
from rich.panel import Panel
from ruamel.yaml import YAML

from bridge.app import PACKAGED
from bridge.demo import agent_voice, agents_phones
from bridge.telephony.softphone import Softphone
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN, TwilioServer

ROOT = Path(__file__).parents[1]
HANDSET = "+15550100123"
"""Whose phone the terminal is."""
NUMBER = "+15550100200"
NODES = ("a", "b")
WIDTH = 80
STARTS_WITHIN = 60.0
ENDS_WITHIN = 30.0
FRONTS_FOLDER = "/tmp/front"  # noqa: S108  in the container it is the front's alone
"""In `config/front.conf`."""
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
"""Where Debian has nginx's module; elsewhere it may be built in."""


class NotPossibleError(Exception):
    """It cannot be brought up. The message says what to do."""


class Ports:
    """What listens where: the numbers of `config/front.conf` where they are free, others where they are not."""

    def __init__(self) -> None:
        self.web, self.sip = _port(8080), _port(5060, socket.SOCK_DGRAM)
        self.webs = [_port(8081 + n) for n in range(len(NODES))]
        self.sips = [_port(5061 + n, socket.SOCK_DGRAM) for n in range(len(NODES))]

    def put_into(self, front: str) -> str:
        """The front's settings with these ports."""
        wanted = {8080: self.web, 5060: self.sip, **dict(zip((8081, 8082), self.webs, strict=True))}
        wanted |= dict(zip((5061, 5062), self.sips, strict=True))
        return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: str(wanted[int(found[0])]), front)


def _port(preferred: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise NotPossibleError("No port of 127.0.0.1 is free.")


class Child:
    """A program that we have started. It has a process group of its own: Ctrl-C is for us, and we end things in order.

    Args:
        name: Put before what it says.
        out: Where that is printed.
        quiet: Only when it has ended and should not have.
    """

    def __init__(self, name: str, out: Console, *, quiet: bool = False) -> None:
        self.name = name
        self._out = out
        self._quiet = quiet
        self._last: deque[str] = deque(maxlen=20)
        self._process: asyncio.subprocess.Process | None = None
        self._said: asyncio.Task[None] | None = None
        self.ending = False
        """It was told to."""

    async def start(self, *command: str | Path, env: Mapping[str, str] | None = None, user: str | None = None) -> None:
        """Start it; what it says is printed with its name before it."""
        self.ending = False
        self._process = await asyncio.create_subprocess_exec(
            *command, env=env, user=user, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, start_new_session=True, cwd=ROOT if user is None else "/",
        )  # fmt: skip
        self._said = asyncio.create_task(self._pass_on(self._process))

    async def _pass_on(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "it is a pipe"
        async for line in process.stdout:
            words = line.decode(errors="replace").rstrip()
            if self._quiet:
                self._last.append(words)
            elif words and not words.startswith("Sidetone is up"):
                self._print(words)
        status = await process.wait()
        if not self.ending:
            for words in self._last:
                self._print(words)
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            self._out.print(f"{self.name} | has ended, {how}.", style="bold", markup=False)

    def _print(self, words: str) -> None:
        self._out.print(f"{self.name} | {words}", markup=False, soft_wrap=True)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "start it first"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """It was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    def kill(self) -> None:
        """SIGKILL, as if its machine had died; nothing when it has ended."""
        if self._process is not None and self.alive:
            self._process.kill()

    async def end(self, number: signal.Signals = signal.SIGTERM, *, within: float = ENDS_WITHIN) -> None:
        """Ask it to end by *number*, and wait; what does not end in time is killed."""
        if self._process is None or self._said is None:
            return
        self.ending = True
        if self.alive:
            self._process.send_signal(number)
            try:
                async with asyncio.timeout(within):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self._said


async def until(holds: Callable[[], Awaitable[bool]], child: Child, within: float = STARTS_WITHIN) -> None:
    """Wait until *holds* gives true.

    Raises:
        NotPossibleError: *child* has ended, or it took too long.
    """
    deadline = time.monotonic() + within
    while not await holds():
        if not child.alive:
            raise NotPossibleError(f"{child.name} does not start; what it said stands above.")
        if time.monotonic() > deadline:
            raise NotPossibleError(f"{child.name} does not answer after {within:.0f} s.")
        await asyncio.sleep(0.1)


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.request("GET", url, timeout=aiohttp.ClientTimeout(total=2.0)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _there(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)


def _folder(path: Path, mode: int, owner: str | None = None) -> Path:
    path.mkdir(mode=mode)
    if owner is not None:
        shutil.chown(path, owner)
    return path


def program(name: str, *folders: str) -> str:
    """Where a program is.

    Raises:
        NotPossibleError: It is not installed.
    """
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))
    if found is None:
        raise NotPossibleError(f"{name} is not on this machine; `scripts/set-up cluster` installs what Debian has of it.")
    return found


def _postgres_folders() -> list[str]:
    """Where Debian keeps the programs of the server, which is not on the path; the newest version first."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return [str(path) for path in sorted(found, key=lambda path: int(path.parent.name), reverse=True)]


@asynccontextmanager
async def postgres(folder: Path, out: Console) -> AsyncIterator[str]:
    """A PostgreSQL of our own on a socket in *folder*; gives the address of an empty database."""
    initdb, server = program("initdb", *_postgres_folders()), program("postgres", *_postgres_folders())
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    _folder(folder, 0o700, user)
    child = Child("postgres", out, quiet=True)
    make = await asyncio.create_subprocess_exec(
        initdb, "-D", folder / "data", "-U", "sidetone", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync",
        user=user, stdout=asyncio.subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    if await make.wait() != 0:
        raise NotPossibleError("PostgreSQL cannot make its data folder; what it said stands above.")
    options = ["-c", "listen_addresses="]
    try:
        await child.start(server, "-D", folder / "data", "-k", folder, *options, user=user)
        await until(partial(_there, folder / ".s.PGSQL.5432"), child)
        yield f"postgresql://sidetone@/postgres?host={folder}"
    finally:
        await child.end(signal.SIGINT)  # does not wait for clients, as SIGTERM would


@asynccontextmanager
async def redis(folder: Path, out: Console) -> AsyncIterator[str]:
    """A Redis of our own on a socket in *folder*, which keeps nothing."""
    _folder(folder, 0o700)
    child = Child("redis", out, quiet=True)
    options: list[str | Path] = [
        "--port",
        "0",
        "--unixsocket",
        folder / "redis.sock",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        folder,
    ]
    try:
        await child.start(program("redis-server"), *options)
        await until(partial(_there, folder / "redis.sock"), child)
        yield f"unix://{folder / 'redis.sock'}"
    finally:
        await child.end()


def front_config(folder: Path, ports: Ports) -> Path:
    """`config/front.conf` with other ports, with its files in *folder*, and as Debian's nginx needs it."""
    config = ports.put_into((ROOT / "config" / "front.conf").read_text(encoding="utf-8"))
    module = f"load_module {STREAM};\n" if STREAM.exists() else ""
    own = "user root;\n" if os.geteuid() == 0 else ""  # the folder is ours alone
    path = folder / "nginx.conf"
    path.write_text(f"{own}{module}daemon off;\n{config.replace(FRONTS_FOLDER, str(folder))}", encoding="utf-8")
    return path


@asynccontextmanager
async def front(folder: Path, ports: Ports, out: Console) -> AsyncIterator[None]:
    """Nginx before the nodes, as `config/front.conf` says."""
    config = front_config(_folder(folder, 0o755), ports)
    child = Child("front", out, quiet=True)
    try:
        await child.start(program("nginx", "/usr/sbin"), "-p", folder, "-e", "stderr", "-c", config)
        await until(partial(_there, folder / "nginx.pid"), child)
        yield
    finally:
        await child.end()


def demonstration() -> dict[str, Any]:
    """The settings of `make demo`."""
    found: dict[str, Any] = YAML(typ="safe").load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))
    return found


def settings(folder: Path, ports: Ports, phones: Mapping[str, Softphone], *, journal: str, shared: str, provider: str) -> Path:
    """The one settings file of all nodes: the demonstration's, with what several nodes need."""
    config = demonstration()
    password = PasswordHasher().hash("demo")
    agents = [
        {**agent, "name": agent["name"].removesuffix(" (simulated)"), "password_hash": password, "phone": phones[agent["id"]].uri}
        for agent in config["agents"]
    ]
    public = f"http://127.0.0.1:{ports.web}"
    config |= {
        "data": str(folder / "data"),
        "public_url": public,
        "drain_timeout": 5,
        "journal": {"url": journal},
        "cluster": {"url": shared},
        "sms": {"provider": "twilio"},
        "twilio": {"account_sid": ACCOUNT_SID, "auth_tokens": [AUTH_TOKEN], "api_base_url": provider},
        "agents": agents,
    }
    config["web"] |= {"phone_page": True}
    path = folder / "sidetone.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")  # YAML 1.2 is a superset of JSON
    return path


class Nodes:
    """`sidetone serve`, as often as there are nodes."""

    def __init__(self, config: Path, ports: Ports, out: Console) -> None:
        self._config = config
        self._ports = ports
        self.children = {name: Child(name, out) for name in NODES}

    def url(self, name: str) -> str:
        """The pages of one node, past the front."""
        return f"http://127.0.0.1:{self._ports.webs[NODES.index(name)]}"

    async def start(self, name: str) -> None:
        """Start one: only its name and its ports are its own, by the environment."""
        n = NODES.index(name)
        own = {
            "SIDETONE_CLUSTER__NODE": name,
            "SIDETONE_WEB__PORT": str(self._ports.webs[n]),
            "SIDETONE_SIP__PORT": str(self._ports.sips[n]),
            "SIDETONE_SIP__RTP_PORTS": json.dumps([20_000 + 1000 * n, 20_999 + 1000 * n]),
        }
        child = self.children[name]
        await child.start(sys.executable, "-m", "bridge", "serve", "-c", self._config, env={**os.environ, **own})
        await until(partial(_answers, f"{self.url(name)}/readyz"), child)

    async def end(self) -> None:
        """All of them, each as an operator would: it hands over what it has and goes."""
        async with asyncio.TaskGroup() as tasks:
            for child in self.children.values():
                tasks.create_task(child.end())


class Terminal:
    """The customer's phone, and a hand for the nodes."""

    def __init__(self, twilio: TwilioServer, nodes: Nodes, out: Console) -> None:
        self._twilio = twilio
        self._nodes = nodes
        self._out = out

    async def run(self) -> None:
        """Read lines and show texts until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._show())
            tasks.create_task(self._read(tasks))

    async def _show(self) -> None:
        shown: set[str] = set()
        while True:
            for text in list(self._twilio.messages.values()):
                if text.direction == "outbound-api" and text.status == "delivered" and text.sid not in shown:
                    shown.add(text.sid)
                    self._out.print(f"phone {text.to} | {text.body}", style="green", markup=False)
            await asyncio.sleep(0.2)

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():  # without a terminal it ends at once
            match line.decode(errors="replace").split():
                case []:
                    pass
                case ["kill", name] if name in NODES:
                    self._nodes.children[name].kill()
                case ["start", name] if name in NODES:
                    if self._nodes.children[name].alive:
                        self._out.print(f"{name} | is running.", markup=False)
                    else:
                        tasks.create_task(self._start(name))
                case words:
                    tasks.create_task(self._text(" ".join(words)))

    async def _start(self, name: str) -> None:
        try:
            await self._nodes.start(name)
        except NotPossibleError as error:
            self._out.print(str(error), style="red", markup=False)
        else:
            self._out.print(f"{name} | is back, pid {self._nodes.children[name].pid}.", markup=False)

    async def _text(self, body: str) -> None:
        try:
            await self._twilio.text(HANDSET, NUMBER, body)
        except ConnectionError as error:
            self._out.print(f"phone {HANDSET} | not sent: {error}", style="red", markup=False)


def welcome(ports: Ports, nodes: Nodes) -> Panel:
    """What to open, and what to try."""
    public = f"http://127.0.0.1:{ports.web}"
    lines = [
        "[bold]Sidetone is up: two nodes, one service.[/] Nothing leaves this machine.",
        "",
        f"Desk    {public}/   [bold]agent[/], [bold]ana[/] or [bold]ben[/], password [bold]demo[/]",
        f"Phone   {public}/phone   dials {NUMBER}",
        f"SIP     sip:{NUMBER}@127.0.0.1:{ports.sip}",
        *(f"Node {name}  {nodes.url(name)}/   pid {child.pid}" for name, child in nodes.children.items()),
        "",
        "Text: type words and Enter. They come from your phone,",
        f"{HANDSET}; what is texted to it is printed here.",
        "",
        "See a node die: [bold]kill a[/] and Enter here, or kill -9 with its pid elsewhere.",
        "Its conversations go on at the other within ten seconds. [bold]start a[/]",
        "brings it back. Ctrl-C ends everything.",
    ]
    return Panel("\n".join(lines), width=WIDTH)


async def run(out: Console) -> int:
    """Bring everything up, run until Ctrl-C, and end it in order: front, nodes, Redis, PostgreSQL."""
    everything = asyncio.create_task(_everything(out))

    def stop() -> None:
        """Once: what is being ended must not be cut off."""
        if not everything.cancelling():
            everything.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await everything
    out.print("Stopped.")
    return 0


async def _everything(out: Console) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidetone-cluster-")))
        os.chmod(folder, 0o711)  # noqa: PTH101, S103  PostgreSQL runs as somebody else when we are root
        ports = Ports()
        out.print("Starting PostgreSQL, Redis, two nodes and nginx ...")
        journal = await stack.enter_async_context(postgres(folder / "postgres", out))
        shared = await stack.enter_async_context(redis(folder / "redis", out))
        twilio = await stack.enter_async_context(TwilioServer(inbound_url=f"http://127.0.0.1:{ports.web}/twilio/sms"))
        # As in the demonstration, agents have phones that pick up and speak: what is shown is the desk.
        names = tuple(agent["id"] for agent in demonstration()["agents"])
        phones = await stack.enter_async_context(agents_phones(names, agent_voice(PACKAGED / "prompts")))
        nodes = Nodes(settings(folder, ports, phones, journal=journal, shared=shared, provider=twilio.url), ports, out)
        stack.push_async_callback(nodes.end)
        for name in NODES:
            await nodes.start(name)
        await stack.enter_async_context(front(folder / "front", ports, out))
        out.print(welcome(ports, nodes))
        try:
            await Terminal(twilio, nodes, out).run()
        finally:
            out.print("Stopping: the front, the nodes, Redis, PostgreSQL ...")


def main(arguments: Sequence[str]) -> int:
    """Run it; says what is missing instead of showing a traceback."""
    if arguments:
        sys.stderr.write("usage: scripts/cluster.py\n")
        return 2
    out = Console(highlight=False)
    try:
        return asyncio.run(run(out))
    except NotPossibleError as error:
        out.print(str(error), style="red", markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
