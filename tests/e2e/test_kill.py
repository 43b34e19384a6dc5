"""SIGKILL at random moments under a load of texts: nothing lost, nothing doubled, everybody where they were.

The figures come from outside the server: what handsets were told is kept, what the Twilio-shaped server was given, and
what stands in the database file at the end.

    KILLS=20 SEED=7 pytest tests/e2e/test_kill.py -k random -s      # longer, or the same again
"""

import asyncio
import base64
import contextlib
import os
import random
import re
import signal
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web

from bridge.telephony.softphone import PhoneConfig, Softphone
from sms.testing.twilio_server import Disorder, Fault, TwilioServer
from tests.e2e.server import NUMBER, OTHER_NUMBER, Api, DeskClient, ServerProcess, agent, settings

pytestmark = pytest.mark.e2e
KILLS = int(os.environ.get("KILLS", "4"))
SEED = int(os.environ.get("SEED", "7"))
"""The same by default, so that what fails here fails elsewhere, too; others find more."""
PHOTO = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAFElEQVR4nGM8oaHBgBsw4ZEbwdIAXuEBLLDzAuQAAAAASUVORK5CYII="
)
SETTLED_WITHIN = 40.0
"""Seconds after the last kill in which everything has to come to its end: a start, the time until a text counts as not sent,
and a few texts one after the other."""
TROUBLED = {
    "+15550100181": Fault(drop=True, accept=True, times=3),
    "+15550100182": Fault(drop=True, accept=False, times=3),
    "+15550100183": Fault(status=500, accept=True, times=3),
    "+15550100184": Fault(status=429, code=20429, times=3),
}
"""Handsets at which the provider does not say what it did with the first texts."""
QUITTER = "+15550100185"
"""Sends STOP and START in turn."""


class Provider(TwilioServer):
    """Kills the server at a chosen moment of what goes between the two."""

    MOMENTS = ("any", "asked", "asked in vain", "answered", "reporting", "told", "fetching")
    """Any; it gives us a text and we take it, or do not; it has our answer; before our report; it said 2xx; it fetches."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.kill: Callable[[], None] = lambda: None
        self._moment: tuple[str, asyncio.Event] | None = None

    async def reached(self, moment: str) -> bool:
        """Kill at the next *moment* and wait for it; False when it did not come in time."""
        happened = asyncio.Event()
        self._moment = (moment, happened)
        try:
            await asyncio.wait_for(happened.wait(), 4.0)
        except TimeoutError:
            return False
        finally:
            self._moment = None
        return True

    def _now(self, moment: str, after: float = 0.0) -> bool:
        if self._moment is None or self._moment[0] != moment or self._moment[1].is_set():
            return False
        self._moment[1].set()
        if after:
            asyncio.get_running_loop().call_later(after, self.kill)
        else:
            self.kill()
        return True

    async def _create(self, request: web.Request) -> web.StreamResponse:
        if self._now("asked in vain"):
            return web.Response(status=500)
        self._now("asked")
        response = await super()._create(request)
        self._now("answered", after=self._random.uniform(0.0005, 0.006))
        return response

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        self._now("fetching")
        return await super()._picture(request)

    async def _post(self, url: str, fields: Sequence[tuple[str, str]], read_timeout: float) -> int:
        report = "/status" in url
        if report:
            self._now("reporting")
        status = await super()._post(url, fields, read_timeout)
        if not report and 200 <= status < 300:
            self._now("told")
        return status


class Crowd:
    """Handsets that write, and what they were told is kept."""

    def __init__(self, twilio: TwilioServer, chance: random.Random) -> None:
        self._twilio = twilio
        self._chance = chance
        self.kept: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        """By handset and number of ours: id and words of each text that got a 2xx, in order."""
        self.stopping = False

    async def write(self, handset: str, ours: str, *, pause: float) -> None:
        """Text *ours* again and again until told to stop, each time once the text before was taken."""
        number = 0
        while not self.stopping:
            await asyncio.sleep(self._chance.uniform(0.2, 1.8) * pause)
            number += 1
            body = f"{handset}>{ours} {number}"
            if handset == QUITTER and number % 3 == 0:
                body = "STOP" if number % 2 else "START"
            media = [("p.png", PHOTO, "image/png")] if self._chance.random() < 0.15 and handset != QUITTER else []
            sid = await self._twilio.text(handset, ours, body, media, within=60.0)
            self.kept[handset, ours].append((sid, body))


class Desk:
    """An agent who accepts what rings, answers each text once, and now and then ends a chat."""

    def __init__(self, url: str, name: str, chance: random.Random) -> None:
        self._url = url
        self._name = name
        self._chance = chance
        self.ready = False
        """Has said so once; after that the server has to remember."""
        self.closing = False
        """Ends no more chats."""

    async def work(self) -> None:
        """Work until cancelled; whenever the server is gone, sign in again as soon as it is back."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                async with DeskClient(self._url, self._name) as desk, Api.open(self._url) as api:
                    await desk.sign_in()
                    if not self.ready:
                        await desk.go("ready")
                        self.ready = True
                    async with desk.watching():
                        while not desk.blind:
                            await self._look(desk, api)
                            await asyncio.sleep(0.1)
            await asyncio.sleep(0.1)

    async def _look(self, desk: DeskClient, api: Api) -> None:
        for session, channel in desk.offers:
            await desk.accept(session, channel)
        for session in desk.rows:
            view = await api.session(session)
            if view["text_state"] == "chatting":
                lines = view["timeline"]
                said = {line["data"]["body"] for line in lines if line["kind"] == "text.sent"}
                asked = [
                    line["data"]["body"]
                    for line in lines
                    if line["kind"] == "text.received" and line["data"]["keyword"] is None and line["data"]["body"]
                ]
                for body in asked:
                    if f"re: {body}" not in said:
                        await desk.say(session, f"re: {body}")
                if not self.closing and self._chance.random() < 0.01:
                    await desk.post(f"/desk/{session}/end-chat")
            elif view["call_state"] == "none":
                await desk.post(f"/desk/{session}/wrap-up", note="Done", disposition="Solved")


class Count:
    """What the database file and the provider say at the end."""

    def __init__(self, database: Path, twilio: TwilioServer, crowd: Crowd) -> None:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as file:
            file.row_factory = sqlite3.Row

            def rows(query: str) -> list[sqlite3.Row]:
                return file.execute(query).fetchall()

            self.inbound = rows("select ref, handled from inbound order by n")
            self.messages = rows("select * from message order by n")
            self.outbox = {row["message"]: row for row in rows("select * from outbox order by n")}
            received = rows("select session, data ->> 'message' as message from timeline where kind = 'text.received'")
            sent = rows("select session, data ->> 'message' as message from timeline where kind = 'text.sent'")
        self.lines_in = Counter(row["message"] for row in received)
        self.lines_out = Counter(row["message"] for row in sent)
        self.given: Counter[str] = Counter()
        """How often the provider took each of our texts, by our id."""
        self.given_in_order: dict[tuple[str, str], list[str]] = defaultdict(list)
        for message in twilio.messages.values():
            if message.direction == "outbound-api":
                ours = parse_qs(urlsplit((message.callback or "").partition("#")[0]).query)["message"][0]
                self.given[ours] += 1
                self.given_in_order[message.to, message.sender or ""].append(ours)
        self._crowd = crowd

    def check_in(self) -> None:
        """Every text that got a 2xx is in exactly one session, once, in order."""
        kept = {sid: body for texts in self._crowd.kept.values() for sid, body in texts}
        by_ref = {row["provider_ref"]: row for row in self.messages if row["direction"] == "in"}

        assert Counter(row["ref"] for row in self.inbound) == Counter(kept.keys()), "inbound texts kept"
        assert [row["ref"] for row in self.inbound if not row["handled"]] == [], "inbound texts given to a session"
        assert set(by_ref) == set(kept), "inbound texts among the messages"
        alone = {row["id"]: row for row in by_ref.values() if row["session"] is None}
        for row in alone.values():
            assert self._answers_sessionless(row), "inbound texts in a session, unless they answer a sessionless one"
        expected = {row["id"]: int(row["id"] not in alone) for row in by_ref.values()}
        assert {message: self.lines_in[message] for message in expected} == expected, "each in one timeline, once"
        assert self.lines_in.total() == len(kept) - len(alone)
        photos = {sid for sid in kept if sid.startswith("MM")}
        assert {sid for sid, row in by_ref.items() if row["media"] != "[]"} == photos, "photos"
        place = {row["provider_ref"]: row["n"] for row in self.messages}
        for pair, texts in self._crowd.kept.items():
            order = [place[sid] for sid, _ in texts]
            assert order == sorted(order), f"order of the texts of {pair}"

    def _answers_sessionless(self, text: sqlite3.Row) -> bool:
        """Whether the handset had got a text without a session before."""
        ours = (None, "out", text["sender"], text["recipient"])
        return any(
            (row["session"], row["direction"], row["recipient"], row["sender"]) == ours and row["n"] < text["n"]
            for row in self.messages
        )

    def check_out(self) -> dict[str, sqlite3.Row]:
        """Every text of ours is at the provider once, in order, or was rejected; gives those that were."""
        ours = {row["id"]: row for row in self.messages if row["direction"] == "out"}
        assert set(ours) == set(self.outbox), "every text of ours has an outbox row"
        in_sessions = {message for message, row in ours.items() if row["session"] is not None}
        assert in_sessions == set(self.lines_out), "every text of a session has a line"
        assert set(self.lines_out.values()) <= {1}
        unsettled = [dict(row) for row in self.outbox.values() if row["state"] != "done"]
        assert unsettled == []
        accepted = {message for message, row in self.outbox.items() if row["outcome"] == "accepted"}
        assert {message: times for message, times in self.given.items() if times > 1} == {}, "sent twice"
        assert accepted - set(self.given) == set(), "lost on the way out"
        assert set(self.given) - accepted == set(), "sent without our knowing"
        numbers = {message: row["n"] for message, row in ours.items()}
        for pair, given in self.given_in_order.items():
            places = [numbers[message] for message in given]
            assert places == sorted(places), f"order of the texts to {pair}"
        return {message: row for message, row in ours.items() if message not in accepted}

    def __str__(self) -> str:
        received = sum(1 for row in self.messages if row["direction"] == "in")
        return f"{received} texts in, {len(self.outbox)} out ({self.given.total()} taken by the provider)"


def ask(database: Path, query: str) -> int:
    """The one number that *query* gives."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as file:
        (number,) = file.execute(query).fetchone()
        return int(number)


def unsettled(database: Path) -> int:
    """Texts that are on their way, in or out."""
    return ask(
        database,
        "select (select count(*) from outbox where state != 'done') + (select count(*) from inbound where not handled)",
    )


def undecided(database: Path) -> int:
    """Texts the provider took and of which nobody has said what became of them."""
    return ask(
        database,
        "select count(*) from message where direction = 'out' and state in ('pending', 'accepted', 'queued', 'sending', 'sent')",
    )


def unanswered(database: Path) -> int:
    """Texts to the staffed number that nobody has answered, of customers who can be answered."""
    return ask(
        database,
        f"""select count(*) from message as asked join session on session.id = asked.session
            where asked.direction = 'in' and asked.recipient = '{NUMBER}' and asked.sender != '{QUITTER}' and not exists (
                select * from message as said where said.direction = 'out' and said.body = 're: ' || asked.body)""",
    )


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until *holds* does.

    Raises:
        AssertionError: It did not within `SETTLED_WITHIN`.
    """
    deadline = time.monotonic() + SETTLED_WITHIN
    while not holds():
        assert time.monotonic() < deadline, f"not within {SETTLED_WITHIN} s: {what}"
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def at_work(*jobs: Any) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run *jobs* beside the block; when one breaks, so does the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(job) for job in jobs]
        try:
            yield running
        finally:
            for task in running:
                task.cancel()


async def test_random_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """Texts come in and answers go out while the process is killed again and again; at the end every text counts once."""
    print(f"\nSEED={SEED} KILLS={KILLS}")
    chance = random.Random(SEED)
    async with Provider(opt_out="off", disorder=Disorder(duplicates=0.1), seed=SEED) as twilio:
        twilio.faults |= TROUBLED
        agents = [agent("ana", "support_sms"), agent("ben", "support_sms"), agent("cleo", "later_sms", max_chats=1)]
        server = ServerProcess(tmp_path, settings(tmp_path, twilio.url, agents))
        twilio.inbound_url = f"{server.url}/twilio/sms"
        crowd = Crowd(twilio, chance)
        desks = [Desk(server.url, name, chance) for name in ("ana", "ben")]
        handsets = [f"+1555010010{n}" for n in range(6)] + [*TROUBLED, QUITTER]
        writers = [crowd.write(handset, NUMBER, pause=0.15) for handset in handsets]
        writers += [crowd.write(f"+1555010010{n}", OTHER_NUMBER, pause=1.0) for n in range(0, 6, 2)]
        async with server, at_work(*(desk.work() for desk in desks)):
            async with asyncio.TaskGroup() as writing:
                for writer in writers:
                    writing.create_task(writer)
                starts = await kill_at_random(server, twilio, chance)
                await asyncio.sleep(1.0)
                crowd.stopping = True
                for desk in desks:
                    desk.closing = True
            began = time.monotonic()
            await until(lambda: unanswered(server.database) == 0, "every text is answered")
            took = time.monotonic() - began
        async with server:
            await until(lambda: unsettled(server.database) == 0, "every text is settled")
            await until(lambda: undecided(server.database) == 0, "of every text it is known that it was delivered")
            count = Count(server.database, twilio, crowd)
            print(f"{KILLS} kills: {count}; all answered {took:.1f} s after the last; last start took {starts:.1f} s")
            count.check_in()
            assert {row["recipient"] for row in count.check_out().values()} <= {QUITTER}, "only who opted out gets no text"
            assert twilio.problems == []
            await places_are_kept(server)
            await desks_are_as_they_were(server)


async def kill_at_random(server: ServerProcess, provider: Provider, chance: random.Random) -> float:
    """SIGKILL and start again, `KILLS` times; returns the seconds the last start took."""
    starts = 3.0
    moments: Counter[str] = Counter()
    provider.kill = partial(server.send, signal.SIGKILL)
    for kill in range(KILLS):
        await asyncio.sleep(chance.uniform(0.05, 2.5))
        moment = chance.choice(provider.MOMENTS)
        moments[moment if moment != "any" and await provider.reached(moment) else "any"] += 1
        await asyncio.sleep(0.01)
        await server.kill()
        began = time.monotonic()
        await server.start(wait=False)
        if kill % 4 == 2:
            moments["starting"] += 1
            await asyncio.sleep(chance.uniform(0.5, 1.1) * starts)
            await server.kill()
            began = time.monotonic()
            await server.start(wait=False)
        await server.ready()
        starts = time.monotonic() - began
    print(f"killed: {dict(moments)}")
    return starts


async def places_are_kept(server: ServerProcess) -> None:
    """Who waited at the desk where nobody sat is offered in the order of arrival, after all those kills."""
    async with Api.open(server.url) as api, DeskClient(server.url, "cleo") as cleo:
        waiting = [await api.session(row["id"]) for row in await api.sessions() if row["text_state"] == "queued"]
        expected = [view["id"] for view in sorted(waiting, key=lambda view: float(view["place_since"]))]
        taken = []
        await cleo.sign_in()
        await cleo.go("ready")
        for _ in expected:
            await cleo.read()
            ((session, channel),) = cleo.offers
            taken.append(session)
            assert await cleo.accept(session, channel) == 200
            await wait_for(cleo, session)
            assert await cleo.post(f"/desk/{session}/end-chat") == 204
            assert await cleo.post(f"/desk/{session}/wrap-up", note="", disposition="") == 204
        assert taken == expected
        assert len(taken) > 2


async def wait_for(desk: DeskClient, session: str) -> None:
    """Until *session* is in the list of conversations."""
    async with asyncio.timeout(5.0):
        while session not in desk.rows:
            await desk.read()
            await asyncio.sleep(0.02)


async def desks_are_as_they_were(server: ServerProcess) -> None:
    """Agents said once that they are ready, at the very beginning; their open chats are theirs, STOP counts."""
    async with Api.open(server.url) as api:
        open_chats = Counter(row["agent"] for row in await api.sessions() if row["text_state"] == "chatting")
    for name in ("ana", "ben"):
        async with DeskClient(server.url, name) as desk:
            await desk.sign_in()
            assert "is-ready" in desk.page
            assert len(desk.rows) >= open_chats[name]
            chats = re.search(r"(\d+) chats?<", desk.page)
            assert (int(chats[1]) if chats else 0) == open_chats[name]


async def test_who_was_invited_to_text_when_the_server_died_is_still_invited(tmp_path: Path) -> None:
    """The call is lost; the consent, the one text and the place in line are not, and the reply reaches an agent."""
    caller = "+15550100151"
    async with TwilioServer(opt_out="off", latency=5.0) as twilio:
        server = ServerProcess(tmp_path, settings(tmp_path, twilio.url, [agent("ben", "support_sms")]))
        twilio.inbound_url = f"{server.url}/twilio/sms"
        async with server:
            async with DeskClient(server.url, "ben") as ben, Softphone(PhoneConfig(user=caller)) as phone:
                await ben.sign_in()
                await ben.go("ready")
                call = await phone.call(f"sip:{NUMBER}@{server.sip}")
                for key in "121":
                    await asyncio.sleep(1.5)
                    await call.press(key)
                await until(lambda: twilio.accepted_bodies.total() == 1, "the invitation is at the provider")
                await asyncio.sleep(chance_of_a_moment())
                before = await only_session(server)
                await server.kill()
            await server.start()
            await until(lambda: unsettled(server.database) == 0, "the invitation is settled")
            after = await only_session(server)
            assert (after["call_state"], after["text_state"]) == ("ended", "invited")
            assert after["place_since"] == before["place_since"]
            assert "server.restarted" in [line["kind"] for line in after["timeline"]]
            assert ask(server.database, f"select count(*) from consent where granted and number = '{caller}'") == 1

            await twilio.handset(caller).text(NUMBER, "Where were we?")
            async with DeskClient(server.url, "ben") as ben:
                await ben.sign_in()
                assert "is-ready" in ben.page
                await until_offered(ben)
                ((session, channel),) = ben.offers
            assert (session, channel) == (before["id"], "sms")
            answered = await only_session(server)
        assert answered["place_since"] == before["place_since"]
        assert twilio.accepted_bodies.total() == 1


def chance_of_a_moment() -> float:
    """Up to 20 ms: before or after the provider's answer is on disk."""
    return random.Random(SEED).uniform(0.0, 0.02)


async def only_session(server: ServerProcess) -> dict[str, Any]:
    """The one session there is."""
    async with Api.open(server.url) as api:
        (row,) = await api.sessions()
        return await api.session(row["id"])


async def until_offered(desk: DeskClient) -> None:
    """Until something rings at the desk."""
    async with asyncio.timeout(5.0):
        while not desk.offers:
            await desk.read()
            await asyncio.sleep(0.05)
