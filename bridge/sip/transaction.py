"""The four transaction machines of RFC 3261 section 17, with the corrections of RFC 6026, for UDP.

What may follow what is `TABLE`: kind -> state -> trigger -> (next state, actions). What a state waits for is `WAITS`. A
`Transaction` only walks the tables and keeps its timers; it never sees a socket, and the message is opaque to it.

A trigger that a state does not name is ignored: that is what absorbs retransmissions.
"""

from enum import Enum
from typing import Final

import msgspec


class Kind(Enum):
    """Which of the four machines."""

    INVITE_CLIENT = "INVITE client"
    NON_INVITE_CLIENT = "non-INVITE client"
    INVITE_SERVER = "INVITE server"
    NON_INVITE_SERVER = "non-INVITE server"


class State(Enum):
    """The states of all four, in the RFC's words."""

    CALLING = "Calling"
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    ACCEPTED = "Accepted"
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    TERMINATED = "Terminated"


class Action(Enum):
    """What the owner of a transaction has to do."""

    SEND = "send"
    """Send the message just given, and keep it for retransmission."""
    RESEND = "resend"
    """Send the kept message again."""
    ACK = "ack"
    """Send an ACK for the final response just given (section 17.1.1.3)."""
    PASS = "pass"  # noqa: S105  not a password
    """Hand the message just given to the transaction user."""
    TIMEOUT = "timeout"
    """Tell the transaction user that nobody answered."""


class Timers(msgspec.Struct, frozen=True):
    """RFC 3261 table 4, in seconds."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0


_S, _A = State, Action
_Step = tuple[State, tuple[Action, ...]]

TABLE: Final[dict[Kind, dict[State, dict[str, _Step]]]] = {
    Kind.INVITE_CLIENT: {  # section 17.1.1, figure 5; RFC 6026 section 8.4
        _S.CALLING: {
            "A": (_S.CALLING, (_A.RESEND,)),
            "B": (_S.TERMINATED, (_A.TIMEOUT,)),
            "1xx": (_S.PROCEEDING, (_A.PASS,)),
            "2xx": (_S.ACCEPTED, (_A.PASS,)),
            "final": (_S.COMPLETED, (_A.ACK, _A.PASS)),
        },
        _S.PROCEEDING: {
            "1xx": (_S.PROCEEDING, (_A.PASS,)),
            "2xx": (_S.ACCEPTED, (_A.PASS,)),
            "final": (_S.COMPLETED, (_A.ACK, _A.PASS)),
        },
        _S.ACCEPTED: {"2xx": (_S.ACCEPTED, (_A.PASS,)), "M": (_S.TERMINATED, ())},
        _S.COMPLETED: {"final": (_S.COMPLETED, (_A.ACK,)), "D": (_S.TERMINATED, ())},
    },
    Kind.NON_INVITE_CLIENT: {  # section 17.1.2, figure 6
        _S.TRYING: {
            "E": (_S.TRYING, (_A.RESEND,)),
            "F": (_S.TERMINATED, (_A.TIMEOUT,)),
            "1xx": (_S.PROCEEDING, (_A.PASS,)),
            "2xx": (_S.COMPLETED, (_A.PASS,)),
            "final": (_S.COMPLETED, (_A.PASS,)),
        },
        _S.PROCEEDING: {
            "E": (_S.PROCEEDING, (_A.RESEND,)),
            "F": (_S.TERMINATED, (_A.TIMEOUT,)),
            "1xx": (_S.PROCEEDING, (_A.PASS,)),
            "2xx": (_S.COMPLETED, (_A.PASS,)),
            "final": (_S.COMPLETED, (_A.PASS,)),
        },
        _S.COMPLETED: {"K": (_S.TERMINATED, ())},
    },
    Kind.INVITE_SERVER: {  # section 17.2.1, figure 7; RFC 6026 section 8.5
        _S.PROCEEDING: {
            "INVITE": (_S.PROCEEDING, (_A.RESEND,)),
            "send 1xx": (_S.PROCEEDING, (_A.SEND,)),
            "send 2xx": (_S.ACCEPTED, (_A.SEND,)),
            "send final": (_S.COMPLETED, (_A.SEND,)),
        },
        _S.ACCEPTED: {"send 2xx": (_S.ACCEPTED, (_A.SEND,)), "L": (_S.TERMINATED, ())},
        _S.COMPLETED: {
            "INVITE": (_S.COMPLETED, (_A.RESEND,)),
            "ACK": (_S.CONFIRMED, ()),
            "G": (_S.COMPLETED, (_A.RESEND,)),
            "H": (_S.TERMINATED, (_A.TIMEOUT,)),
        },
        _S.CONFIRMED: {"I": (_S.TERMINATED, ())},
    },
    Kind.NON_INVITE_SERVER: {  # section 17.2.2, figure 8
        _S.TRYING: {
            "send 1xx": (_S.PROCEEDING, (_A.SEND,)),
            "send 2xx": (_S.COMPLETED, (_A.SEND,)),
            "send final": (_S.COMPLETED, (_A.SEND,)),
        },
        _S.PROCEEDING: {
            "request": (_S.PROCEEDING, (_A.RESEND,)),
            "send 1xx": (_S.PROCEEDING, (_A.SEND,)),
            "send 2xx": (_S.COMPLETED, (_A.SEND,)),
            "send final": (_S.COMPLETED, (_A.SEND,)),
        },
        _S.COMPLETED: {"request": (_S.COMPLETED, (_A.RESEND,)), "J": (_S.TERMINATED, ())},
    },
}

FIRST: Final = {
    Kind.INVITE_CLIENT: _S.CALLING,
    Kind.NON_INVITE_CLIENT: _S.TRYING,
    Kind.INVITE_SERVER: _S.PROCEEDING,
    Kind.NON_INVITE_SERVER: _S.TRYING,
}

WAITS: Final[dict[tuple[Kind, State], tuple[str, ...]]] = {
    (Kind.INVITE_CLIENT, _S.CALLING): ("A", "B"),
    (Kind.INVITE_CLIENT, _S.ACCEPTED): ("M",),
    (Kind.INVITE_CLIENT, _S.COMPLETED): ("D",),
    (Kind.NON_INVITE_CLIENT, _S.TRYING): ("E", "F"),
    (Kind.NON_INVITE_CLIENT, _S.PROCEEDING): ("E", "F"),
    (Kind.NON_INVITE_CLIENT, _S.COMPLETED): ("K",),
    (Kind.INVITE_SERVER, _S.ACCEPTED): ("L",),
    (Kind.INVITE_SERVER, _S.COMPLETED): ("G", "H"),
    (Kind.INVITE_SERVER, _S.CONFIRMED): ("I",),
    (Kind.NON_INVITE_SERVER, _S.COMPLETED): ("J",),
}
"""The timers of each state. One that runs already on entering keeps its time, one that is not named here stops."""

REPEATING: Final = frozenset("AEG")
"""Timers that retransmit: each interval is twice the one before, E and G never above T2."""


class Transaction:
    """One request and its responses.

    Args:
        kind: Which machine.
        now: Seconds.
        timers: T1, T2 and T4.
    """

    __slots__ = ("_due", "_interval", "kind", "state", "timers", "wake_at")

    def __init__(self, kind: Kind, *, now: float, timers: Timers) -> None:
        self.kind = kind
        self.state = FIRST[kind]
        self.timers = timers
        self._due: dict[str, float] = {}
        self._interval = timers.t1
        self.wake_at: float | None = None
        """When `wake` has something to do; None when nothing is waited for."""
        self._enter(now)

    @property
    def terminated(self) -> bool:
        """Whether it is over and can be forgotten."""
        return self.state is State.TERMINATED

    def feed(self, trigger: str, *, now: float) -> tuple[Action, ...]:
        """Something happened: a request (`INVITE`, `ACK`, `request`), a response in or out (`1xx`, `send 2xx`, ...).

        Returns:
            What to do, in order; nothing when this state does not care.
        """
        step = TABLE[self.kind].get(self.state, {}).get(trigger)
        if step is None:
            return ()
        self.state, actions = step
        self._enter(now)
        return actions

    def wake(self, now: float) -> list[Action]:
        """The clock has reached `wake_at`: do what each timer that is due asks for."""
        actions: list[Action] = []
        while self.wake_at is not None and self.wake_at <= now:
            name = min(self._due, key=self._due.__getitem__)
            due = self._due.pop(name)
            if name in REPEATING:
                self._interval = 2 * self._interval if name == "A" else min(2 * self._interval, self.timers.t2)
                if name == "E" and self.state is State.PROCEEDING:  # section 17.1.2.2
                    self._interval = self.timers.t2
                self._due[name] = max(due + self._interval, now)
            actions += self.feed(name, now=now)
        return actions

    def _enter(self, now: float) -> None:
        names = WAITS.get((self.kind, self.state), ())
        self._due = {name: self._due[name] if name in self._due else now + self._length(name) for name in names}
        self.wake_at = min(self._due.values(), default=None)

    def _length(self, name: str) -> float:
        if name in REPEATING:
            return self._interval
        if name == "D":
            return 32.0
        return self.timers.t4 if name in {"I", "K"} else 64 * self.timers.t1


def trigger_of(status: int) -> str:
    """`1xx`, `2xx` or `final` (300 to 699): the only difference the machines see."""
    return "1xx" if status < 200 else "2xx" if status < 300 else "final"
