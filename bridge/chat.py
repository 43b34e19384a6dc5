"""The chat: its place in line, the agent who has it, and what we write.

The lower half of the text leg (`bridge.text_leg` is the other): nothing here asks what the customer wrote.
"""

from typing import Literal

from bridge import events as e
from bridge.conversation import (
    AGENT_TEXT,
    API_TEXT,
    INTRODUCING,
    Conversation,
    Facts,
    Introduction,
    Transfer,
    UnexpectedEvent,
)
from bridge.legs import LIVE, Kind, TextLeg
from sms.menu import Menu, Said

REMEMBERED = 20
"""Texts of agents and programs that are known again when they are asked for twice."""
ONLY = "agent:"
"""Begins the skill that one agent alone has."""
LONGEST = 1_600
"""Characters of one text that providers take."""
_CHAT_TIMERS = ("text", "warn", "dismiss", "prefer", "reopen")
_OPEN_TO_TEXT = frozenset({TextLeg.NONE, TextLeg.OPEN, TextLeg.CLOSED})
"""Nobody has the text leg yet, or any more."""


class ChatSide(Conversation):
    """What a session does about a chat, and the texts it sends."""

    _menu: Menu | None

    # --- the line

    def _join_desk(self, facts: Facts, now: float, *, greet: bool, back_to: e.AgentId | None = None) -> None:
        """Stand in line for a chat, with the place that the call had.

        Args:
            facts: What the greeting may tell.
            now: Seconds since the epoch.
            greet: Say something first.
            back_to: The agent who alone is asked at first.
        """
        state = self.state
        if state.desk is None:
            return
        if greet and self._menu is not None:
            self._introduce(now)
            self._say_all(self._menu.arrive(state.desk, state.language, facts.menu))
        elif greet:
            self._say("hello")
        if state.since is None:
            state.since = now
        state.chat_queue = state.desk
        state.unanswered, state.reason = False, None
        self._stop_chat_timers()
        patience = self._limits.of(state.desk).prefer_for
        self._wait_for_agent(e.JoinQueue, now, back_to=back_to if patience > 0 else None, patience=patience)
        self._record("queue.joined", queue=state.desk, channel="sms", waited=self._waited(now))

    def _wait_for_agent(self, because: Kind, now: float, *, back_to: e.AgentId | None = None, patience: float = 0.0) -> None:
        """Take the place in the line of `chat_queue`; at first only for *back_to*, for *patience* seconds (0: for ever)."""
        state = self.state
        self._move_text(because)
        state.prefer = back_to
        if back_to is not None and patience > 0:
            state.timers["prefer"] = now + patience
        expire = self._limits.of(state.chat_queue).expire
        if expire > 0:
            state.timers.setdefault("text", now + expire)
        self._back_in_line()

    def _back_in_line(self) -> None:
        """Stand in line for a chat again, at the place there was."""
        state = self.state
        assert state.chat_queue is not None
        assert state.since is not None
        only = self._only
        skills = () if only is None else (f"{ONLY}{only}",)
        self._out.append(e.JoinQueue(state.chat_queue, "sms", state.since, skills=skills))

    @property
    def _only(self) -> e.AgentId | None:
        """Who alone is asked; None: whoever takes the queue's chats. A chat that is handed on leaves its direct number."""
        state = self.state
        return state.prefer if state.transfer is not None else state.prefer or state.direct

    def _preference_over(self, now: float, why: str = "no answer") -> None:
        """The one agent did not take it."""
        state = self.state
        state.timers.pop("prefer", None)
        if state.transfer is not None:
            self._transfer_failed(why, now)
        else:
            state.prefer = None
            self._back_in_line()

    def _stop_waiting(self, outcome: Literal["closed", "opted_out", "timed_out"]) -> None:
        state = self.state
        self._out.append(e.LeaveQueue("sms", outcome))
        state.transfer = state.prefer = None
        self._stop_chat_timers()

    def _stop_chat_timers(self) -> None:
        for timer in _CHAT_TIMERS:
            self.state.timers.pop(timer, None)

    # --- the chat

    def _chat_accepted(self, event: e.AgentAccepted, now: float) -> None:
        state = self.state
        state.names[event.agent] = event.name
        self._move_text(e.AgentAccepted)
        transfer, state.transfer = state.transfer, None
        self._chat_begins(event.agent, now, heard=True)
        if transfer is not None:
            state.direct = None
            self._record("transfer.completed", by=self._name(transfer.by), to=event.name)
        self._record("agent.joined", name=event.name, channel="sms")
        if event.agent != state.known_to:
            self._say("joined", agent=event.name, priority=AGENT_TEXT)
        state.known_to = event.agent

    def _chat_begins(self, agent: e.AgentId, now: float, *, heard: bool) -> None:
        state = self.state
        state.chat_agent, state.chat_since = agent, now
        state.first_agent_at = state.first_agent_at or now
        state.prefer = None
        state.heard, state.answered = heard, False
        self._stop_chat_timers()
        self._chat_clock(now)

    def _chat_clock(self, now: float) -> None:
        """Nobody has written since *now*."""
        rules, timers = self._limits.of(self.state.chat_queue), self.state.timers
        if rules.idle > 0:
            timers["text"] = now + rules.idle
        if 0 < rules.warn_before < rules.idle:
            timers["warn"] = now + rules.idle - rules.warn_before

    def _chat_over(self, now: float) -> None:
        """The agent does not have the chat any more."""
        state = self.state
        if state.chat_since is not None:
            state.handled += now - state.chat_since
        state.chat_agent = state.chat_since = None
        self._stop_chat_timers()

    def _chat_ended(self, by: str, now: float) -> None:
        state = self.state
        agent = state.chat_agent
        assert agent is not None
        self._release(agent, "sms", wrap_up=True, now=now)
        self._move_text(e.AgentEndedChat)
        self._record("chat.ended", by=by, name=self._name(agent))
        if by == "agent":
            self._say("ended")
        self._chat_over(now)
        self._place_used()
        self._may_come_back(agent, f"ended by {by}", now)

    def _may_come_back(self, agent: e.AgentId, reason: str, now: float) -> None:
        """A text within the window goes on in this session, with the agent who knows the customer if they are free."""
        state = self.state
        state.reason = reason
        window = self._limits.of(state.chat_queue).reopen
        if window > 0:
            state.prefer, state.timers["reopen"] = agent, now + window

    def _called_off(self, event: e.ChatCalledOff, now: float) -> None:
        """A supervisor ends what no agent has in hand; who stands in line is told."""
        state = self.state
        self._record("chat.ended", by="supervisor", name=event.by)
        if state.text is TextLeg.QUEUED:
            self._say("ended")
            self._stop_waiting("closed")
        state.unanswered = False
        self._close_text("ended by supervisor", now, because=e.ChatCalledOff)

    def _close_text(self, reason: str, now: float, *, because: Kind = e.CloseSession) -> None:
        """Nothing more is expected of the text leg."""
        self._chat_over(now)
        self._move_text(because)
        self.state.reason = reason
        self.state.place = None
        self._place_used()

    def _leave_text(self, now: float) -> None:
        """Take the text leg out of the line or out of the agent's hands; the call, if any, is left alone."""
        state = self.state
        if state.text is TextLeg.QUEUED:
            self._stop_waiting("opted_out")
        if state.chat_agent is not None:
            self._release(state.chat_agent, "sms", wrap_up=True, now=now)
            self._record("agent.left", name=self._name(state.chat_agent), channel="sms", by="customer")
        self._chat_over(now)
        state.unanswered, state.place, state.prefer, state.suspected = False, None, None, None
        state.reason = "opted out"

    def _agent_lost(self, event: e.AgentLost, now: float) -> None:
        """The agent's desk is gone: the chat goes back to the place it had."""
        self._out.append(e.ReleaseAgent(event.agent, "sms", wrap_up=False))
        self._record("agent.left", name=self._name(event.agent), channel="sms", by="network")
        self._chat_over(now)
        if self.state.since is None:
            self.state.since = now
        self._wait_for_agent(e.AgentLost, now)
        self._say("returned")

    def _transferred(self, event: e.AgentTransferred, now: float) -> None:
        """Hand the chat on. Nobody has it meanwhile; nobody answering brings it back."""
        state = self.state
        assert state.chat_queue is not None
        rules = self._limits.of(state.chat_queue)
        if state.transfers >= rules.max_transfers:
            raise UnexpectedEvent(f"This chat has been handed on {state.transfers} times already. Please keep it.")
        state.transfers += 1
        transfer = Transfer(event.agent, state.chat_queue, event.queue, now, event.to, event.to_name, event.note)
        self._out.append(e.ReleaseAgent(event.agent, "sms", wrap_up=False))
        self._record(
            "transfer.started", by=self._name(event.agent), to=event.to_name or event.to, queue=event.queue, note=event.note
        )
        self._chat_over(now)
        state.since = now if state.since is None else state.since
        state.chat_queue = state.desk = event.queue
        state.transfer = transfer
        self._wait_for_agent(e.AgentTransferred, now, back_to=event.to, patience=rules.transfer_ring)
        self._say("transferred")

    def _transfer_failed(self, why: str, now: float) -> None:
        """Back to who handed it on; when they do not take it either, to whoever takes their queue's chats."""
        state, transfer = self.state, self.state.transfer
        assert transfer is not None
        state.transfer = None
        state.timers.pop("prefer", None)
        state.chat_queue = state.desk = transfer.of
        self._record("transfer.failed", by=self._name(transfer.by), to=transfer.to_name or transfer.to, reason=why)
        rules = self._limits.of(transfer.of)
        patience = rules.transfer_ring or rules.prefer_for
        self._wait_for_agent(e.JoinQueue, now, back_to=transfer.by if patience > 0 else None, patience=patience)

    def _offer_lapsed(self, event: e.OfferLapsed, now: float) -> None:
        """Who alone was asked will not take it: nobody waits for them any longer."""
        if event.channel == "sms" and event.agent == self.state.prefer and event.reason != "withdrawn":
            why = {"ring_timeout": "no answer", "signed_out": "signed out"}.get(event.reason, event.reason)
            self._preference_over(now, why)

    def _dismissed(self, by: str, now: float) -> None:
        """Put a silent chat aside: nobody's time runs, and the customer's next text brings it back."""
        state = self.state
        agent = state.chat_agent
        assert agent is not None
        close_at = state.timers.get("text")
        self._out.append(e.ReleaseAgent(agent, "sms", wrap_up=False))
        self._move_text(e.AgentDismissed)
        self._record("chat.dismissed", name=self._name(agent), by=by)
        self._chat_over(now)
        state.prefer, state.transfers = agent, 0
        if close_at is not None:
            state.timers["text"] = close_at
        self._place_used()

    def _return(self, facts: Facts, now: float) -> None:
        """The customer of a chat that was put aside has written."""
        state = self.state
        self._record("chat.returned")
        self._say("dismissed_reply")
        self._join_desk(facts, now, greet=False, back_to=state.prefer)

    # --- what we write

    def _is_introduced(self, at: float) -> bool:
        """Whether the customer will know by then who we are and how to stop us."""
        planned = self.state.introduction
        told = self.state.introduced or (planned is not None and planned.due_at <= at)
        return told and self._recipient not in self.state.strangers

    def _introduce(self, now: float) -> None:
        """Nobody is written to before they have been told who writes and how to stop it."""
        if not self._is_introduced(now):
            key = "in_call" if self.state.call in LIVE else "hello" if self._menu is None else "opt_in"
            self._say(key, priority=AGENT_TEXT)

    def _say_all(self, says: tuple[Said, ...]) -> None:
        for said in says:
            sent = self._send(said.text, author="system", priority=AGENT_TEXT, preset=said.key)
            if sent is not None and said.key in INTRODUCING:
                self._introduced()

    def _agent_said(self, event: e.AgentSaid, now: float) -> None:
        if event.once is not None and self._said_before(f"{event.agent} {event.once}"):
            return
        self._introduce(now)
        author = f"agent:{event.agent}"
        self._send(event.body, author=author, priority=AGENT_TEXT, preset=event.preset, media=event.media)
        self._agent_wrote(event.agent, now)

    def _agent_wrote(self, agent: e.AgentId, now: float) -> None:
        state = self.state
        state.unanswered = False
        if state.text is TextLeg.CHATTING:
            state.answered = True
            self._chat_clock(now)
            dismiss_after = self._limits.of(state.chat_queue).dismiss_after
            if dismiss_after > 0 and state.heard:
                state.timers["dismiss"] = now + dismiss_after
        elif state.call not in LIVE and state.text is TextLeg.OPEN:
            state.timers["text"] = now + self._limits.open_window
        if agent in state.wrapping:
            state.timers["wrap_up"] = now + self._limits.wrap_up

    def _said_before(self, name: str) -> bool:
        """Whether the text of this name is in the outbox already: the answer was lost on its way to who asked for it."""
        if name in self.state.said:
            return True
        self.state.said = [*self.state.said[-(REMEMBERED - 1) :], name]
        return False

    def _agent_opened(self, event: e.AgentOpened, now: float) -> None:
        state = self.state
        state.service = "outbound"
        state.names[event.agent] = event.name
        state.chat_queue = state.desk = event.queue
        self._move_text(e.AgentOpened)
        self._out.append(e.AssignAgent(event.agent, "sms", event.queue))
        self._record("conversation.opened", name=event.name, queue=event.queue)
        self._chat_begins(event.agent, now, heard=False)
        if not self._is_introduced(now):
            self._say("outbound", priority=AGENT_TEXT, purpose="care", agent=event.name)
        author = f"agent:{event.agent}"
        self._send(event.body, author=author, priority=AGENT_TEXT, preset=event.preset, media=event.media, purpose="care")
        self._agent_wrote(event.agent, now)

    def _api_said(self, event: e.ApiSaid, now: float) -> None:
        state = self.state
        if self._said_before(event.message):
            return
        alone = state.call not in LIVE and state.text in _OPEN_TO_TEXT
        due_at = event.due_at if event.due_at is not None and event.due_at > now else None
        if state.text is TextLeg.NONE and alone:
            state.service = "api"
        if alone:
            state.prefer, state.invitations = None, []
            state.timers.pop("reopen", None)
        if state.call not in LIVE:
            self._move_text(e.ApiSaid)
        if state.text is TextLeg.INVITED and state.call not in LIVE:
            state.invitations.append(event.message)
            state.desk = event.queue or state.desk
            state.prefer = event.agent or state.prefer
            until = (due_at or now) + self._limits.reply_window
            state.timers["text"] = max(until, state.timers.get("text", until))
        self._record("api.said", author=event.author, ticket=event.ticket)
        if event.ticket is not None:
            state.card["ticket"] = event.ticket
        self._send(
            self._after_introduction(event, due_at, now),
            author=event.author,
            priority=API_TEXT,
            purpose=event.purpose,
            media=event.media,
            due_at=due_at,
            expires_at=event.expires_at,
            message=event.message,
        )

    def _after_introduction(self, event: e.ApiSaid, due_at: float | None, now: float) -> str:
        """The words of a program's text, once the customer knows who writes.

        A planned text says it itself, so that neither goes without the other when it is canceled or others overtake it.
        """
        state = self.state
        if self._is_introduced(due_at or now):
            return event.body
        words = self._words("outbound", state.language, state.desk, {})
        together = f"{words}\n{event.body}" if event.body else words
        if due_at is not None and len(together) <= LONGEST:
            state.introduction = Introduction(event.message, due_at)
            return together
        self._send(words, author="system", priority=API_TEXT, preset="outbound", purpose=event.purpose, due_at=due_at)
        self._introduced()
        return event.body

    def _upload_asked(self, event: e.UploadAsked, now: float) -> None:
        if event.once is not None and self._said_before(f"{event.agent} {event.once}"):
            return
        self._introduce(now)
        body = self._link_words(event.url, event.expires_at, now)
        author = f"agent:{event.agent}"
        message = self._send(body, author=author, priority=AGENT_TEXT, preset="upload", expires_at=event.expires_at)
        self._link_sent(event.token, message, event.expires_at, self._name(event.agent))
        self._agent_wrote(event.agent, now)

    def _link_words(self, url: str, expires_at: float, now: float) -> str:
        minutes = max(1, round((expires_at - now) / 60))
        return self._words("upload", self.state.language, self.state.chat_queue, {"url": url, "minutes": minutes})

    def _link_sent(self, token: str, message: e.MessageId | None, expires_at: float, name: str | None) -> None:
        """From now on the link works. *name*: of the agent who asked; None: the flow did."""
        self._out.append(e.KeepUpload(token, message, expires_at))
        self._record("upload.asked", name=name, token=token, expires_at=expires_at)
