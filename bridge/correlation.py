"""Which session a call or a text belongs to, how sure we are, and why.

One number may carry calls, in-call texts and chats at once, so a text is matched to what is *open* between two
numbers, not to a number alone. A match that is not certain is shown to the agent and never merged silently. Whoever wants
to go on from another phone says so by the session's reply code.
"""

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from bridge.events import SessionId


class OpenSession(msgspec.Struct, frozen=True):
    """What correlation has to know of a session that is still open."""

    id: SessionId
    customer: str | None
    """E.164, None for a withheld caller."""
    our_number: str
    """The number whose texts belong to this session."""
    call_state: str
    text_state: str
    asked: bool
    """A question of ours (hold-time) waits for the next text."""
    touched_at: float
    """When anybody last did anything in it."""
    code: str = ""
    """Its reply code; empty when it has none."""
    aliases: tuple[str, ...] = ()
    """Other phones of this customer, from which the code was given."""


class Match(msgspec.Struct, frozen=True):
    """The session a text belongs to (None: it opens a new one), how sure, and why in words fit for a timeline."""

    session: SessionId | None
    confidence: Literal["certain", "probable"]
    why: str


WITH_AGENT = frozenset({"connected", "held", "consulting"})
LIVE_CALL = WITH_AGENT | {
    "ringing", "in_flow", "queued", "connecting", "calling_out", "outside", "summoning", "dialing", "ending"
}  # fmt: skip

RANK: tuple[tuple[str, str], ...] = (
    ("asked", "answers the question we asked by text"),
    ("in_call", "texts belong to the call in progress"),
    ("chatting", "an agent is chatting with this number"),
    ("queued", "this number waits in line for a chat"),
    ("choosing", "answers our menu"),
    ("invited", "answers our invitation to text"),
    ("calling", "the number is on a call with us"),
    ("dismissed", "goes on with a chat that was put aside"),
    ("open", "follows a conversation that is still open"),
)
"""Which open session takes a text when there are several: the first kind that fits; within a kind the newest."""


def kind(session: OpenSession) -> str:
    """The row of `RANK` that *session* falls into."""
    live = session.call_state in LIVE_CALL
    match session.text_state:
        case "open" | "none" if live and session.asked:
            return "asked"
        case "open" if live:
            return "in_call"
        case "none" if session.call_state in WITH_AGENT:
            return "in_call"  # what the agent has just asked for by word of mouth, whatever else is open
        case "chatting" | "queued" | "choosing" | "invited" | "dismissed":
            return session.text_state
        case _:
            return "calling" if live else "open"


CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that a code spells no word that people write."""
CODE_LENGTH = 4


_LETTER = f"[{CODE_LETTERS}{CODE_LETTERS.lower()}]"
_CODE = re.compile(rf"\s*({_LETTER}(?:-?{_LETTER}){{{CODE_LENGTH - 1}}})(?![\w-]|://)")
_CODE_ALONE = re.compile(rf"\s*({_LETTER}(?:[\s-]*{_LETTER}){{{CODE_LENGTH - 1}}})[\s.,:;!?]*")


def code_in(body: str) -> str | None:
    """The reply code that a text begins with, None when it begins with none.

    Case does not matter, nor do dashes between its letters; in a text that is nothing but the code, nor do blanks.
    """
    found = _CODE.match(body) or _CODE_ALONE.fullmatch(body)
    return None if found is None else "".join(char for char in found[1].upper() if char in CODE_LETTERS)


def correlate_text(sender: str, recipient: str, open_sessions: Iterable[OpenSession], body: str = "") -> Match:
    """Find the session that a text from *sender* to our number *recipient* belongs to.

    Args:
        sender: E.164 of the customer.
        recipient: The number of ours that was texted.
        open_sessions: Sessions that may be meant; others are ignored.
        body: The text, which may begin with a reply code.
    """
    sessions = list(open_sessions)
    code = code_in(body)
    named = next((s for s in sessions if code is not None and s.code == code and s.our_number == recipient), None)
    if named is not None and sender != named.customer:
        return Match(named.id, "certain", "gave this conversation's code from another phone")
    order = {name: place for place, (name, _) in enumerate(RANK)}
    words = dict(RANK)
    ours = [s for s in sessions if sender == s.customer or sender in s.aliases]
    same_pair = [s for s in ours if s.our_number == recipient]
    if same_pair:
        best = min(same_pair, key=lambda s: (order[kind(s)], -s.touched_at, s.id))
        return Match(best.id, "certain", words[kind(best)])
    if ours:
        # The same person through another of our numbers. It may well be about something else: a conversation of its
        # own, with a hint for the agent.
        newest = max(ours, key=lambda s: (s.touched_at, s.id))
        return Match(None, "probable", f"same customer as session {newest.id}, on another number of ours")
    return Match(None, "certain", "nothing is open with this number")
