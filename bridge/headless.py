"""The four stories, played by machine on real SIP, RTP and HTTP, and judged by what came out at the far ends.

A caller is a SIP phone and a handset at a server shaped like Twilio's; an agent is a SIP phone and a desk. Everything said
here was seen there: what a handset received, what a phone heard, what the desk shows.
"""

import asyncio
import base64
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from argon2 import PasswordHasher
from pydantic import SecretStr

from bridge import events as e
from bridge.app import Running
from bridge.demo import OUR_NUMBER, Crowd, staffed, with_password
from bridge.events import AgentId, SessionId
from bridge.settings import Settings, TwilioSettings
from bridge.telephony.softphone import PhoneCall, PhoneConfig, Softphone, tone, tone_share
from bridge.web.ports import SessionView
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN, Handset, TwilioServer

Say = Callable[[str], None]
ANA, BEN, YOU = AgentId("ana"), AgentId("ben"), AgentId("agent")
PHOTO = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAFElEQVR4nGM8oaHBgBsw4ZEbwdIAXuEBLLDzAuQAAAAASUVORK5CYII="
)
"""A small PNG, sent as the caller's photo."""
CALLER_HZ, AGENT_HZ = 440.0, 660.0
CLEAR = 0.5
"""Share of the energy at the tone's frequency from which a tone counts as heard."""
LONGEST = 40.0
"""Seconds to wait for anything before the story is given up."""


class StoryFailedError(Exception):
    """Something that had to happen did not; the message says what."""


async def play(settings: Settings, say: Say) -> dict[str, Any]:
    """Play the stories on a server of their own, with a journal that is thrown away.

    Returns:
        The summary: `held` and one entry per story.
    """
    with tempfile.TemporaryDirectory(prefix="sidetone-") as folder:
        async with TwilioServer(opt_out="off", latency=0.15) as twilio:
            own = _settings_for(settings, twilio, Path(folder))
            twilio.inbound_url = f"{own.public_url}/twilio/sms"
            async with staffed(own, thinking=0.7) as (server, phones):
                stage = Stage(server, twilio, phones, say)
                stories = [
                    await stage.tell("deflection", stage.deflection),
                    await stage.tell("hold_time", stage.hold_time),
                    await stage.tell("in_call", stage.in_call),
                    await stage.tell("texting", stage.texting),
                ]
    held = all(story["held"] for story in stories)
    say("All four stories held." if held else "Not every story held.")
    return {"held": held, "stories": stories, "provider_complaints": twilio.problems}


def _settings_for(settings: Settings, twilio: TwilioServer, folder: Path) -> Settings:
    """The demonstration's settings on free ports, with texts through the Twilio-shaped server."""
    port = _free_port()
    own = settings.model_copy(
        update={
            "data": folder,
            "public_url": f"http://127.0.0.1:{port}",
            "web": settings.web.model_copy(update={"port": port, "phone_page": False}),
            "sip": settings.sip.model_copy(update={"port": 0}),
            "sms": settings.sms.model_copy(update={"provider": "twilio"}),
            "twilio": TwilioSettings(account_sid=ACCOUNT_SID, auth_tokens=(SecretStr(AUTH_TOKEN),), api_base_url=twilio.url),
        }
    )
    return with_password(own, PasswordHasher().hash("demo"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """What the stories are played on."""

    def __init__(self, server: Running, twilio: TwilioServer, phones: Mapping[str, Softphone], say: Say) -> None:
        self.server = server
        self.twilio = twilio
        self.phones = phones
        self._say = say
        self._callers = 0

    async def tell(self, name: str, story: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Play one story; a failure is told and does not stop the next."""
        self._say(f"== {name.replace('_', '-')}")
        try:
            async with asyncio.timeout(120):
                return {"story": name, "held": True, **await story()}
        except (StoryFailedError, TimeoutError) as error:
            why = str(error) or "took too long"
            self._say(f"   FAILED: {why}")
            return {"story": name, "held": False, "why": why}

    # --- the stories

    async def deflection(self) -> dict[str, Any]:
        """The caller goes on by text; the call ends once the text is there; the reply opens a chat at the same place."""
        async with self.busy_lines(), self.caller() as (number, call):
            handset = self.twilio.handset(number)
            session = await self.through_the_menu(number, call)
            await self.line(session, "offer.made")
            self._say("   caller is offered a text and presses 1")
            await call.press("1")
            text = (await handset.wait(1, within=LONGEST))[0]
            self._say(f"   handset: {text.body[:64]}...")
            await asyncio.wait_for(call.ended.wait(), LONGEST)
            await self.line(session, "call.ended")
            delivered, ended = await self.delivered_at(session), await self.ended_at(session)
            if not delivered <= ended:
                raise StoryFailedError("the call ended before the text was delivered")
            self._say(f"   call ended {ended - delivered:.2f} s after the text was delivered")
            await handset.text(OUR_NUMBER, "My invoice shows the same amount twice")
            await self.line(session, "agent.joined")
            answer = (await handset.wait(2, within=LONGEST))[1]
            self._say(f"   agent, by text: {answer.body}")
            view = await self.server.desk.session(BEN, session)
            waited = next(line.data["waited"] for line in view.timeline if line.kind == "queue.joined")
            if not (view.language == "en" and "Menu" in view.card and waited > 0):
                raise StoryFailedError("the chat does not carry language, menu choices and waiting time")
            await self.server.desk.end_chat(BEN, session)
            return await self.report(session, view, waited_before_chat=waited)

    async def hold_time(self) -> dict[str, Any]:
        """The caller waits, agrees to be asked by text, answers with words and a photo; the agent knows before hello."""
        async with self.caller() as (number, call):
            handset = self.twilio.handset(number)
            async with self.busy_lines():
                session = await self.through_the_menu(number, call)
                await self.line(session, "offer.made")
                self._say("   caller is offered a text, presses 2 and waits")
                await call.press("2")
                await self.line(session, "queue.joined")
                await self.line(session, "offer.made", nth=2)
                self._say("   caller is asked again, this time about waiting, and presses 1")
                await asyncio.sleep(0.5)
                await call.press("1")
                questions = await handset.wait(1, within=LONGEST)
                self._say(f"   handset: {questions[0].body[:64]}...")
                await handset.wait(2, within=LONGEST) if "?" not in questions[0].body else None
                await handset.text(OUR_NUMBER, "The light on the modem is red")
                await self.line(session, "answer.stored")
                await handset.text(OUR_NUMBER, "here", media=[("modem.png", PHOTO, "image/png")])
                await self.line(session, "answer.stored", nth=2)
                self._say("   caller answers both questions, the second with a photo")
            offered = await self.offered(ANA, session)
            if len(offered.answers) < 2:
                raise StoryFailedError("the agent does not see the answers before saying hello")
            self._say(f"   before hello the agent reads: {dict(offered.answers)}")
            await self.line(session, "audio.connected")
            await self.two_way(call)
            view = await self.server.desk.session(ANA, session)
            await call.hang_up()
            await self.line(session, "call.ended")
            return await self.report(session, view, answers=dict(offered.answers))

    async def in_call(self) -> dict[str, Any]:
        """The agent texts during the call; the caller's texts and photos stand beside it; STOP leaves the call alone."""
        async with self.caller() as (number, call):
            handset = self.twilio.handset(number)
            session = await self.through_the_menu(number, call)
            await self.line(session, "audio.connected")
            self._say("   caller and agent talk")
            texts = await handset.wait(2, within=LONGEST)
            self._say(f"   agent's preset on the handset: {texts[1].body[:60]}")
            await self.server.desk.say(ANA, session, "This is the page we are talking about: https://example.com/bill")
            await handset.wait(3, within=LONGEST)
            await handset.text(OUR_NUMBER, "Here is what I see", media=[("bill.png", PHOTO, "image/png")])
            await self.line(session, "text.received")
            await self.two_way(call)
            await handset.text(OUR_NUMBER, "STOP")
            await self.line(session, "opted_out")
            await asyncio.sleep(1.0)
            view = await self.server.desk.session(ANA, session)
            if view.composer_open or view.call_state != "connected" or call.ended.is_set():
                raise StoryFailedError("STOP has to end the text leg and leave the call alone")
            self._say(f"   after STOP the call goes on; the composer says: {view.composer_why}")
            if not any(line.data.get("media") for line in view.timeline if line.kind == "text.received"):
                raise StoryFailedError("the photo is not on the desk")
            await call.hang_up()
            await self.line(session, "call.ended")
            return await self.report(session, view)

    async def texting(self) -> dict[str, Any]:
        """Without a call: a menu, a keyword, an agent, a colleague who takes over, files by a link, STOP."""
        ours = next((number.number for number in self.server.settings.numbers if number.menu is not None), None)
        if ours is None:
            raise StoryFailedError("no number of the settings has a menu")
        handset = self.twilio.handset("+15550100141")
        self._say("   customer texts: Hello")
        await handset.text(ours, "Hello")
        menu = await self.read(handset, "1 ")
        self._say(f"   handset: {menu[:64].splitlines()[0]}... and {len(re.findall(r'(?m)^[0-9] ', menu))} choices")
        session: SessionId = await self.until("a session for the text", lambda: self.session_of(handset.number))
        await handset.text(ours, "FIX")
        await self.line(session, "agent.joined")
        self._say("   customer texts the keyword FIX and has an agent")
        await self.hand_over(session)
        self._say("   the agent hands over with a note, a colleague takes it")
        await self.server.desk.ask_for_photos(YOU, session)
        words = await self.read(handset, "/u/")
        async with aiohttp.ClientSession() as http:
            form = aiohttp.FormData()
            form.add_field("file", PHOTO, filename="modem.png", content_type="image/png")
            async with http.post(re.findall(r"http\S+/u/\S+", words)[0], data=form) as answer:
                if answer.status != 200:
                    raise StoryFailedError(f"the upload page answered {answer.status}")
        await self.line(session, "media.uploaded")
        self._say("   customer opens the link and leaves a photo")
        await handset.text(ours, "STOP")
        await self.line(session, "opted_out")
        confirmed = await self.read(handset, "START")
        self._say(f"   customer texts STOP: {confirmed}")
        view = await self.server.desk.session(YOU, session)
        if view.composer_open:
            raise StoryFailedError("after STOP nobody may write")
        await self.server.desk.set_state(YOU, "offline")
        return await self.report(session, view)

    # --- what happens in them

    async def hand_over(self, session: SessionId) -> None:
        """Ben hands the chat to the agent at the free desk, who reads the note and takes it."""
        desk = self.server.desk
        await desk.set_state(YOU, "ready")
        await desk.transfer(BEN, session, to=YOU, queue=None, note="The light on the modem is red")
        offer = await self.until("the chat to ring at the colleague's desk", lambda: next(iter(desk.offers(YOU)), None))
        await desk.accept(YOU, offer.session, "sms")
        await self.line(session, "transfer.completed")
        view = await desk.session(YOU, session)
        if view.note != "The light on the modem is red":
            raise StoryFailedError("the colleague does not see the note")

    def session_of(self, number: str) -> SessionId | None:
        """The open session of a customer."""
        return next((live.state.id for live in self.server.runner.sessions.values() if live.state.customer == number), None)

    async def read(self, handset: Handset, words: str) -> str:
        """The newest text on a handset that has *words* in it."""
        found: str = await self.until(
            f"a text with {words!r} on the handset",
            lambda: next((text.body for text in reversed(handset.received) if words in text.body), None),
        )
        return found

    @asynccontextmanager
    async def busy_lines(self) -> AsyncIterator[None]:
        """Two callers occupy the one who takes calls, as long as the block runs."""
        crowd = Crowd(self.server.loopback_calls)
        await crowd.come(3)
        try:
            yield
        finally:
            await crowd.go()

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[tuple[str, PhoneCall]]:
        """A SIP phone that has dialled and been answered."""
        self._callers += 1
        number = f"+155501001{self._callers:02d}"
        async with Softphone(PhoneConfig(user=number)) as phone:
            call = await phone.call(f"sip:{OUR_NUMBER}@{self.server.sip_address}")
            self._say(f"   {number} calls, is answered")
            try:
                yield number, call
            finally:
                await call.hang_up()

    async def through_the_menu(self, number: str, call: PhoneCall) -> SessionId:
        """English, technical question; returns the session."""
        session: SessionId = await self.until("a session for the call", lambda: self.session_of(number))
        await self.line(session, "call.answered")
        await asyncio.sleep(1.5)
        await call.press("1")
        await self.line(session, "language.chosen")
        await asyncio.sleep(1.0)
        await call.press("2")
        await self.line(session, "menu.chosen")
        if not any(call.heard):
            raise StoryFailedError("the caller heard nothing")
        return session

    async def two_way(self, call: PhoneCall) -> None:
        """Each end plays a tone, the other end has to hear it."""
        far = self.phones["ana"].calls[-1]
        call.loop(tone(CALLER_HZ, 1.0))
        far.loop(tone(AGENT_HZ, 1.0))
        await asyncio.sleep(2.0)
        heard_by_caller = tone_share(call.heard[-16_000:], AGENT_HZ)
        heard_by_agent = tone_share(far.heard[-16_000:], CALLER_HZ)
        if min(heard_by_caller, heard_by_agent) < CLEAR:
            raise StoryFailedError(f"audio: caller hears {heard_by_caller:.2f}, agent hears {heard_by_agent:.2f} of the tone")
        self._say(f"   two-way audio: caller hears {heard_by_caller:.2f}, agent {heard_by_agent:.2f} of the other's tone")

    async def offered(self, agent: AgentId, session: SessionId) -> SessionView:
        """The session as the agent sees it while it still rings at the desk."""
        await self.until(
            "the call rings at the agent's desk",
            lambda: any(offer.session == session for offer in self.server.desk.offers(agent)) or None,
        )
        return await self.server.desk.session(agent, session)

    async def line(self, session: SessionId, kind: str, *, nth: int = 1) -> Mapping[str, Any]:
        """Wait for the *nth* timeline line of a kind."""

        async def look() -> Mapping[str, Any] | None:
            lines = [line for line in await self.server.runner.journal.timeline(session) if line.kind == kind]
            return lines[nth - 1].data if len(lines) >= nth else None

        found: Mapping[str, Any] = await self.until(f"{kind} in the timeline", look)
        return found

    async def until(self, what: str, look: Callable[[], Any]) -> Any:
        """Wait until *look* gives something."""
        deadline = asyncio.get_running_loop().time() + LONGEST
        while asyncio.get_running_loop().time() < deadline:
            found = look()
            if asyncio.iscoroutine(found):
                found = await found
            if found is not None:
                return found
            await asyncio.sleep(0.05)
        raise StoryFailedError(f"waited {LONGEST:.0f} s for: {what}")

    # --- what is told of them

    async def delivered_at(self, session: SessionId) -> float:
        """When the session's first text was reported delivered."""
        journal = self.server.runner.journal
        first = next(message for message in await journal.messages(session) if message.direction == "out")
        return next(step.at for step in await journal.message_steps(first.id) if step.state == "delivered")

    async def ended_at(self, session: SessionId) -> float:
        """When the call ended."""
        lines = await self.server.runner.journal.timeline(session)
        return next(line.at for line in lines if line.kind == "call.ended")

    async def report(self, session: SessionId, view: SessionView, **more: Any) -> dict[str, Any]:
        """What one story looked like from outside."""
        journal = self.server.runner.journal
        messages = await journal.messages(session)
        decisions = [stored.decision for stored in await journal.decisions(session)]
        stored = await journal.session(session)
        assert stored is not None
        return {
            "session": session,
            "legs": {"call": stored.row.call_state, "text": stored.row.text_state},
            "offers": [{"kind": each.kind, "offered": each.outcome == "offer", "reason": each.reason} for each in decisions],
            "texts": [
                {"direction": each.direction, "body": each.body, "state": each.state, "photos": len(each.media)}
                for each in messages
            ],
            "desk": [line.kind for line in view.timeline],
            "durations": await self._durations(session),
            **more,
        }

    async def _durations(self, session: SessionId) -> dict[str, float]:
        """Seconds: key pressed to text taken by the provider, agent's acceptance to two-way audio."""
        journal = self.server.runner.journal
        decode = msgspec.json.Decoder(e.AnyEvent).decode
        events = [(stored.at, decode(stored.body)) for stored in await journal.events(session)]
        durations = {}
        keys = [at for at, event in events if isinstance(event, e.DigitsReceived)]
        for message in await journal.messages(session):
            taken = next((step.at for step in await journal.message_steps(message.id) if step.state == "accepted"), None)
            pressed = [at for at in keys if at <= message.created_at]
            if message.author == "flow" and taken is not None and pressed:
                durations["key_to_provider"] = round(taken - pressed[-1], 4)
                break
        accepted = [at for at, event in events if isinstance(event, e.AgentAccepted) and event.channel == "voice"]
        connected = [at for at, event in events if isinstance(event, e.AudioConnected)]
        if accepted and connected:
            durations["accept_to_two_way_audio"] = round(connected[0] - accepted[0], 4)
        return durations
