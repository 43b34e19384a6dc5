"""What stands on the desk of a conversation, in few words: its card, its summary, why something cannot be done. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from bridge import events as e
from bridge.acd import AgentView
from bridge.legs import CallState, TextLeg
from bridge.session import State
from bridge.web.console.timeline import LANGUAGES, transfer_failure
from bridge.web.console.words import gettext as _
from bridge.web.console.words import marked


def came_back(transfer: Mapping[str, Any]) -> str:
    """What became of a transfer that nobody took, in a few words."""
    return _("%(to)s: %(why)s", to=transfer.get("to") or _("Handing over"), why=transfer_failure(transfer))


def in_line(state: State) -> Iterator[tuple[e.QueueId, e.Channel]]:
    """Where the customer stands in line."""
    if state.call is CallState.QUEUED and state.queue is not None:
        yield e.QueueId(state.queue), "voice"
    if state.text is TextLeg.QUEUED and state.chat_queue is not None:
        yield e.QueueId(state.chat_queue), "sms"


def cannot_take(view: AgentView, free: int) -> str:
    """Why an agent cannot be asked to take a chat now; empty when they can."""
    if view.state == "not_ready":
        return _("Not ready: %(reason)s", reason=view.reason) if view.reason else _("Not ready")
    if view.state == "wrap_up":
        return _("Writing a note")
    if view.call is not None:
        return _("On a call")
    return "" if free else _("No free chat")


def set_aside_why(state: State) -> str:
    """Why a chat cannot be put aside now; empty when it can."""
    return "" if state.heard and state.answered else _("A chat can be set aside once both of you have written, and you last.")


NO_SUMMARY = (marked("Text"), marked("Call"))
"""What stands there when nothing is known: of a text, of a call."""


def summary(state: State) -> str:
    """What somebody chose and answered so far, in a line."""
    parts = [state.whisper or " > ".join(word.replace("_", " ") for word in state.path)]
    parts += [f"{question}: {answer}" for question, answer in state.answers.items()]
    return "; ".join(part for part in parts if part) or _(NO_SUMMARY[state.call is not CallState.NONE])


def card(state: State, now: float) -> dict[str, str]:
    """What the agent should know at a glance; nothing twice."""
    known = {_("Language"): _(LANGUAGES.get(state.language, state.language))}
    if state.path:
        known[_("Menu")] = " > ".join(word.replace("_", " ") for word in state.path)
    waiting = state.call is CallState.QUEUED or state.text is TextLeg.QUEUED
    if state.since is not None and waiting:
        known[_("Waiting")] = f"{int(now - state.since)} s"
    told = {"language", "menu_path", "place_in_line", "topic" if state.path else ""}
    for name, value in state.card.items():
        if isinstance(value, str | int | float | bool) and name not in told and value != "":
            known[name.replace("_", " ").capitalize()] = f"{value:g}" if isinstance(value, float) else str(value)
    if state.whisper and state.whisper not in known.values():
        known[_("Note")] = state.whisper
    return known
