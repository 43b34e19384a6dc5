"""The open sessions as this node knows them: its own, on which it works, and those of the other nodes, to read."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping

from bridge import events as e
from bridge.cluster import Lease, NodeId
from bridge.correlation import CODE_LENGTH, CODE_LETTERS, OpenSession
from bridge.floor import Customer
from bridge.journal import TimelineLine
from bridge.session import Session, State
from sms.message import TextState

REMEMBERED = 1000
"""Sessions of which something may be said once more after they have ended."""


class SessionAwayError(Exception):
    """The node that works on a session does not answer; whether it has done what it was asked is not known."""


class Heard:
    """Which lines of a timeline (numbered from 1) are known. They need not come in order, and may come more than once.

    Args:
        upto: All lines up to this number are.
    """

    def __init__(self, upto: int = 0) -> None:
        self.upto = upto
        """All lines up to this number are known."""
        self.latest = upto
        """The highest number that is known."""
        self._beyond: set[int] = set()

    def add(self, n: int) -> bool:
        """Know line *n*; False: it was known."""
        if n <= self.upto or n in self._beyond:
            return False
        self.latest = max(self.latest, n)
        self._beyond.add(n)
        while self.upto + 1 in self._beyond:
            self.upto += 1
            self._beyond.discard(self.upto)
        return True


_WORDS: dict[str, Callable[[TimelineLine], str]] = {
    "text.received": lambda line: str(line.data.get("body") or "photo"),
    "media.uploaded": lambda _: "photo",
    "text.sent": lambda line: str(line.data.get("body")),
}
"""What the list shows of a line as the last words."""


class LiveSession:
    """A session, the task that owns it, and what the task has to remember beside it.

    Args:
        session: Its rules and its state.
        customer: Who it is with.
        seq: The number of its newest event in the journal.
        saved: Its state as the journal has it; None before the first commit.
        mine: Whether this node works on it. Of the others only what can be read is here.
        node: Who works on it; None when that is not known just now.
    """

    def __init__(
        self,
        session: Session,
        customer: Customer,
        seq: int,
        saved: bytes | None,
        *,
        mine: bool = True,
        node: NodeId | None = None,
    ) -> None:
        self.session = session
        self.customer = customer
        self.seq = seq
        self.saved = saved
        self.mine = mine
        self.node = node
        self.ticks: dict[e.MessageId, TextState] = {}
        self.inbox: asyncio.Queue[tuple[e.AnyEvent | None, asyncio.Future[None] | None]] = asyncio.Queue()
        self.asked: set[e.OfferKind] = set()
        """Offers this customer has heard in this session."""
        self.unread = 0
        self.last = ""
        self.heard = Heard()
        """The lines of which listeners on this node know."""
        self.leg = session.state.leg
        """The call leg, for the log."""
        self.lease: Lease | None = None
        self.task: asyncio.Task[None] | None = None
        self.leaving = False
        """Is being handed to another node: what is in the inbox is still done, then the task ends."""
        self.leaves_for: NodeId | None = None
        """To which one; None: to any."""

    def leave(self, to: NodeId | None = None) -> None:
        """Hand it to another node as soon as what is in the inbox has been done."""
        if not self.leaving:
            self.leaving, self.leaves_for = True, to
            self.inbox.put_nowait((None, None))

    @property
    def state(self) -> State:
        """The session's state."""
        return self.session.state

    def as_open(self) -> OpenSession:
        """What correlation may know of it."""
        state = self.state
        return OpenSession(
            state.id,
            state.customer,
            state.our_number,
            state.call,
            state.text,
            state.asked,
            state.touched_at,
            state.code,
            tuple(state.aliases),
        )

    def hear(self, lines: Iterable[TimelineLine]) -> list[TimelineLine]:
        """Count what the agent has not read, and remember the last words for the list.

        Returns:
            The lines that are new to this node: the same may be said by the log, by the journal, and once more after a break.
        """
        new = []
        for line in lines:
            latest = line.n > self.heard.latest
            if not self.heard.add(line.n):
                continue
            new.append(line)
            words = _WORDS.get(line.kind)
            if words is not None:
                self.unread += line.kind != "text.sent"
                self.last = words(line) if latest else self.last
        return new

    def go_on_from(self, before: "LiveSession") -> None:
        """Take the place of another object of the same session: what was heard here was heard."""
        self.unread, self.last, self.heard = before.unread, before.last, before.heard


class OpenSessions(Mapping[e.SessionId, LiveSession]):
    """Every open session, by id, by the customer's phones and by reply code."""

    def __init__(self) -> None:
        self._live: dict[e.SessionId, LiveSession] = {}
        self._by_customer: dict[str, set[e.SessionId]] = {}
        """By every phone of the customer's that is known."""
        self._by_code: dict[str, e.SessionId] = {}
        self._ended: dict[e.SessionId, Heard] = {}
        """Of the sessions that ended last, what was heard."""

    def __getitem__(self, session: e.SessionId) -> LiveSession:
        return self._live[session]

    def __iter__(self) -> Iterator[e.SessionId]:
        return iter(self._live)

    def __len__(self) -> int:
        return len(self._live)

    @property
    def mine(self) -> list[LiveSession]:
        """Those on which this node works."""
        return [live for live in self._live.values() if live.mine]

    def ended(self, session: e.SessionId) -> Heard | None:
        """What was heard of a session that has ended a short while ago; None: of this one nothing is known."""
        return self._ended.get(session)

    def of_customer(self, phone: str) -> list[LiveSession]:
        """The sessions of a number."""
        return [self._live[session] for session in self._by_customer.get(phone, ())]

    def of_code(self, code: str) -> LiveSession | None:
        """The session with this reply code."""
        session = self._by_code.get(code)
        return None if session is None else self._live.get(session)

    def new_code(self) -> str:
        """A reply code that no open session has."""
        while True:
            code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
            if code not in self._by_code:
                return code

    def add(self, live: LiveSession) -> None:
        """From now on it is open; another object of the same session is replaced."""
        before = self._live.get(live.state.id)
        if before is not None:
            self.remove(before)
        self._live[live.state.id] = live
        self._by_code[live.state.code] = live.state.id
        self.note_phones(live)

    def note_phones(self, live: LiveSession) -> None:
        """Know it by every phone of the customer's that has come up."""
        for phone in _phones(live.state):
            self._by_customer.setdefault(phone, set()).add(live.state.id)

    def remove(self, live: LiveSession) -> None:
        """It is not open any more; nothing when another object has its place."""
        state = live.state
        if self._live.get(state.id) is not live:
            return
        del self._live[state.id]
        if live.session.closed:
            self._ended[state.id] = live.heard
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]
        if self._by_code.get(state.code) == state.id:
            del self._by_code[state.code]
        for phone in _phones(state):
            ours = self._by_customer.get(phone, set())
            ours.discard(state.id)
            if not ours:
                self._by_customer.pop(phone, None)


def _phones(state: State) -> set[str]:
    """Every phone of the customer's that is known in this session."""
    return {phone for phone in (state.customer, *state.aliases) if phone is not None}
