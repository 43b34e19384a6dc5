"""What the course of a conversation tells an agent at a glance: who waits for an answer, what a colleague left to say. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bridge.events import AgentId
from bridge.journal import TimelineLine
from bridge.web.ports import OptedOut, Suspicion, UploadLink
from bridge.web.ports_desk import Told

_ANSWERING = frozenset({"upload.asked", "opted_out", "chat.ended", "call.ended", "session.closed"})
"""After these nobody waits for an answer by text."""

_TROUBLES = {"transfer.failed": "transfer_failed", "text.failed": "text_failed"}
"""What a supervisor may want to look after."""
_MENDED = frozenset({"agent.joined", "transfer.completed", "text.sent"})
"""After these somebody has."""

_WITH_MEDIA = frozenset({"text.received", "text.sent", "media.uploaded"})


class Glance(msgspec.Struct):
    """What stands out, after every line so far."""

    unanswered_since: float | None = None
    """When the customer wrote what no agent has answered yet."""
    note: str = ""
    """What the agent who handed the chat on wants the next one to know, until that one has written."""
    note_by: str = ""
    suspicion: Suspicion | None = None
    """The newest text that sounded like a wish to be left alone, unless it was judged to be none."""
    opted_out: OptedOut | None = None
    link: UploadLink | None = None
    set_aside_at: float | None = None
    said: str = ""
    """The customer's newest words."""
    probable: bool = False
    """The customer has another conversation with us, on another of our numbers."""
    told: Told = Told()
    """What the customer was told about the wait, and what came of it."""
    troubles: frozenset[str] = frozenset()
    """What went wrong and nobody has looked after yet."""
    _since: float | None = None
    """When the waiting began."""
    _token: str = ""
    _n: int = 0
    """Number of the newest line."""

    def take(self, line: TimelineLine) -> bool:
        """Go on by one line; one that was taken already changes nothing.

        Returns:
            False: lines before it are missing, so all of them have to be read again. Nothing has changed.
        """
        if line.n > self._n + 1:
            return False
        if line.n == self._n + 1:
            self.go_on(line)
        return True

    def go_on(self, line: TimelineLine) -> None:  # noqa: C901, PLR0912  # flat
        """Go on by the next line."""
        self._n, data = line.n, line.data
        match line.kind:
            case "text.received":
                self.said = str(data.get("body") or "") or self.said
                if not data.get("keyword"):
                    self._wrote(line.at)
                self.probable = self.probable or data.get("confidence") == "probable"
            case "media.uploaded":
                self._uploaded(line)
            case "text.sent" if str(data.get("author", "")).startswith("agent:"):
                self.unanswered_since, self.note = None, ""
            case "transfer.started":
                self.note, self.note_by = str(data.get("note") or ""), str(data.get("by") or "")
            case "transfer.failed":
                self.note = ""
            case "stop.suspected":
                self.suspicion = Suspicion(str(data.get("body") or ""), line.at)
            case "stop.judged" if not data.get("meant"):
                self.suspicion = None
            case "chat.dismissed":
                self.set_aside_at = line.at
            case "chat.returned":
                self.set_aside_at = None
            case "opted_out":
                self.opted_out = OptedOut(line.at, self._words(data))
            case "upload.asked":
                self.link = UploadLink(line.at, float(data.get("expires_at") or line.at))
                self._token = str(data.get("token") or "")
            case "prompt.played" | "ewt.told" | "promise.made" | "queue.joined" | "agent.joined":
                self._tell(line)
            case _:
                pass
        if line.kind in _ANSWERING:
            self.unanswered_since = None
        if line.kind in _TROUBLES:
            self.troubles |= {_TROUBLES[line.kind]}
        elif line.kind in _MENDED:
            self.troubles = frozenset()

    def _tell(self, line: TimelineLine) -> None:
        data, told = line.data, self.told
        match line.kind:
            case "prompt.played":
                told = msgspec.structs.replace(told, heard=str(data.get("words") or "") or told.heard)
            case "ewt.told" if told.high is None:
                told = msgspec.structs.replace(told, low=data.get("low"), high=data.get("high"))
            case "promise.made":
                told = msgspec.structs.replace(told, promises=(*told.promises, str(data.get("words") or data.get("what") or "")))
            case "queue.joined" if self._since is None:
                self._since = line.at - float(data.get("waited") or 0)
            case "agent.joined" if told.waited is None and self._since is not None:
                told = msgspec.structs.replace(told, waited=line.at - self._since)
            case _:
                pass
        self.told = told

    def _wrote(self, at: float) -> None:
        if self.unanswered_since is None:
            self.unanswered_since = at

    def _uploaded(self, line: TimelineLine) -> None:
        media = line.data.get("media")
        if media:
            self._wrote(line.at)
        if self.link is not None and line.data.get("token", "") == self._token:
            self.link = msgspec.structs.replace(self.link, used_at=line.at, files=len(media or ()))

    def _words(self, data: Mapping[str, Any]) -> str:
        """In which words; a wish in free words was judged to be one just before."""
        if data.get("word"):
            return str(data["word"])
        return self.suspicion.body if self.suspicion is not None else ""


def at_a_glance(lines: Iterable[TimelineLine]) -> Glance:
    """What stands out after all of *lines*, from the first one on."""
    glance = Glance()
    for line in lines:
        glance.go_on(line)
    return glance


def has_media(lines: Iterable[TimelineLine], digest: str) -> bool:
    """Whether a file went by in one of *lines*."""
    return any(item["digest"] == digest for line in lines if line.kind in _WITH_MEDIA for item in line.data.get("media", ()))


def failed_transfer_of(line: TimelineLine, names: Mapping[AgentId, str]) -> AgentId | None:
    """Whose transfer has just come back; None: it is another kind of line."""
    if line.kind != "transfer.failed":
        return None
    return next((agent for agent, name in names.items() if line.data.get("by") in {agent, name}), None)
