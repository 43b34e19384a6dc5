"""What a session remembers, and the small things that both of its legs do. `bridge.session` says what follows what."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from bridge import events as e
from bridge.legs import CALL, TEXT, CallState, Kind, TextLeg
from ivr_flows import facts as flow_facts
from ivr_flows import outputs as o
from sms.menu import MenuFacts, Place, QueueNow

AGENT_TEXT, DEFLECT_TEXT, HOLD_TEXT, API_TEXT = 0, 1, 2, 3
"""Priorities of texts: an agent's goes before a program's."""
INTRODUCING = frozenset({"hello", "opt_in", "outbound", "in_call"})
"""Those of the number's own texts that say who we are, what comes and how to stop us."""


class UnexpectedEvent(Exception):  # noqa: N818  # the name every state machine of ours uses
    """The event cannot happen in this state. Nothing has changed."""


class Words(Protocol):
    """The number's own texts, by key: `hello`, `stop`, `start`, `help`, `rescue`, `in_call`, `outbound`, `warning`, ..."""

    def __call__(self, key: str, language: str, queue: str | None = None, values: Mapping[str, Any] | None = None) -> str:
        """The text as *queue* says it (None: the number), with *values* filled in; empty when nothing is to be sent."""


class FreshLink(msgspec.Struct, frozen=True):
    """A link for pictures that nobody has been sent yet; it opens once it has been kept."""

    url: str
    token: str
    """Hash of its secret: its key in the journal."""
    expires_at: float


class Facts(flow_facts.Facts, frozen=True):
    """Everything a flow may read, and what a text menu may."""

    queues: Mapping[str, QueueNow] = msgspec.field(default_factory=dict)
    """How it stands with the queues for texts."""
    link: FreshLink | None = None
    """For a question that wants a picture; None where pictures come by text."""

    @property
    def menu(self) -> MenuFacts:
        """What a text menu may know."""
        return MenuFacts(brand=self.brand, queues=self.queues, name=self.contact_name)


class Transfer(msgspec.Struct, frozen=True):
    """A chat that an agent has handed on and nobody has taken yet."""

    by: e.AgentId
    of: e.QueueId
    """The queue it came from, and goes back to."""
    queue: e.QueueId
    at: float
    to: e.AgentId | None = None
    """None: to whoever takes the queue's chats."""
    to_name: str | None = None
    note: str = ""


class CallTransfer(msgspec.Struct, frozen=True):
    """A call that an agent has handed on and nobody has taken yet."""

    by: e.AgentId
    of: e.QueueId | None
    """The queue it came from, and goes back to; None: an agent called the customer."""
    at: float
    to: e.AgentId | None = None
    to_name: str | None = None
    number: str | None = None
    """It goes to somebody outside."""
    note: str = ""
    skills: tuple[str, ...] = ()
    """What the place had asked for before."""


class Consult(msgspec.Struct, frozen=True):
    """Somebody the agent asks while the caller waits."""

    leg: e.LegId
    name: str
    at: float
    to: e.AgentId | None = None
    """None: it is a number outside."""
    queue: e.QueueId | None = None
    note: str = ""
    answered: bool = False
    waits: bool = False
    """The agent talks to the caller meanwhile."""


class Callback(msgspec.Struct, frozen=True):
    """The customer is to be called back."""

    number: str
    """E.164."""
    asked_at: float
    by: str
    """`caller`, `api:<key name>`."""
    since: float
    """The place in line it has, or will have."""
    due_at: float | None = None
    """Not before; None: as soon as it is their turn."""
    promised_by: float | None = None
    """Until when, by what the caller was told; None: nothing was said."""
    tries: int = 0


class Suspicion(msgspec.Struct, frozen=True):
    """Words that sounded like a wish to be left alone, and that no agent has judged yet."""

    number: str
    """The phone they came from."""
    evidence: str
    """`message <id>`."""
    words: str
    at: float


class Introduction(msgspec.Struct, frozen=True):
    """A planned text that says who we are and how to stop us."""

    message: e.MessageId
    due_at: float


class State(msgspec.Struct, kw_only=True):
    """Everything a session remembers; goes through JSON unharmed, so that a restart finds it as it was."""

    id: e.SessionId
    opened_at: float
    customer: str | None
    our_number: str
    desk: e.QueueId | None
    """The SMS queue that takes this session's chats."""
    language: str
    introduced: bool
    """The customer has had a text that says who we are and how to stop us."""
    introduction: Introduction | None = None
    """None: no planned text says so."""
    service: e.Service = "inbound"
    code: str = ""
    """Who texts this from another phone is put into this session."""
    flow_revision: str | None = None
    run: dict[str, Any] | None = None
    provider: str | None = None
    call: CallState = CallState.NONE
    text: TextLeg = TextLeg.NONE
    leg: e.LegId | None = None
    agent_leg: e.LegId | None = None
    agent_legs: int = 0
    agent: e.AgentId | None = None
    """Who has, or is being rung for, the call."""
    chat_agent: e.AgentId | None = None
    names: dict[e.AgentId, str] = {}
    queue: e.QueueId | None = None
    call_legs: int = 0
    """Calls of ours in this session."""
    held_at: float | None = None
    """Since when the caller has waited with music; None while they do not."""
    held_by: Literal["desk", "phone"] | None = None
    """Where the agent has put them on hold; None: they are not, or a colleague is being asked."""
    on_hold: float = 0.0
    """Seconds in which an agent let the caller wait."""
    consult: Consult | None = None
    call_transfer: CallTransfer | None = None
    call_transfers: int = 0
    call_prefer: e.AgentId | None = None
    """Who alone is asked to take the call."""
    outside: str | None = None
    """Whom outside the caller is handed to."""
    callback: Callback | None = None
    chat_queue: e.QueueId | None = None
    since: float | None = None
    """The place in line, whatever leg waits; None again once an agent has served the customer."""
    priority: int = 1
    skills: tuple[str, ...] = ()
    """Of the place in the call's queue."""
    wrapping: list[e.AgentId] = []
    texts: int = 0
    said: list[str] = []
    """The desks' and programs' names of the latest texts."""
    owed_at: dict[e.Keyword, float] = {}
    """When START and HELP were answered last."""
    refs: dict[e.MessageId, int] = {}
    """Texts of the flow: our id to the flow's ref."""
    playing: dict[int, list[o.Spoken]] = {}
    path: list[str] = []
    """What the caller chose, in words."""
    card: dict[str, Any] = {}
    whisper: str | None = None
    answers: dict[str, str] = {}
    unanswered: bool = False
    """The customer wrote and nobody who could answer has it yet."""
    asked: bool = False
    """A hold-time question waits for the next text."""
    invitations: list[e.MessageId] = []
    """Texts of programs that may still arrive, and whose answer is waited for."""
    offered: str | None = None
    """The prompt by which texting was offered last in the call."""
    timers: dict[str, float] = {}
    touched_at: float = 0.0
    """When anybody last did anything."""
    closed_at: float | None = None
    reason: str | None = None
    """How it ended, or would if it ended now."""
    why_not_text: str | None = None
    """Why this customer cannot be texted at all, None when they can."""
    place: Place | None = None
    """Where in the text menu the customer is."""
    direct: e.AgentId | None = None
    """Whose own number was texted: nobody else is asked."""
    prefer: e.AgentId | None = None
    """Who alone is asked at first, because they know the customer."""
    transfer: Transfer | None = None
    transfers: int = 0
    known_to: e.AgentId | None = None
    """Who had the chat last: the customer need not be told their name again."""
    chat_since: float | None = None
    """When the agent who has the chat took it."""
    handled: float = 0.0
    """Seconds in which an agent had the chat."""
    first_agent_at: float | None = None
    heard: bool = False
    """The customer has written since an agent has had the chat."""
    answered: bool = False
    """The agent has written since the customer last did."""
    suspected: Suspicion | None = None
    """Nothing is sent unasked until an agent has judged."""
    texts_to: str | None = None
    """Where texts go when it is not to `customer`: another phone of theirs that wrote last."""
    aliases: list[str] = []
    """Other phones from which the customer gave this session's code."""
    strangers: list[str] = []
    """Those of them that have had no text yet that says who we are and how to stop us."""
    elsewhere: dict[e.MessageId, str] = {}
    """Texts that went to one of them, and to which."""

    cut_off: bool = False
    """It was us who ended the last call, and the customer has been texted so: who calls again has the place there was."""

    @property
    def awaits_call(self) -> bool:
        """A call of this customer's belongs in here: they are to be called back, or we have cut them off."""
        return self.callback is not None or (self.cut_off and self.text is TextLeg.OPEN)

    @property
    def silent(self) -> bool:
        """Nothing may be sent but the answers that are owed."""
        return self.text is TextLeg.OPTED_OUT or self.suspected is not None


class ChatRules(msgspec.Struct, frozen=True):
    """How long a queue's chats wait for what, in seconds; 0: not at all, or for ever where the meaning is a limit."""

    expire: float = 0.0
    """A chat that nobody takes for so long is closed; 0: never."""
    idle: float = 86_400.0
    """A chat in which nobody writes for so long is closed; 0: never."""
    warn_before: float = 0.0
    """The customer is told so long before that; 0: not."""
    dismiss_after: float = 0.0
    """A chat whose customer has not answered for so long is put aside; 0: by hand only."""
    reopen: float = 0.0
    """A text so soon after the end goes on in this session."""
    prefer_for: float = 60.0
    """A customer who returns waits so long for the same agent alone."""
    transfer_ring: float = 30.0
    """A transfer to an agent who has not taken it by then goes back; 0: never."""
    max_transfers: int = 5


class CallRules(msgspec.Struct, frozen=True):
    """How calls are handed on, and how customers are called; in seconds."""

    hold_music: str = "calm"
    """What callers hear while an agent lets them wait."""
    transfer_ring: float = 30.0
    """A colleague who has not taken a call by then is not waited for; 0: for ever."""
    max_transfers: int = 5
    """Of one call."""
    ring: float = 45.0
    """A customer's phone, and any number outside."""
    callback_tries: int = 3
    """Calls until a callback is given up."""
    callback_retry: float = 600.0
    """Between two of them."""
    callback_expire: float = 86_400.0
    """A callback that nobody has taken for so long is given up."""


class Limits(msgspec.Struct, frozen=True):
    """How long a session waits for what, in seconds."""

    reply_window: float = 86_400.0
    open_window: float = 1_800.0
    menu: float = 3_600.0
    """A text menu, for an answer."""
    wrap_up: float = 3_600.0
    wrap_up_reply: float = 60.0
    """For the agent who is writing up to answer a text that comes afterwards; then it goes to the desk."""
    agent_ring: float = 20.0
    """An agent's phone, once the agent has accepted."""
    calls: CallRules = CallRules()
    chat: ChatRules = ChatRules()
    chats: Mapping[str, ChatRules] = {}
    """Of queues that have rules of their own."""

    def of(self, queue: str | None) -> ChatRules:
        """The rules of a queue's chats."""
        return self.chats.get(queue or "", self.chat)


class Conversation(ABC):
    """A session's state, and how anything leaves it."""

    state: State
    _words: Words
    _limits: Limits
    _out: list[e.AnyCommand]

    @abstractmethod
    def _takes_back(self, body: str) -> bool:
        """Whether a text takes back the wish to be called; then it is."""

    @abstractmethod
    def _resume(self, resume: o.AnyResume, facts: Facts, now: float) -> bool:
        """Tell the flow, if it is waiting for that (False: it is not)."""

    def _move_call(self, kind: Kind) -> None:
        self.state.call = CALL[self.state.call][kind]

    def _move_text(self, kind: Kind) -> None:
        self.state.text = TEXT[self.state.text][kind]

    def _record(self, line: str, /, **data: Any) -> None:
        self._out.append(e.Record(line, data))

    def _name(self, agent: e.AgentId | None) -> str | None:
        return None if agent is None else self.state.names.get(agent, agent)

    def _waited(self, now: float) -> float:
        return 0.0 if self.state.since is None else max(0.0, round(now - self.state.since, 1))

    @property
    def _recipient(self) -> str | None:
        """Where texts go."""
        return self.state.texts_to or self.state.customer

    def _say(
        self, key: str, *, priority: int = DEFLECT_TEXT, required: bool = False, purpose: e.Purpose = "session", **values: Any
    ) -> None:
        """Send one of the system's own texts, if there are words for it."""
        body = self._words(key, self.state.language, self.state.chat_queue, values)
        if not body:
            return
        sent = self._send(body, author="system", priority=priority, preset=key, required=required, purpose=purpose)
        if sent is not None and key in INTRODUCING:
            self._introduced()

    def _introduced(self) -> None:
        """The phone that texts go to has been told who we are and how to stop us."""
        state = self.state
        state.introduced = True
        state.strangers = [phone for phone in state.strangers if phone != self._recipient]

    def _send(
        self,
        body: str,
        *,
        author: str,
        priority: int,
        preset: str | None = None,
        expires_at: float | None = None,
        required: bool = False,
        purpose: e.Purpose = "session",
        media: tuple[e.Media, ...] = (),
        due_at: float | None = None,
        message: e.MessageId | None = None,
    ) -> e.MessageId | None:
        """Put a text into the outbox; None when there is nowhere to send it, or nothing may be sent.

        Args:
            body: The words.
            author: Who says it.
            priority: See `SendText`.
            preset: The key of a ready-made text.
            expires_at: When it is of no use any more.
            required: It goes to somebody who has opted out as well.
            purpose: What it is for.
            media: What goes with it.
            due_at: Not before; None: now.
            message: Its id; None: the session gives one.
        """
        state = self.state
        recipient = self._recipient
        if recipient is None or (state.silent and not required):
            return None
        if message is None:
            state.texts += 1
            message = e.MessageId(f"{state.id}-{state.texts}")
        if recipient != state.customer:
            state.elsewhere[message] = recipient
        self._move_text(e.SendText)
        self._out.append(
            e.SendText(
                message, recipient, state.our_number, body, purpose, priority, author, expires_at, required, media, due_at, preset
            )
        )
        self._record(
            "text.sent",
            message=message,
            body=body,
            author=author,
            preset=preset,
            purpose=purpose,
            media=[msgspec.to_builtins(item) for item in media],
            due_at=due_at,
        )
        return message

    def _release(self, agent: e.AgentId, channel: e.Channel, *, wrap_up: bool, now: float) -> None:
        self._out.append(e.ReleaseAgent(agent, channel, wrap_up=wrap_up))
        if wrap_up:
            if agent not in self.state.wrapping:
                self.state.wrapping.append(agent)
            self.state.timers["wrap_up"] = now + self._limits.wrap_up

    def _place_used(self) -> None:
        """What comes after being served is a new place in line, unless the other leg still has this one."""
        state = self.state
        waiting = {CallState.QUEUED, CallState.CONNECTING, CallState.CALLBACK}
        if state.call not in waiting and state.text not in {TextLeg.QUEUED, TextLeg.CHATTING}:
            state.since = None
