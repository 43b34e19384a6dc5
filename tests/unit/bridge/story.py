"""A teller of stories for `Session`: feeds events, keeps the clock, and restarts the session between any two of them.

Every step takes the state through JSON, so whatever a story shows also holds for a server that died in between; and after
every step the rules that hold in any story are looked at (`Story.check`).
"""

import copy
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec

import ivr_flows
from bridge import events as e
from bridge.chat import ONLY
from bridge.conversation import INTRODUCING
from bridge.legs import CALL, NO_CALL, TALKING, TEXT, CallState, Kind, TextLeg
from bridge.session import ChatRules, Facts, Limits, Session, State
from ivr_flows.facts import Desk, Ewt, Hours
from ivr_flows.loader import PROMPTS, load_flow
from ivr_flows.model import Flow
from sms.menu import Menu, QueueNow
from sms.menu_loader import MENUS, load_menu

OURS, CALLER = "+15550100200", "+15550100123"
LEG = e.LegId("leg")
ANN, BEN = e.AgentId("ann"), e.AgentId("ben")
NAMES = {ANN: "Ann", BEN: "Ben"}
START = 1_000_000.0
LIMITS = Limits()
SILENT = frozenset({"joined", "ended", "returned", "timed_out"})
"""What a number need not have words for."""
FACTS = Facts(
    called=OURS,
    caller=CALLER,
    can_text=True,
    country="US",
    brand="Example",
    ewt={"support": Ewt("ok", "learned", 400, 100, 380, 500, 900)},
    desks={"support": Desk(True), "support_sms": Desk(True, open_slots=4)},
    hours={"support_hours": Hours("open")},
    position=3,
    remaining=Ewt("ok", "learned", 250, 200, 240, 330, 500),
    queues={"support_sms": QueueNow(ewt_minutes=4)},
)
RULES = ChatRules(
    expire=3_600.0,
    idle=1_800.0,
    warn_before=300.0,
    dismiss_after=600.0,
    reopen=900.0,
    prefer_for=60.0,
    transfer_ring=30.0,
    max_transfers=2,
)
"""Rules of a queue that has every rule."""
WITH_AN_AGENT = TALKING | {CallState.CONNECTING, CallState.SUMMONING, CallState.DIALING}
"""An agent has the call, or is being rung for it."""
C = TypeVar("C", bound=e.Command)

_STATE = msgspec.json.Decoder(State)
Arrow = tuple[CallState | TextLeg, Kind, CallState | TextLeg]


@cache
def support() -> Flow:
    """The packaged flow."""
    return load_flow(Path(ivr_flows.__file__).parent / "flows" / "support.yaml")


@cache
def text_menu() -> Menu:
    """The packaged text menu."""
    return load_menu(MENUS / "support.yaml")


@cache
def flow_of(states: str) -> Flow:
    """The flow with these states; it begins in `first` and has the packaged prompts."""
    head = (
        'flow: told\nnumbers: ["+15550100200"]\nlanguages: {default: en, available: [en]}\nprompts: support\n'
        "hours: support_hours\nstart: first\nstates:\n"
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "told.yaml"
        path.write_text(head + textwrap.indent(textwrap.dedent(states), "  "), encoding="utf-8")
        return load_flow(path, prompts=PROMPTS)


def words(key: str, language: str, queue: str | None = None, values: Mapping[str, Any] | None = None) -> str:
    """The system's own texts, recognisable; all but those that a number need not have."""
    del queue
    told = "".join(f" {value}" for value in (values or {}).values())
    return "" if key in SILENT else f"[{key} {language}{told}]"


class WatchedSession(Session):
    """A session that writes down how its legs move."""

    def __init__(self, state: State, *, flow: Flow | None, menu: Menu | None, limits: Limits, arrows: set[Arrow]) -> None:
        super().__init__(state, flow=flow, words=words, menu=menu, limits=limits)
        self.arrows = arrows

    def _move_call(self, kind: Kind) -> None:
        before = self.state.call
        super()._move_call(kind)
        self.arrows.add((before, kind, self.state.call))

    def _move_text(self, kind: Kind) -> None:
        before = self.state.text
        super()._move_text(kind)
        self.arrows.add((before, kind, self.state.text))


class Story:
    """One customer's conversation.

    Args:
        customer: None for a withheld number.
        flow: What the call meets.
        menu: What a text meets that begins the session.
        rules: Of every queue's chats; None: those of a queue that says nothing.
        offers: What the policy says when the flow asks it, by kind of offer; None: the test answers itself.
        state: More of the session's first state.
    """

    def __init__(
        self,
        *,
        customer: str | None = CALLER,
        flow: Flow | None = None,
        menu: Menu | None = None,
        rules: ChatRules | None = None,
        desk: str | None = "support_sms",
        offers: Mapping[str, bool] | None = None,
        facts: Facts = FACTS,
        **state: Any,
    ) -> None:
        self.now = START
        self.flow = flow
        self.menu = menu
        self.limits = LIMITS if rules is None else msgspec.structs.replace(LIMITS, chat=rules)
        self.facts = msgspec.structs.replace(facts, caller=customer, can_text=facts.can_text and customer is not None)
        self.offers = offers
        self.arrows: set[Arrow] = set()
        self.told: list[e.AnyCommand] = []
        """Everything the session wanted."""
        self.news: list[e.AnyCommand] = []
        """What it wanted since the last event of the test."""
        first = {"language": "en", "introduced": False, **state}
        opened = State(
            id=e.SessionId("s"),
            opened_at=START,
            customer=customer,
            our_number=OURS,
            desk=None if desk is None else e.QueueId(desk),
            **first,
        )
        self.session = self._session(opened)
        self._knew_us = opened.introduced
        self._play: e.PlayPrompts | None = None
        self._arrived = 0
        self._standing: set[str] = set()
        self._silenced = False
        self._holders: set[tuple[e.AgentId, e.Channel, bool]] = set()

    # --- the machinery

    @property
    def state(self) -> State:
        return self.session.state

    def saved(self) -> bytes:
        return self.session.state_json()

    def fork(self) -> "Story":
        """Another story that was the same up to here."""
        other = copy.copy(self)
        other.told, other.news = list(self.told), []
        other._standing, other._holders = set(self._standing), set(self._holders)
        other.restore()
        return other

    def restore(self) -> None:
        """Another process goes on from what was saved."""
        self.session = self._session(_STATE.decode(self.saved()))

    def _session(self, state: State) -> WatchedSession:
        return WatchedSession(state, flow=self.flow, menu=self.menu, limits=self.limits, arrows=self.arrows)

    def tell(self, *events: e.AnyEvent) -> list[e.AnyCommand]:
        """Tell what happened, one after the other; returns everything that the session wanted then."""
        self.news = []
        for event in events:
            self._step(event)
        return self.news

    def wait(self, seconds: float) -> list[e.AnyCommand]:
        """Let time pass, and wake the session whenever it wants."""
        self.news = []
        until = self.now + seconds
        for _ in range(1000):
            at = self.session.wake_at
            if at is None or at > until:
                break
            self.now = max(self.now, at)
            self._step(None)
        else:
            raise AssertionError("the session wants to be woken again and again")
        self.now = until
        return self.news

    def _step(self, event: e.AnyEvent | None) -> None:
        self.restore()
        facts, was = self._facts(), self.state.text
        if event is None:
            commands = self.session.wake(now=self.now, facts=facts)
        else:
            commands = self.session.handle(event, now=self.now, facts=facts)
        commands = list(commands)
        self.check(was, event, commands)
        self.told += commands
        self.news += commands
        for command in commands:
            if isinstance(command, e.PlayPrompts):
                self._play = command
            elif isinstance(command, e.DecideOffer) and self.offers is not None:
                verdict = self.offers[command.kind]
                self._step(e.OfferDecided(command.request, command.kind, verdict, "offer" if verdict else "below_threshold", {}))

    def _facts(self) -> Facts:
        state = self.state
        opted_out = state.text is TextLeg.OPTED_OUT
        return msgspec.structs.replace(
            self.facts,
            opted_out=opted_out,
            consent=self.facts.consent | {given.purpose for given in self.all(e.RecordConsent)},
            can_text=self.facts.can_text and not opted_out,
            waited=0.0 if state.since is None else self.now - state.since,
        )

    def check(self, was: TextLeg, event: e.AnyEvent | None, commands: Sequence[e.AnyCommand]) -> None:
        """What holds in every story, whatever happens. *was*: the text leg before the event."""
        state = self.state
        for before, kind, after in self.arrows:
            table: Mapping[Any, Mapping[Kind, Any]] = CALL if isinstance(before, CallState) else TEXT
            assert table[before][kind] is after
        if isinstance(event, e.CallEnded | e.ProcessRestarted):
            assert not any(isinstance(c, e.CallCommand) for c in commands), "nothing is done to a leg that has ended"
        elif state.call in NO_CALL:
            assert all(isinstance(c, e.RefuseCall) for c in commands if isinstance(c, e.CallCommand))
        assert (state.agent is not None) == (state.call in WITH_AN_AGENT)
        assert (state.agent_leg is not None) == (state.call in WITH_AN_AGENT | {CallState.CALLING_OUT, CallState.OUTSIDE})
        assert (state.consult is not None) == (state.call is CallState.CONSULTING)
        assert (state.outside is not None) == (state.call in {CallState.CALLING_OUT, CallState.OUTSIDE})
        assert (state.held_at is not None) == (
            state.call is CallState.HELD or (state.consult is not None and not state.consult.waits)
        ), "music for who waits, and for nobody else"
        assert state.call_transfer is None or state.call in {CallState.QUEUED, CallState.CONNECTING, CallState.CALLING_OUT}
        assert (state.call is CallState.CALLBACK) <= (state.callback is not None)
        assert (state.chat_agent is not None) == (state.text is TextLeg.CHATTING)
        assert self.session.closed == any(isinstance(c, e.CloseSession) for c in [*self.told, *commands])
        if not self.session.closed and state.call in NO_CALL:
            for_ever = {TextLeg.QUEUED} if self.limits.chat.idle > 0 else {TextLeg.QUEUED, TextLeg.CHATTING, TextLeg.DISMISSED}
            assert state.text in for_ever or self.session.wake_at is not None, "an open session ends some day"
        self._check_texts(was, commands)
        self._check_introduction(commands)
        self._check_lines(event, commands)
        self._check_agents(event, commands)

    def _check_texts(self, was: TextLeg, commands: Sequence[e.AnyCommand]) -> None:
        """No text to a number that has opted out but the owed answer; every text stands in the timeline, once."""
        opted_out = was is TextLeg.OPTED_OUT or self._silenced
        self._silenced = self.state.suspected is not None
        sent: list[e.MessageId] = []
        for command in commands:
            match command:
                case e.OptOut():
                    opted_out = True
                case e.OptIn():
                    opted_out = False
                case e.SendText():
                    assert command.required or not opted_out
                    sent.append(command.message)
                case _:
                    pass
        assert sent == [c.data["message"] for c in commands if isinstance(c, e.Record) and c.kind == "text.sent"]
        ever = [c.message for c in self.told if isinstance(c, e.SendText)] + sent
        assert len(ever) == len(set(ever)), "ids of texts never repeat"

    def _check_introduction(self, commands: Sequence[e.AnyCommand]) -> None:
        """Nobody reads an agent's or a program's words before they know who writes and how to stop it."""
        state, texts = self.state, [c for c in commands if isinstance(c, e.SendText)]
        for text in texts:
            planned = state.introduction is not None and (text.due_at or self.now) >= state.introduction.due_at
            assert state.introduced or planned or not text.author.startswith(("agent:", "api:"))
        said = any(text.preset in INTRODUCING or text.author == "flow" for text in [*self.all(e.SendText), *texts])
        assert said or self._knew_us or not state.introduced

    def _check_lines(self, event: e.AnyEvent | None, commands: Sequence[e.AnyCommand]) -> None:
        """Whoever stands in line told the floor so, whoever left it too."""
        in_line = self.state.call in {CallState.QUEUED, CallState.CALLBACK}
        for channel, standing in (("voice", in_line), ("sms", self.state.text is TextLeg.QUEUED)):
            stood = channel in self._standing
            moves = [c for c in commands if isinstance(c, e.JoinQueue | e.LeaveQueue) and c.channel == channel]
            taken = (isinstance(event, e.AgentAccepted) and event.channel == channel) or (
                isinstance(event, e.CallbackStarted) and channel == "voice"
            )
            for move in moves:
                if isinstance(move, e.JoinQueue) and channel == "sms":
                    asked = self.state.prefer or (None if self.state.transfer is not None else self.state.direct)
                    assert move != moves[-1] or move.skills == (() if asked is None else (f"{ONLY}{asked}",))
            if standing and (not stood or isinstance(event, e.ProcessRestarted)):
                assert isinstance(moves[-1], e.JoinQueue)
            if stood and not standing and not taken and not isinstance(event, e.ProcessRestarted):
                assert isinstance(moves[-1], e.LeaveQueue)
            if not standing and moves:
                assert isinstance(moves[-1], e.LeaveQueue)
            (self._standing.add if standing else self._standing.discard)(channel)

    def _check_agents(self, event: e.AnyEvent | None, commands: Sequence[e.AnyCommand]) -> None:
        """Who was given work is released from it once, and nobody else is."""
        if isinstance(event, e.ProcessRestarted):
            self._holders = {holder for holder in self._holders if holder[1] == "sms"}
        if isinstance(event, e.AgentAccepted):
            self._holders.add((event.agent, event.channel, False))
        if isinstance(event, e.AgentOpened):
            assert [c for c in commands if isinstance(c, e.AssignAgent)] == [e.AssignAgent(event.agent, "sms", event.queue)]
        for command in commands:
            if isinstance(command, e.AssignAgent):
                assert (command.agent, command.channel, command.beside) not in self._holders
                self._holders.add((command.agent, command.channel, command.beside))
            if isinstance(command, e.ReleaseAgent):
                self._holders.remove((command.agent, command.channel, command.beside))
        consult = self.state.consult
        asked = None if consult is None else consult.to
        held = {(self.state.agent, "voice", False), (self.state.chat_agent, "sms", False), (asked, "voice", True)}
        assert self._holders == {holder for holder in held if holder[0] is not None}

    # --- what is asked of it (methods: a type checker takes an attribute for what it was a line ago)

    def call(self) -> CallState:
        return self.state.call

    def texting(self) -> TextLeg:
        return self.state.text

    def asked(self) -> bool:
        return self.state.asked

    def unanswered(self) -> bool:
        return self.state.unanswered

    def closed(self) -> bool:
        return self.session.closed

    def all(self, kind: type[C]) -> list[C]:
        """What it has wanted of this kind, in the whole story."""
        return [command for command in self.told if isinstance(command, kind)]

    def new(self, kind: type[C]) -> list[C]:
        """What it has wanted of this kind since the last event."""
        return [command for command in self.news if isinstance(command, kind)]

    def lines(self, kind: str) -> list[Mapping[str, Any]]:
        """Timeline lines of this kind, in the whole story."""
        return [command.data for command in self.all(e.Record) if command.kind == kind]

    @property
    def texts(self) -> list[str]:
        """The bodies of all texts sent."""
        return [command.body for command in self.all(e.SendText)]

    @property
    def said(self) -> list[str]:
        """The prompts the caller was to hear last, by their recordings' names."""
        plays = self.all(e.PlayPrompts)
        return [path.rsplit("/", 1)[-1].removesuffix(".wav") for path in plays[-1].audio] if plays else []

    # --- what happens

    def dial(self) -> None:
        self.tell(e.CallArrived(LEG, "loopback", self.state.customer, OURS))

    def prompt_over(self) -> None:
        """What is being played has been played."""
        assert self._play is not None
        self.tell(e.PromptFinished(LEG, self._play.play, completed=True, heard=1.0))

    def press(self, digits: str) -> None:
        self.tell(e.DigitsReceived(LEG, digits))

    def to_the_offer(self) -> None:
        """Dial, choose English and the technical menu, and have the policy decide about a deflection."""
        self.dial()
        self.press("1")
        self.press("2")

    def to_the_line(self) -> None:
        """Dial and wait in line, having declined to text instead or not been asked."""
        self.to_the_offer()
        if self.state.call is not CallState.QUEUED:
            self.press("2")
        assert self.state.call is CallState.QUEUED

    def agent_takes(self, agent: e.AgentId = ANN) -> None:
        self.tell(e.AgentOffered(agent, "voice"), e.AgentAccepted(agent, NAMES[agent], "voice", "sip:ann@127.0.0.1"))

    def agent_answers(self, agent: e.AgentId = ANN) -> None:
        self.agent_takes(agent)
        self.tell(e.AgentLegAnswered(LEG, self.agent_leg), e.AudioConnected(LEG, self.agent_leg))

    @property
    def agent_leg(self) -> e.LegId:
        assert self.state.agent_leg is not None
        return self.state.agent_leg

    def agent_chats(self, agent: e.AgentId = ANN) -> None:
        self.tell(e.AgentOffered(agent, "sms"), e.AgentAccepted(agent, NAMES[agent], "sms"))

    def caller_hangs_up(self) -> None:
        self.tell(e.CallEnded(LEG, "caller", "bye"))

    def text(self, body: str = "hello", **how: Any) -> None:
        self.tell(self.arrival(body, **how))

    def arrival(
        self,
        body: str = "hello",
        *,
        keyword: e.Keyword | None = None,
        photos: int = 0,
        provider_answers: bool = False,
        sender: str | None = None,
        suspicious: bool = False,
    ) -> e.TextArrived:
        """A text of the customer."""
        self._arrived += 1
        return e.TextArrived(
            e.MessageId(f"in-{self._arrived}"),
            "loopback",
            e.ProviderRef(f"ref-{self._arrived}"),
            sender or self.state.customer or CALLER,
            OURS,
            body,
            tuple(e.Media(f"{n:064x}", "image/jpeg", 1000) for n in range(photos)),
            keyword,
            provider_answers,
            suspicious=suspicious,
        )

    @property
    def last_text(self) -> e.MessageId:
        return self.all(e.SendText)[-1].message

    def delivered(self, message: e.MessageId | None = None) -> None:
        """The newest text (or that one) reached the phone."""
        message = message or self.last_text
        self.tell(
            e.TextAccepted(message, e.ProviderRef(f"out-{message}"), 1),
            e.TextReported(message, "sent"),
            e.TextReported(message, "delivered"),
        )

    def undelivered(self, message: e.MessageId | None = None) -> None:
        self.tell(e.TextReported(message or self.last_text, "undelivered", "30003"))
